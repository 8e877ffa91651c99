"""What a step costs before and after the cut: seconds, FLOPs, bytes kept for the backward pass; all in one run.

    python scripts/bench.py MODEL [--batch 32] [--length 128] [--rounds 5] [--json FILE] [--only NAME,...]
        [--pairs] [WORD ...]

MODEL is a choice of conf/model or a folder (minilm, random_roberta_base, random_roberta_large, random_opt_1.3b, ...);
further words are those of a run (runtime.threads=2, model.dtype=bf16, peft=lora, ...). LoRA sits on all six
projections, as configured, and on query and value only for the weaker baseline; importance is random, shares are exact.

The cases take turns, round after round, after a warm-up, so that a machine that slows down slows all. Printed are the
median of the rounds and their spread, and each as a ratio to the case it is held against: the measured ratio, that of
the FLOPs (what it would be if time were FLOPs), and the one over the other. Memory: the most bytes that autograd keeps
for the backward pass at a time, each storage once and weights left out (of what is computed again it keeps nothing);
and the peak, which is the weights and the highest allocation above them within a step.

Large models do not fit many times: with --pairs each case takes turns with the one that it is held against, alone.
On a GPU, say: python scripts/bench.py random_opt_1.3b --pairs --json docs/bench/FILE model.dtype=bf16
"""

import argparse
import json
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import asdict, replace
from functools import partial
from itertools import cycle
from pathlib import Path

import torch
from accelerate import Accelerator
from torch import nn

from bench_rounds import Built, Case, Step, line_of, measure
from light_peft import door
from light_peft.config import Config
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

QUERY_VALUE = "peft.targets=[query,value]"
SHARES = {"1/3": 1 / 3, "1/2": 0.5}

Batch = dict[str, torch.Tensor]


