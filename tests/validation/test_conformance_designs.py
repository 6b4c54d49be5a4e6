"""The checks of a design's laws: each rejects what breaks only its law, and every design of the package passes."""

from __future__ import annotations

import functools
import itertools
import sys
from dataclasses import dataclass, field
from types import ModuleType

import numpy as np
import pytest
from numpy.random import SeedSequence
from scipy import stats

import mcgen
from mcgen import (
    Antithetic,
    Block,
    Design,
    KAntithetic,
    LatinHypercube,
    MonteCarlo,
    NoiseSpec,
    OrthogonalAntithetic,
    Sobol,
)
from mcgen.designs._base import _checked_range
from mcgen.noise import BlockNoise, as_noise_spec, change_noise
from mcgen.validation.conformance import check_design, designs
from mcgen.validation.conformance.scores import ZScores, finding_of

# These seeds are fixed: under another each check would raise a false alarm once in a million, far above the budget of
# helpers.py. A Subspace fits noise of one size: it is tried in test_subspace.
DESIGNS = [
    MonteCarlo(),
    Antithetic(),
    *map(KAntithetic, (2, 3, 8)),
    *(Sobol(2**k) for k in range(1, 8)),
    *map(LatinHypercube, (2, 10, 64)),
    *map(OrthogonalAntithetic, (2, 4, 6)),
    *map(Antithetic, (Sobol(4), LatinHypercube(5), KAntithetic(3))),
]
LAWS = [
    "signature",
    "shape and type",
    "inside",
    "margins",
    "coordinates",
    "repeats",
    "ranges",
    "slices",
    "noise kept",
    "processes",
    "value",
    "text",
    "replicates",
    "streams",
    "blocks",
    "iid blocks",
    "refusals",
    "random states",
]


@pytest.mark.parametrize("design", DESIGNS, ids=str)
def test_designs_of_the_package_pass(design: Design) -> None:
    report = check_design(design).require()
    assert [check.law for check in report.checks] == LAWS
    assert not any(check.not_judged for check in report.checks)


class Whole(Antithetic):
    """Antithetic pairs that are changed a whole replicate at a time, by `changed`."""

    def _draw_block(self, pieces, replicates, points):
        whole = super()._draw_block(pieces, replicates, range(self.n_points))
        return self.changed(whole, pieces, replicates)[:, points.start : points.stop]

    def changed(self, noise, pieces, replicates):
        raise NotImplementedError


class Redrawn(Antithetic):
    """Antithetic pairs drawn by other arguments."""

    def draw(self, spec, replicates, seed, *, stream=(), points=None):
        super().draw(spec, replicates, seed, stream=stream, points=points)
        return self.redrawn(spec, replicates, seed, stream, points)

    def plain(self, spec, replicates, seed, stream, points):
        return super().draw(spec, replicates, seed, stream=stream, points=points)

    def redrawn(self, spec, replicates, seed, stream, points):
        raise NotImplementedError


class AlwaysDouble(Redrawn):
    def redrawn(self, *arguments):
        return change_noise(self.plain(*arguments), lambda block: block.astype(np.float64))


class PointsFirst(Redrawn):
    def redrawn(self, *arguments):
        return change_noise(self.plain(*arguments), lambda block: block.swapaxes(0, 1))


class ReachesOne(Whole):
    """Rounded up to 12 digits, as a float32 rounds what is near 1."""

    def changed(self, noise, pieces, replicates):
        if pieces.law == "uniform":
            rounded = np.round(noise * 4096) / 4096
            noise = np.where(rounded > 0.999, rounded, noise)
        return noise


class Infinite(Whole):
    def changed(self, noise, pieces, replicates):
        return np.where(noise > 3.9, np.inf, noise) if pieces.law == "normal" else noise


class BiasedPoint(Whole):
    def changed(self, noise, pieces, replicates):
        noise[:, 1] += 0.05 * (pieces.law == "normal")
        return noise


class BiasedUniform(Whole):
    def changed(self, noise, pieces, replicates):
        return noise ** (1.05 if pieces.law == "uniform" else 1)


