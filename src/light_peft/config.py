"""Every knob of a run: dataclass fields with their unit or meaning below them, and all checks.

Hydra uses these classes as the schema of `conf/`; library users may build them by hand.
The defaults live in `conf/`; a field without a default here must be given there or by the caller.
"""

from dataclasses import dataclass, field
from typing import Any, cast

from omegaconf import MISSING, OmegaConf


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
    """Name of the training split."""
    validation: dict[str, str] = field(default_factory=dict)
    """Our name of each evaluation split -> the hub's; the first gives the score; empty: {validation: validation}."""


@dataclass
class OfficialData:
    """Where a task lies in its official release, below `data.dir`."""

    folder: str = ""
    """Folder below `data.dir`, such as `glue/RTE`."""
    train: str = "train.tsv"
    """File of the training split."""
    validation: dict[str, str] = field(default_factory=dict)
    """Our name of each evaluation split -> file; the first gives the score; empty: {validation: dev.tsv}."""
    header: list[str] | None = None
    """Column names of files that have no header line; null reads them from the first line."""
    rename: dict[str, str] = field(default_factory=dict)
    """Column of the official file -> column of the task."""
    malformed: str = "error"
    """error | skip: what to do with a line of the wrong number of columns (QQP has a few)."""
    generator: str | None = None
    """Name of a built-in generator that writes these files; null for real data."""


@dataclass
class TaskConfig:
    """What a benchmark task is: its texts, its label, its metrics and where its files lie."""

    name: str = MISSING
    """Name in records and tables."""
    formulation: str = MISSING
    """classification | regression."""
    text: list[str] = MISSING
    """One or two columns that hold the text."""
    label: str = "label"
    """Column that holds the label."""
    labels: list[str] = field(default_factory=list)
    """Label names in the order of their numbers; empty for regression."""
    metrics: list[str] = MISSING
    """Metrics to compute: accuracy, f1, matthews_correlation, pearson, spearman."""
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


@dataclass
class PeftConfig:
    """What is added to the frozen model and trained."""

    kind: str = MISSING
    """adalora | bitfit | bottleneck | full | ia3 | lora | miss | prefix_tuning | prompt_tuning."""
    r: int = 8
    """LoRA: rank. AdaLoRA: mean rank in the end. Bottleneck: units. MiSS: inputs that share an increment."""
    alpha: float = 16.0
    """LoRA, AdaLoRA: the increment is scaled by alpha / r (AdaLoRA: alpha / init_r)."""
    dropout: float = 0.05
    """Dropout, a probability: on the input of the increment; Bottleneck: on the activated units."""
    targets: list[str] = field(default_factory=list)
    """LoRA, AdaLoRA, IA3, MiSS: projections with a module, of query key value attn_output intermediate output."""
    use_rslora: bool = False
    """LoRA: scale the increment by alpha / sqrt(r)."""
    use_dora: bool = False
    """LoRA: learn the norm of each row of the weight apart from its direction (DoRA)."""
    placement: str = "houlsby"
    """houlsby | pfeiffer | parallel: Bottleneck: behind attention and FFN, behind the FFN, or beside the FFN."""
    activation: str = "relu"
    """relu | gelu | silu | tanh: Bottleneck: activation of the units."""
    miss_init: str = "default"
    """default | mini | bat: MiSS: which increment; mini also shares outputs, bat is a product with the weight."""
    miss_mini_r: int = 1
    """MiSS with miss_init=mini: outputs that share an increment."""
    init_r: int = 12
    """AdaLoRA: rank of each module at the start."""
    tinit: float = 0.1
    """AdaLoRA: share of the training steps before the ranks begin to fall, in [0, 1)."""
    tfinal: float = 0.3
    """AdaLoRA: share of the training steps after the ranks have fallen, in [0, 1)."""
    delta_t: int = 10
    """AdaLoRA: steps between two allocations."""
    virtual_tokens: int = 20
    """Prefix and prompt tuning: learned tokens before the text."""


