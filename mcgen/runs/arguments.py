"""The arguments that all verbs share, declared once for editors and type checkers, and checked once."""

from __future__ import annotations

import difflib
import functools
import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, ParamSpec, Required, TypedDict, TypeVar, cast, get_args

import numpy as np

from mcgen._lib.checks import checked_flag, checked_level
from mcgen.inference.methods import Method, SimultaneousMethod
from mcgen.noise.random import Seed
from mcgen.runs.corrections import Correcting
from mcgen.runs.state import Callback

if TYPE_CHECKING:
    from distributed import Client


Across = Literal["average", "mixture", "population"]
"""What several conditions are joined to: the average of a score over them, the score of their pooled law, or the mean
of a population of which they are a sample."""


class _HowMuch(TypedDict, total=False):
    """How much to run, which interval, and under which conditions."""

    seed: Required[Seed]
    n_evaluations: int | None
    n_replicates: int | None
    atol: float | None
    rtol: float | None
    components: Sequence[str] | None
    max_evaluations: int | None
    min_replicates: int | None
    replicates: range | None
    confidence_level: float
    interval: Method | None
    simultaneous: bool | SimultaneousMethod
    condition: Any
    weights: Sequence[float] | Mapping[Any, float] | None
    across: Across
    clusters: Sequence[Any] | Mapping[Any, Any] | None


class _CommonNoise(TypedDict, total=False):
    """Whether several conditions share their noise."""

    common_random_numbers: bool


class _How(TypedDict, total=False):
    """How to run."""

    controls: Correcting | None
    batch_size: int | None
    keep_replicates: bool | None
    keep_samples: bool
    store: str | Path | None
    executor: Executor | Client | None
    range_timeout: float | None
    progress: bool
    callback: Callback | None


class RunArguments(_HowMuch, _CommonNoise, _How):
    """The keyword arguments that `mcgen.estimate` and the other verbs share, as a TypedDict.

    Use it to write options once and pass them to several calls, with types that editors and type checkers know.
    `mcgen.estimate` describes each argument in full. Only `seed` is required.

    Attributes
    ----------
    seed
        The same seed gives the same numbers.
    n_evaluations, n_replicates
        How much to run: samples, or replicates.
    atol, rtol, components, max_evaluations, min_replicates
        A tolerance in place of a number, the components that must reach it, and limits of the run.
    replicates
        Only these replicates of a longer run.
    confidence_level, interval, simultaneous
        The level, the method, and whether all intervals hold together.
    condition, weights, across, clusters
        One condition or several, and how they are joined.
    common_random_numbers
        Whether several conditions, or the models of a `difference`, share their noise.
    controls
        Functions of the noise that reduce the variance.
    batch_size
        The most rows that the model sees at a time.
    keep_replicates, keep_samples
        What the result keeps.
    store
        A file that receives the finished replicates.
    executor, range_timeout
        Where replicates run, and how long one range may take.
    progress, callback
        What shows the run while it goes on.

    Examples
    --------
    >>> import mcgen
    >>> options: mcgen.RunArguments = {"n_evaluations": 3200, "seed": 0, "confidence_level": 0.99}
    >>> model = mcgen.as_generator(lambda z: z**2, noise=(16,), name="square")
    >>> result = mcgen.estimate(model, mcgen.statistics.pixel_mean, design=mcgen.Antithetic(), **options)
    >>> result.confidence_level
    0.99

    To a type checker the dict may hold every argument, so that none can stand beside it. Make a second dict for a call
    that differs:

    >>> longer: mcgen.RunArguments = {**options, "n_evaluations": 6400}
    >>> mcgen.estimate(model, mcgen.statistics.pixel_mean, design=mcgen.Antithetic(), **longer).n_evaluations
    6400
    """


class DifferenceArguments(_HowMuch, _How):
    """The same for `mcgen.difference`, which declares `common_random_numbers` itself."""


NAMES = tuple(RunArguments.__annotations__)
"""The names of the shared arguments, in their order."""
DEFAULTS: Mapping[str, Any] = dict.fromkeys(name for name in NAMES if name != "seed") | {
    "confidence_level": 0.95,
    "simultaneous": False,
    "across": "average",
    "common_random_numbers": False,
    "keep_samples": False,
    "progress": False,
}
"""The value of an argument that is left out; the seed has none."""

# The arguments that are True or False, and those of them that may be None too.
_FLAGS = {"common_random_numbers", "keep_replicates", "keep_samples", "progress"}
_MAY_BE_NONE = {"keep_replicates"}

# Words of other libraries for these arguments.
_MEANT = dict.fromkeys(("n", "N", "n_samples", "num_samples", "samples", "size", "budget"), "n_evaluations")
_MEANT |= {"confidence": "confidence_level", "level": "confidence_level", "alpha": "confidence_level"}
_MEANT |= {"random_state": "seed", "rng": "seed", "tol": "atol", "method": "interval", "conditions": "condition"}

# Arguments of verbs that have no default, and what to write for each.
_NEEDED = {
    "design": "a design, such as design=mcgen.Antithetic() or design='auto': it says how the noise is drawn",
    "designs": "designs, such as designs=[mcgen.MonteCarlo(), mcgen.Antithetic()]: they are compared with each other",
}

_P = ParamSpec("_P")
_R = TypeVar("_R")


