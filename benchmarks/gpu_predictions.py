"""What the planner predicts of the trainings of its grid, without running them."""

from concurrent.futures import ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from gpu_grid import ALL, MODELS, GridCase, grid_cases, of, toy_setup

from retune.artifacts.memory_prediction import MemoryPrediction
from retune.artifacts.plan import Plan

GB = 1e9
# Part of a GPU in which the largest micro-batch is tried, GB, and what there may be.
PART_OF_GPU_GB = 16.0
SIZES = [2**exponent for exponent in range(8)]
# Trainings of the grid that come before those.
BEFORE_LARGEST = 40


@dataclass(frozen=True)
class Prediction:
    """What is predicted of a training.

    Attributes:
        plan: Its plan.
        memory: Its memory.
        seconds: Time of an optimizer step.
        fits: Whether it fits on the GPU, with the share that is to stay free.
    """

    plan: Plan
    memory: MemoryPrediction
    seconds: float
    fits: bool

    @property
    def bytes_by_phase(self) -> dict[str, int]:
        """Bytes of tensors in each phase: not the context, which no tensor is in."""
        return {
            phase.name: phase.total - phase.bytes_by_kind["context"]
            for phase in self.memory.phases
        }

    @property
    def figures(self) -> dict[str, Any]:
        """The figures that are compared."""
        tokens = self.plan.tokens_per_step
        return {
            "predicted GB": max(self.bytes_by_phase.values()) / GB,
            "predicted phases": in_gb(self.bytes_by_phase),
            "predicted s/step": self.seconds,
            "predicted tokens/s": tokens / self.seconds,
            "precision": self.plan.precision,
            "length": self.plan.sequence_length,
            "fits": self.fits,
        }


Pair = tuple[GridCase, Prediction]


def predict_all(toy: bool, only: str, folder: Path) -> list[Pair]:
    """Return the trainings, and what is predicted of each, in the order of worth.

    Args:
        toy: Whether to predict them in toy size.
        only: Pattern that finds their models and names.
        folder: Folder in which the models are made; each has a process.
    """
    cases = grid_cases(toy, only)
    models = list(dict.fromkeys(case.model for case in cases))
    with ProcessPoolExecutor(
        1 if toy else len(models), mp_context=get_context("spawn")
    ) as pool:
        by_model = {
            model: pool.submit(
                predict_model,
                model,
                [case for case in cases if case.model == model],
                folder,
                toy,
            )
            for model in models
        }
        pairs = [pair for model in models for pair in by_model[model].result()]
    in_grid = [pair for pair in pairs if pair[0] in cases]
    in_grid.sort(key=lambda pair: cases.index(pair[0]))
    largest = [pair for pair in pairs if pair[0] not in cases]
    return [*in_grid[:BEFORE_LARGEST], *largest, *in_grid[BEFORE_LARGEST:]]


def predict_model(
    model: str, cases: list[GridCase], folder: Path, toy: bool
) -> list[Pair]:
    """Make a model; return its trainings, and what is predicted of each.

    Args:
        model: Name of the model.
        cases: Its trainings in the grid; to these the largest micro-batches are added.
        folder: Folder in which the model is made.
        toy: Whether it has toy size.
    """
    from random_inputs import write_model

    base = folder / model
    write_model(base, toy_setup(MODELS[model]) if toy else MODELS[model])
    predict = Predictor(base, toy)
    pairs = [(case, predict(case)) for case in cases]
    return pairs if toy else [*pairs, *largest(model, predict)]


class Predictor:
    """Predicts trainings of a model."""

    def __init__(self, base: Path, toy: bool) -> None:
        """Predict those of a model's folder, if asked in toy size."""
        from retune.artifacts.model_facts import ModelFacts
        from retune.engines.traces import Traces
        from retune.models.training_skeleton import build_training_skeleton

        self._skeleton = build_training_skeleton(base, ModelFacts.read(base), None)
        self._traces = Traces(self._skeleton)
        self._toy = toy

    def __call__(self, case: GridCase) -> Prediction:
        """Return what is predicted of a training."""
        from retune.planning.choice import usable_bytes
        from retune.planning.hardware import resolve_hardware
        from retune.planning.memory_prediction import predict_memory
        from retune.planning.speeds import speeds_of
        from retune.planning.step_time import predict_step
        from retune.planning.strategy import make_plan
        from retune.settings import ConfigureSettings, HardwareSettings

        setup = case.setup(self._toy)
        hardware = resolve_hardware(
            HardwareSettings(accelerator=setup.accelerator, ranks_per_node=1)
        )
        settings = ConfigureSettings(**case.section())
        plan, _ = make_plan(
            *(settings, hardware, self._skeleton.facts, setup.sequence_length),
            train_blocks=settings.global_batch_size,
        )
        passes = self._traces(plan)
        memory = predict_memory(plan, passes, self._skeleton.sizes)
        work = passes.of(plan.micro_batch_size).work
        time = predict_step(plan, work, speeds_of(hardware, plan.precision))
        there = case.gpu_memory_gb or hardware.gpu_memory_gb
        fits = there is None or memory.peak_bytes <= usable_bytes(there)
        return Prediction(plan, memory, time.seconds, fits)


def largest(model: str, predict: Predictor) -> list[Pair]:
    """Return the largest micro-batches that fit into a part of a GPU, and twice those.

    Args:
        model: Name of the model.
        predict: What predicts.
    """
    pairs = []
    for kind in ({}, ALL):
        cases = [
            GridCase(model, of(1, size, kind, passes=1), PART_OF_GPU_GB)
            for size in SIZES
        ]
        predicted = [predict(case) for case in cases]
        fitting = sum(one.fits for one in predicted)
        if 0 < fitting < len(cases):
            pairs.append((cases[fitting - 1], predicted[fitting - 1]))
            beyond = replace(cases[fitting], is_beyond=True)
            pairs.append((beyond, predicted[fitting]))
    return pairs


def in_gb(sizes: dict[str, int]) -> dict[str, float]:
    """Return bytes in GB."""
    return {name: round(size / GB, 6) for name, size in sizes.items()}
