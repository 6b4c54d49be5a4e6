r"""The variational bound of a diffusion model on the likelihood of data, term by term, as samples.

The bound [1]_ on the negative log likelihood of a datum :math:`x_0`, for a sampler of steps from t to s with fresh
noise of variance :math:`\sigma^2`, is

.. math::

    -\ln p(x_0) \le \mathrm{KL}(q(x_T \mid x_0) \,\Vert\, N(0, I))
    + \sum_{(t, s)} E\, \frac{\lVert \mu_q(x_t, x_0) - \mu_\theta(x_t) \rVert^2}{2 \sigma^2}
    - E \ln p(x_0 \mid x_1),

with :math:`x_t = \sqrt{a_t}\, x_0 + \sqrt{1 - a_t}\, z` and DDIM's inference law [2]_, whose mean is
:math:`\mu_q = \sqrt{a_s}\, x_0 + \sqrt{1 - a_s - \sigma^2}\, z`. The sampler's own mean :math:`\mu_\theta` has the
predicted sample and noise in place of x_0 and z. Both have the variance :math:`\sigma^2`, for any eta > 0. Each term
depends on one state alone, so that the states of different levels may have independent noise.

The sampler's last step, from :math:`x_1`, has no fresh noise, and a density needs some. The decoder
:math:`p(x_0 \mid x_1)` is normal around the predicted sample with variance :math:`v = (1 - a_1) / a_1`, the noise left
in :math:`x_1` in units of the sample. For data of L levels from -1 to 1 it is that law, rounded to the nearest level
[1]_. The bound is thus one on the sampler whose samples get this noise, and are rounded.

.. rubric:: References

.. [1] J. Ho, A. Jain, P. Abbeel (2020). Denoising diffusion probabilistic models. NeurIPS. Equations (5) and (13).
.. [2] J. Song, C. Meng, S. Ermon (2021). Denoising diffusion implicit models. ICLR. Equations (7) and (11).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
from scipy.special import log_ndtr

from mcgen._lib.arrays import Floats, as_numpy, numbers_of
from mcgen._lib.checks import checked_integer
from mcgen._lib.names import name_of
from mcgen.generators.stepwise import checked_stepwise
from mcgen.noise import Array, Block, Noise, NoiseSpec

# Largest distance of a datum from its level, in levels: rounding of images kept in float32 or in bytes.
_OFF_LEVEL = 1e-3


class VariationalBound:
    r"""Terms of the variational bound on the negative log likelihood of a datum, in bits per dimension.

    The condition of a call is the datum. The samples are the bound's terms, shape (n, steps + 1): the start, each step
    with fresh noise, and the decoder. `mcgen.statistics.paths.bits_per_dimension` adds them up;
    `mcgen.statistics.identity` shows where along the way the bits are spent.

    Parameters
    ----------
    model : sampler
        A sampler with fresh noise at all steps but the last, such as `DDIM` with eta=1 or a `GaussianDiffusion` with
        ``sampler="ddim"`` and eta=1.
    condition : object, optional
        The condition of the sampler itself, such as a class.
    encode : callable, optional
        Maps data (1, ...) to the sampler's states, such as ``lambda x: 2 * x - 1`` for images in [0, 1].
    levels : int, optional
        Number of levels of discrete data, which lie at equal distances from -1 to 1 after `encode`; 256 for images of
        bytes. By default data are continuous, and bits are those of a density in units of the states.
    name : str, optional
        The name in results.

    Attributes
    ----------
    noise : NoiseSpec
        Normal blocks "forward 1", "forward 2", ...: block i noises the datum to the state that step i starts from.

    Raises
    ------
    TypeError, ValueError
        If the sampler does not show its steps, has no fresh noise, or does not end at the sample, or if `levels` is
        below 2. On a call, if there is no datum, or it does not fit.

    Notes
    -----
    A sample costs as many evaluations of the network as there are steps.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> model = mcgen.generators.GaussianDiffusion(np.ones(3), np.eye(3) / 4, sampler="ddim", eta=1.0, steps=10)
    >>> bound = mcgen.generators.VariationalBound(model)
    >>> mcgen.sample(bound, 2, seed=0, condition=np.ones(3)).shape
    (2, 11)
    """

    def __init__(
        self,
        model: Any,
        *,
        condition: Any = None,
        encode: Callable[[Array], Any] | None = None,
        levels: int | None = None,
        name: str | None = None,
    ) -> None:
        self.model, self.condition, self.encode = checked_stepwise(model), condition, encode
        if not (encode is None or callable(encode)):
            raise TypeError(f"encode must be a callable from data to states, or None; got {encode!r}")
        if levels is not None and checked_integer("levels", levels) < 2:
            raise ValueError(f"levels must be at least 2, such as 256 for bytes; got {levels}")
        self.levels = levels
        self._signals, self._variances = _checked_steps(model)
        self.shape = model.noise.blocks[0][1].shape
        blocks = tuple((f"forward {i + 1}", Block(self.shape)) for i in range(model.steps))
        self.noise = NoiseSpec(blocks, model.noise.dtype)
        self.name = name or f"bound of {name_of(model)}"

    def __repr__(self) -> str:
        return f"{type(self).__name__}({name_of(self.model)})"

    def __call__(self, noise: Noise, condition: Any = None) -> Array:
        """Return the terms (n, steps + 1) of the bound on the datum `condition`, in bits per dimension."""
        x_0 = self._states_of(condition)
        assert not isinstance(noise, np.ndarray) or self.model.steps == 1
        a, last, columns = self._signals, self.model.steps - 1, []
        for i in range(self.model.steps):
            block = noise if isinstance(noise, np.ndarray) else noise[f"forward {i + 1}"]
            z = block.reshape(len(block), -1).astype(np.float64)
            x = math.sqrt(a[i]) * x_0 + math.sqrt(1 - a[i]) * z
            shown = self.model.predictions(x.reshape(block.shape).astype(block.dtype), i, self.condition)
            sample, predicted = (
                as_numpy(shown[one]).reshape(z.shape).astype(np.float64) for one in ("sample", "noise")
            )
            columns.append(self._decoder(x_0, sample) if i == last else self._step(i, x_0 - sample, z - predicted))
        start = np.full(len(columns[0]), _start_term(x_0, float(a[0])))
        terms = np.stack([start, *columns], axis=1) / (x_0.size * math.log(2))
        # Not more digits than the predictions have, whose rounding depends on the batch.
        return terms.astype(self.noise.dtype)

    def _step(self, i: int, sample_error: Floats, noise_error: Floats) -> Floats:
        """Return the divergence of step i, in nats, shape (n,)."""
        signal, variance = float(self._signals[i + 1]), float(self._variances[i])
        gap = math.sqrt(signal) * sample_error + math.sqrt(max(0.0, 1 - signal - variance)) * noise_error
        return np.asarray(np.square(gap).sum(axis=1) / (2 * variance))

    def _decoder(self, x_0: Floats, sample: Floats) -> Floats:
        """Return the negative log likelihood of the datum around predicted samples, in nats, shape (n,)."""
        signal = float(self._signals[-2])
        sd = math.sqrt((1 - signal) / signal)
        z = (x_0 - sample) / sd
        if self.levels is None:
            return np.asarray((z**2 / 2 + math.log(sd) + math.log(2 * math.pi) / 2).sum(axis=1))
        half = 1 / (self.levels - 1) / sd
        low = np.where(x_0 < -1 + half * sd, -np.inf, z - half)
        high = np.where(x_0 > 1 - half * sd, np.inf, z + half)
        return np.asarray(-_log_between(low, high).sum(axis=1))

    def _states_of(self, datum: Any) -> Floats:
        """Return the datum as a flat state, or refuse what is none."""
        if datum is None:
            raise ValueError(f"{self.name!r} bounds the likelihood of a datum: give it as the condition")
        x = numbers_of(datum)[None]
        x = numbers_of(x if self.encode is None else self.encode(x)).astype(np.float64)
        if x.shape != (1, *self.shape):
            raise ValueError(
                f"the datum has shape {x.shape[1:]} where the states of {self.name!r} have {self.shape}; give one "
                "datum as the condition, and several as a list"
            )
        if not np.isfinite(x).all():
            raise ValueError("the datum must be finite; got NaN or infinite numbers")
        if self.levels is not None:
            steps = (x + 1) / 2 * (self.levels - 1)
            if abs(steps - steps.round()).max() > _OFF_LEVEL or abs(x).max() > 1 + _OFF_LEVEL:
                raise ValueError(
                    f"with levels={self.levels} each number must be one of {self.levels} levels from -1 to 1; got "
                    f"numbers from {x.min():.4g} to {x.max():.4g}, some between levels. Check encode and levels"
                )
            x = 2 * steps.round() / (self.levels - 1) - 1
        return x.reshape(-1)


def _checked_steps(model: Any) -> tuple[Floats, Floats]:
    """Return a sampler's signal shares and variances, or refuse a sampler that has no bound."""
    signals, variances = model.signal_shares, getattr(model, "step_variances", None)
    if signals is None or variances is None or not {"noise", "sample"} <= {*model.shown}:
        raise ValueError(
            f"a bound needs signal shares, variances and predicted noise and sample of each step; {name_of(model)!r} "
            "does not have them. Use DDIM with eta=1"
        )
    if not (np.asarray(variances[:-1]) > 0).all():
        raise ValueError(
            f"a bound needs fresh noise at every step but the last; {name_of(model)!r} has none. Make it with eta=1"
        )
    if signals[-1] != 1:
        raise ValueError(
            f"a bound needs a sampler that ends at the sample, a signal's share of 1; {name_of(model)!r} ends at "
            f"{signals[-1]:.6g}. Use a schedule with end=1"
        )
    return np.asarray(signals, np.float64), np.asarray(variances, np.float64)


def _start_term(x_0: Floats, signal: float) -> float:
    """Return the divergence of the noisiest state from N(0, I), in nats."""
    return float(signal * (x_0 @ x_0) - x_0.size * (signal + math.log1p(-signal))) / 2


def _log_between(low: Floats, high: Floats) -> Floats:
    """Return the log probability that a standard normal number lies between two bounds, exact far out too."""
    # By symmetry both bounds move to the lower tail, where differences of probabilities keep their digits.
    flip = low + high > 0
    left, right = np.where(flip, -high, low), np.where(flip, -low, high)
    outer = log_ndtr(right)
    return np.asarray(outer + np.log1p(-np.exp(log_ndtr(left) - outer)))
