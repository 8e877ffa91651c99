"""From splits to the batches that a model is scored on."""

from accelerate import Accelerator
from datasets import Dataset
from transformers import PreTrainedTokenizerBase

from light_peft.config import Config
from light_peft.data.batches import eval_loader
from light_peft.data.text import encode
from light_peft.evaluation.predict import Loader


def encode_all(config: Config, splits: dict[str, Dataset], tokenizer: PreTrainedTokenizerBase) -> dict[str, Dataset]:
    """Return the splits as the model's inputs."""
    length = config.data.max_length
    return {name: encode(split, config.task, tokenizer, max_length=length) for name, split in splits.items()}


def eval_loaders(
    config: Config, splits: dict[str, Dataset], tokenizer: PreTrainedTokenizerBase, accelerator: Accelerator
) -> dict[str, Loader]:
    """Return the batches of each encoded split, in order, on the accelerator's device."""
    data, size = config.data, config.train.eval_batch_size
    return {
        name: accelerator.prepare(
            eval_loader(split, tokenizer, batch_size=size, padding=data.padding, max_length=data.max_length)
        )
        for name, split in splits.items()
    }
