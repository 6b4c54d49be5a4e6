"""What texts, tables and figures read of an estimate and of a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

from mcgen._lib.arrays import Floats
from mcgen.inference.interval_input import Interval
from mcgen.inference.population import VarianceComponents
from mcgen.inference.stopping import Stopping
from mcgen.results.provenance import Provenance

if TYPE_CHECKING:
    import pandas as pd


class Shown(Protocol):
    """An estimate, as far as texts, tables and figures read it; the attributes are those of `Estimate`."""

    @property
    def mean(self) -> float | Floats:
        """The estimate."""
        ...

    @property
    def interval(self) -> Interval:
        """The confidence interval."""
        ...

    @property
    def half_width(self) -> float | Floats:
        """Half the width of the interval."""
        ...

    @property
    def confidence_level(self) -> float:
        """The confidence level of the interval."""
        ...

    @property
    def method(self) -> str:
        """The method that made the interval."""
        ...

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the statistic's components."""
        ...

    @property
    def names(self) -> tuple[str, ...]:
        """Names of the components."""
        ...

    @property
    def provenance(self) -> Provenance:
        """What was done."""
        ...

    @property
    def n_replicates(self) -> int:
        """Number of independent replicates."""
        ...

    @property
    def n_evaluations(self) -> int:
        """Number of samples in the estimate."""
        ...

    @property
    def executed_evaluations(self) -> int:
        """Number of rows that the model ran."""
        ...

    @property
    def plug_in(self) -> Floats | float | None:
        """The usual value of a functional at the samples, which may be biased; None for means."""
        ...

    @property
    def replicate_means(self) -> Floats | None:
        """Replicate means, where they were kept."""
        ...

    @property
    def parts(self) -> tuple[Shown, ...]:
        """The estimates that it is made of: those of the conditions, the levels, or the models."""
        ...

    @property
    def conditions(self) -> tuple[Shown, ...]:
        """The estimate of each condition."""
        ...

    @property
    def levels(self) -> tuple[Shown, ...]:
        """The estimate of each level."""
        ...

    @property
    def models(self) -> tuple[Shown, ...]:
        """The estimate of each of two models on independent noise."""
        ...

    @property
    def variance_components(self) -> VarianceComponents | None:
        """The variances between conditions and of the noise, where the conditions are a sample of a population."""
        ...

    @property
    def stopping(self) -> Stopping | None:
        """How a run that stopped by itself came to its end."""
        ...

    @property
    def warnings(self) -> tuple[str, ...]:
        """What the run warned of."""
        ...


class ShownComparison(Protocol):
    """A comparison, as far as figures read it; the attributes are those of `Comparison`."""

    @property
    def estimates(self) -> tuple[Shown, ...]:
        """One estimate for each design."""
        ...

    @property
    def labels(self) -> tuple[str, ...]:
        """The name of each design."""
        ...

    @property
    def baseline(self) -> int:
        """Number of the estimate that efficiencies are relative to."""
        ...

    def to_frame(self) -> pd.DataFrame:
        """Return a table with a row for each design and component, with its efficiency."""
        ...
