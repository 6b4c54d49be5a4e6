"""The demo: a diffusion model of digits by three samplers, against held-out real digits, with a report in HTML."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import torch

import mcgen
from mcgen import statistics
from mcgen.adapters import features, models
from mcgen.functionals import frechet_distance, kernel_distance
from mcgen.generators.finished import FinishedSamples

MODEL = "digits-diffusion"
SAMPLERS: dict[str, dict[str, Any]] = {
    "DDIM 50": {},
    "DDIM 20": {"steps": 20},
    "Heun 10": {"steps": 10, "sampler": "heun"},
}
DESIGNS = (mcgen.MonteCarlo(), mcgen.Antithetic(), mcgen.KAntithetic(8), mcgen.Sobol(64))
N_PAIRS = 8
_TITLE = "How close are three samplers of a diffusion model to real digits?"


def run_demo(folder: Path, n_evaluations: int = 3200, seed: int = 0, progress: bool = True) -> Path:
    """Print the scorecard, write ``report.html`` and ``scorecard.json`` into a folder, and return the report's path.

    Parameters
    ----------
    folder : Path
        Made if it does not exist.
    n_evaluations : int
        Samples of each model, and of each design; a multiple of 64.
    seed : int
        Seed of all runs.
    progress : bool
        Show progress bars.
    """
    run: dict[str, Any] = {"n_evaluations": n_evaluations, "seed": seed, "progress": progress}
    generators = {name: models.load(MODEL, **options) for name, options in SAMPLERS.items()}
    with _one_thread():
        card = mcgen.evaluate(generators, _scores(), curves=True, pictures=N_PAIRS, **run)
        table = mcgen.compare(generators["DDIM 50"], statistics.brightness, designs=DESIGNS, **run)
    designs = _about_designs(table)
    print(f"\n{card}\n\n{designs}\n")
    report = card.report(
        folder / "report.html",
        title=_TITLE,
        introduction=_introduction(n_evaluations),
        sections={"Designs": designs},
        citation=mcgen.citation(card),
    )
    card.save(folder / "scorecard.json")
    print(f"report: {report}")
    return report


def _scores() -> dict[str, Any]:
    """Return the scores: two distances from the held-out digits, and two statistics."""
    network = features("digits-classifier")
    real = FinishedSamples(models.real_images(MODEL), name="held-out real digits")
    return {
        "Fréchet distance": frechet_distance(real, network),
        "kernel distance": kernel_distance(real, network),
        "brightness": statistics.brightness,
        "contrast": statistics.contrast,
    }


def _introduction(n_evaluations: int) -> str:
    return (
        "The model makes handwritten digits of 8 x 8 pixels. It was trained on images of scikit-learn, and 360 others "
        "are the real digits here. Three samplers run it: DDIM with 50 steps, DDIM with 20, and Heun's method with 10. "
        f"Each made {n_evaluations:,} samples, all from the same noise, in antithetic pairs. Distances compare 64 "
        "features of a small classifier; lower is closer to the real digits."
    )


def _about_designs(table: mcgen.Comparison) -> str:
    """Return a sentence with the efficiency of each design, in independent samples per sample."""
    frame = table.to_frame()
    rows = frame[frame["design"] != str(mcgen.MonteCarlo())]
    told = [
        f"{one.relative_efficiency:.1f} [{one.efficiency_low:.1f}, {one.efficiency_high:.1f}] for {one.design}"
        for one in rows.itertuples()
    ]
    return (
        "For the brightness, one sample of a design is worth so many independent samples, with 95 % intervals: "
        f"{', '.join(told)}."
    )


@contextmanager
def _one_thread() -> Iterator[None]:
    """Let torch use one thread: the network is so small that more threads would only wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
