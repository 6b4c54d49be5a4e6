"""
Two levels of the same model
============================

A cheap model does most of the work, and a few runs of both models correct its error. Each level is
drawn times its coefficient, beside the sum.
"""

import numpy as np

import mcgen

fine = mcgen.as_generator(lambda z: 1 / (1 + np.exp(-z - 1)), noise=(8,), name="fine")
coarse = mcgen.as_generator(
    lambda z: 1 / (1 + np.exp(-1.1 * z - 1)), noise=(8,), name="coarse"
)
levels = [(coarse, 1.0), (fine, 20.0)]
result = mcgen.multilevel(
    levels, mcgen.statistics.pixel_mean, n_evaluations=2000, seed=0
)

figure = result.plot()
