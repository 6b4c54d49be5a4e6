"""Measurements: speed, memory, widths of intervals on the same work, the shipped models, runs that are killed."""
