"""Plain functions as statistics, with names for what they return."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Never

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.names import name_of
from mcgen.errors import RunError
from mcgen.statistics.values import Statistic, boolean_components, called, checked_callable


@dataclass(frozen=True)
class NamedStatistic:
    """A function of the samples with a name, and with names for its components; made by `as_statistic`."""

    function: Statistic
    name: str
    names: tuple[str, ...] | None

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name})"

    def __mcgen_content__(self, load: bool) -> Any:
        return self.function

    def __call__(self, samples: Any) -> Any:
        """Return the function's values, once there are as many for each sample as there are names."""
        values = called(self.function, samples)
        found = int(np.prod(np.shape(values)[1:]))
        if self.names is not None and found != len(self.names):
            raise RunError(
                f"statistic {self.name!r} has {len(self.names)} component names ({', '.join(self.names)}) and returned "
                f"{found} values for each sample; give as many names as there are values"
            )
        return values

    def boolean_components(self, samples: Any) -> NDArray[np.bool_]:
        """Return which values of the function are boolean."""
        return boolean_components(self.function, samples)


def as_statistic(
    function: Statistic, *, name: str | None = None, components: Sequence[str] | None = None, **unknown: Never
) -> Statistic:
    """Return a function of the samples as a statistic with a name.

    Any function from n samples to values of shape (n,) or (n, ...) is a statistic already; this gives it the words that
    results use. Boolean values are an indicator: the estimate is a probability.

    Parameters
    ----------
    function : callable
        From n samples to one number, or one array, for each.
    name : str, optional
        The name in results; by default the function's own.
    components : sequence of str, optional
        Names of the values of one sample, in their order; all different.

    Raises
    ------
    TypeError, ValueError
        If the function can't be called, or the names are no different texts.
    RunError
        In a run: if the function returns another number of values than there are names.

    Examples
    --------
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: z, noise=(2,), name="model")
    >>> above = mcgen.as_statistic(lambda x: x > 0.5, name="above 0.5", components=["left", "right"])
    >>> result = mcgen.estimate(model, above, design=mcgen.Antithetic(), n_evaluations=6400, seed=0)
    >>> result.names, bool((abs(result.mean - 0.3085) < 0.02).all())
    (('left', 'right'), True)
    """
    if unknown:
        hint = "; did you mean components=['left', 'right'], the names of the values?" if "names" in unknown else "."
        raise TypeError(f"mcgen.as_statistic has no argument {next(iter(unknown))!r}{hint} It takes name, components")
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
    return NamedStatistic(function, name or name_of(function), names)
