"""Study of the functionals of paths: their expectations, where everything is normal.

`mcgen.validation.problems.affine_paths` has the truths.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mcgen.designs import MonteCarlo
from mcgen.generators import GaussianDiffusion, Paths, VariationalBound
from mcgen.generators.reverse_steps import steps_of
from mcgen.noise import as_rows
from mcgen.statistics import paths as functionals
from mcgen.validation.problems.affine_paths import AffinePath
from mcgen.validation.studies.verdicts import Study, Verdict, at_most, control, mean

# Paths of the short and of the full form.
_PATHS = {False: 20_000, True: 200_000}
# Largest relative difference of closed forms: rounding of determinants.
_ROUNDING = 1e-8
_STEPS, _COARSE = 12, 4


def models() -> tuple[GaussianDiffusion, GaussianDiffusion]:
    """Return two ancestral samplers of normal data whose covariances do not commute."""
    root = np.array([[0.9, 0.0, 0.0], [0.4, 0.6, 0.0], [-0.3, 0.2, 0.3]])
    options: dict[str, Any] = {"sampler": "ddim", "eta": 1.0, "steps": _STEPS, "dtype": "float64"}
    one = GaussianDiffusion(np.array([0.5, -1.0, 0.3]), root @ root.T, **options)
    return one, GaussianDiffusion(np.array([0.2, -0.7, 0.3]), root.T @ root + 0.1 * np.eye(3), name="other", **options)


def actions(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts on the actions of paths and on the divergence between the laws of two samplers.

    Under its own sampler a path has half a chi-square variable with d (N - 1) degrees of freedom as its Onsager-Machlup
    functional, so that mean and variance are d (N - 1) / 2.
    """
    one, other = models()
    law, degrees = AffinePath(one), one.mean.size * (_STEPS - 1)
    path = Paths(one)(as_rows(MonteCarlo().draw(one.noise, _PATHS[full], seed)))
    own, gap = functionals.onsager_machlup()(path), functionals.action_gap(other)(path)
    divergence, difference = law.divergence(AffinePath(other)), functionals.onsager_machlup(of=other)(path) - own
    wide = path._replace(variances=1.1 * path.variances)
    return [
        mean("E of the Onsager-Machlup functional", own, degrees / 2),
        mean("Var of the Onsager-Machlup functional", np.square(own - degrees / 2), degrees / 2),
        control(mean("E of it, with variances 10 % too large", functionals.onsager_machlup()(wide), degrees / 2)),
        control(mean("E of it, without the factor 1/2", 2 * own, degrees / 2)),
        mean("E of the action gap is the divergence of the paths", gap, divergence),
        mean("E of the difference of Onsager-Machlup functionals is it too", difference, divergence),
        control(mean("E of the action gap is the divergence of the other way", gap, AffinePath(other).divergence(law))),
        control(mean("E of the action gap without the factor 1/2", 2 * gap, divergence)),
        mean("E of the kinetic action", functionals.kinetic(path), law.kinetic()),
        mean("E of the Fisher action", functionals.fisher_action(path), law.fisher_action()),
        mean("E of the gap to fewer steps", functionals.coarse_gap(_COARSE)(path), law.coarse_gap(_COARSE)),
        at_most("steps of eta = 1 compose, but for", _composition_gap(1.0), _ROUNDING),
        control(at_most("steps of eta = 0.5 compose, but for", _composition_gap(0.5), _ROUNDING)),
    ]


def bounds(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts on the variational bound: its closed form, and that it bounds the exact likelihood."""
    one, other = models()
    data = one(as_rows(MonteCarlo().draw(one.noise, 3, seed, stream=("data",))))
    verdicts = []
    for model in (one, other):
        law, bound = AffinePath(model), VariationalBound(model)
        noise = as_rows(MonteCarlo().draw(bound.noise, _PATHS[full] // 4, seed))
        for k, x_0 in enumerate(data):
            values, exact = functionals.bits_per_dimension(bound(noise, x_0)), law.bound(x_0)
            verdicts += [
                mean(f"bound on datum {k} under {model.name}", values, exact),
                at_most(f"exact bits of datum {k} less the bound under {model.name}", law.surprise(x_0) - exact, 0.0),
            ]
    law = AffinePath(one)
    noise = as_rows(MonteCarlo().draw(VariationalBound(one).noise, _PATHS[full] // 4, seed))
    terms = VariationalBound(one)(noise, data[0])
    steps = terms[:, 1:-1].sum(axis=1)
    without = float(law.bound(data[0]) - steps.mean())
    return [
        *verdicts,
        control(mean("bound on datum 0, steps without the factor 1/2", terms.sum(axis=1) + steps, law.bound(data[0]))),
        control(at_most("exact bits of datum 0 less the bound without steps", law.surprise(data[0]) - without, 0.0)),
    ]


def _composition_gap(eta: float) -> float:
    """Return the largest difference of a coarse step's factors from those of the fine steps inside, sample held."""
    signals, every, gaps = models()[0].signal_shares, _STEPS // _COARSE, []
    fine, coarse = steps_of(signals, eta), steps_of(signals[::every], eta)
    for j, wanted in enumerate(coarse[:-1]):
        state, sample, variance = 1.0, 0.0, 0.0
        for move in fine[j * every : (j + 1) * every]:
            state, sample = move.state * state, move.state * sample + move.sample
            variance = move.state**2 * variance + move.fresh**2
        gaps += [state - wanted.state, sample - wanted.sample, math.sqrt(variance) - wanted.fresh]
    return float(np.abs(gaps).max())


STUDIES: dict[str, Study] = {
    "actions of paths": actions,
    "variational bounds": bounds,
}
"""Studies by title."""
