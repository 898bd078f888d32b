"""Which of its compiled operators DeepSpeed takes for usable."""

import deepspeed


def forgo_shared_memory_collectives() -> None:
    """Let DeepSpeed use gloo's collectives on a CPU instead of compiling its own.

    Uses `deepspeed.ops.__compatible_ops__`, the operators that DeepSpeed would compile.
    Without it, the ranks of a training on CPUs would compile for minutes as they start,
    and fail where there is no compiler.
    """
    deepspeed.ops.__compatible_ops__["deepspeed_shm_comm"] = False
