"""The splits of a task from the Hugging Face hub, or from its cached copy if the hub does not answer."""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import datasets
from datasets.packaged_modules.cache.cache import Cache
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from light_peft.config import HubData, TaskConfig
from light_peft.data.files import as_written
from light_peft.data.formats import format_of
from light_peft.data.locate import hub_address, hub_splits
from light_peft.data.rows import entries, pick_columns, tabulate
from light_peft.data.table import Table
from light_peft.hub import COMMIT, PROBE_SECONDS, ask_hub, cache_of, watched

logger = logging.getLogger(__name__)


def read_hub(task: TaskConfig, needed: Mapping[str, Sequence[str]]) -> dict[str, Table]:
    """Return those splits of `needed` (name -> columns) that the data set has, with these columns.

    Raises:
        ValueError: the data set, its revision or a needed column does not exist, or neither the hub nor a cached
            copy can be had; within seconds if the hub does not answer.
    """
    if not task.hub.path:
        raise ValueError(
            f"task {task.name} is not on the hub (task.hub.path is empty); give data.dir=... (a folder with "
            f"{task.official.folder or 'its files'}), or data.files.train=... data.files.validation=..."
        )
    names = hub_splits(task)
    addresses = {split: hub_address(task, names[split]) for split in needed if split in names}
    parts = dict.fromkeys(configuration for configuration, _ in addresses.values())
    loaded = {part: _load(replace(task.hub, name=part)) for part in parts}
    tables = {}
    for split, (part, name) in addresses.items():
        dataset, revision = loaded[part]
        if name in dataset:
            source = f"{'/'.join(filter(None, (task.hub.path, part)))}@{revision}, split {name}"
            tables[split] = _table(source, dataset[name], needed[split], task)
    return tables


def _load(hub: HubData) -> tuple[datasets.DatasetDict, str]:
    """Return the whole data set and its commit."""
    answer = _probe(hub)
    if isinstance(answer, RevisionNotFoundError):
        raise ValueError(
            f"task.hub.revision is {hub.revision}, which {hub.path} on the hub has not; null takes the newest"
        ) from answer
    if isinstance(answer, RepositoryNotFoundError):
        raise ValueError(f"task.hub.path is {hub.path}, which the hub has not or does not let you read") from answer
    if isinstance(answer, str):
        built = Path(datasets.config.HF_DATASETS_CACHE) / hub.path.replace("/", "___")
        folders = [cache_of(hub.path, "dataset"), built]
        try:
            return watched(lambda: datasets.load_dataset(hub.path, hub.name, revision=answer), folders), answer
        except Exception as error:
            raise ValueError(_advice(hub, f"could not be loaded from the hub: {error}")) from error
    try:
        return _load_cached(hub)
    except ValueError as error:
        reason = f"{type(answer).__name__}: {answer}"
        of_it = f" of revision {hub.revision} (task.hub.revision=null takes any)" if hub.revision else ""
        raise ValueError(
            _advice(hub, f"cannot be had, no answer from the hub ({reason}), no cached copy{of_it}")
        ) from error


def _probe(hub: HubData) -> str | Exception:
    """Return the commit that the hub names for the data set, or what went wrong, within seconds."""
    return ask_hub(lambda api: api.dataset_info(hub.path, revision=hub.revision, timeout=PROBE_SECONDS).sha)


def _load_cached(hub: HubData) -> tuple[datasets.DatasetDict, str]:
    """Return the copy that `datasets` keeps of an earlier download: of `revision` if that is a commit, else the newest.

    Raises:
        ValueError: there is none.
    """
    fixed = hub.revision is not None and COMMIT.fullmatch(hub.revision)
    version, commit = ("0.0.0", hub.revision) if fixed else ("auto", "auto")
    folder = hub.path.split("/")[-1]
    builder = Cache(dataset_name=folder, repo_id=hub.path, config_name=hub.name, version=version, hash=commit)
    builder.download_and_prepare()
    if hub.revision is not None and not fixed:
        logger.warning("the hub does not answer, cannot check that cached %s is revision %s", hub.path, hub.revision)
    return builder.as_dataset(), str(builder.hash)


def _advice(hub: HubData, problem: str) -> str:
    return (
        f"data set {hub.path} ({hub.name or 'no configuration'}) {problem}; give data.dir=... (a folder with the "
        "official release or the hub's files), or data.files.train=... data.files.validation=..., or fill the cache "
        "on a machine with network (HF_HOME) and set HF_HUB_OFFLINE=1"
    )


def _table(source: str, dataset: datasets.Dataset, wanted: Sequence[str], task: TaskConfig) -> Table:
    form, rename = format_of(task.format), task.official.rename
    names = {name: name for name in dataset.column_names}
    picked = names if form else pick_columns(source, dataset.column_names, wanted, rename)
    values = {column: as_written(dataset[name][:], dataset.features[name]) for column, name in picked.items()}
    table = Table(source, values, range(1, len(dataset) + 1), "row")
    return tabulate(entries(table), form, wanted, rename=rename, like=table) if form else table
