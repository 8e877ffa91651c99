"""Hand-made examples: the official object, the hub's rows of it, and the rows that a formulation reads."""

from pathlib import Path
from typing import Any

from task_files import columns_of, load_task

from light_peft.data.files import read_file
from light_peft.data.table import Table

MULTIRC = {
    "idx": 7,
    "version": 1.1,
    "passage": {
        "text": "Ann had a dog. It barked.",
        "questions": [
            {"question": "Who barked?", "idx": 20, "answers": [{"text": "Ann", "idx": 60, "label": 0}]},
            {
                "question": "Whose was it?",
                "idx": 21,
                "answers": [{"text": "Ann's", "idx": 61, "label": 1}, {"text": "its own", "idx": 62, "label": 0}],
            },
        ],
    },
}
PASSAGE = "Ann met Bo in Rome\n@highlight\nBo was late!\n@highlight\nRome was hot"
RECORD = {
    "source": "CNN",
    "idx": 3,
    "passage": {
        "text": PASSAGE,
        "entities": [
            {"start": 14, "end": 17},
            {"start": 0, "end": 2},
            {"start": 8, "end": 9},
            {"start": 30, "end": 31},
        ],
    },
    "qas": [
        {"query": "She waited for @placeholder.", "answers": [{"start": 8, "end": 9, "text": "Bo"}] * 2, "idx": 11},
        {
            "query": "@placeholder was it.",
            "answers": [{"start": 14, "end": 17, "text": "Rome"}, {"start": 0, "end": 2, "text": "Ann"}],
            "idx": 12,
        },
    ],
}
SHOWN = "Ann met Bo in Rome. Bo was late! Rome was hot."
WSC = {
    "text": "Mark told Pete's  aunt lies, which he denied.",
    "target": {"span1_index": 0, "span1_text": "Mark", "span2_index": 6, "span2_text": "he"},
    "idx": 4,
    "label": True,
}
WIC = {
    "word": "bank",
    "sentence1": "Banks lend.",
    "start1": 0,
    "end1": 5,
    "sentence2": "The river's bank 🐟.",
    "start2": 12,
    "end2": 16,
    "idx": 9,
    "label": False,
}
SQUAD_QUESTIONS = [
    {"id": "a1", "question": "What?", "answers": [{"text": "🐡ish", "answer_start": 5}], "is_impossible": False},
    {"id": "a2", "question": "Why?", "answers": [], "plausible_answers": [{"text": "x", "answer_start": 0}]},
]
SQUAD = {"title": "Sea", "paragraphs": [{"context": "🐟 is 🐡ish", "qas": SQUAD_QUESTIONS}]}
CHOICES = [{"text": "salt", "label": "1"}, {"text": "air", "label": "2"}, {"text": "ice", "label": "3"}]
LISTS = {"text": ["salt", "air", "ice"], "label": ["1", "2", "3"]}
ARC = {"id": "q1", "question": {"stem": "What melts?", "choices": CHOICES}, "answerKey": "3"}
SCIQ = {
    "question": "What melts?",
    "support": " Ice does. ",
    "correct_answer": "ice",
    "distractor1": "salt",
    "distractor2": "air",
    "distractor3": "iron",
}
COPA = {
    "premise": "I fell.",
    "choice1": "Ice lay there.",
    "choice2": "I'm old.",
    "question": "cause",
    "label": 0,
    "idx": 2,
}

