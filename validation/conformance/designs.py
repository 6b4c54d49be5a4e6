r"""Check of the laws of a design: `check_design`.

An interval from R replicates needs three things. Replicate r is a pure function of (design, seed, stream, r).
Replicates are independent. Each point of each replicate has, by itself, exactly the law that the generator expects.
A few replicates of every kind of noise are compared bit for bit:

- repeats: a range drawn again, its replicates drawn alone and backwards, slices of their points, noise of a copied
  design, and noise from another process, where strings have other hashes (if the design can be imported there);
- blocks: several blocks give the same noise, whatever the order in which they are read;
- refusals: ranges outside the replicates or points, and seeds of a wrong type, raise an exception.

Statistical tests on some thousand replicates (`mcgen.validation.conformance.scores`) check three properties. Points
have their law. The coordinates of a point are independent, also those of several blocks. Replicates, seeds, streams and
designs are independent. Whole replicates of two blocks may depend on each other, for example where directions reach
over blocks. An interval needs no more than the law of each point over all blocks, and independent replicates. A block
marked iid stands for draws that no design acts on. Its replicates must be independent of those of every other block.

A design that keeps all laws is rejected with a probability of at most about `FALSE_ALARM`. For designs of up to 64
points the tests detect a scale that is off by 3 %. At a single point they detect a bias of 0.05 standard deviations, or
a scale that is off by 4 %. In one coordinate of a point they detect a bias of 0.1 standard deviations, a scale that is
off by 7 %, or a correlation of 0.15. They miss errors rarer than one number in a hundred thousand, such as a 1 of
U(0, 1) from rounding to float32.
"""

from __future__ import annotations

import copy
import itertools
import pickle
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.random import SeedSequence

from mcgen._lib.checks import checked_protocol
from mcgen.designs import Design, MonteCarlo
from mcgen.noise import Block, Law, NoiseSpec, Shape
from mcgen.noise.random import Seed, as_seed_sequence
from mcgen.validation.conformance.design_trial import Arrays, DesignTrial, same_bits, shared_replicate
from mcgen.validation.conformance.elsewhere import drawn, drawn_elsewhere
from mcgen.validation.conformance.random_states import OwnRandomStates, random_states_law
from mcgen.validation.conformance.reports import (
    Finding,
    MeasuredLaw,
    NotJudgedError,
    Report,
    broken_by,
    holds,
    judged,
    not_judged,
)
from mcgen.validation.conformance.scores import (
    Scores,
    ZScores,
    across,
    at_one_point,
    every_lag,
    finding_of,
    point_pairs,
)

FALSE_ALARM = 1e-6
"""Probability, over seeds, that `check_design` rejects a design that keeps all laws."""
# Number of laws that are tested by statistics; they share the false alarms equally.
_STATISTICAL = 6
# Start of a range that crosses replicate 256, where mcgen's designs start another piece of random numbers.
_TILE_END = 253
# Far replicates. A design whose random numbers have a period near one of these, or end there, repeats one of its first
# 1,024 replicates or another one of these.
_FAR = (2**16 - 1, 2**16, 10**5, 10**5 + 1000, 10**6, 10**6 + 1000, 2**20, 2**31)


def check_design(design: Design, *, noise: NoiseSpec | Shape | None = None, seed: Seed = 0) -> Report:
    """Return a report on whether a design keeps the laws that an interval needs.

    Use it for a design of your own. Each law is tried on drawn noise, which takes a second or two. A design that keeps
    all laws is rejected with a probability of about one in a million at most (`FALSE_ALARM`), over seeds.

    Parameters
    ----------
    design : Design
        The design to check; anything that satisfies the `mcgen.Design` protocol.
    noise : NoiseSpec or tuple of int, optional
        The noise to draw. By default 2 x 2 normal and uniform numbers in float32 and float64, except what the design
        refuses with a ValueError or a NotImplementedError; the report says what that is. At least 1,024 replicates are
        drawn, so large noise takes long.
    seed : int or SeedSequence
        Seed of the noise.

    Returns
    -------
    Report
        Print it, or call its `require`. An exception of the design's first, ordinary draw is raised here; a later one
        counts as a law that fails.

    Raises
    ------
    TypeError, ValueError
        If `design` is no design, or has no points in a replicate.

    Examples
    --------
    >>> import mcgen
    >>> from mcgen.validation import check_design
    >>> check_design(mcgen.Antithetic()).passed
    True
    """
    checked_design(design)
    with OwnRandomStates():
        trial = DesignTrial(design, noise, seed)
        others = not_judged(LAWS[1:], "draw can't be called") if trial.signature_problem else judged(LAWS[1:], trial)
        checks = (*judged(LAWS[:1], trial), *others)
    return Report(str(design), trial.text, checks)


