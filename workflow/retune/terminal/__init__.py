"""What people see while a step runs: a progress bar and the log."""
