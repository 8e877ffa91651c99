import errno
import logging
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from accelerate import Accelerator
from hypothesis import given
from hypothesis import strategies as st
from torch import multiprocessing, nn

from checkpoint_cases import work
from light_peft import artifacts, checkpoints
from light_peft.checkpoints import Checkpoint, Checkpoints, State
from light_peft.states import read_state, write_state

OWN = {"random": torch.arange(3, dtype=torch.uint8)}
FILES = ("state.json", "state.safetensors", "rank-0.json", "rank-0.safetensors", "checksums.json")


@pytest.fixture(autouse=True)
def _heard(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logging.getLogger("light_peft"), "propagate", True)


def make(folder: Path, keep: int = 2) -> Checkpoints:
    return Checkpoints(folder, keep, Accelerator(cpu=True))


def at(step: int, stage: str = "train") -> Checkpoint:
    return Checkpoint(stage, step, {"weight": torch.full((4,), float(step))}, OWN)


def names(store: Checkpoints) -> list[str]:
    return sorted(path.name for path in store.folder.iterdir())


def same(a: Any, b: Any) -> bool:
    """Whether two trees are equal in types, order, bits and shapes."""
    if isinstance(a, torch.Tensor):
        alike = isinstance(b, torch.Tensor) and a.dtype == b.dtype and a.shape == b.shape
        return alike and a.contiguous().view(torch.uint8).equal(b.view(torch.uint8)) if a.dim() else bool(a == b)
    if type(a) is not type(b):
        return False
    if isinstance(a, dict):
        pairs = zip(a.items(), b.items(), strict=True)
        return len(a) == len(b) and all(same(k, m) and same(v, w) for (k, v), (m, w) in pairs)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return repr(a) == repr(b)


def back(folder: Path, state: State) -> State:
    write_state(folder, "x", state)
    return read_state(folder, "x")


keys = st.one_of(st.text(max_size=3), st.integers(-(2**70), 2**70), st.booleans(), st.none())
plain = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=5))
dtypes = (torch.float32, torch.bfloat16, torch.float16, torch.float64, torch.int64, torch.uint8, torch.bool)
tensors = st.builds(
    lambda dtype, shape: (
        torch.arange(max(1, int(torch.Size(shape).numel())))[: torch.Size(shape).numel()].reshape(shape).to(dtype)
    ),
    st.sampled_from(dtypes),
    st.lists(st.integers(0, 3), max_size=3),
)
trees = st.recursive(
    st.one_of(plain, tensors),
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.lists(inner, max_size=3).map(tuple), st.dictionaries(keys, inner, max_size=3)
    ),
    max_leaves=12,
)


@given(tree=st.dictionaries(keys, trees, max_size=4))
def test_any_tree_comes_back(tmp_path_factory: pytest.TempPathFactory, tree: State) -> None:
    folder = tmp_path_factory.mktemp("state")
    assert same(back(folder, tree), tree)
    shutil.rmtree(folder)


def test_marks_in_the_users_own_words_are_no_marks(tmp_path: Path) -> None:
    tree = {"dict": {"tensor": "0", "float": "nan"}, "tuple": [("a",), {"tuple": [1]}], 1: "1", "1": 1}
    assert same(back(tmp_path, tree), tree)


def test_floats_of_every_kind_come_back(tmp_path: Path) -> None:
    tree = {"all": [0.1, -0.0, 5e-324, 1e308, float("inf"), -float("inf"), float("nan"), 1.0]}
    assert same(back(tmp_path, tree), tree)


def test_tensors_that_share_memory_come_back_each_on_its_own(tmp_path: Path) -> None:
    base = torch.arange(12.0).reshape(3, 4)
    tree = {"a": base, "b": base, "row": base[1], "t": base.t(), "parameter": nn.Parameter(base), "scalar": base[0, 1]}
    read = back(tmp_path, tree)
    assert all(torch.equal(read[name], tree[name]) for name in tree)
    assert type(read["parameter"]) is torch.Tensor
    read["a"].zero_()
    assert torch.equal(read["b"], base)
    assert read["scalar"].shape == ()


def test_an_optimizer_comes_back(tmp_path: Path) -> None:
    def trained(steps: int, state: State | None = None) -> torch.Tensor:
        torch.manual_seed(0)
        weight = nn.Parameter(torch.ones(5))
        optimizer = torch.optim.AdamW([{"params": [weight], "lr": 0.1}], betas=(0.8, 0.9))
        if state is not None:
            weight.data = state["weight"]
            optimizer.load_state_dict(state["optimizer"])
        for _ in range(steps):
            (weight**2 * torch.arange(5)).sum().backward()
            optimizer.step()
            optimizer.zero_grad()
        write_state(tmp_path, "x", {"weight": weight, "optimizer": optimizer.state_dict()})
        return weight.detach()

    undisturbed = trained(6)
    trained(4)
    assert torch.equal(trained(2, read_state(tmp_path, "x")), undisturbed)


@pytest.mark.parametrize("odd", [object(), {1, 2}, b"bytes", torch.device("cpu"), 1j])
def test_what_would_not_come_back_is_refused_with_its_place(tmp_path: Path, odd: object) -> None:
    with pytest.raises(TypeError, match=rf"^state\.a\.1: {type(odd).__name__} would not come back"):
        write_state(tmp_path, "x", {"a": [0, odd]})
    assert list(tmp_path.iterdir()) == []


