"""
Which design is best?
=====================

A comparison runs the same estimate by several designs. The efficiency says how many evaluations of
independent noise one evaluation of a design is worth.
"""

import numpy as np

import mcgen
from mcgen import Antithetic, MonteCarlo, Sobol

model = mcgen.as_generator(lambda z: np.exp(z / 2), noise=(8,), name="lognormal")
table = mcgen.compare(
    model,
    mcgen.statistics.pixel_mean,
    designs=[MonteCarlo(), Antithetic(), Sobol(32), Antithetic(Sobol(32))],
    n_evaluations=6400,
    seed=0,
)

figure = table.plot()
