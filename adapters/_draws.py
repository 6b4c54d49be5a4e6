"""Random draws of torch: what each takes, what law it has, how to make its outcome from given noise.

A dispatch mode sees every operation below Python; torch tags those that draw (`torch.Tag.nondeterministic_seeded`).
Each is one of three: steered (normal and uniform noise, on which a design acts), replayed (integers, masks: uniform
noise that is independent whatever the design, since a negated mask or a stratified integer means nothing), or refused
by name.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from mcgen.noise import Block, Law, Shape

Arguments = tuple[Any, ...]
Options = dict[str, Any]
Outcome = Callable[[torch.Tensor, Arguments, Options], torch.Tensor]
"""From noise shaped like the draw, and the operation's arguments by position and name, to the drawn values."""


@dataclass(frozen=True)
class Kind:
    """How a draw is made from noise.

    Attributes
    ----------
    law : {"normal", "uniform"}
        Of the noise.
    iid : bool
        Whether designs leave it alone.
    outcome : callable
        See `Outcome`.
    """

    law: Law
    iid: bool
    outcome: Outcome


@dataclass(frozen=True)
class Draw:
    """One random draw of a sampler.

    Attributes
    ----------
    operation : str
        Such as ``randn``.
    shape : tuple of int
        For one sample and one row.
    rows : int
        Rows a sample: 2 where guidance runs a sample twice.
    kind : Kind
        How it is made from noise.
    dtype : torch.dtype
        Of its outcome.
    """

    operation: str
    shape: Shape
    rows: int
    kind: Kind
    dtype: torch.dtype

    @property
    def block(self) -> Block:
        """The noise that one sample needs."""
        shape = (self.rows, *self.shape) if self.rows > 1 else self.shape
        return Block(shape, self.kind.law, self.kind.iid)

    def arrange(self, noise: torch.Tensor) -> torch.Tensor:
        """Return a block's noise (n, ...) in the order of the draw's rows: all samples, then all again."""
        if self.rows == 1:
            return noise
        return noise.transpose(0, 1).reshape(self.rows * noise.shape[0], *self.shape)


def kind_of(operation: str) -> Kind | None:
    """Return how an operation's outcome is made from noise, None where it can't be."""
    return _KINDS.get(operation)


def draws_nothing(operation: str, arguments: Arguments, options: Options) -> bool:
    """Tell whether an operation that could draw does not: attention without dropout, dropout outside training."""
    if "scaled_dot_product" in operation or "flash_attention" in operation or "efficient_attention" in operation:
        # The share to drop is the only float between 0 and 1 that these take by position before the scale.
        share = options.get("dropout_p", next((a for a in arguments if isinstance(a, float)), 0.0))
        return bool(share == 0.0)
    return operation == "native_dropout" and not arguments[2]


def _argument(arguments: Arguments, options: Options, place: int, name: str, default: Any) -> Any:
    return options.get(name, arguments[place] if len(arguments) > place else default)


def _standard(z: torch.Tensor, arguments: Arguments, options: Options) -> torch.Tensor:
    return z


def _normal_in_place(z: torch.Tensor, arguments: Arguments, options: Options) -> torch.Tensor:
    mean, std = _argument(arguments, options, 1, "mean", 0.0), _argument(arguments, options, 2, "std", 1.0)
    return z if (mean, std) == (0.0, 1.0) else z * std + mean


def _normal(z: torch.Tensor, arguments: Arguments, options: Options) -> torch.Tensor:
    mean, std = _argument(arguments, options, 0, "mean", 0.0), _argument(arguments, options, 1, "std", 1.0)
    values: torch.Tensor = z * std + mean
    return values


def _uniform_in_place(u: torch.Tensor, arguments: Arguments, options: Options) -> torch.Tensor:
    low, high = _argument(arguments, options, 1, "from", 0.0), _argument(arguments, options, 2, "to", 1.0)
    return u if (low, high) == (0.0, 1.0) else low + (high - low) * u


def _numbers(u: torch.Tensor, arguments: Arguments, options: Options) -> torch.Tensor:
    numbers = [a for a in arguments if isinstance(a, int)][:2]
    if not numbers:
        raise ValueError("an integer draw without bounds can't be steered; give it the greatest number")
    low, high = numbers if len(numbers) == 2 else (0, numbers[0])
    values: torch.Tensor = low + (u.double() * (high - low)).floor()
    return values


def _bernoulli(u: torch.Tensor, arguments: Arguments, options: Options) -> torch.Tensor:
    values: torch.Tensor = u < arguments[0]
    return values


def _bernoulli_in_place(u: torch.Tensor, arguments: Arguments, options: Options) -> torch.Tensor:
    values: torch.Tensor = u < _argument(arguments, options, 1, "p", 0.5)
    return values


def _exponential(u: torch.Tensor, arguments: Arguments, options: Options) -> torch.Tensor:
    values: torch.Tensor = -torch.log(u) / _argument(arguments, options, 1, "lambd", 1.0)
    return values


_KINDS: dict[str, Kind] = {
    "randn": Kind("normal", False, _standard),
    "randn_like": Kind("normal", False, _standard),
    "normal_": Kind("normal", False, _normal_in_place),
    "normal": Kind("normal", False, _normal),
    "rand": Kind("uniform", False, _standard),
    "rand_like": Kind("uniform", False, _standard),
    "uniform_": Kind("uniform", False, _uniform_in_place),
    "exponential_": Kind("uniform", False, _exponential),
    "randint": Kind("uniform", True, _numbers),
    "randint_like": Kind("uniform", True, _numbers),
    "random_": Kind("uniform", True, _numbers),
    "bernoulli": Kind("uniform", True, _bernoulli),
    "bernoulli_": Kind("uniform", True, _bernoulli_in_place),
}
