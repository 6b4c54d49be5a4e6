"""Studies of confidence sequences: the share of runs that miss the truth at any look, and the widths.

Runs are looked at after every replicate up to the last. ``python -m mcgen.validation stopping`` writes the tables.
"""

from __future__ import annotations

import math

import numpy as np
from numpy.random import default_rng
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen.inference.betting import SHARE_AT_ANY_TIME, bets, bounded_interval, log_capital
from mcgen.inference.interval_input import student_t_quantile
from mcgen.inference.rules import PLANNED
from mcgen.inference.sequences import SEQUENCES, asymptotic_half_width, mixture_t_half_width, sequence_ends
from mcgen.validation.studies.replicate_laws import LAWS, Law
from mcgen.validation.studies.verdicts import Study, Verdict, control, inside, share

ALPHA = 0.05
FIRST, LAST = 5, 10_000
"""Replicates at the first and the last look of the page."""
WITHOUT_SKEWNESS = "mixture alone"
"""Name of the sequence whose ends do not follow the skewness, and which has no fewest number of replicates."""
# Runs that are simulated at a time.
_BLOCK = 100
# Relative rounding error of a variance from cumulative sums of up to 10,000 replicates.
_ROUNDING = 1e-10


def ever_missed(law: Law, runs: int, seed: int, first: int = FIRST, last: int = LAST) -> dict[str, float]:
    """Return how often each interval misses the truth at any look from `first` to `last` replicates.

    Parameters
    ----------
    law : Law
        A law of one component.
    runs : int
        Number of simulated runs.
    seed : int
        Seed of all runs.
    first, last : int
        Looks are at every number of replicates from first to last; "doubling" looks at `first` times powers of two.

    Returns
    -------
    dict of str to float
        By the names of the intervals; "betting" for laws on [0, 1] alone.
    """
    rng = default_rng(seed)
    missed: dict[str, int] = {}
    for start in range(0, runs, _BLOCK):
        off = law.draw(rng, last * min(_BLOCK, runs - start)).reshape(-1, last) - law.mean[0]
        found = _missed_by_studentized(off, first)
        if law.bounded:
            found["betting"] = _missed_by_bets(off.T + law.mean[0], float(law.mean[0]))
        for name, any_look in found.items():
            missed[name] = missed.get(name, 0) + int(any_look.sum())
    return {name: count / runs for name, count in missed.items()}


def _missed_by_studentized(off: Floats, first: int) -> dict[str, NDArray[np.bool_]]:
    """Return which runs each interval misses at any look, from deviations from the truth of shape (runs, last)."""
    n = np.arange(1.0, off.shape[1] + 1)
    mean, squares = off.cumsum(axis=1) / n, np.square(off).cumsum(axis=1) / n
    m2 = squares - mean**2
    constant = m2 <= _ROUNDING * squares
    m2 = np.where(constant, 0.0, m2)
    m3 = np.power(off, 3).cumsum(axis=1) / n - 3 * mean * squares + 2 * mean**3
    with np.errstate(divide="ignore", invalid="ignore"):
        skewness = np.where(constant, 0.0, m3 / m2**1.5 * np.sqrt(n - 1) / np.maximum(n - 2, 1))
        # The truth in standard errors from the mean.
        place = -mean * np.sqrt(np.maximum(n - 1, 1) / m2)
    late = n >= first
    doubling = np.isin(n, first * 2 ** np.arange(math.floor(math.log2(len(n) / first)) + 1))
    t = student_t_quantile(1 - ALPHA / 2, np.maximum(n - 1, 1))
    found = {
        "Student t, every look": (np.abs(place) > t)[:, late].any(axis=1),
        "Student t, doubling": (np.abs(place) > t)[:, doubling].any(axis=1),
        WITHOUT_SKEWNESS: (np.abs(place) > mixture_t_half_width(np.maximum(n, 2), PLANNED, 1 - ALPHA))[:, late].any(1),
    }
    for method in SEQUENCES:
        low, high = sequence_ends(method, np.maximum(n, 2), PLANNED, 1 - ALPHA, skewness)
        outside = ((place < low) | (place > high)) & ~constant
        found[method] = outside[:, late].any(axis=1)
    return found


