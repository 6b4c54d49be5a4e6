"""What a functional of a model's law is to a run: a statistic to run, what to gather, and how the numbers follow."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen._lib.names import name_of
from mcgen.errors import RunError
from mcgen.functionals.influence import Influence
from mcgen.inference.coverage import FEWEST_WITHOUT_WARNING
from mcgen.inference.functional_intervals import SCALES, Lengthened, Scale, Summed, moments_of, summed
from mcgen.inference.jackknife import Units, in_strata, mixture_of, pseudo_values, widened
from mcgen.inference.methods import Method
from mcgen.inference.moments import Moments
from mcgen.inference.quantile_sums import QuantileSum
from mcgen.inference.quantiles import Quantiles
from mcgen.replicates.blocks import Found, InBlocks
from mcgen.replicates.gathering import Gatherer, name_of_one
from mcgen.statistics import Statistic
from mcgen.statistics.values import checked_callable, component_names

# Most numbers of leave-one-out moments at a time (32 MB).
_AT_ONCE = 2**22
# Second-order bias, in standard errors on the scale of the interval, above which a functional is warned of as too
# curved. In simulations 0.25 was passed in 40 to 70 % of the runs where intervals covered less than 0.9 (a ratio whose
# denominator was 3 standard errors from 0, a coefficient of variation of exp(w)), and in fewer than 1 % of those of
# variances, correlations and ratios of normal values; below 25 units it is passed there too. The standard error is
# widened by a larger bias, so that a bias as large as it was is 0.72 of it now.
_CURVED, _CURVED_IN_FEW = 0.25, 0.72


@dataclass(frozen=True, eq=False)
class Replicates:
    """What a functional is computed from: the replicates of one run.

    Attributes
    ----------
    units : Units
        Central moments of the values of each replicate, or of groups of replicates where these are not kept.
    shape : tuple of int
        Shape of the components of the functional's statistic.
    rounding : float
        Relative rounding error of the values.
    n_points : int
        Points of a replicate.
    values : ndarray of shape (R, points, k), or None
        All values, where they were gathered; or all features.
    weights : ndarray of shape (points,), or None
        Weights of the points of a replicate in the law; None for equal ones.
    gathered : mapping of str to ndarray of shape (R, points, ...)
        All that was gathered, by name, of several statistics that run together.
    blocks : mapping of str to (ndarray of shape (B, models, ...), ndarray of shape (B,))
        The numbers of blocks of replicates, and the replicates of each, by name.
    """

    units: Units
    shape: tuple[int, ...]
    rounding: float
    n_points: int
    values: Floats | None = None
    weights: Floats | None = None
    gathered: Mapping[str, NDArray[Any]] = field(default_factory=dict)
    blocks: Mapping[str, Found] = field(default_factory=dict)

    def of_one(self, columns: slice, shape: tuple[int, ...], number: int, score: str) -> Replicates:
        """Return those of a score by one of several statistics that run together, which has these columns."""
        own = [array for name, array in self.gathered.items() if name.endswith(f" {number}")]
        mine = name_of_one(InBlocks.name, number, score)
        blocks = {name: found for name, found in self.blocks.items() if name == mine}
        values = own[0] if own else None
        return replace(self, units=self.units.select(columns), shape=shape, values=values, gathered={}, blocks=blocks)

    def first(self, n: int) -> Replicates:
        """Return the first n replicates."""
        return beside([self], n).part(0, 1)

    def part(self, number: int, of: int) -> Replicates:
        """Return one of several models or conditions, whose values stand side by side in the first axis."""
        values = self.values
        if values is not None:
            k = values.shape[2] // of
            values = values[:, :, number * k : (number + 1) * k]
        blocks = {name: (found[:, number : number + 1], sizes) for name, (found, sizes) in self.blocks.items()}
        return replace(self, units=self.units.part(number, of), shape=self.shape[1:], values=values, blocks=blocks)

    @property
    def point_weights(self) -> Floats:
        """The weights of the points of a replicate; they sum to 1."""
        return np.full(self.n_points, 1 / self.n_points) if self.weights is None else self.weights


def beside(parts: Sequence[Replicates], most: int | None = None) -> Replicates:
    """Return the replicates of several models on the same noise side by side, as far as all of them go, up to a number.

    Their components have the number of the model as their first axis.
    """
    n = min(*(len(part.units) for part in parts), len(parts[0].units) if most is None else most)
    k = parts[0].units.mean.shape[1]
    units = Units(
        np.ones(n),
        np.concatenate([part.units.mean[:n] for part in parts], axis=1),
        np.concatenate([part.units.variance[:n] for part in parts], axis=1),
        np.concatenate([part.units.pairs + number * k for number, part in enumerate(parts)]),
        np.concatenate([part.units.product[:n] for part in parts], axis=1),
    )
    values = [part.values[:n] for part in parts if part.values is not None]
    joined = np.concatenate(values, axis=2) if len(values) == len(parts) else None
    rounding = max(part.rounding for part in parts)
    shape, blocks = (len(parts), *parts[0].shape), {name: _blocks_beside(parts, name, n) for name in parts[0].blocks}
    return replace(parts[0], units=units, shape=shape, rounding=rounding, values=joined, blocks=blocks)


def _blocks_beside(parts: Sequence[Replicates], name: str, n: int) -> Found:
    """Return the numbers of the blocks of several models side by side, of those inside the first n replicates."""
    sizes = parts[0].blocks[name][1]
    count = min(int((np.cumsum(sizes) <= n).sum()), *(len(part.blocks[name][1]) for part in parts))
    return np.concatenate([part.blocks[name][0][:count] for part in parts], axis=1), sizes[:count]


def mixed(parts: Sequence[Replicates], weights: Floats) -> Replicates:
    """Return the replicates of a mixture of laws, from those of each law on the same noise."""
    first = parts[0]
    values, points = None, None
    if first.values is not None:
        values = np.concatenate([part.values for part in parts if part.values is not None], axis=1)
        points = np.concatenate([w * part.point_weights for w, part in zip(weights, parts, strict=True)])
    units = mixture_of([part.units for part in parts], weights)
    return replace(first, units=units, values=values, weights=points)


@dataclass(frozen=True, eq=False)
class Evaluated:
    """A functional at the replicates of one or several independent runs; c components.

    Attributes
    ----------
    shape : tuple of int
        Shape of the components.
    plug_in : ndarray of shape (c,)
        The functional of the law of all values, with its bias.
    strata : tuple of ndarray of shape (G_s, c)
        Pseudo-values of each run. The sum of their means is the estimate.
    scale : Scale, Lengthened or None
        The estimate on the scale of its interval, where it is another one, or the interval of a distance.
    quantiles : Quantiles, QuantileSum or None
        What the interval of a quantile, or of a sum of quantiles, is made from.
    warnings : tuple of str
        Reasons for doubt.
    first_order : ndarray of shape (G, c) or None
        Pseudo-values with the variance of first order alone, by which a run in stages stops: what is added of second
        order falls faster with the number of replicates. None where these are those of the run.
    parts : tuple of Evaluated
        Those of each law and their combination, of a functional of several laws on the same noise; else empty.
    """

    shape: tuple[int, ...]
    plug_in: Floats
    strata: tuple[Floats, ...]
    scale: Scale | Lengthened | None = None
    quantiles: Quantiles | QuantileSum | None = None
    warnings: tuple[str, ...] = ()
    first_order: Floats | None = None
    parts: tuple[Evaluated, ...] = ()

    @cached_property
    def moments(self) -> Moments:
        """Moments of the pseudo-values of a single run, by which it stops."""
        (only,) = self.strata
        return moments_of(only if self.first_order is None else self.first_order)

    @cached_property
    def summed(self) -> Summed:
        """Mean, standard error, skewness and degrees of freedom of the estimate."""
        return summed(self.strata)


@dataclass(frozen=True)
class Functional(ABC):
    """A number that belongs to the law of a model's samples, such as a variance or a quantile.

    `mcgen.functionals` makes them. `mcgen.estimate`, `difference`, `compare`, `evaluate` and `plan` take them in place
    of a statistic.

    Examples
    --------
    >>> import mcgen
    >>> spread = mcgen.functionals.std(mcgen.statistics.pixel_mean)
    >>> isinstance(spread, mcgen.functionals.Functional), spread.name
    (True, 'standard deviation of pixel_mean')
    """

    @property
    @abstractmethod
    def label(self) -> str:
        """The functional's own name, such as "variance"."""

    @property
    @abstractmethod
    def statistic(self) -> Statistic:
        """The statistic that is run."""

    @property
    def gatherers(self) -> tuple[Gatherer, ...]:
        """The gatherers that a run needs for each sample."""
        return ()

    @property
    def fewest_values(self) -> int:
        """Fewest values that a run needs before its first look at the functional."""
        return 0

    @property
    def default_method(self) -> Method | None:
        """The interval by default of a fixed number of replicates; None for the one that suits each component."""
        return None

    @property
    def name(self) -> str:
        """The name in results."""
        return f"{self.label} of {name_of(self.statistic)}"

    @abstractmethod
    def component_names(self, base: tuple[str, ...], shape: tuple[int, ...]) -> tuple[str, ...]:
        """Return the names of the components, of this shape, from those of the statistic's components."""

    @abstractmethod
    def evaluated(self, found: Replicates) -> Evaluated:
        """Return the functional at the replicates of a run.

        Raises
        ------
        RunError
            If it has no finite value or derivative there.
        """

    @abstractmethod
    def of_mixture(self, strata: Sequence[Replicates], weights: Floats) -> Evaluated:
        """Return the functional of a mixture of laws, from an independent run of each."""

    def combinations(
        self, laws: Sequence[Sequence[Replicates]], weights: Floats, factors: Floats
    ) -> list[Evaluated] | None:
        """Return combinations of this functional of several laws on the same noise.

        None where a combination follows from the functional of each law, as a sum does.

        Parameters
        ----------
        laws : sequence of sequence of Replicates
            The runs of each law: several for a mixture of conditions.
        weights : ndarray of shape (runs,)
            The weights of the runs in each mixture.
        factors : ndarray of shape (m, laws)
            The factors of the laws in each combination.
        """
        return None

    @property
    def pools(self) -> bool:
        """Whether a mixture of conditions is evaluated at once, without the functional of each condition."""
        return False

    @property
    def shares_an_error(self) -> bool:
        """Whether estimates of several conditions share an error, so that their average does not make it smaller."""
        return False

    @property
    def why_no_mixture(self) -> str:
        """The reason why it has no value for a mixture of conditions; empty where it has."""
        return ""

    @property
    def why_no_tolerance(self) -> str:
        """The reason why a run of it can't stop by a tolerance; empty where it can."""
        return ""

    def identity(self) -> dict[str, Any]:
        """Return what results say about it beside its name, by the fields of `Provenance`."""
        return {}

    def require_size(self, n_evaluations: int, n_replicates: int) -> None:
        """Refuse a run that is too small for this functional; by default none is."""
        return

    @abstractmethod
    def influence(self, found: Replicates) -> Influence:
        """Return a statistic whose mean varies as this functional does, to first order, near these replicates."""

    def _influence(
        self, found: Replicates, function: Callable[..., Any], *constants: Floats, blocks: int = 1
    ) -> Influence:
        """Return a function of the statistic's values as an influence, with the names of the functional's components.

        Parameters
        ----------
        found : Replicates
            Where the functional was evaluated.
        function, constants, blocks
            As for `Influence`.
        """
        shape = self.evaluated(found).shape
        names = self.component_names(component_names(self.statistic, found.shape), shape)
        return Influence(self.statistic, self.name, names, function, constants, blocks)


