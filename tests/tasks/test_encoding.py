import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import WordLevel
from tokenizers.normalizers import Lowercase
from tokenizers.pre_tokenizers import Whitespace
from tokenizers.processors import TemplateProcessing
from transformers import PreTrainedTokenizerFast

from light_peft.config import TaskConfig
from light_peft.data.batches import TrainLoader, eval_loader
from light_peft.tasks import encoding
from light_peft.tasks.classification import Classification
from light_peft.tasks.encoding import digest_of_examples, digest_of_tokenizer, encoded

TEXTS = ["w1 w2", "w3", "w2 w2 w2", "W1"]


class Counted(Classification):
    """A classification that counts how often it encodes."""

    calls = 0

    def features(self, *args: Any, **settings: Any) -> datasets.Dataset:
        self.calls += 1
        return super().features(*args, **settings)


def formulation(**changes: Any) -> Counted:
    return Counted(TaskConfig(**{"name": "tiny", "text": ["text"], "labels": ["no", "yes"]} | changes))


def examples(texts: list[str] = TEXTS, labels: list[int] | None = None) -> datasets.Dataset:
    return datasets.Dataset.from_dict({"text": texts, "other": texts, "label": labels or [0, 1, 0, 1]})


def build_tokenizer(words: int = 4, **settings: Any) -> PreTrainedTokenizerFast:
    vocabulary = {"[PAD]": 0, "[UNK]": 1, "[CLS]": 2, "[SEP]": 3} | {f"w{i}": i + 4 for i in range(words)}
    inner = Tokenizer(WordLevel(vocabulary, unk_token="[UNK]"))
    inner.pre_tokenizer = Whitespace()
    inner.post_processor = TemplateProcessing(
        single="[CLS] $A [SEP]", pair="[CLS] $A [SEP] $B:1 [SEP]:1", special_tokens=[("[CLS]", 2), ("[SEP]", 3)]
    )
    return PreTrainedTokenizerFast(tokenizer_object=inner, **{"pad_token": "[PAD]", "unk_token": "[UNK]"} | settings)


