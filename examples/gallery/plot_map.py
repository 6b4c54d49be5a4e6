"""
A map of an image and of its uncertainty
========================================

A model draws a disc whose light comes from a random side. The first map is the mean image. The second
one shows the half-width of the intervals, which hold for all pixels together.
"""

import numpy as np
from numpy.typing import NDArray

import mcgen

y, x = np.mgrid[-1:1:24j, -1:1:24j]


def disc(z: NDArray[np.float64]) -> NDArray[np.float64]:
    """Images of shape (n, 24, 24) from two normal numbers each."""
    light = z[:, 0, None, None] * x + z[:, 1, None, None] * y
    return np.asarray(1 / (1 + np.exp(0.3 * light + 2 * (x**2 + y**2) - 1)))


model = mcgen.as_generator(disc, noise=(2,), name="disc")
result = mcgen.estimate(
    model,
    mcgen.statistics.identity,
    design=mcgen.MonteCarlo(),
    n_evaluations=1000,
    simultaneous=True,
    seed=0,
)

figure = result.plot()
