"""What a step leaves for another step to read: typed, with a format number."""
