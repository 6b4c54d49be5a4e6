r"""Posterior samplers for inverse problems: a diffusion prior, an operator, and the measurement as condition.

Given a measurement :math:`y = A x_0 + \sigma n` of an unknown sample :math:`x_0`, the samplers follow a DDIM prior and
correct each of its steps, t to s, towards y. Let :math:`\hat x_0` and :math:`\hat\varepsilon` be the prior's prediction
at :math:`x_t`, and D its step from these (equation (12) of DDIM, with the prior's eta).

Diffusion posterior sampling, DPS [1]_, adds a gradient step on the misfit of the prediction,

.. math:: x_s = D(\hat x_0, \hat\varepsilon) - \zeta\, \nabla_{x_t} \lVert y - A \hat x_0(x_t) \rVert,

which is the step :math:`\zeta_t \nabla \lVert \cdot \rVert^2` of its Algorithm 1 with
:math:`\zeta_t = \zeta / (2 \lVert \cdot \rVert)`. A state of d numbers has a length of about :math:`\sqrt d`, and N
steps must be able to cover it. So :math:`\zeta = \lambda \sqrt d / N`, where the strength :math:`\lambda` has the same
effect for every size and number of steps. The authors' settings, 0.3 to 1 for 3 x 256 x 256 numbers and 1,000 steps,
are strengths from 0.7 to 2.3.

Decomposed diffusion sampling, DDS [2]_, moves the prediction itself,

.. math::

    x_s = D(\hat x_0', \hat\varepsilon), \qquad
    \hat x_0' = \arg\min_x \frac{\gamma}{2} \lVert y - A x \rVert^2 + \frac{1}{2} \lVert x - \hat x_0 \rVert^2,

by a few iterations of conjugate gradients on :math:`(I + \gamma A^\top A)\, x = \hat x_0 + \gamma A^\top y` from
:math:`\hat x_0`. The fixed :math:`\gamma` ignores the size of the noise, so that many steps fit y together with its
noise.

If :math:`\sigma` is known, the weight is :math:`\gamma_t = r_t^2 / \sigma^2` with :math:`r_t^2 = 1 - \bar\alpha_t`, the
variance of :math:`x_0` given :math:`x_t` for data of variance 1 [3]_. Then :math:`\hat x_0'` is the mean given
:math:`x_t` and y. The noise of :math:`\hat x_0'`, :math:`(x_t - \sqrt{\bar\alpha_t}\, \hat x_0') /
\sqrt{1 - \bar\alpha_t}`, replaces :math:`\hat\varepsilon` [4]_. For data :math:`N(m, I)` the sampler then follows the
posterior, up to the error of finite steps.

The norm of DPS and the inner products of the conjugate gradients are computed for each sample alone, and the number of
iterations is fixed. A norm over the batch, or a stopping rule for the whole batch, would make samples depend on each
other.

On other data all of these samplers are approximate. An interval is for the mean of the sampler's samples, not of the
posterior.

.. rubric:: References

.. [1] H. Chung, J. Kim, M. T. McCann, M. L. Klasky, J. C. Ye (2023). Diffusion posterior sampling for general noisy
   inverse problems. ICLR. Algorithm 1.
.. [2] H. Chung, S. Lee, J. C. Ye (2024). Decomposed diffusion sampler for accelerating large-scale inverse problems.
   ICLR. Section 3.
.. [3] J. Song, A. Vahdat, M. Mardani, J. Kautz (2023). Pseudoinverse-guided diffusion models for inverse problems.
   ICLR. Section 3.
.. [4] Y. Zhu, K. Zhang, J. Liang, J. Cao, B. Wen, R. Timofte, L. Van Gool (2023). Denoising diffusion models for
   plug-and-play image restoration. CVPR workshops. Algorithm 1.
"""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Callable, Iterator
from typing import Any, Self

import torch

from mcgen._lib.checks import checked_integer, checked_real
from mcgen.adapters.inverse.operators import Operator
from mcgen.adapters.samplers.diffusion import DDIM, Diffusion
from mcgen.adapters.samplers.paths import PathGenerator
from mcgen.adapters.tensors.floats import as_floats
from mcgen.adapters.tensors.torch_generator import TensorNoise

# Largest deviation of a decoder from a scale and a shift, relative to the scale. A decoder in bfloat16 rounds by 0.004.
_AFFINE = 0.01


