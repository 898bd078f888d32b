"""What a SLURM cluster needs of the workflow beyond Snakemake's executor.

- `presence` finds out whether jobs can be submitted from here.
- `dry_run` shows what would be asked of sbatch, `command_line` reads the options.
- `partitions` are what the cluster has, `request_check` tells whether a job fits there.
- `watch` ends or mends jobs that the executor would wait for without end.
- `executor_internals` holds every private name of the executor.

This package knows Snakemake and SLURM, not fine-tuning.
"""
