"""`compare`: the same quantity by several designs, with the relative efficiency of each and its interval."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, Unpack

import numpy as np
from numpy.random import SeedSequence

from mcgen._lib.checks import checked_integer, checked_protocol
from mcgen.designs import Design, MonteCarlo
from mcgen.designs._base import refuse_class
from mcgen.errors import CoverageWarning, held_warnings, warn_user, with_partial
from mcgen.estimation import estimate
from mcgen.functionals import Functional
from mcgen.generators import Generator
from mcgen.generators.base import checked_generator
from mcgen.generators.joint import pilot_evaluations_of
from mcgen.inference.efficiency import FEWEST_FOR_JACKKNIFE
from mcgen.inference.methods import IntervalOptions
from mcgen.noise.random import Seed, as_seed_sequence
from mcgen.replicates.sizes import Conditions, checked_replicates, conditions_of, with_points
from mcgen.results.comparison import Comparison, label_of_design
from mcgen.results.estimate import Estimate
from mcgen.results.notes import merged_warnings
from mcgen.runs.arguments import RunArguments, checked_arguments, showing_arguments
from mcgen.runs.options import RunOptions
from mcgen.statistics import Statistic
from mcgen.variance_reduction.planning.auto import Auto, check_auto
from mcgen.variance_reduction.planning.planner import checked_request

_REFUSED = {
    **dict.fromkeys(
        ("store", "replicates", "atol", "rtol"),
        "It runs all designs on the same number of evaluations in one call. Leave it out, or use mcgen.estimate for "
        "each design, with a store for each",
    ),
    **dict.fromkeys(
        ("n_replicates", "components", "max_evaluations", "min_replicates"),
        "It runs all designs on the same number of evaluations: give n_evaluations",
    ),
    "clusters": "They are for mcgen.estimate(..., across='population'), with the design that you choose",
}
"""Arguments of a run that do not go with a comparison, and why."""


@showing_arguments(without=_REFUSED)
def compare(
    generator: Generator,
    score: Statistic | Functional,
    *,
    designs: Sequence[Design | Auto | Literal["auto"]],
    baseline: int | Design | Auto | Literal["auto"] | None = None,
    **run: Unpack[RunArguments],
) -> Comparison:
    """Estimate the same quantity by several designs at equal numbers of evaluations.

    Use it to choose a design. Efficiencies are per evaluation spent. The pilot of a design, such as that of a
    `Subspace`, comes on top of the run and counts. With ``"auto"`` pilot and run together cost at most
    `n_evaluations`, and all of it counts.

    Parameters
    ----------
    generator, score
        As for `estimate`.
    designs : sequence of Design, Auto or "auto"
        Different designs; their random numbers are independent. Each needs 5 replicates or more for its efficiency.
        Each `Auto` runs under a seed of its own, which follows from `seed` and from its arguments. The provenance of
        its estimate has this seed: ``estimate(..., design="auto", seed=that)`` gives the same numbers.
    n_evaluations : int
        Evaluations of each design: a multiple of the points of each. The error message names the nearest numbers that
        suit all designs. With ``Sobol()``, whose points follow from it, it is rounded down to such a number.
    seed : int or SeedSequence
        As for `estimate`.
    baseline : Design, Auto, "auto" or int, optional
        The design that the efficiencies are relative to, or its position. By default ``MonteCarlo()`` if it is one of
        the designs, else the first.
    **run
        Other arguments of `estimate`. Several conditions run on random numbers of their own, or on the same with
        ``common_random_numbers=True``, which is refused with ``"auto"``. `Comparison.by_condition` has a row for each.
        ``across="population"`` is refused: the spread between conditions is the same for all designs. Replicate means
        are always kept.

    Returns
    -------
    Comparison
        If the run is interrupted from the keyboard, the comparison of the finished designs. An exception carries that
        comparison as its ``partial``.

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
    >>> designs = [mcgen.MonteCarlo(), "auto"]
    >>> table = mcgen.compare(generator, mcgen.statistics.pixel_mean, designs=designs, n_evaluations=3200, seed=0)
    >>> table.labels
    ('MonteCarlo()', 'auto: sobol 128')
    """
    asked = checked_arguments("compare", run, _REFUSED, own=("designs", "baseline"))
    given, baseline, asked["n_evaluations"] = _with_points(_listed(designs), baseline, asked["n_evaluations"])
    run["n_evaluations"] = asked["n_evaluations"]
    chosen, number = _checked_designs(given, baseline)
    checked_generator(generator)
    _check_evaluations([one for one in chosen if not isinstance(one, Auto)], asked["n_evaluations"])
    if asked["keep_replicates"] is False:
        raise ValueError("an efficiency is made from the replicate means; leave out keep_replicates=False")
    _check_conditions(score, asked)
    for one in chosen:
        if isinstance(one, Auto):
            _check_auto(one, generator, asked)
    return _run_all(generator, score, chosen, number, {**run, "keep_replicates": True})


def _listed(designs: Any) -> list[Any]:
    """Return the designs as a list, with `Auto` for "auto"."""
    several = isinstance(designs, Iterable) and not isinstance(designs, str | Design | Auto)
    return [_with_auto(one) for one in (designs if several else [designs])]


def _with_auto(design: Any) -> Any:
    """Return `Auto` for "auto", and anything else as it is."""
    return Auto() if isinstance(design, str) and design == "auto" else design


def _with_points(designs: list[Any], baseline: Any, n_evaluations: int | None) -> tuple[list[Any], Any, int | None]:
    """Return designs and baseline with their points, and the evaluations.

    If a design took its points from the evaluations, these are rounded down to whole replicates of all designs.
    """
    found = [with_points(one, n_evaluations)[0] for one in designs]
    baseline = with_points(_with_auto(baseline), n_evaluations)[0]
    if all(one is two for one, two in zip(designs, found, strict=True)):
        return designs, baseline, n_evaluations
    assert n_evaluations is not None
    points = [one.n_points for one in found if isinstance(one, Design) and isinstance(one.n_points, int)]
    return found, baseline, n_evaluations // math.lcm(*points) * math.lcm(*points)


def _checked_designs(designs: list[Any], baseline: Any) -> tuple[tuple[Design | Auto, ...], int]:
    """Return the designs and the position of the baseline, or refuse designs that repeat."""
    for design in designs:
        refuse_class(design)
        if not isinstance(design, Auto):
            checked_protocol(
                design, Design, "each of designs", "pass a list such as [MonteCarlo(), Antithetic(), 'auto']"
            )
    chosen = tuple(designs)
    if len(chosen) < 1 or len({str(design) for design in chosen}) < len(chosen):
        raise ValueError(f"compare needs one or more designs, all different; got {[str(design) for design in chosen]}")
    if baseline is None:
        return chosen, chosen.index(MonteCarlo()) if MonteCarlo() in chosen else 0
    if isinstance(baseline, Design | Auto) and baseline in chosen:
        return chosen, chosen.index(baseline)
    if isinstance(baseline, Design | Auto) or not 0 <= checked_integer("baseline", baseline) < len(chosen):
        raise ValueError(
            f"baseline must be one of the designs, or its position from 0 to {len(chosen) - 1}; got {baseline}"
        )
    return chosen, checked_integer("baseline", baseline)


def _check_conditions(score: Any, asked: RunArguments) -> None:
    """Refuse ways of joining several conditions whose efficiencies can't be told."""
    if asked["across"] == "population":
        raise ValueError(
            "compare shows how much noise each design leaves, and the spread between conditions is the same for all; "
            "got across='population'. Use across='average', and mcgen.estimate(..., across='population') with the "
            "design that you choose"
        )
    several, common = isinstance(conditions_of(asked["condition"]), Conditions), asked["common_random_numbers"]
    if several and asked["across"] == "mixture" and isinstance(score, Functional) and not common:
        raise ValueError(
            "a functional of a mixture of independent conditions has no replicate means to compare designs by; got "
            "across='mixture'. Use common_random_numbers=True, or across='average'"
        )