class PosteriorSampler(Diffusion):
    """Base class of the posterior samplers: a DDIM prior whose steps are corrected towards a measurement.

    Use `DPS` or `DDS`. For a solver of your own, write a subclass with `step`.

    The condition of the generator is one measurement, an array of floats of shape `operator.measurement_shape`. It may
    also be a pair: the measurement, and then the truth or anything else that a statistic with `uses_condition=True`
    needs. The sampler never looks at the second part.

    Parameters
    ----------
    prior : DDIM
        The prior. Its noise is the noise of the sampler: that of the start and, for eta > 0, that of every step.
    operator : Operator
        The measurement of the prior's samples in the form in which the prior returns them, such as images in [0, 1].
    prior_condition : object, optional
        The condition of the prior, such as a class.
    name : str, optional
        The generator's name in results.

    Raises
    ------
    TypeError
        If the prior is not a `DDIM`, or the operator not an `Operator`.
    ValueError
        If the operator's shape is not that of the prior's states. If the prior decodes its states by more than a scale,
        a shift and a clamp, such as a network that decodes latents; the operator is then not linear in the states.

    Examples
    --------
    A solver that puts the visible pixels into each predicted image. The prior's states are 2 image - 1:

    >>> import mcgen
    >>> from mcgen.adapters import Inpainting, PosteriorSampler, models
    >>> class Replacement(PosteriorSampler):
    ...     def step(self, x, i, noise, condition):
    ...         x_0, epsilon = self.prior.denoise(x, i, self.prior_condition)
    ...         missing = condition - self.operator.apply(self.image(x_0, condition))
    ...         x_0 = x_0 + 2 * self.operator.adjoint(missing)
    ...         return self.prior.advance(x_0, epsilon, i, noise)
    >>> operator = Inpainting.random((1, 8, 8), hidden=0.5, seed=0)
    >>> measured = operator.measure(models.real_images("digits-diffusion")[0])
    >>> sampler = Replacement(models.load("digits-diffusion", steps=5), operator)
    >>> samples = mcgen.sample(sampler, 4, seed=0, condition=measured)
    >>> bool(abs(operator.apply(samples).numpy() - measured).max() < 1e-5)
    True
    """

    # The measurement corrects each step, which the prior's prediction does not know of.
    shows_predictions = False
    prediction_names = ()

    def __init__(
        self, prior: DDIM, operator: Operator, *, prior_condition: object = None, name: str | None = None
    ) -> None:
        if not isinstance(prior, DDIM):
            raise TypeError(
                f"the prior must be a mcgen.adapters.DDIM; got {type(prior).__name__}. Make one from the model's "
                "denoiser and schedule: DDIM(denoiser, schedule, shape)"
            )
        if not isinstance(operator, Operator):
            raise TypeError(
                f"the operator must be a mcgen.adapters.Operator, such as Inpainting; got {type(operator).__name__}. "
                "For another linear map write a subclass with apply and adjoint"
            )
        if operator.shape != prior.shape:
            raise ValueError(
                f"the operator measures images of shape {operator.shape}, the prior's states have shape {prior.shape}; "
                "make the operator for this shape"
            )
        self.prior, self.operator, self.prior_condition = prior, operator, prior_condition
        self._scale, self._shift = _affine_decoding(prior)
        options = prior._options() | {"noise": prior.noise, "name": name}
        super().__init__(prior.denoiser, prior.schedule, prior.shape, prior.times, prior.signals, **options)
        self.name = name or f"{type(self).__name__} {type(operator).__name__} {prior.name}"
        self.device, self.dtype = prior.device, prior.dtype

    def with_steps(self, steps: int) -> Self:
        """Return the same sampler with another number of steps."""
        return self._on(self.prior.with_steps(steps))

    def coarse(self, steps: int) -> Self:
        """Return the same sampler with fewer steps, on the same noise; see `DDIM.coarse`."""
        return self._on(self.prior.coarse(self._fewer(steps)))

    def _on(self, prior: DDIM) -> Self:
        own = self._own_options() | {"prior_condition": self.prior_condition, "name": self._name_with(prior.steps)}
        return type(self)(prior, self.operator, **own)

    def _own_options(self) -> dict[str, Any]:
        """Return the options that only this sampler has."""
        return {}

    def reverse(
        self, x: torch.Tensor, noise: TensorNoise, condition: object = None, *, first: int = 0
    ) -> Iterator[torch.Tensor]:
        """Yield the states from `x` to the last one, as `Diffusion.reverse` does. The condition is the measurement.

        Raises
        ------
        TypeError
            If the condition is not an array of floats.
        ValueError
            If the condition has not the shape of a measurement, or is not finite.
        """
        # The misfit is a small difference of large numbers, which half precision would lose.
        wide = torch.promote_types(x.dtype, torch.float32)
        measurement = self.measurement_of(condition).to(device=x.device, dtype=wide)
        return super().reverse(x, noise, measurement, first=first)

    @abstractmethod
    def step(self, x: torch.Tensor, i: int, noise: TensorNoise, condition: object) -> torch.Tensor:
        """Return the state at step i + 1 from the state at step i."""

    def _observed(self, noise: TensorNoise, condition: object) -> Iterator[dict[str, torch.Tensor]]:
        return PathGenerator._observed(self, noise, condition)

    def image(self, x_0: torch.Tensor, measurement: torch.Tensor) -> torch.Tensor:
        """Return predicted samples on the scale of the prior's images, in the measurement's dtype."""
        return self._scale * x_0.to(measurement.dtype) + self._shift.to(x_0.device)

    def measurement_of(self, condition: object) -> torch.Tensor:
        """Return the measurement in the condition, or refuse a condition that has none.

        A condition may be a pair, since a statistic with `uses_condition` gets the same condition and needs the truth.
        """
        wanted = self.operator.measurement_shape
        pair = isinstance(condition, tuple) and len(condition) == 2
        given = condition[0] if isinstance(condition, tuple) and pair else condition
        try:
            y = as_floats(given, f"the condition of {self.name!r}, one measurement of shape {wanted},")
        except TypeError as error:
            if isinstance(condition, tuple):
                error.add_note("A tuple must be a pair: the measurement, and then what a statistic needs of the truth")
            error.add_note("Simulate one by operator.measure(image, noise_sd, noise)")
            raise
        if tuple(y.shape) == wanted and bool(y.isfinite().all()):
            return y
        found = f"shape {tuple(y.shape)}" if tuple(y.shape) != wanted else "a NaN or an infinity in it"
        raise ValueError(
            f"the condition of {self.name!r} must be one measurement, an array of finite numbers of shape {wanted}; "
            f"got {found}. Simulate one by operator.measure(image, noise_sd, noise)"
        )


