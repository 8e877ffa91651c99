"""MRPC as Microsoft publishes it: one train file, from which the dev pairs are yet to be taken."""

import hashlib
import logging
from collections.abc import Sequence
from pathlib import Path

from light_peft.config import TaskConfig
from light_peft.data.cells import read_tsv, text_lines
from light_peft.data.table import Table

logger = logging.getLogger(__name__)

RELEASE_FILE = "msr_paraphrase_train.txt"
TEST_FILE = "msr_paraphrase_test.txt"
DEV_IDS_FILE = "dev_ids.tsv"
ID_COLUMNS = ("#1 ID", "#2 ID")
NUM_DEV = 408
"""Rows of GLUE's dev split, which a hold-out matches in number."""

IdPair = tuple[str, ...]


def read_release(path: Path, split: str, columns: Sequence[str], task: TaskConfig) -> Table:
    """Return `columns` of a split: of train and dev their part of the release file, of a test split the whole file.

    Raises:
        ValueError: as `split_release`.
    """
    if path.name == TEST_FILE:
        return read_tsv(path, columns, task.official)
    train, dev = split_release(path, columns, task)
    return train if split == "train" else dev


def split_release(path: Path, columns: Sequence[str], task: TaskConfig) -> tuple[Table, Table]:
    """Return `columns` of the train and dev rows of the release; no row is in both, together they are the whole file.

    The dev rows are those of `dev_ids.tsv` beside the file, as in GLUE; without it a hold-out of `NUM_DEV` rows,
    the same one at every call, with a warning.

    Raises:
        ValueError: either file cannot be read, or an id pair of `dev_ids.tsv` is not in the release.
    """
    whole = read_tsv(path, list(dict.fromkeys([*columns, *ID_COLUMNS])), task.official)
    ids = list(zip(*(whole.columns[column] for column in ID_COLUMNS), strict=True))
    dev_ids_path = path.with_name(DEV_IDS_FILE)
    if dev_ids_path.is_file():
        dev_ids = _read_dev_ids(dev_ids_path, ids)
    else:
        logger.warning("no %s: %d rows of %s, chosen by hash, are held out as dev", dev_ids_path, NUM_DEV, path)
        dev_ids = set(sorted(ids, key=_hash)[:NUM_DEV])
    train = whole.take([index for index, pair in enumerate(ids) if pair not in dev_ids])
    dev = whole.take([index for index, pair in enumerate(ids) if pair in dev_ids])
    return train, dev


def _read_dev_ids(path: Path, ids: Sequence[IdPair]) -> set[IdPair]:
    dev_ids = {tuple(line.strip().split("\t")) for _, line in text_lines(path) if line.strip()}
    unknown = sorted(dev_ids - set(ids))
    if unknown:
        raise ValueError(f"{path} names {len(unknown)} pairs that {RELEASE_FILE} has not, such as {unknown[0]}")
    return dev_ids


def _hash(pair: IdPair) -> str:
    return hashlib.sha256("\t".join(pair).encode()).hexdigest()