class BiasedCoordinate(Whole):
    def changed(self, noise, pieces, replicates):
        noise[:, 0, -1] += 0.1 * (pieces.law == "normal")
        return noise


class Scaled(Whole):
    def changed(self, noise, pieces, replicates):
        return noise * noise.dtype.type(1.03 if pieces.law == "normal" else 1)


class Truncated(Whole):
    """The truncation trick: noise beyond 3 standard deviations is brought in."""

    def changed(self, noise, pieces, replicates):
        return np.clip(noise, -3, 3) if pieces.law == "normal" else noise


class Rounded(Whole):
    """As from 5 random digits, in the middle of their cells: no moment tells."""

    def changed(self, noise, pieces, replicates):
        return (np.floor(noise * 32) + 0.5).astype(noise.dtype) / 32 if pieces.law == "uniform" else noise


class Unscaled(KAntithetic):
    """The deviations from the mean of k points as they are."""

    scale = 1.0

    def _draw_block(self, pieces, replicates, points):
        noise = super()._draw_block(pieces, replicates, points)
        right = np.sqrt(self.k / (self.k - 1))
        return noise * noise.dtype.type(self.scale / right) if pieces.law == "normal" else noise


class WronglyScaled(Unscaled):
    scale = np.sqrt(7 / 8)


class FixedFirstPoint(Whole):
    """One point is not randomized, as the first of an unscrambled net."""

    def changed(self, noise, pieces, replicates):
        noise[:, 0] = 0.5
        return noise


class Correlated(Whole):
    def changed(self, noise, pieces, replicates):
        if pieces.law == "normal":
            noise[..., 1] = 0.15 * noise[..., 0] + np.sqrt(1 - 0.15**2) * noise[..., 1]
        return noise


class OneShift(Whole):
    """The randomization of the last coordinate is the first one's: each coordinate alone is right."""

    def changed(self, noise, pieces, replicates):
        noise[..., -1] = noise[..., 0]
        return noise


class WithCursor(Redrawn):
    count = itertools.count()

    def redrawn(self, spec, replicates, seed, stream, points):
        return self.plain(spec, replicates, seed, (*stream, next(self.count)), points)


class ByRange(Redrawn):
    def redrawn(self, spec, replicates, seed, stream, points):
        asked = range(replicates) if isinstance(replicates, int) else replicates
        return self.plain(spec, replicates, seed, (*stream, asked.start, len(asked)), points)


class ByBatch(Redrawn):
    """Only a replicate that is drawn alone is another."""

    def redrawn(self, spec, replicates, seed, stream, points):
        alone = not isinstance(replicates, int) and len(replicates) == 1
        return self.plain(spec, replicates, seed, (*stream, "alone") if alone else stream, points)


class FirstPoints(Redrawn):
    """A slice of points starts at the first one, wherever it should."""

    def redrawn(self, spec, replicates, seed, stream, points):
        n = 2 if points is None else len(points)
        return self.plain(spec, replicates, seed, stream, range(n))


class Cached(Redrawn):
    memory: dict[object, np.ndarray] = {}  # noqa: RUF012

    def redrawn(self, spec, replicates, seed, stream, points):
        if len(spec.blocks) > 1:
            return self.plain(spec, replicates, seed, stream, points)
        key = (spec, replicates, str(seed), stream, points)
        return self.memory.setdefault(key, self.plain(spec, replicates, seed, stream, points))


class OwnBase:
    """A design that satisfies the protocol and no more."""

    n_points = 2

    def draw(self, spec, replicates, seed, *, stream=(), points=None):
        return Antithetic().draw(spec, replicates, seed, stream=("own", *stream), points=points)


class WithoutPoints:
    n_points = 2

    def draw(self, spec, replicates, seed, *, stream=()):
        return Antithetic().draw(spec, replicates, seed, stream=("own", *stream))


