"""A miniature of every benchmark: a few made-up examples in files of the official form, to try things out offline.

    python scripts/miniatures.py FOLDER [TASK ...]        (default: every task)
    python -m run task=rte model=tiny_bert data.dir=FOLDER

The texts are made by rule and mean nothing; no example is taken from a benchmark. The same files at every call.
"""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from miniature_files import CUES, ENTAILMENT, THINGS, Example, Mini, diagnostic, glue, qa, sentence, superglue

TRUTH = ["False", "True"]
LETTERS = "ABCDE"


def labelled_pair(keys: tuple[str, str], official: list[Any], spelled: list[str]) -> Callable[..., Example]:
    """Return what makes examples of two texts; `official` are the labels as the JSON lines have them."""

    def make(number: int, own: int, labelled: bool) -> Example:
        label = own % len(official)
        pair = {keys[0]: sentence(own, label), keys[1]: f"It is {CUES[(own // 2) % 2]}.", "idx": number}
        known = {"label": official[label]} if labelled else {}
        return Example(pair | known, [pair | {"label": label if labelled else -1}], {str(number): spelled})

    return make


def copa(number: int, own: int, labelled: bool) -> Example:
    row = {
        "premise": sentence(own, own % 2),
        "choice1": f"It was a {THINGS[own % 7]}.",
        "choice2": "It was night.",
        "question": ("cause", "effect")[own % 2],
        "idx": number,
    }
    known = {"label": own % 2} if labelled else {}
    return Example(row | known, [row | {"label": own % 2 if labelled else -1}], {str(number): ["0", "1"]})


def multirc(number: int, own: int, labelled: bool) -> Example:
    paragraph, questions, rows, answers = f"{sentence(own)} It is {CUES[own % 5]}.", [], [], {}
    for asked in range(2):
        options = []
        for option in range(2 + asked):
            label, places = (own + option) % 2, (number, 2 * number + asked, 6 * number + 3 * asked + option)
            text, question = THINGS[(own + option) % 7], f"What is in room {own}, {CUES[asked]}?"
            options.append({"text": text, "idx": places[2]} | ({"label": label} if labelled else {}))
            row = {"paragraph": paragraph, "question": question, "answer": text}
            idx = dict(zip(("paragraph", "question", "answer"), places, strict=True))
            rows.append(row | {"idx": idx, "label": label if labelled else -1})
            answers["-".join(map(str, places))] = ["0", "1"]
        questions.append({"question": question, "idx": places[1], "answers": options})
    passage = {"text": paragraph, "questions": questions}
    return Example({"idx": number, "version": 1.1, "passage": passage}, rows, answers)


def record(number: int, own: int, labelled: bool) -> Example:
    names = ["Rome", "Oslo", "Anna"]
    text = f"Rome called Oslo\n@highlight\nAnna heard it in room {own}\n@highlight\nOslo was {CUES[own % 5]}"
    spans = [(text.index(name), text.index(name) + len(name) - 1) for name in names]
    queries, rows, answers = [], [], {}
    for asked in range(2):
        right, idx = names[(own + asked) % 3], 2 * number + asked
        query = f"In room {own} it was {CUES[asked]} for @placeholder."
        start, end = spans[names.index(right)]
        known = {"answers": [{"start": start, "end": end, "text": right}]} if labelled else {}
        queries.append({"query": query, "idx": idx} | known)
        row = {"passage": text, "query": query, "entities": names, "idx": {"passage": number, "query": idx}}
        rows.append(row | {"answers": [right] if labelled else []})
        answers[str(idx)] = names
    entities = [{"start": start, "end": end} for start, end in spans]
    official = {"source": "CNN", "idx": number, "passage": {"text": text, "entities": entities}, "qas": queries}
    return Example(official, rows, answers)


def wic(number: int, own: int, labelled: bool) -> Example:
    word = THINGS[own % 7]
    sentences = [f"The {word} in room {own} is {CUES[own % 2]}.", f"A {word} is {CUES[0]}."]
    row: dict[str, Any] = {"word": word, "sentence1": sentences[0], "sentence2": sentences[1], "idx": number}
    for place, text in enumerate(sentences, start=1):
        row |= {f"start{place}": text.index(word), f"end{place}": text.index(word) + len(word)}
    known = {"label": own % 2 == 1} if labelled else {}
    hub = row | {"label": own % 2 if labelled else -1}
    return Example(row | known, [hub], {str(number): ["true", "false"]})


def wsc(number: int, own: int, labelled: bool) -> Example:
    text = f"Mark told Pete about room {own}, and he was {CUES[own % 2]}."
    spans = {"span1_index": 2 * (own % 2), "span1_text": ("Mark", "Pete")[own % 2]}
    spans |= {"span2_index": 7, "span2_text": "he"}
    known = {"label": own % 2 == 1} if labelled else {}
    hub = {"text": text, "idx": number, "label": own % 2 if labelled else -1} | spans
    return Example({"text": text, "target": spans, "idx": number} | known, [hub], {str(number): TRUTH})


