"""Where datasets and models come from: built-in, the hub, local files."""
