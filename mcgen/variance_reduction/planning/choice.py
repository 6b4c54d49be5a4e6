"""The choice of a candidate, and the reasons for it in words."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen._lib.names import name_of
from mcgen.results.provenance import CHOSEN
from mcgen.variance_reduction.planning.candidate import LEAST_EFFICIENCY, Candidate, efficiencies, geometric_mean
from mcgen.variance_reduction.planning.coarse import Coarse
from mcgen.variance_reduction.planning.pilot import Pilot, odd_share
from mcgen.variance_reduction.planning.promises import Promises


def choose(candidates: Sequence[Candidate], promises: Promises) -> tuple[Candidate, list[str]]:
    """Return a candidate and the reasons for it, one text each.

    It has the greatest geometric mean of the efficiencies over pairs among the candidates that keep, for every
    protected component, 0.975 of the efficiency of the better of pairs and Monte Carlo. If no candidate keeps that, the
    standard is pairs alone, which pairs themselves meet. Of several components some look better by chance than they
    are; so each efficiency is multiplied by `Candidate.caution` before it is compared with the standard.

    Parameters
    ----------
    candidates : sequence of Candidate
        Those of `Predictor.candidates`: Monte Carlo and pairs come first.
    promises : Promises
        Which components count, and which are protected.
    """
    alone, pairs = candidates[:2]
    every = {one: efficiencies(one, pairs) for one in candidates}
    over_pairs = {one: own[promises.counted] for one, own in every.items()}
    several = int(promises.counted.sum()) > 1
    cautious = {one: own * (one.caution if several else 1.0) for one, own in every.items()}
    guarded = {one: own[promises.protected] for one, own in cautious.items()}
    scores = {one: geometric_mean(own) for one, own in over_pairs.items()}
    standards = [
        ("the better of pairs and Monte Carlo", np.maximum(1.0, every[alone][promises.protected])),
        ("pairs", np.ones(1)),
    ]
    while True:
        name, standard = standards.pop(0)
        least = {one: float((own / standard).min(initial=np.inf)) for one, own in guarded.items()}
        enough = [one for one in candidates if least[one] >= LEAST_EFFICIENCY]
        if enough:
            break
    chosen, first = max(enough, key=scores.__getitem__), max(candidates, key=scores.__getitem__)
    reasons = [f"{CHOSEN}{chosen.name}, {scores[chosen]:.2g} times as efficient as pairs by the pilot"]
    if len(over_pairs[chosen]) > 1:
        reasons[0] += f" (geometric mean; least {over_pairs[chosen].min():.2g})"
    if first is not chosen:
        reasons.append(
            f"not chosen: {first.name}, {scores[first]:.2g} times as efficient as pairs in the mean, but only "
            f"{least[first]:.2g} times as {name} for one component; at least {LEAST_EFFICIENCY} is required (0.9 with "
            "the pilot's cost)"
        )
    if scores[chosen] < 1.1 * max(scores[alone], scores[pairs]):
        reasons.append("no candidate is much better than pairs and Monte Carlo here; the shares below say why")
    return chosen, reasons


def variance_reasons(pilot: Pilot, coarse: Sequence[Coarse], names: tuple[str, ...]) -> list[str]:
    """Return texts that say which part of the variance each method can remove, by the pilot."""
    constant = [name for name, variance in zip(names, pilot.point_variance, strict=True) if variance == 0]
    if not constant:
        return _shares_of_variance(pilot, coarse)
    several = f" and {len(constant) - 1} more" if len(constant) > 1 else ""
    return [
        f"{constant[0]}{several} did not vary in {2 * len(pilot.pairs)} samples: constant, or a rare event; nothing is "
        "predicted of it",
        *_shares_of_variance(pilot, coarse),
    ]


def _shares_of_variance(pilot: Pilot, coarse: Sequence[Coarse]) -> list[str]:
    """Return texts on the odd share, the leading directions and the coarse generators, for components that vary."""
    odd = odd_share(pilot.pairs, pilot.within)[pilot.point_variance > 0]
    texts = [f"odd in the noise, which pairs take away: {range_text(odd)} of the variance"]
    if pilot.basis is not None and pilot.basis.importance is not None:
        r, share = pilot.basis.n_directions, sum(pilot.basis.importance)
        texts.append(f"{r} leading directions have {share:.2f} of the mean squared gradient")
    for number, one in enumerate(coarse):
        texts.append(
            f"{name_of(one.generator)}, at {one.cost:.2g} of the cost, follows pair means with correlations "
            f"{range_text(pilot.correlation(number))}"
        )
    return texts


def range_text(values: Floats) -> str:
    """Return the least and the greatest value to three digits, or one value if these are the same."""
    if not len(values):
        return "nothing"
    low, high = values.min(), values.max()
    return f"{low:.3g}" if f"{low:.3g}" == f"{high:.3g}" else f"{low:.3g} to {high:.3g}"


def rounding_reason(spent: int, budget: float) -> list[str]:
    """Return the text that says by how much the evaluations were rounded down, if they were."""
    rest = int(budget) - spent
    return [] if rest <= 0 else [f"n_evaluations rounded down by {rest} to whole replicates"]
