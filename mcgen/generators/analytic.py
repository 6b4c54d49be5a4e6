r"""Diffusion models of data in closed form, without a network: a finite data set, and normal data.

`mcgen.generators.reverse_steps` has the forward process and the steps. :math:`\hat x_0(x_t) = E(x_0 \mid x_t)` is the
posterior mean, and :math:`a_t` the signal's share.

**A finite data set** :math:`y_1, \dots, y_N`. The exact minimiser of the denoising loss [1]_ [2]_ is

.. math::

    \hat x_0(x_t) = \sum_k w_k(x_t)\, \hat x_0^k, \qquad
    w = \operatorname{softmax}_k \Bigl( -\frac{\lVert x_t - \sqrt{a_t}\, y_k \rVert^2}{2 (a_t h^2 + 1 - a_t)} \Bigr),

.. math:: \hat x_0^k = y_k + \frac{\sqrt{a_t}\, h^2}{a_t h^2 + 1 - a_t}\, (x_t - \sqrt{a_t}\, y_k).

With bandwidth h = 0 the samples are the data themselves. With h > 0 each datum is the centre of a normal law, and the
samples follow a kernel density.

**Normal data** with mean :math:`\mu` and covariance :math:`U \operatorname{diag}(\lambda)\, U^\top`. With
:math:`c_k = u_k^\top (x_T - \sqrt{a_T}\, \mu)` the probability flow has the solution [3]_

.. math::

    x_t = \sqrt{a_t}\, \mu + \sum_k \sqrt{\frac{a_t \lambda_k + 1 - a_t}{a_T \lambda_k + 1 - a_T}}\; c_k u_k,

a linear map of the noise. The posterior mean is
:math:`\mu + \sum_k \frac{\sqrt{a_t} \lambda_k}{a_t \lambda_k + 1 - a_t}\, u_k^\top (x_t - \sqrt{a_t}\, \mu)\, u_k`.

.. rubric:: References

.. [1] T. Karras, M. Aittala, T. Aila, S. Laine (2022). Elucidating the design space of diffusion-based generative
   models. NeurIPS. Appendix B.3.
.. [2] C. Scarvelis, H. Sáez de Ocáriz Borde, J. Solomon (2023). Closed-form diffusion models. arXiv:2310.12395.
.. [3] B. Wang, J. J. Vastola (2023). Diffusion models generate images like painters: an analytical theory of outline
   first, details later. arXiv:2303.02490. Section 4.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from typing import Any, ClassVar, Literal, Self, get_args

import numpy as np

from mcgen._lib.arrays import Floats, numbers_of
from mcgen._lib.checks import checked_real
from mcgen.generators.reverse_steps import AnalyticDiffusion
from mcgen.noise import Array, Noise

# Largest asymmetry of a covariance, and largest negative eigenvalue, relative to its largest entry: rounding.
_ROUNDING = 1e-6

GaussianSampler = Literal["flow", "ddim"]


class EmpiricalDiffusion(AnalyticDiffusion):
    """The exact diffusion model of a finite data set: what a network would learn that fits its training data perfectly.

    Use it to see what training data alone give. With bandwidth 0 all samples are data: a model that makes new samples
    owes them to its network. It is also a hard test for designs, since samples jump from one datum to another.

    Parameters
    ----------
    data : array_like of shape (N, ...)
        The data, one a row.
    bandwidth : float
        Standard deviation h of a normal law around each datum; 0 for the data alone.
    steps, eta, schedule, dtype, name
        See `AnalyticDiffusion`. Computed in float64 throughout; samples have the type of the noise.

    Raises
    ------
    TypeError, ValueError
        If there are no data, or they are not finite numbers, or the bandwidth is below 0.

    Notes
    -----
    A step costs a product of matrices, (n, d) by (d, N).

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> from mcgen.generators import EmpiricalDiffusion
    >>> model = EmpiricalDiffusion([[0.0, 0.0], [3.0, 0.0], [0.0, 3.0]], name="three points")
    >>> bool(np.isin(mcgen.sample(model, 100, seed=0).round(3), [0, 3]).all())
    True
    """

    _label: ClassVar[str] = "empirical diffusion"

    def __init__(self, data: Any, *, bandwidth: float = 0.0, **options: Any) -> None:
        values = _checked_numbers("data", data)
        if values.ndim < 2 or values.size == 0:
            raise ValueError(f"data must have shape (N, ...), one datum a row; got shape {values.shape}")
        if checked_real("bandwidth", bandwidth) < 0:
            raise ValueError(f"bandwidth must be at least 0; got {bandwidth}")
        self.data, self.bandwidth = values, float(bandwidth)
        rows = values.reshape(len(values), -1)
        # Rows about their mean, so that squares lose no digits to a large mean.
        self._mean = rows.mean(axis=0)
        self._rows = rows - self._mean
        self._squares = np.einsum("kd,kd->k", self._rows, self._rows)
        super().__init__(values.shape[1:], **options)

    def posterior_mean(self, x: Array, signal: float) -> Array:
        """Return the posterior mean of x_0 for states x (n, ...), in their dtype."""
        flat, root = x.reshape(len(x), -1).astype(np.float64, copy=False), math.sqrt(signal)
        spread = signal * self.bandwidth**2 + 1 - signal
        logs = (root * ((flat - root * self._mean) @ self._rows.T) - signal / 2 * self._squares) / spread
        logs -= logs.max(axis=1, keepdims=True)
        weights = np.exp(logs)
        weights /= weights.sum(axis=1, keepdims=True)
        gain = root * self.bandwidth**2 / spread
        mean = (1 - gain * root) * (self._mean + weights @ self._rows) + gain * flat
        return np.asarray(mean.reshape(x.shape).astype(x.dtype, copy=False))

    def _start(self, x: Array) -> Array:
        # Differences of squared distances decide between data; in float32 their rounding could too.
        return x.astype(np.float64)


class GaussianDiffusion(AnalyticDiffusion):
    r"""The exact diffusion model of normal data: its samples are a linear map of the noise, with a known law.

    Use it in place of a network whose truth must be known, as the coarsest level of `mcgen.multilevel`, or by
    `mcgen.controls.surrogate` as a control variate of a network on the same noise. Such a control takes out what is
    linear in the noise. Antithetic pairs do so too, so together with pairs it brings nothing more.

    Parameters
    ----------
    mean : array_like of shape (...)
        The mean of the data.
    covariance : array_like of shape (d, d)
        The covariance of the data, flattened to d numbers.
    sampler : {"flow", "ddim"}
        ``"flow"``: the exact probability flow, whatever the steps; samples cost one product of matrices. ``"ddim"``:
        the steps of DDIM, with fresh noise for eta > 0.
    steps, eta, schedule, dtype, name
        See `AnalyticDiffusion`. With the flow, `steps` only says at which times the path is shown.

    Attributes
    ----------
    mean : ndarray of shape (...)
        The mean of the data.
    covariance : ndarray of shape (d, d)
        The covariance of the data.

    Raises
    ------
    TypeError, ValueError
        If the covariance is not a symmetric matrix of finite numbers that fits the mean, or it has a negative
        eigenvalue. If eta > 0 with the flow, which has no fresh noise.

    Examples
    --------
    A normal law fitted to another model's samples, as its control variate:

    >>> import numpy as np
    >>> import mcgen
    >>> from mcgen.generators import GaussianDiffusion
    >>> model = mcgen.as_generator(lambda z: np.exp(z / 4) + z[:, ::-1] / 8, noise=(16,), name="model")
    >>> normal = GaussianDiffusion.fit(mcgen.sample(model, 2000, seed=1))
    >>> statistic = mcgen.statistics.pixel_mean
    >>> controls = mcgen.controls.surrogate(normal, statistic, normal.sample_mean.mean())
    >>> options = dict(design=mcgen.MonteCarlo(), n_evaluations=1024, seed=0)
    >>> plain = mcgen.estimate(model, statistic, **options)
    >>> controlled = mcgen.estimate(model, statistic, controls=controls, **options)
    >>> bool(controlled.half_width < plain.half_width / 2)
    True
    """

    _label: ClassVar[str] = "Gaussian diffusion"

    def __init__(
        self, mean: Any, covariance: Any, *, sampler: GaussianSampler = "flow", eta: float = 0.0, **options: Any
    ) -> None:
        if sampler not in get_args(GaussianSampler):
            raise ValueError(f"sampler must be one of {get_args(GaussianSampler)}; got {sampler!r}")
        if sampler == "flow" and checked_real("eta", eta) != 0:
            raise ValueError(f"the probability flow has no fresh noise; got eta={eta}. Use sampler='ddim'")
        self.mean, self.sampler = _checked_numbers("mean", mean), sampler
        self.covariance, self._variances, self._directions = _checked_covariance(covariance, self.mean.size)
        super().__init__(self.mean.shape, eta=eta, **options)
        self._factors, self._offsets, self._sample_variances = self._law()

    @classmethod
    def fit(cls, data: Any, *, shrink: float = 0.0, **options: Any) -> Self:
        r"""Return the model of the normal law with the mean and the covariance of data (N, ...).

        Parameters
        ----------
        data : array_like of shape (N, ...)
            The data, such as samples of a pilot. Fit states, in [-1, 1], to compare paths with those of a network.
        shrink : float
            Share s of the covariance that is replaced by a multiple of the identity of the same trace, in [0, 1]:
            :math:`(1 - s) C + s\, \mathrm{tr}(C) / d\; I`. Take some hundredths where data are few.
        **options
            Those of the class.

        Raises
        ------
        TypeError, ValueError
            If there are fewer than 2 data, or `shrink` is outside [0, 1].
        """
        values = _checked_numbers("data", data)
        if values.ndim < 2 or len(values) < 2:
            raise ValueError(f"data must have shape (N, ...) with N at least 2; got shape {values.shape}")
        if not 0 <= checked_real("shrink", shrink) <= 1:
            raise ValueError(f"shrink must lie between 0 and 1; got {shrink}")
        rows = values.reshape(len(values), -1)
        covariance = np.atleast_2d(np.cov(rows.T))
        ridge = np.trace(covariance) / len(covariance) * np.eye(len(covariance))
        return cls(values.mean(axis=0), (1 - shrink) * covariance + shrink * ridge, **options)

    @property
    def sample_mean(self) -> Floats:
        """The exact mean of the samples, shape (...): that of the data, but for the start at pure noise."""
        return (self.mean.ravel() + self._directions @ self._offsets).reshape(self.mean.shape)

    @property
    def sample_covariance(self) -> Floats:
        """The exact covariance of the samples, shape (d, d)."""
        return np.asarray((self._directions * self._sample_variances) @ self._directions.T)

    def coarse(self, steps: int) -> Self:
        """Return the same model with fewer steps of DDIM on the same noise.

        Raises
        ------
        ValueError
            As for all models, and for the probability flow: it is one map whatever the steps, and none is cheaper.
        """
        if self.sampler == "flow":
            raise ValueError("the probability flow is one map whatever its steps; use sampler='ddim' for coarse steps")
        return super().coarse(steps)

    def _law(self) -> tuple[Floats, Floats, Floats]:
        """Return, by principal direction, the factor of the start, the offset from the mean, and the variance."""
        u_mean = self._directions.T @ self.mean.ravel()
        if self.sampler == "flow":
            factors = self._flow_factors(0, self.steps)
            start = math.sqrt(self.signal_shares[0])
            return factors, (math.sqrt(self.signal_shares[-1]) - 1 - start * factors) * u_mean, factors**2
        factors, mean, variance = np.ones_like(u_mean), np.zeros_like(u_mean), np.ones_like(u_mean)
        for signal, move in zip(self.signal_shares.tolist(), self._moves, strict=False):
            gain = self._gains(signal)
            factor = move.state + move.sample * gain
            mean = factor * mean + move.sample * (1 - math.sqrt(signal) * gain) * u_mean
            variance, factors = factor**2 * variance + move.fresh**2, factor * factors
        return factors, mean - u_mean, variance

    def _gains(self, signal: float) -> Floats:
        """Return the factors of the deviation of a state in its posterior mean, by principal direction."""
        gains: Floats = math.sqrt(signal) * self._variances / (signal * self._variances + 1 - signal)
        return gains

    def _flow_factors(self, first: int, i: int) -> Floats:
        """Return the factors of the deviation of state `first` in state i of the flow, by principal direction."""
        start, now = self.signal_shares[first], self.signal_shares[i]
        factors: Floats = np.sqrt((now * self._variances + 1 - now) / (start * self._variances + 1 - start))
        return factors

    def posterior_mean(self, x: Array, signal: float) -> Array:
        """Return the posterior mean of x_0 for states x (n, ...), in their dtype."""
        return self._moved(x, math.sqrt(signal) * self.mean, self._gains(signal), self.mean)

    def _moved(self, x: Array, centre: Floats, factors: Floats, new_centre: Floats) -> Array:
        """Return new_centre + U diag(factors) U' (x - centre), in the type of x."""
        deviations = (x - centre).reshape(len(x), -1)
        moved = ((deviations @ self._directions) * factors) @ self._directions.T + new_centre.ravel()
        return np.asarray(moved.reshape(x.shape).astype(x.dtype, copy=False))

    def _last(self, x: Array, fresh: Mapping[str, Array], first: int = 0) -> Array:
        return super()._last(x, fresh, first) if self.sampler == "ddim" else self._flow(x, first, self.steps)

    def _flow(self, x: Array, first: int, i: int) -> Array:
        """Return state i of the flow from its states at step `first`."""
        start, now = np.sqrt(self.signal_shares[[first, i]])
        return self._moved(x, start * self.mean, self._flow_factors(first, i), now * self.mean)

    def observe(self, noise: Noise, condition: Any = None) -> Iterator[dict[str, Array]]:
        """Yield each of steps + 1 states (n, ...), with the predictions at all but the last one."""
        if self.sampler == "ddim":
            yield from super().observe(noise, condition)
            return
        self._refuse(condition)
        assert isinstance(noise, np.ndarray)
        for i in range(self.steps):
            x = self._flow(noise, 0, i)
            yield {"state": x} | self.predictions(x, i)
        yield {"state": self._flow(noise, 0, self.steps)}

    def _remade(self, **changed: Any) -> Self:
        return type(self)(self.mean, self.covariance, sampler=self.sampler, **self._options() | changed)


