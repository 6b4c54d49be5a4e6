"""Estimates in f-strings, and intervals that unpack."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

import mcgen
from mcgen.statistics import identity, pixel_mean

MODEL = mcgen.as_generator(lambda z: np.exp(z / 4), noise=(4,), name="model")
INF = np.inf


@cache
def made(n: int = 4, statistic: Any = pixel_mean) -> mcgen.Estimate:
    model = mcgen.as_generator(lambda z: z + 1, noise=(n,), name="model")
    return mcgen.estimate(model, statistic, design=mcgen.MonteCarlo(), n_evaluations=400, seed=0)


def of(mean: float, low: float, high: float, half_width: float) -> mcgen.Estimate:
    return replace(made(), mean=mean, interval=mcgen.Interval(low, high), half_width=half_width)


def test_intervals_unpack() -> None:
    low, high = made().interval
    assert isinstance(low, float)
    assert isinstance(high, float)
    assert low < made().mean < high
    low, high = made(4, identity).interval
    assert np.shape(low) == np.shape(high) == (4,)
    assert (low < high).all()


@pytest.mark.parametrize(
    ("numbers", "spec", "text"),
    [
        ((0.6971, 0.6961, 0.6981, 0.001), ".3f", "0.697 ± 0.001"),
        ((0.6971, 0.6961, 0.6981, 0.001), ".1%", "69.7% ± 0.1%"),
        ((0.6971, 0.6961, 0.6981, 0.001), "+.2e", "+6.97e-01 ± 1.00e-03"),
        ((0.6971, 0.6961, 0.6981, 0.001), ".4g", "0.6971 ± 0.001"),
        ((12345.6, 12335.6, 12355.6, 10.0), ",.0f", "12,346 ± 10"),
        # A width that would round to 0 is one unit of the last digit; a width of 0 stays 0.
        ((0.6971, 0.6970, 0.6972, 0.0001), ".3f", "0.697 ± 0.001"),
        ((0.6971, 0.6970, 0.6972, 0.0001), ".0%", "70% ± 1%"),
        ((0.6971, 0.6971, 0.6971, 0.0), ".3f", "0.697 ± 0.000"),
        # An interval about the rounded mean holds the mean, however the half-width itself is written.
        ((123456.789, 123456.689, 123456.889, 0.1), ".2e", "1.23e+05 ± 1.00e+03"),
        ((123456.789, 123456.689, 123456.889, 0.1), ".3g", "1.23e+05 ± 1e+03"),
        ((123456.789, 123456.689, 123456.889, 0.1), ".0f", "123457 ± 1"),
        # Not symmetric, by more than half a unit.
        ((0.6971, 0.6961, 0.6992, 0.00155), ".3f", "0.697 [0.696, 0.699]"),
        ((0.6971, 0.6961, 0.6992, 0.00155), ".1f", "0.7 ± 0.1"),
        ((1.0, 1.11, 1.12, 0.005), ".1f", "1.0 [1.1, 1.2]"),
        ((0.5, 0.1, INF, INF), ".2f", "0.50 [0.10, inf]"),
        ((0.5, -INF, INF, INF), ".2f", "0.50 [-inf, inf]"),
        ((np.nan, np.nan, np.nan, np.nan), ".2f", "nan [nan, nan]"),
        ((1e17, 1e17 - 64, 1e17 + 96, 80.0), ".0f", "100000000000000000 ± 80"),
    ],
)
def test_a_format_is_that_of_the_numbers(numbers: tuple[float, ...], spec: str, text: str) -> None:
    assert format(of(*numbers), spec) == text


def test_components_have_their_names() -> None:
    few, many = made(4, identity), made(20, identity)
    low, high = float(np.min(many.mean)), float(np.max(many.mean))
    texts = f"{few:.2f}".split(", ")
    assert [text.split(" ")[0] for text in texts] == [*few.names]
    assert texts[0] == f"{few.names[0]} {few.mean[0]:.2f} ± {few.half_width[0]:.2f}"
    assert f"{many:.2f}".startswith(f"20 components, means {low:.2f} to {high:.2f}, half-widths 0.")
    assert f"{many:.0f}".endswith("half-widths 1 to 1")


def test_without_a_format_the_text_is_that_of_print() -> None:
    assert f"{made()}" == str(made())
    assert format(replace(made(), warnings=("beware",)), ".3f") == format(made(), ".3f")


@pytest.mark.parametrize("spec", [">20", ".3", "d", ".3x", "x.3f", "<.3f", ".333f"])
def test_other_formats_are_refused(spec: str) -> None:
    with pytest.raises(ValueError, match=r"must be like \.3f, \.2e, \.4g or \.1%, .*; got '"):
        format(made(), spec)


def test_results_of_several_numbers_take_no_format() -> None:
    table = mcgen.compare(
        MODEL, pixel_mean, designs=[mcgen.MonteCarlo(), mcgen.Antithetic()], n_evaluations=400, seed=0
    )
    plan = mcgen.plan(MODEL, pixel_mean, n_evaluations=2000, seed=0)
    card = mcgen.evaluate({"a": MODEL}, {"mean": pixel_mean}, n_evaluations=400, seed=0)
    for result in (table, plan, card):
        assert format(result, "") == str(result)
        with pytest.raises(TypeError, match=f"unsupported format string passed to {type(result).__name__}"):
            format(result, ".3f")
