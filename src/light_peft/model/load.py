"""A foundation model with a fresh task head, from a package, a folder, the hub, or at random."""

import inspect
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from difflib import get_close_matches
from importlib.machinery import ModuleSpec
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from huggingface_hub.errors import (
    GatedRepoError,
    RepositoryNotFoundError,
    RevisionNotFoundError,
    StrictDataclassError,
)
from transformers import (
    AutoConfig,
    AutoTokenizer,
    PretrainedConfig,
    PreTrainedModel,
    PreTrainedTokenizerBase,
)

from light_peft.artifacts import file_sha256
from light_peft.config import ModelConfig, TaskConfig
from light_peft.hub import PROBE_SECONDS, ask_hub, fetch_model
from light_peft.model.backbone import describe, family_of
from light_peft.model.head import CLASSES, Head, head_of
from light_peft.model.precision import DTYPES, head_in_fp32
from light_peft.model.sizes import check_sizes

EMBEDDING, OUTPUT_EMBEDDING = "embed_tokens.weight", "lm_head.weight"
"""Names of the embedding that a decoder reads with, inside its base model, and of the one it writes with."""


CLASS_NAME = re.compile(r"\b\w+(?:Error|Exception): |<class '|(?<=\\w)'>")


@dataclass(frozen=True)
class Foundation:
    """A loaded foundation model.

    Attributes:
        model: The model with the task's head, on the CPU; its weights in the precision asked for, the head in fp32.
        tokenizer: Its tokenizer, which pads on the right with the model's own padding token.
        source: Where the weights came from: package, folder, hub id and commit, or `random`.
        head: Name of the head that it ends in.
    """

    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    source: str
    head: str


def load_foundation(config: ModelConfig, task: TaskConfig) -> Foundation:
    """Return the configured model with a head for `task`; the head is drawn from the global generator.

    Raises:
        ValueError: If the weights cannot be had or are not the expected ones, or the architecture has no such head.
    """
    if config.random:
        return _at_random(config, task)
    folder = local_folder(config)
    if folder is not None:
        shown = config.package if _is_installed(config.package) else config.path
        return _from_pretrained(config, task, str(folder), shown or "")
    if config.path is None:
        raise ValueError(f"model={config.name}: neither model.path nor an installed model.package to load from")
    name, revision = config.path, config.revision
    answer = ask_hub(lambda api: api.model_info(name, revision=revision, timeout=PROBE_SECONDS).sha)
    with _explained(config, name, "" if isinstance(answer, str) else f"{_refusal(config, answer)}, no cached copy: "):
        folder = fetch_model(name, answer if isinstance(answer, str) else revision, reached=isinstance(answer, str))
    return _from_pretrained(config, task, str(folder), f"{name}@{folder.name}")


def _at_random(config: ModelConfig, task: TaskConfig) -> Foundation:
    folder = _package_folder(config.tokenizer_package, needed_by=config.name)
    with _refused(config, "model.random"):
        architecture = AutoConfig.for_model(**config.random)
    head = _head(config, task, architecture)
    with _refused(config, "model.random or model.config"):
        settings = AutoConfig.for_model(**(config.random | head.settings | dict(config.config)))
    check_sizes(config.name, settings)
    with _refused(config, f"the tokenizer of {config.tokenizer_package}"):
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    dtype = DTYPES.get(config.dtype)
    with _refused(config, "model.random or model.config"):
        model = CLASSES[head.name].from_config(settings, **({"dtype": dtype} if dtype else {}))
    return _settled(config, model, tokenizer, "random", head)


def _from_pretrained(config: ModelConfig, task: TaskConfig, folder: str, shown: str) -> Foundation:
    with _explained(config, shown):
        architecture = AutoConfig.from_pretrained(folder, local_files_only=True)
        tokenizer = AutoTokenizer.from_pretrained(folder, local_files_only=True)
    head = _head(config, task, architecture)
    check_sizes(config.name, architecture)
    settings = head.settings | dict(config.config)
    with _explained(config, shown):
        words = {
            "dtype": DTYPES.get(config.dtype, "auto"),
            "use_safetensors": True,
            "local_files_only": True,
            **settings,
        }
        model, missing = _with_weights(head, folder, head.renaming(architecture), words)
    check_weights(config, model, missing)
    return _settled(config, model, tokenizer, shown, head)


