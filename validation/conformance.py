r"""The laws of a generator, tried on yours: `check_generator`.

An interval for E[S(G(z))] needs n samples :math:`x = G(z_1, \ldots, z_n)` to be :math:`x_i = g(z_i)`, row by row, with
g a fixed function. With :math:`G(\cdot)_i` the i-th sample of a batch, what is tried is

- samples: n of them, finite, the same when the same noise comes again;
- place: :math:`G(z_n, z_1, \ldots, z_{n-1})_{i+1} = G(z_1, \ldots, z_n)_i`, each row moved on by one, so that whatever
  depends on the place of a row shows;
- batch size: :math:`G(z_1, \ldots, z_m)_i = G(z_1, \ldots, z_n)_i` for m = 1 and m = n / 2;
- rows apart: no other sample changes when :math:`z_1` becomes :math:`-3 z_1` (u becomes u^3), far enough out for an
  adaptive step or a scaling by the batch's largest value to notice;
- side effects: none on the noise, on earlier samples, or on the global random states of numpy, Python and torch.

Gaps are relative to the largest sample. What rounding may do is allowed: matrix products of another batch size have
other last bits.
"""

from __future__ import annotations

import random
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._numbers import checked_integer
from mcgen.arguments import checked_generator
from mcgen.arrays import as_numpy, leading_length, non_finite_rows
from mcgen.designs import MonteCarlo
from mcgen.errors import RunError
from mcgen.generators import Generator, name_of
from mcgen.laws import copied, gap_between, tolerance_of
from mcgen.noise import Block, BlockNoise, Noise
from mcgen.random import Seed

Arrays = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Check:
    """One law, tried.

    Attributes
    ----------
    law : str
        A word or two.
    gap : float
        How far the law was missed, relative to the largest sample; for a law that holds or not, 0 or infinity.
    limit : float
        The largest gap that passes.
    meaning : str
        What the law says.
    advice : str
        What breaks it, and what to do.
    not_judged : str
        Why it was not tried, where it was not: laws that compare samples of several calls need samples that repeat.
    """

    law: str
    gap: float
    limit: float
    meaning: str
    advice: str
    not_judged: str = ""

    @property
    def passed(self) -> bool:
        """Whether the law was tried and holds."""
        return not self.not_judged and self.gap <= self.limit


@dataclass(frozen=True)
class Report:
    """What `check_generator` found, law by law.

    Attributes
    ----------
    generator : str
        Its name.
    n : int
        Samples in the batch.
    checks : tuple of Check
        One a law.
    """

    generator: str
    n: int
    checks: tuple[Check, ...]

    @property
    def passed(self) -> bool:
        """Whether all laws hold."""
        return not self.failures

    @property
    def failures(self) -> tuple[Check, ...]:
        """The laws that do not hold; one that was not judged is none of them."""
        return tuple(check for check in self.checks if not (check.passed or check.not_judged))

    def require(self) -> Report:
        """Return the report where all laws hold.

        Raises
        ------
        RunError
            Otherwise; it says which do not, and what to do.
        """
        if not self.passed:
            raise RunError(str(self))
        return self

    def __str__(self) -> str:
        n_held = sum(check.passed for check in self.checks)
        lines = [f"{self.generator}: {n_held} of {len(self.checks)} laws hold, tried on {self.n} points of noise"]
        for check in self.checks:
            if check.not_judged:
                lines.append(f"-      {check.law:<14}  not judged: {check.not_judged}")
                continue
            word = "holds" if check.passed else "FAILS"
            lines.append(f"{word}  {check.law:<14}  gap {check.gap:<7.2g}  limit {check.limit:<6.3g}  {check.meaning}")
        lines += [f"{check.law}: {check.advice}" for check in self.failures]
        return "\n".join(lines)

    __repr__ = __str__


def check_generator(
    generator: Generator, *, condition: Any = None, n: int = 8, seed: Seed = 0, tolerance: float | None = None
) -> Report:
    """Try the laws of a generator on some noise; seven small batches in all.

    Parameters
    ----------
    generator : Generator
        Yours; samples of any library.
    condition : object, optional
        Given to each call.
    n : int
        Samples in the largest batch, at least 3.
    seed : int or SeedSequence
        Of the noise.
    tolerance : float, optional
        The largest gap between samples that should be equal, relative to the largest sample. By default 1e-8 for
        samples in float64, 1e-4 in float32, 0.02 in float16; to be given where a model works in a narrower type than
        that of its samples.

    Returns
    -------
    Report
        Print it, or call its `require`. What the generator raises on its first, ordinary batch is raised here; later it
        is a law that fails.

    Raises
    ------
    TypeError, ValueError
        If it is no generator, or n is less than 3.

    Examples
    --------
    >>> import mcgen
    >>> from mcgen.validation.conformance import check_generator
    >>> generator = mcgen.as_generator(lambda z: z / abs(z).max(), noise=(4,), name="scaled by the batch")
    >>> print(check_generator(mcgen.as_generator(lambda z: z.clip(-1, 1), noise=(4,), name="clipped")).passed)
    True
    >>> [check.law for check in check_generator(generator).failures]
    ['batch size', 'rows apart']
    """
    checked_generator(generator)
    if checked_integer("n", n) < 3:
        raise ValueError(f"check_generator needs batches of at least 3 samples, to split and to reorder; got n={n}")
    with _OwnRandomStates() as states:
        trial = _Trial(generator, condition, n, seed, states)
        limit = trial.default_tolerance() if tolerance is None else tolerance
        checks = _judged(trial, limit)
    return Report(name_of(generator), n, checks)


