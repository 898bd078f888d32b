"""Measurements of a training: its history, speed, memory, FLOPs and provenance."""
