r"""Check of the laws of a generator: `check_generator`.

An interval for E[S(G(z))] needs a generator G that maps each row of noise by the same fixed function g. So the samples
:math:`x = G(z_1, \ldots, z_n)` must be :math:`x_i = g(z_i)`. With :math:`G(\cdot)_i` the i-th sample of a batch, the
check tries these laws:

- samples: there are n, all finite, and the same noise gives the same samples again, at once and after other noise;
- place: :math:`G(z_n, z_1, \ldots, z_{n-1})_{i+1} = G(z_1, \ldots, z_n)_i`, each row moved on by one, which shows
  whether a sample depends on the place of its row;
- batch size: :math:`G(z_1, \ldots, z_m)_i = G(z_1, \ldots, z_n)_i` for m = 1 and m = n / 2;
- rows apart: no other sample changes when :math:`z_1` becomes :math:`-3 z_1` (u becomes u^3), which is far enough out
  to change an adaptive step or a scaling by the batch's largest value;
- side effects: a call changes neither its noise nor earlier samples, nor the global random states of numpy, Python and
  torch.

Gaps are relative to the largest sample. Gaps of the size of rounding errors pass, since matrix products of another
batch size differ in their last bits. Batches have at most n samples, so the check misses laws that only larger batches
break.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import leading_length, non_finite_rows
from mcgen._lib.names import name_of
from mcgen.designs import MonteCarlo
from mcgen.generators import Generator
from mcgen.generators.base import checked_generator
from mcgen.noise import Block, BlockNoise, Noise
from mcgen.noise.random import Seed
from mcgen.replicates.laws import copied
from mcgen.validation.conformance.arguments import checked_size, checked_tolerance
from mcgen.validation.conformance.arrays import are_arrays, frozen, gap, kept, rows_of, widest_tolerance
from mcgen.validation.conformance.random_states import (
    OwnRandomStates,
    changed_since,
    random_states_law,
    read_states,
)
from mcgen.validation.conformance.reports import Finding, MeasuredLaw, NotJudgedError, Report, holds, judged

Arrays = dict[str, NDArray[Any]]


def check_generator(
    generator: Generator, *, condition: Any = None, n: int = 8, seed: Seed = 0, tolerance: float | None = None
) -> Report:
    """Return a report on whether a generator keeps the laws that an interval needs.

    Use it before long runs with a model of your own. Each law is tried on some noise. The check runs eight small
    batches.

    Parameters
    ----------
    generator : Generator
        The generator to check; its samples may be of any library.
    condition : object, optional
        Passed to each call.
    n : int
        Samples in the largest batch, at least 3. Laws that are broken only in larger batches go unseen.
    seed : int or SeedSequence
        Seed of the noise.
    tolerance : float, optional
        The largest gap between samples that should be equal, relative to the largest sample. By default 1e-8 for
        samples in float64, 1e-4 in float32, 0.02 in float16. Give it where a model computes in a narrower type than
        that of its samples.

    Returns
    -------
    Report
        Print it, or call its `require`. An exception of the generator's first, ordinary batch is raised here; a later
        one counts as a law that fails.

    Raises
    ------
    TypeError, ValueError
        If `generator` is no generator, n is less than 3, or the tolerance is below 0 or not finite.

    Examples
    --------
    >>> import mcgen
    >>> from mcgen.validation import check_generator
    >>> generator = mcgen.as_generator(lambda z: z / abs(z).max(), noise=(4,), name="scaled by the batch")
    >>> print(check_generator(mcgen.as_generator(lambda z: z.clip(-1, 1), noise=(4,), name="clipped")).passed)
    True
    >>> [check.law for check in check_generator(generator).failures]
    ['batch size', 'rows apart']
    """
    checked_generator(generator)
    checked_size("check_generator", n)
    allowed = checked_tolerance(tolerance)
    with OwnRandomStates():
        checks = judged(LAWS, _Trial(generator, condition, n, seed, allowed))
    return Report(name_of(generator), f"{n} points of noise", checks)


class _Trial:
    """A generator, noise for it, and the samples of its first call."""

    def __init__(self, generator: Generator, condition: Any, n: int, seed: Seed, tolerance: float | None) -> None:
        self.generator, self.condition, self.n = generator, condition, n
        drawn = MonteCarlo().draw(generator.noise, n, seed, stream=("conformance",))
        blocks = drawn if isinstance(drawn, Mapping) else {generator.noise.blocks[0][0]: drawn}
        self.noise: Arrays = {name: block[:, 0] for name, block in blocks.items()}
        before, given = read_states(), copied(BlockNoise(self.noise.__getitem__, tuple(self.noise)))
        self.raw = self.call(given)
        self.changed_states = changed_since(before)
        self.first = frozen(self.raw)
        self.input_gap = max(gap(given[name], self.noise[name]) for name in given)
        self.tolerance = widest_tolerance(self.first) if tolerance is None else tolerance

    def call(self, blocks: Arrays) -> Any:
        """Return the samples for some noise, which is passed as an array if it has one block, else as a mapping."""
        lone = len(blocks) == 1
        noise: Noise = next(iter(blocks.values())) if lone else BlockNoise(blocks.__getitem__, tuple(blocks))
        return self.generator(noise, self.condition)

    def again(self, change: Callable[[NDArray[Any], Block], NDArray[Any]]) -> Any:
        """Return the samples for changed noise."""
        specs = dict(self.generator.noise.blocks)
        return frozen(self.call({name: change(block.copy(), specs[name]) for name, block in self.noise.items()}))

    @cached_property
    def far(self) -> Any:
        """The samples where the first row of noise is far out."""

        def changed(block: NDArray[Any], spec: Block) -> NDArray[Any]:
            block[0] = -3 * block[0] if spec.law == "normal" else block[0] ** 3
            return block

        return self.again(changed)

    @cached_property
    def repeated_gap(self) -> float:
        """The largest gap between samples of the same noise, generated at once and after other noise."""
        at_once = gap(self.first, self.again(lambda block, _: block))
        with suppress(Exception):
            # An exception here fails the law "rows apart", not this one.
            _ = self.far
        return max(at_once, gap(self.first, self.again(lambda block, _: block)))

    def compared(self, expected: Any, found: Any) -> Finding:
        """Return the gap between samples that should be equal but for rounding."""
        return Finding(gap(expected, found), self.tolerance)

    def require_repeating(self) -> None:
        """Raise NotJudgedError if the same noise gives other samples: a gap between samples would say nothing."""
        if not are_arrays(self.first):
            raise NotJudgedError("samples can't be compared")
        if self.repeated_gap > self.tolerance:
            raise NotJudgedError("samples are random")


def _leading_axis(trial: _Trial) -> Finding:
    return holds(leading_length(trial.raw) == trial.n)


def _finite(trial: _Trial) -> Finding:
    if not are_arrays(trial.first):
        raise NotJudgedError("samples can't be compared")
    return holds(non_finite_rows(trial.raw, trial.n).size == 0)


def _repeated(trial: _Trial) -> Finding:
    return Finding(trial.repeated_gap, trial.tolerance)


def _place(trial: _Trial) -> Finding:
    trial.require_repeating()
    moved = trial.again(lambda block, _: np.roll(block, 1, 0))
    return trial.compared(rows_of(trial.first, np.roll(np.arange(trial.n), 1)), moved)


def _batch_size(trial: _Trial) -> Finding:
    trial.require_repeating()

    def gap_at(m: int) -> float:
        return gap(rows_of(trial.first, slice(m)), trial.again(lambda block, _: block[:m]))

    return Finding(max(gap_at(1), gap_at(trial.n // 2)), trial.tolerance)


def _rows_apart(trial: _Trial) -> Finding:
    trial.require_repeating()
    others = slice(1, None)
    return trial.compared(rows_of(trial.first, others), rows_of(trial.far, others))


def _wrong_noise(trial: _Trial) -> Finding:
    try:
        samples = trial.call({name: np.stack([block, block], -1) for name, block in trial.noise.items()})
        return holds(leading_length(samples) == trial.n)
    except Exception:
        # A generator should refuse such noise, by whatever exception its library raises.
        return Finding(0.0)


def _input_kept(trial: _Trial) -> Finding:
    return Finding(trial.input_gap)


def _samples_kept(trial: _Trial) -> Finding:
    return kept(trial.first, trial.raw, "samples")


LAWS: tuple[MeasuredLaw[_Trial], ...] = (
    MeasuredLaw("leading axis", _leading_axis, "n points of noise give n samples", "return an array of n samples"),
    MeasuredLaw(
        "finite",
        _finite,
        "every sample is finite",
        "correct the model, because an estimate would stop there; float16 overflows at 65,504: use a wider type",
    ),
    MeasuredLaw(
        "deterministic",
        _repeated,
        "the same noise gives the same samples, at once and after other noise",
        "it draws random numbers of its own: declare them as blocks of its NoiseSpec and use those, for torch see "
        "mcgen.adapters.capture; or it keeps a state from call to call: make it anew at each call",
    ),
    MeasuredLaw(
        "place",
        _place,
        "a sample does not depend on the place of its row in the batch",
        "it uses the row's number, or random numbers with a fixed seed; declare these as blocks of its NoiseSpec",
    ),
    MeasuredLaw(
        "batch size",
        _batch_size,
        "a sample does not depend on how many others are made with it",
        "it normalizes over the batch or divides by its size; use evaluation mode, and a mean for each sample",
    ),
    MeasuredLaw(
        "rows apart",
        _rows_apart,
        "a sample does not depend on the noise of other rows",
        "it adapts its steps, normalizes or clips by the whole batch: intervals do not cover; use fixed steps, and "
        "norms for each sample",
    ),
    MeasuredLaw(
        "wrong noise",
        _wrong_noise,
        "noise of another shape is refused, or n points still give n samples",
        "it reshapes whatever comes; reshape to (len(noise), ...) instead of (-1, ...)",
    ),
    MeasuredLaw(
        "input kept", _input_kept, "the noise is left as it was", "work on a copy: noise.copy() or noise.clone()"
    ),
    MeasuredLaw(
        "samples kept",
        _samples_kept,
        "later calls leave earlier samples alone",
        "it writes its samples into the same memory at every call; return a copy",
    ),
    random_states_law(
        "it draws from them or seeds them; declare its draws as noise, or keep a random state of its own"
    ),
)
