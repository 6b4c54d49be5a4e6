"""Differences of any two models: which noise they share, known truths, refusals, stores, executors, conditions."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT

import mcgen
from mcgen import Antithetic, Block, Estimate, MonteCarlo, NoiseSpec, Sobol, StoreError
from mcgen.statistics import pixel_mean
from mcgen.variance_reduction.bases.cosines import dct_basis

pytestmark = pytest.mark.filterwarnings("ignore:.*the replicate means", "ignore:.*by the pilot")


def softplus(z: Any, shift: float = 0.0) -> Any:
    return np.log1p(np.exp(z + shift))


def rows_of_squares(z: Any, shift: float = 0.0) -> Any:
    """Two values with the mean shift."""
    return np.stack([z[:, 0, 0] + shift, z[:, 1, 2] ** 2 - 1 + shift], axis=1)


ONE = mcgen.as_generator(softplus, noise=(4,), name="one")
LIKE_ONE = mcgen.as_generator(lambda z, shift=0.0: softplus(1.02 * z, shift), noise=(4,), name="like one")
OTHER = mcgen.as_generator(rows_of_squares, noise=(2, 3), name="other")
# E[softplus(z)] for standard normal z, by Gauss-Hermite quadrature.
_NODES, _WEIGHTS = np.polynomial.hermite_e.hermegauss(100)
TRUTH = float((_WEIGHTS * softplus(_NODES)).sum() / np.sqrt(2 * np.pi))
RUN: dict[str, Any] = {"design": Antithetic(), "n_evaluations": 1600, "seed": SEED}
BASIS = dct_basis(ONE.noise, 2)


def blocks(name: str, scale: float = 1.0, dtype: str = "float32", **laws: Block) -> mcgen.Generator:
    """A model: the sum over its blocks of their mean squares, the first block times a scale."""

    def function(noise: Any) -> Any:
        parts = [noise] if isinstance(noise, np.ndarray) else [noise[one] for one in laws]
        means = [(part.reshape(len(part), -1) ** 2).mean(axis=1) for part in parts]
        return (scale * means[0] + sum(means[1:]))[:, None]

    return mcgen.as_generator(function, NoiseSpec(laws, dtype), name=name)  # type: ignore[arg-type]


START, STEPS, MASK = Block((8,)), Block((3, 8)), Block((5,), "uniform")
LONG = blocks("long", start=START, steps=STEPS, mask=MASK)
SHORT = blocks("short", 1.1, mask=MASK, start=START)


def difference(a: mcgen.Generator = ONE, b: mcgen.Generator = OTHER, **options: Any) -> Estimate:
    made = {**RUN, **options}
    if {"atol", "rtol", "n_replicates", "replicates"} & options.keys():
        made.pop("n_evaluations")
    return mcgen.difference(a, b, made.pop("score", pixel_mean), **made)


# Which noise.


def test_models_of_the_same_noise_share_it_unless_it_is_refused() -> None:
    same, asked, apart = (difference(b=LIKE_ONE, common_random_numbers=c) for c in (None, True, False))
    assert same == asked
    assert same.provenance.models_noise == "same noise"
    assert "seed 20260101, same noise)" in str(same).replace(str(SEED), "20260101")
    assert "models       same noise" in same.summary()
    assert same.models == ()
    assert apart.provenance.models_noise == "independent noise"
    assert same.half_width < 0.2 * apart.half_width


def test_models_of_other_noise_are_independent() -> None:
    result = difference()
    assert result == difference(common_random_numbers=False)
    assert abs(result.mean - TRUTH) < Z_LIMIT * result.standard_error
    a, b = result.models
    assert result["one"] is a
    assert result["other"] is b
    assert "one" in result
    assert "two" not in result
    assert result.conditions == result.levels == ()
    assert result.mean == a.mean - b.mean
    assert result.standard_error == pytest.approx(np.hypot(a.standard_error, b.standard_error))
    s, df = np.array([a.standard_error, b.standard_error]) ** 2, np.array([a.degrees_of_freedom, b.degrees_of_freedom])
    assert result.degrees_of_freedom == pytest.approx(s.sum() ** 2 / (s**2 / df).sum())
    assert result.n_evaluations == 1600
    assert result.executed_evaluations == 3200
    assert result.moments is None


def test_a_model_and_itself_have_other_random_numbers() -> None:
    """The negative control is the same noise: there the difference has no spread."""
    result = difference(ONE, ONE, common_random_numbers=False)
    a, b = result.models
    assert a.mean != b.mean
    assert result["a"] is a
    assert result["b"] is b
    assert abs(np.corrcoef(a.replicate_means[:, 0], b.replicate_means[:, 0])[0, 1]) < Z_LIMIT / np.sqrt(800)
    assert 0 < abs(result.mean) < Z_LIMIT * result.standard_error
    with pytest.warns(mcgen.CoverageWarning, match="are equal but for rounding"):
        assert difference(ONE, ONE).half_width == 0
    # One that estimates alone has other random numbers too.
    alone = mcgen.estimate(ONE, pixel_mean, **RUN)
    assert alone.mean not in (a.mean, b.mean)


@pytest.mark.parametrize("run", [{"design": "auto", "n_evaluations": 3200}, {"design": "auto", "n_evaluations": 640}])
def test_plans_are_made_for_each_model(run: dict[str, Any]) -> None:
    result = difference(ONE, ONE, common_random_numbers=False, **run)
    a, b = result.models
    assert 0 < abs(a.mean - b.mean) < Z_LIMIT * result.standard_error
    assert result.provenance.plan.startswith("a: ")
    assert "; b: " in result.provenance.plan
    pilots = [part.provenance.pilot_evaluations for part in result.models]
    assert result.provenance.pilot_evaluations == sum(pilots)
    over = difference(ONE, ONE, common_random_numbers=False, condition=[0.0, 1.0], **run)
    assert over.provenance.pilot_evaluations == sum(one.provenance.pilot_evaluations for one in over.conditions)


@pytest.mark.parametrize("design", [MonteCarlo(), Antithetic(), Sobol(16)], ids=str)
@pytest.mark.parametrize("names", ["start", ["start"], ("mask", "start"), ["mask"]], ids=str)
def test_named_blocks_are_shared(names: Any, design: Any) -> None:
    result = difference(LONG, SHORT, common_random_numbers=names, design=design, score=lambda x: x[:, 0])
    wanted = [name for name in ("start", "mask") if name in names]
    assert result.provenance.models_noise == f"same noise in {', '.join(wanted)}"
    joint = [text.split(":")[0] for text in result.provenance.noise.split(", ")]
    own = [f"a/{name}" for name in ("start", "steps", "mask")] + ["b/mask", "b/start"]
    assert joint == [*wanted, *(name for name in own if name[2:] not in wanted)]
    # E[z^2] = 1 for the steps, E[u^2] = 1 / 3 for the mask, which enters SHORT with 1.1.
    assert abs(result.mean - (1 - 0.1 / 3)) < Z_LIMIT * result.standard_error
    assert result.models == ()


def test_sharing_blocks_narrows_the_interval() -> None:
    options: dict[str, Any] = {"design": MonteCarlo(), "score": lambda x: x[:, 0]}
    apart, start, both = (
        difference(LONG, SHORT, common_random_numbers=c, **options).standard_error
        for c in (False, "start", ["start", "mask"])
    )
    # Variances of mean squares: 2 of a normal value, 4 / 45 of a uniform one.
    steps, start_alone, mask = 2 / 24, 2 / 8, 4 / 45 / 5
    masks = (1 + 1.21) * mask
    assert apart == pytest.approx(np.sqrt((2 * start_alone + steps + masks) / 1600), rel=0.15)
    assert start == pytest.approx(np.sqrt((steps + masks) / 1600), rel=0.15)
    assert both == pytest.approx(np.sqrt((steps + 0.01 * mask) / 1600), rel=0.15)


def test_all_blocks_shared_is_the_same_noise() -> None:
    a, b = (blocks(name, scale, start=START, mask=MASK) for name, scale in (("a", 1.0), ("b", 1.3)))
    same, named = difference(a, b), difference(a, b, common_random_numbers=["start", "mask"])
    assert (same.mean, same.standard_error) == (named.mean, named.standard_error)
    alone = [blocks(name, scale, start=START) for name, scale in (("a", 1.0), ("b", 1.3))]
    assert difference(*alone).mean == difference(*alone, common_random_numbers="start").mean


def test_shared_blocks_may_have_two_names() -> None:
    """As of an ancestral sampler, which calls its first block "start", and a deterministic one with one block."""
    one = blocks("one", 1.0, noise=START)
    other = blocks("other", 1.1, start=START, mask=MASK)
    result = difference(LONG, one, common_random_numbers={"start": "noise"})
    assert result.provenance.models_noise == "same noise in start = noise"
    assert abs(result.mean - 4 / 3) < Z_LIMIT * result.standard_error
    assert result.provenance.noise.startswith("start: normal(8), a/steps")
    renamed = blocks("other", 1.1, first=START, second=MASK)
    run = [difference(LONG, b, common_random_numbers=c).mean for b, c in ((other, ["mask", "start"]), (renamed, {"mask": "second", "start": "first"}))]  # fmt: skip
    assert run[0] == run[1]


def test_joint_names_of_blocks_do_not_clash() -> None:
    a = blocks("a", start=START, **{"a/start": MASK, "x": MASK})
    b = blocks("b", 2.0, **{"a/start": MASK, "start": START, "x": MASK})
    result = difference(a, b, common_random_numbers="a/start")
    assert {part.split(":")[0] for part in result.provenance.noise.split(", ")} >= {"a/start", "a'/start"}


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ("steps", r"got 'steps': normal\(3x8\) in 'long' and no such block in 'short'. Both have 'start', 'mask'"),
        ("nothing", "got 'nothing': no such block in 'long' and no such block in 'short'. Both have"),
        ([], r"must name one or more different blocks; got \[\]"),
        (["start", "start"], "one or more different blocks"),
        (3, r"must be True, False, None, names of blocks that both models have, such as \['start'\], or .*; got 3"),
        ([1], "must be True, False, None, names"),
        ({"start"}, "must be True, False, None, names"),
        ({"start": 1}, "must be True, False, None, names"),
        ({"start": "mask"}, r"got 'start' and 'mask': normal\(8\) in 'long' and uniform\(5\) in 'short'. Both have"),
        ({"start": "start", "mask": "start"}, "one or more different blocks"),
    ],
)
def test_blocks_that_are_not_in_both_are_refused(names: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        difference(LONG, SHORT, common_random_numbers=names)


def test_blocks_of_another_law_or_type_are_refused() -> None:
    other = blocks("other", start=Block((8,), iid=True), mask=MASK)
    with pytest.raises(ValueError, match=r"normal\(8\) in 'long' and normal\(8, iid\) in 'other'. Both have 'mask'"):
        difference(LONG, other, common_random_numbers="start")
    with pytest.raises(ValueError, match="got noise of float32 in 'long' and float64 in 'short'"):
        difference(LONG, blocks("short", dtype="float64", start=START), common_random_numbers="start")
    with pytest.raises(ValueError, match="They have no block of one name in common: give both names"):
        difference(ONE, blocks("b", start=START), common_random_numbers="noise")


def test_the_same_noise_is_refused_where_it_is_not_the_same() -> None:
    with pytest.raises(ValueError, match=r"noise: normal\(4\) in 'one' and noise: normal\(2x3\) in 'other'. Give both"):
        difference(common_random_numbers=True)


def test_positions_stay_as_they_were() -> None:
    assert mcgen.difference(ONE, LIKE_ONE, pixel_mean, **RUN) == mcgen.difference(a=ONE, b=LIKE_ONE, score=pixel_mean, **RUN)  # fmt: skip
    with pytest.raises(TypeError, match="generator b must satisfy mcgen.Generator"):
        mcgen.difference(ONE, np.tanh, pixel_mean, **RUN)  # type: ignore[arg-type]


# What independent runs refuse.


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"rtol": 0.1}, "rtol is for one run, and two models on independent noise have two; got rtol=0.1. Give the"),
        ({"rtol": 0.1, "atol": 0.1}, "rtol is for one run"),
        ({"interval": "bootstrap-t"}, "two models on independent noise has no replicate means of its own"),
        ({"simultaneous": "bootstrap-max-t"}, "has no replicate means of its own"),
        ({"interval": "betting"}, "has no replicate means of its own"),
        ({"interval": "anytime"}, "has no confidence sequence; got interval='anytime'"),
        ({"interval": "asymptotic-anytime", "atol": 0.1}, "has no confidence sequence"),
        ({"interval": "proportion"}, "interval='proportion' is for probabilities, and the difference of two is none"),
        ({"interval": "two-stage-t"}, "two-stage-t' is of a run in two stages"),
        ({"weights": [1.0]}, "are for several conditions"),
        ({"n_evals": 3}, "mcgen.difference has no argument 'n_evals'"),
        ({"design": "auto", "n_evaluations": None, "atol": 0.1}, "design='auto' shares n_evaluations"),
    ],
)
def test_refused_before_a_model_runs(options: dict[str, Any], message: str) -> None:
    def never(z: Any) -> Any:
        raise AssertionError

    with pytest.raises((TypeError, ValueError), match=message):
        difference(mcgen.as_generator(never, noise=(3,)), **options)


def test_components_of_other_shapes_are_refused() -> None:
    with pytest.raises(mcgen.RunError, match=r"shape \(4,\) for 'one' and \(2,\) for 'other'; a difference needs"):
        difference(score=lambda x: x)


# Intervals.


def test_components_intervals_and_levels() -> None:
    b = mcgen.as_generator(lambda z: z[:, 0] ** 2, noise=(2, 4), name="b")
    result = difference(ONE, b, score=lambda x: x[:, :2], simultaneous=True)
    assert result.shape == (2,)
    assert result.method == "skewness-safe"
    pointwise = result.with_interval(simultaneous=False)
    assert (np.asarray(pointwise.half_width) < result.half_width).all()
    assert pointwise.with_interval(simultaneous=True) == result
    assert result.with_interval(confidence_level=0.99).half_width[0] > result.half_width[0]
    # All six intervals hold together: those of both models too.
    alone = mcgen.estimate(ONE, lambda x: x[:, :2], simultaneous=True, **RUN)
    ratio = (result.models[0].half_width / result.models[0].standard_error) / (alone.half_width / alone.standard_error)
    assert (ratio > 1.08).all()
    with pytest.raises(ValueError, match="bootstrap"):
        result.with_interval(interval="bootstrap-t")
    with pytest.raises(ValueError, match="needs the replicate means of one run"):
        result.relative_efficiency()


def test_rare_events_do_not_give_an_interval_without_width() -> None:
    rare = mcgen.as_generator(lambda z: z, noise=(3,), name="rare")
    result = difference(ONE, rare, score=lambda x: x[:, 0] > 9, design=MonteCarlo())
    assert result.mean == 0
    assert [part.method for part in result.models] == ["proportion", "proportion"]
    ends = [part.interval.high for part in result.models]
    assert result.interval.high == pytest.approx(np.hypot(*ends), rel=1e-3)
    assert result.interval.low == -result.interval.high
    often = difference(ONE, rare, score=lambda x: x[:, 0] > 0.5, design=MonteCarlo())
    shares = [part.mean for part in often.models]
    binomial = np.sqrt(sum(p * (1 - p) for p in shares) / 1600)
    assert binomial <= often.standard_error < 1.1 * binomial


def test_controls_serve_both_models() -> None:
    controls = mcgen.controls.quadratic(BASIS)
    # The difference of independent runs of one model, since controls are of one noise.
    plain, crossed = (difference(ONE, LIKE_ONE, common_random_numbers=False, controls=c) for c in (None, controls))
    assert crossed.half_width < plain.half_width
    assert all(part.provenance.controls for part in crossed.models)
    fitted = controls.fit(ONE, pixel_mean, design=Antithetic(), n_evaluations=400, seed=1)
    assert difference(ONE, LIKE_ONE, common_random_numbers=False, controls=fitted).half_width < plain.half_width


@pytest.mark.parametrize("atol", [0.03, 0.01])
def test_a_tolerance_is_that_of_the_difference(atol: float) -> None:
    result = difference(atol=atol)
    assert result.stopping.reached
    assert result.stopping.atol == atol
    assert result.half_width <= atol * (1 + 1e-9)
    assert all(part.half_width <= atol / np.sqrt(2) for part in result.models)
    assert "model one: reached" in result.stopping.reason
    assert "model other: reached" in result.stopping.reason
    a, b = (part.n_replicates for part in result.models)
    assert result.n_replicates == min(a, b)
    assert f"{a} + {b} replicates" in str(result)
    assert f"model one    Antithetic(), {a:,} replicates" in result.summary()
    assert mcgen.load(saved(result)) == result


def test_a_tolerance_that_is_not_reached() -> None:
    cut = difference(atol=1e-4, max_evaluations=640)
    assert not cut.stopping.reached
    assert cut.n_evaluations <= 640


def test_a_difference_that_is_wider_than_its_models_let_expect(monkeypatch: pytest.MonkeyPatch) -> None:
    """Both reach their share, and a wider interval of the difference says that the tolerance is not reached."""
    monkeypatch.setattr("mcgen.runs.models._SHARE", 1.0)
    result = difference(ONE, ONE, common_random_numbers=False, atol=0.02)
    assert not result.stopping.reached
    assert "but the difference has a half-width of 0.02" in result.stopping.reason


# Conditions.


def test_conditions_have_differences_of_their_own() -> None:
    options: dict[str, Any] = {"condition": {"low": 0.0, "high": 1.0}, "weights": {"high": 0.75, "low": 0.25}}
    result = difference(**options)
    low, high = result.conditions
    assert result["high"] is high
    assert result.models == ()
    assert [part.provenance.model for part in high.models] == ["one", "other"]
    assert high["other"].provenance.condition == "high"
    assert result.mean == pytest.approx(0.25 * low.mean + 0.75 * high.mean)
    assert result.standard_error == pytest.approx(np.hypot(0.25 * low.standard_error, 0.75 * high.standard_error))
    assert low.models[0].mean == difference(condition=0.0).models[0].mean
    assert "average: pixel_mean" in result.summary()
    assert mcgen.load(saved(result)) == result
    together = difference(simultaneous=True, **options)
    assert together.with_interval(simultaneous=False).with_interval(simultaneous=True) == together
    assert together.half_width > result.half_width
    stopped = difference(atol=0.02, **options)
    assert stopped.stopping.reached
    assert "condition low: model one: reached" in stopped.stopping.reason
    assert all(one.half_width <= 0.02 * (1 + 1e-9) for one in stopped.conditions)


def test_conditions_share_noise_only_where_models_do() -> None:
    """With True models and conditions share their noise; else conditions are independent."""
    asked = {"condition": [0.0, 1.0], "b": LIKE_ONE}
    every, models, names = (difference(common_random_numbers=c, **asked) for c in (True, None, "noise"))
    assert every.provenance.common_random_numbers
    assert every.provenance.models_noise == models.provenance.models_noise == "same noise"
    assert every.moments is not None
    assert models.moments is None
    assert models.mean == names.mean
    assert [one.mean for one in models.conditions] != [one.mean for one in every.conditions]
    assert all(one.provenance.models_noise == "same noise" for one in every.conditions)
    apart = difference(common_random_numbers=False, **asked)
    assert apart.provenance.models_noise == "independent noise"
    assert len(apart.conditions[0].models) == 2


# Interruptions and errors.


class Ends:
    """A model on one normal number that ends with an error after some rows."""

    noise = NoiseSpec.normal((1,))

    def __init__(self, name: str, rows: float = np.inf, error: type[BaseException] = KeyboardInterrupt) -> None:
        self.name, self.rows, self.error = name, rows, error
        self.fingerprint = name

    def __call__(self, noise: Any, condition: Any = None) -> Any:
        if self.rows <= 0:
            raise self.error("stop")
        self.rows -= len(noise)
        return noise**2 if condition is None else noise**2 + condition


def test_an_interrupted_second_model_gives_a_partial_difference() -> None:
    whole = difference(Ends("a"), Ends("b"), common_random_numbers=False)
    result = difference(Ends("a"), Ends("b", 500), common_random_numbers=False)
    assert result.partial
    assert "PARTIAL" in str(result)
    assert result.models[0] == whole.models[0]
    assert result.models[1].n_replicates < result.models[0].n_replicates
    with pytest.raises(RuntimeError, match="stop") as caught:
        difference(Ends("a"), Ends("b", 500, RuntimeError), common_random_numbers=False)
    assert caught.value.partial.mean == result.mean  # type: ignore[attr-defined]


def test_an_interrupted_first_model_gives_none() -> None:
    with pytest.raises(KeyboardInterrupt, match="interrupted in the run of 'a'; without the other model there is no"):
        difference(Ends("a", 500), Ends("b"), common_random_numbers=False)
    with pytest.raises(RuntimeError, match="stop") as caught:
        difference(Ends("a", 500, RuntimeError), Ends("b"), common_random_numbers=False)
    assert caught.value.partial is None  # type: ignore[attr-defined]


def test_interrupted_conditions() -> None:
    asked: dict[str, Any] = {"condition": [0, 1], "common_random_numbers": False}
    result = difference(Ends("a", 2500), Ends("b"), **asked)
    assert result.partial
    assert len(result.conditions) == 1
    assert not result.conditions[0].partial
    with pytest.raises(RuntimeError) as caught:
        difference(Ends("a"), Ends("b", 2500, RuntimeError), **asked)
    made = caught.value.partial  # type: ignore[attr-defined]
    assert [len(one.models) for one in made.conditions] == [2, 2]


# Stores and executors.


def independent(**options: Any) -> Estimate:
    return difference(**options)


def sharing(**options: Any) -> Estimate:
    return difference(LONG, SHORT, common_random_numbers="start", **options)


def over_conditions(**options: Any) -> Estimate:
    return difference(condition=[0.0, 1.0], **options)


def to_tolerance(**options: Any) -> Estimate:
    return difference(atol=0.02, **options)


def planned(**options: Any) -> Estimate:
    return difference(**{"design": "auto", "n_evaluations": 3200} | options)


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(3) as made:
        yield made


@pytest.mark.parametrize("call", [independent, sharing, over_conditions, to_tolerance, planned])
def test_same_bits_with_a_store_and_an_executor(call: Callable[..., Estimate], tmp_path: Path, pool: Any) -> None:
    wanted, store = call(), tmp_path / "run.sqlite"
    assert call(executor=pool) == wanted
    assert call(executor=pool, store=store) == wanted
    assert call(store=store) == wanted


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    asked: dict[str, Any] = {"common_random_numbers": False, "store": tmp_path / "run.sqlite"}
    wanted = difference(Ends("a"), Ends("b"), common_random_numbers=False)
    with pytest.raises(KeyboardInterrupt):
        difference(Ends("a", 500), Ends("b"), **asked)
    assert difference(Ends("a"), Ends("b", 500), **asked).partial
    # Model a is finished: its two rows of the first try are all that it may run.
    assert difference(Ends("a", 8), Ends("b"), **asked) == wanted
    found = {run.name: run.estimate for run in mcgen.read_store(asked["store"])}
    assert found == {"model / a": wanted.models[0], "model / b": wanted.models[1]}
    assert "model a: 800 of 800 replicates" in mcgen.status(asked["store"])


def test_parts_of_a_run_are_merged(tmp_path: Path) -> None:
    wanted = difference(n_replicates=600)
    paths = [tmp_path / "first.sqlite", tmp_path / "second.sqlite"]
    for path, part in zip(paths, (range(300), range(300, 600)), strict=True):
        difference(replicates=part, store=path)
    mcgen.merge_stores(paths, tmp_path / "whole.sqlite")
    assert difference(n_replicates=600, store=tmp_path / "whole.sqlite") == wanted


def test_a_store_of_other_noise_is_refused(tmp_path: Path) -> None:
    store = tmp_path / "run.sqlite"
    kinds: dict[Any, str] = {
        None: "'same noise'",
        False: "'independent noise'",
        "mask": "'same noise in mask'",
        ("start", "mask"): "'same noise in start, mask'",
    }
    a, b = (blocks(name, scale, start=START, mask=MASK) for name, scale in (("a", 1.0), ("b", 1.3)))
    for first, text in kinds.items():
        store.unlink(missing_ok=True)
        wanted = difference(a, b, common_random_numbers=first, store=store)
        for second, other in kinds.items():
            if first == second:
                assert difference(a, b, common_random_numbers=second, store=store) == wanted
                continue
            with pytest.raises(StoreError, match=f"noise of the models is {text} in the store and {other} here"):
                difference(a, b, common_random_numbers=second, store=store)


def test_a_store_knows_both_models(tmp_path: Path) -> None:
    store = tmp_path / "run.sqlite"
    difference(store=store)
    with pytest.raises(StoreError, match="belongs to another run"):
        difference(OTHER, ONE, store=store)


# Results.


def saved(result: Estimate) -> Path:
    import tempfile

    path = Path(tempfile.mkdtemp()) / "result.json"
    result.save(path)
    return path


def test_files_say_which_noise_and_old_files_load(tmp_path: Path) -> None:
    same, apart = difference(b=LIKE_ONE), difference()
    for result in (same, apart, difference(condition=[0.0, 1.0])):
        assert mcgen.load(saved(result)) == result
    content = json.loads(saved(same).read_text())
    assert '"models_noise": "same noise"' in json.dumps(content)
    text = saved(same).read_text().replace('"models_noise": "same noise"', '"net": 0').replace(',"net": 0,"net"', "")
    old = tmp_path / "old.json"
    old.write_text(text)
    assert mcgen.load(old).provenance.models_noise is None
    assert "models_noise" not in saved(mcgen.estimate(ONE, pixel_mean, **RUN)).read_text()


def test_tables_texts_and_figures_name_the_models() -> None:
    result = difference()
    frame = result.to_frame()
    assert frame["model"].tolist() == ["one", "other", "one - other"]
    assert frame["mean"].tolist() == [result.models[0].mean, result.models[1].mean, result.mean]
    several = difference(condition={"low": 0.0, "high": 1.0}).to_frame()
    assert several["model"].tolist() == ["one", "other", "one - other"] * 2 + ["one - other"]
    assert several["condition"].tolist() == ["low"] * 3 + ["high"] * 3 + ["low, high"]
    assert "model" not in difference(b=LIKE_ONE).to_frame()
    assert result.to_markdown().splitlines()[0].startswith("| model ")
    assert "| one - other |" in result.to_markdown()
    assert r"one $-$ other" in result.to_latex() or "one - other" in result.to_latex()
    for text in ("model one: pixel_mean", "model other: pixel_mean", "difference: pixel_mean"):
        assert text in result.summary()
        assert text in result._repr_html_()
    assert "evaluations  1,600 of each model" in result.summary()
    assert "noise        one: normal(4) float32; other: normal(2x3) float32" in result.summary()
    assert str(result).endswith("independent noise)")
    assert "model one)" in str(result.models[0])


def test_plots_of_models_and_their_difference() -> None:
    pytest.importorskip("matplotlib")
    figure = difference().plot()
    labels = [[text.get_text() for text in panel.get_yticklabels()] for panel in figure.axes]
    assert labels == [["one", "other"], ["one - other"]]
    images = mcgen.as_generator(lambda z: z**2, noise=(3, 3), name="images")
    pictures = mcgen.as_generator(lambda z: z[:, 0] ** 2, noise=(2, 3, 3), name="pictures")
    assert len(difference(images, pictures, score=lambda x: x).plot().axes) >= 2


def test_names_of_models() -> None:
    result = difference()
    with pytest.raises(KeyError, match="no model is called 'third'; the names are one, other, in the order of .models"):
        result["third"]
    with pytest.raises(KeyError, match="'pixel_mean' is a component, and an estimate has no models of that name"):
        result["pixel_mean"]


def test_warnings_of_both_models_are_one() -> None:
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        result = difference(n_replicates=12)
    texts = [str(one.message) for one in caught if issubclass(one.category, mcgen.CoverageWarning)]
    assert len(texts) == len(result.warnings) == 1
    assert texts[0].startswith("in 2 of 2 models (one, other): 12 replicates are few")


def test_results_are_not_subtracted() -> None:
    a, b = (mcgen.estimate(one, pixel_mean, **RUN) for one in (ONE, OTHER))
    message = r"estimates are not subtracted; got an estimate and another estimate. Two estimates may share their noise.*mcgen.difference"  # fmt: skip
    with pytest.raises(TypeError, match=message):
        b - a
    for wrong in (lambda: a - 1.0, lambda: 1.0 - a, lambda: np.float64(1.0) - a):
        with pytest.raises(TypeError, match="got an estimate and .*1.0.*subtract .mean"):
            wrong()
    assert a.mean - b.mean == pytest.approx(TRUTH, abs=0.2)
