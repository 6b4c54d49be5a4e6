r"""DDIM in numpy, for diffusion models whose posterior mean is known as a formula.

The forward process mixes a sample :math:`x_0` with standard normal noise, :math:`x_t = \sqrt{a_t}\, x_0 +
\sqrt{1 - a_t}\, z`, where :math:`a_t` is the signal's share. A network learns the posterior mean :math:`\hat x_0(x_t) =
E(x_0 \mid x_t)`; here it is a formula. DDIM's step [1]_ from t to s is linear in the state and this mean,

.. math::

    x_s = k\, x_t + (\sqrt{a_s} - k \sqrt{a_t})\, \hat x_0(x_t) + \sigma z,
    \qquad k = \sqrt{\frac{1 - a_s - \sigma^2}{1 - a_t}},
    \qquad \sigma^2 = \eta^2\, \frac{1 - a_s}{1 - a_t} \Bigl(1 - \frac{a_t}{a_s}\Bigr).

.. rubric:: References

.. [1] J. Song, C. Meng, S. Ermon (2021). Denoising diffusion implicit models. ICLR. Equations (12) and (16).
"""

from __future__ import annotations

import copy
import math
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from itertools import pairwise
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen._lib.batches import by_slices
from mcgen._lib.checks import checked_integer, checked_real
from mcgen.generators.schedule import Schedule
from mcgen.noise import Array, Block, DType, Noise, NoiseSpec, Shape


class Step(NamedTuple):
    """One step of DDIM: the factors of the state, of the predicted sample, and of fresh noise."""

    state: float
    sample: float
    fresh: float


