r"""Diffusion models that start at a later step, from a given sample or from the samples of another generator.

A diffusion model can start at a later time t. From a sample :math:`x_0`, given or made by another generator, the state
at time t is

.. math:: x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, z,

and the sampler goes back from there. With a given sample this is SDEdit [1]_ (`Partial`). With a sample of another
generator it is an early-stopped diffusion [3]_ (`Truncate`), which saves the earlier steps.

A truncated diffusion [2]_ needs no :math:`x_0`: the other generator makes :math:`x_t` itself, by a law of its own
(``Truncate(..., mix=False)``). If that law is the forward process's, which is
:math:`\int N(x_t; \sqrt{\bar\alpha_t}\, x_0, (1 - \bar\alpha_t) I)\, p(x_0)\, dx_0`, the samples have the law of a
full model whose earlier steps are exact.

.. rubric:: References

.. [1] C. Meng, Y. He, Y. Song, J. Song, J. Wu, J.-Y. Zhu, S. Ermon (2022). SDEdit: guided image synthesis and editing
   with stochastic differential equations. ICLR. Algorithm 1.
.. [2] H. Zheng, P. He, W. Chen, M. Zhou (2023). Truncated diffusion probabilistic models and diffusion-based
   adversarial auto-encoders. ICLR. Section 3.
.. [3] Z. Lyu, X. Xu, C. Yang, D. Lin, B. Dai (2022). Accelerating diffusion models via early stop of the diffusion
   process. arXiv:2205.12524.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch

from mcgen._lib.arrays import as_numpy
from mcgen._lib.checks import checked_integer
from mcgen._lib.names import name_of
from mcgen.adapters.composed.combinators import Chain, PartNoise, in_library_of, run_part
from mcgen.adapters.samplers.diffusion import Diffusion
from mcgen.adapters.samplers.paths import Encode
from mcgen.adapters.tensors.floats import require_floats
from mcgen.adapters.tensors.torch_generator import TensorNoise, TorchGenerator
from mcgen.generators import Generator
from mcgen.noise import Block, NoiseSpec


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
    >>> partial = Partial(digits, 6)
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
    >>> partial = Partial(digits, 6)
    >>> partial.noise.dimension, partial(np.zeros((2, 1, 8, 8), np.float32), np.zeros((1, 8, 8))).shape
    (64, torch.Size([2, 1, 8, 8]))
    """

    def __init__(
        self, diffusion: Diffusion, step: int, *, encode: Encode | None = None, name: str | None = None
    ) -> None:
        step = _checked_step(diffusion, step)
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

    @property
    def network_evaluations(self) -> int:
        """Evaluations of the diffusion model's network per sample, in the remaining steps."""
        return _evaluations_from(self.diffusion, self.start)

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


