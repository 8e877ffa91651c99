"""The formulations by name."""

from light_peft.config import TaskConfig
from light_peft.tasks.choice_head import ChoiceByHead
from light_peft.tasks.choice_likelihood import ChoiceByLikelihood
from light_peft.tasks.classification import Classification, Regression
from light_peft.tasks.formulation import Formulation
from light_peft.tasks.generation import Generation
from light_peft.tasks.span import Span

FORMULATIONS: dict[str, tuple[type[Formulation], ...]] = {
    "classification": (Classification,),
    "regression": (Regression,),
    "choice": (ChoiceByHead, ChoiceByLikelihood),
    "span": (Span,),
    "generation": (Generation,),
}
"""Name in `task.formulation` -> its code, one class for each head that it can use."""


def formulation_of(task: TaskConfig, head: str | None = None) -> Formulation:
    """Return the formulation of `task` for a model that ends in `head`; for examples alone any will do."""
    classes = FORMULATIONS[task.formulation]
    return next(kind for kind in classes if head is None or head in kind.heads)(task)
