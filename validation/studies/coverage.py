"""Coverage of intervals, simulated by the package's own loop and intervals.

A study simulates many runs of one problem and counts how many of their intervals hold the truth. Replicates are
independent, so a study is one long run that is cut into runs of consecutive replicates. Thousands of intervals are made
in one pass, as components of one array. `verdicts.acceptance_band` is the rule by which a share of hits is judged.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import Executor
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
from numpy.random import SeedSequence
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen._lib.checks import checked_integer, checked_level, checked_protocol
from mcgen.designs import Design, OrthogonalAntithetic, Sobol, Subspace
from mcgen.designs._base import net_dimension
from mcgen.inference.coverage import Judged
from mcgen.inference.interval_input import LEAST_NET, IntervalInput
from mcgen.inference.intervals import interval_of, methods_of, studentized_ends
from mcgen.inference.methods import IntervalOptions, Method, check_methods
from mcgen.inference.moments import Moments, ReplicateMeans
from mcgen.noise import NoiseSpec
from mcgen.noise.random import Seed, as_seed_sequence
from mcgen.replicates.loop import replicate_means
from mcgen.replicates.tally import joined
from mcgen.replicates.task import Estimand, Facts, Findings
from mcgen.validation.problems import PROBLEMS, Problem
from mcgen.variance_reduction.bases.cosines import dct_basis

DEFAULT = "default"
"""Name in studies of the interval that `mcgen.estimate` chooses."""
# Numbers of noise in a batch: 2 MB in float64, which stay in the cache while the problem works on them.
_BATCH_NUMBERS = 2**18
# Most rows of a batch, for problems in few dimensions.
_LARGEST_BATCH = 2**14
# Runs whose intervals are made together; a bootstrap keeps 1,999 numbers for each, 32 MB in all.
_RUNS = 2000


@dataclass(frozen=True)
class Coverage:
    """The result of a coverage study.

    Attributes
    ----------
    problem, design, interval : str
        Names of the problem, the design and the method.
    n_points, n_replicates : int
        Points of a replicate, and replicates of a run.
    repetitions : int
        How many runs.
    refused : float
        Share of the runs without an interval, because too many of a bootstrap's resamples did not vary. Of the numbers
        below, only `bias` and `silent` count these runs.
    covered : float
        Share of the intervals that hold the truth. Without intervals this and all other numbers on them are NaN.
    low, high : float
        95 % Wilson interval of that share; 0 and 1 if there are no intervals.
    half_width : float
        Mean half-width of the intervals.
    bias, bias_error : float
        Mean of the estimates minus the truth, and its standard error, which includes that of the truth.
    missed_below, missed_above : float
        Shares of the intervals that lie below and above the truth.
    silent : float
        Share of the runs in which `estimate` would raise no warning.
    covered_in_silence : float
        Share of the intervals of those runs that hold the truth; NaN if there are none.
    """

    problem: str
    design: str
    interval: str
    n_points: int
    n_replicates: int
    repetitions: int
    refused: float
    covered: float
    low: float
    high: float
    half_width: float
    bias: float
    bias_error: float
    missed_below: float
    missed_above: float
    silent: float
    covered_in_silence: float

    @property
    def intervals(self) -> int:
        """How many runs got an interval."""
        return round((1 - self.refused) * self.repetitions)

    @property
    def hits(self) -> int:
        """How many intervals hold the truth."""
        return round(self.covered * self.intervals) if self.intervals else 0


@dataclass(frozen=True)
class Replicates:
    """Replicate means of a problem under a design.

    Attributes
    ----------
    problem : Problem
        The problem.
    design : Design
        The design.
    rows : ReplicateMeans
        The replicates, of one component.
    facts : Facts
        Properties of the statistic: its rounding error, and whether it is boolean.
    """

    problem: Problem
    design: Design
    rows: ReplicateMeans
    facts: Facts

    @property
    def means(self) -> Floats:
        """The replicate means, shape (n,)."""
        return self.rows.means[:, 0]

    @property
    def net(self) -> int:
        """Dimension of the net that each replicate is; 0 for other designs."""
        return net_dimension(self.design, self.problem.generator.noise)

    def runs(self, n_replicates: int, repetitions: int) -> ReplicateMeans:
        """Return the first runs: row r of component j is replicate r of run j."""
        n = n_replicates * repetitions
        if n > len(self.rows):
            raise ValueError(f"{repetitions} runs of {n_replicates} take {n} replicates; there are {len(self.rows)}")

        def apart(values: Any) -> Any:
            return None if values is None else values[:n, 0].reshape(repetitions, n_replicates).T

        rows = self.rows
        return ReplicateMeans(
            0, apart(rows.means), apart(rows.within), apart(rows.ones), rows.n_points, apart(rows.third)
        )


def simulate(
    problem: Problem, design: Design, n: int, seed: Seed, *, executor: Executor | None = None, progress: bool = False
) -> Replicates:
    """Return replicates 0, ..., n-1 of a problem by the loop that `estimate` runs.

    Parameters
    ----------
    problem : Problem
        What to simulate.
    design : Design
        How the noise is drawn.
    n : int
        How many replicates.
    seed : int or SeedSequence
        The same seed gives the same replicates, with and without an executor.
    executor : concurrent.futures.Executor, optional
        Simulates parts of the replicates. Executors with processes work for problems of `PROBLEMS`, and for others that
        can be pickled.
    progress : bool
        Show a progress bar.

    Raises
    ------
    TypeError, ValueError
        If the problem has no truth or more than one component, or another argument is not as described.
    """
    from tqdm import tqdm

    _check_problem(problem)
    checked_protocol(design, Design, "design", "pass one such as mcgen.Antithetic()")
    if checked_integer("n", n) < 1:
        raise ValueError(f"n, the number of replicates, must be at least 1; got {n}")
    if executor is not None and not isinstance(executor, Executor):
        raise TypeError(f"executor must be a concurrent.futures.Executor or None; got {executor!r}")

    group = max(1, _rows(problem) // design.n_points)
    length = group * max(1, math.ceil(n / group / 64))
    parts = [range(start, min(start + length, n)) for start in range(0, n, length)]
    known = problem.name if PROBLEMS.get(problem.name) is problem else problem
    arguments = ([known] * len(parts), [design] * len(parts), parts, [as_seed_sequence(seed)] * len(parts))
    found = (map if executor is None else executor.map)(_simulated_part, *arguments)
    label = f"{problem.name}, {design}"
    done = [*tqdm(found, total=len(parts), desc=label, disable=not progress, leave=False)]
    facts = [one for _, one in done]
    rounding = max(one.rounding for one in facts)
    return Replicates(problem, design, joined([rows for rows, _ in done]), replace(facts[0], rounding=rounding))


def _simulated_part(
    problem: Problem | str, design: Design, replicates: range, seed: SeedSequence
) -> tuple[ReplicateMeans, Facts]:
    problem = PROBLEMS[problem] if isinstance(problem, str) else problem
    task = Estimand(problem.generator, problem.statistic, seed).task(design, _rows(problem))
    findings = Findings(task)
    rows = joined([*replicate_means(task, replicates, findings)])
    if rows.means.shape[1] != 1:
        raise ValueError(
            f"the statistic of a problem gives one number a sample; that of {problem.name!r} gives "
            f"{rows.means.shape[1]}. Study each component as a problem of its own"
        )
    return rows, replace(findings.facts, changes={})


def _rows(problem: Problem) -> int:
    return min(_LARGEST_BATCH, max(64, _BATCH_NUMBERS // problem.generator.noise.dimension))


def coverage_study(
    problem: Problem,
    design: Design,
    interval: Method | None,
    *,
    n_replicates: int,
    repetitions: int,
    seed: Seed,
    confidence_level: float = 0.95,
    executor: Executor | None = None,
    progress: bool = False,
) -> Coverage:
    """Return how often intervals cover: the share of simulated runs whose interval holds the known truth.

    Use it to choose a method and a number of replicates for problems like yours. `repetitions` runs of `n_replicates`
    replicates are simulated.

    Parameters
    ----------
    problem : Problem
        A problem with known truth.
    design : Design
        How the noise is drawn.
    interval : {"student-t", "normal", "skewness-safe-t", "skewness-adjusted-t", "bootstrap-t", "proportion"}, or None
        The method; None for the one that `mcgen.estimate` chooses, which the study calls "default". Up to 2,000 runs
        share the indices that a bootstrap resamples, so the error of its coverage is a little larger than binomial.
    n_replicates, repetitions : int
        Replicates of a run, and number of runs.
    seed : int or SeedSequence
        The same seed gives the same numbers.
    confidence_level : float
        Nominal level of the intervals.
    executor, progress
        See `simulate`.

    Raises
    ------
    TypeError, ValueError
        If there are fewer than 2 replicates or repetitions.

    Examples
    --------
    >>> from mcgen import Antithetic
    >>> from mcgen.validation import PROBLEMS, coverage_study
    >>> options = dict(n_replicates=5, repetitions=2000, seed=0)
    >>> study = coverage_study(PROBLEMS["normal-pairs"], Antithetic(), "student-t", **options)
    >>> study.low < 0.95 < study.high
    True
    """
    _check_study(interval, n_replicates, repetitions, confidence_level)
    replicates = simulate(problem, design, n_replicates * repetitions, seed, executor=executor, progress=progress)
    return studied(replicates, interval, n_replicates, repetitions, seed, confidence_level)


def studied(
    replicates: Replicates,
    interval: Method | None,
    n_replicates: int,
    repetitions: int,
    seed: Seed,
    confidence_level: float = 0.95,
) -> Coverage:
    """Return the coverage of an interval in the first runs of simulated replicates; see `coverage_study`."""
    from scipy.stats import binomtest

    _check_study(interval, n_replicates, repetitions, confidence_level)
    runs = replicates.runs(n_replicates, repetitions)
    problem, design = replicates.problem, replicates.design
    judged = _Judged.joined(
        [
            _Judged.of(_some(runs, columns), replicates, interval, confidence_level, number)
            for number, columns in zip(_seeds(seed, repetitions), _pieces(repetitions), strict=True)
        ]
    )
    given = judged.given
    hit = given & ~(judged.below | judged.above)
    low, high = (
        binomtest(int(hit.sum()), int(given.sum())).proportion_ci(method="wilson") if given.any() else (0.0, 1.0)
    )
    estimates = runs.means.mean(axis=0)
    return Coverage(
        problem=problem.name,
        design=str(design),
        interval=interval or DEFAULT,
        n_points=design.n_points,
        n_replicates=n_replicates,
        repetitions=repetitions,
        refused=float(1 - given.mean()),
        covered=_share(hit, given),
        low=float(low),
        high=float(high),
        half_width=_share(judged.half_widths, given),
        bias=float(estimates.mean() - problem.truth),
        bias_error=math.hypot(float(estimates.std(ddof=1)) / math.sqrt(repetitions), problem.truth_error),
        missed_below=_share(judged.below, given),
        missed_above=_share(judged.above, given),
        silent=float(judged.silent.mean()),
        covered_in_silence=_share(hit, given & judged.silent),
    )


def _check_problem(problem: Problem) -> None:
    if not isinstance(problem, Problem):
        raise TypeError(
            f"problem must be an mcgen.validation.Problem; got {problem!r}. Take one of PROBLEMS, or make one of your "
            "generator, statistic and truth"
        )
    if not (math.isfinite(problem.truth) and 0 <= problem.truth_error < math.inf):
        raise ValueError(
            f"a problem's truth must be finite, and its error finite and at least 0; {problem.name!r} has "
            f"{problem.truth} and {problem.truth_error}"
        )


def _check_study(interval: Method | None, n_replicates: int, repetitions: int, confidence_level: float) -> None:
    for name, value in (("n_replicates", n_replicates), ("repetitions", repetitions)):
        if checked_integer(name, value) < 2:
            raise ValueError(f"{name} must be at least 2; got {value}")
    checked_level(confidence_level)
    check_methods(interval, simultaneous=False)


def _share(values: NDArray[Any], chosen: NDArray[np.bool_]) -> float:
    return float(values[chosen].mean()) if chosen.any() else math.nan


@dataclass(frozen=True)
class _Judged:
    """For each run: whether it has an interval, whether this lies below or above the truth, and whether none warned."""

    given: NDArray[np.bool_]
    below: NDArray[np.bool_]
    above: NDArray[np.bool_]
    silent: NDArray[np.bool_]
    half_widths: Floats

    @classmethod
    def of(
        cls, runs: ReplicateMeans, replicates: Replicates, method: Method | None, level: float, seed: Seed
    ) -> _Judged:
        """Return the outcomes of runs, whose replicates are the rows; a run a column."""
        moments, boolean, n_points = Moments.of(runs), replicates.facts.boolean, runs.n_points
        every = boolean * len(moments.mean)
        sampled = IntervalInput.of(moments, runs.means, seed, n_points=n_points, boolean=every, net=replicates.net)
        options = IntervalOptions(level, method)
        low, high = ends_of_runs(sampled, options)
        given = np.isfinite(low) & np.isfinite(high)
        truth, rounding = replicates.problem.truth, replicates.facts.rounding
        # An interval without width, of a design that integrates exactly, may miss the truth by rounding.
        slack = 16 * rounding * math.sqrt(float(np.mean(runs.means**2 + runs.within)) + truth**2)
        is_net = replicates.net > 0 and n_points >= LEAST_NET
        doubts = Judged.of(moments, rounding, methods_of(sampled, options), sampled.student_holds, is_net)
        below, above = given & (high < truth - slack), given & (low > truth + slack)
        return cls(given, below, above, ~doubts.warned, np.where(given, high - low, 0.0) / 2)

    @classmethod
    def joined(cls, parts: list[_Judged]) -> _Judged:
        """Return the parts as one."""
        return cls(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(cls)))


def sampled_of(means: Floats, seed: Seed) -> IntervalInput:
    """Return what intervals are made from, of replicate means (R, k) with nothing known of their points."""
    return IntervalInput.of(Moments.of(ReplicateMeans(0, means, np.zeros_like(means), None, 1)), means, seed)


def fitted_designs(noise: NoiseSpec) -> tuple[Design, ...]:
    """Return two designs that depend on the noise: orthogonal frames, and Sobol' points on up to four cosines."""
    fewest = min(block.size for _, block in noise.blocks if not block.iid)
    r = min(4, fewest)
    return OrthogonalAntithetic(2 * r), Subspace(dct_basis(noise, r), Sobol(16))