def science(key: str) -> Callable[..., Example]:
    """Return what makes questions with candidates; `key` is what the hub calls the question."""

    def make(number: int, own: int, labelled: bool) -> Example:
        texts = [f"a {THINGS[(own + place) % 7]}" for place in range(3 + own % 3)]
        names, question = ("12345" if own % 4 == 3 else LETTERS)[: len(texts)], f"What is in room {own}?"
        choices = [{"text": text, "label": name} for text, name in zip(texts, names, strict=True)]
        shared = {"id": f"Q_{own}", "answerKey": names[own % len(names)]}
        lists = {"text": texts, "label": list(names)}
        official = shared | {"question": {"stem": question, "choices": choices}}
        return Example(official, [shared | {key: question, "choices": lists}], {f"Q_{own}": names})

    return make


def piqa(number: int, own: int, labelled: bool) -> Example:
    row = {"goal": sentence(own), "sol1": f"Take the {THINGS[own % 7]}.", "sol2": f"Go to room {own}."}
    hub = row | {"label": own % 2 if labelled else -1}
    return Example(row, [hub], {str(number): ["0", "1"]}, str(own % 2) if labelled else None)


def sciq(number: int, own: int, labelled: bool) -> Example:
    row = {"question": f"What is {CUES[own % 5]} in room {own}?", "support": sentence(own) if own % 3 else ""}
    row |= {f"distractor{place}": THINGS[(own + place) % 7] for place in (1, 2, 3)}
    row["correct_answer"] = THINGS[own % 7]
    return Example(row, [row], {str(number): ["0", "1", "2", "3"]})


def webqs(number: int, own: int, labelled: bool) -> Example:
    answers = [f"the {THINGS[own % 7]}", CUES[own % 5]]
    value = f'(list (description "{answers[0]}") (description {answers[1]}))'
    asked = {"url": f"http://example.org/{own}"}
    official = asked | {"utterance": f"what is in room {own}?", "targetValue": value}
    return Example(official, [asked | {"question": f"what is in room {own}?", "answers": answers}], {str(number): None})


def squad(*, no_answer: bool) -> Callable[..., Example]:
    """Return what makes articles of one paragraph and one question."""

    def make(number: int, own: int, labelled: bool) -> Example:
        context, word = f"🐟 {sentence(own, own % 5)} {sentence(own + 1)}", CUES[own % 5]
        silent = no_answer and own % 3 == 0
        found = [] if silent else [{"text": word, "answer_start": context.index(word)}]
        asked = {"id": f"q{own}", "question": f"How is the {THINGS[own % 7]}?"}
        flags = {"is_impossible": silent} if no_answer else {}
        paragraph = {"context": context, "qas": [asked | flags | {"answers": found}]}
        lists = {"text": [word] * len(found), "answer_start": [answer["answer_start"] for answer in found]}
        hub = asked | {"title": "Rooms", "context": context, "answers": lists}
        return Example({"title": "Rooms", "paragraphs": [paragraph]}, [hub], {f"q{own}": context})

    return make


PLAIN = "index\tsentence1\tsentence2"
WIDE = "index\tgenre\tfilename\tyear\told_index\tsource1\tsource2\tsentence1\tsentence2"
WIDE_ROW = "{i}\tmain-captions\tMSRvid\t2012test\t{i:04}\tnone\tnone\t{a}\t{b}"
PARSES = "sentence1_binary_parse\tsentence2_binary_parse\tsentence1_parse\tsentence2_parse"
MNLI = f"index\tpromptID\tpairID\tgenre\t{PARSES}\tsentence1\tsentence2"
MNLI_ROW = "{i}\t31193n\t31193n\tgovernment\t( a )\t( b )\t(S a)\t(S b)\t{a}\t{b}"
TWO, NUMBERS = ["sentence1", "sentence2"], ["0", "1"]
HEADLESS = ("", "gj04\t{number}\t\t{a}", "index\tsentence", "{i}\t{a}")
SINGLE = ("sentence\tlabel", "{a}\t{number}", "index\tsentence", "{i}\t{a}")
IDS = "#1 ID\t#2 ID\t#1 String\t#2 String"
PAIRED = (f"Quality\t{IDS}", "{number}\t{i}\t9{i}\t{a}\t{b}", f"index\t{IDS}", "{i}\t{i}\t9{i}\t{a}\t{b}")
FIGURES = (f"{WIDE}\tscore", f"{WIDE_ROW}\t{{figure}}", WIDE, WIDE_ROW)
ASKED = (
    *("id\tqid1\tqid2\tquestion1\tquestion2\tis_duplicate", "{i}\t1{i}\t2{i}\t{a}\t{b}\t{number}"),
    *("id\tquestion1\tquestion2", "{i}\t{a}\t{b}"),
)
GENRES = (f"{MNLI}\tlabel1\tgold_label", f"{MNLI_ROW}\t{{name}}\t{{name}}", MNLI, MNLI_ROW)
ANSWERED = (
    *("index\tquestion\tsentence\tlabel", "{i}\t{a}\t{b}\t{name}"),
    *("index\tquestion\tsentence", "{i}\t{a}\t{b}"),
)
NAMED = (f"{PLAIN}\tlabel", "{i}\t{a}\t{b}\t{name}", PLAIN, "{i}\t{a}\t{b}")
NUMBERED = (f"{PLAIN}\tlabel", "{i}\t{a}\t{b}\t{number}", PLAIN, "{i}\t{a}\t{b}")
INFERENCES = ["entailment", "neutral", "contradiction"]
COMMITMENTS = ["entailment", "contradiction", "neutral"]
PREMISES = ("premise", "hypothesis")


