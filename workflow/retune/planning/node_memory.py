"""The main memory that the ranks of a node take."""

from retune.artifacts.plan import Plan
from retune.planning.memory import (
    checkpoint_bytes,
    loading_bytes,
    model_states_bytes,
    offloaded_to_cpu_bytes,
)
from retune.units import GB

# Main memory of a process that has imported torch and DeepSpeed and has a CUDA context.
PROCESS_GB = 4.0


def finetune_memory_gb(plan: Plan) -> float:
    """Return the main memory that a node's ranks take, GB."""
    # While a checkpoint is saved, a rank's shard of it passes through main memory.
    rank = checkpoint_bytes(plan, plan.num_trained) / plan.world_size
    rank += loading_bytes(plan)
    if plan.accelerator == "cpu":
        rank += 2 * model_states_bytes(plan)
    offloaded = offloaded_to_cpu_bytes(plan) / plan.nodes
    return plan.ranks_per_node * (PROCESS_GB + rank / GB) + offloaded / GB
