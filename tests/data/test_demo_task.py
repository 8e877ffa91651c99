from collections import Counter
from pathlib import Path

import numpy as np
import pytest
from sklearn.feature_extraction.text import CountVectorizer
from sklearn.linear_model import LogisticRegression
from task_files import load_task

from light_peft.config import DataConfig
from light_peft.data.demo import NOUNS, NUM_UNSEEN, Pair, demo_pairs, write_demo
from light_peft.tasks.splits import load_splits

TRAIN, DEV = demo_pairs()
CATEGORY = {noun: category for category, nouns in NOUNS.items() for noun in nouns.split()}


def words(sentence: str) -> list[str]:
    return sentence.lower().replace(".", "").replace(",", "").split()


def substitution(pair: Pair) -> tuple[str, str]:
    (changed,) = [(a, b) for a, b in zip(words(pair.sentence1), words(pair.sentence2), strict=True) if a != b]
    return changed


@pytest.mark.parametrize("pairs", [TRAIN, DEV])
def test_each_pair_differs_in_one_noun_and_the_label_is_true(pairs: list[Pair]) -> None:
    assert len(CATEGORY) == 150
    for pair in pairs:
        noun, word = substitution(pair)
        assert word in NOUNS
        assert pair.label == ("entailment" if CATEGORY[noun] == word else "not_entailment")


@pytest.mark.parametrize("pairs", [TRAIN, DEV])
def test_labels_nouns_and_category_words_are_balanced(pairs: list[Pair]) -> None:
    counts = Counter(pair.label for pair in pairs)
    assert counts["entailment"] == counts["not_entailment"] == len(pairs) / 2
    for part in (0, 1):
        found = Counter((substitution(pair)[part], pair.label) for pair in pairs)
        assert all(found[word, "entailment"] == found[word, "not_entailment"] for word, _ in found)


def test_sizes_and_unseen_nouns() -> None:
    assert (len(TRAIN), len(DEV)) == (2880, 540)
    assert not {(pair.sentence1, pair.sentence2) for pair in TRAIN} & {(pair.sentence1, pair.sentence2) for pair in DEV}
    unseen = {noun for nouns in NOUNS.values() for noun in nouns.split()[-NUM_UNSEEN:]}
    assert not [pair for pair in TRAIN if unseen & set(words(pair.sentence1))]
    assert sum(substitution(pair)[0] in unseen for pair in DEV) == 360


def overlap(pairs: list[Pair]) -> np.ndarray:
    """Shared words, their share, lengths, and whether the second half of the sentence is the same."""
    rows = []
    for pair in pairs:
        one, two = words(pair.sentence1), words(pair.sentence2)
        shared = len(set(one) & set(two))
        place = next(index for index, (a, b) in enumerate(zip(one, two, strict=True)) if a != b)
        rows.append([shared, shared / len(set(one) | set(two)), len(one), len(two), place, place / len(one)])
    return np.asarray(rows, dtype=float)


def dev_accuracy(train: object, dev: object) -> float:
    model = LogisticRegression(max_iter=500).fit(train, [pair.label for pair in TRAIN])
    return float(model.score(dev, [pair.label for pair in DEV]))


def test_overlap_tells_nothing() -> None:
    assert dev_accuracy(overlap(TRAIN), overlap(DEV)) < 0.6


@pytest.mark.parametrize("part", ["sentence1", "sentence2", "both"])
def test_words_and_word_pairs_alone_tell_nothing(part: str) -> None:
    def texts(pairs: list[Pair]) -> list[str]:
        if part == "both":
            return [f"{pair.sentence1} {pair.sentence2}" for pair in pairs]
        return [str(getattr(pair, part)) for pair in pairs]

    for ngram_range in ((1, 1), (1, 3)):
        vectorizer = CountVectorizer(ngram_range=ngram_range)
        train = vectorizer.fit_transform(texts(TRAIN))
        assert dev_accuracy(train, vectorizer.transform(texts(DEV))) < 0.6


def test_bytes_are_the_same_at_every_call(tmp_path: Path) -> None:
    for name in ("a", "b"):
        write_demo(tmp_path / name)
    assert sorted(path.name for path in (tmp_path / "a").iterdir()) == ["dev.tsv", "train.tsv"]
    for file in ("train.tsv", "dev.tsv"):
        assert (tmp_path / "a" / file).read_bytes() == (tmp_path / "b" / file).read_bytes()


def test_loaded_like_any_other_task(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    task = load_task("demo")
    splits = load_splits(task, DataConfig(), seed=1, work_dir=tmp_path)
    assert splits.train is not None
    assert splits.sources["train"] == str(tmp_path / "glue/Demo/train.tsv")
    assert splits.train[0]["sentence1"] == TRAIN[0].sentence1
    assert (len(splits.train), len(splits.validation["validation"])) == (2880, 540)
    again = load_splits(task, DataConfig(dir=str(tmp_path)), seed=2, work_dir=tmp_path)
    assert again.digests == splits.digests
    assert "has no effect, task demo is generated" in caplog.text
    with pytest.raises(ValueError, match="task demo is not on the hub"):
        load_splits(task, DataConfig(source="hub"), seed=1, work_dir=tmp_path)
