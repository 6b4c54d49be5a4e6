"""Which components a plan promises something for: what a pilot says nothing of, and what is protected by name."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from helpers import FALSE_ALARM, SEED
from scipy import stats

import mcgen
from mcgen import Antithetic, MonteCarlo, OrthogonalAntithetic
from mcgen.statistics import stack
from mcgen.variance_reduction.planning.candidate import Candidate
from mcgen.variance_reduction.planning.choice import choose
from mcgen.variance_reduction.planning.promises import Promises, checked_protect

pytestmark = pytest.mark.filterwarnings("ignore:.*the replicate means")

NAMES = [f"component {i}" for i in range(7)]


def normal_pairs(n: int, k: int = 7, seed: int = SEED) -> Any:
    return np.random.default_rng(seed).standard_normal((n, k))


def nearly_always_one(n: int, others: int) -> Any:
    """A column that is 1 but for a few values, all of them different."""
    column = np.ones(n)
    column[:others] = 1 - np.linspace(0.1, 0.2, others)
    return column


def made_by_one(n: int) -> Any:
    column = np.random.default_rng(SEED + 1).standard_normal(n)
    column[3] = 10 * np.sqrt(n)
    return column


@pytest.mark.parametrize("n", [24, 40])
def test_normal_components_are_flagged_once_in_a_hundred_pilots(n: int) -> None:
    """At most; the limit is the count that a rate of 0.01 exceeds with probability 1e-9."""
    pilots = 1500
    flagged = sum(7 - int(Promises.of(normal_pairs(n, seed=SEED + i), NAMES).counted.sum()) for i in range(pilots))
    assert flagged <= stats.binom.isf(FALSE_ALARM, 7 * pilots, 0.01)
    # A control: heavy tails, of which one pair often makes most, are flagged far more often.
    rng = np.random.default_rng(SEED)
    heavy = sum(7 - int(Promises.of(rng.standard_t(1.5, (n, 7)), NAMES).counted.sum()) for _ in range(200))
    assert heavy > stats.binom.isf(FALSE_ALARM, 7 * 200, 0.01)
    # The limit is sharp: about one in a hundred, not none.
    if n == 24:
        assert flagged >= stats.binom.ppf(FALSE_ALARM, 7 * pilots, 0.008)


@pytest.mark.parametrize("n", [24, 40])
def test_saturated_components_and_those_that_one_pair_makes_are_named(n: int) -> None:
    pairs = normal_pairs(n, 3) * 0.1 + np.linspace(-1, 1, n)[:, None]
    pairs[:, 1], pairs[:, 2] = nearly_always_one(n, 9), made_by_one(n)
    found = Promises.of(pairs, ["mean", "max", "peak"])
    assert found.counted.tolist() == found.protected.tolist() == [True, False, False]
    assert len(found.reasons) == 1
    assert found.reasons[0].startswith("not promised anything")
    assert found.reasons[0].endswith(": max, peak")
    # With one value more that differs the pilot says something of it.
    pairs[:, 1] = nearly_always_one(n, 10)
    assert Promises.of(pairs, ["mean", "max", "peak"]).counted.tolist() == [True, True, False]
    # A single large value of two equal ones is not one that makes most.
    pairs[4, 2] = -pairs[3, 2]
    assert (Promises.of(pairs, ["mean", "max", "peak"]).counted[2]) == (n < 24)
    pairs[:, 2] = np.linspace(-1, 1, n)
    assert Promises.of(pairs, ["mean", "max", "peak"]).counted.all()
    assert Promises.of(pairs, ["mean", "max", "peak"]).reasons == ()


def test_few_pairs_need_fewer_values_that_differ() -> None:
    for n, others in ((8, 4), (16, 8), (20, 10), (100, 10)):
        pairs = np.stack([np.linspace(-1, 1, n), nearly_always_one(n, others)], axis=1)
        assert Promises.of(pairs, ["mean", "max"]).counted.all()
        pairs[:, 1] = nearly_always_one(n, others - 1)
        assert Promises.of(pairs, ["mean", "max"]).counted.tolist() == [True, False]
    # Three pairs say nothing of who makes most.
    assert Promises.of(np.array([[0.0, 1.0], [0.1, 2.0], [100.0, 3.0]]), ["a", "b"]).counted.all()


def test_where_all_are_doubtful_all_count() -> None:
    n = 30
    pairs = np.stack([nearly_always_one(n, 3), made_by_one(n)], axis=1)
    found = Promises.of(pairs, ["max", "peak"])
    assert found.counted.all()
    assert found.protected.all()
    assert found.reasons == ()
    alone = Promises.of(pairs[:, :1], ["max"])
    assert alone.counted.tolist() == [True]
    none = Promises.of(pairs, ["max", "peak"], ())
    assert none.counted.all()
    assert not none.protected.any()


def test_components_are_protected_by_name() -> None:
    n = 30
    pairs = normal_pairs(n, 3) * 0.1 + np.linspace(-1, 1, n)[:, None]
    pairs[:, 1] = nearly_always_one(n, 3)
    names = ["mean", "max", "contrast"]
    only = Promises.of(pairs, names, ["mean"])
    assert only.protected.tolist() == [True, False, False]
    assert only.counted.tolist() == [True, False, True]
    assert only.reasons[0].startswith("not protected: ")
    assert [text.rpartition(": ")[2] for text in only.reasons] == ["contrast", "max"]
    # A doubtful one that is named counts, and is guarded.
    asked = Promises.of(pairs, names, ["max", "mean"])
    assert asked.protected.tolist() == [True, True, False]
    assert asked.counted.all()
    assert [text.rpartition(": ")[2] for text in asked.reasons] == ["contrast"]
    none = Promises.of(pairs, names, ())
    assert not none.protected.any()
    assert none.counted.tolist() == [True, False, True]
    with pytest.raises(ValueError, match=r"protect names 'least', which is no component .* are 'mean', 'max', 'contra"):
        Promises.of(pairs, names, ["least"])
    # A string is one name, which `checked_protect` sees to.
    assert checked_protect("max") == ("max",)


def test_of_many_names_four_are_told() -> None:
    n = 24
    pairs = np.stack([np.linspace(-1, 1, n), *[nearly_always_one(n, 2)] * 6], axis=1)
    (reason,) = Promises.of(pairs, NAMES).reasons
    assert reason.endswith("component 1, component 2, component 3, component 4 and 2 more")


@pytest.mark.parametrize("protect", [None, 3, 1.5, [1, "mean"], [None], [["mean"]]], ids=repr)
def test_what_is_no_list_of_names_is_refused(protect: Any) -> None:
    with pytest.raises(ValueError, match=r"protect must be 'all', or names of components .* or \(\) for none; got "):
        checked_protect(protect)
    with pytest.raises(ValueError, match="protect must be 'all', or names"):
        mcgen.Auto(protect=protect)


def test_lists_of_names_are_kept_as_tuples() -> None:
    assert checked_protect("all") == "all"
    assert mcgen.Auto() == mcgen.Auto(protect="all")
    assert checked_protect(()) == checked_protect([]) == ()
    assert checked_protect(iter(["mean", "max"])) == ("mean", "max")
    assert mcgen.Auto(protect=["mean"]).protect == ("mean",)
    assert mcgen.Auto(protect="mean") == mcgen.Auto(protect=("mean",))
    assert hash(mcgen.Auto(protect=["mean"])) == hash(mcgen.Auto(protect=("mean",)))


def made_up(name: str, half_width: list[float], *designs: Any) -> Candidate:
    half = np.array(half_width)
    return Candidate(name, designs, (100,), half**2, half, 0 * half, "made up")


def test_protection_decides_what_may_be_chosen() -> None:
    n = 30
    pairs_of_pilot = np.stack([np.linspace(-1, 1, n), nearly_always_one(n, 3), np.linspace(-1, 1, n) ** 3], axis=1)
    names = ["mean", "max", "contrast"]
    alone, pairs = made_up("alone", [2, 2, 2], MonteCarlo()), made_up("pairs", [1, 1, 1], Antithetic())
    # One leaves the doubtful component behind, another a component that the pilot knows.
    doubtful = made_up("doubtful", [0.5, 3.0, 0.9], OrthogonalAntithetic(4))
    greedy = made_up("greedy", [0.1, 1.0, 1.3], OrthogonalAntithetic(6))
    both = [alone, pairs, doubtful, greedy]

    def chosen(protect: Any, candidates: list[Candidate]) -> str:
        return choose(candidates, Promises.of(pairs_of_pilot, names, checked_protect(protect)))[0].name

    assert chosen("all", both) == "doubtful"
    assert chosen((), both) == "greedy"
    assert chosen("mean", both) == "greedy"
    assert chosen(["contrast"], both) == "doubtful"
    assert chosen(["max"], [alone, pairs, doubtful]) == "pairs"
    assert chosen(["max", "contrast"], both) == "pairs"
    assert chosen("all", [alone, pairs, greedy]) == "pairs"


class Model:
    """A mean, which pairs remove, an energy, and a maximum that is nearly always 1."""

    noise, name = mcgen.NoiseSpec.normal((16,), "float64"), "model"

    def __call__(self, z: Any, condition: Any = None) -> Any:
        return z + 0.1 * z**2


def saturated(x: Any) -> Any:
    """Of 16 numbers one is nearly always above 1: 23 pairs of 25."""
    return np.minimum(np.max(x, axis=1), 1.0)


STATISTIC = stack(
    mcgen.statistics.pixel_mean,
    lambda x: (x**2).mean(axis=1),
    saturated,
    names=("mean", "energy", "max"),
)


def test_a_plan_names_what_it_promises_nothing_for() -> None:
    options: dict[str, Any] = {"n_evaluations": 2000, "seed": 0}
    plan = mcgen.plan(Model(), STATISTIC, **options)
    assert "not promised anything" in str(plan)
    assert any(text.startswith("not promised") and text.endswith(": max") for text in plan.reasons)
    named = mcgen.plan(Model(), STATISTIC, protect=["mean"], **options)
    assert any(text == "not protected: energy" for text in named.reasons)
    assert "not protected: energy" in str(named)
    none = mcgen.plan(Model(), STATISTIC, protect=(), **options)
    assert any(text == "not protected: mean, energy" for text in none.reasons)
    for text in ("energy", ["energy"]):
        made = mcgen.plan(Model(), STATISTIC, protect=text, **options)  # type: ignore[arg-type]
        assert any(reason == "not protected: mean" for reason in made.reasons)
    with pytest.raises(ValueError, match="protect names 'peak', which is no component of the statistic"):
        mcgen.plan(Model(), STATISTIC, protect=["peak"], **options)


def test_auto_passes_names_on() -> None:
    options: dict[str, Any] = {"n_evaluations": 2000, "seed": 0}
    plan = mcgen.plan(Model(), STATISTIC, protect=["mean"], **options)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mcgen.CoverageWarning)
        made = mcgen.estimate(Model(), STATISTIC, design=mcgen.Auto(protect=["mean"]), **options)
        assert made == plan.estimate()
    assert "not protected: energy" in str(made.provenance.plan)
    with pytest.raises(ValueError, match="protect names 'peak'"):
        mcgen.estimate(Model(), STATISTIC, design=mcgen.Auto(protect=["peak"]), **options)
