"""The command `python -m retune`."""
