"""What the workflow knows beside its rules: which steps would run, and why.

- `snakemake_dag` reads what Snakemake knows of a step, `dvc_lock` what DVC recorded.
- `planned_step` holds both; `setting_changes` compares settings.
- `reasons` says it in words, `dry_run` in a line per step.
"""
