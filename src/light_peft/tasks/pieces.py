"""From the logits of windows to a piece of each context, and to what speaks for no answer.

Shape suffixes: E examples, W windows, T tokens, S start and end.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import datasets
import numpy as np

from light_peft.data.batches import EXAMPLE
from light_peft.tasks.span_search import best_of_each, best_spans, least_of_each
from light_peft.tasks.windows import FIRST, NULL, OFFSETS


@dataclass(frozen=True)
class Pieces:
    """The best answers, before it is decided whether there is one.

    Attributes:
        texts: The best piece of each context, "" where there is none.
        null_diff_E: Score of no answer, the lowest of the windows, minus that of the piece; a score is the sum of
            a start and an end logit (Devlin et al. 2019, BERT, section 4.3).
    """

    texts: list[str]
    null_diff_E: np.ndarray


def find_pieces(
    outputs_WST: np.ndarray, features: datasets.Dataset, contexts: Sequence[str], *, n_best: int, max_tokens: int
) -> Pieces:
    """Return the best piece of each context, of at most `max_tokens` tokens.

    Args:
        outputs_WST: Start and end logits of each window; what stands at padding does not matter.
        features: The windows, for their notes.
        contexts: The texts.
        n_best: Starts and ends that are combined, the most likely ones of each window.
        max_tokens: Longest piece.
    """
    notes = features.with_format("arrow")[:]
    first_W, null_W, example_W = (notes[name].to_numpy() for name in (FIRST, NULL, EXAMPLE))
    lists = notes[OFFSETS].combine_chunks()
    offsets, bounds = lists.values.cast("int64").to_numpy().reshape(-1, 2), lists.offsets.to_numpy() // 2
    places_T = np.arange(outputs_WST.shape[2])
    inside_WT = (places_T >= first_W[:, None]) & (places_T < (first_W + np.diff(bounds))[:, None])
    start_WT, end_WT = (np.where(inside_WT, outputs_WST[:, side], -np.inf) for side in (0, 1))
    spans = best_spans(start_WT, end_WT, n_best=n_best, max_tokens=max_tokens)
    best_E = best_of_each(spans.score, example_W)
    null_W = np.take_along_axis(outputs_WST, null_W[:, None, None], axis=2).sum(axis=(1, 2), dtype=np.float64)
    shift_E = bounds[best_E] - first_W[best_E]
    texts = [
        contexts[example][offsets[first, 0] : offsets[last, 1]].strip() if there else ""
        for example, (first, last, there) in enumerate(
            zip(
                shift_E + spans.first[best_E],
                shift_E + spans.last[best_E],
                np.isfinite(spans.score[best_E]),
                strict=True,
            )
        )
    ]
    return Pieces(texts, least_of_each(null_W, example_W) - spans.score[best_E])


LARGEST = 1e30
"""Bound of a threshold, beyond all differences of logits."""


def best_threshold(diff_E: np.ndarray, f1_E: np.ndarray, answerable_E: np.ndarray) -> float:
    """Return the difference `Pieces.null_diff_E` above which no answer is given, so that the mean F1 is highest.

    The search of the scorer of SQuAD 2.0: examples are answered in the order of their difference; each gives its F1,
    or costs the point that silence would have earned. Of equal results the lowest threshold is taken, one below all
    where silence is best.

    Args:
        diff_E: The differences.
        f1_E: F1 of the pieces.
        answerable_E: Whether there is an answer.
    """
    order_E = np.argsort(diff_E, kind="stable")
    diff_E, gains_E = diff_E[order_E], np.where(answerable_E, f1_E, -1.0)[order_E].cumsum()
    (ends,) = np.nonzero(np.append(diff_E[1:] != diff_E[:-1], True))  # a threshold does not divide equal ones
    best = ends[gains_E[ends].argmax()]
    found = diff_E[best] if gains_E[best] > 0 else diff_E[0] - 1
    return float(np.clip(found, -LARGEST, LARGEST))  # a text without tokens has an infinite difference
