"""From start and end logits to the best span of each example, without a loop over tokens or windows.

Shape suffixes: E examples, W windows, T tokens, N the most likely starts or ends, K the windows of one chunk.
"""

from dataclasses import dataclass

import numpy as np

PAIRS_AT_ONCE = 2**21
"""Pairs of a start and an end that are held at once; bounds the memory."""


@dataclass(frozen=True)
class Spans:
    """The best span of each window or example.

    Attributes:
        score: Start logit + end logit [.]; -inf where there is no span.
        first: Its first token [.].
        last: Its last token [.].
    """

    score: np.ndarray
    first: np.ndarray
    last: np.ndarray


def best_spans(start_WT: np.ndarray, end_WT: np.ndarray, *, n_best: int, max_tokens: int) -> Spans:
    """Return the best span of each window among the `n_best` starts and ends, of at most `max_tokens` tokens.

    Where none of these pairs is a span, all pairs are looked at. A logit of -inf rules its token out.
    """
    found = _among(start_WT, end_WT, n_best, max_tokens)
    (missed,) = np.nonzero(np.isneginf(found.score))
    if len(missed) and n_best < start_WT.shape[1]:
        rest = _among(start_WT[missed], end_WT[missed], start_WT.shape[1], max_tokens)
        found.score[missed], found.first[missed], found.last[missed] = rest.score, rest.first, rest.last
    return found


def best_of_each(score_W: np.ndarray, example_W: np.ndarray) -> np.ndarray:
    """Return the number of the best window of each example [E]; of equal ones the first."""
    order_W = np.lexsort((-score_W, example_W))
    examples_E, firsts_E = np.unique(example_W[order_W], return_index=True)
    assert np.array_equal(examples_E, np.arange(len(examples_E))), "an example without a window"
    return order_W[firsts_E]


def least_of_each(score_W: np.ndarray, example_W: np.ndarray) -> np.ndarray:
    """Return the lowest score among the windows of each example [E]."""
    least_E = np.full(example_W.max() + 1, np.inf)
    np.minimum.at(least_E, example_W, score_W)
    return least_E


def _among(start_WT: np.ndarray, end_WT: np.ndarray, n_best: int, max_tokens: int) -> Spans:
    """Return the best pairs of the `n_best` starts and ends of each window."""
    n_best = min(n_best, start_WT.shape[1])
    step = max(1, PAIRS_AT_ONCE // n_best**2)
    chunks = range(0, max(1, len(start_WT)), step)
    parts = [_pairs(start_WT[low : low + step], end_WT[low : low + step], n_best, max_tokens) for low in chunks]
    score, first, last = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Spans(score, first, last)


def _pairs(
    start_KT: np.ndarray, end_KT: np.ndarray, n_best: int, max_tokens: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    first_KN, last_KN = _most_likely(start_KT, n_best), _most_likely(end_KT, n_best)
    start_KN, end_KN = np.take_along_axis(start_KT, first_KN, axis=1), np.take_along_axis(end_KT, last_KN, axis=1)
    length_KNN = last_KN[:, None, :] - first_KN[:, :, None] + 1
    score_KNN = start_KN[:, :, None] + end_KN[:, None, :]
    score_KNN[(length_KNN < 1) | (length_KNN > max_tokens)] = -np.inf
    score_KP = score_KNN.reshape(len(score_KNN), n_best * n_best)
    best_K, rows_K = score_KP.argmax(axis=1), np.arange(len(score_KP))
    return score_KP[rows_K, best_K], first_KN[rows_K, best_K // n_best], last_KN[rows_K, best_K % n_best]


def _most_likely(logits_KT: np.ndarray, n_best: int) -> np.ndarray:
    """Return the tokens of the `n_best` highest logits of each window, from left to right [K, N]."""
    if n_best == logits_KT.shape[1]:
        return np.broadcast_to(np.arange(n_best), logits_KT.shape)
    return np.sort(np.argpartition(logits_KT, -n_best, axis=1)[:, -n_best:], axis=1)
