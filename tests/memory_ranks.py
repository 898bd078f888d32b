"""A real rank that counts the bytes of the tensors it holds, phase by phase.

As a program: `memory_ranks.py FOLDER CASES`, with cases as JSON. Rank 0 prints a line
of JSON for each. As a module: start the ranks.
"""

import gc
import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

from training_ranks import environment_of_ranks, free_port

# The first step makes what stays. Of the others the least counts: threads that send
# gradients may hold them for a moment longer.
STEPS = 4


def measure_all(
    base: Path, cases: list[dict[str, Any]], ranks: int
) -> list[dict[str, int]]:
    """Return the most bytes that a rank held in each phase, for each case.

    Args:
        base: Folder of the base model, with its facts.
        cases: Changes of a plan, under `lora` the section `finetune.lora`, and under
            `deepspeed` what is merged over the DeepSpeed config.
        ranks: Number of processes.
    """
    environment = {
        **environment_of_ranks(),
        "MASTER_PORT": str(free_port()),
        "WORLD_SIZE": str(ranks),
    }
    processes = [
        subprocess.Popen(
            [sys.executable, __file__, str(base), json.dumps(cases)],
            env={**environment, "RANK": str(rank), "LOCAL_RANK": str(rank)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT if rank else None,
            text=True,
        )
        for rank in range(ranks)
    ]
    outputs = [process.communicate(timeout=300)[0] for process in processes]
    assert [process.returncode for process in processes] == [0] * ranks, outputs
    return [json.loads(line) for line in outputs[0].splitlines() if line[:1] == "{"]


def main(base: Path, cases: list[dict[str, Any]]) -> None:
    """Be one rank."""
    for case in cases:
        held = measure(base, case)
        if os.environ["RANK"] == "0":
            print(json.dumps(held), flush=True)
        gc.collect()


def measure(base: Path, case: dict[str, Any]) -> dict[str, int]:
    """Return the most bytes that a rank held in each phase, the least of some steps."""
    import numpy as np
    import torch

    from plans import make_plan
    from retune.artifacts.model_facts import ModelFacts
    from retune.artifacts.run_spec import RunSpec
    from retune.compat.pytorch_live_storages import LiveStorages
    from retune.engines.trainers import build_trainer, start_process_group
    from retune.measuring.stopwatch import Stopwatch
    from retune.planning.deepspeed_config import deepspeed_config
    from retune.planning.given_config import merged
    from retune.settings import FinetuneSettings
    from retune.tokens.blocks import Batch

    facts = ModelFacts.read(base)
    lora, given = case.pop("lora", None), case.pop("deepspeed", {})
    plan = make_plan(num_parameters=facts.num_parameters, **case)
    settings = FinetuneSettings(learning_rate=1e-3, lora=lora)
    config = merged(deepspeed_config(plan), given)
    run = RunSpec(
        settings=settings, base=base, tokens=base, plan=plan, deepspeed=config
    )
    start_process_group(plan, 600)
    live, making = LiveStorages(), LiveStorages()
    for tensor in tensors():
        live.ignore(tensor)
        making.ignore(tensor)
    with making:
        trainer = build_trainer(run, config, Stopwatch())
    gc.collect()
    for tensor in tensors():
        live.count(tensor)
    engine = trainer.engine
    shape = (plan.micro_batch_size, plan.sequence_length)
    ids = np.ones(shape, np.int64)
    batch = Batch(ids, np.tile(np.arange(shape[1]), (shape[0], 1)), ids)
    of_steps: list[dict[str, int]] = []

    def note(phase: str) -> None:
        of_steps[-1][phase] = max(of_steps[-1][phase], live.peak)
        live.restart()

    with live:
        for _ in range(STEPS):
            of_steps.append(dict.fromkeys(["forward", "backward", "step"], 0))
            for micro in range(plan.gradient_accumulation_steps):
                live.restart()
                loss = trainer.loss_sum(batch)
                note("forward")
                engine.backward(loss * 1.0)
                note("backward")
                del loss
                engine.step()
                if micro == plan.gradient_accumulation_steps - 1:
                    note("step")
        held = {
            phase: min(step[phase] for step in of_steps[1:]) for phase in of_steps[0]
        }
        held["save"] = live.bytes
        if plan.zero_stage == 3:
            # At other stages weights are counted twice here that DeepSpeed moves.
            held["optimizer_init"] = making.peak
        engine.eval()
        live.restart()
        with torch.no_grad():
            trainer.loss_sum(batch)
        held["validation"] = live.peak
    engine.destroy()
    most = torch.tensor(list(held.values()))
    torch.distributed.all_reduce(most, torch.distributed.ReduceOp.MAX)
    return dict(zip(held, most.tolist(), strict=True))


def tensors() -> list[Any]:
    """Return all tensors that Python knows, but for those without memory."""
    import torch

    return [
        each
        for each in gc.get_objects()
        if isinstance(each, torch.Tensor) and each.device.type == "cpu"
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]), json.loads(sys.argv[2]))
    sys.stdout.flush()
    os._exit(0)
