"""Times single operations on a GPU: what steps are made of, and what could replace it.

`gpu.py` starts it: `python benchmarks/gpu_kernels.py --out DIR`. Each line names what a
choice in the code, or a speed that the planner assumes, rests on.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from gpu_results import add_record

REPEATS, WARM_UP = 10, 3
# GPT-2's vocabulary, the same as a multiple of 64, and Llama 3's.
ODD, EVEN, LARGE = 50_257, 50_304, 128_256


@dataclass(frozen=True)
class Kernel:
    """One operation.

    Attributes:
        name: What it is.
        run: Does it once.
        flops: Floating-point operations; 0: it only moves bytes.
        moved: Bytes that it reads and writes; 0: that is not what it is about.
    """

    name: str
    run: Callable[[], Any]
    flops: float = 0
    moved: float = 0


def main() -> None:
    """Time all operations, one after the other."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--toy", action="store_true")
    options = parser.parse_args()
    device = "cpu" if options.toy else "cuda"
    for kernels in (machine, output_heads, losses, sums_in_fp32, attention):
        try:
            for kernel in kernels(device, 64 if options.toy else 1):
                seconds = seconds_of(kernel.run)
                add_record(options.out, part="kernels", text=shown(kernel, seconds))
        except Exception as error:
            said = f"- {kernels.__name__}: {type(error).__name__}: {error}"
            add_record(options.out, part="kernels", text=said.splitlines()[0])


def seconds_of(run: Callable[[], Any]) -> float:
    """Return the median time of an operation, seconds."""
    is_on_gpu = torch.cuda.is_initialized()
    times = []
    for _ in range(WARM_UP + REPEATS):
        if is_on_gpu:
            torch.cuda.synchronize()
        start = time.perf_counter()
        run()
        if is_on_gpu:
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return statistics.median(times[WARM_UP:])


def shown(kernel: Kernel, seconds: float) -> str:
    """Return a line about an operation."""
    speed = ""
    if kernel.flops:
        speed = f", {kernel.flops / seconds / 1e12:,.0f} TFLOP/s"
    elif kernel.moved:
        speed = f", {kernel.moved / seconds / 1e9:,.0f} GB/s"
    return f"- {kernel.name}: {1e3 * seconds:.3f} ms{speed}"


def randn(*shape: int, device: str, dtype: torch.dtype = torch.bfloat16) -> Any:
    """Return random numbers."""
    return torch.randn(*shape, device=device, dtype=dtype)


