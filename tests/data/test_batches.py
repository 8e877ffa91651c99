import random
from collections.abc import Iterable
from typing import Any

import pytest
import torch
from datasets import Dataset
from task_files import load_task, tiny_task
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from torch.utils.data import DataLoader
from transformers import DataCollatorWithPadding, PreTrainedTokenizerFast

from light_peft.config import TaskConfig
from light_peft.data.batches import (
    EXAMPLE,
    LENGTH,
    ROW,
    STAND_IN,
    Batch,
    TrainLoader,
    eval_loader,
    median_batch,
    padding_words,
)
from light_peft.tasks.registry import formulation_of

VOCABULARY = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3} | {f"w{i}": i + 4 for i in range(300)}
SIZES: dict[str, Any] = {"batch_size": 8, "padding": "dynamic"}


def encode(dataset: Dataset, task: TaskConfig, tokenizer: PreTrainedTokenizerFast, *, max_length: int) -> Dataset:
    return formulation_of(task).features(dataset, tokenizer, max_length=max_length, training=True)


def collate(tokenizer: PreTrainedTokenizerFast, padding: str = "dynamic") -> Any:
    return DataCollatorWithPadding(tokenizer, **padding_words(padding, 40))


@pytest.fixture(scope="module")
def tokenizer() -> PreTrainedTokenizerFast:
    inner = Tokenizer(WordLevel(VOCABULARY, unk_token="[UNK]"))
    inner.pre_tokenizer = Whitespace()
    inner.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=inner, pad_token="[PAD]", unk_token="[UNK]")


@pytest.fixture(scope="module")
def encoded(tokenizer: PreTrainedTokenizerFast) -> Dataset:
    rng = random.Random(1)
    texts = [" ".join([f"w{index}"] * rng.randint(1, 60)) for index in range(205)]
    dataset = Dataset.from_dict({"sentence": texts, "label": [index % 2 for index in range(205)], "extra": texts})
    return encode(dataset, tiny_task(), tokenizer, max_length=40)


def order(batches: Iterable[Batch]) -> list[int]:
    """Return the examples by their word, which stands at position 1."""
    return [number - 4 for batch in batches for number in batch["input_ids"][:, 1].tolist()]


def test_encoded_columns_and_truncation(encoded: Dataset) -> None:
    notes = {EXAMPLE, LENGTH}
    assert set(encoded.column_names) - notes <= {"input_ids", "attention_mask", "token_type_ids", "labels"}
    assert {"input_ids", "attention_mask", "labels", *notes} <= set(encoded.column_names)
    assert encoded[LENGTH][:] == list(map(len, encoded["input_ids"]))
    assert encoded[EXAMPLE][:] == list(range(205))
    assert encoded["labels"][:4] == [0, 1, 0, 1]
    assert max(map(len, encoded["input_ids"])) == 40


def test_pairs_figures_and_texts_without_label(tokenizer: PreTrainedTokenizerFast) -> None:
    task = load_task("stsb")
    pairs = {"sentence1": ["w1 w2"], "sentence2": ["w3"]}
    plain = encode(Dataset.from_dict(pairs), task, tokenizer, max_length=8)
    assert plain["input_ids"][:] == [[2, 5, 6, 3, 7, 3]]
    assert "labels" not in plain.column_names
    labelled = encode(Dataset.from_dict(pairs | {"label": [3.8]}), task, tokenizer, max_length=8)
    batch = next(iter(eval_loader(labelled, collate(tokenizer), **SIZES)))
    assert not {EXAMPLE, LENGTH} & set(batch)
    assert batch["labels"].dtype == torch.float32
    assert batch["labels"].tolist() == pytest.approx([3.8])


@pytest.mark.parametrize("padding", ["dynamic", "max_length"])
def test_every_epoch_has_all_examples_in_an_order_of_its_own(
    encoded: Dataset, tokenizer: PreTrainedTokenizerFast, padding: str
) -> None:
    def loader(seed: int) -> Iterable[Batch]:
        return TrainLoader(encoded, collate(tokenizer, padding), **(SIZES | {"padding": padding}), seed=seed)

    one, same, other = loader(1), loader(1), loader(2)
    epochs = [order(one) for _ in range(3)]
    assert [sorted(epoch) for epoch in epochs] == [list(range(205))] * 3
    assert epochs[0] != epochs[1] != epochs[2] != epochs[0]
    next(iter(same))  # an epoch that is left early goes on where it was
    assert order(same) == epochs[0][8:]
    assert order(same) == epochs[1]
    assert order(other) != epochs[0]
    assert order(loader(1)) == epochs[0]


