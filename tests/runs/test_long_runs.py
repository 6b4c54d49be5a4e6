"""Runs with stores, executors, parts and tolerances: the same bits as in one go, by whatever way they come."""

from __future__ import annotations

import io
import itertools
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SEED

import mcgen
from mcgen import Antithetic, Estimate, MonteCarlo, Sobol, StoreError, statistics
from mcgen.replicates.summation import LEAF
from mcgen.replicates.tally import KEPT_VALUES

pytestmark = pytest.mark.filterwarnings("ignore:.*the replicate means", "ignore:.*by the pilot")

generator = mcgen.as_generator(lambda z: 1 / (1 + np.exp(-z - 1)), noise=(16,), name="logistic", fingerprint="logistic")
tilted = mcgen.as_generator(lambda z, c: 1 / (1 + np.exp(-z - c)), noise=(16,), name="tilted")
coarse = mcgen.as_generator(lambda z: 0.7 + 0.2 * z - 0.02 * z**2, noise=(16,), name="coarse")
mean = statistics.pixel_mean


def _highest(samples: Any) -> Any:
    return samples.max(axis=1)


class Counted:
    """The generator, which counts its samples and can be interrupted after some."""

    noise = generator.noise
    name, fingerprint = "logistic", generator.fingerprint

    def __init__(self) -> None:
        self.n_samples, self.until, self.error = 0, 10**9, KeyboardInterrupt

    def __call__(self, noise: Any, condition: Any = None) -> Any:
        if self.n_samples >= self.until:
            raise self.error
        self.n_samples += len(noise)
        return generator(noise)


Call = Callable[..., Estimate]


def _estimate(**options: Any) -> Estimate:
    return mcgen.estimate(generator, mean, design=Antithetic(), n_evaluations=3200, seed=SEED, **options)


def _several(**options: Any) -> Estimate:
    stacked = statistics.stack(mean, _highest)
    return mcgen.estimate(generator, stacked, design=MonteCarlo(), n_evaluations=3000, seed=SEED, **options)


def _conditions(**options: Any) -> Estimate:
    return mcgen.estimate(
        tilted, mean, design=Antithetic(), n_evaluations=800, seed=SEED, condition=[0.5, 1.0], **options
    )


def _common(**options: Any) -> Estimate:
    options = {"n_evaluations": 800, "condition": [0.5, 1.0], "common_random_numbers": True, **options}
    return mcgen.estimate(tilted, mean, design=Antithetic(), seed=SEED, **options)


def _difference(**options: Any) -> Estimate:
    return mcgen.difference(generator, coarse, mean, design=Antithetic(), n_evaluations=800, seed=SEED, **options)


def _levels(**options: Any) -> Estimate:
    return mcgen.multilevel([(coarse, 1), (generator, 10)], mean, n_evaluations=1600, seed=SEED, **options)


def _auto(**options: Any) -> Estimate:
    return mcgen.estimate(generator, mean, design="auto", n_evaluations=1600, seed=SEED, **options)


def _controls(**options: Any) -> Estimate:
    controls = mcgen.controls.quadratic(mcgen.bases.dct_basis(generator.noise, 3))
    return mcgen.estimate(
        generator, mean, design=Antithetic(), n_evaluations=800, seed=SEED, controls=controls, **options
    )


def _fitted(**options: Any) -> Estimate:
    controls = mcgen.controls.quadratic(mcgen.bases.dct_basis(generator.noise, 3))
    fitted = controls.fit(generator, mean, design=Antithetic(), n_evaluations=400, seed=SEED)
    return mcgen.estimate(
        generator, mean, design=Antithetic(), n_evaluations=800, seed=SEED, controls=fitted, **options
    )


def _nets(**options: Any) -> Estimate:
    return mcgen.estimate(generator, mean, design=Sobol(256), n_replicates=25, seed=SEED, **options)


def _tolerance(**options: Any) -> Estimate:
    return mcgen.estimate(generator, mean, design=Antithetic(), atol=0.0006, seed=SEED, **options)


def _anytime(**options: Any) -> Estimate:
    return _tolerance(interval="anytime", **options)


