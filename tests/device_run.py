"""A toy training on one rank, on a CPU or a GPU, on a machine with little installed.

Nothing here imports what reads tables: a bare GPU machine has PyTorch, Transformers
and DeepSpeed.
"""

import json
import os
import subprocess
import sys
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from tokenizers import ByteLevelBPETokenizer
from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

from device_ranks import FAILED, WAITS
from retune.artifacts.model_facts import ModelFacts
from retune.artifacts.plan import DEEPSPEED, PLAN, Plan
from retune.artifacts.publishing import read_json, write_json, write_manifest
from retune.artifacts.tokens_index import TokenMetrics
from retune.checkpoints.checkpoint_files import find_checkpoints
from retune.launching.compiled_operators import build_ops
from retune.launching.this_machine import LOOPBACK, free_port, rank_environment
from retune.measuring.history import read_history, steps_in, validations_in
from retune.models.find_model_facts import find_model_facts
from retune.planning.deepspeed_config import deepspeed_config
from retune.planning.hardware import resolve_hardware
from retune.settings import ConfigureSettings, HardwareSettings
from retune.steps import configure
from token_files import make_token_metrics, write_packed

VOCABULARY, LENGTH = 320, 64
# Of one process. On a GPU time is short: what is not trained by then fails alone.
TIMEOUT_S = {"cpu": 600, "cuda": 80}
END = "<|end|>"
# Of `configure`, unless a cell is for them: with the stage that all cells have, nothing
# is left open that `configure` would search for on a GPU.
PINNED = {
    "use_liger_kernel": False,
    "offload_optimizer": "none",
    "offload_param": "none",
    "activation_checkpointing": False,
    "micro_batch_size": ConfigureSettings().global_batch_size,
}


@dataclass(frozen=True)
class DeviceJob:
    """One training on one rank.

    Attributes:
        plan: Folder of its plan.
        state: Where checkpoints and history go.
        settings: Of `finetune`.
        fault: What goes wrong, see fault_points.py.
        is_deterministic: Whether only kernels run that always sum in the same order.
    """

    plan: Path
    state: Path
    settings: dict[str, Any]
    fault: dict[str, Any] | None = None
    is_deterministic: bool = False

    def check(self) -> None:
        """Fail if the training did, with its traceback."""
        failed = self.state / FAILED
        assert not failed.exists(), failed.read_text()[-4000:]
        assert (self.state / WAITS).exists(), "its process ended before"

    @property
    def losses(self) -> list[float | None]:
        """Training loss of each step."""
        self.check()
        return [row.train_loss for row in steps_in(read_history(self.state))]

    @property
    def skipped(self) -> list[bool]:
        """Whether each step was skipped."""
        return [row.was_skipped for row in steps_in(read_history(self.state))]

    @property
    def validation_loss(self) -> float:
        """The last validation loss."""
        self.check()
        return validations_in(read_history(self.state))[-1].validation_loss

    @property
    def waits(self) -> list[list[str]]:
        """Where each step made the host wait for the device before its loss."""
        self.check()
        return json.loads((self.state / WAITS).read_text())

    @property
    def checkpoint(self) -> Path:
        """The last one."""
        self.check()
        return find_checkpoints(self.state)[-1]

    @property
    def weights(self) -> dict[str, Any]:
        """Hashes of the live weights at the end."""
        return read_json(self.checkpoint / "weights.json")["tensors"]


