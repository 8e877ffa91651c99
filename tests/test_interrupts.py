import os
import random
import signal
import threading
from contextlib import nullcontext

import numpy as np
import pytest
import torch

from light_peft import interrupts
from light_peft.interrupts import Interrupted, Interrupts
from light_peft.runtime import random_states, restore_random_states

BOTH = [(signal.SIGTERM, 143), (signal.SIGINT, 130)]


def send(signum: int) -> None:
    os.kill(os.getpid(), signum)


def caught(*signums: int, deferred: bool, error: BaseException | None = None) -> tuple[BaseException, list[int | None]]:
    """What comes out of a block in which these signals arrive, and what was requested after each of them."""
    seen = []
    with pytest.raises(BaseException) as info, Interrupts() as interrupts_:  # noqa: PT011, PT012
        with interrupts_.deferred() if deferred else nullcontext():
            for signum in signums:
                send(signum)
                seen.append(interrupts_.requested)
            if error is not None:
                raise error
        raise AssertionError("the block did not end")
    return info.value, seen


@pytest.mark.parametrize(("signum", "code"), BOTH)
def test_a_signal_raises_at_once(signum: int, code: int) -> None:
    error, seen = caught(signum, deferred=False)
    assert isinstance(error, Interrupted)
    assert (error.signum, error.exit_code, str(error)) == (signum, code, signal.Signals(signum).name)
    assert seen == []


@pytest.mark.parametrize(("signum", "code"), BOTH)
def test_deferred_work_goes_on_and_ends_where_it_likes(signum: int, code: int) -> None:
    own = Interrupted(signum)
    error, seen = caught(signum, deferred=True, error=own)
    assert error is own
    assert seen == [signum]


@pytest.mark.parametrize(("signum", "code"), BOTH)
def test_a_request_that_nobody_looked_at_ends_the_block(signum: int, code: int) -> None:
    error, seen = caught(signum, deferred=True)
    assert isinstance(error, Interrupted)
    assert error.exit_code == code
    assert seen == [signum]


def test_blocks_within_blocks_end_together() -> None:
    reached = []
    with Interrupts() as interrupted:
        with pytest.raises(Interrupted), interrupted.deferred():  # noqa: PT012
            with interrupted.deferred():
                send(signal.SIGTERM)
            reached.append("inner")
        reached.append("outer")
    assert reached == ["inner", "outer"]


def test_an_error_in_deferred_work_is_the_one_that_is_told() -> None:
    own = ValueError("the loss is not finite")
    assert caught(signal.SIGTERM, deferred=True, error=own) == (own, [signal.SIGTERM])


def test_the_second_signal_waits_for_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "ECHO_SECONDS", 0.0)
    error, seen = caught(signal.SIGTERM, signal.SIGINT, deferred=True)
    assert isinstance(error, Interrupted)
    assert (error.signum, seen) == (signal.SIGINT, [signal.SIGTERM])


def test_the_echo_of_a_signal_is_no_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(interrupts, "ECHO_SECONDS", 3600.0)
    error, seen = caught(signal.SIGINT, signal.SIGTERM, deferred=True)
    assert isinstance(error, Interrupted)
    assert (error.signum, seen) == (signal.SIGINT, [signal.SIGINT, signal.SIGINT])


def test_the_handlers_of_before_come_back() -> None:
    before = {signum: signal.getsignal(signum) for signum, _ in BOTH}
    caught(signal.SIGTERM, deferred=False)
    assert {signum: signal.getsignal(signum) for signum, _ in BOTH} == before


def test_in_another_thread_nothing_changes() -> None:
    before, seen = signal.getsignal(signal.SIGTERM), []

    def work() -> None:
        with Interrupts() as interrupted, interrupted.deferred():
            seen.append(signal.getsignal(signal.SIGTERM))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert seen == [before]


def draws() -> list[float]:
    gauss = [random.gauss(0, 1), float(np.random.standard_normal())]  # noqa: NPY002 the global one is meant
    return [*gauss, random.random(), float(np.random.random()), *torch.rand(3).tolist()]  # noqa: NPY002


def test_every_generator_draws_again_what_it_drew() -> None:
    draws()  # an odd number of normal ones, so that one is held back
    states = random_states(torch.device("cpu"))
    first, second = draws(), draws()
    restore_random_states(states, torch.device("cpu"))
    assert draws() == first
    assert draws() == second != first