CALLS = [
    _estimate,
    _several,
    _conditions,
    _common,
    _difference,
    _levels,
    _auto,
    _controls,
    _fitted,
    _nets,
    _tolerance,
    _anytime,
]


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(3) as made:
        yield made


@pytest.mark.parametrize("call", CALLS)
def test_same_bits_with_a_store_and_an_executor(call: Call, tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    wanted, store = call(), tmp_path / "run.sqlite"
    assert call(executor=pool) == wanted
    assert call(executor=pool, store=store) == wanted
    assert call(store=store) == wanted
    assert [path.name for path in tmp_path.iterdir() if "lock" not in path.name] == ["run.sqlite"]


@pytest.mark.parametrize("keep", [None, True, False])
@pytest.mark.parametrize("n", [70, LEAF, 1000])
def test_a_run_goes_on_where_it_stopped(n: int, keep: bool | None, tmp_path: Path) -> None:
    counted, store = Counted(), tmp_path / "run.sqlite"
    options: dict[str, Any] = {"design": Antithetic(), "n_replicates": n, "seed": SEED, "keep_replicates": keep}
    wanted = mcgen.estimate(generator, mean, **options)
    batch = wanted.provenance.batch_size
    counted.until = n
    with pytest.warns(mcgen.CoverageWarning) if n < 50 else _nothing():
        part = mcgen.estimate(counted, mean, store=store, **options)
    assert part.partial
    counted.until = 10**9
    found = mcgen.estimate(counted, mean, store=store, **options)
    assert found == wanted
    # Two samples are tried twice by the first call, and the last group is filled.
    assert counted.n_samples <= 2 * n + 2 + batch
    before = counted.n_samples
    assert mcgen.estimate(counted, mean, store=store, **options) == wanted
    assert counted.n_samples == before


def _nothing() -> Any:
    import contextlib

    return contextlib.nullcontext()


def test_what_is_finished_is_kept_where_the_generator_breaks(tmp_path: Path, pool: ThreadPoolExecutor) -> None:
    for executor in (None, pool):
        counted, store = Counted(), tmp_path / f"{executor is None}.sqlite"
        counted.until, counted.error = 1600, FloatingPointError
        options: dict[str, Any] = {"design": Antithetic(), "n_evaluations": 3200, "seed": SEED}
        with pytest.raises(FloatingPointError) as caught:
            mcgen.estimate(counted, mean, store=store, executor=executor, **options)
        assert caught.value.partial.n_evaluations >= 64  # type: ignore[attr-defined]
        assert "replicates" in caught.value.__notes__[0]
        made, counted.until = counted.n_samples, 10**9
        assert mcgen.estimate(counted, mean, store=store, executor=executor, **options) == mcgen.estimate(
            generator, mean, **options
        )
        if executor is None:
            assert counted.n_samples - made < 3200 - made + 2 * 64


def test_more_evaluations_extend_a_run(tmp_path: Path) -> None:
    counted, store = Counted(), tmp_path / "run.sqlite"
    options: dict[str, Any] = {"design": Antithetic(), "seed": SEED}
    first = mcgen.estimate(counted, mean, n_evaluations=1400, store=store, **options)
    again = mcgen.estimate(counted, mean, n_evaluations=3200, store=store, **options)
    batch = first.provenance.batch_size
    assert again == mcgen.estimate(generator, mean, n_evaluations=3200, batch_size=batch, **options)
    assert counted.n_samples <= 3200 + 2 + 2 * batch
    # Fewer replicate means than are kept cost no work either.
    assert mcgen.estimate(counted, mean, n_evaluations=1400, store=store, **options) == first


def test_fewer_replicates_than_the_sums_that_are_stored(tmp_path: Path) -> None:
    store = tmp_path / "run.sqlite"
    options: dict[str, Any] = {"design": Antithetic(), "seed": SEED, "keep_replicates": False, "store": store}
    mcgen.estimate(generator, mean, n_replicates=1000, **options)
    with pytest.raises(StoreError, match="has 1,000 replicates, as sums of 256; got 100"):
        mcgen.estimate(generator, mean, n_replicates=100, **options)


def test_long_runs_keep_sums_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, pool: ThreadPoolExecutor) -> None:
    assert KEPT_VALUES > 1600
    monkeypatch.setattr("mcgen.replicates.tally.KEPT_VALUES", 1500)
    wanted = _estimate()
    assert wanted.replicate_means is None
    store = tmp_path / "run.sqlite"
    assert _estimate(store=store, executor=pool) == wanted
    assert _estimate(store=store) == wanted
    with mcgen.replicates.stores.store.Store.open_read(store) as there:
        kinds = [type(one).__name__ for one in there.run("").segments(range(1600))]
    # The last leaf is not whole, and may have come in several ranges.
    assert kinds[:6] == ["Leaf"] * 6
    assert {*kinds[6:]} == {"ReplicateMeans"}


