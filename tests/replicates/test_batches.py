"""What the model runs is what is reported: batches no larger than the run, limits that hold, rows that fill batches."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SEED
from hypothesis import assume, given, settings
from hypothesis import strategies as st

import mcgen
from mcgen import Antithetic, KAntithetic, MonteCarlo, Sobol
from mcgen.errors import StoreError
from mcgen.replicates.sizes import LARGEST_BATCH, batch_until_sure
from mcgen.statistics import pixel_mean

DESIGNS = [MonteCarlo(), Antithetic(), KAntithetic(5), Sobol(16)]
# The first batch is tried on four rows more.
TRIED = 4

pytestmark = pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")


class Counting:
    """A model that counts the rows that it runs, and the largest batch."""

    name, fingerprint = "counting", "counting"

    def __init__(self, dimension: int = 4) -> None:
        self.noise = mcgen.NoiseSpec.normal((dimension,))
        self.rows = self.largest = 0

    def __call__(self, z: np.ndarray, condition: Any = None) -> np.ndarray:
        self.rows += len(z)
        self.largest = max(self.largest, len(z))
        return np.tanh(z + 0.5 + (condition or 0.0))


def run(model: Counting, **options: Any) -> mcgen.Estimate:
    return mcgen.estimate(model, pixel_mean, **{"design": Antithetic(), "seed": SEED} | options)


@settings(max_examples=200)
@given(st.sampled_from(DESIGNS), st.integers(2, 300), st.one_of(st.none(), st.integers(2, 400), st.just(10**7)))
def test_rows_of_a_run_of_known_length(design: mcgen.Design, n_replicates: int, batch_size: int | None) -> None:
    model = Counting()
    made = run(model, design=design, n_replicates=n_replicates, batch_size=batch_size)
    assert made.n_evaluations == n_replicates * design.n_points
    assert model.rows == made.executed_evaluations + TRIED
    assert made.executed_evaluations >= made.n_evaluations
    assert model.largest <= made.provenance.batch_size
    if batch_size is not None:
        assert made.provenance.batch_size == min(batch_size, made.n_evaluations)
    if batch_size is not None and batch_size >= made.n_evaluations:
        assert made.executed_evaluations == made.n_evaluations


def test_a_huge_batch_is_the_run() -> None:
    for batch_size in (200, 201, 1024, 10**7):
        model = Counting()
        made = run(model, n_evaluations=200, batch_size=batch_size)
        assert (model.rows, made.executed_evaluations, made.provenance.batch_size) == (200 + TRIED, 200, 200)
        assert "executed" not in made.summary()


def test_rows_that_fill_batches_are_reported() -> None:
    """The negative control: 150 rows at a time don't divide 200, and 100 more rows run than the estimate has."""
    model = Counting()
    made = run(model, n_evaluations=200, batch_size=150)
    assert (made.n_evaluations, made.executed_evaluations, model.rows) == (200, 300, 300 + TRIED)
    assert "executed     300 evaluations, 100 of them to fill batches and in no estimate" in made.summary()


@settings(max_examples=200)
@given(
    st.sampled_from(DESIGNS),
    st.integers(32, 3000),
    st.one_of(st.none(), st.integers(2, 2000), st.just(10**7)),
    st.sampled_from([None, 33, 500]),
)
def test_limits_hold(design: mcgen.Design, most: int, batch_size: int | None, fewest: int | None) -> None:
    assume(most >= (fewest or 0))
    model, limit = Counting(), most * design.n_points + design.n_points // 2
    made = run(
        model,
        design=design,
        atol=1e-9,
        max_evaluations=limit,
        batch_size=batch_size,
        min_replicates=fewest,
    )
    assert model.rows == made.executed_evaluations + TRIED
    assert made.executed_evaluations == made.n_evaluations <= limit
    assert made.stopping is not None
    assert made.stopping.reason.startswith("limit")
    # What whole batches can't use of the limit is little.
    assert made.n_evaluations >= 0.96 * most * design.n_points