def machine(device: str, smaller: int) -> Iterator[Kernel]:
    """Yield what the planner takes to be the speeds of a GPU."""
    for size in (8192, 4096, 2048, 768):
        side = size // smaller
        left, right = (randn(side, side, device=device) for _ in range(2))
        yield Kernel(
            f"product of {side} x {side} in bf16",
            lambda a=left, b=right: a @ b,
            flops=2 * side**3,
        )
    count = 10**9 // smaller
    source = torch.empty(count, dtype=torch.uint8, device=device)
    target = torch.empty_like(source)
    yield Kernel("copy on the device", lambda: target.copy_(source), moved=2 * count)
    host = torch.empty(count, dtype=torch.uint8, pin_memory=device == "cuda")
    yield Kernel("copy from pinned memory", lambda: target.copy_(host), moved=count)
    yield Kernel("copy to pinned memory", lambda: host.copy_(target), moved=count)
    values = torch.ones(10**8 // smaller, device=device)
    adam = torch.optim.AdamW([torch.nn.Parameter(values)], lr=1e-3)
    adam.param_groups[0]["params"][0].grad = torch.ones_like(values)
    yield Kernel("AdamW, 28 bytes a parameter", adam.step, moved=28 * values.numel())


def output_heads(device: str, smaller: int) -> Iterator[Kernel]:
    """Yield the products of an output head whose vocabulary is odd, and is not."""
    tokens, hidden = 2048 // smaller, 768
    for words in (ODD // smaller, EVEN // smaller):
        rows = randn(tokens, hidden, device=device)
        weight = randn(words, hidden, device=device)
        logits = randn(tokens, words, device=device)
        flops = 2 * tokens * hidden * words
        about = f"{tokens} tokens x {hidden} x {words} words"
        for name, run in (
            ("logits", lambda r=rows, w=weight: r @ w.t()),
            ("gradient of hidden states", lambda g=logits, w=weight: g @ w),
            ("gradient of the weight", lambda g=logits, r=rows: g.t() @ r),
        ):
            yield Kernel(f"{name}, {about}", run, flops=flops)


def losses(device: str, smaller: int) -> Iterator[Kernel]:
    """Yield DeepSpeed's cross-entropy over an odd vocabulary, and one that is not."""
    from retune.compat.deepspeed_loss import cross_entropy_sum

    tokens = 2048 // smaller
    for words in (ODD // smaller, EVEN // smaller, LARGE // smaller):
        logits = randn(tokens, words, device=device).requires_grad_()
        labels = torch.zeros(tokens, dtype=torch.int64, device=device)

        def run(given: Any = logits, wanted: Any = labels) -> Any:
            return torch.autograd.grad(cross_entropy_sum(given, wanted), given)

        # Two reads and a write.
        moved = 3 * 2 * tokens * words
        yield Kernel(f"loss and gradient, {tokens} x {words} words", run, moved=moved)


def sums_in_fp32(device: str, smaller: int) -> Iterator[Kernel]:
    """Yield ways to add a chunk's gradient of a head to a sum in fp32."""
    words, hidden = LARGE // smaller, 2048 // smaller
    total = torch.zeros(words, hidden, device=device)
    for tokens in (2048 // smaller, 8192 // smaller):
        gradients = randn(words, tokens, device=device)
        rows = randn(tokens, hidden, device=device)
        flops = 2 * tokens * words * hidden

        def rounded(g: Any = gradients, r: Any = rows) -> Any:
            return total.add_(g @ r)

        def exact(g: Any = gradients, r: Any = rows) -> Any:
            return torch.addmm(total, g, r, out_dtype=torch.float32)

        about = f"{tokens} tokens, {words} x {hidden}"
        yield Kernel(f"product in bf16, then added, {about}", rounded, flops=flops)
        if device == "cuda":
            yield Kernel(f"product added in fp32, {about}", exact, flops=flops)


def attention(device: str, smaller: int) -> Iterator[Kernel]:
    """Yield attention of packed documents, forward and backward, by each kernel."""
    import numpy as np
    from torch.nn.functional import scaled_dot_product_attention

    from retune.models.packed_documents import PackedDocuments
    from retune.models.varlen_attention import varlen_attention

    length, documents = 2048 // smaller, 4
    positions = np.tile(np.arange(length // documents), documents)[None]
    packed = PackedDocuments.of(positions, torch.device(device))
    for heads, shared, size in ((32, 8, 64), (32, 8, 128), (12, 12, 64)):
        query, key, value = (
            randn(1, count, length, size, device=device).requires_grad_()
            for count in (heads, shared, shared)
        )
        inputs = (query, key, value)
        weight = randn(1, length, heads, size, device=device)

        def varlen(qkv: Any = inputs, wanted: Any = weight) -> Any:
            module = torch.nn.Module()
            output, _ = varlen_attention(module, *qkv, None, packed_documents=packed)
            return torch.autograd.grad(output, qkv, wanted)

        def whole(qkv: Any = inputs, wanted: Any = weight) -> Any:
            output = scaled_dot_product_attention(*qkv, is_causal=True, enable_gqa=True)
            return torch.autograd.grad(output.transpose(1, 2), qkv, wanted)

        about = f"{length} tokens, {heads} heads of {size}, {shared} of keys"
        yield Kernel(f"varlen, {documents} documents, {about}", varlen)
        yield Kernel(f"sdpa, one document, {about}", whole)


if __name__ == "__main__":
    main()
