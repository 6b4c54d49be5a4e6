"""`difference`: the estimate of the difference of two models."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Literal, Unpack

import numpy as np

from mcgen._lib.names import name_of
from mcgen.designs import Design
from mcgen.estimation import estimated, with_auto
from mcgen.functionals import Functional
from mcgen.functionals.joint import OnSameNoise
from mcgen.generators import Generator
from mcgen.generators.base import checked_generator
from mcgen.generators.joint import pair, pair_on_shared_blocks
from mcgen.inference.methods import IntervalOptions
from mcgen.noise.spec import NoiseSpec, agree_in_order, differences_of
from mcgen.replicates.sizes import Conditions, conditions_of
from mcgen.results.estimate import Estimate
from mcgen.results.provenance import INDEPENDENT_NOISE, SAME_NOISE
from mcgen.runs.arguments import DifferenceArguments, RunArguments, checked_arguments, showing_arguments
from mcgen.runs.scores import parts_of_score
from mcgen.statistics import Statistic
from mcgen.statistics.joint import Difference
from mcgen.variance_reduction.planning.auto import Auto

# The most blocks that a message lists; samplers of many steps have a block for each.
_MOST_LISTED = 8


@showing_arguments()
def difference(
    a: Generator,
    b: Generator,
    score: Statistic | Functional,
    *,
    design: Design | Auto | Literal["auto"],
    common_random_numbers: bool | str | Sequence[str] | Mapping[str, str] | None = None,
    **run: Unpack[DifferenceArguments],
) -> Estimate:
    """Estimate the difference E[score(a(noise))] - E[score(b(noise))] of two models, with a confidence interval.

    Use it to compare two models. By default they get the same noise, and the interval is that of the differences,
    replicate by replicate. For models that are much alike it is far narrower than that of two runs. Models whose noise
    has nothing in common run on independent noise.

    Parameters
    ----------
    a, b : Generator
        Two models.
    score : callable or Functional
        As for `estimate`; for a functional the result is the difference of its values for both models.
    design : Design, Auto or "auto"
        As for `estimate`.
    common_random_numbers : bool, str, sequence of str or dict, optional
        Which noise the models share:

        - None: the same noise if the blocks of both agree in order by shape, law and type, whatever their names;
          otherwise independent noise;
        - True: the same noise, or an error if the blocks do not agree; several conditions then share their noise too;
        - False: independent noise;
        - names of blocks: these are shared, and all others are independent;
        - a dictionary: names of blocks in `a`, and the names of the same blocks in `b`, such as ``{"start": "noise"}``.
    **run
        The other arguments of `estimate`. `n_evaluations` counts evaluations of each model. On independent noise
        `atol` is for the difference, and each model runs to half-widths of ``0.97 atol / sqrt(2)``.

    Returns
    -------
    Estimate
        ``result.provenance.models_noise`` says which noise the models share. On independent noise ``result.models``
        has the estimate of each model, and the interval is Welch's: variances add, and degrees of freedom are those of
        Welch and Satterthwaite. If the second model is interrupted, the difference is made from its finished
        replicates.

    Raises
    ------
    ValueError
        If `common_random_numbers` is True and the models need different noise, or names a block that not both have.
        The message lists the differences, or the blocks that both have. On independent noise also for `rtol`, for
        intervals that are made from replicate means, and for confidence sequences.
    TypeError, RunError, StoreError, WorkerError
        As for `estimate`. On independent noise there is a ``partial`` only if the second model fails.
    KeyboardInterrupt
        If the first of two models on independent noise is interrupted: there is no difference then.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> a = mcgen.as_generator(np.tanh, noise=(4,), name="a")
    >>> b = mcgen.as_generator(lambda z: np.tanh(1.1 * z + 0.1), noise=(4,), name="b")
    >>> mean = mcgen.statistics.pixel_mean
    >>> paired = mcgen.difference(b, a, mean, design=mcgen.MonteCarlo(), n_evaluations=1000, seed=0)
    >>> alone = mcgen.estimate(b, mean, design=mcgen.MonteCarlo(), n_evaluations=1000, seed=0)
    >>> paired.half_width < alone.half_width / 5
    True

    Two models with different noise:

    >>> other = mcgen.as_generator(lambda z: np.tanh(z).mean(axis=1), noise=(9, 4), name="other")
    >>> result = mcgen.difference(b, other, mean, design=mcgen.MonteCarlo(), n_evaluations=1000, seed=0)
    >>> result.provenance.models_noise, [model.provenance.model for model in result.models]
    ('independent noise', ['b', 'other'])
    """
    plain = {name: value for name, value in run.items() if name != "common_random_numbers"}
    asked = checked_arguments("difference", with_auto(design, plain)[1], own=("design",))
    for side, generator in (("a", a), ("b", b)):
        checked_generator(generator, f"generator {side}")
    shared = _shared(a, b, common_random_numbers)
    if shared == INDEPENDENT_NOISE:
        _require_independent_runs(asked)
        return estimated((a, b), score, design, plain, INDEPENDENT_NOISE)
    if isinstance(shared, str):
        joint, text = pair(a, b), shared
    else:
        joint, text = pair_on_shared_blocks(a, b, shared), f"{SAME_NOISE} in {_in_words(shared)}"
    if common_random_numbers is True and isinstance(conditions_of(asked["condition"]), Conditions):
        plain["common_random_numbers"] = True
    if isinstance(score, Functional):
        of_both: Statistic | Functional = OnSameNoise(score, ("a", "b"), (1.0, -1.0), "difference")
    else:
        of_both = Difference(parts_of_score(score)[0])
    return estimated((joint,), of_both, design, plain, text)


def _in_words(shared: Mapping[str, str]) -> str:
    """Return the names of shared blocks, with both names where they differ; the first of them where there are many."""
    names = [in_a if in_a == in_b else f"{in_a} = {in_b}" for in_a, in_b in shared.items()]
    more = [f"... ({len(names) - _MOST_LISTED} more)"] if len(names) > _MOST_LISTED else []
    return ", ".join(names[:_MOST_LISTED] + more)


def _shared(a: Generator, b: Generator, wanted: Any) -> str | dict[str, str]:
    """Return `SAME_NOISE`, `INDEPENDENT_NOISE`, or the names in both models of the blocks that they share."""
    if isinstance(wanted, np.bool_):
        wanted = bool(wanted)
    agree = agree_in_order(a.noise, b.noise)
    if wanted is None:
        return SAME_NOISE if agree else INDEPENDENT_NOISE
    if wanted is False:
        return INDEPENDENT_NOISE
    if wanted is not True:
        return _checked_blocks(a, b, wanted)
    if not agree:
        names = name_of(a), name_of(b)
        sides = (repr(names[0]), repr(names[1])) if names[0] != names[1] else ("generator a", "generator b")
        raise ValueError(
            "common random numbers need noise whose blocks agree in order by shape, law and dtype; got noise that "
            f"differs: {differences_of(a.noise, b.noise, sides)}. Give both the same NoiseSpec, name the blocks that "
            "they share, such as common_random_numbers=['start'], or leave it out for independent noise"
        )
    return SAME_NOISE


def _checked_blocks(a: Generator, b: Generator, wanted: Any) -> dict[str, str]:
    """Return the names in both models of the blocks to be shared, or refuse blocks that are not the same in both."""
    names = [wanted] if isinstance(wanted, str) else wanted
    listed = names.values() if isinstance(names, Mapping) else names
    if not isinstance(names, list | tuple | Mapping) or not all(isinstance(one, str) for one in (*names, *listed)):
        raise TypeError(
            "common_random_numbers must be True, False, None, names of blocks that both models have, such as "
            "['start'], or a dictionary of their names in the first and in the second model, such as {'start': "
            f"'noise'}}; got {wanted!r}"
        )
    if not names or len(set(names)) < len(names) or len(set(listed)) < len(names):
        raise ValueError(
            f"common_random_numbers must name one or more different blocks; got {wanted!r}. Name each once, or pass "
            "False for independent noise"
        )
    if a.noise.dtype != b.noise.dtype:
        raise ValueError(
            f"blocks are shared in one type; got noise of {a.noise.dtype} in {name_of(a)!r} and {b.noise.dtype} in "
            f"{name_of(b)!r}. Declare both in one type, or leave out common_random_numbers for independent noise"
        )
    found = dict(zip(names, listed, strict=True))
    for pair_of_names in found.items():
        _require_in_both(pair_of_names, a, b)
    return {name: found[name] for name, _ in a.noise.blocks if name in found}


def _require_in_both(names: tuple[str, str], a: Generator, b: Generator) -> None:
    """Refuse a block that only one model has, or that is another one in the other model."""
    found = [dict(one.noise.blocks).get(name) for name, one in zip(names, (a, b), strict=True)]
    if None not in found and found[0] == found[1]:
        return
    named = name_of(a) != name_of(b)
    sides = [repr(name_of(one)) if named else f"generator {side}" for side, one in (("a", a), ("b", b))]
    what = repr(names[0]) if names[0] == names[1] else f"{names[0]!r} and {names[1]!r}"
    texts = [f"{block or 'no such block'} in {side}" for block, side in zip(found, sides, strict=True)]
    raise ValueError(
        f"a shared block must be in both models, by the same shape and law; got {what}: {' and '.join(texts)}. "
        f"{_common_blocks(a.noise, b.noise)}"
    )


def _common_blocks(a: NoiseSpec, b: NoiseSpec) -> str:
    """Return in words which blocks two specs have in common."""
    common = [name for name, block in a.blocks if (name, block) in b.blocks]
    if not common:
        return (
            "They have no block of one name in common: give both names where these differ, such as {'start': 'noise'}, "
            "or leave out common_random_numbers for independent noise"
        )
    more = f" and {len(common) - _MOST_LISTED} more" if len(common) > _MOST_LISTED else ""
    return f"Both have {', '.join(map(repr, common[:_MOST_LISTED]))}{more}"


def _require_independent_runs(asked: RunArguments | Mapping[str, Any]) -> None:
    """Refuse what a difference of two independent runs can't have."""
    interval = IntervalOptions(asked["confidence_level"], asked["interval"], asked["simultaneous"])
    or_else = ", or common_random_numbers=True where both models take the same noise"
    if asked["rtol"] is not None:
        raise ValueError(
            f"rtol is for one run, and two models on independent noise have two; got rtol={asked['rtol']!r}. Give the "
            f"half-width of the difference as atol{or_else}"
        )
    if interval.needs_means:
        interval.require_no_resampling("the difference of two models on independent noise", or_else)
    if interval.is_sequential and interval.method != "two-stage-t":
        raise ValueError(
            "the difference of two models on independent noise has no confidence sequence; got "
            f"interval={asked['interval']!r}. Leave it out, or use atol{or_else}"
        )
    if interval.method == "proportion":
        raise ValueError(
            "interval='proportion' is for probabilities, and the difference of two is none; leave it out: boolean "
            "statistics then have it for each model, and the difference allows for it"
        )
