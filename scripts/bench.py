"""What a step costs before and after the cut: seconds, FLOPs, bytes kept for the backward pass; all in one run.

    python scripts/bench.py MODEL [--batch 32] [--length 128] [--rounds 5] [--json FILE] [--only NAME,...] [WORD ...]

MODEL is a choice of conf/model or a folder (minilm, random_roberta_base, random_roberta_large, random_opt_1.3b, ...);
further words are those of a run (runtime.threads=2, model.dtype=bf16, peft=lora, ...). LoRA sits on all six
projections, as configured, and on query and value only for the weaker baseline; importance is random, shares are exact.

The cases take turns, round after round, after a warm-up, so that a machine that slows down slows all. Printed are the
median of the rounds and their spread, and each as a ratio to the case it is held against: the measured ratio, that of
the FLOPs (what it would be if time were FLOPs), and the one over the other. Memory: the most bytes that autograd keeps
for the backward pass at a time, each storage once and weights left out (of what is computed again it keeps nothing);
and the highest allocation within a step, above what there is before it on a CPU, in all on a GPU.
"""

import argparse
import json
import statistics
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field, replace
from itertools import cycle
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from bench_memory import all_parameters, allocated_by
from light_peft import door
from light_peft.backward_memory import saved_for_backward
from light_peft.config import Config
from light_peft.meter import CPU_ATTENTION
from light_peft.model import describe
from light_peft.model.checkpointing import recomputing
from light_peft.model.load import load_foundation
from light_peft.peft_modules import peft_kind
from light_peft.pruning.criteria import Subject, criterion_of
from light_peft.pruning.decision import plan_of
from light_peft.pruning.estimate import ImportanceRecorder
from light_peft.pruning.masks import masked
from light_peft.pruning.plan import PruneRule
from light_peft.pruning.surgery import cut_backbone, plan_cuts
from light_peft.runtime import hardware, quiet_libraries, start_runtime, versions
from light_peft.training.optim import build_optimizer, trainable_groups
from matrix import composed, random_scores

WARM_UP = 1
"""Rounds that are not measured, behind the steps whose FLOPs and bytes are counted."""
QUERY_VALUE = "peft.targets=[query,value]"
SHARES = {"1/3": 1 / 3, "1/2": 0.5}

Batch = dict[str, torch.Tensor]
Step = Callable[[], object]


@dataclass
class Case:
    """Something whose cost is measured.

    Attributes:
        name: What it is.
        against: The case that it is held against; its own name for none.
        step: Does it once.
        times: How often `step` does it.
        seconds: One figure per round.
        flops: Of one step.
        saved_bytes: Kept for the backward pass, without weights.
        peak_bytes: Highest allocation in a step.
    """

    name: str
    against: str
    step: Step
    times: int = 1
    seconds: list[float] = field(default_factory=list)
    flops: int = 0
    saved_bytes: int = 0
    peak_bytes: int = 0


