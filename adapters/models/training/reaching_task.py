r"""A task of shared autonomy: a point in the plane goes round an obstacle to one of two goals; its expert and pilots.

The position p moves by the action a, a velocity of length at most 1, and by a disturbance,

.. math:: p_{t+1} = p_t + 0.15\, a_t + 0.02\, \xi_t, \qquad \xi_t \sim N(0, I).

An episode succeeds within a distance of 0.2 from its goal g. It fails at the other goal, and inside the obstacle, a
disk of radius 0.45 at the origin. The goal is part of the state, but the policy observes p alone: it must infer the
goal from what the pilot does.

The expert follows a potential field. With r the unit vector from the centre to p, and r' its quarter turn towards the
goal's side, the direction is

.. math:: \frac{g - p}{|g - p|} + 2 e^{-(|p| - 0.45) / 0.15} (r + r').

The noisy and the laggy pilot resemble those of [1]_.

.. rubric:: References

.. [1] T. Yoneda, L. Sun, G. Yang, B. Stadie, M. Walter (2023). To the noise and back: diffusion for shared autonomy.
   Robotics: Science and Systems.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mcgen.adapters.composed.episodes import Situation
from mcgen.generators import Generator, as_generator
from mcgen.noise import Array, Block, NoiseSpec

HORIZON = 25
"""Number of steps; the expert needs about 16."""
GOAL = np.array([0.6, 1.0], np.float32)
"""The right goal; the left one is its mirror image."""
GOAL_RADIUS = 0.2
OBSTACLE_RADIUS = 0.45
START = np.array([0.0, -1.0], np.float32)
"""Mean of the first position."""
START_SD = np.array([0.3, 0.1], np.float32)
STEP = 0.15
DISTURBANCE_SD = 0.02
TREMOR_SD = 0.1
"""Standard deviation of the expert's actions about the potential field; it spreads the data of the policy."""


class Reaching:
    """The environment. A state (x, y, side) has the position, and the side of its goal, 1 (right) or -1 (left)."""

    action_shape = (2,)
    start_noise = Block((3,))
    step_noise = Block((2,))

    def start(self, noise: Array) -> Array:
        """Return the first states (n, 3); the sign of the third number chooses the goal."""
        side = np.where(noise[:, 2:] < 0, -1, 1)
        return np.concatenate([START + START_SD * noise[:, :2], side], axis=1).astype(noise.dtype)

    def step(self, state: Array, action: Array, noise: Array | None) -> Array:
        """Return the next states (n, 3)."""
        assert noise is not None
        length = np.linalg.norm(action, axis=1, keepdims=True)
        moved = state[:, :2] + STEP * action / np.maximum(length, 1) + DISTURBANCE_SD * noise
        return np.concatenate([moved, state[:, 2:]], axis=1)

    def observe(self, state: Array) -> Array:
        """Return the positions (n, 2), without the goal."""
        return state[:, :2]

    def succeeded(self, state: Array) -> NDArray[np.bool_]:
        """Return which states lie at their own goal."""
        return np.asarray(np.linalg.norm(state[:, :2] - goal_of(state), axis=1) < GOAL_RADIUS)

    def ended(self, state: Array) -> NDArray[np.bool_]:
        """Return which states lie at a goal, right or wrong, or in the obstacle."""
        return np.asarray(reaches_any(state) | (np.linalg.norm(state[:, :2], axis=1) < OBSTACLE_RADIUS))


def goal_of(state: Array) -> Array:
    """Return the goals (n, 2) of states (n, 3)."""
    return np.asarray(GOAL * np.concatenate([state[:, 2:], np.ones_like(state[:, 2:])], axis=1))


def reaches_any(state: Array) -> NDArray[np.bool_]:
    """Return which states lie at one of the two goals."""
    mirrored = np.stack([np.abs(state[:, 0]), state[:, 1]], axis=1)
    return np.asarray(np.linalg.norm(mirrored - GOAL, axis=1) < GOAL_RADIUS)


def straight(state: Array) -> Array:
    """Return unit velocities (n, 2) straight to the goal."""
    return _unit(goal_of(state) - state[:, :2])


def field(state: Array) -> Array:
    """Return unit velocities (n, 2) of the potential field, which lead round the obstacle."""
    position, side = state[:, :2], state[:, 2:]
    distance = np.linalg.norm(position, axis=1, keepdims=True)
    out = _unit(position)
    turned = side * np.stack([-out[:, 1], out[:, 0]], axis=1)
    return _unit(straight(state) + 2 * np.exp((OBSTACLE_RADIUS - distance) / 0.15) * (out + turned))


def _unit(vector: Array) -> Array:
    return np.asarray(vector / np.maximum(np.linalg.norm(vector, axis=1, keepdims=True), 1e-6))


def _act(
    direction: Callable[[Array], Array], sd: float, lag: float, noise: Mapping[str, Array], seen: Situation
) -> Array:
    """Return actions (n, 2): the direction with noise, or with probability `lag` the last action again."""
    fresh = direction(seen.state) + sd * noise["hand"]
    # The first action of an episode is always fresh.
    repeats = (noise["lag"] < lag)[:, None] & (seen.step > 1)
    return np.asarray(np.where(repeats, seen.last_action, fresh))


_PILOTS: dict[str, Callable[..., Array]] = {
    "expert": partial(_act, field, TREMOR_SD, 0.0),
    "noisy": partial(_act, field, 0.5, 0.0),
    "laggy": partial(_act, field, TREMOR_SD, 0.85),
    "blind": partial(_act, straight, TREMOR_SD, 0.0),
}
PILOTS = tuple(_PILOTS)


def pilot(name: str) -> Generator:
    """Return a pilot as a generator of actions.

    Parameters
    ----------
    name : {"expert", "noisy", "laggy", "blind"}
        The expert; the expert with noise of standard deviation 0.5; the expert who repeats the last action with
        probability 0.85; and a pilot who does not see the obstacle and goes straight to the goal.

    Raises
    ------
    ValueError
        If there is no such pilot.
    """
    if name not in _PILOTS:
        raise ValueError(f"a pilot is one of {', '.join(PILOTS)}; got {name!r}")
    noise = NoiseSpec({"hand": Block((2,)), "lag": Block((), "uniform")})
    return as_generator(_PILOTS[name], noise, name=f"{name} pilot")