@pytest.mark.parametrize(
    ("changes", "named"),
    [
        ({"seed": 1}, "seed is '0' in the store and '1' here"),
        ({"design": MonteCarlo()}, "design is 'Antithetic()' in the store and 'MonteCarlo()' here"),
        ({"generator": coarse}, "generator is 'logistic' in the store and 'coarse' here"),
        ({"statistic": statistics.brightness}, "statistic is 'pixel_mean' in the store and 'brightness' here"),
        ({"batch_size": 10}, "batch_size is 64 in the store and 10 here"),
        ({"replicates": range(0, 100), "n_evaluations": None}, "replicates is None in the store and [0, 100] here"),
    ],
)
def test_a_store_of_another_run(changes: dict[str, Any], named: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {
        "generator": generator,
        "statistic": mean,
        "design": Antithetic(),
        "n_evaluations": 640,
        "seed": 0,
        "store": tmp_path / "run.sqlite",
    }
    mcgen.estimate(**options)
    with pytest.raises(StoreError) as caught:
        mcgen.estimate(**options | changes)
    assert named in str(caught.value)


def test_a_store_knows_noise_fingerprints_and_conditions(tmp_path: Path) -> None:
    class Model:
        noise, name = mcgen.NoiseSpec.normal((16,)), "model"

        def __init__(self, fingerprint: str) -> None:
            self.fingerprint = fingerprint

        def __call__(self, noise: Any, condition: Any = None) -> Any:
            return noise

    options: dict[str, Any] = {"design": MonteCarlo(), "n_evaluations": 640, "seed": 0, "store": tmp_path / "a"}
    mcgen.estimate(Model("one"), mean, condition=3, **options)
    with pytest.raises(StoreError, match="fingerprint of the generator is 'one' in the store and 'two' here"):
        mcgen.estimate(Model("two"), mean, condition=3, **options)
    with pytest.raises(StoreError, match=r"condition is \['3'\] in the store and \['4'\] here"):
        mcgen.estimate(Model("one"), mean, condition=4, **options)
    with pytest.raises(ValueError, match="must know conditions again.*numbers, texts, arrays"):
        mcgen.estimate(Model("one"), mean, condition=object(), **options | {"store": tmp_path / "b"})
    other = mcgen.as_generator(lambda z: z[:, :16], noise=(17,), name="model")
    with pytest.raises(StoreError, match="noise is"):
        mcgen.estimate(other, mean, condition=None, **options)


def test_a_path_in_a_missing_folder(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match="folder.*(make|create)"):
        _estimate(store=tmp_path / "missing" / "run.sqlite")


def test_parts_on_machines_that_never_meet(tmp_path: Path) -> None:
    options: dict[str, Any] = {"design": Antithetic(), "seed": SEED}
    edges = [0, 300, 700, 1600]
    paths = []
    for start, stop in itertools.pairwise(edges):
        paths.append(tmp_path / f"part{start}.sqlite")
        part = mcgen.estimate(generator, mean, replicates=range(start, stop), store=paths[-1], **options)
        assert part.n_replicates == stop - start
    merged = tmp_path / "run.sqlite"
    mcgen.merge_stores(paths, merged)
    counted = Counted()
    found = mcgen.estimate(counted, mean, n_replicates=1600, store=merged, **options)
    assert counted.n_samples == 0
    assert found == mcgen.estimate(generator, mean, n_replicates=1600, batch_size=64, **options)
    assert "1,600 of 1,600 replicates (100%)" in mcgen.status(merged)
    # What was merged can be extended.
    more = mcgen.estimate(counted, mean, n_replicates=2000, store=merged, **options)
    assert more == mcgen.estimate(generator, mean, n_replicates=2000, batch_size=64, **options)


@pytest.mark.parametrize("replicates", [range(5), range(0, 100, 2), range(-1, 5), 5, range(3, 4)])
def test_replicates_that_are_no_part(replicates: Any) -> None:
    if replicates == range(5):
        with pytest.raises(ValueError, match="leave out n_evaluations"):
            _estimate(replicates=replicates)
        return
    with pytest.raises(ValueError, match="replicates must be a range of two or more"):
        mcgen.estimate(generator, mean, design=Antithetic(), seed=0, replicates=replicates)


class TestTolerance:
    """Runs that stop when they are sure enough."""

    def test_says_what_was_reached(self) -> None:
        made = _tolerance()
        assert made.stopping is not None
        assert made.stopping.reached
        assert made.method == "two-stage-t"
        assert made.half_width <= 0.0006
        assert made.with_interval(confidence_level=0.99).half_width > made.half_width
        assert "two-stage t" in str(made)

    def test_says_what_was_not(self) -> None:
        made = mcgen.estimate(generator, mean, design=Antithetic(), atol=1e-5, max_evaluations=999, seed=SEED)
        assert made.stopping is not None
        assert not made.stopping.reached
        # Whole batches of 31 pairs, of which no number goes better into 499.
        assert made.n_evaluations == made.executed_evaluations == 992
        assert "max_evaluations" in made.stopping.reason
        assert made.stopping.reason in made.summary()

    def test_saves_and_loads(self, tmp_path: Path) -> None:
        made = _tolerance()
        made.save(tmp_path / "a.json")
        again = Estimate.load(tmp_path / "a.json")
        assert again == made
        assert again.with_interval(confidence_level=0.9).half_width < made.half_width

    def test_components_that_count(self) -> None:
        stacked = statistics.stack(mean, statistics.contrast)
        options: dict[str, Any] = {"design": MonteCarlo(), "atol": 0.01, "seed": SEED}
        model = mcgen.as_generator(lambda z: 1 / (1 + np.exp(-z)), noise=(4, 4), name="image")
        both = mcgen.estimate(model, stacked, **options)
        one = mcgen.estimate(model, stacked, components=["pixel_mean"], **options)
        assert one.n_replicates < both.n_replicates
        assert (both.half_width <= 0.01).all()
        with pytest.raises(ValueError, match="components must be among pixel_mean, contrast; got 'sharpness'"):
            mcgen.estimate(model, stacked, components=["sharpness"], **options)

    def test_each_condition_by_itself(self) -> None:
        made = mcgen.estimate(tilted, mean, design=Antithetic(), atol=0.002, seed=SEED, condition=[0.5, 2.0])
        assert all(part.stopping.reached for part in made.conditions)
        assert {part.method for part in made.conditions} == {"two-stage-t"}
        assert made.stopping is not None
        assert made.stopping.reached
        assert made.stopping.reason.startswith("condition 0.5: reached")
        options: dict[str, Any] = {"design": Antithetic(), "seed": SEED, "condition": [0.5, 2.0]}
        short = mcgen.estimate(tilted, mean, atol=1e-5, max_evaluations=640, **options)
        assert short.stopping is not None
        assert not short.stopping.reached
        assert "condition 2.0: limit" in short.summary()
        wider = made.with_interval(confidence_level=0.99)
        assert {part.method for part in wider.conditions} == {"two-stage-t"}
        # The average is as sure as its parts, which is less than their standard errors alone would say.
        halves = np.array([part.half_width for part in made.conditions])
        assert made.half_width == pytest.approx(np.sqrt((halves**2).sum()) / 2, rel=0.02)
        assert made.half_width < 0.002

    def test_conditions_under_common_noise(self) -> None:
        made = _common(n_evaluations=None, atol=0.002)
        assert made.stopping is not None
        assert made.stopping.reached
        assert all(part.half_width <= 0.002 for part in made.conditions)
        assert made.n_replicates == made.conditions[0].n_replicates

    def test_goes_on_to_the_same_end(self, tmp_path: Path) -> None:
        for name, call in (("a", _tolerance), ("b", _anytime)):
            wanted, store = call(), tmp_path / name
            for until in (30, 200, 900):
                counted = Counted()
                counted.until, counted.error = until, FloatingPointError
                options = {"interval": "anytime"} if call is _anytime else {}
                with pytest.raises(FloatingPointError):
                    mcgen.estimate(counted, mean, design=Antithetic(), atol=0.0006, seed=SEED, store=store, **options)
            assert call(store=store) == wanted

    def test_another_tolerance_goes_on(self, tmp_path: Path) -> None:
        store = tmp_path / "run.sqlite"
        options: dict[str, Any] = {"design": Antithetic(), "seed": SEED, "store": store}
        wide = mcgen.estimate(generator, mean, atol=0.002, **options)
        narrow = mcgen.estimate(generator, mean, atol=0.0006, **options)
        assert narrow.half_width <= 0.0006
        assert wide.n_replicates < narrow.n_replicates
        # Looser again: what is there is not thrown away.
        assert mcgen.estimate(generator, mean, atol=0.002, **options).n_replicates == narrow.n_replicates

    def test_watched_runs_end_at_any_time(self) -> None:
        counted = Counted()
        counted.until = 1000
        made = mcgen.estimate(counted, mean, design=Antithetic(), n_evaluations=3200, seed=SEED, interval="anytime")
        assert made.partial
        assert made.method == "anytime"
        with pytest.warns(mcgen.CoverageWarning, match="this run stopped by its own numbers"):
            plain = made.with_interval(interval="student-t")
        assert 1.3 * plain.half_width < made.half_width < 2.5 * plain.half_width

    @pytest.mark.parametrize("call", [_tolerance, _anytime])
    def test_the_bar_shows_what_is_still_expected(self, call: Call, monkeypatch: pytest.MonkeyPatch) -> None:
        totals: list[int] = []
        monkeypatch.setattr("mcgen.runs.progress.Progress.expect", lambda self, total: totals.append(total))
        shown = io.StringIO()
        with redirect_stderr(shown):
            made = call(progress=True)
        assert totals[0] == 64
        # The first look tells about how long it will be, long before the end.
        assert 0.5 < totals[1] / made.n_evaluations < 2
        last = shown.getvalue().split("\r")[-1]
        assert f"± {made.half_width:.5f}" in last

    def test_intervals_of_fixed_numbers_are_warned_of(self) -> None:
        for made in (_tolerance(), _anytime()):
            with pytest.warns(mcgen.CoverageWarning, match="this run stopped by its own numbers"):
                made.with_interval(interval="student-t")
            made.with_interval(confidence_level=0.9)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"atol": 0.0}, "atol must be above 0"),
            ({"atol": -1.0}, "atol must be above 0"),
            ({"rtol": 0.0}, "rtol must be above 0"),
            ({"atol": 0.1, "n_evaluations": 100}, "say when to stop.*max_evaluations"),
            ({"atol": 0.1, "max_evaluations": 10}, "max_evaluations must be at least 64"),
            ({"max_evaluations": 1000, "n_evaluations": 100}, "needs atol"),
            ({"atol": 0.1, "interval": "bootstrap-t"}, "needs an interval that knows of it"),
            ({"atol": 0.1, "simultaneous": "bootstrap-max-t"}, "needs an interval that knows of it"),
            ({"atol": 0.1, "design": "auto"}, r"mcgen.plan\(..., atol=...\)"),
            ({}, "n_evaluations"),
        ],
    )
    def test_bad_input(self, options: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=message):
            mcgen.estimate(generator, mean, **{"design": Antithetic(), "seed": 0, **options})


