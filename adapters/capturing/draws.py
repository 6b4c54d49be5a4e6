"""Random draws of torch: recording the draws of a sampler, and making their outcomes from mcgen's noise.

A dispatch mode of torch sees every operation below Python. Torch tags the random ones with
`torch.Tag.nondeterministic_seeded`. `capturing.laws` has the functions that make each operation's outcome from noise.
`capturing.repeats` finds draws that use the random numbers of an earlier draw.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import lru_cache, partial, wraps
from typing import Any, NamedTuple, TypeVar

import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mcgen.adapters.capturing.laws import Arguments, Kind, draws_nothing, kind_of
from mcgen.adapters.capturing.random_state import state_of, state_on
from mcgen.adapters.capturing.repeats import Repeats
from mcgen.noise import Block, Shape

PROBES = (2, 3)
"""The numbers of samples for which a sampler is run to record its draws."""

Forward = Callable[..., Any]


@dataclass(frozen=True)
class Draw:
    """One random draw of a sampler.

    Attributes
    ----------
    operation : str
        The operation of torch, such as ``randn``.
    shape : tuple of int
        The shape for one sample and one row, without the batch axis.
    rows : int
        The number of rows per sample along the batch axis: 2 where guidance runs each sample twice.
    kind : Kind
        The kind of the draw, which makes its outcome from noise.
    dtype : torch.dtype
        The type of the outcome.
    axis : int
        The batch axis.
    rounds : int, optional
        The order of the rows along the batch axis, which holds so many rounds of all samples. In one round all rows of
        a sample are followed by those of the next sample. In `rows` rounds each round has one row of every sample.
    same : int, optional
        The number of the earlier draw whose random numbers this draw uses.
    """

    operation: str
    shape: Shape
    rows: int
    kind: Kind
    dtype: torch.dtype
    axis: int = 0
    rounds: int = 1
    same: int | None = None

    @property
    def block(self) -> Block:
        """The noise of one sample. A complex number takes two real ones."""
        shape = (self.rows, *self.shape) if self.rows > 1 else self.shape
        return Block((*shape, 2) if self.dtype.is_complex else shape, self.kind.law, self.kind.iid)

    def shape_for(self, n: int) -> Shape:
        """Return the shape of the draw for n samples."""
        return (*self.shape[: self.axis], self.rows * n, *self.shape[self.axis :])

    def outcome(self, noise: torch.Tensor, arguments: Arguments) -> Any:
        """Return the outcome of the operation for a block's noise (n, ...)."""
        if self.rows > 1:
            # Reorders (sample, round, row in the round, ...) to the order of the draw's rows.
            parts = noise.reshape(len(noise), self.rounds, -1, *noise.shape[2:])
            noise = parts.transpose(0, 1).flatten(0, 2)
        if self.dtype.is_complex:
            noise = torch.view_as_complex(noise.contiguous())
            # The real and the imaginary part of a complex normal number have variance 1 in sum.
            noise = noise * math.sqrt(0.5) if self.kind.law == "normal" else noise
        elif self.dtype in (torch.float16, torch.bfloat16) and self.kind.family == "uniform":
            # Rounding to half precision can give 1, but uniform noise is below 1.
            noise = noise.clamp(max=1 - torch.finfo(self.dtype).eps / 2)
        return self.kind.outcome(noise.movedim(0, self.axis) if self.axis else noise, arguments)


class Seen(NamedTuple):
    """A draw as it was recorded."""

    operation: str
    shape: Shape
    dtype: torch.dtype
    same: int | None


class Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """A dispatch mode that calls `self.drawn` for every random draw and leaves other operations as they are."""

    def __init__(self, name: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.made = 0
        self.generators: dict[torch.Generator, torch.Tensor] = {}
        self._repeats = Repeats(name)

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        if _is_made_of_others(func):
            # Under torch.inference_mode composite operations arrive undivided. Their composite kernel calls the basic
            # operations, draws included. func.decompose may use a Python version that hides the draws.
            with self:
                return func._op_dk(torch._C.DispatchKey.CompositeImplicitAutograd, *args, **kwargs)
        operation, arguments = func.overloadpacket.__name__, _bound(func, args, kwargs)
        if draws_nothing(operation, arguments):
            return func(*args, **kwargs)
        given = arguments.get("generator")
        if given is not None and given not in self.generators:
            self.generators[given] = given.get_state()
        state = partial(state_on, _device_of(arguments)) if given is None else partial(state_of, given)
        before = state()
        out = func(*args, **kwargs)
        main, same = main_output(out), None
        if isinstance(main, torch.Tensor):
            if main.numel() == 0:
                return out
            same = self._repeats.earlier(self.made, operation, main, arguments, before, state())
        self.made += 1
        return self.drawn(operation, out, arguments, same)

    def drawn(self, operation: str, out: Any, arguments: Arguments, same: int | None) -> Any:
        """Record a draw or replace its outcome; return the outcome that the sampler gets."""
        raise NotImplementedError


_AWatch = TypeVar("_AWatch", bound=Watch)


@contextmanager
def watching(watch: _AWatch) -> Iterator[_AWatch]:
    """Enter the mode inside the context, and restore the states of the user's random generators afterwards."""
    try:
        with watch:
            yield watch
    finally:
        for generator, state in watch.generators.items():
            generator.set_state(state)


class Record(Watch):  # type: ignore[no-untyped-call]
    """A mode that records every draw and the modules in which it is made."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.seen: list[Seen] = []
        self._open: list[torch.nn.Module] = []
        self._run: set[torch.nn.Module] = set()
        self._drawing: set[torch.nn.Module] = set()

    def drawn(self, operation: str, out: Any, arguments: Arguments, same: int | None) -> Any:
        """Record a draw and the modules in which it is made; return its outcome unchanged."""
        main = main_output(out)
        known = isinstance(main, torch.Tensor)
        shape, dtype = (tuple(main.shape), main.dtype) if known else ((), torch.float32)
        self.seen.append(Seen(operation, shape, dtype, same))
        self._drawing.update(self._open)
        return out

    def noted(self, module: torch.nn.Module, forward: Forward) -> Forward:
        """Return a module's forward, wrapped so that its draws are recorded as made in the module."""

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
    """Return the drawn tensor of an operation's output: the first of several."""
    return out[0] if isinstance(out, tuple) and out else out


def matched(fewer: Record, more: Record, name: str) -> Iterator[Draw]:
    """Yield the draws of one sample, found by comparing the records of two runs with `PROBES` samples.

    Raises
    ------
    ValueError
        If the two runs made different draws, or a draw can't be made from noise or is not made for each sample.
    """
    if [seen.operation for seen in fewer.seen] != [seen.operation for seen in more.seen]:
        raise ValueError(
            f"{name!r} made {len(fewer.seen)} draws for {PROBES[0]} samples and {len(more.seen)} for {PROBES[1]}, or "
            "others: what it draws changes from call to call, or is not for each sample, and can't be steered"
            + (_loop_advice(fewer, more) if len(more.seen) > len(fewer.seen) else "")
        )
    for i, (few, many) in enumerate(zip(fewer.seen, more.seen, strict=True)):
        kind = kind_of(few.operation)
        if kind is None:
            raise ValueError(
                f"{name!r} draws {few.operation} (as number {i}), which is no fixed function of uniform or normal "
                "noise and can't be steered; replace it in the sampler, or pass its outcome in as a condition"
            )
        if few.same != many.same:
            raise ValueError(
                f"{name!r} draws {few.operation} (as number {i}) from random numbers that it used before for "
                f"{PROBES[0] if few.same is not None else PROBES[1]} samples only: what repeats must not depend on the "
                "number of samples. Seed its random generator once"
            )
        axis = _batch_axis(i, few, many, name)
        rows = few.shape[axis] // PROBES[0]
        yield Draw(few.operation, few.shape[:axis] + few.shape[axis + 1 :], rows, kind, few.dtype, axis, rows, few.same)


def _loop_advice(fewer: Record, more: Record) -> str:
    if len(more.generators) > len(fewer.generators):
        return (
            f". It draws from {len(fewer.generators)} random generators for {PROBES[0]} samples and from "
            f"{len(more.generators)} for {PROBES[1]}: one for each sample, such as the list generator=[...] of "
            "diffusers. Give one generator, or none: generator=None"
        )
    return (
        ". If it draws once a sample in a loop, draw for the batch: torch.randn(n, ...); numbers drawn until they are "
        "accepted can't be taken from given noise"
    )


def _batch_axis(i: int, few: Seen, many: Seen, name: str) -> int:
    """Return the axis along which a draw grows with the number of samples."""
    found = (
        f"{name!r} draws {few.operation} of shape {few.shape} for {PROBES[0]} samples and {many.shape} for "
        f"{PROBES[1]} (as number {i})"
    )
    if len(few.shape) != len(many.shape):
        raise ValueError(f"{found}: its number of axes changes. Draw it for each sample: torch.randn(n, ...)")
    growing = [axis for axis, (a, b) in enumerate(zip(few.shape, many.shape, strict=True)) if a != b]
    if not growing:
        raise ValueError(
            f"{found}: it is not drawn for each sample, and all samples of a batch would share it. Draw it for each "
            "sample, or fix it outside the sampler; a seed of a random generator is fixed by a number, such as "
            "noise_sampler_seed=0 of diffusers"
        )
    if len(growing) > 1:
        raise ValueError(
            f"{found}: it grows along {len(growing)} axes, which leaves no numbers to one sample alone. Exactly one "
            "axis may grow with n: draw torch.randn(n, ...)"
        )
    a, b = few.shape[growing[0]], many.shape[growing[0]]
    if a * PROBES[1] != b * PROBES[0] or a % PROBES[0]:
        raise ValueError(
            f"{found}: its axis {growing[0]} does not grow in proportion to the samples, so that it is not drawn for "
            "each sample alone. Draw n rows, or k * n rows for a fixed k"
        )
    return growing[0]


@lru_cache
def _is_made_of_others(func: Any) -> bool:
    found: bool = torch._C._dispatch_has_kernel_for_dispatch_key(func.name(), "CompositeImplicitAutograd")
    return found


@lru_cache
def _schema_of(func: Any) -> tuple[tuple[str, ...], dict[str, Any]]:
    """Return the names of an operation's arguments, in order, and the defaults of those that have one."""
    arguments = func._schema.arguments
    defaults = {argument.name: argument.default_value for argument in arguments if argument.has_default_value()}
    return tuple(argument.name for argument in arguments), defaults


def _bound(func: Any, args: tuple[Any, ...], kwargs: dict[str, Any]) -> dict[str, Any]:
    names, defaults = _schema_of(func)
    return {**defaults, **dict(zip(names, args, strict=False)), **kwargs}


def _device_of(arguments: Arguments) -> torch.device:
    """Return the device that an operation draws on."""
    tensors = (value.device for value in arguments.values() if isinstance(value, torch.Tensor))
    device: torch.device = arguments.get("device") or next(tensors, torch.device("cpu"))
    if device.type == "cuda" and device.index is None:
        return torch.device("cuda", torch.cuda.current_device())
    return device
