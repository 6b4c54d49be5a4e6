"""The page ``docs/validation/distances.md``: coverage, bias, widths and gains of Fréchet and kernel distances.

``python -m mcgen.validation distances`` measures all of it in about an hour. ``--only NAME`` measures and writes
the sections whose name contains NAME, and leaves the others as they were.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path

import numpy as np

from mcgen import functionals
from mcgen.validation.pages import real_features
from mcgen.validation.problems.feature_laws import FeatureLaw, elliptical, exact, linear, lognormal, rectified
from mcgen.validation.studies import distances as frechet
from mcgen.validation.studies import kernel_distances as kernel
from mcgen.validation.studies.distance_runs import (
    DESIGNS,
    PROMISED,
    Outcome,
    covering,
    estimated,
    pooled,
    repeated,
    replicates_for,
)
from mcgen.validation.studies.verdicts import Verdict
from mcgen.validation.writing.markdown import chosen, fill_page, made_by, markdown_table, require_marks

Parts = dict[str, str]
"""Texts by their marks."""
# Samples of the tables of gains, the same for all designs.
_EQUAL = 1280


def write_page(folder: Path, only: str = "", seed: int = 0, share: float = 1.0) -> None:
    """Measure sections of the page and write each as soon as it is known.

    Parameters
    ----------
    folder : path
        Folder of the documentation.
    only : str
        Part of the names of the sections to measure.
    seed : int
        Seed of all runs.
    share : float
        The numbers of runs relative to the usual ones.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no page with its marks, or no section of such a name.
    """
    page = folder / "validation" / "distances.md"
    names = chosen(SECTIONS, only, "section")
    require_marks(page, ["made by", *(mark for name in SECTIONS for mark in SECTIONS[name][0])])
    for name in names:
        start = time.perf_counter()
        made = SECTIONS[name][1](seed, share)
        print(f"\n{name} ({time.perf_counter() - start:.0f} s)\n\n" + "\n\n".join(made.values()), flush=True)
        fill_page(page, made)
    if len(names) == len(SECTIONS) or names[0] == "coverage of Fréchet distances":
        fill_page(page, {"made by": made_by("python -m mcgen.validation distances", seed)})


def _runs(share: float, most: int) -> int:
    return max(2, round(share * most))


def _verdicts(found: Iterable[Verdict]) -> str:
    rows = [[v.promise, v.measured, v.rule, "holds" if v.holds else "FAILS"] for v in found]
    return markdown_table(["promise", "measured", "rule", "verdict"], rows)


def _number(value: float) -> str:
    return f"{value:.2f}" if abs(value) < 9.95 else f"{value:.0f}"


def _frechet(seed: int, share: float) -> Parts:
    """Return the tables of coverage and of bias and width, from the same runs, and their verdicts."""
    cells: dict[tuple[str, float], dict[tuple[str, str], Outcome]] = {}
    for law in frechet.laws():
        runs = _runs(share, frechet.runs_of(law))
        for errors in frechet.ERRORS:
            found = {
                (size, design): frechet.unless_refused(law, errors, design, frechet.size_of(law, size), runs, seed)
                for size in frechet.SIZES
                for design in frechet.DESIGNS_OF_SIZES[size]
            }
            cells[law.name, errors] = {key: one for key, one in found.items() if one is not None}
    together = {f"{name}, {errors:g} standard errors": [*row.values()] for (name, errors), row in cells.items()}
    verdicts = [
        covering(
            f"the Fréchet distance, {law.name},",
            [one for key, row in cells.items() if key[0] == law.name for one in row.values()],
        )
        for law in frechet.laws()
    ]
    verdicts.append(pooled("the Fréchet distance under all designs together", together))
    return {
        "coverage": _coverage_table(cells),
        "bias and width": _bias_table(cells),
        "verdicts": _in_short(cells) + "\n\n" + _verdicts(verdicts),
    }


_Cells = dict[tuple[str, float], dict[tuple[str, str], Outcome]]


def _in_short(cells: _Cells) -> str:
    every = [one for row in cells.values() for one in row.values()]
    below = [one for one in every if one.covered < PROMISED]
    worst = min(every, key=lambda one: one.covered)
    return (
        f"The {len(every)} cells cover {worst.covered:.3f} to {max(one.covered for one in every):.3f}, and "
        f"{np.mean([one.covered for one in every]):.3f} on average. The least is that of {worst.what}, {worst.runs} "
        f"runs. Cells below {PROMISED}: {len(below)}."
    )


def _coverage_table(cells: _Cells) -> str:
    rows = []
    for (name, errors), row in cells.items():
        shown = []
        for design in DESIGNS:
            shown.append(
                ", ".join(f"{row[size, design].covered:.3f}" for size in frechet.SIZES if (size, design) in row)
            )
        far = [row[size, "Monte Carlo"] for size in frechet.SIZES]
        rows.append([name, f"{errors:g}", ", ".join(_number(one.truth / one.sd) for one in far), *shown])
    return markdown_table(["features", "asked", "distance / sd", *DESIGNS], rows)


def _bias_table(cells: _Cells) -> str:
    rows = []
    columns = (("limit", "Monte Carlo"), ("10 times", "Monte Carlo"), ("10 times", "pairs"))
    for (name, errors), row in cells.items():
        some = [row[column] for column in columns]
        rows.append(
            [
                name,
                f"{errors:g}",
                ", ".join(_number(one.plug_in_bias) for one in some),
                ", ".join(f"{one.bias:.2f}" for one in some),
                ", ".join(f"{one.width:.2f}" for one in some),
                ", ".join(f"{one.warned / one.runs:.0%}" for one in some),
            ]
        )
    return markdown_table(["features", "asked", "bias of plug-in / sd", "bias left / sd", "width", "warned"], rows)


def _gains(seed: int, share: float) -> Parts:
    """Return variances of Monte Carlo over those of the designs, at the same number of samples."""
    rows, runs = [], _runs(share, 100)
    for law in (linear(16), elliptical(16), rectified(16, 8), rectified(64, 32)):
        for errors in (0.0, 5.0, 20.0):
            found = {design: frechet.cell(law, errors, design, _EQUAL, runs, seed) for design in DESIGNS}
            plain = found["Monte Carlo"].sd ** 2
            gains = [f"{plain / one.sd**2:.1f} ({one.covered:.2f})" for one in found.values()]
            rows.append([law.name, f"{errors:g}", *gains])
    return {"gains": markdown_table(["features", "standard errors", *DESIGNS], rows)}


def _references(seed: int, share: float) -> Parts:
    """Return coverage from sampled references and of mixtures."""
    runs = _runs(share, 150)
    found = [
        frechet.from_sample(law, errors, design, runs, seed)
        for law in (lognormal(4), rectified(16, 8), linear(64))
        for errors in (0.0, 2.0, 10.0)
        for design in ("Monte Carlo", "pairs")
    ]
    mixed = [
        frechet.of_mixture(errors, design, runs, seed)
        for errors in (0.0, 2.0, 10.0)
        for design in ("Monte Carlo", "pairs", "k = 8")
    ]
    verdicts = [covering("the distance from a sample", found), covering("the distance of a mixture", mixed)]
    return {"references": _rows([*found, *mixed]) + "\n\n" + _verdicts(verdicts)}


def _rows(found: Sequence[Outcome], head: str = "runs") -> str:
    rows = [
        [
            one.what,
            _number(one.truth / one.sd),
            f"{one.covered:.3f}",
            f"{one.width:.2f}",
            f"{one.bias:.2f}",
            f"{one.runs}",
        ]
        for one in found
    ]
    return markdown_table([head, "distance / sd", "coverage", "width", "bias / sd", "number"], rows)


def _differences(seed: int, share: float) -> Parts:
    """Return coverage of differences, and the gain of common noise and of designs."""
    rows, every, runs = [], [], _runs(share, 100)
    for change in (*frechet.CHANGES, frechet.FAR):
        for errors in (0.0, 10.0):
            base = 0.0
            for design in ("Monte Carlo", "pairs", "k = 8"):
                both = [frechet.of_difference(change, errors, design, common, runs, seed) for common in (True, False)]
                common, apart = both
                every += both
                base = base or apart.sd**2
                rows.append(
                    [
                        f"{change:g}",
                        f"{errors:g}",
                        design,
                        f"{common.truth:.3g}",
                        f"{common.covered:.3f}, {apart.covered:.3f}",
                        f"{common.width:.2f}, {apart.width:.2f}",
                        f"{apart.sd**2 / common.sd**2:.3g}",
                        f"{base / common.sd**2:.3g}",
                    ]
                )
    alike = [one for one in every if "common noise" in one.what and f"by {frechet.FAR:g}," not in one.what]
    verdicts = [
        covering("a difference of Fréchet distances", every),
        frechet.narrow("a difference of alike models", alike),
    ]
    head = ["change", "standard errors", "design", "difference", "coverage", "width", "gain", "gain with the design"]
    return {"differences": markdown_table(head, rows) + "\n\n" + _verdicts(verdicts)}


def _kernels(seed: int, share: float) -> Parts:
    """Return coverage of distances by a kernel."""
    rows, every, runs = [], [], _runs(share, 60)
    together: dict[str, list[Outcome]] = {}
    for case in kernel.cases():
        for epsilon in kernel.EPSILONS:
            for fixed in (True, False):
                found = {design: kernel.cell(case, epsilon, design, fixed, runs, seed) for design in DESIGNS}
                every += [*found.values()]
                together.setdefault(case.name, []).extend(found.values())
                plain = found["Monte Carlo"]
                cells = [f"{one.covered:.3f} ({one.width:.2f})" for one in found.values()]
                rows.append([case.name, "exact" if fixed else "sample", _number(plain.truth / plain.sd), *cells])
    blocks = [
        kernel.in_blocks(case, epsilon, "pairs", runs, seed) for case in kernel.cases() for epsilon in kernel.EPSILONS
    ]
    verdicts = [
        covering("the distance by a kernel", every),
        pooled("the distance by a kernel in all cells together", together),
        covering("the distance by a kernel in blocks", blocks),
    ]
    head = ["distance", "reference", "distance / sd", *DESIGNS]
    return {"kernels": markdown_table(head, rows) + "\n\n" + _rows(blocks) + "\n\n" + _verdicts(verdicts)}


def _controls(seed: int, share: float) -> Parts:
    """Return the negative controls: intervals that must be rejected."""
    found = [made(seed) for controls in (frechet.CONTROLS, kernel.CONTROLS) for made in controls.values()]
    rows = [[v.promise, v.measured, v.rule, "rejected" if v.holds else "NOT REJECTED"] for v in found]
    return {"controls": markdown_table(["control", "measured", "must be", "verdict"], rows)}


def _real(seed: int, share: float) -> Parts:
    """Return coverage with features of shipped models."""
    rows: list[list[str]] = []
    every: list[Outcome] = []
    for name in real_features.MODELS:
        for target in real_features.pool(name).references:
            for kind in ("Fréchet", "kernel"):
                for n in (128, 640, 2560):
                    runs = _runs(share, 100 if kind == "Fréchet" or n < 2000 else 25)
                    both = [
                        real_features.cell(name, target, kind, one, n, runs, seed) for one in ("Monte Carlo", "pairs")
                    ]
                    every += both
                    shown = [", ".join(text(one) for one in both) for text in _COLUMNS]
                    gain = f"{both[0].sd ** 2 / both[1].sd ** 2:.2f}"
                    rows.append([f"{kind}, {name}", target, f"{n:,}", *shown, gain])
    head = ["distance", "reference", "n", "distance / sd", "coverage", "width", "plug-in / sd", "bias left / sd"]
    table = markdown_table([*head, "gain of pairs"], rows)
    return {"real features": f"{_ranks()}\n\n{table}\n\n{_verdicts([covering('real features', every)])}"}


def _ranks() -> str:
    """Return the ranks of the features of shipped models in words."""
    lines = []
    for name in real_features.MODELS:
        moments = real_features.pool(name).moments
        lines.append(
            f"- {name}: {len(moments.mean)} features of rank {moments.rank} and effective rank "
            f"{moments.effective_rank:.0f}; {moments.fewest_samples} samples at least, and {moments.enough_samples} "
            "for no warning."
        )
    return "\n".join(lines)


_COLUMNS: tuple[Callable[[Outcome], str], ...] = (
    lambda one: _number(one.truth / one.sd),
    lambda one: f"{one.covered:.3f}",
    lambda one: f"{one.width:.2f}",
    lambda one: _number(one.plug_in_bias),
    lambda one: f"{one.bias:.2f}",
)


def _limits(seed: int, share: float) -> Parts:
    """Return what happens around the numbers of samples at which runs are refused and warn."""
    rows, runs = [], _runs(share, 60)
    for law in (linear(64, True), elliptical(64, True), rectified(64, 32)):
        moments = law.moments
        for factor in (0.9, 1.01, 1.5, 2.5, 5.0, 10.0):
            n = math.ceil(factor * moments.fewest_samples)
            found = frechet.unless_refused(law, 5.0, "Monte Carlo", n, runs, seed)
            head = [law.name, f"{n:,}", f"{n / moments.effective_rank:.1f}", f"{n / moments.rank:.1f}"]
            rest = ["refused", *[""] * 4] if found is None else [f"{found.warned / found.runs:.0%}", *_measured(found)]
            rows.append([*head, *rest])
    head = [
        "features",
        "n",
        "n / effective rank",
        "n / rank",
        "warned",
        "coverage",
        "width",
        "plug-in / sd",
        "bias left / sd",
    ]
    return {"limits": markdown_table(head, rows)}


def _measured(one: Outcome) -> list[str]:
    return [f"{one.covered:.3f}", f"{one.width:.2f}", _number(one.plug_in_bias), f"{one.bias:.2f}"]


def _large(seed: int, share: float) -> Parts:
    """Return runs of many features, a few each."""
    cases = ((rectified(256, 64), 512, 40), (rectified(256, 64), 5120, 15), (linear(2048, True), 4096, 1))
    rows = [
        _row_of_many(law, errors, n, max(1, round(share * most)), seed)
        for law, n, most in cases
        for errors in (0.0, 10.0)
    ]
    head = ["features", "n", "n / effective rank", "asked", "truth", "mean", "plug-in", "half-width", "held", "time"]
    return {"many features": markdown_table(head, rows)}


def _row_of_many(law: FeatureLaw, errors: float, n: int, runs: int, seed: int) -> list[str]:
    start = time.process_time()
    found = _of_many(law, errors, n, runs, seed)
    return [
        law.name,
        f"{n:,}",
        f"{n / law.moments.effective_rank:.1f}",
        f"{errors:g}",
        f"{found.truth:.4g}",
        f"{found.means.mean():.4g}",
        f"{found.plug_ins.mean():.4g}",
        f"{(found.high - found.low).mean() / 2:.2g}",
        f"{found.hits} of {found.runs}",
        f"{(time.process_time() - start) / runs:.2g} s",
    ]


def _of_many(law: FeatureLaw, errors: float, n: int, runs: int, seed: int) -> Outcome:
    moments, truth = law.at(law.epsilon(errors, n))
    score = functionals.frechet_distance(exact(moments))
    design = DESIGNS["Monte Carlo"]
    count = replicates_for(design, n)
    return repeated(
        f"{law.name}, {errors:g}, n = {n:,}", lambda own: estimated(law, score, design, count, own), truth, runs, seed
    )


SECTIONS: dict[str, tuple[tuple[str, ...], Callable[[int, float], Parts]]] = {
    "coverage of Fréchet distances": (("verdicts", "coverage", "bias and width"), _frechet),
    "gains": (("gains",), _gains),
    "references and mixtures": (("references",), _references),
    "differences": (("differences",), _differences),
    "kernels": (("kernels",), _kernels),
    "negative controls": (("controls",), _controls),
    "real features": (("real features",), _real),
    "limits": (("limits",), _limits),
    "many features": (("many features",), _large),
}
"""Sections by name: their marks, and the function that measures them."""
