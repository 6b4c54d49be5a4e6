"""The result of `pairs`: distributions of measures over pairs, tests, and what the pairs are worth."""

from __future__ import annotations

import html
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen._lib.serialization import read_json, write_json
from mcgen.analysis.pair_arguments import ALL
from mcgen.analysis.pair_tests import Difference, holm
from mcgen.inference.efficiency import FEWEST_FOR_JACKKNIFE, log_variance, over_monte_carlo
from mcgen.inference.functional_intervals import summed
from mcgen.inference.interval_input import IntervalInput
from mcgen.inference.intervals import make_interval
from mcgen.results.figures.profiles import plot_histograms
from mcgen.results.provenance import percent_of
from mcgen.results.tables import Table
from mcgen.results.text import component_text, frame_html

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from mcgen.results.figures.base import AxesLike

_QUARTILES = (0.0, 25.0, 75.0, 100.0)


@dataclass(frozen=True)
class About:
    """What was done for an analysis of pairs.

    Attributes
    ----------
    generator, noise, seed_text : str
        As in the `Provenance` of an estimate.
    statistic, condition : str or None
        Name of the statistic, and names of the conditions.
    n_evaluations : int
        Samples that the model made.
    centre : str
        As for `pairs`.
    of_errors : bool
        Whether correlations are those of errors to a reference.
    """

    generator: str
    statistic: str | None
    noise: str
    seed_text: str
    condition: str | None
    n_evaluations: int
    centre: str
    of_errors: bool


