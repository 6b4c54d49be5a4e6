r"""Noise schedules of diffusion models: the signal's share at each training step.

The forward process mixes a sample :math:`x_0` with standard normal noise :math:`\varepsilon`,

.. math:: x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon,
   \qquad \bar\alpha_t = \prod_{s \le t} (1 - \beta_s).

The cosine schedule of T training steps, numbered from 1, is [1]_

.. math:: \bar\alpha_t = f(t) / f(0), \qquad f(t) = \cos^2\Bigl(\frac{t / T + 0.008}{1.008} \cdot \frac{\pi}{2}\Bigr),

with every :math:`\beta_t` at most 0.999.

.. rubric:: References

.. [1] A. Nichol, P. Dhariwal (2021). Improved denoising diffusion probabilistic models. ICML. Equation (17).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import numbers_of
from mcgen._lib.checks import checked_integer, checked_real

# Largest signal share at the last training step. Above 0.5 a state is more sample than noise, which a usual schedule
# never reaches there: it ends below 0.01. A sequence of alphas instead of their product ends above.
_LARGEST_LAST_SHARE = 0.5


@dataclass(frozen=True, repr=False)
class Schedule:
    r"""A noise schedule: the signal's share :math:`\bar\alpha` at each of the training steps t = 0, ..., T-1.

    Give `DDIM`, `Heun` or `Consistency` the schedule that the network was trained with.

    Attributes
    ----------
    alpha_bar : tuple of float
        The signal's shares, decreasing in (0, 1): the product of all alphas up to each step. Any array or sequence is
        accepted.
    end : float
        The signal's share in a finished sample. It is below 1 in models that leave a trace of noise.

    Raises
    ------
    ValueError
        If the values do not decrease in (0, 1), or the last one is above 0.5. The latter happens if alphas are given
        instead of their products.

    Examples
    --------
    >>> import numpy as np
    >>> from mcgen.adapters import Schedule
    >>> Schedule.from_betas(np.linspace(1e-4, 0.02, 1000))
    Schedule(1000 steps, alpha_bar from 0.9999 to 4e-05)
    """

    alpha_bar: Sequence[float]
    end: float = 1.0

    def __post_init__(self) -> None:
        values = numbers_of(self.alpha_bar).astype(np.float64)
        if values.ndim != 1 or values.size == 0:
            raise ValueError(f"alpha_bar must be a decreasing sequence inside (0, 1); got shape {values.shape}")
        fits = (values > 0) & (values < 1) & (np.diff(values, prepend=np.inf) < 0)
        if not fits.all():
            t = int(np.argmin(fits))
            after = f" after {values[t - 1]:.6g}" if t > 0 else ""
            raise ValueError(
                f"alpha_bar must be a decreasing sequence inside (0, 1); got {values[t]:.6g}{after} at step {t}"
            )
        if not values[0] <= checked_real("end", self.end) <= 1:
            raise ValueError(f"end must lie between the first alpha_bar, {values[0]}, and 1; got {self.end}")
        if values[-1] > _LARGEST_LAST_SHARE:
            raise ValueError(
                f"alpha_bar must end below {_LARGEST_LAST_SHARE}, where the state is mostly noise; got "
                f"{values[-1]:.2g} at the end. For alphas write Schedule(np.cumprod(alphas)), for betas "
                "Schedule.from_betas(betas)"
            )
        object.__setattr__(self, "alpha_bar", tuple(values.tolist()))

    def __repr__(self) -> str:
        end = "" if self.end == 1 else f", end {self.end:.4g}"
        first, last = self.alpha_bar[0], self.alpha_bar[-1]
        return f"Schedule({len(self.alpha_bar)} steps, alpha_bar from {first:.4g} to {last:.2g}{end})"

    @classmethod
    def from_betas(cls, betas: Sequence[float] | NDArray[Any], end: float = 1.0) -> Schedule:
        r"""Return the schedule :math:`\bar\alpha_t = \prod_{s \le t} (1 - \beta_s)` of betas in (0, 1)."""
        values = numbers_of(betas).astype(np.float64)
        if not ((values > 0) & (values < 1)).all():
            raise ValueError(f"betas must lie inside (0, 1); got values from {values.min()} to {values.max()}")
        return cls(tuple(np.cumprod(1 - values).tolist()), end)

    @classmethod
    def cosine(cls, n_steps: int = 1000) -> Schedule:
        """Return the cosine schedule, reference 1 of the module, with every beta at most 0.999."""
        checked_integer("n_steps", n_steps)
        edges = np.cos((np.arange(n_steps + 1) / n_steps + 0.008) / 1.008 * math.pi / 2) ** 2
        return cls(tuple(np.cumprod(np.maximum(edges[1:] / edges[:-1], 1e-3)).tolist()))

    def signal(self, t: int) -> float:
        """Return the signal's share at a training step; step -1 is the finished sample."""
        return self.alpha_bar[t] if t >= 0 else self.end

    def times(self, steps: int | Sequence[int]) -> NDArray[np.int64]:
        """Return the training steps of a sampler: steps + 1 of them, from T - 1 down to -1, the finished sample.

        A number of steps is spaced evenly. A decreasing sequence of training steps is used as it is, with -1 appended.
        """
        n_training = len(self.alpha_bar)
        if np.ndim(steps) > 0:
            given: Any = steps
            times = np.asarray([*(checked_integer("each of steps", t) for t in given), -1])
            if len(times) < 2 or (np.diff(times) >= 0).any() or times[0] >= n_training:
                raise ValueError(
                    f"steps given one by one must decrease, from at most {n_training - 1} to at least 0; got {steps}"
                )
            return times.astype(np.int64)
        n_steps = checked_integer("steps", steps)
        if not 1 <= n_steps <= n_training:
            raise ValueError(f"steps must be between 1 and the schedule's {n_training}; got {n_steps}")
        return np.rint(np.linspace(n_training - 1, -1, n_steps + 1)).astype(np.int64)

    def sigmas(self) -> NDArray[np.float64]:
        r"""Return the noise-to-signal ratio :math:`\sqrt{(1 - \bar\alpha) / \bar\alpha}` of each training step."""
        values = np.asarray(self.alpha_bar)
        sigmas: NDArray[np.float64] = np.sqrt((1 - values) / values)
        return sigmas


def require_own_schedule(denoiser: Any, schedule: Schedule) -> None:
    """Refuse a denoiser that was made for another schedule, such as the gradient of an energy."""
    own = getattr(denoiser, "schedule", None)
    if isinstance(own, Schedule) and own != schedule:
        raise ValueError(
            f"the denoiser was made for {own!r}; got {schedule!r}, another schedule. Give the denoiser's own: "
            "schedule=denoiser.schedule"
        )


def checked_schedule(schedule: Any) -> Schedule:
    """Return a schedule, or refuse anything else, such as a scheduler of diffusers."""
    if not isinstance(schedule, Schedule):
        raise TypeError(
            f"schedule must be a mcgen.adapters.Schedule; got {type(schedule).__name__}. For a scheduler of diffusers "
            "write Schedule(scheduler.alphas_cumprod.tolist()), for an array Schedule(array)"
        )
    return schedule
