"""
A plan before the run
=====================

A pilot with few evaluations predicts how wide the interval of each design will be. The chosen one has
its own colour.
"""

import numpy as np

import mcgen

model = mcgen.as_generator(lambda z: np.exp(z / 2), noise=(8,), name="lognormal")
plan = mcgen.plan(model, mcgen.statistics.pixel_mean, n_evaluations=6400, seed=0)

figure = plan.plot()
