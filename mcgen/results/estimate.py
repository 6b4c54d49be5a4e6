"""The result of a run: an estimate with its interval, and a record of what was done."""

from __future__ import annotations

import math
import warnings
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen._lib.batches import executed_rows
from mcgen._lib.checks import checked_level
from mcgen._lib.serialization import read_json, write_json
from mcgen.errors import CoverageWarning, warn_user
from mcgen.inference.efficiency import over_monte_carlo
from mcgen.inference.functional_intervals import Lengthened, Scale, interval_of_functional
from mcgen.inference.interval_input import Interval, IntervalInput
from mcgen.inference.methods import IntervalOptions, Method, SimultaneousMethod
from mcgen.inference.moments import Moments
from mcgen.inference.population import VarianceComponents
from mcgen.inference.quantile_sums import QuantileSum
from mcgen.inference.quantiles import Quantiles
from mcgen.inference.stopping import Stopping
from mcgen.results.figures.base import Components
from mcgen.results.figures.estimates import plot_estimate
from mcgen.results.formatted import formatted
from mcgen.results.frames import estimate_frame
from mcgen.results.inputs import CROSS_FITTED, STOPPED_BY_ITSELF, bets_for, input_of_run, input_of_sum
from mcgen.results.notes import with_marks
from mcgen.results.parts import n_intervals, no_subtraction, number_of_part
from mcgen.results.provenance import Provenance
from mcgen.results.saved import attributes_from_plain, compared, estimate_to_plain, require_fields
from mcgen.results.tables import estimate_table
from mcgen.results.text import estimate_html, estimate_line, summary_text

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from mcgen.results.figures.base import AxesLike


