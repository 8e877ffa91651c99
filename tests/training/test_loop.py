"""The loop against what it should compute, on a model small enough to differentiate beside it."""

from collections.abc import Callable, Iterator
from types import SimpleNamespace

import pytest
import torch
from accelerate import Accelerator
from torch import nn
from torch.optim import SGD
from torch.optim.lr_scheduler import LambdaLR

from light_peft.config import RuntimeConfig
from light_peft.data.batches import STAND_IN
from light_peft.meter import PhaseCost
from light_peft.runtime import start_runtime
from light_peft.training.loop import Batch, Phase, PhaseRun, endless, shape_of

ROWS, TOKENS, WORDS = 24, 5, 11


class Tiny(nn.Module):
    """The mean of the embeddings, classified; no dropout."""

    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.embedding = nn.Embedding(WORDS, 4)
        self.classifier = nn.Linear(4, 2)

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, labels: torch.Tensor) -> SimpleNamespace:
        weights_BT = attention_mask[..., None] / attention_mask.sum(1)[:, None, None]
        logits = self.classifier((self.embedding(input_ids) * weights_BT).sum(1))
        return SimpleNamespace(logits=logits, loss=nn.functional.cross_entropy(logits, labels))


def batches(size: int, rows: int = ROWS) -> list[Batch]:
    """Return the same rows for every size, in batches."""
    generator = torch.Generator().manual_seed(1)
    ids = torch.randint(WORDS, (rows, TOKENS), generator=generator)
    mask = (torch.arange(TOKENS) < torch.randint(1, TOKENS + 1, (rows, 1), generator=generator)).long()
    labels = torch.randint(2, (rows,), generator=generator)
    columns = {"input_ids": ids, "attention_mask": mask, "labels": labels}
    return [{name: value[at : at + size] for name, value in columns.items()} for at in range(0, rows, size)]


class Watcher:
    """Keeps what it is shown."""

    def __init__(self, model: nn.Module) -> None:
        self.model = model
        self.gradients: list[list[torch.Tensor]] = []
        self.calls: list[tuple[str, int]] = []

    def after_backward(self, step: int) -> None:
        self.calls.append(("backward", step))
        grads = [p.grad for p in self.model.parameters()]
        self.gradients.append([grad.clone() for grad in grads if grad is not None])

    def after_step(self, step: int) -> None:
        self.calls.append(("step", step))
        assert all(p.grad is None or not p.grad.any() for p in self.model.parameters())


@pytest.fixture
def accelerator() -> Accelerator:
    return start_runtime(RuntimeConfig(device="cpu", precision="fp32"), 0)


def phase_of(parameters: Iterator[nn.Parameter] | list[nn.Parameter], steps: int, **settings: object) -> Phase:
    """Return a phase of plain gradient descent at rate 1, whose rate halves with each step."""
    optimizer = SGD(list(parameters), lr=1.0)
    schedule = LambdaLR(optimizer, lambda step: 0.5**step)
    return Phase("train", steps, optimizer, schedule, **settings)  # type: ignore[arg-type]


def trained(
    accelerator: Accelerator, size: int, steps: int, **settings: object
) -> tuple[Tiny, list[list[torch.Tensor]], PhaseCost]:
    model, cost = Tiny(), PhaseCost()
    watcher = Watcher(model)
    phase = phase_of(model.parameters(), steps, **settings)
    PhaseRun(phase, model, batches(size), accelerator, cost=cost).run([watcher])
    return model, watcher.gradients, cost


@pytest.mark.parametrize("clip", [0.0, 0.01])
def test_micro_batches_add_up_to_one_batch(accelerator: Accelerator, clip: float) -> None:
    whole, whole_gradients, _ = trained(accelerator, 8, 3, max_grad_norm=clip)
    parts, part_gradients, _ = trained(accelerator, 2, 3, max_grad_norm=clip, accumulation=4)
    assert len(whole_gradients) == len(part_gradients) == 3
    torch.testing.assert_close(part_gradients, whole_gradients, atol=1e-7, rtol=1e-5)
    torch.testing.assert_close(parts.state_dict(), whole.state_dict(), atol=1e-6, rtol=1e-5)


