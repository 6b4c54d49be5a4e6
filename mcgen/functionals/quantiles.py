"""Quantiles, and the mean beyond them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen._lib.checks import checked_real
from mcgen.errors import RunError
from mcgen.functionals.base import Evaluated, Functional, Replicates
from mcgen.functionals.influence import Influence
from mcgen.inference.methods import Method
from mcgen.inference.quantiles import Quantiles, Shares, excess_beyond
from mcgen.replicates.gathering import Gatherer, Values
from mcgen.statistics import Statistic
from mcgen.statistics.values import checked_callable

# Values beyond the quantile below which an expected shortfall is biased by 1 to 4 %.
_FEWEST_BEYOND = 20
# Values beyond a quantile, for each that they are worth by the design, below which inverted intervals may fall short.
_FEW_BEYOND = 10


@dataclass(frozen=True)
class Quantile(Functional):
    """The q-quantile of each component; made by `quantile`."""

    own: Statistic
    q: float = field(kw_only=True)

    def __post_init__(self) -> None:
        checked_callable(self.own)
        if not 0 < checked_real("q", self.q) < 1:
            hint = f"; for the {self.q:g} % quantile write q={self.q / 100:g}" if 1 < self.q < 100 else ""
            raise ValueError(f"q must be a probability between 0 and 1, such as 0.95; got {self.q}{hint}")

    @property
    def label(self) -> str:
        """The quantile."""
        return f"{self.q:g} quantile"

    @property
    def statistic(self) -> Statistic:
        """The user's statistic."""
        return self.own

    @property
    def gatherers(self) -> tuple[Gatherer, ...]:
        """All values."""
        return (Values(),)

    @property
    def fewest_values(self) -> int:
        """So many that ten values lie beyond the quantile on each side."""
        return self._with_beyond(10)

    def component_names(self, base: tuple[str, ...], shape: tuple[int, ...]) -> tuple[str, ...]:
        """Return the names of the statistic's components, after what is taken of them."""
        return tuple(f"{self.label} of {name}" for name in base)

    def evaluated(self, found: Replicates) -> Evaluated:
        """Return the quantile of all values."""
        return self.of_mixture([found], np.ones(1))

    def of_mixture(self, strata: Sequence[Replicates], weights: Floats) -> Evaluated:
        """Return the quantile of the pooled values, those of each run with its weight."""
        made, shares, _ = self._pooled(strata, weights)
        point = made.point
        own = tuple(point / len(shares) + (d.mean(axis=0) - d) / made.density() for d in shares)
        return Evaluated(strata[0].shape, point, own, quantiles=made, warnings=self._few_beyond(made))

    def influence(self, found: Replicates) -> Influence:
        """Return whether a value is above the quantile, over the density there."""
        made = self._pooled([found], np.ones(1))[0]
        return self._influence(found, lambda v, point, f: (v > point) / f, made.point, made.density())

    def _few_beyond(self, made: Quantiles) -> tuple[str, ...]:
        """Return a warning where few values lie beyond a quantile of dependent values, whose interval is not exact."""
        beyond = made.n_values * min(self.q, 1 - self.q)
        effect = float(np.max(made.error**2 * made.n_values / (self.q * (1 - self.q)), initial=1.0))
        if made.independent or beyond >= _FEW_BEYOND * effect:
            return ()
        enough = self._with_beyond(math.ceil(_FEW_BEYOND * effect))
        return (
            f"only some {beyond:.0f} of {made.n_values:,} values lie beyond the {self.q:g} quantile: its interval "
            f"covered 0.87 to 0.95 with so few. Use {enough:,} evaluations or more",
        )

    def _with_beyond(self, n: int) -> int:
        """Return the fewest values of which n lie beyond the quantile on each side."""
        # 1 - q is rounded: of 0.9 it is less than 0.1.
        return math.ceil(n / min(self.q, 1 - self.q) * (1 - 1e-9))

    def _pooled(self, strata: Sequence[Replicates], weights: Floats) -> tuple[Quantiles, list[Floats], list[Floats]]:
        """Return the quantiles, the shares of each replicate, and the weights of the points of each run."""
        values = [one.values for one in strata if one.values is not None]
        points = [w * one.point_weights for w, one in zip(weights, strata, strict=True)]
        n = sum(one.shape[0] * one.shape[1] for one in values)
        fewest = self._with_beyond(1)
        if n < fewest:
            raise RunError(
                f"{self.name} lies beyond what {n:,} values show; use at least {fewest:,} "
                "evaluations, and some ten times as many for an interval with two ends"
            )
        independent = len(strata) == 1 and strata[0].n_points == 1 and strata[0].weights is None
        return *Shares(values, points).quantiles(self.q, independent), points


