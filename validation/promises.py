"""All that is promised, judged: what ``mcgen validate`` runs and prints.

The short form takes under three minutes; the whole (``mcgen validate --full``) has more cells of the same studies.
Every rule rejects what is true with a probability of about three in a million; every study has a negative control,
something broken that its rule must reject.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

import mcgen
from mcgen import statistics
from mcgen.designs import Antithetic, Design, KAntithetic, MonteCarlo, Sobol
from mcgen.moments import Floats
from mcgen.random import as_seed_sequence
from mcgen.run import Task
from mcgen.validation import efficiency, interval_studies, theory
from mcgen.validation.conformance import Report, check_design, check_generator, check_statistic
from mcgen.validation.coverage import Replicates, simulate
from mcgen.validation.pages import fill_page, made_by, markdown_table
from mcgen.validation.problems import PROBLEMS
from mcgen.validation.verdicts import Verdict, at_most, control, mean

Study = Callable[[bool, int], list[Verdict]]

_REPLICATES = 40_000
_DESIGNS: tuple[Design, ...] = (MonteCarlo(), Antithetic(), KAntithetic(2), KAntithetic(8), Sobol(16), Sobol(64))
_STATISTICS = ("identity", "pixel_mean", "brightness", "contrast", "centroid")


def unbiased(full: bool, seed: int) -> list[Verdict]:
    """Judge the mean of every problem under every design against its truth."""
    names = [name for name in PROBLEMS if full or name in ("normal-pairs", "exponential", "square")]
    verdicts = []
    for name in names:
        for design in _DESIGNS:
            found = simulate(PROBLEMS[name], design, _REPLICATES // design.n_points, seed)
            verdicts.append(_unbiased(found, f"E of {name} under {design}", PROBLEMS[name].truth))
    shifted = simulate(PROBLEMS["exponential"], Antithetic(), _REPLICATES // 2, seed)
    return [*verdicts, control(_unbiased(shifted, "E of exponential, a truth 1 % off", 1.01 * shifted.problem.truth))]


def _unbiased(found: Replicates, promise: str, truth: float) -> Verdict:
    exact = found.means.std() <= 16 * found.rounding * abs(found.means).max()
    if exact:
        gap = float(abs(found.means.mean() - truth))
        return at_most(f"{promise}, integrated exactly", gap, 16 * found.rounding * float(abs(found.means).max()))
    return mean(promise, found.means, truth, found.problem.truth_error)


def laws(full: bool, seed: int) -> list[Verdict]:
    """Judge the laws of all designs and statistics by the checks that users have."""
    reports = [check_design(design, seed=seed) for design in _DESIGNS]
    reports += [check_statistic(getattr(statistics, name)) for name in _STATISTICS]
    names = [name for name in PROBLEMS if full or name in ("normal-pairs", "linear")]
    reports += [check_generator(PROBLEMS[name].generator, seed=seed) for name in names]
    broken = mcgen.as_generator(lambda z: z - z.mean(axis=0), noise=(4,), name="batch normalization")
    return [*(_lawful(report) for report in reports), control(_lawful(check_generator(broken, seed=seed)))]


def _lawful(report: Report) -> Verdict:
    failed = ", ".join(check.law for check in report.failures)
    n = len(report.checks)
    return Verdict(f"the laws of {report.name}", f"all {n} hold", failed or f"{n} hold", report.passed)


def same_bits(full: bool, seed: int) -> list[Verdict]:
    """Judge that replicates have the same bits in whatever ranges they are run."""

    def means(design: Design, ranges: list[range], seed: int = seed) -> Floats:
        task = Task(problem.generator, problem.statistic, design, as_seed_sequence(seed), (), None, 64)
        rows = sorted((rows for part in ranges for rows in task.evaluate(part)), key=lambda rows: rows.start)
        return np.concatenate([part.means[:, 0] for part in rows])

    problem, ranges = PROBLEMS["normal-pairs"], [range(257, 600), range(100, 257), range(100)]
    verdicts = [
        at_most(
            f"replicates of {design} differ when run in parts by",
            _gap(means(design, [range(600)]), means(design, ranges)),
            0,
        )
        for design in _DESIGNS
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
    **interval_studies.STUDIES,
    **efficiency.STUDIES,
    **theory.STUDIES,
}


def validate(full: bool = False, only: str = "", seed: int = 0, page: Path | None = None) -> bool:
    """Run the studies, print each promise, what was measured and the verdict, and return whether all hold.

    Parameters
    ----------
    full : bool
        The whole instead of the short form.
    only : str
        Part of the titles of the studies to run.
    seed : int
        Of all of them.
    page : path, optional
        A page in Markdown with the marks ``<!-- made by -->`` and ``<!-- promises -->``, to write the table into.

    Raises
    ------
    ValueError
        If no study has such a title.
    """
    chosen = {title: study for title, study in STUDIES.items() if only.lower() in title.lower()}
    if not chosen:
        raise ValueError(f"no study's title contains {only!r}; the titles are {', '.join(STUDIES)}")
    judged: list[tuple[str, Verdict]] = []
    for title, study in chosen.items():
        start = time.perf_counter()
        verdicts = study(full, seed)
        print(f"\n{title} ({time.perf_counter() - start:.1f} s)", flush=True)
        for verdict in verdicts:
            print(f"  {_word(verdict)}  {verdict.promise}: {verdict.measured}; wanted {verdict.rule}", flush=True)
        judged += [(title, verdict) for verdict in verdicts]
    failed = [verdict for _, verdict in judged if not verdict.holds]
    print(
        f"\n{len(judged) - len(failed)} of {len(judged)} promises hold"
        + "".join(f"\nFAILS {v.promise}" for v in failed)
    )
    if page is not None:
        command = f"mcgen validate{' --full' if full else ''} --seed {seed}"
        rows = [[title, v.promise, v.measured, v.rule, _word(v)] for title, v in judged]
        head = ["study", "promise", "measured", "rule", "verdict"]
        fill_page(page, {"made by": made_by(command, seed), "promises": markdown_table(head, rows)})
    return not failed


def _word(verdict: Verdict) -> str:
    return "holds" if verdict.holds else "FAILS"
