"""Studies of the squared Fréchet distance: the coverage of its intervals, and that simpler intervals cover too little.

The promises and their rules were declared before the runs. The intervals are those of `mcgen.estimate` and
`mcgen.difference`, of nominally 95 %. They must cover the truth in a share of 0.93 or more of the runs. This holds for
each cell with 20 replicates or more and so many samples that no warning is given (`FeatureMoments.enough_samples`). It
also holds for all cells together that have the same law and the same distance in standard errors. A verdict rejects a
true promise with a probability of 3.1e-6, divided among its cells. The seed is 0, and each cell has random numbers of
its own. No problem, reference or number of samples is one of those with which the intervals were developed:
`mcgen.validation.problems.feature_laws` has other networks, spectra, tails and dimensions. References are at about 0,
1, 2, 5 and 10 standard errors of Monte Carlo, or at the largest distance that a law allows.

``python -m mcgen.validation distances`` writes the page.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial

import numpy as np

import mcgen
from mcgen import functionals
from mcgen.designs import Antithetic, Design, MonteCarlo
from mcgen.functionals.references import ReferenceFeatures
from mcgen.inference.distances.frechet import frechet_terms
from mcgen.inference.distances.terms import DistanceTerms
from mcgen.validation.problems.feature_laws import (
    FeatureLaw,
    by_class,
    elliptical,
    exact,
    linear,
    lognormal,
    periodic,
    rectified,
    squared_distance,
)
from mcgen.validation.studies.distance_runs import (
    DESIGNS,
    LEVEL,
    Ends,
    Outcome,
    by_student,
    controlled,
    covering,
    estimated,
    points_of,
    pooled,
    repeated,
    replicates_for,
    sampled,
)
from mcgen.validation.studies.verdicts import Study, Verdict, at_most, control

ERRORS = (0.0, 1.0, 2.0, 5.0, 10.0)
"""Distances in standard errors of Monte Carlo, about."""
SIZES = {"limit": 1, "10 times": 10}
"""Numbers of samples: as many as are enough for no warning, and ten times as many."""
DESIGNS_OF_SIZES = {"limit": ("Monte Carlo", "pairs", "k = 8"), "10 times": tuple(DESIGNS)}
"""Designs by the number of samples: 20 replicates of the others have more points than the limit."""
CHANGES = (0.02, 0.05, 0.2)
"""How much the weights of the second of two alike networks are perturbed, relative to their size."""
FAR = 1.0
"""A change after which the second network has nothing but its form in common with the first."""
# Features from which on a run takes so long that cells have half as many.
_MANY = 64
# Widest intervals of a difference that are promised, relative to 1.96 standard deviations.
_WIDEST = 2.0


def laws() -> tuple[FeatureLaw, ...]:
    """Return the laws of the tables, from few features to many."""
    small = (linear(2), periodic(2, 3), lognormal(4), rectified(16, 8), elliptical(16))
    return (*small, linear(64), linear(64, True), elliptical(64, True), rectified(64, 32))


def size_of(law: FeatureLaw, size: str) -> int:
    """Return a number of samples by its name in `SIZES`."""
    return SIZES[size] * law.moments.enough_samples


def cell(law: FeatureLaw, errors: float, design: str, n: int, runs: int, seed: int) -> Outcome:
    """Return the outcome of runs whose reference is about so many standard errors away and exact."""
    drawn = DESIGNS[design]
    count = replicates_for(drawn, n)
    moments, truth = law.at(law.epsilon(errors, count * drawn.n_points))
    score = functionals.frechet_distance(exact(moments))
    what = f"{law.name}, {errors:g} standard errors, {design}, R = {count:,}"
    return repeated(what, partial(estimated, law, score, drawn, count), truth, runs, seed)


def coverage(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts on the coverage of Fréchet distances from an exact reference.

    The controls are the plug-in value with the standard error of its influence under pairs; and the estimate without
    bias with Student's t and the standard error of its influence alone, in 2 dimensions near 2 standard errors.
    """
    found: list[Verdict] = []
    together: dict[str, list[Outcome]] = {}
    for law in laws() if full else (periodic(2, 3), rectified(16, 8)):
        cells = {
            errors: cells_of(law, errors, tuple(SIZES) if full else ("limit",), runs_of(law) if full else 100, seed)
            for errors in (ERRORS if full else (0.0, 2.0, 10.0))
        }
        found.append(covering(f"the Fréchet distance, {law.name},", [one for row in cells.values() for one in row]))
        together |= {f"{law.name}, {errors:g} standard errors": row for errors, row in cells.items()}
    controls = [CONTROLS[name](seed) for name in ("the plug-in value", "the influence alone")]
    return [*found, pooled("the Fréchet distance under all designs together", together), *controls]


def runs_of(law: FeatureLaw) -> int:
    """Return the number of runs of a cell in the full form."""
    return 250 if len(law.moments.mean) < _MANY else 100


