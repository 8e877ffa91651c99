"""Whether the Hugging Face hub answers, found out within seconds."""

import queue
import threading
from collections.abc import Callable

from huggingface_hub import HfApi

PROBE_SECONDS = 5.0
"""Patience with each step of the hub's first answer."""
DEADLINE_SECONDS = 10.0
"""Patience with the whole of it."""


def ask_hub(question: Callable[[HfApi], str | None]) -> str | Exception:
    """Return the commit that the hub names, or what went wrong, within `DEADLINE_SECONDS`."""
    answers: queue.Queue[str | Exception] = queue.Queue()

    def ask() -> None:
        try:
            answers.put(question(HfApi()) or "main")
        except Exception as error:
            answers.put(error)

    threading.Thread(target=ask, daemon=True).start()
    try:
        return answers.get(timeout=DEADLINE_SECONDS)
    except queue.Empty:
        return TimeoutError(f"no answer in {DEADLINE_SECONDS:g} s")
