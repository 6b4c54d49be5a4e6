"""`compare`: several designs on the same work, with the efficiency of each and how sure that is."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mcgen.arguments import checked_replicates
from mcgen.designs import Design, MonteCarlo
from mcgen.efficiency import LogEstimate, log_variance
from mcgen.estimates import Estimate, estimate_from_plain, estimate_to_plain
from mcgen.estimation import estimate
from mcgen.generators import Generator
from mcgen.moments import Floats
from mcgen.plot import plot_comparison
from mcgen.random import Seed
from mcgen.serialization import read_json, write_json
from mcgen.statistics import Statistic
from mcgen.text import component_text, frame_html

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure


@dataclass(frozen=True, repr=False)
class Comparison:
    """Estimates of the same quantity by several designs; made by `compare`.

    Attributes
    ----------
    estimates : tuple of Estimate
        One a design, on independent random numbers.
    baseline : int
        Which of them the efficiencies are relative to.
    """

    estimates: tuple[Estimate, ...]
    baseline: int

    def to_frame(self) -> pd.DataFrame:
        """Return a table with a row a design and component.

        Columns beside those of `Estimate.to_frame`: ``relative_efficiency`` (the ratio of the variances at equal
        evaluations) with its interval ``efficiency_low``, ``efficiency_high``; ``relative_efficiency_width`` (the
        squared ratio of the intervals' widths, in which the t quantile of few replicates counts);
        ``seconds_per_evaluation``; ``efficiency_per_second`` (the ratio of variance times seconds). All are NaN where
        the replicate means do not vary.
        """
        import pandas as pd

        base = self.estimates[self.baseline]
        return pd.concat([_rows(one, base) for one in self.estimates], ignore_index=True)

    def save(self, path: str | Path) -> None:
        """Write the comparison as JSON, from which `load` makes an equal one."""
        parts = [estimate_to_plain(one) for one in self.estimates]
        write_json("comparison", {"baseline": self.baseline, "estimates": parts}, path)

    @classmethod
    def load(cls, path: str | Path) -> Comparison:
        """Read a comparison that `save` wrote; ValueError for another file or a newer schema."""
        content = read_json("comparison", path)
        return cls(tuple(estimate_from_plain(part) for part in content["estimates"]), content["baseline"])

    def plot(self) -> Figure:
        """Draw each design's interval; needs matplotlib (the extra ``[plot]``)."""
        return plot_comparison(self)

    def __str__(self) -> str:
        p = self.estimates[self.baseline].provenance
        head = (
            f"E[{p.statistic}({p.generator}(noise))], {p.n_evaluations:,} evaluations a design, seed {p.seed_text}\n"
            f"efficiency: evaluations of {p.design} that one evaluation is worth, with its "
            f"{100 * self.estimates[0].confidence_level:g} % interval; in width: by the squared ratio of the widths\n"
        )
        return head + self.readable().to_string(index=False)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return frame_html(self.readable())

    def readable(self) -> pd.DataFrame:
        """Return the table for reading: rounded, as text, grouped by component."""
        import pandas as pd

        frame = self.to_frame()
        order = {name: i for i, name in enumerate(self.estimates[0].names)}
        frame = frame.sort_values("component", key=lambda names: names.map(order), kind="stable")
        rows = [
            {
                "component": row["component"],
                "design": row["design"],
                "replicates": f"{row['n_replicates']} x {row['n_points']}",
                "mean": component_text(row["mean"], row["low"], row["high"]),
                "efficiency": _efficiency_text(row),
                "in width": f"{row['relative_efficiency_width']:.3g}",
                "ms/evaluation": f"{1e3 * row['seconds_per_evaluation']:.3g}",
                "per second": f"{row['efficiency_per_second']:.3g}",
            }
            for _, row in frame.iterrows()
        ]
        return pd.DataFrame(rows)


def compare(
    generator: Generator,
    statistic: Statistic,
    *,
    designs: Sequence[Design],
    n_evaluations: int,
    seed: Seed,
    baseline: int | None = None,
    **options: Any,
) -> Comparison:
    """Estimate the same quantity by several designs at equal numbers of evaluations.

    Parameters
    ----------
    generator, statistic
        As for `estimate`.
    designs : sequence of Design
        All different; their random numbers are independent. Each needs 5 replicates or more for its efficiency.
    n_evaluations : int
        For each design; a multiple of the points of each.
    seed : int or SeedSequence
        As for `estimate`.
    baseline : int, optional
        Which design the efficiencies are relative to; by default ``MonteCarlo()`` where it is there, else the first.
    **options
        The other arguments of `estimate`. Conditions in a list need ``common_random_numbers=True``.

    Returns
    -------
    Comparison
        If interrupted from the keyboard, that of the designs that are finished.

    Raises
    ------
    TypeError, ValueError
        As for `estimate`, before any design is run; also for designs that repeat.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> generator = mcgen.as_generator(np.exp, noise=(4,), name="lognormal")
    >>> designs = [mcgen.MonteCarlo(), mcgen.Antithetic(), mcgen.Sobol(32)]
    >>> table = mcgen.compare(generator, mcgen.statistics.pixel_mean, designs=designs, n_evaluations=3200, seed=0)
    >>> table.to_frame()["relative_efficiency"].round(1).tolist()
    [1.0, 1.5, 10.3]
    """
    designs = tuple(designs)
    if len(designs) < 1 or len({str(design) for design in designs}) < len(designs):
        raise ValueError(f"compare needs one or more designs, all different; got {[str(design) for design in designs]}")
    for design in designs:
        # One point of one replicate: what a design can't do, it says here; what it sets up once, no timing counts.
        design.draw(generator.noise, 1, seed, points=range(1))
        count = checked_replicates(design, n_evaluations, None)
        if count < 5:
            raise ValueError(
                f"an efficiency needs at least 5 replicates; got {count} of {design} in {n_evaluations} evaluations. "
                f"Use {5 * design.n_points} or more evaluations, or fewer points"
            )
    if isinstance(options.get("condition"), list) and not options.get("common_random_numbers"):
        raise ValueError(
            "the average over independent conditions has no replicate means to compare designs by; pass "
            "common_random_numbers=True, or compare one condition at a time"
        )
    if baseline is None:
        baseline = designs.index(MonteCarlo()) if MonteCarlo() in designs else 0
    if not 0 <= baseline < len(designs):
        raise ValueError(f"baseline must be the number of a design, from 0 to {len(designs) - 1}; got {baseline}")
    return _run_all(generator, statistic, designs, baseline, n_evaluations=n_evaluations, seed=seed, **options)


def _run_all(
    generator: Generator, statistic: Statistic, designs: tuple[Design, ...], baseline: int, **options: Any
) -> Comparison:
    done: list[Estimate] = []
    # The baseline first, so that an interrupted comparison still has it.
    order = [baseline, *(number for number in range(len(designs)) if number != baseline)]
    for number in order:
        try:
            made = estimate(generator, statistic, design=designs[number], **options)
        except KeyboardInterrupt:
            made = None
        if made is not None and not made.partial:
            done.append(made)
            continue
        if not done:
            raise KeyboardInterrupt
        break
    finished = sorted(zip(order, done, strict=False), key=lambda pair: pair[0])
    return Comparison(tuple(one for _, one in finished), [number for number, _ in finished].index(baseline))


def _rows(one: Estimate, base: Estimate) -> pd.DataFrame:
    frame = one.to_frame() if not one.strata else one.to_frame().tail(len(one.names)).reset_index(drop=True)
    frame.insert(0, "design", one.provenance.design)
    frame.insert([*frame.columns].index("n_replicates"), "n_points", one.provenance.n_points)
    if one is base:
        value, low, high = (np.ones(len(frame)) for _ in range(3))
    else:
        value, interval = _log_work(base).minus(_log_work(one)).exp(one.confidence_level)
        low, high = np.asarray(interval.low), np.asarray(interval.high)
    seconds = one.provenance.seconds / one.n_evaluations
    frame["relative_efficiency"] = value
    frame["efficiency_low"], frame["efficiency_high"] = low, high
    frame["relative_efficiency_width"] = value * (_widths(base) / _widths(one)) ** 2
    frame["seconds_per_evaluation"] = seconds
    frame["efficiency_per_second"] = value * (base.provenance.seconds / base.n_evaluations) / seconds
    return frame


def _log_work(one: Estimate) -> LogEstimate:
    """Return the log of (variance of a replicate mean) x (points of a replicate)."""
    if one.replicate_means is None:
        raise ValueError(
            "an efficiency needs the replicate means, which this estimate does not have; compare with "
            "keep_replicates=True"
        )
    log = log_variance(one.replicate_means)
    return LogEstimate(log.value + np.log(one.provenance.n_points), log.variance, log.degrees_of_freedom)


def _widths(one: Estimate) -> Floats:
    """Return half-widths in standard errors: the quantile where the interval is Student's or normal."""
    with np.errstate(divide="ignore", invalid="ignore"):
        return np.asarray(np.ravel(one.half_width) / np.ravel(one.standard_error))


def _efficiency_text(row: Any) -> str:
    if row["efficiency_low"] == row["efficiency_high"]:
        return "1 (baseline)"
    return f"{row['relative_efficiency']:.3g} [{row['efficiency_low']:.3g}, {row['efficiency_high']:.3g}]"
