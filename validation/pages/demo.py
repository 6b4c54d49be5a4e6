"""The demo: four designs on a diffusion model of digits, at the same number of evaluations, with a report in HTML."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import mcgen
from mcgen import statistics
from mcgen.adapters import models
from mcgen.results.report import Report
from mcgen.validation.writing.pictures import pairs_figure

STATISTIC = statistics.stack(statistics.brightness, statistics.pixel_mean, statistics.contrast, statistics.centroid)
DESIGNS = (mcgen.MonteCarlo(), mcgen.Antithetic(), mcgen.KAntithetic(8), mcgen.Sobol(64))
N_PAIRS = 8


def run_demo(folder: Path, n_evaluations: int = 3200, seed: int = 0, progress: bool = True) -> Path:
    """Compare the designs, print the table, write ``report.html`` into a folder, and return its path.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.
    n_evaluations : int
        Evaluations of each design; a multiple of 64.
    seed : int
        Seed of all runs.
    progress : bool
        Show progress bars.
    """
    generator = models.load("digits-diffusion")
    run: dict[str, Any] = {"n_evaluations": n_evaluations, "seed": seed, "progress": progress}
    table = mcgen.compare(generator, STATISTIC, designs=DESIGNS, **run)
    print(f"\n{table}\n")
    with warnings.catch_warnings():
        # Corner pixels are black in nearly all digits, so their means are skewed; the report's summary says so.
        warnings.simplefilter("ignore", mcgen.CoverageWarning)
        means = mcgen.estimate(generator, statistics.identity, design=mcgen.Antithetic(), simultaneous=True, **run)
    report = _report(generator, table, means, seed).write(folder / "report.html")
    table.save(folder / "comparison.json")
    print(f"report: {report}")
    return report


def _report(generator: Any, table: mcgen.Comparison, means: mcgen.Estimate, seed: int) -> Report:
    n = table.estimates[0].n_evaluations
    quality = models.log("digits-diffusion")["quality"]
    report = Report("How sure are estimates about a diffusion model?")
    report.text(
        "A diffusion model of handwritten digits (8 x 8 pixels, trained on the 1,797 digits of scikit-learn, 50 "
        f"deterministic DDIM steps) is measured by four designs, {n:,} samples each. All estimate the same "
        "expectations; the designs differ in how wide the intervals are."
    )
    report.heading("Four designs at the same cost").table(table.readable())
    report.text(
        "Efficiency: how many independent samples one sample of the design is worth, with its 95 % interval. In width: "
        "the same from the squared ratio of the intervals' widths, which includes the t quantile of few replicates."
    )
    for note in table.notes():
        report.text(note)
    report.figure(table.plot(), "The estimates with their 95 % Student t intervals.")
    report.heading("Noise and its negation")
    report.figure(pairs_figure(generator, N_PAIRS, seed), "Above: samples from z. Below: samples from -z.")
    report.heading("The mean image")
    report.figure(means.plot(), "Mean of every pixel and the half-width of its interval; all 64 hold together at 95 %.")
    report.code(means.summary())
    report.heading("How good the model is")
    report.text(
        f"A classifier trained on real digits recognizes {100 * quality['accuracy_on_samples_of_each_class']:.1f} % of "
        f"samples of a given class, and {100 * quality['accuracy_on_held_out_images']:.1f} % of real digits that were "
        "not in its training. The Frechet distance to these, in the classifier's features, is "
        f"{quality['frechet_distance_of_samples']:.1f} for samples and "
        f"{quality['frechet_distance_of_training_images']:.1f} for as many training digits. The intervals above are "
        "about the model's own expectations. They say nothing about the distance of the model from real digits."
    )
    return report.heading("Cite").code(mcgen.citation(table))