class _OwnRandomStates:
    """The global random states: changed before a trial, so that seeding them again shows, and put back after it."""

    def __enter__(self) -> _OwnRandomStates:
        self._before = self.read()
        np.random.random()  # noqa: NPY002
        random.random()
        if "torch" in self._before:
            sys.modules["torch"].rand(())
        return self

    def __exit__(self, *error: object) -> None:
        np.random.set_state(self._before["numpy"])  # noqa: NPY002
        random.setstate(self._before["python"])
        if "torch" in self._before:
            sys.modules["torch"].set_rng_state(self._before["torch"])
        if "cuda" in self._before:
            sys.modules["torch"].cuda.set_rng_state_all(self._before["cuda"])

    @staticmethod
    def read() -> dict[str, Any]:
        """Return the states by library; torch's only where somebody has imported it, and CUDA's where there is one."""
        states = {"numpy": np.random.get_state(legacy=False), "python": random.getstate()}  # noqa: NPY002
        torch = sys.modules.get("torch")
        if torch is None:
            return states
        states["torch"] = torch.get_rng_state()
        if torch.cuda.is_available():
            states["cuda"] = torch.cuda.get_rng_state_all()
        return states


class _Trial:
    """A generator, noise for it, and what it made of that noise first."""

    def __init__(self, generator: Generator, condition: Any, n: int, seed: Seed, states: _OwnRandomStates) -> None:
        self.generator, self.condition, self.n = generator, condition, n
        drawn = MonteCarlo().draw(generator.noise, n, seed, stream=("conformance",))
        blocks = drawn if isinstance(drawn, Mapping) else {generator.noise.blocks[0][0]: drawn}
        self.noise: Arrays = {name: block[:, 0] for name, block in blocks.items()}
        before, given = states.read(), copied(BlockNoise(self.noise.__getitem__, tuple(self.noise)))
        self.raw = self.call(given)
        self.first = _frozen(self.raw)
        self.input_gap = max(_gap(given[name], self.noise[name]) for name in given)
        after = states.read()
        self.changed_states = [name for name in before if not _same_state(before[name], after[name])]

    def call(self, blocks: Arrays) -> Any:
        """Return the samples of some noise: a lone block as its array, several as a mapping."""
        lone = len(blocks) == 1
        noise: Noise = next(iter(blocks.values())) if lone else BlockNoise(blocks.__getitem__, tuple(blocks))
        return self.generator(noise, self.condition)

    def again(self, change: Callable[[NDArray[Any], Block], NDArray[Any]]) -> Any:
        """Return the samples of changed noise."""
        specs = dict(self.generator.noise.blocks)
        return _frozen(self.call({name: change(block.copy(), specs[name]) for name, block in self.noise.items()}))

    def default_tolerance(self) -> float:
        """Return what rounding may do in the widest of the samples' types."""
        parts = self.first if isinstance(self.first, tuple) else (self.first,)
        return max((tolerance_of(part) for part in parts if isinstance(part, np.ndarray)), default=0.0)


def _leading_axis(trial: _Trial) -> float:
    return _holds(leading_length(trial.raw) == trial.n)


def _finite(trial: _Trial) -> float:
    return _holds(non_finite_rows(trial.raw, trial.n).size == 0)


def _repeated(trial: _Trial) -> float:
    return _gap(trial.first, trial.again(lambda block, _: block))


def _place(trial: _Trial) -> float:
    return _gap(_rows(trial.first, np.roll(np.arange(trial.n), 1)), trial.again(lambda block, _: np.roll(block, 1, 0)))