@dataclass(frozen=True, eq=False, repr=False)
class PairAnalysis:
    """How alike the two samples of a pair are, by kind of pair and measure; made by `pairs`.

    Attributes
    ----------
    about : About
        What was done.
    conditions : tuple of str
        Names of the conditions; empty where there is one.
    kinds, measures : tuple of str
        Their names.
    values : dict of (str, str) to ndarray of shape (conditions, n)
        The measure of each pair, by kind and measure; NaN where it is not defined.
    paired : bool
        Whether the kinds share their first samples.
    confidence_level : float
        Of all intervals.
    components : tuple of str
        Names of the statistic's components; empty without a statistic.
    of_statistic : dict of str to ndarray of shape (conditions, n, 2, k)
        The statistic of both samples of each pair, by kind.
    rounding : float
        Relative rounding error of the samples.
    influence : dict of (str, str) to ndarray of shape (conditions, n)
        What each pair adds to the mean of centralized correlations by its part in the mean sample, by kind and
        measure.

    Examples
    --------
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: 1 / (1 + 2.7**-z), noise=(8, 8), name="pixels")
    >>> found = mcgen.analysis.pairs(model, n_pairs=50, seed=0, measures=["centralized"])
    >>> found.kinds, bool(found.test()["p"][0] < 1e-6)
    (('negated', 'independent'), True)
    """

    about: About
    conditions: tuple[str, ...]
    kinds: tuple[str, ...]
    measures: tuple[str, ...]
    values: Mapping[tuple[str, str], Floats]
    paired: bool
    confidence_level: float
    components: tuple[str, ...] = ()
    of_statistic: Mapping[str, Floats] = field(default_factory=dict)
    rounding: float = 2.0**-52
    influence: Mapping[tuple[str, str], Floats] = field(default_factory=dict)

    @property
    def provenance(self) -> About:
        """What was done."""
        return self.about

    @property
    def warnings(self) -> tuple[str, ...]:
        """The numbers of pairs that are not counted, with the reason."""
        found = []
        for (kind, measure), values in self.values.items():
            n = int(np.isnan(values).sum())
            if n:
                own = measure in ("standard", "centralized")
                why = "a sample is constant but for rounding" if own else "it is NaN"
                found.append(f"{n} of {values.size} {kind} pairs are left out of {measure}: {why}")
        return tuple(found)

    def to_frame(self) -> pd.DataFrame:
        """Return a table with a row for each condition, kind and measure, and for all conditions together.

        Columns: condition (where there are several), kind, measure, n, mean, sd, least, lower_quartile, upper_quartile,
        greatest (the paper's five numbers), standard_error, low, high (the interval of the mean).
        """
        import pandas as pd

        rows = []
        for (kind, measure), values in self.values.items():
            terms = self._terms(kind, measure)
            own = [*zip(self.conditions, values[:, None], terms[:, None], strict=False), (ALL, values, terms)]
            for label, part, added in own:
                rows.append({"condition": label, "kind": kind, "measure": measure, **self._row(part, added)})
        frame = pd.DataFrame(rows)
        return frame if self.conditions else frame.drop(columns="condition")

    def _terms(self, kind: str, measure: str) -> Floats:
        """Return the measure of each pair and what it adds besides: independent terms, whose mean is the measure's."""
        return np.asarray(self.values[kind, measure] + self.influence.get((kind, measure), 0.0))

    def _row(self, values: Floats, terms: Floats) -> dict[str, Any]:
        """Return the numbers of some pairs under one or several conditions, which count alike."""
        flat = values[np.isfinite(values)]
        mean, error, low, high = self._interval([one[np.isfinite(one)] for one in terms])
        quartiles = np.percentile(flat, _QUARTILES)
        names = ("least", "lower_quartile", "upper_quartile", "greatest")
        return {
            "n": len(flat),
            "mean": mean,
            "sd": float(flat.std(ddof=1)),
            **dict(zip(names, quartiles.tolist(), strict=True)),
            "standard_error": error,
            "low": low,
            "high": high,
        }

    def _interval(self, each: Sequence[Floats]) -> tuple[float, float, float, float]:
        """Return the average over conditions of the mean over pairs, its standard error and its interval."""
        parts = [one[:, None] / len(each) for one in each]
        found = summed(parts)
        sampled = IntervalInput(
            found.mean, found.standard_error, found.degrees_of_freedom, None, 0, skewness=found.skewness
        )
        interval, _ = make_interval(sampled, self.confidence_level)
        low, high = np.asarray(interval.low), np.asarray(interval.high)
        return float(found.mean[0]), float(found.standard_error[0]), float(low[0]), float(high[0])

    def test(self) -> pd.DataFrame:
        """Return tests that the mean of each measure is that of the last kind; a row for each measure and other kind.

        They are Welch's t-tests, or paired ones where first samples are shared. Conditions are strata with equal
        weights. Columns: measure, kind, against, difference, its interval (low, high), t, degrees_of_freedom, p,
        log10_p (also where p is too small for a number) and holm: the p-value that allows for all tests of the table
        (S. Holm, 1979, Scand. J. Statist. 6, 65-70).

        Raises
        ------
        ValueError
            If there is one kind alone.
        """
        import pandas as pd

        if len(self.kinds) < 2:
            raise ValueError(
                f"a test is between kinds of pairs; got {self.kinds[0]!r} alone. Give two, such as "
                "kinds=('negated', 'independent')"
            )
        *others, last = self.kinds
        rows = [
            {"measure": measure, "kind": kind, "against": last, **self._tested(kind, last, measure)}
            for measure in self.measures
            for kind in others
        ]
        frame = pd.DataFrame(rows)
        frame["holm"] = holm(frame["p"].to_numpy())
        return frame

    def _tested(self, kind: str, against: str, measure: str) -> dict[str, float]:
        a, b = self._terms(kind, measure), self._terms(against, measure)
        return self._difference(a, b, f"test of {measure}").tested(self.confidence_level)

    def _difference(self, a: Floats, b: Floats, what: str) -> Difference:
        """Return the difference of means of two kinds (conditions, n); conditions are strata of equal weights."""
        weight = 1 / len(a)
        if self.paired:
            samples = [weight * one[np.isfinite(one)] for one in a - b]
        else:
            samples = [sign * weight * one[np.isfinite(one)] for sign, part in ((1, a), (-1, b)) for one in part]
        fewest = min(map(len, samples))
        if fewest < 2:
            raise ValueError(
                f"a {what} needs 2 pairs under each condition for which both kinds have it; got {fewest}. Use more "
                "pairs, or leave share_first out"
            )
        return Difference.of(samples, float(np.nanmax(np.abs([a, b]))))

    def efficiencies(self) -> pd.DataFrame:
        """Return the efficiency of the pairs over Monte Carlo for the statistic, by kind and component.

        Columns: kind, component, correlation (of the statistic in a pair), predicted and measured, each with its
        interval. predicted is 1 / (1 + correlation) from the kind's own pairs (predicted_low, predicted_high).
        measured is the ratio of the variances of pair means, those of the last kind over the kind's (measured_low,
        measured_high), as `mcgen.compare` measures it.

        Raises
        ------
        ValueError
            If no statistic was given, or there are fewer than 5 pairs of a kind.
        """
        import pandas as pd

        if not self.of_statistic:
            raise ValueError("efficiencies need a statistic: pairs(..., statistic=mcgen.statistics.brightness)")
        if self._n_pairs < FEWEST_FOR_JACKKNIFE:
            raise ValueError(f"{_few(self._n_pairs)}. Use a larger n_pairs, or more conditions")
        return pd.DataFrame([row for kind in self.kinds for row in self._efficiency_rows(kind)])

    @property
    def _n_pairs(self) -> int:
        """Number of pairs of each kind, under all conditions."""
        return int(self.values[self.kinds[0], self.measures[0]].size)

    def _efficiency_rows(self, kind: str) -> list[dict[str, Any]]:
        last = self.kinds[-1]
        means, within = (self._pair_moments(one) for one in (kind, last))
        over, interval = over_monte_carlo(*means, 2, self.confidence_level, self.rounding)
        log = log_variance(*within, self.rounding).minus(log_variance(*means, self.rounding))
        measured, ends = log.exp(self.confidence_level, (1.0, 1.0))
        columns = (over, *interval, measured, *ends)
        names = ("predicted", "predicted_low", "predicted_high", "measured", "measured_low", "measured_high")
        rows = []
        for j, component in enumerate(self.components):
            numbers = dict(zip(names, (float(np.ravel(one)[j]) for one in columns), strict=True))
            if kind == last:
                numbers |= {"measured": 1.0, "measured_low": 1.0, "measured_high": 1.0}
            correlation = 1 / numbers["predicted"] - 1
            rows.append({"kind": kind, "component": component, "correlation": correlation, **numbers})
        return rows

    def _pair_moments(self, kind: str) -> tuple[Floats, Floats]:
        """Return pair means about the mean of their condition, and mean squared deviations inside pairs, (n, k).

        Each condition takes a degree of freedom, and what uses them knows of one in all: the deviations are stretched.
        All have the average of the conditions' means, which shows on which scale they are rounded.
        """
        values = self.of_statistic[kind]
        c, n, _, k = values.shape
        means = values.mean(axis=2)
        within = values.var(axis=2)
        centre = means.mean(axis=1, keepdims=True)
        stretched = (means - centre) * math.sqrt((c * n - 1) / (c * n - c)) + centre.mean(axis=0)
        return stretched.reshape(-1, k), within.reshape(-1, k)

    def equivalence(self, margin: float | Sequence[float]) -> pd.DataFrame:
        """Return tests that the mean of the statistic differs from that of the last kind by less than a margin.

        A test of a difference that does not reject proves nothing. Two one-sided t-tests [1]_ of pair means do: a
        small p shows that the means differ by less than the margin. They are Welch's, or paired where first samples
        are shared; conditions are strata with equal weights. Columns: kind, component, difference, its interval (low,
        high), margin, p. The interval has level 1 - 2 (1 - confidence_level): it lies inside the margin where p < 1 -
        confidence_level.

        Parameters
        ----------
        margin : float, or one for each component
            The difference that does not matter, above 0.

        Raises
        ------
        ValueError
            If there is no statistic or one kind alone, or the margin is not above 0.

        References
        ----------
        .. [1] D. J. Schuirmann (1987). A comparison of the two one-sided tests procedure and the power approach. J.
           Pharmacokin. Biopharm. 15, 657-680.
        """
        import pandas as pd

        given = np.asarray(margin)
        fits = given.dtype.kind in "iuf" and given.shape in ((), (len(self.components),)) and bool((given > 0).all())
        if not self.of_statistic or len(self.kinds) < 2 or not fits:
            raise ValueError(
                "equivalence needs a statistic, two kinds of pairs and a margin above 0, or one for each component; "
                f"got {len(self.components)} components, {len(self.kinds)} kinds and margin={margin!r}"
            )
        margins = np.broadcast_to(given.astype(np.float64), len(self.components))
        *others, last = self.kinds
        rows = []
        for kind in others:
            for j, component in enumerate(self.components):
                a, b = (self.of_statistic[one][..., j].mean(axis=2) for one in (kind, last))
                found = self._difference(a, b, "test of equivalence")
                low, high = found.interval(1 - 2 * (1 - self.confidence_level))
                p = found.equivalence(float(margins[j]))
                numbers = {"difference": found.value, "low": low, "high": high, "margin": margins[j], "p": p}
                rows.append({"kind": kind, "component": component, **numbers})
        return pd.DataFrame(rows)

    def readable(self) -> pd.DataFrame:
        """Return the table for reading: a row for each measure, the mean (sd) and its interval for each kind."""
        import pandas as pd

        frame = self.to_frame()
        rows = []
        for label in [*self.conditions, ALL]:
            for measure in self.measures:
                row = {"condition": label, "measure": measure}
                for kind in self.kinds:
                    chosen = frame[(frame["kind"] == kind) & (frame["measure"] == measure)]
                    one = chosen[chosen["condition"] == label].iloc[0] if self.conditions else chosen.iloc[0]
                    text = component_text(one["mean"], one["low"], one["high"], (one["high"] - one["low"]) / 2)
                    row[kind] = f"{text} (sd {one['sd']:.2g})"
                rows.append(row)
        found = pd.DataFrame(rows)
        return found if self.conditions else found.drop(columns="condition")

    def summary(self) -> str:
        """Return the long form: the table, the tests, the efficiencies of the pairs, and the warnings."""
        a = self.about
        lines = [str(self)]
        if len(self.kinds) > 1:
            tests = self.test()
            for _, row in tests.iterrows():
                p = f"p = {row['p']:.2g}" if row["p"] > 0 else f"p = 10^{row['log10_p']:.0f}"
                lines.append(
                    f"{row['measure']}: {row['kind']} less {row['against']} {row['difference']:.3g} "
                    f"[{row['low']:.3g}, {row['high']:.3g}], t = {row['t']:.3g}, {p} (Holm {row['holm']:.2g})"
                )
        lines += [f"noise {a.noise}", f"seed {a.seed_text}", f"samples {a.n_evaluations:,}"]
        return "\n".join(lines)

    def plot(self, ax: AxesLike | None = None) -> Figure:
        """Draw the histograms of each measure, the kinds over one another, a panel a measure; needs matplotlib.

        Lines mark the means. `ax` is one Axes for each measure.
        """
        n_pairs = self.values[self.kinds[0], self.measures[0]].size
        return plot_histograms(self.values, self.kinds, self.measures, f"{self.about.generator}: {n_pairs} pairs", ax)

    def to_markdown(self) -> str:
        """Return the table for reading (`readable`) as Markdown."""
        return Table.of_frame(self.readable()).markdown()

    def to_latex(self) -> str:
        """Return the table for reading (`readable`) as a LaTeX ``tabular``."""
        return Table.of_frame(self.readable()).latex()

    def save(self, path: str | Path) -> None:
        """Write the analysis as JSON, from which `load` makes an equal one."""
        write_json("pairs", self._to_plain(), path)

    def _to_plain(self) -> dict[str, Any]:
        return {
            "about": asdict(self.about),
            "conditions": self.conditions,
            "kinds": self.kinds,
            "measures": self.measures,
            "values": [[kind, measure, values] for (kind, measure), values in self.values.items()],
            "paired": self.paired,
            "confidence_level": self.confidence_level,
            "components": self.components,
            "of_statistic": dict(self.of_statistic),
            "rounding": self.rounding,
            "influence": [[kind, measure, values] for (kind, measure), values in self.influence.items()],
        }

    @classmethod
    def load(cls, path: str | Path) -> PairAnalysis:
        """Read an analysis that `save` wrote.

        Raises
        ------
        ValueError
            If the file holds something else, is incomplete, or was written by a newer schema.
        """
        content = read_json("pairs", path)
        try:
            own = {name: tuple(content[name]) for name in ("conditions", "kinds", "measures", "components")}
            return cls(
                about=About(**content["about"]),
                **own,
                values={(kind, measure): np.asarray(values) for kind, measure, values in content["values"]},
                paired=bool(content["paired"]),
                confidence_level=float(content["confidence_level"]),
                of_statistic={name: np.asarray(one) for name, one in content["of_statistic"].items()},
                rounding=float(content["rounding"]),
                influence={(kind, measure): np.asarray(values) for kind, measure, values in content["influence"]},
            )
        except (KeyError, TypeError, ValueError) as error:
            raise ValueError(
                f"the saved analysis is incomplete, or was changed by hand or by another version ({error!r})"
            ) from error

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, PairAnalysis):
            return NotImplemented
        plain, theirs = self._to_plain(), other._to_plain()
        arrays = ("values", "of_statistic", "influence")
        same = all(plain[name] == theirs[name] for name in plain if name not in arrays)
        return same and all(_equal(getattr(self, name), getattr(other, name)) for name in arrays)

    def __hash__(self) -> int:
        return hash((self.about, self.kinds, self.measures))

    def __str__(self) -> str:
        a = self.about
        what = "errors to the reference" if a.of_errors else "samples"
        level = percent_of(self.confidence_level)
        lines = [
            f"{a.generator}: {self._n_pairs} pairs of {what} of each kind, {level} intervals of means",
            self.readable().to_string(index=False),
        ]
        return "\n".join([*lines, *self._efficiency_lines(), *(f"! {text}" for text in self.warnings)])

    def _efficiency_lines(self) -> Iterator[str]:
        """Yield in words what the kinds of pairs but the last are worth for each component."""
        if not self.of_statistic:
            return
        if self._n_pairs < FEWEST_FOR_JACKKNIFE:
            yield _few(self._n_pairs)
            return
        for row in self.efficiencies().to_dict("records"):
            name, kind, last = row["component"], row["kind"], self.kinds[-1]
            if kind == last:
                continue
            if math.isnan(row["predicted"]):
                yield f"{name}: no efficiency of {kind} pairs, whose means vary by rounding alone"
                continue
            text = (
                f"{name}: correlation {row['correlation']:.3g} in {kind} pairs, worth {row['predicted']:.3g} "
                f"[{row['predicted_low']:.3g}, {row['predicted_high']:.3g}] times Monte Carlo"
            )
            if not math.isnan(row["measured"]):
                text += (
                    f"; measured against {last} pairs {row['measured']:.3g} "
                    f"[{row['measured_low']:.3g}, {row['measured_high']:.3g}]"
                )
            yield text

    __repr__ = __str__

    def _repr_html_(self) -> str:
        notes = "".join(f"<p>{html.escape(text)}</p>" for text in self.warnings)
        return f"<p>{html.escape(self.about.generator)}</p>{frame_html(self.readable())}{notes}"


def _few(n: int) -> str:
    return f"what pairs are worth needs {FEWEST_FOR_JACKKNIFE} pairs of each kind; got {n}"


def _equal(a: Mapping[Any, Floats], b: Mapping[Any, Floats]) -> bool:
    return a.keys() == b.keys() and all(np.array_equal(a[name], b[name], equal_nan=True) for name in a)
