"""Everything that this project uses of Snakemake and that Snakemake does not document.

- `snakemake_internals` holds every use of a private name; nothing else touches one.
- `jobs`: what it returns of rules and jobs, as plain values.
- `upgrades` lets a run go on, with one warning, where such a name has gone.
- `command_line` reads the options of this Snakemake, `job_events` follows its jobs.
"""
