"""The files of a finished run, made up, for the tests of the report."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from retune import report
from retune.params import read_params
from retune.publishing import write_json, write_manifest, write_sealed, write_text
from retune.reporting.run_results import RunResults, read_results

SPLITS = {"train": 40, "validation": 5, "test": 7}
PROVENANCE = {
    "workflow": "c0ffee, as committed",
    "params": "c0ffee, with uncommitted changes",
    "packages": {"torch": "2.13.0"},
    "machine": {"CPU": "2 x a processor", "GPU": "none found"},
}
BUILTIN = {"dataset": "builtin", "model": "builtin"}


@dataclass(frozen=True)
class FinishedRun:
    """The inputs of the step `report`, in one folder."""

    folder: Path

    def make(self, bits: float = -0.5, steps: int = 8, **samples: str) -> "FinishedRun":
        """Write every file.

        Args:
            bits: Change of each test document, bits per byte.
            steps: Optimizer steps.
            samples: What the models write, in place of plain words.
        """
        for name, origin in {
            "raw": {"source": "builtin", "licence": "PSF-2.0"},
            "base": {"source": "builtin"},
        }.items():
            (self.folder / name).mkdir()
            write_manifest(self.folder / name, **origin)
        self.make_consolidated()
        write_sealed(self.folder / "data.json", data_metrics())
        write_sealed(self.folder / "tokens.json", token_metrics())
        write_sealed(self.folder / "plan.json", plan())
        write_text(self.folder / "history.csv", history(steps))
        write_text(self.folder / "validation.csv", validation(steps))
        write_json(self.folder / "provenance.json", PROVENANCE)
        self.seal(
            "finetune.json",
            finetune_metrics(steps),
            *("history.csv", "validation.csv", "provenance.json"),
        )
        scores(self.folder / "base.parquet", 3.0)
        self.seal("baseline.json", {}, "base.parquet")
        scores(self.folder / "tuned.parquet", 3.0 + bits)
        texts = {"prompt": "Once", "base": "a a", "tuned": "upon\n\na time"}
        texts |= {"base_sampled": "b", "tuned_sampled": "c", **samples}
        write_json(self.folder / "samples.json", {"settings": {}, "samples": [texts]})
        self.seal("evaluation.json", evaluation(bits), "tuned.parquet", "samples.json")
        return self

    def seal(self, name: str, value: dict[str, Any], *beside: str) -> None:
        """Write a JSON file that vouches for files beside it."""
        files = [self.folder / file for file in beside]
        write_sealed(self.folder / name, value, files)

    def make_consolidated(self) -> None:
        """Write a model's folder, with the mark that Snakemake leaves in it."""
        folder = self.folder / "consolidated"
        folder.mkdir()
        (folder / "config.json").write_text("{}")
        (folder / "model.safetensors").write_bytes(b"weights")
        write_manifest(folder)
        (folder / report.MARK).touch()

    def arguments(self) -> dict[str, Path]:
        """Return the files by their names in `read_results`."""
        names = {
            "raw": "raw",
            "base": "base",
            "data_metrics": "data.json",
            "token_metrics": "tokens.json",
            "plan": "plan.json",
            "history": "history.csv",
            "validation": "validation.csv",
            "finetune_metrics": "finetune.json",
            "baseline_metrics": "baseline.json",
            "baseline_documents": "base.parquet",
            "tuned_documents": "tuned.parquet",
            "evaluation": "evaluation.json",
            "samples": "samples.json",
        }
        return {name: self.folder / file for name, file in names.items()}

    def read(self, **sections: Any) -> RunResults:
        """Return what `report` reads, under changed settings."""
        return read_results(read_params(BUILTIN | sections), **self.arguments())

    def report(self, name: str = "out", **sections: Any) -> Path:
        """Run the step; return the folder of the model, the figures and the page."""
        out = self.folder / name
        report.run(
            read_params(BUILTIN | sections),
            provenance=self.folder / "provenance.json",
            consolidated=self.folder / "consolidated",
            tuned=out / "tuned",
            figures=out / "report",
            page=out / "report.html",
            **self.arguments(),
        )
        return out