def _checked_numbers(name: str, value: Any) -> Floats:
    """Return an array of finite real numbers in float64."""
    try:
        array = numbers_of(value).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"{name} must be an array of real numbers; got {type(value).__name__}") from error
    if not np.isfinite(array).all():
        raise ValueError(f"{name} must be finite; got {int((~np.isfinite(array)).sum())} NaN or infinite numbers")
    return np.asarray(array)


def _checked_covariance(covariance: Any, d: int) -> tuple[Floats, Floats, Floats]:
    """Return a covariance (d, d), its eigenvalues and its eigenvectors, one a column."""
    matrix = _checked_numbers("covariance", covariance)
    if matrix.shape != (d, d):
        raise ValueError(
            f"covariance must have shape ({d}, {d}) for a mean of {d} numbers; got {matrix.shape}. For variances alone "
            "write numpy.diag(variances)"
        )
    largest = float(np.abs(matrix).max())
    if float(np.abs(matrix - matrix.T).max()) > _ROUNDING * largest:
        raise ValueError("covariance must be symmetric; got a matrix that differs from its transpose")
    values, vectors = np.linalg.eigh((matrix + matrix.T) / 2)
    if values[0] < -_ROUNDING * largest:
        raise ValueError(f"covariance must have no negative eigenvalue; got {values[0]:.3g}")
    return matrix, np.maximum(values, 0.0), vectors
