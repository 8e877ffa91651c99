"""What is learned: the benchmark task, its files, and the foundation model."""

from dataclasses import dataclass, field
from typing import Any

from omegaconf import MISSING


@dataclass
class HubData:
    """Where a task lies on the Hugging Face hub; its column names are the task's own."""

    path: str = ""
    """Data set id, `owner/name`."""
    name: str | None = None
    """Configuration of the data set, such as `rte`."""
    revision: str | None = None
    """Commit, tag or branch; null takes the newest."""
    train: str = "train"
    """Name of the training split; one of another configuration is `CONFIGURATION:SPLIT`, here and below."""
    validation: dict[str, str] = field(default_factory=dict)
    """Our name of each evaluation split -> the hub's; the first gives the score; empty: {validation: validation}."""
    test: dict[str, str] = field(default_factory=dict)
    """Our name of each split without labels, for `save.predictions` -> the hub's."""


@dataclass
class OfficialData:
    """Where a task lies in its official release, below `data.dir`."""

    folder: str = ""
    """Folder below `data.dir`, such as `glue/RTE`."""
    train: str = "train.tsv"
    """File of the training split."""
    validation: dict[str, str] = field(default_factory=dict)
    """Our name of each evaluation split -> file; the first gives the score; empty: {validation: dev.tsv}."""
    test: dict[str, str] = field(default_factory=dict)
    """Our name of each split without labels, for `save.predictions` -> file."""
    header: list[str] | None = None
    """Column names of files that have no header line; null reads them from the first line."""
    rename: dict[str, str] = field(default_factory=dict)
    """Column of the official file -> column of the task."""
    malformed: str = "error"
    """error | skip: what to do with a line of the wrong number of columns (QQP has a few)."""
    label_file: str | None = None
    """Name of the file beside a split's own that holds its labels, one a line; `{stem}` is the name of the latter."""
    generator: str | None = None
    """Name of a built-in generator that writes these files; null for real data."""


@dataclass
class ChoiceConfig:
    """A choice among candidates."""

    columns: list[str] = field(default_factory=lambda: ["choices"])
    """One column that holds lists of candidates, or one column per candidate."""
    names: str | None = None
    """Column that says what each candidate is called, where answers are compared as texts; null: by their numbers."""
    keys: str | None = None
    """Column that says how each candidate is written in predictions (A to E); null: as `submission` says."""
    by: str = "auto"
    """auto | head | likelihood: a score from a head, or the likelihood under a decoder; auto: as the model is."""
    length_norm: str = "characters"
    """characters | tokens | none: what the log-likelihood of a candidate is divided by."""
    max_train: int | None = None
    """Candidates per example in training, a right one among them; null takes all."""


@dataclass
class SpanConfig:
    """An answer that is a piece of the text."""

    no_answer: bool = False
    """Whether the text may hold no answer; the threshold is found on training examples that are held out."""
    stride: int = 128
    """Tokens that two successive windows of a long text share."""
    max_answer_tokens: int = 30
    """Longest answer that is predicted."""
    n_best: int = 20
    """Starts and ends that are combined in each window, the most likely ones."""
    hold_out: int = 1000
    """Training examples (a tenth of them at most) that find the threshold of `no_answer` and are not trained on."""


@dataclass
class GenerationConfig:
    """An answer that is written by a decoder, token by token."""

    max_new_tokens: int = 16
    """Longest answer."""


@dataclass
class SubmissionConfig:
    """The form in which the benchmark takes predictions."""

    format: str = "jsonl"
    """Name of the form, see `light_peft.evaluation.submission`."""
    file: str = "predictions"
    """Name of the file without its ending."""
    files: dict[str, str] = field(default_factory=dict)
    """Our name of a split -> name of its file, where that is not `file`."""
    labels: list[str] = field(default_factory=list)
    """What stands for each class number; empty takes the task's labels."""


@dataclass
class TaskConfig:
    """What a benchmark task is: its texts, its label, its metrics and where its files lie."""

    name: str = MISSING
    """Name in records and tables."""
    formulation: str = MISSING
    """classification | regression | choice | span | generation."""
    format: str = "rows"
    """How the files' objects become examples: `rows` (as they are), or a name in `light_peft.data.formats`."""
    text: list[str] = MISSING
    """One or two columns that hold the text; a span task has question and context."""
    prompt: str | None = None
    """What is read before a candidate or an answer, with `{column}`s; null joins the texts."""
    label: str = "label"
    """Column that holds the label."""
    labels: list[str] = field(default_factory=list)
    """Label names in the order of their numbers; for classification only."""
    idx: str | None = None
    """Column that identifies an example in predictions; null counts from 0."""
    group: str | None = None
    """Column that examples share which are scored together (the answers to one question)."""
    max_length: int = 128
    """Tokens per example, or per window, at most; `data.max_length` replaces it."""
    choice: ChoiceConfig = field(default_factory=ChoiceConfig)
    span: SpanConfig = field(default_factory=SpanConfig)
    generation: GenerationConfig = field(default_factory=GenerationConfig)
    submission: SubmissionConfig = field(default_factory=SubmissionConfig)
    metrics: list[str] = MISSING
    """Metrics to compute, by their names in `light_peft.evaluation.metrics`."""
    primary_metric: str = MISSING
    """The one metric that is the score."""
    hub: HubData = field(default_factory=HubData)
    official: OfficialData = field(default_factory=OfficialData)


@dataclass
class ModelConfig:
    """Which foundation model, and where its weights come from."""

    name: str = MISSING
    """Name in records and tables."""
    path: str | None = None
    """Hub id, or a local folder in the hub's layout."""
    revision: str | None = None
    """Commit, tag or branch of the hub id; null takes the newest."""
    package: str | None = None
    """Python package that carries the weights in its folder `model/`; used before `path` if installed."""
    sha256: str | None = None
    """Expected checksum of the package's model.safetensors."""
    random: dict[str, Any] = field(default_factory=dict)
    """Configuration values of a randomly initialised model (for tests); empty loads weights."""
    config: dict[str, Any] = field(default_factory=dict)
    """Values that replace those of the model's own configuration, such as hidden_dropout_prob; a wrong name is
    refused."""
    dtype: str = "fp32"
    """auto | fp32 | bf16 | fp16: precision of the frozen weights; PEFT and head stay fp32. auto: as they are stored."""
    tokenizer_package: str | None = None
    """Python package that carries the tokenizer of a randomly initialised model."""
