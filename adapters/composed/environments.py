"""The protocol of environments, in which a policy acts step by step."""

from __future__ import annotations

from typing import Any, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from mcgen.noise import Array, Block, Shape

_MEMBERS = ("action_shape", "start_noise", "step_noise", "start", "step", "observe", "succeeded", "ended")


@runtime_checkable
class Environment(Protocol):
    """What `Episode` needs of an environment: any object with these members. It works on numpy arrays, row by row.

    A state is an array (n, ...) that has everything that the future depends on. The methods draw no random numbers,
    and do not write into their arguments.

    Examples
    --------
    A number that is pushed by the action and by noise, and should leave the interval (-2, 2) on the right:

    >>> import mcgen
    >>> from mcgen.adapters import Environment
    >>> class Line:
    ...     action_shape = (1,)
    ...     start_noise = mcgen.Block((1,))
    ...     step_noise = mcgen.Block((1,))
    ...
    ...     def start(self, noise):
    ...         return 0.1 * noise
    ...
    ...     def step(self, state, action, noise):
    ...         return state + 0.2 * action + 0.1 * noise
    ...
    ...     def observe(self, state):
    ...         return state
    ...
    ...     def succeeded(self, state):
    ...         return state[:, 0] > 2
    ...
    ...     def ended(self, state):
    ...         return abs(state[:, 0]) > 2
    >>> isinstance(Line(), Environment)
    True
    """

    @property
    def action_shape(self) -> Shape:
        """Shape of one action."""
        ...

    @property
    def start_noise(self) -> Block:
        """Noise of the first state."""
        ...

    @property
    def step_noise(self) -> Block | None:
        """Noise of one step; None where a step is deterministic."""
        ...

    def start(self, noise: Array) -> Array:
        """Return the first states (n, ...) that `noise` (n, ...) makes."""
        ...

    def step(self, state: Array, action: Array, noise: Array | None) -> Array:
        """Return the next states (n, ...)."""
        ...

    def observe(self, state: Array) -> Array:
        """Return what the policy sees of states, (n, ...)."""
        ...

    def succeeded(self, state: Array) -> NDArray[np.bool_]:
        """Return for which states (n, ...) an episode that ends there is a success, shape (n,)."""
        ...

    def ended(self, state: Array) -> NDArray[np.bool_]:
        """Return in which states (n, ...) an episode is over, shape (n,)."""
        ...


def checked_environment(environment: Any) -> Environment:
    """Return an environment that has all members.

    Raises
    ------
    TypeError
        If a member is missing, or is not what the protocol says.
    """
    missing = [name for name in _MEMBERS if not hasattr(environment, name)]
    if isinstance(environment, type) or missing:
        problem = f"without {', '.join(missing)}" if missing else "which is a class; give an object of it"
        raise TypeError(
            f"an environment has the members {', '.join(_MEMBERS)}, see mcgen.adapters.Environment; got "
            f"{environment!r} {problem}"
        )
    found: Environment = environment
    Block(found.action_shape)
    for name, block in (("start_noise", found.start_noise), ("step_noise", found.step_noise)):
        if not isinstance(block, Block) and (name, block) != ("step_noise", None):
            raise TypeError(
                f"{name} of an environment must be an mcgen.Block, such as mcgen.Block((2,)); got {block!r}"
            )
    return found
