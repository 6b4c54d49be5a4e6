"""Fewer evaluations for the same interval: directions, control variates, levels, and the plan that chooses."""
