"""Says what would fit of a training that ran out of memory.

`python -m retune.training.memory_adviser STATE SHORTAGE`: STATE is the folder of the
training's checkpoints, in which run.json says what was trained; SHORTAGE the memory of
the rank, as JSON. The last line of its output is the advice. It is a process of its
own, because the rank has no memory left to trace a model in.
"""

import argparse
import json
from pathlib import Path

from retune.artifacts.memory_shortage import MemoryShortage
from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.plan import Plan
from retune.artifacts.run_spec import RunSpec
from retune.engines.traces import Traces
from retune.errors import RetuneError
from retune.models.four_bit_weights import num_parameters_in_4bit
from retune.models.skeleton import build_skeleton
from retune.models.training_skeleton import build_training_skeleton
from retune.planning.complete_config import put
from retune.planning.deepspeed_config import deepspeed_config
from retune.planning.deepspeed_sizes import DeepSpeedSizes
from retune.planning.given_config import leaves, look_up
from retune.planning.memory_advice import Beside, PeakOf, advise
from retune.planning.memory_prediction import predict_memory


def main() -> None:
    """Print the advice."""
    parser = argparse.ArgumentParser(prog="python -m retune.training.memory_adviser")
    parser.add_argument("state", type=Path, help="folder of the training")
    parser.add_argument("shortage", help="the memory of the rank, as JSON")
    options = parser.parse_args()
    run = RunSpec.read(options.state)
    shortage = MemoryShortage(**json.loads(options.shortage))
    print(advise(run.plan, shortage, *peaks_of(run)))


def peaks_of(run: RunSpec) -> tuple[PeakOf, Beside]:
    """Return what predicts the memory of a run by other plans, and by what is beside.

    The other plans have the same keys of the user's DeepSpeed config.
    """
    facts = ModelFacts.read(run.base)
    skeleton = build_training_skeleton(run.base, facts, run.settings.lora)
    traces, sizes = Traces(skeleton), skeleton.sizes
    usual = deepspeed_config(run.plan)
    given = [
        (key, value)
        for key, value in leaves(run.deepspeed)
        if look_up(usual, key) != value
    ]

    def sizes_of(plan: Plan) -> DeepSpeedSizes:
        config = deepspeed_config(plan)
        for key, value in given:
            put(config, key, value)
        return DeepSpeedSizes.of(config)

    def peak_of(plan: Plan) -> float:
        memory = predict_memory(plan, traces(plan), sizes, deepspeed=sizes_of(plan))
        return memory.peak_tensor_bytes

    in_usual = sizes_of(run.plan).in_usual_buckets()
    less = predict_memory(run.plan, traces(run.plan), sizes, deepspeed=in_usual)
    return peak_of, Beside(in_4bit(run), less.peak_tensor_bytes)


def in_4bit(run: RunSpec) -> int:
    """Return how many parameters of a run could be held in 4 bits.

    None without adapters, or if bitsandbytes, which says it, is not installed.
    """
    if run.settings.lora is None:
        return 0
    try:
        return num_parameters_in_4bit(build_skeleton(run.base))
    except RetuneError:
        return 0


if __name__ == "__main__":
    main()