@dataclass(frozen=True, eq=False, repr=False)
class Estimate:
    """An estimate of E[score(generator(noise))] with its confidence interval; made by `estimate` and `difference`.

    It prints in one line, with a marked line for each warning. `summary` is the long form. Two estimates are equal
    when all their numbers and their provenance are equal; seconds and versions do not count.

    Attributes
    ----------
    mean : float, or ndarray of the statistic's component shape
        The estimate.
    standard_error : float or ndarray
        Its standard error, from the replicate means.
    interval : Interval
        The confidence interval, of the same shape: ``low, high = result.interval``.
    half_width : float or ndarray
        Half the width of the interval. It is exact also where the mean is far larger.
    degrees_of_freedom : float or ndarray
        R - 1 for R replicates, less the rank of cross-fitted controls. For an average over independent conditions, a
        sum of levels, and a difference of models on independent noise: those of Welch and Satterthwaite.
    confidence_level : float
        Such as 0.95.
    method : str
        The method that made the interval.
    names : tuple of str
        Names of the components.
    provenance : Provenance
        What was done.
    moments : Moments or None
        Moments of the replicate means. None for an average over independent conditions, a sum of levels, and a
        difference of models on independent noise.
    replicate_means, within : ndarray of shape (R, k), or None
        The replicate means, and the mean squared deviations inside each replicate, where they were kept. With controls
        the means are the corrected ones. `within` is adjusted so that both still add up to the variance of one value.
    parts : tuple of Estimate
        The estimates that it is made of: its `conditions`, its `levels` or its `models`. Empty for a single run.
    warnings : tuple of str
        What the run warned of. An average or a sum has one warning for all parts with a warning of a kind.
    skewness : float or ndarray, or None
        Skewness of the estimate: its third central moment over the cubed standard error. None in files of older
        versions.
    stopping : Stopping or None
        How a run by a tolerance, or with an interval for any time, ended. For an average over independent conditions:
        whether all reached their tolerance, and how each ended.
    boolean : tuple of bool
        Which components are boolean, so that their means are probabilities; empty where none is.
    weights : tuple of float
        The weights of the conditions in an average over independent conditions; empty for other estimates.
    bounds : tuple of tuple of two float
        Declared bounds of each component's values (`as_statistic`); empty where none are.
    plug_in : float or ndarray, or None
        A functional's value for all samples as they are. `mean` has the bias of second order removed. The
        `replicate_means` of a functional are jackknife pseudo-values.
    scale, quantiles : Scale, Lengthened, Quantiles, QuantileSum, or None
        What a functional's interval is made from: another scale, a distance, or inversion.
    samples : ndarray of shape (R, n_points, ...), or None
        The samples by replicate and point, with ``keep_samples=True``; not in files.
    variance_components : VarianceComponents or None
        With ``across="population"``: the variances between conditions and of the noise. The values of the conditions,
        or the means of their clusters, are then the replicate means.

    Examples
    --------
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: z**2, noise=(16,), name="square")
    >>> options = dict(design=mcgen.Antithetic(), n_evaluations=6400, seed=0)
    >>> result = mcgen.estimate(model, mcgen.statistics.pixel_mean, **options)
    >>> result
    1.004 ± 0.012 (95 % skewness-safe t, 3200 replicates of 2 points, Antithetic(), seed 0)
    >>> low, high = result.interval
    >>> low < result.mean < high, result.n_replicates
    (True, 3200)
    """

    mean: float | Floats
    standard_error: float | Floats
    interval: Interval
    half_width: float | Floats
    degrees_of_freedom: float | Floats
    confidence_level: float
    method: str
    names: tuple[str, ...]
    provenance: Provenance
    moments: Moments | None = None
    replicate_means: Floats | None = None
    within: Floats | None = None
    parts: tuple[Estimate, ...] = ()
    warnings: tuple[str, ...] = ()
    skewness: float | Floats | None = None
    stopping: Stopping | None = None
    boolean: tuple[bool, ...] = ()
    weights: tuple[float, ...] = ()
    bounds: tuple[tuple[float, float], ...] = ()
    plug_in: float | Floats | None = None
    scale: Scale | Lengthened | None = None
    quantiles: Quantiles | QuantileSum | None = None
    samples: NDArray[Any] | None = None
    variance_components: VarianceComponents | None = None

    @property
    def n_replicates(self) -> int:
        """Number of independent replicates, R."""
        return self.provenance.n_replicates

    @property
    def n_evaluations(self) -> int:
        """Number of samples in the estimate, R times the points of a replicate."""
        return self.provenance.n_evaluations

    @property
    def executed_evaluations(self) -> int:
        """Number of rows that the model ran for the estimate: `n_evaluations`, and the rows that fill its batches.

        For several conditions it is the sum of theirs. For levels it is their sum too, in evaluations of the finest
        generator. It follows from the batch size and the replicates alone. It does not include pilots, the few rows
        that test the laws of a generator, and rows that an interruption repeated.
        """
        if self.parts:
            costs = (part.executed_evaluations * part.provenance.cost for part in self.parts)
            return math.ceil(sum(costs) - 1e-9)
        p, first = self.provenance, self.provenance.first_replicate
        return executed_rows(range(first, first + p.n_replicates), p.batch_size, p.n_points)

    @property
    def conditions(self) -> tuple[Estimate, ...]:
        """The estimate of each condition, for an average over conditions; empty for any other estimate."""
        return self.parts if self.provenance.level is None and not self.models else ()

    @property
    def models(self) -> tuple[Estimate, ...]:
        """The estimates of models a and b, for their difference on independent noise; empty for any other estimate.

        An average over conditions has none of its own: ``result.conditions[i].models`` are those of a condition.
        """
        is_sum = self.provenance.model is None and any(part.provenance.model is not None for part in self.parts)
        return self.parts if is_sum else ()

    @property
    def levels(self) -> tuple[Estimate, ...]:
        """The estimate of each level, from coarse to fine, for a sum of levels; empty for any other estimate.

        An average over conditions has none of its own: ``result.conditions[i].levels`` are those of a condition.
        """
        return () if self.provenance.level is None else self.parts

    @property
    def strata(self) -> tuple[Estimate, ...]:
        """The old name of `conditions` and `levels`."""
        warnings.warn(
            "Estimate.strata is now Estimate.conditions, for an average over conditions, and Estimate.levels, for a "
            "sum of levels; the old name goes with the next release",
            DeprecationWarning,
            stacklevel=2,
        )
        return self.parts

    def __contains__(self, name: object) -> bool:
        """Return whether there is one condition, or one model, of this name."""
        try:
            self[name]
        except KeyError:
            return False
        return True

    def __getitem__(self, name: Any) -> Estimate:
        """Return the estimate of a condition by its name, or by the condition itself where it has none.

        A difference of models on independent noise returns that of a model by its name.

        Raises
        ------
        KeyError
            If there is no such condition or model, or there are several; the message lists the names.

        Examples
        --------
        >>> import mcgen
        >>> model = mcgen.as_generator(lambda z, shift: z + shift, noise=(4,), name="model")
        >>> options = dict(design=mcgen.Sobol(16), n_evaluations=640, seed=0, condition={"low": 0, "high": 2})
        >>> result = mcgen.estimate(model, mcgen.statistics.pixel_mean, **options)
        >>> result["high"].mean > result["low"].mean
        True
        """
        return self.parts[number_of_part(self, name)]

    def __sub__(self, other: object) -> NoReturn:
        raise TypeError(no_subtraction(other))

    __rsub__ = __sub__

    # Python would otherwise iterate by result[0], result[1] and so on.
    __iter__ = None

    @property
    def partial(self) -> bool:
        """Whether the run was interrupted."""
        return self.provenance.partial

    @property
    def shape(self) -> tuple[int, ...]:
        """Shape of the statistic's components, ``()`` for a single number."""
        return np.shape(self.mean)

    def with_interval(
        self,
        *,
        confidence_level: float | None = None,
        interval: Method | None = None,
        simultaneous: bool | SimultaneousMethod | None = None,
    ) -> Estimate:
        """Return the same estimate, and those of its conditions, with another interval, without another run.

        Parameters
        ----------
        confidence_level : float, optional
            The new level; by default the present one.
        interval : {"student-t", "normal", "skewness-safe-t", "skewness-adjusted-t", "bootstrap-t", "proportion", \
                "betting"}
            The method for each component alone; bootstrap-t and betting need kept replicate means.
        simultaneous : bool or {"skewness-safe", "bonferroni", "bootstrap-max-t", "gaussian-multiplier"}
            Whether the interval covers all components together, and by which method; see
            `mcgen.intervals.make_interval`. With neither this nor `interval` the method stays the present one.

        Warns
        -----
        CoverageWarning
            If the run stopped by its own numbers, and the interval is for a number of replicates that was fixed before.

        Examples
        --------
        >>> import numpy as np
        >>> import mcgen
        >>> generator = mcgen.as_generator(lambda z: np.exp(z / 4), noise=(16,), name="lognormal")
        >>> options = dict(design=mcgen.Antithetic(), n_evaluations=200, seed=0)
        >>> result = mcgen.estimate(generator, mcgen.statistics.pixel_mean, **options)
        >>> wider = result.with_interval(confidence_level=0.99)
        >>> wider.half_width > result.half_width
        True
        """
        level = self.confidence_level if confidence_level is None else checked_level(confidence_level)
        own = self._own_options(level)
        if interval is None and simultaneous is None:
            options = own
        else:
            kept = own.method if own.is_sequential else None
            options = IntervalOptions(level, interval or kept, simultaneous or False)
        return self._with_options(replace(options, shared_with=n_intervals(self)))

    def _with_options(self, options: IntervalOptions) -> Estimate:
        """Return the same estimate, and those it is made of, with the interval that the options ask for."""
        if self._dependent() and options.resamples:
            raise ValueError(CROSS_FITTED)
        if not options.is_sequential and self._stopped_by_itself():
            warn_user(STOPPED_BY_ITSELF, CoverageWarning)
        made, half_width, method = interval_of_functional(self._sampled(), options, self.scale, self.quantiles)
        level = options.confidence_level
        return replace(
            self,
            interval=shaped_interval(made, self.shape),
            half_width=shaped(half_width, self.shape),
            confidence_level=level,
            method=method,
            parts=tuple(part._with_options(part._suiting(options)) for part in self.parts),
        )

    def _suiting(self, options: IntervalOptions) -> IntervalOptions:
        """Return the options of a part: it keeps an interval that allows for its stop, or that of a quantile."""
        if self.stopping is not None:
            return replace(self._own_options(options.confidence_level), shared_with=options.shared_with)
        return options if self.quantiles is None else options.by_default()

    def _own_options(self, level: float) -> IntervalOptions:
        """Return the options that lead to the interval of this estimate again, at a level."""
        own = IntervalOptions.of_result(level, self.method)
        staged = self.stopping is not None and self.stopping.first_stage is not None
        if staged and own.method in (None, "proportion"):
            # The interval of a probability of a run in two stages allows for its stop, and has the same name.
            together: bool | SimultaneousMethod = "bonferroni" if self.method.startswith("bonferroni-") else False
            return replace(own, method="two-stage-t", simultaneous=together)
        return own

    def relative_efficiency(self, confidence_level: float | None = None) -> tuple[float | Floats, Interval]:
        """Return the efficiency of the design over Monte Carlo, estimated from this run alone, with its interval.

        See `mcgen.inference.efficiency.over_monte_carlo`; needs kept replicate means of one run.
        """
        if self.provenance.functional is not None:
            raise ValueError(
                f"relative_efficiency is of means, and this is a {self.provenance.functional}; use mcgen.compare, "
                "which runs it by several designs"
            )
        if self.replicate_means is None or self.within is None:
            raise ValueError(
                "relative_efficiency needs the replicate means of one run, which this estimate does not have; run it "
                "with keep_replicates=True (for an average over conditions ask its .conditions)"
            )
        level = self.confidence_level if confidence_level is None else checked_level(confidence_level)
        p = self.provenance
        value, made = over_monte_carlo(self.replicate_means, self.within, p.n_points, level, p.rounding)
        return shaped(value, self.shape), shaped_interval(made, self.shape)

    def to_frame(self) -> pd.DataFrame:
        """Return a table with a row for each component; those of each condition, level or model come first.

        Columns: level, model, condition, coefficient (where there are any), component, mean, standard_error, low,
        high, half_width, degrees_of_freedom, n_replicates, n_evaluations. The sum of coefficient times mean over the
        levels is the estimate.
        """
        return estimate_frame(self)

    def summary(self) -> str:
        """Return the long form: every component (the first and last of many), what was done, and the warnings."""
        return summary_text(self)

    def save(self, path: str | Path) -> None:
        """Write the estimate as JSON, from which `load` makes an equal one."""
        write_json("estimate", estimate_to_plain(self), path)

    @classmethod
    def load(cls, path: str | Path) -> Estimate:
        """Read an estimate that `save` wrote.

        Raises
        ------
        ValueError
            If the file holds something else, or was written by a newer schema.
        """
        return estimate_from_plain(read_json("estimate", path))

    def to_markdown(self) -> str:
        """Return a table for reading as Markdown: a row for each component, the parts first."""
        return estimate_table(self).markdown()

    def to_latex(self) -> str:
        """Return the same table as a LaTeX ``tabular``."""
        return estimate_table(self).latex()

    def plot(self, ax: AxesLike | None = None, *, components: Components | None = None) -> Figure:
        """Draw the estimate and its interval, and return the figure; needs matplotlib (the extra ``[plot]``).

        Each component has a row. An image is a map of the mean and one of the half-width. Conditions, levels and
        models have rows of their own; see `mcgen.results.figures.estimates.plot_estimate`. `ax` is one Axes for each
        panel. `components` is the first so many, or some names or numbers. `mcgen.plots.convergence` draws the
        estimate against the evaluations.
        """
        return plot_estimate(self, ax, components)

    def __str__(self) -> str:
        return with_marks(estimate_line(self), self.warnings)

    __repr__ = __str__

    def __format__(self, spec: str) -> str:
        """Return the mean and its half-width by a format of numbers, without the warnings; ``str`` for an empty one.

        The format is like ``.3f``, ``.2e``, ``.4g`` or ``.1%``, after an optional ``+`` and ``,``. An interval that is
        not symmetric to half a unit of the last digit shows its ends. A half-width that is not 0 shows as one unit of
        the last digit at least. Up to 6 components show one by one.

        Raises
        ------
        ValueError
            If it is another format.

        Examples
        --------
        >>> import mcgen
        >>> generator = mcgen.as_generator(lambda z: z + 1, noise=(16,), name="shifted")
        >>> options = dict(design=mcgen.MonteCarlo(), n_evaluations=1000, seed=0)
        >>> result = mcgen.estimate(generator, mcgen.statistics.pixel_mean, **options)
        >>> f"{result:.2f}"
        '1.00 ± 0.02'
        """
        return formatted(self, spec) if spec else str(self)

    def _repr_html_(self) -> str:
        return estimate_html(self)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Estimate):
            return NotImplemented
        return bool(compared(self) == compared(other))

    def __hash__(self) -> int:
        return hash((self.provenance.design, self.provenance.seed_text, self.n_replicates, self.names))

    def _stopped_by_itself(self) -> bool:
        """Return whether the replicate means decided, or may have decided, how many replicates there are."""
        # An average of several runs has no moments; its interval allows for how each run ended.
        stopping = None if self.moments is None else self.stopping
        return stopping is not None and (self.partial or stopping.atol is not None or stopping.rtol is not None)

    def _dependent(self) -> bool:
        """Return whether the replicate means share coefficients that were estimated from them."""
        kept = self.replicate_means
        return kept is not None and bool(np.any(np.ravel(self.degrees_of_freedom) < len(kept) - 1))

    def _sampled(self) -> IntervalInput:
        kept = None if self._dependent() else self.replicate_means
        if self.moments is not None:
            sampled = input_of_run(self.moments, kept, self.provenance, self.boolean, self.bounds)
        else:
            sampled = input_of_sum([part._sampled() for part in self.parts], self.weights, self.boolean)
        return replace(
            sampled,
            mean=np.ravel(self.mean),
            standard_error=np.ravel(self.standard_error),
            degrees_of_freedom=np.ravel(self.degrees_of_freedom),
            seed=self.provenance.seed,
            skewness=None if self.skewness is None else np.ravel(self.skewness),
            first_stage=None if self.stopping is None else self.stopping.first_stage,
            planned=None if self.stopping is None else self.stopping.planned,
            bets_for=bets_for(self.stopping),
        )


def shaped(values: Any, shape: tuple[int, ...]) -> float | Floats:
    """Return flat values in the statistic's shape: a float for a single number."""
    return float(np.reshape(values, ())) if shape == () else np.reshape(values, shape)


def shaped_interval(interval: Interval, shape: tuple[int, ...]) -> Interval:
    """Return an interval of flat values in the statistic's shape."""
    return Interval(shaped(interval.low, shape), shaped(interval.high, shape))


def estimate_from_plain(content: dict[str, Any]) -> Estimate:
    """Return the estimate whose fields `estimate_to_plain` gave; ValueError where they are others."""
    try:
        parts = tuple(estimate_from_plain(part) for part in content["strata"])
        made = Estimate(**attributes_from_plain(content), parts=parts)
        require_fields(made)
        return made
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(
            f"the saved estimate is incomplete, or was changed by hand or by another version ({error!r}); save it again"
        ) from error