def test_the_gradient_is_that_of_the_loss(accelerator: Accelerator) -> None:
    _, gradients, _ = trained(accelerator, 8, 1)
    model = Tiny()
    expected = torch.autograd.grad(model(**batches(8)[0]).loss, list(model.parameters()))
    torch.testing.assert_close(gradients[0], list(expected), atol=1e-8, rtol=1e-6)


def norm(tensors: list[torch.Tensor]) -> float:
    return float(torch.linalg.vector_norm(torch.cat([tensor.flatten() for tensor in tensors])))


def movement(model: Tiny) -> list[torch.Tensor]:
    return [start - end for start, end in zip(Tiny().parameters(), model.parameters(), strict=True)]


@pytest.mark.parametrize("clip", [0.01, 100.0, 0.0])
def test_clipping_limits_the_step_but_not_what_observers_see(accelerator: Accelerator, clip: float) -> None:
    model, (gradient,), _ = trained(accelerator, 8, 1, max_grad_norm=clip)
    size = norm(gradient)
    assert 0.01 < size < 100
    factor = min(1.0, clip / size) if clip else 1.0
    torch.testing.assert_close(movement(model), [factor * g for g in gradient], atol=1e-6, rtol=1e-3)


@pytest.mark.parametrize("accumulation", [1, 3])
def test_the_penalty_enters_the_gradient_once(accelerator: Accelerator, accumulation: int) -> None:
    model, mask = Tiny(), nn.Parameter(torch.tensor([0.5, -2.0]))
    phase = phase_of([*model.parameters(), mask], 1, accumulation=accumulation, max_grad_norm=0.0)
    phase.penalty = lambda: 0.01 * mask.abs().sum()
    told: list[float] = []
    PhaseRun(phase, model, batches(4), accelerator, cost=PhaseCost()).run(on_progress=lambda _, loss: told.append(loss))
    torch.testing.assert_close(mask.detach(), torch.tensor([0.49, -1.99]))
    plain = sum(float(Tiny()(**batch).loss.detach()) for batch in batches(4)[:accumulation]) / accumulation
    assert told == [pytest.approx(plain + 0.01 * 2.5)]


def test_stand_ins_among_the_parts_of_a_step_are_not_computed(accelerator: Accelerator) -> None:
    """Loss, penalty, gradient and figures are those of what there is."""
    real, mask = batches(8)[0], nn.Parameter(torch.tensor([0.5, -2.0]))
    stand_in = {name: values[:1] for name, values in real.items()} | {STAND_IN: torch.ones(())}
    found = []
    for step in ([real], [stand_in, stand_in, real]):
        model, cost = Tiny(), PhaseCost()
        watcher = Watcher(model)
        phase = phase_of(model.parameters(), 1, accumulation=len(step))
        phase.penalty = lambda: 0.01 * mask.abs().sum()
        mask.grad = None
        PhaseRun(phase, model, step, accelerator, cost=cost).run([watcher])
        found.append((watcher.gradients, mask.grad, cost.examples, cost.tokens, cost.counted))
    torch.testing.assert_close(found[1][0], found[0][0])
    torch.testing.assert_close(found[1][1], torch.tensor([0.01, -0.01]))
    assert found[1][2:] == found[0][2:]


class BadAt:
    """Multiplies the loss of one forward pass by something that is no number."""

    def __init__(self, bad: int, factor: float) -> None:
        self.bad, self.factor, self.seen = bad, factor, 0

    def __call__(self) -> torch.Tensor:
        self.seen += 1
        return torch.tensor(self.factor if self.seen == self.bad else 0.0)


