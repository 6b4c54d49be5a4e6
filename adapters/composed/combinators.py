r"""Generators that are built from other generators; their noise has the blocks of all parts.

A diffusion model can start at a later time t. From a sample :math:`x_0`, given or made by another generator, the state
at time t is

.. math:: x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, z,

and the sampler goes back from there. With a given sample this is SDEdit [1]_ (`Partial`). With a sample of another
generator it is a truncated diffusion [2]_ [3]_ (`Truncate`), which saves the earlier steps. More generally, a second
generator takes the samples of a first one as its condition (`Chain`), such as a diffusion model that improves a
prediction [4]_.

The names of the blocks begin with the part: "first/noise", "second/mix". A block is made when the part accesses it.

.. rubric:: References

.. [1] C. Meng, Y. He, Y. Song, J. Song, J. Wu, J.-Y. Zhu, S. Ermon (2022). SDEdit: guided image synthesis and editing
   with stochastic differential equations. ICLR. Algorithm 1.
.. [2] H. Zheng, P. He, W. Chen, M. Zhou (2023). Truncated diffusion probabilistic models and diffusion-based
   adversarial auto-encoders. ICLR.
.. [3] Z. Lyu, X. Xu, C. Yang, D. Lin, B. Dai (2022). Accelerating diffusion models via early stop of the diffusion
   process. arXiv:2205.12524.
.. [4] J.-M. Lemercier, J. Richter, S. Welker, T. Gerkmann (2023). StoRM: a diffusion-based stochastic regeneration
   model for speech enhancement and dereverberation. IEEE/ACM Transactions on Audio, Speech, and Language Processing 31.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any, NamedTuple

import numpy as np
import torch

from mcgen._lib.arrays import as_numpy
from mcgen._lib.checks import checked_integer
from mcgen._lib.names import name_of
from mcgen.adapters.samplers.diffusion import Diffusion
from mcgen.adapters.samplers.paths import Encode
from mcgen.adapters.tensors.floats import require_floats
from mcgen.adapters.tensors.torch_generator import TensorNoise, TorchGenerator, require_condition_taken
from mcgen.generators import Generator
from mcgen.generators.base import checked_generator
from mcgen.generators.joint import OnSameNoise, pilot_evaluations_of
from mcgen.noise import Block, BlockNoise, NoiseSpec


class Start(NamedTuple):
    """The condition of `Partial`: a sample to start from, and the condition of the diffusion model.

    Attributes
    ----------
    sample : array
        The sample to start from, or one sample for each row.
    condition : object
        The condition of the diffusion model.

    Examples
    --------
    Digits of class 3, from a grey image:

    >>> import mcgen
    >>> import numpy as np
    >>> from mcgen.adapters import Partial, Start, models
    >>> digits = models.load("digits-diffusion", steps=10)
    >>> partial = Partial(digits, 6, encode=lambda x: 2 * x - 1)
    >>> start = Start(np.full((1, 8, 8), 0.5), 3)
    >>> mcgen.sample(partial, 2, seed=0, condition=start).shape
    torch.Size([2, 1, 8, 8])
    """

    sample: Any
    condition: Any = None


class Partial(TorchGenerator):
    """A diffusion model that starts at a later step, from a given sample with noise mixed in (SDEdit).

    The condition is the sample, an array of floats like the samples of the diffusion model, or
    `Start(sample, condition)`. It is one sample for all rows, or an array of n samples for n rows.

    Parameters
    ----------
    diffusion : Diffusion
        The diffusion model, such as a `DDIM` or `Heun`.
    step : int
        Number of the step to start at: 0 is the sampler's own start, `diffusion.steps` - 1 its last step.
    encode : callable, optional
        Maps samples (n, ...) back to the sampler's states (n, ...), the inverse of the model's `decode`. By default the
        `encode` of the diffusion model, which all shipped ones have. It receives the type of the networks as `decode`
        does. One sample for all rows is encoded once, with n = 1.
    name : str, optional
        The generator's name in results.

    Notes
    -----
    The noise has a block "mix" and, for a stochastic sampler, the blocks of the remaining steps.

    Raises
    ------
    TypeError
        If `diffusion` is not a `Diffusion`, or `encode` can't be called.
    ValueError
        If there is no such step, or the model has a `decode` and there is no `encode`. In a call, if there is no
        sample, or its shape does not fit.

    Examples
    --------
    >>> import numpy as np
    >>> from mcgen.adapters import Partial, models
    >>> digits = models.load("digits-diffusion", steps=10)
    >>> partial = Partial(digits, 6, encode=lambda x: 2 * x - 1)
    >>> partial.noise.dimension, partial(np.zeros((2, 1, 8, 8), np.float32), np.zeros((1, 8, 8))).shape
    (64, torch.Size([2, 1, 8, 8]))
    """

    def __init__(
        self, diffusion: Diffusion, step: int, *, encode: Encode | None = None, name: str | None = None
    ) -> None:
        if not isinstance(diffusion, Diffusion):
            raise TypeError(f"only a Diffusion (DDIM, Heun) can start in the middle; got {type(diffusion).__name__}")
        step = checked_integer("step", step)
        if not 0 <= step < diffusion.steps:
            raise ValueError(f"step must be one of the sampler's, 0 to {diffusion.steps - 1}; got {step}")
        if not (encode is None or callable(encode)):
            raise TypeError(f"encode must be a callable from samples to states, or None; got {encode!r}")
        encode = diffusion.encode if encode is None else encode
        if encode is None and diffusion.decode is not None:
            raise ValueError(
                f"{diffusion.name!r} decodes its states, so that a sample is not on their scale: give the inverse by "
                "encode=, such as encode=lambda x: 2 * x - 1 for images in [0, 1] made from [-1, 1]"
            )
        self.diffusion, self.start, self.encode = diffusion, step, encode
        # The first block of a sampler is its start. In a stochastic sampler one block for each step follows.
        blocks = (("mix", Block(diffusion.shape)), *diffusion.noise.blocks[step + 1 :])
        super().__init__(
            self.sample,
            NoiseSpec(blocks, diffusion.noise.dtype),
            device=diffusion.device,
            dtype=diffusion.dtype,
            modules=diffusion.modules,
            name=name or f"{diffusion.name} from step {step}",
        )

    def sample(self, noise: TensorNoise, condition: object = None) -> torch.Tensor:
        """Return the samples (n, ...) that `noise` makes from the given sample."""
        if condition is None:
            raise ValueError(f"{self.name!r} starts from a sample: give it as the condition")
        given = condition if isinstance(condition, Start) else Start(condition)
        z = noise if isinstance(noise, torch.Tensor) else noise["mix"]
        x = self.diffusion.mix(rows_of(given.sample, z, self.encode and self._encoded), z, self.start)
        return self.diffusion.finished(self.diffusion.reverse(x, noise, given.condition, first=self.start))

    def _encoded(self, x: torch.Tensor) -> torch.Tensor:
        assert self.encode is not None
        return self.encode(self.diffusion.narrowed(x)).to(x.dtype)


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
        samples = _run_part(self.first, "first", noise, condition)
        joined = samples if self.join is None else self.join(samples, condition)
        return _run_part(self.second, "second", noise, joined)


class Truncate(Chain):
    """A diffusion model that starts at a later step, from the samples of another generator with noise mixed in.

    It saves the earlier steps of the diffusion model, if the other generator is cheaper than they are.

    Parameters
    ----------
    first : Generator
        The other generator. Its samples are like those of the diffusion model.
    diffusion, step, encode
        See `Partial`. Both generators receive the condition.
    name : str, optional
        The generator's name in results.

    Examples
    --------
    >>> import mcgen
    >>> from mcgen.adapters import Truncate, models
    >>> first = mcgen.as_generator(lambda z: 0.5 + 0.1 * z, noise=(1, 8, 8))
    >>> digits = models.load("digits-diffusion", steps=10)
    >>> model = Truncate(first, digits, 6, encode=lambda x: 2 * x - 1)
    >>> print(model.noise)
    first/noise: normal(1x8x8), second/mix: normal(1x8x8) float32
    >>> mcgen.sample(model, 2, seed=0).shape
    torch.Size([2, 1, 8, 8])
    """

    def __init__(
        self,
        first: Generator,
        diffusion: Diffusion,
        step: int,
        *,
        encode: Encode | None = None,
        name: str | None = None,
    ) -> None:
        super().__init__(first, Partial(diffusion, step, encode=encode), join=Start, name=name)


def rows_of(sample: Any, noise: torch.Tensor, encode: Encode | None = None) -> torch.Tensor:
    """Return one sample, or one for each row, as encoded rows with the shape of the noise (n, ...).

    An array with one axis less than the noise is one sample.
    """
    require_floats(sample, "the given sample")
    x = sample if isinstance(sample, torch.Tensor) else torch.tensor(as_numpy(sample))
    x = x.to(device=noise.device, dtype=noise.dtype)
    one = x.ndim == noise.ndim - 1
    if not one and (x.ndim != noise.ndim or len(x) != len(noise)):
        advice = ": give image[0]" if x.ndim == noise.ndim and len(x) == 1 else ""
        raise ValueError(
            f"the given sample has shape {tuple(x.shape)}; {noise.ndim - 1} axes are needed for one sample, as in "
            f"{tuple(noise.shape[1:])}, or as in {tuple(noise.shape)} for one each{advice}"
        )
    x = x[None] if one else x
    rows = len(x)
    x = x if encode is None else encode(x)
    if x.shape != (rows, *noise.shape[1:]):
        raise ValueError(
            f"the given sample has shape {tuple(x.shape[1:])} where the model's states have {tuple(noise.shape[1:])}; "
            "give a sample of that shape, or one that encode turns into it"
        )
    return x.expand(noise.shape)


def _run_part(part: Generator, prefix: str, noise: Mapping[str, torch.Tensor], condition: Any) -> Any:
    """Return the samples of a part, run on its own blocks of noise and in its own library."""
    condition = _in_library_of(part, condition)
    require_condition_taken(getattr(part, "function", part), condition, name_of(part))
    own = _PartNoise(part, prefix, noise)
    lone = len(own) == 1
    if isinstance(part, TorchGenerator):
        given = own[next(iter(own))] if lone else own
        # The function is called directly: the chain has checked evaluation mode, and gradients go through both parts.
        return part.function(given) if condition is None else part.function(given, condition)

    def array(name: str) -> Any:
        # Without detach, so that a gradient raises an error here instead of ignoring the part.
        return own[name].cpu().numpy()

    return part(array(next(iter(own))) if lone else BlockNoise(array, tuple(own)), condition)


def _in_library_of(part: Generator, thing: Any) -> Any:
    """Return a condition with all arrays in it, also nested ones, converted to the library of a part."""
    if isinstance(thing, tuple) and hasattr(thing, "_fields"):
        return type(thing)(*(_in_library_of(part, one) for one in thing))
    if type(thing) in (tuple, list):
        return type(thing)(_in_library_of(part, one) for one in thing)
    if type(thing) is dict:
        return {key: _in_library_of(part, one) for key, one in thing.items()}
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


class _PartNoise(Mapping[str, torch.Tensor]):
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
