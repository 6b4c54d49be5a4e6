r"""The choice without a pilot, for runs of fewer than 1,000 evaluations: pairs, or two levels of pairs.

A pilot of such a run would cost more than it gains. Two levels need to know how closely the coarse generator follows.
Either the user knows the correlations, or a sampler is fitted to a few of the generator's own trajectories, at about 19
evaluations; these also show, on 8 antithetic pairs, what share r of the variance of a pair mean the fitted sampler
leaves. The logarithm of r is averaged with that of 0.03, which fitted samplers of five network evaluations left on
shipped models, as if that were known from 4 pairs; and r is never taken as less, since 8 pairs do not show the rare
large differences of statistics that jump.

With c the cost of the coarse generator and the slope 1, two levels with the share a of the evaluations on the coarse
one have the efficiency :math:`1 / (c / a + r (1 + c) / (1 - a))` over pairs.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace
from typing import Literal

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen._lib.names import name_of
from mcgen.designs import Antithetic, Design
from mcgen.errors import RunError
from mcgen.generators.joint import pilot_evaluations_of
from mcgen.inference.coverage import FEWEST_WITHOUT_WARNING
from mcgen.replicates.task import Estimand
from mcgen.results.provenance import CHOSEN
from mcgen.runs.options import RunOptions
from mcgen.statistics.values import component_names, values_of
from mcgen.variance_reduction.levels.allocation import coarse_share
from mcgen.variance_reduction.planning.candidate import Candidate, design_text, geometric_mean, two_levels_text
from mcgen.variance_reduction.planning.choice import range_text, rounding_reason
from mcgen.variance_reduction.planning.coarse import Coarse, evaluations_to_try, fitted_samplers, with_fewer_steps
from mcgen.variance_reduction.planning.plan import Plan
from mcgen.variance_reduction.planning.promises import Promises

FEWEST_FOR_PILOT = 1000
"""Fewest evaluations for a pilot: its thirteenth of fewer would hold too few pairs to compare designs."""
FEWEST_FOR_FIT = 150
"""Fewest evaluations for which a sampler is fitted: of fewer, the fit would take more than an eighth."""
# Most network evaluations of the fitted sampler.
_MOST_EVALUATIONS = 5
# Fewest numbers of noise for which 8 pairs are enough to fit a sampler: a flow of the plane needs 64.
_FEWEST_NUMBERS = 4
# Efficiency that two levels must keep for every component, relative to pairs.
_LEAST = 0.9
# Share of the variance that fitted samplers are known to leave, and the pairs that this counts as.
_LEFT, _COUNTS_AS = 0.03, 4


def plan_by_rule(
    estimand: Estimand,
    options: RunOptions,
    budget: int,
    given: list[Coarse] | None,
    known: Floats | None,
    protect: Literal["all"] | Sequence[str],
) -> Plan:
    """Return the plan without a pilot; the arguments are those of `planner.planned`."""
    spent = math.ceil(pilot_evaluations_of(estimand.generator) - 1e-9)
    found, reasons, more = None, [f"below {FEWEST_FOR_PILOT:,} evaluations there is no pilot"], 0
    if known is not None:
        coarse = (with_fewer_steps(estimand.generator) if given is None else given)[0]
        more = math.ceil(pilot_evaluations_of(coarse.generator) * coarse.cost - 1e-9)
        left = 1 - known**2
        two = _KnownLevels(coarse, known**2, left, known, "at the correlations that are known")
        every = np.ones(len(known), dtype=bool)
        found, reason = two.candidate(budget - spent - more, Promises(every, every))
        reasons.append(reason)
    elif given:
        reasons.append("the coarse generators are not used without correlation=")
    elif given is None and budget >= FEWEST_FOR_FIT:
        found, why, more = _fitted(estimand, budget - spent, protect)
        reasons += why
    spent += more
    pairs = (budget - spent) // 2
    if pairs < 2:
        raise ValueError(f"an interval needs at least 2 pairs; got n_evaluations={budget}. Use 50 or more")
    candidates = [_unpredicted(design_text(Antithetic()), (Antithetic(),), (pairs,), 0)]
    candidates += [] if found is None else [found]
    chosen = candidates[-1]
    counts = " + ".join(f"{n:,}" for n in chosen.n_replicates)
    reasons.append(f"{CHOSEN}{chosen.name}, {counts} replicates")
    reasons += rounding_reason(spent + chosen.n_evaluations, budget)
    return Plan(tuple(candidates), chosen, spent, tuple(reasons), (), (), estimand, options)


def _fitted(
    estimand: Estimand, budget: int, protect: Literal["all"] | Sequence[str]
) -> tuple[Candidate | None, list[str], int]:
    """Return two levels with a fitted sampler below, or None; the reasons; and what the fit has cost, rounded up."""
    if estimand.generator.noise.dimension < _FEWEST_NUMBERS:
        return None, [], 0
    numbers = [one for one in evaluations_to_try(estimand.generator) if one <= _MOST_EVALUATIONS]
    offered = fitted_samplers(estimand, numbers[-1:])
    # The run gets what is left of the budget after rounding, so that both together keep to it.
    spent = math.ceil(offered.spent - 1e-9)
    if not offered.coarse:
        return None, offered.reasons, spent
    coarse, means = offered.coarse[0], _pair_means(estimand, offered.coarse[0])
    if means is None:
        return None, [f"there are no values for the fit's samples of {name_of(coarse.generator)}"], spent
    fine, own = means
    names = component_names(estimand.statistic, () if fine.shape[1] == 1 else fine.shape[1:])
    promises = Promises.of(fine, names, protect)
    with np.errstate(divide="ignore", invalid="ignore"):
        left = (fine - own).var(axis=0) / fine.var(axis=0)
        n = len(fine)
        left = np.exp((n * np.log(left) + _COUNTS_AS * math.log(_LEFT)) / (n + _COUNTS_AS))
    left = np.where(fine.var(axis=0) > 0, np.maximum(left, _LEFT), _LEFT)
    where = f"of {name_of(coarse.generator)}, which leaves {range_text(left)} of the variance of {n} pair means"
    two = _KnownLevels(coarse, np.ones(len(left)), left, np.ones(len(left)), where)
    found, reason = two.candidate(budget - spent, promises)
    return found, [reason, *promises.reasons], spent


def _pair_means(estimand: Estimand, coarse: Coarse) -> tuple[Floats, Floats] | None:
    """Return the pair means (pairs, k) of the generator and of a fitted sampler in the pilot of the fit, or None."""
    shown = getattr(coarse.generator, "pilot_samples", None)
    samples = None if shown is None else shown(estimand.condition)
    if samples is None:
        return None
    try:
        values = [np.asarray(values_of(estimand.statistic, x, len(x)), np.float64) for x in samples]
    except RunError:
        # The fitted sampler may leave the range of the fine one, where the statistic has no value.
        return None
    fine, own = (part.reshape(len(part) // 2, 2, -1).mean(axis=1) for part in values)
    return fine, own


class _KnownLevels:
    """Two levels of pairs, of which the variances are known beforehand.

    Parameters
    ----------
    coarse : Coarse
        The coarse level's generator.
    below, left : ndarray of shape (k,)
        Variances of the weighted coarse level's pair means and of the difference's, as shares of the generator's own.
    coefficients : ndarray of shape (k,)
        The coefficients of the coarse generator.
    where : str
        Where this is known from, in words.
    """

    def __init__(self, coarse: Coarse, below: Floats, left: Floats, coefficients: Floats, where: str) -> None:
        self._coarse, self._below, self._left = coarse, below, left
        self._coefficients, self._where = coefficients, where

    def candidate(self, budget: float, promises: Promises) -> tuple[Candidate | None, str]:
        """Return the candidate, or None where it is not worth it for the components that count, and the reason."""
        coarse = self._coarse
        costs = np.array([coarse.cost, 1 + coarse.cost])
        least = 2 * FEWEST_WITHOUT_WARNING * costs / budget
        if least.sum() > 1:
            return None, f"two levels need {math.ceil(budget * least.sum() - 1e-9)} evaluations or more"
        w = np.stack([self._below, self._left]) * costs[:, None]
        standard = np.where(promises.protected, 1.0, np.inf)[promises.counted]
        counted = w[:, promises.counted]
        share = coarse_share(counted, np.ones(counted.shape[1]), standard, standard)
        shares = np.clip(share, least[0], 1 - least[1]) * np.array([1, -1]) + np.array([0, 1])
        gains = 1 / (w / shares[:, None]).sum(axis=0)
        text = f"{range_text(gains[promises.counted])} times the efficiency of pairs {self._where}"
        worst = gains[promises.protected].min(initial=np.inf)
        if worst < _LEAST or geometric_mean(gains[promises.counted]) <= 1:
            return None, f"two levels would have {text}: not worth it"
        counts = np.floor(budget * shares / (2 * costs) * (1 + 1e-12)).astype(int).tolist()
        designs = (Antithetic(), Antithetic())
        made = _unpredicted(two_levels_text(coarse.cost, *designs), designs, tuple(counts), len(self._left))
        found = replace(made, coarse=coarse, coefficients=self._coefficients, left=self._left)
        return found, f"two levels have {text}"


def _unpredicted(name: str, designs: tuple[Design, ...], counts: tuple[int, ...], k: int) -> Candidate:
    """Return a candidate without predictions, for a plan without a pilot."""
    unknown = np.full(k, math.nan)
    return Candidate(name, designs, counts, unknown, unknown, unknown, "a rule")
