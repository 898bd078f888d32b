"""Configs of options that are right each by itself, combined at random.

`tests/library/test_linting.py` asks the linter and DeepSpeed which of them are refused.
"""

import random
from typing import Any

from lint_cases import BASE

BOTH = [True, False]
CPU = {"device": "cpu"}
OF_ZERO: dict[str, list[Any]] = {
    "overlap_comm": BOTH,
    "contiguous_gradients": BOTH,
    "reduce_scatter": BOTH,
    "round_robin_gradients": BOTH,
    "compute_grad_norm": BOTH,
    "offload_param": [CPU, {"device": "none"}, None],
    "offload_optimizer": [
        *(CPU, CPU | {"ratio": 0.5}, {"device": "none", "ratio": 0.5}),
        {"device": "nvme"},
    ],
    "zero_quantized_weights": [True],
    "parameter_alignment": [True],
    "stage3_allgather_sequential": [True],
    "use_multi_rank_bucket_allreduce": [False],
    "elastic_checkpoint": [True],
    "load_from_fp32_weights": [False],
    "ignore_unused_parameters": [False],
    "sub_group_size": [100],
}
MASTERS = {"enabled": True, "bf16_master_weights_and_grads": True}
AT_THE_TOP: dict[str, list[Any]] = {
    "bf16": [{"enabled": True}, MASTERS, MASTERS | {"bf16_optimizer_states": True}],
    "gradient_clipping": [0, 1.0, 0.5],
    "data_types": [{"grad_accum_dtype": name} for name in ("fp32", "bf16", "fp16")],
    "prescale_gradients": [True],
    "gradient_predivide_factor": [2.0],
    "gradient_allreduce_op": ["sum", "mean"],
    "managed_gradient_accumulation": [False],
    "communication_data_type": ["fp32", "bf16", "fp16"],
    # Nothing has to be compiled for it, as for DeepSpeed's own.
    "optimizer": [{"type": "SGD", "params": {"lr": 0.1}}],
    "torch_autocast": [{"enabled": True, "dtype": "bfloat16"}],
    "zero_allow_untested_optimizer": [True],
}


def random_configs(number: int) -> list[dict[str, Any]]:
    """Return configs, which are the same in each call."""
    chance = random.Random(0)

    def some(options: dict[str, list[Any]]) -> dict[str, Any]:
        return {
            key: chance.choice(values)
            for key, values in options.items()
            if chance.random() < 0.2
        }

    configs = []
    for _ in range(number):
        zero = {"stage": chance.randrange(4), "reduce_bucket_size": 1000000}
        config = BASE | {"zero_optimization": zero | some(OF_ZERO)} | some(AT_THE_TOP)
        configs.append(config)
    return configs


RANDOM = random_configs(200)