@dataclass(frozen=True)
class ExpectedShortfall(Quantile):
    """The mean of the values beyond the q-quantile of each component; made by `expected_shortfall`."""

    @property
    def label(self) -> str:
        """The shortfall."""
        return f"{self.q:g} expected shortfall"

    @property
    def default_method(self) -> Method | None:
        """Skewness-safe at any number of replicates: with 6 nets of 64 points it covered 0.95, Student's t 0.83."""
        return "skewness-safe-t"

    def of_mixture(self, strata: Sequence[Replicates], weights: Floats) -> Evaluated:
        """Return the shortfall by its influence values: quantile + mean (S - quantile)+ / (1 - q) of each replicate."""
        made, _, points = self._pooled(strata, weights)
        point, share = made.point, 1 / len(strata)
        own = tuple(
            share * point + excess_beyond(one.values, point, w) / (1 - self.q)
            for one, w in zip(strata, points, strict=True)
            if one.values is not None
        )
        value = sum(one.mean(axis=0) for one in own)
        beyond = made.n_values * (1 - self.q)
        notes: tuple[str, ...] = ()
        if beyond < _FEWEST_BEYOND:
            notes = (
                f"only about {beyond:.0f} values lie beyond the {self.q:g} quantile: their mean is biased by some per "
                f"cent; use {math.ceil(_FEWEST_BEYOND / (1 - self.q) * (1 - 1e-9)):,} evaluations or more",
            )
        return Evaluated(strata[0].shape, np.asarray(value), own, warnings=notes)

    def influence(self, found: Replicates) -> Influence:
        """Return the excess beyond the quantile, over 1 - q."""
        point, share = self._pooled([found], np.ones(1))[0].point, np.array(1 - self.q)
        return self._influence(found, lambda v, point, share: (v - point).clip(min=0) / share, point, share)


def quantile(statistic: Statistic, q: float) -> Functional:
    """Return the q-quantile of a statistic, component by component, as a functional.

    Its interval comes from inverting the distribution function (`mcgen.inference.quantiles`). A run keeps all values,
    up to 512 MB of them.

    Parameters
    ----------
    statistic : callable
        From n samples to values of shape (n,) or (n, ...).
    q : float
        The probability, in (0, 1).

    Examples
    --------
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: z[:, 0], noise=(1,), name="model")
    >>> tail = mcgen.functionals.quantile(mcgen.as_statistic(lambda x: x, name="x"), 0.9)
    >>> result = mcgen.estimate(model, tail, design=mcgen.Antithetic(), n_evaluations=4000, seed=0)
    >>> result.method, result.names, 1.2816 in result.interval
    ('quantile-inversion', ('0.9 quantile of x',), True)
    """
    return Quantile(statistic, q=q)


def expected_shortfall(statistic: Statistic, q: float) -> Functional:
    """Return the mean of a statistic's values beyond its q-quantile as a functional.

    Use it for the size of rare, large values. For the lower tail negate the statistic.

    Parameters
    ----------
    statistic : callable
        From n samples to values of shape (n,) or (n, ...).
    q : float
        The probability, in (0, 1). With 0.95 it is the mean of the largest 5 % of the values.

    Examples
    --------
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: z[:, 0], noise=(1,), name="model")
    >>> tail = mcgen.functionals.expected_shortfall(mcgen.as_statistic(lambda x: x, name="x"), 0.95)
    >>> result = mcgen.estimate(model, tail, design=mcgen.Antithetic(), n_evaluations=4000, seed=0)
    >>> 2.0627 in result.interval
    True
    """
    return ExpectedShortfall(statistic, q=q)
