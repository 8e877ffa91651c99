"""How far the plans of two runs agree: the Jaccard index of the heads, neurons and ranks that stay.

    python scripts/plan_agreement.py RUN OTHER_RUN

Meant for an estimation that stopped by itself (estimate.stop=settled) beside one three times as long: had it seen
enough?
"""

import sys
from pathlib import Path

from light_peft.artifacts import RunRecord
from light_peft.loading import read_plan


def main(first: str, second: str) -> None:
    """Print the estimation steps of both runs and the agreement of their plans."""
    folders = [Path(first), Path(second)]
    steps = [RunRecord.read(folder).phases["estimate"]["steps"] for folder in folders]
    one, other = map(read_plan, folders)
    agreement = ", ".join(f"{name} {value:.3f}" for name, value in one.agreement(other).items())
    print(f"estimation steps {steps[0]} and {steps[1]}: {agreement}")


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    main(*sys.argv[1:])
