r"""Functionals of paths that compare two samplers, or a sampler with itself: log densities and divergences.

`mcgen.statistics.paths` has the mathematics.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from typing import Any, Protocol, Self

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen._lib.checks import checked_flag, checked_integer
from mcgen._lib.names import name_of
from mcgen.statistics.path_arrays import Path, clock_of, numbers_in, path_of, require_predictions, row_of

# Relative gap of signal shares and variances that should be equal: rounding, with room for schedules in float32.
_ROUNDING = 1e-5


class ReverseSteps(Protocol):
    """A sampler whose steps are known: what the functionals of two samplers need of the other one."""

    @property
    def signal_shares(self) -> NDArray[np.float64] | None:
        """The signal's share in each state, shape (steps + 1,)."""
        ...

    @property
    def step_variances(self) -> NDArray[np.float64]:
        """The variance of the fresh noise of each step, shape (steps,)."""
        ...

    def predictions(self, x: NDArray[Any], i: int, condition: Any = None) -> Mapping[str, Any]:
        """Return the predicted "noise" and "sample" at step i for any states (n, ...)."""
        ...


def onsager_machlup(*, of: ReverseSteps | None = None, uses_condition: bool = True) -> _OnsagerMachlup:
    r"""Return the statistic of a path's negative log density under a sampler, up to a constant.

    Under the path's own sampler it is half a chi-square variable with d degrees of freedom for each step with fresh
    noise. Its mean minus that value is the expectation of `action_gap`, from noisier values.

    Parameters
    ----------
    of : sampler, optional
        The sampler whose density it is, with the steps and fresh noise of the path's own, such as a `DDIM` with eta =
        1 or a `GaussianDiffusion` with ``sampler="ddim"``. By default the path's own. It costs one evaluation of its
        network a step.
    uses_condition : bool
        Whether `of` gets the condition of the run; otherwise it gets none.

    Returns
    -------
    statistic : callable
        From paths to values, shape (n,).

    Raises
    ------
    TypeError
        If `of` does not show its steps.
    ValueError
        On a call, if the path's sampler has no fresh noise, or the two samplers differ in signal shares or variances.

    Notes
    -----
    The constant :math:`\sum_i \tfrac d2 \ln (2 \pi \sigma_i^2)` is left out. So is a last step without fresh noise,
    where the sample is a function of the state before.

    Examples
    --------
    Nine of ten steps have fresh noise, in each of three numbers:

    >>> import numpy as np
    >>> import mcgen
    >>> model = mcgen.generators.GaussianDiffusion(np.ones(3), np.eye(3) / 4, sampler="ddim", eta=1.0, steps=10)
    >>> statistic = mcgen.statistics.paths.onsager_machlup()
    >>> options = dict(design=mcgen.MonteCarlo(), n_evaluations=6400, seed=0)
    >>> result = mcgen.estimate(mcgen.generators.Paths(model), statistic, **options)
    >>> bool(abs(result.mean - 9 * 3 / 2) < 0.3)
    True
    """
    if of is not None:
        _require_reverse_steps(of, "of")
    return _OnsagerMachlup(of, checked_flag("uses_condition", uses_condition))


def action_gap(other: ReverseSteps, *, uses_condition: bool = True) -> _ActionGap:
    """Return the statistic whose expectation is the Kullback-Leibler divergence to another sampler's law of paths.

    Use it to say how far a guidance scale, an approximation or a condition moves the law of a sampler. By the data
    processing inequality it bounds the divergence between the laws of any state up to the last one with fresh noise.

    Parameters
    ----------
    other : sampler
        The other sampler, with the signal shares and variances of the path's own. It costs one evaluation of its
        network a step.
    uses_condition : bool
        Whether `other` gets the condition of the run; otherwise it gets none.

    Returns
    -------
    statistic : callable
        From paths to values of at least 0, shape (n,), in nats.

    Raises
    ------
    TypeError
        If `other` does not show its steps.
    ValueError
        On a call, if the path's sampler has no fresh noise or shows no predictions, or the two samplers differ in
        signal shares or variances.

    Notes
    -----
    A last step without fresh noise is left out: the samples of two samplers are then functions of states whose laws are
    compared, but different functions.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> options = dict(sampler="ddim", eta=1.0, steps=10)
    >>> narrow = mcgen.generators.GaussianDiffusion(np.ones(3), np.eye(3) / 4, **options)
    >>> wide = mcgen.generators.GaussianDiffusion(np.ones(3), np.eye(3) / 2, **options, name="wide")
    >>> gap = mcgen.statistics.paths.action_gap(wide)
    >>> paths = mcgen.generators.Paths(narrow)
    >>> result = mcgen.estimate(paths, gap, design=mcgen.MonteCarlo(), n_evaluations=640, seed=0)
    >>> result.names, bool(result.mean > 0)
    (('action gap to wide',), True)
    """
    _require_reverse_steps(other, "other")
    return _ActionGap(other, checked_flag("uses_condition", uses_condition))


