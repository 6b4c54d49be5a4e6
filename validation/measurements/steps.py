"""Correlations along the steps of the shipped diffusion models, and the symmetry of their networks.

``python -m mcgen.validation steps`` writes the tables and the pictures of ``docs/explanation/antithetic.md``. With
``--only NAME`` it prints those of some models.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from mcgen import analysis
from mcgen.adapters import models
from mcgen.analysis.antisymmetry import QUANTILES
from mcgen.results.profile import Number
from mcgen.validation.writing.markdown import chosen, fill_page, made_by, markdown_table, require_marks

_SEED = 0
PAGE = "explanation/antithetic.md"
ALONG, SCORES, SHARES = "correlations along the steps", "antisymmetry scores", "odd shares along the steps"
# Shares of the way from noise to sample at which tables have numbers.
_PLACES = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
# Table 10 of arXiv:2506.06185: mean, least, quantiles and median. The labels of its quantiles are our reading.
PAPER = {
    "paper, CIFAR-10": (0.9932, 0.7733, 0.9104, 0.9444, 0.9690, 0.9865, 0.9992),
    "paper, Church": (0.9909, 0.7710, 0.8673, 0.8768, 0.9624, 0.9750, 0.9995),
}


@dataclass(frozen=True)
class Walked:
    """A shipped diffusion model, and how much of it is looked at.

    Attributes
    ----------
    model : str
        The shipped model.
    steps : int
        Steps of DDIM.
    n_pairs, n_base, points : int
        Pairs of trajectories of each kind; bases and points of slices.
    """

    model: str
    steps: int
    n_pairs: int
    n_base: int
    points: int


WALKED = {
    one.model: one
    for one in (
        Walked("patches-diffusion", 25, 60, 15, 41),
        Walked("mnist-ddpm", 50, 100, 25, 41),
        Walked("digits-diffusion", 50, 200, 40, 201),
    )
}


def write_tables(folder: Path, only: str = "") -> None:
    """Measure the models whose name contains `only`, and draw them; without `only`, write the tables into the page."""
    names = chosen(WALKED, only, "model")
    if not only:
        require_marks(folder / PAGE, (ALONG, SCORES, SHARES))
    (folder / "images").mkdir(exist_ok=True)
    along: list[list[str]] = []
    scores: list[list[str]] = []
    shares: list[list[str]] = []
    for name in names:
        walked = WALKED[name]
        model = models.load(name, steps=walked.steps)
        pairs = analysis.along_time(model, n_pairs=walked.n_pairs, seed=_SEED, of=("state", "noise"), batch_size=200)
        pairs.plot().savefig(folder / "images" / f"{name}-along-time.png")
        along += [[name, *row] for row in curve_rows(pairs, ("of", "kind", "measure"))]
        odd = analysis.symmetry(model, n_base=walked.n_base, seed=_SEED, points=walked.points, batch_size=200)
        odd.plot_slices().savefig(folder / "images" / f"{name}-slices.png")
        scores.append([name, *(_with_interval(one) for one in odd.numbers)])
        shares += [[name, *row] for row in curve_rows(odd, ("measure",))]
        print(pairs, odd, sep="\n", flush=True)
    if only:
        return
    scores += [[name, *(f"{value:.3f}" for value in values)] for name, values in PAPER.items()]
    places = [f"{100 * place:.0f} %" for place in _PLACES]
    note = made_by("python -m mcgen.validation steps", _SEED)
    parts = {
        ALONG: markdown_table(["model", "of", "pairs", "correlation", *places], along),
        SCORES: markdown_table(["model", "mean", "least", *QUANTILES], scores),
        SHARES: f"{markdown_table(['model', 'measure', *places], shares)}\n\n{note}",
    }
    fill_page(folder / PAGE, parts)


def curve_rows(profile: analysis.Profile, labels: tuple[str, ...]) -> list[list[str]]:
    """Return the rows of a profile's curves: labels, and the means with half-widths at places of the way."""
    rows = []
    for one in profile.curves:
        last = len(one.steps) - 1
        halves = (one.high - one.low) / 2
        texts = [f"{one.mean[i]:.2f} ± {halves[i]:.2f}" for i in (round(place * last) for place in _PLACES)]
        rows.append([*(one.labels[name] for name in labels), *texts])
    return rows


def _with_interval(number: Number) -> str:
    if number.low is None or number.high is None:
        return f"{number.value:.3f}"
    return f"{number.value:.3f} [{number.low:.3f}, {number.high:.3f}]"
