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
    # A difference has values of its own for common random numbers.
    own = {"seed", "common_random_numbers"} if verb == "difference" else {"seed"}
    assert all(parameters[name].default == DEFAULTS[name] for name in shared if name not in own)
    assert not any(one.kind is inspect.Parameter.VAR_KEYWORD for one in parameters.values())


@pytest.mark.parametrize("verb", VERBS)
def test_unknown_words_and_missing_seeds_are_refused(verb: str) -> None:
    with pytest.raises(TypeError, match=r"has no argument 'n_evals'; did you mean n_evaluations\?"):
        VERBS[verb](n_evals=100, seed=0)
    with pytest.raises(TypeError, match=r"has no argument 'quick'\. It takes .*seed, n_evaluations"):
        VERBS[verb](quick=True, seed=0)
    with pytest.raises(TypeError, match="needs a seed, such as seed=0"):
        VERBS[verb](n_evaluations=100)


def test_a_missing_design_is_refused_with_an_example() -> None:
    with pytest.raises(TypeError, match=r"mcgen.estimate needs a design, such as design=mcgen.Antithetic\(\)"):
        mcgen.estimate(model, mean, n_evaluations=100, seed=0)
    with pytest.raises(TypeError, match=r"mcgen.compare needs designs, such as designs=\[mcgen.MonteCarlo\(\), "):
        mcgen.compare(model, mean, n_evaluations=100, seed=0)


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
    assert found["interval"] is None


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


curved = mcgen.as_generator(np.exp, noise=(4,), name="curved")


def curved_run(**run: Any) -> mcgen.Estimate:
    return mcgen.estimate(curved, mean, design=mcgen.Antithetic(), **run)


@pytest.mark.parametrize("verb", VERBS)
@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("progress", "x"),
        ("progress", 1),
        ("progress", None),
        ("keep_replicates", "yes"),
        ("keep_replicates", 0),
        ("common_random_numbers", "no"),
        ("common_random_numbers", []),
    ],
)
def test_flags_are_true_or_false(verb: str, name: str, value: Any) -> None:
    # A plan takes no common random numbers at all.
    refusal = "plan takes no" if verb == "plan" and name == "common_random_numbers" else f"{name} must be True or False; got {re.escape(repr(value))} of type"  # fmt: skip
    if verb == "difference" and name == "common_random_numbers":
        # Names of blocks that two models share.
        refusal = "must name one or more" if value == [] else "got 'no': no such block in generator a and no such block"
    with pytest.raises((TypeError, ValueError), match=refusal):
        VERBS[verb](n_evaluations=640, seed=0, **{name: value})


def test_flags_and_levels_of_multilevel() -> None:
    levels = [(model, 1), (mcgen.as_generator(np.tanh, noise=(4,)), 2)]
    for name, value in (("progress", "x"), ("keep_replicates", "yes"), ("confidence_level", "0.9")):
        with pytest.raises(TypeError, match=f"{name} must be"):
            mcgen.multilevel(levels, mean, n_evaluations=2000, seed=0, **{name: value})
    with pytest.raises(TypeError, match="iid of a noise block must be True or False; got 'no' of type str"):
        mcgen.Block((3,), iid="no")


def test_flags_of_numpy_are_flags() -> None:
    found = checked_arguments("estimate", {"seed": 0, "progress": np.False_, "simultaneous": np.True_})
    assert found["progress"] is False
    assert found["simultaneous"] is True


@pytest.mark.parametrize("kind", [np.float16, np.float32, np.float64, np.longdouble])
def test_levels_of_other_types_are_the_number_that_was_meant(kind: Any) -> None:
    expected = curved_run(n_evaluations=640, seed=0, confidence_level=0.9)
    level = kind("0.9")
    made = curved_run(n_evaluations=640, seed=0, confidence_level=level)
    assert made == expected
    assert "(90 % " in str(made)
    assert made.with_interval(confidence_level=level) == expected
    assert made.relative_efficiency(level) == expected.relative_efficiency(0.9)


@pytest.mark.parametrize("level", ["0.9", True, np.array(0.9), 1, 0.0, 1.5, 1 - 1e-18])
def test_levels_that_are_none(level: Any) -> None:
    made = curved_run(n_evaluations=640, seed=0)
    for call in (
        lambda: curved_run(n_evaluations=640, seed=0, confidence_level=level),
        lambda: made.with_interval(confidence_level=level),
        lambda: made.relative_efficiency(level),
    ):
        with pytest.raises((TypeError, ValueError), match=r"confidence_level must (be a number|lie between 0 and 1)"):
            call()


