import pytest
from accelerate import Accelerator
from datasets import Dataset
from tokenizers import Tokenizer
from tokenizers.models import WordLevel
from transformers import PreTrainedTokenizerFast

from light_peft.config import Config, SaveConfig, SubmissionConfig, TaskConfig
from light_peft.evaluation.examiner import Examiner, ids_of
from light_peft.tasks.formulation import IDX
from light_peft.tasks.registry import formulation_of
from light_peft.tasks.splits import Splits


def take(ids: list[str], *, predictions: bool) -> None:
    task = TaskConfig(
        name="tiny",
        formulation="classification",
        text=["text"],
        labels=["no", "yes"],
        idx="id",
        submission=SubmissionConfig(format="superglue"),
    )
    inner = Tokenizer(WordLevel({"[UNK]": 0}, unk_token="[UNK]"))
    config = Config(task=task, save=SaveConfig(predictions=predictions))
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=inner)
    examples = Dataset.from_dict({"text": ["a"] * len(ids), "label": [0] * len(ids), IDX: ids})
    splits = Splits(train=None, validation={"validation": examples}, sources={}, digests={})
    Examiner(config, formulation_of(task), tokenizer, Accelerator(cpu=True)).take(splits)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (["0", "1", "1"], "task.idx=id: '1' identifies more than one example of validation"),
        (
            ["0", "q1"],
            "task.submission.format=superglue takes whole numbers for ids, task.idx=id has 'q1' in validation",
        ),
    ],
)
def test_ids_that_cannot_be_written_are_refused_before_anything_is_computed(ids: list[str], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        take(ids, predictions=True)
    take(ids, predictions=False)


def test_without_ids_examples_are_counted() -> None:
    assert ids_of(Dataset.from_dict({"text": ["a", "b"]})) == ["0", "1"]
    assert ids_of(Dataset.from_dict({IDX: ["7-0", "7-1"]})) == ["7-0", "7-1"]
