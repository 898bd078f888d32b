"""The schedules that DeepSpeed makes, and the parameters that each takes.

A test holds these tables to the installed DeepSpeed and torch.
"""

WARMUP = ("warmup_min_lr", "warmup_max_lr", "warmup_num_steps", "warmup_type")
LAST = "last_batch_iteration"
OWN = {
    "LRRangeTest": (
        *("lr_range_test_min_lr", "lr_range_test_step_size"),
        *("lr_range_test_step_rate", "lr_range_test_staircase", LAST),
    ),
    "OneCycle": (
        *("cycle_min_lr", "cycle_max_lr", "decay_lr_rate", "cycle_first_step_size"),
        *("cycle_second_step_size", "cycle_first_stair_count"),
        *("cycle_second_stair_count", "decay_step_size", "cycle_momentum"),
        *("cycle_min_mom", "cycle_max_mom", "decay_mom_rate", LAST),
    ),
    "WarmupLR": (*WARMUP, LAST),
    "WarmupDecayLR": ("total_num_steps", *WARMUP, LAST),
    "WarmupCosineLR": (
        *("total_num_steps", "warmup_min_ratio", "warmup_num_steps"),
        *("cos_min_ratio", "warmup_type", LAST),
    ),
}
REQUIRED = {
    "OneCycle": ("cycle_min_lr", "cycle_max_lr"),
    "WarmupDecayLR": ("total_num_steps",),
    "WarmupCosineLR": ("total_num_steps",),
    "CosineAnnealingLR": ("T_max",),
    "CosineAnnealingWarmRestarts": ("T_0",),
    "CyclicLR": ("base_lr", "max_lr"),
    "ExponentialLR": ("gamma",),
    "MultiStepLR": ("milestones",),
    "OneCycleLR": ("max_lr",),
    "StepLR": ("step_size",),
}
# Parameters of DeepSpeed's schedules that are true or false, and that may be null.
FLAGS = ("lr_range_test_staircase", "cycle_momentum")
NULL = ("warmup_max_lr", "cycle_second_step_size", "cycle_second_stair_count")
# Those of torch.optim.lr_scheduler whose parameters can be written in JSON.
MOMENTUM = ("cycle_momentum", "base_momentum", "max_momentum")
TORCH = {
    "ConstantLR": ("factor", "total_iters", "last_epoch"),
    "CosineAnnealingLR": ("T_max", "eta_min", "last_epoch"),
    "CosineAnnealingWarmRestarts": ("T_0", "T_mult", "eta_min", "last_epoch"),
    "CyclicLR": (
        *("base_lr", "max_lr", "step_size_up", "step_size_down", "mode", "gamma"),
        *("scale_fn", "scale_mode", *MOMENTUM, "last_epoch"),
    ),
    "ExponentialLR": ("gamma", "last_epoch"),
    "LinearLR": ("start_factor", "end_factor", "total_iters", "last_epoch"),
    "MultiStepLR": ("milestones", "gamma", "last_epoch"),
    "OneCycleLR": (
        *("max_lr", "total_steps", "epochs", "steps_per_epoch", "pct_start"),
        *("anneal_strategy", *MOMENTUM, "div_factor", "final_div_factor"),
        *("three_phase", "last_epoch"),
    ),
    "PolynomialLR": ("total_iters", "power", "last_epoch"),
    "StepLR": ("step_size", "gamma", "last_epoch"),
}
# What JSON cannot give them: functions, schedules, the loss of a validation.
NOT_IN_JSON = (
    *("ChainedScheduler", "LambdaLR", "MultiplicativeLR", "ReduceLROnPlateau"),
    "SequentialLR",
)
# Names of other libraries for the same parameters.
OTHER_NAMES = {
    "warmup_steps": "warmup_num_steps",
    "num_warmup_steps": "warmup_num_steps",
    "num_training_steps": "total_num_steps",
    "total_steps": "total_num_steps",
    "max_steps": "total_num_steps",
    "min_lr": "warmup_min_lr",
    "max_lr": "warmup_max_lr",
    "lr": "warmup_max_lr",
}
