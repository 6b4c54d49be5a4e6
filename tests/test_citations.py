"""The BibTeX entries of results: whole, each once, and those of all methods that were used."""

from __future__ import annotations

import re
from typing import Any

import numpy as np
import pytest

import mcgen
from mcgen import citations
from mcgen.functionals import energy_distance, frechet_distance, kernel_distance

REAL = np.random.default_rng(0).standard_normal((400, 3))
RUN: dict[str, Any] = {"n_evaluations": 800, "seed": 0}


def model(name: str, scale: float, dimension: int = 3) -> Any:
    return mcgen.as_generator(lambda z: scale * z[:, :3] + 0.1 * z[:, :3] ** 2, noise=(dimension,), name=name)


def keys(result: Any) -> list[str]:
    return re.findall(r"^@\w+\{(.*),$", mcgen.citation(result), re.MULTILINE)


def test_all_entries_are_whole_and_no_key_leads_nowhere() -> None:
    entries = citations._references()
    for key, entry in entries.items():
        assert re.match(rf"@\w+\{{{key},\n  ", entry)
        assert entry.endswith("}\n}")
        assert entry.count("{") == entry.count("}")
        assert "year = {" in entry
    named = re.findall(r"\"([a-z]+\d{4}\w+)\"", (citations._FILE.parent / "citations.py").read_text())
    assert {*named} | {"mcgen"} == {*entries}


def test_the_first_entry_is_of_this_version() -> None:
    result = mcgen.estimate(model("a", 1.0), mcgen.statistics.pixel_mean, design=mcgen.MonteCarlo(), **RUN)
    text = mcgen.citation(result)
    assert text.startswith("@software{mcgen,")
    assert f"version = {{{mcgen.__version__}}}," in text
    assert "\n\n@inproceedings{salmon2011parallel," in text


@pytest.mark.parametrize(
    ("score", "own", "others"),
    [
        (frechet_distance(REAL), ["dowson1982frechet", "heusel2017gans", "busing1999delete"], ["gretton2012kernel"]),
        (kernel_distance(REAL), ["gretton2012kernel", "binkowski2018demystifying"], ["efron1982jackknife"]),
        (kernel_distance(REAL, kernel=lambda x, y: x @ y.T), ["gretton2012kernel"], ["binkowski2018demystifying"]),
        (energy_distance(REAL), ["szekely2013energy"], ["gretton2012kernel", "dowson1982frechet"]),
    ],
)
def test_distances_name_their_sources(score: Any, own: list[str], others: list[str]) -> None:
    found = keys(mcgen.estimate(model("a", 0.9), score, design=mcgen.Antithetic(), **RUN))
    assert {*own, "johnson1978modified", "jia2025antithetic"} <= {*found}
    assert not {*others} & {*found}


def test_a_scorecard_names_the_sources_of_all_its_numbers_once() -> None:
    models = [model("a", 0.9), model("b", 1.1), model("c", 1.0, dimension=4)]
    scores = [frechet_distance(REAL), mcgen.statistics.pixel_mean]
    card = mcgen.evaluate(models, scores, **RUN)
    found = keys(card)
    single = [keys(card[name, score]) for name in card.models for score in card.scores]
    assert {key for one in single for key in one} <= {*found}
    # The third model has noise of its own, and three differences hold together.
    assert {"welch1947generalization", "dunn1961multiple"} <= {*found}
    assert len(found) == len({*found})