class AnalyticDiffusion(ABC):
    """DDIM, or for eta = 1 the ancestral sampler, with a posterior mean that is known as a formula.

    `EmpiricalDiffusion` and `GaussianDiffusion` are made for data. For another law of the data write a subclass with
    `posterior_mean`, to try designs on a diffusion model whose truth can be computed.

    Parameters
    ----------
    shape : tuple of int
        Shape of one sample, which is also the shape of its noise.
    steps : int
        Number of steps, at most the training steps of the schedule.
    eta : float
        Share of fresh noise, in [0, 1]. For eta = 0 the noise is one block; for eta > 0 its blocks are "start",
        "step 1", "step 2", ... as in `mcgen.adapters.DDIM`.
    schedule : Schedule, optional
        The noise schedule, by default ``Schedule.cosine()``.
    dtype : {"float32", "float64"}
        The type of noise, states and samples.
    name : str, optional
        The name in results.

    Attributes
    ----------
    steps : int
        Number of steps.
    noise : NoiseSpec
        The noise of one sample.
    signal_shares : ndarray of shape (steps + 1,)
        The signal's share in each state, from near 0 to 1.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described. In a call, if there is a condition: these models take none.

    Examples
    --------
    Data N(1, 1/4) in each of three numbers:

    >>> import numpy as np
    >>> import mcgen
    >>> class Normal(mcgen.generators.AnalyticDiffusion):
    ...     def posterior_mean(self, x, signal):
    ...         gain = np.sqrt(signal) / 4 / (signal / 4 + 1 - signal)
    ...         return 1 + gain * (x - np.sqrt(signal))
    >>> model = Normal((3,), steps=10)
    >>> model
    Normal(diffusion 10, noise=normal(3) float32)
    >>> float(mcgen.sample(model, 1000, seed=0).mean().round(1))
    1.0
    """

    shown: ClassVar[tuple[str, ...]] = ("state", "noise", "sample")
    _label: ClassVar[str] = "diffusion"

    def __init__(
        self,
        shape: Shape,
        *,
        steps: int = 50,
        eta: float = 0.0,
        schedule: Schedule | None = None,
        dtype: DType = "float32",
        name: str | None = None,
    ) -> None:
        if not 0 <= checked_real("eta", eta) <= 1:
            raise ValueError(f"eta must lie between 0 (deterministic) and 1 (ancestral); got {eta}")
        if not (schedule is None or isinstance(schedule, Schedule)):
            raise TypeError(f"schedule must be a mcgen.generators.Schedule or None; got {type(schedule).__name__}")
        self.eta, self.schedule = float(eta), schedule or Schedule.cosine()
        times = self.schedule.times(checked_integer("steps", steps))
        self.steps, self.signal_shares = len(times) - 1, np.asarray([self.schedule.signal(t) for t in times.tolist()])
        self._moves = steps_of(self.signal_shares, self.eta)
        fresh = [f"step {i + 1}" for i, move in enumerate(self._moves) if move.fresh > 0]
        blocks = tuple((block, Block(shape)) for block in ("start", *fresh))
        self.noise = NoiseSpec(blocks, dtype) if fresh else NoiseSpec.normal(shape, dtype)
        self._given_name = name
        self.name = name or f"{self._label} {self.steps}" + (f" eta {self.eta:g}" if eta else "")

    @abstractmethod
    def posterior_mean(self, x: Array, signal: float) -> Array:
        r"""Return :math:`\hat x_0` for states x (n, ...) with this signal share, as a new array in their dtype."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}, noise={self.noise})"

    def __call__(self, noise: Noise, condition: Any = None) -> Array:
        """Return the samples (n, ...) of the noise."""
        self._refuse(condition)
        if not isinstance(noise, np.ndarray):
            return self._last(noise["start"], noise)
        return by_slices(lambda part: self._last(part, {}), noise)

    @property
    def shape(self) -> Shape:
        """Shape of one sample."""
        return self.noise.blocks[0][1].shape

    @property
    def step_variances(self) -> NDArray[np.float64]:
        r"""The variance :math:`\sigma^2` of the fresh noise of each step, shape (steps,)."""
        return np.asarray([move.fresh**2 for move in self._moves])

    def with_steps(self, steps: int) -> Self:
        """Return the same model with another number of steps; for eta > 0 its noise has as many blocks."""
        return self._remade(steps=steps, name=None)

    def coarse(self, steps: int) -> Self:
        """Return the same model with fewer steps on the same noise, for `mcgen.multilevel`.

        Raises
        ------
        ValueError
            If there are not fewer steps, or eta > 0: the coarse sampler then has other blocks of noise.
        """
        if not 1 <= checked_integer("steps", steps) <= self.steps:
            raise ValueError(f"a coarse model has between 1 and the model's own {self.steps} steps; got {steps}")
        if self.eta > 0:
            raise ValueError(
                f"{self.name!r} has fresh noise at each step, which fewer steps can't share; use eta=0, or with_steps "
                "for a model on other noise"
            )
        return self.with_steps(steps)

    def observe(self, noise: Noise, condition: Any = None) -> Iterator[dict[str, Array]]:
        """Yield each of steps + 1 states (n, ...) by the name "state", with the predictions at all but the last.

        The predictions are "noise" and "sample", the posterior means given the state.
        """
        self._refuse(condition)
        fresh: Mapping[str, Array] = {} if isinstance(noise, np.ndarray) else noise
        x = self._start(noise if isinstance(noise, np.ndarray) else noise["start"])
        for i in range(self.steps):
            yield {"state": x} | self.predictions(x, i)
            x = self._step(x, i, fresh)
        yield {"state": x}

    def predictions(self, x: NDArray[Any], i: int, condition: Any = None) -> dict[str, Array]:
        """Return the predicted "noise" and "sample" at step i for any states (n, ...).

        Raises
        ------
        ValueError
            If the states do not have the model's shape, or there is no such step.
        """
        self._require_states(x, i, condition)
        signal = float(self.signal_shares[i])
        x = x if x.dtype.kind == "f" else x.astype(np.float64)
        sample = self.posterior_mean(x, signal)
        return {"noise": (x - math.sqrt(signal) * sample) / math.sqrt(1 - signal), "sample": sample}

    def resume(self, x: NDArray[Any], i: int, noise: Noise, condition: Any = None) -> Array:
        """Return the samples (n, ...) of the paths that go on from states x (n, ...) at step i.

        For eta > 0 the fresh noise of the steps that remain is read from `noise`, that of whole paths.

        Raises
        ------
        ValueError
            As `predictions` does.
        """
        self._require_states(x, i, condition)
        return self._last(x, {} if isinstance(noise, np.ndarray) else noise, i)

    def _require_states(self, x: NDArray[Any], i: int, condition: Any) -> None:
        self._refuse(condition)
        if x.shape[1:] != self.shape or x.ndim != 1 + len(self.shape):
            raise ValueError(f"states of {self.name!r} must have shape (n, {str(self.shape)[1:]}; got {x.shape}")
        if not 0 <= i < self.steps:
            raise ValueError(f"i must be a step of the sampler, 0 to {self.steps - 1}; got {i}")

    def _refuse(self, condition: Any) -> None:
        if condition is not None:
            raise TypeError(f"{self.name!r} takes no condition; got {condition!r}. Make a model for each condition")

    def _start(self, x: Array) -> Array:
        """Return the states that noise starts from, in the type that is computed in."""
        return x

    def _last(self, x: Array, fresh: Mapping[str, Array], first: int = 0) -> Array:
        """Return the last states of paths that go on from states x at step `first`, in the type of x."""
        dtype, x = x.dtype, self._start(x)
        for i in range(first, self.steps):
            x = self._step(x, i, fresh)
        return x.astype(dtype, copy=False)

    def _step(self, x: Array, i: int, fresh: Mapping[str, Array]) -> Array:
        move = self._moves[i]
        following = move.sample * self.posterior_mean(x, float(self.signal_shares[i]))
        following += move.state * x
        if move.fresh > 0:
            following += move.fresh * fresh[f"step {i + 1}"]
        return following

    def _remade(self, **changed: Any) -> Self:
        # A copy, so that a subclass keeps what it was made with.
        made = copy.copy(self)
        AnalyticDiffusion.__init__(made, self.shape, **self._options() | changed)
        return made

    def _options(self) -> dict[str, Any]:
        """Return the options that the model was made with."""
        return {
            "steps": self.steps,
            "eta": self.eta,
            "schedule": self.schedule,
            "dtype": self.noise.dtype,
            "name": self._given_name,
        }


def fresh_variance(t: float, s: float, eta: float) -> float:
    r"""Return the variance :math:`\sigma^2` of the fresh noise in a step from signal share t to s, see the module."""
    return eta**2 * (1 - s) / (1 - t) * (1 - t / s)


def steps_of(signals: Floats, eta: float = 0.0) -> list[Step]:
    """Return the steps of DDIM, or of the ancestral sampler for eta = 1, between signal shares (steps + 1,)."""
    steps = []
    for t, s in pairwise(signals.tolist()):
        variance = fresh_variance(t, s, eta)
        state = math.sqrt(max(0.0, 1 - s - variance) / (1 - t))
        steps.append(Step(state, math.sqrt(s) - state * math.sqrt(t), math.sqrt(variance)))
    return steps
