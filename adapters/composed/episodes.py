r"""Episodes of a policy in an environment as samples: one episode is one sample.

From the first state :math:`s_1`, made from noise, a policy chooses an action at each of H steps, and the environment
answers with the next state,

.. math:: a_t \sim \pi(\cdot \mid o(s_t)), \qquad s_{t+1} = f(s_t, a_t, \xi_t), \qquad t = 1, \ldots, H,

where :math:`o(s)` is what the policy observes. A state in which the episode has ended is kept to the horizon H. So all
episodes of a batch take H steps, and an episode that ends early changes no other.

In shared autonomy [1]_ a pilot proposes an action :math:`\tilde a_t`, and a diffusion model of an expert's actions
corrects it: noise is mixed in up to the diffusion ratio :math:`\gamma = k / T` and taken out by the model (`Partial`).
At :math:`\gamma = 0` the pilot acts alone; near 1 the pilot's action is forgotten, and the model acts alone.

Every random number of an episode is noise of a named block: "start", "policy t/b" for the policy's block b at step t,
"pilot t/b" and "environment t".

.. rubric:: References

.. [1] T. Yoneda, L. Sun, G. Yang, B. Stadie, M. Walter (2023). To the noise and back: diffusion for shared autonomy.
   Robotics: Science and Systems.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import as_numpy, leading_length, non_finite_rows, numbers_of
from mcgen._lib.checks import checked_integer
from mcgen._lib.names import name_of
from mcgen.adapters.composed.combinators import in_library_of
from mcgen.adapters.composed.environments import Environment, checked_environment
from mcgen.adapters.composed.truncation import Start
from mcgen.generators import Generator
from mcgen.generators.base import checked_generator
from mcgen.noise import Array, BlockNoise, Noise, NoiseSpec


class Situation(NamedTuple):
    """What a pilot knows: the condition of the generator that is the pilot of an `Episode`.

    Attributes
    ----------
    state : ndarray of shape (n, ...)
        The states, with what the policy does not observe, such as the goal.
    last_action : ndarray of shape (n, ...)
        The pilot's own actions at the step before; zeros at the first step.
    step : int
        Number of the step, from 1.

    Examples
    --------
    A pilot that repeats its last action in half of the steps; its coin flips are noise too:

    >>> import mcgen
    >>> import numpy as np
    >>> from mcgen.adapters import Situation
    >>> def act(noise, seen):
    ...     fresh = 1 - seen.state + 0.1 * noise["hand"]
    ...     repeats = (noise["coin"] < 0.5)[:, None] & (seen.step > 1)
    ...     return np.where(repeats, seen.last_action, fresh)
    >>> noise = {"hand": mcgen.Block((1,)), "coin": mcgen.Block((), "uniform")}
    >>> pilot = mcgen.as_generator(act, noise, name="hesitant")
    >>> drawn = {"hand": np.zeros((2, 1)), "coin": np.array([0.2, 0.8])}
    >>> pilot(drawn, Situation(np.zeros((2, 1)), np.full((2, 1), 5.0), 2)).ravel().tolist()
    [5.0, 1.0]
    """

    state: Array
    last_action: Array
    step: int


class Rollout(NamedTuple):
    """Samples of `Episode`: n episodes. Floats have the type of the noise.

    Attributes
    ----------
    success : ndarray of bool, shape (n,)
        Whether the environment calls the last state a success. As a statistic it gives the success rate.
    length : ndarray of int, shape (n,)
        Number of steps until the episode ended, at most H.
    states : ndarray of shape (n, H + 1, ...)
        All states. After the end the last one is repeated.
    actions : ndarray of shape (n, H, ...)
        The actions; zeros after the end.
    pilot_actions : ndarray of shape (n, H, ...)
        The pilot's actions; zeros after the end. Without a pilot the shape is (n, 0, ...).

    Examples
    --------
    >>> import mcgen
    >>> from mcgen.adapters import Episode, models
    >>> from mcgen.adapters.models.training.reaching_task import Reaching
    >>> episode = Episode(models.load("reaching-policy", steps=5), Reaching(), horizon=25)
    >>> rollout = mcgen.sample(episode, 20, seed=0)
    >>> rollout.success.shape, rollout.states.shape, rollout.actions.shape
    ((20,), (20, 26, 3), (20, 25, 2))
    """

    success: NDArray[np.bool_]
    length: NDArray[np.int64]
    states: Array
    actions: Array
    pilot_actions: Array


class Episode:
    """Episodes of a policy, a pilot, or a pilot whose actions a policy corrects; one episode is one sample.

    Use it to estimate a success rate or a return with an interval, and for the difference of two policies on the same
    noise. The samples are a `Rollout`.

    Parameters
    ----------
    policy : Generator or None
        Makes one action for each row, of torch or numpy. Its condition is the observation of each row. With a pilot it
        is what `join` makes. None means that the pilot acts alone.
    environment : Environment
        Makes the states, on numpy arrays.
    horizon : int
        Number of steps H, at least 1.
    pilot : Generator, optional
        Makes the actions that the policy corrects. Its condition is a `Situation`.
    join : callable, optional
        ``join(action, observation)`` returns the policy's condition where there is a pilot. By default it is
        ``Start(action, observation)``, as `Partial` takes it.
    name : str, optional
        The generator's name in results.

    Notes
    -----
    An episode takes no condition. The noise of a pilot acting alone is a part of the noise of the same pilot with a
    policy: give the names of these blocks as `common_random_numbers` to `mcgen.difference`.

    Raises
    ------
    TypeError
        If the policy or the pilot is not a generator, or the environment lacks a member.
    ValueError
        If the horizon is below 1, there is neither a policy nor a pilot, or their noise has different types. In a call,
        if an action, a state, an observation or an end has another shape than described, or is not finite.

    Examples
    --------
    A policy pushes a number to the right, and succeeds where the number leaves the interval (-2, 2) on that side:

    >>> import mcgen
    >>> from mcgen.adapters import Episode
    >>> class Line:
    ...     action_shape, start_noise, step_noise = (1,), mcgen.Block((1,)), None
    ...
    ...     def start(self, noise):
    ...         return noise
    ...
    ...     def step(self, state, action, noise):
    ...         return state + 0.2 * action
    ...
    ...     def observe(self, state):
    ...         return state
    ...
    ...     def succeeded(self, state):
    ...         return state[:, 0] > 2
    ...
    ...     def ended(self, state):
    ...         return abs(state[:, 0]) > 2
    >>> right = mcgen.as_generator(lambda z, state: 1 + z, noise=(1,), name="right")
    >>> episode = Episode(right, Line(), horizon=10)
    >>> print(episode.noise.dimension, episode.noise.blocks[1][0])
    11 policy 1/noise
    >>> options = dict(design=mcgen.MonteCarlo(), n_evaluations=1000, seed=0)
    >>> rate = mcgen.estimate(episode, lambda rollout: rollout.success, **options)
    >>> rate.method, bool(0.1 < rate.mean < 0.9)
    ('proportion', True)
    """

    def __init__(
        self,
        policy: Generator | None,
        environment: Environment,
        horizon: int,
        *,
        pilot: Generator | None = None,
        join: Callable[[Any, Any], Any] = Start,
        name: str | None = None,
    ) -> None:
        actors = {"policy": policy, "pilot": pilot}
        present = {role: checked_generator(actor, role) for role, actor in actors.items() if actor is not None}
        if not callable(join):
            raise TypeError(f"join must be a callable of action and observation; got {join!r}")
        if not present:
            raise ValueError("an episode needs a policy, a pilot or both; got neither. Give a generator of actions")
        if checked_integer("horizon", horizon) < 1:
            raise ValueError(f"horizon must be at least 1 step; got {horizon}")
        self.policy, self.pilot, self.environment = policy, pilot, checked_environment(environment)
        self.horizon, self.join = horizon, join
        self.name = name or f"{' for '.join(map(name_of, present.values()))}, {horizon} steps"
        self.noise = _noise_of_episode(present, self.environment, horizon)

    def __repr__(self) -> str:
        return f"Episode({self.name}, noise={self.noise})"

    @property
    def pilot_evaluations(self) -> float:
        """Cost of fitting the policy, in evaluations of the episode; 0 where it is not a `Fitted` sampler."""
        return getattr(self.policy, "pilot_evaluations", 0.0) / self.horizon

    def __call__(self, noise: Noise, condition: Any = None) -> Rollout:
        """Return the episodes that `noise` makes.

        Parameters
        ----------
        noise : mapping of str to ndarray
            As drawn by a design.
        condition : None
            An episode takes none.
        """
        if condition is not None:
            raise TypeError(f"{self.name!r} takes no condition; got {condition!r}. Make an environment for each one")
        blocks, environment = _Blocks(self.name, self.noise, noise), self.environment
        state = self._shaped("start", environment.start(blocks["start"]), blocks.n_rows)
        _require_finite(state, f"states of {self._method('start')}")
        running = ~self._flags("ended", state)
        last = np.zeros((len(state), *environment.action_shape), self.noise.dtype)
        states, lengths, actions, proposals = [state], [], [], []
        for step in range(1, self.horizon + 1):
            action, last = self._act(blocks, state, last, step)
            fresh = None if environment.step_noise is None else blocks[f"environment {step}"]
            # Copies, so that an environment that writes into its arguments changes no episode that has ended.
            moved = self._shaped("step", environment.step(state.copy(), action.copy(), fresh), *state.shape)
            lengths.append(running)
            actions.append(_where(running, action, np.zeros_like(action)))
            proposals.append(_where(running, last, np.zeros_like(last)))
            state = _where(running, moved, state)
            _require_finite(state, f"states of {self._method('step')}")
            running = running & ~self._flags("ended", state)
            states.append(state)
        made = np.stack(actions, axis=1)
        return Rollout(
            success=self._flags("succeeded", state),
            length=np.sum(lengths, axis=0, dtype=np.int64),
            states=np.stack(states, axis=1).astype(self.noise.dtype),
            actions=made,
            pilot_actions=made[:, :0] if self.pilot is None else np.stack(proposals, axis=1),
        )

    def _act(self, blocks: _Blocks, state: Array, last: Array, step: int) -> tuple[Array, Array]:
        """Return the actions of a step, and the pilot's; without a pilot the latter are `last`."""
        if self.pilot is not None:
            seen = Situation(state, last, step)
            last = self._action(self.pilot, blocks.of_part("pilot", self.pilot, step), seen, state)
        if self.policy is None:
            return last, last
        observation: Any = self.environment.observe(state)
        self._require_rows("observe", observation, len(state))
        if self.pilot is not None:
            observation = self.join(last, observation)
        return self._action(self.policy, blocks.of_part("policy", self.policy, step), observation, state), last

    def _action(self, actor: Generator, noise: Noise, condition: Any, state: Array) -> Array:
        """Return the actions (n, ...) of the policy or the pilot, in the type of the noise."""
        found = numbers_of(actor(noise, in_library_of(actor, condition)))
        wanted = (len(state), *self.environment.action_shape)
        if found.shape != wanted:
            raise ValueError(
                f"{name_of(actor)!r} must make actions of shape {wanted}, as the environment's action_shape says; got "
                f"{found.shape}"
            )
        _require_finite(found, f"actions of {name_of(actor)!r}")
        return found.astype(self.noise.dtype)

    def _shaped(self, method: str, found: Any, n_rows: int, *shape: int) -> Array:
        """Return states (n, ...) that a method of the environment made; refuse another shape."""
        self._require_rows(method, found, n_rows)
        state = numbers_of(found)
        if shape and state.shape[1:] != shape:
            raise ValueError(
                f"{self._method(method)} must return states of one shape, {(n_rows, *shape)}; got {state.shape}"
            )
        return state

    def _flags(self, method: str, state: Array) -> NDArray[np.bool_]:
        """Return what the environment says of each state, True or False, shape (n,)."""
        found = as_numpy(getattr(self.environment, method)(state))
        if found.shape != (len(state),) or found.dtype != np.bool_:
            raise ValueError(
                f"{self._method(method)} must return an array of bool, shape ({len(state)},), one for each state; got "
                f"{found.dtype}, shape {found.shape}"
            )
        return found

    def _require_rows(self, method: str, found: Any, n_rows: int) -> None:
        try:
            rows = f"{(length := leading_length(found))} rows"
        except TypeError:
            length, rows = -1, f"{type(found).__name__} without a leading axis"
        if length != n_rows:
            raise ValueError(
                f"{self._method(method)} must return an array whose leading axis has the {n_rows} rows of the batch; "
                f"got {rows}"
            )

    def _method(self, method: str) -> str:
        return f"{name_of(self.environment)}.{method}"


