"""Figures of several results, and of samples; each result draws itself by its own ``plot()``.

All need matplotlib (the extra ``[plot]``), accept ``ax=``, and return the figure.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from mcgen._lib.checks import checked_integer
from mcgen._lib.names import name_of
from mcgen.generators import Generator
from mcgen.noise.random import Seed
from mcgen.results.figures.maps import plot_samples
from mcgen.results.figures.several import convergence, forest
from mcgen.sampling import antithetic_pictures

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from mcgen.results.figures.base import AxesLike

__all__ = ["convergence", "forest", "samples"]


def samples(generator: Generator, n: int, ax: AxesLike | None = None, *, seed: Seed, condition: Any = None) -> Figure:
    """Draw samples of noise z above those of the negated noise -z; needs matplotlib.

    Parameters
    ----------
    generator : Generator
        A model whose samples are images (H, W), (1, H, W) or (3, H, W); values outside [0, 1] are scaled to it.
    n : int
        How many pairs of samples.
    ax : Axes, optional
        Where to draw; by default a new figure is made.
    seed : int or SeedSequence
        The same seed draws the same samples, those of ``mcgen.sample(generator, 2 * n, design=Antithetic())``.
    condition : object, optional
        Passed to the generator; one condition, not a list.

    Returns
    -------
    Figure
        The figure, which pyplot does not keep; ``figure.savefig(path)`` writes it.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described, or the samples are no images.

    Examples
    --------
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: 1 / (1 + 2.7**-z), noise=(8, 8), name="pixels")
    >>> figure = mcgen.plots.samples(model, 5, seed=0)
    """
    if checked_integer("n", n) < 1:
        raise ValueError(f"n must be a number of pairs of samples, 1 or more; got {n}")
    pictures = antithetic_pictures(generator, n, seed=seed, condition=condition)
    if pictures is None:
        raise ValueError(
            f"the samples of {name_of(generator)} are no images of shape (H, W), (1, H, W) or (3, H, W), and can't be "
            "drawn; draw a statistic of them by mcgen.estimate(...).plot()"
        )
    return plot_samples(pictures, n, ax)


def __dir__() -> list[str]:
    return sorted(__all__)
