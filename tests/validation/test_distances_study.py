"""The studies of distances: their true values, their verdicts, their controls and their page."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from helpers import SEED

from mcgen.designs import Antithetic, Design, KAntithetic, MonteCarlo
from mcgen.functionals import frechet_distance
from mcgen.inference.distances.feature_moments import Projected
from mcgen.inference.distances.kernel_distances import cubic_kernel, energy_kernel
from mcgen.validation.pages import distances as page
from mcgen.validation.problems.feature_laws import (
    FeatureLaw,
    by_class,
    elliptical,
    exact,
    linear,
    lognormal,
    periodic,
    rectified,
    squared_distance,
)
from mcgen.validation.studies import distances as study
from mcgen.validation.studies import kernel_distances as kernel
from mcgen.validation.studies.distance_runs import Outcome, covering, estimated, pooled, sampled

LAWS = (linear(3), linear(8, True), elliptical(3), lognormal(4), rectified(5, 4), periodic(3, 4), by_class(4).pooled)


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_the_moments_of_the_laws(law: FeatureLaw) -> None:
    x = law.sample(200_000, np.random.default_rng(SEED))
    errors = x.std(axis=0) / np.sqrt(len(x))
    assert (np.abs(x.mean(axis=0) - law.moments.mean) < 6 * errors).all()
    squares = (x - law.moments.mean)[:, :, None] * (x - law.moments.mean)[:, None, :]
    errors = squares.std(axis=0) / np.sqrt(len(x))
    assert (np.abs(squares.mean(axis=0) - law.moments.covariance) < 6 * errors).all()


@pytest.mark.parametrize("law", LAWS, ids=lambda law: law.name)
def test_the_distance_of_a_reference(law: FeatureLaw) -> None:
    epsilon = law.epsilon(3.0, 200)
    moments, truth = law.at(epsilon)
    assert squared_distance(law.moments, moments) == pytest.approx(truth, rel=1e-8)
    x = law.transported(law.sample(50_000, np.random.default_rng(SEED)), epsilon)
    assert frechet_distance(exact(moments)).plug_in(x) < 0.05 * truth


def test_references_are_about_as_far_as_asked() -> None:
    found = study.cell(rectified(16, 8), 10.0, "Monte Carlo", 1280, 40, SEED)
    assert 6 < found.truth / found.sd < 15


@pytest.mark.parametrize("case", kernel.cases(), ids=lambda case: case.name)
@pytest.mark.parametrize("epsilon", kernel.EPSILONS)
def test_the_distances_by_a_kernel(case: kernel.KernelCase, epsilon: float) -> None:
    function: Callable[[np.ndarray, np.ndarray], np.ndarray] = energy_kernel if case.energy else cubic_kernel
    rng = np.random.default_rng(SEED)
    found, truths = [], []
    reference = case.law.transported(case.law.sample(300, rng), epsilon)
    among = function(reference, reference).mean()
    for _ in range(30):
        x, y = case.law.sample(600, rng), case.law.transported(case.law.sample(600, rng), epsilon)
        inside, outside = function(x, x), function(y, y)
        own = (inside.sum() - np.trace(inside)) / (600 * 599)
        other = (outside.sum() - np.trace(outside)) / (600 * 599)
        found.append([own - 2 * function(x, y).mean() + other, own - 2 * function(x, reference).mean() + among])
    truths = [case.from_law(epsilon), case.from_points(reference)]
    errors = np.std(found, axis=0, ddof=1) / np.sqrt(30)
    assert (np.abs(np.mean(found, axis=0) - truths) < 6 * errors).all()


def outcome(what: str, hits: int, runs: int) -> Outcome:
    low = np.where(np.arange(runs) < hits, 0.0, 2.0)
    return Outcome(what, 1.0, low + 1, low + 1, low, low + 1.5)


def test_cells_that_cover_too_rarely_are_rejected() -> None:
    good, bad = outcome("good", 96, 100), outcome("bad", 60, 100)
    assert (good.hits, good.covered) == (96, 0.96)
    assert covering("x", [good]).holds
    assert not covering("x", [good, bad]).holds
    assert not pooled("x", {"a": [good], "b": [bad, bad]}).holds


# `mcgen validate` has the other one, which takes thousands of runs.
@pytest.mark.parametrize("name", sorted({*study.CONTROLS} - {"the influence alone"}))
def test_what_is_simpler_is_rejected(name: str) -> None:
    assert study.CONTROLS[name](0).holds


@pytest.mark.parametrize("name", [*kernel.CONTROLS])
def test_what_is_simpler_by_a_kernel_is_rejected(name: str) -> None:
    assert kernel.CONTROLS[name](0).holds


def test_points_for_controls_are_those_of_a_run() -> None:
    law, seed = rectified(5, 4), np.random.SeedSequence(SEED, spawn_key=(3,))
    score = frechet_distance(exact(law.at(0.2)[0]))
    result = estimated(law, score, Antithetic(), 40, seed)
    found = study.terms_of(law, score.target, Antithetic(), 40, seed)
    assert (found.estimate, found.plug_in) == pytest.approx((float(result.mean), float(result.plug_in)), rel=1e-9)


def test_a_sampled_reference_is_not_fixed() -> None:
    values = np.random.default_rng(SEED).standard_normal((50, 3))
    assert not sampled(values, False).fixed
    assert sampled(values, True).fixed


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "validation").mkdir()
    text = (Path(__file__).parents[2] / "docs" / "validation" / "distances.md").read_text()
    own = tmp_path / "validation" / "distances.md"
    own.write_text(text)
    monkeypatch.setattr(study, "laws", lambda: (periodic(2, 3),))
    monkeypatch.setattr(study, "CHANGES", (0.05,))
    monkeypatch.setattr(page, "chosen", lambda names, only, what: ["coverage of Fréchet distances", "differences"])
    page.write_page(tmp_path, share=0.02)
    made = own.read_text()
    assert made != text
    assert "| periodic, d = 2 | 10 |" in made
    assert "| 0.05 | 10 | k = 8 |" in made


def test_pairs_of_linear_features_count_as_one_point() -> None:
    law, n = linear(64), linear(64).moments.enough_samples
    assert study.unless_refused(law, 2.0, "pairs", n, 2, SEED) is None
    found = study.unless_refused(law, 2.0, "Monte Carlo", n, 2, SEED)
    assert found is not None
    twice = study.cell(law, 2.0, "pairs", 2 * n, 20, SEED)
    assert twice.covered > 0.7


@pytest.mark.parametrize(
    ("design", "expected"), [(MonteCarlo(), 1), (Antithetic(), 2), (KAntithetic(8), 8 / 7)], ids=str
)
def test_how_often_points_repeat_each_other(design: Design, expected: float) -> None:
    law = linear(64)
    points = study.points_of(law, design, 2560 // design.n_points, np.random.SeedSequence(SEED))
    projected = Projected([points], law.moments)
    projected.distances()
    assert projected.repetition(projected.expanded()[0]) == pytest.approx(expected, rel=0.03)
