"""The protocol of generators (models that turn noise into samples), and functions taken as generators.

Laws of a generator:

- the same noise gives the same samples;
- it draws no random numbers itself, and does not change the global random states of numpy and torch;
- it does not write into its input;
- row i of its output belongs to row i of the noise, and depends on no other row.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

from mcgen._lib.checks import checked_protocol
from mcgen._lib.names import name_of
from mcgen.noise import Noise, NoiseSpec, Shape, as_noise_spec


@runtime_checkable
class Generator(Protocol):
    """A model that turns noise into samples: any object with the two members below. No base class is needed.

    `as_generator` makes one from a function, and `mcgen.adapters` from torch models. Write a class of your own where
    the model has weights or settings to keep.

    Further members are optional. ``name`` is shown in results. ``fingerprint`` is a text that identifies the weights
    and settings; a store then compares this text instead of the model's content. A generator made by a pilot may have
    ``pilot_evaluations``, the cost of the pilot, and ``cost``, the cost of one evaluation. Both are in evaluations of
    the original generator. Results then count the pilot.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> class Decoder:
    ...     name = "decoder"
    ...     noise = mcgen.NoiseSpec.normal((16,))
    ...
    ...     def __init__(self, weights):
    ...         self.weights = weights
    ...
    ...     def __call__(self, noise, condition=None):
    ...         return np.tanh(noise @ self.weights)
    >>> model = Decoder(np.ones((16, 4)) / 4)
    >>> isinstance(model, mcgen.Generator), mcgen.sample(model, 3, seed=0).shape
    (True, (3, 4))
    """

    @property
    def noise(self) -> NoiseSpec:
        """Declaration of the noise that one sample needs."""
        ...

    def __call__(self, noise: Noise, condition: Any = None) -> Any:
        """Return n samples, in any library, for noise of shape (n, ...) or a mapping of such blocks.

        A tuple of arrays that share their leading axis is allowed too.
        """
        ...


@dataclass(frozen=True)
class CallableGenerator:
    """A generator that calls a plain function; made by `as_generator`."""

    function: Callable[..., Any]
    noise: NoiseSpec
    name: str
    fingerprint: str | None = None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}, noise={self.noise})"

    def __mcgen_content__(self, load: bool) -> Any:
        return self.function

    def __call__(self, noise: Noise, condition: Any = None) -> Any:
        """Return the samples of the function, called with the noise and, where there is one, the condition."""
        try:
            return self.function(noise) if condition is None else self.function(noise, condition)
        except (IndexError, TypeError, ValueError) as error:
            error.add_note(
                f"{self.name!r} was given noise of {self.noise} for each sample, as its spec says, with a leading axis "
                "for the samples; check that the function takes these shapes"
            )
            raise


def as_generator(
    function: Callable[..., Any],
    noise: Shape | NoiseSpec,
    *,
    name: str | None = None,
    fingerprint: str | None = None,
) -> Generator:
    """Return a generator that calls a function.

    Use it for any model that is a function of a numpy array. For torch models see `mcgen.adapters.from_torch`.

    Parameters
    ----------
    function : callable
        ``function(noise)`` takes a numpy array of shape (n, ...) and returns n samples, in any library. With a
        condition it is called as ``function(noise, condition)``.
    noise : tuple of int, NoiseSpec, Block or mapping of Block
        Noise of one sample; a shape means standard normal noise in float32.
    name : str, optional
        Name of the generator in results; by default that of the function.
    fingerprint : str, optional
        Text that changes with the weights and settings of `function`. A store then identifies the generator by this
        text. By default it compares the function's code and all values that the function uses.

    Raises
    ------
    TypeError, ValueError
        If `function` can't be called, `noise` is no shape, or `fingerprint` no text.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> generator = mcgen.as_generator(lambda z: np.tanh(z), noise=(16,), name="tanh")
    >>> generator(np.zeros((2, 16))).shape
    (2, 16)

    A model with two arrays of noise, and a condition:

    >>> noise = {"start": mcgen.Block((4,)), "steps": mcgen.Block((10, 4))}
    >>> walk = mcgen.as_generator(lambda z, drift: z["start"] + drift + z["steps"].mean(axis=1), noise, name="walk")
    >>> mcgen.sample(walk, 5, seed=0, condition=2.0).shape
    (5, 4)
    """
    if not callable(function):
        raise TypeError(
            f"a generator is made from a callable noise -> samples; got {function!r} of type {type(function).__name__}"
        )
    _refuse_module(function)
    return CallableGenerator(
        function, as_noise_spec(noise), name or name_of(function), checked_fingerprint(fingerprint)
    )


def _refuse_module(function: Any) -> None:
    """Refuse a torch module."""
    if hasattr(function, "named_parameters"):
        raise TypeError(
            f"{type(function).__name__} is a torch module, which takes tensors; use mcgen.adapters.from_torch(module, "
            "noise=shape)"
        )


def checked_fingerprint(fingerprint: Any) -> str | None:
    """Return the fingerprint if it is a non-empty text or None, and refuse anything else."""
    if fingerprint is None or (isinstance(fingerprint, str) and fingerprint):
        return fingerprint
    raise TypeError(
        f'a fingerprint must be a text that is not empty, such as "decoder, epoch 3"; got {fingerprint!r}. Leave it '
        "out to let a store look into the function"
    )


def checked_generator(generator: Any, name: str = "generator") -> Generator:
    """Return the generator, or refuse what does not satisfy the protocol or has no `NoiseSpec`."""
    if not isinstance(generator, Generator):
        _refuse_module(generator)
        if hasattr(generator, "shape") and hasattr(generator, "dtype"):
            raise TypeError(
                f"{name} must make samples from noise; got an array of shape {tuple(generator.shape)}. For samples "
                "that exist already use mcgen.evaluate(samples, score)"
            )
    found: Generator = checked_protocol(
        generator, Generator, name, "wrap a function by mcgen.as_generator(f, noise=shape)"
    )
    if not isinstance(found.noise, NoiseSpec):
        raise TypeError(
            f"{name}.noise must be an mcgen.NoiseSpec; got {found.noise!r}. For one block of normal noise write "
            "NoiseSpec.normal(shape)"
        )
    return found
