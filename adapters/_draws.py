"""Random draws of torch: what each takes, what law it has, how to make its outcome from given noise.

A dispatch mode sees every operation below Python; torch tags those that draw (`torch.Tag.nondeterministic_seeded`).
Each is one of three: steered (normal and uniform noise, on which a design acts), replayed (integers, masks: uniform
noise that is independent whatever the design, since a negated mask or a stratified integer means nothing), or refused
by name.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import wraps
from typing import Any, NamedTuple

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mcgen.noise import Block, Law, Shape

PROBES = (2, 3)
"""The numbers of samples for which a sampler is run to see what it draws."""

# What noise in single precision, of 23 bits, makes without a bias that shows.
_WIDEST_RANGE = 2**16

Arguments = tuple[Any, ...]
Options = dict[str, Any]
Forward = Callable[..., Any]
Outcome = Callable[[torch.Tensor, Arguments, Options], Any]
"""From noise shaped like the draw, and the operation's arguments by position and name, to what it returns."""


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
        """The noise that one sample needs; of a complex number two real ones."""
        shape = (self.rows, *self.shape) if self.rows > 1 else self.shape
        return Block((*shape, 2) if self.dtype.is_complex else shape, self.kind.law, self.kind.iid)

    def outcome(self, noise: torch.Tensor, arguments: Arguments, options: Options) -> Any:
        """Return what the operation gives for a block's noise (n, ...)."""
        if self.rows > 1:
            # In the order of the draw's rows: all samples, then all again.
            noise = noise.transpose(0, 1).flatten(0, 1)
        if self.dtype.is_complex:
            noise = torch.view_as_complex(noise.contiguous())
            # A complex normal number has variance 1 in all.
            noise = noise * math.sqrt(0.5) if self.kind.law == "normal" else noise
        elif self.dtype in (torch.float16, torch.bfloat16) and self.operation in ("rand", "rand_like", "uniform_"):
            # Rounding would reach 1, which no uniform noise is.
            noise = noise.clamp(max=1 - torch.finfo(self.dtype).eps / 2)
        return self.kind.outcome(noise, arguments, options)


class Seen(NamedTuple):
    """A draw as a sampler made it."""

    operation: str
    shape: Shape
    dtype: torch.dtype


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Calls `self.drawn` at every random draw; passes everything else on, and sets generators of the user's back."""

    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._generators: dict[torch.Generator, torch.Tensor] = {}

    def __exit__(self, *error: Any) -> None:
        for generator, state in self._generators.items():
            generator.set_state(state)
        super().__exit__(*error)  # type: ignore[no-untyped-call]

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        operation = func.overloadpacket.__name__
        if draws_nothing(operation, args, kwargs):
            return func(*args, **kwargs)
        generator = kwargs.get("generator")
        if generator is not None and generator not in self._generators:
            self._generators[generator] = generator.get_state()
        return self.drawn(operation, func(*args, **kwargs), args, kwargs)

    def drawn(self, operation: str, out: Any, arguments: Arguments, options: Options) -> Any:
        """Take note of a draw, or change its outcome."""
        raise NotImplementedError


class Record(Watch):  # type: ignore[no-untyped-call]
    """Notes what is drawn, and in which modules."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[Seen] = []
        self._open: list[torch.nn.Module] = []
        self._run: set[torch.nn.Module] = set()
        self._drawing: set[torch.nn.Module] = set()

    def drawn(self, operation: str, out: Any, arguments: Arguments, options: Options) -> Any:
        main = main_output(out)
        known = isinstance(main, torch.Tensor)
        self.seen.append(Seen(operation, tuple(main.shape) if known else (), main.dtype if known else torch.float32))
        self._drawing.update(self._open)
        return out

    def noted(self, module: torch.nn.Module, forward: Forward) -> Forward:
        """Return a module's forward that notes which modules run, and what is drawn within."""

        @wraps(forward)
        def call(*arguments: Any, **options: Any) -> Any:
            self._run.add(module)
            self._open.append(module)
            try:
                return forward(*arguments, **options)
            finally:
                self._open.pop()

        return call

    def quiet(self, modules: Iterable[torch.nn.Module]) -> Iterator[torch.nn.Module]:
        """Yield the outermost modules whose forward ran without a draw."""
        for module in modules:
            if module in self._run and module not in self._drawing:
                yield module
            else:
                yield from self.quiet(module.children())


def main_output(out: Any) -> Any:
    """Return what an operation drew, of several outputs the first."""
    return out[0] if isinstance(out, tuple) and out else out


