"""The files of a finished run, made up, for the tests of the report."""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from plans import make_plan, reasons_of
from retune.artifacts.data_metrics import (
    DataMetrics,
    ExampleNumbers,
    OverlappingDocuments,
    OverlappingExamples,
    RejectedDocuments,
    TurnNumbers,
)
from retune.artifacts.evaluation_metrics import (
    BaselineMetrics,
    Comparison,
    ComparisonWithFloors,
    EvaluationMetrics,
    ExactMatch,
    ExactMatches,
    Floors,
    ScoreTotals,
    ScoringProtocol,
)
from retune.artifacts.finetune_metrics import FinetuneMetrics
from retune.artifacts.plan import Decision, Plan, Reasons
from retune.artifacts.provenance import Provenance
from retune.artifacts.publishing import write_manifest, write_text
from retune.artifacts.samples import GenerationSettings, Sample, Samples
from retune.artifacts.tokens_card import Lengths, Piece, ShownRow, TokensCard
from retune.artifacts.tokens_index import Overlong, SplitNumbers, TokenMetrics
from retune.artifacts.training_history import StepHistory
from retune.artifacts.training_operations import TrainingOperations
from retune.reporting.run_results import (
    ReportResults,
    read_report_results,
    read_results,
)
from retune.settings import RunSettings
from retune.settings.params import read_params
from retune.steps import publish, report

SPLITS = {"train": 40, "validation": 5, "test": 7}
PROVENANCE = Provenance(
    workflow="c0ffee, as committed",
    params="c0ffee, with uncommitted changes",
    packages={"torch": "2.13.0"},
    machine={"CPU": "2 x a processor", "GPU": "none found"},
)
COLUMNS = {"messages": "conversations", "system": "system"}
BUILTIN = {"dataset": "builtin", "model": "builtin"}


@dataclass(frozen=True)
class FinishedRun:
    """The inputs of the steps `report` and `publish`, in one folder."""

    folder: Path

    def make(
        self,
        bits: float = -0.5,
        steps: int = 8,
        has_answers: bool = False,
        **samples: str,
    ) -> "FinishedRun":
        """Write every file.

        Args:
            bits: Change of each test document, bits per byte.
            steps: Optimizer steps.
            has_answers: Whether the documents are conversations.
            samples: What the models write, in place of plain words.
        """
        for name, origin in {
            "raw": {"source": "builtin", "licence": "PSF-2.0"}
            | ({"row_format": "messages", "columns": COLUMNS} if has_answers else {}),
            "base": {"source": "builtin"},
        }.items():
            (self.folder / name).mkdir()
            write_manifest(self.folder / name, **origin)
        data_metrics(has_answers).write(self.folder / "data.json")
        token_metrics(has_answers).write(self.folder / "tokens.json")
        self.write_card(tokens_card())
        plan().write(self.folder / "plan.json")
        reasons().write(self.folder / "reasons.json")
        write_text(self.folder / "history.csv", history(steps))
        write_text(self.folder / "validation.csv", validation(steps))
        PROVENANCE.write(self.folder / "provenance.json")
        TrainingOperations().write(self.folder / "operations.json")
        self.write_finetune_metrics(steps)
        scores(self.folder / "base.parquet", 3.0)
        baseline_metrics().write(
            self.folder / "baseline.json", self.folder / "base.parquet"
        )
        scores(self.folder / "tuned.parquet", 3.0 + bits)
        made_samples(**samples).write(self.folder / "samples.json")
        evaluation(bits, has_answers).write(
            self.folder / "evaluation.json",
            self.folder / "tuned.parquet",
        )
        return self

    def write_card(self, card: TokensCard) -> None:
        """Write the folder of tokens; of its files, the report reads the card alone."""
        folder = self.folder / "tokens"
        folder.mkdir(exist_ok=True)
        card.write(folder)
        (folder / "train.tokens.bin").write_bytes(b"tokens")
        write_manifest(folder)

    def write_finetune_metrics(self, steps: int = 8) -> None:
        """Write finetune.json, which vouches for the files beside it."""
        files = ("history.csv", "validation.csv", "provenance.json", "operations.json")
        beside = [self.folder / file for file in files]
        finetune_metrics(steps).write(self.folder / "finetune.json", *beside)

    def of_card(self) -> dict[str, Path]:
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
            "evaluation": "evaluation.json",
            "samples": "samples.json",
        }
        return {name: self.folder / file for name, file in names.items()}

    def of_report(self) -> dict[str, Path]:
        """Return the files that `read_report_results` reads besides, by their names."""
        names = {
            "tokens": "tokens",
            "reasons": "reasons.json",
            "baseline_metrics": "baseline.json",
            "baseline_documents": "base.parquet",
            "tuned_documents": "tuned.parquet",
        }
        return {name: self.folder / file for name, file in names.items()}

    def read(self, **sections: Any) -> ReportResults:
        """Return what `report` reads, under changed settings."""
        settings = read_params(BUILTIN | sections)
        run = read_results(settings, **self.of_card())
        evaluation = self.of_card()["evaluation"]
        return read_report_results(
            settings, run, evaluation=evaluation, **self.of_report()
        )

    def report(self, name: str = "out", **sections: Any) -> Path:
        """Run the step; return the folder of the figures and the page."""
        out = self.folder / name
        report.run(
            read_params(BUILTIN | sections),
            provenance=self.folder / "provenance.json",
            operations=self.folder / "operations.json",
            figures=out / "report",
            page=out / "report.html",
            **self.of_card(),
            **self.of_report(),
        )
        return out

    def make_model(self) -> Path:
        """Make what `consolidate` leaves; return its folder."""
        model = self.folder / "consolidated"
        model.mkdir()
        (model / "config.json").write_text("{}")
        (model / "model.safetensors").write_bytes(b"weights")
        write_manifest(model)
        (model / publish.SNAKEMAKE_TIMESTAMP).touch()
        return model

    def publish(self, name: str = "tuned", **sections: Any) -> Path:
        """Run the step on what `make_model` made; return the published folder."""
        publish.run(
            RunSettings.part_of(read_params(BUILTIN | sections)),
            consolidated=self.folder / "consolidated",
            provenance=self.folder / "provenance.json",
            tuned=self.folder / name,
            **self.of_card(),
        )
        return self.folder / name


