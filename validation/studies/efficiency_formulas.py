r"""Formulas for the efficiency of designs, compared with what the package measures in simulations.

S has mean mu and variance sigma^2; a replicate has n points and the mean B. The efficiency over Monte Carlo is
:math:`\sigma^2 / (n \operatorname{Var} B)`.

Pairs. With rho the correlation of S(z) and S(-z), 2 Var B = sigma^2 (1 + rho). At equal evaluations standard errors and
widths are :math:`\sqrt{1 + \rho}` times Monte Carlo's (up to t quantiles), and the efficiency is 1 / (1 + rho).

k-antithetic points. With w_j the share of sigma^2 in the Hermite polynomials of degree j, two points of correlation
r = -1 / (k - 1) have :math:`\rho_k = \sum_j w_j r^j` (Mehler [1]_), hence

.. math:: k \operatorname{Var} B / \sigma^2 = 1 + (k - 1) \rho_k = \sum_j w_j (1 + (-1)^j (k - 1)^{1 - j}).

Terms of odd degree are at least 0 and those of even degree at least w_j. For k = 2 they are 0 and 2 w_j. Hence
RE_k <= 2 RE_2.

Points taken as independent. The usual squared standard error s^2 / n of n = 2R points has the expectation
sigma^2 (n - 1 - rho) / (n (n - 1)), but the true squared error is sigma^2 (1 + rho) / n.

Sobol' points. A net of n = 2^k points, linearly scrambled and shifted, has the variance of Owen's scramble [2]_. Let
:math:`W_q` be the mean variance of a factor of S inside dyadic intervals of length 2^{-q}, and s_p = W_{p-1} - W_p.
In one dimension each interval of length 1/n has one point, so n Var B = W_k. The first two Sobol' dimensions have
t = 0. A Walsh function with leading digits p_1, p_2 >= 1 is then never in the dual net if p_1 + p_2 <= k, is in it with
probability 2/n if p_1 + p_2 = k + 1, and else with 1/n (count the ranks of the scrambled rows). For a product of two
factors of mean 1 this gives

.. math:: n \operatorname{Var} B = 2 W_k + W_k W_0 + \sum_{p=1}^{k} s_p (W_{k+1-p} + 2 s_{k+1-p}).

Since W_q falls like 4^{-q} for a smooth factor, the error falls like n^{-3/2} (log n)^{(d-1)/2}. In one dimension about
one replicate in n has most of the error and the kurtosis of B grows like n, so variances are compared for small n only.

Latin supercube sampling [3]_. Each block has a randomized net of its own in random order. Let f_b be functions of
different blocks with mean 0 and variance sigma_b^2, and V_b the variance of the mean of f_b over its net. Two points in
random order have :math:`E f_b(x_i) f_b(x_j) = c_b = (n V_b - \sigma_b^2) / (n - 1)`. Blocks are independent, hence

.. math:: \operatorname{Var} \frac1n \sum_i \prod_b f_b(x_i^b)
          = \frac1n \prod_b \sigma_b^2 + \frac{n - 1}{n} \prod_b c_b,

and functions of different sets of blocks are uncorrelated. For one block this is V_b, so additive functions have the
sum of the blocks' own variances. If the nets integrate each of m blocks exactly, it is Monte Carlo's variance times
1 + (-1)^m (n - 1)^{1-m}: n / (n - 1) for two blocks. The formula is derived here; [3]_ has it up to O(1/n).

The interval of an efficiency is the jackknife's on the log scale; an F interval assumes normal replicate means [4]_.

.. rubric:: References

.. [1] F. G. Mehler (1866). J. reine angew. Math. 66, 161-176.
.. [2] A. B. Owen (2003). Variance with alternative scramblings of digital nets. ACM Trans. Model. Comput. Simul.
   13(4), 363-378.
.. [3] A. B. Owen (1998). Latin supercube sampling for very high-dimensional simulations. ACM Trans. Model. Comput.
   Simul. 8(1), 71-102.
.. [4] R. G. Miller (1968). Jackknifing variances. Ann. Math. Statist. 39(2), 567-582.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy.special import fdtri, gammaln, ndtr, ndtri, stdtr

from mcgen._lib.arrays import Floats
from mcgen.comparison import compare
from mcgen.designs import Antithetic, Design, KAntithetic, MonteCarlo, Sobol
from mcgen.generators import as_generator
from mcgen.inference.efficiency import log_variance, over_monte_carlo, stretch_between
from mcgen.inference.interval_input import Interval, IntervalInput, student_t_quantile
from mcgen.inference.intervals import make_interval
from mcgen.inference.log_ratios import LogRatio
from mcgen.inference.methods import Method
from mcgen.noise import Array, Block, Noise, NoiseSpec, change_noise
from mcgen.noise.random import Seed
from mcgen.validation.problems import PROBLEMS, Problem
from mcgen.validation.studies.coverage import sampled_of, simulate
from mcgen.validation.studies.verdicts import (
    FALSE_ALARM,
    Z_LIMIT,
    Study,
    Verdict,
    at_most,
    control,
    holding,
    mean,
    share,
)
from mcgen.validation.writing.markdown import chosen, fill_page, markdown_table, require_marks

_NORMAL = NoiseSpec.normal((1,), "float64")
# Relative rounding error of float64.
_ROUNDING = 2.0**-52
# Rows of a batch: scalar noise is cheap, so that large batches are fastest.
_BATCH = 2**14
_MARK = "efficiencies of pairs"
_WRITTEN = {"odd-and-even": "w + w²/2", "exponential": "exp(w/2)"}


@dataclass(frozen=True)
class Wave:
    r"""S = cos(a z + phase), z ~ N(0, 1): bounded, so that sample variances are stable, with many Hermite degrees.

    The coefficient of He_j / sqrt(j!) is E S^{(j)} / sqrt(j!) = e^{-a^2/2} a^j cos(phase + j pi / 2) / sqrt(j!).
    """

    a: float
    phase: float

    def __call__(self, z: Array) -> Floats:
        """Return (S - mu) / sigma."""
        mu = math.exp(-(self.a**2) / 2) * math.cos(self.phase)
        return np.asarray((np.cos(self.a * z + self.phase) - mu) / math.sqrt(self._squares().sum()))

    def factor(self, k: int) -> float:
        """Return k Var B / sigma^2 for k antithetic points; for pairs it is 1 + rho."""
        squares = self._squares()
        return variance_factor(squares / squares.sum(), k)

    def _squares(self) -> Floats:
        j = np.arange(1, 61)
        poisson = np.exp(2 * j * math.log(self.a) - self.a**2 - gammaln(j + 1))
        return np.asarray(poisson * np.cos(self.phase + j * np.pi / 2) ** 2)

    def __str__(self) -> str:
        return f"cos({self.a:g} z + {self.phase:g})"


WAVES = (Wave(1.0, 1.3), Wave(1.0, 0.8), Wave(2.0, 0.4), Wave(1.5, 0.0))


@dataclass(frozen=True)
class SamePoints(Antithetic):
    """A broken design: the same point twice in place of a pair."""

    def draw(self, *arguments: Any, points: range | None = None, **options: Any) -> Noise:
        """Return pairs of the same point."""
        chosen = [0] * len(range(2) if points is None else points)
        return change_noise(super().draw(*arguments, **options), lambda block: block[:, chosen])


def variance_factor(shares: Floats, k: int) -> float:
    """Return k Var B / sigma^2 = sum_j w_j (1 + (-1)^j (k - 1)^(1 - j)) from the shares w_1, w_2, ... ."""
    j = np.arange(1, len(shares) + 1)
    return float(np.sum(shares * (1 + (-1.0) ** j * (k - 1.0) ** (1 - j))))


def antithetic_pairs(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts on correlation, standard errors and widths of 50 evaluations, and on efficiency in a long run."""
    runs = 10_000 if full else 1_600
    pairs, alone = _points(Antithetic(), 25 * runs, seed), _points(MonteCarlo(), 50 * runs, seed)
    found = []
    for wave in WAVES:
        s, factor = wave(pairs), wave.factor(2)
        by_pairs = sampled_of(s.mean(axis=1).reshape(runs, 25).T, seed)
        plain = sampled_of(wave(alone).reshape(runs, 50).T, seed)
        # Squares, because squared standard errors are unbiased and standard errors are not.
        errors = 50 * by_pairs.standard_error**2
        widths = [
            (_half_width(one) / student_t_quantile(0.975, one.degrees_of_freedom)) ** 2 for one in (by_pairs, plain)
        ]
        found += [
            mean(f"pairs of {wave}: the correlation is rho", s[:, 0] * s[:, 1], factor - 1),
            mean(f"pairs of {wave}: n x squared standard error / sigma^2 is 1 + rho", errors, factor),
            mean(
                f"pairs of {wave}: (width / t)^2 minus (1 + rho = {factor:.4g}) times Monte Carlo's is 0",
                widths[0] - factor * widths[1],
                0.0,
            ),
        ]
    for wave, interval in zip(WAVES, _efficiencies(Antithetic(), 50 * runs, seed), strict=True):
        found.append(holding(f"pairs of {wave}: the efficiency is 1 / (1 + rho)", interval, 1 / wave.factor(2)))
    broken = _efficiencies(SamePoints(), 50 * runs, seed)[0]
    return [
        *found,
        control(holding(f"z, z of {WAVES[0]}: the efficiency is 1 / (1 + rho)", broken, 1 / WAVES[0].factor(2))),
    ]


