"""What is looked at before a run: its command line, its settings files, its machine.

Knows Snakemake, not fine-tuning.
"""