class Bench:
    """Builds the cases of one model."""

    def __init__(self, config: Config, words: list[str], batch_size: int, length: int) -> None:
        self.config, self.words = config, words
        self.accelerator: Accelerator = start_runtime(config.runtime, config.seed)
        self.batch_size, self.length = batch_size, length
        self.open = ExitStack()

    def attached(self, *words: str, module_depth: float = 0.0, share: float | None = None) -> nn.Module:
        """Return the model with PEFT on it, cut to `share` if one is given, ready to train."""
        config = composed(*self.words, *words)
        torch.manual_seed(config.seed)
        foundation = load_foundation(config.model, config.task)
        backbone, kind = describe(foundation.model), peft_kind(config.peft.kind)
        model = kind.attach(foundation.model, backbone, config.peft)
        if share is not None:
            config.prune.attn = config.prune.ffn = share
            config.prune.module_depth = module_depth
            ranks = {path: view.rank for path, view in kind.views(model).items()}
            plan = plan_of(random_scores(backbone, ranks), PruneRule.of(config.prune), backbone)
            bare, adapter = kind.take_off(model)
            cuts = plan_cuts(backbone, plan)
            adapter = kind.cut(adapter, bare, plan.ranks, cuts)
            cut_backbone(bare, backbone, plan, cuts)
            model = kind.put_on(bare, adapter)
        return model.to(self.accelerator.device)

    def batch(self, rows: int) -> Batch:
        """Return a batch of random words, all of full length."""
        generator = torch.Generator().manual_seed(0)
        ids = torch.randint(5, 1000, (rows, self.length), generator=generator)
        batch = {
            "input_ids": ids,
            "attention_mask": torch.ones_like(ids),
            "labels": torch.zeros(rows, dtype=torch.long),
        }
        return {name: values.to(self.accelerator.device) for name, values in batch.items()}

    def training(self, model: nn.Module, after_backward: Step = lambda: None, parts: int = 1) -> Step:
        """Return a step of training: forward and backward by parts, what else looks at the gradients, clip, AdamW."""
        batch, optimizer = self.batch(self.batch_size), build_optimizer(trainable_groups(model, 1e-4, 0.0))
        parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
        cuts = {name: values.tensor_split(parts) for name, values in batch.items()}
        model.train()

        def step() -> None:
            for index in range(parts):
                part = {name: values[index] for name, values in cuts.items()}
                with self.accelerator.autocast():
                    loss = model(**part).loss * len(part["labels"]) / self.batch_size
                loss.backward()
            after_backward()
            nn.utils.clip_grad_norm_(parameters, 1.0)
            optimizer.step()
            optimizer.zero_grad()

        return step

    def estimation(self, *, parts: int = 1, checkpointing: bool = False) -> Step:
        """Return a step of estimation that counts: that of training, with masks and importance."""
        recorder, model = self.recorder(1)
        self.open.enter_context(recomputing(peft_kind(self.config.peft.kind).bare(model), checkpointing))
        return self.training(model, lambda: recorder.after_backward(0), parts)

    def phase(self) -> Step:
        """Return two steps of estimation, the second of which counts."""
        recorder, model = self.recorder(2)
        numbers = cycle((0, 1))

        def after_backward() -> None:
            number = next(numbers)
            recorder.after_backward(number)
            recorder.after_step(number if number == 0 else -1)

        step = self.training(model, after_backward)
        return lambda: (step(), step())

    def recorder(self, steps: int) -> tuple[ImportanceRecorder, nn.Module]:
        """Return what watches a phase of so many steps, half of which count, and the model that it watches."""
        model = self.attached()
        config, kind = self.config, peft_kind(self.config.peft.kind)
        bare = kind.bare(model)
        backbone = describe(bare)
        criterion = criterion_of(config.prune.criterion)
        masks = self.open.enter_context(masked(bare, backbone.sites, criterion.mask_use))
        subject = Subject(bare, backbone, kind.views(model), masks, config.prune, config.seed)
        recorder = ImportanceRecorder(subject, criterion(subject), replace(config.estimate, window=0.5), steps)
        self.open.enter_context(recorder.watching(model))
        return recorder, model

    def inference(self, model: nn.Module, rows: int, *, merge: bool = True) -> Step:
        """Return a forward pass of the model, its adapter merged or at work beside it."""
        asked = (peft_kind(self.config.peft.kind).merge(model) if merge else model).eval()
        batch = {name: values for name, values in self.batch(rows).items() if name != "labels"}

        @torch.inference_mode()
        def step() -> None:
            with self.accelerator.autocast():
                asked(**batch)

        return step

    def cases(self) -> Iterator[Case]:
        """Yield all cases; what they are held against comes first."""
        yield Case("train plain", "train plain", self.training(self.attached()))
        yield Case("train plain, query and value", "train plain", self.training(self.attached(QUERY_VALUE)))
        yield Case("estimate", "train plain", self.phase(), times=2)
        yield Case("estimate, a step that counts", "train plain", self.estimation())
        yield Case("estimate, 4 micro-batches", "train plain", self.estimation(parts=4))
        yield Case("estimate, checkpointing", "train plain", self.estimation(checkpointing=True))
        for name, share in SHARES.items():
            yield Case(f"train {name}", "train plain", self.training(self.attached(share=share)))
            deep = self.attached(share=share, module_depth=1.0)
            yield Case(f"train {name}, modules from the top", "train plain", self.training(deep))
        for rows in (1, self.batch_size):
            plain = f"infer plain, batch {rows}"
            yield Case(plain, plain, self.inference(self.attached(), rows))
            apart = f"infer plain, adapter not merged, batch {rows}"
            yield Case(apart, plain, self.inference(self.attached(), rows, merge=False))
            for name, share in SHARES.items():
                step = self.inference(self.attached(share=share), rows)
                yield Case(f"infer {name}, batch {rows}", plain, step)
                yield Case(f"infer {name}, against the adapter not merged, batch {rows}", apart, step)


