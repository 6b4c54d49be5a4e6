r"""Check of the laws of a statistic: `check_statistic`.

An interval for E[S(G(z))] needs a statistic S that maps each sample by the same fixed function s. So
:math:`S(x_1, \ldots, x_n)` must be the n values :math:`s(x_i)`. The check tries these laws:

- values: there are n, each one or more finite real numbers, as many for 1 sample and for n / 2; they are the same when
  the same samples come again;
- place: moving each row on by one moves its value on by one;
- batch size: the first sample alone, and the first half alone, have the same values as among all samples;
- rows apart: no other value changes when :math:`x_1` becomes another sample of the batch, and a value does not change
  when all other samples become equal to its own;
- precision: values of samples in float32 and in float64 differ by at most 1e-4 of the largest;
- side effects: a call changes neither its samples nor earlier values, nor the global random states of numpy, Python and
  torch.

Gaps are relative to the largest value. Gaps between batches are relative to the largest value of each component.
"""

from __future__ import annotations

import reprlib
from functools import cached_property
from typing import Any

import numpy as np
from numpy.random import default_rng

from mcgen._lib.arrays import Floats, as_values, gap_between, leading_length
from mcgen._lib.names import name_of
from mcgen.designs import MonteCarlo
from mcgen.errors import RunError
from mcgen.generators import Generator
from mcgen.generators.base import checked_generator
from mcgen.noise import as_rows
from mcgen.noise.random import Seed, as_seed_sequence
from mcgen.replicates.laws import values_gap
from mcgen.statistics import Statistic
from mcgen.statistics.values import checked_callable, values_of, with_condition
from mcgen.validation.conformance.arguments import checked_size, checked_tolerance
from mcgen.validation.conformance.arrays import are_arrays, frozen, gap, kept, rows_of, widest_tolerance
from mcgen.validation.conformance.random_states import (
    OwnRandomStates,
    changed_since,
    random_states_law,
    read_states,
)
from mcgen.validation.conformance.reports import (
    Finding,
    MeasuredLaw,
    NotJudgedError,
    Report,
    holds,
    judged,
    raised,
)

# Largest gap between the values of samples in float32 and in float64: what is allowed for samples in float32.
_PRECISION = 1e-4
_IMAGES = (1, 8, 8)


def check_statistic(
    statistic: Statistic,
    samples: Any = None,
    *,
    generator: Generator | None = None,
    condition: Any = None,
    n: int = 8,
    seed: Seed = 0,
    tolerance: float | None = None,
) -> Report:
    """Return a report on whether a statistic keeps the laws that an interval needs.

    Use it before long runs with a statistic of your own. Each law is tried on some samples.

    Parameters
    ----------
    statistic : callable
        From n samples to an array of shape (n,) or (n, ...).
    samples : array or tuple of arrays, optional
        At least 3 different ones, of any library. By default `n` grey images of shape (1, 8, 8) in [0, 1], from bright
        to dark, in float64.
    generator : Generator, optional
        Makes the samples instead.
    condition : object, optional
        Passed to the generator, and to a statistic that takes it.
    n : int
        How many samples, at least 3; ignored if `samples` is given.
    seed : int or SeedSequence
        Seed of the images, or of the generator's noise.
    tolerance : float, optional
        The largest gap between values that should be equal, relative to the largest value. By default 1e-8 for samples
        and values in float64, 1e-4 in float32, 0.02 in float16.

    Returns
    -------
    Report
        Print it, or call its `require`. An exception of the statistic's first call, on all samples, is raised here; a
        later one counts as a law that fails.

    Raises
    ------
    TypeError
        If `statistic` is no statistic, or `generator` no generator.
    ValueError
        If there are fewer than 3 samples, or samples and a generator are both given. If a condition is given that
        neither the generator nor the statistic takes, or is missing. If the tolerance is below 0 or not finite.

    Examples
    --------
    >>> import mcgen
    >>> from mcgen.validation import check_statistic
    >>> check_statistic(mcgen.statistics.contrast).passed
    True
    >>> [check.law for check in check_statistic(lambda x: x.mean((1, 2, 3)) - x.mean()).failures]
    ['batch size', 'rows apart']
    """
    bound = with_condition(checked_statistic(statistic), condition)
    allowed = checked_tolerance(tolerance)
    if samples is not None and generator is not None:
        raise ValueError("check_statistic takes samples or a generator that makes them; got both. Leave one out")
    if condition is not None and generator is None and bound is statistic:
        raise ValueError(
            "a condition is for the generator that makes the samples, or for a statistic with uses_condition=True; got "
            f"{condition!r} without either. Pass generator=..., or leave the condition out"
        )
    with OwnRandomStates():
        if samples is None:
            samples = _made_samples(generator, condition, checked_size("check_statistic", n), seed)
        trial = _Trial(bound, samples, allowed)
        checks = judged(LAWS, trial)
    return Report(name_of(statistic), f"{trial.n} samples", checks)


