"""The steps of a run, a module each."""
