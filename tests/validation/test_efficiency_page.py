"""The page of efficiencies: the exact denoiser, the formula of widths by hand, what is measured again, what is written."""

from __future__ import annotations

import importlib.util
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.stats import t as student

pytest.importorskip("torch")

import torch

import mcgen
from mcgen.adapters import Schedule
from mcgen.validation.__main__ import main
from mcgen.validation.measurements.cases import CASES, Case, plane_statistic
from mcgen.validation.measurements.image_mixtures import MIXTURES, NAMES, ExactDenoiser, ImageMixture
from mcgen.validation.measurements.rivals import ON, RIVALS
from mcgen.validation.measurements.widths import (
    CONTENDERS,
    PAIRS,
    PLAIN,
    Contender,
    log_squared_error,
    measure,
    over_runs,
    relative_efficiency,
    settings,
    squared_half_width,
    two_levels,
    with_geometric_mean,
)
from mcgen.validation.pages import efficiency as efficiency_page
from mcgen.validation.pages.efficiency import (
    AGAINST,
    CHOOSING,
    GAINS,
    TABLES,
    gains_table,
    stored,
    with_interval,
    write_page,
    write_tables,
)

PAGE = Path(__file__).parents[2] / "docs" / "validation" / "efficiency.md"
SMALL = ImageMixture(4, 0.8, (0.5, 1.5))


def record(variance: float, n_points: int, pilot: int = 0, error: float = 0.01, k: int = 7) -> dict[str, Any]:
    """A run whose replicate means have this variance."""
    return {
        "log": [math.log(variance)] * (k + 1),
        "variance": [error] * (k + 1),
        "degrees_of_freedom": [49.0] * (k + 1),
        "design": "D",
        "n_points": n_points,
        "pilot": pilot,
        "replicates": 50,
        "seconds_per_evaluation": 0.001,
    }


def small(name: str = "small") -> Case:
    return Case(name, SMALL.generator, SMALL.statistic, NAMES, 640, {3200: 2, 200: 2}, batch_size=512)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "validation").mkdir()
    marks = "".join(f"<!-- {title} -->\n<!-- end -->\n" for title in TABLES)
    (tmp_path / "validation" / "efficiency.md").write_text(marks)
    (tmp_path / "explanation").mkdir()
    (tmp_path / CHOOSING).write_text(f"<!-- {GAINS} -->\n<!-- end -->\n")
    return tmp_path


# The mixtures


@pytest.mark.parametrize("t", [0.999, 0.5, 0.01])
def test_the_denoiser_is_the_posterior_mean(t: float) -> None:
    schedule = Schedule(sorted({0.9995, t, 0.001}, reverse=True))
    step = schedule.alpha_bar.index(t)
    denoiser = ExactDenoiser(SMALL, schedule)
    rng = np.random.default_rng(3)
    weights, means, variances = SMALL.parameters()
    cosines = denoiser.cosines.numpy().astype(np.float64)
    full = np.kron(cosines, cosines)
    x = rng.standard_normal((5, 1, 4, 4))
    expected = np.zeros((5, 16))
    total = np.zeros((5, 1))
    for w, m, v in zip(weights, means, variances, strict=True):
        # In the space of pixels, by a full covariance matrix, without coefficients.
        mean, covariance = full.T @ m, full.T @ np.diag(v) @ full
        noised = t * covariance + (1 - t) * np.eye(16)
        off = x.reshape(5, 16) - math.sqrt(t) * mean
        density = w * np.exp(-0.5 * np.einsum("ni,ij,nj->n", off, np.linalg.inv(noised), off))
        density = density[:, None] / math.sqrt(np.linalg.det(noised))
        expected += density * (mean + math.sqrt(t) * off @ np.linalg.inv(noised) @ covariance)
        total += density
    time = torch.full((5,), step / len(schedule.alpha_bar))
    found = denoiser(torch.tensor(x, dtype=torch.float32), time).numpy().reshape(5, 16)
    np.testing.assert_allclose(found, expected / total, rtol=2e-4, atol=2e-4)