def test_what_is_no_executor_or_time(pool: ThreadPoolExecutor) -> None:
    with pytest.raises(
        TypeError, match="executor must be a concurrent.futures.Executor or a distributed.Client; got 4"
    ):
        _estimate(executor=4)
    with pytest.raises(ValueError, match="range_timeout must be.*above 0.*executor"):
        _estimate(range_timeout=5.0)
    with pytest.raises(ValueError, match="range_timeout must be.*above 0"):
        _estimate(executor=pool, range_timeout=0.0)


class TestWhatAStoreKnows:
    """Whatever changes the replicate means is a difference that a store names."""

    def test_statistics_by_their_content(self, tmp_path: Path) -> None:
        options: dict[str, Any] = {"design": Antithetic(), "n_evaluations": 640, "seed": 0}
        for number, (one, other) in enumerate(
            [
                (statistics.L1(np.zeros(16)), statistics.L1(np.ones(16))),
                (lambda x: x.mean(axis=1), lambda x: x.max(axis=1)),
                (
                    statistics.stack(mean, _highest, names=("a", "b")),
                    statistics.stack(_highest, mean, names=("a", "b")),
                ),
            ]
        ):
            store = tmp_path / f"{number}.sqlite"
            first = mcgen.estimate(generator, one, store=store, **options)
            with pytest.raises(StoreError, match="of the statistic is"):
                mcgen.estimate(generator, other, store=store, **options)
            assert mcgen.estimate(generator, one, store=store, **options) == first

    def test_functions_by_their_code(self, tmp_path: Path) -> None:
        def model(slope: float) -> Any:
            return mcgen.as_generator(lambda z: np.tanh(slope * z + 1), noise=(4,), name="model")

        options: dict[str, Any] = {"design": Antithetic(), "n_evaluations": 640, "seed": 0, "store": tmp_path / "a"}
        first = mcgen.estimate(model(1.0), mean, **options)
        assert mcgen.estimate(model(1.0), mean, **options) == first
        with pytest.raises(
            StoreError, match="closure variable `slope` of the generator is 1.0 in the store and 1.5 here"
        ):
            mcgen.estimate(model(1.5), mean, **options)

    def test_the_expectations_of_controls(self, tmp_path: Path) -> None:
        options: dict[str, Any] = {"design": Antithetic(), "n_evaluations": 800, "seed": 0, "store": tmp_path / "a"}
        wrong, right = (mcgen.controls.surrogate(coarse, mean, value) for value in (1.0, 0.68))
        mcgen.estimate(generator, mean, controls=wrong, **options)
        with pytest.raises(StoreError, match="with expectations 1.0.*with expectations 0.68"):
            mcgen.estimate(generator, mean, controls=right, **options)

    def test_what_a_plan_depends_on(self, tmp_path: Path) -> None:
        store = tmp_path / "run.sqlite"
        made = _auto(store=store)
        with pytest.raises(StoreError, match="confidence_level is"):
            _auto(store=store, confidence_level=0.9999)
        assert _auto(store=store) == made

    def test_what_a_pilot_chose(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store = tmp_path / "run.sqlite"
        _levels(store=store)
        slopes = mcgen.variance_reduction.levels.sum_of_levels.slopes
        # The function hides the module of its name.
        monkeypatch.setattr(
            sys.modules["mcgen.variance_reduction.levels.multilevel"], "slopes", lambda *rows: slopes(*rows) + 1e-12
        )
        with pytest.raises(StoreError, match="a pilot that chose it gave something else"):
            _levels(store=store)

    def test_means_that_are_not_there(self, tmp_path: Path) -> None:
        store = tmp_path / "run.sqlite"
        _estimate(store=store, keep_replicates=False)
        with pytest.raises(StoreError, match="has sums of replicate means alone.*keep_replicates=True"):
            _estimate(store=store, keep_replicates=True)

    def test_a_size_of_batches_that_never_ran(self, tmp_path: Path) -> None:
        counted, store = Counted(), tmp_path / "run.sqlite"
        counted.until, counted.error = 0, MemoryError
        options: dict[str, Any] = {"design": Antithetic(), "n_evaluations": 640, "seed": SEED, "store": store}
        with pytest.raises(MemoryError):
            mcgen.estimate(counted, mean, batch_size=512, **options)
        counted.until = 10**9
        assert mcgen.estimate(counted, mean, batch_size=64, **options).provenance.batch_size == 64

    def test_levels_with_a_batch_size_go_on(self, tmp_path: Path) -> None:
        made = _levels(batch_size=64, store=tmp_path / "run.sqlite")
        assert _levels(batch_size=64, store=tmp_path / "run.sqlite") == made


class TestOneStoreManyCalls:
    """Rules and intervals changed between calls."""

    def test_rules_have_states_of_their_own(self, tmp_path: Path) -> None:
        store = tmp_path / "run.sqlite"
        for call in (_anytime, _tolerance, _anytime, _tolerance):
            assert call(store=store) == call(store=store)

    def test_the_same_call_gives_the_same_again(self, tmp_path: Path) -> None:
        store = tmp_path / "run.sqlite"
        options: dict[str, Any] = {"design": Antithetic(), "seed": SEED, "store": store}
        mcgen.estimate(generator, mean, n_replicates=1000, **options)
        first = mcgen.estimate(generator, mean, atol=0.005, **options)
        assert first.n_replicates == 32
        assert mcgen.estimate(generator, mean, atol=0.005, **options) == first
        more = mcgen.estimate(generator, mean, atol=0.005, min_replicates=500, **options)
        assert more.n_replicates >= 500
        assert more.stopping is not None
        assert more.stopping.first_count == 32

    def test_a_confidence_sequence_is_planned_before_the_data(self, tmp_path: Path) -> None:
        store = tmp_path / "run.sqlite"
        options: dict[str, Any] = {"design": Antithetic(), "seed": SEED, "store": store}
        mcgen.estimate(generator, mean, n_replicates=200, **options)
        later = mcgen.estimate(generator, mean, n_replicates=1000, interval="anytime", **options)
        assert later.stopping is not None
        assert later.stopping.planned == 200

    @pytest.mark.parametrize("call", [_tolerance, _anytime, _estimate, _nets])
    def test_what_is_exported_is_what_was_made(self, call: Call, tmp_path: Path) -> None:
        made = call(store=tmp_path / "run.sqlite", simultaneous=True)
        mcgen.export(tmp_path / "run.sqlite", "json", tmp_path / "run.json")
        found = Estimate.load(tmp_path / "run.json")
        assert found == made
        assert str(made) in mcgen.status(tmp_path / "run.sqlite")

    def test_another_limit_is_kept_to(self, tmp_path: Path) -> None:
        store, counted = tmp_path / "run.sqlite", Counted()
        counted.until, counted.error = 1200, FloatingPointError
        options: dict[str, Any] = {"design": Antithetic(), "seed": SEED, "store": store}
        with pytest.raises(FloatingPointError):
            mcgen.estimate(counted, mean, atol=0.0004, **options)
        short = mcgen.estimate(generator, mean, atol=0.0004, max_evaluations=1400, **options)
        # The store's batches of 32 pairs go 21 times into 700.
        assert short.n_evaluations == 1344
        assert short.stopping is not None
        assert short.stopping.first_count == 32
        wide = mcgen.estimate(generator, mean, atol=0.002, **options)
        # What is there, in whole batches.
        assert wide.n_evaluations <= 1400 + 64
        assert wide.stopping is not None
        assert wide.stopping.reached

    def test_status_knows_who_is_at_work(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        store, told, counted = tmp_path / "run.sqlite", [], Counted()

        def watched(noise: Any, condition: Any = None) -> Any:
            if counted.n_samples == 1604:
                told.append(mcgen.status(store))
            if counted.n_samples > 2400:
                raise FloatingPointError
            return counted(noise)

        model = mcgen.as_generator(watched, noise=(16,), name="watched")
        monkeypatch.setattr("mcgen.replicates.source._SECONDS_BETWEEN", 0.0)
        with pytest.raises(FloatingPointError):
            mcgen.estimate(model, mean, design=Antithetic(), n_evaluations=6400, seed=SEED, store=store)
        assert "left at the pace so far" in told[0]
        assert "PARTIAL" in told[0] or "partial" in told[0]
        assert "no process has it open: the same call goes on" in mcgen.status(store)
        assert "content of the generator" in mcgen.status(store, verbose=True)

    def test_interrupted_as_the_store_is_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        add, calls = mcgen.replicates.stores.store.StoredRun.add, []

        def interrupted(self: Any, piece: Any, keep: bool) -> None:
            add(self, piece, keep)
            calls.append(piece)
            if len(calls) == 3:
                raise KeyboardInterrupt

        monkeypatch.setattr("mcgen.replicates.source._SECONDS_BETWEEN", 0.0)
        monkeypatch.setattr("mcgen.replicates.stores.store.StoredRun.add", interrupted)
        part = _estimate(store=tmp_path / "run.sqlite")
        assert part.partial
        assert _estimate(store=tmp_path / "run.sqlite") == _estimate()


def test_components_under_common_noise_have_names() -> None:
    made = _common(n_evaluations=None, atol=0.002, components=["pixel_mean under 0.5"])
    assert made.conditions[0].half_width <= 0.002
    with pytest.raises(ValueError, match="pixel_mean under 0.5, pixel_mean under 1.0, pixel_mean on average"):
        _common(n_evaluations=None, atol=0.002, components=["pixel_mean"])


def test_whole_batches_are_run() -> None:
    counted = Counted()
    made = mcgen.estimate(counted, mean, design=Antithetic(), atol=0.002, seed=SEED, batch_size=1024)
    # Four rows try the first batch, and nothing else is run that does not count.
    assert counted.n_samples == made.n_evaluations + 4


@pytest.mark.parametrize("atol", [1e-3, 1e-4])
def test_rare_asymmetries_are_not_taken_for_exact(atol: float) -> None:
    rare = mcgen.as_generator(lambda z: z + 5.0 * (z > 2.5), noise=(1,), name="rare")
    made = mcgen.estimate(rare, mean, design=Antithetic(), atol=atol, max_evaluations=20_000, seed=SEED)
    assert made.n_replicates >= 1000
    assert 5 * 0.00621 in made.interval


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"interval": "two-stage-t", "n_evaluations": 640}, "run in two stages, by atol or rtol"),
        ({"interval": "anytime", "n_evaluations": 6}, "no end yet at 3 replicates"),
        ({"interval": "anytime", "n_evaluations": 640, "condition": [0.5, 1.0]}, "no confidence sequence"),
    ],
)
def test_what_would_only_fail_at_the_end_is_refused_at_the_start(options: dict[str, Any], message: str) -> None:
    counted = Counted()
    with pytest.raises(ValueError, match=message):
        mcgen.estimate(counted, mean, design=Antithetic(), seed=0, **options)
    assert counted.n_samples == 0


@pytest.mark.parametrize("options", [{"store": "run.sqlite"}, {"atol": 0.1}, {"replicates": range(10)}])
def test_compare_takes_no_stores(options: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="mcgen.compare takes no .* runs all designs on the same number"):
        mcgen.compare(generator, mean, designs=[Antithetic()], n_evaluations=640, seed=0, **options)


def test_a_store_is_not_written_over(tmp_path: Path) -> None:
    store = tmp_path / "run.sqlite"
    made = _estimate(store=store)
    for write in (
        lambda: made.save(store),
        *(lambda kind=kind: mcgen.export(store, kind, store) for kind in ("csv", "json")),
    ):
        with pytest.raises(ValueError, match="is a store, or another SQLite database, and is not written over"):
            write()
    [run] = mcgen.read_store(store)
    assert run.estimate == made


@pytest.mark.parametrize(("name", "value"), [("store", 5), ("components", 5)])
def test_types_of_arguments(name: str, value: Any) -> None:
    with pytest.raises(TypeError, match=f"{name} must be"):
        mcgen.estimate(generator, mean, design=Antithetic(), atol=0.01, seed=0, **{name: value})
