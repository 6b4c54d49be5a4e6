r"""When a run has replicates enough: rules that stop it at a tolerance, with intervals that allow for that.

A rule names numbers of replicates to run to, one after the other, each from the moments at those before alone, so that
a run that was killed goes on to the same end. It stops where the half-width h of every component that counts is at
most the larger of atol and rtol times the absolute mean, or at its limit, and says which. Looking at Student's interval
until it is narrow enough covers too little: it stops where s is too small by chance. Two ways out:

**Two stages** [1]_, `TwoStage`. A first stage of R_0 = 32 replicates with standard deviation s_0 gives the number
R = (t_{R_0 - 1} s_0 / atol)^2 to run to. The interval there,

.. math:: h = \max(t_{R_0-1}\, s_0,\; t_{R-1}\, s) / \sqrt R,

may still be too wide by its second term; then R (h / atol)^2 replicates follow, 2 % more at the least, and so on. For
normal replicate means it covers at least its level however many stages there are: their mean is independent of all
standard deviations, so that given R it is N(mu, sigma^2 / R), and its distance from mu is below
t_{R_0 - 1} s_0 / sqrt(R) with the probability that Student's t promises. A relative tolerance looks at the mean too,
of which that proof says nothing; simulation shows that it covers (`docs/validation/stopping.md`). Of a mean that is 0
it is never reached: beside `rtol` alone a limit is advisable.

**At any time**, `Anytime`: the half-width is a confidence sequence (see `sequences`), which covers at all numbers
of replicates together, whatever the rule. It looks at numbers that grow by 5 % to 100 %.

**Guards** of both, for replicate means that are not normal:

- An indicator's run has 20 events and 20 non-events at the least.
- Skewed replicate means, those with R < 50 g^2 by their estimated skewness g at 32 replicates, get a first stage of
  64, 100 replicates at the least, and no stop while R < 50 g^2, g estimated anew each time; Student's t falls short
  by half a point there (see `coverage`). With 25 in place of 50, runs of lognormal replicate means covered 0.90 to
  0.94 in simulation, with 50 0.925 to 0.955. An indicator has its own guard in place of this one.
- A component whose replicate means do not vary is no reason to stop before 1,000 replicates, and is named there: nobody
  can tell a constant from an event that is too rare to be seen. Where its values vary inside replicates, the design
  integrates it exactly, by all that can be seen, and that is enough.

.. rubric:: References

.. [1] C. Stein (1945). A two-sample test for a linear hypothesis whose power is independent of the variance. Ann. Math.
   Statist. 16(3), 243-258.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen.inference.interval_input import IntervalInput, shared_level
from mcgen.inference.intervals import studentized_ends
from mcgen.inference.moments import Moments, varies_by_rounding
from mcgen.inference.sequences import SEQUENCES
from mcgen.inference.tolerance import Tolerance as Tolerance
from mcgen.inference.tolerance import checked_tolerance as checked_tolerance

SKEWED_FIRST_STAGE = 64
FEWEST_IF_SKEWED = 100
REPLICATES_BY_SKEWNESS = 50
FEWEST_EVENTS = 20
NO_VARIATION = 1000
PLANNED = 256
"""A confidence sequence is within 27 % of the narrowest from a tenth of the planned number to any above."""
_LEAST_STEP = {"two-stage": 1.02, "anytime": 1.05}
# Far beyond what can be run, and an int64.
_MOST = 2**60

Kind = Literal["anytime", "asymptotic-anytime"]


@dataclass(frozen=True, eq=False)
class FirstStage:
    """What the first replicates gave.

    Attributes
    ----------
    count : int
        How many.
    mean, standard_deviation, skewness : ndarray of shape (k,)
        Of their replicate means.
    """

    count: int
    mean: Floats
    standard_deviation: Floats
    skewness: Floats

    @classmethod
    def of(cls, moments: Moments) -> FirstStage:
        """Return what these moments say."""
        return cls(moments.count, moments.mean, np.sqrt(moments.variance), moments.skewness)


@dataclass(frozen=True, eq=False)
class Stopping:
    """How a run that stopped by itself came to its end.

    Attributes
    ----------
    rule : {"two-stage", "anytime", "asymptotic-anytime"}
        By which rule.
    atol, rtol : float or None
        The tolerances.
    first_count : int or None
        Replicates of the first stage; None for confidence sequences.
    first_standard_deviation : ndarray of shape (k,), or None
        Of them, for all components.
    planned : int or None
        Where the confidence sequence is narrowest; None for two stages.
    reached : bool
        Whether every half-width that counts is within its tolerance, and no guard speaks against it.
    reason : str
        Why it stopped.
    """

    rule: str
    atol: float | None
    rtol: float | None
    first_count: int | None
    first_standard_deviation: Floats | None
    planned: int | None
    reached: bool
    reason: str

    def select(self, components: slice) -> Stopping:
        """Return the same of some of the components."""
        first = self.first_standard_deviation
        return self if first is None else replace(self, first_standard_deviation=first[components])

    @property
    def first_stage(self) -> tuple[int, Floats] | None:
        """The first stage as `mcgen.intervals.IntervalInput` takes it."""
        if self.first_count is None or self.first_standard_deviation is None:
            return None
        return self.first_count, self.first_standard_deviation


@dataclass(frozen=True, eq=False)
class _Standing:
    """Where the components that count stand after n replicates; arrays of shape (c,) for c of them."""

    n: int
    columns: NDArray[np.int64]
    half_width: Floats
    wanted: Floats
    constant: NDArray[np.bool_]
    unseen: NDArray[np.bool_]
    rare: NDArray[np.bool_]
    events: Floats
    skewed: Floats

    @property
    def wide(self) -> NDArray[np.bool_]:
        return ~(self.half_width <= self.wanted)

    @property
    def guarded(self) -> NDArray[np.bool_]:
        """Where guards want more replicates; what did not vary in 1,000 is given up."""
        return self.constant & (self.n < NO_VARIATION) | ~self.constant & (self.rare | (self.skewed > self.n))

    def guard_target(self) -> float:
        """Return the replicates that the guards want, not more than twice those there are: they learn as they go."""
        unseen = np.where(self.constant & (self.n < NO_VARIATION), min(2 * self.n, NO_VARIATION), 0)
        rare = np.where(self.rare & ~self.constant, 1.1 * self.n * FEWEST_EVENTS / np.maximum(self.events, 1), 0)
        skewed = np.where(self.constant, 0, self.skewed)
        return min(2.0 * self.n, float(np.max([unseen, rare, skewed])))


class Rule(ABC):
    """Numbers of replicates to run to, one after the other.

    Run to `first_target`, then to what `next_target` says of the moments there, until it says None; `outcome` says how
    it ended. The state between two targets is a plain dict.

    Parameters
    ----------
    tolerance : Tolerance
        What is wanted.
    confidence_level : float
        In (0, 1).
    simultaneous : bool
        Whether the intervals cover all k components together, by Bonferroni's inequality.
    n_points : int
        Points in a replicate.

    Raises
    ------
    ValueError
        If the most evaluations are fewer than the first replicates have.
    """

    name: str

    def __init__(
        self, tolerance: Tolerance, confidence_level: float, simultaneous: bool = False, n_points: int = 1
    ) -> None:
        self.tolerance, self.confidence_level, self.simultaneous = tolerance, confidence_level, simultaneous
        self._most = tolerance.most_replicates(n_points)
        self._names: tuple[str, ...] | None = None
        self._columns: NDArray[np.int64] | None = None
        self._target = tolerance.first_count
        # How many replicates there will be, by what is known; looks come before.
        self.expected = self._target
        # The pilot was skewed, so that fewer than 100 replicates are too few.
        self._was_skewed = False

    def limit_to_groups(self, group: int, n_there: int = 0) -> None:
        """Let the limit be a whole number of groups, which are run as a whole; replicates that are there cost nothing.

        Raises
        ------
        ValueError
            If fewer groups fit into it than the first replicates need.
        """
        if self._most is None:
            return
        most, first = max(self._most // group * group, min(self._most, n_there)), self.tolerance.first_count
        if most < first:
            raise ValueError(
                f"max_evaluations={self.tolerance.max_evaluations} has room for {most} replicates in whole batches of "
                f"{group}, where {first} come first. Allow {math.ceil(first / group) * group} replicates or more, or "
                "smaller batches (a store keeps those of its first call)"
            )
        self._most = most

    def first_target(self) -> int:
        """Return how many replicates come first; after `restore` those that were decided last."""
        return self._target

    def name_components(self, names: Sequence[str]) -> None:
        """Take note of what the k components are called, which the first replicates tell.

        Raises
        ------
        ValueError
            If a component that counts is not among them.
        """
        self._names, wanted = tuple(names), self.tolerance.components
        if wanted is None:
            return
        unknown = [name for name in wanted if name not in self._names]
        if unknown:
            known = ", ".join(self._names[:20]) + (", ..." if len(self._names) > 20 else "")
            raise ValueError(f"components must be among {known}; got {', '.join(map(repr, unknown))}")
        self._columns = np.array([self._names.index(name) for name in wanted])

    def next_target(self, moments: Moments, rounding: float) -> int | None:
        """Return how many replicates to run to, counted from the start, or None to stop.

        Parameters
        ----------
        moments : Moments
            Of exactly as many replicates as the last target said.
        rounding : float
            Relative rounding error of the values.
        """
        if moments.count < self._target:
            raise ValueError(
                f"the rule asked for {self._target} replicates; got the moments of {moments.count}. Run the others too"
            )
        at = self._standing(moments, rounding)
        self._was_skewed |= bool((at.skewed > at.n).any())
        wanted = max(self._wanted(at, moments), self.tolerance.first_count)
        wanted = self.capped(math.ceil(min(wanted, _MOST)))
        if wanted <= moments.count:
            return None
        self._target = wanted
        self.expected = self.capped(max(wanted, math.ceil(min(self._width_target(at), _MOST))))
        return wanted

    def outcome(self, moments: Moments, rounding: float) -> Stopping:
        """Return how the run ended, after any number of replicates.

        Parameters
        ----------
        moments, rounding
            As of `next_target`, but a run that was cut short may have fewer replicates.
        """
        at = self._standing(moments, rounding)
        reached = not (at.wide | at.guarded | at.unseen).any()
        reason = self._why(at, reached)
        tolerance = self.tolerance
        return Stopping(self.name, tolerance.atol, tolerance.rtol, None, None, None, reached, reason)

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to go on, made of numbers, arrays and None."""
        return {"target": self._target, "was_skewed": self._was_skewed}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where another rule of the same arguments was."""
        self._target, self._was_skewed = int(state["target"]), bool(state["was_skewed"])

    @abstractmethod
    def half_widths(self, moments: Moments) -> Floats:
        """Return the half-width of each component's interval, shape (k,); infinite where it has none yet."""

    @abstractmethod
    def _wanted(self, at: _Standing, moments: Moments) -> float:
        """Return how many replicates are wanted; as many as there are, or fewer, to stop."""

    def _level(self, k: int) -> float:
        return shared_level(self.confidence_level, k) if self.simultaneous else self.confidence_level

    def capped(self, target: int) -> int:
        """Return a number of replicates, or the most that are allowed."""
        return target if self._most is None else min(target, self._most)

    def _standing(self, moments: Moments, rounding: float) -> _Standing:
        columns = np.arange(len(moments.mean)) if self._columns is None else self._columns
        n, constant = moments.count, moments.constant(rounding)
        unseen = constant & varies_by_rounding(moments.mean, moments.within, np.zeros(len(constant)), rounding)
        skewed = REPLICATES_BY_SKEWNESS * np.where(constant, 0.0, moments.skewness) ** 2
        if moments.events is None or moments.non_events is None:
            rare, events = np.zeros(len(constant), dtype=bool), np.zeros(len(constant))
        else:
            events = np.minimum(moments.events, moments.non_events).astype(np.float64)
            rare, skewed = events < FEWEST_EVENTS, np.zeros(len(constant))
        # Means that once looked skewed are not believed to be cured by a few more.
        if self._was_skewed or (skewed[columns] > n).any():
            skewed = np.maximum(skewed, np.where(skewed > 0, FEWEST_IF_SKEWED, 0))
        with np.errstate(invalid="ignore"):
            half_width = np.where(moments.m2 > 0, self.half_widths(moments), 0.0)
        wanted = self.tolerance.wanted(moments.mean)
        return _Standing(
            n=n,
            columns=columns,
            half_width=half_width[columns],
            wanted=wanted[columns],
            constant=constant[columns],
            unseen=unseen[columns],
            rare=rare[columns],
            events=events[columns],
            skewed=skewed[columns],
        )

    def _width_target(self, at: _Standing) -> float:
        """Return the replicates at which every half-width would be as wanted, were it to go on as 1 / sqrt n."""
        # A mean that may be 0 says little of the tolerance; it is taken to be as large as its half-width.
        rtol = self.tolerance.rtol
        aim = at.wanted if rtol is None else np.maximum(at.wanted, rtol * at.half_width)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            needed = at.n * (at.half_width / aim) ** 2
        return float(np.max(np.where(at.wide, np.nan_to_num(needed, nan=_MOST, posinf=_MOST), 0.0)))

    def _why(self, at: _Standing, reached: bool) -> str:
        """Return in words why the run is at its end."""

        def name(i: int) -> str:
            column = int(at.columns[i])
            return f"component {column}" if self._names is None else self._names[column]

        exact = at.constant & ~at.unseen
        if reached:
            told = f"; {name(int(np.argmax(exact)))} is integrated exactly, or nearly" if exact.any() else ""
            return f"reached: every half-width is at most {self.tolerance}{told}"
        found = []
        if at.wide.any():
            with np.errstate(divide="ignore", invalid="ignore"):
                worst = int(np.argmax(np.where(at.wide, at.half_width / at.wanted, -1.0)))
            found.append(f"{name(worst)} has half-width {at.half_width[worst]:.3g}, wanted {at.wanted[worst]:.3g}")
        for marked, text in (
            (at.rare & ~at.constant, f"has fewer than {FEWEST_EVENTS} events or non-events"),
            (~at.constant & (at.skewed > at.n), "is too skewed for so few replicates"),
            (at.unseen, f"did not vary in {at.n:,} replicates: a constant, or an event too rare to be seen"),
        ):
            if marked.any():
                more = f" (and {int(marked.sum()) - 1} more)" if marked.sum() > 1 else ""
                found.append(f"{name(int(np.argmax(marked)))}{more} {text}")
        return f"{self._ended_by(at)}: {'; '.join(found)}"

    def _ended_by(self, at: _Standing) -> str:
        if self._most is not None and at.n >= self._most:
            return f"limit: max_evaluations={self.tolerance.max_evaluations:,}"
        if (at.wide | at.guarded).any():
            return f"ended early, after {at.n:,} replicates"
        return "no variation"


