"""Light-PEFT: early structured pruning in the same steps that fine-tune (arXiv 2406.03792).

A finished run comes back with `light_peft.load(run_dir)`.
"""

from typing import Any

__version__ = "0.1.0"
__all__ = ["attach_adapter", "load", "load_base", "run"]


def __getattr__(name: str) -> Any:
    """Import the public calls when they are first used, so that the command line starts fast."""
    if name == "run":
        from light_peft.session import run

        return run
    if name in __all__:
        from light_peft import loading

        return getattr(loading, name)
    raise AttributeError(f"module 'light_peft' has no attribute '{name}'")
