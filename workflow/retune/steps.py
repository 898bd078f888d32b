"""The steps, and the modules whose code each one's result depends on.

The rules of Snakemake (their inputs) and the stages of DVC (their deps) both read
this list: a change of one of these files reruns the step under either tool. What
only shows or checks things (cli, settings, progress) is left out on purpose.
"""

CODE: dict[str, tuple[str, ...]] = {
    "download": (
        "download",
        "local_files",
        "hub_dataset",
        "hub",
        "rows",
        "builtin_corpus",
        "splits",
        "publishing",
    ),
    "fetch": (
        "fetch",
        "builtin_model",
        "builtin_corpus",
        "splits",
        "hub",
        "publishing",
    ),
    "prepare": ("prepare", "document_checks", "splits", "overlap", "publishing"),
    "tokenize": ("tokenize", "publishing"),
    "configure": ("configure", "publishing"),
    "finetune": (
        "finetune",
        "training",
        "packing",
        "schedules",
        "history",
        "checkpoints",
        "checkpoint_files",
        "tensor_hashes",
        "provenance",
        "publishing",
    ),
    "consolidate": ("consolidate", "checkpoint_files", "tensor_hashes", "publishing"),
    "baseline": (
        "baseline",
        "document_scores",
        "perplexity",
        "language_model",
        "publishing",
    ),
    "evaluate": (
        "evaluate",
        "document_scores",
        "perplexity",
        "language_model",
        "bootstrap",
        "samples",
        "publishing",
    ),
    "report": (
        "report",
        "run_results",
        "evaluation_rows",
        "fact_rows",
        "quantities",
        "escaping",
        "figures",
        "training_figures",
        "evaluation_figures",
        "data_figure",
        "figure_style",
        "tables",
        "model_card",
        "provenance",
        "checkpoint_files",
        "publishing",
    ),
}
