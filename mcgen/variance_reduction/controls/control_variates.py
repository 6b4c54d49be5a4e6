"""Control variates as values: functions of the noise with their expectations, and coefficients once they are fitted.

The mathematics is in `mcgen.variance_reduction.controls`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mcgen._lib.arrays import Floats, as_values, numbers_of
from mcgen._lib.names import name_of
from mcgen.designs import Design
from mcgen.errors import RunError
from mcgen.generators import Generator
from mcgen.generators.base import checked_generator
from mcgen.generators.joint import WithControls
from mcgen.noise import Noise, NoiseSpec
from mcgen.noise.directions import Basis
from mcgen.noise.random import Seed, as_seed_sequence
from mcgen.replicates.loop import run_all
from mcgen.replicates.pilot import pilot_stream
from mcgen.replicates.sizes import checked_batch_size, checked_replicates, require_single
from mcgen.replicates.streams import stream_of
from mcgen.replicates.task import Estimand, Task
from mcgen.statistics import Statistic
from mcgen.statistics.joint import WithControlValues
from mcgen.statistics.values import checked_callable, with_condition
from mcgen.variance_reduction.controls.coordinates import n_points_of
from mcgen.variance_reduction.controls.correction import (
    REPLICATES_PER_CONTROL,
    ControlledRun,
    least_squares,
    require_few,
    too_many,
    varying,
)


class NoiseSpecFunction(ABC):
    """A function of noise that depends on the noise's spec."""

    @abstractmethod
    def check(self, spec: NoiseSpec) -> None:
        """Refuse a spec for which the function is not defined."""

    @abstractmethod
    def __call__(self, noise: Noise, spec: NoiseSpec) -> Floats:
        """Return the values at n points of noise, shape (n, q)."""


