"""The keys whose "auto" the Trainer of Transformers replaces.

A test holds this table to the installed Transformers and Accelerate.
"""

# By arguments of the training, such as --learning_rate.
BY_ARGUMENTS = (
    "train_batch_size",
    "train_micro_batch_size_per_gpu",
    "gradient_accumulation_steps",
    "gradient_clipping",
    "optimizer.params.lr",
    "optimizer.params.betas",
    "optimizer.params.eps",
    "optimizer.params.weight_decay",
    "scheduler.params.warmup_min_lr",
    "scheduler.params.warmup_max_lr",
    "scheduler.params.warmup_num_steps",
    "scheduler.params.total_num_steps",
    "fp16.enabled",
    "bf16.enabled",
)
# By the hidden size of the model; those of stage 3 at that stage only.
BY_HIDDEN_SIZE = (
    "zero_optimization.reduce_bucket_size",
    "zero_optimization.stage3_prefetch_bucket_size",
    "zero_optimization.stage3_param_persistence_threshold",
)
# By a default, if Accelerate's environment variable does not say otherwise.
BY_DEFAULT = {
    "zero_optimization.stage": 2,
    "zero_optimization.stage3_gather_16bit_weights_on_model_save": False,
}
# As well, but "none" is hardly what the author of a section on offloading wants.
OFFLOADS = (
    "zero_optimization.offload_optimizer.device",
    "zero_optimization.offload_optimizer.nvme_path",
    "zero_optimization.offload_param.device",
    "zero_optimization.offload_param.nvme_path",
)
FILLED = (*BY_ARGUMENTS, *BY_HIDDEN_SIZE, *BY_DEFAULT, *OFFLOADS)