def ends_of_runs(sampled: IntervalInput, options: IntervalOptions) -> tuple[Floats, Floats]:
    """Return the ends of the interval of each run, infinite where there is none; a run is a component."""
    if options.method in (None, "proportion"):
        interval, _, _ = interval_of(sampled, options)
        return np.asarray(interval.low), np.asarray(interval.high)
    with np.errstate(invalid="ignore"):
        low, high = (
            sampled.mean + end * sampled.standard_error
            for end in studentized_ends(sampled, options.confidence_level, options.method)
        )
    return low, high


def _some(runs: ReplicateMeans, columns: slice) -> ReplicateMeans:
    """Return some of the runs, which are columns."""

    def pick(values: Any) -> Any:
        return None if values is None else values[:, columns]

    ones, third = pick(runs.ones), pick(runs.third)
    return ReplicateMeans(0, pick(runs.means), pick(runs.within), ones, runs.n_points, third)


def _pieces(repetitions: int) -> list[slice]:
    return [slice(start, min(start + _RUNS, repetitions)) for start in range(0, repetitions, _RUNS)]


def _seeds(seed: Seed, repetitions: int) -> Iterator[SeedSequence]:
    root = as_seed_sequence(seed)
    for number in range(len(_pieces(repetitions))):
        yield SeedSequence(root.entropy, spawn_key=(*root.spawn_key, number), pool_size=root.pool_size)
