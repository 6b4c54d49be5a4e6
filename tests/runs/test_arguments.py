"""The arguments that all verbs share: declared once, listed in signatures, checked by name."""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mcgen
from mcgen.runs.arguments import DEFAULTS, NAMES, checked_arguments

model = mcgen.as_generator(np.tanh, noise=(4,), name="model")
mean = mcgen.statistics.pixel_mean
VERBS = {
    "estimate": lambda **run: mcgen.estimate(model, mean, design=mcgen.Antithetic(), **run),
    "difference": lambda **run: mcgen.difference(model, model, mean, design=mcgen.Antithetic(), **run),
    "compare": lambda **run: mcgen.compare(model, mean, designs=[mcgen.Antithetic()], **run),
    "plan": lambda **run: mcgen.plan(model, mean, **run),
}


@pytest.mark.parametrize("verb", VERBS)
def test_signatures_list_the_shared_arguments(verb: str) -> None:
    parameters = inspect.signature(getattr(mcgen, verb)).parameters
    shared = [name for name in parameters if name in NAMES]
    assert len(shared) >= 10
    assert parameters["seed"].default is inspect.Parameter.empty
    assert all(parameters[name].default == DEFAULTS[name] for name in shared if name != "seed")
    assert not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())


@pytest.mark.parametrize("verb", VERBS)
def test_unknown_words_and_missing_seeds_are_refused(verb: str) -> None:
    with pytest.raises(TypeError, match=r"has no argument 'n_evals'; did you mean n_evaluations\?"):
        VERBS[verb](n_evals=100, seed=0)
    with pytest.raises(TypeError, match=r"has no argument 'quick'\. It takes .*seed, n_evaluations"):
        VERBS[verb](quick=True, seed=0)
    with pytest.raises(TypeError, match="needs a seed, such as seed=0"):
        VERBS[verb](n_evaluations=100)


@pytest.mark.parametrize(
    ("verb", "run", "message"),
    [
        ("compare", {"store": "run.sqlite"}, "compare takes no store; got store='run.sqlite'"),
        ("plan", {"executor": object()}, "plan takes no executor"),
        ("plan", {"rtol": 0.1}, "plan takes no rtol; got rtol=0.1"),
    ],
)
def test_arguments_of_other_verbs_are_refused_by_name(verb: str, run: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VERBS[verb](n_evaluations=640, seed=0, **run)


def test_defaults_fill_what_is_left_out() -> None:
    found = checked_arguments("estimate", {"seed": 0, "atol": 0.1})
    assert set(found) == set(NAMES)
    assert found["atol"] == 0.1
    assert found["interval"] == "student-t"


def test_type_checkers_see_the_arguments(tmp_path: Path) -> None:
    """A misspelt word and a value of the wrong type are errors before anything runs."""
    pytest.importorskip("mypy")
    code = tmp_path / "user.py"
    code.write_text(
        "import mcgen\n"
        "model = mcgen.as_generator(abs, noise=(4,))\n"
        "mean = mcgen.statistics.pixel_mean\n"
        "mcgen.estimate(model, mean, design=mcgen.Antithetic(), n_evaluations=100, seed=0)\n"
        "mcgen.estimate(model, mean, design=mcgen.Antithetic(), n_evals=100, seed=0)\n"
        "mcgen.compare(model, mean, designs=[mcgen.Antithetic()], n_evaluations='many', seed=0)\n"
    )
    command = [sys.executable, "-m", "mypy", "--no-incremental", "--follow-imports=silent", str(code)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    lines = [line.split(":")[1] for line in run.stdout.splitlines() if ": error:" in line]
    assert lines == ["5", "6"], run.stdout + run.stderr


@pytest.mark.parametrize(
    ("verb", "run", "message"),
    [
        ("plan", {"corelation": 0.9}, "mcgen.plan has no argument 'corelation'; did you mean correlation?"),
        ("compare", {"basline": 0}, "mcgen.compare has no argument 'basline'; did you mean baseline?"),
        (
            "difference",
            {"n_evalutions": 9},
            "mcgen.difference has no argument 'n_evalutions'; did you mean n_evaluations?",
        ),
    ],
)
def test_advice_on_misspelt_words_is_of_the_verb_that_was_called(verb: str, run: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=re.escape(message)):
        VERBS[verb](seed=0, **run)


@pytest.mark.parametrize("name", ["n_replicates", "components", "max_evaluations", "min_replicates"])
def test_compare_says_what_it_takes_instead(name: str) -> None:
    with pytest.raises(ValueError, match=f"compare takes no {name}; got .* give n_evaluations"):
        VERBS["compare"](seed=0, **{name: 100})
