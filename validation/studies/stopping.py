"""Studies of runs that stop at a tolerance: coverage at the stop, cost in replicates, and the effect of peeking.

A run is simulated by the same rule that `mcgen.estimate` uses, on replicate means drawn from laws with known mean. The
tolerance is the half-width of the normal interval at n* replicates, 1.96 standard deviations over sqrt(n*). So n* is
the number of replicates of a run that knows the variance. ``python -m mcgen.validation stopping`` writes the page.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import numpy as np
from numpy.random import Generator as NumpyGenerator
from numpy.random import SeedSequence, default_rng
from scipy.special import ndtri

from mcgen._lib.arrays import Floats
from mcgen.designs import Antithetic, Design, Sobol
from mcgen.inference.interval_input import student_t_quantile
from mcgen.inference.moments import Moments, ReplicateMeans
from mcgen.inference.sequences import asymptotic_half_width, mixture_t_half_width
from mcgen.inference.rules import PLANNED, Anytime, TwoStage
from mcgen.inference.stopping import Rule
from mcgen.inference.tolerance import Tolerance
from mcgen.validation.problems import PROBLEMS
from mcgen.validation.studies.coverage import simulate
from mcgen.validation.studies.verdicts import Study, Verdict, at_most, control, inside, share
from mcgen.validation.writing.markdown import chosen, fill_page, made_by, markdown_table, require_marks

_Z = float(ndtri(0.975))
# Relative rounding error of float64.
_ROUNDING = 2.0**-52
_MARKS = ("made by", "two stages", "anytime", "asymptotic", "relative", "naive", "peeking", "in words")
# Replicate means of a sampler that are simulated once; runs draw from them with replacement.
_POOL = 2**15
SIZES = (30, 100, 400, 1000, 10_000)
"""The values of n* on the page."""


@dataclass(frozen=True)
class Law:
    """A law of replicate means.

    Attributes
    ----------
    draw : callable from a random generator and n to ndarray of shape (n, k)
        Draws n replicate means.
    mean, standard_deviation : ndarray of shape (k,)
        Mean and standard deviation of the law.
    symmetric : bool
        Whether the law is symmetric, exactly or nearly.
    indicator : bool
        Whether the values are 0 and 1.
    """

    draw: Callable[[NumpyGenerator, int], Floats]
    mean: Floats
    standard_deviation: Floats
    symmetric: bool = False
    indicator: bool = False


def _one(
    draw: Callable[[NumpyGenerator, int], Floats], mean: float, sd: float, symmetric: bool = False, events: bool = False
) -> Law:
    return Law(lambda rng, n: draw(rng, n)[:, None], np.array([mean]), np.array([sd]), symmetric, events)


@cache
def _pool(problem: str, design: Design) -> Law:
    """Return the uniform law on simulated replicate means of a problem under a design."""
    means = simulate(PROBLEMS[problem], design, _POOL, 0).means
    return _one(
        lambda rng, n: means[rng.integers(0, _POOL, n)], float(means.mean()), float(means.std()), symmetric=True
    )


def _bernoulli(p: float) -> Law:
    return _one(lambda rng, n: (rng.random(n) < p).astype(np.float64), p, math.sqrt(p * (1 - p)), events=True)


_SKEWED_VARIANCE = math.e * (math.e - 1)
LAWS: dict[str, Callable[[], Law]] = {
    "normal": lambda: _one(lambda rng, n: 1 + rng.standard_normal(n), 1.0, 1.0, True),
    "pairs of a diffusion": lambda: _pool("mixture-64-contrast", Antithetic()),
    "Sobol' nets of a diffusion": lambda: _pool("mixture-64-contrast", Sobol(16)),
    "mean chi-squared of 3": lambda: _one(lambda rng, n: rng.standard_gamma(1.5, n) / 1.5, 1.0, math.sqrt(1 / 1.5)),
    "exponential": lambda: _one(lambda rng, n: rng.standard_exponential(n), 1.0, 1.0),
    "lognormal": lambda: _one(
        lambda rng, n: np.exp(rng.standard_normal(n)), math.exp(0.5), math.sqrt(_SKEWED_VARIANCE)
    ),
    "Bernoulli 0.1": lambda: _bernoulli(0.1),
    "Bernoulli 0.02": lambda: _bernoulli(0.02),
}

RuleOf = Callable[[float, Law], Rule]
"""Makes the rule of a run from its absolute tolerance and the law."""


class Naive(Rule):
    """A wrong rule, for controls: it looks at Student's interval from 5 replicates on, without any guard."""

    name = "naive"

    def __init__(self, tolerance: Tolerance) -> None:
        super().__init__(tolerance, 0.95)
        self._target = 5

    def half_widths(self, moments: Moments) -> Floats:
        """Return the half-widths of Student's interval."""
        return student_t_quantile(0.975, moments.count - 1.0) * moments.standard_error

    def next_target(self, moments: Moments, rounding: float) -> int | None:
        """Return 10 % more replicates, and at least one more, until the half-width is small enough."""
        assert self.tolerance.atol is not None
        wide = bool((self.half_widths(moments) > self.tolerance.atol).any())
        return moments.count + max(1, moments.count // 10) if wide else None

    def _wanted_count(self, at: object, moments: Moments) -> float:
        raise NotImplementedError


def _relative(atol: float, law: Law) -> Rule:
    return TwoStage(Tolerance(rtol=atol / abs(float(law.mean[0]))), 0.95)


RULES: dict[str, RuleOf] = {
    "two stages": lambda atol, _: TwoStage(Tolerance(atol), 0.95),
    "anytime": lambda atol, _: Anytime(Tolerance(atol), 0.95),
    "asymptotic": lambda atol, _: Anytime(Tolerance(atol), 0.95, kind="asymptotic-anytime"),
    "relative": _relative,
    "naive": lambda atol, _: Naive(Tolerance(atol)),
}


@dataclass(frozen=True)
class Stopped:
    """The outcome of simulated runs that stopped.

    Attributes
    ----------
    hits, runs : int
        How many runs have all truths in their intervals, and how many runs there are.
    replicates : float
        Mean number of replicates, divided by n*.
    width : float
        Mean half-width, divided by that of the normal interval of as many replicates with the true variance.
    beyond : float
        The largest half-width, divided by its tolerance.
    looks : float
        Mean number of looks at the interval.
    """

    hits: int
    runs: int
    replicates: float
    width: float
    beyond: float
    looks: float


def simulated(law: Law, rule_of: RuleOf, n_star: float, runs: int, seed: int) -> Stopped:
    """Return the outcome of runs of a rule, whose tolerance is that of n* replicates of the widest component."""
    atol = _Z * float(law.standard_deviation.max()) / math.sqrt(n_star)
    rng = default_rng(SeedSequence(seed, spawn_key=(round(n_star),)))
    hits, beyond = 0, 0.0
    counts, widths, looks = np.zeros(runs), np.zeros(runs), np.zeros(runs)
    for run in range(runs):
        rule = rule_of(atol, law)
        moments, looks[run] = _run(law, rule, rng)
        half_width = rule.half_widths(moments)
        hits += bool((np.abs(moments.mean - law.mean) <= half_width).all())
        counts[run] = moments.count
        widths[run] = (half_width / law.standard_deviation).mean() * math.sqrt(moments.count) / _Z
        beyond = max(beyond, float((half_width / rule.tolerance.wanted(moments.mean)).max()))
    return Stopped(hits, runs, counts.mean() / n_star, widths.mean(), beyond, looks.mean())


def _run(law: Law, rule: Rule, rng: NumpyGenerator) -> tuple[Moments, int]:
    """Return the moments at which a rule stops, and the number of its looks."""
    target: int | None = rule.first_target()
    moments, looks = None, 0
    while target is not None:
        fresh = law.draw(rng, target if moments is None else target - moments.count)
        ones = fresh.astype(np.int64) if law.indicator else None
        found = Moments.of(ReplicateMeans(0, fresh, np.zeros_like(fresh), ones, 1))
        moments = found if moments is None else moments.merge(found)
        target, looks = rule.next_target(moments, _ROUNDING), looks + 1
    assert moments is not None
    return moments, looks


def ever_missed(law: Law, runs: int, seed: int, first: int = 10, last: int = 2000) -> dict[str, float]:
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
    """
    n, rng = np.arange(1.0, last + 1), default_rng(seed)
    doubling = np.isin(n, first * 2 ** np.arange(math.floor(math.log2(last / first)) + 1))
    late = n >= first
    limits: dict[str, tuple[Floats, np.ndarray]] = {
        "Student t, every look": (student_t_quantile(0.975, np.maximum(n - 1.0, 1)), late),
        "Student t, doubling": (student_t_quantile(0.975, np.maximum(n - 1.0, 1)), doubling),
        "anytime": (mixture_t_half_width(np.maximum(n, 2), PLANNED, 0.95), late),
        "asymptotic-anytime": (asymptotic_half_width(n, PLANNED, 0.95), late),
    }
    missed = dict.fromkeys(limits, 0)
    for start in range(0, runs, 500):
        off = law.draw(rng, last * min(500, runs - start)).reshape(-1, last) - law.mean[0]
        mean = off.cumsum(axis=1) / n
        variance = ((off**2).cumsum(axis=1) - n * mean**2) / np.maximum(n - 1, 1)
        with np.errstate(divide="ignore", invalid="ignore"):
            t = np.abs(mean) * np.sqrt(n) / np.sqrt(np.maximum(variance, 0))
        for name, (limit, looks) in limits.items():
            missed[name] += int((t > limit)[:, looks].any(axis=1).sum())
    return {name: count / runs for name, count in missed.items()}


def at_a_tolerance(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts on the coverage at the stop, and that no half-width is larger than its tolerance there.

    Symmetric laws are promised 0.945, and others, which the guards let run longer, 0.92. The control looks at Student's
    interval until it is narrow enough.
    """
    names = [*LAWS] if full else ["normal", "exponential", "lognormal", "Bernoulli 0.1"]
    sizes, runs = ((30, 100, 400), 4000) if full else ((100,), 800)
    found, beyond = [], 0.0
    for name in names:
        law = LAWS[name]()
        nominal = 0.945 if law.symmetric else 0.92
        for rule in ("two stages", "relative"):
            for n_star in sizes:
                made = simulated(law, RULES[rule], n_star, runs, seed)
                beyond = max(beyond, made.beyond)
                what = f"{rule} on {name}, n* = {n_star}, cover {nominal}"
                found.append(share(what, made.hits, made.runs, nominal, at_least=True))
    naive = simulated(LAWS["exponential"](), RULES["naive"], 30, runs, seed)
    return [
        *found,
        *_several(full, seed),
        at_most("half-widths at the stop, over their tolerance", beyond, 1.0),
        control(
            share("looking until narrow on exponential, n* = 30, covers 0.92", naive.hits, runs, 0.92, at_least=True)
        ),
    ]


def _several(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts on simultaneous intervals of four correlated components, one skewed; the control is pointwise."""
    mixing = np.array([[1, 0, 0, 0], [0.5, 1, 0, 0], [0, 0.5, 0.5, 0], [0, 0, 0, 0.4]])

    def draw(rng: NumpyGenerator, n: int) -> Floats:
        x = rng.standard_normal((n, 4))
        x[:, 3] = rng.standard_exponential(n) - 1
        return np.asarray(x @ mixing.T)

    law, runs = Law(draw, np.zeros(4), np.sqrt((mixing**2).sum(axis=1))), 4000 if full else 800
    together = simulated(law, lambda atol, _: TwoStage(Tolerance(atol), 0.95, True), 100, runs, seed)
    alone = simulated(law, RULES["two stages"], 100, runs, seed)
    return [
        share("simultaneous two stages cover all of 4 components", together.hits, runs, at_least=True),
        control(share("pointwise two stages cover all of 4 components", alone.hits, runs, at_least=True)),
    ]


def sequences(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts that confidence sequences hold the truth at all looks together, and at the stop.

    The promise of "anytime" is exact for normal replicate means. The control is Student's t at numbers of replicates
    that double.
    """
    runs = 20_000 if full else 1500
    normal = LAWS["normal"]()
    missed = ever_missed(normal, runs, seed)
    found = [
        share(
            f"{name} holds the truth at all looks from 10 to 2,000",
            round(runs * (1 - missed[name])),
            runs,
            at_least=True,
        )
        for name in ("anytime", "asymptotic-anytime", "Student t, doubling")
    ]
    early = ever_missed(normal, runs, seed, first=2, last=64)["anytime"]
    found.insert(0, share("anytime holds it at all looks from 2 to 64", round(runs * (1 - early)), runs, at_least=True))
    found[-1] = control(found[-1])
    names = [*LAWS] if full else ["normal", "lognormal"]
    for name in names:
        for kind in ("anytime", "asymptotic"):
            made = simulated(LAWS[name](), RULES[kind], 100, 2000 if full else 400, seed)
            found.append(share(f"{kind} on {name}, n* = 100, covers 0.95", made.hits, made.runs, at_least=True))
    planned = np.array([PLANNED / 4, PLANNED / 2, PLANNED, 2 * PLANNED, 4 * PLANNED])
    widths = [float(asymptotic_half_width(PLANNED, n, 0.95)) for n in planned]
    return [*found, inside("the plan that is narrowest at 256", planned[int(np.argmin(widths))], PLANNED, PLANNED)]


STUDIES: dict[str, Study] = {
    "stopping at a tolerance": at_a_tolerance,
    "confidence sequences": sequences,
}


def write_page(folder: Path, only: str = "", seed: int = 0, runs: int = 4000) -> None:
    """Measure coverage and cost of all rules, and write the page ``validation/stopping.md``.

    Parameters
    ----------
    folder : path
        Folder of the documentation.
    only : str
        Part of the names of the laws to measure. If it leaves some out, the tables are printed, and the page is left as
        it was.
    seed : int
        Seed of all runs.
    runs : int
        Runs in each cell of two stages; other rules get a quarter of them.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no page with its marks, or no law of such a name.
    """
    page = folder / "validation" / "stopping.md"
    require_marks(page, _MARKS)
    names = chosen(LAWS, only, "law")
    parts = {}
    cells: dict[str, dict[tuple[str, int], Stopped]] = {}
    for rule in RULES:
        each = runs if rule == "two stages" else max(1, runs // 4)
        cells[rule] = {(name, n): simulated(LAWS[name](), RULES[rule], n, each, seed) for name in names for n in SIZES}
        parts[rule] = _table(names, cells[rule])
        print(f"\n{rule}, {each:,} runs a cell\n{parts[rule]}", flush=True)
    missed = {name: ever_missed(LAWS[name](), runs, seed) for name in names if not LAWS[name]().indicator}
    heads = [*next(iter(missed.values()))] if missed else []
    rows = [[name, *(f"{row[head]:.3f}" for head in heads)] for name, row in missed.items()]
    parts["peeking"] = markdown_table(["replicate means", *heads], rows)
    parts["in words"] = _in_words(cells)
    print(f"\n{parts['peeking']}\n\n{parts['in words']}", flush=True)
    if len(names) == len(LAWS):
        command = "python -m mcgen.validation stopping"
        parts["made by"] = (
            f"{made_by(command, seed)} Each cell of two stages is {runs:,} runs, of the other rules {runs // 4:,}; "
            f"standard errors of a coverage of 0.95 are {math.sqrt(0.0475 / runs):.4f} and "
            f"{math.sqrt(0.0475 / (runs // 4)):.4f}. Peeking is {runs:,} runs a row."
        )
        fill_page(page, parts)


def _table(names: list[str], cells: dict[tuple[str, int], Stopped]) -> str:
    rows = [[name, *(_cell(cells[name, n]) for n in SIZES)] for name in names]
    return markdown_table(["replicate means", *(f"n* = {n:,}" for n in SIZES)], rows)


def _cell(made: Stopped) -> str:
    return f"{made.hits / made.runs:.3f}, {made.replicates:.2f}, {made.width:.2f}"


def _in_words(cells: dict[str, dict[tuple[str, int], Stopped]]) -> str:
    told = []
    for rule, found in cells.items():
        for symmetric, what in ((True, "symmetric"), (False, "other")):
            some = {key: made for key, made in found.items() if LAWS[key[0]]().symmetric == symmetric}
            if not some:
                continue
            (name, n), worst = min(some.items(), key=lambda item: item[1].hits / item[1].runs)
            told.append(
                f"- {rule}, {what} replicate means: least coverage {worst.hits / worst.runs:.3f} ({name}, n* = {n:,})."
            )
    return "\n".join(told)