def data_metrics(has_answers: bool = False) -> DataMetrics:
    """Return metrics/data.json."""
    sizes = {split: 10 * n for split, n in SPLITS.items()}
    return DataMetrics(
        kind="example" if has_answers else "text",
        documents=SPLITS,
        bytes=sizes,
        words=sizes,
        groups=SPLITS,
        rejected=RejectedDocuments(count=2, share=2 / 58, by_check={"too short": 2}),
        duplicates_removed=3,
        in_other_splits={
            "train": {"validation": 1, "test": 1},
            "validation": {"test": 0},
        },
        overlap=OverlappingDocuments(
            words=13,
            removed={"validation": 1, "test": 0},
            examples=overlapping_examples() if has_answers else None,
        ),
        examples={split: example_numbers(n) for split, n in SPLITS.items()}
        if has_answers
        else None,
    )


def overlapping_examples() -> OverlappingExamples:
    """Return what overlaps in examples."""
    return OverlappingExamples(
        by_answer={"validation": 1, "test": 0},
        by_question={"validation": 0, "test": 0},
        similar_questions={"validation": 0, "test": 2},
    )


def example_numbers(examples: int) -> ExampleNumbers:
    """Return the numbers of the examples of a split."""
    return ExampleNumbers(
        turns=TurnNumbers(min=1, median=2.5, max=4),
        trained_turns=2 * examples,
        with_tools=0,
        with_system=examples // 2,
        with_reasoning=1,
        question_bytes=5 * examples,
        answer_bytes=5 * examples,
    )


def token_metrics(has_answers: bool = False) -> TokenMetrics:
    """Return metrics/tokens.json."""
    share = 0.4 if has_answers else 0.98
    splits = {
        split: SplitNumbers(
            documents=n,
            sequences=n,
            tokens=50 * n,
            trained_tokens=round(share * 50 * n),
            trained_share=share,
            blocks=n,
            padding_share=0.1 if has_answers else 0.0,
            overlong=Overlong(dropped=3 if has_answers else 0),
            bytes_per_token=4.0,
            special_tokens_spelled_out=n,
            lost_characters=0,
        )
        for split, n in SPLITS.items()
    }
    return TokenMetrics(
        sequence_length=32,
        has_answers=has_answers,
        packing="best_fit" if has_answers else "wrap",
        vocab_size=300,
        splits=splits,
    )


def tokens_card(text: str = "Who is there?\n") -> TokensCard:
    """Return data/tokens/card.json.

    Args:
        text: Text of a row that is seen and not trained.
    """
    lengths = Lengths(shortest=9, median=20.5, longest=60, counts=(13, 16, 7, 1, 3))
    pieces = (
        Piece(use="seen", is_special=True, text="<|end|>"),
        Piece(use="seen", text=text, hidden=1234, ending="end"),
        Piece(use="trained", text=" It is me."),
        Piece(use="trained", is_special=True, text="<|end|>"),
        Piece(use="left_out", begins_part=True, text="and so on"),
    )
    row = ShownRow(number=7, tokens=60, trained_tokens=12, pieces=pieces)
    return TokensCard(
        sequence_length=32,
        bins=(16, 23, 32, 45, 64),
        lengths={split: lengths for split in SPLITS},
        scripts={"Latin": 0.9996, "Han": 0.0004},
        rows=(row, row.model_copy(update={"number": 20, "hidden_tokens": 40})),
    )


def plan(**changes: Any) -> Plan:
    """Return plan/plan.json."""
    values = {
        "precision": "bf16",
        "zero_stage": 3,
        "offload_optimizer": "cpu",
        "global_batch_size": 16,
        "micro_batch_size": 2,
        "activation_checkpointing": True,
        "accelerator": "cuda",
        "nodes": 2,
        "ranks_per_node": 4,
        "num_parameters": 2_600_000,
    }
    return make_plan(**values | changes)


