"""Quadratic polynomials in leading directions as control variates."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import combinations

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen._lib.checks import checked_integer
from mcgen.noise import Noise, NoiseSpec
from mcgen.noise.directions import Basis
from mcgen.variance_reduction.controls.control_variates import Controls, NoiseSpecFunction
from mcgen.variance_reduction.controls.coordinates import coordinates, require_controlled


def quadratic(basis: Basis, degree: int = 2) -> Controls:
    """Return controls from directions of the noise: the coordinates along them, their squares and their products.

    They remove the linear and quadratic parts of a statistic in these directions. Antithetic pairs remove the odd part
    already. With a = B'z the coordinates are a_i. For degree 2 the controls also include a_i^2 - 1, and a_i a_j for i
    < j. With r directions these are r + r (r + 1) / 2 controls, all of expectation 0. For uniform blocks z is the
    normal score.

    Parameters
    ----------
    basis : Basis
        The directions, such as those of `mcgen.bases.active_subspace` or `mcgen.bases.dct_basis`.
    degree : {1, 2}
        1 for the coordinates alone.

    Examples
    --------
    >>> import mcgen
    >>> mcgen.controls.quadratic(mcgen.bases.dct_basis((16,), 2)).names
    ('a0', 'a1', 'a0^2', 'a1^2', 'a0 a1')
    """
    if not isinstance(basis, Basis):
        raise TypeError(f"quadratic takes an mcgen.bases.Basis; got {basis!r}")
    if checked_integer("degree", degree) not in (1, 2):
        raise ValueError(f"degree must be 1 or 2; got {degree}")
    r = range(basis.n_directions)
    names = [f"a{i}" for i in r]
    if degree == 2:
        names += [f"a{i}^2" for i in r] + [f"a{i} a{j}" for i, j in combinations(r, 2)]
    text = f"quadratic({basis}{'' if degree == 2 else ', degree=1'})"
    return Controls(_Quadratic(basis, degree), (0.0,) * len(names), tuple(names), text, (basis,))


@dataclass(frozen=True)
class _Quadratic(NoiseSpecFunction):
    """The values of coordinates along directions, their squares less 1 and their products."""

    basis: Basis
    degree: int

    def check(self, spec: NoiseSpec) -> None:
        require_controlled(self.basis, spec)

    def __call__(self, noise: Noise, spec: NoiseSpec) -> Floats:
        a = coordinates(self.basis, noise, spec)
        if self.degree == 1:
            return a
        i, j = np.triu_indices(self.basis.n_directions, 1)
        return np.concatenate([a, a**2 - 1, a[:, i] * a[:, j]], axis=1)
