"""
Pairs against independent noise
===============================

The running estimate and its interval as evaluations are added. Antithetic pairs reach a narrower
interval with the same number of evaluations.
"""

import numpy as np

import mcgen
from mcgen import Antithetic, MonteCarlo

model = mcgen.as_generator(
    lambda z: 1 / (1 + np.exp(-z - 1)), noise=(16,), name="decode"
)
results = {
    name: mcgen.estimate(
        model, mcgen.statistics.pixel_mean, design=design, n_evaluations=6400, seed=0
    )
    for name, design in {
        "independent noise": MonteCarlo(),
        "pairs (z, -z)": Antithetic(),
    }.items()
}

figure = mcgen.plots.convergence(results)
