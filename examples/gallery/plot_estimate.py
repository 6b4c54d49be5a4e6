"""
An estimate with its interval
=============================

A model decodes noise into samples. One call estimates the mean of a statistic, and the figure shows
the estimate with its confidence interval.
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
    n_evaluations=3200,
    seed=0,
)
print(result)

figure = result.plot()