@dataclass(frozen=True)
class MomentFunctional(Functional):
    """A functional that is a function of means, variances and products of a statistic's components."""

    @property
    def scale(self) -> str | None:
        """The name of the scale of its intervals; None for its own."""
        return None

    @property
    def skewness_factor(self) -> float:
        """What the estimated skewness is multiplied by in intervals; see `SKEWNESS_OF_SQUARES`."""
        return 1.0

    @abstractmethod
    def of(self, units: Units, shape: tuple[int, ...]) -> Floats:
        """Return the functional of the law of each unit, shape (G, c)."""

    @property
    def fewest_points(self) -> int:
        """Fewest independent points whose jackknife shows an error at all: with fewer, all pseudo-values are equal."""
        return 2

    def shape_of(self, shape: tuple[int, ...], whole: Units) -> tuple[int, ...]:
        """Return the shape of the functional from that of the statistic's components."""
        return shape

    def without_each(self, units: Units, whole: Units, shape: tuple[int, ...]) -> Floats:
        """Return the functional without each unit, shape (G, c)."""
        size = max(1, _AT_ONCE // units.mean.shape[1])
        parts = range(0, len(units), size)
        return np.concatenate([self.of(units.left_out(whole, slice(at, at + size)), shape) for at in parts])

    def evaluated(self, found: Replicates) -> Evaluated:
        """Return the functional by the jackknife over the units."""
        units = found.units.settled(found.rounding)
        if len(units) < 2:
            raise RunError(
                f"{self.name} needs two or more groups of 256 replicates, or the replicate means; got {len(units)} "
                "group and no means. Leave out keep_replicates=False"
            )
        if found.n_points == 1 and units.counts.sum() < self.fewest_points:
            raise RunError(
                f"{self.name} needs {self.fewest_points} or more replicates of one point to show its error; got "
                f"{len(units)}. Use some 50"
            )
        whole = units.total()
        value = self._checked(self.of(whole, found.shape)[0], whole)
        left_out = self._checked(self.without_each(units, whole, found.shape), whole)
        return self._evaluated(value, [left_out], [units.counts], self.shape_of(found.shape, whole))

    def of_mixture(self, strata: Sequence[Replicates], weights: Floats) -> Evaluated:
        """Return the functional of the mixture by the jackknife inside each stratum."""
        shape = strata[0].shape
        each = [one.units.settled(one.rounding) for one in strata]
        totals = [units.total() for units in each]
        whole = mixture_of(totals, weights)
        value = self._checked(self.of(whole, shape)[0], whole)
        left_out = []
        for number, units in enumerate(each):
            rest = units.left_out(totals[number])
            parts = [rest if place == number else total for place, total in enumerate(totals)]
            left_out.append(self._checked(self.of(mixture_of(parts, weights), shape), whole))
        return self._evaluated(value, left_out, [units.counts for units in each], self.shape_of(shape, whole))

    def _evaluated(
        self, value: Floats, left_out: Sequence[Floats], counts: Sequence[Floats], shape: tuple[int, ...]
    ) -> Evaluated:
        """Return the functional from its values without each unit of each stratum."""

        def strata(of: Floats, without: Sequence[Floats]) -> tuple[Floats, ...]:
            if len(without) == 1:
                found: tuple[Floats, ...] = (pseudo_values(counts[0], of, without[0]),)
            else:
                found = tuple(in_strata(without, of, counts))
            of_all = summed(found)
            return widened(found, of - of_all.mean, of_all.standard_error)

        scale, name, own = None, self.scale, strata(value, left_out)
        curved = _curved(value, summed(own))
        if name is not None:
            to = SCALES[name][0]
            on_scale = summed(strata(to(value), [to(one) for one in left_out]))
            scale, curved = Scale.of(name, on_scale, self.skewness_factor), _curved(to(value), on_scale)
        return Evaluated(shape, value, own, scale, warnings=(*self._bent(value, own, curved), *self._heavy(own)))

    def _checked(self, values: Floats, whole: Units) -> Floats:
        """Return values, or refuse those that are not finite."""
        wrong = ~np.asarray(np.isfinite(np.atleast_2d(values)).all(axis=0))
        if not wrong.any():
            return values
        raise RunError(
            f"{self.name} has no finite value, or no finite derivative, at what the run gave: {self._at(whole)}"
            f"{f', component {int(wrong.argmax())} of {len(wrong)}' if len(wrong) > 1 else ''}. It is not defined "
            "there, or too near to where it is not defined; look at the means by mcgen.estimate of the statistic itself"
        )

    def _at(self, whole: Units) -> str:
        """Return the moments in words, for messages."""
        means, spreads = whole.mean[0], np.sqrt(whole.variance[0])
        return f"means {_shown(means)}, standard deviations {_shown(spreads)}"

    def _bent(self, value: Floats, strata: Sequence[Floats], curved: NDArray[np.bool_]) -> tuple[str, ...]:
        """Return a warning where the bias that was taken away is large."""
        if not curved.any():
            return ()
        found = summed(strata)
        bias = np.where(curved, np.abs(value - found.mean), 0.0)
        worst = int(bias.argmax())
        return (
            f"{self.label} is so curved that the bias of its plug-in value ({bias[worst]:.2g}, taken away) is not "
            f"small against its standard error ({found.standard_error[worst]:.2g}): the interval may cover less often "
            "than it says. Use more replicates",
        )

    def _heavy(self, strata: Sequence[Floats]) -> tuple[str, ...]:
        """Return a warning where the standard error rests on few replicates; none by default."""
        return ()


@dataclass(frozen=True)
class OfOneStatistic(MomentFunctional):
    """A functional of each component of a statistic."""

    own: Statistic = field(kw_only=True)

    def __post_init__(self) -> None:
        checked_callable(self.own)

    @property
    def statistic(self) -> Statistic:
        """The user's statistic."""
        return self.own

    def component_names(self, base: tuple[str, ...], shape: tuple[int, ...]) -> tuple[str, ...]:
        """Return the names of the statistic's components, after what is taken of them."""
        return tuple(f"{self.label} of {name}" for name in base)


def _curved(value: Floats, found: Summed) -> NDArray[np.bool_]:
    """Return where the bias of a functional at this value is large in standard errors, shape (c,)."""
    bias = np.abs(value - found.mean)
    few = found.degrees_of_freedom < FEWEST_WITHOUT_WARNING - 1
    limit = np.where(few, _CURVED_IN_FEW, _CURVED) * found.standard_error
    return np.asarray((bias > limit) & (bias > 1e-9 * np.abs(value)))


def _shown(numbers: Floats) -> str:
    """Return numbers as a text, the first few of many."""
    texts = [f"{number:.6g}" for number in numbers[:4]]
    return ", ".join(texts) + (", ..." if len(numbers) > len(texts) else "")