class DPS(PosteriorSampler):
    """Diffusion posterior sampling (DPS): each step of the prior adds a gradient step on the misfit.

    It is the algorithm of reference 1 of the module. Each step costs one evaluation of the denoiser and of its
    gradient. `DDS` needs no gradient.

    Parameters
    ----------
    prior, operator, prior_condition, name
        See `PosteriorSampler`. The authors' prior is ancestral, eta = 1.
    strength : float
        The largest distance that the gradient steps can move the state in all, relative to the length of a state. A
        smaller strength leaves the misfit above the measurement's noise. A larger one fits the noise and makes the
        samples too similar to each other.

    Raises
    ------
    TypeError
        If the strength is not a number.
    ValueError
        If the strength is below 0 or not finite.

    Examples
    --------
    Reconstructions of a real digit, half of whose pixels are hidden:

    >>> import mcgen
    >>> from mcgen.adapters import DPS, Inpainting, models
    >>> prior = models.load("digits-diffusion", steps=10, eta=1.0)
    >>> operator = Inpainting.random((1, 8, 8), hidden=0.5, seed=0)
    >>> truth = models.real_images("digits-diffusion")[0]
    >>> measured = operator.measure(truth)
    >>> samples = mcgen.sample(DPS(prior, operator), 16, seed=0, condition=measured)
    >>> samples.shape
    torch.Size([16, 1, 8, 8])
    >>> error, others = mcgen.statistics.L1(truth), mcgen.sample(prior, 16, seed=0)
    >>> bool(error(samples).mean() < 0.6 * error(others).mean())
    True
    """

    def __init__(
        self,
        prior: DDIM,
        operator: Operator,
        *,
        strength: float = 2.5,
        prior_condition: object = None,
        name: str | None = None,
    ) -> None:
        self.strength = checked_real("strength", strength)
        if self.strength < 0:
            raise ValueError(f"strength must be a number of at least 0; got {strength}")
        super().__init__(prior, operator, prior_condition=prior_condition, name=name)

    def _own_options(self) -> dict[str, Any]:
        return {"strength": self.strength}

    def step(self, x: torch.Tensor, i: int, noise: TensorNoise, condition: Any) -> torch.Tensor:
        """Return the state at step i + 1 from the state at step i."""
        # Inside `gradient` the states carry a graph, and the gradient of this step must become a part of it.
        differentiable = x.requires_grad
        with torch.enable_grad():
            x = x if differentiable else x.detach().requires_grad_()
            x_0, epsilon = self.prior.denoise(x, i, self.prior_condition)
            total = self.misfit(self.image(x_0, condition), condition).sum()
            (slope,) = torch.autograd.grad(total, x, create_graph=differentiable)
        if not differentiable:
            x_0, epsilon = x_0.detach(), epsilon.detach()
        zeta = self.strength * math.sqrt(math.prod(self.shape)) / self.steps
        return self.prior.advance(x_0, epsilon, i, noise) - zeta * slope

    def misfit(self, image: torch.Tensor, measurement: torch.Tensor) -> torch.Tensor:
        """Return each sample's distance to the measurement, shape (n,), on the scale of the prior's states."""
        residual = (measurement - self.operator.apply(image)) / self._scale
        norms: torch.Tensor = torch.linalg.vector_norm(residual.flatten(1), dim=1)
        return norms


