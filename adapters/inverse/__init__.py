"""Inverse problems: linear measurement operators and posterior samplers."""
