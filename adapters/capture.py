"""Any torch sampler, unmodified, as a generator: its noise is taken from inside.

A sampler that draws its own noise is run once to see what it draws; from then on mcgen's noise is put in place of every
draw, so that negation and nets reach the initial noise and every step's noise, with no change to the sampler's source.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any

import numpy as np
import torch
from torch.utils._python_dispatch import TorchDispatchMode

from mcgen.adapters._draws import Draw, draws_nothing, kind_of
from mcgen.adapters._torch import TensorNoise, TorchGenerator
from mcgen.arrays import as_numpy, leading_length
from mcgen.designs import MonteCarlo
from mcgen.generators import name_of
from mcgen.noise import NoiseSpec

Sampler = Callable[[int, Any], Any]

_PROBES = (2, 3)
_MOST_PROBED = 64


class CapturedGenerator(TorchGenerator):
    """A sampler whose draws mcgen supplies; made by `capture`.

    Attributes
    ----------
    draws : tuple of Draw
        What the sampler draws, in order.
    """

    def __init__(self, sampler: Sampler, draws: tuple[Draw, ...], **options: Any) -> None:
        self.draws = draws
        self.sampler = sampler
        spec = NoiseSpec(tuple((f"{i} {draw.operation}", draw.block) for i, draw in enumerate(draws)))
        super().__init__(self._sample, spec, **options)

    def _sample(self, noise: TensorNoise, condition: object = None) -> Any:
        names = [name for name, _ in self.noise.blocks]
        # Lazy blocks are drawn at each access: the first one, which tells n, is kept.
        first = noise if isinstance(noise, torch.Tensor) else noise[names[0]]
        n = len(first)

        def block(i: int) -> torch.Tensor:
            return first if i == 0 or isinstance(noise, torch.Tensor) else noise[names[i]]

        supply = _Supply(self.draws, block, n, str(self.name))
        with torch.random.fork_rng(devices=_cuda_devices()), supply:
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
                "between the samples of a batch, or normalizes over it; an interval would not cover. Sample one by one "
                "in it, or use a sampler whose samples are independent"
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
        The networks that the sampler runs; they must be in evaluation mode.
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
    records = [_record(sampler, n, condition, name) for n in _PROBES]
    draws = tuple(_matched(records, name))
    if not draws:
        raise ValueError(f"{name!r} draws no random numbers by torch: there is nothing to steer; use from_torch")
    captured = CapturedGenerator(sampler, draws, device=device, modules=modules, name=name)
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


class _Record(_Watch):  # type: ignore[no-untyped-call]
    def __init__(self) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.seen: list[tuple[str, tuple[int, ...]]] = []

    def drawn(self, operation: str, out: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        self.seen.append((operation, tuple(out.shape) if isinstance(out, torch.Tensor) else ()))
        return out


class _Supply(_Watch):  # type: ignore[no-untyped-call]
    def __init__(self, draws: tuple[Draw, ...], block: Callable[[int], torch.Tensor], n: int, name: str) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self._draws, self._block, self._n, self._name = draws, block, n, name
        self._next = 0

    def drawn(self, operation: str, out: Any, arguments: tuple[Any, ...], options: dict[str, Any]) -> Any:
        i, self._next = self._next, self._next + 1
        expected = self._draws[i] if i < len(self._draws) else None
        shape = None if expected is None else (expected.rows * self._n, *expected.shape)
        if expected is None or operation != expected.operation or tuple(out.shape) != shape:
            wanted = "no more draws" if expected is None else f"{expected.operation} of shape {shape}"
            raise ValueError(
                f"{self._name!r} draws {operation} of shape {tuple(out.shape)} as number {i}, where {wanted} came "
                "when it was captured: what it draws changes from call to call (a rejection loop, an adaptive step?), "
                "and can't be steered. Fix its number of steps"
            )
        # Under the mode each operation would be watched again.
        with torch.utils._python_dispatch._disable_current_modes():
            noise = expected.arrange(self._block(i).to(device=out.device))
            out.copy_(expected.kind.outcome(noise, arguments, options))
        return out

    def require_all_used(self) -> None:
        """Refuse a run that drew less than was captured."""
        if self._next < len(self._draws):
            raise ValueError(
                f"{self._name!r} made {self._next} draws, where {len(self._draws)} came when it was captured: what it "
                "draws changes from call to call, and can't be steered. Fix its number of steps"
            )


def _record(sampler: Sampler, n: int, condition: object, name: str) -> list[tuple[str, tuple[int, ...]]]:
    record = _Record()
    with torch.no_grad(), torch.random.fork_rng(devices=_cuda_devices()), record:
        samples = sampler(n, condition)
    if leading_length(samples) != n:
        raise ValueError(f"{name!r} returned {leading_length(samples)} samples where {n} were asked for")
    return record.seen


def _matched(records: list[list[tuple[str, tuple[int, ...]]]], name: str) -> Iterable[Draw]:
    """Yield the draws of one sample, from what was drawn for two numbers of samples."""
    fewer, more = records
    if [operation for operation, _ in fewer] != [operation for operation, _ in more]:
        raise ValueError(
            f"{name!r} made {len(fewer)} draws for {_PROBES[0]} samples and {len(more)} for {_PROBES[1]}, or others: "
            "what it draws changes from call to call, or is not for each sample, and can't be steered"
        )
    for i, ((operation, few), (_, many)) in enumerate(zip(fewer, more, strict=True)):
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
        yield Draw(operation, few[1:], rows, kind)


def _rows(samples: Any) -> Any:
    first = samples[0] if isinstance(samples, tuple) else samples
    array = as_numpy(first)
    return array.reshape(len(array), -1).astype(np.float64)


def _other(noise: Any, draw: Draw) -> Any:
    """Return other noise of the same law: -z + 1, or u moved on by a half."""
    return 1 - noise if draw.kind.law == "normal" else (noise + 0.5) % 1


def _cuda_devices() -> list[int]:
    return list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