def _with_weights(
    head: Head, name: str, renaming: dict[str, str], words: dict[str, Any]
) -> tuple[PreTrainedModel, Iterable[str]]:
    """Return the model and the names of the weights that the checkpoint lacks.

    A language model whose two embeddings are one may be stored with the output's alone; other heads have no output
    embedding that it could come from, so it is loaded under the name of the input's.
    """
    model, loaded = CLASSES[head.name].from_pretrained(
        name, key_mapping=renaming or None, output_loading_info=True, **words
    )
    lacking = f"{model.base_model_prefix}.{EMBEDDING}"
    if OUTPUT_EMBEDDING in loaded["unexpected_keys"] and lacking in loaded["missing_keys"]:
        return _with_weights(head, name, renaming | {f"^{re.escape(OUTPUT_EMBEDDING)}": lacking}, words)
    if renaming:
        model._weight_conversions = []  # or `save_pretrained` would write the names of the other class
    return model, loaded["missing_keys"]


def _head(config: ModelConfig, task: TaskConfig, architecture: PretrainedConfig) -> Head:
    """Return the head for `task`; architecture and settings are checked."""
    head = head_of(task, decoder=family_of(architecture).decoder)
    head.check(architecture)
    check_settings(config, architecture)
    return head


def check_settings(config: ModelConfig, architecture: PretrainedConfig) -> None:
    """Hold the names in `model.config` against what the architecture has.

    Raises:
        ValueError: If it has no such setting; near names are given.
    """
    known = architecture.to_dict()
    for name in config.config:
        if name not in known:
            near = get_close_matches(name, known, n=3) or sorted(known)
            raise ValueError(f"model.config.{name}: {architecture.model_type} has no such setting; near: {near}")


def check_weights(config: ModelConfig, model: PreTrainedModel, missing: Iterable[str]) -> None:
    """Hold the weights that a checkpoint lacks, and that are random, against what may be: the head.

    Raises:
        ValueError: If one belongs to the foundation model.
    """
    head = set(describe(model).head_modules)
    if lacking := sorted(name for name in missing if not head & set(name.split("."))):
        raise ValueError(
            f"model={config.name}: {len(lacking)} weights of {type(model).__name__} are not in the checkpoint, such as "
            f"{lacking[0]}; give a checkpoint of this architecture"
        )


@contextmanager
def _explained(config: ModelConfig, name: str, missing_because: str = "") -> Iterator[None]:
    """Say what to do where files cannot be loaded; `missing_because` is why they did not come from the hub."""
    try:
        yield
    except Exception as error:  # the tokenizers' library raises no other class, the others raise all there are
        if not missing_because and "safetensors" in str(error):
            raise ValueError(
                f"model={config.name}: '{name}' has no weights as safetensors, and pickled ones (pytorch_model.bin) "
                "are not read, for they can hold code; give a revision that has them (model.revision, on the hub often "
                "refs/pr/NUMBER of its conversion bot), or a folder with converted ones (model.path=FOLDER)"
            ) from error
        raise ValueError(
            f"model={config.name}: cannot load '{name}' ({missing_because}{reason_of(error)}); give a folder with "
            f"model.path=FOLDER, or fill the cache on a machine with network (HF_HOME) and set HF_HUB_OFFLINE=1"
        ) from error


@contextmanager
def _refused(config: ModelConfig, what: str) -> Iterator[None]:
    """Say which settings a library refuses; like `_explained`, it takes whatever class the library raises."""
    try:
        yield
    except Exception as error:
        raise ValueError(f"model={config.name}: {what} cannot be: {reason_of(error)}") from error


