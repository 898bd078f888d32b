"""What we use of DeepSpeed's private names does what it did."""

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch.nn.functional import cross_entropy

from compat_contract import contract

RANK = Path(__file__).parents[1] / "compat_rank.py"


@pytest.fixture
def seen(tmp_path):
    """Return a function that runs a check of compat_rank.py in a process of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]

    def run(check):
        environment = os.environ | {
            **{"RANK": "0", "LOCAL_RANK": "0", "WORLD_SIZE": "1"},
            **{"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)},
            "TORCH_EXTENSIONS_DIR": str(tmp_path),
            "PYTHONPATH": os.pathsep.join(sys.path),
        }
        command = [sys.executable, str(RANK), check]
        done = subprocess.run(
            command, env=environment, capture_output=True, text=True, timeout=280
        )
        assert done.returncode == 0, done.stderr[-3000:]
        return json.loads(done.stdout.strip().splitlines()[-1])

    return run


def test_nothing_is_compiled_for_collectives_on_a_cpu(seen):
    with contract("deepspeed_operators"):
        assert seen("operators") == {"known": True, "compiled": []}


def test_the_loss_needs_no_copy_of_the_logits():
    from retune.compat.deepspeed_loss import cross_entropy_sum

    with contract("deepspeed_loss"):
        torch.manual_seed(0)
        logits = torch.randn(5, 7, requires_grad=True)
        labels = torch.randint(0, 7, (5,))
        loss = cross_entropy_sum(logits, labels)
        (gradient,) = torch.autograd.grad(loss, logits)
        expected = cross_entropy(logits, labels, reduction="sum")
        (wanted,) = torch.autograd.grad(expected, logits)
        torch.testing.assert_close(loss, expected)
        torch.testing.assert_close(gradient, wanted)


def test_a_sharded_parameter_is_known_with_its_whole_shape(seen):
    with contract("deepspeed_parameters"):
        there = seen("parameters")
        assert there["sharded"] == [True, False]
        assert there["shapes"] == [[60, 32], [2, 3]]
        assert there["numels"] == [1920, 6]
    with contract("transformers_empty_model"):
        assert there["frequencies"] == "torch.float32"


def test_a_pipeline_is_cut_filled_and_evaluated_as_we_say(seen):
    with contract("deepspeed_pipeline_module"):
        there = seen("pipeline")
        assert there["sizes"] == [20, 20, 20]
        assert there["modules_at_fill"] == 3
        assert there["places"] == [0, 1, 2]
        assert there["file"] == "layer_01-model_states.pt"
        assert there["bounds"] == [0, 1, 4]
    with contract("deepspeed_pipeline_engine"):
        assert there["data_parallel"] == [0, 1]
        assert (there["stage"], there["steps"]) == (0, 2)
        assert there["losses"] == pytest.approx(there["wanted"])
