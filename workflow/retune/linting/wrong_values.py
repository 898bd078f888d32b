"""What DeepSpeed does with a value of another type where no pydantic model reads it.

Tests give each key a text and hold the table to what DeepSpeed does.
"""

# It refuses any text that is no value of theirs, also "auto".
AT_START = (
    *("train_batch_size", "train_micro_batch_size_per_gpu"),
    *("gradient_accumulation_steps", "sequence_parallel_size", "vocabulary_size"),
    *("communication_data_type", "seq_parallel_communication_data_type"),
    *("gradient_allreduce_op", "log_level", "optimizer.type", "scheduler.type"),
    *("data_types.grad_accum_dtype", "data_types.param_dtype"),
    *("data_types.keep_in_fp32_modules", "torch_autocast.dtype"),
    *("checkpoint.tag_validation", "checkpoint.writer.type"),
    *("wall_clock_breakdown", "flops_profiler.enabled"),
)
AT_FIRST_STEP = ("gradient_clipping", "gradient_predivide_factor", "steps_per_print")
AT_PROFILE = (
    *("flops_profiler.recompute_fwd_factor", "flops_profiler.profile_step"),
    *("flops_profiler.module_depth", "flops_profiler.top_modules"),
)
# Booleans that DeepSpeed joins with |, which fails for anything else but a number.
JOINED = ("wall_clock_breakdown", "flops_profiler.enabled")


def after_text(key: str, text: str) -> str:
    """Return what DeepSpeed does with a text, or an object, as the value of a key.

    Args:
        key: Full name of the key, which takes no text, or not this one.
        text: The value, as it is shown.
    """
    if key in AT_START:
        return f"DeepSpeed refuses {text} at the start"
    if key in AT_FIRST_STEP:
        return f"DeepSpeed stops at the first step with {text}"
    if key in AT_PROFILE:
        return f"DeepSpeed stops with {text} when it profiles"
    return f"DeepSpeed takes {text} unchecked"
