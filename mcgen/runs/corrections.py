"""The protocols by which a run knows control variates; `mcgen.variance_reduction.controls` has them.

A run with control variates is an ordinary one: a generator that returns its samples and the values of the controls, and
a statistic of both. Only its replicate means are corrected before an estimate is made of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.designs import Design
from mcgen.inference.moments import Moments, ReplicateMeans
from mcgen.replicates.tally import Segment, Tally
from mcgen.replicates.task import Facts, Task


@dataclass(frozen=True)
class Corrected:
    """Corrected replicates of a run.

    Attributes
    ----------
    tally : Tally
        Replicates of 2 k components: the k corrected means, then the k plain ones.
    rank : int
        Degrees of freedom that the coefficients took from these replicates.
    text : str
        What was done.
    warnings : tuple of str
        Reasons for doubt.
    """

    tally: Tally
    rank: int
    text: str
    warnings: tuple[str, ...] = ()

    def moments(self) -> Moments:
        """Return the moments of the corrected means.

        Their `within` is the variance of one value less the variance of a corrected mean, so that efficiencies stay
        relative to plain Monte Carlo.
        """
        both = self.tally.moments()
        assert both is not None
        k = len(both.mean) // 2
        corrected, plain = both.select(slice(k)), both.select(slice(k, None))
        return replace(corrected, within=np.maximum(plain.within + plain.variance - corrected.variance, 0.0))

    def kept(self) -> tuple[Floats, Floats] | None:
        """Return the corrected means and what belongs within, both of shape (R, k), where they are kept."""
        kept = self.tally.kept()
        if kept is None:
            return None
        (n, width), k = kept[0].shape, kept[0].shape[1] // 2
        squares = np.square(kept[0] - kept[0].mean(axis=0)) * (n / (n - 1))
        within = kept[1][:, :k] + squares[:, k:width] - squares[:, :k]
        return kept[0][:, :k], np.where(within.mean(axis=0) > 0, within, 0.0)


class Correction(Protocol):
    """Control variates in one run."""

    @property
    def task(self) -> Task:
        """The task to run; controls that are known at the noise alone return their values beside the statistic's."""
        ...

    @property
    def n_controls(self) -> int:
        """The number of controls whose values stand beside those of the statistic."""
        ...

    def rows(self, segment: Segment, facts: Facts) -> ReplicateMeans:
        """Return what is to be tallied of some replicates."""
        ...

    def corrected(self, tally: Tally, facts: Facts) -> Corrected:
        """Return the corrected replicates of a tally of what `rows` returned."""
        ...


class Correcting(Protocol):
    """Control variates as the argument `controls` of `mcgen.estimate`."""

    @property
    def needs_means(self) -> bool:
        """Whether the correction is made from the replicate means themselves, by cross-fitting."""
        ...

    def begin(self, task: Task, n_replicates: int | None) -> Correction:
        """Return the controls in a run, or refuse those that are not for it."""
        ...

    def n_evaluations_beside(self, design: Design) -> int:
        """Return what the controls cost beside a design, in evaluations of the generator."""
        ...

    def for_each(self, n: int) -> Correcting:
        """Return the controls for n statistics of the same components, side by side."""
        ...
