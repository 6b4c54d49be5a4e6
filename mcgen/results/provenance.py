"""Provenance: a record of all that was done to get an estimate."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, field
from decimal import Decimal

from numpy.random import SeedSequence

SAME_NOISE, INDEPENDENT_NOISE = "same noise", "independent noise"
"""What `Provenance.models_noise` says where two models share all their noise, or none of it."""


def expectation_text(provenance: Provenance) -> str:
    """Return what is estimated, such as ``E[brightness(model(noise))]``."""
    if provenance.functional is not None:
        return f"{provenance.functional} of {provenance.statistic}({provenance.generator}(noise))"
    if ", " in provenance.statistic:
        return f"E[S({provenance.generator}(noise))] for S = {provenance.statistic}"
    return f"E[{provenance.statistic}({provenance.generator}(noise))]"


def drawn_text(p: Provenance) -> str:
    """Return which design drew how many replicates."""
    return f"{p.design}, {p.n_replicates:,} replicates of {points_text(p.n_points)}"


def taken_text(level: Provenance) -> str:
    """Return how many times a level subtracts the coarser generator; nothing where that is once."""
    if level.coefficients is None or set(level.coefficients) == {1.0}:
        return ""
    low, high = min(level.coefficients), max(level.coefficients)
    return (
        f", less {low:.3g} "
        + ("" if low == high else f"to {high:.3g} ")
        + "times the coarser one, which the sum adds again"
    )


def weights_of_levels(levels: Sequence[Provenance], k: int) -> list[tuple[float, ...]]:
    """Return the weight of each level's estimate in the sum of levels, one for each of k components.

    The last weight is 1, and w_{l-1} = w_l b_l for the coefficients b_l of level l.
    """
    weights = [(1.0,) * k]
    for level in levels[:0:-1]:
        factors = level.coefficients or (1.0,) * k
        weights.append(tuple(w * b for w, b in zip(weights[-1], factors, strict=True)))
    return weights[::-1]


def weight_texts(levels: Sequence[Provenance], part: Provenance, k: int) -> list[str]:
    """Return texts such as `` (times 0.98)`` for a level's components; empty where they count once, or for the sum."""
    for level, weights in zip(levels, weights_of_levels(levels, k), strict=True) if levels else ():
        if level is part:
            return ["" if w == 1 else f" (times {w:.6g})" for w in weights]
    return [""] * k


CHOSEN = "chosen: "
"""Beginning of the reason of a plan that names its choice; a comma ends the name."""


def chosen_by(p: Provenance) -> str | None:
    """Return the short name of what a plan chose, such as ``sobol 128``; None where there was no plan."""
    found = re.search(rf"(?:^|; ){CHOSEN}([^,;]*)", p.plan or "")
    return None if found is None else found[1]


def percent_of(level: float) -> str:
    """Return a confidence level in percent, such as ``95 %``; all digits of a level that would round to 100 %."""
    text = f"{100 * level:g}"
    return f"{(Decimal(repr(level)) * 100).normalize():f} %" if text == "100" else f"{text} %"


def has_biased_plug_in(provenance: Provenance) -> bool:
    """Return whether the usual value of what is estimated is biased: that of a Fréchet distance is.

    The usual value of a distance by a kernel also takes the reference for a sample. So from a fixed reference it lies
    below the distance, however many samples there are.
    """
    return (provenance.functional or "").lower().startswith(("fréchet", "frechet"))


def points_text(n: int) -> str:
    """Return ``1 point``, ``2 points`` and so on."""
    return "1 point" if n == 1 else f"{n} points"


def text_of_seed(seed: SeedSequence) -> str:
    """Return a seed as one would pass it again."""
    if not seed.spawn_key:
        return str(seed.entropy)
    return f"SeedSequence({seed.entropy}, spawn_key={seed.spawn_key})"


