"""Any torch sampler, unmodified, as a generator: its noise is taken from inside.

A sampler that draws its own noise is run once to see what it draws; from then on mcgen's noise is put in place of every
draw, so that negation and nets reach the initial noise and every step's noise, with no change to the sampler's source.

A dispatch mode of torch watches every operation, which costs some microseconds each. Networks in which the first run
saw no draw are therefore run without it; the state of torch's random numbers before and after tells that they still
draw nothing.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, nullcontext
from functools import wraps
from typing import Any, NamedTuple

import numpy as np
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode, _get_current_dispatch_mode, _pop_mode_temporarily

from mcgen.adapters._draws import Draw, draws_nothing, kind_of
from mcgen.adapters._torch import TensorNoise, TorchGenerator
from mcgen.arrays import as_numpy, leading_length
from mcgen.designs import MonteCarlo
from mcgen.generators import name_of
from mcgen.noise import NoiseSpec

Sampler = Callable[[int, Any], Any]
Forward = Callable[..., Any]

_PROBES = (2, 3)
_MOST_PROBED = 64
# Torch's random state and the forward of the networks are of the process, not of the thread.
_ONE_AT_A_TIME = threading.RLock()


class CapturedGenerator(TorchGenerator):
    """A sampler whose draws mcgen supplies; made by `capture`.

    Attributes
    ----------
    draws : tuple of Draw
        What the sampler draws, in order.
    """

    def __init__(
        self, sampler: Sampler, draws: tuple[Draw, ...], *, quiet: Iterable[torch.nn.Module] = (), **options: Any
    ) -> None:
        self.draws = draws
        self.sampler = sampler
        self._quiet = tuple(quiet)
        blocks = tuple((f"{i} {draw.operation}", draw.block) for i, draw in enumerate(draws))
        double = any(draw.dtype == torch.float64 for draw in draws)
        super().__init__(self._sample, NoiseSpec(blocks, "float64" if double else "float32"), **options)
        # Every draw is given in its own type: the networks' half precision must not round what is drawn in single.
        self.dtype = None

    def _sample(self, noise: TensorNoise, condition: object = None) -> Any:
        names = [name for name, _ in self.noise.blocks]
        # Lazy blocks are drawn at each access: the first one, which tells n, is kept.
        first = noise if isinstance(noise, torch.Tensor) else noise[names[0]]
        n = len(first)

        def block(i: int) -> torch.Tensor:
            return first if i == 0 or isinstance(noise, torch.Tensor) else noise[names[i]]

        gradients = torch.is_grad_enabled()
        supply = _Supply(self.draws, block, n, str(self.name), gradients)
        with (
            _ONE_AT_A_TIME,
            torch.random.fork_rng(devices=_cuda_devices()),
            supply,
            _Follow(supply) if gradients else nullcontext(),
            _forwards_wrapped(self._quiet, supply.unwatched),
        ):
            samples = self.sampler(n, condition)
        supply.require_all_used()
        return samples

    def describe(self, *, effects: bool = False, condition: object = None) -> str:
        """Return what the sampler draws, a line each: operation, shape for one sample, law, and how it is used.

        Parameters
        ----------
        effects : bool
            Also try which draws have an effect, by two runs of the sampler for every 64 draws.
        condition : object, optional
            For those runs.
        """
        inert = self._inert(condition) if effects else set()
        lines = [f"{self.name}: {len(self.draws)} draws, {self.noise.dimension:,} numbers a sample"]
        for i, draw in enumerate(self.draws):
            words = [f"{i:>4} {draw.operation:<13} {draw.block}"]
            words += [f"{draw.rows} rows a sample"] if draw.rows > 1 else []
            words += ["replayed, not steered"] if draw.kind.iid else []
            words += ["no effect on the samples"] if i in inert else []
            lines.append(", ".join(words))
        return "\n".join(lines)

    def _inert(self, condition: object) -> set[int]:
        """Return which draws have no effect: of n samples, sample i gets another draw i, and must change."""
        found: set[int] = set()
        for first in range(0, len(self.draws), _MOST_PROBED):
            tried = range(first, min(first + _MOST_PROBED, len(self.draws)))
            n = max(2, len(tried))
            noise = {name: block[:, 0].copy() for name, block in self._probe(n).items()}
            before = _rows(self._given(noise, condition))
            for row, i in enumerate(tried):
                name, _ = self.noise.blocks[i]
                noise[name][row] = _other(noise[name][row], self.draws[i])
            after = _rows(self._given(noise, condition))
            found |= {i for row, i in enumerate(tried) if np.array_equal(before[row], after[row])}
        return found

    def _probe(self, n: int) -> dict[str, Any]:
        drawn = MonteCarlo().draw(self.noise, n, seed=0, stream=("probe",))
        return dict(drawn) if isinstance(drawn, Mapping) else {self.noise.blocks[0][0]: drawn}

    def _given(self, noise: dict[str, Any], condition: object) -> Any:
        return self(noise if len(self.noise.blocks) > 1 else next(iter(noise.values())), condition)

    def require_rows_apart(self, condition: object) -> None:
        """Refuse a sampler in which the noise of one sample reaches another."""
        noise = {name: block[:, 0].copy() for name, block in self._probe(3).items()}
        before = _rows(self._given(noise, condition))
        for i, (name, _) in enumerate(self.noise.blocks):
            noise[name][0] = _other(noise[name][0], self.draws[i])
        after = _rows(self._given(noise, condition))
        gap = float(np.abs(after[1:] - before[1:]).max(initial=0.0))
        if gap > 1e-4 * float(np.abs(before).max(initial=0.0)):
            raise ValueError(
                f"in {self.name!r} the noise of one sample reaches others (they changed by {gap:.3g}): it shares draws "
                "between the samples of a batch, normalizes over it, or adapts its steps to it; an interval would not "
                "cover. Sample one by one in it, or use a sampler whose samples are independent"
            )


def capture(
    sampler: Sampler,
    *,
    condition: object = None,
    device: torch.device | str | None = None,
    modules: torch.nn.Module | Iterable[torch.nn.Module] = (),
    name: str | None = None,
) -> CapturedGenerator:
    """Take a sampler that draws its own noise as a generator, unmodified.

    The sampler is run four times, for 2 or 3 samples, to see what it draws and that samples stay apart.

    Parameters
    ----------
    sampler : callable
        ``sampler(n, condition)`` to n samples, drawing by torch.
    condition : object, optional
        One to try it with.
    device : torch.device or str, optional
        Where the noise goes; draws elsewhere get theirs there.
    modules : torch.nn.Module or iterable of them
        The networks that the sampler runs; they must be in evaluation mode. Those that draw nothing then run unwatched,
        at their own speed.
    name : str, optional
        How results call it.

    Returns
    -------
    CapturedGenerator
        Its noise has a block for every draw, in order: normal and uniform draws are steered by designs; integers, masks
        and the like become uniform blocks that are independent whatever the design. `describe` tells what was found.

    Raises
    ------
    ValueError
        If it draws nothing, draws what can't be steered (multinomial, permutations, ...), draws that are not for each
        sample, other draws from call to call, or if the noise of one sample reaches another.

    Examples
    --------
    >>> import torch
    >>> import mcgen
    >>> from mcgen.adapters import capture
    >>> def sampler(n, condition):
    ...     x = torch.randn(n, 4)
    ...     for _ in range(3):
    ...         x = 0.9 * x + 0.1 * torch.randn_like(x) + 0.05 * x**2
    ...     return x
    >>> generator = capture(sampler)
    >>> print(generator.describe())
    sampler: 4 draws, 16 numbers a sample
       0 randn         normal(4)
       1 randn_like    normal(4)
       2 randn_like    normal(4)
       3 randn_like    normal(4)
    """
    name = name or name_of(sampler)
    modules = (modules,) if isinstance(modules, torch.nn.Module) else tuple(modules)
    records = [_record(sampler, n, condition, modules, name) for n in _PROBES]
    draws = tuple(_matched([record.seen for record in records], name))
    if not draws:
        raise ValueError(f"{name!r} draws no random numbers by torch: there is nothing to steer; use from_torch")
    quiet = dict.fromkeys(records[-1].quiet(modules))
    captured = CapturedGenerator(sampler, draws, quiet=quiet, device=device, modules=modules, name=name)
    captured.require_rows_apart(condition)
    return captured


class _Watch(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Calls `self.drawn` at every random draw; passes everything else on."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        kwargs = kwargs or {}
        if torch.Tag.nondeterministic_seeded not in func.tags:
            return func(*args, **kwargs)
        operation = func.overloadpacket.__name__
        if draws_nothing(operation, args, kwargs):
            return func(*args, **kwargs)
        return self.drawn(operation, func(*args, **kwargs), args, kwargs)

    def drawn(self, operation: str, out: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        """Take note of a draw, or change its outcome."""
        raise NotImplementedError


class _Seen(NamedTuple):
    operation: str
    shape: tuple[int, ...]
    dtype: torch.dtype


class _Record(_Watch):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[_Seen] = []
        self._open: list[torch.nn.Module] = []
        self._run: set[torch.nn.Module] = set()
        self._drawing: set[torch.nn.Module] = set()

    def drawn(self, operation: str, out: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        known = isinstance(out, torch.Tensor)
        self.seen.append(_Seen(operation, tuple(out.shape) if known else (), out.dtype if known else torch.float32))
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


class _Supply(_Watch):  # type: ignore[no-untyped-call]
    def __init__(
        self, draws: tuple[Draw, ...], block: Callable[[int], torch.Tensor], n: int, name: str, gradients: bool
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._draws, self._block, self._n, self._name, self._gradients = draws, block, n, name, gradients
        self._made = 0
        self.steered: list[Callable[[], torch.Tensor]] = []

    def drawn(self, operation: str, out: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        i, self._made = self._made, self._made + 1
        expected = self._draws[i] if i < len(self._draws) else None
        shape = None if expected is None else (expected.rows * self._n, *expected.shape)
        if expected is None or operation != expected.operation or tuple(out.shape) != shape:
            wanted = "no more draws" if expected is None else f"{expected.operation} of shape {shape}"
            raise ValueError(
                f"{self._name!r} draws {operation} of shape {tuple(out.shape)} as number {i}, where {wanted} came "
                "when it was captured: what it draws changes from call to call (a rejection loop, an adaptive step?), "
                "and can't be steered. Fix its number of steps"
            )
        noise = self._block(i).to(device=out.device)

        def outcome() -> torch.Tensor:
            return expected.kind.outcome(expected.arrange(noise), arguments, options)

        if self._gradients and not expected.kind.iid:
            if not torch.is_grad_enabled():
                raise ValueError(
                    f"{self._name!r} draws {operation} (as number {i}) under torch.no_grad, where gradients can't "
                    "follow. Capture its undecorated function, such as type(pipe).__call__.__wrapped__ of a pipeline "
                    'with output_type="pt", or estimate without gradients'
                )
            self.steered.append(outcome)
        return out.copy_(outcome())

    def unwatched(self, module: torch.nn.Module, forward: Forward) -> Forward:
        """Return the forward of a module that draws nothing, run outside the mode and refused if it does draw."""

        @wraps(forward)
        def call(*arguments: Any, **options: Any) -> Any:
            if _get_current_dispatch_mode() is not self:
                return forward(*arguments, **options)
            with _pop_mode_temporarily():
                before = _random_states()
                outputs = forward(*arguments, **options)
                still = all(map(torch.equal, before, _random_states()))
            if not still:
                raise ValueError(
                    f"{type(module).__name__} drew random numbers inside {self._name!r}, and none when it was "
                    "captured: what it draws changes from call to call or with the condition. Capture the sampler "
                    "under the condition in which it draws, or leave the module out of modules="
                )
            return outputs

        return call

    def require_all_used(self) -> None:
        """Refuse a run that drew less than was captured."""
        if self._made < len(self._draws):
            raise ValueError(
                f"{self._name!r} made {self._made} draws, where {len(self._draws)} came when it was captured: what it "
                "draws changes from call to call, and can't be steered. Fix its number of steps"
            )


class _Follow(TorchFunctionMode):
    """Lets gradients through the draws: a dispatch mode works below autograd, a function mode above it."""

    def __init__(self, supply: _Supply) -> None:
        super().__init__()
        self._supply = supply

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        steered, self._supply.steered = self._supply.steered, []
        if not steered:
            return out
        if len(steered) > 1 or kind_of(func.__name__) is None:
            raise ValueError(
                f"{func.__name__} draws noise inside, where gradients can't follow; draw it in the sampler by "
                "torch.randn or torch.rand, or estimate without gradients"
            )
        return out.copy_(steered[0]())


@contextmanager
def _forwards_wrapped(
    modules: Iterable[torch.nn.Module], wrapped: Callable[[torch.nn.Module, Forward], Forward]
) -> Iterator[None]:
    """Replace the forward of modules for a while; whatever happens, they are as they were afterwards."""
    own = {module: module.__dict__.get("forward") for module in modules}
    try:
        for module in own:
            module.__dict__["forward"] = wrapped(module, module.forward)
        yield
    finally:
        for module, forward in own.items():
            if forward is None:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = forward


def _random_states() -> list[torch.Tensor]:
    cuda = torch.cuda.default_generators if torch.cuda.is_initialized() else ()  # type: ignore[no-untyped-call]
    return [generator.get_state() for generator in (torch.default_generator, *cuda)]


def _record(sampler: Sampler, n: int, condition: object, modules: tuple[torch.nn.Module, ...], name: str) -> _Record:
    record = _Record()
    every = [part for module in modules for part in module.modules()]
    with (
        _ONE_AT_A_TIME,
        torch.no_grad(),
        torch.random.fork_rng(devices=_cuda_devices()),
        record,
        _forwards_wrapped(every, record.noted),
    ):
        samples = sampler(n, condition)
    if leading_length(samples) != n:
        raise ValueError(f"{name!r} returned {leading_length(samples)} samples where {n} were asked for")
    return record


def _matched(records: list[list[_Seen]], name: str) -> Iterable[Draw]:
    """Yield the draws of one sample, from what was drawn for two numbers of samples."""
    fewer, more = records
    if [seen.operation for seen in fewer] != [seen.operation for seen in more]:
        raise ValueError(
            f"{name!r} made {len(fewer)} draws for {_PROBES[0]} samples and {len(more)} for {_PROBES[1]}, or others: "
            "what it draws changes from call to call, or is not for each sample, and can't be steered"
        )
    for i, ((operation, few, dtype), (_, many, _)) in enumerate(zip(fewer, more, strict=True)):
        kind = kind_of(operation)
        if kind is None:
            raise ValueError(
                f"{name!r} draws {operation} (as number {i}), which is no fixed function of uniform or normal noise "
                "and can't be steered; replace it in the sampler, or pass its outcome in as a condition"
            )
        rows = few[0] // _PROBES[0] if few else 0
        if not few or (few[0], many[0]) != (rows * _PROBES[0], rows * _PROBES[1]) or few[1:] != many[1:] or rows == 0:
            raise ValueError(
                f"{name!r} draws {operation} of shape {few} for {_PROBES[0]} samples and {many} for {_PROBES[1]} (as "
                f"number {i}): it is not drawn for each sample, along the leading axis, and all samples of a batch "
                "would share it. Draw it for each sample, or fix it outside the sampler"
            )
        yield Draw(operation, few[1:], rows, kind, dtype)


def _rows(samples: Any) -> Any:
    first = samples[0] if isinstance(samples, tuple) else samples
    array = as_numpy(first)
    return array.reshape(len(array), -1).astype(np.float64)


def _other(noise: Any, draw: Draw) -> Any:
    """Return other noise of the same law: -z + 1, or u moved on by a half."""
    return 1 - noise if draw.kind.law == "normal" else (noise + 0.5) % 1


def _cuda_devices() -> list[int]:
    return list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
