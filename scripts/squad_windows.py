"""How many windows a SQuAD file makes, how long that takes, and which answers no model can give through them.

    python scripts/squad_windows.py FILE... [--tokenizer FOLDER] [--max-length 384] [--stride 128]

FILE is one of SQuAD 1.1 or 2.0 in the official form; FOLDER holds a tokenizer, by default that of `model=minilm`.
Every accepted answer is mapped to tokens as in training, start and end logits are made that point at them, and the text
is read off them as in evaluation. The best of a question's answers counts; the questions that even so are not matched
exactly are listed, for a model cannot get them right either: their answer is a part of a token, longer than
`task.span.max_answer_tokens`, or in no window as a whole.
"""

import argparse
import time
from dataclasses import replace
from pathlib import Path

import datasets
import numpy as np
from transformers import AutoTokenizer, PreTrainedTokenizerBase

from light_peft import door
from light_peft.config import TaskConfig
from light_peft.data.files import read_file
from light_peft.model.load import local_folder
from light_peft.runtime import quiet_libraries
from light_peft.tasks.gold import ANSWER_START, ANSWER_TEXT
from light_peft.tasks.span import Span
from light_peft.tasks.texts import exact_match, token_f1
from matrix import composed

LISTED = 20


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("files", nargs="+", type=Path)
    parser.add_argument("--tokenizer", help="folder of a tokenizer")
    parser.add_argument("--max-length", type=int, default=384)
    parser.add_argument("--stride", type=int, default=128)
    given = parser.parse_args()
    quiet_libraries()
    door.register()
    config = composed("task=squad_v2", "model=minilm")
    tokenizer = AutoTokenizer.from_pretrained(given.tokenizer or local_folder(config.model))
    task = replace(config.task, span=replace(config.task.span, stride=given.stride))
    for file in given.files:
        report(file, task, tokenizer, given.max_length)


def report(file: Path, task: TaskConfig, tokenizer: PreTrainedTokenizerBase, max_length: int) -> None:
    """Print the figures of one file."""
    formulation = Span(task)
    examples = formulation.examples(read_file(file, formulation.columns(labelled=True), task), labelled=True)
    began = time.perf_counter()
    windows = formulation.features(examples, tokenizer, max_length=max_length, training=False)
    seconds = time.perf_counter() - began
    print(f"{file.name}: {len(examples)} questions, {len(windows)} windows of {max_length} tokens in {seconds:.1f} s")
    answered = examples.select(np.flatnonzero([bool(texts) for texts in examples[ANSWER_TEXT]]))
    exact, f1, pieces, seconds = best_scores(formulation, answered, tokenizer, max_length)
    print(
        f"  at best exact match {100 * exact.mean():.3f}, F1 {100 * f1.mean():.3f}; all answers read in {seconds:.1f} s"
    )
    missed = np.flatnonzero(exact < 1)
    print(f"  {len(missed)} of {len(answered)} questions with an answer cannot be matched exactly")
    for number in missed[:LISTED].tolist():
        print(f"    {answered['idx'][number]}: {pieces[number]!r} for {answered[ANSWER_TEXT][number]}")


def best_scores(
    formulation: Span, examples: datasets.Dataset, tokenizer: PreTrainedTokenizerBase, max_length: int
) -> tuple[np.ndarray, np.ndarray, list[str], float]:
    """Return exact match and F1 of each example, the text read for its first answer, and the seconds of one reading."""
    accepted, starts = examples[ANSWER_TEXT][:], examples[ANSWER_START][:]
    read = formulation.features(examples, tokenizer, max_length=max_length, training=False)
    exact, f1, first = np.zeros(len(examples)), np.zeros(len(examples)), []
    for turn in range(max(map(len, accepted))):
        order = [turn % len(texts) for texts in accepted]
        golds = {
            ANSWER_TEXT: [[texts[index]] for texts, index in zip(accepted, order, strict=True)],
            ANSWER_START: [[places[index]] for places, index in zip(starts, order, strict=True)],
        }
        turned = datasets.Dataset.from_dict(examples.to_dict() | golds)
        outputs = pointing(formulation.features(turned, tokenizer, max_length=max_length, training=True), max_length)
        began = time.perf_counter()
        pieces = formulation.find(outputs, read, examples).texts
        seconds = time.perf_counter() - began
        exact = np.maximum(exact, list(map(exact_match, pieces, accepted)))
        f1 = np.maximum(f1, list(map(token_f1, pieces, accepted)))
        first = first or pieces
    return exact, f1, first, seconds


def pointing(windows: datasets.Dataset, max_length: int) -> np.ndarray:
    """Return outputs [W, 2, T] whose start and end logits are 1 at the places of training, else 0."""
    outputs = np.zeros((len(windows), 2, max_length), np.float32)
    for side, name in enumerate(("start_positions", "end_positions")):
        outputs[np.arange(len(windows)), side, windows[name][:]] = 1
    return outputs


if __name__ == "__main__":
    main()
