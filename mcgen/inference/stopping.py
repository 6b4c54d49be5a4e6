r"""Stopping rules: they end a run when its intervals are narrow enough, and keep the coverage of these intervals.

A rule gives one number of replicates after another to run to. Each number follows from the moments of the replicates
before it, or from their means where it bets. So a run that was killed goes on to the same end. The run stops when the
half-width h of every component that counts is at most the larger of atol and rtol times the absolute mean, or when its
limit is reached. The result gives the reason. A plain Student interval that is watched until it is narrow enough covers
too little: such a run stops where s happens to be too small. The rules of `rules` allow for that:

**Two stages** [1]_, `TwoStage`. A first stage of R_0 = 32 replicates with standard deviation s_0 gives the number
R = (t_{R_0 - 1} s_0 / atol)^2 to run to. The half-width there,

.. math:: h = \max(t_{R_0-1}\, s_0,\; t_{R-1}\, s) / \sqrt R,

may still be too large by its second term. Then the run goes on to R (h / atol)^2 replicates, at least 2 % more, and so
on. For normal replicate means the coverage is at least the confidence level, however many stages there are. The reason:
the mean of normal values is independent of all their standard deviations and skewnesses. So given R it is N(mu, sigma^2
/ R), and its distance from mu is below t_{R_0 - 1} s_0 / sqrt(R) with the probability that Student's t promises. A
relative tolerance uses the mean too, which this proof does not allow for; simulations show that it covers
(`docs/validation/stopping.md`). A relative tolerance of a mean that is 0 is never reached, so set a limit beside `rtol`
alone; `receding` warns.

Skewed replicate means need a longer side: each side has the skewness-adjusted end where that is farther (see
`intervals`), and the run stops by half the distance of the ends. Where 32 replicates look skewed, R_0 < 50 g^2 for
their skewness g, the first stage has 64. With lognormal replicate means, simulated 95 % intervals covered the truth in
93.6 % to 95.6 % of the runs. Student's ends and at least 50 g^2 replicates covered 92.1 % to 93.6 %, with up to 13
times the replicates.

**At any time**, `Anytime`: the interval is that of a confidence sequence (see `sequences`), which covers at all
numbers of replicates together, whatever the stopping rule. The rule looks at numbers that grow by 5 % to 100 %. There
is no end, and so no stop, before 30 replicates, before 10 g^2, and while replicate means do not vary. `Betting` has the
sequence of `betting`, for declared bounds.

**Probabilities.** In two stages a boolean component stops by its own interval, which is that of a probability, and has
no guard (see `indicators`).

**Guards** of both rules, for replicate means that are not normal; betting needs none:

- Events: where all values are 0 or 1, a run has at least 20 of each. This holds for sequences, and for values that only
  happen to be 0 and 1.
- No variation: while a component's replicate means do not vary, the run does not stop before 1,000 replicates. The
  reason of the result names the component: a constant looks like an event too rare to be seen. Where the values vary
  inside replicates, the design integrates the component exactly as far as can be seen, and 1,000 replicates are enough
  in two stages.

.. rubric:: References

.. [1] C. Stein (1945). A two-sample test for a linear hypothesis whose power is independent of the variance. Ann. Math.
   Statist. 16(3), 243-258.
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen.inference.interval_input import IntervalInput, enlarged_skewness, shared_level
from mcgen.inference.moments import Moments, varies_by_rounding
from mcgen.inference.progress import FEWEST_EVENTS, ToleranceProgress
from mcgen.inference.receding import receding_component, receding_warning
from mcgen.inference.tolerance import Tolerance

# Largest factor by which replicates grow from one look to the next where skewness alone keeps the half-width large.
_STEP_IF_SKEWED = 1.05
# Upper limit of a computed number of replicates: more than can ever be run, and still an int64.
_MOST = 2**60


@dataclass(frozen=True, eq=False)
class Stopping:
    """The record of how a run by a tolerance, or with an interval for any time, ended: `Estimate.stopping`.

    Attributes
    ----------
    rule : {"two-stage", "anytime", "asymptotic-anytime", "betting"}
        Name of the rule.
    atol, rtol : float or None
        The tolerances.
    first_count : int or None
        Replicates of the first stage; None for confidence sequences.
    first_standard_deviation : ndarray of shape (k,), or None
        Standard deviation of the first stage's replicate means, for all components; None for confidence sequences.
    planned : int or None
        Number of replicates at which the confidence sequence is narrowest. None for two stages, and for betting to a
        tolerance.
    reached : bool
        Whether every half-width that counts is within its tolerance, and no guard asks for more replicates.
    reason : str
        Why the run stopped, in words.

    Examples
    --------
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: z**2, noise=(16,), name="square")
    >>> result = mcgen.estimate(model, mcgen.statistics.pixel_mean, design=mcgen.Antithetic(), atol=0.02, seed=0)
    >>> result.stopping.rule, result.stopping.reached
    ('two-stage', True)
    >>> result.stopping.reason
    'reached: every half-width is at most 0.02'
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
        """Return the record of some of the components."""
        first = self.first_standard_deviation
        return self if first is None else replace(self, first_standard_deviation=first[components])

    @property
    def first_stage(self) -> tuple[int, Floats] | None:
        """Number and standard deviations of the first stage, as `mcgen.intervals.IntervalInput` takes them."""
        if self.first_count is None or self.first_standard_deviation is None:
            return None
        return self.first_count, self.first_standard_deviation