@pytest.mark.parametrize("name", ["n_replicates", "n_evaluations", "batch_size", "max_evaluations", "min_replicates"])
def test_integers_that_are_too_large(name: str) -> None:
    number = {} if name.startswith("n_") else {"n_evaluations": 640} if name == "batch_size" else {"atol": 0.1}
    with pytest.raises(ValueError, match=f"{name} must be at most .*; got {2**70}. Give a smaller number"):
        curved_run(seed=0, **number, **{name: 2**70})


@pytest.mark.parametrize(
    "call",
    [
        lambda: curved_run(seed=0, replicates=range(2**70, 2**70 + 8)),
        lambda: curved_run(seed=0, replicates=range(2**70)),
        lambda: curved_run(seed=0, n_replicates=2**62),
        lambda: mcgen.sample(model, 2**70, seed=0),
        lambda: mcgen.MonteCarlo().draw((3,), 2**70, 0),
        lambda: mcgen.Sobol(2**70),
        lambda: mcgen.KAntithetic(2**70),
        lambda: mcgen.NoiseSpec.normal((2**40, 2**40)),
        lambda: mcgen.multilevel([(model, 1), (model, 2)], mean, n_evaluations=2**70, seed=0),
        lambda: mcgen.statistics.PSNR(np.zeros(3), data_range=10**400),
    ],
)
def test_other_numbers_that_are_too_large(call: Any) -> None:
    with pytest.raises(ValueError, match=r"at most|must be finite; got 1000"):
        call()


def test_seeds_have_no_largest_value() -> None:
    assert curved_run(n_evaluations=640, seed=2**200).provenance.seed.entropy == 2**200


moved = mcgen.as_generator(lambda z, c: z + c, noise=(4,), name="moved")


def averaged(n: int, **options: Any) -> mcgen.Estimate:
    conditions = [*range(n)]
    options = {"design": mcgen.MonteCarlo(), "n_replicates": 30, "condition": conditions, "seed": 0} | options
    return mcgen.estimate(moved, mean, **options)


@pytest.mark.parametrize("kind", [np.float16, np.float32])
@pytest.mark.parametrize("n", [3, 7, 100])
def test_weights_of_few_bits_are_divided_by_their_sum(kind: Any, n: int) -> None:
    given = np.random.default_rng(n).dirichlet(np.full(n, 5.0)).astype(kind)
    exact = given.astype(np.float64) / given.astype(np.float64).sum()
    for weights in (given, [*given], dict(enumerate(given)) if n == 3 else given):
        conditions = {i: i for i in range(n)} if isinstance(weights, dict) else [*range(n)]
        made = averaged(n, weights=weights, condition=conditions)
        assert made.mean == averaged(n, weights=exact, condition=[*range(n)]).mean


@pytest.mark.parametrize(
    "weights",
    [
        ["0.1", "0.2", "0.7"],
        [True, False, False],
        np.array([1, 2, 7], "timedelta64[s]"),
        np.ma.array([0.1, 0.2, 0.7], mask=[1, 0, 0]),
        [0.1, 0.2, 0.7 + 1e-7],
        np.array([0.1, 0.2, 0.701], np.float32),
        np.array([0.1, 0.2, np.nan], np.float32),
    ],
)
def test_weights_that_are_none(weights: Any) -> None:
    with pytest.raises(ValueError, match="weights must be 3 numbers above 0 that sum to 1"):
        averaged(3, weights=weights)


def test_texts_are_no_coefficients() -> None:
    levels = [(model, 1), (mcgen.as_generator(np.sin, noise=(4,)), 2)]
    with pytest.raises(ValueError, match="coefficients must be a finite number"):
        mcgen.multilevel(levels, mean, n_evaluations=2000, seed=0, coefficients="1")
    with pytest.raises(ValueError, match="correlation must be a number"):
        mcgen.plan(model, mean, n_evaluations=640, seed=0, coarse=[(model, 0.1)], correlation="0.5")
    with pytest.raises(ValueError, match="the expectations of controls must be one finite number"):
        mcgen.controls.surrogate(model, mean, "0.5")


