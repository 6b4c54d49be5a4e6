"""What texts, figures and reports say of distances: what they compare, their usual values, and what is left out."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mcgen
from mcgen.functionals import energy_distance, frechet_distance, kernel_distance, reference

REAL = np.random.default_rng(0).standard_normal((600, 3))
RUN: dict[str, Any] = {"n_evaluations": 800, "seed": 0}


def model(name: str, shift: float) -> Any:
    return mcgen.as_generator(lambda z: z + shift + 0.05 * z**2, noise=(3,), name=name)


def estimate(score: Any, shift: float) -> mcgen.Estimate:
    return mcgen.estimate(model("near", shift), score, design=mcgen.Antithetic(), **RUN)


@pytest.fixture(scope="module")
def card() -> mcgen.Scorecard:
    scores = {
        "fid": frechet_distance(REAL),
        "kid": kernel_distance(REAL),
        "energy": energy_distance(reference(REAL, fixed=False)),
        "mean": mcgen.statistics.pixel_mean,
    }
    return mcgen.evaluate([model("near", 0.3), model("far", 0.5)], scores, curves=True, **RUN)


def test_summaries_say_what_a_distance_compares() -> None:
    made = estimate(frechet_distance(REAL), 0.5)
    lines = made.summary().splitlines()
    assert f"plug-in      {made.plug_in:.3f}, the usual value of these samples, without interval" in lines
    assert "features     the samples themselves, 3 numbers" in lines
    fixed = "reference    600 features, fixed: the sampling error of the reference itself is outside the interval"
    assert fixed in lines
    assert not any(line.startswith("distance ") for line in lines)


def test_a_sampled_reference_is_inside_the_interval() -> None:
    lines = estimate(frechet_distance(reference(REAL, fixed=False)), 0.5).summary().splitlines()
    assert "reference    600 features, a sample" in lines


def test_an_interval_from_0_is_named() -> None:
    same = mcgen.as_generator(lambda z: 1.0 * z, noise=(3,), name="same")
    score = energy_distance(reference(REAL, fixed=False))
    made = mcgen.estimate(same, score, design=mcgen.Antithetic(), **RUN)
    assert made.interval.low == 0
    assert "distance     not distinguishable from 0" in made.summary().splitlines()
    # Of other scores nothing is said.
    mean = mcgen.estimate(same, mcgen.statistics.pixel_mean, design=mcgen.MonteCarlo(), **RUN)
    assert not {"distance", "plug-in", "features", "reference"} & {line.split(" ")[0] for line in mean.summary().splitlines()}  # fmt: skip


def test_scorecards_name_features_and_references_once(card: mcgen.Scorecard) -> None:
    lines = card.summary().splitlines()
    assert "features     the samples themselves, 3 numbers" in lines
    assert (
        "reference    600 features, fixed (fid and kid); 600 features, a sample (energy); the sampling error of a fixed "
        "reference is outside the interval"
    ) in lines
    usual = next(line for line in lines if line.startswith("plug-in"))
    biased, unbiased = usual.split(": the samples as they are, biased and without interval; ")
    assert "fid" in biased
    assert "kid" not in biased
    assert unbiased.startswith("kid")
    assert unbiased.endswith("the usual unbiased value, which takes the reference for a sample, without interval")


def test_only_biased_usual_values_are_drawn(card: mcgen.Scorecard) -> None:
    pytest.importorskip("matplotlib")
    assert "plug-in" in card.plot(score="fid").axes[0].get_xlabel()
    assert "plug-in" in card.plot_curves("fid").axes[0].get_xlabel()
    assert len(card.plot_curves("fid").axes[0].lines) == 4
    for score in ("kid", "energy"):
        assert "plug-in" not in card.plot(score=score).axes[0].get_xlabel()
        assert "plug-in" not in card.plot_curves(score).axes[0].get_xlabel()
        assert len(card.plot_curves(score).axes[0].lines) == 2


def test_a_report_takes_an_introduction_and_sections(card: mcgen.Scorecard, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    text = card.report(
        tmp_path / "report.html",
        title="Two models",
        introduction="Both are <shifted>.",
        sections={"Designs & more": "Pairs are best."},
        citation=mcgen.citation(card),
    ).read_text()
    order = ["<h1>Two models</h1>", "<p>Both are &lt;shifted&gt;.</p>", "<p class='lead'>", "<h2>Distance against"]
    order += [
        "<h2>Designs &amp; more</h2>\n<p>Pairs are best.</p>",
        "<h2>What was run</h2>",
        "<summary>BibTeX</summary>",
    ]
    places = [text.index(part) for part in order]
    assert places == sorted(places)
    assert "szekely2013energy" in text