def _batch_size(trial: _Trial) -> float:
    def gap(m: int) -> float:
        return _gap(_rows(trial.first, slice(m)), trial.again(lambda block, _: block[:m]))

    return max(gap(1), gap(trial.n // 2))


def _rows_apart(trial: _Trial) -> float:
    def changed(block: NDArray[Any], spec: Block) -> NDArray[Any]:
        block[0] = -3 * block[0] if spec.law == "normal" else block[0] ** 3
        return block

    others = slice(1, None)
    return _gap(_rows(trial.first, others), _rows(trial.again(changed), others))


def _wrong_noise(trial: _Trial) -> float:
    try:
        samples = trial.call({name: np.stack([block, block], -1) for name, block in trial.noise.items()})
        return _holds(leading_length(samples) == trial.n)
    except Exception:
        # Refusing it is what a generator should do, in words of its own library.
        return 0.0


def _input_kept(trial: _Trial) -> float:
    return trial.input_gap


def _samples_kept(trial: _Trial) -> float:
    return _gap(trial.first, _frozen(trial.raw))


def _random_states(trial: _Trial) -> float:
    return _holds(not trial.changed_states)


_LAWS: tuple[tuple[str, Callable[[_Trial], float], bool, str, str], ...] = (
    ("leading axis", _leading_axis, False, "n points of noise give n samples", "return an array of n samples"),
    ("finite", _finite, False, "every sample is finite", "mend the model; an estimate would stop there"),
    (
        "deterministic",
        _repeated,
        True,
        "the same noise gives the same samples",
        "it draws random numbers of its own: declare them as blocks of its NoiseSpec and use those; for torch see "
        "mcgen.adapters.capture",
    ),
    (
        "place",
        _place,
        True,
        "a sample does not depend on the place of its row in the batch",
        "it uses the row's number, or random numbers with a fixed seed; declare these as blocks of its NoiseSpec",
    ),
    (
        "batch size",
        _batch_size,
        True,
        "a sample does not depend on how many others are made with it",
        "it normalizes over the batch or divides by its size; use evaluation mode, and means for each sample",
    ),
    (
        "rows apart",
        _rows_apart,
        True,
        "a sample does not depend on the noise of other rows",
        "it adapts its steps, normalizes or clips by the whole batch: intervals do not cover; use fixed steps, and "
        "norms for each sample",
    ),
    (
        "wrong noise",
        _wrong_noise,
        False,
        "noise of another shape is refused, or n points still give n samples",
        "it reshapes whatever comes; reshape to (len(noise), ...) instead of (-1, ...)",
    ),
    ("input kept", _input_kept, False, "the noise is left as it was", "work on a copy: noise.copy() or noise.clone()"),
    (
        "samples kept",
        _samples_kept,
        False,
        "later calls leave earlier samples alone",
        "it writes its samples into the same memory at every call; return a copy",
    ),
    (
        "random states",
        _random_states,
        False,
        "the global random states of numpy, Python and torch stay as they were",
        "it draws from them or seeds them; declare its draws as noise, or keep a random state of its own",
    ),
)


# Where the same noise gives other samples, a gap says nothing about these.
_COMPARING = ("place", "batch size", "rows apart")


class _IncomparableError(TypeError):
    """Samples are no arrays."""


def _judged(trial: _Trial, tolerance: float) -> tuple[Check, ...]:
    checks: list[Check] = []
    reason, compared = "", set(_COMPARING)
    for law, measure, rounds, meaning, advice in _LAWS:
        if reason and law in compared:
            checks.append(Check(law, np.inf, 0.0, meaning, advice, reason))
            continue
        checks.append(_checked(trial, law, measure, rounds, meaning, advice, tolerance))
        if law == "deterministic" and not checks[-1].passed:
            arrays = _are_arrays(trial.first)
            reason = "samples are random" if arrays else "samples can't be compared"
            compared |= set() if arrays else {"samples kept"}
    return tuple(checks)


def _checked(
    trial: _Trial,
    law: str,
    measure: Callable[[_Trial], float],
    rounds: bool,
    meaning: str,
    advice: str,
    tolerance: float,
) -> Check:
    try:
        gap = measure(trial)
    except _IncomparableError as error:
        gap, advice = np.inf, str(error)
    except Exception as error:
        gap, advice = np.inf, f"{advice} (it raised {type(error).__name__}: {error})"
    return Check(law, float(gap), tolerance if rounds else 0.0, meaning, advice)


def _holds(law: bool) -> float:
    return 0.0 if law else np.inf


def _frozen(samples: Any) -> Any:
    """Return copies as numpy arrays, which later calls can't change; what makes no array of values as it is."""
    if isinstance(samples, tuple):
        return tuple(map(_frozen, samples))
    try:
        array = as_numpy(samples).copy()
    except (TypeError, ValueError):
        return samples
    return samples if array.dtype.hasobject else array


def _are_arrays(samples: Any) -> bool:
    return all(map(_are_arrays, samples)) if isinstance(samples, tuple) else isinstance(samples, np.ndarray)


def _rows(samples: Any, chosen: Any) -> Any:
    return tuple(_rows(part, chosen) for part in samples) if isinstance(samples, tuple) else samples[chosen]


def _gap(a: Any, b: Any) -> float:
    if isinstance(a, tuple):
        return max((_gap(x, y) for x, y in zip(a, b, strict=True)), default=0.0)
    if not (_are_arrays(a) and _are_arrays(b)):
        raise _IncomparableError(
            f"samples of type {type(a).__name__} can't be compared; return an array, or a tuple of arrays"
        )
    return gap_between(a, b)


def _same_state(before: Any, after: Any) -> bool:
    if isinstance(before, dict):
        return all(_same_state(before[key], after[key]) for key in before)
    return bool(np.array_equal(np.asarray(before), np.asarray(after))) if hasattr(before, "shape") else before == after
