"""Texts of estimates: one line, a summary, a small HTML table."""

from __future__ import annotations

import html
import math
from typing import TYPE_CHECKING

import numpy as np

from mcgen.inference.methods import AND
from mcgen.results.notes import marks_html
from mcgen.results.provenance import (
    drawn_text,
    expectation_text,
    percent_of,
    points_text,
    taken_text,
    weight_texts,
)
from mcgen.results.shown import Shown

if TYPE_CHECKING:
    import pandas as pd

    from mcgen._lib.arrays import Floats

METHOD_NAMES = {
    "student-t": "Student t",
    "normal": "normal",
    "skewness-safe-t": "skewness-safe t",
    "skewness-adjusted-t": "skewness-adjusted t",
    "bootstrap-t": "bootstrap t",
    "proportion": "proportion",
    "skewness-safe": "simultaneous, skewness-safe t",
    "bonferroni": "simultaneous, Bonferroni t",
    "bootstrap-max-t": "simultaneous, bootstrap max-t",
    "gaussian-multiplier": "simultaneous, Gaussian multiplier",
    "two-stage-t": "two-stage t",
    "anytime": "anytime",
    "asymptotic-anytime": "asymptotic anytime",
    "betting": "betting",
    "order-statistics": "order statistics",
    "quantile-inversion": "inversion",
    "lengthened-t": "lengthened t",
    "bonferroni-lengthened-t": "simultaneous, lengthened t",
    "bonferroni-order-statistics": "simultaneous, Bonferroni order statistics",
    "bonferroni-quantile-inversion": "simultaneous, Bonferroni inversion",
    "bonferroni-proportion": "simultaneous, Bonferroni proportion",
    "bonferroni-two-stage-t": "simultaneous, Bonferroni two-stage t",
    "bonferroni-anytime": "simultaneous, Bonferroni anytime",
    "bonferroni-asymptotic-anytime": "simultaneous, Bonferroni asymptotic anytime",
    "bonferroni-betting": "simultaneous, Bonferroni betting",
}
_SIMULTANEOUS = "simultaneous, "
FIXED = ", fixed"
"""End of the text of a reference that counts as exact; that of another one ends with ``a sample``."""
# Half-widths of fewer units in the last place of the mean are shown by themselves, since the ends are rounded.
_FEWEST_ULPS = 100
IN_LINE = 6
"""The most components that one line shows one by one."""
# The most components that summaries and tables show: of more, the first and the last 10.
_IN_SUMMARY = 20


def number_pair(mean: float, half_width: float) -> tuple[str, str]:
    """Return the mean and its half-width as text, to two significant digits of the half-width."""
    digits = _decimals(half_width)
    if digits is None:
        return f"{mean:.6g}", f"{half_width:{'.2g' if half_width > 0 else 'g'}}"
    return f"{mean:.{digits}f}", f"{half_width:.{digits}f}"


def _decimals(half_width: float) -> int | None:
    """Return the decimals of two significant digits; None where these would be very many, or not enough."""
    if not (math.isfinite(half_width) and half_width > 0):
        return None
    digits = 1 - math.floor(math.log10(half_width))
    return max(0, digits) if -3 <= digits <= 12 else None


def component_text(mean: float, low: float, high: float, half_width: float) -> str:
    """Return ``mean ± half-width``, or the ends of an interval that is not symmetric.

    It counts as symmetric where its middle is the mean to half a unit of the last digit that is shown. The ends of an
    interval that is far narrower than the mean is large have lost their digits; then the half-width is shown too. An
    interval with one infinite end shows its ends.
    """
    if math.isinf(low) != math.isinf(high):
        return f"{mean:.6g} [{low:.6g}, {high:.6g}]"
    middle, half = number_pair(mean, half_width)
    digits = _decimals(half_width)
    off, unit = abs((low - mean) + (high - mean)) / 2, 1e-2 * half_width if digits is None else 10.0**-digits
    if off <= unit / 2 or half_width <= _FEWEST_ULPS * math.ulp(mean):
        return f"{middle} ± {half}"
    return f"{middle} [{number_pair(low, half_width)[0]}, {number_pair(high, half_width)[0]}]"


