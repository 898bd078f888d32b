"""What a SLURM cluster needs of the workflow beyond Snakemake's executor.

`presence` says whether SLURM is here, `dry_run` what would be asked of sbatch; `watch`
ends or mends jobs that the executor would wait for without end, through
`executor_jobs`. Knows Snakemake and SLURM, not fine-tuning.
"""