@dataclass(frozen=True, repr=False)
class Controls:
    """Functions of the noise with known expectations, as control variates: pass them as ``controls=``.

    `quadratic` and `surrogate` make them, and any function can be one; ``a + b`` has the controls of both.

    Attributes
    ----------
    function : callable
        From noise of n points, as generators take it, to values of shape (n, q). Each row depends on its own point
        alone.
    mean : tuple of float
        The q expectations; a number is the expectation of one control. Wrong expectations bias the estimate.
    names : tuple of str
        Names of the controls.
    name : str
        Name of all together in results.
    bases : tuple of Basis
        Bases whose evaluations are part of the cost.

    Raises
    ------
    TypeError, ValueError
        If the function is not callable, or the expectations are not finite numbers.

    Examples
    --------
    >>> import mcgen
    >>> from mcgen.controls import Controls
    >>> energy = Controls(lambda z: (z**2).mean(axis=1), mean=1.0, name="energy")
    >>> ring = mcgen.as_generator(lambda z: 1 / (1 + z**2), noise=(16,), name="ring")
    >>> options = dict(design=mcgen.MonteCarlo(), n_evaluations=1000, seed=0)
    >>> plain = mcgen.estimate(ring, mcgen.statistics.pixel_mean, **options)
    >>> controlled = mcgen.estimate(ring, mcgen.statistics.pixel_mean, controls=energy, **options)
    >>> bool(controlled.standard_error < 0.8 * plain.standard_error), controlled.degrees_of_freedom
    (True, 998.0)
    """

    function: Callable[..., Any]
    mean: tuple[float, ...]
    names: tuple[str, ...] = ()
    name: str = ""
    bases: tuple[Basis, ...] = ()

    def __post_init__(self) -> None:
        if not callable(self.function):
            raise TypeError(f"controls are made from a callable noise -> values; got {self.function!r}")
        try:
            mean = np.atleast_1d(numbers_of(self.mean, "iuf")).astype(np.float64)
        except (TypeError, ValueError):
            mean = np.empty(0)
        if mean.ndim != 1 or len(mean) == 0 or not np.isfinite(mean).all():
            raise ValueError(
                f"the expectations of controls must be one finite number for each; got mean={self.mean!r}. A control "
                "without a known expectation can't be used"
            )
        name = self.name or name_of(self.function)
        names = tuple(map(str, self.names)) or tuple(f"{name}[{j}]" for j in range(len(mean)))
        if len(names) != len(mean):
            raise ValueError(f"{len(mean)} controls need as many names; got {names}. Leave them out for numbered ones")
        for field, value in (("mean", tuple(mean.tolist())), ("names", names), ("name", name)):
            object.__setattr__(self, field, value)

    @property
    def n_evaluations(self) -> int:
        """The cost of the controls in evaluations of the generator: that of their bases, each counted once."""
        return sum(basis.n_evaluations for basis in set(self.bases))

    @property
    def needs_means(self) -> bool:
        """Whether the correction needs all replicate means: True, since cross-fitting does."""
        return True

    @property
    def text(self) -> str:
        """The text by which a store recognizes the controls."""
        return f"{self.name} with expectations {', '.join(map(repr, self.mean))}"

    def begin(self, task: Task, n_replicates: int | None) -> ControlledRun:
        """Return these controls for a run, with coefficients by cross-fitting."""
        return ControlledRun(task, self, n_replicates, None)

    def for_each(self, n: int) -> Controls:
        """Return the controls for n statistics at once, which are the same controls."""
        return self

    def n_evaluations_beside(self, design: Design) -> int:
        """Return the cost of the controls, without the bases that the design has paid for."""
        return cost_beside(self.bases, design)

    def __str__(self) -> str:
        return self.name

    def __repr__(self) -> str:
        return f"Controls({self.name})"

    def __add__(self, other: Controls) -> Controls:
        """Return the controls of both."""
        if not isinstance(other, Controls):
            return NotImplemented
        return Controls(
            _Joined((self, other)),
            self.mean + other.mean,
            self.names + other.names,
            f"{self.name} + {other.name}",
            tuple(dict.fromkeys(self.bases + other.bases)),
        )

    def on(self, spec: NoiseSpec) -> Callable[[Noise], Floats]:
        """Return the function from noise of a spec to values less their expectations, shape (n, q).

        Raises
        ------
        ValueError
            If the controls are not for such noise.
        """
        if isinstance(self.function, NoiseSpecFunction):
            self.function.check(spec)
        return _Centred(self, spec)

    def values(self, noise: Noise, spec: NoiseSpec) -> Floats:
        """Return the values at n points of noise, shape (n, q).

        Raises
        ------
        RunError
            If the function does not return them, or they are not finite.
        """
        n, q, function = n_points_of(noise), len(self.mean), self.function
        found = function(noise, spec) if isinstance(function, NoiseSpecFunction) else function(noise)
        try:
            values = as_values(found)
        except (TypeError, ValueError) as error:
            raise RunError(f"controls {self.name!r} returned {error}; they must return shape ({n}, {q})") from error
        values = values[:, None] if values.shape == (n,) else values
        if values.shape != (n, q):
            raise RunError(
                f"controls {self.name!r} returned an array of shape {values.shape} for {n} points of noise and "
                f"{q} expectations; they must return shape ({n}, {q}): a row a point, a column an expectation"
            )
        wrong = int((~np.isfinite(values)).any(axis=1).sum())
        if wrong:
            raise RunError(
                f"controls {self.name!r} returned NaN or infinity for {wrong} of {n} points of noise; every value must "
                "be finite. Correct the function, or leave it out"
            )
        return values

    def fit(
        self,
        generator: Generator,
        statistic: Statistic,
        *,
        design: Design,
        n_evaluations: int | None = None,
        n_replicates: int | None = None,
        seed: Seed,
        condition: Any = None,
        batch_size: int | None = None,
    ) -> FittedControls:
        """Return the controls with coefficients by least squares in a pilot, whose random numbers no run uses.

        Parameters
        ----------
        generator, statistic, seed, condition, batch_size
            As for `mcgen.estimate`; they may be the run's. One condition, not a list. For a difference pass
            ``mcgen.generators.joint.pair(a, b)`` and ``mcgen.statistics.joint.Difference(statistic)``.
        design : Design
            The design of the run: the best coefficients depend on it.
        n_evaluations, n_replicates : int
            Size of the pilot, by one of the two: at least 10 replicates for each control that varies.

        Raises
        ------
        ValueError
            If the pilot has too few replicates, or the controls are not for the generator's noise.

        Examples
        --------
        >>> import numpy as np
        >>> import mcgen
        >>> generator = mcgen.as_generator(lambda z: np.exp(z / 4), noise=(16,), name="lognormal")
        >>> mean, design = mcgen.statistics.pixel_mean, mcgen.Antithetic()
        >>> controls = mcgen.controls.quadratic(mcgen.bases.dct_basis((16,), 1))
        >>> fitted = controls.fit(generator, mean, design=design, n_evaluations=100, seed=0)
        >>> print(fitted)
        quadratic(Basis(1 direction of 16, cosines, ...)), coefficients from 100 evaluations
        >>> mcgen.estimate(generator, mean, design=design, n_evaluations=400, seed=0, controls=fitted)
        1.0322 ± 0.0016 (95 % skewness-safe t, 200 replicates of 2 points, Antithetic(), seed 0, controls)
        """
        require_single(
            condition,
            "coefficients are fitted under one condition; got {}. Fit them under one: they leave the estimate unbiased "
            "for every condition",
        )
        count = checked_replicates(design, n_evaluations, n_replicates)
        joint = WithControlValues(with_condition(checked_callable(statistic), condition))
        estimand = Estimand(
            generator=WithControls(checked_generator(generator), self),
            statistic=joint,
            seed=as_seed_sequence(seed),
            stream=pilot_stream(stream_of(condition, 0), "controls"),
            condition=condition,
        )
        task = estimand.task(design, checked_batch_size(batch_size, design.n_points, count))
        require_few(self, task, count)
        tally, facts = run_all(task, count)
        moments, kept = tally.moments(), tally.kept()
        assert moments is not None
        assert kept is not None
        assert joint.own_shape is not None
        varies, k = varying(self, moments, task, facts), joint.n_components
        if REPLICATES_PER_CONTROL * int(varies.sum()) > count:
            raise too_many(self, int(varies.sum()), count, task)
        means, values = kept[0][:, :k], kept[0][:, k:][:, varies]
        coefficients, scale = np.zeros((len(self.mean), k)), values.std(axis=0)
        coefficients[varies] = least_squares(means, values / scale) / scale[:, None]
        return FittedControls(self, coefficients, joint.own_shape, count * design.n_points, tuple(_bases_of(design)))