def test_mixtures_have_gradients_and_coarse_samplers() -> None:
    generator, statistic = SMALL.generator(), SMALL.statistic()
    noise = mcgen.MonteCarlo().draw(generator.noise, 3, 0)[:, 0]
    assert generator.jacobian(noise, statistic).shape == (3, 7, 1, 4, 4)
    assert generator.gradient(noise, mcgen.statistics.pixel_mean).shape == (3, 1, 4, 4)
    assert generator.coarse(5).steps == 5
    assert statistic.names == NAMES
    assert tuple(statistic(generator(noise)).shape) == (3, 7)


def test_separated_components_are_told_apart_and_overlapping_ones_not() -> None:
    for name, mixture in MIXTURES.items():
        found = mixture.largest_posterior()
        assert found > 0.99 if "separated" in name else found < 0.8, name
        assert mixture.distances()[0] < mixture.distances()[1]


# The widths


def test_the_ratio_of_widths_is_that_worked_out_by_hand() -> None:
    pairs, net = record(0.08, 2), record(0.001, 64, pilot=96)
    width_of_pairs = 0.08 * 2 / 3200 * student.ppf(0.975, 1599) ** 2
    width_of_net = 0.001 * 64 / (3200 - 96) * student.ppf(0.975, 48 - 1) ** 2
    found = relative_efficiency(net, pairs, 3200)
    assert found is not None
    value, interval = found
    np.testing.assert_allclose(value, width_of_pairs / width_of_net, rtol=1e-6)
    half = student.ppf(0.975, 98) * math.sqrt(0.02)
    np.testing.assert_allclose(interval.high, value * math.exp(half), rtol=1e-6)
    # 104 evaluations are left of 200: one replicate.
    assert relative_efficiency(net, pairs, 200) is None
    assert squared_half_width(record(1.0, 40), 200) is not None
    assert squared_half_width(record(1.0, 41), 200) is None
    assert squared_half_width(None, 3200) is None


def test_a_measured_design_has_the_width_of_its_estimate() -> None:
    case = small()
    found = measure(case, CONTENDERS["k-antithetic 8"])
    assert found is not None
    width = squared_half_width(found, 640)
    one = mcgen.estimate(
        case.generator, case.statistic, design=mcgen.KAntithetic(8), n_evaluations=640, seed=0, batch_size=512
    )
    assert width is not None
    # The jackknife takes the bias of the logarithm away.
    np.testing.assert_allclose(np.exp(width.value[:-1]), np.ravel(one.half_width) ** 2, rtol=0.1)
    assert width.value[-1] == pytest.approx(width.value[:-1].mean())


def test_whole_runs_count_their_pilots() -> None:
    case = replace(small(), runs={3200: 1, 200: 1})
    found = measure(case, CONTENDERS["two levels, pairs"])
    assert found is not None
    for n in (3200, 200):
        made = found["widths"][str(n)]
        # 16 pairs of both levels: 2 x 0.2 and 2 x 1.2 evaluations.
        assert made["pilot"] == 45
        assert made["pilot"] < made["spent"] <= n
        width = squared_half_width(found, n)
        assert width is not None
        assert (width.variance > 0).all()
        assert (width.degrees_of_freedom > 5).all()


