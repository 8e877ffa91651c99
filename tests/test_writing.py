import errno
import logging
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from io import StringIO
from pathlib import Path

import pytest
import torch
from rich.console import Console

from light_peft import artifacts
from light_peft.runtime import start_logging
from light_peft.writing import NotWrittenError, disk_trouble, is_leftover, remove_leftovers, whole_file, whole_folder


def test_a_file_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file.txt"
    with whole_file(path) as temporary:
        temporary.write_text("half")
        assert not path.exists()
    assert path.read_text() == "half"
    assert list(path.parent.iterdir()) == [path]


def test_a_failure_leaves_the_old_file_and_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file.txt"
    path.write_text("old")

    def write_half() -> None:
        with whole_file(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert list(tmp_path.iterdir()) == [path]
    assert path.read_text() == "old"


def test_a_folder_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "folder"
    with whole_folder(path) as temporary:
        (temporary / "a").write_text("1")
        assert not path.exists()
    assert [entry.name for entry in path.iterdir()] == ["a"]
    assert list(tmp_path.iterdir()) == [path]


def test_a_failure_leaves_no_folder(tmp_path: Path) -> None:
    def write_half() -> None:
        with whole_folder(tmp_path / "folder") as temporary:
            (temporary / "a").write_text("1")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        write_half()
    assert list(tmp_path.iterdir()) == []


@contextmanager
def files_up_to(size: int) -> Iterator[None]:
    """Let the system refuse to make a file of this process larger than `size` bytes."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    "write",
    [
        lambda path: artifacts.write_json(path, ["x" * 10_000]),
        lambda path: artifacts.write_tensors(path, {"a": torch.zeros(10_000)}),
    ],
)
def test_a_file_that_the_system_refuses_is_named_and_nothing_is_left(
    tmp_path: Path, write: Callable[[Path], None]
) -> None:
    path = tmp_path / "file"
    path.write_text("old")
    with pytest.raises(NotWrittenError) as caught, files_up_to(1000):
        write(path)
    assert str(caught.value) == f"{path}: cannot be written (File too large)"
    assert caught.value.errno == errno.EFBIG
    assert isinstance(caught.value, ValueError), "a message for the user, not a traceback"
    assert not list(tmp_path.glob(".*.part"))
    assert path.read_text() == "old"


def test_a_file_in_a_folder_goes_by_the_name_that_it_would_have_had(tmp_path: Path) -> None:
    def write() -> None:
        with whole_folder(tmp_path / "model") as temporary:
            artifacts.write_tensors(temporary / "weights", {"a": torch.zeros(10_000)})

    with files_up_to(1000), pytest.raises(NotWrittenError) as caught:
        write()
    assert str(caught.value) == f"{tmp_path / 'model' / 'weights'}: cannot be written (File too large)"
    assert not (tmp_path / "model").exists()


@pytest.mark.parametrize("place", ["file/below", "file"])
def test_a_place_that_cannot_hold_it_is_named(tmp_path: Path, place: str) -> None:
    (tmp_path / "file").write_text("mine")

    def write() -> None:
        with whole_folder(tmp_path / place):
            pass

    with pytest.raises(NotWrittenError, match=rf"{place}: cannot be written \(Not a directory\)"):
        write()
    assert [path.name for path in tmp_path.iterdir()] == ["file"]


def raised(error: Exception) -> Exception:
    """What becomes of an error on its way out of a run."""
    with pytest.raises(type(error)) as caught, disk_trouble():
        raise error
    return caught.value


def test_a_full_disk_elsewhere_is_told_and_other_errors_are_left_alone() -> None:
    told = raised(OSError(errno.ENOSPC, "No space left on device", "cache/data.arrow"))
    assert str(told) == "cache/data.arrow: cannot be written (No space left on device)"
    assert str(raised(OSError(errno.EROFS, "writing failed"))).startswith(
        "a file in a cache: cannot be written (Read-only"
    )
    for error in (FileNotFoundError(errno.ENOENT, "No such file"), ValueError("odd"), NotWrittenError(5, "x", "y")):
        assert raised(error) is error


def test_what_kills_have_left_is_removed_and_nothing_else(tmp_path: Path) -> None:
    left = (".a.json.12-00ff00ff.part", ".model.7-00ff00ff.part", ".tmpAb12Cd")
    for name in (*left, "a.json", ".hidden", "x.part", "tmp"):
        (tmp_path / name).touch()
        assert is_leftover(tmp_path / name) == (name in left)
    (tmp_path / left[1]).unlink()
    (tmp_path / left[1] / "deep").mkdir(parents=True)
    remove_leftovers(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == [".hidden", "a.json", "tmp", "x.part"]


def test_a_log_that_is_full_ends_with_one_warning(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    logger, terminal = logging.getLogger("light_peft"), StringIO()
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "level", logger.level)
    monkeypatch.setattr(logger, "propagate", True)
    log = start_logging(tmp_path / "run.log", Console(file=terminal, width=500))
    logger.info("first")
    with files_up_to(1000):
        for number in range(100):
            logger.info("line %d", number)
    log.close()
    assert terminal.getvalue().count("run.log ends here: File too large") == 1
    assert "line 99" in terminal.getvalue()
    assert "Traceback" not in capsys.readouterr().err + terminal.getvalue()
    assert (tmp_path / "run.log").read_text().splitlines()[0].endswith("INFO first")