class Bench:
    """Builds the cases of one model."""

    def __init__(self, config: Config, words: list[str], batch_size: int, length: int) -> None:
        self.config, self.words = config, words
        self.accelerator: Accelerator = start_runtime(config.runtime, config.seed)
        self.batch_size, self.length = batch_size, length

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

    def training(self, model: nn.Module, after_backward: Step = lambda: None, parts: int = 1) -> Built:
        """Return steps of training: forward and backward by parts, what else looks at the gradients, clip, AdamW."""
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

        return Built(model, step)

    def estimation(self, *, parts: int = 1, checkpointing: bool = False) -> Built:
        """Return steps of estimation that count: those of training, with masks and importance."""
        model, recorder, opened = self.watched(1)
        opened.enter_context(recomputing(peft_kind(self.config.peft.kind).bare(model), checkpointing))
        return replace(self.training(model, lambda: recorder.after_backward(0), parts), close=opened.close)

    def phase(self) -> Built:
        """Return two steps of estimation at a time, the second of which counts."""
        model, recorder, opened = self.watched(2)
        numbers = cycle((0, 1))

        def after_backward() -> None:
            number = next(numbers)
            recorder.after_backward(number)
            recorder.after_step(number if number == 0 else -1)

        step = self.training(model, after_backward).step
        return Built(model, lambda: (step(), step()), opened.close)

    def watched(self, steps: int) -> tuple[nn.Module, ImportanceRecorder, ExitStack]:
        """Return a model, what watches it for a phase of so many steps, half of which count, and what ends that."""
        model, opened = self.attached(), ExitStack()
        config, kind = self.config, peft_kind(self.config.peft.kind)
        bare = kind.bare(model)
        backbone = describe(bare)
        criterion = criterion_of(config.prune.criterion)
        masks = opened.enter_context(masked(bare, backbone.sites, criterion.mask_use))
        subject = Subject(bare, backbone, kind.views(model), masks, config.prune, config.seed)
        recorder = ImportanceRecorder(subject, criterion(subject), replace(config.estimate, window=0.5), steps)
        opened.enter_context(recorder.watching(model))
        return model, recorder, opened

    def inference(self, model: nn.Module, rows: int, *, merge: bool = True) -> Built:
        """Return forward passes of the model, its adapter merged or at work beside it."""
        asked = (peft_kind(self.config.peft.kind).merge(model) if merge else model).eval()
        batch = {name: values for name, values in self.batch(rows).items() if name != "labels"}

        @torch.inference_mode()
        def step() -> None:
            with self.accelerator.autocast():
                asked(**batch)

        return Built(asked, step)

    def cases(self) -> Iterator[Case]:
        """Yield all cases; what they are held against comes first."""
        plain = "train plain"
        yield Case(plain, plain, lambda: self.training(self.attached()))
        yield Case("train plain, query and value", plain, lambda: self.training(self.attached(QUERY_VALUE)))
        yield Case("estimate", plain, self.phase, times=2)
        yield Case("estimate, a step that counts", plain, self.estimation)
        yield Case("estimate, 4 micro-batches", plain, lambda: self.estimation(parts=4))
        yield Case("estimate, checkpointing", plain, lambda: self.estimation(checkpointing=True))
        for name, share in SHARES.items():
            for depth, how in ((0.0, ""), (1.0, ", modules from the top")):
                yield Case(f"train {name}{how}", plain, partial(self._cut_training, share, depth))
        for rows in (1, self.batch_size):
            yield from self._inference_cases(rows)

    def _inference_cases(self, rows: int) -> Iterator[Case]:
        merged, apart = f"infer plain, batch {rows}", f"infer plain, adapter not merged, batch {rows}"
        yield Case(merged, merged, lambda: self.inference(self.attached(), rows))
        yield Case(apart, merged, lambda: self.inference(self.attached(), rows, merge=False))
        for name, share in SHARES.items():
            build = partial(self._cut_inference, share, rows)
            yield Case(f"infer {name}, batch {rows}", merged, build)
            yield Case(f"infer {name}, against the adapter not merged, batch {rows}", apart, build)

    def _cut_training(self, share: float, module_depth: float) -> Built:
        return self.training(self.attached(share=share, module_depth=module_depth))

    def _cut_inference(self, share: float, rows: int) -> Built:
        return self.inference(self.attached(share=share), rows)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model")
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--length", type=int, default=128)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--pairs", action="store_true", help="have two models in memory at a time, not all")
    parser.add_argument("--json", type=Path)
    parser.add_argument("--only", default="", help="beginnings of the names of the cases, comma-separated")
    parser.add_argument("words", nargs="*")
    asked = parser.parse_intermixed_args()
    door.register()
    quiet_libraries()
    words = [*door.with_model_folders([f"model={asked.model}"]), "peft.dropout=0", *asked.words]
    bench = Bench(composed(*words), words, asked.batch, asked.length)
    wanted = tuple(asked.only.split(","))
    held_against = {case.against for case in bench.cases() if case.name.startswith(wanted)}
    cases = [case for case in bench.cases() if case.name.startswith(wanted) or case.name in held_against]
    measure(cases, asked.rounds, bench.accelerator.device, by_pairs=asked.pairs)
    by_name = {case.name: case for case in cases}
    lines = {case.name: line_of(case, by_name[case.against]) for case in cases}
    print("case | s | spread | ratio | FLOP ratio | of the ideal | kept for backward | ratio | peak | ratio")
    for name, line in lines.items():
        figures = f"{line['seconds']:.4f} | {line['spread']:.0%} | {line['ratio']:.3f} | {line['flop_ratio']:.3f}"
        memory = f"{line['saved_bytes'] / 2**20:.1f} MiB | {line['saved_ratio']:.3f}"
        memory += f" | {line['peak_bytes'] / 2**20:.1f} MiB | {line['peak_ratio']:.3f}"
        print(f"{name} | {figures} | {line['of_ideal']:.0%} | {memory}")
    if asked.json is not None:
        machine = {"hardware": hardware(bench.accelerator), "versions": versions()}
        settings = {
            "model": asked.model,
            "batch": asked.batch,
            "length": asked.length,
            "rounds": asked.rounds,
            "pairs": asked.pairs,
        }
        content = machine | settings | {"config": asdict(bench.config), "cases": lines}
        asked.json.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
