"""Which design of a comparison is the most efficient, and how often the claim that this is clear is wrong."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from helpers import FALSE_ALARM, SEED
from scipy import stats

import mcgen
from mcgen import Antithetic, KAntithetic, MonteCarlo, Sobol
from mcgen.results.best_designs import Ranking
from mcgen.statistics import identity, pixel_mean, stack

pytestmark = [pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")]

# With f(z) = a z + z^2 a pair mean has the variance 2, and a single value a^2 + 2: at a^2 = 2 pairs gain nothing.
EQUAL = mcgen.as_generator(lambda z: math.sqrt(2) * z + z**2, noise=(1,), name="equal")
BETTER = mcgen.as_generator(lambda z: 4 * z + z**2, noise=(8,), name="better")
CURVED = mcgen.as_generator(lambda z: z + np.exp(z), noise=(8,), name="curved")


def compared(model: Any, statistic: Any, *designs: Any, n: int = 1600, **options: Any) -> mcgen.Comparison:
    return mcgen.compare(model, statistic, designs=[*designs], n_evaluations=n, **{"seed": SEED} | options)


def largest(x: Any) -> Any:
    return x.max(axis=1)


def clear_claims(confidence_level: float, n: int, runs: int = 400) -> int:
    """In how many runs one of two equally efficient designs is called the most efficient one."""
    options = {"n": n, "confidence_level": confidence_level}
    made = (
        compared(EQUAL, pixel_mean, MonteCarlo(), Antithetic(), seed=SEED + i, **options).best() for i in range(runs)
    )
    return sum(len(best) == 1 for best in made)


@pytest.mark.parametrize("n", [40, 400])
def test_equally_efficient_designs_are_rarely_told_apart(n: int) -> None:
    limit = stats.binom.isf(FALSE_ALARM, 400, 0.05)
    assert clear_claims(0.95, n) <= limit


def test_at_a_lower_confidence_the_claim_is_wrong_more_often() -> None:
    assert clear_claims(0.5, 400) > stats.binom.isf(FALSE_ALARM, 400, 0.05)


def test_the_most_efficient_of_several_is_rarely_left_out() -> None:
    # KAntithetic(k=2) is pairs too; so two of the three are equally good, and Monte Carlo is a little worse.
    model = mcgen.as_generator(lambda z: 1.6 * z + z**2, noise=(1,), name="near")
    left_out = 0
    for i in range(300):
        made = compared(model, pixel_mean, MonteCarlo(), Antithetic(), KAntithetic(2), n=200, seed=SEED + i)
        left_out += not {"Antithetic()", "KAntithetic(k=2)"} <= {*made.best()}
    assert left_out <= stats.binom.isf(FALSE_ALARM, 300, 0.05)


def test_a_clear_best_is_named_with_its_efficiency() -> None:
    made = compared(BETTER, pixel_mean, MonteCarlo(), Antithetic())
    assert made.best() == ("Antithetic()",)
    row = made.to_frame().iloc[1]
    low, value, high = (f"{row[name]:.3g}" for name in ("efficiency_low", "relative_efficiency", "efficiency_high"))
    said = (
        f"Antithetic() is the most efficient of 2 designs: one evaluation is worth {value} [{low}, {high}] of "
        "MonteCarlo(); this is clear at 95 % confidence."
    )
    assert made.notes()[0] == said
    for text in (str(made), made.summary(), made._repr_html_()):
        assert said in text
    over_pairs = compared(BETTER, pixel_mean, MonteCarlo(), Antithetic(), baseline=Antithetic())
    assert over_pairs.notes()[0] == "Antithetic() is the most efficient of 2 designs; this is clear at 95 % confidence."


def test_designs_that_cannot_be_told_apart_are_named() -> None:
    made = compared(EQUAL, pixel_mean, MonteCarlo(), Antithetic(), n=200)
    frame = made.to_frame().sort_values("relative_efficiency", ascending=False)
    first, second = frame["design"]
    assert made.best() == (first, second)
    assert made.notes()[0].startswith(f"{first} has the highest estimated efficiency of 2 designs")
    assert f"; it can't be told from {second} at 95 % confidence." in made.notes()[0]


def test_each_of_a_few_components_has_a_sentence_and_many_have_one_line() -> None:
    made = compared(CURVED, stack(pixel_mean, largest), MonteCarlo(), Antithetic(), Sobol(16))
    assert len(made.best("pixel_mean")) >= 1
    assert [f"designs for {name}" in note for name, note in zip(made.estimates[0].names, made.notes(), strict=False)] == [True, True]  # fmt: skip
    with pytest.raises(ValueError, match="has 2 components, and the best is by one of them; got component=None"):
        made.best()
    with pytest.raises(KeyError, match="has no component 'mean'; its components are pixel_mean, largest"):
        made.best("mean")
    many = compared(BETTER, identity, MonteCarlo(), Antithetic())
    assert many.notes()[0] == "The most efficient of 2 designs, by component, at 95 % confidence: Antithetic() for 8 of 8 components."  # fmt: skip
    unclear = compared(BETTER, identity, MonteCarlo(), Antithetic(), n=20)
    assert "several designs can't be told apart for" in unclear.notes()[0]


def test_intervals_of_components_and_designs_hold_together() -> None:
    # A quantity that is just clear by itself is not clear beside 400 others.
    for n in range(20, 2000, 10):
        one = compared(EQUAL, pixel_mean, MonteCarlo(), Antithetic(), n=n, confidence_level=0.5)
        if len(one.best()) == 1:
            break
    copies = stack(*(mcgen.as_statistic(pixel_mean, name=f"copy {i}") for i in range(40)))
    many = compared(EQUAL, copies, MonteCarlo(), Antithetic(), n=n, confidence_level=0.5)
    assert len(many.best("copy 0")) == 2


def test_a_doubt_beside_an_interval_above_1_says_that_all_intervals_hold_together() -> None:
    """The interval in the sentence is that of the table, for one efficiency by itself."""
    for n in range(20, 2000, 10):
        made = compared(EQUAL, stack(pixel_mean, largest), MonteCarlo(), Antithetic(), n=n, confidence_level=0.5)
        row = made.to_frame().iloc[2]
        if len(made.best("pixel_mean")) == 2 and row["efficiency_low"] > 1:
            break
    said = "it can't be told from MonteCarlo() at 50 % confidence for all comparisons together."
    assert made.notes()[0].endswith(said)


def test_a_design_without_variance_is_not_left_out() -> None:
    odd = mcgen.as_generator(lambda z: z, noise=(4,), name="odd")
    made = compared(odd, pixel_mean, MonteCarlo(), Antithetic(), Sobol(16))
    assert made.best() == ("Sobol(n_points=16)", "Antithetic()")
    said = "Sobol(n_points=16) has the highest estimated efficiency of the 2 that have one, of 3 designs: one evaluation is"
    assert made.notes()[0].startswith(said)
    assert "it can't be compared with Antithetic(), without variance in this run." in made.notes()[0]
    alone = compared(odd, pixel_mean, MonteCarlo(), Antithetic(), KAntithetic(2))
    assert alone.notes()[0] == (
        "MonteCarlo() is the only one of 3 designs with an efficiency; it can't be compared with Antithetic() or "
        "KAntithetic(k=2), without variance in this run."
    )
    exact = compared(odd, pixel_mean, Antithetic(), KAntithetic(2))
    assert exact.best() == ("Antithetic()", "KAntithetic(k=2)")
    assert exact.notes()[0] == "No efficiency is defined, so no design can be told from the others."


def test_pilots_levels_and_conditions_count() -> None:
    fine = mcgen.as_generator(lambda z, c=0.0: np.exp(z / 4 + c), noise=(16,), name="fine")
    coarse = mcgen.as_generator(lambda z, c=0.0: (1 + z / 4 + z**2 / 32) * np.exp(c), noise=(16,), name="coarse")
    levels = mcgen.Auto(coarse=[(coarse, 0.05)])
    conditions = {"condition": [0.0, 1.0]}
    for design, options in (
        (levels, {}),
        (levels, conditions),
        (Antithetic(), conditions | {"common_random_numbers": True}),
    ):
        made = compared(fine, pixel_mean, MonteCarlo(), design, n=1600, **options)
        frame = made.to_frame()
        assert made.provenance.condition is not None or "two levels" in made.labels[1]
        efficient = frame["relative_efficiency"].idxmax()
        assert made.best()[0] == made.labels[int(efficient)]
        assert "of 2 designs" in made.notes()[0]


def test_a_pilot_as_large_as_the_gain_takes_it_away() -> None:
    made = compared(BETTER, pixel_mean, MonteCarlo(), Antithetic())
    pairs = made.estimates[1]
    paid = replace(pairs, provenance=replace(pairs.provenance, pilot_evaluations=1000 * pairs.n_evaluations))
    assert Ranking([made.estimates[0], paid], 0, made.labels).best == [[0]]


def test_a_design_that_any_other_beats_is_left_out() -> None:
    """Few replicates leave the first design in doubt, and the second is clearly better than the third all the same."""
    made = compared(BETTER, pixel_mean, MonteCarlo(), Antithetic(), Sobol(256), n=1280)
    row = made.to_frame().iloc[2]
    assert row["relative_efficiency"] > 20
    assert row["efficiency_low"] < 1
    assert made.best() == ("Sobol(n_points=256)", "Antithetic()")
