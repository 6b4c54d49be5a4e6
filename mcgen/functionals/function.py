"""Any smooth function of means as a functional."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from mcgen._lib.arrays import Floats, as_values
from mcgen._lib.names import name_of
from mcgen.errors import RunError
from mcgen.functionals.base import Functional, OfOneStatistic, Replicates
from mcgen.functionals.influence import Influence
from mcgen.inference.jackknife import Units, expanded
from mcgen.statistics import Statistic

# Most means whose second derivatives are taken by differences; with more, a jackknife over groups of units.
_MOST_MEANS = 32
_GROUPS = 64


@dataclass(frozen=True)
class FunctionOfMeans(OfOneStatistic):
    """g(E[S]); made by `function_of_means`."""

    g: Callable[[Floats], Any]
    gradient: Callable[[Floats], Any] | None = None
    given_name: str | None = None

    @property
    def label(self) -> str:
        """The function's name."""
        return self.given_name or name_of(self.g)

    @property
    def name(self) -> str:
        """The function with its statistic."""
        return self.given_name or f"{name_of(self.g)}(E[{name_of(self.own)}])"

    def component_names(self, base: tuple[str, ...], shape: tuple[int, ...]) -> tuple[str, ...]:
        """Return the name, with the number of the component where there are several."""
        if shape == ():
            return (self.name,)
        return tuple(f"{self.name}[{', '.join(map(str, index))}]" for index in np.ndindex(shape))

    def of(self, units: Units, shape: tuple[int, ...]) -> Floats:
        """Return g at the means of each unit."""
        return np.stack([self._at_means(mean, shape) for mean in units.mean])

    def shape_of(self, shape: tuple[int, ...], whole: Units) -> tuple[int, ...]:
        """Return the shape of what g returns."""
        return np.shape(self._of_g(whole.mean[0], shape))

    def without_each(self, units: Units, whole: Units, shape: tuple[int, ...]) -> Floats:
        """Return g without each unit: by its second-order expansion where that takes fewer calls of g."""
        n, k = units.mean.shape
        calls = 2 * k + 1 if self.gradient is not None else 2 * k * k + 1
        if n <= max(_GROUPS, calls) or k > _MOST_MEANS:
            return self.of(units.left_out(whole), shape)
        error = units.mean.std(axis=0, ddof=1) / np.sqrt(n)
        gradient = None if self.gradient is None else lambda mean: self._gradient_at(mean, shape)
        points = units.left_out(whole).mean
        return expanded(lambda mean: self._at_means(mean, shape), whole.mean[0], points, error, gradient)

    def influence(self, found: Replicates) -> Influence:
        """Return the linear part of g at the means."""
        units = found.units
        mean = units.total().mean[0]
        error = units.mean.std(axis=0, ddof=1) / np.sqrt(len(units))
        if self.gradient is not None:
            slope = self._gradient_at(mean, found.shape)
        else:
            steps = np.where(error > 0, error, 1.0)
            ups = [self._at_means(mean + u, found.shape) for u in np.diag(steps)]
            downs = [self._at_means(mean - u, found.shape) for u in np.diag(steps)]
            slope = ((np.stack(ups) - np.stack(downs)) / (2 * steps[:, None])).T
        return self._influence(found, lambda values, slope: values @ slope, slope.T)

    def _at_means(self, mean: Floats, shape: tuple[int, ...]) -> Floats:
        """Return g at some means, shape (c,)."""
        return self._of_g(mean, shape).ravel()

    def _of_g(self, mean: Floats, shape: tuple[int, ...]) -> Floats:
        """Return g at some means, in its own shape."""
        try:
            return as_values(self.g(mean.reshape(shape) if shape else mean[0]))
        except (TypeError, ValueError, IndexError) as error:
            raise RunError(
                f"the function {self.label!r} of means failed, or returned no numbers, for means of shape "
                f"{shape or '() (one number)'}: {error}"
            ) from error

    def _gradient_at(self, mean: Floats, shape: tuple[int, ...]) -> Floats:
        """Return the gradient at some means, shape (c, k)."""
        found = as_values(self.gradient(mean.reshape(shape) if shape else mean[0])) if self.gradient else mean
        k = len(mean)
        if found.size == 0 or found.size % k:
            raise RunError(
                f"gradient must return the derivative of {self.label!r} by each of {k} means: shape {shape or '(1,)'}, "
                f"after the shape of the function's own values; got shape {found.shape}"
            )
        return found.reshape(-1, k)


def function_of_means(
    statistic: Statistic,
    g: Callable[[Any], Any],
    *,
    gradient: Callable[[Any], Any] | None = None,
    name: str | None = None,
) -> Functional:
    """Return g(E[S]) as a functional, for a smooth function g of the means of a statistic's components.

    Its bias of second order is taken away, and its interval is that of the delta method: from influence values of the
    replicates where there are up to 32 means and more replicates than that takes calls of g; from a jackknife
    otherwise.

    Parameters
    ----------
    statistic : callable
        From n samples to values of shape (n,) or (n, ...); `mcgen.statistics.stack` joins several.
    g : callable
        From the means, an array of the components' shape (a number for a statistic of one number), to a number or an
        array of them. Twice differentiable near the means.
    gradient : callable, optional
        From the means to the derivatives of g by each of them, the shape of g's values before that of the means; by
        default differences of g over one standard error.
    name : str, optional
        The name in results.

    Raises
    ------
    TypeError
        If the statistic or g can't be called.
    RunError
        In a run: if g fails, or has no finite value or derivative at the means.

    Examples
    --------
    >>> import mcgen
    >>> from mcgen import functionals, statistics
    >>> model = mcgen.as_generator(lambda z: 1 + z[:, 0] / 2, noise=(1,), name="model")
    >>> powers = statistics.stack(lambda x: x, lambda x: x**2, names=("x", "x^2"))
    >>> share = functionals.function_of_means(powers, lambda m: m[0] ** 2 / m[1], name="share of the mean")
    >>> result = mcgen.estimate(model, share, design=mcgen.Sobol(64), n_evaluations=3200, seed=0)
    >>> 0.8 in result.interval
    True
    """
    for what, given in (("g", g), ("gradient", gradient)):
        if not callable(given) and (what == "g" or given is not None):
            raise TypeError(f"{what} must be a function of the means, such as lambda m: m[0] / m[1]; got {given!r}")
    return FunctionOfMeans(g, gradient, name, own=statistic)