class Truncate(Chain):
    """A diffusion model that starts at a later step, from the samples or states that another generator makes.

    Use it to save the earlier steps of a diffusion model, where the other generator is cheaper than they are.

    Parameters
    ----------
    first : Generator
        The other generator. Its samples are like those of the diffusion model, before noise is mixed in. With
        ``mix=False`` they are states of the diffusion model at `step`.
    diffusion : Diffusion
        The diffusion model, such as a `DDIM` or `Heun`. Both generators receive the condition.
    step : int
        Number of the step to start at, see `Partial`. With ``mix=False`` it is at least 1.
    mix : bool
        Whether noise is mixed into the samples of `first`. With False, `first` has a law of states of its own, as the
        implicit start of a truncated diffusion does.
    encode : callable, optional
        See `Partial`. States need none.
    name : str, optional
        The generator's name in results.

    Notes
    -----
    The noise has the blocks of `first`, and for a stochastic sampler those of the remaining steps. With ``mix=True`` it
    has a block "second/mix" too.

    Raises
    ------
    TypeError
        If `first` is not a generator, `diffusion` is not a `Diffusion`, or `mix` is not a bool. In a call, if the
        states are not floats.
    ValueError
        If there is no such step, or `encode` is missing or given where it has no use. In a call, if the samples or
        states have another shape than the model's states.

    Examples
    --------
    >>> import mcgen
    >>> from mcgen.adapters import Truncate, models
    >>> first = mcgen.as_generator(lambda z: 0.5 + 0.1 * z, noise=(1, 8, 8))
    >>> digits = models.load("digits-diffusion", steps=10)
    >>> model = Truncate(first, digits, 6)
    >>> print(model.noise)
    first/noise: normal(1x8x8), second/mix: normal(1x8x8) float32
    >>> mcgen.sample(model, 2, seed=0).shape
    torch.Size([2, 1, 8, 8])

    A generator of states at step 5. Here it is a Gaussian guess:

    >>> states = mcgen.as_generator(lambda z: 0.9 * z - 0.4, noise=(1, 8, 8), name="guess")
    >>> implicit = Truncate(states, digits, 5, mix=False)
    >>> implicit, implicit.network_evaluations
    (Truncate(guess, digits-diffusion ddim-10 from step 5, noise=normal(1x8x8) float32), 6)
    """

    def __init__(
        self,
        first: Generator,
        diffusion: Diffusion,
        step: int,
        *,
        mix: bool = True,
        encode: Encode | None = None,
        name: str | None = None,
    ) -> None:
        if not isinstance(mix, bool):
            raise TypeError(f"mix must be True (mix noise into samples) or False (take states); got {mix!r}")
        start = _checked_step(diffusion, step)
        if not mix:
            _require_states(start, encode)
            name = name or f"{name_of(first)}, {diffusion.name} from step {start}"
        second = Partial(diffusion, start, encode=encode) if mix else diffusion
        super().__init__(first, second, join=Start, name=name)
        self.diffusion, self.start, self.mix = diffusion, start, mix
        if not mix:
            # The states take the place of the sampler's start and of the fresh noise of its earlier steps.
            unused = {f"second/{block}" for block, _ in diffusion.noise.blocks[: start + 1]}
            kept = tuple((block, kind) for block, kind in self.noise.blocks if block not in unused)
            self.noise = NoiseSpec(kept, self.noise.dtype)

    @property
    def network_evaluations(self) -> int:
        """Evaluations of networks per sample: those of `first`, 1 if it does not say, and the remaining steps'."""
        own = int(getattr(self.first, "network_evaluations", 1))
        return own + _evaluations_from(self.diffusion, self.start)

    def sample(self, noise: TensorNoise, condition: object = None) -> Any:
        """Return the samples (n, ...) of the diffusion model."""
        # Noise of one block comes as a tensor alone.
        blocks = noise if isinstance(noise, Mapping) else {self.noise.blocks[0][0]: noise}
        if self.mix:
            return super().sample(blocks, condition)
        given = Start(run_part(self.first, "first", blocks, condition), condition)
        x = self._checked_states(given.sample, len(blocks[self.noise.blocks[0][0]]))
        rest = PartNoise(self.diffusion, "second", blocks)
        receives = in_library_of(self.diffusion, condition)
        return self.diffusion.finished(self.diffusion.reverse(x, rest, receives, first=self.start))

    def _checked_states(self, states: Any, n: int) -> torch.Tensor:
        require_floats(states, f"the samples of {name_of(self.first)!r}, states at step {self.start},")
        x = states if isinstance(states, torch.Tensor) else torch.tensor(as_numpy(states))
        if tuple(x.shape) != (n, *self.diffusion.shape):
            raise ValueError(
                f"the samples of {name_of(self.first)!r} are states at step {self.start} of {self.diffusion.name!r} "
                f"and must have shape {(n, *self.diffusion.shape)}; got {tuple(x.shape)}. For samples that need "
                "noise mixed in, leave mix=False out"
            )
        return x.to(device=self.diffusion.device, dtype=self.diffusion.dtype)


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


def _checked_step(diffusion: Diffusion, step: int) -> int:
    """Return the step if it is one of the diffusion model's, or refuse either."""
    if not isinstance(diffusion, Diffusion):
        raise TypeError(f"only a Diffusion (DDIM, Heun) can start in the middle; got {type(diffusion).__name__}")
    step = checked_integer("step", step)
    if not 0 <= step < diffusion.steps:
        raise ValueError(f"step must be one of the sampler's, 0 to {diffusion.steps - 1}; got {step}")
    return step


def _require_states(step: int, encode: Encode | None) -> None:
    """Refuse options that do not go with states made by another generator."""
    if encode is not None:
        raise ValueError(
            "with mix=False the first generator makes states of the diffusion model, which need no encode; leave "
            "encode out, or mix=False if it makes samples"
        )
    if step == 0:
        raise ValueError(
            "with mix=False step must be at least 1: at step 0 nothing is truncated, and a state is standard normal "
            "noise. Use the diffusion model itself"
        )


def _evaluations_from(diffusion: Diffusion, step: int) -> int:
    """Return the evaluations of the network in the steps from `step` on."""
    # All steps cost the same, except that Heun's last one costs half: the quotient is rounded up.
    each = math.ceil(diffusion.network_evaluations / (diffusion.steps * diffusion.prediction_evaluations))
    return diffusion.network_evaluations - step * each * diffusion.prediction_evaluations