def cells_of(law: FeatureLaw, errors: float, sizes: Sequence[str], runs: int, seed: int) -> list[Outcome]:
    """Return the outcomes of a law and a distance under all designs."""
    every = [
        unless_refused(law, errors, design, size_of(law, size), runs, seed)
        for size in sizes
        for design in DESIGNS_OF_SIZES[size]
    ]
    return [one for one in every if one is not None]


def unless_refused(law: FeatureLaw, errors: float, design: str, n: int, runs: int, seed: int) -> Outcome | None:
    """Return the outcome of a cell, or None where a run is refused: a pair of linear features counts as one point."""
    try:
        return cell(law, errors, design, n, runs, seed)
    except mcgen.RunError:
        return None


def terms_of(
    law: FeatureLaw, target: ReferenceFeatures, design: Design, n_replicates: int, seed: np.random.SeedSequence
) -> DistanceTerms:
    """Return the terms of the distance of one run, with the whole reference as exact."""
    points = points_of(law, design, n_replicates, seed)
    return frechet_terms([[points]], np.ones((1, 1)), target.moments)[0]


def of_plug_in(runs: int, seed: int) -> Outcome:
    """Return the outcome of the plug-in value under pairs with the standard error of its influence."""
    law, design = rectified(64, 32), Antithetic()
    count = replicates_for(design, 640)
    moments, truth = law.at(law.epsilon(5.0, 640))

    def ends(own: np.random.SeedSequence) -> Ends:
        found = terms_of(law, exact(moments), design, count, own)
        return by_student(found.plug_in, math.sqrt(found.first_variance), count)

    return controlled(f"{law.name}, pairs, R = {count}", ends, truth, runs, seed)


def of_influence_alone(runs: int, seed: int) -> Outcome:
    """Return the outcome of Student's t with the standard error of the influence alone."""
    law, n = periodic(2, 3), 200
    moments, truth = law.at(law.epsilon(2.0, n))

    def ends(own: np.random.SeedSequence) -> Ends:
        found = terms_of(law, exact(moments), MonteCarlo(), n, own)
        return by_student(found.estimate, math.sqrt(found.first_variance), n)

    return controlled(f"{law.name}, 2 standard errors, R = {n}", ends, truth, runs, seed)


def from_sample(law: FeatureLaw, errors: float, design: str, runs: int, seed: int, as_fixed: bool = False) -> Outcome:
    """Return the outcome of runs whose reference is a fresh sample, of as many points as the model has.

    With `as_fixed` it is taken for exact: a control.
    """
    drawn = DESIGNS[design]
    count = replicates_for(drawn, 4 * law.moments.enough_samples)
    n = count * drawn.n_points
    epsilon = law.epsilon(errors, n)

    def run(own: np.random.SeedSequence) -> mcgen.Estimate:
        values = law.transported(law.sample(n, np.random.default_rng(own)), epsilon)
        score = functionals.frechet_distance(sampled(values, as_fixed))
        return estimated(law, score, drawn, count, own)

    what = f"{law.name}, {errors:g} standard errors, {design}, R = {count:,}, a reference of {n:,}"
    return repeated(what, run, law.at(epsilon)[1], runs, seed)


