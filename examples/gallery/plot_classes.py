"""
Ten classes with their average
==============================

A diffusion model of digits is run for each of its ten classes. Each class has a row with its own
interval, and the last row is the average over the classes.
"""

import mcgen
from mcgen.adapters import models

model = models.load("mnist-ddpm", steps=2)
result = mcgen.estimate(
    model,
    mcgen.statistics.brightness,
    design=mcgen.MonteCarlo(),
    n_evaluations=30,
    condition={f"digit {digit}": digit for digit in range(10)},
    seed=0,
)

figure = result.plot()
