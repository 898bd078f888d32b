"""Signals, signs of life, progress, and why a rank failed."""