class DDS(PosteriorSampler):
    """Decomposed diffusion sampling (DDS): each predicted image is corrected by conjugate gradients.

    It is the algorithm of reference 2 of the module. It needs no gradient of the denoiser, so a step costs less than
    one of `DPS`.

    Parameters
    ----------
    prior, operator, prior_condition, name
        See `PosteriorSampler`.
    noise_sd : float, optional
        Standard deviation of the measurement's noise, on the measurement's scale. If it is given, the weight is the
        gamma_t of references 3 and 4. By default the weight is fixed, as in reference 2.
    weight : float
        The weight gamma. With `noise_sd`, a factor of gamma_t; 1 gives the formula of the module.
    n_iterations : int
        Number of iterations of conjugate gradients per step.

    Raises
    ------
    TypeError
        If `noise_sd` or `weight` is not a number, or `n_iterations` is not a whole number.
    ValueError
        If one of them is not above 0, or not finite.

    Examples
    --------
    Two measured digits. The condition is a pair, so that the statistic knows the truth of each measurement:

    >>> import mcgen
    >>> import numpy as np
    >>> from mcgen.adapters import DDS, Inpainting, models
    >>> prior = models.load("digits-diffusion", steps=5)
    >>> operator = Inpainting.random((1, 8, 8), hidden=0.5, seed=0)
    >>> truths = models.real_images("digits-diffusion")[:2]
    >>> rng, pairs = np.random.default_rng(0), {}
    >>> for k, truth in enumerate(truths):
    ...     noise = rng.standard_normal(operator.measurement_shape)
    ...     pairs[f"image {k}"] = (operator.measure(truth, 0.05, noise), truth)
    >>> def psnr(samples, pair):
    ...     return mcgen.statistics.PSNR(pair[1])(samples)
    >>> score = mcgen.as_statistic(psnr, uses_condition=True)
    >>> sampler = DDS(prior, operator, noise_sd=0.05)
    >>> options = dict(design=mcgen.Antithetic(), n_evaluations=64, seed=0)
    >>> result = mcgen.estimate(sampler, score, condition=pairs, **options)
    >>> bool(result.mean > 15)
    True
    """

    def __init__(
        self,
        prior: DDIM,
        operator: Operator,
        *,
        noise_sd: float | None = None,
        weight: float = 1.0,
        n_iterations: int = 5,
        prior_condition: object = None,
        name: str | None = None,
    ) -> None:
        self.noise_sd = None if noise_sd is None else checked_real("noise_sd", noise_sd)
        self.weight = checked_real("weight", weight)
        self.n_iterations = checked_integer("n_iterations", n_iterations)
        if self.noise_sd is not None and self.noise_sd <= 0:
            raise ValueError(
                f"noise_sd must be above 0; got {noise_sd}. For a measurement without noise leave it out, and the "
                "weight is fixed"
            )
        if self.weight <= 0 or self.n_iterations < 1:
            raise ValueError(
                f"weight must be above 0 and n_iterations at least 1; got weight={weight}, n_iterations={n_iterations}"
            )
        super().__init__(prior, operator, prior_condition=prior_condition, name=name)

    def _own_options(self) -> dict[str, Any]:
        return {"noise_sd": self.noise_sd, "weight": self.weight, "n_iterations": self.n_iterations}

    def step(self, x: torch.Tensor, i: int, noise: TensorNoise, condition: Any) -> torch.Tensor:
        """Return the state at step i + 1 from the state at step i."""
        x_0, epsilon = self.prior.denoise(x, i, self.prior_condition)
        consistent = self.consistent(self.image(x_0, condition), condition, i)
        x_0 = ((consistent - self._shift.to(x.device)) / self._scale).to(x.dtype)
        if self.noise_sd is not None:
            signal = float(self.signals[i])
            epsilon = (x - math.sqrt(signal) * x_0) / math.sqrt(1 - signal)
        return self.prior.advance(x_0, epsilon, i, noise)

    def consistent(self, image: torch.Tensor, measurement: torch.Tensor, i: int) -> torch.Tensor:
        """Return the predicted images (n, ...) of step i, corrected towards the measurement."""
        gamma, operator = self.weight, self.operator
        if self.noise_sd is not None:
            gamma *= (1 - float(self.signals[i])) * (self._scale / self.noise_sd) ** 2
        return conjugate_gradients(
            lambda x: x + gamma * operator.adjoint(operator.apply(x)),
            image + gamma * operator.adjoint(measurement[None]),
            image,
            self.n_iterations,
        )


