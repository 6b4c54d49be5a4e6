r"""Coverage of two levels whose coarse generator fails rarely, before and after the search for such failures.

The fine generator gives the mean of exp(z_j / 2) over four entries, and the coarse one the same but for failures: where
z_0 is above a threshold, its value is smaller by some standard deviations of a value. It costs a twentieth. A pilot of
16 replicates mostly sees no failure, and then the optimal number of replicates of the difference is the least of 25.

A row of the table has a number of evaluations, and a size and probability of failures. Its columns are

- the coverage of nominal 95 % intervals with 25 replicates of the difference, and with the number that
  `mcgen.multilevel` chooses;
- the root of the mean squared error, over that of antithetic pairs of the fine generator alone;
- the share of runs that warned of failures that the pilot may have missed.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from typing import Any

import numpy as np
from scipy.special import ndtr

from mcgen.designs import Antithetic
from mcgen.differences import difference
from mcgen.estimation import estimate
from mcgen.generators import Generator, as_generator
from mcgen.inference.interval_input import student_t_quantile
from mcgen.noise import Array
from mcgen.statistics import pixel_mean
from mcgen.validation.writing.markdown import chosen, fill_page, made_by, markdown_table
from mcgen.variance_reduction.levels.multilevel import multilevel

RUNS = 400
BUDGETS = (1000, 3200, 10_000)
SIZES = (1.0, 3.0, 6.0)
THRESHOLDS = (2.0, 2.5, 3.0)
COST = 20.0
"""Cost of a fine evaluation; a coarse one costs 1."""
_FEWEST = 25
_BATCH = 4096
_SEED = 0
# Means and variances of exp(z / 2).
TRUTH = math.exp(1 / 8)
SD = math.sqrt((math.exp(0.5) - math.exp(0.25)) / 4)


def _fine(z: Array) -> Array:
    return np.asarray(np.exp(np.asarray(z) / 2).mean(axis=1, keepdims=True))


FINE = as_generator(_fine, noise=(4,), name="fine")


def failing(size: float, threshold: float) -> Generator:
    """Return the fine generator but for failures of `size` standard deviations where z_0 is above the threshold."""

    def coarse(z: Array) -> Array:
        return np.asarray(_fine(z) - size * SD * (np.asarray(z)[:, :1] > threshold))

    return as_generator(coarse, noise=(4,), name=f"fails by {size:g} above {threshold:g}")


def of_fewest(coarse: Generator, n_evaluations: int, seed: int) -> bool:
    """Return whether the interval holds the truth where the difference has the fewest replicates that are allowed."""
    pairs = Antithetic()
    spent = 2 * _FEWEST * (1 + 1 / COST)
    options: dict[str, Any] = {"design": pairs, "interval": "student-t", "seed": seed, "batch_size": _BATCH}
    below = estimate(coarse, pixel_mean, n_replicates=int((n_evaluations - spent) * COST / 2), **options)
    options["seed"] = seed + 1_000_000
    above = difference(FINE, coarse, pixel_mean, n_replicates=_FEWEST, **options)
    # The difference has the variance 0 in most runs, and 24 degrees of freedom else: the wider of both quantiles.
    half = student_t_quantile(0.975, _FEWEST - 1) * np.hypot(below.standard_error, above.standard_error)
    return abs(float(below.mean) + float(above.mean) - TRUTH) <= float(half)


def cell(n_evaluations: int, size: float, threshold: float, runs: int = RUNS) -> dict[str, float]:
    """Return the coverages, the ratio of root mean squared errors, and the share of runs with a warning."""
    coarse = failing(size, threshold)
    held, few, warned, squares, alone = 0, 0, 0, 0.0, 0.0
    options: dict[str, Any] = {"n_evaluations": n_evaluations, "batch_size": _BATCH}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for seed in range(_SEED, _SEED + runs):
            few += of_fewest(coarse, n_evaluations, seed)
            made = multilevel([(coarse, 1.0), (FINE, COST)], pixel_mean, seed=seed, **options)
            held += TRUTH in made.interval
            warned += any("may miss rare failures" in text for text in made.warnings)
            squares += (float(made.mean) - TRUTH) ** 2
            plain = estimate(FINE, pixel_mean, design=Antithetic(), seed=seed, **options)
            alone += (float(plain.mean) - TRUTH) ** 2
    ratio = math.sqrt(squares / alone)
    return {"few": few / runs, "held": held / runs, "ratio": ratio, "warned": warned / runs}


def write_table(folder: Path, only: str = "") -> None:
    """Measure the cells, and write them into the page ``validation/plans.md`` of a folder.

    Parameters
    ----------
    folder : path
        Folder of the page, which has the mark "rare failures".
    only : str
        Number of evaluations; empty for all, which alone are written.
    """
    rows = []
    for budget in chosen([str(budget) for budget in BUDGETS], only, "number of evaluations"):
        for threshold in THRESHOLDS:
            for size in SIZES:
                found = cell(int(budget), size, threshold)
                row = [f"{int(budget):,}", f"{ndtr(-threshold):.2g}", f"{size:g}"]
                row += [f"{found['few']:.3f}", f"{found['held']:.3f}", f"{found['ratio']:.2f}"]
                rows.append([*row, f"{100 * found['warned']:.0f} %"])
                print(*rows[-1], sep="  ", flush=True)
    if only:
        return
    head = [
        "evaluations",
        "probability of a failure",
        "its size in sd",
        "coverage with 25 replicates of the difference",
    ]
    head += ["coverage now", "error over pairs of the fine generator", "runs that warn"]
    text = f"{made_by('python -m mcgen.validation rare-failures', _SEED)} Each cell is {RUNS} runs."
    fill_page(folder / "validation" / "plans.md", {"rare failures": f"{markdown_table(head, rows)}\n\n{text}"})
