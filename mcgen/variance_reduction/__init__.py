"""Narrower intervals for the same evaluations: directions, control variates, levels, and plans that choose them."""
