"""The choice among strategies: of those that fit the fastest, as is predicted."""

from dataclasses import dataclass, replace

from retune.artifacts.memory_prediction import MemoryPrediction
from retune.artifacts.plan import Decision, Plan, PlanValue
from retune.planning.step_time import StepTime
from retune.units import GB

# Share of a GPU's memory that stays free: blocks of memory that do not fit together,
# and what is not predicted.
FREE_SHARE = 0.08
# A strategy that takes less memory is chosen if it is slower by no more than this.
EQUAL_SHARE = 0.03
# Other values of a setting of which a reason tells.
MOST_VALUES = 3


@dataclass(frozen=True)
class Candidate:
    """A strategy with what is predicted of it.

    Attributes:
        plan: The plan.
        decisions: Its values, with reasons.
        memory: Its memory.
        time: The time of its steps.
        limit: Bytes that it may take of a GPU; None if that is not known.
        main_limit: Bytes that it may take of a node's main memory; None if that is not
            known.
    """

    plan: Plan
    decisions: tuple[Decision[PlanValue], ...]
    memory: MemoryPrediction
    time: StepTime
    limit: float | None
    main_limit: float | None

    @property
    def missing(self) -> float:
        """Bytes by which it does not fit; 0 if it does."""
        return max(0.0, self.missing_on_gpu, self.missing_in_main_memory)

    @property
    def missing_on_gpu(self) -> float:
        """Bytes that a GPU has too few; below 0: that are left."""
        limit = float("inf") if self.limit is None else self.limit
        return self.memory.peak_bytes - limit

    @property
    def missing_in_main_memory(self) -> float:
        """Bytes that a node has too few; below 0: that are left."""
        limit = float("inf") if self.main_limit is None else self.main_limit
        return self.memory.main_memory_bytes - limit

    def is_better_than(self, other: "Candidate") -> bool:
        """Return whether it fits better, or as well and is faster."""
        mine, theirs = (
            (one.missing, one.time.seconds, one.memory.peak_bytes)
            for one in (self, other)
        )
        return mine < theirs


def usable_bytes(gpu_memory_gb: float) -> float:
    """Return the bytes of a GPU's memory that a strategy may take."""
    return (1 - FREE_SHARE) * gpu_memory_gb * GB


def choose(considered: list[Candidate]) -> Candidate | None:
    """Return the strategy to train by; None if none fits.

    Of those that fit and are about as fast as the fastest it is one of the first kind,
    and of these the one that takes least memory.

    Args:
        considered: The strategies, those of simple kinds first.
    """
    fitting = [one for one in considered if not one.missing]
    if not fitting:
        return None
    fastest = min(one.time.seconds for one in fitting)
    equal = [one for one in fitting if one.time.seconds <= (1 + EQUAL_SHARE) * fastest]
    simplest = kind_of(equal[0].plan)
    alike = [one for one in equal if kind_of(one.plan) == simplest]
    return min(alike, key=lambda one: one.memory.peak_bytes)


def closest(considered: list[Candidate], number: int) -> list[Candidate]:
    """Return the strategies of different kinds that lack least memory, least first."""
    by_kind: dict[str, Candidate] = {}
    for one in sorted(considered, key=lambda one: (one.missing, one.memory.peak_bytes)):
        by_kind.setdefault(kind_of(one.plan), one)
    return list(by_kind.values())[:number]


def runners_up(considered: list[Candidate], chosen: Candidate) -> list[Candidate]:
    """Return the best of each other kind of strategy, the fastest first.

    Args:
        considered: The strategies.
        chosen: The one that was chosen.
    """
    by_kind: dict[str, Candidate] = {}
    for one in considered:
        kind = kind_of(one.plan)
        if kind not in by_kind or one.is_better_than(by_kind[kind]):
            by_kind[kind] = one
    by_kind.pop(kind_of(chosen.plan), None)
    return sorted(by_kind.values(), key=lambda one: one.time.seconds)


def verdict(one: Candidate, chosen: Candidate) -> str:
    """Return why a strategy was not chosen."""
    slower = one.time.seconds / chosen.time.seconds
    if one.missing_on_gpu > 0:
        return f"does not fit by {one.missing_on_gpu / GB:.1f} GB"
    if one.missing_in_main_memory > 0:
        missing = one.missing_in_main_memory / GB
        return f"does not fit into main memory by {missing:.1f} GB"
    if slower < 1 + EQUAL_SHARE:
        more = (one.memory.peak_bytes - chosen.memory.peak_bytes) / GB
        return f"fits, as fast, {abs(more):.1f} GB {'more' if more > 0 else 'less'}"
    return f"fits, {slower:.2f} x slower"


def kind_of(plan: Plan) -> str:
    """Return what a strategy is, in words, but for the micro-batch."""
    words = [f"ZeRO-{plan.zero_stage}"]
    places = {"none": "", "cpu": "main memory", "nvme": "NVMe"}
    optimizer, weights = places[plan.offload_optimizer], places[plan.offload_param]
    if optimizer and optimizer == weights:
        words.append(f"optimizer and weights in {optimizer}")
    else:
        words += [f"optimizer in {optimizer}"] * bool(optimizer)
        words += [f"weights in {weights}"] * bool(weights)
    if plan.activation_checkpointing == "selective":
        words.append("selective checkpointing")
    elif plan.activation_checkpointing:
        words.append("checkpointing")
    return ", ".join(words)


def explained(
    chosen: Candidate, considered: list[Candidate], left_open: set[str]
) -> tuple[Decision[PlanValue], ...]:
    """Return the decisions of the chosen strategy, each with what others would cost.

    Args:
        chosen: The strategy.
        considered: All that were considered.
        left_open: Settings that were `auto`.
    """
    return tuple(
        replace(decision, why=why_not(decision, chosen, considered))
        if decision.setting in left_open
        else decision
        for decision in chosen.decisions
    )


def why_not(
    decision: Decision[PlanValue], chosen: Candidate, considered: list[Candidate]
) -> str:
    """Return what the best strategy with each other value of a setting would be."""
    best: dict[PlanValue, Candidate] = {}
    for one in considered:
        value = getattr(one.plan, decision.setting)
        # 0 and 1 are not false and true.
        is_same = value == decision.value and type(value) is type(decision.value)
        if not is_same and (value not in best or one.is_better_than(best[value])):
            best[value] = one
    if not best:
        return "nothing else was tried"
    rivals = sorted(best.items(), key=lambda item: item[1].time.seconds)[:MOST_VALUES]
    return "; ".join(f"{shown(value)} {verdict(one, chosen)}" for value, one in rivals)


def shown(value: PlanValue) -> str:
    """Return a value as params.yaml has it."""
    return str(value).lower() if isinstance(value, bool) else str(value)
