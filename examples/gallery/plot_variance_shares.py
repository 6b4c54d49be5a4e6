"""
Which part of the noise matters
===============================

The variance of a statistic is split into shares: odd and even parts, and parts of the noise. Antithetic
pairs remove the odd part.
"""

import numpy as np

import mcgen

model = mcgen.as_generator(
    lambda z: np.exp(z / 2) + 0.2 * z[:, ::-1] ** 2, noise=(6,), name="model"
)
shares = mcgen.analysis.variance_shares(
    model, mcgen.statistics.pixel_mean, n_evaluations=6400, seed=0
)

figure = shares.plot()