@dataclass
class PruneConfig:
    """What is cut after estimation, and by which rule."""

    method: str = MISSING
    """light_peft | none (none: no estimation, no cut; the plain PEFT baseline)."""
    criterion: str = "mask"
    """mask | taylor | fisher | magnitude | lora_gradient | random | layer: what makes a head or neuron worth keeping;
    each is a file of pruning/criteria."""
    attn: float = 0.0
    """Share of attention heads to cut, in [0, 1)."""
    ffn: float = 0.0
    """Share of FFN neurons to cut, in [0, 1)."""
    peft_module: float = 0.0
    """Share of PEFT modules to remove whole, in [0, 1)."""
    peft_rank: float = 0.0
    """Share of ranks to cut among the PEFT modules that stay, in [0, 1)."""
    attn_scope: str = "layer"
    """layer | global: take the share of heads in each layer, or over all layers."""
    ffn_scope: str = "global"
    """layer | global: take the share of neurons in each layer, or over all layers."""
    rank_scope: str = "global"
    """module | global: take the share of ranks in each PEFT module, or over all of them."""
    fold_masks: bool = True
    """Multiply the survivors' learned mask values into the consumer; false sets them back to 1."""
    compensate_bias: bool = False
    """Add the mean contribution of the cut groups to the consumer's bias."""
    refit: bool = False
    """Refit the consumer by least squares, so that the kept groups stand in for the cut ones; keeps one matrix of
    the squared FFN width per layer during estimation."""
    merge_cut_peft: bool = False
    """Add what the cut PEFT modules and ranks have learned so far to the foundation model's weights."""
    round_to: int = 1
    """FFN widths become multiples of this number of neurons; the total stays the nearest multiple."""
    allow_empty: bool = False
    """Whether a layer may lose all its heads or neurons."""
    compare: str = "magnitude"
    """magnitude | signed: rank masks by |m| or, as the published code, by m."""
    threshold: str = "count"
    """count | quantile: cut an exact number, or keep what is strictly above the float64 quantile."""


@dataclass
class EstimateConfig:
    """The estimation phase: PEFT, head and masks are trained together, importance is gathered."""

    steps: float = 0.2
    """Optimizer steps: a count if >= 1, else a fraction of the training steps; the upper bound if stop=settled."""
    stop: str = "steps"
    """steps | settled: after `steps`, or as soon as successive checks would keep the same."""
    check_every: int = 10
    """Optimizer steps between two checks of what would be kept."""
    tolerance: float = 0.95
    """Jaccard index from which two successive checks agree, of heads, neurons and ranks each, in (0, 1]."""
    patience: int = 3
    """Successive checks that must agree before estimation stops."""
    l1_attn: float = 1e-4
    """Coefficient of sum|m| over all heads in the loss."""
    l1_ffn: float = 1e-4
    """Coefficient of sum|m| over all neurons in the loss."""
    mask_lr_factor: float = 10.0
    """Learning rate of the head masks, as a multiple of the PEFT rate."""
    ffn_mask_lr_factor: float | None = None
    """The same for the neuron masks; null takes mask_lr_factor."""
    learning_rate: float | None = None
    """PEFT learning rate of this phase; null takes train.learning_rate."""
    warmup: float = 0.0
    """Warm-up steps: a count if >= 1, else a fraction of this phase's steps."""
    scheduler: str = "linear"
    """constant | linear | cosine."""
    window: float = 0.5
    """Share of the steps, at the end, over which importance is averaged, in (0, 1]."""
    rank_score: str = "taylor"
    """taylor (|mean w*g| per factor, as published) | taylor_abs (sum |w*g|)."""
    ratio_dropout: bool = True
    """Whether the importance ratio sees the PEFT module's dropout (true costs nothing extra)."""


