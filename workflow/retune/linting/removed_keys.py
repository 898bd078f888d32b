"""Keys that DeepSpeed has removed, and refuses, and keys that it has renamed."""

# Whatever their value is: DeepSpeed refuses `"amp": {"enabled": false}`, too.
REMOVED = {
    "amp": "use bf16, fp16 or torch_autocast",
    "compression_training": "delete it",
    "curriculum_learning": "use data_efficiency.data_sampling.curriculum_learning",
    "eigenvalue": "delete it",
    "elasticity": "delete it, and set the three batch sizes",
    "graph_harvesting": "delete it",
    "nebula": "delete it",
    "progressive_layer_drop": "delete it",
    "quantize_training": "delete it",
    "sparse_attention": "delete it",
    "sparse_gradients": "delete it",
    "zero_optimization.mics_hierarchical_params_gather": "delete it",
    "zero_optimization.mics_shard_size": "use zero_hpz_partition_size",
    "zero_optimization.zeropp_loco_param": "delete it",
}
# Old name, and the key that DeepSpeed reads in its place. Both together are refused.
RENAMED = {
    "zero_optimization.cpu_offload": "zero_optimization.offload_optimizer",
    "zero_optimization.cpu_offload_param": "zero_optimization.offload_param",
    "zero_optimization.stage3_gather_fp16_weights_on_model_save": (
        "zero_optimization.stage3_gather_16bit_weights_on_model_save"
    ),
}
# Read by nothing any more, and refused by nothing.
WITHOUT_EFFECT = ("zero_optimization.cpu_offload_use_pin_memory",)