def checked_design(design: Any) -> Design:
    """Return the design; TypeError if it does not satisfy the protocol."""
    advice = "write a class with n_points and draw, as mcgen.designs.PointsDesign is"
    found: Design = checked_protocol(design, Design, "design", advice)
    return found


def _signature(trial: DesignTrial) -> Finding:
    return broken_by(filter(None, [trial.signature_problem, *trial.type_errors]))


def _shape(trial: DesignTrial) -> Finding:
    return holds(not trial.shape_problem, trial.shape_problem)


def _inside(trial: DesignTrial) -> Finding:
    def problems() -> Iterator[str]:
        for spec in trial.specs:
            noise = trial.scores(spec).noise
            bad = ~np.isfinite(noise)
            if spec.blocks[0][1].law == "uniform":
                bad |= (noise <= 0) | (noise >= 1)
            if bad.any():
                yield f"{bad.sum()} of {bad.size} numbers of {spec} are outside, such as {noise[bad][0]}"

    return broken_by(problems())


def _margins(trial: DesignTrial) -> Finding:
    return _worst(trial, Scores.margins)


def _coordinates(trial: DesignTrial) -> Finding:
    return _worst(trial, Scores.coordinate_pairs)


def _worst(trial: DesignTrial, tests_of: Callable[[Scores], list[Any]]) -> Finding:
    """Return the finding of the worst test over all specs; the specs share the law's false alarms equally."""
    share = FALSE_ALARM / _STATISTICAL / len(trial.specs)
    findings = [(finding_of(tests_of(trial.scores(spec)), share), spec) for spec in trial.specs]
    worst, spec = max(findings, key=lambda found: found[0].gap - found[0].limit)
    return Finding(worst.gap, worst.limit, f"{spec}: {worst.found}")


def _repeats(trial: DesignTrial) -> Finding:
    if trial.shape_problem:
        raise NotJudgedError("noise has another shape")
    return holds(not trial.repeat_problem, trial.repeat_problem)


def _ranges(trial: DesignTrial) -> Finding:
    trial.require_repeating()

    def problems() -> Iterator[str]:
        for kind, draw in trial.kinds.items():
            if not same_bits(draw(trial.m), draw(range(trial.m))):
                yield f"{trial.m} replicates of {kind} are not those of range(0, {trial.m})"
            for start in (0, _TILE_END):
                together = range(start, start + trial.m)
                noise = draw(together)
                alone = [draw(range(r, r + 1)) for r in reversed(together)]
                if not same_bits(np.concatenate(alone[::-1]), noise):
                    yield f"replicates of {kind} drawn alone are not those of {together}"
                if not same_bits(draw(together[1:-1]), noise[1:-1]):
                    yield f"{together[1:-1]} of {kind} are not those of {together}"
        for spec, start in itertools.product(trial.specs, (0, _TILE_END)):
            together = range(start, start + trial.m)
            if not same_bits(trial.scores(spec).noise[start : together.stop], trial.kept(trial.array(spec, together))):
                yield f"{together} of {spec} are not those of range(0, {trial.n_replicates(spec)})"

    return broken_by(problems())


