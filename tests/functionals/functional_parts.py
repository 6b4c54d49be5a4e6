"""Models, statistics and brute-force recomputations that tests of functionals share; importable by workers."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np

import mcgen
from mcgen.noise import NoiseSpec

SEED = 3
Values = np.ndarray


def same(z: Values) -> Values:
    return z


def model(dimension: int = 2, function: Callable[..., Any] = same) -> Any:
    return mcgen.as_generator(function, noise=NoiseSpec.normal((dimension,), "float64"), name="model")


def first(x: Any) -> Any:
    return x[:, 0] + 2


def second(x: Any) -> Any:
    return x[:, 0] * 0.5 + x[:, 1] ** 2 + 1


def both(x: Values) -> Values:
    return np.stack([first(x), second(x)], axis=1)


def run(functional: Any, design: Any, n: int = 40, generator: Any = None, **options: Any) -> mcgen.Estimate:
    options = {"seed": SEED} | options
    return mcgen.estimate(
        model() if generator is None else generator, functional, design=design, n_replicates=n, **options
    )


def drawn(design: Any, n: int) -> tuple[Values, Values]:
    """The values of `first` and `second` in each replicate, shape (n, points), drawn without a run."""
    noise = np.asarray(design.draw(NoiseSpec.normal((2,), "float64"), n, SEED))
    rows = noise.reshape(-1, 2)
    return first(rows).reshape(n, -1), second(rows).reshape(n, -1)


def jackknife(function: Callable[..., Any], units: list[tuple[Values, ...]]) -> tuple[float, float, float]:
    """Plug-in value, estimate and standard error by F. M. T. A. Busing et al. (1999), equations 6 to 9, widened by bias.

    Units are of n_j rows out of n; the function takes all values of all rows. All leave-one-out values are
    recomputed from the values.
    """

    def of(some: list[tuple[Values, ...]]) -> float:
        return float(function(*(np.concatenate([unit[i].ravel() for unit in some]) for i in range(len(units[0])))))

    sizes, g = np.array([len(unit[0]) for unit in units]), len(units)
    n, theta = sizes.sum(), of(units)
    without = np.array([of(units[:j] + units[j + 1 :]) for j in range(g)])
    h = n / sizes
    estimate = g * theta - ((1 - sizes / n) * without).sum()
    pseudo = h * theta - (h - 1) * without
    variance = ((pseudo - estimate) ** 2 / (h - 1)).mean()
    # A bias above a quarter of the standard error widens it.
    widened = variance + max((theta - estimate) ** 2 - variance / 16, 0.0)
    return theta, float(estimate), float(np.sqrt(widened))


def replicates(design: Any, n: int) -> list[tuple[Values, Values]]:
    """Each replicate of a run as a unit."""
    a, b = drawn(design, n)
    return [(a[r : r + 1], b[r : r + 1]) for r in range(n)]


def product(means: Values) -> Any:
    return means[0] * means[1]


def quotient(means: Values) -> Any:
    return means[0] / means[1]


def quotient_slope(means: Values) -> Any:
    return np.array([1 / means[1], -means[0] / means[1] ** 2])


def classes(x: Values) -> Values:
    weights = np.exp(np.concatenate([2 * x, np.zeros((len(x), 1))], axis=1))
    return weights / weights.sum(axis=1, keepdims=True)
