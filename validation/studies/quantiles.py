"""Studies of quantiles and expected shortfalls: the coverage of their intervals.

The package's own loop simulates runs of ten laws with known quantiles. A study is one long run that is cut into runs of
consecutive replicates. Their intervals are made together, with a component for each run. Sums, simultaneous intervals
and runs that stop are calls of `mcgen.estimate` and `mcgen.difference`. ``python -m mcgen.validation quantiles`` writes
the tables of the page "A 95 % quantile".
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.special import chdtri, log_ndtr, ndtr, ndtri, stdtrit

import mcgen
from mcgen._lib.arrays import Floats
from mcgen.designs import Antithetic, Design, MonteCarlo, Sobol
from mcgen.errors import CoverageWarning
from mcgen.functionals import Functional, expected_shortfall, quantile
from mcgen.functionals.base import Evaluated, Replicates
from mcgen.inference.intervals import interval_of
from mcgen.inference.jackknife import Units
from mcgen.inference.methods import IntervalOptions, Method
from mcgen.inference.quantiles import Quantiles
from mcgen.noise import Array
from mcgen.noise.random import as_seed_sequence
from mcgen.replicates.gathering import Values
from mcgen.replicates.loop import replicate_means
from mcgen.replicates.task import Estimand
from mcgen.validation.studies.coverage import sampled_of
from mcgen.validation.studies.verdicts import Study, Verdict, control, least

PROMISED = 0.94
"""Coverage that is promised to intervals of nominally 95 %."""
PROMISED_FEW = 0.92
"""The same for expected shortfalls of few values, and for averages and differences on the same noise."""
FEWEST_EXPECTED = 4.0
"""Least N q (1 - q), or N (1 - q) of an expected shortfall, of the cells of the studies."""
QUANTILES = (0.5, 0.75, 0.9, 0.95, 0.99)
"""The probabilities of the quantiles."""
DESIGNS: dict[str, Design] = {"Monte Carlo": MonteCarlo(), "pairs": Antithetic(), "nets of 64": Sobol(64)}
"""The designs of the studies."""
# Values whose intervals are made together: 32 MB, with as much again for each step.
_AT_ONCE = 2**22
_ROWS = 2**14


@dataclass(frozen=True)
class Law:
    """A statistic of normal noise, and its quantiles.

    Attributes
    ----------
    dimension : int
        Dimension of the noise.
    values : callable
        From noise of shape (n, dimension) to values of shape (n,).
    quantile : callable
        From a probability to the quantile.
    """

    dimension: int
    values: Callable[[Array], Floats]
    quantile: Callable[[float], float]

    def shortfall(self, q: float) -> float:
        """Return the expected shortfall, the mean of the quantiles above q."""
        return float(quad(self.quantile, q, 1, limit=500)[0]) / (1 - q)


def _normal(z: Array) -> Floats:
    """Return standard normal values that depend on four coordinates alike."""
    return np.asarray(z[:, :4].sum(axis=1, dtype=np.float64) / 2)


def _split(z: Array) -> Floats:
    values = _normal(z)
    return np.where(values > ndtri(0.9), values + 3, values)


def _student(z: Array) -> Floats:
    return np.asarray(z[:, 0] / np.sqrt((z[:, 1:4] ** 2).mean(axis=1)))


def _quantile_of_mean(q: float) -> float:
    """Return the quantile of the mean of four uniform numbers, by the law of Irwin and Hall."""

    def share(x: float) -> float:
        terms = [(-1.0) ** j * math.comb(4, j) * (4 * x - j) ** 4 for j in range(5) if j < 4 * x]
        return math.fsum(terms) / math.factorial(4) - q

    return float(brentq(share, 0, 1, xtol=1e-14))


LAWS: dict[str, Law] = {
    "normal": Law(4, _normal, lambda q: float(ndtri(q))),
    "lognormal": Law(4, lambda z: np.exp(_normal(z)), lambda q: math.exp(ndtri(q))),
    "even": Law(4, lambda z: np.asarray((z**2).sum(axis=1)), lambda q: float(chdtri(4, 1 - q))),
    "gap": Law(4, _split, lambda q: float(ndtri(q)) + 3 * (q > 0.9)),
    "uniform": Law(4, lambda z: ndtr(_normal(z)), lambda q: q),
    "exponential": Law(4, lambda z: -log_ndtr(-_normal(z)), lambda q: -math.log1p(-q)),
    "t, 3 df": Law(4, _student, lambda q: float(stdtrit(3, q))),
    "atoms": Law(4, lambda z: np.floor(2 * _normal(z)), lambda q: math.floor(2 * ndtri(q))),
    "mean of 4 uniform": Law(4, lambda z: np.asarray(ndtr(z).mean(axis=1)), _quantile_of_mean),
    "maximum of 16": Law(16, lambda z: np.asarray(z.max(axis=1)), lambda q: float(ndtri(q ** (1 / 16)))),
}
"""Ten laws by name. That of "gap" has no values between 1.28, its 0.9 quantile, and 4.28."""

Ends = Callable[[Evaluated], tuple[Floats, Floats]]
"""Makes the ends of 95 % intervals of a functional at the replicates of runs, a run a component."""


def own_ends(evaluated: Evaluated) -> tuple[Floats, Floats]:
    """Return the ends that `mcgen.estimate` gives."""
    if isinstance(evaluated.quantiles, Quantiles):
        return evaluated.quantiles.interval(0.95)
    return _by_influence(evaluated, "skewness-safe-t")


def as_if_independent(evaluated: Evaluated) -> tuple[Floats, Floats]:
    """Return order statistics that take all values as independent: a control."""
    assert isinstance(evaluated.quantiles, Quantiles)
    return replace(evaluated.quantiles, independent=True).interval(0.95)


def student(evaluated: Evaluated) -> tuple[Floats, Floats]:
    """Return Student's t interval of the influence values, which does not follow their skewness: a control."""
    return _by_influence(evaluated, "student-t")


