"""A linter for DeepSpeed configs, which needs neither DeepSpeed nor torch."""
