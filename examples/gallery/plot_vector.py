"""
Several numbers that hold together
==================================

A statistic may have several components. With ``simultaneous=True`` the intervals of all components
cover together with 95 % probability.
"""

import numpy as np
from numpy.typing import NDArray

import mcgen


def quarters(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Mean of each quarter of the 16 numbers of a sample."""
    return np.asarray(x.reshape(len(x), 4, 4).mean(axis=2))


model = mcgen.as_generator(
    lambda z: np.exp(z / 2 + np.linspace(0, 0.2, 16)), noise=(16,), name="rising"
)
named = mcgen.as_statistic(quarters, components=("first", "second", "third", "fourth"))
result = mcgen.estimate(
    model,
    named,
    design=mcgen.Antithetic(),
    n_evaluations=2000,
    simultaneous=True,
    seed=0,
)

figure = result.plot()