def _check_auto(design: Auto, generator: Generator, asked: RunArguments) -> None:
    """Refuse, before any design runs, what does not go with a design that a pilot chooses."""
    interval = IntervalOptions(asked["confidence_level"], asked["interval"], asked["simultaneous"])
    options = RunOptions(interval, controls=asked["controls"])
    check_auto(options, asked["n_evaluations"], None, asked["common_random_numbers"], range(0))
    evaluations = checked_integer("n_evaluations", asked["n_evaluations"])
    least = 2 * FEWEST_FOR_JACKKNIFE + math.ceil(pilot_evaluations_of(generator) - 1e-9)
    if evaluations < least:
        raise ValueError(
            f"'auto' needs {least} evaluations or more, for an efficiency from {FEWEST_FOR_JACKKNIFE} antithetic pairs "
            f"beside what was spent on the generator; got n_evaluations={evaluations}. Use {max(50, least)} or more"
        )
    checked_request(design, generator)


def _own_seed(design: Auto, seed: Seed) -> SeedSequence:
    """Return the seed of what a pilot chooses; it shares no random numbers with the same design under `seed`.

    A run takes the path of its random numbers from its design and its seed. So pairs that `Auto` chooses would have the
    noise of ``Antithetic()`` beside it, and the two estimates would not be independent.
    """
    root = as_seed_sequence(seed)
    word = int.from_bytes(hashlib.sha256(f"compare\x1f{design}".encode()).digest()[:4], "little")
    return SeedSequence(root.entropy, spawn_key=(*root.spawn_key, word), pool_size=root.pool_size)


