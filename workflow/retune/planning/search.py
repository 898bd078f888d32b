"""The search for a strategy: what `auto` leaves open is tried, the best is taken."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from retune.artifacts.memory_prediction import MemoryPrediction
from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.plan import Decision, Plan, PlanValue
from retune.errors import RetuneError
from retune.planning.activations import Activations
from retune.planning.candidates import OPEN, candidates
from retune.planning.choice import (
    FREE_SHARE,
    Candidate,
    choose,
    closest,
    explained,
    kind_of,
    runners_up,
    usable_bytes,
)
from retune.planning.complete_config import config_findings, config_values
from retune.planning.deepspeed_config import deepspeed_config
from retune.planning.deepspeed_sizes import DeepSpeedSizes
from retune.planning.given_plan import GivenPlan
from retune.planning.hardware import Hardware
from retune.planning.memory_prediction import predict_memory
from retune.planning.offload_buffers import swapping_problem
from retune.planning.single_changes import Room, what_would_fit
from retune.planning.speeds import Speeds, speeds_of
from retune.planning.step_time import predict_step
from retune.planning.strategy import make_plan
from retune.planning.trained_sizes import TrainedSizes
from retune.settings import ConfigureSettings, TrainedWeightsSettings
from retune.units import GB

# How many strategies are shown if none fits.
CLOSEST = 3


def no_hidden_size() -> int:
    """Stand in for the hidden size of a model where no config asks for it."""
    raise AssertionError('only an "auto" of a DeepSpeed config asks for it')


@dataclass(frozen=True)
class Training:
    """What is to be planned.

    Attributes:
        settings: The `configure` section.
        trained: Which weights are trained.
        hardware: The machines.
        facts: Facts of the model.
        sequence_length: Tokens per training sequence.
        train_blocks: Number of training sequences.
        num_adapter_parameters: Parameters of the adapters; 0: there are none.
        num_4bit_parameters: Parameters that are held in 4 bits.
        num_8bit_moments: Parameters whose moments have 8 bits.
        sizes: Sizes of the weights.
        given: The user's DeepSpeed config; None if there is none.
        hidden_size: Function that returns the hidden size of the model, which some
            "auto" of that config follow.
    """

    settings: ConfigureSettings
    trained: TrainedWeightsSettings
    hardware: Hardware
    facts: ModelFacts
    sequence_length: int
    train_blocks: int
    num_adapter_parameters: int = 0
    num_4bit_parameters: int = 0
    num_8bit_moments: int = 0
    sizes: TrainedSizes = TrainedSizes(())
    given: GivenPlan | None = None
    hidden_size: Callable[[], int] = no_hidden_size

    def config(self, plan: Plan) -> dict[str, Any]:
        """Return the DeepSpeed config that is written for a plan."""
        if self.given is None:
            return deepspeed_config(plan)
        return config_values(self.given.given, plan, self.hidden_size)

    def problems(self, plan: Plan) -> list[str]:
        """Return why a plan does not go with its DeepSpeed config."""
        errors = []
        try:
            if self.given:
                given = self.given.given
                findings = config_findings(given, plan, self.hidden_size)
                wrong = [one for one in findings if one.severity == "error"]
                errors = [self.given.problem(plan), *map(given.in_words, wrong)]
            deepspeed = DeepSpeedSizes.of(self.config(plan))
        except RetuneError as error:
            return [str(error)]
        largest = self.sizes.largest_of_all
        return [*filter(None, [*errors, swapping_problem(plan, largest, deepspeed)])]

    def memory(self, plan: Plan, trace: "Trace") -> MemoryPrediction:
        """Return the memory that a plan takes."""
        return self._predicted(plan, trace, DeepSpeedSizes.of(self.config(plan)))

    def memory_in_usual_buckets(self, plan: Plan, trace: "Trace") -> MemoryPrediction:
        """Return the memory that a plan takes if no bucket is larger than usual."""
        deepspeed = DeepSpeedSizes.of(self.config(plan)).in_usual_buckets()
        return self._predicted(plan, trace, deepspeed)

    def _predicted(
        self, plan: Plan, trace: "Trace", deepspeed: DeepSpeedSizes
    ) -> MemoryPrediction:
        """Return the memory that a plan takes with sizes of a DeepSpeed config."""
        return predict_memory(plan, trace(plan), self.sizes, self.hardware, deepspeed)

    def candidate(
        self,
        settings: ConfigureSettings,
        trace: "Trace",
        speeds: Speeds,
        limit: float | None,
    ) -> Candidate:
        """Return the strategy of other settings, with what is predicted of it."""
        plan, decisions = self.plan(settings)
        activations = trace(plan)
        main_gb = self.hardware.cpu_memory_gb
        return Candidate(
            plan,
            tuple(decisions),
            self.memory(plan, trace),
            predict_step(
                plan, activations.of(plan.micro_batch_size).work, speeds, self.sizes
            ),
            limit,
            None if main_gb is None else main_gb * GB,
        )

    def plan(
        self, settings: ConfigureSettings
    ) -> tuple[Plan, list[Decision[PlanValue]]]:
        """Return the plan by other settings, and the reasons for its values."""
        plan, decisions = make_plan(
            *(settings, self.hardware, self.facts, self.sequence_length),
            *(self.train_blocks, self.num_adapter_parameters),
            *(self.num_4bit_parameters, self.num_8bit_moments),
        )
        return (self.given.in_plan(plan) if self.given else plan), decisions


# Returns what the passes of a plan take and do.
Trace = Callable[[Plan], Activations]


@dataclass(frozen=True)
class Search:
    """What a search has found.

    Attributes:
        plan: The plan to train by.
        decisions: Its values, with the reasons for them.
        memory: Its memory.
        chosen: The strategy with the time of its steps; None on CPUs.
        others: The best of each other kind of strategy, the fastest first.
        assumed: What of the machines' speed was neither declared nor known, in words.
    """

    plan: Plan
    decisions: tuple[Decision[PlanValue], ...]
    memory: MemoryPrediction
    chosen: Candidate | None = None
    others: tuple[Candidate, ...] = ()
    assumed: tuple[str, ...] = ()

    @property
    def step_seconds(self) -> float | None:
        """Predicted time of an optimizer step, seconds; None on CPUs."""
        return self.chosen.time.seconds if self.chosen else None


def search(training: Training, trace: Trace) -> Search:
    """Return the plan of a training: of what fits the fastest, by what is predicted.

    On CPUs, and where nobody knows how much memory the GPUs have, what is left open is
    decided by rules of thumb.

    Args:
        training: What is to be planned.
        trace: Function that returns what a plan's passes take and do.

    Raises:
        RetuneError: If settings and machines do not go together, if no strategy goes
            with the user's DeepSpeed config, or if nothing fits of what the settings
            leave open.
    """
    hardware = training.hardware
    usual, decisions = training.plan(training.settings)
    if hardware.accelerator == "cpu":
        return Search(usual, tuple(decisions), training.memory(usual, trace))
    speeds = speeds_of(hardware, usual.precision)
    if hardware.gpu_memory_gb is None:
        return found(training.candidate(training.settings, trace, speeds, None), speeds)
    limit = usable_bytes(hardware.gpu_memory_gb)
    open_settings = list(
        candidates(
            *(training.settings, training.trained, hardware), training.sequence_length
        )
    )
    considered = [
        training.candidate(settings, trace, speeds, limit)
        for settings in that_go_with_config(training, open_settings)
    ]
    chosen = choose(considered)
    if chosen is None and len(open_settings) > 1:
        raise RetuneError(nothing_fits(considered, training, trace))
    if chosen is None:
        # All of it was asked for: `configure` warns.
        return found(
            training.candidate(training.settings, trace, speeds, limit), speeds
        )
    searched = (*OPEN, "micro_batch_size")
    left_open = {key for key in searched if getattr(training.settings, key) == "auto"}
    told = replace(chosen, decisions=explained(chosen, considered, left_open))
    return found(told, speeds, tuple(runners_up(considered, chosen)))


def that_go_with_config(
    training: Training, open_settings: Sequence[ConfigureSettings]
) -> list[ConfigureSettings]:
    """Return the settings whose plans a user's DeepSpeed config goes with.

    Args:
        training: What is to be planned.
        open_settings: The strategies that are left open.

    Raises:
        RetuneError: If that is none: why it does not go with the first.
    """
    plans = [training.plan(settings)[0] for settings in open_settings]
    problems = [training.problems(plan) for plan in plans]
    if problems and all(problems):
        raise RetuneError("\n".join(problems[0]))
    return [
        settings
        for settings, found in zip(open_settings, problems, strict=True)
        if not found
    ]


def found(
    chosen: Candidate, speeds: Speeds, others: tuple[Candidate, ...] = ()
) -> Search:
    """Return a strategy as what a search has found."""
    return Search(
        *(chosen.plan, chosen.decisions, chosen.memory),
        *(chosen, others, speeds.assumed),
    )


def nothing_fits(considered: list[Candidate], training: Training, trace: Trace) -> str:
    """Return that nothing fits, and what would make the closest strategies fit."""
    hardware, first = training.hardware, considered[0]
    room = Room(first.limit or 0.0, FREE_SHARE, first.main_limit)
    there = (
        f"hardware.gpu_memory_gb: {hardware.gpu_memory_gb:g}, of which"
        f" {room.gpu / GB:.1f} GB can be used"
    )
    if room.node is not None:
        there += f", cpu_memory_gb: {hardware.cpu_memory_gb:g}"
    lines = [f"{there}: nothing fits that the settings leave open. The closest:"]
    for one in closest(considered, CLOSEST):
        changes = what_would_fit(
            one.plan,
            lambda plan: training.memory(plan, trace),
            room,
            lambda plan: training.memory_in_usual_buckets(plan, trace),
            lambda plan: not training.problems(plan),
        )
        taken = f"{one.memory.peak_bytes / GB:.1f} GB"
        if room.node is not None:
            taken += f", {one.memory.main_memory_bytes / GB:.1f} GB of main memory"
        lines.append(
            f"{kind_of(one.plan)}, micro-batch {one.plan.micro_batch_size}: {taken};"
            f" fits with {changes}"
        )
    return "\n  ".join(lines)