class _Blocks:
    """The noise of a batch of episodes: its blocks by name, checked as they are read."""

    def __init__(self, owner: str, spec: NoiseSpec, noise: Noise) -> None:
        if not isinstance(noise, Mapping):
            raise TypeError(
                f"{owner!r} takes a mapping of the blocks of {spec}, as designs draw it; got {type(noise).__name__}"
            )
        self._owner, self._shapes, self._noise = owner, {name: block.shape for name, block in spec.blocks}, noise
        self.n_rows = len(noise["start"])

    def __getitem__(self, name: str) -> Array:
        """Return a block (n, ...)."""
        found, wanted = np.asarray(self._noise[name]), (self.n_rows, *self._shapes[name])
        if found.shape != wanted:
            raise ValueError(
                f"block {name!r} of the noise of {self._owner!r} must have shape {wanted}; got {found.shape}"
            )
        return found

    def of_part(self, role: str, part: Generator, step: int) -> Noise:
        """Return the noise of the policy or the pilot at a step, by its own names of blocks."""
        names = tuple(name for name, _ in part.noise.blocks)
        own = BlockNoise(lambda name: self[f"{role} {step}/{name}"], names)
        return own[names[0]] if len(names) == 1 else own


def _noise_of_episode(actors: Mapping[str, Generator], environment: Environment, horizon: int) -> NoiseSpec:
    """Return the spec of an episode, its blocks in the order in which they are used."""
    dtypes = {role: actor.noise.dtype for role, actor in actors.items()}
    if len({*dtypes.values()}) > 1:
        found = " and ".join(f"{dtype} in the {role}" for role, dtype in dtypes.items())
        raise ValueError(f"the noise of the policy and the pilot must have one type; got {found}")
    blocks = [("start", environment.start_noise)]
    for step in range(1, horizon + 1):
        for role in ("pilot", "policy"):
            own = actors[role].noise.blocks if role in actors else ()
            blocks += [(f"{role} {step}/{name}", block) for name, block in own]
        if environment.step_noise is not None:
            blocks.append((f"environment {step}", environment.step_noise))
    return NoiseSpec(tuple(blocks), next(iter(actors.values())).noise.dtype)


def _where(running: NDArray[np.bool_], new: Array, old: Array) -> Array:
    """Return the new rows where episodes run, and the old ones elsewhere."""
    return np.where(running.reshape(-1, *[1] * (new.ndim - 1)), new, old)


def _require_finite(found: Array, what: str) -> None:
    """Refuse NaN and infinity."""
    rows = non_finite_rows(found, len(found))
    if rows.size:
        raise ValueError(f"the {what} must be finite; got NaN or infinity in {rows.size} of {len(found)} rows")
