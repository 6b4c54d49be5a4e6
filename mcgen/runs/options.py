"""Options of a run: its interval, how it stops, and the resources that it may use."""

from __future__ import annotations

from dataclasses import dataclass, field

from mcgen.functionals import Functional
from mcgen.functionals.base import Replicates
from mcgen.inference.methods import IntervalOptions
from mcgen.inference.rules import Anytime, Betting, TwoStage
from mcgen.inference.stopping import Rule
from mcgen.inference.tolerance import Tolerance
from mcgen.replicates.gathering import Gatherer, Samples
from mcgen.replicates.source import Resources
from mcgen.replicates.summation import LEAF
from mcgen.replicates.tally import GROUPS
from mcgen.runs.corrections import Correcting
from mcgen.runs.state import Callback


@dataclass(frozen=True)
class RunOptions:
    """Options of a run beside its task.

    Attributes
    ----------
    interval : IntervalOptions
        Which interval is wanted.
    keep_replicates, progress, batch_size
        As for `mcgen.estimate`.
    controls : Correcting or None
        Control variates.
    tolerance : Tolerance or None
        How narrow the interval is to be, where no number of replicates is given.
    first_replicate : int
        Number of the first replicate; not 0 for a part of a longer run.
    resources : Resources
        The store and the executor.
    functional : Functional or None
        What is estimated in place of the statistic's means.
    keep_samples : bool
        Whether the samples are kept.
    collected : list of Replicates, or None
        Receives the replicates of each run, for a functional of the mixture of several conditions.
    beside : tuple of Gatherer
        What else is gathered, for scores that are computed from the run later.
    bar : str or None
        What the progress bar says in place of the design and the half-width: the model of a run for many scores.
    callback : callable or None
        As for `mcgen.estimate`.
    """

    interval: IntervalOptions
    keep_replicates: bool | None = None
    progress: bool = False
    controls: Correcting | None = None
    tolerance: Tolerance | None = None
    batch_size: int | None = None
    first_replicate: int = 0
    resources: Resources = field(default_factory=Resources)
    functional: Functional | None = None
    keep_samples: bool = False
    collected: list[Replicates] | None = None
    beside: tuple[Gatherer, ...] = ()
    bar: str | None = None
    callback: Callback | None = None

    @property
    def gatherers(self) -> tuple[Gatherer, ...]:
        """What is gathered of each sample."""
        own = self.beside if self.functional is None else self.functional.gatherers
        return (*own, Samples()) if self.keep_samples else own

    def keeps(self, n_replicates: int | None) -> bool | None:
        """Return whether the means of so many replicates are kept; None keeps up to a number of them.

        A functional has them as long as there are fewer leaves than groups of its jackknife.
        """
        needed = self.interval.needs_means or (self.controls is not None and self.controls.needs_means)
        if needed or self.gatherers:
            return True
        few = n_replicates is None or n_replicates <= LEAF * GROUPS
        return True if self.functional is not None and self.keep_replicates is None and few else self.keep_replicates

    def rule(self, n_points: int) -> Rule | None:
        """Return the rule that stops the run; None where the number of replicates is given."""
        if self.tolerance is None:
            return None
        asked = self.interval
        arguments = self.tolerance, asked.confidence_level, bool(asked.simultaneous), n_points
        if asked.method in ("anytime", "asymptotic-anytime"):
            return Anytime(*arguments, kind=asked.method)
        return Betting(*arguments) if asked.method == "betting" else TwoStage(*arguments)
