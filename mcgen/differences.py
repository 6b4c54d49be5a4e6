"""`difference`: the estimate of the difference of two models."""

from __future__ import annotations

from typing import Literal, Unpack

from mcgen._lib.names import name_of
from mcgen.designs import Design
from mcgen.estimation import estimate, with_auto
from mcgen.generators import Generator
from mcgen.generators.base import checked_generator
from mcgen.generators.joint import pair
from mcgen.noise.spec import agree_in_order, differences_of
from mcgen.results.estimate import Estimate
from mcgen.runs.arguments import RunArguments, checked_arguments, showing_arguments
from mcgen.statistics import Statistic
from mcgen.statistics.joint import Difference
from mcgen.statistics.values import checked_callable
from mcgen.variance_reduction.planning.auto import Auto


@showing_arguments()
def difference(
    generator_a: Generator,
    generator_b: Generator,
    statistic: Statistic,
    *,
    design: Design | Auto | Literal["auto"],
    **run: Unpack[RunArguments],
) -> Estimate:
    """Estimate E[statistic(a(noise))] - E[statistic(b(noise))] under common random numbers.

    Both generators see the same noise, and the interval is that of the differences, replicate by replicate: for
    models that are much alike it is far narrower than that of two runs.

    Parameters
    ----------
    generator_a, generator_b : Generator
        Two models that take the same noise. The names of their blocks may differ; shapes and laws must agree in order.
    statistic : callable
        As for `estimate`.
    design : Design
        As for `estimate`.
    **run
        The other arguments of `estimate`. `n_evaluations` counts pairs: each evaluates both models.

    Raises
    ------
    ValueError
        If the generators want different noise; the message lists what differs, block by block.

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
    """
    checked_arguments("difference", with_auto(design, run)[1], own=("design",))
    for side, generator in (("generator_a", generator_a), ("generator_b", generator_b)):
        checked_generator(generator, side)
    if not agree_in_order(generator_a.noise, generator_b.noise):
        names = name_of(generator_a), name_of(generator_b)
        sides = (repr(names[0]), repr(names[1])) if names[0] != names[1] else ("generator_a", "generator_b")
        raise ValueError(
            "common random numbers need noise whose blocks agree in order by shape, law and dtype; got noise that "
            f"differs: {differences_of(generator_a.noise, generator_b.noise, sides)}. Give both the same NoiseSpec, or "
            "estimate each alone"
        )
    return estimate(pair(generator_a, generator_b), Difference(checked_callable(statistic)), design=design, **run)