@pytest.fixture
def keep_all(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(encoding, "MIN_EXAMPLES", 1)


def ask(form: Counted, folder: Path | str, **changes: Any) -> datasets.Dataset:
    asked = {"examples": examples(), "tokenizer": build_tokenizer(), "max_length": 8, "training": True} | changes
    return encoded(form, **asked, cache_dir=str(folder))


@pytest.mark.usefixtures("keep_all")
def test_the_second_run_does_not_tokenise_and_reads_the_same(tmp_path: Path) -> None:
    first, second = formulation(), formulation()
    features = ask(first, tmp_path)
    found = ask(second, tmp_path)
    assert (first.calls, second.calls) == (1, 0)
    direct = formulation().features(examples(), build_tokenizer(), max_length=8, training=True)
    assert found[:] == features[:] == direct[:]
    assert found.features == direct.features
    assert found["input_ids"][0] == [2, 5, 6, 3]


@pytest.mark.usefixtures("keep_all")
def test_batches_of_kept_features_are_the_same_and_leave_the_entry_alone(tmp_path: Path) -> None:
    tokenizer, form = build_tokenizer(), formulation()
    plain = form.features(examples(), tokenizer, max_length=8, training=False)
    ask(form, tmp_path, training=False)
    kept = ask(form, tmp_path, training=False)
    files = sorted(path.name for path in tmp_path.rglob("*"))
    collate = form.collate(tokenizer, training=False)
    for build, order in ((TrainLoader, {"seed": 1}), (eval_loader, {})):
        loaders = [build(features, collate, batch_size=3, padding="dynamic", **order) for features in (plain, kept)]
        for ours, theirs in zip(*loaders, strict=True):
            assert {name: value.tolist() for name, value in ours.items()} == {n: v.tolist() for n, v in theirs.items()}
    kept.select([3, 0, 2])[:]
    assert sorted(path.name for path in tmp_path.rglob("*")) == files


def lower_case(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.backend_tokenizer.normalizer = Lowercase()


def new_template(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(single="$A [SEP]", special_tokens=[("[SEP]", 3)])


def new_token(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.add_tokens([AddedToken("w1 w2")])


def new_side(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.truncation_side = "left"


def new_inputs(tokenizer: PreTrainedTokenizerFast) -> None:
    tokenizer.model_input_names = ["input_ids"]


@pytest.mark.usefixtures("keep_all")
@pytest.mark.parametrize(
    "changes",
    [
        {"examples": examples(["w1 w2", "w3", "w2 w2 w2", "w1"])},
        {"examples": examples(TEXTS[::-1])},
        {"examples": examples(labels=[0, 1, 0, 0])},
        {"examples": examples(["w1 w2w3", "", "w2 w2 w2", "W1"])},
        {"examples": examples().rename_column("other", "another")},
        {"examples": examples().cast_column("label", datasets.Value("float64"))},
        {"max_length": 4},
        {"training": False},
        {"tokenizer": build_tokenizer(5)},
        {"tokenizer": build_tokenizer(padding_side="left")},
        {"tokenizer": build_tokenizer(split_special_tokens=True)},
    ],
)
def test_whatever_decides_on_features_is_another_entry(changes: dict[str, Any], tmp_path: Path) -> None:
    ask(formulation(), tmp_path)
    other = formulation()
    features = ask(other, tmp_path, **changes)
    assert other.calls == 1
    asked = {"examples": examples(), "tokenizer": build_tokenizer(), "max_length": 8, "training": True} | changes
    given = (asked.pop("examples"), asked.pop("tokenizer"))
    assert features[:] == formulation().features(*given, **asked)[:]


@pytest.mark.usefixtures("keep_all")
@pytest.mark.parametrize("change", [{"text": ["text", "other"]}, {"prompt": "Is {text}?"}])
def test_the_settings_of_the_task_are_another_entry(change: dict[str, Any], tmp_path: Path) -> None:
    ask(formulation(), tmp_path)
    other = formulation(**change)
    ask(other, tmp_path)
    assert other.calls == 1


@pytest.mark.usefixtures("keep_all")
def test_names_do_not_matter(tmp_path: Path) -> None:
    ask(formulation(), tmp_path)
    renamed = formulation(name="another", primary_metric="f1")
    ask(renamed, tmp_path)
    assert renamed.calls == 0


@pytest.mark.usefixtures("keep_all")
def test_other_libraries_are_another_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ask(formulation(), tmp_path)
    monkeypatch.setattr(encoding.transformers, "__version__", "0.0")
    other = formulation()
    ask(other, tmp_path)
    assert other.calls == 1


def test_few_examples_are_encoded_anew(tmp_path: Path) -> None:
    ask(formulation(), tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


@pytest.mark.usefixtures("keep_all")
def test_off_keeps_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    form = formulation()
    ask(form, "off")
    ask(form, "off")
    assert form.calls == 2
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("change", [lower_case, new_template, new_token, new_side, new_inputs])
def test_every_part_of_a_tokenizer_counts(change: Callable[[PreTrainedTokenizerFast], None]) -> None:
    plain, changed = build_tokenizer(), build_tokenizer()
    assert digest_of_tokenizer(plain) == digest_of_tokenizer(changed)
    change(changed)
    assert digest_of_tokenizer(plain) != digest_of_tokenizer(changed)


def test_what_the_last_call_asked_for_does_not_count() -> None:
    tokenizer = build_tokenizer()
    digest, before = digest_of_tokenizer(tokenizer), copy.deepcopy(tokenizer)
    tokenizer(TEXTS, truncation=True, max_length=3, padding="max_length")
    assert tokenizer.backend_tokenizer.truncation is not None
    assert tokenizer.backend_tokenizer.to_str() != before.backend_tokenizer.to_str()
    assert digest_of_tokenizer(tokenizer) == digest


def test_equal_examples_have_equal_digests_however_they_are_stored() -> None:
    digest = digest_of_examples(examples())
    assert digest_of_examples(examples(TEXTS[::-1], [1, 0, 1, 0]).select([3, 2, 1, 0])) == digest
    halves = [examples(TEXTS[:2], [0, 1]), examples(TEXTS[2:], [0, 1])]
    assert digest_of_examples(datasets.concatenate_datasets(halves)) == digest
    longer = examples([*TEXTS, "more"], [0, 1, 0, 1, 1])
    assert digest_of_examples(longer.select(range(4))) == digest
    assert digest_of_examples(longer) != digest


def test_what_classes_are_called_counts() -> None:
    labels = [datasets.ClassLabel(names=names) for names in (["no", "yes"], ["yes", "no"])]
    assert len({digest_of_examples(examples().cast_column("label", label)) for label in labels}) == 2


def test_where_a_text_ends_counts() -> None:
    first, second = ({"a": ["xy", ""], "b": [["p", "q"], []]}, {"a": ["x", "y"], "b": [["p"], ["q"]]})
    digests = {digest_of_examples(datasets.Dataset.from_dict(columns)) for columns in (first, second)}
    assert len(digests) == 2
