"""A run so small that its training steps take milliseconds, for tests."""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import polars as pl

from retune.artifacts.publishing import read_json, write_manifest
from retune.settings import (
    ConfigureSettings,
    ConsolidateSettings,
    FinetuneSettings,
    HardwareSettings,
    TokenizeSettings,
    TrainedWeightsSettings,
)
from retune.steps import configure, consolidate, finetune, tokenize
from tiny_texts import make_texts


def make_base(folder: Path, **config: Any) -> None:
    """Write a tiny GPT-2 and a byte-level BPE."""
    import torch
    from tokenizers import ByteLevelBPETokenizer
    from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast

    from retune.models.find_model_facts import find_model_facts

    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator(make_texts(50), 300, special_tokens=["<|end|>"])
    PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, bos_token="<|end|>", eos_token="<|end|>"
    ).save_pretrained(folder)
    torch.manual_seed(0)
    values = {"vocab_size": 300, "n_positions": 32, "n_embd": 16, "n_layer": 2}
    values |= {"n_head": 2, "bos_token_id": 0, "eos_token_id": 0, **config}
    GPT2LMHeadModel(GPT2Config(**values)).save_pretrained(folder)
    find_model_facts(folder).write(folder)
    write_manifest(folder, source="builtin")


def make_clean(folder: Path, train: int = 200, held_out: int = 20) -> None:
    """Write the three splits, of so many texts."""
    folder.mkdir(parents=True)
    sizes = {"train": train, "validation": held_out, "test": held_out}
    for split, size in sizes.items():
        texts = make_texts(size)
        ids = [f"{split}-{i}" for i in range(size)]
        frame = pl.DataFrame({"id": ids, "group": ids, "text": texts})
        frame.write_parquet(folder / f"{split}.parquet")
    write_manifest(folder)


@dataclass(frozen=True)
class TinyRun:
    """The folders of one run; each step can be called by itself."""

    folder: Path

    def make_inputs(self, **config: Any) -> None:
        """Make base model and tokens."""
        make_base(self.folder / "base", **config)
        make_clean(self.folder / "clean")
        tokenize.run(
            TokenizeSettings(),
            self.folder / "clean",
            self.folder / "base",
            self.folder / "tokens",
            self.folder / "tokens.json",
        )

    def plan(
        self,
        name: str,
        ranks: int = 2,
        accelerator: str = "cpu",
        trained: TrainedWeightsSettings = configure.NO_ADAPTERS,
        **settings: Any,
    ) -> Path:
        """Write a plan and return its folder."""
        configure.run(
            ConfigureSettings(**settings),
            HardwareSettings(accelerator=accelerator, ranks_per_node=ranks),
            self.folder / "base",
            self.folder / "tokens.json",
            self.folder / name,
            trained,
        )
        return self.folder / name

    def finetune_arguments(
        self, plan: Path, name: str, **settings: Any
    ) -> dict[str, Any]:
        """Return the arguments of the step `finetune`."""
        return {
            "settings": FinetuneSettings(**settings),
            "nvme_path": "",
            "base": self.folder / "base",
            "tokens": self.folder / "tokens",
            "plan": plan,
            "state": self.state_of(name),
            "checkpoint": self.folder / name / "checkpoint",
            "history": self.folder / name / "history.csv",
            "validation": self.folder / name / "validation.csv",
            "provenance": self.folder / name / "provenance.json",
            "operations": self.folder / name / "operations.json",
            "metrics": self.folder / name / "metrics.json",
        }

    def finetune_command(self, plan: Path, name: str, **settings: Any) -> list[str]:
        """Return the command that runs the step `finetune` as a process of its own."""
        arguments = self.finetune_arguments(plan, name, **settings)
        arguments["settings"] = arguments["settings"].model_dump_json()
        words = [
            word
            for key, value in arguments.items()
            for word in (f"--{key.replace('_', '-')}", str(value))
        ]
        return [sys.executable, "-m", "retune", "finetune", *words]

    def state_of(self, name: str) -> Path:
        """Return the folder of the states of a training's runs."""
        return self.folder / f"{name}-state"

    def finetune(self, plan: Path, name: str, **settings: Any) -> "Tuned":
        """Train; return what came out."""
        finetune.run(**self.finetune_arguments(plan, name, **settings))
        return Tuned(self, self.folder / name)


@dataclass(frozen=True)
class Tuned:
    """What a training left."""

    run: TinyRun
    folder: Path

    @property
    def losses(self) -> list[float]:
        """Training loss of each step."""
        history = pl.read_csv(self.folder / "history.csv")
        return history["train_loss"].to_list()

    @property
    def weights(self) -> dict[str, Any]:
        """Hashes of the live weights at the end."""
        return read_json(self.folder / "checkpoint/weights.json")["tensors"]

    def consolidate(self, **settings: Any) -> Path:
        """Join the shards; return the model's folder."""
        target = self.folder / "model"
        consolidate.run(
            ConsolidateSettings(**settings),
            self.run.folder / "base",
            self.folder / "checkpoint",
            target,
        )
        return target
