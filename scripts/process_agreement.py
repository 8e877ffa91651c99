"""One process against several: the same global batch gives the same plan, the same model and the same score.

    python scripts/process_agreement.py [--processes 2] [--seeds 1,2,3] [--kinds lora,bottleneck] [key=value ...]

Every pair of runs is the real command, `python -m run`, on one thread each, in fp32 and without dropout, which draws
on another generator in each process. Printed for each pair: whether the plans are equal, the largest difference of
the scores of estimation, of the trained weights and of the final model's logits on the evaluation examples of the
demo, both scores of the task, and the seconds of a training step.
"""

import argparse
import subprocess
import sys
import tempfile
from pathlib import Path

import torch
from transformers import PreTrainedTokenizerBase

import light_peft
from light_peft.artifacts import RunRecord, read_tensors
from light_peft.data.demo import demo_pairs
from light_peft.loading import load_tokenizer, read_plan, read_scores

EXACT = ("runtime.precision=fp32", "runtime.device=cpu", "runtime.threads=1", "peft.dropout=0", "save.model=true")
COLUMNS = ("peft", "seed", "plans", "scores", "weights", "logits", "score 1", "score n", "s/step 1", "s/step n")
Pair = tuple[Path, Path]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--seeds", default="1,2,3")
    parser.add_argument("--kinds", default="lora,bottleneck")
    parser.add_argument("--batch", type=int, default=32, help="examples of a global batch")
    parser.add_argument("overrides", nargs="*", help="further words of the command line, such as task=rte")
    asked = parser.parse_args()
    print(" | ".join(COLUMNS))
    for kind in asked.kinds.split(","):
        for seed in asked.seeds.split(","):
            with tempfile.TemporaryDirectory() as folder:
                words = [*EXACT, f"peft={kind}", f"seed={seed}", *asked.overrides]
                pair = Path(folder) / "one", Path(folder) / "several"
                for place, count in zip(pair, (1, asked.processes), strict=True):
                    sizes = [f"runtime.processes={count}", f"train.batch_size={asked.batch // count}"]
                    start(place, [*words, *sizes])
                print(" | ".join([kind, seed, *compared(pair)]), flush=True)


def start(folder: Path, words: list[str]) -> None:
    """Run the command; what it says is shown if it fails."""
    done = subprocess.run(
        [sys.executable, "-m", "run", f"run_dir={folder}", *words], capture_output=True, text=True, check=False
    )
    if done.returncode:
        sys.exit(f"{' '.join(done.args)}\n{done.stdout}{done.stderr}")


def compared(pair: Pair) -> list[str]:
    """Return the figures of a pair of runs."""
    records = [RunRecord.read(folder) for folder in pair]
    plans = [read_plan(folder).to_json() for folder in pair]
    scores = [read_scores(folder).tensors() for folder in pair]
    weights = [read_tensors(next((folder / "adapter").glob("*.safetensors"))) for folder in pair]
    models = [light_peft.load(folder) for folder in pair]
    logits = [logits_of(model, load_tokenizer(pair[0])) for model in models]
    steps = [record.phases["train"]["seconds"] / record.phases["train"]["steps"] for record in records]
    return [
        "equal" if plans[0] == plans[1] else "DIFFER",
        f"{difference(*scores):.1e}",
        f"{difference(*weights):.1e}",
        f"{float((logits[0] - logits[1]).abs().max()):.1e}",
        *(f"{record.score:.4f}" for record in records),
        *(f"{seconds:.3f}" for seconds in steps),
    ]


def difference(one: dict[str, torch.Tensor], other: dict[str, torch.Tensor]) -> float:
    """Return the largest difference of tensors of the same names."""
    assert one.keys() == other.keys()
    return max(float((one[name].float() - other[name].float()).abs().max()) for name in one)


@torch.no_grad()
def logits_of(model: torch.nn.Module, tokenizer: PreTrainedTokenizerBase, rows: int = 128) -> torch.Tensor:
    """Return the logits of the first evaluation pairs of the demo."""
    _, pairs = demo_pairs()
    texts = ([pair[0] for pair in pairs[:rows]], [pair[1] for pair in pairs[:rows]])
    batch = tokenizer(*texts, return_tensors="pt", padding=True)
    logits: torch.Tensor = model(**batch).logits
    return logits


if __name__ == "__main__":
    main()