class TwoStage(Rule):
    """A first stage that says how many replicates it takes, and more where they turn out too few."""

    name = "two-stage"

    def __init__(
        self, tolerance: Tolerance, confidence_level: float, simultaneous: bool = False, n_points: int = 1
    ) -> None:
        super().__init__(tolerance, confidence_level, simultaneous, n_points)
        self.first_stage: FirstStage | None = None

    def half_widths(self, moments: Moments) -> Floats:
        """Return the larger of both stages' half-widths; Student's where the first stage is not over."""
        first = self.first_stage or FirstStage.of(moments)
        sampled = replace(IntervalInput.of(moments, None, 0), first_stage=(first.count, first.standard_deviation))
        _, high = studentized_ends(sampled, self._level(len(moments.mean)), "two-stage-t")
        return high * sampled.standard_error

    def outcome(self, moments: Moments, rounding: float) -> Stopping:
        """Return how the run ended; one that ended in its first stage has that for both."""
        first = self.first_stage or FirstStage.of(moments)
        ended = super().outcome(moments, rounding)
        return replace(ended, first_count=first.count, first_standard_deviation=first.standard_deviation)

    def state(self) -> dict[str, Any]:
        """Return what `restore` needs to go on."""
        first = self.first_stage
        return super().state() | {"first_stage": None if first is None else vars(first).copy()}

    def restore(self, state: dict[str, Any]) -> None:
        """Go on where another rule of the same arguments was."""
        super().restore(state)
        first = state["first_stage"]
        self.first_stage = None if first is None else FirstStage(**first)

    def _wanted(self, at: _Standing, moments: Moments) -> float:
        if self.first_stage is None:
            if at.n < SKEWED_FIRST_STAGE and (at.skewed > at.n).any() and self.capped(SKEWED_FIRST_STAGE) > at.n:
                return SKEWED_FIRST_STAGE
            self.first_stage = FirstStage.of(moments)
        target = self._width_target(at)
        if target:
            target = max(target, _LEAST_STEP["two-stage"] * at.n)
        return max(target, at.guard_target() if at.guarded.any() else 0.0)


