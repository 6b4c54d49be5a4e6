"""The loop: the same bits however it is cut, bounded memory, nothing lost on the way."""

from __future__ import annotations

import multiprocessing
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from helpers import SEED, logistic

import mcgen
from mcgen import Antithetic, Block, KAntithetic, MonteCarlo, NoiseSpec, Sobol
from mcgen.noise.random import as_seed_sequence
from mcgen.replicates.loop import replicate_means
from mcgen.replicates.pilot import pilot_values
from mcgen.replicates.task import Estimand, Task
from mcgen.statistics import identity, pixel_mean
from mcgen.validation.measurements.speed import GROWTH

# Whether few replicates look skewed is chance, and another seed may bring the warning.
pytestmark = pytest.mark.filterwarnings("ignore:.*the replicate means")

DESIGNS = [MonteCarlo(), Antithetic(), KAntithetic(5), Sobol(64), Sobol(512)]


def task(design: mcgen.Design, batch_size: int, function: Callable[..., Any] = logistic, spec: Any = (16,)) -> Task:
    estimand = Estimand(mcgen.as_generator(function, spec), pixel_mean, as_seed_sequence(SEED))
    return estimand.task(design, batch_size)


def means(one: Task, replicates: range) -> np.ndarray:
    return np.concatenate([rows.means for rows in replicate_means(one, replicates)])


@pytest.mark.parametrize("design", DESIGNS, ids=str)
@pytest.mark.parametrize("statistic", [pixel_mean, identity])
def test_same_bits_at_every_batch_size(estimate, design: mcgen.Design, statistic) -> None:
    def run(batch_size: int, n_replicates: int = 300) -> mcgen.Estimate:
        return estimate(design=design, statistic=statistic, n_replicates=n_replicates, batch_size=batch_size)

    # Rows one by one: 512 points take as many calls in 30 replicates as 64 points in 240.
    few = 30 if design.n_points > 64 else 300
    of_64 = run(64)
    for other, first in ((run(7), of_64), (run(1000), of_64), (run(1, few), run(64, few))):
        assert np.array_equal(other.replicate_means, first.replicate_means)
        assert np.array_equal(other.mean, first.mean)
        assert np.array_equal(other.standard_error, first.standard_error)
        assert np.array_equal(other.moments.m4, first.moments.m4)
        assert np.array_equal(other.within, first.within)


@pytest.mark.parametrize("design", DESIGNS, ids=str)
@pytest.mark.parametrize("batch_size", [7, 100])
def test_any_range_gives_the_same_rows(design: mcgen.Design, batch_size: int) -> None:
    whole = means(task(design, batch_size), range(200))
    for a, b in ((0, 1), (3, 50), (199, 200), (64, 128)):
        assert np.array_equal(means(task(design, batch_size), range(a, b)), whole[a:b])


def coupled(z: np.ndarray) -> np.ndarray:
    """A model whose last bits depend on the whole batch, as matrix products do."""
    return logistic(z) + 1e-6 * (z**2).mean()


@pytest.mark.parametrize("design", [MonteCarlo(), Antithetic(), Sobol(8)], ids=str)
def test_a_replicate_always_meets_the_same_company(design: mcgen.Design) -> None:
    """At one batch size the bits are the same for every range, although the model is not batch-invariant."""
    whole = means(task(design, 20, coupled), range(100))
    for a, b in ((0, 37), (37, 61), (61, 100)):
        assert np.array_equal(means(task(design, 20, coupled), range(a, b)), whole[a:b])
    assert not np.array_equal(means(task(design, 30, coupled), range(100)), whole)


def _part(first: int, last: int) -> np.ndarray:
    return means(task(Sobol(16), 48), range(first, last))


def test_processes_that_draw_different_ranges_agree() -> None:
    with multiprocessing.get_context("spawn").Pool(2) as pool:
        parts = pool.starmap(_part, [(0, 101), (101, 260)])
    assert np.array_equal(np.concatenate(parts), _part(0, 260))


