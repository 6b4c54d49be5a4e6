r"""Paths of normal data: the exact law of all states, and the expectations of functionals of paths.

The sampler of normal data is a chain :math:`x_{i+1} = M_i x_i + b_i + \sigma_i z_i`. So each state is an affine map
:math:`x_i = m_i + L_i w` of the vector w of all noises, and for affine functions

.. math:: E \lVert c + \sum_i A_i x_i \rVert^2
   = \lVert c + \sum_i A_i m_i \rVert^2 + \lVert \textstyle\sum_i A_i L_i \rVert_F^2.

All truths are such expectations. The divergence of two laws of paths is that of two normal laws of all states together,
by the formula with determinants, which does not know of steps. The likelihood of a datum is a normal density. The maps
are made from the covariance by linear solves, without the eigenvectors that the generator uses.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.generators import GaussianDiffusion
from mcgen.generators.reverse_steps import steps_of


@dataclass(frozen=True)
class AffinePath:
    """The law of the path of a `GaussianDiffusion` with the sampler "ddim".

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
