"""What is done to the model: PEFT, pruning, estimation."""

from dataclasses import dataclass, field

from omegaconf import MISSING


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
class TargetConfig:
    """What the cut shall reach; one of these, and the shares of heads and neurons follow from it.

    What a head and a neuron cost is measured on this machine, on a batch of the training set. The price of a
    neuron is a mean over even widths; ragged ones can be slower than it says: see `prune.round_to`.
    """

    speedup: float | None = None
    """Examples per second of a training step behind the cut, over those before it; above 1."""
    memory: float | None = None
    """Memory of a training step (weights and what is kept for the backward pass) over that before, in (0, 1)."""
    blocks: float | None = None
    """Share of the blocks' parameters that stays, in (0, 1)."""


@dataclass
class PruneConfig:
    """What is cut after estimation, and by which rule."""

    method: str = MISSING
    """light_peft | none (none: no estimation, no cut; the plain PEFT baseline)."""
    criterion: str = "taylor"
    """mask | taylor | fisher | magnitude | lora_gradient | random | layer: what makes a head or neuron worth keeping;
    each is a file of pruning/criteria."""
    attn: float = 0.0
    """Share of attention heads to cut, in [0, 1)."""
    ffn: float = 0.0
    """Share of FFN neurons to cut, in [0, 1)."""
    target: TargetConfig = field(default_factory=TargetConfig)
    """Chooses `attn` and `ffn` after estimation; those given then count in the checks of estimation alone."""
    peft_module: float = 0.0
    """Share of PEFT modules to remove whole, in [0, 1)."""
    module_depth: float = 0.0
    """Weight of depth beside importance in choosing PEFT modules, in [0, 1]: 0 asks importance alone, 1 removes the
    modules of the lowest layers first, so that the backward pass ends early."""
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
    tolerance: float = 0.9
    """stop=settled: mean Jaccard index of successive checks at which it stops, of heads, neurons and ranks each."""
    patience: int = 3
    """stop=settled: checks over which that mean is taken."""
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
    reuse: str = "auto"
    """Folder of estimations, which runs that differ only in what is cut share; `off`, or `auto`: below the folder of a
    sweep, and off without one."""
    micro_batches: int = 1
    """Parts that each batch is cut into, a forward and a backward pass each: gradients and importance stay those of
    the whole batch, the memory falls."""
    gradient_checkpointing: bool = False
    """Compute each block's activations again in the backward pass instead of keeping them."""
    ratio_dropout: bool = True
    """Whether the importance ratio sees the PEFT module's dropout (true costs nothing extra)."""