def coarse_gap(steps: int) -> _CoarseGap:
    r"""Return the statistic whose expectation is the divergence of an ancestral sampler from one of fewer steps.

    A sampler of fewer steps holds its predicted sample over several of the finer steps. For eta = 1 its states then
    have the law of the coarse sampler exactly, since the steps q(x_s | x_t, x_0) of the forward process compose. The
    divergence between the two laws of fine paths bounds that between the states that both samplers have. It needs no
    further evaluations of the network.

    Parameters
    ----------
    steps : int
        Steps of the coarse sampler, a divisor of the path's own steps, at least 2.

    Returns
    -------
    statistic : callable
        From paths to values of at least 0, shape (n,), in nats.

    Raises
    ------
    TypeError, ValueError
        If `steps` is no integer above 1. On a call, if it is no divisor of the path's steps, or the path's sampler is
        not ancestral (eta = 1).

    Notes
    -----
    The last coarse step has no fresh noise, and is left out. So gaps to different numbers of steps end at different
    times, and the larger number may have the larger gap.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> model = mcgen.generators.GaussianDiffusion(np.ones(3), np.eye(3) / 4, sampler="ddim", eta=1.0, steps=20)
    >>> gap, options = mcgen.statistics.paths.coarse_gap(10), dict(design=mcgen.MonteCarlo(), n_evaluations=640, seed=0)
    >>> bool(mcgen.estimate(mcgen.generators.Paths(model), gap, **options).mean > 0)
    True
    """
    if checked_integer("steps", steps) < 2:
        raise ValueError(f"steps must be at least 2, since the last one has no fresh noise; got {steps}")
    return _CoarseGap(steps)


@dataclass(frozen=True, eq=False)
class _OfSampler:
    """A statistic of paths that another sampler predicts too, under the condition of the run."""

    other: Any
    uses_condition: bool = True
    condition: Any = None

    def for_condition(self, condition: Any) -> Self:
        """Return the statistic under a condition."""
        if self.other is None or not self.uses_condition or condition is None:
            return self
        return replace(self, condition=condition)

    def _others_means(self, path: Path) -> Iterator[tuple[int, Floats]]:
        """Yield each step with fresh noise, and the other sampler's means there, shape (n, d)."""
        _require_same_steps(path, self.other)
        for i in np.flatnonzero(row_of(path.variances) > 0).tolist():
            found = self.other.predictions(path.states[:, i], i, self.condition)
            yield i, _step_mean(path, i, found["sample"], found["noise"])


class _OnsagerMachlup(_OfSampler):
    """The negative log density of paths under a sampler; made by `onsager_machlup`."""

    @property
    def name(self) -> str:
        """The name in results."""
        return "Onsager-Machlup" + ("" if self.other is None else f" of {name_of(self.other)}")

    def __call__(self, samples: Any) -> Floats:
        """Return the values of n paths, shape (n,)."""
        path = _stochastic(path_of(samples, self.name), self.name)
        means = _own_means(path, self.name) if self.other is None else self._others_means(path)
        return _sum_of_actions(path, ((i, numbers_in(path.states[:, i + 1]) - mean) for i, mean in means))


class _ActionGap(_OfSampler):
    """The squared distance of two samplers' means along paths of the first; made by `action_gap`."""

    @property
    def name(self) -> str:
        """The name in results."""
        return f"action gap to {name_of(self.other)}"

    def __call__(self, samples: Any) -> Floats:
        """Return the values of n paths, shape (n,)."""
        path = _stochastic(path_of(samples, self.name), self.name)
        pairs = zip(_own_means(path, self.name), self._others_means(path), strict=True)
        return _sum_of_actions(path, ((i, own - other) for (i, own), (_, other) in pairs))