class Rule(ABC):
    """A stopping rule: one number of replicates after another to run to.

    Run to `first_target`, then to the number that `next_target` returns for the moments there, until it returns None.
    `outcome` says how the run ended. The state between two targets is a plain dict.

    Parameters
    ----------
    tolerance : Tolerance
        The tolerances and limits that the user asked for.
    confidence_level : float
        Confidence level of the intervals, in (0, 1).
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
    # Half-width of a component whose replicate means do not vary.
    half_width_if_constant = 0.0

    def __init__(
        self, tolerance: Tolerance, confidence_level: float, simultaneous: bool = False, n_points: int = 1
    ) -> None:
        self.tolerance, self.confidence_level, self.simultaneous = tolerance, confidence_level, simultaneous
        self._most = tolerance.most_replicates(n_points)
        self._names: tuple[str, ...] | None = None
        self._columns: NDArray[np.int64] | None = None
        self._target = tolerance.first_count
        # Number of replicates that the run is expected to end at, for progress displays; looks may come earlier.
        self.expected = self._target
        # Name of the component for which the relative tolerance recedes.
        self._receding: str | None = None
        self._n_points, self._boolean = n_points, np.zeros(0, dtype=bool)

    def limit_to_groups(self, group: int, n_there: int = 0) -> None:
        """Lower the limit to a whole number of groups, since groups are run as a whole.

        Parameters
        ----------
        group : int
            Replicates in a group.
        n_there : int
            Replicates that a store holds already; they cost nothing and may exceed whole groups.

        Raises
        ------
        ValueError
            If the limit has fewer whole groups than the first replicates need.
        """
        if self._most is None:
            return
        most, first = max(self._most // group * group, min(self._most, n_there)), self.tolerance.first_count
        if most < first:
            raise ValueError(
                f"max_evaluations={self.tolerance.max_evaluations} has room for {most} replicates in whole batches of "
                f"{group}, but a run needs at least {first}. Allow {math.ceil(first / group) * group} replicates or "
                "more, or smaller batches (a store keeps those of its first call)"
            )
        self._most = most

    def first_target(self) -> int:
        """Return the first number of replicates to run to; after `restore` the number that was decided last."""
        return self._target

    def name_components(self, names: Sequence[str]) -> None:
        """Set the names of the k components, which are known once the first replicates are finished.

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

    def note_indicators(self, boolean: Sequence[bool]) -> None:
        """Take note of which of the k components are boolean, so that their means are probabilities; empty for none."""
        self._boolean = np.asarray(boolean, dtype=bool)

    def next_target(self, moments: Moments, rounding: float) -> int | None:
        """Return the number of replicates to run to, counted from the start of the run, or None to stop.

        Parameters
        ----------
        moments : Moments
            Moments of exactly as many replicates as the last target.
        rounding : float
            Relative rounding error of the values.
        """
        if moments.count < self._target:
            raise ValueError(
                f"the rule asked for {self._target} replicates; got the moments of {moments.count}. Run the others too"
            )
        at = self._progress(moments, rounding)
        wanted = max(self._wanted_count(at, moments), self.tolerance.first_count)
        wanted = self.capped(math.ceil(min(wanted, _MOST)))
        if wanted <= moments.count:
            return None
        self._target = wanted
        likely = max(self._width_target(at), at.likely_end_of_events())
        self.expected = self.capped(max(wanted, math.ceil(min(likely, _MOST))))
        return wanted

    def outcome(self, moments: Moments, rounding: float) -> Stopping:
        """Return how the run ended, after any number of replicates.

        Parameters
        ----------
        moments, rounding
            As for `next_target`, but a run that was cut short may have fewer replicates.
        """
        at = self._progress(moments, rounding)
        reached = not (at.wide | at.guarded | at.unseen).any()
        reason = self._why(at, reached)
        tolerance = self.tolerance
        return Stopping(self.name, tolerance.atol, tolerance.rtol, None, None, None, reached, reason)

    def note_receding(self, moments: Moments, rounding: float) -> None:
        """Take note where the relative tolerance recedes (see `receding`), after any number of replicates."""
        if self._receding is None and self._names is not None:
            at = self._progress(moments, rounding)
            self._receding = receding_component(self.tolerance, moments, at, self._names)

    @property
    def receding(self) -> str | None:
        """The warning that the relative tolerance recedes, where that was noted."""
        if self._receding is None or not self.tolerance.may_recede:
            return None
        return receding_warning(self._receding, self.tolerance)

    def state(self) -> dict[str, Any]:
        """Return the state that `restore` takes: a dict of numbers, texts, arrays and None."""
        return {"target": self._target, "receding": self._receding}

    def restore(self, state: dict[str, Any]) -> None:
        """Take over the state of another rule that has the same arguments."""
        self._target = int(state["target"])
        # Stores of earlier versions do not have it.
        self._receding = state.get("receding")

    @abstractmethod
    def half_widths(self, moments: Moments) -> Floats:
        """Return the half-width of each component's interval, shape (k,); infinite where there is no interval yet."""

    @abstractmethod
    def _wanted_count(self, at: ToleranceProgress, moments: Moments) -> float:
        """Return the number of replicates that the run should have; at most the present number means stop."""

    def _matched(self, moments: Moments) -> NDArray[np.bool_]:
        """Return which of the k components have an interval that needs no guard; by default none."""
        return np.zeros(len(moments.mean), dtype=bool)

    def _fewest(self, moments: Moments) -> Floats:
        """Return the replicates below which each component's interval has no end, shape (k,); by default 0."""
        return np.zeros(len(moments.mean))

    def _sampled(self, moments: Moments) -> IntervalInput:
        """Return what the intervals are computed from."""
        return enlarged_skewness(IntervalInput.of(moments, None, 0), len(moments.mean) if self.simultaneous else 1)

    def _level(self, k: int) -> float:
        return shared_level(self.confidence_level, k) if self.simultaneous else self.confidence_level

    def capped(self, target: int) -> int:
        """Return a number of replicates, lowered to the most that are allowed."""
        return target if self._most is None else min(target, self._most)

    def _progress(self, moments: Moments, rounding: float) -> ToleranceProgress:
        columns = np.arange(len(moments.mean)) if self._columns is None else self._columns
        n, matched = moments.count, self._matched(moments)
        constant = moments.constant(rounding) & ~matched
        unseen = constant & varies_by_rounding(moments.mean, moments.within, np.zeros(len(constant)), rounding)
        if moments.events is None or moments.non_events is None:
            rare, events = np.zeros(len(constant), dtype=bool), np.zeros(len(constant))
        else:
            events = np.where(moments.counted, np.minimum(moments.events, moments.non_events), 0).astype(np.float64)
            rare = moments.counted & ~matched & (events < FEWEST_EVENTS)
        half_width = np.where(constant, self.half_width_if_constant, self.half_widths(moments))
        without_third = replace(moments, m3=np.zeros_like(moments.m3))
        symmetric = half_width if matched.all() else self.half_widths(without_third)
        wanted = self.tolerance.wanted(moments.mean)
        return ToleranceProgress(
            n=n,
            columns=columns,
            half_width=half_width[columns],
            symmetric=symmetric[columns],
            wanted=wanted[columns],
            constant=constant[columns],
            unseen=unseen[columns],
            rare=rare[columns],
            events=events[columns],
            fewest=np.where(constant, 0.0, self._fewest(moments))[columns],
            matched=matched[columns],
            alike=(moments.counted & (events == 0))[columns],
        )

    def _width_target(self, at: ToleranceProgress) -> float:
        """Return the number of replicates at which every half-width may be small enough; 0 where all are.

        Without skewness a half-width falls as 1 / sqrt(n), which gives n (half_width / wanted)^2. What skewness adds
        falls faster, at a rate that few replicates do not show. So it asks for 5 % more replicates at a time. Where it
        leaves no end, the number is the fewest with an end. Half-widths of probabilities do not count here, nor those
        of what does not vary.
        """
        # A mean inside its half-width may be 0; for a relative tolerance it is taken to be as large as its half-width.
        rtol = self.tolerance.rtol
        aim = at.wanted if rtol is None else np.maximum(at.wanted, rtol * at.symmetric)
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            steady, whole = at.n * (at.symmetric / aim) ** 2, at.n * (at.half_width / aim) ** 2
        steady = np.where(np.isinf(at.symmetric), 2.0 * at.n, steady)
        needed = np.maximum(steady, np.where(at.skewed, at.fewest, np.minimum(whole, _STEP_IF_SKEWED * at.n)))
        waiting = at.wide & ~at.matched & ~at.constant
        return float(np.max(np.where(waiting, np.nan_to_num(needed, nan=_MOST, posinf=_MOST), 0.0)))

    def _why(self, at: ToleranceProgress, reached: bool) -> str:
        """Return the reason why the run ended, in words."""

        def name(i: int) -> str:
            column = int(at.columns[i])
            return f"component {column}" if self._names is None else self._names[column]

        exact = at.constant & ~at.unseen
        if reached:
            note = f"; {name(int(np.argmax(exact)))} is integrated exactly, or nearly" if exact.any() else ""
            return f"reached: every half-width is at most {self.tolerance}{note}"
        found, wide = [], at.wide & ~at.constant
        if wide.any():
            with np.errstate(divide="ignore", invalid="ignore"):
                worst = int(np.argmax(np.where(wide, at.half_width / at.wanted, -1.0)))
            found.append(f"{name(worst)} has half-width {at.half_width[worst]:.3g}, wanted {at.wanted[worst]:.3g}")
        for marked, text in (
            (at.rare & ~at.constant, f"has fewer than {FEWEST_EVENTS} events or non-events"),
            (~at.constant & at.skewed, "is too skewed for so few replicates"),
            (at.wide & at.matched & at.alike, f"was the same for all points of {at.n:,} replicates"),
            (at.unseen, f"did not vary in {at.n:,} replicates: a constant, or an event too rare to be seen"),
            (exact & at.wide, "is integrated exactly, or nearly: without variation a sequence has no end"),
        ):
            if marked.any():
                more = f" (and {int(marked.sum()) - 1} more)" if marked.sum() > 1 else ""
                found.append(f"{name(int(np.argmax(marked)))}{more} {text}")
        return f"{self._ended_by(at)}: {'; '.join(found)}"

    def _ended_by(self, at: ToleranceProgress) -> str:
        if self._most is not None and at.n >= self._most:
            return f"limit: max_evaluations={self.tolerance.max_evaluations:,}"
        if (at.wide & ~at.constant | at.guarded).any():
            return f"ended early, after {at.n:,} replicates"
        return "no variation"
