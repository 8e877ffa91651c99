"""A headless browser of the Chromium family, spoken to through a pipe: no driver, no package, no port.

The protocol: https://chromedevtools.github.io/devtools-protocol/, over file descriptors 3 and 4 of the browser, each
message JSON with a zero byte behind it.
"""

import base64
import contextlib
import fcntl
import json
import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome", "microsoft-edge")
FLAGS = (
    *("--headless=new", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-sync"),
    *("--disable-background-networking", "--disable-component-update", "--hide-scrollbars", "--remote-debugging-pipe"),
)


def find_browser() -> str:
    """Path of a browser, by name on PATH or from the variable BROWSER_PATH.

    Raises:
        FileNotFoundError: If there is none.
    """
    found = os.environ.get("BROWSER_PATH") or next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        raise FileNotFoundError(f"no browser found; install one of {', '.join(NAMES)} or set BROWSER_PATH")
    return found


class Page:
    """One page of a running browser.

    Attributes:
        events: What the browser has told since the page was opened last, as (method, parameters).
    """

    def __init__(self, reader: Any, writer: Any) -> None:
        """Attach to a fresh page."""
        self.events: list[tuple[str, dict[str, Any]]] = []
        self._reader, self._writer, self._number, self._session = reader, writer, 0, ""
        target = self.call("Target.createTarget", url="about:blank")["targetId"]
        self._session = self.call("Target.attachToTarget", targetId=target, flatten=True)["sessionId"]
        for domain in ("Page", "Runtime", "Network", "Log"):
            self.call(f"{domain}.enable")

    def call(self, method: str, **parameters: Any) -> dict[str, Any]:
        """Do something and return what it gives; what is told meanwhile goes to `events`."""
        self._number += 1
        message = {"id": self._number, "method": method, "params": parameters}
        if self._session:
            message["sessionId"] = self._session
        self._writer.write(json.dumps(message).encode() + b"\0")
        self._writer.flush()
        while (answer := self._next()).get("id") != self._number:
            self.events.append((answer.get("method", ""), answer.get("params", {})))
        if "error" in answer:
            raise RuntimeError(f"{method}: {answer['error']}")
        return answer["result"]

    def open(self, file: Path, *, width: int, height: int, dark: bool = False, script: bool = True) -> None:
        """Show a file in a window of this many CSS pixels."""
        self.events.clear()
        self.call("Emulation.setScriptExecutionDisabled", value=not script)
        phone = width < 700
        self.call("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=phone)
        scheme = {"name": "prefers-color-scheme", "value": "dark" if dark else "light"}
        self.call("Emulation.setEmulatedMedia", features=[scheme])
        self.call("Page.navigate", url=file.resolve().as_uri())
        while not any(method == "Page.loadEventFired" for method, _ in self.events):
            answer = self._next()
            self.events.append((answer.get("method", ""), answer.get("params", {})))

    def run(self, expression: str) -> Any:
        """The value of a JavaScript expression on the page.

        Raises:
            RuntimeError: If it throws.
        """
        found = self.call("Runtime.evaluate", expression=expression, returnByValue=True, awaitPromise=True)
        if "exceptionDetails" in found:
            raise RuntimeError(str(found["exceptionDetails"]))
        return found["result"].get("value")

    def press(self, key: str) -> None:
        """Press and release a key."""
        text = {"Enter": "\r", " ": " "}.get(key, "")
        self.call("Input.dispatchKeyEvent", type="keyDown", key=key, text=text)
        self.call("Input.dispatchKeyEvent", type="keyUp", key=key)

    def requests(self) -> list[str]:
        """Addresses that were asked for since the page was opened."""
        return [told["request"]["url"] for method, told in self.events if method == "Network.requestWillBeSent"]

    def complaints(self) -> list[str]:
        """Errors and warnings since the page was opened."""
        kinds = ("Runtime.exceptionThrown", "Log.entryAdded", "Runtime.consoleAPICalled")
        return [json.dumps(told)[:400] for method, told in self.events if method in kinds]

    def shoot(self, selector: str = "html", height: int | None = None) -> bytes:
        """A PNG of an element, however long it is, or of so many pixels of it."""
        box = self.run(
            f"(() => {{const r = document.querySelector({selector!r}).getBoundingClientRect();"
            "return {x: r.x + scrollX, y: r.y + scrollY, width: r.width, height: r.height}})()"
        )
        box["height"] = min(box["height"], height or box["height"])
        shot = self.call("Page.captureScreenshot", clip={**box, "scale": 1}, captureBeyondViewport=True)
        return base64.b64decode(shot["data"])

    def _next(self) -> dict[str, Any]:
        message = bytearray()
        while (byte := self._reader.read(1)) != b"\0":
            if not byte:
                raise RuntimeError("the browser has ended")
            message += byte
        return json.loads(message)


@contextlib.contextmanager
def browser_page() -> Iterator[Page]:
    """Start a browser with a profile of its own, give a page of it, and end it."""
    program = find_browser()
    from_us, to_browser = os.pipe()
    from_browser, to_us = os.pipe()
    # High numbers first: bash then puts the ends where the protocol wants them, 3 to read from and 4 to write to.
    theirs = [fcntl.fcntl(end, fcntl.F_DUPFD, 10) for end in (from_us, to_us)]
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        moved = 'exec "$0" "$@" 3<&{} 4>&{}'.format(*theirs)
        words = ["bash", "-c", moved, program, *FLAGS, f"--user-data-dir={profile}"]
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        process = subprocess.Popen(words, pass_fds=theirs, **quiet)
        for end in (from_us, to_us, *theirs):
            os.close(end)
        try:
            with os.fdopen(to_browser, "wb") as writer, os.fdopen(from_browser, "rb") as reader:
                yield Page(reader, writer)
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(10)
            process.kill()
