"""`estimate` and `difference` under several conditions: averages, weights, common random numbers."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from helpers import SEED, logistic

import mcgen
from mcgen import Antithetic, MonteCarlo
from mcgen.inference.log_ratios import welch_satterthwaite
from mcgen.statistics import pixel_mean

# Whether few replicates look skewed is chance, and another seed may bring the warning.
pytestmark = pytest.mark.filterwarnings("ignore:.*the replicate means")


CONDITIONAL = mcgen.as_generator(logistic, noise=(8,), name="shifted")


def test_conditions_have_their_own_numbers_and_an_average() -> None:
    options = {"design": Antithetic(), "n_evaluations": 640, "seed": SEED}
    result = mcgen.estimate(CONDITIONAL, pixel_mean, condition=[0, 1, 2], **options)
    alone = mcgen.estimate(CONDITIONAL, pixel_mean, condition=1, **options)
    assert result.conditions[1] == alone
    assert result.mean == pytest.approx(np.mean([part.mean for part in result.conditions]))
    errors = np.array([part.standard_error for part in result.conditions]) / 3
    assert result.standard_error == pytest.approx(np.sqrt((errors**2).sum()))
    assert result.degrees_of_freedom == pytest.approx(
        welch_satterthwaite((errors**2)[:, None], np.full((3, 1), 319.0))[0]
    )
    frame = result.to_frame()
    assert frame["condition"].tolist() == ["0", "1", "2", "0, 1, 2"]
    assert frame["mean"].tolist()[-1] == result.mean


def test_an_average_over_conditions_has_the_weighted_third_moments() -> None:
    options = {"design": MonteCarlo(), "n_evaluations": 200, "seed": SEED}
    generator = mcgen.as_generator(lambda z, scale: np.exp(scale * z), (1,), name="lognormal")
    average = mcgen.estimate(generator, lambda x: x[:, 0], condition=[0.5, 1.0], weights=[0.25, 0.75], **options)
    third = [
        (w * part.standard_error) ** 3 * part.skewness for w, part in zip((0.25, 0.75), average.conditions, strict=True)
    ]
    assert average.skewness == pytest.approx(sum(third) / average.standard_error**3)
    made = average.with_interval(interval="skewness-adjusted-t").interval
    assert made.high - average.mean > 1.05 * (average.mean - made.low)


def test_conditions_are_weighted() -> None:
    options = {"design": Antithetic(), "n_evaluations": 640, "seed": SEED, "condition": [0, 1]}
    result = mcgen.estimate(CONDITIONAL, pixel_mean, weights=[0.9, 0.1], **options)
    assert result.mean == pytest.approx(0.9 * result.conditions[0].mean + 0.1 * result.conditions[1].mean)


def test_common_random_numbers_average_replicate_by_replicate() -> None:
    options = {"design": Antithetic(), "n_evaluations": 640, "seed": SEED, "condition": [0, 1, 2]}
    result = mcgen.estimate(CONDITIONAL, lambda x: x[:, :2], common_random_numbers=True, **options)
    parts = [part.replicate_means for part in result.conditions]
    assert np.allclose(np.mean(parts, axis=0), result.replicate_means)
    assert result.degrees_of_freedom.tolist() == [319, 319]
    assert np.corrcoef(parts[0][:, 0], parts[1][:, 0])[0, 1] > 0.9
    unpaired = mcgen.estimate(CONDITIONAL, lambda x: x[:, :2], **options)
    assert (result.standard_error > 1.3 * unpaired.standard_error).all()  # what is common does not average out
    joint = result.with_interval(interval="bootstrap-t")
    assert joint.half_width == pytest.approx(result.half_width, rel=0.15)


def test_conditions_must_give_the_same_components() -> None:
    growing = mcgen.as_generator(lambda z, c: logistic(z)[:, :c], (8,))
    with pytest.raises(mcgen.RunError, match=r"components of shape \(4,\) under condition 4, where \(3,\)") as caught:
        mcgen.estimate(growing, lambda x: x, design=Antithetic(), n_evaluations=640, seed=SEED, condition=[3, 4])
    assert len(caught.value.partial.conditions) == 1


def test_measurements_and_prompts_can_be_conditions() -> None:
    measurement = np.linspace(0, 1, 8)
    result = mcgen.estimate(
        CONDITIONAL, pixel_mean, design=Antithetic(), n_evaluations=400, seed=0, condition=[measurement, 1]
    )
    assert result.conditions[0].provenance.condition == "ndarray of shape (8,)"
    prompts = mcgen.as_generator(lambda z, prompt: logistic(z) + len(prompt), noise=(8,))
    one = mcgen.estimate(prompts, pixel_mean, design=Antithetic(), n_evaluations=400, seed=0, condition="a cat")
    assert one.provenance.condition == "'a cat'"


def test_conditions_are_known_by_their_content() -> None:
    """The same noise alone and in a list, for Python's and numpy's numbers; other noise for every other content."""
    plain = mcgen.as_generator(lambda z, c: z + z**2, (8,))
    options = {"design": MonteCarlo(), "n_evaluations": 200, "seed": SEED}

    def means(condition: object) -> np.ndarray:
        return mcgen.estimate(plain, pixel_mean, condition=condition, **options).replicate_means[:, 0]

    different = [1, 2, 0.5, 0.7, "a cat", True, (1, 0.5), np.zeros(3), np.ones(3)]
    for i, one in enumerate(different):
        for other in different[:i]:
            assert abs(np.corrcoef(means(one), means(other))[0, 1]) < 0.45
    assert np.array_equal(means(np.int64(2)), means(2))
    joint = mcgen.estimate(plain, pixel_mean, condition=[0.7, np.ones(3)], **options)
    assert np.array_equal(joint.conditions[0].replicate_means[:, 0], means(0.7))
    assert np.array_equal(joint.conditions[1].replicate_means[:, 0], means(np.ones(3)))
    with pytest.raises(ValueError, match="conditions repeat"):
        mcgen.estimate(plain, pixel_mean, condition=[0.5, np.float64(0.5)], **options)


def test_differences_under_several_conditions_on_common_noise() -> None:
    a = mcgen.as_generator(logistic, (8,), name="a")
    b = mcgen.as_generator(lambda z, c: logistic(1.1 * z, c), (8,), name="b")
    options = {"design": MonteCarlo(), "n_evaluations": 640, "seed": SEED}
    joint = mcgen.difference(a, b, pixel_mean, condition=[0, 1], common_random_numbers=True, **options)
    assert len(joint.conditions) == 2
    assert joint.mean == pytest.approx(np.mean([part.mean for part in joint.conditions]))


def under(condition: Any, generator: Any = CONDITIONAL) -> mcgen.Estimate:
    return mcgen.estimate(generator, pixel_mean, design=Antithetic(), n_evaluations=640, seed=SEED, condition=condition)


def test_conditions_by_name() -> None:
    named = under({"low": 0.5, "high": 1.0})
    assert named["low"] is named.conditions[0]
    assert named["high"] is named.conditions[1]
    assert named.levels == ()
    with pytest.raises(KeyError, match="no condition is called 'middle'; the names are low, high"):
        named["middle"]
    listed = under([0.5, 1.0])
    assert listed[1.0] is listed["1.0"] is listed.conditions[1]
    texts = under(["cat", "dog"], mcgen.as_generator(lambda z, text: logistic(z, len(text)), noise=(8,)))
    assert texts["dog"] is texts["'dog'"] is texts.conditions[1]
    arrays = under([np.linspace(0, 1, 8), np.linspace(0, 2, 8)])
    assert arrays["ndarray 1"] is arrays.conditions[1]
    with pytest.raises(KeyError, match="no condition is called .* the names are ndarray 0, ndarray 1,"):
        arrays["ndarray of shape (8,)"]
    with pytest.raises(KeyError, match="has no conditions; got 'low'. Levels of a sum are in .levels"):
        named["low"]["low"]
    with pytest.raises(TypeError, match="not iterable"):
        iter(named)


def test_the_old_name_of_conditions_and_levels_works_and_names_the_new_ones() -> None:
    named = under({"low": 0.5, "high": 1.0})
    with pytest.warns(DeprecationWarning, match="strata is now Estimate.conditions, .* and Estimate.levels") as caught:
        assert named.strata == named.conditions
    assert caught[0].filename == __file__


def test_two_stages_under_independent_conditions_have_an_average() -> None:
    model = mcgen.as_generator(lambda z, c: np.tanh(z + c), noise=(4,), name="model")
    options: dict[str, Any] = {"design": mcgen.Antithetic(), "atol": 0.05, "condition": [0.5, 1.0], "seed": 0}
    named = mcgen.estimate(model, mcgen.statistics.pixel_mean, interval="two-stage-t", **options)
    plain = mcgen.estimate(model, mcgen.statistics.pixel_mean, **options)
    assert [one.method for one in named.conditions] == ["two-stage-t", "two-stage-t"]
    assert named.interval == plain.interval
    assert 0.5 in named
    assert 2.0 not in named
