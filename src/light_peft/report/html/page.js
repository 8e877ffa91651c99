"use strict";

const THEMES = ["auto", "light", "dark"];

function theme(choice) {
  const root = document.documentElement;
  if (choice === "auto") delete root.dataset.theme;
  else root.dataset.theme = choice;
}

function remembered() {
  try {
    return localStorage.getItem("theme") || "auto";
  } catch {
    return "auto"; // a page from a file may not be allowed to remember
  }
}

function remember(choice) {
  try {
    localStorage.setItem("theme", choice);
  } catch {
    return;
  }
}

function compare(a, b) {
  const [x, y] = [Number(a), Number(b)];
  return Number.isNaN(x) || Number.isNaN(y) ? a.localeCompare(b, undefined, { numeric: true }) : x - y;
}

function sort(header) {
  const table = header.closest("table");
  const column = [...header.parentNode.children].indexOf(header);
  const rises = header.getAttribute("aria-sort") === "none" ? header.classList.contains("words") : header.getAttribute("aria-sort") !== "ascending";
  const value = (row) => row.children[column].dataset.value;
  const rows = [...table.tBodies[0].rows].sort((a, b) => {
    if (value(a) === "" || value(b) === "") return (value(a) === "") - (value(b) === "");
    return rises ? compare(value(a), value(b)) : compare(value(b), value(a));
  });
  for (const other of table.querySelectorAll("th[aria-sort]")) other.setAttribute("aria-sort", "none");
  header.setAttribute("aria-sort", rises ? "ascending" : "descending");
  table.tBodies[0].append(...rows);
}

async function copy(button) {
  const source = button.parentNode.querySelector("pre");
  try {
    await navigator.clipboard.writeText(source.textContent);
  } catch {
    getSelection().selectAllChildren(source);
    document.execCommand("copy");
  }
  button.textContent = "Copied";
  setTimeout(() => (button.textContent = "Copy"), 1500);
}

const minus = (text) => text.replace("-", "\u2212");
const signed = (value) => minus((Number(value.toFixed(1)) > 0 ? "+" : "") + (Number(value.toFixed(1)) || 0).toFixed(1));

function cell(text, note, kind) {
  const found = document.createElement("td");
  found.append(text);
  if (kind) found.className = kind;
  if (note) {
    const small = document.createElement("span");
    small.className = "note";
    small.textContent = note;
    found.append(small);
  }
  return found;
}

function whisker(found, limit) {
  const line = document.createElement("span");
  line.className = "whisker";
  const place = (value) => 50 + (50 * value) / limit;
  const [mean, low, high] = found;
  if (low !== null) {
    const range = document.createElement("i");
    range.className = "range";
    range.style.left = `${place(low)}%`;
    range.style.width = `${place(high) - place(low)}%`;
    line.append(range);
  }
  const middle = document.createElement("i");
  middle.className = "middle";
  middle.style.left = `${place(mean)}%`;
  line.append(middle);
  return line;
}

function beside(data, a, b) {
  const found = data.pairs[a < b ? `${a},${b}` : `${b},${a}`] || {};
  const turned = ([mean, low, high, p, n]) => (a < b ? [mean, low, high, p, n] : [-mean, high === null ? null : -high, low === null ? null : -low, p, n]);
  return [...data.tasks, ""].filter((task) => found[task]).map((task) => [task || "all tasks", turned(found[task])]);
}

function showPair(section) {
  const data = JSON.parse(document.getElementById("pairs-data").textContent);
  const [a, b] = ["a", "b"].map((name) => Number(section.querySelector(`select[name=${name}]`).value));
  for (const [name, index] of [["a", a], ["b", b]]) section.querySelector(`[data-runs=${name}]`).href = `#${data.anchors[index]}`;
  const rows = a === b ? [] : beside(data, a, b);
  const bounds = rows.flatMap(([, found]) => found.slice(0, 3)).filter((value) => value !== null);
  const limit = 1.08 * Math.max(...bounds.map(Math.abs), 0.01);
  section.querySelector("tbody").replaceChildren(
    ...rows.map(([task, found]) => {
      const row = document.createElement("tr");
      const [mean, low, high, p, n] = found;
      const interval = cell(low === null ? "one pair" : `[${minus(low.toFixed(1))}, ${minus(high.toFixed(1))}]`);
      const drawn = cell("");
      drawn.append(whisker(found, limit));
      row.append(cell(task, "", "words"), cell(signed(mean)), interval, drawn, cell(p === null ? "-" : p < 0.001 ? "< 0.001" : String(Number(p.toPrecision(2)))), cell(String(n)));
      return row;
    }),
  );
  section.querySelector(".empty").hidden = rows.length > 0;
}

function chooseTask(task) {
  for (const block of document.querySelectorAll("[data-task]")) {
    block.hidden = task !== "" && block.dataset.task !== "" && block.dataset.task !== task;
  }
  for (const select of document.querySelectorAll("select[name=task]")) select.value = task;
}

theme(remembered());
document.documentElement.classList.add("js");
document.addEventListener("DOMContentLoaded", () => {
  const button = document.getElementById("theme");
  const say = () => (button.textContent = `Theme: ${remembered()}`);
  button.addEventListener("click", () => {
    const next = THEMES[(THEMES.indexOf(document.documentElement.dataset.theme || "auto") + 1) % THEMES.length];
    theme(next);
    remember(next);
    button.textContent = `Theme: ${next}`;
  });
  say();
  for (const header of document.querySelectorAll("th[aria-sort]")) header.firstElementChild.addEventListener("click", () => sort(header));
  for (const found of document.querySelectorAll("button.copy")) found.addEventListener("click", () => copy(found));
  for (const select of document.querySelectorAll("select[name=task]")) select.addEventListener("change", () => chooseTask(select.value));
  const pairs = document.getElementById("pairs");
  if (pairs) {
    for (const select of pairs.querySelectorAll("select")) select.addEventListener("change", () => showPair(pairs));
    showPair(pairs);
  }
});
