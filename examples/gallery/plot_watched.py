"""
An interval that may be watched
===============================

A confidence sequence covers at all numbers of evaluations together. One may look at it while the run
goes on, and stop at any time.
"""

import numpy as np

import mcgen

model = mcgen.as_generator(
    lambda z: 1 / (1 + np.exp(-z - 1)), noise=(16,), name="decode"
)
result = mcgen.estimate(
    model,
    mcgen.statistics.pixel_mean,
    design=mcgen.Antithetic(),
    n_evaluations=6400,
    interval="anytime",
    seed=0,
)

figure = mcgen.plots.convergence(result)