class SinglePrecision(Redrawn):
    """A slip that only float64 meets: not a refusal in words of its own."""

    def redrawn(self, spec, *arguments):
        if spec.dtype == "float64":
            raise TypeError("unsupported operand")
        return self.plain(spec, *arguments)


class Hashes(Redrawn):
    """Python's hash of a text is another one in every process."""

    def redrawn(self, spec, replicates, seed, stream, points):
        return self.plain(spec, replicates, seed, (hash(stream),) if stream else (), points)


class TextOfASet(OwnBase):
    """Equal sets have one order in one process."""

    def __repr__(self) -> str:
        return f"TextOfASet({ {*'abcdefgh'} })"

    def __eq__(self, other: object) -> bool:
        return type(other) is TextOfASet

    def __hash__(self) -> int:
        return 1

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


class NoValue(OwnBase):
    def __repr__(self) -> str:
        return "NoValue()"

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)


class NoText(NoValue):
    __repr__ = object.__repr__

    def __eq__(self, other: object) -> bool:
        return type(other) is NoText

    def __hash__(self) -> int:
        return 1


@dataclass
class NotFrozen(OwnBase):
    n_points: int = 2

    def __hash__(self) -> int:
        return 1


@dataclass(frozen=True)
class Duplicated(Antithetic):
    """One replicate is replicate 3 again."""

    replicate: int = field(kw_only=True)

    def _draw_block(self, pieces, replicates, points):
        noise = super()._draw_block(pieces, replicates, points)
        if self.replicate in replicates:
            noise[self.replicate - replicates.start] = super()._draw_block(pieces, range(3, 4), points)[0]
        return noise


@dataclass(frozen=True)
class Period(Antithetic):
    """The random numbers come again after so many replicates."""

    period: int = field(kw_only=True)

    def _draw_block(self, pieces, replicates, points):
        start = replicates.start % self.period
        return super()._draw_block(pieces, range(start, start + len(replicates)), points)