def _refusal(config: ModelConfig, answer: Exception) -> str:
    """Return why the hub does not give a model."""
    if isinstance(answer, RevisionNotFoundError):
        return f"model.revision is {config.revision}, which the hub has not; null takes the newest"
    if isinstance(answer, GatedRepoError):
        return "the hub gives it only to who has agreed to its terms and is logged in (HF_TOKEN)"
    if isinstance(answer, RepositoryNotFoundError):
        return f"model.path is {config.path}, which the hub has not or does not let you read"
    return "no answer from the hub"


def _settled(
    config: ModelConfig, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, source: str, head: Head
) -> Foundation:
    head_in_fp32(model, describe(model).head_modules)
    model.config.use_cache = False  # a decoder would keep every key and value; generation asks for it
    agree_on_padding(config.name, model, tokenizer)
    return Foundation(model, tokenizer, source, head.name)


def agree_on_padding(name: str, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase) -> None:
    """Let `tokenizer` give just what `model` takes, padded so that the model finds the last real token.

    A tokenizer without a padding token pads with its eos, else with its unk token.

    Raises:
        ValueError: If it has none of them, or the model has no embedding for it.
    """
    taken = set(inspect.signature(model.forward).parameters)
    if getattr(model.config, "type_vocab_size", None) == 1:
        taken.discard("token_type_ids")  # RoBERTa has one type, others' tokenizers count two
    names = [key for key in tokenizer.model_input_names if key in taken]
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token or tokenizer.unk_token
    pad, limit = tokenizer.pad_token_id, model.config.vocab_size
    if pad is None or pad >= limit:
        what = "has no pad, eos or unk token" if pad is None else f"pads with token {pad} of a vocabulary of {limit}"
        raise ValueError(f"model={name}: its tokenizer {what}, so examples cannot be batched; give it a pad token")
    model.config.pad_token_id = pad
    tokenizer.model_input_names, tokenizer.padding_side = names, "right"
    tokenizer.init_kwargs |= {"model_input_names": names, "padding_side": "right"}


def local_folder(config: ModelConfig) -> Path | None:
    """Return the folder to load from, an installed package before `path`; None if it must be the hub.

    Raises:
        ValueError: If the package's weights are not the expected ones.
    """
    if not _is_installed(config.package):
        return Path(config.path) if config.path is not None and Path(config.path).is_dir() else None
    folder = _package_folder(config.package, needed_by=config.name)
    weights = folder / "model.safetensors"
    if config.sha256 and (digest := file_sha256(weights)) != config.sha256:
        raise ValueError(
            f"model={config.name}: {weights} has sha256 {digest}, expected {config.sha256}; install the package anew"
        )
    return folder


def _is_installed(package: str | None) -> bool:
    return package is not None and _spec(package) is not None


def _spec(package: str) -> ModuleSpec | None:
    """Return where a package is; None where there is none, as for what cannot be the name of one."""
    if not all(part.isidentifier() for part in package.split(".")):
        return None
    try:
        return find_spec(package)
    except (ImportError, ValueError):
        return None


def _package_folder(package: str | None, *, needed_by: str) -> Path:
    spec = _spec(package) if package else None
    if spec is None or spec.origin is None:
        raise ValueError(f"model={needed_by}: needs the Python package '{package}'; install it (see `make install`)")
    return Path(spec.origin).parent / "model"


def reason_of(error: Exception) -> str:
    """Return what a library found wrong with files or settings, in one line."""
    if isinstance(error, RecursionError):
        return "a file is nested too deeply"
    if "ignore_mismatched_sizes" in str(error):
        return "its weights have other shapes than its config.json says"
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    said = " ".join(lines[:1] if isinstance(error, OSError) else lines[:2])
    said = CLASS_NAME.sub("", said) if len(said) <= 400 else f"{said[:397]}..."
    if isinstance(error, OSError | ValueError | StrictDataclassError):
        return said or "it cannot be read"
    return f"its files are damaged or do not fit together: {said or 'they cannot be read'}"
