"""What a run is asked for."""

from __future__ import annotations

from dataclasses import dataclass, field

from mcgen.inference.methods import Method, SimultaneousMethod, resamples
from mcgen.inference.stopping import Anytime, Rule, TwoStage
from mcgen.inference.tolerance import Tolerance
from mcgen.replicates.source import Resources
from mcgen.variance_reduction.controls.control_variates import Controls, FittedControls


@dataclass(frozen=True)
class RunOptions:
    """What a run is asked for beside its task; most attributes are arguments of `mcgen.estimate`."""

    confidence_level: float
    interval: Method
    simultaneous: bool | SimultaneousMethod
    keep_replicates: bool | None
    progress: bool
    controls: Controls | FittedControls | None = None
    tolerance: Tolerance | None = None
    batch_size: int | None = None
    first_replicate: int = 0
    resources: Resources = field(default_factory=Resources)

    @property
    def keeps(self) -> bool | None:
        """Whether replicate means are kept; None for up to a number of them."""
        return True if self.resamples or isinstance(self.controls, Controls) else self.keep_replicates

    def rule(self, n_points: int) -> Rule | None:
        """Return what says when a run has replicates enough; None where their number is given."""
        if self.tolerance is None:
            return None
        arguments = self.tolerance, self.confidence_level, bool(self.simultaneous), n_points
        if self.interval in ("anytime", "asymptotic-anytime"):
            return Anytime(*arguments, kind=self.interval)
        return TwoStage(*arguments)

    @property
    def resamples(self) -> bool:
        """Whether the interval is made from the replicate means themselves."""
        return resamples(self.interval, self.simultaneous)
