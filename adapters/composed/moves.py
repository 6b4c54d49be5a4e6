r"""Moves of Markov chains, each a function of its noise: Langevin and Hamiltonian, for each row alone.

Let q be a density, s its score and :math:`\xi \sim N(0, I)`. A Langevin move with the step h is

.. math:: x' = x + h\, s(x) + \sqrt{2 h}\, \xi.

The Metropolis-adjusted one (MALA [1]_) accepts x' where, for u uniform,

.. math::

    \log u < \log q(x') - \log q(x) - \frac{\lVert x - x' - h\, s(x') \rVert^2}{4 h}
    + \frac{\lVert x' - x - h\, s(x) \rVert^2}{4 h}.

A Hamiltonian move has a velocity v. It is refreshed in part, :math:`v \leftarrow \gamma v + \sqrt{1 - \gamma^2}\, \xi`.
Then L leapfrog steps of length e lead to (x', v'). Where the move is adjusted (HMC [2]_), x' is accepted where

.. math:: \log u < \log q(x') - \log q(x) - \tfrac12 (\lVert v' \rVert^2 - \lVert v \rVert^2).

Otherwise x stays and v changes its sign. Without this change the chain would have another law for :math:`\gamma > 0`.

Every row has its own u, and its own decision.

.. rubric:: References

.. [1] G. O. Roberts, R. L. Tweedie (1996). Exponential convergence of Langevin distributions and their discrete
   approximations. Bernoulli 2(4).
.. [2] A. M. Horowitz (1991). A generalized guided Monte Carlo algorithm. Physics Letters B 268(2).
"""

from __future__ import annotations

import math
from typing import NamedTuple, Protocol

import torch


class Point(NamedTuple):
    """States with what the moves need of them.

    Attributes
    ----------
    x, score : Tensor of shape (n, ...)
        The states and their scores.
    density : Tensor of shape (n,), optional
        Their log densities, where the target has them.
    """

    x: torch.Tensor
    score: torch.Tensor
    density: torch.Tensor | None


class Target(Protocol):
    """The density of a level, as the moves see it."""

    def at(self, x: torch.Tensor) -> Point:
        """Return states with their scores, and their log densities where there are any."""
        ...

    def rise(self, here: Point, there: Point) -> torch.Tensor:
        """Return log q(there) - log q(here), shape (n,)."""
        ...


def langevin(
    target: Target, here: Point, xi: torch.Tensor, u: torch.Tensor | None, step: float
) -> tuple[Point, torch.Tensor | None]:
    """Return the next states and which of them were accepted (n,); without u all are, and None is returned.

    Parameters
    ----------
    target : Target
        The density.
    here : Point
        The states.
    xi : Tensor of shape (n, ...)
        Normal noise.
    u : Tensor of shape (n,), optional
        Uniform noise of the accept step; None for the unadjusted move.
    step : float
        The step h.
    """
    forward = here.x + step * here.score
    there = target.at(forward + math.sqrt(2 * step) * xi)
    if u is None:
        return there, None
    back = there.x + step * there.score
    ratio = target.rise(here, there) - (_square(here.x - back) - _square(there.x - forward)) / (4 * step)
    accepted = u.log() < ratio
    return _chosen(accepted, there, here), accepted


def hamiltonian(
    target: Target, here: Point, v: torch.Tensor, u: torch.Tensor | None, step: float, leapfrog: int
) -> tuple[Point, torch.Tensor, torch.Tensor | None]:
    """Return the next states, their velocities, and which were accepted (n,); without u all are.

    Parameters
    ----------
    target, here, u
        As for `langevin`.
    v : Tensor of shape (n, ...)
        The velocities, refreshed.
    step : float
        The length e of a leapfrog step.
    leapfrog : int
        Number of leapfrog steps.
    """
    there, w = here, v
    for _ in range(leapfrog):
        w = w + step / 2 * there.score
        there = target.at(there.x + step * w)
        w = w + step / 2 * there.score
    if u is None:
        return there, w, None
    accepted = u.log() < target.rise(here, there) - (_square(w) - _square(v)) / 2
    return _chosen(accepted, there, here), torch.where(_rows(accepted, v), w, -v), accepted


def _chosen(accepted: torch.Tensor, there: Point, here: Point) -> Point:
    """Return, for each row, the proposal where it was accepted, and the old state elsewhere."""
    rows = _rows(accepted, here.x)
    density = None
    if there.density is not None and here.density is not None:
        density = torch.where(accepted, there.density, here.density)
    return Point(torch.where(rows, there.x, here.x), torch.where(rows, there.score, here.score), density)


def _rows(accepted: torch.Tensor, x: torch.Tensor) -> torch.Tensor:
    return accepted.reshape(-1, *[1] * (x.ndim - 1))


def _square(x: torch.Tensor) -> torch.Tensor:
    """Return the squared length of each row, shape (n,)."""
    return x.flatten(1).square().sum(1)
