"""Plain functions as statistics, with names for what they return."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any, Never

import numpy as np
from numpy.typing import ArrayLike, NDArray

from mcgen._lib.arrays import Floats, as_values, numbers_of
from mcgen._lib.condition_keys import key_of_condition
from mcgen._lib.names import name_of
from mcgen.errors import RunError
from mcgen.statistics.values import (
    LARGEST_VALUE,
    boolean_components,
    called,
    checked_callable,
    component_bounds,
    is_watched,
    with_condition,
)


@dataclass(frozen=True)
class NamedStatistic:
    """A statistic with a name, and with names for its components; made by `as_statistic`.

    Call it with n samples to get its values, shape (n,) or (n, ...). With `uses_condition` it is called with the
    samples and the condition. `for_condition` then returns the statistic of samples alone under one condition.

    Attributes
    ----------
    function : callable
        The function that computes the values.
    name : str
        The name in results.
    names : tuple of str, or None
        Names of the components; None where they have none.
    bounds : tuple of two tuples of float, or None
        The least and the largest value of each component, or one for all; None where none are declared.
    uses_condition : bool
        Whether the function takes the condition too.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> above = mcgen.as_statistic(lambda x: x > 0.5, name="above 0.5", components=["left", "right"])
    >>> above.name, above.names, above(np.array([[0.2, 0.7]])).tolist()
    ('above 0.5', ('left', 'right'), [[False, True]])
    """

    function: Callable[..., Any]
    name: str
    names: tuple[str, ...] | None
    bounds: tuple[tuple[float, ...], tuple[float, ...]] | None = None
    uses_condition: bool = False

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"

    def __mcgen_content__(self, load: bool) -> Any:
        if self.uses_condition:
            return self.function, self.bounds, "uses_condition"
        return self.function if self.bounds is None else (self.function, self.bounds)

    def for_condition(self, condition: Any) -> NamedStatistic:
        """Return the statistic under a condition; ValueError if it takes one and this is None."""
        if not self.uses_condition:
            bound = with_condition(self.function, condition)
            return self if bound is self.function else replace(self, function=bound)
        if condition is None:
            raise ValueError(
                f"statistic {self.name!r} takes (samples, condition), and no condition was given; pass condition=..., "
                "or make it of a function of the samples alone, without uses_condition=True"
            )
        return replace(self, function=_UnderCondition(self.function, condition, self.name), uses_condition=False)

    def __call__(self, samples: Any, condition: Any = None) -> Any:
        """Return the function's values, once there are as many as there are names, and all are within the bounds.

        The condition is for a statistic with `uses_condition`.
        """
        if self.uses_condition:
            return self.for_condition(condition)(samples)
        if condition is not None:
            raise TypeError(
                f"statistic {self.name!r} takes the samples alone; got a condition too. Use "
                "mcgen.as_statistic(f, uses_condition=True) for a function of both"
            )
        values = called(self.function, samples)
        found = int(np.prod(np.shape(values)[1:]))
        if self.names is not None and found != len(self.names):
            raise RunError(
                f"statistic {self.name!r} has {len(self.names)} component names ({', '.join(self.names)}) and returned "
                f"{found} values for each sample; give as many names as there are values"
            )
        if self.bounds is not None:
            self._require_inside(as_values(values).reshape(len(values), -1))
        return values

    def _require_inside(self, values: Floats) -> None:
        """Refuse values outside the declared bounds; the interval's proof rests on them."""
        low, high = self.component_bounds(values.shape[1], None)
        outside = (values < low) | (values > high)
        if outside.any():
            row, column = np.argwhere(outside)[0]
            raise RunError(
                f"statistic {self.name!r} returned {float(values[row, column])!r} for component {column}, outside its "
                f"bounds ({low[column]:g}, {high[column]:g}); every value must lie between them. Declare wider "
                "bounds=(low, high), or limit the values, which changes their mean"
            )

    def component_bounds(self, k: int, samples: Any) -> Floats:
        """Return the declared bounds of k values, shape (2, k)."""
        if self.bounds is None:
            return component_bounds(self.function, k, samples)
        if len(self.bounds[0]) not in (1, k):
            raise RunError(
                f"statistic {self.name!r} has bounds for {len(self.bounds[0])} values and returned {k} for each "
                "sample; give one pair of bounds for all, or a list of lows and a list of highs, one for each value"
            )
        return np.array([np.broadcast_to(ends, k) for ends in self.bounds])

    def boolean_components(self, samples: Any) -> NDArray[np.bool_]:
        """Return which values of the function are boolean."""
        return boolean_components(self.function, samples)


@dataclass(frozen=True, eq=False)
class _UnderCondition:
    """A function of samples and condition, under one condition.

    Attributes
    ----------
    function : callable
        ``function(samples, condition)``.
    condition : object
        Handed on as it is, as generators get it.
    name : str
        Name of the statistic.
    """

    function: Callable[..., Any]
    condition: Any
    name: str

    def __mcgen_content__(self, load: bool) -> Any:
        return self.function, self.condition

    def __call__(self, samples: Any) -> Any:
        """Return the values of n samples under the condition.

        While the statistic's laws are tried, a function that changes the condition is refused: the generator and all
        later calls get the same object.
        """
        watched = is_watched()
        before = key_of_condition(self.condition) if watched else None
        values = called(self.function, samples, self.condition)
        if watched and key_of_condition(self.condition) != before:
            raise RunError(
                f"statistic {self.name!r} changes its condition, which the generator and all later calls get too; let "
                "it work on a copy"
            )
        return values


