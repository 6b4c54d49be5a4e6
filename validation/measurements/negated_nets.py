"""Efficiencies of nets, and of half as large nets with their negations, over antithetic pairs.

The functions are the README's example, nearly linear ones, and functions of s, the sum of 8 normal numbers over sqrt 8.
The standard error of an efficiency is about a sixth of it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from functools import partial

import numpy as np
import pandas as pd

from mcgen._lib.arrays import Floats
from mcgen.designs import Antithetic, Design, LatinHypercube, Sobol
from mcgen.errors import CoverageWarning
from mcgen.estimation import estimate
from mcgen.generators import Generator, as_generator
from mcgen.noise import Array, NoiseSpec
from mcgen.statistics import identity

DESIGNS: tuple[Design, ...] = (
    Sobol(64),
    Antithetic(Sobol(32)),
    LatinHypercube(64),
    Antithetic(LatinHypercube(32)),
)
N_EVALUATIONS = 51_200
_SEED = 1


def _sum(z: Floats) -> Floats:
    return np.asarray(z.sum(axis=1) / np.sqrt(z.shape[1]))


FUNCTIONS: dict[str, tuple[int, Callable[[Floats], Floats]]] = {
    "mean of 1 / (1 + exp(-z - 1)), d = 16": (16, lambda z: (1 / (1 + np.exp(-z - 1))).mean(axis=1)),
    "mean of z + 0.01 z²": (8, lambda z: (z + 0.01 * z**2).mean(axis=1)),
    "mean of z + 0.1 z²": (8, lambda z: (z + 0.1 * z**2).mean(axis=1)),
    "mean of z²": (8, lambda z: (z**2).mean(axis=1)),
    "exp(0.7 s)": (8, lambda z: np.exp(0.7 * _sum(z))),
    "max(s - 0.5, 0)": (8, lambda z: np.maximum(_sum(z) - 0.5, 0)),
    "|s|": (8, lambda z: np.abs(_sum(z))),
    "sin(s) + 0.3 s²": (8, lambda z: np.sin(_sum(z)) + 0.3 * _sum(z) ** 2),
    "1{s > 1}": (8, lambda z: (_sum(z) > 1).astype(np.float64)),
}


def _called(function: Callable[[Floats], Floats], z: Array) -> Array:
    return function(np.asarray(z))


def negations_table() -> pd.DataFrame:
    """Return the ratio of the variance of pairs to that of each design, at equal evaluations."""
    rows = []
    for name, (d, function) in FUNCTIONS.items():
        generator = as_generator(partial(_called, function), noise=NoiseSpec.normal((d,), "float64"), name=name)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CoverageWarning)
            pairs, *others = (_variance(generator, design) for design in (Antithetic(), *DESIGNS))
        rows.append(
            {"function": name}
            | {str(design): pairs / variance for design, variance in zip(DESIGNS, others, strict=True)}
        )
    return pd.DataFrame(rows)


def _variance(generator: Generator, design: Design) -> float:
    made = estimate(generator, identity, design=design, n_evaluations=N_EVALUATIONS, seed=_SEED, batch_size=4096)
    return float(made.standard_error) ** 2