@pytest.mark.parametrize("factor", [float("nan"), float("inf")])
@pytest.mark.parametrize(
    ("steps", "accumulation", "bad", "named"), [(5, 1, 3, 3), (25, 1, 12, 12), (4, 3, 5, 2), (1, 1, 1, 1)]
)
def test_a_loss_that_is_no_number_is_named_by_phase_and_step(
    accelerator: Accelerator, factor: float, steps: int, accumulation: int, bad: int, named: int
) -> None:
    model = Tiny()
    phase = phase_of(model.parameters(), steps, accumulation=accumulation)
    phase.name, phase.penalty = "estimate", BadAt(bad, factor)
    with pytest.raises(ValueError, match=rf"^estimate: the loss is not finite at step {named} of this phase; lower"):
        PhaseRun(phase, model, batches(4), accelerator, cost=PhaseCost()).run()


def test_progress_tells_the_mean_loss_since_the_last_time(accelerator: Accelerator) -> None:
    model = Tiny().requires_grad_(False)
    still = nn.Parameter(torch.zeros(1))
    phase = phase_of([still], 23)
    values = iter(range(1, 24))
    phase.penalty = lambda: still.sum() * 0 + float(next(values))
    told: list[tuple[int, float]] = []
    whole = PhaseRun(phase, model, batches(ROWS), accelerator, cost=PhaseCost())
    whole.run(on_progress=lambda step, loss: told.append((step, loss)))
    loss = float(model(**batches(ROWS)[0]).loss.detach())
    assert [step for step, _ in told] == [10, 20, 23]
    assert [value - loss for _, value in told] == pytest.approx([5.5, 15.5, 22.0], rel=1e-5)


def test_observers_are_called_around_every_step(accelerator: Accelerator) -> None:
    model = Tiny()
    watcher = Watcher(model)
    phase = phase_of(model.parameters(), 2, accumulation=2)
    PhaseRun(phase, model, batches(4), accelerator, cost=PhaseCost()).run([watcher])
    assert watcher.calls == [("backward", 0), ("step", 0), ("backward", 1), ("step", 1)]


def test_the_model_trains_and_the_schedule_moves_once_per_step(accelerator: Accelerator) -> None:
    model = Tiny().eval()
    phase = phase_of(model.parameters(), 3, accumulation=2)
    PhaseRun(phase, model, batches(4), accelerator, cost=PhaseCost()).run()
    assert model.training
    assert phase.scheduler.get_last_lr() == [0.5**3]


class Passes:
    """A loader that counts its passes."""

    def __init__(self, content: list[Batch]) -> None:
        self.content, self.begun = content, 0

    def __iter__(self) -> Iterator[Batch]:
        self.begun += 1
        yield from self.content


def test_epochs_are_endless() -> None:
    loader = Passes(batches(8))
    drawn = endless(loader)
    seen = [int(next(drawn)["input_ids"][0, 0]) for _ in range(7)]
    assert seen == [int(batch["input_ids"][0, 0]) for batch in [*batches(8), *batches(8), batches(8)[0]]]
    assert loader.begun == 3


@pytest.mark.parametrize(("steps", "accumulation", "passes"), [(3, 1, 1), (4, 1, 2), (3, 2, 2), (6, 2, 4)])
def test_a_phase_takes_as_many_passes_as_its_steps_need(
    accelerator: Accelerator, steps: int, accumulation: int, passes: int
) -> None:
    model, loader, cost = Tiny(), Passes(batches(8)), PhaseCost()
    phase = phase_of(model.parameters(), steps, accumulation=accumulation)
    PhaseRun(phase, model, loader, accelerator, cost=cost).run()
    assert loader.begun == passes
    assert (cost.steps, cost.examples) == (steps, steps * accumulation * 8)
    tokens = [int(batch["attention_mask"].sum()) for batch in batches(8)]
    assert cost.tokens == sum(tokens[index % 3] for index in range(steps * accumulation))
    assert cost.shapes == [(8, TOKENS)] * (steps * accumulation)


def test_shape_is_rows_and_padded_length() -> None:
    assert [shape_of(batch) for batch in batches(16)] == [(16, TOKENS), (8, TOKENS)]


def test_equal_runs_are_equal_to_the_bit(accelerator: Accelerator) -> None:
    run: Callable[[], Tiny] = lambda: trained(accelerator, 4, 6)[0]  # noqa: E731
    first, second = run().state_dict(), run().state_dict()
    assert all(torch.equal(first[name], second[name]) for name in first)
