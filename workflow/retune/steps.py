"""The steps, and the modules whose code each one's result depends on.

The rules of Snakemake (their inputs) and the stages of DVC (their deps) both read
this list: a change of one of these files reruns the step under either tool. What
only shows or checks things (cli, settings, progress) is left out on purpose.
"""

CODE: dict[str, tuple[str, ...]] = {
    "download": (
        "download",
        "sources/local_files",
        "sources/hub_dataset",
        "sources/hub",
        "sources/rows",
        "sources/builtin_corpus",
        "text/splits",
        "publishing",
    ),
    "fetch": (
        "fetch",
        "sources/builtin_model",
        "sources/model_facts",
        "sources/builtin_corpus",
        "text/splits",
        "sources/hub",
        "publishing",
    ),
    "prepare": (
        "prepare",
        "text/document_checks",
        "text/splits",
        "text/overlap",
        "publishing",
    ),
    "tokenize": ("tokenize", "publishing"),
    "configure": ("configure", "publishing"),
    "finetune": (
        "finetune",
        "training/loop",
        "training/packing",
        "training/schedules",
        "training/history",
        "training/checkpoints",
        "training/checkpoint_files",
        "training/tensor_hashes",
        "training/provenance",
        "publishing",
    ),
    "consolidate": (
        "consolidate",
        "training/checkpoint_files",
        "training/tensor_hashes",
        "publishing",
    ),
    "baseline": (
        "baseline",
        "scoring/document_scores",
        "scoring/perplexity",
        "scoring/language_model",
        "publishing",
    ),
    "evaluate": (
        "evaluate",
        "scoring/document_scores",
        "scoring/perplexity",
        "scoring/language_model",
        "scoring/bootstrap",
        "scoring/samples",
        "publishing",
    ),
    "report": (
        "report",
        "reporting/run_results",
        "reporting/evaluation_rows",
        "reporting/fact_rows",
        "reporting/quantities",
        "reporting/escaping",
        "reporting/figures",
        "reporting/training_figures",
        "reporting/evaluation_figures",
        "reporting/data_figure",
        "reporting/figure_style",
        "reporting/tables",
        "reporting/model_card",
        "training/provenance",
        "training/checkpoint_files",
        "publishing",
    ),
}