def _by_influence(evaluated: Evaluated, method: Method | None) -> tuple[Floats, Floats]:
    made, _, _ = interval_of(sampled_of(evaluated.strata[0], 0), IntervalOptions(0.95, method))
    return np.asarray(made.low), np.asarray(made.high)


@dataclass(frozen=True)
class Cell:
    """The results of simulated runs of one law under one design.

    Attributes
    ----------
    law, design : str
        Their names.
    n_evaluations : int
        Evaluations of a run, N.
    q : float
        The probability of the quantile.
    hits, runs : int
        How many intervals hold the truth, and how many runs there are.
    without_end : int
        How many intervals lack an end.
    """

    law: str
    design: str
    n_evaluations: int
    q: float
    hits: int
    runs: int
    without_end: int

    @property
    def covered(self) -> float:
        """Share of the intervals that hold the truth."""
        return self.hits / self.runs

    def __str__(self) -> str:
        return f"{self.law}, {self.design}, N = {self.n_evaluations:,}, q = {self.q:g}"


def cells(
    name: str,
    design: str,
    n_evaluations: int,
    runs: int,
    seed: int,
    functional: Callable[..., Functional] = quantile,
    ends: Ends = own_ends,
    probabilities: Sequence[float] = QUANTILES,
) -> list[Cell]:
    """Return the coverage of runs of so many evaluations, for each probability with enough values beyond it."""
    law, shortfall = LAWS[name], functional is expected_shortfall
    n_points = DESIGNS[design].n_points
    n = n_evaluations // n_points * n_points
    wanted = [q for q in probabilities if n * (1 - q) * (1 if shortfall else q) >= FEWEST_EXPECTED * 0.95]
    truths = {q: law.shortfall(q) if shortfall else law.quantile(q) for q in wanted}
    hits, infinite = dict.fromkeys(wanted, 0), dict.fromkeys(wanted, 0)
    for values in _simulated(name, DESIGNS[design], n // n_points, runs, seed):
        for q in wanted:
            low, high = ends(functional(law.values, q).evaluated(_replicates(values)))
            # Uniform values and their like are rounded.
            slack = 1e-12 * abs(truths[q])
            hits[q] += int(((low <= truths[q] + slack) & (truths[q] - slack <= high)).sum())
            infinite[q] += int((np.isinf(low) | np.isinf(high)).sum())
    return [Cell(name, design, n, q, hits[q], runs, infinite[q]) for q in wanted]


def _simulated(name: str, design: Design, n_replicates: int, runs: int, seed: int) -> Iterator[Floats]:
    """Yield the values of some runs, shape (R, points, runs); each law has random numbers of its own."""
    law = LAWS[name]
    generator = mcgen.as_generator(_itself, noise=(law.dimension,), name="noise")
    task = Estimand(generator, law.values, as_seed_sequence(seed), ("law", name)).task(design, _ROWS)
    task = replace(task, gatherers=(Values(),))
    piece = max(1, _AT_ONCE // (n_replicates * design.n_points))
    for start in range(0, runs, piece):
        stop = min(start + piece, runs)
        rows = replicate_means(task, range(start * n_replicates, stop * n_replicates))
        values = np.concatenate([part.gathered[Values.name] for part in rows])
        yield np.ascontiguousarray(values.reshape(stop - start, n_replicates, design.n_points).transpose(1, 2, 0))


def _itself(z: Array) -> Array:
    return z


def _replicates(values: Floats) -> Replicates:
    """Return values of shape (R, points, runs) as the replicates of a run, which has a component for each."""
    r, n_points, runs = values.shape
    means = values.mean(axis=1)
    units = Units(np.ones(r), means, np.zeros_like(means), np.zeros((0, 2), np.int64), np.zeros((r, 0)))
    return Replicates(units, (runs,), 2.0**-52, n_points, values)


@dataclass(frozen=True)
class _Pairwise:
    """A model of many independent pairs of numbers, rotated by an angle and multiplied by a condition."""

    runs: int
    angle: float = 0.0
    factor: float = 1.0

    def __call__(self, z: Array, condition: float = 1.0) -> Array:
        """Return n samples of shape (n, 2, runs)."""
        x, y = z[:, : self.runs].astype(np.float64), z[:, self.runs :].astype(np.float64)
        c, s = math.cos(self.angle), math.sin(self.angle)
        return np.stack([c * x - s * y, s * x + c * y], axis=1) * (self.factor * condition)


# Statistics of such samples: their values, the quantile, the power of a factor of the samples, and the share below x.
_OF_PAIRS: dict[str, tuple[Callable[[Array], Any], Callable[[float], float], int, Callable[[float], float]]] = {
    "normal": (
        lambda x: (x[:, 0] + x[:, 1]) / math.sqrt(2),
        lambda q: float(ndtri(q)),
        1,
        lambda x: float(ndtr(x)),
    ),
    "even": (lambda x: (x**2).sum(axis=1), lambda q: -2 * math.log1p(-q), 2, lambda x: -math.expm1(-max(x, 0.0) / 2)),
}
# The second condition, or the factor of the second model; and the weights of two conditions in a mixture.
_FACTOR, _WEIGHTS = 1.5, (0.7, 0.3)
# Runs that are components of one call.
_TOGETHER = 500
SUMS = (
    "mixture, independent",
    "mixture, same noise",
    "average, independent",
    "average, same noise",
    "difference, independent",
    "difference, same noise",
)
"""What quantiles of two conditions, or of two models, are joined to."""


def sum_of_quantiles(
    kind: str, name: str, design: str, n_evaluations: int, q: float, runs: int, seed: int
) -> tuple[mcgen.Estimate, float]:
    """Return the estimate of a mixture, an average or a difference of quantiles, a component a run, and its truth."""
    values, quantile_of, power, share = _OF_PAIRS[name]
    what, noise = kind.split(", ")
    asked = quantile(values, q)
    n = max(1, n_evaluations // DESIGNS[design].n_points) * DESIGNS[design].n_points
    options: dict[str, Any] = {"design": DESIGNS[design], "n_evaluations": n, "seed": seed}
    model = mcgen.as_generator(_Pairwise(runs), noise=(2 * runs,), name="a")
    own, scale = quantile_of(q), _FACTOR**power
    if what == "difference":
        other = mcgen.as_generator(_Pairwise(runs, 0.6, _FACTOR), noise=(2 * runs,), name="b")
        made = mcgen.difference(model, other, asked, common_random_numbers=noise == "same noise", **options)
        return made, own - scale * own
    options |= {"condition": [1.0, _FACTOR], "common_random_numbers": noise == "same noise"}
    options |= {"weights": _WEIGHTS, "across": what}
    made = mcgen.estimate(model, asked, **options)
    if what == "average":
        return made, (_WEIGHTS[0] + _WEIGHTS[1] * scale) * own

    def excess(x: float) -> float:
        return _WEIGHTS[0] * share(x) + _WEIGHTS[1] * share(x / scale) - q

    return made, float(brentq(excess, -20, 200, xtol=1e-13))


def cell_of_sum(
    kind: str, name: str, design: str, n_evaluations: int, q: float, runs: int, seed: int, density: bool = False
) -> Cell:
    """Return the coverage of a mixture, an average or a difference of quantiles.

    With `density` the interval is the estimate and twice the standard error of the influence values: a control.
    """
    hits = infinite = n = 0
    for start in range(0, runs, _TOGETHER):
        some = min(_TOGETHER, runs - start)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", CoverageWarning)
            made, truth = sum_of_quantiles(kind, name, design, n_evaluations, q, some, seed + start)
        low, high = np.asarray(made.interval.low), np.asarray(made.interval.high)
        if density:
            low, high = made.mean - 2 * np.asarray(made.standard_error), made.mean + 2 * np.asarray(made.standard_error)
        hits += int(((low <= truth) & (truth <= high)).sum())
        infinite += int(np.isinf(high - low).sum())
        n = made.n_evaluations
    return Cell(f"{kind}, {name}", design, n, q, hits, runs, infinite)


def together(design: str, n_evaluations: int, q: float, runs: int, seed: int, simultaneous: bool = True) -> Cell:
    """Return how often the intervals of 8 components, neighbours correlated by 0.8, all hold their truths."""
    truth, hits = float(ndtri(q)), 0
    model = mcgen.as_generator(_itself, noise=(9,), name="noise")
    n = n_evaluations // DESIGNS[design].n_points * DESIGNS[design].n_points
    for run in range(runs):
        options: dict[str, Any] = {"n_evaluations": n, "seed": (seed, run), "simultaneous": simultaneous}
        made = _quietly(model, quantile(_neighbours, q), design=DESIGNS[design], **options)
        hits += bool(np.all((made.interval.low <= truth) & (truth <= made.interval.high)))
    return Cell("8 components", design, n, q, hits, runs, 0)


def _neighbours(z: Array) -> Floats:
    z = z.astype(np.float64)
    return np.asarray((2 * z[:, :-1] + z[:, 1:]) / math.sqrt(5))


def stopped(name: str, design: str, q: float, atol: float, runs: int, seed: int) -> Cell:
    """Return the coverage of runs that stop at a half-width; the evaluations of the cell are their mean."""
    law, hits, spent = LAWS[name], 0, 0
    model = mcgen.as_generator(_itself, noise=(law.dimension,), name="noise")
    truth = law.quantile(q)
    for run in range(runs):
        made = _quietly(model, quantile(law.values, q), design=DESIGNS[design], atol=atol, seed=(seed, run))
        hits += truth in made.interval
        spent += made.n_evaluations
    return Cell(f"{name}, atol = {atol:g}", design, spent // runs, q, hits, runs, 0)


def _quietly(*arguments: Any, seed: tuple[int, int], **options: Any) -> mcgen.Estimate:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", CoverageWarning)
        return mcgen.estimate(*arguments, seed=np.random.SeedSequence(seed[0], spawn_key=(seed[1],)), **options)


TOLERANCES: tuple[tuple[str, float, float], ...] = (
    ("normal", 0.9, 0.1),
    ("even", 0.5, 0.3),
    ("lognormal", 0.9, 0.3),
    ("atoms", 0.9, 0.5),
)
"""Laws, probabilities and tolerances of runs that stop."""


def fixed(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts that intervals of quantiles cover 0.94 from N q (1 - q) = 4 on.

    The control has order statistics that take pairs of an even statistic as independent values.
    """
    names, runs = ([*LAWS], 4000) if full else (["even", "atoms"], 500)
    verdicts = []
    for design in DESIGNS:
        found = [cell for name in names for n in (400, 2000) for cell in cells(name, design, n, runs, seed)]
        found += [cell for name in names if full for cell in cells(name, design, 10_000, runs // 4, seed)]
        verdicts.append(_least(f"the interval of a quantile, {design},", found, PROMISED))
    broken = cells("even", "pairs", 2000, 2000, seed, ends=as_if_independent, probabilities=(0.5, 0.9, 0.95))
    return [*verdicts, control(_least("order statistics under pairs", broken, PROMISED))]


def shortfalls(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts that intervals of expected shortfalls cover 0.92 from N (1 - q) = 4 on, and 0.94 from 20 on.

    With fewer than 20 values beyond the quantile the law with atoms is left out: four such values may all be equal, and
    it covers 0.87. The control has Student's t interval.
    """
    names = [*LAWS] if full else ["normal", "lognormal"]
    runs = 4000 if full else 1000
    verdicts = []
    for design in DESIGNS:
        found = [cell for name in names for cell in _shortfalls(name, design, 400, runs, seed)]
        found += [cell for name in names for cell in _shortfalls(name, design, 2000, runs, seed)]
        many = [cell for cell in found if cell.n_evaluations * (1 - cell.q) >= 19]
        few = [cell for cell in found if cell not in many and cell.law != "atoms"]
        verdicts.append(_least(f"the interval of an expected shortfall of few values, {design},", few, PROMISED_FEW))
        verdicts.append(
            _least(f"the interval of an expected shortfall of 20 values or more, {design},", many, PROMISED)
        )
    broken = cells("lognormal", "pairs", 400, 2000, seed, expected_shortfall, student, (0.99,))
    return [*verdicts, control(_least("Student's t for an expected shortfall", broken, PROMISED_FEW))]


def _shortfalls(name: str, design: str, n_evaluations: int, runs: int, seed: int) -> list[Cell]:
    return cells(name, design, n_evaluations, runs, seed, expected_shortfall, probabilities=(0.9, 0.95, 0.99))


def sums(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts that intervals of mixtures, averages and differences of quantiles cover 0.94.

    For averages and differences on the same noise it is 0.92: their influence values have an estimated density. The
    control has these alone, which do not vary for the median of an odd statistic under pairs.
    """
    designs = [*DESIGNS] if full else ["pairs", "nets of 64"]
    runs, sizes, names, qs = (
        (2000, (400, 2000), [*_OF_PAIRS], (0.5, 0.9, 0.99)) if full else (500, (400,), ["even"], (0.5, 0.9))
    )
    verdicts = []
    for kind in SUMS:
        at = [(name, design, n, q) for name in names for design in designs for n in sizes for q in qs]
        found = [cell_of_sum(kind, *one, runs, seed) for one in at]
        verdicts.append(_least(f"the interval of a quantile, {kind},", found, promised_of_sum(kind)))
    broken = cell_of_sum("difference, same noise", "normal", "pairs", 400, 0.5, 500, seed, density=True)
    return [*verdicts, control(_least("influence values alone", [broken], PROMISED_FEW))]


def promised_of_sum(kind: str) -> float:
    """Return the coverage that is promised to a quantile that joins two conditions, or two models."""
    return PROMISED_FEW if kind in ("average, same noise", "difference, same noise") else PROMISED


def several(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts that simultaneous intervals of 8 components cover together 0.94, and intervals where runs stop.

    The control has intervals of each component alone.
    """
    runs, asked = (2000, TOLERANCES) if full else (100, TOLERANCES[:1])
    jointly = [together(design, n, 0.9, runs, seed) for design in DESIGNS for n in ((400, 2000) if full else (400,))]
    stops = [stopped(name, design, q, atol, runs, seed) for design in DESIGNS for name, q, atol in asked]
    alone = together("Monte Carlo", 400, 0.9, 200, seed, simultaneous=False)
    return [
        _least("all intervals of 8 quantiles together", jointly, PROMISED),
        _least("the interval of a quantile at the stop", stops, PROMISED),
        control(_least("intervals of each component alone", [alone], PROMISED)),
    ]


def _least(what: str, found: Sequence[Cell], promised: float) -> Verdict:
    """Return the verdict on the least covered of some cells."""
    return least(what, {str(cell): cell.hits for cell in found}, {str(cell): cell.runs for cell in found}, promised)


STUDIES: dict[str, Study] = {
    "quantiles": fixed,
    "expected shortfalls": shortfalls,
    "quantiles of mixtures, averages and differences": sums,
    "several quantiles, and stopping at a tolerance": several,
}
