"""Studies of runs that stop at a tolerance: coverage at the stop, cost in replicates, and the effect of peeking.

A run is simulated by the same rule that `mcgen.estimate` uses, on replicate means drawn from laws with known mean. The
tolerance is the half-width of the normal interval at n* replicates, 1.96 standard deviations over sqrt(n*). So n* is
the number of replicates of a run that knows the variance. ``python -m mcgen.validation stopping`` writes the page.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator as NumpyGenerator
from numpy.random import SeedSequence, default_rng
from numpy.typing import NDArray
from scipy.special import ndtri

from mcgen._lib.arrays import Floats
from mcgen.inference.interval_input import IntervalInput, student_t_quantile
from mcgen.inference.intervals import make_interval
from mcgen.inference.moments import Moments, ReplicateMeans
from mcgen.inference.rules import Anytime, TwoStage
from mcgen.inference.stopping import Rule
from mcgen.inference.tolerance import Tolerance
from mcgen.validation.studies.replicate_laws import LAWS, Law
from mcgen.validation.studies.sequences import ever_missed, widths
from mcgen.validation.studies.verdicts import Study, Verdict, at_most, control, share
from mcgen.validation.writing.markdown import chosen, fill_page, made_by, markdown_table, require_marks

_Z = float(ndtri(0.975))
# Relative rounding error of float64.
_ROUNDING = 2.0**-52
_MARKS = ("made by", "two stages", "anytime", "asymptotic", "relative", "naive", "peeking", "widths", "in words")
SIZES = (30, 100, 400, 1000)
"""The values of n* on the page."""


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


class WithoutSkewness(TwoStage):
    """Stein's rule for normal replicate means, for controls: its ends do not follow the skewness."""

    def _sampled(self, moments: Moments) -> IntervalInput:
        return replace(super()._sampled(moments), skewness=np.zeros_like(moments.mean))


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
        hits += bool(_covers(rule, moments, law).all())
        counts[run] = moments.count
        widths[run] = (half_width / law.standard_deviation).mean() * math.sqrt(moments.count) / _Z
        beyond = max(beyond, float((half_width / rule.tolerance.wanted(moments.mean)).max()))
    return Stopped(hits, runs, counts.mean() / n_star, widths.mean(), beyond, looks.mean())


def _covers(rule: Rule, moments: Moments, law: Law) -> NDArray[np.bool_]:
    """Return which intervals that a run reports hold the truth; of rules with intervals of their own half-widths do."""
    ended = rule.outcome(moments, _ROUNDING)
    if rule.name == "naive":
        return np.asarray(np.abs(moments.mean - law.mean) <= rule.half_widths(moments))
    if isinstance(rule, WithoutSkewness):
        moments = replace(moments, m3=np.zeros_like(moments.m3))
    sampled = replace(IntervalInput.of(moments, None, 0), first_stage=ended.first_stage, planned=ended.planned)
    method: Any = "two-stage-t" if ended.rule == "two-stage" else ended.rule
    interval, _ = make_interval(sampled, rule.confidence_level, method, rule.simultaneous)
    return np.asarray((interval.low <= law.mean) & (law.mean <= interval.high))


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


def at_a_tolerance(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts on the coverage at the stop, and that no half-width is larger than its tolerance there.

    All laws are promised 0.945, but for the lognormal, whose skewness is 6.2: it is promised 0.93. One control looks at
    Student's interval until it is narrow enough. The other is the rule whose ends do not follow the skewness.
    """
    names = [*LAWS] if full else ["normal", "pairs of exp(w/2)", "lognormal", "Bernoulli 0.1"]
    sizes, runs = ((30, 100, 400), 4000) if full else ((100,), 800)
    found, beyond = [], 0.0
    for name in names:
        law = LAWS[name]()
        nominal = 0.93 if name == "lognormal" else 0.945
        for rule in ("two stages", "relative"):
            for n_star in sizes:
                made = simulated(law, RULES[rule], n_star, runs, seed)
                beyond = max(beyond, made.beyond)
                what = f"{rule} on {name}, n* = {n_star}, cover {nominal}"
                found.append(share(what, made.hits, made.runs, nominal, at_least=True))
    naive = simulated(LAWS["exponential"](), RULES["naive"], 30, runs, seed)
    # Its coverage is near what is promised, so that it takes many runs to tell.
    pairs, many = LAWS["pairs of exp(w/2)"](), 8000
    plain = simulated(pairs, lambda atol, _: WithoutSkewness(Tolerance(atol), 0.95), 100, many, seed)
    return [
        *found,
        *_several(full, seed),
        at_most("half-widths at the stop, over their tolerance", beyond, 1.0),
        control(
            share("looking until narrow on exponential, n* = 30, covers 0.93", naive.hits, runs, 0.93, at_least=True)
        ),
        control(
            share("ends without skewness on pairs of exp(w/2), n* = 100, cover", plain.hits, many, 0.945, at_least=True)
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


STUDIES: dict[str, Study] = {
    "stopping at a tolerance": at_a_tolerance,
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
    parts["peeking"] = _by_name({name: ever_missed(LAWS[name](), runs, seed) for name in names})
    parts["widths"] = _by_name(
        {f"{name}, R = {n:,}": widths(LAWS[name](), n, 400, seed) for name in names for n in (100, 1000, 10_000)}, 2
    )
    parts["in words"] = _in_words(cells)
    print(f"\n{parts['peeking']}\n\n{parts['widths']}\n\n{parts['in words']}", flush=True)
    if len(names) == len(LAWS):
        command = "python -m mcgen.validation stopping"
        parts["made by"] = (
            f"{made_by(command, seed)} A cell of two stages has {runs:,} runs, and one of another rule "
            f"{runs // 4:,}. Standard errors of a coverage of 0.95 are {math.sqrt(0.0475 / runs):.4f} and "
            f"{math.sqrt(0.0475 / (runs // 4)):.4f}. A row of the table of looks has {runs:,} runs."
        )
        fill_page(page, parts)


def _by_name(rows: dict[str, dict[str, float]], digits: int = 3) -> str:
    """Return a table with a row for each name; a cell is empty where an interval is not for the law."""
    heads = list(dict.fromkeys(head for row in rows.values() for head in row))
    cells = [
        [name, *(f"{row[head]:.{digits}f}" if head in row else "" for head in heads)] for name, row in rows.items()
    ]
    return markdown_table(["replicate means", *heads], cells)


def _table(names: list[str], cells: dict[tuple[str, int], Stopped]) -> str:
    rows = [[name, *(_cell(cells[name, n]) for n in SIZES)] for name in names]
    return markdown_table(["replicate means", *(f"n* = {n:,}" for n in SIZES)], rows)


def _cell(made: Stopped) -> str:
    return f"{made.hits / made.runs:.3f}, {made.replicates:.2f}, {made.width:.2f}"


def _in_words(cells: dict[str, dict[tuple[str, int], Stopped]]) -> str:
    rows = []
    for rule, found in cells.items():
        for symmetric, what in ((True, "symmetric"), (False, "other")):
            some = {key: made for key, made in found.items() if LAWS[key[0]]().symmetric == symmetric}
            if some:
                (name, n), worst = min(some.items(), key=lambda item: item[1].hits / item[1].runs)
                rows.append([rule, what, f"{worst.hits / worst.runs:.3f}", f"{name}, n* = {n:,}"])
    return markdown_table(["rule", "replicate means", "least coverage", "where"], rows)