def ends_text(one: Shown, number: int) -> str:
    """Return one component with the ends of its interval, such as ``0.41 [0.38, 0.45]``."""
    return interval_text(*numbers_of(one, number))


def interval_text(mean: float, low: float, high: float, half_width: float) -> str:
    """Return a number with the ends of its interval; see `ends_text`."""
    if not math.isfinite(half_width):
        return component_text(mean, low, high, half_width) if math.isinf(half_width) else f"{mean:.3g}"
    value, first, last = (number_pair(end, half_width)[0] for end in (mean, low, high))
    return f"{value} [{first}, {last}]"


def numbers_of(one: Shown, number: int) -> tuple[float, float, float, float]:
    """Return the estimate, the ends and the half-width of one component."""
    mean, low, high, half = (float(np.ravel(values)[number]) for values in (one.mean, *one.interval, one.half_width))
    return mean, low, high, half


def method_text(method: str) -> str:
    """Return in words the method of a result, or the methods of its components."""
    texts = [METHOD_NAMES.get(one, one) for one in method.split(AND)]
    return AND.join([texts[0], *(text.removeprefix(_SIMULTANEOUS) for text in texts[1:])])


def interval_words(estimate: Shown) -> str:
    """Return what kind of interval a result has, such as ``95 % simultaneous interval (bootstrap max-t)``."""
    method = method_text(estimate.method)
    together = "simultaneous " if method.startswith(_SIMULTANEOUS) else ""
    return f"{percent_text(estimate)} {together}interval ({method.removeprefix(_SIMULTANEOUS)})"


def estimate_line(estimate: Shown) -> str:
    """Return the estimate in one line."""
    numbers = _component_texts(estimate)
    if estimate.shape == ():
        values = numbers[0]
    elif len(numbers) <= IN_LINE:
        values = ", ".join(f"{name} {text}" for name, text in zip(estimate.names, numbers, strict=True))
    else:
        means, half = np.ravel(estimate.mean), np.ravel(estimate.half_width)
        values = (
            f"{len(means)} components, means {means.min():.4g} to {means.max():.4g}, "
            f"half-widths {half.min():.2g} to {half.max():.2g}"
        )
    return f"{values} ({_how(estimate)})"


def summary_text(estimate: Shown) -> str:
    """Return the long form of an estimate."""
    p = estimate.provenance
    lines = [expectation_text(p)]
    lines += [f"  {line}" for line in _table_lines(estimate)]
    facts = {
        "interval": f"{percent_text(estimate)} {method_text(estimate.method)}",
        **_distance(estimate),
        **_draws(estimate),
        "pilot": f"{p.pilot_evaluations:,} evaluations before the run" if p.pilot_evaluations else None,
        "plan": p.plan,
        "controls": p.controls,
        "models": p.models_noise,
        "stopped": None if estimate.stopping is None else estimate.stopping.reason,
        "noise": p.noise,
        "condition": p.condition,
        **_spread(estimate),
        "seed": p.seed_text,
        "batch size": str(p.batch_size),
        "executed": _executed(estimate),
        "seconds": f"{p.seconds:.3g} ({p.seconds_per_evaluation:.2g} a row that the model ran)",
        "versions": ", ".join(f"{name} {version}" for name, version in p.versions.items()),
    }
    lines += fact_lines(facts)
    if p.partial:
        lines.append("PARTIAL: the run ended before its time; these are its finished replicates.")
    lines += [f"warning: {text}" for text in estimate.warnings]
    return "\n".join(lines)