def as_statistic(
    function: Callable[..., Any],
    *,
    name: str | None = None,
    components: Sequence[str] | None = None,
    bounds: tuple[ArrayLike, ArrayLike] | None = None,
    uses_condition: bool = False,
    **unknown: Never,
) -> NamedStatistic:
    """Return a function of the samples as a statistic with a name.

    Any function from n samples to values of shape (n,) or (n, ...) is a statistic already. This gives it names for
    results, bounds, or the condition. Boolean values are an indicator: the estimate is a probability.

    Parameters
    ----------
    function : callable
        From n samples to one number, or one array, for each. With `uses_condition` it is called as
        ``function(samples, condition)``.
    name : str, optional
        The name in results. By default the function's own, which for a lambda is ``<lambda>``.
    components : sequence of str, optional
        Names of the values of one sample, in their order; all different.
    bounds : tuple of two numbers, or of two lists of numbers
        The least and the largest value that the function can return: for all values of one sample, or one for each.
        ``interval="betting"`` needs them. Booleans lie between 0 and 1 by themselves.
    uses_condition : bool
        Call the function with the condition too: the same object that the generator gets. Use it where each condition
        has a truth of its own, as each measurement of an inverse problem has.

    Returns
    -------
    NamedStatistic
        A callable with ``name``, ``names`` and ``bounds``. Its ``for_condition(condition)`` is the statistic of
        samples alone.

    Raises
    ------
    TypeError, ValueError
        If the function can't be called, the names are no different texts, or the bounds are no finite numbers, each
        low below its high. ValueError in a run without a condition, if the function takes one.
    RunError
        In a run: if the function returns another number of values than there are names, returns a value out of bounds,
        or changes the condition.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: z, noise=(2,), name="model")
    >>> above = mcgen.as_statistic(lambda x: x > 0.5, name="above 0.5", components=["left", "right"])
    >>> result = mcgen.estimate(model, above, design=mcgen.Antithetic(), n_evaluations=6400, seed=0)
    >>> result.names, bool((abs(result.mean - 0.3085) < 0.02).all())
    (('left', 'right'), True)

    Here each condition is a number, and the samples are noisy copies of it. The statistic compares them with this
    truth:

    >>> noisy = mcgen.as_generator(lambda z, truth: truth + 0.1 * z, noise=(64,), name="noisy")
    >>> psnr = lambda x, truth: -10 * np.log10(((x - truth) ** 2).mean(axis=1))
    >>> statistic = mcgen.as_statistic(psnr, name="psnr", uses_condition=True)
    >>> options = dict(design=mcgen.MonteCarlo(), n_evaluations=640, seed=0)
    >>> result = mcgen.estimate(noisy, statistic, condition={"low": 0.2, "high": 0.8}, **options)
    >>> [round(float(result[name].mean), 1) for name in ("low", "high")]
    [20.0, 20.1]
    """
    if unknown:
        hint = "; did you mean components=['left', 'right'], the names of the values?" if "names" in unknown else "."
        raise TypeError(
            f"mcgen.as_statistic has no argument {next(iter(unknown))!r}{hint} It takes name, components, bounds, "
            "uses_condition"
        )
    checked_callable(function)
    if name is not None and (not isinstance(name, str) or not name):
        raise TypeError(f"name must be a text such as 'brightness'; got {name!r}. Leave it out for the function's own")
    names = None
    if components is not None:
        names = None if isinstance(components, str) else tuple(components)
        if not names or not all(isinstance(one, str) and one for one in names):
            raise TypeError(f"components must be a list of names such as ['left', 'right']; got {components!r}")
        if len(set(names)) < len(names):
            raise ValueError(f"components repeat in {', '.join(names)}; give each value a name of its own")
    if not isinstance(uses_condition, bool):
        raise TypeError(
            f"uses_condition must be True, for f(samples, condition), or False, for f(samples); got {uses_condition!r}"
        )
    limits = None if bounds is None else _checked(bounds)
    return NamedStatistic(function, name or name_of(function), names, limits, uses_condition)


def _checked(bounds: Any) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Return the least and the largest values as tuples of equal lengths, or refuse what is no such bounds."""
    try:
        low, high = np.broadcast_arrays(*(numbers_of(end).astype(np.float64).reshape(-1) for end in bounds))
    except (TypeError, ValueError) as error:
        raise TypeError(f"bounds must be (low, high), two numbers or two lists of numbers; got {bounds!r}") from error
    if not (np.isfinite(low).all() and np.isfinite(high).all() and (low < high).all()):
        raise ValueError(
            f"bounds must be finite, and each low below its high; got {bounds!r}. Without known bounds leave them out"
        )
    if max(-low.min(), high.max()) > LARGEST_VALUE:
        raise ValueError(
            f"bounds must lie within ±{LARGEST_VALUE:g}, as all values must; got {bounds!r}. Divide the values by a "
            "constant"
        )
    return tuple(low.tolist()), tuple(high.tolist())