@dataclass(frozen=True)
class DeviceRun:
    """Model and tokens, and the trainings of them on a device.

    Attributes:
        folder: Where everything is.
        device: cpu or cuda.
    """

    folder: Path
    device: str
    metrics: Path = field(init=False)

    def __post_init__(self) -> None:
        """Make model and tokens."""
        object.__setattr__(self, "metrics", self.folder / "tokens.json")
        if not self.metrics.exists():
            make_model(self.folder / "base")
            make_tokens(self.folder / "tokens")
            make_token_metrics(64, LENGTH).write(self.metrics)

    def job(
        self,
        name: str,
        settings: dict[str, Any],
        finetune: dict[str, Any],
        **values: Any,
    ) -> DeviceJob:
        """Return a training, with its plan written.

        Args:
            name: Name of its folders.
            settings: Of `configure`.
            finetune: Of `finetune`.
            values: Further attributes of the job.
        """
        plan = self.folder / f"plan-{name}"
        self.write_plan(ConfigureSettings(**{**PINNED, **settings}), plan)
        return DeviceJob(plan, self.folder / f"state-{name}", finetune, **values)

    def write_plan(self, settings: ConfigureSettings, folder: Path) -> None:
        """Write the plan and the DeepSpeed config that `configure` would write.

        Nothing is left open, so that no memory has to be predicted: on a lent GPU it
        would take longer than the trainings.

        Args:
            settings: Of `configure`.
            folder: Folder to write into.
        """
        base = self.folder / "base"
        training, _ = configure.to_plan(
            settings,
            configure.NO_ADAPTERS,
            resolve_hardware(self.hardware),
            *(base, ModelFacts.read(base)),
            (LENGTH, TokenMetrics.read(self.metrics).splits["train"].blocks),
        )
        plan, _ = training.plan(settings)
        write_json(folder / DEEPSPEED, deepspeed_config(plan))
        plan.write(folder / PLAN, folder / DEEPSPEED)

    @property
    def hardware(self) -> HardwareSettings:
        """One rank on the device."""
        return HardwareSettings(accelerator=self.device, ranks_per_node=1)

    def train(self, *jobs: DeviceJob) -> int | None:
        """Train jobs in one process.

        Returns:
            Its exit code, minus a signal's number; None if it took too long.
        """
        accelerator = os.environ.get("DS_ACCELERATOR")
        for job in jobs:
            build_ops(Plan.read(job.plan / "plan.json"))
        if accelerator is None:
            del os.environ["DS_ACCELERATOR"]
        described = json.dumps([vars(job) for job in jobs], default=str)
        (self.folder / "jobs.json").write_text(described)
        environment = {
            **os.environ,
            **rank_environment(self.device, 1, LOOPBACK),
            **{"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"},
            "MASTER_PORT": str(free_port()),
            "PYTHONPATH": os.pathsep.join(path for path in sys.path if path),
            # cuBLAS sums in the same order only with a workspace of a fixed size.
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",
        }
        if self.device == "cpu":
            environment |= {"CUDA_VISIBLE_DEVICES": "", "OMP_NUM_THREADS": "1"}
        program = Path(__file__).with_name("device_ranks.py")
        with (
            (self.folder / "output").open("a") as output,
            suppress(subprocess.TimeoutExpired),
        ):
            return subprocess.run(
                [sys.executable, program, self.folder],
                env=environment,
                stdout=output,
                stderr=subprocess.STDOUT,
                timeout=TIMEOUT_S[self.device],
            ).returncode
        return None

    @property
    def output(self) -> str:
        """The end of what the ranks printed."""
        return (self.folder / "output").read_text()[-4000:]


def make_model(folder: Path) -> None:
    """Write a small Llama of random weights, whose heads are as flash kernels want."""
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator([END], 300, special_tokens=[END], show_progress=False)
    PreTrainedTokenizerFast(
        tokenizer_object=bpe._tokenizer, bos_token=END, eos_token=END
    ).save_pretrained(folder)
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=64,
        # What bitsandbytes computes in 4 bits on any CPU: a multiple of 64.
        intermediate_size=128,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        max_position_embeddings=LENGTH,
        bos_token_id=0,
        eos_token_id=0,
        pad_token_id=None,
    )
    LlamaForCausalLM(config).save_pretrained(folder)
    find_model_facts(folder).write(folder)
    write_manifest(folder)


def make_tokens(folder: Path) -> None:
    """Write packed documents of unequal lengths, each of which counts up."""
    random = np.random.default_rng(0)
    for split, count in (("validation", 12), ("train", 100)):
        starts = random.integers(1, 20, count)
        sizes = random.integers(2, LENGTH, count)
        ids = [np.arange(a, a + n) for a, n in zip(starts, sizes, strict=True)]
        write_packed(folder, split, ids, length=LENGTH)
    write_manifest(folder)