def _distance(estimate: Shown) -> dict[str, str | None]:
    """Return what a distance compares, its usual value, and whether it may be 0; nothing for other scores."""
    p = estimate.provenance
    if p.reference is None:
        return {}
    values = None
    if estimate.plug_in is not None:
        pairs = zip(np.ravel(estimate.plug_in).tolist(), np.ravel(estimate.half_width).tolist(), strict=True)
        values = ", ".join(number_pair(*pair)[0] for pair in pairs)
    near = bool((np.ravel(estimate.interval.low) == 0).any())
    return {
        "distance": "not distinguishable from 0" if near else None,
        "plug-in": None if values is None else f"{values}, the usual value of these samples, without interval",
        "features": p.features,
        "reference": reference_text(p.reference),
    }


def reference_text(reference: str) -> str:
    """Return what a distance compares with, and what its interval leaves out."""
    if not reference.endswith(FIXED):
        return reference
    return f"{reference}: the sampling error of the reference itself is outside the interval"


def fact_lines(facts: dict[str, str | None]) -> list[str]:
    """Return a line for each fact that is known, in columns."""
    return [f"{name:<12} {text}" for name, text in facts.items() if text is not None]


def _executed(estimate: Shown) -> str | None:
    """Return how many rows the model ran, where they are more than those of the estimate."""
    more = estimate.executed_evaluations - counted_evaluations(estimate)
    if not more:
        return None
    return f"{estimate.executed_evaluations:,} evaluations, {more:,} of them to fill batches and in no estimate"


def counted_evaluations(estimate: Shown) -> int:
    """Return the number of evaluations in an estimate, those of all its conditions and models together."""
    if estimate.conditions or estimate.models:
        return sum(map(counted_evaluations, estimate.parts))
    return estimate.n_evaluations


def _draws(estimate: Shown) -> dict[str, str]:
    """Return which designs drew how many replicates."""
    p = estimate.provenance
    kind, each = ("model", estimate.models) if estimate.models else ("condition", estimate.conditions)
    if len({drawn_text(part.provenance) for part in each}) > 1:
        # Parts that were planned one by one, or stopped by themselves, have their own designs and numbers.
        parts = [part.provenance for part in each]
        return {
            f"{kind} {getattr(one, kind)}": f"{drawn_text(one)}, {one.n_evaluations:,} evaluations" for one in parts
        }
    if not estimate.levels:
        return {"design": drawn_text(p), "evaluations": f"{p.n_evaluations:,}{_for_each(estimate)}"}
    levels = [part.provenance for part in estimate.levels]
    return {
        f"level {i}": f"{one.generator} by {drawn_text(one)}, each at {one.cost:.3g} evaluations{taken_text(one)}"
        for i, one in enumerate(levels)
    } | {"evaluations": f"{p.n_evaluations:,} of {p.generator} is what they cost"}


def _for_each(estimate: Shown) -> str:
    """Return what a number of evaluations is for, where the estimate has several parts or models."""
    each = [" for each condition"] if estimate.conditions else []
    noise = estimate.provenance.models_noise
    return "".join([" of each model"] * (noise is not None) + each)


def estimate_html(estimate: Shown) -> str:
    """Return the estimate as an HTML table with a caption, and a marked line for each warning."""
    rows = "".join(
        f"<tr><th style='text-align:left'>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>"
        for name, text in _named_texts(estimate)
    )
    return f"<table><caption>{html.escape(_how(estimate))}</caption>{rows}</table>{marks_html(estimate.warnings)}"


def _how(estimate: Shown) -> str:
    p = estimate.provenance
    parts = [
        f"{percent_text(estimate)} {method_text(estimate.method)}",
        " + ".join(str(part.n_replicates) for part in estimate.levels or estimate.models) + " replicates"
        if estimate.levels or len({part.n_replicates for part in estimate.models}) > 1
        else f"{p.n_replicates} replicates of {points_text(p.n_points)}",
        p.design,
        f"seed {p.seed_text}",
    ]
    if p.controls is not None:
        parts.append("controls")
    if p.level is not None:
        parts.append(p.level)
    if p.models_noise is not None or p.model is not None:
        parts.append(p.models_noise or f"model {p.model}")
    if estimate.conditions:
        parts.append(_joined_text(estimate))
    elif p.condition is not None:
        parts.append(f"condition {p.condition}")
    if p.partial:
        parts.append("PARTIAL")
    return ", ".join(parts)


