"""`sample`: samples of a generator, from noise that is drawn by design."""

from __future__ import annotations

from typing import Any

import numpy as np

from mcgen._lib.arrays import concatenated
from mcgen._lib.checks import checked_integer
from mcgen.designs import Antithetic, Design, MonteCarlo
from mcgen.designs._base import checked_design
from mcgen.generators import Generator
from mcgen.generators.base import checked_generator
from mcgen.noise.random import Seed, as_seed_sequence
from mcgen.replicates.loop import samples_of
from mcgen.replicates.sizes import checked_batch_size, require_single
from mcgen.replicates.streams import stream_of
from mcgen.replicates.task import Estimand
from mcgen.statistics import identity


def sample(
    generator: Generator,
    n: int,
    *,
    seed: Seed,
    condition: Any = None,
    design: Design | None = None,
    batch_size: int | None = None,
) -> Any:
    """Return n samples of a generator.

    Use it to look at a model. The samples are the first ones that `mcgen.estimate` uses with the same seed, condition
    and design.

    Parameters
    ----------
    generator : Generator
        The model; see `as_generator` for plain functions.
    n : int
        The number of samples: a multiple of the design's points.
    seed : int or SeedSequence
        The same seed gives the same samples.
    condition : object, optional
        Passed to the generator; one condition, not a list.
    design : Design, optional
        How the noise is drawn; ``MonteCarlo()`` by default. With ``Antithetic()`` samples 2 i and 2 i + 1 are a pair.
    batch_size : int, optional
        The most rows that the model sees at a time; about 64 by default.

    Returns
    -------
    samples
        In the generator's own library, with a leading axis of length n; a tuple where the generator returns one.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    RunError
        If the generator breaks a law.

    Examples
    --------
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: z**3, noise=(2,), name="cube")
    >>> pairs = mcgen.sample(model, 4, seed=0, design=mcgen.Antithetic())
    >>> pairs.shape, bool((pairs[0] == -pairs[1]).all())
    ((4, 2), True)
    """
    checked_generator(generator)
    design = checked_design(MonteCarlo() if design is None else design)
    require_single(condition, "samples are of one condition; got {}. Call mcgen.sample for each of them")
    count, rest = divmod(checked_integer("n", n), design.n_points)
    if rest or count < 1:
        above = (max(0, count) + 1) * design.n_points
        raise ValueError(
            f"n must be a multiple of the {design.n_points} points of {design}, and 1 or more; got {n}. Use {above}"
        )
    estimand = Estimand(generator, identity, as_seed_sequence(seed), stream_of(condition, 0), condition)
    task = estimand.task(design, checked_batch_size(batch_size, design.n_points, count))
    return concatenated([*samples_of(task, range(count))])


def antithetic_pictures(
    generator: Generator, n: int, *, seed: Seed, condition: Any = None
) -> np.ndarray[Any, Any] | None:
    """Return n samples of noise z and of -z, shape (2, n, H, W) or (2, n, C, H, W); None where they are no images.

    The arguments are those of `sample`.
    """
    array = _as_pictures(sample(generator, 2 * n, seed=seed, condition=condition, design=Antithetic()))
    return None if array is None else array.reshape(n, 2, *array.shape[1:]).swapaxes(0, 1)


def _as_pictures(samples: Any) -> np.ndarray[Any, Any] | None:
    """Return samples as images, shape (n, H, W) or (n, C, H, W); None where they are no images."""
    if not (hasattr(samples, "shape") and hasattr(samples, "dtype")):
        return None
    array = np.asarray(samples.detach().cpu() if hasattr(samples, "detach") else samples)
    if array.ndim == 4 and array.shape[1] == 1:
        array = array[:, 0]
    colour = array.ndim == 4 and array.shape[1] == 3
    return array.astype(float) if array.dtype.kind in "fiub" and (array.ndim == 3 or colour) else None
