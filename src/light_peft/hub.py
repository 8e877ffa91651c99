"""The Hugging Face hub: whether it answers, found out within seconds, and which commit a run has from it."""

import logging
import queue
import re
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TypeVar

from huggingface_hub import HfApi, constants, snapshot_download
from huggingface_hub.file_download import repo_folder_name

from light_peft.artifacts import RunRecord
from light_peft.config import Config

COMMIT = re.compile(r"[0-9a-f]{40}")

PROBE_SECONDS = 5.0
"""Patience with each step of the hub's first answer."""
DEADLINE_SECONDS = 10.0
"""Patience with the whole of it."""
STALL_SECONDS = 45.0
"""Patience with a download of which nothing more comes."""
MODEL_FILES = (".json", ".safetensors", ".txt", ".model", ".tiktoken")
"""What is downloaded of a model: configuration, weights and tokenizer, no code and nothing pickled."""
COPIES = re.compile(r".*/|consolidated")
"""What is not, for it is there in another format as well: what lies in a folder, or has this name."""

T = TypeVar("T")


def ask_hub(question: Callable[[HfApi], str | None]) -> str | Exception:
    """Return the commit that the hub names, or what went wrong, within `DEADLINE_SECONDS`."""
    answers: queue.Queue[str | Exception] = queue.Queue()

    def ask() -> None:
        try:
            answers.put(question(HfApi()) or "main")
        except Exception as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answers.get(timeout=DEADLINE_SECONDS)
    except queue.Empty:
        return TimeoutError(f"no answer in {DEADLINE_SECONDS:g} s")


def fetch_model(name: str, revision: str | None, *, reached: bool) -> Path:
    """Return the folder with the files of a model, from the hub if it was reached, else from the cache.

    Raises:
        OSError: If they are not there, or the hub stops sending.
    """
    if reached:
        watched(lambda: _download(name, revision), [cache_of(name, "model")])
    return Path(snapshot_download(name, revision=revision, local_files_only=True))


def _download(name: str, revision: str | None) -> None:
    """Bring the files into the cache, one by one: a pool's threads would keep the process from ending."""
    api = HfApi()
    for file in api.model_info(name, revision=revision, timeout=PROBE_SECONDS).siblings or ():
        if PurePosixPath(file.rfilename).suffix in MODEL_FILES and not COPIES.match(file.rfilename):
            api.hf_hub_download(name, file.rfilename, revision=revision)


def cache_of(name: str, kind: str) -> Path:
    """Return the folder that a download of this model or dataset grows in."""
    return Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name, repo_type=kind)


def watched(download: Callable[[], T], folders: Sequence[Path]) -> T:
    """Return what `download` returns.

    Raises:
        TimeoutError: If nothing has come into the folders for `STALL_SECONDS`; the libraries' own retries, file by
            file, would take many minutes.
    """
    answers: queue.Queue[tuple[T | None, Exception | None]] = queue.Queue()

    def run() -> None:
        try:
            answers.put((download(), None))
        except Exception as error:
            answers.put((None, error))

    logging.getLogger("huggingface_hub").setLevel(logging.ERROR)  # what it retries ends in one error here
    threading.Thread(target=run, daemon=True).start()
    size, since = size_of(folders), time.monotonic()
    while True:
        try:
            result, error = answers.get(timeout=min(1.0, STALL_SECONDS / 4))
        except queue.Empty:
            if (grown := size_of(folders)) != size:
                size, since = grown, time.monotonic()
            elif time.monotonic() - since > STALL_SECONDS:
                raise TimeoutError(f"the hub has sent nothing for {STALL_SECONDS:g} s") from None
            continue
        if error is not None:
            raise error
        return result  # type: ignore[return-value]


def size_of(folders: Sequence[Path]) -> int:
    """Return the bytes of all files below the folders; one that goes while they are counted has none."""
    return sum(_bytes(path) for folder in folders for path in folder.rglob("*"))


def _bytes(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def pinned(config: Config, record: RunRecord) -> Config:
    """Return `config` with the commits that model and data of a run came from, in place of names that move on.

    Args:
        config: What was asked for: a branch, a tag, a commit or nothing.
        record: Of the run, as far as it has come; it names the commits in its sources.
    """
    hub, sources = config.task.hub, record.data.get("sources", {}).values()
    model = commit_of(config.model.path, record.base.get("source", ""))
    data = next((commit for source in sources if (commit := commit_of(hub.path, source))), None)
    hub = replace(hub, revision=data or hub.revision)
    return replace(
        config,
        model=replace(config.model, revision=model or config.model.revision),
        task=replace(config.task, hub=hub),
    )


def commit_of(path: str | None, source: str) -> str | None:
    """Return the commit that `source` (`path@commit`, `path/part@commit, split ...`) names; None if it is no such."""
    name, _, rest = source.partition("@")
    is_of_path = path and (name == path or name.startswith(f"{path}/"))
    return rest[:40] if is_of_path and COMMIT.fullmatch(rest[:40]) else None
