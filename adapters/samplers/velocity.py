r"""The velocity of a rectified flow, from the denoiser of a diffusion model.

A rectified flow [1]_ goes from noise z to a sample :math:`x_1` along :math:`y_t = t x_1 + (1 - t) z`, by the velocity
:math:`E[x_1 - z \mid y_t]`. With :math:`c_t = \sqrt{t^2 + (1 - t)^2}`, the point :math:`y_t / c_t` is a state of the
variance-preserving forward process at the signal's share :math:`\bar\alpha = t^2 / c_t^2`. So the velocity is

.. math:: v(y, t) = \hat x_0(y / c_t) - \hat\varepsilon(y / c_t),

with the sample and the noise that the denoiser predicts there. The paths of both models are the same up to the scale
:math:`c_t` and the speed at which they are followed [1]_.

.. rubric:: References

.. [1] X. Liu, C. Gong, Q. Liu (2023). Flow straight and fast: learning to generate and transfer data with rectified
   flow. ICLR.
"""

from __future__ import annotations

import math

import numpy as np
import torch

from mcgen._lib.checks import checked_flag
from mcgen.adapters.samplers.diffusion import Diffusion


class RectifiedVelocity(torch.nn.Module):
    """The velocity of a rectified flow, from a diffusion model; made by `velocity_of`.

    Attributes
    ----------
    diffusion : Diffusion
        The sampler whose denoiser, schedule, kind of prediction and clip are used.
    between_steps : bool
        Whether the denoiser is evaluated between its training steps.
    """

    def __init__(self, diffusion: Diffusion, between_steps: bool) -> None:
        super().__init__()
        self.diffusion, self.between_steps = diffusion, between_steps
        # Registers the networks, so that their mode, type and device are known to the generators that use the velocity.
        self.owners = torch.nn.ModuleList(diffusion.modules)
        self.train(any(owner.training for owner in self.owners))
        shares = np.asarray(diffusion.schedule.alpha_bar)
        self._steps, self._log_ratios = np.arange(len(shares), dtype=np.float64), np.log(shares / (1 - shares))

    def forward(self, x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
        """Return the velocity (n, ...) for states x (n, ...).

        Parameters
        ----------
        x : Tensor of shape (n, ...)
            States of the flow.
        time : Tensor of shape (n,)
            The time from 0, the noise, to 1, the sample; the same in all rows.
        condition : object, optional
            The condition of the denoiser.

        Raises
        ------
        ValueError
            If the rows have different times, or a time outside [0, 1].
        """
        t = float(time.flatten()[0])
        if not bool((time == t).all()) or not 0 <= t <= 1:
            raise ValueError(f"all rows must have the same time, from 0 to 1; got {time.tolist()[:3]}")
        step = self.training_step(t)
        last = len(self._steps) - 1
        signal = 1 / (1 + math.exp(-float(np.interp(step, self._steps, self._log_ratios))))
        x_0, epsilon = self.diffusion.denoise_at(x / math.hypot(t, 1 - t), step / (last + 1), signal, condition)
        return x_0 - epsilon

    def training_step(self, t: float) -> float:
        """Return the training step at which the denoiser is evaluated at time t, a fraction between steps.

        Log ratios of signal to noise are interpolated between the steps. At times before the last step, where the noise
        is largest, and after step 0, the denoiser is evaluated at these.
        """
        if t in (0, 1):
            return float(self._steps[-1] if t == 0 else 0)
        log_ratio = 2 * (math.log(t) - math.log1p(-t))
        step = float(np.interp(-log_ratio, -self._log_ratios, self._steps))
        return step if self.between_steps else float(round(step))


def velocity_of(diffusion: Diffusion, *, between_steps: bool = True) -> RectifiedVelocity:
    """Return the velocity of a diffusion model, seen as a rectified flow, for `Flow` and `FlowEdit`.

    Use it to edit images by a diffusion model: ``FlowEdit(velocity_of(model), model.shape, decode=model.decode)``.

    ``Flow(velocity_of(model), model.shape, decode=model.decode)`` follows the model's probability flow. It has the same
    samples on the same noise, up to the error of finite steps.

    Parameters
    ----------
    diffusion : Diffusion
        A sampler such as `DDIM` or `Heun`; its denoiser, schedule, kind of prediction and clip are used, and its steps
        are not.
    between_steps : bool
        Whether the denoiser takes times between its training steps, as most networks do. Otherwise it is evaluated at
        the nearest training step.

    Returns
    -------
    RectifiedVelocity
        A module ``velocity(x, time, condition)``. All rows have the same time.

    Raises
    ------
    TypeError
        If `diffusion` is not a `Diffusion`, or is a posterior sampler such as `DPS`.

    Examples
    --------
    The samples of a flow are those of the diffusion model on the same noise:

    >>> import numpy as np
    >>> from mcgen.adapters import Flow, models, velocity_of
    >>> heun = models.load("digits-diffusion", sampler="heun", steps=30)
    >>> flow = Flow(velocity_of(heun), heun.shape, steps=30, decode=heun.decode)
    >>> z = np.random.default_rng(0).standard_normal((4, 1, 8, 8)).astype(np.float32)
    >>> bool(np.corrcoef(flow(z).flatten(), heun(z).flatten())[0, 1] > 0.99)
    True
    """
    if not isinstance(diffusion, Diffusion) or not diffusion.prediction_names:
        raise TypeError(
            "velocity_of takes a diffusion model such as DDIM(denoiser, schedule, shape) or Heun; got "
            f"{type(diffusion).__name__}. The velocity of a Flow is its attribute velocity"
        )
    return RectifiedVelocity(diffusion, checked_flag("between_steps", between_steps))
