r"""Study of the functionals of paths: their expectations, where everything is normal.

The ancestral sampler of normal data is a chain :math:`x_{i+1} = M_i x_i + b_i + \sigma_i z_i`. So each state is an
affine map :math:`x_i = m_i + L_i w` of the vector w of all noises, and for affine functions

.. math:: E \lVert c + \sum_i A_i x_i \rVert^2
   = \lVert c + \sum_i A_i m_i \rVert^2 + \lVert \textstyle\sum_i A_i L_i \rVert_F^2.

The truths are such expectations. The divergence of two laws of paths is that of two normal laws of all states together,
by the formula with determinants, which does not know of steps. The likelihood of a datum is a normal density. The
maps are made from the covariance by linear solves, without the eigenvectors that the generator uses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.designs import MonteCarlo
from mcgen.generators import GaussianDiffusion, Paths, VariationalBound
from mcgen.generators.reverse_steps import steps_of
from mcgen.noise import as_rows
from mcgen.statistics import paths as functionals
from mcgen.validation.studies.verdicts import Study, Verdict, at_most, control, mean

# Paths of the short and of the full form.
_PATHS = {False: 20_000, True: 200_000}
# Largest relative difference of closed forms: rounding of determinants.
_ROUNDING = 1e-8
_STEPS, _COARSE = 12, 4


@dataclass(frozen=True)
class AffinePath:
    """The law of the path of a `GaussianDiffusion` with fresh noise.

    Attributes
    ----------
    model : GaussianDiffusion
        The sampler.
    predictors : list of (ndarray of shape (d, d), ndarray of shape (d,))
        The predicted sample at each step, as an affine function of the state.
    means, loads : list of ndarray
        Each state is mean + load @ w; shapes (d,) and (d, d (steps + 1)).
    """

    model: GaussianDiffusion
    predictors: list[tuple[Floats, Floats]] = field(init=False)
    means: list[Floats] = field(init=False)
    loads: list[Floats] = field(init=False)

    def __post_init__(self) -> None:
        model, d = self.model, self.model.mean.size
        predictors, means, loads = [], [np.zeros(d)], [np.eye(d, d * (model.steps + 1))]
        for i, move in enumerate(steps_of(model.signal_shares, model.eta)):
            a = float(model.signal_shares[i])
            gain = math.sqrt(a) * np.linalg.solve(a * model.covariance + (1 - a) * np.eye(d), model.covariance)
            offset = model.mean.ravel() - math.sqrt(a) * gain @ model.mean.ravel()
            predictors.append((gain, offset))
            matrix = move.state * np.eye(d) + move.sample * gain
            fresh = move.fresh * np.eye(d, d * (model.steps + 1), d * (i + 1))
            means.append(matrix @ means[-1] + move.sample * offset)
            loads.append(matrix @ loads[-1] + fresh)
        for name, value in (("predictors", predictors), ("means", means), ("loads", loads)):
            object.__setattr__(self, name, value)

    def mean_square(self, terms: Mapping[int, Floats], constant: Floats) -> float:
        """Return the expectation of |constant + sum_i A_i x_i|^2, for matrices A_i by state."""
        centre = constant + sum(matrix @ self.means[i] for i, matrix in terms.items())
        load = sum(matrix @ self.loads[i] for i, matrix in terms.items())
        return float(np.square(centre).sum() + np.square(load).sum())

    @property
    def noisy(self) -> range:
        """The steps with fresh noise."""
        return range(self.model.steps - 1)

    def kinetic(self) -> float:
        """Return the expected kinetic action."""
        a, one = self.model.signal_shares, np.eye(self.model.mean.size)
        squares = [self.mean_square({i + 1: one, i: -one}, 0 * one[0]) for i in range(self.model.steps)]
        return float((np.array(squares) / (2 * np.diff(np.log(a)))).sum())

    def fisher_action(self) -> float:
        """Return the expected Fisher action."""
        a, total = self.model.signal_shares, 0.0
        for i, (gain, offset) in enumerate(self.predictors):
            score = (np.eye(len(gain)) - math.sqrt(a[i]) * gain) / (1 - a[i])
            square = self.mean_square({i: score}, -math.sqrt(a[i]) * offset / (1 - a[i]))
            total += math.log(a[i + 1] / a[i]) / 2 * square
        return total

    def divergence(self, other: AffinePath) -> float:
        """Return the divergence from the other law of all states but the sample, by determinants."""
        n = self.model.steps * self.model.mean.size
        (m, c), (m_2, c_2) = (
            (np.concatenate(law.means[:-1]), np.concatenate(law.loads[:-1])[:, :n]) for law in (self, other)
        )
        whitened = np.linalg.solve(c_2, np.column_stack([c, m - m_2]))
        logs = np.linalg.slogdet(c_2)[1] - np.linalg.slogdet(c)[1]
        return float((np.square(whitened).sum() - n) / 2 + logs)

    def coarse_gap(self, steps: int) -> float:
        """Return the expected gap to a sampler that holds its predicted samples."""
        every, total = self.model.steps // steps, 0.0
        moves = steps_of(self.model.signal_shares, self.model.eta)
        for i in range(self.model.steps - every):
            held = i - i % every
            (gain, offset), (gain_2, offset_2) = self.predictors[i], self.predictors[held]
            terms = {i: gain, held: -gain_2} if i > held else {i: gain - gain_2}
            ratio = moves[i].sample / moves[i].fresh
            total += ratio**2 / 2 * self.mean_square(terms, offset - offset_2)
        return total

    def bound(self, x_0: Floats) -> float:
        """Return the expected variational bound of a datum, in bits per dimension."""
        a, d = self.model.signal_shares, len(x_0)
        nats = (a[0] * x_0 @ x_0 - d * (a[0] + math.log1p(-a[0]))) / 2
        for i, move in enumerate(steps_of(a, self.model.eta)):
            gain, offset = self.predictors[i]
            bias = (math.sqrt(a[i]) * gain - np.eye(d)) @ x_0 + offset
            square = bias @ bias + (1 - a[i]) * np.square(gain).sum()
            last = i == self.model.steps - 1
            variance = (1 - a[i]) / a[i] if last else (move.fresh / move.sample) ** 2
            nats += square / (2 * variance) + (d / 2 * math.log(2 * math.pi * variance) if last else 0.0)
        return float(nats) / (d * math.log(2))

    def surprise(self, x_0: Floats) -> float:
        """Return the negative log likelihood of a datum under the sampler with the bound's decoder, in bits."""
        a, (gain, offset), d = float(self.model.signal_shares[-2]), self.predictors[-1], len(x_0)
        load = gain @ self.loads[-2]
        covariance = load @ load.T + (1 - a) / a * np.eye(d)
        gap = x_0 - gain @ self.means[-2] - offset
        nats = gap @ np.linalg.solve(covariance, gap) + np.linalg.slogdet(2 * math.pi * covariance)[1]
        return float(nats) / 2 / (d * math.log(2))


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
            values = functionals.bits_per_dimension(bound(noise, x_0))
            verdicts += [
                mean(f"bound on datum {k} under {model.name}", values, law.bound(x_0)),
                at_most("exact bits per dimension less the bound", law.surprise(x_0) - law.bound(x_0), 0.0),
            ]
    law = AffinePath(one)
    noise = as_rows(MonteCarlo().draw(VariationalBound(one).noise, _PATHS[full] // 4, seed))
    terms = VariationalBound(one)(noise, data[0])
    steps = terms[:, 1:-1].sum(axis=1)
    without = float(law.bound(data[0]) - steps.mean())
    return [
        *verdicts,
        control(mean("bound on datum 0, steps without the factor 1/2", terms.sum(axis=1) + steps, law.bound(data[0]))),
        control(at_most("exact bits per dimension less the bound without steps", law.surprise(data[0]) - without, 0.0)),
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