def checked_arguments(
    verb: str, given: Mapping[str, Any], refused: Mapping[str, str] | None = None, own: Sequence[str] = ()
) -> RunArguments:
    """Return the arguments of a call, those that were left out by their defaults.

    Parameters
    ----------
    verb : str
        The function that was called.
    given : mapping
        Its keyword arguments.
    refused : mapping, optional
        Arguments that this verb does not take, with the reason and what to do.
    own : sequence of str
        Names of the verb's own keyword arguments, for the advice on unknown ones.

    Raises
    ------
    TypeError
        If there is an unknown argument, no seed, or a flag that is neither True nor False.
    ValueError
        If a refused argument is given, or the confidence level does not lie between 0 and 1.
    """
    allowed = [*own, *(name for name in NAMES if name not in (refused or {}))]
    for name in given:
        if name not in NAMES:
            meant = [one for one in (_MEANT.get(name),) if one in allowed]
            near = meant or difflib.get_close_matches(name, allowed, 1)
            hint = f"; did you mean {near[0]}?" if near else "."
            raise TypeError(f"mcgen.{verb} has no argument {name!r}{hint} It takes {', '.join(allowed)}")
    for name, reason in (refused or {}).items():
        if given.get(name) is not None and given[name] is not False:
            raise ValueError(f"mcgen.{verb} takes no {name}; got {name}={given[name]!r}. {reason}")
    if "seed" not in given:
        raise TypeError(f"mcgen.{verb} needs a seed, such as seed=0: the same seed gives the same numbers")
    return cast(RunArguments, checked_values({**DEFAULTS, **given}))


def checked_values(given: Mapping[str, Any]) -> dict[str, Any]:
    """Return shared arguments with flags as bool and the confidence level as float.

    What depends on other arguments, such as numbers of replicates, is checked where it is used.

    Raises
    ------
    TypeError, ValueError
        If a flag is neither True nor False, the callback is no function, or the confidence level is no number between 0
        and 1.
    """
    found = dict(given)
    for name in _FLAGS & given.keys():
        if not (given[name] is None and name in _MAY_BE_NONE):
            found[name] = checked_flag(name, given[name])
    if isinstance(given.get("simultaneous"), np.bool_):
        found["simultaneous"] = bool(given["simultaneous"])
    if given.get("across", "average") not in get_args(Across):
        raise ValueError(f"across must be one of {', '.join(get_args(Across))}; got {given['across']!r}")
    if "confidence_level" in given:
        found["confidence_level"] = checked_level(given["confidence_level"])
    callback = given.get("callback")
    if callback is not None and not callable(callback):
        raise TypeError(
            "callback must be a function of one argument, the state of the run, such as "
            f"lambda state: print(state.n_replicates); got {callback!r}. Leave it out, or pass the function itself"
        )
    return found


def showing_arguments(without: Collection[str] = ()) -> Callable[[Callable[_P, _R]], Callable[_P, _R]]:
    """Return a decorator that lists the shared arguments, with their defaults, in a function's signature.

    So `help`, notebooks and the documentation show them one by one in place of ``**run``. The function then refuses
    further positional arguments by a message that names the keywords.

    Parameters
    ----------
    without : collection of str
        Arguments that the function does not take.
    """

    def decorate(function: Callable[_P, _R]) -> Callable[_P, _R]:
        own = inspect.signature(function)
        kept = [one for one in own.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        names = {one.name for one in kept} | set(without)
        shared = [
            inspect.Parameter(
                name,
                inspect.Parameter.KEYWORD_ONLY,
                default=DEFAULTS.get(name, inspect.Parameter.empty),
                annotation=text,
            )
            for name, text in _annotations().items()
            if name not in names
        ]
        by_position = [one.name for one in kept if one.kind is inspect.Parameter.POSITIONAL_OR_KEYWORD]
        first_keyword = next(one.name for one in kept if one.kind is inspect.Parameter.KEYWORD_ONLY)

        @functools.wraps(function)
        def called(*args: _P.args, **kwargs: _P.kwargs) -> _R:
            if len(args) > len(by_position):
                raise TypeError(_misplaced(function.__name__, by_position, first_keyword, args[len(by_position) :]))
            if "score" in by_position and "score" not in kwargs and "statistic" in kwargs:
                # The name before scores could be functionals; it stays right for a statistic.
                kwargs["score"] = kwargs.pop("statistic")
            for name, advice in _NEEDED.items():
                declared = own.parameters.get(name)
                if declared is not None and declared.default is declared.empty and name not in kwargs:
                    raise TypeError(f"mcgen.{function.__name__} needs {advice}")
            return function(*args, **kwargs)

        called.__signature__ = own.replace(parameters=[*kept, *shared])  # type: ignore[attr-defined]
        return called

    return decorate


def _misplaced(verb: str, by_position: Sequence[str], first_keyword: str, extra: Sequence[object]) -> str:
    """Return the message for positional arguments where keywords belong."""
    words = [f"{first_keyword}=..."] if first_keyword.startswith("design") else []
    words.append("n_evaluations=...")
    shown = ", ".join(map(repr, extra))
    return (
        f"mcgen.{verb} takes {', '.join(by_position[:-1])} and {by_position[-1]} by position, and everything else by "
        f"keyword, such as {', '.join(words)}; got {shown[:200]} without a keyword"
    )


@functools.cache
def _annotations() -> dict[str, str]:
    """Return the types of the shared arguments as text."""
    texts = {name: getattr(kind, "__forward_arg__", str(kind)) for name, kind in RunArguments.__annotations__.items()}
    return {
        name: text.removeprefix("Required[").removesuffix("]") if name == "seed" else text
        for name, text in texts.items()
    }
