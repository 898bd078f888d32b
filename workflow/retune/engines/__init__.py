"""One optimizer step, data parallel or through a pipeline."""
