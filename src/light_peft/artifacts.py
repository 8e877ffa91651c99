"""Every file a run writes: names, record, JSON in and out, checksums; written whole or not at all."""

import hashlib
import json
import shutil
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError

from light_peft.writing import whole_file

if TYPE_CHECKING:  # records are read without torch, whose import takes seconds
    import torch

CONFIG = "config.json"
RECORD = "result.json"
PLAN = "plan.json"
SCORES = "scores.safetensors"
RECOVERY = "recovery.safetensors"
ADAPTER = "adapter"
MODEL = "model"
TOKENIZER = "tokenizer"
PREDICTIONS = "predictions"
CHECKSUMS = "checksums.json"
CHECKPOINTS = "checkpoints"
TEACHER = f"{CHECKPOINTS}/teacher.safetensors"
PREFIX = f"{CHECKPOINTS}/prefix.bin"
LOCK = "run.lock"
LOG = "run.log"


@dataclass
class RunRecord:
    """What happened in a run, finished or not; `docs/record.md` explains every field."""

    status: str = "failed"
    error: str | None = None
    task: str = ""
    model: str = ""
    peft: str = ""
    seed: int = 0
    words: list[str] = field(default_factory=list)
    config: dict[str, Any] = field(default_factory=dict)
    config_sha256: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    hardware: dict[str, Any] = field(default_factory=dict)
    git: dict[str, Any] = field(default_factory=dict)
    data: dict[str, Any] = field(default_factory=dict)
    base: dict[str, Any] = field(default_factory=dict)
    primary_metric: str = ""
    score: float | None = None
    best_score: float | None = None
    metrics: dict[str, float] = field(default_factory=dict)
    calibration: dict[str, float] = field(default_factory=dict)
    parameters: dict[str, int] = field(default_factory=dict)
    estimation: dict[str, Any] = field(default_factory=dict)
    budget: dict[str, Any] = field(default_factory=dict)
    plan: dict[str, Any] = field(default_factory=dict)
    prefix_cache: dict[str, Any] = field(default_factory=dict)
    phases: dict[str, dict[str, Any]] = field(default_factory=dict)
    totals: dict[str, Any] = field(default_factory=dict)
    history: list[dict[str, Any]] = field(default_factory=list)
    resumed: list[dict[str, Any]] = field(default_factory=list)

    @property
    def head(self) -> str:
        """Name of the head that the model ends in."""
        return str(self.base.get("head", "classification"))

    def write(self, folder: Path) -> None:
        """Write the record into the folder of its run."""
        write_json(folder / RECORD, asdict(self))

    @classmethod
    def read(cls, folder: Path) -> "RunRecord":
        """Return the record of a run.

        Raises:
            ValueError: If there is no readable record.
        """
        values = read_json(folder / RECORD)
        try:
            record = cls(**values)
        except TypeError as error:
            raise ValueError(f"{folder / RECORD} is not a run record: {error}") from error
        fresh = asdict(cls())
        for name, value in asdict(record).items():
            like = float if name in ("score", "best_score") else type(fresh[name])
            if not isinstance(value, like) and not (fresh[name] is None and isinstance(value, str | int | None)):
                raise ValueError(f"{folder / RECORD} is damaged: {name} is {str(value)[:80]!r}")
        return record


def write_json(path: Path, values: Any) -> None:
    """Write `values` as JSON; infinities and NaN are refused, for other programs cannot read them."""
    with whole_file(path) as temporary:
        temporary.write_text(json.dumps(values, indent=1, allow_nan=False) + "\n", encoding="utf-8")


def read_json(path: Path) -> Any:
    """Return the content of a JSON file.

    Raises:
        ValueError: If it is missing or damaged.
    """
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise ValueError(f"{path} does not exist; is {path.parent} the folder of a finished run?") from error
    except (OSError, ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def write_tensors(path: Path, tensors: "dict[str, torch.Tensor]") -> None:
    """Write named tensors as safetensors; tensors that share memory are written each on its own.

    Only those, and views, are copied for it: a whole model is never there twice.
    """
    from safetensors.torch import save_file

    owners: set[int] = set()
    own: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        on_host = tensor.detach().cpu().contiguous()
        storage = on_host.untyped_storage()
        alone = storage.nbytes() == on_host.nbytes and storage.data_ptr() not in owners
        own[name] = on_host if alone else on_host.clone()
        owners.add(own[name].untyped_storage().data_ptr())
    with whole_file(path) as temporary:
        save_file(own, temporary)


def read_tensors(path: Path) -> "dict[str, torch.Tensor]":
    """Return the tensors of a safetensors file.

    Raises:
        ValueError: If it is missing or damaged.
    """
    if not path.exists():
        raise ValueError(f"{path} does not exist; is {path.parent} the folder of a finished run?")
    from safetensors.torch import load_file

    try:
        return load_file(path)
    except (OSError, SafetensorError) as error:
        raise ValueError(f"{path} is damaged: {error}") from error


def remove_saved(folder: Path) -> None:
    """Remove what a run that was killed while it saved has saved of its model."""
    (folder / CHECKSUMS).unlink(missing_ok=True)
    for name in (ADAPTER, MODEL, TOKENIZER):
        shutil.rmtree(folder / name, ignore_errors=True)


def write_checksums(folder: Path) -> None:
    """Write the sha256 of every file that a run has saved for loading."""
    single = [name for name in (PLAN, SCORES, RECOVERY) if (folder / name).exists()]
    names = [*single, *(name for part in (ADAPTER, MODEL, TOKENIZER) for name in _inside(folder, part))]
    write_json(folder / CHECKSUMS, {name: file_sha256(folder / name) for name in names})


def verify_checksums(folder: Path) -> None:
    """Hold the files of a run against its checksums.

    Raises:
        ValueError: If one is missing or has changed; all of them are named.
    """
    expected = read_json(folder / CHECKSUMS)
    known = {PLAN, SCORES, RECOVERY, *(name for part in (ADAPTER, MODEL, TOKENIZER) for name in _inside(folder, part))}
    if not isinstance(expected, dict) or PLAN not in expected:
        raise ValueError(f"{folder / CHECKSUMS} is damaged: it must hold a checksum for each file, {PLAN} among them")
    missing = [name for name in expected if name not in known or not (folder / name).is_file()]
    if missing:
        raise ValueError(f"{folder} is damaged: {', '.join(missing)} missing")
    held = [name for name in known if name.endswith((".json", ".safetensors")) and (folder / name).is_file()]
    if unknown := [name for name in held if name not in expected]:
        raise ValueError(f"{folder} is damaged: {CHECKSUMS} says nothing of {', '.join(sorted(unknown))}")
    changed = [name for name, digest in expected.items() if file_sha256(folder / name) != digest]
    if changed:
        raise ValueError(f"{folder} is damaged: {', '.join(changed)} changed since the run wrote it (sha256 differs)")


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def tensors_sha256(tensors: "dict[str, torch.Tensor]") -> str:
    """Return the sha256 over names, shapes and values, whatever the order of the names."""
    import torch

    digest = hashlib.sha256()
    for name in sorted(tensors):
        tensor = tensors[name].detach().cpu().contiguous()
        digest.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        digest.update(tensor.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()


def _inside(folder: Path, name: str) -> list[str]:
    files = sorted(path for path in (folder / name).rglob("*") if path.is_file())
    return [path.relative_to(folder).as_posix() for path in files]
