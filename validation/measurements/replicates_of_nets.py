"""How many replicates of how many points: the default interval of nets that share the same evaluations differently.

N evaluations can be many replicates of small nets or few of large ones. Larger nets have the smaller variance. Fewer
replicates have the larger Student t quantile, and show less of the skewness of their means. For each division this
module measures the mean squared half-width of the 95 % interval that `mcgen.estimate` gives by default, how often the
interval holds the expectation, and how often it warns.

A gain is the mean squared half-width of antithetic pairs at N evaluations over that of the nets, which use the largest
multiple of their points that is at most N. The functions have known expectations, with s the sum of 8 normal numbers
over sqrt 8. `RUNS` runs give a coverage of 0.95 a standard error of 0.005.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, fields
from functools import cache, partial
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from scipy.special import ndtr

from mcgen._lib.arrays import Floats
from mcgen.designs import Antithetic, Design, Sobol
from mcgen.designs._base import net_dimension
from mcgen.generators import as_generator
from mcgen.inference.coverage import Judged
from mcgen.inference.interval_input import LEAST_NET, IntervalInput
from mcgen.inference.intervals import interval_of, methods_of
from mcgen.inference.methods import IntervalOptions
from mcgen.inference.moments import Moments, ReplicateMeans
from mcgen.noise import Array, NoiseSpec
from mcgen.replicates.loop import replicate_means
from mcgen.replicates.tally import joined
from mcgen.replicates.task import Estimand, Facts, Findings, Task
from mcgen.statistics import identity, stack
from mcgen.validation.problems import PROBLEMS
from mcgen.validation.problems.quadrature import density, normal_rule

BUDGETS = (1024, 2954, 11_800)
"""Numbers of evaluations: 1,024, and 3,200 and 12,783 less the thirteenth that a pilot takes."""
MOST_REPLICATES, FEWEST_REPLICATES = 95, 5
RUNS = 2000
"""Runs of a cell."""
_SEED = 1
# Rows of a batch, whose 8 or 16 numbers a row stay in the cache.
_BATCH = 2**14
# Evaluations that are made before their intervals are: what is kept of pairs is 200 MB.
_BLOCK = 2**20


@dataclass(frozen=True)
class Function:
    """A function of the noise, and its expectation.

    Attributes
    ----------
    values : callable
        From n rows of noise to n values.
    expectation : float
        The expectation.
    """

    values: Callable[[Floats], Array]
    expectation: float


@dataclass(frozen=True, eq=False)
class Family:
    """Functions that are estimated from the same noise.

    Attributes
    ----------
    noise : NoiseSpec
        The noise.
    functions : dict
        The functions by name.
    """

    noise: NoiseSpec
    functions: dict[str, Function] = field(default_factory=dict)

    @property
    def expectations(self) -> Floats:
        """The expectations, shape (k,)."""
        return np.array([one.expectation for one in self.functions.values()])

    def task(self, design: Design) -> Task:
        """Return the task of estimating all expectations in one run."""
        generator = as_generator(identity, noise=self.noise, name="the noise itself")
        columns = [one.values for one in self.functions.values()]
        return Estimand(generator, stack(*columns, names=[*self.functions]), _SEED).task(design, _BATCH)


def _sum(z: Floats) -> Floats:
    return np.asarray(z.sum(axis=1) / np.sqrt(z.shape[1]))


def _logistic(z: Floats) -> Floats:
    return np.asarray(1 / (1 + np.exp(-z - 1)))


def _squares_and_products(z: Floats) -> Floats:
    """Return the mean of z_j^2 + z_j z_(j+1), where the last is followed by the first."""
    return np.asarray((z * (z + np.roll(z, 1, axis=1))).mean(axis=1))


def _fifth_power(z: Floats) -> Floats:
    squares = z * z
    return np.asarray((np.abs(z) * squares * squares).mean(axis=1))


def _of_normal_numbers() -> dict[str, Function]:
    kink = float(density(np.array(0.5))) - 0.5 * float(ndtr(-0.5))
    return {
        "mean of z + 0.01 z²": Function(lambda z: (z + 0.01 * z**2).mean(axis=1), 0.01),
        "mean of z + 0.1 z²": Function(lambda z: (z + 0.1 * z**2).mean(axis=1), 0.1),
        "squares and products": Function(_squares_and_products, 1.0),
        "mean of |z|⁵": Function(_fifth_power, 8 * math.sqrt(2 / math.pi)),
        "exp(0.7 s)": Function(lambda z: np.exp(0.7 * _sum(z)), math.exp(0.7**2 / 2)),
        "exp(1.5 s)": Function(lambda z: np.exp(1.5 * _sum(z)), math.exp(1.5**2 / 2)),
        "cos(2 s)": Function(lambda z: np.cos(2 * _sum(z)), math.exp(-2)),
        "|s|": Function(lambda z: np.abs(_sum(z)), math.sqrt(2 / math.pi)),
        "max(s - 0.5, 0)": Function(lambda z: np.maximum(_sum(z) - 0.5, 0), kink),
        "1{s > 1}, boolean": Function(lambda z: _sum(z) > 1, float(ndtr(-1))),
        "1{s > 1}, a number": Function(lambda z: (_sum(z) > 1).astype(np.float64), float(ndtr(-1))),
    }


def _of_genz(name: str) -> Function:
    problem = PROBLEMS[f"genz-{name}"]
    return Function(lambda u: np.asarray(problem.generator(u, None))[:, 0], problem.truth)


@cache
def families() -> tuple[Family, ...]:
    """Return the README's example, functions of 8 normal numbers, and three of Genz's functions in 5 dimensions."""
    nodes, weights = normal_rule()
    example = Function(lambda z: _logistic(z).mean(axis=1), float(weights @ _logistic(nodes)))
    return (
        Family(NoiseSpec.normal((16,), "float64"), {"mean of 1 / (1 + exp(-z - 1))": example}),
        Family(NoiseSpec.normal((8,), "float64"), _of_normal_numbers()),
        Family(
            NoiseSpec.uniform((5,), "float64"),
            {f"Genz {name}": _of_genz(name) for name in ("corner-peak", "oscillatory", "product-peak")},
        ),
    )


def designs_of(n_evaluations: int) -> list[Design]:
    """Return nets of all sizes that give 5 to 95 replicates, then half as large nets with their negations."""
    sizes = [2**k for k in range(3, 24) if FEWEST_REPLICATES <= n_evaluations // 2**k <= MOST_REPLICATES]
    return [*(Sobol(m) for m in sizes), *(Antithetic(Sobol(m // 2)) for m in sizes)]


@dataclass(frozen=True)
class Measured:
    """The default intervals of some runs, arrays of shape (runs, k).

    Attributes
    ----------
    half_widths : ndarray
        The half-widths.
    held : ndarray of bool
        Whether the interval holds the expectation.
    warned : ndarray of bool
        Whether `mcgen.estimate` would warn.
    """

    half_widths: Floats
    held: NDArray[np.bool_]
    warned: NDArray[np.bool_]


def measured(family: Family, design: Design, n_replicates: int, runs: int = RUNS) -> Measured:
    """Return the default intervals of runs of `n_replicates`: run j has the replicates from j n_replicates on."""
    parts = [
        _judged(rows, family, design, n_replicates, facts)
        for rows, facts in _blocks(family, design, n_replicates, runs)
    ]
    return Measured(*(np.concatenate([getattr(part, one.name) for part in parts]) for one in fields(Measured)))


def _blocks(family: Family, design: Design, n_replicates: int, runs: int) -> Iterator[tuple[ReplicateMeans, Facts]]:
    """Yield the replicates of several runs at a time."""
    task, at_once = family.task(design), max(1, _BLOCK // (n_replicates * design.n_points))
    for first in range(0, runs, at_once):
        findings = Findings(task)
        replicates = range(first * n_replicates, min(first + at_once, runs) * n_replicates)
        yield joined([*replicate_means(task, replicates, findings)]), findings.facts


def _judged(rows: ReplicateMeans, family: Family, design: Design, n_replicates: int, facts: Facts) -> Measured:
    """Return the default intervals of runs of consecutive replicates, made together as components of one input."""
    runs, k = len(rows) // n_replicates, len(family.functions)

    def apart(values: Any) -> Any:
        if values is None:
            return None
        return values.reshape(runs, n_replicates, k).swapaxes(0, 1).reshape(n_replicates, runs * k)

    means, n_points = apart(rows.means), rows.n_points
    own = ReplicateMeans(0, means, apart(rows.within), apart(rows.ones), n_points, apart(rows.third))
    moments, net, options = Moments.of(own), net_dimension(design, family.noise), IntervalOptions()
    sampled = IntervalInput.of(
        moments, means, _SEED, n_points=n_points, boolean=facts.boolean * runs, net=net, rounding=facts.rounding
    )
    interval, half_widths, _ = interval_of(sampled, options)
    is_net = net > 0 and n_points >= LEAST_NET
    judged = Judged.of(moments, facts.rounding, methods_of(sampled, options), sampled.student_holds, is_net)
    truths = np.tile(family.expectations, runs)
    held = (interval.low <= truths) & (truths <= interval.high)
    return Measured(half_widths.reshape(runs, k), held.reshape(runs, k), judged.warned.reshape(runs, k))


@cache
def cells(n_evaluations: int, runs: int = RUNS) -> pd.DataFrame:
    """Return the gain over pairs, the coverage and the share of runs that warn, of pairs and of every net."""
    rows = []
    for family in families():
        pairs: Floats | None = None
        for design in (Antithetic(), *designs_of(n_evaluations)):
            found = measured(family, design, n_evaluations // design.n_points, runs)
            squared = (found.half_widths**2).mean(axis=0)
            pairs = squared if pairs is None else pairs
            gains, held, warned = pairs / squared, found.held.mean(axis=0), found.warned.mean(axis=0)
            rows += [
                {
                    "evaluations": n_evaluations,
                    "design": str(design),
                    "replicates": n_evaluations // design.n_points,
                    "function": name,
                    "gain": gains[j],
                    "coverage": held[j],
                    "warn": warned[j],
                }
                for j, name in enumerate(family.functions)
            ]
    return pd.DataFrame(rows)


def functions_table(n_evaluations: int, runs: int = RUNS) -> pd.DataFrame:
    """Return the gain and the coverage of each function, one row, with each design, one column."""
    found = cells(n_evaluations, runs)
    found = found.assign(
        column=found["replicates"].astype(str) + " x " + found["design"],
        cell=[f"{gain:.3g} ({held:.3f})" for gain, held in zip(found["gain"], found["coverage"], strict=True)],
    )
    columns, names = found["column"].unique(), found["function"].unique()
    return found.pivot_table("cell", "function", "column", "first").loc[names, columns].reset_index()


def summary_table(runs: int = RUNS) -> pd.DataFrame:
    """Return one row for each division of the evaluations: gains and coverages over all functions."""
    example = next(iter(families()[0].functions))
    rows = []
    for n_evaluations in BUDGETS:
        found = cells(n_evaluations, runs)
        for (design, replicates), some in found.groupby(["design", "replicates"], sort=False):
            rows.append(
                {
                    "evaluations": n_evaluations,
                    "design": design,
                    "replicates": replicates,
                    "gain, README": float(some.loc[some["function"] == example, "gain"].iloc[0]),
                    "geometric mean": float(np.exp(np.log(some["gain"]).mean())),
                    "least": float(some["gain"].min()),
                    "mean coverage": float(some["coverage"].mean()),
                    "least coverage": float(some["coverage"].min()),
                    "where": some["function"].iloc[int(some["coverage"].argmin())],
                    "warn": float(some["warn"].mean()),
                }
            )
    return pd.DataFrame(rows)


TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    **{f"Replicates of nets, {n:,} evaluations, gain (coverage)": partial(functions_table, n) for n in BUDGETS},
    "Replicates of nets, over all functions": summary_table,
}