@pytest.mark.filterwarnings("ignore::mcgen.errors.CoverageWarning")
def test_the_error_of_a_sum_of_levels_is_that_of_its_parts() -> None:
    case = small()
    one = two_levels(case, 3200, seed=0)
    weight = np.array(one.levels[1].provenance.coefficients)
    squares = np.stack([(weight * one.levels[0].standard_error) ** 2, np.ravel(one.levels[1].standard_error) ** 2])
    np.testing.assert_allclose(squares.sum(axis=0), np.ravel(one.standard_error) ** 2)
    found, parts = log_squared_error(one), [log_squared_error(part) for part in one.levels]
    expected = sum((squares[i] / squares.sum(axis=0)) ** 2 * parts[i].variance for i in (0, 1))
    np.testing.assert_allclose(found.variance, expected)
    with_mean = over_runs(np.ravel(one.half_width)[None] ** 2, [one], case.counted)
    np.testing.assert_allclose(with_mean.variance[:-1], expected)
    # Components of one run err together, but not more than each.
    assert 0 < with_mean.variance[-1] < expected.max()


def test_repeated_components_count_once() -> None:
    one = mcgen.estimate(
        mcgen.as_generator(lambda z: np.stack([z[:, 0], z[:, 0], z[:, 1] ** 2], 1), noise=(2,)),
        lambda x: x,
        design=mcgen.MonteCarlo(),
        n_evaluations=500,
        seed=1,
        keep_replicates=True,
    )
    each = log_squared_error(one)
    rows = np.random.default_rng(0).standard_normal((500, 3)) * 1e-4
    counted = np.array([True, False, True])
    found = with_geometric_mean(each, [rows], counted)
    assert found.value[-1] == pytest.approx(found.value[[0, 2]].mean())
    assert found.variance[-1] == pytest.approx(499 / 500 * (rows[:, [0, 2]].mean(axis=1) ** 2).sum())
    widths = np.array([[1.0, 5.0, 4.0], [3.0, 5.0, 4.0], [2.0, 5.0, 4.0], [1.0, 5.0, 4.0], [3.0, 5.0, 4.0]])
    spread = over_runs(widths, [], counted)
    np.testing.assert_allclose(spread.value, np.log([2, 5, 4, math.sqrt(8)]))
    np.testing.assert_allclose(spread.variance, [0.05, 0, 0, 0.0125])


# The page


def test_the_page_is_written_from_few_numbers(folder: Path) -> None:
    name = "digits-diffusion, 50 steps"
    runs = {"3200": record(0.00001, 1) | {"runs": 3, "pilot": 60.0, "spent": 3190.0}}
    numbers = {
        name: {PLAIN: record(1.0, 1), PAIRS: record(0.1, 2), "two levels, pairs": {"widths": runs}},
        AGAINST: {
            "truth": {"standard_error": [0.001] * 7, "evaluations": 1000},
            "plain Monte Carlo": {
                "half_width": [0.5] * 7,
                "covered": [0.95] * 7,
                "evaluations": 3200.0,
                "repetitions": 500,
            },
        },
    }
    (folder / "validation" / "efficiency.json").write_text(json.dumps(numbers))
    write_tables(folder)
    text = (folder / "validation" / "efficiency.md").read_text()
    assert f"| {name} | 5.0 [3.8, 6.6] |" in text
    assert "| design | mean | (brightness) | contrast |" in text
    assert f"| plain Monte Carlo | 3,200 |{' 0.50000, 95.0% |' * 7}" in text
    assert "| mcgen, auto | - |" in text
    assert "| auto | - |" in text
    assert "Whole runs, two levels, pairs: 3 of 3,200 evaluations." in text
    assert "Not measured yet: mixture 4 x 4, separated" in text
    assert f"| {name} | 5.0 [3.8, 6.6] | - |" in (folder / CHOOSING).read_text()


def test_the_page_on_choosing_says_what_the_stored_numbers_say() -> None:
    if not PAGE.exists():
        pytest.skip("needs the checkout")
    text = (PAGE.parents[1] / CHOOSING).read_text()
    assert gains_table(stored(PAGE.with_suffix(".json"))) in text


def test_the_page_of_the_documentation_has_its_marks(folder: Path) -> None:
    if not PAGE.exists():
        pytest.skip("needs the checkout")
    text = PAGE.read_text()
    assert [title for title in TABLES if f"<!-- {title} -->" not in text] == []


