r"""How closely fitted samplers follow their fine sampler, beside the same sampler with fewer steps.

Samples are compared with the fine ones on the same noise, which neither a fit nor a choice of nodes has seen. The
distance is the mean squared difference of images relative to the variance of the fine sampler's images,

.. math:: \frac{E\,\|G(z) - F(z)\|^2}{E\,\|F(z) - E\,F\|^2},

and a correlation is that of the means of a statistic over antithetic pairs, :math:`\rho`. A sum of two levels of pairs
has :math:`1 - \rho^2` of the variance of pairs left for its fine level.

Several conditions can be fitted in two ways, which are compared: weights of its own for each condition, or the same
weights for all of them and a mean image for each.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mcgen
from mcgen._lib.arrays import Floats, as_numpy
from mcgen.adapters import Fitted, models
from mcgen.adapters.samplers.fitting import candidates, chosen_nodes, regression, run_pilot
from mcgen.noise import as_rows
from mcgen.results.figures.base import new_figure
from mcgen.statistics.values import values_of
from mcgen.validation.measurements.cases import image_statistic
from mcgen.validation.writing.markdown import chosen, fill_page, made_by, markdown_table, require_marks
from mcgen.validation.writing.pictures import N_COLUMNS, show_image

_SEED = 0
# Rows that a generator sees at a time.
_BATCH = 64
PAGE = "how-to/adapters.md"
# The statistics whose correlations are shown, of the seven of `cases.image_statistic`.
SHOWN = ("mean", "contrast", "centroid", "maximum", "sd", "class")
_COLUMNS = (0, 2, 3, 4, 5, 6)


@dataclass(frozen=True)
class Follower:
    """A fine sampler, and the samplers that follow it.

    Attributes
    ----------
    name : str
        The name on the page.
    model : str
        The shipped model.
    options : dict
        Options of `models.load`.
    evaluations : tuple of int
        Evaluations of the fitted samplers.
    pairs : int
        Pairs of their fits.
    condition : object
        The condition.
    n_pairs : int
        Pairs on which they are compared.
    """

    name: str
    model: str
    options: dict[str, Any]
    evaluations: tuple[int, ...] = (5,)
    pairs: int = 8
    condition: Any = None
    n_pairs: int = 1024

    def load(self) -> Any:
        """Return the fine sampler."""
        return models.load(self.model, **self.options)

    def followers(self, fine: Any) -> Iterator[tuple[str, Any]]:
        """Yield the samplers to compare, with their names: fewer steps, then fitted ones."""
        for n in self.evaluations:
            # Heun's steps have two evaluations each but the last, so that (n + 1) / 2 of them have n.
            steps = n if self.options.get("sampler") != "heun" else (n + 1) // 2
            yield f"{steps} steps", fine.coarse(steps)
            yield f"fitted-{n}", fine.fitted(n, pairs=self.pairs, seed=_SEED, condition=self.condition)


FOLLOWERS = {
    one.name: one
    for one in (
        Follower("digits-diffusion, DDIM-50", "digits-diffusion", {}, (3, 5, 8)),
        Follower("digits-diffusion, Heun-18", "digits-diffusion", {"sampler": "heun", "steps": 18}),
        Follower(
            "digits-diffusion, guidance scale 3, class 3", "digits-diffusion", {"guidance_scale": 3.0}, condition=3
        ),
        Follower("digits-diffusion, eta 0.5, 32 pairs", "digits-diffusion", {"eta": 0.5}, (5, 10), pairs=32),
        Follower("digits-diffusion, eta 1, 32 pairs", "digits-diffusion", {"eta": 1.0}, (5, 10), pairs=32),
        Follower("mnist-ddpm, DDIM-50", "mnist-ddpm", {}, (5, 8), n_pairs=256),
        Follower("mnist-dit, DDIM-25, class 3", "mnist-dit", {"steps": 25}, condition=3, n_pairs=256),
        Follower("patches-diffusion, DDIM-25", "patches-diffusion", {"steps": 25}, (3, 5), n_pairs=256),
    )
}
# Models, steps, classes, numbers of test pairs of the study of conditions.
CONDITIONS: tuple[tuple[str, int, Sequence[int], int], ...] = (
    ("digits-diffusion", 50, range(10), 256),
    ("mnist-dit", 25, (0, 3, 8), 32),
)
PAIRS_OF_CONDITIONS = (2, 4, 8)


def write_tables(folder: Path, only: str = "") -> None:
    """Measure the samplers whose name contains `only`, and write the tables into ``how-to/adapters.md`` of a folder.

    With `only` nothing is written; the rows are printed.
    """
    names = chosen(FOLLOWERS, only, "fine sampler")
    if not only:
        require_marks(folder / PAGE, ("fitted samplers", "fits of several conditions"))
    rows = [row for name in names for row in rows_of(FOLLOWERS[name])]
    if only:
        return
    head = ["fine sampler", "sampler", "cost", "distance", *SHOWN]
    note = made_by("python -m mcgen.validation fitted", _SEED)
    parts = {
        "fitted samplers": f"{markdown_table(head, rows)}\n\n{note}",
        "fits of several conditions": conditions_table(),
    }
    (folder / "images").mkdir(exist_ok=True)
    samples_figure(FOLLOWERS["mnist-ddpm, DDIM-50"]).savefig(folder / "images" / "fitted-samplers.png")
    fill_page(folder / PAGE, parts)


def rows_of(follower: Follower) -> list[list[str]]:
    """Return the rows of a fine sampler: cost, distance and correlations of each sampler that follows it."""
    fine = follower.load()
    statistic = image_statistic(follower.model.partition("-")[0])
    noise, condition = test_noise(fine, follower.n_pairs), follower.condition
    target = samples_of(fine, noise, condition)
    means = pair_means(target, statistic)
    rows = []
    for name, sampler in follower.followers(fine):
        found = samples_of(sampler, noise, condition)
        cost = sampler.network_evaluations / fine.network_evaluations
        row = [follower.name, name, f"{cost:.2g}", f"{distance(found, target):.2g}"]
        rows.append(
            [*row, *(f"{rho:.3f}" for rho in correlations(pair_means(found, statistic), means)[list(_COLUMNS)])]
        )
        print(*rows[-1], getattr(sampler, "nodes", ""), sep="  ", flush=True)
    return rows


def test_noise(fine: Any, n_pairs: int) -> Any:
    """Return noise of antithetic pairs, which no fit has seen, as rows."""
    return as_rows(mcgen.Antithetic().draw(fine.noise, n_pairs, _SEED, stream=("followers",)))


test_noise.__test__ = False  # type: ignore[attr-defined]


def samples_of(sampler: Any, noise: Any, condition: Any) -> torch.Tensor:
    """Return the samples (n, ...) of noise as rows."""
    blocks = {"": noise} if isinstance(noise, np.ndarray) else {name: noise[name] for name in noise}
    n = len(next(iter(blocks.values())))
    parts = []
    for first in range(0, n, _BATCH):
        some = {name: block[first : first + _BATCH] for name, block in blocks.items()}
        parts.append(sampler(some[""] if isinstance(noise, np.ndarray) else some, condition))
    return torch.cat(parts)


def pair_means(samples: torch.Tensor, statistic: Callable[[Any], Any]) -> Floats:
    """Return the means of a statistic over the pairs, shape (n / 2, k)."""
    values = np.asarray(values_of(statistic, samples, len(samples)), np.float64)
    return np.asarray(values.reshape(len(samples) // 2, 2, -1).mean(axis=1))


def correlations(a: Floats, b: Floats) -> Floats:
    """Return the correlation of each column of a and b, both of shape (n, k); 0 where one does not vary."""
    x, y = a - a.mean(axis=0), b - b.mean(axis=0)
    with np.errstate(divide="ignore", invalid="ignore"):
        found = (x * y).sum(axis=0) / np.sqrt((x**2).sum(axis=0) * (y**2).sum(axis=0))
    return np.asarray(np.nan_to_num(found))


def distance(samples: torch.Tensor, target: torch.Tensor) -> float:
    """Return the mean squared difference relative to the variance of the target over its rows."""
    return float(((samples - target) ** 2).mean() / target.var(dim=0).mean())


def conditions_table() -> str:
    """Return the table of distances and of 1 - rho^2 by both ways to fit several conditions."""
    rows = []
    for model, steps, classes, n_pairs in CONDITIONS:
        fine = models.load(model, steps=steps)
        statistic = image_statistic(model.partition("-")[0])
        noise = test_noise(fine, n_pairs)
        targets = {one: samples_of(fine, noise, one) for one in classes}
        for pairs in PAIRS_OF_CONDITIONS:
            row = [f"{model}, {len(classes)} classes", str(pairs)]
            for fits in both_ways(fine, classes, pairs):
                found = {one: samples_of(fitted, noise, one) for one, fitted in zip(classes, fits, strict=True)}
                distances = [distance(found[one], targets[one]) for one in classes]
                left = [
                    1 - correlations(pair_means(found[one], statistic), pair_means(targets[one], statistic))[0] ** 2
                    for one in classes
                ]
                row += [f"{np.mean(distances):.4f}", f"{np.mean(left):.4f}"]
            rows.append(row)
            print(*row, sep="  ", flush=True)
    head = ["model", "pairs for each class", "own weights: distance", "1 - ρ²", "shared weights: distance", "1 - ρ²"]
    return markdown_table(head, rows)


def both_ways(fine: Any, classes: Sequence[int], pairs: int) -> Iterator[list[Fitted]]:
    """Yield a sampler for each class, first with weights of its own, then with shared ones, on the same nodes."""
    with torch.no_grad():
        kept = {one + i for one in candidates(fine, 5) for i in (0, 1)} | {fine.steps}
        pilots = {str(one): run_pilot(fine, pairs, _SEED, one, kept) for one in classes}
        nodes = chosen_nodes(fine, [*pilots.values()], [5])[0]
        yield [regression(fine, {key: pilot}, nodes, 0) for key, pilot in pilots.items()]
        yield [regression(fine, pilots, nodes, 0)] * len(classes)


def samples_figure(follower: Follower) -> Any:
    """Draw samples of a fine sampler, of the sampler with fewer steps and of the fitted one, from the same noise."""
    fine = follower.load()
    noise = as_rows(mcgen.MonteCarlo().draw(fine.noise, N_COLUMNS, _SEED, stream=("followers",)))
    some = list(follower.followers(fine))[:2]
    figure, axes = new_figure(3, N_COLUMNS, 0.7 * N_COLUMNS, 0.72 * 3)
    for row, (name, sampler) in enumerate([(f"{fine.steps} steps", fine), some[1], some[0]]):
        for ax, image in zip(axes[row], as_numpy(sampler(noise, follower.condition)), strict=True):
            show_image(ax, image)
        axes[row, 0].set_ylabel(name)
    return figure