def _check_evaluations(designs: Sequence[Design], n_evaluations: int | None) -> None:
    """Refuse a number of evaluations that does not suit every design, and name the nearest ones that do."""
    if not designs:
        return
    if n_evaluations is None or len(designs) == 1:
        count = checked_replicates(designs[0], n_evaluations, None)
        if count < FEWEST_FOR_JACKKNIFE:
            raise ValueError(
                f"an efficiency needs at least {FEWEST_FOR_JACKKNIFE} replicates; got {count} of {designs[0]} in "
                f"{n_evaluations} evaluations. Use {FEWEST_FOR_JACKKNIFE * designs[0].n_points} or more "
                "evaluations, or fewer points"
            )
        return
    evaluations = checked_integer("n_evaluations", n_evaluations)
    points = [design.n_points for design in designs]
    together, least = math.lcm(*points), FEWEST_FOR_JACKKNIFE * max(points)
    if evaluations >= least and evaluations % together == 0:
        return
    fewest = math.ceil(least / together) * together
    below = max(evaluations // together * together, fewest)
    above = max((evaluations // together + 1) * together, fewest)
    each = ", ".join(f"{n} of {design}" for n, design in zip(points, designs, strict=True))
    raise ValueError(
        f"n_evaluations must be a multiple of the points of every design ({each}), for {FEWEST_FOR_JACKKNIFE} "
        f"replicates of each or more; got {evaluations}. Use {below if below == above else f'{below} or {above}'}"
    )


def _run_all(
    generator: Generator, score: Statistic | Functional, designs: tuple[Design | Auto, ...], baseline: int, run: Any
) -> Comparison:
    """Return the comparison after running the designs, the baseline first: an interrupted comparison needs it."""
    done: list[Estimate] = []
    held_back: list[tuple[str, list[str]]] = []
    order = [baseline, *(number for number in range(len(designs)) if number != baseline)]
    try:
        with held_warnings() as held:
            for number in order:
                design = designs[number]
                own = {"seed": _own_seed(design, run["seed"])} if isinstance(design, Auto) else {}
                made = estimate(generator, score, design=design, **(run | own))
                if made.partial and done:
                    break
                done.append(made)
                held_back.append((label_of_design(str(design), made), held.take()))
                if made.partial:
                    break
    except KeyboardInterrupt:
        if not done:
            raise
    except Exception as error:
        if done:
            with_partial(error, _compared(designs, order, done, baseline))
        raise
    in_order = [held_back[place] for place in np.argsort(order[: len(held_back)])]
    for text in merged_warnings(in_order, "design", done[0].names):
        warn_user(text, CoverageWarning)
    return _compared(designs, order, done, baseline)


def _compared(designs: Sequence[Design | Auto], order: list[int], done: list[Estimate], baseline: int) -> Comparison:
    """Return the comparison of the finished designs, in the order in which the user gave them."""
    finished = sorted(zip(order, done, strict=False), key=lambda pair: pair[0])
    numbers = [number for number, _ in finished]
    texts = tuple(str(designs[number]) for number in numbers)
    return Comparison(tuple(one for _, one in finished), numbers.index(baseline), texts)
