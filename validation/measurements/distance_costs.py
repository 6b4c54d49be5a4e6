"""Time and memory of distances of features, beside one pass over the features and one eigenvalue problem."""

from __future__ import annotations

import time
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.linalg import eigvalsh

from mcgen import functionals
from mcgen.functionals.base import Replicates
from mcgen.functionals.distances import Distance
from mcgen.inference.jackknife import Units

# Samples, and points of the reference.
_N = 10_000
_BLOCK = 1000
_MIB = 2**20


def frechet_table() -> pd.DataFrame:
    """Return processor time and peak memory of a Fréchet distance of 10,000 samples in antithetic pairs."""
    rows = []
    for d in (64, 256, 1024, 2048):
        x, y = _features(d)
        second = np.zeros((d, d))
        once = _seconds(lambda x=x, second=second: np.matmul(x.T.astype(np.float64), x.astype(np.float64), out=second))
        problem = _seconds(lambda second=second: eigvalsh(second))
        # Once for all runs: the root of the reference's covariance.
        score = functionals.frechet_distance(y)
        own, peak = _cost(score, x)
        rows.append(
            {
                "features": d,
                "x.T @ x in s": once,
                "eigenvalues in s": problem,
                "Fréchet in s": own,
                "over both": own / (once + problem),
                "peak in MiB": peak,
                "features in MiB": x.nbytes / _MIB,
            }
        )
    return pd.DataFrame(rows)


def kernel_table() -> pd.DataFrame:
    """Return processor time and peak memory of a distance by a kernel, of 10,000 samples and reference points."""
    rows = []
    for d, block_size in ((64, None), (256, None), (64, _BLOCK), (256, _BLOCK), (2048, _BLOCK)):
        x, y = _features(d)
        product = _seconds(lambda x=x, y=y: x[:_BLOCK].astype(np.float64) @ y.astype(np.float64).T) * _N / _BLOCK
        own, peak = _cost(functionals.kernel_distance(y, block_size=block_size), x)
        rows.append(
            {
                "features": d,
                "pairs of samples": "all" if block_size is None else f"in blocks of {block_size:,}",
                "x @ y.T in s": product,
                "distance in s": own,
                "over x @ y.T": own / product,
                "peak in MiB": peak,
            }
        )
    return pd.DataFrame(rows)


def _features(d: int) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Return float32 features of a model and of a reference, with falling variances."""
    rng = np.random.default_rng(0)
    scales = np.arange(1, d + 1) ** -0.5
    x, y = ((rng.standard_normal((_N, d)) * scales).astype(np.float32) for _ in range(2))
    return np.float32(1.1) * x, y


def _seconds(job: Callable[..., Any]) -> float:
    start = time.process_time()
    job()
    return time.process_time() - start


def _cost(score: Distance, x: NDArray[Any]) -> tuple[float, float]:
    """Return the processor time of a distance in seconds, and its peak memory beside the features in MiB."""
    rows = x.reshape(_N // 2, 2, -1)
    empty = np.zeros((1, 1))
    units = Units(np.ones(1), empty, empty, np.zeros((0, 2), int), empty)
    found = Replicates(units, (1,), 0.0, 2, rows)
    tracemalloc.start()
    seconds = _seconds(lambda: score.evaluated(found))
    peak = tracemalloc.get_traced_memory()[1] / _MIB
    tracemalloc.stop()
    return seconds, peak


TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    "Distances of features, Fréchet": frechet_table,
    "Distances of features, by a kernel": kernel_table,
}