@pytest.mark.parametrize(
    ("found", "text"),
    [
        ((3.14, 2.71, 12.3), "3.1 [2.7, 12]"),
        ((0.0123, 0.01, 1.5), "0.012 [0.01, 1.50]"),
        ((math.nan, 0, 0), "not defined"),
    ],
)
def test_intervals_are_short(found: tuple[float, float, float], text: str) -> None:
    assert with_interval(*found) == text


def test_what_is_stored_is_not_measured_again_unless_named(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made: list[str] = []
    contenders = {label: Contender(label, lambda case: mcgen.Antithetic()) for label in (PLAIN, PAIRS, "third")}

    def measured(case: Case, contender: Contender) -> dict[str, Any] | None:
        made.append(f"{case.name}: {contender.label}")
        return None if contender.label == "third" else record(1.0, 2)

    monkeypatch.setattr(efficiency_page, "CASES", {name: small(name) for name in ("one", "two")})
    monkeypatch.setattr(efficiency_page, "CONTENDERS", contenders)
    monkeypatch.setattr(efficiency_page, "measure", measured)
    monkeypatch.setattr(efficiency_page, "_measure_rivals", lambda store, again: None)
    write_page(folder)
    assert made == [f"{case}: {label}" for case in ("one", "two") for label in contenders]
    made.clear()
    write_page(folder)
    # What there is nothing to run for is asked again.
    assert made == ["one: third", "two: third"]
    made.clear()
    write_page(folder, "TWO")
    assert made == [f"two: {label}" for label in contenders]
    made.clear()
    store = folder / "validation" / "efficiency.json"
    numbers = stored(store)
    numbers["one"][PAIRS]["settings"]["evaluations"] = 1
    store.write_text(json.dumps(numbers))
    write_page(folder)
    assert f"one: {PAIRS}" in made
    assert f"one: {PLAIN}" not in made


def test_unknown_names_are_refused_before_anything_is_measured(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["efficiency", "--folder", str(folder), "--only", "no such case"]) == 2
    assert "no case's name contains 'no such case'; give part of one of" in capsys.readouterr().err
    assert not (folder / "validation" / "efficiency.json").exists()
    assert main(["efficiency", "--folder", str(folder / "elsewhere")]) == 2


def test_settings_say_what_a_measurement_depends_on() -> None:
    case = CASES[ON]
    assert settings(case, CONTENDERS[PAIRS])["evaluations"] == case.evaluations
    assert settings(case, CONTENDERS["pairs with controls"])["runs"] == {"3200": case.runs[3200]}
    assert json.loads(json.dumps(settings(case, CONTENDERS[PAIRS]))) == settings(case, CONTENDERS[PAIRS])


def test_statistics_of_the_plane() -> None:
    found = plane_statistic()(torch.tensor([[1.0, 0.5], [0.0, 0.5]]))
    assert found.tolist() == [[1.0, 0.5, 1.25, 0.5], [0.0, 0.5, 0.25, 0.5]]


# The rivals


# QMCPy is for benchmarks alone, and compiles itself: where it is not there, it is not tried.
COMPARED = ["scipy.stats.qmc by hand, 50 x 64", "mcgen, auto"]
COMPARED += ["QMCPy CubQMCRepStudentT, 50 x 64"] if importlib.util.find_spec("qmcpy") else []


@pytest.mark.filterwarnings("ignore:.*the replicate means")
@pytest.mark.parametrize("label", COMPARED)
def test_rivals_estimate_the_same_at_the_same_cost(label: str) -> None:
    rival, pairs = RIVALS[label], RIVALS["mcgen, antithetic pairs"]
    case = small()
    (mean, half, n), (other, width, as_many) = rival(case, 3200, 0), pairs(case, 3200, 0)
    assert 0.97 * 3200 < n <= as_many == 3200
    assert (np.abs(mean - other) < 6 * np.hypot(half, width)).all()