def _slices(trial: DesignTrial) -> Finding:
    trial.require_repeating()
    n, replicates = trial.n, range(3, 3 + trial.m)
    slices = {range(n), range(1), range(n - 1, n), range(n // 3, n // 3 + max(1, n // 2)), range(n // 2, n)}

    def problems() -> Iterator[str]:
        for kind, draw in trial.kinds.items():
            whole = draw(replicates)
            for points in sorted(slices, key=str):
                if not same_bits(draw(replicates, points), whole[:, points.start : points.stop]):
                    yield f"points={points} of {kind} are not those of the whole replicate"

    return broken_by(problems())


def _kept(trial: DesignTrial) -> Finding:
    trial.require_repeating()
    # Replicates that no other law uses, since this one writes into them.
    replicates = range(1000, 1000 + trial.m)

    def problems() -> Iterator[str]:
        for kind, draw in trial.kinds.items():
            noise = draw(replicates)
            before = noise.copy()
            draw(range(2000, 2000 + trial.m))
            if not same_bits(noise, before):
                yield f"noise of {kind} changed when other noise was drawn"
            if noise.flags.writeable:
                noise[...] = 0.5
                again = draw(replicates).copy()
                noise[...] = before
                if not same_bits(again, before):
                    yield f"writing into noise of {kind} changed what was drawn later"

    return broken_by(problems())


def _processes(trial: DesignTrial) -> Finding:
    trial.require_repeating()
    given = (trial.design, trial.main, trial.seed)
    (noise, text), (other_noise, other_text) = drawn(*given), drawn_elsewhere(*given)
    if noise != other_noise:
        return holds(False, "another process draws other noise")
    # A copy with another text breaks the law "text", not this one.
    return holds(text == other_text or _text(trial).gap > 0, f"its text is {text}, in another process {other_text}")


def _value(trial: DesignTrial) -> Finding:
    design, spec = trial.design, trial.main

    def problems() -> Iterator[str]:
        for how, other in (("pickled", pickle.loads(pickle.dumps(design))), ("copied", copy.deepcopy(design))):
            if other != design or hash(other) != hash(design):
                yield f"a {how} design is not equal to it or has another hash"
            elif not (trial.shape_problem or trial.repeat_problem):
                noise = np.asarray(other.draw(spec, trial.m, trial.seed))
                if not same_bits(noise, trial.array(spec, trial.m)):
                    yield f"a {how} design draws other noise"
        try:
            setattr(design, "n_points", trial.n)  # noqa: B010
        except (AttributeError, TypeError):
            return
        yield "its n_points can be set"

    return broken_by(problems())


def _text(trial: DesignTrial) -> Finding:
    text, other = str(trial.design), str(copy.deepcopy(trial.design))
    return holds(text == other and " at 0x" not in text, f"its text is {text!r}, of a copy {other!r}")


def _replicates(trial: DesignTrial) -> Finding:
    scores = trial.scores(trial.main)
    far = [trial.kept(trial.array(trial.main, range(r, r + 1))) for r in _FAR]
    names = [f" from {r}" for r in _FAR]
    again = shared_replicate({"": scores.noise, **dict(zip(names, far, strict=True))}, inside=True)
    if again:
        return holds(False, again)
    neighbours = [test for lag in (1, 2) for test in across(scores, scores, f"replicates r and r + {lag}", lag)]
    return _judged_tests([*neighbours, *every_lag(scores)])


def _streams(trial: DesignTrial) -> Finding:
    spec, design = trial.main, trial.design
    root = as_seed_sequence(trial.seed)
    first, second = (SeedSequence(root.entropy, spawn_key=(*root.spawn_key, i)) for i in range(2))
    following = second if isinstance(trial.seed, SeedSequence) else trial.seed + 1
    draws: dict[str, tuple[Design, Seed, tuple[str | int, ...]]] = {
        "": (design, trial.seed, ()),
        " of the next seed": (design, following, ()),
        " of a spawned seed": (design, first, ()),
        " of stream ('condition', '1')": (design, trial.seed, ("condition", "1")),
        " of stream ('condition', '2')": (design, trial.seed, ("condition", "2")),
    }
    if design != MonteCarlo():
        draws[" of MonteCarlo()"] = (MonteCarlo(), trial.seed, ())
    noises = {name: trial.some(spec, *draw) for name, draw in draws.items()}
    again = shared_replicate(noises)
    if again:
        return holds(False, again)
    return _judged_tests(_pairwise(trial, {name: (noise, spec.blocks[0][1].law) for name, noise in noises.items()}))


def _blocks(trial: DesignTrial) -> Finding:
    trial.require_repeating()
    replicates = range(2, 2 + trial.m)
    noise = trial.blocks(replicates)
    if trial.several_problem:
        return holds(False, trial.several_problem)
    first = {name: noise[name] for name in noise}
    late, laws = trial.blocks(replicates), {name: block.law for name, block in trial.several.blocks}
    for name in reversed(laws):
        if not (same_bits(late[name], first[name]) and same_bits(noise[name], first[name])):
            return holds(False, f"block {name!r} has other numbers when it is asked for again or in another order")
    kept = {f" of block {name!r}": trial.some_of_block(name) for name in laws}
    again = shared_replicate(kept)
    if again:
        return holds(False, again)
    scores = {name: trial.scores_of(block, law) for (name, block), law in zip(kept.items(), laws.values(), strict=True)}
    # Single blocks with wrong margins break the law "margins", not this one.
    margins = _margins(trial)
    own = scores.items() if margins.gap <= margins.limit else ()
    tests = [replace(test, what=f"{test.what}{name}") for name, one in own for test in one.margins()]
    iid = {f" of block {name!r}" for name, block in trial.several.blocks if block.iid}
    for (name, one), (other, another) in itertools.combinations(scores.items(), 2):
        tests += at_one_point(one, another, f"coordinates{name} and{other}")
        if {name, other} & iid:
            tests += across(one, another, f"replicates{name} and those{other}")
    return _judged_tests(tests)


def _iid(trial: DesignTrial) -> Finding:
    tests = []
    for spec in trial.specs:
        name, block = spec.blocks[0]
        hidden = NoiseSpec(((name, Block(block.shape, block.law, iid=True)),), spec.dtype)
        scores = trial.scores_of(trial.some(hidden, trial.design, trial.seed, ()), block.law)
        tests += [replace(test, what=f"{hidden}: {test.what}") for test in [*scores.margins(), *point_pairs(scores)]]
    return _judged_tests(tests)


def _refusals(trial: DesignTrial) -> Finding:
    spec, n = trial.main, trial.n
    bad: dict[str, dict[str, Any]] = {
        "replicates=0": {"replicates": 0},
        "replicates=range(3, 3)": {"replicates": range(3, 3)},
        "replicates=range(-1, 2)": {"replicates": range(-1, 2)},
        "replicates=range(0, 4, 2)": {"replicates": range(0, 4, 2)},
        f"points=range(0, {n + 1})": {"points": range(n + 1)},
        "points=range(-1, 1)": {"points": range(-1, 1)},
        "points=range(0, 0)": {"points": range(0)},
        "seed=-1": {"seed": -1},
        "seed=None": {"seed": None},
    }

    def problems() -> Iterator[str]:
        for text, wrong in bad.items():
            arguments: dict[str, Any] = {"replicates": 2, "seed": trial.seed} | wrong
            try:
                trial.design.draw(spec, **arguments)
            except Exception:
                # Refused; the design's own message does not matter.
                continue
            yield f"{text} was not refused"

    return broken_by(problems())


def _judged_tests(tests: list[ZScores]) -> Finding:
    return finding_of(tests, FALSE_ALARM / _STATISTICAL)


def _pairwise(trial: DesignTrial, noises: dict[str, tuple[Arrays, Law]]) -> list[ZScores]:
    """Return tests that the replicates of each noise are independent of those of every other noise."""
    scores = {name: trial.scores_of(noise, law) for name, (noise, law) in noises.items()}
    tests = []
    for (before, one), (name, other) in itertools.combinations(scores.items(), 2):
        tests += across(one, other, f"replicates{before} and those{name}")
    return tests


LAWS: tuple[MeasuredLaw[DesignTrial], ...] = (
    MeasuredLaw(
        "signature",
        _signature,
        "draw takes spec, replicates, seed, stream and points, and raises no TypeError for noise that it can't draw",
        "write draw(self, spec, replicates, seed, *, stream=(), points=None), and refuse noise by a ValueError",
    ),
    MeasuredLaw(
        "shape and type",
        _shape,
        "noise has the shape (n_replicates, n_points, ...) and the type asked for",
        "return an array of the spec's dtype, with the points along axis 1",
    ),
    MeasuredLaw(
        "inside",
        _inside,
        "every number is finite, every uniform number strictly between 0 and 1",
        "take the middle of the cell, (digits + 1/2) / 2^32, and 23 digits for uniform numbers in float32",
    ),
    MeasuredLaw(
        "margins",
        _margins,
        "every point alone has its law, N(0, 1) or U(0, 1) (gap in standard errors)",
        "correct the mean, the scale or the randomization of that point: every estimate is biased",
    ),
    MeasuredLaw(
        "coordinates",
        _coordinates,
        "the coordinates of one point are uncorrelated (gap in standard errors)",
        "randomize each coordinate by itself: every estimate is biased",
    ),
    MeasuredLaw(
        "repeats",
        _repeats,
        "the same replicates drawn again are the same, bit for bit",
        "it keeps a cursor or draws from a global state; make its random numbers from the seed, the stream and the "
        "replicate's number at every call",
    ),
    MeasuredLaw(
        "ranges",
        _ranges,
        "a replicate is the same, bit for bit, in whatever range it is drawn",
        "make its random numbers from its own number, not from its place in the range",
    ),
    MeasuredLaw(
        "slices",
        _slices,
        "the points of a slice are those of the whole replicate, bit for bit",
        "draw the whole replicate, or what randomizes it, and return the points asked for",
    ),
    MeasuredLaw(
        "noise kept",
        _kept,
        "noise does not change when other noise is drawn, and writing into it changes no later noise",
        "return a new array at every call",
    ),
    MeasuredLaw(
        "processes",
        _processes,
        "another process draws the same noise, bit for bit, and gives the same text form",
        "Python's hash of a string and the order of a set differ there: use hashlib and tuples",
    ),
    MeasuredLaw(
        "value",
        _value,
        "it is a frozen value: copies and pickles are equal, have its hash and draw its noise",
        "make it a frozen dataclass at the top level of a module",
    ),
    MeasuredLaw(
        "text",
        _text,
        "its text form is the same for equal designs",
        "make it a frozen dataclass, or give it a __repr__ of its class and its parameters",
    ),
    MeasuredLaw(
        "replicates",
        _replicates,
        "replicates are different and independent (gap in standard errors)",
        "randomize each replicate by itself: intervals do not cover",
    ),
    MeasuredLaw(
        "streams",
        _streams,
        "other seeds, streams and designs give independent numbers (gap in standard errors)",
        "make the random numbers from a hash of the seed, the design's text and the whole stream path; never from "
        "seed + replicate",
    ),
    MeasuredLaw(
        "blocks",
        _blocks,
        "several blocks are drawn in any order, have their laws and are independent at each point; those marked iid "
        "are independent of all (gap in standard errors)",
        "return mcgen.noise.BlockNoise(draw, names), with random numbers of its own for each block",
    ),
    MeasuredLaw(
        "iid blocks",
        _iid,
        "the points of a block marked iid are independent (gap in standard errors)",
        "draw such a block as MonteCarlo does, whatever the design",
    ),
    MeasuredLaw(
        "refusals",
        _refusals,
        "replicates and points outside the range, and what is no seed, are refused",
        "raise a ValueError; the checks of mcgen.designs.PointsDesign do",
    ),
    random_states_law("use mcgen.noise.random.Stream, or a numpy generator seeded by seed, stream and replicate"),
)