def _joined_text(estimate: Shown) -> str:
    """Return what several conditions are joined to."""
    across, components = estimate.provenance.across, estimate.variance_components
    count = f"{len(estimate.conditions)} conditions"
    if components is None:
        return f"{'average over' if across is None else f'{across} of'} {count}"
    clusters = "" if components.n_clusters is None else f" in {components.n_clusters} clusters"
    return f"population of which these {count}{clusters} are a sample"


def _spread(estimate: Shown) -> dict[str, str]:
    """Return the variance components of a population as standard deviations, and what to run next."""
    components = estimate.variance_components
    if components is None:
        return {}
    variances = {
        "between clusters": components.between_clusters,
        "between conditions": components.between_conditions,
        "noise in the mean of a condition": components.noise / components.n_evaluations,
    }
    shown = {
        what: ", ".join(f"{value:.3g}" for value in np.sqrt(variance[:IN_LINE]))
        for what, variance in variances.items()
        if variance is not None
    }
    more = ", ..." if len(estimate.names) > IN_LINE else ""
    text = "; ".join(f"{what} {values}{more}" for what, values in shown.items())
    return {"spread": f"standard deviations: {text}", "advice": components.advice(estimate.names)}


def _table_lines(estimate: Shown) -> list[str]:
    named = _named_texts(estimate)
    width = max(len(name) for name, _ in named)
    return [f"{name:<{width}}  {text}" for name, text in named]


def _named_texts(estimate: Shown) -> list[tuple[str, str]]:
    named: list[tuple[str, str]] = []
    for part in (*estimate.parts, estimate):
        texts = _component_texts(part)
        times = weight_texts([one.provenance for one in estimate.levels], part.provenance, len(part.names))
        rows = [
            ("...", more_text(len(part.names)))
            if number is None
            else (part.names[number] + times[number], texts[number])
            for number in shown_components(len(part.names))
        ]
        named += [(_label(part, estimate) + name, text) for name, text in rows]
    return named


def _label(part: Shown, estimate: Shown) -> str:
    """Return the words before the components of a part of an estimate, or of the estimate itself."""
    p = part.provenance
    if estimate.levels:
        return f"{p.level}: "
    if part is estimate:
        joined = estimate.provenance.across or "average"
        return f"{joined}: " if estimate.conditions else "difference: " if estimate.models else ""
    return f"model {p.model}: " if estimate.models else f"condition {p.condition}: "


def shown_components(k: int) -> list[int | None]:
    """Return the numbers of the components that long forms show; None stands for those that they leave out."""
    if k <= _IN_SUMMARY:
        return [*range(k)]
    half = _IN_SUMMARY // 2
    return [*range(half), None, *range(k - half, k)]


def more_text(k: int) -> str:
    """Return how many of k components long forms leave out."""
    return f"{k - _IN_SUMMARY} more"


def _component_texts(estimate: Shown) -> list[str]:
    interval = estimate.interval
    numbers = (estimate.mean, interval.low, interval.high, estimate.half_width)
    columns: list[Floats] = [np.ravel(c) for c in numbers]
    return [component_text(*row) for row in zip(*(c.tolist() for c in columns), strict=True)]


def percent_text(estimate: Shown) -> str:
    """Return the confidence level, such as ``95 %``."""
    return percent_of(estimate.confidence_level)


def frame_html(frame: pd.DataFrame) -> str:
    """Return a table of text as HTML."""
    return str(frame.to_html(index=False, border=0, classes="mcgen"))
