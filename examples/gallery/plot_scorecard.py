"""
Several models by several scores
================================

A scorecard measures each model by each score on common noise. Every number has its interval.
"""

import numpy as np
from numpy.typing import NDArray

import mcgen


def contrast(x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Standard deviation inside each sample."""
    return np.asarray(x.std(axis=1))


checkpoints = {
    f"step {step},000": mcgen.as_generator(
        lambda z, a=1 + 1 / step: np.tanh(a * z + 0.3), noise=(16,), name=str(step)
    )
    for step in (10, 20, 40)
}
scores = {"brightness": mcgen.statistics.pixel_mean, "contrast": contrast}
card = mcgen.evaluate(checkpoints, scores, n_evaluations=2000, seed=0)

figure = card.plot()
