"""What is written row by row is read back, padded with zeros; a file that is not whole does not have its name."""

from pathlib import Path

import pytest
import torch

from light_peft.data.row_file import RowFile

LENGTHS = [3, 1, 5, 2]
WIDTH = 4


def states_of(length: int, dtype: torch.dtype) -> torch.Tensor:
    """Return states [rows, length, WIDTH] that are nowhere zero."""
    values = torch.arange(1, len(LENGTHS) * length * WIDTH + 1, dtype=torch.float32)
    return values.reshape(len(LENGTHS), length, WIDTH).to(dtype)


def make(folder: Path, dtype: torch.dtype = torch.float32) -> RowFile:
    return RowFile(folder / "deep" / "states.bin", LENGTHS, WIDTH, dtype)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16, torch.float16])
def test_rows_come_back_in_any_order_and_length(tmp_path: Path, dtype: torch.dtype) -> None:
    file, states_BTD = make(tmp_path, dtype), states_of(6, dtype)
    file.begin()
    for rows in ([2, 0], [3, 1]):  # as two processes would, one after the other
        file.write(rows, states_BTD[rows].float())
    file.sync()
    assert not file.is_whole()
    file.end()
    assert file.is_whole()
    assert file.num_bytes == sum(LENGTHS) * WIDTH * dtype.itemsize == file.path.stat().st_size
    found_BTD = make(tmp_path, dtype).read([1, 2, 3], 8)
    assert (found_BTD.dtype, found_BTD.shape) == (dtype, (3, 8, WIDTH))
    for row, found_TD in zip((1, 2, 3), found_BTD, strict=True):
        assert torch.equal(found_TD[: LENGTHS[row]], states_BTD[row, : LENGTHS[row]])
        assert not found_TD[LENGTHS[row] :].any()


def test_one_that_was_left_is_begun_anew(tmp_path: Path) -> None:
    file = make(tmp_path)
    file.begin()
    file.write([0], states_of(3, torch.float32)[:1])
    file.begin()
    file.end()
    assert not file.read([0], 3).any()
    file.begin()
    assert not file.is_whole(), "the old one is gone before there is a new one"
    file.end()
    file.remove()
    assert list(file.path.parent.iterdir()) == []


def test_a_file_that_is_too_short_is_not_taken_for_zeros(tmp_path: Path) -> None:
    file = make(tmp_path)
    file.begin()
    file.end()
    with file.path.open("r+b") as opened:
        opened.truncate(file.num_bytes - 1)
    assert not file.is_whole()
    with pytest.raises(OSError, match=r"states\.bin is shorter than it was"):
        file.read([3], 2)
