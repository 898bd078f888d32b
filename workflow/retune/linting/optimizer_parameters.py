"""The optimizers that DeepSpeed makes, and the parameters that each takes.

A test holds these tables to the installed DeepSpeed and torch.
"""

# DeepSpeed reads these itself, before it makes Adam.
OF_ADAM = ("adam_w_mode", "torch_adam", "fp32_optimizer_states")
ADAM = ("lr", "betas", "eps", "weight_decay", "amsgrad")

FUSED_ADAM = (*ADAM, "bias_correction", "set_grad_none")
CPU_ADAM = (*ADAM, "bias_correction")
FUSED_LION = ("lr", "betas", "weight_decay", "set_grad_none")
CPU_LION = ("lr", "betas", "weight_decay", "fp32_optimizer_states")
CPU_ADAGRAD = ("lr", "eps", "weight_decay", "amsgrad", "fp32_optimizer_states")
LAMB = (
    *ADAM,
    *("bias_correction", "eps_inside_sqrt", "max_coeff", "min_coeff"),
)
# Parameters of another name are taken and ignored.
MUON = (
    *("lr", "muon_lr", "adam_lr", "momentum", "weight_decay", "ns_method"),
    *("betas", "eps", *OF_ADAM),
)

EVERY = ("foreach", "maximize", "differentiable")
# Names of the classes of torch.optim, which DeepSpeed takes as they are written.
TORCH = {
    "ASGD": ("lr", "lambd", "alpha", "t0", "weight_decay", "capturable", *EVERY),
    "Adadelta": ("lr", "rho", "eps", "weight_decay", "capturable", *EVERY),
    "Adafactor": (
        *("lr", "beta2_decay", "eps", "d", "weight_decay", "foreach", "maximize"),
    ),
    "Adagrad": (
        *("lr", "lr_decay", "weight_decay", "initial_accumulator_value", "eps"),
        *("fused", *EVERY),
    ),
    "Adam": (*ADAM, "capturable", "fused", "decoupled_weight_decay", *EVERY),
    "AdamW": (*ADAM, "capturable", "fused", *EVERY),
    "Adamax": ("lr", "betas", "eps", "weight_decay", "capturable", *EVERY),
    "LBFGS": (
        *("lr", "max_iter", "max_eval", "tolerance_grad", "tolerance_change"),
        *("history_size", "line_search_fn"),
    ),
    "NAdam": (
        *("lr", "betas", "eps", "weight_decay", "momentum_decay"),
        *("decoupled_weight_decay", "capturable", *EVERY),
    ),
    "RAdam": (
        *("lr", "betas", "eps", "weight_decay", "decoupled_weight_decay"),
        *("capturable", *EVERY),
    ),
    "RMSprop": (
        *("lr", "alpha", "eps", "weight_decay", "momentum", "centered"),
        *("capturable", *EVERY),
    ),
    "Rprop": ("lr", "etas", "step_sizes", "capturable", *EVERY),
    "SGD": (
        *("lr", "momentum", "dampening", "weight_decay", "nesterov", "fused"),
        *EVERY,
    ),
    "SparseAdam": ("lr", "betas", "eps", "maximize"),
}
# DeepSpeed takes these in any case.
OWN = {
    "adam": "Adam",
    "adamw": "AdamW",
    "adagrad": "Adagrad",
    "lamb": "Lamb",
    "lion": "Lion",
    "muon": "Muon",
    "muadam": "MuAdam",
    "muadamw": "MuAdamW",
    "musgd": "MuSGD",
}
# Parameters that are numbers from 0, and that are true or false.
NUMBERS = (
    *("lr", "muon_lr", "adam_lr", "eps", "weight_decay", "momentum", "alpha"),
    *("lr_decay", "initial_accumulator_value"),
)
FLAGS = (
    *("adam_w_mode", "torch_adam", "fp32_optimizer_states", "bias_correction"),
    *("amsgrad", "set_grad_none", "capturable", "fused", "centered", "nesterov"),
    *("decoupled_weight_decay", "eps_inside_sqrt", *EVERY),
)
# Those of the package mup, whose parameters are not looked at.
OF_MUP = ("muadam", "muadamw", "musgd")
REMOVED = ("onebitadam", "onebitlamb", "zerooneadam")
# Classes that ZeRO takes without zero_allow_untested_optimizer.
TESTED = ("adam", "adamw", "adagrad", "lion", "muon")
TESTED_CLASSES = (
    *("Adam", "AdamW", "Adagrad", "FusedAdam", "FusedLion", "MuonWithAuxAdam"),
    *("DeepSpeedCPUAdam", "DeepSpeedCPUAdagrad", "DeepSpeedCPULion", "ZenFlowCPUAdam"),
)
# Classes that DeepSpeed takes for an offloaded optimizer from the script.
CPU_CLASSES = ("DeepSpeedCPUAdam", "DeepSpeedCPULion", "ZenFlowCPUAdam")
# Ends of the names of optimizers whose steps are the same after one of zeros.
NOT_ADAM = ("sgd", "adagrad", "lion", "rmsprop", "rprop", "adadelta", "asgd", "lbfgs")
