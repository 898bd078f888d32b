"""What we use of PyTorch's private names does what it did."""

import faulthandler
import multiprocessing
import socket
import sys
import tempfile
from concurrent.futures import ProcessPoolExecutor

import pytest
import torch
import torch.distributed as dist
from torch.nn.functional import scaled_dot_product_attention
from torch.utils.checkpoint import CheckpointPolicy, checkpoint

from compat_contract import contract
from pytorch_failures import leave, save_at_most, wait_for_lost_rank
from retune.compat import pytorch_errors
from retune.compat.pytorch_foreach import norms
from retune.compat.pytorch_selective_checkpoints import (
    ATTENTION,
    KEPT,
    OnlyKept,
    policy,
    selective_contexts,
    selective_contexts_with_shards,
)


def test_a_tensor_that_is_not_finite_has_a_norm_that_is_not():
    with contract("pytorch_foreach"):
        finite, not_finite = norms(
            [torch.full((3, 3), 2.0), torch.tensor([1, torch.nan])]
        )
        assert finite == 6
        assert not not_finite.isfinite()


def test_an_allocation_that_fails_is_known_with_its_size():
    with contract("pytorch_errors"):
        size = 2**60
        with pytest.raises(RuntimeError) as raised:
            torch.empty(size, dtype=torch.uint8)
        assert pytorch_errors.is_memory_error(raised.value)
        assert pytorch_errors.requested_bytes(raised.value) == size
        assert not pytorch_errors.is_full_disk_error(raised.value)


def error_in_a_process(act, *arguments):
    """Return the RuntimeError of a function that another process calls."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, context) as pool, pytest.raises(RuntimeError) as raised:
        pool.submit(act, *arguments).result()
    return raised.value


@pytest.mark.parametrize("size", [10, 100, 50_000])
def test_a_full_disk_is_known_at_any_byte(tmp_path, size):
    with contract("pytorch_errors"):
        error = error_in_a_process(save_at_most, tmp_path / "f", size)
        assert pytorch_errors.is_full_disk_error(error)
        assert not pytorch_errors.is_memory_error(error)


def test_a_lost_rank_is_known():
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    other = multiprocessing.get_context("spawn").Process(target=leave, args=(port,))
    other.start()
    with contract("pytorch_errors"):
        error = error_in_a_process(wait_for_lost_rank, port)
        assert pytorch_errors.is_lost_rank_error(error)
        assert not pytorch_errors.is_memory_error(error)
    other.join()


def test_the_exceptions_of_a_lost_rank_are_there():
    with contract("pytorch_errors"):
        for name in pytorch_errors.LOST_RANK_TYPES:
            assert issubclass(getattr(dist, name), RuntimeError)


def test_a_rank_in_a_collective_is_known_by_its_stack():
    found = []

    class Waiting(dist.distributed_c10d._World):
        @property
        def default_pg(self):
            with tempfile.TemporaryFile("w+") as file:
                faulthandler.dump_traceback(file)
                file.seek(0)
                found.append(file.read())
            raise InterruptedError

    with contract("pytorch_errors"), pytest.MonkeyPatch.context() as patches:
        patches.setattr(dist.distributed_c10d, "_world", Waiting())
        with pytest.raises(InterruptedError):
            dist.barrier()
        assert pytorch_errors.is_in_collective(found[0])
    assert not pytorch_errors.is_in_collective("".join(map(str, sys.path)))


def test_the_operators_that_are_kept_have_these_names():
    with contract("pytorch_selective_checkpoints"):
        import torch.nn.attention.varlen
        from torch.nn.attention.flex_attention import flex_attention_hop

        known = {flex_attention_hop.name()}
        for name in KEPT:
            space, _, operator = name.partition("::")
            if hasattr(getattr(torch.ops, space), operator):
                known.add(getattr(getattr(torch.ops, space), operator).default.name())
        # That package is not installed here.
        assert KEPT - known == {name for name in ATTENTION if "flash_attn::" in name}


def test_attention_with_dropout_is_not_kept():
    flash = torch.ops.aten._scaled_dot_product_flash_attention.default
    cudnn = torch.ops.aten._scaled_dot_product_cudnn_attention.default
    with contract("pytorch_selective_checkpoints"):
        for operator, first in [(flash, ()), (cudnn, (None, True))]:
            for dropout, kept in [(0.0, True), (0.1, False)]:
                decided = policy(None, operator, *"qkv", *first, dropout)
                assert (decided == CheckpointPolicy.MUST_SAVE) == kept
                decided = policy(None, operator, *"qkv", dropout_p=dropout)
                assert (decided == CheckpointPolicy.MUST_SAVE) == kept
        assert policy(None, flash, *"qkv") == CheckpointPolicy.MUST_SAVE


def test_weights_may_come_and_go_between_the_passes():
    passes = []

    def layer(values):
        # The second pass needs an operator that the first one did not.
        passes.append(torch.ones(1) if passes else None)
        heads = (values @ values.T).sin().reshape(1, 1, 4, 4)
        return scaled_dot_product_attention(heads, heads, heads).cos().sum()

    with contract("pytorch_selective_checkpoints"):
        values = torch.randn(4, 4, requires_grad=True)
        (plain,) = torch.autograd.grad(layer(values), values)
        for contexts in (selective_contexts_with_shards, selective_contexts):
            passes.clear()
            options = {"use_reentrant": False, "context_fn": contexts}
            result = checkpoint(layer, values, **options)
            if contexts is selective_contexts:
                # What OnlyKept is for.
                with pytest.raises(RuntimeError, match="not found in storage"):
                    result.backward()
            else:
                result.backward()
                assert torch.equal(values.grad, plain)
                assert isinstance(contexts()[1], OnlyKept)
