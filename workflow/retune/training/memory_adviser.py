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
from retune.models.training_skeleton import build_training_skeleton
from retune.planning.memory_advice import PeakOf, advise
from retune.planning.memory_prediction import predict_memory


def main() -> None:
    """Print the advice."""
    parser = argparse.ArgumentParser(prog="python -m retune.training.memory_adviser")
    parser.add_argument("state", type=Path, help="folder of the training")
    parser.add_argument("shortage", help="the memory of the rank, as JSON")
    options = parser.parse_args()
    run = RunSpec.read(options.state)
    shortage = MemoryShortage(**json.loads(options.shortage))
    print(advise(run.plan, shortage, peaks_of(run)))


def peaks_of(run: RunSpec) -> PeakOf:
    """Return the function that predicts the memory of a run by other plans."""
    facts = ModelFacts.read(run.base)
    skeleton = build_training_skeleton(run.base, facts, run.settings.lora)
    traces = Traces(skeleton)

    def peak_of(plan: Plan) -> float:
        memory = predict_memory(plan, traces(plan), skeleton.sizes)
        return memory.peak_tensor_bytes

    return peak_of


if __name__ == "__main__":
    main()
