"""What the planner predicts of the trainings of its grid, without running them."""

import logging
from concurrent.futures import Future, ProcessPoolExecutor
from dataclasses import dataclass, replace
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from gpu_grid import ALL, MODELS, GridCase, grid_cases, of, toy_setup

from retune.artifacts.memory_prediction import MemoryPrediction
from retune.artifacts.plan import Plan

log = logging.getLogger(__name__)

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
        is_beyond: Whether it takes more than there is. What neither fits nor is beyond
            says nothing about the prediction, whether it runs out or not.
    """

    plan: Plan
    memory: MemoryPrediction
    seconds: float
    fits: bool
    is_beyond: bool

    @property
    def bytes_by_phase(self) -> dict[str, int]:
        """Bytes that PyTorch allocates in each phase: not the context."""
        return {phase.name: phase.tensor_bytes for phase in self.memory.phases}

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
            "activations": self.memory.activations,
            "unverified": self.memory.unverified,
        }


# The second is an error in one line where nothing could be predicted.
Pair = tuple[GridCase, Prediction | str]


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
        pairs = [
            pair
            for model in models
            for pair in pairs_or_errors(
                by_model[model], [case for case in cases if case.model == model]
            )
        ]
    in_grid = [pair for pair in pairs if pair[0] in cases]
    in_grid.sort(key=lambda pair: cases.index(pair[0]))
    largest = [pair for pair in pairs if pair[0] not in cases]
    return [*in_grid[:BEFORE_LARGEST], *largest, *in_grid[BEFORE_LARGEST:]]


def pairs_or_errors(
    predicted: "Future[list[Pair]]", cases: list[GridCase]
) -> list[Pair]:
    """Return what is predicted of a model; if it failed as a whole, why for each case.

    Args:
        predicted: What its process returns.
        cases: Its trainings in the grid.
    """
    try:
        return predicted.result()
    except Exception as error:
        log.exception("no prediction of a model")
        return [(case, in_a_line(error)) for case in cases]


def in_a_line(error: Exception) -> str:
    """Return an error in one line."""
    return f"{type(error).__name__}: {error}".splitlines()[0]


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
    pairs = [(case, predict.or_error(case)) for case in cases]
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

    def or_error(self, case: GridCase) -> Prediction | str:
        """Return what is predicted of a training, or why nothing is, in one line."""
        try:
            return self(case)
        except Exception as error:
            log.exception("no prediction of %s: %s", case.model, case.name)
            return in_a_line(error)

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
        memory = predict_memory(plan, passes, self._skeleton.sizes, hardware)
        work = passes.of(plan.micro_batch_size).work
        time = predict_step(
            plan, work, speeds_of(hardware, plan.precision), self._skeleton.sizes
        )
        there = case.gpu_memory_gb or hardware.gpu_memory_gb
        fits = there is None or memory.peak_bytes <= usable_bytes(there)
        is_beyond = there is not None and memory.peak_bytes > there * GB
        return Prediction(plan, memory, time.seconds, fits, is_beyond)


def largest(model: str, predict: Predictor) -> list[Pair]:
    """Return the largest micro-batches that fit into a part of a GPU.

    After each comes the smallest that takes more than this part.

    Args:
        model: Name of the model.
        predict: What predicts.
    """
    pairs: list[Pair] = []
    for kind in ({}, ALL):
        cases = [
            GridCase(model, of(1, size, kind, passes=1), PART_OF_GPU_GB)
            for size in SIZES
        ]
        predicted = [(case, predict.or_error(case)) for case in cases]
        failed = [pair for pair in predicted if isinstance(pair[1], str)]
        known = [(case, one) for case, one in predicted if isinstance(one, Prediction)]
        fitting = [pair for pair in known if pair[1].fits]
        beyond = [
            (replace(case, is_beyond=True), one) for case, one in known if one.is_beyond
        ]
        pairs += [*failed[:1], *fitting[-1:], *beyond[:1]]
    return pairs


def in_gb(sizes: dict[str, int]) -> dict[str, float]:
    """Return bytes in GB."""
    return {name: round(size / GB, 6) for name, size in sizes.items()}
