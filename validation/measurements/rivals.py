"""Widths and coverage of the intervals that a user could have from other libraries, at the same number of evaluations.

All are measured on the mixture of 8 x 8 pixels with separated components. The truth is from a run of two million
evaluations by Sobol' points on the active subspace; its standard error is on the page.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.special import stdtrit

import mcgen
from mcgen._lib.arrays import Floats, as_numpy
from mcgen.errors import CoverageWarning
from mcgen.results.estimate import Estimate
from mcgen.validation.measurements.cases import CASES, Case
from mcgen.validation.measurements.widths import AUTO, LEVEL, active, auto

Found = tuple[Floats, Floats, int]
"""Middles of the intervals (k,), half-widths (k,) and the evaluations that they cost."""
Rival = Callable[[Case, int, int], Found]
"""From a case, evaluations and a seed to what was found."""

ON = "mixture 8 x 8, separated"
N_EVALUATIONS = 3200
# Runs of each rival: the standard error of a coverage of 0.95 is 0.01.
N_REPETITIONS = 500
N_TRUTH = 2_000_000
# Randomizations of scipy's and QMCPy's points, of 64 points each.
_REPLICATES = 50


def _values(case: Case, noise: NDArray[Any]) -> Floats:
    """Return the values of the statistic for normal noise (n, d), shape (n, k)."""
    shaped = noise.astype(np.float32).reshape(len(noise), *dict(case.generator.noise.blocks)["noise"].shape)
    parts = [shaped[i : i + case.batch_size] for i in range(0, len(shaped), case.batch_size)]
    return np.concatenate([as_numpy(case.statistic(case.generator(part))).astype(np.float64) for part in parts])


def by_scipy(case: Case, n: int, seed: int) -> Found:
    """Return Student's interval over 50 scrambled Sobol' engines of scipy, mapped by the normal quantile function."""
    from scipy.stats import norm, qmc

    streams = np.random.default_rng(seed).spawn(_REPLICATES)
    engines = [qmc.Sobol(case.dimension, scramble=True, rng=stream) for stream in streams]
    noise = np.concatenate([norm.ppf(engine.random(n // _REPLICATES)) for engine in engines])
    means = _values(case, noise).reshape(_REPLICATES, n // _REPLICATES, -1).mean(axis=1)
    t = float(stdtrit(_REPLICATES - 1, (1 + LEVEL) / 2))
    return means.mean(axis=0), t * means.std(axis=0, ddof=1) / np.sqrt(_REPLICATES), len(noise)


def by_qmcpy(case: Case, n: int, seed: int) -> Found:
    """Return the interval of QMCPy's CubQMCRepStudentT after its first points: 50 replications of its digital net."""
    import qmcpy

    k, d = len(case.names), case.dimension

    def integrand(z: NDArray[Any], **_: Any) -> Floats:
        return np.moveaxis(_values(case, z.reshape(-1, d)).reshape(*z.shape[:-1], k), -1, 0)

    net = qmcpy.DigitalNetB2(d, seed=seed, replications=_REPLICATES)
    function = qmcpy.CustomFun(qmcpy.Gaussian(net), integrand, dimension_indv=(k,))
    # The first points meet this tolerance, so that their number is n.
    rule = qmcpy.CubQMCRepStudentT(function, abs_tol=1e9, n_init=n // _REPLICATES, alpha=1 - LEVEL)
    _, found = rule.integrate()
    low, high = np.asarray(found.comb_bound_low), np.asarray(found.comb_bound_high)
    return (low + high) / 2, (high - low) / 2, int(found.n_total)


def _by_design(design: Callable[[Case], mcgen.Design]) -> Rival:
    """Return the rival that estimates with a design of mcgen; the pilot of the design counts in n."""

    def run(case: Case, n: int, seed: int) -> Found:
        made = design(case)
        left = n - getattr(made, "n_pilot_evaluations", 0)
        return found_by(
            mcgen.estimate(
                case.generator,
                case.statistic,
                design=made,
                n_replicates=left // made.n_points,
                seed=seed,
                condition=case.condition,
                batch_size=case.batch_size,
            )
        )

    return run


def found_by(one: Estimate) -> Found:
    """Return the middles and half-widths of the intervals, and the evaluations, pilots included, of an estimate."""
    spent = one.n_evaluations + one.provenance.pilot_evaluations
    low, high = np.ravel(one.interval.low), np.ravel(one.interval.high)
    return (low + high) / 2, (high - low) / 2, spent


def _by_auto(case: Case, n: int, seed: int) -> Found:
    return found_by(auto(case, n, seed))


RIVALS: dict[str, Rival] = {
    "plain Monte Carlo": _by_design(lambda case: mcgen.MonteCarlo()),
    "scipy.stats.qmc by hand, 50 x 64": by_scipy,
    "QMCPy CubQMCRepStudentT, 50 x 64": by_qmcpy,
    "mcgen, antithetic pairs": _by_design(lambda case: mcgen.Antithetic()),
    "mcgen, Sobol' 64 on active subspace": _by_design(active),
    f"mcgen, {AUTO}": _by_auto,
}
COVERED = ((ON, 200, 2000), ("digits-diffusion, 50 steps", 200, 2000))
"""Cases, evaluations and runs of auto whose coverage is measured. Each run fits its samplers anew."""


def truth(name: str = ON, n_evaluations: int = N_TRUTH) -> dict[str, Any]:
    """Return the means of a long run on a case, and their standard errors.

    On the mixture it has nets of 256 points on leading directions. On other cases auto runs a twentieth of the
    evaluations.
    """
    case = CASES[name]
    shared = {"seed": 10**6, "condition": case.condition, "batch_size": case.batch_size}
    if name == ON:
        design = active(case, 256)
        count = n_evaluations // design.n_points
        one = mcgen.estimate(case.generator, case.statistic, design=design, n_replicates=count, **shared)
    else:
        one = mcgen.estimate(case.generator, case.statistic, design="auto", n_evaluations=n_evaluations // 20, **shared)
    return {
        "mean": np.ravel(one.mean).tolist(),
        "standard_error": np.ravel(one.standard_error).tolist(),
        "evaluations": one.n_evaluations,
    }


def repeated(
    rival: Rival,
    means: list[float],
    repetitions: int = N_REPETITIONS,
    n_evaluations: int = N_EVALUATIONS,
    name: str = ON,
) -> dict[str, Any]:
    """Return the share of a rival's runs that cover each mean, the mean half-widths, and the mean evaluations."""
    case, hits, widths, spent = CASES[name], [], [], []
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore", CoverageWarning)
        for seed in range(repetitions):
            middle, half, n = rival(case, n_evaluations, seed)
            hits.append(np.abs(middle - np.array(means)) <= half)
            widths.append(half)
            spent.append(n)
    return {
        "covered": np.mean(hits, axis=0).tolist(),
        "half_width": np.mean(widths, axis=0).tolist(),
        "evaluations": float(np.mean(spent)),
        "repetitions": repetitions,
    }
