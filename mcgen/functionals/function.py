"""Any smooth function of means as a functional."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
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
# How far a gradient may be from differences: in standard errors of the function, and for rounding.
_GRADIENT_OFF, _ROUNDING = 0.1, 1e-9


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
        size = self._at_means(units.mean[0], shape).size
        return np.stack([self._at_means(mean, shape, size) for mean in units.mean])

    def shape_of(self, shape: tuple[int, ...], whole: Units) -> tuple[int, ...]:
        """Return the shape of what g returns."""
        return np.shape(self._of_g(whole.mean[0], shape))

    def without_each(self, units: Units, whole: Units, shape: tuple[int, ...]) -> Floats:
        """Return g without each unit: by its second-order expansion where that takes fewer calls of g."""
        n, k = units.mean.shape
        calls = 2 * k + 1 if self.gradient is not None else 2 * k * k + 1
        if n <= max(_GROUPS, calls) or k > _MOST_MEANS:
            return self.of(units.left_out(whole), shape)
        error, middle = _errors(units), whole.mean[0]
        size = self._at_means(middle, shape).size
        gradient = None
        if self.gradient is not None:
            self._checked_gradient(middle, shape, error)
            gradient = partial(self._gradient_at, shape=shape, size=size)
        function = partial(self._at_means, shape=shape, size=size)
        return expanded(function, middle, units.left_out(whole).mean, error, gradient)

    def influence(self, found: Replicates) -> Influence:
        """Return the linear part of g at the means."""
        mean, error = found.units.total().mean[0], _errors(found.units)
        if self.gradient is not None:
            slope = self._checked_gradient(mean, found.shape, error)
        else:
            steps = np.where(error > 0, error, 1.0)
            ups, downs = self._around(mean, found.shape, steps)
            slope = ((ups - downs) / (2 * steps[:, None])).T
        return self._influence(found, lambda values, slope: values @ slope, slope.T)

    def _around(self, mean: Floats, shape: tuple[int, ...], steps: Floats) -> tuple[Floats, Floats]:
        """Return g with each mean a step greater, and a step smaller, both of shape (k, c)."""
        ups, downs = ([self._at_means(mean + sign * u, shape) for u in np.diag(steps)] for sign in (1, -1))
        return np.stack(ups), np.stack(downs)

    def _checked_gradient(self, mean: Floats, shape: tuple[int, ...], error: Floats) -> Floats:
        """Return the gradient at the means, shape (c, k), or refuse one that differences over their errors contradict.

        A gradient that is off by less than a tenth of the standard error of g, or by what g bends, passes.
        """
        middle = self._at_means(mean, shape)
        slope = self._gradient_at(mean, shape, middle.size)
        ups, downs = self._around(mean, shape, error)
        found, given = (ups - downs) / 2, slope.T * error[:, None]
        allowed = _GRADIENT_OFF * np.linalg.norm(found, axis=0) + np.abs(ups - 2 * middle + downs)
        wrong = np.abs(given - found) > allowed + _ROUNDING * (np.abs(middle) + np.abs(mean)[:, None])
        if wrong.any():
            place, number = (int(i) for i in np.argwhere(wrong)[0])
            raise RunError(
                f"gradient is not that of {self.label!r}: by mean {place} of {len(mean)} it gives "
                f"{slope[number, place]:.6g} for value {number}, where differences of the function give "
                f"{found[place, number] / error[place]:.6g}. Mend it, or leave it out"
            )
        return slope

    def _at_means(self, mean: Floats, shape: tuple[int, ...], size: int | None = None) -> Floats:
        """Return g at some means, shape (c,); refuse another number of values than `size`."""
        found = self._of_g(mean, shape).ravel()
        if found.size == 0 or found.size != (size or found.size):
            raise RunError(
                f"the function {self.label!r} of means must return as many numbers for all means, one or more; got "
                f"{found.size}{f' after {size}' if size else ''}"
            )
        return found

    def _of_g(self, mean: Floats, shape: tuple[int, ...]) -> Floats:
        """Return g at some means, in its own shape."""
        return self._called(self.g, f"the function {self.label!r} of means", mean, shape)

    def _gradient_at(self, mean: Floats, shape: tuple[int, ...], size: int) -> Floats:
        """Return the gradient of so many values at some means, shape (c, k)."""
        assert self.gradient is not None
        found = self._called(self.gradient, f"the gradient of {self.label!r}", mean, shape)
        if found.size != size * len(mean):
            raise RunError(
                f"gradient must return the derivatives of {size} values of {self.label!r} by each of {len(mean)} means,"
                f" {size * len(mean)} in all, in the shape of the values before that of the means; got shape "
                f"{found.shape}"
            )
        return found.reshape(size, len(mean))

    def _called(self, function: Callable[[Any], Any], what: str, mean: Floats, shape: tuple[int, ...]) -> Floats:
        """Return what a function of the user gives at some means; it gets a copy, which it may change."""
        try:
            return as_values(function(mean.reshape(shape).copy() if shape else mean[0]))
        except (TypeError, ValueError, IndexError) as error:
            raise RunError(
                f"{what} failed, or returned no numbers, for means of shape {shape or '() (one number)'}: {error}"
            ) from error


def _errors(units: Units) -> Floats:
    """Return the standard error of each mean."""
    return np.asarray(units.mean.std(axis=0, ddof=1) / np.sqrt(len(units)))


def function_of_means(
    statistic: Statistic,
    g: Callable[[Any], Any],
    *,
    gradient: Callable[[Any], Any] | None = None,
    name: str | None = None,
) -> Functional:
    """Return g(E[S]) as a functional, for a smooth function g of the means of a statistic's components.

    Its bias of second order is removed. Its interval is that of the delta method, from influence values of the
    replicates. For more than 32 means, or where the delta method needs more calls of g than there are replicates, it
    comes from a jackknife.

    Parameters
    ----------
    statistic : callable
        From n samples to values of shape (n,) or (n, ...); `mcgen.statistics.stack` joins several.
    g : callable
        From the means to a number or an array of them. The means are an array of the components' shape, or a number
        for a statistic of one number. Twice differentiable near the means.
    gradient : callable, optional
        From the means to the derivatives of g by each of them: the shape of g's values before that of the means. By
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