def measure(cases: list[Case], rounds: int, device: torch.device) -> None:
    """Fill in the figures of all cases, which take turns."""
    for case in cases:
        with FlopCounterMode(display=False, custom_mapping=CPU_ATTENTION) as counter:
            case.step()
        case.flops = counter.get_total_flops() // case.times
        with saved_for_backward(all_parameters()) as saved:
            case.step()
        case.saved_bytes = saved.peak
        if device.type == "cpu":
            case.peak_bytes = allocated_by(case.step)
    for number in range(WARM_UP + rounds):
        for case in cases:
            seconds, peak = timed(case.step, device)
            if number >= WARM_UP:
                case.seconds.append(seconds / case.times)
                case.peak_bytes = max(case.peak_bytes, peak)


def timed(step: Step, device: torch.device) -> tuple[float, int]:
    """Return the seconds of a step and the highest allocation on a GPU."""
    if device.type != "cuda":
        began = time.perf_counter()
        step()
        return time.perf_counter() - began, 0
    torch.cuda.reset_peak_memory_stats(device)
    start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
    start.record()
    step()
    end.record()
    torch.cuda.synchronize(device)
    return start.elapsed_time(end) / 1000, torch.cuda.max_memory_allocated(device)


def line_of(case: Case, by_name: dict[str, Case]) -> dict[str, float]:
    """Return the figures of a case beside those of the one it is held against."""
    against = by_name[case.against]
    pairs = zip(case.seconds, against.seconds, strict=True)
    ratios = [one / other for one, other in pairs]
    measured, ideal = statistics.median(ratios), case.flops / against.flops
    return {
        "seconds": statistics.median(case.seconds),
        "spread": (max(case.seconds) - min(case.seconds)) / statistics.median(case.seconds),
        "ratio": measured,
        "flop_ratio": ideal,
        "of_ideal": ideal / measured,
        "saved_ratio": case.saved_bytes / against.saved_bytes if against.saved_bytes else 0.0,
        "saved_bytes": case.saved_bytes,
        "peak_bytes": case.peak_bytes,
        "peak_ratio": case.peak_bytes / against.peak_bytes,
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", default="", help="beginnings of the names of the cases, comma-separated")
    parser.add_argument("words", nargs="*")
    asked = parser.parse_intermixed_args()
    door.register()
    quiet_libraries()
    words = [*door.with_model_folders([f"model={asked.model}"]), "peft.dropout=0", *asked.words]
    bench = Bench(composed(*words), words, asked.batch, asked.length)
    wanted = tuple(asked.only.split(","))
    cases = [case for case in bench.cases() if case.name.startswith(wanted)]
    measure(cases, asked.rounds, bench.accelerator.device)
    by_name = {case.name: case for case in cases}
    lines = {case.name: line_of(case, by_name) for case in cases if case.against in by_name}
    print("case | s | spread | ratio | FLOP ratio | of the ideal | kept for backward | ratio | peak | ratio")
    for name, line in lines.items():
        figures = f"{line['seconds']:.4f} | {line['spread']:.0%} | {line['ratio']:.3f} | {line['flop_ratio']:.3f}"
        memory = f"{line['saved_bytes'] / 2**20:.1f} MiB | {line['saved_ratio']:.3f}"
        memory += f" | {line['peak_bytes'] / 2**20:.1f} MiB | {line['peak_ratio']:.3f}"
        print(f"{name} | {figures} | {line['of_ideal']:.0%} | {memory}")
    if asked.json is not None:
        machine = {"hardware": hardware(bench.accelerator), "versions": versions()}
        settings = {"model": asked.model, "batch": asked.batch, "length": asked.length, "rounds": asked.rounds}
        content = machine | settings | {"config": asdict(bench.config), "cases": lines}
        asked.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
