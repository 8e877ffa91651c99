"""What started this process is read off its environment; what accelerate was asked for, off its command line."""

from dataclasses import dataclass

import pytest

from light_peft import door, launchers

STARTERS = ("RANK", "LOCAL_RANK", "WORLD_SIZE", "MASTER_PORT", "ACCELERATE_MIXED_PRECISION")


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in STARTERS:
        monkeypatch.delenv(name, raising=False)
    launchers._accelerate_counts.cache_clear()


def test_alone() -> None:
    assert (launchers.is_in_group(), launchers.group_size(), launchers.rank()) == (False, 1, 0)
    assert launchers.speaks()
    assert launchers.asked_of_accelerate() is None


@pytest.mark.parametrize(
    ("environment", "size", "rank", "speaks"),
    [
        ({"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"}, 1, 0, True),
        ({"RANK": "3", "LOCAL_RANK": "3", "WORLD_SIZE": "4"}, 4, 3, False),
        ({"RANK": "4", "LOCAL_RANK": "0", "WORLD_SIZE": "8"}, 8, 4, True),
        (
            {"OMPI_COMM_WORLD_RANK": "1", "OMPI_COMM_WORLD_LOCAL_RANK": "1", "OMPI_COMM_WORLD_SIZE": "2"},
            2,
            1,
            False,
        ),
        ({"PMI_RANK": "1", "MPI_LOCALRANKID": "0", "PMI_SIZE": "2"}, 2, 1, True),
    ],
)
def test_a_group(
    monkeypatch: pytest.MonkeyPatch, environment: dict[str, str], size: int, rank: int, speaks: bool
) -> None:
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    assert launchers.is_in_group()
    assert (launchers.group_size(), launchers.rank(), launchers.speaks()) == (size, rank, speaks)


SLURM = {
    "SLURM_STEP_NUM_TASKS": "8",
    "SLURM_STEP_NUM_NODES": "2",
    "SLURM_STEP_NODELIST": "gpu[07-08]",
    "SLURM_PROCID": "5",
    "SLURM_LOCALID": "1",
    "SLURM_JOB_ID": "1234567",
    "SLURM_STEP_ID": "0",
}


def test_a_task_of_a_slurm_step_joins_its_group() -> None:
    environment = dict(SLURM)
    launchers.join_slurm_step(environment)
    assert {name: value for name, value in environment.items() if name not in SLURM} == {
        "RANK": "5",
        "WORLD_SIZE": "8",
        "LOCAL_RANK": "1",
        "LOCAL_WORLD_SIZE": "4",
        "MASTER_ADDR": "gpu07",
        "MASTER_PORT": str(20_000 + 1234567 % 20_000),
    }


@pytest.mark.parametrize(
    "other",
    [{"SLURM_STEP_NUM_TASKS": "1"}, {"RANK": "0"}, {"SLURM_PTY_PORT": "4000"}],
    ids=["one task", "somebody has said so", "a shell of a step, where one of the tasks types"],
)
def test_a_slurm_step_that_is_no_group(other: dict[str, str]) -> None:
    environment = SLURM | other
    launchers.join_slurm_step(environment)
    assert environment == SLURM | other


@pytest.mark.parametrize(
    ("hosts", "first"),
    [
        ("one", "one"),
        ("one,two", "one"),
        ("n[3-5]", "n3"),
        ("n[003,7-9],m1", "n003"),
        ("rack1-n[10-12]-ib,x", "rack1-n10-ib"),
        ("a,b[1-2]", "a"),
    ],
)
def test_the_first_of_slurms_hosts(hosts: str, first: str) -> None:
    assert launchers.first_host(hosts) == first


@dataclass
class Ancestor:
    words: list[str]

    def cmdline(self) -> list[str]:
        return self.words


def below(monkeypatch: pytest.MonkeyPatch, *words: str) -> None:
    """Be what an `accelerate launch` with this command line has started alone."""

    class Self:
        def parents(self) -> list[Ancestor]:
            return [Ancestor(["bash"]), Ancestor(list(words)), Ancestor(["init"])]

    monkeypatch.setattr("psutil.Process", Self)
    monkeypatch.setenv("ACCELERATE_MIXED_PRECISION", "no")
    monkeypatch.setenv("MASTER_PORT", "29500")


RUN = ("-m", "run", "task=rte", "-m")


@pytest.mark.parametrize(
    ("command", "count"),
    [
        (("python", "/bin/accelerate", "launch", "--cpu", "--num_processes", "2", *RUN), 2),
        (("accelerate", "launch", "--cpu", "--num-processes=3", *RUN), 3),
        (("python", "-m", "accelerate.commands.launch", "--num_processes", "4", "--cpu", *RUN), 4),
        (("python", "/bin/accelerate-launch", "--num_processes=5", "--cpu", *RUN), 5),
    ],
)
def test_the_number_that_accelerate_was_asked_for(
    monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...], count: int
) -> None:
    below(monkeypatch, *command)
    assert launchers.asked_of_accelerate() == count


def test_a_number_that_cannot_be_found_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    below(monkeypatch, "some", "wrapper")
    with pytest.raises(ValueError, match=r"has started one; say how many with runtime\.processes"):
        launchers.asked_of_accelerate()


def test_several_machines_without_mpi(monkeypatch: pytest.MonkeyPatch) -> None:
    below(monkeypatch, "accelerate", "launch", "--cpu", "--num_machines", "2", "--num_processes", "2", *RUN)
    with pytest.raises(ValueError, match=r"--num_machines 2: .* with torchrun instead"):
        launchers.asked_of_accelerate()


@pytest.mark.parametrize("word", ["-m", "--multirun", "hydra.mode=MULTIRUN"])
def test_a_sweep_in_a_group_is_refused(monkeypatch: pytest.MonkeyPatch, word: str) -> None:
    door.check_words(["task=rte", word])
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("WORLD_SIZE", "2")
    door.check_words(["task=rte"])
    with pytest.raises(ValueError, match=r"within the 2 processes .* say runtime\.processes=2, which starts that many"):
        door.check_words(["task=rte", word])
