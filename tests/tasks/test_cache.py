import errno
import json
import logging
import multiprocessing
import os
import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import pytest
from datasets.table import MemoryMappedTable

from light_peft.tasks import cache
from light_peft.tasks.cache import ENTRY, cache_root, cached

KEY = {"examples": "abc", "max_length": 8}
FEATURES = {"input_ids": [[1, 2, 3], [4], []], "_length": [3, 1, 0], "labels": [0, 1, 1]}


class Encoder:
    """Counts its calls."""

    def __init__(self) -> None:
        self.calls = 0

    def __call__(self) -> datasets.Dataset:
        self.calls += 1
        return datasets.Dataset.from_dict(FEATURES)


def entries(root: Path) -> list[Path]:
    return sorted(path for path in root.iterdir() if not path.name.startswith("."))


def calls(root: Path, key: dict[str, Any] = KEY) -> int:
    """How often a run encodes; its features are right in any case."""
    encode = Encoder()
    assert cached(encode, key, str(root))[:] == FEATURES
    return encode.calls


def test_what_was_kept_is_read_memory_mapped(tmp_path: Path) -> None:
    assert calls(tmp_path) == 1
    found = cached(Encoder(), KEY, str(tmp_path))
    (folder,) = entries(tmp_path)
    assert isinstance(found.data, MemoryMappedTable)
    assert {Path(file["filename"]).parent for file in found.cache_files} == {folder}
    assert calls(tmp_path) == 0
    assert [path.name for path in tmp_path.iterdir()] == [folder.name], "no temporary file is left"


def test_the_first_run_reads_what_it_wrote(tmp_path: Path) -> None:
    assert isinstance(cached(Encoder(), KEY, str(tmp_path)).data, MemoryMappedTable)


def test_another_key_is_another_entry_and_its_order_does_not_matter(tmp_path: Path) -> None:
    assert calls(tmp_path) == 1
    assert calls(tmp_path, dict(reversed(KEY.items()))) == 0
    assert calls(tmp_path, KEY | {"max_length": 9}) == 1
    assert calls(tmp_path, KEY | {"training": None}) == 1
    assert len(entries(tmp_path)) == 3


