"""Ranges of replicates on executors: the coordinator, and what a worker runs."""
