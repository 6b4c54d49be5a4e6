"""Designs under many conditions, in the form of table 2 of the paper on antithetic noise [1]_.

``python -m mcgen.validation conditions`` runs the ten classes of two shipped models under guidance weight 3 (a CFG
scale of 4), 200 evaluations of 20 steps for each class and design, and writes the table of ``explanation/paper.md``.
Half-widths are those of Student's t, averaged over the classes, as the paper prints them.

.. rubric:: References

.. [1] J. Jia, S. Liu, B. Song, W. Yuan, L. Shen, G. Wang (2025). Antithetic noise in diffusion models.
   arXiv:2506.06185.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import mcgen
from mcgen import statistics
from mcgen.adapters import models
from mcgen.results.tables import Table
from mcgen.validation.writing.markdown import chosen, fill_page, require_marks

N_EVALUATIONS, STEPS, GUIDANCE = 200, 20, 3.0
FOUR = statistics.stack(statistics.brightness, statistics.pixel_mean, statistics.contrast, statistics.centroid)
DESIGNS = (mcgen.MonteCarlo(), mcgen.Antithetic(), mcgen.Sobol(8))
MODELS = ("mnist-dit", "mnist-ddpm")
_PAGE, _TITLE = "explanation/paper.md", "many conditions"


def compared(name: str, n_evaluations: int = N_EVALUATIONS, classes: Sequence[int] = range(10)) -> mcgen.Comparison:
    """Return the designs of the paper compared under the classes of a shipped model."""
    model = models.load(name, steps=STEPS, guidance_scale=GUIDANCE)
    return mcgen.compare(
        model,
        FOUR,
        designs=DESIGNS,
        n_evaluations=n_evaluations,
        seed=0,
        condition=[*classes],
        batch_size=n_evaluations,
    )


def paper_table(name: str, comparison: mcgen.Comparison) -> Table:
    """Return the table of a model: a row for each statistic and design."""
    header = ["model", "statistic", "design", "mean half-width", "in mean width", "of the average", "by class"]
    rows = []
    for row in comparison.to_frame().to_dict("records"):
        unit = 1.0 if row["component"] == "centroid" else 255.0
        rows.append(
            [
                *(name, row["component"], row["design"]),
                f"{unit * row['mean_half_width']:.3g}",
                f"{row['relative_efficiency_mean_width']:.3g}",
                f"{row['relative_efficiency']:.3g} [{row['efficiency_low']:.3g}, {row['efficiency_high']:.3g}]",
                f"{row['efficiency_geometric_mean']:.3g} "
                f"[{row['geometric_mean_low']:.3g}, {row['geometric_mean_high']:.3g}]",
            ]
        )
    order = {statistic: number for number, statistic in enumerate(comparison.estimates[0].names)}
    return Table(header, sorted(rows, key=lambda cells: order[cells[1]]))


def write_tables(folder: Path, only: str) -> None:
    """Run the models whose name contains `only` and print their tables; without `only`, write them into the page."""
    if not only:
        require_marks(folder / _PAGE, (_TITLE,))
    tables = []
    for name in chosen(MODELS, only, "model"):
        tables.append(paper_table(name, compared(name)).markdown())
        print(f"\n{tables[-1]}", flush=True)
    if not only:
        fill_page(folder / _PAGE, {_TITLE: "\n\n".join(tables)})