def checked_statistic(statistic: Any) -> Statistic:
    """Return the statistic; TypeError if it is not callable, or is a class, whose calls make statistics."""
    if isinstance(statistic, type):
        raise TypeError(
            f"statistic must be a callable from n samples to n values; got the class {statistic.__name__}. Make one "
            f"first: {statistic.__name__}(...)"
        )
    return checked_callable(statistic)


def _made_samples(generator: Generator | None, condition: Any, n: int, seed: Seed) -> Any:
    """Return samples of a generator, or images where there is none."""
    if generator is None:
        return _images(n, seed)
    noise = as_rows(MonteCarlo().draw(checked_generator(generator).noise, n, seed, stream=("conformance",)))
    return generator(noise, condition)


def _images(n: int, seed: Seed) -> Floats:
    """Return images in [0, 1] from bright to dark, so that each row moves the batch's mean or its largest value."""
    powers = np.exp(np.linspace(-1.5, 1.5, n))[:, None, None, None]
    found: Floats = default_rng(as_seed_sequence(seed)).random((n, *_IMAGES)) ** powers
    return found


class _Trial:
    """A statistic, samples for it, and the values of its first call."""

    def __init__(self, statistic: Statistic, samples: Any, tolerance: float | None) -> None:
        self.statistic, self.given = statistic, tolerance
        try:
            self.n = leading_length(samples)
            # Copies in the samples' own library: indexing by an array copies there.
            self.samples = rows_of(samples, np.arange(self.n))
        except Exception as error:
            raise TypeError(
                "samples must be an array, a list, or a tuple of arrays that share their leading axis; got "
                f"{reprlib.repr(samples)}. Pass n of them, such as an array of shape (n, ...)"
            ) from error
        checked_size("check_statistic", self.n, "n_samples")
        self.before = frozen(self.samples)
        states = read_states()
        self.raw = statistic(self.samples)
        self.changed_states = changed_since(states)
        self.first = frozen(self.raw)
        self.samples_after = frozen(self.samples)
        if are_arrays(self.before) and gap(self.before, self.samples_after):
            self.samples = rows_of(samples, np.arange(self.n))

    def values(self, rows: Any) -> Floats:
        """Return the values of some of the samples, by their numbers."""
        chosen = rows_of(self.samples, np.asarray(rows))
        return as_values(self.statistic(chosen))

    @cached_property
    def shape_problem(self) -> str:
        """What is wrong with the number, the shape or the type of the values."""
        try:
            every = values_of(lambda _: self.raw, self.samples, self.n)
            for m in (1, self.n // 2):
                some = values_of(self.statistic, rows_of(self.samples, np.arange(m)), m)
                if some.shape[1:] != every.shape[1:]:
                    return f"components of shape {some.shape[1:]} for {m} samples, {every.shape[1:]} for {self.n}"
        except RunError as error:
            return str(error).replace("'<lambda>'", repr(name_of(self.statistic)))
        except Exception as error:
            return raised(error)
        return "" if every[:1].size else "no components"

    @cached_property
    def tolerance(self) -> float:
        """The largest gap that rounding explains in the types of samples and values, or the one that was given."""
        return max(widest_tolerance(self.before), widest_tolerance(self.first)) if self.given is None else self.given

    @cached_property
    def repeated_gap(self) -> float:
        """The largest gap between values of the same samples, computed at once and after other samples."""
        at_once = gap(self.first, frozen(self.statistic(self.samples)))
        self.values(np.zeros(self.n, int))
        return max(at_once, gap(self.first, frozen(self.statistic(self.samples))))

    def require_values(self, repeating: bool = True) -> Floats:
        """Return the values as numbers; NotJudgedError if their shape is wrong or they do not repeat."""
        if self.shape_problem:
            raise NotJudgedError("it gives no n values for n samples")
        if repeating and self.repeated_gap > self.tolerance:
            raise NotJudgedError("values are random")
        return as_values(self.first)

    def compared(self, rows: Any, where: Any = slice(None)) -> float:
        """Return the gap between the values of some rows alone and among all rows, at the places `where`."""
        rows, every = np.asarray(rows), self.require_values()
        expected, found = every[rows], self.values(rows)
        return values_gap(expected[where], found[where], every) if expected.shape == found.shape else np.inf


def _values(trial: _Trial) -> Finding:
    return holds(not trial.shape_problem, trial.shape_problem)


def _finite(trial: _Trial) -> Finding:
    bad = np.flatnonzero(~np.isfinite(trial.require_values(repeating=False).reshape(trial.n, -1)).all(axis=1))
    return holds(bad.size == 0, f"the values of {bad.size} of {trial.n} samples are not")


def _deterministic(trial: _Trial) -> Finding:
    trial.require_values(repeating=False)
    return Finding(trial.repeated_gap, trial.tolerance)


def _place(trial: _Trial) -> Finding:
    return Finding(trial.compared(np.roll(np.arange(trial.n), 1)), trial.tolerance)


def _batch_size(trial: _Trial) -> Finding:
    return Finding(max(trial.compared(np.arange(m)) for m in (1, trial.n // 2)), trial.tolerance)


def _rows_apart(trial: _Trial) -> Finding:
    replaced = np.array([trial.n - 1, *range(1, trial.n)])
    # In a batch that repeats one sample only its own place is compared; the law "place" is about other places.
    gaps = [trial.compared(np.full(trial.n, i), slice(i, i + 1)) for i in (0, trial.n - 1)]
    return Finding(max(trial.compared(replaced, slice(1, None)), *gaps), trial.tolerance)


def _precision(trial: _Trial) -> Finding:
    expected = trial.require_values()
    try:
        other = as_values(trial.statistic(_in_other_precision(trial.samples)))
    except NotJudgedError:
        raise
    except Exception as error:
        raise NotJudgedError(f"it takes no samples of another type ({type(error).__name__})") from None
    return Finding(gap_between(expected, other), max(_PRECISION, trial.given or 0.0))


def _in_other_precision(samples: Any) -> Any:
    """Return samples in float64 for float32, in float32 for float64."""
    if isinstance(samples, tuple):
        return tuple(map(_in_other_precision, samples))
    other = {"float32": "float64", "float64": "float32"}.get(str(getattr(samples, "dtype", "")).rpartition(".")[2])
    if other is not None and isinstance(samples, np.ndarray):
        return samples.astype(other)
    if other is not None and hasattr(samples, "new_tensor"):
        return samples.double() if other == "float64" else samples.float()
    raise NotJudgedError("samples are not in float32 or float64, of numpy or torch")


def _samples_kept(trial: _Trial) -> Finding:
    return kept(trial.before, trial.samples_after, "samples")


def _values_kept(trial: _Trial) -> Finding:
    trial.statistic(rows_of(trial.samples, np.roll(np.arange(trial.n), 1)))
    return kept(trial.first, trial.raw, "values")


LAWS: tuple[MeasuredLaw[_Trial], ...] = (
    MeasuredLaw(
        "values",
        _values,
        "n samples give n values, one or more real numbers each, and 1 sample gives 1",
        "return an array of shape (n,) or (n, k); name the axes of a mean, never squeeze",
    ),
    MeasuredLaw("finite", _finite, "every value is finite", "use a statistic that is defined for every sample"),
    MeasuredLaw(
        "deterministic",
        _deterministic,
        "the same samples give the same values, at once and after other samples",
        "it draws random numbers or keeps a state from call to call; fix what it draws when it is made",
    ),
    MeasuredLaw(
        "place",
        _place,
        "a value does not depend on the place of its sample in the batch",
        "it uses the row's number; look at one sample at a time",
    ),
    MeasuredLaw(
        "batch size",
        _batch_size,
        "a value does not depend on how many samples come with it",
        "it normalizes over the batch or divides by its size; name the axes of each mean",
    ),
    MeasuredLaw(
        "rows apart",
        _rows_apart,
        "a value does not depend on the other samples",
        "it uses the batch's mean or extremes, or a network in training mode; look at one sample at a time",
    ),
    MeasuredLaw(
        "precision",
        _precision,
        "samples in float32 and float64 give the same values",
        "it loses digits, as E[x^2] - E[x]^2 does: subtract the mean first, or sum in float64",
    ),
    MeasuredLaw(
        "samples kept",
        _samples_kept,
        "the samples are left as they were",
        "work on a copy: samples.copy() or samples.clone()",
    ),
    MeasuredLaw(
        "values kept",
        _values_kept,
        "later calls leave earlier values alone",
        "it writes its values into the same memory at every call; return a copy",
    ),
    random_states_law("it draws from them or seeds them; keep a random state of its own, made with it"),
)