def test_a_checkpoint_comes_back(tmp_path: Path) -> None:
    store = make(tmp_path)
    assert store.latest() is None
    assert store.write(Checkpoint("after-cut", 12, {"masks": {3: torch.ones(2)}}, OWN))
    found = make(tmp_path).latest()
    assert found is not None
    assert (found.stage, found.step) == ("after-cut", 12)
    assert same(found.shared, {"masks": {3: torch.ones(2)}})
    assert same(found.own, OWN)
    assert sorted(path.name for path in (store.folder / "000001-after-cut-12").iterdir()) == sorted(FILES)


def test_the_newest_are_kept_whatever_their_stage_and_step(tmp_path: Path) -> None:
    store = make(tmp_path)
    for checkpoint in (at(9, "estimate"), at(10, "estimate"), at(0), at(2)):
        assert store.write(checkpoint)
    assert names(store) == ["000003-train-0", "000004-train-2"]
    again = make(tmp_path)
    found = again.latest()
    assert found is not None
    assert (found.stage, found.step) == ("train", 2)
    again.write(at(2))  # after a resume the same step comes again
    assert names(again) == ["000004-train-2", "000005-train-2"]


def test_kept_none_writes_none(tmp_path: Path) -> None:
    store = make(tmp_path, keep=0)
    assert not store.write(at(1))
    assert store.latest() is None
    assert list(tmp_path.iterdir()) == []


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 16
    path.write_bytes(content)


def cut_short(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def test_the_damaged_one_is_passed_over(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    for damage in (flip, cut_short, Path.unlink, lambda path: path.write_bytes(b"")):
        for name in FILES:
            shutil.rmtree(tmp_path / "checkpoints", ignore_errors=True)
            store = make(tmp_path)
            store.write(at(1))
            store.write(at(2))
            damage(store.folder / "000002-train-2" / name)
            caplog.clear()
            found = store.latest()
            assert found is not None
            assert found.step == 1
            assert torch.equal(found.shared["weight"], torch.ones(4))
            (message,) = caplog.messages
            assert message.startswith(
                f"{store.folder / '000002-train-2'}: this checkpoint is damaged and passed over ("
            )
            assert name in message or name == "checksums.json"  # one flipped digest accuses the file it belongs to
            store.write(at(2))
            assert names(store) == ["000001-train-1", "000003-train-2"]


def test_nothing_whole_is_nothing(tmp_path: Path) -> None:
    store = make(tmp_path)
    store.write(at(1))
    flip(store.folder / "000001-train-1" / "rank-0.safetensors")
    assert store.latest() is None


def test_a_kill_while_writing_leaves_the_one_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store = make(tmp_path)
    store.write(at(1))
    with monkeypatch.context() as patch:
        patch.setattr(checkpoints, "seal_folder", lambda *_: (_ for _ in ()).throw(SystemExit))
        with pytest.raises(SystemExit):
            store.write(at(2))
    assert names(store) == [checkpoints.TEMPORARY, "000001-train-1"]
    again = make(tmp_path)
    found = again.latest()
    assert found is not None
    assert found.step == 1
    again.write(at(2))
    assert names(again) == ["000001-train-1", "000002-train-2"]


def test_another_number_of_processes_is_refused(tmp_path: Path) -> None:
    store = make(tmp_path)
    store.write(at(1))
    folder = store.folder / "000001-train-1"
    for ending in (".json", ".safetensors"):
        shutil.copy(folder / f"rank-0{ending}", folder / f"rank-1{ending}")
    digests = {path.name: artifacts.file_sha256(path) for path in folder.iterdir() if path.name != "checksums.json"}
    artifacts.write_json(folder / "checksums.json", digests)
    with pytest.raises(
        ValueError, match=r"000001-train-1: written by 2 processes, 1 cannot go on from this checkpoint"
    ):
        store.latest()


def failing(which: int, fails: Callable[[], None]) -> Callable[..., Any]:
    """`os.fsync` that fails at its call number `which`."""
    calls = iter(range(10_000))
    real = os.fsync
    return lambda descriptor: fails() if next(calls) == which else real(descriptor)


def full() -> None:
    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def test_a_full_disk_is_one_warning_and_no_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    store = make(tmp_path)
    store.write(at(1))
    syncs = 0
    while True:
        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", failing(syncs, full))
            if store.write(at(2)):
                break
        left = names(store)[1:]
        if left:  # it had its name, and only that may be lost
            break
        syncs += 1
    assert syncs > 10  # five files, each with its folder, then all together
    found = make(tmp_path).latest()
    assert found is not None
    assert found.step == 2
    (message,) = [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]
    assert message.startswith("no checkpoint could be written, the run goes on without: ")
    assert "No space left on device" in message
    assert str(store.folder) in message


def test_two_processes_write_and_find_the_same_one_or_none(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    multiprocessing.spawn(work, args=(2, port, str(tmp_path)), nprocs=2)
    for rank in range(2):
        first, second = f"1 0 {rank}", f"3 0 {rank}"
        said = (tmp_path / f"{rank}.txt").read_text(encoding="utf-8").splitlines()
        assert said == ["none", "True", first, "False", first, "False", first, "True", second, first]
    assert names(make(tmp_path / "run")) == ["000001-train-1", "000002-train-3"]
    with pytest.raises(
        ValueError, match=r"000001-train-1: written by 2 processes, 1 cannot go on from this checkpoint"
    ):
        make(tmp_path / "run").latest()