def matched(records: list[list[Seen]], name: str) -> Iterator[Draw]:
    """Yield the draws of one sample, from what was drawn for each of `PROBES` samples.

    Raises
    ------
    ValueError
        If the draws are others for another number of samples, can't be steered, or are not for each sample.
    """
    fewer, more = records
    if [seen.operation for seen in fewer] != [seen.operation for seen in more]:
        advice = ". If it draws once a sample in a loop, draw for the batch: torch.randn(n, ...)"
        raise ValueError(
            f"{name!r} made {len(fewer)} draws for {PROBES[0]} samples and {len(more)} for {PROBES[1]}, or others: "
            "what it draws changes from call to call, or is not for each sample, and can't be steered"
            + (advice if len(more) > len(fewer) else "")
        )
    for i, ((operation, few, dtype), (_, many, _)) in enumerate(zip(fewer, more, strict=True)):
        kind = kind_of(operation)
        if kind is None:
            raise ValueError(
                f"{name!r} draws {operation} (as number {i}), which is no fixed function of uniform or normal noise "
                "and can't be steered; replace it in the sampler, or pass its outcome in as a condition"
            )
        rows = few[0] // PROBES[0] if few else 0
        if not few or (few[0], many[0]) != (rows * PROBES[0], rows * PROBES[1]) or few[1:] != many[1:] or rows == 0:
            advice = ". The batch axis must come first" if PROBES in zip(few[1:], many[1:], strict=False) else ""
            raise ValueError(
                f"{name!r} draws {operation} of shape {few} for {PROBES[0]} samples and {many} for {PROBES[1]} (as "
                f"number {i}): it is not drawn for each sample, along the leading axis, and all samples of a batch "
                f"would share it. Draw it for each sample, or fix it outside the sampler{advice}"
            )
        yield Draw(operation, few[1:], rows, kind, dtype)


def kind_of(operation: str) -> Kind | None:
    """Return how an operation's outcome is made from noise, None where it can't be."""
    return _KINDS.get(operation)


def draws_nothing(operation: str, arguments: Arguments, options: Options) -> bool:
    """Tell whether an operation that could draw does not: attention without dropout, dropout, RReLU out of training."""
    if "scaled_dot_product" in operation or "flash_attention" in operation or "efficient_attention" in operation:
        # The share to drop is the only float between 0 and 1 that these take by position before the scale.
        share = options.get("dropout_p", next((a for a in arguments if isinstance(a, float)), 0.0))
        return bool(share == 0.0)
    if operation.startswith("rrelu_with_noise"):
        return not _argument(arguments, options, 4, "training", False)
    # Without a word on training it drops.
    return operation == "native_dropout" and _argument(arguments, options, 2, "train", None) is False


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
    bounds = [a for a in arguments if isinstance(a, int | None)][:2]
    low, high = bounds if len(bounds) == 2 else (0, *bounds, None)[:2]
    if low is None or high is None or high - low > _WIDEST_RANGE:
        raise ValueError(
            f"an integer draw is made from noise of 23 bits, between two bounds at most {_WIDEST_RANGE:,} apart; got "
            f"the bounds {low} and {high}. Give both, nearer to each other, or draw it outside the sampler"
        )
    values: torch.Tensor = low + (u.double() * (high - low)).floor()
    return values


def _bernoulli(u: torch.Tensor, arguments: Arguments, options: Options) -> torch.Tensor:
    values: torch.Tensor = u < _argument(arguments, options, 1, "p", arguments[0])
    return values


def _bernoulli_in_place(u: torch.Tensor, arguments: Arguments, options: Options) -> torch.Tensor:
    values: torch.Tensor = u < _argument(arguments, options, 1, "p", 0.5)
    return values


def _exponential(u: torch.Tensor, arguments: Arguments, options: Options) -> torch.Tensor:
    values: torch.Tensor = -torch.log(u) / _argument(arguments, options, 1, "lambd", 1.0)
    return values


def _log_normal(z: torch.Tensor, arguments: Arguments, options: Options) -> torch.Tensor:
    mean, std = _argument(arguments, options, 1, "mean", 1.0), _argument(arguments, options, 2, "std", 2.0)
    return torch.exp(z * std + mean)


def _cauchy(u: torch.Tensor, arguments: Arguments, options: Options) -> torch.Tensor:
    median, sigma = _argument(arguments, options, 1, "median", 0.0), _argument(arguments, options, 2, "sigma", 1.0)
    values: torch.Tensor = median + sigma * torch.tan(math.pi * (u - 0.5))
    return values


def _geometric(u: torch.Tensor, arguments: Arguments, options: Options) -> torch.Tensor:
    return torch.ceil(torch.log(u) / math.log1p(-_argument(arguments, options, 1, "p", None)))


def _dropout(u: torch.Tensor, arguments: Arguments, options: Options) -> tuple[torch.Tensor, torch.Tensor]:
    x, share = arguments[0], _argument(arguments, options, 1, "p", 0.5)
    kept = u < 1 - share
    return x * kept / (1 - share) if share < 1 else torch.zeros_like(x), kept


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
    "log_normal_": Kind("normal", False, _log_normal),
    "cauchy_": Kind("uniform", False, _cauchy),
    "geometric_": Kind("uniform", True, _geometric),
    "native_dropout": Kind("uniform", True, _dropout),
    "bernoulli": Kind("uniform", True, _bernoulli),
    "bernoulli_": Kind("uniform", True, _bernoulli_in_place),
}