CASES: dict[str, tuple[dict[str, Any], list[dict[str, Any]], list[dict[str, Any]]]] = {
    "multirc": (
        MULTIRC,
        [
            {
                "paragraph": "Ann had a dog. It barked.",
                "question": question,
                "answer": answer,
                "idx": dict(zip(("paragraph", "question", "answer"), numbers, strict=True)),
                "label": label,
            }
            for question, answer, numbers, label in [
                ("Who barked?", "Ann", (7, 20, 60), 0),
                ("Whose was it?", "Ann's", (7, 21, 61), 1),
                ("Whose was it?", "its own", (7, 21, 62), 0),
            ]
        ],
        [
            {
                "paragraph": "Ann had a dog. It barked.",
                "question_answer": text,
                "idx": idx,
                "group": group,
                "label": label,
            }
            for text, idx, group, label in [
                ("Who barked? Ann", "7-20-60", "7-20", 0),
                ("Whose was it? Ann's", "7-21-61", "7-21", 1),
                ("Whose was it? its own", "7-21-62", "7-21", 0),
            ]
        ],
    ),
    "record": (
        RECORD,
        [
            {
                "passage": PASSAGE,
                "query": query,
                "entities": ["Rome", "Bo", "Ann"],
                "answers": answers,
                "idx": {"passage": 3, "query": idx},
            }
            for query, answers, idx in [
                ("She waited for @placeholder.", ["Bo"], 11),
                ("@placeholder was it.", ["Rome", "Ann"], 12),
            ]
        ],
        [
            {"passage": SHOWN, "choices": choices, "names": ["Ann", "Bo", "Rome"], "idx": idx, "answers": answers}
            for choices, idx, answers in [
                (["She waited for Ann.", "She waited for Bo.", "She waited for Rome."], 11, ["Bo"]),
                (["Ann was it.", "Bo was it.", "Rome was it."], 12, ["Ann", "Rome"]),
            ]
        ],
    ),
    "wsc": (
        WSC,
        [{"text": WSC["text"], **dict(WSC["target"]), "idx": 4, "label": True}],  # type: ignore[call-overload]
        [
            {
                "text": "* Mark * told Pete's aunt lies, which # he # denied.",
                "statement": '"he" refers to "Mark".',
                "idx": 4,
                "label": True,
            }
        ],
    ),
    "wic": (
        WIC,
        [WIC],
        [
            {
                "sentence1": "bank: * Banks * lend.",
                "sentence2": "The river's * bank * 🐟.",
                "idx": 9,
                "label": False,
            }
        ],
    ),
    "squad": (
        SQUAD,
        [
            {
                "id": name,
                "title": "Sea",
                "context": "🐟 is 🐡ish",
                "question": question,
                "answers": {"text": texts, "answer_start": starts},
            }
            for name, question, texts, starts in [("a1", "What?", ["🐡ish"], [5]), ("a2", "Why?", [], [])]
        ],
        [
            {
                "question": question,
                "context": "🐟 is 🐡ish",
                "id": name,
                "answers": {"text": texts, "answer_start": starts},
            }
            for name, question, texts, starts in [("a1", "What?", ["🐡ish"], [5]), ("a2", "Why?", [], [])]
        ],
    ),
    "arc_easy": (
        ARC,
        [{"id": "q1", "question": "What melts?", "choices": LISTS, "answerKey": "3"}],
        [{"question": "What melts?", "choices": LISTS["text"], "id": "q1", "label": 2}],
    ),
    "openbookqa": (
        ARC,
        [{"id": "q1", "question_stem": "What melts?", "choices": LISTS, "answerKey": "3"}],
        [{"question": "What melts?", "choices": LISTS["text"], "id": "q1", "label": 2}],
    ),
    "sciq": (
        SCIQ,
        [SCIQ],
        # The sha256 of "What melts?" begins with the byte 140, which leaves 0 when divided by 4.
        [{"support": "Ice does.", "question": "What melts?", "choices": ["ice", "salt", "air", "iron"], "label": 0}],
    ),
    "webqs": (
        {
            "url": "x",
            "utterance": "who is it?",
            "targetValue": r'(list (description "Ann \"B\" (C)") (description Bo) (description ""Hi" (she) said") '
            r'(description Bo) (description "back\\slash"))',
        },
        [{"url": "x", "question": "who is it?", "answers": ['Ann "B" (C)', "Bo", '"Hi" (she) said', "back\\slash"]}],
        [{"question": "who is it?", "answers": ['Ann "B" (C)', "Bo", '"Hi" (she) said', "back\\slash"]}],
    ),
    "copa": (
        COPA,
        [COPA],
        [{"context": "I fell because", "choice1": "ice lay there.", "choice2": "I'm old.", "idx": 2, "label": 0}],
    ),
}
"""Task -> official object, the hub's rows of it, and the rows that a formulation reads."""


def table(path: Path, name: str, *, labelled: bool = True) -> Table:
    task = load_task(name)
    return read_file(path, columns_of(task)(labelled=labelled), task)


def wsc(text: str, noun: tuple[int, str], pronoun: tuple[int, str]) -> dict[str, Any]:
    target = {"span1_index": noun[0], "span1_text": noun[1], "span2_index": pronoun[0], "span2_text": pronoun[1]}
    return WSC | {"text": text, "target": target}
