"""Two generators in a row (`Chain`): the samples of the first are the condition of the second.

The noise has the blocks of both parts. Their names begin with the part: "first/noise", "second/mix". A block is made
when the part accesses it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import torch

from mcgen._lib.arrays import as_numpy
from mcgen._lib.names import name_of
from mcgen.adapters.tensors.torch_generator import TorchGenerator, require_condition_taken
from mcgen.generators import Generator
from mcgen.generators.base import checked_generator
from mcgen.generators.joint import OnSameNoise, pilot_evaluations_of
from mcgen.noise import BlockNoise, NoiseSpec


class Chain(TorchGenerator):
    """Two generators in a row: the samples of the first, row by row, are the condition of the second.

    Use it for cascades, such as a model that improves or enlarges the samples of another one.

    Parameters
    ----------
    first, second : Generator
        The two generators, of torch or numpy. The first one receives the condition.
    join : callable, optional
        ``join(samples, condition)`` returns the condition of the second generator. By default it is the samples alone.
    name : str, optional
        The generator's name in results.

    Notes
    -----
    Each generator receives arrays of its own library, also inside tuples, lists and dicts. These are numpy arrays, or
    tensors on its device; tensors of floats have its type. `join` receives the samples as the first generator made
    them. Gradients need two generators of torch.

    Raises
    ------
    TypeError
        If one of them is not a generator, or `join` can't be called.
    ValueError
        If the noise of the two has different types.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> from mcgen.adapters import Chain
    >>> first = mcgen.as_generator(lambda z: z**2, noise=(3,), name="square")
    >>> second = mcgen.as_generator(lambda z, x: x + z, noise=(3,), name="blur")
    >>> Chain(first, second)
    Chain(square, blur, noise=first/noise: normal(3), second/noise: normal(3) float32)
    """

    def __init__(
        self,
        first: Generator,
        second: Generator,
        *,
        join: Callable[[Any, Any], Any] | None = None,
        name: str | None = None,
    ) -> None:
        checked_generator(first, "first")
        checked_generator(second, "second")
        if not (join is None or callable(join)):
            raise TypeError(f"join must be a callable of samples and condition, or None; got {join!r}")
        dtypes = {first.noise.dtype, second.noise.dtype}
        if len(dtypes) > 1:
            raise ValueError(
                f"the noise of {name_of(first)!r} is {first.noise.dtype}, that of {name_of(second)!r} is "
                f"{second.noise.dtype}; declare both in one type"
            )
        parts = {"first": first, "second": second}
        blocks = tuple((f"{part}/{b}", block) for part, model in parts.items() for b, block in model.noise.blocks)
        dtype = dtypes.pop()
        self.first, self.second, self.join = first, second, join
        super().__init__(
            self.sample,
            NoiseSpec(blocks, dtype),
            device=getattr(second, "device", None),
            dtype=getattr(torch, dtype),
            modules=[module for model in parts.values() for module in getattr(model, "modules", ())],
            name=name or f"{name_of(first)}, {name_of(second)}",
        )

    @property
    def pilot_evaluations(self) -> float:
        """Cost of fitting the parts, in evaluations of the chain; 0 where no part is a `Fitted` sampler."""
        return pilot_evaluations_of(OnSameNoise((self.first, self.second), self.noise))

    def sample(self, noise: Mapping[str, torch.Tensor], condition: object = None) -> Any:
        """Return the second generator's samples (n, ...)."""
        samples = run_part(self.first, "first", noise, condition)
        joined = samples if self.join is None else self.join(samples, condition)
        return run_part(self.second, "second", noise, joined)


def run_part(part: Generator, prefix: str, noise: Mapping[str, torch.Tensor], condition: Any) -> Any:
    """Return the samples of a part, run on its own blocks of noise and in its own library."""
    condition = in_library_of(part, condition)
    require_condition_taken(getattr(part, "function", part), condition, name_of(part))
    own = PartNoise(part, prefix, noise)
    lone = len(own) == 1
    if isinstance(part, TorchGenerator):
        given = own[next(iter(own))] if lone else own
        # The function is called directly: the chain has checked evaluation mode, and gradients go through both parts.
        return part.function(given) if condition is None else part.function(given, condition)

    def array(name: str) -> Any:
        # Without detach, so that a gradient raises an error here instead of ignoring the part.
        return own[name].cpu().numpy()

    return part(array(next(iter(own))) if lone else BlockNoise(array, tuple(own)), condition)


def in_library_of(part: Generator, thing: Any) -> Any:
    """Return a condition with all arrays in it, also nested ones, converted to the library of a part."""
    if isinstance(thing, tuple) and hasattr(thing, "_fields"):
        return type(thing)(*(in_library_of(part, one) for one in thing))
    if type(thing) in (tuple, list):
        return type(thing)(in_library_of(part, one) for one in thing)
    if type(thing) is dict:
        return {key: in_library_of(part, one) for key, one in thing.items()}
    if not hasattr(thing, "dtype") or not hasattr(thing, "shape") or isinstance(thing, np.generic):
        return thing
    if not isinstance(part, TorchGenerator):
        return as_numpy(thing) if isinstance(thing, torch.Tensor) else thing
    if not isinstance(thing, torch.Tensor):
        array = as_numpy(thing)
        if array.dtype.kind not in "biufc":
            return thing
        thing = torch.tensor(array)
    return thing.to(device=part.device, dtype=part.dtype if thing.is_floating_point() else None)


class PartNoise(Mapping[str, torch.Tensor]):
    """The noise of one part by its own names of blocks, as tensors on the part's device and in its type."""

    def __init__(self, part: Generator, prefix: str, noise: Mapping[str, torch.Tensor]) -> None:
        self._blocks = dict(part.noise.blocks)
        self._prefix, self._noise = prefix, noise
        self._device, self._dtype = getattr(part, "device", None), getattr(part, "dtype", None)

    def __getitem__(self, name: str) -> torch.Tensor:
        tensor = self._noise[f"{self._prefix}/{name}"].to(device=self._device, dtype=self._dtype)
        # Rounding to half precision can give 1, but uniform noise is below 1.
        uniform = self._blocks[name].law == "uniform"
        return tensor.clamp(max=1 - torch.finfo(tensor.dtype).eps / 2) if uniform else tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._blocks)

    def __len__(self) -> int:
        return len(self._blocks)
