"""The splits of a task from the Hugging Face hub, or from its cached copy if the hub does not answer."""

import logging
import re
from collections.abc import Mapping

import datasets
from datasets.packaged_modules.cache.cache import Cache
from huggingface_hub.errors import RepositoryNotFoundError, RevisionNotFoundError

from light_peft.config import HubData, TaskConfig
from light_peft.data.files import class_names, pick_columns
from light_peft.data.table import Table
from light_peft.hub import PROBE_SECONDS, ask_hub

logger = logging.getLogger(__name__)

COMMIT = re.compile(r"[0-9a-f]{40}")


def read_hub(task: TaskConfig, splits: Mapping[str, str], columns: list[str]) -> dict[str, Table]:
    """Return those of `splits` (our name -> the hub's) that the data set has, with these columns.

    Raises:
        ValueError: the data set, its revision or a needed column does not exist, or neither the hub nor a cached
            copy can be had; within seconds if the hub does not answer.
    """
    hub = task.hub
    if not hub.path:
        raise ValueError(f"task {task.name} is not on the hub (task.hub.path is empty), data.source must be local")
    loaded, revision = _load(hub)
    address = "/".join(filter(None, (hub.path, hub.name)))
    tables = {}
    for split, name in splits.items():
        if name in loaded:
            tables[split] = _table(f"{address}@{revision}, split {name}", loaded[name], columns)
    return tables


def _load(hub: HubData) -> tuple[datasets.DatasetDict, str]:
    """Return the whole data set and its commit."""
    answer = _probe(hub)
    if isinstance(answer, RevisionNotFoundError):
        raise ValueError(f"task.hub.revision is {hub.revision}, which {hub.path} on the hub has not") from answer
    if isinstance(answer, RepositoryNotFoundError):
        raise ValueError(f"task.hub.path is {hub.path}, which the hub has not or does not let you read") from answer
    if isinstance(answer, str):
        try:
            return datasets.load_dataset(hub.path, hub.name, revision=answer), answer
        except Exception as error:
            raise ValueError(_advice(hub, f"could not be loaded from the hub: {error}")) from error
    try:
        return _load_cached(hub)
    except ValueError as error:
        reason = f"{type(answer).__name__}: {answer}"
        raise ValueError(_advice(hub, f"cannot be had, no answer from the hub ({reason}), no cached copy")) from error


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


def _table(source: str, dataset: datasets.Dataset, wanted: list[str]) -> Table:
    pick_columns(source, dataset.column_names, wanted, {})
    values = {name: class_names(dataset[name][:], dataset.features[name]) for name in wanted}
    return Table(source, values, range(1, len(dataset) + 1), "row")