class NegatedNeighbours(MonteCarlo):
    """Every second replicate is the one before, negated: right alone, and no two the same."""

    def _draw_block(self, pieces, replicates, points):
        evens = range(replicates.start // 2, replicates.stop // 2 + 1)
        noise = np.repeat(super()._draw_block(pieces, evens, points), 2, axis=0)
        noise[1::2] = -noise[1::2] if pieces.law == "normal" else 1 - noise[1::2]
        first = replicates.start % 2
        return noise[first : first + len(replicates)]


class SameSizes(MonteCarlo):
    """Two neighbours have the same sizes, and signs of their own: uncorrelated, but not independent."""

    def _draw_block(self, pieces, replicates, points):
        noise = super()._draw_block(pieces, replicates, points)
        evens = range(replicates.start // 2, replicates.stop // 2 + 1)
        first = replicates.start % 2
        sizes = np.repeat(super()._draw_block(pieces, evens, points), 2, axis=0)[first : first + len(replicates)]
        return np.copysign(sizes, noise) if pieces.law == "normal" else noise


class SameEverySeed(Redrawn):
    def redrawn(self, spec, replicates, seed, stream, points):
        return self.plain(spec, replicates, 0, stream, points)


class SameEveryStream(Redrawn):
    def redrawn(self, spec, replicates, seed, stream, points):
        return self.plain(spec, replicates, seed, (), points)


class SeedPlusReplicate(Redrawn):
    """Replicate r of the next seed is replicate r + 1."""

    def redrawn(self, spec, replicates, seed, stream, points):
        if isinstance(seed, SeedSequence) or len(spec.blocks) > 1 or spec.blocks[0][1].iid:
            return self.plain(spec, replicates, seed, stream, points)
        asked = range(replicates) if isinstance(replicates, int) else replicates
        return self.plain(spec, range(asked.start + seed, asked.stop + seed), 0, stream, points)


class PosesAsMonteCarlo(MonteCarlo):
    def __repr__(self) -> str:
        return "MonteCarlo()"


class SameEveryBlock(Redrawn):
    def redrawn(self, *arguments):
        noise = self.plain(*arguments)
        if not isinstance(noise, BlockNoise):
            return noise
        return BlockNoise(lambda name: noise["start" if name == "steps" else name], tuple(noise))


class TwoAlone:
    """Two independent points; blocks are changed together by `joined`."""

    n_points = 2

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def __eq__(self, other: object) -> bool:
        return type(other) is type(self)

    def __hash__(self) -> int:
        return 1

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(name)

    def draw(self, spec, replicates, seed, *, stream=(), points=None):
        spec = as_noise_spec(spec)
        rows = _checked_range("replicates", replicates, None)
        columns = _checked_range("points", 2 if points is None else points, 2)
        inner = range(2 * rows.start, 2 * rows.stop)
        drawn = MonteCarlo().draw(spec, inner, seed, stream=(str(self), *stream))
        whole = change_noise(drawn, lambda block: block.reshape(len(rows), 2, *block.shape[2:]))
        if isinstance(whole, BlockNoise):
            whole = BlockNoise(functools.partial(self.joined, whole), tuple(whole))
        return change_noise(whole, lambda block: block[:, columns.start : columns.stop])

    def joined(self, noise, name):
        return noise[name]


class LeansOnABlock(TwoAlone):
    """Of one point two blocks are correlated; each alone is right."""

    def joined(self, noise, name):
        return 0.15 * noise["start"] + np.sqrt(1 - 0.15**2) * noise["steps"] if name == "steps" else noise[name]


class SizesOfABlock(TwoAlone):
    """Of one point two blocks have the same sizes, and signs of their own."""

    def joined(self, noise, name):
        return np.copysign(noise["start"], noise["steps"]) if name == "steps" else noise[name]


class HiddenFollows(TwoAlone):
    """A block marked i.i.d. follows another block, at the other point of the replicate."""

    def joined(self, noise, name):
        return stats.norm.cdf(noise["start"][:, ::-1, 0]).astype("float32") if name == "hidden" else noise[name]


class PointsSwapped(TwoAlone):
    """One block is another's with its points in the other order: at no point do they depend on each other."""

    def joined(self, noise, name):
        return noise["start"][:, ::-1] if name == "steps" else noise[name]


class PlainMapping(Redrawn):
    def redrawn(self, *arguments):
        noise = self.plain(*arguments)
        return dict(noise) if isinstance(noise, BlockNoise) else noise


class InOrder(Redrawn):
    """Blocks are right in their order alone."""

    def redrawn(self, *arguments):
        noise, asked = self.plain(*arguments), []
        if not isinstance(noise, BlockNoise):
            return noise

        def draw(name):
            asked.append(name)
            in_order = asked == list(noise)[: len(asked)] or len(asked) == 1
            return noise[name] if in_order else noise[name] + 1e-3 * (len(asked) > 4)

        return BlockNoise(draw, tuple(noise))


class SteersAll(Redrawn):
    """Blocks marked i.i.d. are drawn by design."""

    def redrawn(self, spec, *arguments):
        blocks = tuple((name, Block(block.shape, block.law)) for name, block in spec.blocks)
        return self.plain(NoiseSpec(blocks, spec.dtype), *arguments)


class Repairs(Redrawn):
    def draw(self, spec, replicates, seed, *, stream=(), points=None):
        try:
            return self.plain(spec, replicates, seed, stream, points)
        except ValueError:
            return self.plain(spec, 1, 0, stream, None)


class Reseeds(Redrawn):
    def redrawn(self, *arguments):
        np.random.seed(0)  # noqa: NPY002
        return self.plain(*arguments)


BROKEN = [
    ("signature", SinglePrecision()),
    ("processes", Hashes()),
    ("processes", TextOfASet()),
    ("shape and type", AlwaysDouble()),
    ("shape and type", PointsFirst()),
    ("inside", ReachesOne()),
    ("inside", Infinite()),
    ("margins", BiasedPoint()),
    ("margins", BiasedUniform()),
    ("margins", BiasedCoordinate()),
    ("margins", Scaled()),
    ("margins", Truncated()),
    ("margins", Rounded()),
    ("margins", Unscaled(8)),
    ("margins", WronglyScaled(8)),
    ("margins", FixedFirstPoint()),
    ("coordinates", Correlated()),
    ("coordinates", OneShift()),
    ("repeats", WithCursor()),
    ("ranges", ByRange()),
    ("ranges", ByBatch()),
    ("slices", FirstPoints()),
    ("noise kept", Cached()),
    ("value", NoValue()),
    ("value", NotFrozen()),
    ("text", NoText()),
    *(
        ("replicates", Duplicated(replicate=r))
        for r in (700, 2**16 - 1, 2**16, 10**5, 101_000, 10**6, 1_001_000, 2**20, 2**31)
    ),
    *(("replicates", Period(period=n)) for n in (10**5, 10**5 + 500, 2**20)),
    ("replicates", NegatedNeighbours()),
    ("replicates", SameSizes()),
    ("streams", SameEverySeed()),
    ("streams", SameEveryStream()),
    ("streams", SeedPlusReplicate()),
    ("streams", PosesAsMonteCarlo()),
    ("blocks", SameEveryBlock()),
    ("blocks", LeansOnABlock()),
    ("blocks", SizesOfABlock()),
    ("blocks", HiddenFollows()),
    ("blocks", PlainMapping()),
    ("blocks", InOrder()),
    ("iid blocks", SteersAll()),
    ("refusals", Repairs()),
    ("random states", Reseeds()),
]


@pytest.mark.parametrize(("law", "design"), BROKEN, ids=lambda value: value if isinstance(value, str) else type(value).__name__)  # fmt: skip
def test_each_law_rejects_what_breaks_it_alone(law: str, design: Design, monkeypatch: pytest.MonkeyPatch) -> None:
    if law != "processes":
        # Half a second each.
        monkeypatch.setattr(designs, "drawn_elsewhere", designs.drawn)
    report = check_design(design)
    assert [check.law for check in report.failures] == [law], str(report)


@pytest.mark.parametrize("design", [TwoAlone(), PointsSwapped()], ids=str)
def test_blocks_may_depend_on_each_other_but_at_one_point(design: Design) -> None:
    """Each point has its law over all blocks, and replicates are independent: intervals ask for no more."""
    check_design(design).require()


class LargeBias(Sobol):
    """One point of many, of one kind of noise, is moved."""

    def _draw_block(self, pieces, replicates, points):
        noise = super()._draw_block(pieces, replicates, range(self.n_points))
        noise[:, 17] += 0.05 * (pieces.law == "normal" and pieces.dtype == "float32")
        return noise[:, points.start : points.stop]


def test_a_biased_point_among_many_is_found_and_named() -> None:
    report = check_design(LargeBias(64))
    (margins,) = report.failures
    assert margins.found.startswith("normal(2x2) float32: mean of z at point 17: 0.0")
    assert margins.explanation in str(report)
    with pytest.raises(mcgen.RunError, match="17 laws hold, 1 fails, tried on 64 points: 8192 replicates of normal"):
        report.require()


def test_what_follows_from_a_failure_is_not_judged() -> None:
    report = check_design(WithCursor())
    assert [check.law for check in report.checks if check.not_judged] == ["ranges", "slices", "noise kept", "processes", "blocks"]  # fmt: skip
    assert str(report).count("not judged: noise does not repeat") == 5
    report = check_design(PointsFirst())
    assert str(report).count("not judged: noise has another shape") == 12


def test_a_design_that_can_not_be_called_breaks_one_law() -> None:
    report = check_design(WithoutPoints())
    assert [check.law for check in report.failures] == ["signature"]
    assert str(report).count("not judged: draw can't be called") == len(LAWS) - 1
    (check,) = report.failures
    assert "'points'; write draw(self, spec, replicates, seed, *, stream=(), points=None)" in check.explanation


def test_what_a_design_raises_is_told_without_other_advice() -> None:
    report = check_design(RaisesAlone())
    assert {check.explanation.partition(": ")[2] for check in report.failures} == {"it raised KeyError: 1; mend that first"}  # fmt: skip


def test_a_type_error_is_no_refusal() -> None:
    (check,) = check_design(SinglePrecision()).failures
    assert check.found == "of normal(2x2) float64 it raised TypeError: unsupported operand"


def test_a_text_that_copies_do_not_share_is_not_told_twice() -> None:
    assert [check.law for check in check_design(NoText()).failures] == ["text"]


def test_a_design_that_other_processes_lack_is_not_judged_there(monkeypatch: pytest.MonkeyPatch) -> None:
    made_up = ModuleType("made_up")
    made_up.Lone = type("Lone", (NoText,), {"__module__": "made_up"})
    monkeypatch.setitem(sys.modules, "made_up", made_up)
    (check,) = (check for check in check_design(made_up.Lone()).checks if check.law == "processes")
    assert check.not_judged == "another process can't draw it (ModuleNotFoundError: No module named 'made_up')"


class RaisesAlone(Redrawn):
    def redrawn(self, spec, replicates, seed, stream, points):
        if len(spec.blocks) > 1 or (isinstance(replicates, range) and replicates.start == 253):
            raise KeyError(1)
        return self.plain(spec, replicates, seed, stream, points)


class OnlyNormal(Redrawn):
    """It refuses what it can't do, which is lawful."""

    def redrawn(self, spec, replicates, seed, stream, points):
        if len(spec.blocks) > 1:
            raise NotImplementedError("one block at a time")
        if spec.blocks[0][1].law == "uniform":
            raise ValueError("normal noise alone")
        return self.plain(spec, replicates, seed, stream, points)


def test_what_a_design_refuses_is_told() -> None:
    report = check_design(OnlyNormal()).require()
    assert "; it refuses uniform(2x2) float32 (normal noise alone), uniform(2x2) float64" in str(report)
    assert [check.not_judged for check in report.checks if check.not_judged] == ["it refuses several blocks (one block at a time)"]  # fmt: skip
    with pytest.raises(ValueError, match="normal noise alone"):
        check_design(OnlyNormal(), noise=NoiseSpec.uniform((3,)))


def test_noise_of_ones_own() -> None:
    spec = NoiseSpec((("start", Block((3, 8))), ("mask", Block((5,), "uniform", iid=True))))
    report = check_design(KAntithetic(3), noise=spec, seed=SeedSequence(0)).require()
    assert report.tried_on.startswith("3 points: 32768 replicates of normal(3x8) float32, ")
    assert check_design(Sobol(4), noise=()).passed
    assert check_design(Antithetic(), noise=(1,)).passed
    large = check_design(Sobol(1024), noise=(2,)).require()
    assert large.tried_on == "1024 points: 1024 replicates of normal(2) float32"


@pytest.mark.parametrize("n_points", [0, -1])
def test_a_design_without_points_is_refused(n_points: int) -> None:
    with pytest.raises(ValueError, match=f"n_points of .* must be at least 1; got {n_points}. It is how many"):
        check_design(NotFrozen(n_points))


def test_the_limit_is_shared_by_all_scores() -> None:
    scores = [ZScores("x", np.zeros(n), np.zeros(n), 0.0, (("point", range(n)),)) for n in (4, 0, 6)]
    assert np.isclose(finding_of(scores, 1e-6).limit, stats.norm.isf(1e-6 / 20), rtol=1e-12)


def test_bad_arguments() -> None:
    with pytest.raises(TypeError, match="design must satisfy mcgen.Design; got 3"):
        check_design(3)
    with pytest.raises(TypeError, match="a noise shape is a tuple"):
        check_design(MonteCarlo(), noise="4")


def test_the_random_states_are_left_as_they_were() -> None:
    np.random.seed(3)  # noqa: NPY002
    expected = np.random.random()  # noqa: NPY002
    np.random.seed(3)  # noqa: NPY002
    assert not check_design(Reseeds()).passed
    assert np.random.random() == expected  # noqa: NPY002
