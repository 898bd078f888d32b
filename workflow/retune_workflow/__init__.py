"""What the workflow knows beside its rules: which steps would run, and why.

- `recorded_params` compares a step with what Snakemake recorded of it, `dvc_lock` with
  what DVC recorded; `setting_changes` and `file_changes` compare values and files.
- `planned_step` holds what was found; `reasons` says it in words, `dry_run` in a line
  per step.
- `job_requests` estimates what a step's job needs of a cluster.
- `check` runs the library's checks, and compares what would be asked of a cluster with
  what that has.
- `explain_reruns` and `manual` show which settings rerun which steps.
"""