@given(st.integers(1, 64), st.integers(32, 5000), st.integers(1, 10**7), st.integers(1, 32))
def test_batches_that_fit_a_limit(n_points: int, most: int, size: int, fewest: int) -> None:
    found = batch_until_sure(size, n_points, 4, most, fewest)
    assert 1 <= found <= size
    group = max(1, found // n_points)
    assert fewest <= most // group * group <= most


def test_a_run_without_limit_has_batches_of_a_sensible_size() -> None:
    model = Counting()
    made = run(model, atol=0.01, batch_size=10**7)
    assert made.provenance.batch_size == made.n_evaluations == LARGEST_BATCH == model.largest
    # 2^24 numbers of noise at most: 64 MB.
    assert batch_until_sure(10**7, 2, 2**20, None, 32) == 64
    assert batch_until_sure(10**7, 2, 2**14, None, 32) == 1024
    assert batch_until_sure(None, 2, 2**20, None, 32) == 64


def test_parts_of_a_run() -> None:
    model = Counting()
    made = run(model, replicates=range(10, 50), batch_size=48)
    # Groups of 24 replicates are counted from 0: 0 to 71 run, for the 40 asked for.
    assert (made.n_evaluations, made.executed_evaluations, model.rows) == (80, 144, 144 + TRIED)
    with pytest.raises(ValueError, match="batch_size must be at most the 80 rows of replicates=range.10, 50.*got 81"):
        run(model, replicates=range(10, 50), batch_size=81)
    # The default is that of all other parts.
    assert run(model, replicates=range(10)).provenance.batch_size == 64


def test_parts_are_merged_with_their_batches(tmp_path: Path) -> None:
    for number, part in enumerate((range(0, 60), range(60, 100))):
        run(Counting(), replicates=part, batch_size=80, store=tmp_path / f"part{number}.sqlite")
    mcgen.merge_stores(sorted(tmp_path.glob("part*.sqlite")), tmp_path / "all.sqlite")
    whole = run(Counting(), n_replicates=100, batch_size=80, store=tmp_path / "all.sqlite")
    assert whole == run(Counting(), n_replicates=100, batch_size=80)


def test_sums_and_averages_add_up() -> None:
    model = Counting()
    made = run(model, condition=[0.0, 1.0, 2.0], n_evaluations=200, batch_size=150)
    assert made.executed_evaluations == 900 == sum(part.executed_evaluations for part in made.conditions)
    assert model.rows == 900 + 3 * TRIED
    assert "executed     900 evaluations, 300 of them" in made.summary()
    model = Counting()
    common = run(model, condition=[0.0, 1.0], n_evaluations=200, batch_size=150, common_random_numbers=True)
    assert common.executed_evaluations == 600 == model.rows - 2 * TRIED
    coarse, fine = Counting(), Counting()
    levels = mcgen.multilevel([(coarse, 1), (fine, 19)], pixel_mean, n_evaluations=800, seed=SEED, batch_size=48)
    below, above = levels.levels
    assert levels.executed_evaluations == pytest.approx(
        below.executed_evaluations / 19 + above.executed_evaluations * 20 / 19, abs=1
    )
    # Pilots beside: 16 pairs each way in one batch, tried like every other.
    pilots = 32 + TRIED
    assert fine.rows == above.executed_evaluations + TRIED + pilots
    assert coarse.rows == below.executed_evaluations + above.executed_evaluations + 2 * (TRIED + pilots)


def test_the_same_however_the_run_was_cut(tmp_path: Path) -> None:
    options = {"n_evaluations": 1000, "batch_size": 150}
    whole = run(Counting(), **options)
    with ThreadPoolExecutor(2) as pool:
        assert run(Counting(), executor=pool, **options).executed_evaluations == whole.executed_evaluations == 1050
    run(Counting(), **options | {"n_evaluations": 300}, store=tmp_path / "a")
    longer = run(Counting(), **options, store=tmp_path / "a")
    assert longer == whole
    assert longer.executed_evaluations == 1050


class TestStores:
    """The batch of the first call stays."""

    def test_the_same_call_goes_on(self, tmp_path: Path) -> None:
        options: dict[str, Any] = {"batch_size": 1024, "store": tmp_path / "run.sqlite"}
        first = run(Counting(), n_evaluations=200, **options)
        again = Counting()
        assert run(again, n_evaluations=200, **options) == first
        assert again.rows == 0
        longer = run(Counting(), n_evaluations=1000, **options)
        assert longer.provenance.batch_size == 200
        assert longer.interval == run(Counting(), n_evaluations=1000, batch_size=200).interval
        assert run(Counting(), n_evaluations=1000, store=tmp_path / "run.sqlite", batch_size=200) == longer
        [held] = mcgen.read_store(tmp_path / "run.sqlite")
        assert held.estimate.executed_evaluations == longer.executed_evaluations
        with pytest.raises(StoreError, match="batch_size is 200 in the store and 64 here"):
            run(Counting(), n_evaluations=1000, store=tmp_path / "run.sqlite", batch_size=64)

    def test_a_limit_holds_with_the_batch_of_a_store(self, tmp_path: Path) -> None:
        store = tmp_path / "run.sqlite"
        run(Counting(), n_evaluations=300, batch_size=300, store=store)
        made = run(Counting(), atol=1e-9, max_evaluations=1000, store=store)
        assert (made.n_evaluations, made.executed_evaluations) == (900, 900)
        again = Counting()
        assert run(again, atol=1e-9, max_evaluations=1000, store=store) == made
        assert again.rows == 0

    def test_a_limit_without_room_for_a_batch_of_a_store(self, tmp_path: Path) -> None:
        store, model = tmp_path / "run.sqlite", Counting()
        run(model, n_evaluations=300, batch_size=300, store=store)
        made = run(model, atol=1e-9, max_evaluations=200, store=store)
        assert made.n_evaluations == 200
        with pytest.raises(
            ValueError, match="room for 150 replicates in whole batches of 150, but a run needs at least 190"
        ):
            run(model, atol=1e-9, max_evaluations=400, min_replicates=190, store=store)


def test_seconds_are_of_the_rows_that_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each batch takes a second, however few of its rows count."""
    clock = iter(range(10**6))
    monkeypatch.setattr("mcgen.replicates.source.time.perf_counter", lambda: 0.5 * next(clock))
    monkeypatch.setattr("mcgen.replicates.source._SECONDS_BETWEEN", 1e9)
    made = run(Counting(), n_evaluations=300, batch_size=80)
    # The last batch has 60 rows that count, and 20 that fill it.
    assert made.executed_evaluations == 320
    assert made.provenance.seconds_per_evaluation == pytest.approx(1 / 80)
    assert made.provenance.timing_error == 0


def test_saved_estimates_keep_their_first_replicate(tmp_path: Path) -> None:
    made = run(Counting(), replicates=range(10, 50), batch_size=48)
    made.save(tmp_path / "run.json")
    assert mcgen.Estimate.load(tmp_path / "run.json").executed_evaluations == 144