@dataclass(frozen=True)
class _CoarseGap:
    """The squared distance of the means of a sampler and of one of fewer steps; made by `coarse_gap`."""

    steps: int

    @property
    def name(self) -> str:
        """The name in results."""
        return f"coarse gap to {self.steps} steps"

    def __call__(self, samples: Any) -> Floats:
        """Return the values of n paths, shape (n,)."""
        path = _stochastic(path_of(samples, self.name), self.name)
        n_steps = path.variances.shape[1]
        require_predictions(path, self.name)
        _require_ancestral(path, self.name)
        if n_steps % self.steps:
            raise ValueError(f"{self.name}: steps must divide the {n_steps} steps of the path; got {self.steps}")
        every = n_steps // self.steps
        return _sum_of_actions(path, ((i, self._gap(path, i, i - i % every)) for i in range(n_steps - every)))

    def _gap(self, path: Path, i: int, held: int) -> Floats:
        """Return how far the mean of step i moves if the predicted sample is that of an earlier step."""
        x, signal = numbers_in(path.states[:, i]), float(row_of(path.signals)[i])
        noise = (x - math.sqrt(signal) * numbers_in(path.samples[:, held])) / math.sqrt(1 - signal)
        return _step_mean(path, i, path.samples[:, i], path.noises[:, i]) - _step_mean(
            path, i, path.samples[:, held], noise
        )


def _step_mean(path: Path, i: int, sample: Any, noise: Any) -> Floats:
    """Return the mean of step i for a predicted sample and noise, shape (n, d)."""
    signal, variance = float(row_of(path.signals)[i + 1]), float(row_of(path.variances)[i])
    rest = max(0.0, 1 - signal - variance)
    return math.sqrt(signal) * numbers_in(sample) + math.sqrt(rest) * numbers_in(noise)


def _sum_of_actions(path: Path, gaps: Iterator[tuple[int, Floats]]) -> Floats:
    r"""Return :math:`\sum_i \lVert gap_i \rVert^2 / (2 \sigma_i^2)`, shape (n,)."""
    variances = row_of(path.variances)
    found = np.zeros(len(path.states))
    for i, gap in gaps:
        found += np.square(gap).sum(axis=1) / (2 * variances[i])
    return found


def _own_means(path: Path, name: str) -> Iterator[tuple[int, Floats]]:
    """Yield each step with fresh noise, and the path's own means there, shape (n, d)."""
    require_predictions(path, name)
    for i in np.flatnonzero(row_of(path.variances) > 0).tolist():
        yield i, _step_mean(path, i, path.samples[:, i], path.noises[:, i])


def _stochastic(path: Path, name: str) -> Path:
    """Return the paths of a sampler with fresh noise, or refuse others."""
    clock_of(path, name)
    if path.variances.shape[1] == 0:
        raise ValueError(f"{name}: the sampler does not say how much fresh noise its steps have; use DDIM with eta=1")
    if not (row_of(path.variances) > 0).any():
        raise ValueError(f"{name}: the sampler has no fresh noise, so a path has no density; make it with eta=1")
    return path


def _require_ancestral(path: Path, name: str) -> None:
    a, variances = row_of(path.signals), row_of(path.variances)
    wanted = (1 - a[1:]) / (1 - a[:-1]) * (1 - a[:-1] / a[1:])
    if not np.allclose(variances, wanted, rtol=_ROUNDING, atol=1e-12):
        raise ValueError(f"{name}: only steps of the ancestral sampler compose; make the sampler with eta=1")


def _require_same_steps(path: Path, other: Any) -> None:
    """Refuse another sampler whose states or steps have other scales."""
    for what, own, theirs in (
        ("signal shares", path.signals, other.signal_shares),
        ("variances of fresh noise", path.variances, other.step_variances),
    ):
        found = np.asarray([] if theirs is None else theirs, np.float64)
        if found.shape != own.shape[1:] or not np.allclose(found, row_of(own), rtol=_ROUNDING, atol=1e-12):
            raise ValueError(
                f"{name_of(other)!r} has other {what} than the sampler of the paths ({found.size} and "
                f"{own.shape[1]} numbers); give both the same schedule, steps and eta. For fewer steps use coarse_gap"
            )


def _require_reverse_steps(other: Any, argument: str) -> None:
    members = ("signal_shares", "step_variances", "predictions")
    missing = [one for one in members if not hasattr(other, one)]
    if missing or isinstance(other, type):
        raise TypeError(
            f"{argument} must be a sampler that shows its steps, with {', '.join(members)}; got {name_of(other)!r}. "
            "Use DDIM with eta=1, or a diffusion of mcgen.generators"
        )