def reasons() -> Reasons:
    """Return plan/reasons.json."""
    return reasons_of(
        plan(),
        decisions=(Decision("zero_stage", 3, "it <fits>"),),
        train_blocks=SPLITS["train"],
        gpu_name="Some GPU",
    )


def history(steps: int) -> str:
    """Return history.csv."""
    lines = [",".join(StepHistory.columns())]
    for step in range(1, steps + 1):
        norm = "inf" if step == 2 else "1.5"
        measured = f"{step},{step / steps},{8 - step / steps},0.002,{norm},500,512,2"
        lines.append(f"{measured},0.1,,,,0,40.5")
    return "\n".join(lines) + "\n"


def validation(steps: int) -> str:
    """Return validation.csv, from the start and the end."""
    return f"step,validation_loss\n0,8.0\n{steps},6.0\n"


def finetune_metrics(steps: int) -> FinetuneMetrics:
    """Return metrics/finetune.json."""
    return FinetuneMetrics(
        steps=steps,
        published_step=steps,
        skipped_steps=0,
        epochs=1.0,
        tokens=500 * steps,
        train_loss=7.0,
        validation_loss=6.0,
        best_validation_loss=6.0,
        step_seconds=2.0,
        tokens_per_second=250.0,
        computed_tokens_per_second=1000.0,
        unpredicted_share=0.02,
        data_share=0.1,
        forward_share=0.3,
        backward_share=0.5,
        optimizer_share=0.1,
        save_share=0.0,
        # Half of what the GPUs of the plan promise.
        flops_per_token=0.5 * 8 * 989e12 / 1000,
        device="NVIDIA H100 80GB HBM3",
        peak_memory_gb=(40.5, 41.25),
        memory_before_gb=(0.0, 0.0),
        peak_memory_gb_by_phase={"load": 16.1, "training": 41.25, "save": 30.0},
        seconds=4000.0,
    )


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


def made_samples(**texts: str) -> Samples:
    """Return results/sample/samples.json."""
    words = {"prompt": "Once", "base": "a a", "tuned": "upon\n\na time"}
    words |= {"base_sampled": "b", "tuned_sampled": "c", **texts}
    settings = GenerationSettings(
        max_new_tokens=8,
        seed=0,
        greedy={"do_sample": False},
        sampled={"do_sample": True, "temperature": 0.8, "top_k": 0},
    )
    return Samples(settings=settings, samples=(Sample(**words),))


def protocol(has_answers: bool = False) -> ScoringProtocol:
    """Return how both models were scored."""
    return ScoringProtocol(
        context_length=32,
        stride=32,
        prefix=None if has_answers else "<|end|>",
        dtype="bfloat16",
        device="cuda",
        split_special_tokens=True,
        tokenizer_sha256="0" * 64,
        chat_template_sha256="1" * 64 if has_answers else None,
    )


def totals(bits_per_byte: float, word_perplexity: float | None) -> ScoreTotals:
    """Return the scores of a model on a split."""
    return ScoreTotals(
        documents=7,
        bytes=700,
        words=112,
        tokens=175,
        nll=700 * bits_per_byte * float(np.log(2)),
        bits_per_byte=bits_per_byte,
        bits_per_document=100 * bits_per_byte,
        token_perplexity=4000.0,
        word_perplexity=word_perplexity,
    )


def baseline_metrics() -> BaselineMetrics:
    """Return metrics/baseline.json."""
    base = totals(3.0, 2e290)
    return BaselineMetrics(protocol=protocol(), validation=base, test=base)


def evaluation(bits: float, has_answers: bool = False) -> EvaluationMetrics:
    """Return metrics/evaluation.json."""
    comparison = Comparison(
        base=totals(3.0, 2e290),
        tuned=totals(3.0 + bits, None),
        bits_per_byte_change=bits,
        bits_per_byte_change_low=bits - 0.1,
        bits_per_byte_change_high=bits + 0.1,
        win_rate=float(bits < 0),
    )
    floors = Floors(uniform_bits_per_byte=3.4, unigram_bits_per_byte=2.7)
    return EvaluationMetrics(
        protocol=protocol(has_answers),
        validation=comparison,
        test=ComparisonWithFloors(**dict(comparison), floors=floors),
        exact_match=exact_matches() if has_answers else None,
    )


def exact_matches() -> ExactMatches:
    """Return how often both models give the very answer of the data."""
    return ExactMatches(
        base=ExactMatch(examples=8, matches=1, share=0.125),
        tuned=ExactMatch(examples=8, matches=5, share=0.625),
    )


def changed(artifact: Any, changes: dict[str, Any]) -> Any:
    """Return an artifact with other values.

    Args:
        artifact: The artifact.
        changes: New values by their paths, such as `test.tuned.documents`.
    """
    for path, value in changes.items():
        name, _, rest = path.partition(".")
        inner = changed(getattr(artifact, name), {rest: value}) if rest else value
        artifact = artifact.model_copy(update={name: inner})
    return artifact
