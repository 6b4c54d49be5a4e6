"""Candidates of a plan: ways of spending the evaluations, with what is predicted of each; and their short names."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.designs import Antithetic, Design, LatinHypercube, MonteCarlo, OrthogonalAntithetic, Sobol, Subspace
from mcgen.variance_reduction.controls.control_variates import Controls
from mcgen.variance_reduction.planning.coarse import Coarse

LEAST_EFFICIENCY = 0.975
"""Efficiency that a choice must keep for every component, relative to the better of pairs and Monte Carlo.

The pilot costs about 1/13 of the evaluations, after which 0.975 x 12/13 = 0.9 is left.
"""

# Limit of efficiencies, so that a candidate that integrates a component exactly has a finite geometric mean.
_MOST_EFFICIENT = 1e6


@dataclass(frozen=True, eq=False)
class Candidate:
    """One way of spending the evaluations, with its predicted half-widths; `Plan.candidates` has them.

    Attributes
    ----------
    name : str
        Short name, as `LEGEND` explains it.
    designs : tuple of Design
        The design, or those of the coarse and of the fine level.
    n_replicates : tuple of int
        Number of replicates of each design.
    variance, half_width : ndarray of shape (k,)
        Predicted variance and half-width of the estimate of each component; NaN where nothing is predicted.
    error : ndarray of shape (k,)
        Standard deviation of the log of the half-width about its prediction.
    known_from : str
        Source of the prediction: samples, pairs, replicates of a trial, regression or other models.
    coarse : Coarse or None
        The generator of the coarse level.
    coefficients : ndarray of shape (k,) or None
        Factor of the coarse generator in the fine level.
    controls : Controls or None
        Control variates.
    unseen : str
        Warning that rare failures of the coarse generator may go unseen; empty where there is none.
    left : ndarray of shape (k,) or None
        Share of the variance of pair means that remains after the coarse generator, for two levels without a pilot.

    Examples
    --------
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: z**2, noise=(16,), name="square")
    >>> made = mcgen.plan(model, mcgen.statistics.pixel_mean, n_evaluations=3200, seed=0)
    >>> [one.name for one in made.candidates]
    ['Monte Carlo', 'pairs', 'sobol ± 128', 'sobol 128']
    >>> made.chosen.designs, made.chosen.n_replicates
    ((Sobol(n_points=128),), (23,))
    """

    name: str
    designs: tuple[Design, ...]
    n_replicates: tuple[int, ...]
    variance: Floats
    half_width: Floats
    error: Floats
    known_from: str
    coarse: Coarse | None = None
    coefficients: Floats | None = None
    controls: Controls | None = None
    unseen: str = ""
    left: Floats | None = None

    @property
    def caution(self) -> Floats:
        """Factor of the predicted efficiencies that leaves a margin for their errors, shape (k,).

        It is exp(-e) for the error e of the log half-width, which is half the error of the log efficiency. It is 1 for
        Monte Carlo and for pairs, with which the others are compared.
        """
        alone = self.coarse is None and self.controls is None
        plain = alone and self.designs[0].n_points == (2 if isinstance(self.designs[0], Antithetic) else 1)
        return np.ones_like(self.error) if plain else np.exp(-np.nan_to_num(self.error))

    @property
    def n_evaluations(self) -> int:
        """The cost of the run, in evaluations of the generator."""
        points = [design.n_points * n for design, n in zip(self.designs, self.n_replicates, strict=True)]
        if self.coarse is None:
            return points[0]
        return math.ceil(points[0] * self.coarse.cost + points[1] * (1 + self.coarse.cost) - 1e-9)


def efficiencies(one: Candidate, base: Candidate) -> Floats:
    """Return the squared ratio of half-widths, base over one, shape (k,), limited to 1e6.

    It is 1 where both half-widths are 0, and where nothing is predicted.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (base.half_width / one.half_width) ** 2
    return np.asarray(np.where(np.isnan(ratio), 1.0, np.clip(ratio, 1 / _MOST_EFFICIENT, _MOST_EFFICIENT)))


def geometric_mean(values: Floats) -> float:
    """Return the geometric mean."""
    return math.exp(float(np.log(values).mean()))


def design_text(design: Design) -> str:
    """Return the short name of a design, as `LEGEND` explains it."""
    if isinstance(design, Subspace):
        return f"{'net ±' if isinstance(design.leading, Antithetic) else 'net'} {design.n_points}"
    if isinstance(design, Antithetic):
        return "pairs" if design.base is None else f"sobol ± {design.n_points}"
    return f"{_SHORT[type(design)]} {design.n_points}".removesuffix(" 1")


_SHORT = {Sobol: "sobol", OrthogonalAntithetic: "frames", LatinHypercube: "hypercube", MonteCarlo: "Monte Carlo"}


def two_levels_text(cost: float, coarse: Design, fine: Design) -> str:
    """Return the short name of two levels, as `LEGEND` explains it."""
    return f"two levels ({cost:.2g}): {design_text(coarse)} + {design_text(fine)}"


LEGEND = (
    "net n: n Sobol' points on the leading directions, pairs on the rest; sobol n: n in all dimensions; ± n: n/2 of\n"
    "these and their negations; hypercube n: a Latin hypercube; frames n: n/2 orthogonal directions and their\n"
    "negations; two levels (c): the coarse generator of cost c + the difference; overall: geometric mean; known from:\n"
    "this pilot's pairs, trials or regression, or what the same design did on other models"
)