def _missed_by_bets(x: Floats, truth: float) -> NDArray[np.bool_]:
    """Return which runs the betting interval misses at any look, from replicate means of shape (last, runs)."""
    wanted, limit = bets(x, ALPHA), math.log(2 / ALPHA)
    above = log_capital(x, wanted, SHARE_AT_ANY_TIME, np.full(x.shape[1], truth)).max(axis=0)
    below = log_capital(1 - x, wanted, SHARE_AT_ANY_TIME, np.full(x.shape[1], 1 - truth)).max(axis=0)
    return np.asarray(np.maximum(above, below) >= limit)


def widths(law: Law, n: int, runs: int, seed: int) -> dict[str, float]:
    """Return median half-widths over that of the normal interval by the true variance, after n replicates.

    "anytime" is infinite where most runs have no end yet. "betting, fixed" is the interval of a run of n replicates.
    """
    rng = default_rng(seed)
    x = law.draw(rng, n * runs).reshape(runs, n).T
    mean, deviation = x.mean(axis=0), x.std(axis=0, ddof=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        g = ((x - mean) ** 3).mean(axis=0) / ((x - mean) ** 2).mean(axis=0) ** 1.5
        skewness = np.nan_to_num(g * math.sqrt(n - 1) / (n - 2))
    unit = float(law.standard_deviation[0]) * student_t_quantile(1 - ALPHA / 2, np.inf)
    low, high = sequence_ends("anytime", n, PLANNED, 1 - ALPHA, skewness)
    ended = np.isfinite(high) & (deviation > 0)
    found = {
        WITHOUT_SKEWNESS: mixture_t_half_width(n, PLANNED, 1 - ALPHA) * deviation / unit,
        "anytime": np.where(ended, (high - low) / 2, np.inf) * np.where(ended, deviation, 1.0) / unit,
    }
    if law.bounded:
        for name, fixed in (("betting", None), ("betting, fixed", n)):
            low, high = bounded_interval(x, ALPHA, fixed)
            found[name] = (high - low) / 2 * math.sqrt(n) / unit
    return {name: float(np.median(values)) for name, values in found.items()}


def sequences(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts that confidence sequences hold the truth at all looks together.

    That of betting is proved for bounded laws, and "anytime" for normal replicate means. For other laws "anytime" and
    the asymptotic sequence are promised 0.94 in full. The controls are the mixture alone, for two skewed laws, and
    Student's t at numbers of replicates that double.
    """
    runs, last = (4000 if full else 2000), LAST
    names = [*LAWS] if full else ["normal", "pairs of exp(w/2)", "Bernoulli 0.1"]
    missed = {name: ever_missed(LAWS[name](), runs, seed, last=last) for name in names}
    found = []
    for name, by in missed.items():
        for kind in (*SEQUENCES, "betting"):
            if kind in by:
                nominal = 0.95 if kind == "betting" or (kind, name) == ("anytime", "normal") else 0.94
                what = f"{kind} on {name} holds the truth at all looks to {last:,}"
                found.append(share(what, round(runs * (1 - by[kind])), runs, nominal, at_least=True))
    wrong = [("normal", "Student t, doubling")]
    wrong += [(name, WITHOUT_SKEWNESS) for name in ("pairs of exp(w/2)", "Bernoulli 0.1")]
    for name, kind in wrong:
        hits = round(runs * (1 - missed[name][kind]))
        found.append(control(share(f"{kind} on {name} holds it", hits, runs, 0.94, at_least=True)))
    planned = np.array([PLANNED / 4, PLANNED / 2, PLANNED, 2 * PLANNED, 4 * PLANNED])
    narrow = [float(asymptotic_half_width(PLANNED, n, 0.95)) for n in planned]
    return [*found, inside("the plan that is narrowest at 256", planned[int(np.argmin(narrow))], PLANNED, PLANNED)]


STUDIES: dict[str, Study] = {"confidence sequences": sequences}
