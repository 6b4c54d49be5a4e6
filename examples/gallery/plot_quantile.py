"""
A quantile with its interval
============================

The brightness that 95 % of the samples stay below, and the one that 99 % stay below. The intervals come
from the values themselves and need no density.
"""

import numpy as np

import mcgen
from mcgen.functionals import quantile

model = mcgen.as_generator(lambda z: np.exp(z / 2), noise=(16,), name="lognormal")
results = {
    f"{q:.0%}": mcgen.estimate(
        model, quantile(mcgen.statistics.pixel_mean, q), design=mcgen.Antithetic(), n_evaluations=4000, seed=0
    )
    for q in (0.95, 0.99)
}

figure = results["95%"].plot()
