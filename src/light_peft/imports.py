"""Imports of large libraries."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Collect no garbage within the block, which imports.

    What imports make stays; the collector, woken by every few hundred new objects, would walk through all of it over
    and over, for a tenth of the time that torch, transformers and peft take.
    """
    was_enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_enabled:
            gc.enable()
