"""The choice among candidates, with its reasons."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen._lib.names import name_of
from mcgen.variance_reduction.planning.predictions import LEAST_EFFICIENCY, Candidate, efficiencies, geometric_mean
from mcgen.variance_reduction.planning.trials import Coarse, Pilot, odd_share


def choose(candidates: Sequence[Candidate]) -> tuple[Candidate, list[str]]:
    """Return the candidate of the greatest mean efficiency that leaves no component behind, and why.

    Where each leaves some component behind the better of pairs and Monte Carlo, of those that leave none behind pairs.
    Candidates are those of `Predictor.candidates`: Monte Carlo and pairs come first.
    """
    alone, pairs = candidates[:2]
    over_pairs = {one: efficiencies(one, pairs) for one in candidates}
    scores = {one: geometric_mean(own) for one, own in over_pairs.items()}
    bars = [("the better of pairs and Monte Carlo", np.maximum(1.0, over_pairs[alone])), ("pairs", np.ones(1))]
    while True:
        name, bar = bars.pop(0)
        least = {one: float((own / bar).min()) for one, own in over_pairs.items()}
        enough = [one for one in candidates if least[one] >= LEAST_EFFICIENCY]
        if enough:
            break
    chosen, first = max(enough, key=scores.__getitem__), max(candidates, key=scores.__getitem__)
    reasons = [f"chosen: {chosen.name}, {scores[chosen]:.2g} times as efficient as pairs by the pilot"]
    if len(over_pairs[chosen]) > 1:
        reasons[0] += f" (geometric mean; least {over_pairs[chosen].min():.2g})"
    if first is not chosen:
        reasons.append(
            f"left: {first.name}, {scores[first]:.2g} in the mean, but {least[first]:.2g} of {name} for one component, "
            f"where at least {LEAST_EFFICIENCY} is wanted (0.9 with the pilot's cost)"
        )
    if scores[chosen] < 1.1 * max(scores[alone], scores[pairs]):
        reasons.append("nothing helps much beyond pairs and Monte Carlo here; the shares below say why")
    return chosen, reasons


def variance_reasons(pilot: Pilot, coarse: Sequence[Coarse], names: tuple[str, ...]) -> list[str]:
    """Return what the variance is made of, by the pilot."""
    silent = [name for name, variance in zip(names, pilot.point_variance, strict=True) if variance == 0]
    if silent:
        several = f" and {len(silent) - 1} more" if len(silent) > 1 else ""
        return [
            f"{silent[0]}{several} did not vary in {2 * len(pilot.pairs)} samples: constant, or a rare event; nothing "
            "is predicted of it",
            *_reasons_of_varying(pilot, coarse),
        ]
    return _reasons_of_varying(pilot, coarse)


def _reasons_of_varying(pilot: Pilot, coarse: Sequence[Coarse]) -> list[str]:
    odd = odd_share(pilot.pairs, pilot.within)[pilot.point_variance > 0]
    told = [f"odd in the noise, which pairs take away: {range_text(odd)} of the variance"]
    if pilot.basis is not None and pilot.basis.importance is not None:
        r, share = pilot.basis.n_directions, sum(pilot.basis.importance)
        told.append(f"{r} leading directions have {share:.2f} of the mean squared gradient")
    for number, one in enumerate(coarse):
        told.append(
            f"{name_of(one.generator)}, at {one.cost:.2g} of the cost, follows pair means with correlations "
            f"{range_text(pilot.correlation(number))}"
        )
    return told


def range_text(values: Floats) -> str:
    """Return the least and the greatest value to three digits, or the one value where they agree."""
    if not len(values):
        return "nothing"
    low, high = values.min(), values.max()
    return f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"


def rounding_reason(spent: int, budget: float) -> list[str]:
    """Return the line that says by how much the evaluations were rounded down, or no line."""
    rest = int(budget) - spent
    return [] if rest <= 0 else [f"n_evaluations rounded down by {rest} to whole replicates"]
