"""One run from its task to its estimate; a run that is interrupted or fails gives back what is finished."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import replace

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.errors import CoverageWarning, RunError, partial_of, warn_user, with_partial
from mcgen.functionals.base import Evaluated, Replicates
from mcgen.inference.interval_input import student_t_quantile
from mcgen.inference.intervals import NO_PROBABILITIES
from mcgen.inference.moments import Moments, ReplicateMeans, varies_by_rounding
from mcgen.inference.receding import FEWEST_REPLICATES
from mcgen.inference.rules import Betting
from mcgen.inference.sequences import SEQUENCES, sequence_ends
from mcgen.inference.stopping import Stopping
from mcgen.replicates.gathering import require_room
from mcgen.replicates.source import Source
from mcgen.replicates.streams import label_of
from mcgen.replicates.summation import LEAF
from mcgen.replicates.tally import Tally
from mcgen.replicates.task import Facts, Task
from mcgen.results.estimate import Estimate
from mcgen.runs.bookkeeping import Bookkeeping
from mcgen.runs.options import RunOptions
from mcgen.runs.outcome import Outcome, functional_names, single_estimate
from mcgen.runs.progress import Progress
from mcgen.runs.scores import replicates_of
from mcgen.runs.watching import Watch
from mcgen.statistics.values import LARGEST_VALUE, component_names

# Rounding errors of a half-width, and what stands for values that vary about 0.
_ROUNDING, _TINY = 1e-9, 1e-300

Finish = Callable[[Task, Outcome, RunOptions], Estimate]
"""Makes an estimate of the outcome of a run."""


Each = Callable[[Task, Outcome], Mapping[str, Estimate]]
"""Makes the estimates of several scores, by their names, of the outcome of one run."""


def run(
    task: Task,
    n_replicates: int | None,
    options: RunOptions,
    finish: Finish = single_estimate,
    each: Each | None = None,
) -> Estimate:
    """Run one task and return its estimate.

    A run that is interrupted from the keyboard returns the estimate of the finished replicates; an exception carries
    it as its ``partial``. Fewer than two replicates give no estimate.

    Parameters
    ----------
    task : Task
        What to run.
    n_replicates : int or None
        How many replicates; None where the tolerance of the options decides.
    options : RunOptions
        What else is asked for.
    finish : callable
        Makes an estimate of the task, its outcome and the options; by default that of all components.
    each : callable, optional
        Makes what a callback sees of a run of several scores, in place of `finish`.
    """
    under_way, interrupted = _Run(task, n_replicates, options, finish, each), False
    try:
        half_width = under_way.half_width if options.functional is None and options.bar is None else None
        with Progress(_bar_label(task, options.bar), options.progress, half_width) as bar:
            under_way.go_on(bar)
    except KeyboardInterrupt:
        if under_way.tally.count < 2:
            raise
        interrupted = True
    except Exception as error:
        under_way.watch.failed(under_way.tally.count, error)
        if under_way.tally.count >= 2 and partial_of(error, Estimate) is None:
            with_partial(error, under_way.finished(True, at_least=True)[0])
        raise
    made, outcome = under_way.finished(interrupted)
    under_way.watch.ended(made)
    # Warnings that were given in the middle of the run.
    known = (*outcome.facts.warnings, outcome.receding)
    for text in dict.fromkeys(made.warnings):
        if text not in known:
            warn_user(text, CoverageWarning)
    return made if interrupted else under_way.shown(made, outcome)


def _require_no_underflow(task: Task, moments: Moments, shape: tuple[int, ...]) -> None:
    """Refuse components whose values are so small that their powers vanish, and with them spread and skewness."""
    size = np.abs(moments.mean) + np.sqrt(moments.m2)
    tiny = (size > 0) & (size < 1 / LARGEST_VALUE)
    if tiny.any():
        name = component_names(task.statistic, shape)[int(tiny.argmax())]
        raise RunError(
            f"the values of {name} are below {1 / LARGEST_VALUE:g}, where their powers vanish; multiply them by a "
            "constant"
        )


class _Run:
    """A run, from its first replicate to the last one that is wanted."""

    def __init__(
        self, task: Task, n_replicates: int | None, options: RunOptions, finish: Finish, each: Each | None
    ) -> None:
        self._n_replicates, self._options, self._finish, self._each = n_replicates, options, finish, each
        task = replace(task, gatherers=options.gatherers)
        stored = options.resources.run_of(task)
        self._books = Bookkeeping(stored, task, n_replicates, options)
        self.task = self._books.task
        self._correction = None if options.controls is None else options.controls.begin(self.task, n_replicates)
        # The means with their controls are corrected here, so a source has to keep them.
        keeps = options.keeps(n_replicates)
        inner, keep = (self.task, keeps) if self._correction is None else (self._correction.task, True)
        self._source = Source(inner, keep, options.resources, stored)
        self._rule = options.rule(task.design.n_points)
        self.watch = Watch(self.task, n_replicates, options)
        self.watch.began(self._books.n_found)
        self.tally = Tally(keeps, options.functional is not None, self.task.gatherers)
        # The functional at the replicates so far, and their number.
        self._evaluated: tuple[int, Evaluated] | None = None
        # Whether it was warned that the tolerance recedes, and the replicates at which to look for that again.
        self._warned_of_receding = False
        self._next_look = FEWEST_REPLICATES
        # Whether the first replicates were looked at.
        self._looked = False
        if self._rule is not None:
            self._rule.limit_to_groups(self.task.group, self._books.n_contiguous)

    def go_on(self, bar: Progress) -> None:
        """Run what there is still to run."""
        if self._rule is None:
            assert self._n_replicates is not None
            self._run_to(self._n_replicates, bar)
        else:
            self._books.restore(self._rule)
            wanted: int | None = self._rule.first_target()
            while wanted is not None:
                self._books.save(self._rule)
                self._run_to(self._whole(wanted), bar)
                outcome = self._at_look()
                self._rule.name_components(self._names(outcome))
                wanted = self._rule.next_target(self._watched(outcome), outcome.facts.rounding)
                wanted = self._beyond(outcome) if wanted is None else wanted
            self._books.save(self._rule)
        self._record(self.tally.count, done=True)

    def _at_look(self) -> Outcome:
        """Return the outcome so far; where a functional has no value yet, the error says how to look later."""
        try:
            return self.outcome(partial=True)
        except RunError as error:
            n = self.tally.count
            raise RunError(
                f"{error}. The run looked at {n:,} replicates; where events are too rare for that, let it look later, "
                f"by min_replicates={10 * n}"
            ) from error

    def _run_to(self, target: int, bar: Progress) -> None:
        """Tally replicates until there are so many."""
        n_points, first = self.task.design.n_points, self._options.first_replicate
        bar.expect((target if self._rule is None else self._rule.expected) * n_points)
        recorded = False
        for segment in self._source.segments(range(first + self.tally.count, first + target), target):
            if isinstance(segment, ReplicateMeans) and segment.gathered:
                require_room(self.tally.without_blocks(segment), target)
            self.watch.tallied(segment)
            self.tally.add(segment if self._correction is None else self._correction.rows(segment, self._facts))
            if not self._looked:
                self._looked = True
                self._require_what_the_interval_takes()
            bar.update(len(segment) * n_points, self.tally)
            self._source.clock.leave_out(self.watch.update(self.tally.count, self._so_far))
            self._warn_if_receding()
            if not recorded and self.tally.count > 1:
                recorded = True
                self._record(target)

    def _beyond(self, outcome: Outcome) -> int | None:
        """Return how many replicates are needed where a functional's interval is wider than its rule takes it to be.

        The rule goes by standard errors; the interval may be on another scale, or lack an end. None where it is narrow
        enough, or the rule has ended for another reason.
        """
        rule, n = self._rule, self.tally.count
        worst = self._widest(outcome)[0]
        if rule is None or worst <= 1:
            return None
        target = rule.capped(math.ceil(min(1.01 * worst**2, 2.0) * n))
        return target if target > n else None

    def _widest(self, outcome: Outcome) -> tuple[float, str]:
        """Return the widest half-width of a functional over its tolerance, and whose it is; 0 unless it seems reached.

        Components that do not count are left out.
        """
        rule, stopping = self._rule, outcome.stopping
        if rule is None or self._options.functional is None or stopping is None or not stopping.reached:
            return 0.0, ""
        made = self._finish(self.task, outcome, self._options)
        each, names = (*made.parts, made), np.array(self._names(outcome))
        half_widths = np.concatenate([np.ravel(one.half_width) for one in each])
        wide = half_widths / rule.tolerance.wanted(np.concatenate([np.ravel(one.mean) for one in each]))
        wide = np.where(np.isin(names, rule.tolerance.components or names), wide, 0.0)
        worst = int(wide.argmax())
        return float(wide[worst]), f"{names[worst]} has half-width {half_widths[worst]:.3g}"

    def _ended(self, outcome: Outcome) -> Outcome:
        """Return the outcome of the whole run: a tolerance that a functional's own interval exceeds is not reached."""
        worst, what = self._widest(outcome)
        if worst <= 1 + _ROUNDING or outcome.stopping is None or self._rule is None:
            return outcome
        reason = f"ended at {self.tally.count:,} replicates: {what}, wanted at most {self._rule.tolerance}"
        stopping = replace(outcome.stopping, reached=False, reason=reason)
        return replace(outcome, stopping=stopping, receding=self._rule.receding)

    def _watched(self, outcome: Outcome) -> Moments:
        """Return the moments that the rule looks at: those of a functional tell whether its statistic has varied."""
        moments, whole = outcome.moments, self.tally.moments()
        if outcome.evaluated is None or whole is None:
            return moments
        k, rounding = len(moments.mean), outcome.facts.rounding
        varied = ~varies_by_rounding(whole.mean, whole.within, np.zeros_like(whole.mean), rounding)
        varied = varied if len(varied) == k else np.full(k, varied.all())
        return replace(moments, within=np.where(varied, np.maximum(moments.mean**2, _TINY), moments.within))

    def _require_what_the_interval_takes(self) -> None:
        """Refuse, after the first replicates, values that an interval can't be made from."""
        method, moments = self._options.interval.method, self.tally.moments()
        assert moments is not None
        _require_no_underflow(self.task, moments, self._facts.components)
        if method == "proportion" and not moments.counted.all():
            raise ValueError(NO_PROBABILITIES)
        if method != "betting":
            return
        bounds = Outcome(self.tally, self._facts, True, self._source.clock).bounds
        without = np.asarray(np.isinf(bounds).any(axis=0))
        if without.any():
            name = component_names(self.task.statistic, self._facts.components)[int(without.argmax())]
            raise ValueError(
                f"interval='betting' needs bounds for the values of every component; got none for {name!r}, and for "
                f"{int(without.sum())} of {len(without)} components in all. Declare them by "
                "mcgen.as_statistic(f, bounds=(low, high)), or return booleans; without bounds use interval='anytime'"
            )

    def _warn_if_receding(self) -> None:
        """Warn once where the run may never end; look whenever the replicates have doubled."""
        rule = self._rule
        if rule is None or not rule.tolerance.may_recede or self.tally.count < self._next_look:
            return
        self._next_look = 2 * self.tally.count
        if self._options.functional is not None and self.tally.count < rule.tolerance.first_count:
            return
        outcome = self.outcome(partial=True)
        rule.note_receding(outcome.moments, outcome.facts.rounding)
        if rule.receding is not None and not self._warned_of_receding:
            self._warned_of_receding = True
            # A run that is killed and goes on has the same warning.
            self._books.save(rule)
            warn_user(rule.receding, CoverageWarning, at_once=True)

    def half_width(self, moments: Moments) -> Floats:
        """Return the half-widths to watch: those of the interval that the run is going to have.

        With bets on a fixed number of replicates they are Student's: betting intervals take too long to watch.
        """
        if self._rule is not None:
            return self._rule.half_widths(moments)
        level, method = self._options.interval.confidence_level, self._options.interval.method
        if method in SEQUENCES:
            n, skewness = float(moments.count), moments.skewness_of_mean
            low, high = sequence_ends(method, n, self._books.planned, level, skewness)
            return np.asarray((high - low) / 2 * np.where(np.isinf(high), 1.0, moments.standard_error))
        return student_t_quantile((1 + level) / 2, moments.count - 1.0) * moments.standard_error

    @property
    def _facts(self) -> Facts:
        return self._source.findings.facts

    def _names(self, outcome: Outcome) -> tuple[str, ...]:
        if outcome.evaluated is None or self._options.functional is None:
            return component_names(self.task.statistic, outcome.shape)
        return functional_names(self._options.functional, self.task.statistic, outcome.facts.components, outcome.shape)

    def finished(self, partial: bool, at_least: bool = False) -> tuple[Estimate, Outcome]:
        """Return the estimate and the outcome that it is made of.

        Where a functional has no value, the error carries the estimate of the means of its statistic as its
        ``partial``; that estimate is returned instead where there has been an error already (`at_least`).
        """
        try:
            outcome = self._ended(self.outcome(partial))
            if self._options.collected is not None:
                self._options.collected.append(self._replicates())
            return self._finish(self.task, outcome, self._options), outcome
        except Exception as error:
            own = self._options.functional is not None and partial_of(error, Estimate) is None
            if not (own or isinstance(error, RunError)):
                raise
            outcome = self.outcome(partial, evaluate=False)
            plain = replace(self._options, functional=None, interval=replace(self._options.interval, method=None))
            made = single_estimate(self.task, outcome, plain)
            if at_least:
                return made, outcome
            with_partial(error, made)
            raise

    def _so_far(self) -> Mapping[str, Estimate]:
        """Return what a callback sees of the replicates so far: it decides nothing, and nothing is kept of it."""
        outcome = self.outcome(partial=True)
        if self._each is not None:
            return self._each(self.task, outcome)
        return {self.watch.score: self._finish(self.task, outcome, self._options)}

    def shown(self, made: Estimate, outcome: Outcome) -> Estimate:
        """Return the finished estimate after the callback has seen it; an error of the callback carries it.

        An interrupt from the keyboard then marks it as partial, so that no further run of the call begins.
        """

        def finished() -> Mapping[str, Estimate]:
            return {self.watch.score: made} if self._each is None else self._each(self.task, outcome)

        try:
            self.watch.finish(self.tally.count, finished)
        except Exception as error:
            with_partial(error, made)
            raise
        except KeyboardInterrupt:
            return replace(made, provenance=replace(made.provenance, partial=True))
        return made

    def _functional(self) -> Evaluated | None:
        """Return the functional at the replicates so far; None where none is estimated."""
        functional, count = self._options.functional, self.tally.count
        if functional is None or (functional.pools and self._options.collected is not None):
            return None
        if self._evaluated is None or self._evaluated[0] != count:
            self._evaluated = count, functional.evaluated(self._replicates())
        return self._evaluated[1]

    def _replicates(self) -> Replicates:
        return replicates_of(self.tally, self._facts, self.task.design.n_points)

    def outcome(self, partial: bool, evaluate: bool = True) -> Outcome:
        """Return what there is to make an estimate of; without its functional unless `evaluate`."""
        outcome = Outcome(self.tally, self._facts, partial, self._source.clock)
        if evaluate:
            outcome = replace(outcome, evaluated=self._functional())
        if self._correction is not None:
            assert self._options.controls is not None
            spent = self._options.controls.n_evaluations_beside(self.task.design)
            corrected = self._correction.corrected(self.tally, self._facts)
            outcome = replace(outcome, corrected=corrected, control_evaluations=spent)
        elif self._rule is not None:
            self._rule.note_indicators(outcome.facts.boolean if self._options.functional is None else ())
            if isinstance(self._rule, Betting) and outcome.kept is not None:
                self._rule.note_means(outcome.kept[0], outcome.bounds)
        if outcome.evaluated is None and self._options.functional is not None:
            return outcome
        stopping = self._stopping(outcome)
        reached = stopping is not None and stopping.reached
        receding = None if self._rule is None or reached else self._rule.receding
        return replace(outcome, stopping=stopping, receding=receding)

    def _stopping(self, outcome: Outcome) -> Stopping | None:
        """Return how the run ended, where its interval has to know."""
        if self._rule is not None:
            return self._rule.outcome(self._watched(outcome), outcome.facts.rounding)
        method = self._options.interval.method
        if method is None or method not in (*SEQUENCES, "betting"):
            return None
        reason = "ended early" if outcome.partial else "as many as were asked for"
        return Stopping(method, None, None, None, None, self._books.planned, not outcome.partial, reason)

    def _whole(self, target: int) -> int:
        """Return a target rounded up to whole groups, which the model runs in any case, and to leaves that are stored.

        A store that keeps only the sum of a leaf can't return a part of it.
        """
        assert self._rule is not None
        group, stored = self.task.group, self._books.stored
        target = self._rule.capped(math.ceil(target / group) * group)
        if stored is not None and not stored.keeps_rows:
            target = max(target, min(math.ceil(target / LEAF) * LEAF, self._books.n_found))
        return target

    def _record(self, target: int, done: bool = False) -> None:
        """Store what `mcgen status` shows."""
        if self._books.stored is None:
            return
        outcome = self.outcome(not done, evaluate=self._options.functional is None)
        names = component_names(self.task.statistic, outcome.shape)
        n_controls = 0 if self._correction is None else self._correction.n_controls
        self._books.record(outcome, names, n_controls, self._rule, target, done)


def _bar_label(task: Task, what: str | None) -> str:
    """Return what the bar says: what is run, or the design, and the condition."""
    what, label = what or str(task.design), label_of(task)
    return what if label is None else f"{what}, condition {label}"
