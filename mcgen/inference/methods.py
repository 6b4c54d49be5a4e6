"""The names of interval methods, and the options that choose one."""

from __future__ import annotations

from typing import Literal, get_args

FixedMethod = Literal["student-t", "normal", "skewness-adjusted-t", "bootstrap-t"]


SequentialMethod = Literal["two-stage-t", "anytime", "asymptotic-anytime"]


Method = Literal[FixedMethod, SequentialMethod]


SimultaneousMethod = Literal["bonferroni", "bootstrap-max-t", "gaussian-multiplier"]


def options_of(method: str) -> tuple[Method, bool | SimultaneousMethod]:
    """Return the arguments of `make_interval` that ask for a method by its name."""
    for simultaneous in get_args(SimultaneousMethod):
        if method == simultaneous:
            return "student-t", simultaneous
    for pointwise in get_args(Method):
        if method == pointwise:
            return pointwise, False
        if method == f"bonferroni-{pointwise}":
            return pointwise, "bonferroni"
    return "student-t", False


def check_interval_options(confidence_level: float, method: str, simultaneous: bool | str) -> None:
    """Refuse a level outside (0, 1) and unknown methods."""
    if isinstance(confidence_level, bool) or not isinstance(confidence_level, int | float):
        raise TypeError(f"confidence_level must be a number such as 0.95; got {confidence_level!r}")
    if not 0 < confidence_level < 1:
        hint = f"; for {confidence_level:g} % write {confidence_level / 100:g}" if 1 < confidence_level < 100 else ""
        raise ValueError(f"confidence_level must lie between 0 and 1, such as 0.95; got {confidence_level}{hint}")
    if method not in get_args(Method):
        raise ValueError(
            f"interval must be one of {', '.join(get_args(FixedMethod))}; got {method!r}. Runs that stop by themselves "
            f"have {', '.join(get_args(SequentialMethod))} too"
        )
    if method in get_args(SequentialMethod):
        if simultaneous not in (True, False, "bonferroni"):
            raise ValueError(
                f"interval={method!r} covers all components together by Bonferroni's inequality alone; got "
                f"simultaneous={simultaneous!r}. Use simultaneous=True"
            )
    elif simultaneous and method != "student-t":
        raise ValueError(
            f"simultaneous intervals have methods of their own; got interval={method!r} beside "
            f"simultaneous={simultaneous!r}. Leave out one of them"
        )
    if not isinstance(simultaneous, bool) and simultaneous not in get_args(SimultaneousMethod):
        raise ValueError(
            f"simultaneous must be True, False or one of {', '.join(get_args(SimultaneousMethod))}; "
            f"got {simultaneous!r}"
        )


def resamples(interval: Method, simultaneous: bool | SimultaneousMethod) -> bool:
    """Tell whether an interval is made from the replicate means themselves."""
    return interval == "bootstrap-t" or simultaneous in ("bootstrap-max-t", "gaussian-multiplier")
