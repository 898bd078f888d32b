"""A plan that `configure` might have made."""

import re
from pathlib import Path
from typing import Any

from retune.artifacts.plan import Plan, Reasons
from retune.planning.memory_prediction import predict_memory


def make_plan(**changes: Any) -> Plan:
    """Return the plan of a tiny training on one CPU rank, with some values changed."""
    values = {
        "precision": "fp32",
        "zero_stage": 2,
        "optim": "adamw",
        "bf16_optimizer_states": False,
        "offload_optimizer": "none",
        "offload_param": "none",
        "global_batch_size": 4,
        "micro_batch_size": 4,
        "gradient_accumulation_steps": 1,
        "pipeline_stages": 1,
        "activation_checkpointing": False,
        "activation_checkpointing_interval": 1,
        "torch_compile": False,
        "use_liger_kernel": False,
        "attn_implementation": "sdpa",
        "chunked_cross_entropy": False,
        "gradient_clipping": 1.0,
        "accelerator": "cpu",
        "nodes": 1,
        "ranks_per_node": 1,
        "sequence_length": 32,
        "num_parameters": 1000,
    }
    return Plan(**values | changes)


def read_page(plan: Path) -> str:
    """Return the page of a plan, the cells of whose tables are not padded."""
    return re.sub(" +", " ", (plan / "plan.md").read_text())


def reasons_of(plan: Plan, **changes: Any) -> Reasons:
    """Return the reasons for a plan, none in particular, with some values changed."""
    values = {
        "decisions": (),
        "warnings": (),
        "train_blocks": 3,
        "memory": predict_memory(plan),
        "gpu_name": None,
    }
    return Reasons(**values | changes)
