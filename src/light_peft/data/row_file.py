"""A file of one matrix per feature, each without padding at its own place.

It is read and written by place and never mapped, so that no more of it is in memory than a batch.

Shape suffixes: B batch, T tokens, D width.
"""

import os
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from light_peft.writing import sync, written


class RowFile:
    """Hidden states of all features, in a file that has its name only when it is whole.

    Several processes may write it, each other features: one begins, all write, one ends.

    Attributes:
        path: The file.
        num_bytes: Its size.
    """

    def __init__(self, path: Path, lengths: Sequence[int], width: int, dtype: torch.dtype) -> None:
        """Describe a file at `path`: feature i has `lengths[i]` tokens of `width` numbers."""
        self.path, self._width, self._dtype = path, width, dtype
        self._lengths = np.asarray(lengths, dtype=np.int64)
        self._ends = self._lengths.cumsum() * width * dtype.itemsize
        self._temporary = path.with_name(f".{path.name}.part")
        self.num_bytes = int(self._ends[-1])

    def is_whole(self) -> bool:
        """Return whether it has been written."""
        return self.path.is_file() and self.path.stat().st_size == self.num_bytes

    def begin(self) -> None:
        """Make room for it; one that was there is gone."""
        with written(self.path):
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.remove()
            self._temporary.touch()
            os.truncate(self._temporary, self.num_bytes)

    def write(self, rows: Sequence[int], states_BTD: torch.Tensor) -> None:
        """Put the states of these features, padded behind their tokens, where they belong."""
        host_BTD = states_BTD.detach().to("cpu", self._dtype).contiguous()
        with written(self.path), self._temporary.open("r+b", buffering=0) as file:
            for row, states_TD in zip(rows, host_BTD, strict=True):
                own = memoryview(_bytes(states_TD[: self._lengths[row]]))  # type: ignore[arg-type]
                done, start = 0, self._start(row)
                while done < len(own):  # the system may take less at once, as it does of the last before a full disk
                    done += os.pwrite(file.fileno(), own[done:], start + done)

    def sync(self) -> None:
        """Wait until the disk has what this process has written."""
        with written(self.path):
            sync(self._temporary)

    def end(self) -> None:
        """Give the file its name, all of it being written and on the disk."""
        with written(self.path):
            self._temporary.replace(self.path)
            sync(self.path.parent)

    def read(self, rows: Sequence[int], length: int) -> torch.Tensor:
        """Return the states of these features [B, length, D], zeros behind their tokens.

        Raises:
            OSError: If the file has not what it should have.
        """
        states_BTD = torch.zeros(len(rows), length, self._width, dtype=self._dtype)
        with self.path.open("rb", buffering=0) as file:
            for row, states_TD in zip(rows, states_BTD, strict=True):
                own = _bytes(states_TD[: self._lengths[row]])
                if os.preadv(file.fileno(), [own], self._start(row)) != own.nbytes:  # type: ignore[list-item]
                    raise OSError(f"{self.path} is shorter than it was when it was written")
        return states_BTD

    def remove(self) -> None:
        """Remove the file, and what is left of one that was not ended."""
        for path in (self.path, self._temporary):
            path.unlink(missing_ok=True)

    def _start(self, row: int) -> int:
        """Return the byte at which a feature begins."""
        return int(self._ends[row] - self._lengths[row] * self._width * self._dtype.itemsize)


def _bytes(states_TD: torch.Tensor) -> np.ndarray:
    """Return the memory of contiguous states; numpy knows no bf16."""
    return states_TD.view(torch.uint8).numpy().reshape(-1)
