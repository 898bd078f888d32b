"""Keeps Snakemake's idea of what is up to date and DVC's the same.

Snakemake goes by times and its metadata under .snakemake, which `dvc checkout` does not
keep; DVC goes by bytes and dvc.lock, which Snakemake does not write. So:

- When a run begins, `reconcile` asks DVC if anything has moved since the last look:
  what is as dvc.lock says is marked up to date for Snakemake; what somebody else
  changed is marked stale; what is about to run but is in DVC's cache from an earlier
  run is brought back instead.
- What a run goes by besides data is written to `resolved/` by `resolve`.
- While steps run, `output_locks` keeps other DVC commands away from what they read and
  write.
- When a step ends, `record` writes it to dvc.lock and DVC's cache.

DVC's word is dvc.lock; Snakemake's word counts for outputs that it made itself and that
nobody touched since. `last_seen` remembers which those are. Nothing here runs while DVC
drives (dvc repro, dvc exp run). Whatever cannot be known for sure is left alone, and
said. workflow/rules/dvc.smk calls these modules; `init` lets DVC look after a run in
another folder.
"""
