"""A plan: what a pilot found, what was chosen, and the run of it."""

from __future__ import annotations

import html
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen._lib.names import name_of
from mcgen.designs import Antithetic
from mcgen.errors import CoverageWarning, warn_user, with_partial
from mcgen.inference.interval_input import Interval
from mcgen.replicates.sizes import checked_batch_size
from mcgen.replicates.task import Estimand
from mcgen.results.estimate import Estimate
from mcgen.results.text import frame_html
from mcgen.runs.execution import run_single
from mcgen.runs.options import RunOptions
from mcgen.variance_reduction.levels.sum_of_levels import SumOfLevels, levels_of
from mcgen.variance_reduction.planning.predictions import LEGEND, Candidate, efficiencies, geometric_mean

if TYPE_CHECKING:
    import pandas as pd

# The normal quantile that 80 % intervals reach to.
_Z = 1.2815515594600038
_COLUMNS = ["candidate", "component", "replicates", "evaluations", "half_width", "low", "high"]
_COLUMNS += ["efficiency", "known_from", "chosen"]
_SHOWN = 6
# Times the variance that a correlation says; 25 pairs scatter less.
_FAR_OFF = 4.0


@dataclass(frozen=True, eq=False, repr=False)
class Plan:
    """What a pilot found, and the way of spending the evaluations that was chosen; made by `plan`.

    Attributes
    ----------
    candidates : tuple of Candidate
        All that were weighed.
    chosen : Candidate
        The one that `estimate` runs.
    pilot_evaluations : int
        What the pilot cost.
    reasons : tuple of str
        Why, in words.
    names : tuple of str
        Of the components; none where there was no pilot.
    correlations : tuple of ndarray of shape (k,)
        Of antithetic pair means of the generator and of each coarse one in the pilot.
    """

    candidates: tuple[Candidate, ...]
    chosen: Candidate
    pilot_evaluations: int
    reasons: tuple[str, ...]
    names: tuple[str, ...]
    correlations: tuple[Floats, ...]
    _estimand: Estimand
    _options: RunOptions

    @property
    def n_evaluations(self) -> int:
        """What pilot and run cost together, in evaluations of the generator: whole replicates."""
        return self.pilot_evaluations + self.chosen.n_evaluations

    @property
    def half_width(self) -> Floats:
        """The half-width that is predicted, of each component; of no use where there was no pilot."""
        return self.chosen.half_width

    @property
    def prediction(self) -> Interval:
        """The 80 % prediction interval of each component's half-width."""
        spread = np.exp(_Z * self.chosen.error)
        return Interval(self.half_width / spread, self.half_width * spread)

    def estimate(self) -> Estimate:
        """Run what was chosen, on random numbers that the pilot did not use."""
        try:
            made = self._run()
        except Exception as error:
            part: Estimate | None = getattr(error, "partial", None)
            if part is not None:
                with_partial(error, self._told(part))
            raise
        return self._told(made)

    def _run(self) -> Estimate:
        chosen, estimand = self.chosen, self._estimand
        if chosen.coarse is None:
            design, count = chosen.designs[0], chosen.n_replicates[0]
            task = estimand.task(design, checked_batch_size(self._options.batch_size, design.n_points, count))
            return run_single(task, replace(self._options, controls=chosen.controls), count)
        assert chosen.coefficients is not None
        generators = [(chosen.coarse.generator, chosen.coarse.cost), (estimand.generator, 1.0)]
        levels = SumOfLevels(levels_of(generators, chosen.designs), [chosen.coefficients], chosen.n_replicates, 0)
        made = levels.run(estimand, self._options)
        return made if self.names else _with_check(made, chosen.coefficients)

    def _told(self, made: Estimate) -> Estimate:
        """Return an estimate that says what its plan cost and why."""
        told = replace(made.provenance, pilot_evaluations=self.pilot_evaluations, plan="; ".join(self.reasons))
        return replace(made, provenance=told)

    def to_frame(self) -> pd.DataFrame:
        """Return a table with a row a candidate and component.

        Columns: candidate, component, replicates, evaluations, half_width, its prediction interval (low, high),
        efficiency (over antithetic pairs: the squared ratio of half-widths), known_from, chosen.
        """
        import pandas as pd

        pairs = self._pairs()
        rows = []
        for one in self.candidates:
            spread = np.exp(_Z * one.error)
            efficiency = efficiencies(one, pairs)
            for j, component in enumerate(self.names):
                rows.append(
                    {
                        "candidate": one.name,
                        "component": component,
                        "replicates": " + ".join(map(str, one.n_replicates)),
                        "evaluations": one.n_evaluations,
                        "half_width": one.half_width[j],
                        "low": one.half_width[j] / spread[j],
                        "high": one.half_width[j] * spread[j],
                        "efficiency": efficiency[j],
                        "known_from": one.known_from,
                        "chosen": one is self.chosen,
                    }
                )
        return pd.DataFrame(rows, columns=_COLUMNS)

    def readable(self) -> pd.DataFrame:
        """Return the table for reading: a row a candidate; of more than 6 components only the mean and the least."""
        import pandas as pd

        pairs = self._pairs()
        rows = []
        for one in self.candidates:
            efficiency = efficiencies(one, pairs)
            row = {"": "->" if one is self.chosen else "", "candidate": one.name}
            row |= {"replicates": " + ".join(map(str, one.n_replicates)), "evaluations": f"{one.n_evaluations:,}"}
            if len(self.names) <= _SHOWN:
                row |= {name: f"{value:.2g}" for name, value in zip(self.names, efficiency, strict=True)}
            if len(self.names) > 1:
                row |= {"overall": f"{geometric_mean(efficiency):.2g}", "least": f"{efficiency.min():.2g}"}
            rows.append(row | {"known from": one.known_from})
        return pd.DataFrame(rows)

    def _pairs(self) -> Candidate:
        return next(one for one in self.candidates if one.designs == (Antithetic(),) and one.controls is None)

    def __str__(self) -> str:
        generator, statistic = name_of(self._estimand.generator), name_of(self._estimand.statistic)
        lines = [
            f"{generator}, {statistic}: {self.n_evaluations:,} evaluations, of these {self.pilot_evaluations:,} in the "
            "pilot"
        ]
        if self.names:
            lines += [
                "efficiency over antithetic pairs, by width, of each component:",
                self.readable().to_string(index=False),
                LEGEND,
            ]
        lines += self.reasons
        if self.names:
            ends = np.stack([self.half_width, self.prediction.low, self.prediction.high], axis=1)
            parts = zip(self.names[:_SHOWN], ends.tolist(), strict=False)
            told = ", ".join(f"{name} {middle:.2g} [{low:.2g}, {high:.2g}]" for name, (middle, low, high) in parts)
            lines.append(f"predicted half-width [80 % prediction interval]: {told}")
        return "\n".join(lines)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        table = frame_html(self.readable()) + f"<p>{LEGEND}</p>" if self.names else ""
        return table + "".join(f"<p>{html.escape(reason)}</p>" for reason in self.reasons)


def _with_check(made: Estimate, correlation: Floats) -> Estimate:
    """Warn where the levels do not vary as the correlation that was given says they should."""
    below, above = (np.ravel(part.standard_error) ** 2 * part.n_replicates for part in made.levels)
    if not (above > _FAR_OFF * np.maximum(1 - correlation**2, 0.01) * below).any():
        return made
    text = (
        "the difference of the levels varies far more than the correlation that was given says: the coarse generator "
        "follows the fine one less, or its pair means vary otherwise. Antithetic pairs may do better; look at the "
        "correlations and the choice of mcgen.plan with 1,000 evaluations or more"
    )
    warn_user(text, CoverageWarning)
    return replace(made, warnings=(*made.warnings, text))
