"""All studies of the package's promises, as ``mcgen validate`` runs and prints them: `validate`.

The short form takes several minutes. The full form (``mcgen validate --full``) has more cells of the same studies. If
the measured quantity has a known or nearly normal law, a rule rejects a true promise with a probability of about three
in a million. For means of skewed values the probability is larger. Every study has a negative control: something broken
that its rule must reject.
"""

from __future__ import annotations

import math
import shlex
import time
import traceback
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np

import mcgen
from mcgen._lib.arrays import Floats
from mcgen.cli import STATISTICS, statistic_named
from mcgen.designs import Antithetic, Design, KAntithetic, LatinHypercube, MonteCarlo, Sobol
from mcgen.noise import Array, Block, Noise, NoiseSpec, change_noise
from mcgen.noise.random import as_seed_sequence
from mcgen.replicates.loop import replicate_means
from mcgen.replicates.task import Estimand
from mcgen.validation.conformance import Report, check_design, check_generator, check_statistic
from mcgen.validation.problems import PROBLEMS
from mcgen.validation.studies import (
    antithetic_theory,
    closed_forms,
    differences,
    diffusion_theory,
    distances,
    efficiency_formulas,
    functionals,
    intervals,
    kernel_distances,
    monotone_samplers,
    path_functionals,
    population,
    proportions,
    quantiles,
    sequences,
    stopping,
    variance_shares,
)
from mcgen.validation.studies.coverage import Replicates, fitted_designs, simulate
from mcgen.validation.studies.verdicts import Study, Verdict, at_most, control, mean
from mcgen.validation.writing.markdown import chosen, fill_page, made_by, markdown_table, require_marks

# Points of a simulation, and fewest replicates: enough for their mean to be nearly normal.
_POINTS, _FEWEST_REPLICATES = 40_000, 4_000
_DESIGNS: tuple[Design, ...] = (
    MonteCarlo(),
    Antithetic(),
    KAntithetic(2),
    KAntithetic(8),
    Sobol(16),
    Sobol(64),
    LatinHypercube(10),
)
# Blocks of equal size; the first has the name of a single block, so that a design made for it alone draws it here too.
_BLOCKS = NoiseSpec(
    (
        ("noise", Block((2, 2))),
        ("levels", Block((2, 2), "uniform")),
        ("hidden", Block((2, 2), "uniform", iid=True)),
    )
)
_MARKS = ("made by", "promises")


