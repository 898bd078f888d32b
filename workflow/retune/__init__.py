"""Reproducible fine-tuning of language models with DeepSpeed."""

__version__ = "0.1.0"