@dataclass
class TrainConfig:
    """The training phase."""

    epochs: float = 3.0
    """Passes over the training data; ignored if max_steps is given."""
    max_steps: int | None = None
    """Optimizer steps; null takes epochs."""
    batch_size: int = 32
    """Examples per forward pass and process."""
    eval_batch_size: int = 64
    """Examples per forward pass in evaluation."""
    learning_rate: float = 1e-3
    """Peak learning rate of PEFT and head."""
    warmup: float = 0.1
    """Warm-up steps: a count if >= 1, else a fraction of the training steps."""
    weight_decay: float = 0.0
    """AdamW decay; biases, norms and masks have none."""
    scheduler: str = "linear"
    """constant | linear | cosine."""
    gradient_accumulation: int = 1
    """Forward passes per optimizer step."""
    max_grad_norm: float = 1.0
    """Gradient norm clip over all trainables; 0 turns it off."""
    distill: float = 0.0
    """Weight of a distillation term on the outputs of the model before the cut; 0 leaves it out."""
    distill_temperature: float = 2.0
    """Temperature of the distillation term, for classification."""


@dataclass
class DataFiles:
    """Files that replace the task's own."""

    train: str | None = None
    """Training file (.tsv, .csv, .jsonl, .json or .parquet)."""
    validation: str | None = None
    """Evaluation file, same formats."""


@dataclass
class DataConfig:
    """Where the examples come from and how they are cut into batches."""

    source: str = "auto"
    """auto | hub | local: auto reads below `dir` if it is given, else from the hub."""
    dir: str | None = None
    """Folder that holds `glue/` (official release) or `nyu-mll/glue/` (the hub's layout)."""
    files: DataFiles = field(default_factory=DataFiles)
    max_length: int = 128
    """Tokens per example at most; longer ones are truncated."""
    padding: str = "dynamic"
    """dynamic (to the longest of the batch, batches grouped by length) | max_length."""
    max_train_samples: int | None = None
    """Use a seeded random sample of this many training examples; null takes all."""
    max_eval_samples: int | None = None
    """Use the first so many examples of each evaluation split; null takes all."""


@dataclass
class RuntimeConfig:
    """The machine."""

    precision: str = "auto"
    """auto | fp32 | bf16 | fp16 (autocast; for weights see model.dtype). auto: bf16 where the hardware has it."""
    device: str = "auto"
    """auto | cpu | cuda | mps."""
    threads: int | None = None
    """CPU threads of torch; null leaves torch's choice."""


@dataclass
class SaveConfig:
    """What a run leaves behind besides its record, plan, scores and adapter."""

    model: bool = True
    """Also save the cut foundation model, so that the run folder loads alone."""


@dataclass
class Config:
    """A whole run, as asked for."""

    task: TaskConfig = field(default_factory=TaskConfig)
    model: ModelConfig = field(default_factory=ModelConfig)
    peft: PeftConfig = field(default_factory=PeftConfig)
    prune: PruneConfig = field(default_factory=PruneConfig)
    estimate: EstimateConfig = field(default_factory=EstimateConfig)
    train: TrainConfig = field(default_factory=TrainConfig)
    data: DataConfig = field(default_factory=DataConfig)
    runtime: RuntimeConfig = field(default_factory=RuntimeConfig)
    save: SaveConfig = field(default_factory=SaveConfig)
    seed: int = 42
    """Seed of initialisation, data order and dropout."""
    run_dir: str | None = None
    """Folder of this run; null makes a fresh one below outputs/."""
    evaluate: str | None = None
    """Folder of a finished run to score again instead of running."""


def config_from_dict(values: dict[str, Any], overrides: dict[str, Any] | None = None) -> Config:
    """Return the typed configuration of composed plain values, such as a record holds.

    Raises:
        omegaconf.errors.OmegaConfBaseException: If a key is unknown, missing or of the wrong type.
    """
    return cast(Config, OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(Config), values, overrides or {})))
