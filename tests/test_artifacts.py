import json
from dataclasses import fields
from pathlib import Path

import pytest
import torch

from light_peft import artifacts
from light_peft.artifacts import RunRecord, tensors_sha256

CONTRACT = """
status error task model peft seed config versions git primary_metric score best_score metrics parameters plan phases
totals
"""
"""Names in a record that other programs read."""


@pytest.fixture(autouse=True)
def _in_an_empty_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -float("inf")])
def test_json_has_no_nan(tmp_path: Path, value: float) -> None:
    with pytest.raises(ValueError, match="Out of range"):
        artifacts.write_json(tmp_path / "a.json", {"deep": [{"value": value}]})
    assert list(tmp_path.iterdir()) == []


def test_json_comes_back(tmp_path: Path) -> None:
    values = {"b": [1, 2.5, None, True], "a": {"ü": "é"}}
    artifacts.write_json(tmp_path / "a.json", values)
    assert artifacts.read_json(tmp_path / "a.json") == values


def test_missing_and_damaged_json_are_told_apart(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"a\.json does not exist; is .* the folder of a finished run\?"):
        artifacts.read_json(tmp_path / "a.json")
    (tmp_path / "a.json").write_text('{"status": "fini')
    with pytest.raises(ValueError, match=r"a\.json is damaged: "):
        artifacts.read_json(tmp_path / "a.json")
    (tmp_path / "b.json").mkdir()
    with pytest.raises(ValueError, match=r"b\.json is damaged: "):
        artifacts.read_json(tmp_path / "b.json")


def test_tensors_come_back_to_the_bit(tmp_path: Path) -> None:
    shared = torch.randn(3, 4)
    tensors = {"a": shared, "b": shared, "c": shared.t(), "d": torch.tensor([1, 2]), "e": shared.to(torch.bfloat16)}
    artifacts.write_tensors(tmp_path / "t.safetensors", tensors)
    back = artifacts.read_tensors(tmp_path / "t.safetensors")
    assert back.keys() == tensors.keys()
    assert all(torch.equal(back[name], tensors[name]) and back[name].dtype == tensors[name].dtype for name in back)


def test_missing_and_damaged_tensors_are_told_apart(tmp_path: Path) -> None:
    path = tmp_path / "t.safetensors"
    with pytest.raises(ValueError, match=r"t\.safetensors does not exist"):
        artifacts.read_tensors(path)
    artifacts.write_tensors(path, {"a": torch.ones(100)})
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(ValueError, match=r"t\.safetensors is damaged: "):
        artifacts.read_tensors(path)


@pytest.fixture
def saved(tmp_path: Path) -> Path:
    """A folder with everything that a run saves."""
    for name in (artifacts.PLAN, artifacts.SCORES, "adapter/a.bin", "model/deep/b.bin", "tokenizer/c.json"):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode())
    artifacts.write_checksums(tmp_path)
    return tmp_path


def test_untouched_files_pass(saved: Path) -> None:
    artifacts.verify_checksums(saved)
    assert len(artifacts.read_json(saved / artifacts.CHECKSUMS)) == 5


@pytest.mark.parametrize("name", [artifacts.PLAN, artifacts.SCORES, "adapter/a.bin", "model/deep/b.bin"])
def test_a_flipped_bit_is_found_and_named(saved: Path, name: str) -> None:
    content = bytearray((saved / name).read_bytes())
    content[-1] ^= 1
    (saved / name).write_bytes(content)
    with pytest.raises(ValueError, match=rf"is damaged: {name} changed since the run wrote it"):
        artifacts.verify_checksums(saved)


def test_missing_files_are_all_named(saved: Path) -> None:
    (saved / "adapter/a.bin").unlink()
    (saved / artifacts.PLAN).unlink()
    with pytest.raises(ValueError, match=r"is damaged: plan\.json, adapter/a\.bin missing"):
        artifacts.verify_checksums(saved)


def test_checksum_of_tensors_does_not_depend_on_their_order() -> None:
    a, b = torch.arange(6.0), torch.ones(2, 2)
    assert tensors_sha256({"a": a, "b": b}) == tensors_sha256({"b": b.clone(), "a": a.clone()})
    assert tensors_sha256({"a": a.view(2, 3).t()}) == tensors_sha256({"a": a.view(2, 3).t().contiguous()})


def test_checksum_of_tensors_depends_on_all_else() -> None:
    a = torch.arange(6.0)
    moved = a.clone()
    moved[5] = torch.nextafter(moved[5], torch.tensor(9.0))
    others = [{"a": moved}, {"b": a}, {"a": a.view(2, 3)}, {"a": a.view(torch.int32)}, {"a": a.double()}, {}]
    others += [{"a": a, "b": torch.zeros(0)}]
    assert len({tensors_sha256(tensors) for tensors in [{"a": a}, *others]}) == 8


def test_a_record_comes_back(tmp_path: Path) -> None:
    record = RunRecord(status="finished", task="rte", score=0.5, metrics={"accuracy": 0.5}, history=[{"step": 1}])
    record.write(tmp_path)
    assert RunRecord.read(tmp_path) == record
    written = json.loads((tmp_path / "result.json").read_text(encoding="utf-8"))
    contract = (
        "status error task model peft seed config versions git primary_metric score best_score metrics parameters"
    )
    assert {*contract.split(), "plan", "phases", "totals"} <= set(written) == {field.name for field in fields(record)}


def test_something_else_is_no_record(tmp_path: Path) -> None:
    artifacts.write_json(tmp_path / "result.json", {"accuracy": 1})
    with pytest.raises(ValueError, match=r"result\.json is not a run record: .*accuracy"):
        RunRecord.read(tmp_path)
