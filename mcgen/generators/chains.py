r"""Markov chains as generators: a user's own kernel, whose random numbers are blocks of noise.

A chain starts at :math:`X_0 = \varphi(Z)` and makes N steps :math:`X_i = K(X_{i-1}, \xi_i)`, where the kernel K is a
function and :math:`\xi_i` are the random numbers of step i. So :math:`X_N` is a function of the noise
:math:`(Z, \xi_1, \dots, \xi_N)`, and designs act on all of it. Each row of noise is a chain of its own. The rows are
independent, and an interval needs no estimate of the autocorrelation.

The law of :math:`X_N` is that of a chain of N steps. It tends to the kernel's stationary law with N.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.checks import checked_integer
from mcgen._lib.names import name_of
from mcgen.generators.base import checked_fingerprint
from mcgen.noise import Block, Noise, NoiseSpec, Shape, as_noise_spec
from mcgen.noise.spec import DType

Keep = Literal["last", "path"]
Kernel = Callable[..., Any]


@dataclass(frozen=True)
class MarkovChain:
    """A Markov chain as a generator; made by `chain`."""

    kernel: Kernel
    steps: int
    noise: NoiseSpec
    step_blocks: tuple[str, ...]
    start: Callable[..., Any] | None
    keep: Keep
    name: str
    fingerprint: str | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}, noise={self.noise})"

    def __mcgen_content__(self, load: bool) -> Any:
        return self.kernel, self.start, self.steps, self.keep

    def __call__(self, noise: Noise, condition: Any = None) -> Any:
        """Return the last states (n, ...), or paths (n, steps + 1, ...), with the means of what a kernel records."""
        states: list[NDArray[Any]] = []
        records: list[Any] = []
        for x, record in self._walk(noise, condition):
            states = [*states, x] if self.keep == "path" else [x]
            records.append(record)
        found = np.stack(states, axis=1) if self.keep == "path" else states[0]
        kept = [one for one in records[1:] if one is not None]
        if len(kept) not in (0, self.steps):
            raise ValueError(
                f"the kernel {name_of(self.kernel)!r} must return a pair (state, record) at every step, or at none; it "
                f"did so at {len(kept)} of {self.steps}"
            )
        return (found, np.mean(kept, axis=0)) if kept else found

    @property
    def shown(self) -> tuple[str, ...]:
        """What `observe` shows: the states."""
        return ("state",)

    @property
    def signal_shares(self) -> None:
        """None: states have no share of a signal."""
        return None

    def observe(self, noise: Noise, condition: Any = None) -> Iterator[Mapping[str, Any]]:
        """Yield each of the steps + 1 states (n, ...) by the name "state"."""
        for x, _ in self._walk(noise, condition):
            yield {"state": x}

    def predictions(self, x: NDArray[Any], i: int, condition: Any = None) -> Mapping[str, Any]:
        """Return nothing: a chain has states only."""
        return {}

    def _walk(self, noise: Noise, condition: Any) -> Iterator[tuple[NDArray[Any], Any]]:
        """Yield the states, and what the kernel records of the step that led there."""
        assert isinstance(noise, Mapping)
        more = () if condition is None else (condition,)
        z = noise["start"]
        x = np.asarray(z if self.start is None else self.start(z, *more))
        if x.ndim == 0 or len(x) != len(z):
            raise ValueError(f"start must return one state for each of {len(z)} rows of noise; got shape {x.shape}")
        self._require_finite(x, 0)
        yield x, None
        for i in range(1, self.steps + 1):
            blocks = {name: noise[f"{name} {i}"] for name in self.step_blocks}
            given = blocks[self.step_blocks[0]] if len(blocks) == 1 else blocks
            # Copies, since a kernel may write into the states that it receives, or return one array at all steps.
            x, record = self._checked(self.kernel(x.copy(), given, i, *more), x, i)
            yield x, record

    def _checked(self, made: Any, x: NDArray[Any], i: int) -> tuple[NDArray[Any], Any]:
        """Return the next state and the record of step i, or refuse what the kernel returned."""
        pair = isinstance(made, tuple)
        if pair and len(made) != 2:
            raise ValueError(
                f"the kernel {name_of(self.kernel)!r} must return the next states, or a pair of them and a record; got "
                f"a tuple of {len(made)}"
            )
        after, record = made if pair else (made, None)
        after = np.array(after)
        if after.shape != x.shape or after.dtype.kind not in "fiu":
            raise ValueError(
                f"the kernel {name_of(self.kernel)!r} must return states of shape {x.shape}, as it was given; got "
                f"{after.shape} of {after.dtype} at step {i}. A mask of rows needs more axes: accept[:, None]"
            )
        self._require_finite(after, i)
        if record is not None and np.shape(record)[:1] != x.shape[:1]:
            raise ValueError(
                f"the kernel {name_of(self.kernel)!r} must record one value for each of {len(x)} rows; got shape "
                f"{np.shape(record)} at step {i}"
            )
        return after, None if record is None else np.array(record, dtype=np.float64)

    def _require_finite(self, x: NDArray[Any], i: int) -> None:
        if not np.isfinite(x).all():
            raise ValueError(
                f"a state of {self.name!r} is not finite after step {i} of {self.steps}: the kernel "
                f"{name_of(self.kernel)!r} may take too large steps"
            )


def chain(
    kernel: Kernel,
    n_steps: int,
    shape: Shape | Block,
    *,
    noise: Shape | Block | Mapping[str, Block] | NoiseSpec | None = None,
    start: Callable[..., Any] | None = None,
    keep: Keep = "last",
    dtype: DType = "float64",
    name: str | None = None,
    fingerprint: str | None = None,
) -> MarkovChain:
    """Return a Markov chain as a generator, whose step is a function of its noise.

    Use it for a sampler of your own: random-walk Metropolis, Langevin, Gibbs, or any other kernel. Each sample is the
    last state of a chain of its own.

    Parameters
    ----------
    kernel : callable
        ``kernel(x, noise, i)`` returns the next states (n, ...) for states x (n, ...) and the noise of step i, counted
        from 1. The noise is an array where a step has one block, and a mapping where it has several. A condition is
        passed as the fourth argument. It may return a pair: the states, and a record (n, ...) such as the acceptances.
    n_steps : int
        Number of steps.
    shape : tuple of int or Block
        The noise of the start, normal where a shape is given.
    noise : tuple of int, Block, or mapping of Block, optional
        The noise of one step. By default a normal block of the shape of the start. Block "move" of step 2 has the name
        "move 2"; a lone block has the name "noise 2".
    start : callable, optional
        Maps the noise of the start, and a condition where there is one, to the first states (n, ...). By default the
        noise is the start.
    keep : {"last", "path"}
        Return the last states, or all of them (n, n_steps + 1, ...).
    dtype : {"float32", "float64"}
        The type of the noise.
    name : str, optional
        Name of the generator in results; by default that of the kernel.
    fingerprint : str, optional
        See `as_generator`.

    Returns
    -------
    MarkovChain
        The generator. Where the kernel returns pairs, its samples are pairs too: states, and the mean record over the
        steps, shape (n, ...). `mcgen.analysis.along_time` shows how the pairs of a design lose their correlation.

    Raises
    ------
    TypeError
        If the kernel or the start can't be called, or the noise is no blocks.
    ValueError
        If there is no step, or no such `keep`. In a call, if the kernel returns another shape, or a state is not
        finite.

    Notes
    -----
    The accept step of a row must use that row's energy and uniform number alone. One decision for the whole batch makes
    rows depend on each other, which `mcgen.validation.check_generator` finds.

    Examples
    --------
    Random-walk Metropolis for a standard normal law, from far away:

    >>> import numpy as np
    >>> import mcgen
    >>> from mcgen.generators import chain
    >>> def metropolis(x, noise, i):
    ...     y = x + noise["move"]
    ...     accepted = np.log(noise["accept"]) < (x**2 - y**2).sum(1) / 2
    ...     return np.where(accepted[:, None], y, x), accepted
    >>> blocks = {"move": mcgen.Block((2,)), "accept": mcgen.Block((), "uniform")}
    >>> model = chain(metropolis, 60, (2,), noise=blocks, start=lambda z: 3 + z)
    >>> model.noise.dimension
    182
    >>> def second_moment_and_acceptance(samples):
    ...     return np.column_stack([(samples[0] ** 2).mean(1), samples[1]])
    >>> options = dict(design=mcgen.Antithetic(), n_evaluations=4000, seed=0)
    >>> result = mcgen.estimate(model, second_moment_and_acceptance, **options)
    >>> result.mean.round(1)
    array([1. , 0.6])
    """
    for role, function in (("kernel", kernel), *(() if start is None else (("start", start),))):
        if not callable(function):
            raise TypeError(f"{role} must be a function of arrays; got {function!r} of type {type(function).__name__}")
    steps = checked_integer("n_steps", n_steps)
    if steps < 1:
        raise ValueError(f"n_steps must be at least 1; got {n_steps}. A chain without steps returns its start")
    if keep not in get_args(Keep):
        raise ValueError(f"keep must be one of {get_args(Keep)}; got {keep!r}")
    first = shape if isinstance(shape, Block) else Block(shape)
    each = as_noise_spec(first.shape if noise is None else noise).blocks
    blocks = {"start": first} | {f"{block} {i}": of for i in range(1, steps + 1) for block, of in each}
    names = tuple(block for block, _ in each)
    title = name or f"{name_of(kernel)}-{steps}"
    return MarkovChain(
        kernel, steps, NoiseSpec(blocks, dtype), names, start, keep, title, checked_fingerprint(fingerprint)
    )
