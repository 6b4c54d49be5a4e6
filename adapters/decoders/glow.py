r"""Multiscale normalizing flows (Glow) as generators. Their noise is standard normal at every level.

A flow maps latent variables :math:`z_0, \dots, z_{L-1}`, one for each level of resolution, to an image [1]_. In
normflows [2]_ each of them has a diagonal Gaussian law, whose mean and scale are learnt and may depend on a class y.
Here

.. math:: z_i = \mu_i(y) + \tau\, \sigma_i(y)\, \varepsilon_i, \qquad \varepsilon_i \sim N(0, I),

and the noise of the generator is :math:`\varepsilon`, since :math:`-\varepsilon` has the same law. A latent variable
:math:`-z_i` has another law where :math:`\mu_i` is not 0. The temperature :math:`\tau` is that of section 6 of [1]_.

.. rubric:: References

.. [1] D. Kingma, P. Dhariwal (2018). Glow: generative flow with invertible 1 x 1 convolutions. NeurIPS.
.. [2] V. Stimper et al. (2023). normflows: a PyTorch package for normalizing flows. Journal of Open Source Software
   8(86), 5361.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mcgen._lib.checks import checked_real
from mcgen.adapters.tensors.torch_generator import TensorNoise, TorchGenerator, checked_class
from mcgen.noise import Block, NoiseSpec

Moments = tuple[torch.Tensor, torch.Tensor]
"""Mean and log standard deviation of a base distribution, with a leading axis for the classes."""


class Glow(TorchGenerator):
    """A multiscale flow of normflows (Glow) as a generator.

    The noise has a normal block for every level; "level 0" has the lowest resolution. In a class-conditional flow a
    uniform block "class" comes first. It is independent whatever the design, and chooses the class of each sample if
    there is no condition.

    Parameters
    ----------
    flow : normflows.MultiscaleFlow
        A trained flow in evaluation mode. Its bases are `DiagGaussian`, `ClassCondDiagGaussian` or `GlowBase`.
    temperature : float
        The factor tau of the noise at every level. At 1 the samples have the law that the flow was trained for.
    decode : callable, optional
        Maps the flow's outputs (n, ...) to samples, such as images in [0, 1].
    name : str, optional
        The generator's name in results.

    Notes
    -----
    The condition of a class-conditional flow is a class (int), or None for a random class of each sample.

    Raises
    ------
    TypeError
        If `flow` is not a multiscale flow.
    ValueError
        If a base has another law or a temperature of its own. If a layer was never initialized or couples the samples
        of a batch. If the temperature is not positive and finite.

    Examples
    --------
    A flow with one level and one layer, which is not trained:

    >>> import normflows
    >>> from mcgen.adapters import Glow
    >>> base = normflows.distributions.DiagGaussian((3, 4, 4))
    >>> layer = normflows.flows.Invertible1x1Conv(3)
    >>> flow = normflows.MultiscaleFlow([base], [[layer]], [])
    >>> Glow(flow.eval(), temperature=0.7, name="toy")
    Glow(toy, noise=normal(3x4x4) float32)
    """

    def __init__(
        self,
        flow: Any,
        *,
        temperature: float = 1.0,
        decode: Callable[[torch.Tensor], torch.Tensor] | None = None,
        name: str | None = None,
    ) -> None:
        if not isinstance(getattr(flow, "q0", None), torch.nn.ModuleList):
            raise TypeError(f"Glow takes a normflows.MultiscaleFlow, with a list q0 of bases; got {type(flow)}")
        self.temperature = checked_real("temperature", temperature)
        if self.temperature <= 0:
            raise ValueError(f"temperature must be positive; got {temperature}")
        _require_fixed_layers(flow)
        self.flow, self.decode = flow, decode
        self.n_classes = max(getattr(base, "num_classes", None) or 0 for base in flow.q0)
        blocks = {"class": Block((), "uniform", iid=True)} if self.n_classes else {}
        for level, base in enumerate(flow.q0):
            if type(base).__name__ not in _MOMENTS:
                raise ValueError(
                    f"level {level} of the flow has a base {type(base).__name__}; only {', '.join(_MOMENTS)} can be "
                    "written as standard normal noise here. Write the flow as a function of such noise for from_torch"
                )
            if getattr(base, "temperature", None) not in (None, 1):
                raise ValueError(
                    f"level {level} of the flow has a temperature of its own, {base.temperature}: "
                    "call flow.set_temperature(None), and give it as Glow(flow, temperature=...)"
                )
            blocks[f"level {level}"] = Block(tuple(base.shape))
        super().__init__(self.sample, NoiseSpec(tuple(blocks.items())), modules=flow, name=name or type(flow).__name__)

    def sample(self, noise: TensorNoise, condition: object = None) -> torch.Tensor:
        """Return the samples (n, ...) for standard normal noise."""
        x: torch.Tensor = self.flow.forward_and_log_det(self.latents(noise, condition))[0]
        return x if self.decode is None else self.decode(x)

    def latents(self, noise: TensorNoise, condition: object = None) -> list[torch.Tensor]:
        """Return the latent variables z of every level, each (n, ...), for standard normal noise."""
        noise = {"level 0": noise} if isinstance(noise, torch.Tensor) else noise
        classes = self._classes(noise, condition)
        latents = []
        for level, base in enumerate(self.flow.q0):
            mean, log_scale = _MOMENTS[type(base).__name__](base, classes)
            latents.append(mean + self.temperature * log_scale.exp() * noise[f"level {level}"])
        return latents

    def _classes(self, noise: Any, condition: object) -> torch.Tensor:
        if condition is None:
            if not self.n_classes:
                return torch.zeros(1, dtype=torch.int64, device=self.device)
            # u is below 1, and even for the largest such u the rounded product is below the number of classes.
            u: torch.Tensor = noise["class"]
            return (u * self.n_classes).long()
        return torch.tensor([checked_class(condition, self.n_classes)], device=self.device)


def _diagonal(base: Any, classes: torch.Tensor) -> Moments:
    return base.loc, base.log_scale


def _diagonal_of_class(base: Any, classes: torch.Tensor) -> Moments:
    return base.loc[..., classes].movedim(-1, 0), base.log_scale[..., classes].movedim(-1, 0)


def _channels(base: Any, classes: torch.Tensor) -> Moments:
    mean = base.loc * torch.exp(base.loc_logs * base.logscale_factor)
    log_scale = base.log_scale * torch.exp(base.log_scale_logs * base.logscale_factor)
    if base.class_cond:
        shape = (len(classes), *base.loc.shape[1:])
        mean = mean + base.loc_cc[classes].reshape(shape)
        log_scale = log_scale + base.log_scale_cc[classes].reshape(shape)
    return mean, log_scale


_MOMENTS: dict[str, Callable[[Any, torch.Tensor], Moments]] = {
    "DiagGaussian": _diagonal,
    "ClassCondDiagGaussian": _diagonal_of_class,
    "GlowBase": _channels,
}


def _require_fixed_layers(flow: torch.nn.Module) -> None:
    for name, layer in flow.named_modules():
        if not bool(getattr(layer, "data_dep_init_done", True)):
            raise ValueError(
                f"{name} ({type(layer).__name__}) takes its scales from the first batch that it sees, and has seen "
                "none: load trained weights, or pass data through the flow first"
            )
        if type(layer).__module__.startswith("normflows") and type(layer).__name__ == "BatchNorm":
            raise ValueError(
                f"{name} (BatchNorm) normalizes over the batch, also in evaluation: its samples depend on "
                "each other and no interval holds; build the flow with ActNorm"
            )