@dataclass(frozen=True, eq=False, repr=False)
class FittedControls:
    """Controls with coefficients that are fixed before the run; made by `Controls.fit`.

    Use them for bootstrap intervals, which cross-fitted coefficients rule out. The pilot counts in the result's
    provenance.

    Attributes
    ----------
    controls : Controls
        The controls.
    coefficients : ndarray of shape (q, k)
        Coefficients beta of each control for each component of the statistic; 0 for a control that did not vary.
    shape : tuple of int
        Shape of the statistic's components.
    pilot_evaluations : int
        Evaluations of the pilot.
    bases : tuple of Basis
        Bases of the pilot's design.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> generator = mcgen.as_generator(lambda z: np.exp(z / 4), noise=(16,), name="lognormal")
    >>> mean, design = mcgen.statistics.pixel_mean, mcgen.Antithetic()
    >>> controls = mcgen.controls.quadratic(mcgen.bases.dct_basis((16,), 1))
    >>> fitted = controls.fit(generator, mean, design=design, n_evaluations=100, seed=0)
    >>> fitted.coefficients.shape, fitted.pilot_evaluations
    ((2, 1), 100)
    """

    controls: Controls
    coefficients: Floats
    shape: tuple[int, ...]
    pilot_evaluations: int
    bases: tuple[Basis, ...] = ()

    @property
    def n_evaluations(self) -> int:
        """The cost of the controls and their coefficients, in evaluations of the generator."""
        return self.pilot_evaluations + sum(basis.n_evaluations for basis in {*self.controls.bases, *self.bases})

    @property
    def needs_means(self) -> bool:
        """Whether the correction needs all replicate means: False, since the coefficients are fixed."""
        return False

    def begin(self, task: Task, n_replicates: int | None) -> ControlledRun:
        """Return these controls for a run, with their coefficients."""
        return ControlledRun(task, self.controls, n_replicates, (self.coefficients, self.shape, str(self)))

    def for_each(self, n: int) -> FittedControls:
        """Return the same coefficients for n statistics of the same components at once, of shape (n, ...)."""
        return replace(self, coefficients=np.tile(self.coefficients, n), shape=(n, *self.shape))

    def n_evaluations_beside(self, design: Design) -> int:
        """Return the cost of the controls, without the bases that the design has paid for."""
        return self.pilot_evaluations + cost_beside((*self.controls.bases, *self.bases), design)

    def __str__(self) -> str:
        return f"{self.controls.name}, coefficients from {self.pilot_evaluations:,} evaluations"

    __repr__ = __str__


@dataclass(frozen=True)
class _Centred:
    """The values of controls less their expectations."""

    controls: Controls
    spec: NoiseSpec

    def __call__(self, noise: Noise) -> Floats:
        return np.asarray(self.controls.values(noise, self.spec) - np.array(self.controls.mean))


@dataclass(frozen=True)
class _Joined(NoiseSpecFunction):
    """The values of two sets of controls in one array."""

    parts: tuple[Controls, Controls]

    def check(self, spec: NoiseSpec) -> None:
        for part in self.parts:
            part.on(spec)

    def __call__(self, noise: Noise, spec: NoiseSpec) -> Floats:
        return np.concatenate([part.values(noise, spec) for part in self.parts], axis=1)


def cost_beside(bases: tuple[Basis, ...], design: Any) -> int:
    """Return the evaluations that found some bases, each counted once, without those that the design has paid for."""
    return sum(basis.n_evaluations for basis in set(bases) - _bases_of(design))


def _bases_of(design: Any) -> set[Basis]:
    """Return the bases of a design and of the designs that it consists of."""
    if design is None:
        return set()
    own = getattr(design, "basis", None)
    inner = (_bases_of(getattr(design, part, None)) for part in ("leading", "rest"))
    return set().union({own} if isinstance(own, Basis) else set(), *inner)


def controls_text(controls: Any) -> str | None:
    """Return the text by which a store recognizes controls, or None.

    It has no coefficients: a store keeps the means of statistic and controls, which any coefficients can correct.
    """
    return None if controls is None else str(own_controls(controls).text)


def own_controls(controls: Any) -> Any:
    """Return the controls without their coefficients."""
    return controls.controls if isinstance(controls, FittedControls) else controls
