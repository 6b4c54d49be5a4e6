"""Multilevel Monte Carlo: most evaluations on a coarse generator, few on its difference to the fine one."""