def test_batches_have_the_size_asked_for() -> None:
    sizes: list[int] = []

    def record(z: np.ndarray) -> np.ndarray:
        sizes.append(len(z))
        return z

    for design, batch_size, expected in ((Antithetic(), 7, {6}), (Sobol(64), 24, {24, 16}), (MonteCarlo(), 5, {5})):
        sizes.clear()
        means(task(design, batch_size, record), range(33))
        assert set(sizes) - {2} == expected


def test_replicates_too_large_to_hold_are_drawn_in_slices(monkeypatch: pytest.MonkeyPatch) -> None:
    whole = means(task(Sobol(1024), 64), range(3))
    monkeypatch.setattr("mcgen.replicates.loop._LARGEST_DRAW", 16 * 300)
    assert np.array_equal(means(task(Sobol(1024), 64), range(3)), whole)


@dataclass(frozen=True)
class Recorded:
    """A design that records the ranges that were drawn."""

    base: mcgen.Design
    n_points: int
    drawn: list[range] = field(default_factory=list, repr=False, compare=False)

    def draw(self, spec: Any, replicates: Any, seed: Any, *, stream: Any = (), points: range | None = None) -> Any:
        self.drawn.append(replicates)
        return self.base.draw(spec, replicates, seed, stream=stream, points=points)


def test_the_model_waits_for_the_noise_of_one_batch_only() -> None:
    design = Recorded(Antithetic(), 2)
    found = means(task(design, 64, spec=(1024,)), range(1000))
    assert np.array_equal(found, means(task(Antithetic(), 64, spec=(1024,)), range(1000)))
    assert design.drawn[:3] == [range(32), range(32, 96), range(96, 192)]
    assert [one.start for one in design.drawn[1:]] == [one.stop for one in design.drawn[:-1]]


def test_a_pilot_draws_replicates_once_that_are_drawn_as_a_whole() -> None:
    design = Recorded(Sobol(512), 512)
    generator = mcgen.as_generator(logistic, (256,))
    values, _ = pilot_values(
        Estimand(generator, pixel_mean, as_seed_sequence(SEED)), design, 5, 64, "trial", tried=True
    )
    assert values.shape == (5, 512, 1)
    assert [r for one in design.drawn for r in one] == [*range(5)]


@pytest.mark.parametrize(("n_evaluations", "most"), [(200, 200), (3200, 3200), (3202, 3264)])
def test_default_batches_waste_next_to_nothing(estimate, n_evaluations: int, most: int) -> None:
    seen = 0

    def count(z: np.ndarray) -> np.ndarray:
        nonlocal seen
        seen += len(z)
        return z

    estimate(generator=mcgen.as_generator(count, (4,)), design=MonteCarlo(), n_evaluations=n_evaluations)
    assert seen - 4 <= most  # four points are run again to see that they repeat, and change with the noise


def test_several_blocks_reach_the_generator_lazily() -> None:
    spec = NoiseSpec({"start": Block((4,)), "steps": Block((3, 4)), "unused": Block((10,))})
    seen = set()

    def walk(noise) -> np.ndarray:
        seen.update(noise)
        assert noise["start"].shape[1:] == (4,)
        return noise["start"] + noise["steps"].sum(axis=1)

    assert np.abs(means(task(Antithetic(), 64, walk, spec), range(50))).max() < 1e-6
    assert seen == {"start", "steps", "unused"}


def test_global_random_state_is_left_alone(estimate) -> None:
    np.random.seed(1)  # noqa: NPY002 - the global state is what this is about
    before = np.random.get_state()[1].copy()  # noqa: NPY002
    estimate(design=Sobol(16), interval="bootstrap-t")
    assert np.array_equal(np.random.get_state()[1], before)  # noqa: NPY002


@pytest.mark.skipif(sys.platform != "linux", reason="reads the peak memory from /proc")
def test_memory_does_not_grow_with_replicates() -> None:
    printed = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True).stdout
    small, large = map(float, printed.split())
    assert 20 < small < 1000
    assert large - small < 150


@pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")  # one of 3,072 is skewed
def test_thousands_of_components(estimate) -> None:
    result = estimate(generator=mcgen.as_generator(logistic, (3, 32, 32)), statistic=identity, n_replicates=60)
    assert result.shape == (3, 32, 32)
    assert result.moments.comoment is None
    assert result.to_frame().shape[0] == 3072
