"""
A quantile with its interval
============================

The values that 50 %, 90 % and 95 % of the samples stay below. The intervals come from the values
themselves and need no density.
"""

import numpy as np

import mcgen
from mcgen.functionals import quantile

model = mcgen.as_generator(lambda z: np.exp(z / 2), noise=(16,), name="lognormal")
results = {
    f"{q:.0%}": mcgen.estimate(
        model,
        quantile(mcgen.statistics.pixel_mean, q),
        design=mcgen.Antithetic(),
        n_evaluations=4000,
        seed=0,
    )
    for q in (0.5, 0.9, 0.95)
}

figure = mcgen.plots.forest(results)