RUN: dict[str, Any] = {"n_evaluations": 640, "seed": 0}


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (
            lambda: mcgen.estimate(model, mean, mcgen.Antithetic(), 200),
            r"mcgen.estimate takes generator and score by position, and everything else by keyword, such as "
            r"design=\.\.\., n_evaluations=\.\.\.; got Antithetic\(\), 200 without a keyword",
        ),
        (
            lambda: mcgen.difference(model, model, mean, mcgen.Antithetic()),
            r"takes a, b and score by position",
        ),
        (lambda: mcgen.compare(model, mean, [mcgen.Antithetic()]), r"by keyword, such as designs=\.\.\., n_eval"),
        (lambda: mcgen.plan(model, mean, 3200), r"by keyword, such as n_evaluations=\.\.\.; got 3200 without"),
        (
            lambda: mcgen.estimate(model, mean, design=mcgen.Antithetic, **RUN),
            r"not the class Antithetic; add parentheses: mcgen.Antithetic\(\)",
        ),
        (lambda: mcgen.compare(model, mean, designs=[mcgen.Antithetic], **RUN), "not the class Antithetic"),
        (
            lambda: mcgen.estimate(model, mean, design="antithetic", **RUN),
            r"got 'antithetic'. To get one, pass one such as mcgen.Antithetic\(\)",
        ),
        (lambda: mcgen.estimate(model, mean, design="k-antithetic:4", **RUN), r"such as mcgen.KAntithetic\(8\)"),
        (lambda: mcgen.estimate(model, mean, design="Monte Carlo", **RUN), r"such as mcgen.MonteCarlo\(\)"),
        (
            lambda: mcgen.estimate(model, mean, design=mcgen.Antithetic(), n_samples=200, seed=0),
            r"no argument 'n_samples'; did you mean n_evaluations\?",
        ),
        (
            lambda: mcgen.estimate(model, mean, design=mcgen.Antithetic(), n=200, seed=0),
            r"no argument 'n'; did you mean n_evaluations\?",
        ),
        (
            lambda: mcgen.as_statistic(np.mean, names=["a"]),  # type: ignore[arg-type]
            r"no argument 'names'; did you mean components=\['left', 'right'\]",
        ),
    ],
)
def test_first_mistakes_are_answered_with_what_to_write(call: Any, message: str) -> None:
    with pytest.raises(TypeError, match=message):
        call()


def test_torch_networks_that_are_no_generators_yet() -> None:
    torch = pytest.importorskip("torch")
    net = torch.nn.Linear(4, 4).eval()
    with pytest.raises(TypeError, match=r"Linear is a torch module.*use mcgen.adapters.from_torch\(module"):
        mcgen.estimate(net, mean, design=mcgen.Antithetic(), **RUN)
    wrapped = mcgen.as_generator(lambda z: net(z), noise=(4,), name="net")
    with pytest.raises(TypeError, match="must be Tensor") as caught:
        mcgen.estimate(wrapped, mean, design=mcgen.Antithetic(), **RUN)
    assert any("mcgen.adapters.from_torch(network, noise=shape)" in note for note in caught.value.__notes__)


def test_a_generator_that_lacks_its_condition() -> None:
    shifted = mcgen.as_generator(lambda z, c: z + c, noise=(4,), name="shifted")
    with pytest.raises(TypeError, match="missing 1 required") as caught:
        mcgen.estimate(shifted, mean, design=mcgen.Antithetic(), **RUN)
    assert any("pass condition=..." in note for note in caught.value.__notes__)
    with pytest.raises(TypeError, match="missing 1 required") as caught:
        mcgen.estimate(shifted, lambda x, y: x, design=mcgen.Antithetic(), condition=1.0, **RUN)
    assert not any("pass condition=..." in note for note in caught.value.__notes__)


def test_components_are_reached_by_number() -> None:
    both = mcgen.as_statistic(lambda x: x[:, :2], name="both", components=["x0", "x1"])
    shifted = mcgen.as_generator(lambda z, c: z + c, noise=(4,), name="shifted")
    result = mcgen.estimate(shifted, both, design=mcgen.MonteCarlo(), condition={"low": 0, "high": 1}, **RUN)
    for one in (result, result["low"]):
        with pytest.raises(KeyError, match=r"'x1' is a component, .*; \.mean\[1\] is the mean of 'x1', as to_frame"):
            one["x1"]
    alone = mcgen.estimate(model, mean, design=mcgen.MonteCarlo(), **RUN)
    with pytest.raises(KeyError, match=r"\.mean has the mean of 'pixel_mean'"):
        alone["pixel_mean"]
    assert "pixel_mean" not in alone