@dataclass(frozen=True, eq=False)
class Provenance:
    """The record of what was done to get an estimate.

    Attributes
    ----------
    generator, statistic : str
        Their names.
    noise, design : str
        Their text forms.
    dimension : int
        Entries of the noise of one sample.
    n_points, n_replicates, n_evaluations : int
        Points in a replicate, replicates, and their product: the samples that count in the estimate. For an average
        over conditions they are those of each condition.
    seed : SeedSequence
        The seed of all random numbers.
    condition : str or None
        Name or text form of the condition; for an average, those of all conditions.
    batch_size : int
        The most rows that the model saw at a time: whole replicates, or a part of one.
    first_replicate : int
        Number of the first replicate; not 0 only for a part of a run.
    pilot_evaluations : int
        Evaluations before the run; they are not in `n_evaluations`. The pilots of the design, of the controls and of a
        fitted generator count once for all conditions. Those of plans and levels are for all conditions together.
    partial : bool
        Whether the run was interrupted.
    common_random_numbers : bool
        Whether several conditions shared their noise.
    rounding : float
        Relative rounding error of the samples' type.
    seconds : float
        Wall time of the run; it does not count for equality.
    seconds_per_evaluation, timing_error : float
        Seconds of a row that the model ran, whether it counts or fills a batch, and their relative standard error. The
        first batch, in which models warm up, is not included. They do not count for equality.
    versions : dict of str
        Versions of Python and the libraries; they do not count for equality.
    level : str or None
        Name of the level of `mcgen.multilevel`, or of the sum. The `n_evaluations` of a sum are those of all levels,
        weighted by their cost. Its `n_points` and `n_replicates` are those of the finest level.
    cost : float
        Cost of an evaluation, in evaluations of the generator whose expectation is estimated; not 1 only for levels.
    coefficients : tuple of float or None
        The factors, one a component, by which a level multiplies the coarser generator before it subtracts it.
    plan : str or None
        What `mcgen.plan` chose, and why.
    controls : str or None
        The control variates, and the source of their coefficients.
    net : int
        Dimension of the randomized net that each replicate is; 0 for other designs.
    functional : str or None
        What is estimated of the statistic, such as "variance"; None for its mean.
    features, reference : str or None
        For a distance: the features that it compares, with a text that changes with their network, and the reference.
        Only distances of the same features from the same reference can be compared.
    across : str or None
        "mixture" for a functional of the pooled law of several conditions. "population" for the mean of a population
        of which the conditions are a sample.
    model : str or None
        Name of the model, for the estimate of one of two models on independent noise (`Estimate.models`).
    models_noise : str or None
        For a difference of two models: "same noise", "independent noise", or which blocks they share.

    Examples
    --------
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: z**2, noise=(16,), name="square")
    >>> options = dict(design=mcgen.Antithetic(), n_evaluations=640, seed=0)
    >>> done = mcgen.estimate(model, mcgen.statistics.pixel_mean, **options).provenance
    >>> done.generator, done.design, done.n_evaluations, done.seed_text
    ('square', 'Antithetic()', 640, '0')
    """

    generator: str
    statistic: str
    noise: str
    dimension: int
    design: str
    n_points: int
    n_replicates: int
    n_evaluations: int
    seed: SeedSequence
    condition: str | None
    batch_size: int
    partial: bool = False
    common_random_numbers: bool = False
    rounding: float = 2.0**-52
    seconds: float = 0.0
    seconds_per_evaluation: float = 0.0
    timing_error: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    pilot_evaluations: int = 0
    level: str | None = None
    cost: float = 1.0
    coefficients: tuple[float, ...] | None = None
    plan: str | None = None
    controls: str | None = None
    first_replicate: int = 0
    net: int = 0
    functional: str | None = None
    features: str | None = None
    reference: str | None = None
    across: str | None = None
    model: str | None = None
    models_noise: str | None = None

    @property
    def seed_text(self) -> str:
        """The seed as you would pass it again."""
        return text_of_seed(self.seed)
