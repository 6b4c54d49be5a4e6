"""
A Fréchet distance against the number of samples
================================================

The usual value of the distance falls as samples are added, because it is biased. The corrected
estimate stays within its interval.
"""

import numpy as np

import mcgen
from mcgen.functionals import frechet_distance, reference

real = reference(np.random.default_rng(0).normal(0.0, 1.0, (2000, 6)))
model = mcgen.as_generator(lambda z: 1.1 * z + 0.1, noise=(6,), name="model")
card = mcgen.evaluate(
    {"model": model},
    {"FID": frechet_distance(real)},
    n_evaluations=1600,
    curves=True,
    seed=0,
)

figure = card.plot_curves("FID")
