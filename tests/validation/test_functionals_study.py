"""The study of functionals: its true values, its design of runs side by side, its verdicts and its page."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
from scipy.integrate import quad

from mcgen.designs import Antithetic, MonteCarlo, Sobol
from mcgen.noise import NoiseSpec
from mcgen.validation.pages import functionals as page
from mcgen.validation.studies import functionals as study
from mcgen.validation.studies.functional_laws import (
    CORRELATION,
    FUNCTIONALS,
    LAWS,
    FunctionalLaw,
    SideBySide,
    true_inception_score,
)


def expectation(law: FunctionalLaw, power: int, mean: float = 0.0) -> float:
    def density(t: float) -> float:
        return float((law.g(np.array(t)) - mean) ** power) * math.exp(-(t**2) / 2) / math.sqrt(2 * math.pi)

    # The indicator jumps at 0.5.
    return sum(quad(density, a, b, limit=200)[0] for a, b in ((-12, 0.5), (0.5, 12)))


@pytest.mark.parametrize("name", LAWS)
def test_the_moments_of_the_laws(name: str) -> None:
    law = LAWS[name]
    assert expectation(law, 1) == pytest.approx(law.mean, rel=1e-7)
    assert expectation(law, 2, law.mean) == pytest.approx(law.variance, rel=1e-7)
    assert expectation(law, 3, law.mean) / law.variance**1.5 == pytest.approx(law.skewness, rel=1e-6, abs=1e-9)


@pytest.mark.parametrize("name", [name for name in LAWS if "1(" not in name])
def test_the_correlations_of_the_laws(name: str) -> None:
    law = LAWS[name]
    nodes, weights = np.polynomial.hermite_e.hermegauss(80)
    share = np.outer(weights, weights) / weights.sum() ** 2
    w = nodes[:, None] + 0 * nodes
    u = CORRELATION * w + math.sqrt(1 - CORRELATION**2) * nodes
    product = float((share * (law.g(w) - law.mean) * (law.g(u) - law.mean)).sum())
    assert product / law.variance == pytest.approx(law.correlation, rel=1e-9)


def test_the_correlation_of_the_indicators() -> None:
    from scipy.stats import multivariate_normal

    law = LAWS["1(w > 0.5)"]
    both = multivariate_normal([0, 0], [[1, CORRELATION], [CORRELATION, 1]]).cdf([-0.5, -0.5])
    assert (both - law.mean**2) / law.variance == pytest.approx(law.correlation, abs=1e-4)


def test_the_true_inception_score_by_simulation() -> None:
    p = study.class_probabilities(np.random.default_rng(0).standard_normal((10**6, 1, 2)))
    simulated = np.exp((p * np.log(p / p.mean(axis=0))).sum(axis=1).mean())
    assert true_inception_score() == pytest.approx(simulated, abs=0.003)


@pytest.mark.parametrize("design", [MonteCarlo(), Antithetic(), Sobol(16)], ids=str)
def test_runs_side_by_side_are_replicates_of_the_design(design: object) -> None:
    side, spec = SideBySide(design, 5), NoiseSpec.normal((5, 3), "float64")
    drawn = side.draw(spec, range(2, 6), 0)
    own = design.draw(NoiseSpec.normal((3,), "float64"), range(10, 30), 0)
    assert drawn.shape == (4, design.n_points, 5, 3)
    for r in range(4):
        for j in range(5):
            assert np.array_equal(drawn[r, :, j], own[5 * r + j])
    part = side.draw(spec, range(2, 6), 0, points=range(design.n_points - 1, design.n_points))
    assert np.array_equal(part, drawn[:, -1:])


def test_a_wrong_truth_is_rejected() -> None:
    cell = study.cell("ratio", "exp(w/2)", "pairs", 50, 1000, 0)
    assert study.covering("ratio", [cell]).holds
    law, (case, _) = LAWS["exp(w/2)"], (FUNCTIONALS["ratio"], None)
    result = study.estimated("ratio", law, "pairs", 50, 1000, 0)
    wrong = study._judged("a truth 10 % off", result, 1.1 * case.truth(law))
    assert not study.covering("ratio", [wrong]).holds


def test_a_refused_functional_has_no_coverage() -> None:
    found = study.cell("log_mean", "1(w > 0.5)", "Monte Carlo", 5, 500, 0)
    assert found.runs == 0
    assert math.isnan(found.covered)


def test_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "validation").mkdir()
    (tmp_path / "how-to").mkdir()
    own, whole = tmp_path / "how-to" / "functionals.md", tmp_path / "validation" / "functionals.md"
    own.write_text("<!-- coverage of functionals -->\n<!-- end -->\n")
    whole.write_text("".join(f"<!-- {mark} -->\n<!-- end -->\n" for mark in ("made by", "in words", "map")))

    def fake(name: str, law: str, design: str, n: int, runs: int, seed: int) -> study.Cell:
        hits = runs // 2 if (name, law, n) == ("std", "w^2", 200) else runs
        return study.Cell(law, hits, 0 if law == "exp(w)" else runs, 2.0, 0.0)

    monkeypatch.setattr(page, "cell", fake)
    page.write_page(tmp_path, only="std")
    assert own.read_text() == "<!-- coverage of functionals -->\n<!-- end -->\n"
    page.write_page(tmp_path)
    assert "| std | w^2 | 1.000 | 1.000 | 1.000 | 1.000 |" in own.read_text()
    text = whole.read_text()
    assert "| std | w^2 | 0.500 | Monte Carlo, 200 replicates | 200 |" in text
    assert "Nowhere below 0.93: variance, covariance," in text
    assert "| std | w^2 | 1.000, 1.000, 0.500, 1.000 | 1.000, 1.000, 0.500, 1.000 | 1.000, 1.000, 0.500 |" in text
    assert "| std | exp(w) | -, -, -, - |" in text
    with pytest.raises(ValueError, match="no functional's name"):
        page.write_page(tmp_path, only="median")