def sampled_references(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts for references that are samples; the control takes such a reference for exact."""
    runs = 150 if full else 100
    chosen = (lognormal(4), rectified(16, 8), linear(64)) if full else (lognormal(4), rectified(16, 8))
    cells = [
        from_sample(law, errors, design, runs, seed)
        for law in chosen
        for errors in ((0.0, 2.0, 10.0) if full else (0.0, 5.0))
        for design in (("Monte Carlo", "pairs") if full else ("pairs",))
    ]
    return [covering("the distance from a sample", cells), CONTROLS["a sample taken as exact"](seed)]


def of_mixture(errors: float, design: str, runs: int, seed: int) -> Outcome:
    """Return the outcome of the distance of a mixture of three classes, on independent noise."""
    law, drawn = by_class(8), DESIGNS[design]
    count = _of_class(design)
    moments, truth = law.pooled.at(law.pooled.epsilon(errors, 3 * count * drawn.n_points))
    score = functionals.frechet_distance(exact(moments))

    def run(own: np.random.SeedSequence) -> mcgen.Estimate:
        return mcgen.estimate(
            law.generator,
            score,
            design=drawn,
            n_replicates=count,
            seed=own,
            condition=[0, 1, 2],
            across="mixture",
            batch_size=count * drawn.n_points,
        )

    return repeated(f"three classes, {errors:g} standard errors, {design}, R = {count:,} each", run, truth, runs, seed)


def _of_class(design: str) -> int:
    """Return the replicates of each class."""
    return replicates_for(DESIGNS[design], 4 * by_class(8).pooled.moments.enough_samples // 3)


def mixtures(full: bool, seed: int) -> list[Verdict]:
    """Return a verdict for mixtures of conditions; the control takes the average of the distances of the classes."""
    runs = 150 if full else 100
    cells = [
        of_mixture(errors, design, runs, seed)
        for errors in ((0.0, 2.0, 10.0) if full else (0.0, 5.0))
        for design in (("Monte Carlo", "pairs", "k = 8") if full else ("pairs",))
    ]
    return [covering("the distance of a mixture", cells), CONTROLS["the average of classes"](seed)]


def _of_average(runs: int, seed: int) -> Outcome:
    """Return the outcome of intervals for a mixture, judged by the average of the distances of its classes."""
    found = of_mixture(10.0, "pairs", runs, seed)
    law, n = by_class(8), 3 * DESIGNS["pairs"].n_points * _of_class("pairs")
    moments, _ = law.pooled.at(law.pooled.epsilon(10.0, n))
    return replace(found, truth=float(np.mean([squared_distance(one.moments, moments) for one in law.classes])))


def of_difference(change: float, errors: float, design: str, common: bool, runs: int, seed: int) -> Outcome:
    """Return the outcome of the difference of two models' distances."""
    a, b, target, n = _two(change, errors)
    drawn = DESIGNS[design]
    count = replicates_for(drawn, n)

    def run(own: np.random.SeedSequence) -> mcgen.Estimate:
        return mcgen.difference(
            a.generator,
            b.generator,
            functionals.frechet_distance(target),
            design=drawn,
            n_replicates=count,
            seed=own,
            common_random_numbers=common,
            batch_size=count * drawn.n_points,
        )

    truth = squared_distance(a.moments, target.moments) - squared_distance(b.moments, target.moments)
    noises = "common noise" if common else "independent noise"
    what = f"changed by {change:g}, {errors:g} standard errors, {design}, {noises}"
    return repeated(what, run, truth, runs, seed)


def _two(change: float, errors: float) -> tuple[FeatureLaw, FeatureLaw, ReferenceFeatures, int]:
    """Return two networks, a reference about so far from the first, and the number of samples."""
    a, n = rectified(16, 8), 1280
    return a, rectified(16, 8, change), exact(a.at(a.epsilon(errors, n))[0]), n


def narrow(what: str, found: Sequence[Outcome]) -> Verdict:
    """Return the verdict that intervals are at most twice as wide as 1.96 standard deviations, by the widest."""
    widest = max(found, key=lambda one: one.width)
    promise = f"{what}: half-width relative to 1.96 standard deviations ({widest.what})"
    return at_most(promise, widest.width, _WIDEST)


def with_both_seconds(change: float, errors: float, runs: int, seed: int) -> Outcome:
    """Return the outcome of a difference on common noise whose intervals add the V_2 of both models."""
    a, b, target, n = _two(change, errors)

    def ends(own: np.random.SeedSequence) -> Ends:
        law = [[points_of(one, Antithetic(), n // 2, own)] for one in (a, b)]
        one, other, both = frechet_terms(law, np.array([[1.0, 0.0], [0.0, 1.0], [1.0, -1.0]]), target.moments)
        variance = both.first_variance + one.second_variance + other.second_variance
        return by_student(both.estimate, math.sqrt(variance), n // 2)

    truth = squared_distance(a.moments, target.moments) - squared_distance(b.moments, target.moments)
    return controlled(f"changed by {change:g}, both V_2", ends, truth, runs, seed)


def differences(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts on differences of the distances of two models, both for similar models and for different ones.

    Intervals must cover. On common noise they must be at most twice as wide as the spread of the estimates requires.
    The control adds the variances of second order of both models.
    """
    runs = 100 if full else 40
    cells = [
        of_difference(change, errors, design, common, runs, seed)
        for change in ((*CHANGES, FAR) if full else (0.05, FAR))
        for errors in (0.0, 10.0)
        for design in (("Monte Carlo", "pairs", "k = 8") if full else ("pairs",))
        for common in (True, False)
    ]
    alike = [one for one in cells if "common noise" in one.what and f"by {FAR:g}," not in one.what]
    return [
        covering("a difference of Fréchet distances", cells),
        narrow("a difference of alike models", alike),
        CONTROLS["both variances of second order"](seed),
    ]


CONTROLS: dict[str, Callable[[int], Verdict]] = {
    "the plug-in value": lambda seed: control(
        covering("the plug-in value and its influence, pairs,", [of_plug_in(100, seed)])
    ),
    "the influence alone": lambda seed: control(
        covering("Student's t with the influence alone", [of_influence_alone(4000, seed)], LEVEL)
    ),
    "a sample taken as exact": lambda seed: control(
        covering(
            "a sampled reference taken as exact",
            [from_sample(rectified(16, 8), 10.0, "pairs", 300, seed, as_fixed=True)],
        )
    ),
    "the average of classes": lambda seed: control(
        covering("the average of classes for the mixture", [_of_average(100, seed)])
    ),
    "both variances of second order": lambda seed: control(
        narrow("a difference that adds both V_2", [with_both_seconds(CHANGES[0], 0.0, 100, seed)])
    ),
}
"""Negative controls by name, made from a seed."""

STUDIES: dict[str, Study] = {
    "Fréchet distances, coverage": coverage,
    "Fréchet distances from samples": sampled_references,
    "Fréchet distances of mixtures": mixtures,
    "differences of Fréchet distances": differences,
}
