"""How a run goes: training, data, machine, what it leaves behind."""

from dataclasses import dataclass, field


@dataclass
class TrainConfig:
    """The training phase."""

    epochs: float = 3.0
    """Passes over the training data; ignored if max_steps is given."""
    max_steps: int | None = None
    """Optimizer steps; null takes epochs."""
    batch_size: int = 32
    """Examples per forward pass and process; a choice reads all candidates of each."""
    eval_batch_size: int = 64
    """Features (examples, candidates or windows) per forward pass in evaluation."""
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
    micro_batches: int = 1
    """Parts that each forward pass's batch is cut into, as in `estimate.micro_batches`; gradients stay the same."""
    gradient_checkpointing: bool = False
    """Compute each block's activations again in the backward pass instead of keeping them."""
    prefix_cache: str = "off"
    """off | exact | eval: compute the layers below the lowest one that trains once per example instead of in each
    epoch. exact: where nothing random happens there; eval: everywhere, with the dropout of those layers turned off."""
    prefix_cache_gb: float = 8.0
    """Disk space that the cache may take, in GB; a training set that needs more is trained without it."""
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
    test: str | None = None
    """File without labels, same formats, for `save.predictions`; it goes by the name of the first test split."""


@dataclass
class DataConfig:
    """Where the examples come from and how they are cut into batches."""

    source: str = "auto"
    """auto | hub | local: auto reads below `dir` if it is given, else from the hub."""
    dir: str | None = None
    """Folder that holds the official releases (`glue/`, `superglue/`, ...) or the hub's (`nyu-mll/glue/`, ...)."""
    files: DataFiles = field(default_factory=DataFiles)
    max_length: int | None = None
    """Tokens per example at most, longer ones are truncated or cut into windows; null takes the task's own."""
    padding: str = "dynamic"
    """dynamic (to the longest of the batch, batches grouped by length) | max_length."""
    max_train_samples: int | None = None
    """Use a seeded random sample of this many training examples; null takes all."""
    max_eval_samples: int | None = None
    """Use the first so many examples of each evaluation split; null takes all."""
    cache_dir: str | None = None
    """Folder of encoded examples, found again by their content; null is ~/.cache/light_peft, `off` keeps nothing."""


@dataclass
class RuntimeConfig:
    """The machine."""

    precision: str = "auto"
    """auto | fp32 | bf16 | fp16 (autocast; for weights see model.dtype). auto: bf16 where the hardware has it."""
    device: str = "auto"
    """auto | cpu | cuda | mps."""
    threads: int | None = None
    """CPU threads of torch; null leaves torch's choice."""
    processes: int | None = None
    """Processes on this machine; null is one for each GPU, or one on a CPU. Where a launcher (accelerate, torchrun,
    Slurm) has started the processes, theirs is the number."""
    sharding: str = "none"
    """none | fsdp: each process keeps a part of the frozen weights (FSDP2), for models that fit no single device."""


@dataclass
class CheckpointConfig:
    """What a run that is killed can go on from."""

    minutes: float = 5.0
    """Minutes between two checkpoints within a phase."""
    steps: int | None = None
    """Optimizer steps between two checkpoints within a phase; null goes by minutes."""
    keep: int = 2
    """Checkpoints kept at a time, the newest; 0 writes none. A finished run has none."""


@dataclass
class SaveConfig:
    """What a run leaves behind besides its record, plan, scores and adapter."""

    model: bool = True
    """Also save the cut foundation model, so that the run folder loads alone."""
    predictions: bool = False
    """Also write the answers to every validation and test split, in the benchmark's own form."""


@dataclass
class SweepConfig:
    """How the cells of a sweep are run; a single run does not read it."""

    retry: int = 3
    """How often a cell that has failed is tried again, once by each further call of the sweep; 0 leaves it as it is."""
    isolate: bool = True
    """Run each cell in a process of its own: its memory figures are its own then, and so is a crash."""
    show: str = "table"
    """table | runs: a live table of all cells, or what each run shows when it is alone."""
