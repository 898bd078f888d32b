"""What can be known of a run before a job is queued: `python -m retune check`."""
