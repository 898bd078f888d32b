"""The steps, and the modules whose code each one's result depends on.

The rules of Snakemake (their inputs) and the stages of DVC (their deps) both read
this list: a change of one of these files reruns the step under either tool. What
only shows or checks things (cli, settings, progress) is left out on purpose.
"""

CODE: dict[str, tuple[str, ...]] = {
    "download": ("download", "builtin_corpus", "hub", "publishing"),
    "fetch": ("fetch", "builtin_model", "builtin_corpus", "hub", "publishing"),
    "prepare": ("prepare", "overlap", "publishing"),
    "tokenize": ("tokenize", "publishing"),
    "configure": ("configure",),
    "finetune": ("finetune", "training", "packing", "checkpoints", "schedules"),
    "consolidate": ("consolidate", "publishing"),
    "baseline": ("baseline", "perplexity"),
    "evaluate": ("evaluate", "perplexity", "bootstrap", "samples"),
    "report": ("report", "figures", "model_card", "publishing"),
}