def data_metrics() -> dict[str, Any]:
    """Return metrics/data.json."""
    sizes = {
        name: {split: 10 * n for split, n in SPLITS.items()}
        for name in ("bytes", "words")
    }
    return {
        "documents": SPLITS,
        **sizes,
        "groups": SPLITS,
        "rejected": {"count": 2, "share": 2 / 58, "by_check": {"too short": 2}},
        "duplicates_removed": 3,
        "in_other_splits": {
            "train": {"validation": 1, "test": 1},
            "validation": {"test": 0},
        },
        "overlap": {"words": 13, "removed": {"validation": 1, "test": 0}},
    }


def token_metrics() -> dict[str, Any]:
    """Return metrics/tokens.json."""
    return {
        "sequence_length": 32,
        "vocab_size": 300,
        "splits": {
            split: {
                **{"documents": n, "tokens": 50 * n, "blocks": n},
                **{"special_tokens_spelled_out": n, "lost_characters": 0},
            }
            for split, n in SPLITS.items()
        },
    }


def plan() -> dict[str, Any]:
    """Return plan/plan.json."""
    return {
        "precision": "bf16",
        "zero_stage": 3,
        "offload_optimizer": "cpu",
        "offload_param": "none",
        "global_batch_size": 16,
        "micro_batch_size": 2,
        "gradient_accumulation_steps": 1,
        "pipeline_stages": 1,
        "attn_implementation": "sdpa",
        "activation_checkpointing": True,
        "gradient_clipping": 1.0,
        "world_size": 8,
        "sequence_length": 32,
        "num_parameters": 2_600_000,
        "tokens_per_step": 512,
        "model_states_gb_per_rank": 0.5,
        "warnings": [],
        "hardware": {
            "accelerator": "cuda",
            "nodes": 2,
            "gpus_per_node": 4,
            "gpu_memory_gb": 80,
            "cpu_memory_gb": 500,
            "gpu_name": "Some GPU",
        },
        "decisions": [{"setting": "zero_stage", "value": 3, "why": "it <fits>"}],
    }


def history(steps: int) -> str:
    """Return history.csv."""
    lines = ["step,epoch,train_loss,learning_rate,grad_norm,num_labels,seconds,mfu"]
    for step in range(1, steps + 1):
        norm = "inf" if step == 2 else "1.5"
        lines.append(f"{step},{step / steps},{8 - step / steps},0.002,{norm},500,2,")
    return "\n".join(lines) + "\n"


def validation(steps: int) -> str:
    """Return validation.csv, from the start and the end."""
    return f"step,validation_loss\n0,8.0\n{steps},6.0\n"


def finetune_metrics(steps: int) -> dict[str, Any]:
    """Return metrics/finetune.json."""
    return {
        "steps": steps,
        "epochs": 1.0,
        "tokens": 500 * steps,
        "train_loss": 7.0,
        "validation_loss": 6.0,
        "best_validation_loss": 6.0,
        "tokens_per_second": 250.0,
        "mfu": 0.5,
        "peak_memory_gb": [40.5, 41.25],
        "seconds": 4000.0,
    }


def scores(path: Path, bits_per_byte: float) -> None:
    """Write the scores of the held-out documents, all equally hard."""
    splits = [split for split in ("validation", "test") for _ in range(SPLITS[split])]
    num_bytes = np.full(len(splits), 100)
    columns = {
        "split": splits,
        "id": [str(i) for i in range(len(splits))],
        "nll": bits_per_byte * np.log(2) * num_bytes,
        "tokens": num_bytes // 4,
        "bytes": num_bytes,
        "words": num_bytes // 6,
    }
    pq.write_table(pa.table(columns), path)


def evaluation(bits: float) -> dict[str, Any]:
    """Return metrics/evaluation.json."""
    base = {"documents": 7, "bits_per_byte": 3.0, "token_perplexity": 4000.0}
    comparison = {
        "base": {**base, "word_perplexity": 2e290},
        "tuned": {**base, "bits_per_byte": 3.0 + bits, "word_perplexity": None},
        "bits_per_byte_change": bits,
        "bits_per_byte_change_low": bits - 0.1,
        "bits_per_byte_change_high": bits + 0.1,
        "win_rate": float(bits < 0),
    }
    floors = {"uniform_bits_per_byte": 3.4, "unigram_bits_per_byte": 2.7}
    return {
        "protocol": {
            "context_length": 32,
            "stride": 32,
            "prefix": "<|end|>",
            "dtype": "bfloat16",
            "device": "cuda",
            "split_special_tokens": True,
            "tokenizer_sha256": "0" * 64,
        },
        "validation": comparison,
        "test": {**comparison, "floors": floors},
    }