def k_antithetic(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts on the Hermite expansion of the variance for several k, and on the bound RE_k <= 2 RE_2."""
    replicates = 200_000 if full else 20_000
    found = []
    for k in (2, 3, 8, 16) if full else (3, 8):
        points = _points(KAntithetic(k), replicates, seed)
        for wave in WAVES:
            squares = k * wave(points).mean(axis=1) ** 2
            found.append(mean(f"k = {k}, {wave}: k Var B / sigma^2 is the Hermite sum", squares, wave.factor(k)))
    wave = WAVES[3]
    unscaled = 3 * wave(_points(KAntithetic(3), replicates, seed) * math.sqrt(2 / 3)).mean(axis=1) ** 2
    found.append(control(mean(f"k = 3 without its scale, {wave}: the same", unscaled, wave.factor(3))))
    logs = {k: _log_variance(wave(_points(KAntithetic(k), replicates, seed)).mean(axis=1)) for k in (2, 8)}
    ratio = _ratio(logs[2], logs[8], 2 / 8)
    low, exact = float(np.ravel(ratio.low)[0]), wave.factor(2) / wave.factor(8)
    return [
        *found,
        holding(f"RE_8 / RE_2 of {wave} is {exact:.4g}", ratio, exact),
        at_most(f"RE_8 <= 2 RE_2 for {wave}: low end of the interval of RE_8 / RE_2", low, 2.0),
        control(at_most(f"RE_8 <= 1.2 RE_2 for {wave}: the same", low, 1.2)),
    ]


def points_as_independent(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts on how wrong standard errors are if the 50 points of 25 pairs are taken as independent."""
    runs = 20_000 if full else 4_000
    pairs = _points(Antithetic(), 25 * runs, seed)
    found = []
    for wave in WAVES[::2]:
        rho = wave.factor(2) - 1
        squares = 50 * sampled_of(wave(pairs).reshape(runs, 50).T, seed).standard_error ** 2
        promise = f"{wave}: n x squared standard error / sigma^2 of points taken as independent is"
        found.append(mean(f"{promise} (n - 1 - rho) / (n - 1)", squares, (49 - rho) / 49))
        found.append(control(mean(f"{promise} 1 + rho", squares, 1 + rho)))
    # An even S ~ N(0, 1) has each value twice; s^2 of all 50 values is 48/49 of s^2 of the 25 different ones.
    even = ndtri(2 * ndtr(np.abs(pairs)) - 1).reshape(runs, 50).T
    exact = 1 - 2 * float(stdtr(24, -student_t_quantile(0.975, 49) * math.sqrt(24 / 49)))
    hits = _hits(even, "student-t")
    found.append(share(f"normal S with rho = 1: points taken as independent cover {exact:.4f}", hits, runs, exact))
    return [*found, control(share("normal S with rho = 1: points taken as independent cover 0.95", hits, runs))]


def within_intervals(q: int) -> float:
    """Return W_q of the factor e^u / (e - 1), u ~ U(0, 1): its mean variance in intervals of length h = 2^-q."""
    h = 0.5**q
    in_first = math.expm1(2 * h) / (2 * h) - (math.expm1(h) / h) ** 2
    return h * math.expm1(2) / math.expm1(2 * h) * in_first / math.expm1(1) ** 2


def net_variance(n: int, dimension: int) -> float:
    """Return Var B of S = prod_j e^{u_j} / (e - 1), one or two factors, over a scrambled Sobol' net of n points."""
    k, w = n.bit_length() - 1, within_intervals
    if dimension == 1:
        return w(k) / n
    both = sum((w(p - 1) - w(p)) * (2 * w(k - p) - w(k + 1 - p)) for p in range(1, k + 1))
    return (2 * w(k) + w(k) * w(0) + both) / n


def sobol_convergence(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts on variances over Sobol' nets, given exactly, and on the slope of log error against log n."""
    replicates, sizes = (100_000, [4, 8, 16, 32, 64, 128]) if full else (20_000, [4, 8, 16, 32])
    found = []
    for d in (1, 2):
        logs = []
        for n in sizes:
            means = _smooth(Sobol(n).draw(NoiseSpec.uniform((d,), "float64"), replicates, seed))
            logs.append(_log_variance(means))
            squares = (means - 1) ** 2 / net_variance(n, d)
            found.append(mean(f"Sobol({n}), d = {d}: Var B over its exact value is 1", squares, 1.0))
        true = [replace(log, value=np.log([net_variance(n, d)])) for n, log in zip(sizes, logs, strict=True)]
        exact, _ = _slope(sizes, true)
        promise = f"Sobol' points, d = {d}, n = 4 to {sizes[-1]}: slope of log error is {exact:.3f}"
        found.append(holding(promise, _slope(sizes, logs)[1], exact))
    spec, sizes = NoiseSpec.uniform((4,), "float64"), [4 * n for n in sizes]
    logs = [_log_variance(_smooth(Sobol(n).draw(spec, 5000, seed))) for n in sizes]
    found.append(_steep(f"Sobol' points, d = 4, n = 16 to {sizes[-1]}", sizes, logs))
    points = np.asarray(MonteCarlo().draw(NoiseSpec.uniform((1,), "float64"), 8 * replicates, seed))
    squares = (_smooth(points.reshape(-1, 8, 1)) - 1) ** 2 / net_variance(8, 1)
    found.append(control(mean("8 independent points, d = 1: Var B over that of Sobol(8) is 1", squares, 1.0)))
    alone = [np.asarray(MonteCarlo().draw(spec, 2500 * n, seed)).reshape(-1, n, 4) for n in sizes[:4]]
    logs = [_log_variance(_smooth(points)) for points in alone]
    return [*found, control(_steep(f"independent points, d = 4, n = 16 to {sizes[3]}", sizes[:4], logs))]


def supercube_variance(n: int, variances: Sequence[float], own: Sequence[float]) -> float:
    """Return the variance over n points of a product of functions of mean 0 of different blocks.

    Parameters
    ----------
    n : int
        Number of points.
    variances, own : sequence of float
        For each block's function: sigma_b^2, and V_b, the variance of its mean over the net of the block alone.
    """
    c = [(n * v - sigma2) / (n - 1) for sigma2, v in zip(variances, own, strict=True)]
    return math.prod(variances) / n + (n - 1) / n * math.prod(c)


def latin_supercube(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts on variances over several blocks: of sums of functions of one block each, and of products."""
    replicates = 200_000 if full else 30_000
    spec = NoiseSpec(
        (("a", Block((1,), "uniform")), ("b", Block((1,), "uniform")), ("c", Block((2,), "uniform"))), "float64"
    )
    sigma2 = [within_intervals(0), within_intervals(0), (1 + within_intervals(0)) ** 2 - 1]
    found = []
    for n in (4, 8, 16) if full else (4, 8):
        blocks = dict(Sobol(n).draw(spec, replicates, seed))
        a, b, c = (_product(u) - 1 for u in blocks.values())
        own = [net_variance(n, 1), net_variance(n, 1), net_variance(n, 2)]
        for name, values, exact in (
            ("a + b + c", a + b + c, sum(own)),
            ("a b", a * b, supercube_variance(n, sigma2[:2], own[:2])),
            ("b c", b * c, supercube_variance(n, sigma2[1:], own[1:])),
            ("a b c", a * b * c, supercube_variance(n, sigma2, own)),
            ("a + b c", a + b * c, own[0] + supercube_variance(n, sigma2[1:], own[1:])),
        ):
            squares = values.mean(axis=1) ** 2 / exact
            found.append(mean(f"Latin supercube of {n} points, {name}: Var B over its exact value is 1", squares, 1.0))
        one = NoiseSpec.uniform((1,), "float64")
        a, b = (_product(Sobol(n).draw(one, replicates, seed, stream=(name,))) - 1 for name in "ab")
        squares = (a * b).mean(axis=1) ** 2 / supercube_variance(n, sigma2[:2], own[:2])
        found.append(control(mean(f"nets of {n} points in their own order, a b: the same", squares, 1.0)))
    return found


@dataclass(frozen=True)
class EfficiencyCoverage:
    """How often intervals of the efficiency of pairs cover.

    Attributes
    ----------
    repetitions : int
        How many intervals of each kind were made.
    own_run, over_monte_carlo : int
        How many jackknife intervals hold the truth: from the pairs alone, and relative to a Monte Carlo run.
    by_f : int
        How many F intervals relative to the Monte Carlo run hold the truth.
    """

    repetitions: int
    own_run: int
    over_monte_carlo: int
    by_f: int


def efficiency_coverage(
    problem: Problem, truth: float, *, n_replicates: int, repetitions: int, seed: Seed
) -> EfficiencyCoverage:
    """Count how many intervals hold the efficiency of antithetic pairs over Monte Carlo at equal evaluations."""
    pairs = simulate(problem, Antithetic(), n_replicates * repetitions, seed)
    alone = simulate(problem, MonteCarlo(), 2 * n_replicates * repetitions, seed)
    runs, plain = pairs.runs(n_replicates, repetitions), alone.runs(2 * n_replicates, repetitions).means
    means = runs.means
    _, own = over_monte_carlo(means, runs.within, 2, 0.95)
    stretch = stretch_between(2 * n_replicates, n_replicates)
    paired = _ratio(_log_variance(plain), _log_variance(means), 0.5, 0.95, stretch)
    ratio = plain.var(axis=0, ddof=1) / (2 * means.var(axis=0, ddof=1))
    high, low = (fdtri(2 * n_replicates - 1, n_replicates - 1, p) for p in (0.025, 0.975))
    made = (own, paired, Interval(ratio / low, ratio / high))
    return EfficiencyCoverage(repetitions, *(int(np.sum((one.low <= truth) & (truth <= one.high))) for one in made))


def pair_efficiencies() -> dict[str, float]:
    """Return 1 / (1 + rho) for w + w^2/2, which has rho = -1/3, and for exp(w/2), which has rho = -exp(-1/4)."""
    return {"odd-and-even": 1.5, "exponential": -1 / math.expm1(-0.25)}


def efficiency_interval(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts on the coverage of jackknife intervals of the efficiency of 1,600 pairs; F is the control."""
    repetitions = 2000 if full else 1000
    found = []
    for name in ("odd-and-even", "exponential") if full else ("odd-and-even",):
        truth = pair_efficiencies()[name]
        made = efficiency_coverage(PROBLEMS[name], truth, n_replicates=1600, repetitions=repetitions, seed=seed)
        for how, hits in (
            ("jackknife, own run", made.own_run),
            ("jackknife, over Monte Carlo", made.over_monte_carlo),
            ("F", made.by_f),
        ):
            promise = f"efficiency of 1,600 pairs, {name}, {how}: covers at least 0.925"
            found.append(share(promise, hits, repetitions, 0.925, at_least=True))
        found[-1] = control(found[-1])
    return found


def efficiency_coverage_table(names: Sequence[str], repetitions: int = 2000, seed: int = 0) -> pd.DataFrame:
    """Return the coverage of the efficiency's intervals by number of replicates, for some of `pair_efficiencies`."""
    columns, rows = ("own run", "over Monte Carlo", "F interval"), []
    for name in names:
        truth = pair_efficiencies()[name]
        for n in (10, 25, 50, 100, 400, 1600):
            made = efficiency_coverage(PROBLEMS[name], truth, n_replicates=n, repetitions=repetitions, seed=seed)
            shares = np.array([made.own_run, made.over_monte_carlo, made.by_f]) / repetitions
            rows.append({"problem": name, "replicates": n, **dict(zip(columns, shares, strict=True))})
    return pd.DataFrame(rows)


def write_efficiency_coverage(folder: Path, only: str = "") -> None:
    """Print the coverage of the efficiency's intervals for problems whose name contains `only`; write that of all.

    Raises
    ------
    OSError, ValueError
        If there is no page ``explanation/interval.md`` with its mark, or no such problem. Nothing is measured then.
    """
    page = folder / "explanation" / "interval.md"
    require_marks(page, (_MARK,))
    names = chosen(pair_efficiencies(), only, "problem")
    table = efficiency_coverage_table(names)
    title = "Coverage of nominal 95 % intervals of the efficiency of pairs"
    print(f"\n{title}\n{table.to_string(index=False, float_format='%.3f')}")
    if len(names) == len(pair_efficiencies()):
        fill_page(page, {_MARK: _by_replicates(table)})


def _by_replicates(table: pd.DataFrame) -> str:
    """Return the table in Markdown, one row for each number of replicates."""
    columns = ("own run", "over Monte Carlo", "F interval")
    wide = table.pivot(index="replicates", columns="problem", values=[*columns])
    places = [(column, name) for name in pair_efficiencies() for column in columns]
    head = ["replicates", *(f"{_WRITTEN[name]}, {column}" for column, name in places)]
    rows = [[f"{n:,}", *(f"{row[place]:.3f}" for place in places)] for n, row in wide.iterrows()]
    return markdown_table(head, rows)


STUDIES: dict[str, Study] = {
    "antithetic pairs": antithetic_pairs,
    "k-antithetic points": k_antithetic,
    "points taken as independent": points_as_independent,
    "Sobol' points": sobol_convergence,
    "Latin supercube sampling": latin_supercube,
    "interval of the efficiency": efficiency_interval,
}
"""Studies by title."""


def _points(design: Design, n: int, seed: Seed) -> Array:
    """Return scalar normal noise of n replicates, shape (n, n_points)."""
    return np.asarray(design.draw(_NORMAL, n, seed))[..., 0]


def _half_width(sampled: IntervalInput) -> Floats:
    return np.asarray(make_interval(sampled, 0.95, "student-t", simultaneous=False)[0].half_width)


def _hits(values: Floats, method: Method) -> int:
    """Return how many of the intervals from values (n, runs) hold 0."""
    made, _ = make_interval(sampled_of(values, 0), 0.95, method, simultaneous=False)
    return int(np.sum((made.low <= 0) & (made.high >= 0)))


def _efficiencies(design: Design, n_evaluations: int, seed: int) -> list[Interval]:
    """Return the interval that `compare` gives for the design's efficiency on each wave."""
    table = compare(
        as_generator(lambda z: z, _NORMAL, name="noise"),
        lambda z: np.stack([wave(z[:, 0]) for wave in WAVES], axis=1),
        designs=[MonteCarlo(), design],
        n_evaluations=n_evaluations,
        seed=seed,
        confidence_level=1 - FALSE_ALARM,
        batch_size=_BATCH,
    )
    rows = table.to_frame().tail(len(WAVES))
    return [Interval(low, high) for low, high in zip(rows["efficiency_low"], rows["efficiency_high"], strict=True)]


def _log_variance(means: Floats) -> LogRatio:
    """Return the jackknife of the log variance of replicate means (R,) or (R, k)."""
    table = means.reshape(len(means), -1)
    return log_variance(table, np.zeros_like(table), _ROUNDING)


def _ratio(
    first: LogRatio,
    second: LogRatio,
    scale: float,
    level: float = 1 - FALSE_ALARM,
    stretch: tuple[float, float] = (1.0, 1.0),
) -> Interval:
    """Return the interval of scale x first / second."""
    log = first.minus(second)
    return replace(log, value=log.value + math.log(scale)).exp(level, stretch)[1]


def _product(u: Noise) -> Floats:
    """Return S = prod_j e^{u_j} / (e - 1) of points (..., d)."""
    points = np.asarray(u)
    return np.asarray(np.exp(points.sum(axis=-1)) / math.expm1(1) ** points.shape[-1])


def _smooth(u: Noise) -> Floats:
    """Return the replicate means of `_product`."""
    return np.asarray(_product(u).mean(axis=1))


def _slope(sizes: Sequence[int], logs: Sequence[LogRatio]) -> tuple[float, Interval]:
    """Return the slope of half the log variance against log n, by weighted least squares, and its interval."""
    x = np.log(sizes)
    y = np.array([log.value[0] for log in logs]) / 2
    weights = np.array([4 / log.variance[0] for log in logs])
    x = x - np.average(x, weights=weights)
    information = np.sum(weights * x**2)
    slope, half = float(np.sum(weights * x * y) / information), Z_LIMIT / math.sqrt(information)
    return slope, Interval(slope - half, slope + half)


def _steep(what: str, sizes: Sequence[int], logs: Sequence[LogRatio]) -> Verdict:
    """Judge the slope of log error: the upper end of its interval is at most -1."""
    slope, interval = _slope(sizes, logs)
    return at_most(f"{what}: slope of log error {slope:.3f}, upper end", float(np.max(interval.high)), -1.0)