def test_another_format_is_another_entry(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert calls(tmp_path) == 1
    monkeypatch.setattr(cache, "FORMAT", cache.FORMAT + 1)
    assert calls(tmp_path) == 1


def data_file(folder: Path) -> Path:
    (path,) = folder.glob("*.arrow")
    return path


def truncate(folder: Path) -> None:
    path = data_file(folder)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


def change_a_value(folder: Path) -> None:
    path, ids = data_file(folder), struct.pack("<4i", 1, 2, 3, 4)
    content = path.read_bytes()
    assert ids in content
    path.write_bytes(content.replace(ids, struct.pack("<4i", 1, 2, 7, 4)))


def empty(folder: Path) -> None:
    data_file(folder).write_bytes(b"")


def remove_data(folder: Path) -> None:
    data_file(folder).unlink()


def remove_entry(folder: Path) -> None:
    (folder / ENTRY).unlink()


def break_entry(folder: Path) -> None:
    (folder / ENTRY).write_text("{", encoding="utf-8")


def other_entry(folder: Path) -> None:
    (folder / ENTRY).write_text("[]", encoding="utf-8")


DAMAGES = [truncate, change_a_value, empty, remove_data, remove_entry, break_entry, other_entry]


@pytest.mark.parametrize("damage", DAMAGES)
def test_a_damaged_entry_is_made_anew(
    damage: Callable[[Path], None], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert calls(tmp_path) == 1
    (folder,) = entries(tmp_path)
    damage(folder)
    with caplog.at_level(logging.WARNING):
        assert calls(tmp_path) == 1
    assert [str(folder) in record.getMessage() for record in caplog.records] == [True]
    assert calls(tmp_path) == 0


def test_a_file_that_others_put_beside_does_no_harm(tmp_path: Path) -> None:
    assert calls(tmp_path) == 1
    (entries(tmp_path)[0] / "cache-1234.arrow").write_text("by datasets", encoding="utf-8")
    assert calls(tmp_path) == 0


def test_the_entry_says_what_it_is(tmp_path: Path) -> None:
    cached(Encoder(), KEY, str(tmp_path))
    assert json.loads((entries(tmp_path)[0] / ENTRY).read_text(encoding="utf-8"))["key"] == KEY


def test_what_was_warned_of_is_said_again(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    def encode() -> datasets.Dataset:
        logging.getLogger("light_peft.tasks.some").warning("%d texts were cut", 3)
        logging.getLogger("light_peft.tasks.some").info("not this")
        logging.getLogger("another").warning("nor this")
        return datasets.Dataset.from_dict(FEATURES)

    cached(encode, KEY, str(tmp_path))
    caplog.clear()
    assert calls(tmp_path) == 0
    assert [record.getMessage() for record in caplog.records] == ["3 texts were cut"]


def one_warning(caplog: pytest.LogCaptureFixture, root: Path, reason: str) -> None:
    (message,) = [record.getMessage() for record in caplog.records]
    assert str(root) in message
    assert reason in message


def test_a_folder_that_cannot_be_made_is_one_warning(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    (tmp_path / "file").write_text("", encoding="utf-8")
    root = tmp_path / "file" / "cache"
    assert [calls(root), calls(root)] == [1, 1]
    one_warning(caplog, root, "Not a directory")


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS])
def test_a_disk_that_cannot_take_it_is_one_warning(
    code: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(_: datasets.Dataset, folder: str) -> None:
        (Path(folder) / "half.arrow").write_bytes(b"x")
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(datasets.Dataset, "save_to_disk", fail)
    assert [calls(tmp_path), calls(tmp_path)] == [1, 1]
    one_warning(caplog, tmp_path, os.strerror(code))
    assert list(tmp_path.iterdir()) == [], "nothing half-written is left"


def test_what_is_kept_is_read_where_nothing_can_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert calls(tmp_path) == 1

    def fail(*_: Any) -> None:
        raise PermissionError(errno.EROFS, os.strerror(errno.EROFS))

    monkeypatch.setattr(os, "utime", fail)
    assert calls(tmp_path) == 0


def race(root: str, barrier: Any, results: Any) -> None:
    def encode() -> datasets.Dataset:
        barrier.wait()
        return datasets.Dataset.from_dict(FEATURES)

    results.put(cached(encode, KEY, root)[:] == FEATURES)


def test_processes_that_write_at_once_all_get_their_features(tmp_path: Path) -> None:
    context = multiprocessing.get_context("fork")
    barrier, results = context.Barrier(3), context.SimpleQueue()
    processes = [context.Process(target=race, args=(str(tmp_path), barrier, results)) for _ in range(3)]
    for process in processes:
        process.start()
    assert [results.get() for _ in processes] == [True] * 3
    for process in processes:
        process.join()
    assert len(list(tmp_path.iterdir())) == 1
    assert calls(tmp_path) == 0


def test_an_entry_that_another_process_was_faster_with_is_taken(tmp_path: Path) -> None:
    class Slow(Encoder):
        def __call__(self) -> datasets.Dataset:
            cached(Encoder(), KEY, str(tmp_path))
            return super().__call__()

    assert isinstance(cached(Slow(), KEY, str(tmp_path)).data, MemoryMappedTable)
    assert len(list(tmp_path.iterdir())) == 1


def use(folder: Path, days_ago: float) -> None:
    when = time.time() - days_ago * 24 * 3600
    os.utime(folder / ENTRY, (when, when))


def test_beyond_its_size_what_was_used_longest_ago_goes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folders = []
    for number in range(4):
        calls(tmp_path, {"number": number})
        folders += [path for path in entries(tmp_path) if path not in folders]
    size = sum(path.stat().st_size for path in folders[0].iterdir())
    monkeypatch.setattr(cache, "MAX_BYTES", int(2.5 * size))
    for folder, days_ago in zip(folders, (3, 5, 0.5, 4), strict=True):
        use(folder, days_ago)
    calls(tmp_path, {"number": 0})  # a hit makes it the last used
    calls(tmp_path, {"number": 4})
    left = set(entries(tmp_path))
    assert {folders[0], folders[2]} < left, "used within the last day"
    assert not {folders[1], folders[3]} & left
    assert len(left) == 3


def test_below_its_size_everything_stays(tmp_path: Path) -> None:
    calls(tmp_path, {"number": 0})
    use(entries(tmp_path)[0], 1000)
    calls(tmp_path, {"number": 1})
    assert len(entries(tmp_path)) == 2


def test_only_its_own_folders_are_ever_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    calls(tmp_path, {"number": 0})
    stale = tmp_path / f".{entries(tmp_path)[0].name}.123.part"
    strangers = [tmp_path / "thesis", tmp_path / ("a" * 64), tmp_path / ".git"]
    for folder in (stale, *strangers):
        folder.mkdir()
        (folder / "file").write_text("dear", encoding="utf-8")
    (strangers[0] / ENTRY).write_text("{}", encoding="utf-8")
    use(strangers[0], 1000)
    for folder in (stale, *strangers):
        os.utime(folder, (0, 0))
    monkeypatch.setattr(cache, "MAX_BYTES", 0)
    calls(tmp_path, {"number": 1})
    assert not stale.exists()
    assert all((folder / "file").exists() for folder in strangers)


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    assert cache_root(None) == tmp_path / ".cache" / "light_peft"
    assert cache_root("~/mine") == tmp_path / "mine"
    assert cache_root("here") == Path("here")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "xdg"))
    assert cache_root(None) == tmp_path / "xdg" / "light_peft"
    shutil.rmtree(tmp_path / "xdg", ignore_errors=True)
    cached(Encoder(), KEY, None)
    assert len(entries(tmp_path / "xdg" / "light_peft")) == 1