def unbiased(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts that the mean of every problem under every design equals its truth."""
    names = [name for name in PROBLEMS if full or name in ("normal-pairs", "exponential", "square", "affine-mean")]
    verdicts = []
    for name in names:
        for design in (*_DESIGNS, *fitted_designs(PROBLEMS[name].generator.noise)):
            n = max(_FEWEST_REPLICATES, _POINTS // design.n_points)
            found = simulate(PROBLEMS[name], design, n, seed)
            verdicts.append(_unbiased(found, f"E of {name} under {design}", found.problem.truth))
    # Pairs integrate "affine-mean" exactly, so that both rules of `_unbiased` have a control.
    for name in ("exponential", "affine-mean"):
        found = simulate(PROBLEMS[name], Antithetic(), _POINTS // 2, seed)
        verdicts.append(control(_unbiased(found, f"E of {name}, a truth 2 % off", 1.02 * found.problem.truth)))
    return verdicts


def _unbiased(found: Replicates, promise: str, truth: float) -> Verdict:
    rounding = 16 * found.facts.rounding * float(abs(found.means).max())
    if found.means.std() <= rounding:
        return at_most(f"{promise}, integrated exactly", float(abs(found.means.mean() - truth)), rounding)
    return mean(promise, found.means, truth, found.problem.truth_error)


def laws(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts on the laws of all designs, statistics and generators, by the checks that users have."""
    reports = [check_design(design, seed=seed) for design in _DESIGNS]
    reports += [check_design(design, noise=_BLOCKS, seed=seed) for design in fitted_designs(NoiseSpec.normal((2, 2)))]
    reports += [check_statistic(statistic_named(name)) for name in STATISTICS]
    names = [name for name in PROBLEMS if full or name in ("normal-pairs", "linear")]
    reports += [check_generator(PROBLEMS[name].generator, seed=seed) for name in names]
    centred = mcgen.as_generator(_less_batch_mean, noise=(4,), name="batch normalization")
    broken = (
        replace(check_design(_Truncated(), seed=seed), name="noise cut off at 2"),
        replace(check_statistic(_less_batch_mean), name="a statistic of the batch"),
        check_generator(centred, seed=seed),
    )
    return [*map(_lawful, reports), *(control(_lawful(report)) for report in broken)]


class _Truncated(Antithetic):
    """A broken design, for the control: the truncation trick at two standard deviations."""

    def draw(self, *arguments: Any, **options: Any) -> Noise:
        return change_noise(super().draw(*arguments, **options), lambda block: np.clip(block, -2, 2))


def _less_batch_mean(rows: Array) -> Array:
    """Return rows less their batch's mean: a broken generator or statistic, whose rows depend on each other."""
    centred: Array = rows - rows.mean(axis=0)
    return centred


def _lawful(report: Report) -> Verdict:
    failed = [check for check in report.checks if not check.passed]
    # A law that was not judged, or whose gap is NaN, was not rejected.
    rejected = sum(check.gap > check.limit for check in report.failures)
    n = len(report.checks)
    return Verdict(
        f"the laws of {report.name}",
        f"all {n} hold",
        f"not: {', '.join(check.law for check in failed)}" if failed else f"{n} hold",
        not failed,
        math.nan if failed and not rejected else rejected,
    )


def same_bits(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts that replicates have the same bits in whatever ranges they are run."""

    def means(design: Design, ranges: list[range], seed: int = seed) -> Floats:
        task = Estimand(problem.generator, problem.statistic, as_seed_sequence(seed)).task(design, 64)
        rows = sorted((rows for part in ranges for rows in replicate_means(task, part)), key=lambda rows: rows.start)
        return np.concatenate([part.means[:, 0] for part in rows])

    problem, ranges = PROBLEMS["normal-pairs"], [range(257, 600), range(100, 257), range(100)]
    verdicts = [
        at_most(
            f"replicates of {design} differ when run in parts by",
            _gap(means(design, [range(600)]), means(design, ranges)),
            0,
        )
        for design in (*_DESIGNS, *fitted_designs(problem.generator.noise))
    ]
    other = means(MonteCarlo(), ranges, seed + 1)
    return [
        *verdicts,
        control(at_most("replicates of another seed differ by", _gap(means(MonteCarlo(), ranges), other), 0)),
    ]


def _gap(a: Floats, b: Floats) -> float:
    return float(np.abs(a - b).max())


STUDIES: dict[str, Study] = {
    "laws of designs, statistics and generators": laws,
    "the same bits": same_bits,
    "unbiased": unbiased,
    **intervals.STUDIES,
    **differences.STUDIES,
    **population.STUDIES,
    **proportions.STUDIES,
    **functionals.STUDIES,
    **quantiles.STUDIES,
    **distances.STUDIES,
    **kernel_distances.STUDIES,
    **stopping.STUDIES,
    **sequences.STUDIES,
    **efficiency_formulas.STUDIES,
    **antithetic_theory.STUDIES,
    **diffusion_theory.STUDIES,
    **monotone_samplers.STUDIES,
    **closed_forms.STUDIES,
    **variance_shares.STUDIES,
    **path_functionals.STUDIES,
}


def validate(full: bool = False, only: str = "", seed: int = 0, page: Path | str | None = None) -> bool:
    """Run the studies of the package's promises, print the verdicts, and return whether all promises hold.

    Use it to check an installation. The short form takes several minutes. A study that raises an exception, or has no
    negative control, counts as a promise that fails. The others still run.

    Parameters
    ----------
    full : bool
        Whether to run the full form instead of the short one.
    only : str
        Part of the titles of the studies to run, whatever the case of its letters.
    seed : int
        Seed of all studies.
    page : path, optional
        A Markdown page with the marks ``<!-- made by -->`` and ``<!-- promises -->``, to write the table into. It is
        left as it was if the studies are interrupted.

    Raises
    ------
    TypeError, ValueError, OSError
        If no study has such a title, or the seed or the page can't be used; nothing has been run then.
    KeyboardInterrupt
        If the studies are interrupted; the finished ones are summarized first, and the message has their number.

    Examples
    --------
    >>> from mcgen.validation import validate
    >>> validate(only="the same bits")
    the same bits (... s)
      holds  replicates of MonteCarlo() differ when run in parts by: ...; wanted at most 0
      ...
    ... promises hold
    True
    """
    as_seed_sequence(seed)
    titles = chosen(STUDIES, only, "study")
    if page is not None:
        require_marks(Path(page), _MARKS)
    judged: dict[str, list[Verdict]] = {}
    try:
        for title in titles:
            judged[title] = _run(title, full, seed)
    except KeyboardInterrupt:
        raise KeyboardInterrupt(f"after {len(judged)} of {len(titles)} studies") from None
    finally:
        failed = _summarized([verdict for verdicts in judged.values() for verdict in verdicts])
    if page is not None:
        options = [*(["--full"] if full else []), *(["--only", only] if only else []), "--seed", str(seed)]
        command = shlex.join(["mcgen", "validate", *options])
        rows = [
            [title, v.promise, v.measured, v.rule, _word(v)] for title, verdicts in judged.items() for v in verdicts
        ]
        head = ["study", "promise", "measured", "rule", "verdict"]
        made = made_by(command, seed), markdown_table(head, rows)
        fill_page(Path(page), dict(zip(_MARKS, made, strict=True)))
    return not failed


def _run(title: str, full: bool, seed: int) -> list[Verdict]:
    """Return and print the verdicts of a study; one fails if the study raises or has no negative control."""
    start = time.perf_counter()
    try:
        verdicts = STUDIES[title](full, seed)
        if not any(verdict.is_control for verdict in verdicts):
            verdicts = [*verdicts, Verdict(f"{title!r} has a negative control", "at least one", "none", False, 0.0)]
    except Exception as error:
        traceback.print_exception(error)
        text = " ".join(f"raised {type(error).__name__}: {error}".split())
        verdicts = [Verdict(f"{title!r} comes to its end", "nothing is raised", text, False, math.nan)]
    print(f"\n{title} ({time.perf_counter() - start:.1f} s)", flush=True)
    for verdict in verdicts:
        print(f"  {_word(verdict)}  {verdict.promise}: {verdict.measured}; wanted {verdict.rule}", flush=True)
    return verdicts


def _summarized(verdicts: list[Verdict]) -> list[Verdict]:
    """Print how many promises hold and which do not, and return the latter."""
    failed = [verdict for verdict in verdicts if not verdict.holds]
    told = [f"\n{len(verdicts) - len(failed)} of {len(verdicts)} promises hold"]
    print("\n".join([*told, *(f"FAILS {verdict.promise}" for verdict in failed)]), flush=True)
    return failed


def _word(verdict: Verdict) -> str:
    return "holds" if verdict.holds else "FAILS"