def conjugate_gradients(
    matrix: Callable[[torch.Tensor], torch.Tensor], b: torch.Tensor, x: torch.Tensor, n_iterations: int
) -> torch.Tensor:
    """Return an approximate solution of matrix(x) = b for each row, by conjugate gradients from `x`.

    Parameters
    ----------
    matrix : callable
        A symmetric positive definite linear map of each row.
    b, x : tensors of shape (n, ...)
        The right sides, and the starts of the iterations.
    n_iterations : int
        Number of iterations, the same for all rows. A row that has converged up to rounding stays as it is.
    """
    # Below this a residual is rounding. Its squares underflow, and a gradient through their ratio would not be finite.
    rounding = torch.finfo(b.dtype).eps ** 2 * _inner(b, b)
    residual = b - matrix(x)
    direction, square = residual, _inner(residual, residual)
    for _ in range(n_iterations):
        going = square > rounding
        image = matrix(direction)
        length = _ratio(square, _inner(direction, image), going)
        x = x + length * direction
        residual = residual - length * image
        before, square = square, _inner(residual, residual)
        direction = residual + _ratio(square, before, going) * direction
    return x


def _inner(a: torch.Tensor, b: torch.Tensor) -> torch.Tensor:
    """Return the inner product of each row, shape (n, 1, ...)."""
    return (a * b).flatten(1).sum(1).reshape(-1, *[1] * (a.ndim - 1))


def _ratio(a: torch.Tensor, b: torch.Tensor, where: torch.Tensor) -> torch.Tensor:
    """Return a / b where that is wanted, and 0 elsewhere, with the gradient 0 there too."""
    return torch.where(where, a, 0.0) / torch.where(where, b, 1.0)


def _affine_decoding(prior: DDIM) -> tuple[float, torch.Tensor]:
    """Return the scale and the shift (1, ...) by which a prior decodes states in [-1/2, 1/2], or refuse the prior."""
    size = math.prod(prior.shape)
    ramp = torch.linspace(-0.5, 0.5, size, device=prior.device, dtype=prior.dtype)
    states = torch.stack([0 * ramp, ramp, 0 * ramp + 0.5]).reshape(3, *prior.shape)
    with torch.no_grad():
        decoded = states if prior.decode is None else prior.decode(states)
    shift = decoded[:1]
    scale = float(2 * (decoded[2] - shift).mean())
    same = decoded.shape == states.shape
    if not same or scale == 0 or float((shift + scale * states - decoded).abs().max()) > _AFFINE * abs(scale):
        raise ValueError(
            f"the prior {prior.name!r} decodes its states by more than a scale and a shift, as a decoder of latents "
            "does, and the operator is not linear in them; use a prior whose states are images"
        )
    return scale, shift
