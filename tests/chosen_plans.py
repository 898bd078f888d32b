"""Plans that are chosen for machines, for tests of what is chosen."""

from retune.planning.hardware import Hardware
from retune.planning.strategy import make_plan
from tiny_facts import tiny_facts

CPU = Hardware("cpu", 1, 2, None, None)
GPUS = Hardware("cuda", 1, 8, 80.0, None)


def plan_of(
    settings, hardware=CPU, num_parameters=10**6, sequence_length=256, blocks=1000
):
    """Return the plan of a model with so many parameters.

    Args:
        settings: The `configure` section.
        hardware: The machines.
        num_parameters: Number of parameters of the model.
        sequence_length: Tokens per training sequence.
        blocks: Number of training sequences.
    """
    facts = tiny_facts(num_parameters=num_parameters)
    plan, decisions = make_plan(settings, hardware, facts, sequence_length, blocks)
    # Every value that is told is the plan's.
    for decision in decisions:
        assert getattr(plan, decision.setting) == decision.value
    return plan