class Anytime(Rule):
    """A confidence sequence, looked at where it may be narrow enough.

    Parameters
    ----------
    tolerance, confidence_level, simultaneous, n_points
        As of `Rule`.
    kind : {"anytime", "asymptotic-anytime"}
        Exact for normal replicate means, or in the limit for all.
    planned : int
        The number of replicates at which it is to be narrowest, chosen before the run.
    """

    def __init__(
        self,
        tolerance: Tolerance,
        confidence_level: float,
        simultaneous: bool = False,
        n_points: int = 1,
        kind: Kind = "anytime",
        planned: int = PLANNED,
    ) -> None:
        super().__init__(tolerance, confidence_level, simultaneous, n_points)
        self.planned, self.name = planned, kind

    def half_widths(self, moments: Moments) -> Floats:
        """Return the confidence sequence's half-widths."""
        width = SEQUENCES[self.name](float(moments.count), self.planned, self._level(len(moments.mean)))
        return width * moments.standard_error

    def outcome(self, moments: Moments, rounding: float) -> Stopping:
        """Return how the run ended."""
        return replace(super().outcome(moments, rounding), planned=self.planned)

    def _wanted(self, at: _Standing, moments: Moments) -> float:
        target = self._width_target(at)
        if target:
            target = min(max(target, _LEAST_STEP["anytime"] * at.n), 2.0 * at.n)
        return max(target, at.guard_target() if at.guarded.any() else 0.0)