def arc(level: str) -> Mini:
    files = tuple(f"qa/arc_{level.lower()}/ARC-{level}-{split}.jsonl" for split in ("Train", "Dev", "Test"))
    return qa(files, f"allenai/ai2_arc/ARC-{level}", science("question"), "predictions.csv")


def stanford(version: str, folder: str, *, no_answer: bool) -> Mini:
    files = (f"squad/train-{version}.json", f"squad/dev-{version}.json")
    return qa(files, f"rajpurkar/{folder}", squad(no_answer=no_answer), "predictions.json")


def three(folder: str, names: tuple[str, str, str]) -> tuple[str, ...]:
    return tuple(f"qa/{folder}/{name}" for name in names)


MINIS: dict[str, Mini] = {
    "cola": glue("CoLA", ["sentence"], HEADLESS, ["unacceptable", "acceptable"], NUMBERS),
    "sst2": glue("SST-2", ["sentence"], SINGLE, ["negative", "positive"], NUMBERS),
    "mrpc": glue("MRPC", TWO, PAIRED, ["not_equivalent", "equivalent"], NUMBERS),
    "stsb": glue("STS-B", TWO, FIGURES, [], []),
    "qqp": glue("QQP", ["question1", "question2"], ASKED, ["not_duplicate", "duplicate"], NUMBERS),
    "mnli": glue("MNLI", ["premise", "hypothesis"], GENRES, INFERENCES, INFERENCES),
    "qnli": glue("QNLI", ["question", "sentence"], ANSWERED, ENTAILMENT, ENTAILMENT),
    "rte": glue("RTE", TWO, NAMED, ENTAILMENT, ENTAILMENT),
    "wnli": glue("WNLI", TWO, NUMBERED, ["not_entailment", "entailment"], NUMBERS),
    "boolq": superglue("BoolQ", labelled_pair(("question", "passage"), [False, True], ["true", "false"]), TRUTH),
    "cb": superglue("CB", labelled_pair(PREMISES, COMMITMENTS, COMMITMENTS), COMMITMENTS),
    "copa": superglue("COPA", copa, ["choice1", "choice2"]),
    "multirc": superglue("MultiRC", multirc, TRUTH),
    "record": superglue("ReCoRD", record, []),
    "rte_sg": superglue("RTE", labelled_pair(PREMISES, ENTAILMENT, ENTAILMENT), ENTAILMENT),
    "wic": superglue("WiC", wic, TRUTH),
    "wsc": superglue("WSC", wsc, TRUTH),
    "axb": diagnostic("AX-b", ("sentence1", "sentence2")),
    "axg": diagnostic("AX-g", PREMISES),
    "arc_easy": arc("Easy"),
    "arc_challenge": arc("Challenge"),
    "openbookqa": qa(
        three("openbookqa", ("train.jsonl", "dev.jsonl", "test.jsonl")),
        *("allenai/openbookqa/main", science("question_stem"), "predictions.csv"),
    ),
    "piqa": qa(
        three("piqa", ("train.jsonl", "valid.jsonl", "tests.jsonl")),
        *("baber/piqa/data", piqa, "predictions.lst", NUMBERS),
    ),
    "sciq": qa(
        three("sciq", ("train.json", "valid.json", "test.json")), "allenai/sciq/data", sciq, "predictions.jsonl"
    ),
    "squad": stanford("v1.1", "squad/plain_text", no_answer=False),
    "squad_v2": stanford("v2.0", "squad_v2/squad_v2", no_answer=True),
    "webqs": qa(
        ("qa/webqs/webquestions.examples.train.json", "qa/webqs/webquestions.examples.test.json"),
        *("stanfordnlp/web_questions/data", webqs, "predictions.jsonl"),
    ),
}
"""Task -> its miniature; the demo writes its own files."""


def main(folder: Path, names: list[str]) -> None:
    """Write the official files of the tasks below the folder."""
    if unknown := sorted(set(names) - set(MINIS)):
        sys.exit(f"{', '.join(unknown)}: no such miniature; there are: {', '.join(MINIS)}")
    for name in names or MINIS:
        MINIS[name].write_official(folder)


if __name__ == "__main__":
    if len(sys.argv) < 2:
        sys.exit(__doc__)
    main(Path(sys.argv[1]), sys.argv[2:])
