r"""Products, quotients and mixtures of Gaussian mixtures, whose moments are known in closed form.

For isotropic normal densities in d dimensions,

.. math:: N(x; m, v)\, N(x; m', v') = N(m - m'; 0, v + v')\, N(x; m_p, v_p), \qquad
    v_p = \frac{v v'}{v + v'}, \quad m_p = v_p \left(\frac{m}{v} + \frac{m'}{v'}\right).

So the product of two mixtures is a mixture over pairs of components. A quotient by one normal density is the same
formula with a negative precision :math:`1 / v'`, as long as the sum of precisions is positive.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

from mcgen._lib.arrays import Floats


@dataclass(frozen=True)
class Isotropic:
    """A mixture of isotropic normal laws.

    Attributes
    ----------
    weights : ndarray of shape (k,)
        Weights of the components, with sum 1.
    means : ndarray of shape (k, d)
        Their means.
    variances : ndarray of shape (k,)
        Their variances in each direction.
    """

    weights: Floats
    means: Floats
    variances: Floats

    @classmethod
    def of(cls, weights: Any, means: Any, variances: Any) -> Isotropic:
        """Return a mixture of any sequences; the weights are scaled to the sum 1."""
        w, m, v = (np.asarray(one, dtype=np.float64) for one in (weights, means, variances))
        return cls(w / w.sum(), m, np.broadcast_to(v, w.shape))

    def noised(self, signal: float) -> Isotropic:
        """Return the law of sqrt(signal) x + sqrt(1 - signal) z."""
        return Isotropic(self.weights, math.sqrt(signal) * self.means, signal * self.variances + 1 - signal)

    def log_components(self, x: Floats) -> Floats:
        """Return the log densities of the components times their weights, shape (n, k)."""
        squares = ((x[:, None] - self.means) ** 2).sum(2)
        scales = 2 * np.pi * self.variances
        return np.asarray(np.log(self.weights) - squares / (2 * self.variances) - x.shape[1] / 2 * np.log(scales))

    def moments(self) -> Floats:
        """Return the means of the coordinates and of the squared length, shape (d + 1,)."""
        d = self.means.shape[1]
        return np.append(self.weights @ self.means, self.weights @ ((self.means**2).sum(1) + d * self.variances))

    def times(self, other: Isotropic, power: int = 1) -> Isotropic:
        """Return the law whose density is proportional to this one times the other's; power -1 divides by it.

        Raises
        ------
        ValueError
            If the divisor has several components, or is narrower than this law.
        """
        if power == -1 and len(other.weights) > 1:
            raise ValueError(f"a quotient by a mixture of {len(other.weights)} components is no mixture; take one")
        precisions = 1 / self.variances[:, None] + power / other.variances
        if (precisions <= 0).any():
            raise ValueError("a quotient by a narrower law has no finite integral; take a wider divisor")
        v = 1 / precisions
        m = v[..., None] * (
            self.means[:, None] / self.variances[:, None, None] + power * other.means / other.variances[:, None]
        )
        # The constant of a pair of components is its value at the mean, over that of the normalized density there.
        d, flat = self.means.shape[1], m.reshape(-1, m.shape[-1])
        own = np.repeat(np.eye(len(self.weights), dtype=bool), len(other.weights), axis=0)
        others = np.tile(np.eye(len(other.weights), dtype=bool), (len(self.weights), 1))
        logs = self.log_components(flat)[own] + power * other.log_components(flat)[others]
        logs = logs + d / 2 * np.log(2 * np.pi * v.ravel())
        return Isotropic.of(np.exp(logs - logs.max()), flat, v.ravel())

    def pooled(self, other: Isotropic, share: float) -> Isotropic:
        """Return the mixture of this law with the other, of which `share` is this one's."""
        return Isotropic(
            np.concatenate([share * self.weights, (1 - share) * other.weights]),
            np.concatenate([self.means, other.means]),
            np.concatenate([self.variances, other.variances]),
        )


def ring() -> Isotropic:
    """Return eight narrow components on the unit circle."""
    angles = np.arange(8) * np.pi / 4
    return Isotropic.of(np.ones(8), np.stack([np.cos(angles), np.sin(angles)], axis=1), 0.05)


def two_spots() -> Isotropic:
    """Return two wider components; their product with the ring has mean (0.55, 0.44)."""
    return Isotropic.of([0.5, 0.5], [[1.0, 0.0], [0.2, 0.9]], 0.15)


def wide() -> Isotropic:
    """Return one wide component, by which others can be divided."""
    return Isotropic.of([1.0], [[0.5, 0.0]], 1.0)
