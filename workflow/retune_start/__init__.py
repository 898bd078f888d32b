"""What is checked before a run starts: settings files, folders and GPUs."""