@pytest.mark.parametrize("padding", ["dynamic", "max_length"])
@pytest.mark.parametrize("count", [2, 3, 7])
def test_the_shares_of_the_processes_make_up_the_global_batch(
    encoded: Dataset, tokenizer: PreTrainedTokenizerFast, padding: str, count: int
) -> None:
    """A process more is a batch that is larger, and nothing else; a share that would be empty has a stand-in."""
    examples, padded = encoded.select(range(4 * 4 * count + count // 2)), collate(tokenizer, padding)
    sizes: dict[str, Any] = {"padding": padding, "seed": 3}
    shares = [list(TrainLoader(examples, padded, batch_size=4, **sizes, share=(rank, count))) for rank in range(count)]
    whole = list(TrainLoader(examples, padded, batch_size=4 * count, **sizes))
    assert {len(share) for share in shares} == {len(whole)} == {5}
    for index, batch in enumerate(whole):
        own = [share[index] for share in shares if STAND_IN not in share[index]]
        assert sorted(order(own)) == sorted(order([batch]))
    assert [STAND_IN in share[-1] for share in shares] == [rank >= count // 2 for rank in range(count)]
    assert not any(STAND_IN in batch for share in shares for batch in share[:-1])


def test_a_position_is_gone_back_to(encoded: Dataset, tokenizer: PreTrainedTokenizerFast) -> None:
    def loader() -> TrainLoader:
        return TrainLoader(encoded, collate(tokenizer), **SIZES, seed=4)

    whole, left = loader(), loader()
    epochs = [order(whole) for _ in range(3)]
    list(left)
    seen = iter(left)
    next(seen), next(seen)
    other = loader()
    other.restore(left.state())
    assert left.state() == {"epoch": 1, "taken": 2}
    assert [order(other), order(other)] == [epochs[1][16:], epochs[2]]


@pytest.mark.parametrize("count", [1, 2, 3])
@pytest.mark.parametrize("padding", ["dynamic", "max_length"])
def test_the_processes_answer_everything_in_equally_many_batches(
    encoded: Dataset, tokenizer: PreTrainedTokenizerFast, count: int, padding: str
) -> None:
    words: dict[str, Any] = {"batch_size": 8, "padding": padding}
    padded = collate(tokenizer, padding)
    shares = [list(eval_loader(encoded, padded, **words, share=(rank, count))) for rank in range(count)]
    sizes = [[len(batch[ROW]) for batch in share] for share in shares]
    assert all(size == sizes[0] for size in sizes)
    rows = [int(row) for share in shares for batch in share for row in batch[ROW]]
    assert set(rows) == set(range(205))
    assert len(rows) - 205 == -205 % count


def test_global_random_state_neither_matters_nor_changes(encoded: Dataset, tokenizer: PreTrainedTokenizerFast) -> None:
    orders = []
    for seed in (1, 2):
        torch.manual_seed(seed)
        before = torch.get_rng_state()
        orders.append(order(TrainLoader(encoded, collate(tokenizer), **SIZES, seed=5)))
        order(eval_loader(encoded, collate(tokenizer), **SIZES))
        assert torch.equal(torch.get_rng_state(), before)
    assert orders[0] == orders[1]


def test_dynamic_batches_have_similar_lengths_and_the_longest_comes_first(
    encoded: Dataset, tokenizer: PreTrainedTokenizerFast
) -> None:
    grouped = list(TrainLoader(encoded, collate(tokenizer), **SIZES, seed=1))
    ungrouped = DataLoader(encoded, batch_size=8, collate_fn=DataCollatorWithPadding(tokenizer, pad_to_multiple_of=8))
    assert all(batch["input_ids"].shape[1] % 8 == 0 for batch in grouped)
    assert grouped[0]["input_ids"].shape[1] == 40
    assert [len(batch["labels"]) for batch in grouped] == [8] * 25 + [5]

    def padding(batches: list[Batch]) -> int:
        return sum(int((batch["attention_mask"] == 0).sum()) for batch in batches)

    assert padding(grouped) < 0.7 * padding(list(ungrouped))
    assert padding(list(eval_loader(encoded, collate(tokenizer), **SIZES))) < 0.7 * padding(list(ungrouped))


def test_max_length_pads_every_batch_alike(encoded: Dataset, tokenizer: PreTrainedTokenizerFast) -> None:
    sizes = SIZES | {"padding": "max_length"}
    padded = collate(tokenizer, "max_length")
    for batch in (*TrainLoader(encoded, padded, **sizes, seed=1), *eval_loader(encoded, padded, **sizes)):
        assert batch["input_ids"].shape[1] == 40


def test_evaluation_sees_each_example_once_and_knows_its_number(
    encoded: Dataset, tokenizer: PreTrainedTokenizerFast
) -> None:
    loader = eval_loader(encoded, collate(tokenizer), **SIZES)
    assert order(loader) == order(loader)
    assert order(loader) == [int(row) for batch in loader for row in batch[ROW]]
    assert sorted(order(loader)) == list(range(205))
    unsorted = eval_loader(encoded, collate(tokenizer, "max_length"), **(SIZES | {"padding": "max_length"}))
    assert order(unsorted) == list(range(205))


def test_unknown_padding() -> None:
    with pytest.raises(ValueError, match=r"data\.padding is 'longest', must be one of: dynamic, max_length"):
        padding_words("longest", 40)


@pytest.mark.parametrize("parts", [2, 3, 7])
def test_the_parts_of_a_batch_are_the_batch(encoded: Dataset, tokenizer: PreTrainedTokenizerFast, parts: int) -> None:
    """Each batch comes as so many, the last one of 5 too; what there is not comes first, as stand-ins."""
    sizes = SIZES | {"seed": 1}
    whole = list(TrainLoader(encoded, collate(tokenizer), **sizes))
    parted = list(TrainLoader(encoded, collate(tokenizer), **sizes, parts=parts))
    assert len(parted) == parts * len(whole)
    for index, batch in enumerate(whole):
        own = parted[index * parts : (index + 1) * parts]
        real = [part for part in own if STAND_IN not in part]
        assert own[len(own) - len(real) :] == real
        assert order(real) == order([batch])


def test_the_middle_of_the_lengths_makes_the_median_batch() -> None:
    lengths = [9, 1, 5, 7, 3]
    features = Dataset.from_dict({"input_ids": [[length] for length in lengths], LENGTH: lengths})

    def stacked(rows: list[dict[str, Any]]) -> Batch:
        assert list(rows[0]) == ["input_ids"], "notes are not for the model"
        return {"input_ids": torch.tensor([row["input_ids"] for row in rows])}

    assert sorted(median_batch(features, stacked, 3)["input_ids"].flatten().tolist()) == [3, 5, 7]
    assert len(median_batch(features, stacked, 9)["input_ids"]) == 5
