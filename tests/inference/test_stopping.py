"""Rules that stop a run: their targets, guards, limits and words; that a killed run goes on to the same end."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from helpers import SEED
from scipy import stats

from mcgen._lib.serialization import read_json, write_json
from mcgen.inference.interval_input import IntervalInput, enlarged_skewness
from mcgen.inference.intervals import make_interval
from mcgen.inference.moments import Moments, ReplicateMeans
from mcgen.inference.progress import NO_VARIATION
from mcgen.inference.rules import Anytime, FirstStage, TwoStage
from mcgen.inference.stopping import Rule, Stopping
from mcgen.inference.tolerance import Tolerance, checked_tolerance
from mcgen.validation.__main__ import main
from mcgen.validation.studies import stopping as stopping_studies

ROUNDING = 2.0**-52
Draw = Callable[[int], np.ndarray]


def moments_of(x: np.ndarray, events: bool = False) -> Moments:
    x = x.reshape(len(x), -1)
    return Moments.of(ReplicateMeans(0, x, np.zeros_like(x), x.astype(np.int64) if events else None, 1))


def normal(n: int, k: int = 1, mean: float = 1.0) -> np.ndarray:
    """The first n of one stream, so that a longer run begins as a shorter one; what is tested is arithmetic."""
    return mean + np.random.default_rng(20260101).normal(size=(200_000, k))[:n]


def skewed(n: int) -> np.ndarray:
    return np.exp(np.random.default_rng(20260101).normal(size=100_000))[:n]


def with_an_outlier(n: int) -> np.ndarray:
    """Looks skewed at 32, and not at 64 any more."""
    x = normal(n)
    x[5] = 5.0
    return x


def rare(n: int) -> np.ndarray:
    return (np.random.default_rng(20260101).random(100_000)[:n] < 0.02).astype(float)


def targets_of(rule: Rule, draw: Draw, events: bool = False, rounding: float = ROUNDING) -> tuple[list[int], Moments]:
    """Run a rule to its end."""
    target: int | None = rule.first_target()
    found = []
    while target is not None:
        found.append(target)
        moments = moments_of(draw(target), events)
        target = rule.next_target(moments, rounding)
    return found, moments


Make = Callable[..., Rule]
RULES: dict[str, Make] = {
    "two-stage": lambda tolerance, level=0.95, **options: TwoStage(tolerance, level, **options),
    "anytime": lambda tolerance, level=0.95, **options: Anytime(tolerance, level, **options),
    "asymptotic-anytime": lambda tolerance, level=0.95, **options: Anytime(
        tolerance, level, kind="asymptotic-anytime", **options
    ),
}
every_rule = pytest.mark.parametrize("make", RULES.values(), ids=RULES)


def test_the_first_stage_says_how_many() -> None:
    rule = TwoStage(Tolerance(atol=0.1), 0.95)
    assert rule.first_target() == 32
    first = normal(32)
    expected = int(np.ceil((stats.t(31).ppf(0.975) * first.std(ddof=1) / 0.1) ** 2))
    assert rule.next_target(moments_of(first), ROUNDING) == expected
    assert isinstance(rule.first_stage, FirstStage)
    assert (rule.first_stage.count, rule.first_stage.standard_deviation[0]) == (32, pytest.approx(first.std(ddof=1)))
    assert rule.first_stage.mean == pytest.approx(first.mean())


@every_rule
@pytest.mark.parametrize(
    "tolerance", [Tolerance(0.1), Tolerance(rtol=0.08), Tolerance(0.05, 0.1), Tolerance(2.0)], ids=str
)
def test_runs_stop_at_the_tolerance_and_not_before(make: Make, tolerance: Tolerance) -> None:
    rule = make(tolerance)
    targets, moments = targets_of(rule, lambda n: normal(n, 3))
    ended = rule.outcome(moments, ROUNDING)
    wanted = np.maximum(tolerance.atol or 0, (tolerance.rtol or 0) * abs(moments.mean))
    assert (rule.half_widths(moments) <= wanted).all()
    assert ended.reached
    assert ended.reason == f"reached: every half-width is at most {tolerance}"
    assert targets == sorted(set(targets))
    for n in targets[:-1]:
        assert not rule.outcome(moments_of(normal(n, 3)), ROUNDING).reached
    # The reported interval is as wide as the rule took it to be.
    sampled = replace(IntervalInput.of(moments, None, SEED), first_stage=ended.first_stage, planned=ended.planned)
    made, _ = make_interval(sampled, 0.95, "two-stage-t" if ended.rule == "two-stage" else ended.rule, False)
    assert made.half_width == pytest.approx(rule.half_widths(moments), rel=1e-12)
    assert (ended.first_stage is None) == (ended.rule != "two-stage")
    assert (ended.planned is None) == (ended.rule == "two-stage")


def test_the_widest_component_that_counts_decides() -> None:
    def draw(n: int) -> np.ndarray:
        return normal(n, 3) * [1.0, 2.0, 5.0]

    counts = {}
    for chosen in (None, ("a", "b"), ("a",)):
        rule = TwoStage(Tolerance(0.2, components=chosen), 0.95)
        rule.name_components(["a", "b", "c"])
        counts[chosen], moments = targets_of(rule, draw)
        assert (rule.half_widths(moments)[: len(chosen or "abc")] <= 0.2).all()
        assert rule.outcome(moments, ROUNDING).reached
    assert counts[None][-1] > 4 * counts["a", "b"][-1] > 8 * counts["a",][-1]
    with pytest.raises(ValueError, match="components must be among a, b; got 'c'"):
        TwoStage(Tolerance(0.2, components=("b", "c")), 0.95).name_components(["a", "b"])


@every_rule
def test_simultaneous_tolerances_take_bonferronis_quantile(make: Make) -> None:
    rule, each = make(Tolerance(0.2)), make(Tolerance(0.2), 0.99)
    together = make(Tolerance(0.2), simultaneous=True)
    x = normal(32, 5)
    moments = moments_of(np.concatenate([x, 2 - x]))
    assert moments.skewness == pytest.approx(np.zeros(5), abs=1e-9)
    assert together.half_widths(moments) == pytest.approx(each.half_widths(moments))
    assert (together.half_widths(moments) > rule.half_widths(moments)).all()
    # Skewness is enlarged, and the run stops by the interval that it reports.
    moments = moments_of(normal(64, 5))
    assert (together.half_widths(moments) > 1.0001 * each.half_widths(moments)).any()
    ended = together.outcome(moments, ROUNDING)
    sampled = replace(IntervalInput.of(moments, None, SEED), first_stage=ended.first_stage, planned=ended.planned)
    method = "two-stage-t" if ended.rule == "two-stage" else ended.rule
    made, _ = make_interval(sampled, 0.95, method, True)
    assert made.half_width == pytest.approx(together.half_widths(moments))
    larger = enlarged_skewness(sampled, 5).skewness / sampled.skewness
    assert larger == pytest.approx(np.full(5, 1 + 0.12 * np.log(5)))
    assert enlarged_skewness(sampled, 1) is sampled


@every_rule
@pytest.mark.parametrize(
    ("draw", "events", "atol"),
    [(normal, False, 0.07), (skewed, False, 0.07), (rare, True, 0.07), (with_an_outlier, False, 0.6)],
)
def test_a_killed_run_goes_on_to_the_same_end(
    make: Make, draw: Draw, events: bool, atol: float, tmp_path: Path
) -> None:
    tolerance = Tolerance(atol=atol, rtol=0.01)
    whole, moments = targets_of(make(tolerance), draw, events)
    target: int | None = make(tolerance).first_target()
    found, state = [], None
    while target is not None:
        rule = make(tolerance)
        if state is not None:
            rule.restore(read_json("rule", tmp_path / "state.json"))
        assert rule.first_target() == target
        found.append(target)
        # Whoever looks on the way changes nothing.
        rule.outcome(moments_of(draw(max(2, target // 2)), events), ROUNDING)
        target = rule.next_target(moments_of(draw(target), events), ROUNDING)
        state = rule.state()
        write_json("rule", state, tmp_path / "state.json")
    assert found == whole
    assert len(whole) > 1
    rule = make(tolerance)
    rule.restore(read_json("rule", tmp_path / "state.json"))
    for field in fields(Stopping):
        values = (getattr(rule.outcome(moments, ROUNDING), field.name) for _ in range(2))
        assert np.array_equal(*values)


@every_rule
def test_the_limit_is_kept_and_told(make: Make) -> None:
    rule = make(Tolerance(0.01, max_evaluations=1001), n_points=8)
    rule.name_components(["brightness"])
    targets, moments = targets_of(rule, normal)
    assert targets[-1] == 125
    ended = rule.outcome(moments, ROUNDING)
    assert not ended.reached
    assert ended.reason == (
        f"limit: max_evaluations=1,001: brightness has half-width {rule.half_widths(moments)[0]:.3g}, wanted 0.01"
    )


@every_rule
def test_the_fewest_replicates_are_run(make: Make) -> None:
    targets, _ = targets_of(make(Tolerance(9.0, min_replicates=50)), normal)
    assert targets == [50]
    targets, _ = targets_of(make(Tolerance(9.0, min_replicates=5)), normal)
    assert targets == [32]


@every_rule
def test_indicators_have_twenty_events_and_non_events(make: Make) -> None:
    for draw in (rare, lambda n: 1 - rare(n)):
        rule = make(Tolerance(0.5))
        targets, moments = targets_of(rule, draw, events=True)
        assert min(moments.events[0], moments.non_events[0]) >= 20
        assert rule.outcome(moments, ROUNDING).reached
        before = moments_of(draw(targets[-2]), events=True)
        assert min(before.events[0], before.non_events[0]) < 20
        assert "has fewer than 20 events or non-events" in rule.outcome(before, ROUNDING).reason


def test_means_that_look_skewed_have_a_longer_first_stage_and_no_other_guard() -> None:
    rule = TwoStage(Tolerance(5.0), 0.95)
    targets, moments = targets_of(rule, skewed)
    assert targets == [32, 64]
    assert moments.count < 50 * moments.skewness[0] ** 2
    ended = rule.outcome(moments, ROUNDING)
    assert ended.reached
    assert (ended.first_count, rule.first_stage.count) == (64, 64)
    assert 50 * moments_of(with_an_outlier(32)).skewness[0] ** 2 > 32
    assert targets_of(TwoStage(Tolerance(5.0), 0.95), with_an_outlier)[0] == [32, 64]
    assert targets_of(TwoStage(Tolerance(5.0), 0.95), normal)[0] == [32]
    # The skewness of an indicator says how rare its event is; the guard on events stands for it.
    assert targets_of(TwoStage(Tolerance(0.5), 0.95), rare, events=True)[0][1] > 1.5 * 32
    assert TwoStage(Tolerance(5.0, max_evaluations=50), 0.95).next_target(moments_of(skewed(32)), ROUNDING) == 50


def test_two_stages_stop_by_the_skewness_safe_ends() -> None:
    """Half the distance of the farthest ends of Stein's, Student's and the skewness-adjusted interval."""
    rule = TwoStage(Tolerance(5.0), 0.95)
    _, moments = targets_of(rule, skewed)
    n, error = moments.count, moments.standard_error[0]
    stein = stats.t(63).ppf(0.975) * rule.first_stage.standard_deviation[0] / np.sqrt(n)
    t, skewness = stats.t(n - 1).ppf(0.975), float(moments.skewness_of_mean[0])

    def hall(y: float) -> float:
        u = y - skewness / 6
        c = np.cbrt(1 + skewness * u)
        return 3 * u / (c * c + c + 1)

    up = max(stein, t * error, -hall(-t) * error)
    down = max(stein, t * error, hall(t) * error)
    assert up > 1.1 * down
    assert rule.half_widths(moments) == pytest.approx((up + down) / 2)


def test_skewness_asks_for_few_replicates_at_a_time() -> None:
    """The longer side falls faster than 1 / sqrt(n), so the rule does not run to where that would lead."""
    rule = TwoStage(Tolerance(0.3), 0.95)
    targets, moments = targets_of(rule, lambda n: np.cosh(normal(n, mean=0.0)[:, 0]))
    assert rule.outcome(moments, ROUNDING).reached
    assert len(targets) > 3
    for n, following in itertools.pairwise(targets):
        before = moments_of(np.cosh(normal(n, mean=0.0)[:, 0]))
        plain = rule.half_widths(replace(before, m3=np.zeros(1)))[0]
        stein = n * (plain / 0.3) ** 2
        assert following <= max(64, np.ceil(stein), np.ceil(1.05 * n))
        assert following >= np.ceil(1.02 * n)


every_sequence = pytest.mark.parametrize("make", [RULES["anytime"], RULES["asymptotic-anytime"]], ids=[*RULES][1:])


@every_sequence
def test_sequences_have_no_end_before_ten_times_the_squared_skewness(make: Make) -> None:
    rule = make(Tolerance(5.0))
    targets, moments = targets_of(rule, skewed)
    assert rule.outcome(moments, ROUNDING).reached
    assert targets[0] == 32
    assert moments.count >= 10 * moments.count * moments.skewness_of_mean[0] ** 2
    for n in targets[:-1]:
        before = moments_of(skewed(n))
        assert 10 * before.skewness_of_mean[0] ** 2 > 1
        assert np.isinf(rule.half_widths(before)).all()
        ended = rule.outcome(before, ROUNDING)
        assert not ended.reached
        assert "component 0 has half-width inf, wanted 5" in ended.reason
        assert "component 0 is too skewed for so few replicates" in ended.reason
    # The next look is where skewness allows for an end, not at twice as many.
    assert targets[1] == np.ceil(max(1.05, 10 * moments_of(skewed(32)).skewness_of_mean[0] ** 2) * 32)
    assert np.isinf(rule.half_widths(moments_of(normal(29)))).all()
    assert np.isfinite(rule.half_widths(moments_of(normal(30)))).all()


@every_sequence
def test_sequences_have_no_end_without_variation(make: Make) -> None:
    rule = make(Tolerance(0.2))
    still = moments_of(np.full(500, 0.5))
    assert np.isinf(rule.half_widths(still)).all()
    assert not rule.outcome(still, ROUNDING).reached
    # Replicate means that a design integrates exactly: the values inside vary.
    exact = replace(moments_of(np.full(1000, 0.5)), within=np.array([1.0]))
    assert rule.next_target(exact, ROUNDING) is None
    ended = rule.outcome(exact, ROUNDING)
    assert not ended.reached
    assert ended.reason == (
        "no variation: component 0 is integrated exactly, or nearly: without variation a sequence has no end"
    )
    assert TwoStage(Tolerance(0.2), 0.95).outcome(exact, ROUNDING).reached


@every_rule
@pytest.mark.parametrize("value", [0.0, 1.0, 0.1])
def test_what_never_varies_ends_and_is_named(make: Make, value: float) -> None:
    def draw(n: int) -> np.ndarray:
        return np.concatenate([normal(n), np.full((n, 1), value)], axis=1)

    for tolerance in (Tolerance(0.2), Tolerance(rtol=0.1)):
        rule = make(tolerance)
        rule.name_components(["moving", "still"])
        # Sums of thousands of 0.1 are not exact.
        targets, moments = targets_of(rule, draw, rounding=1e-12)
        ended = rule.outcome(moments, 1e-12)
        assert targets[-1] == NO_VARIATION
        assert not ended.reached
        assert ended.reason == (
            "no variation: still did not vary in 1,000 replicates: a constant, or an event too rare to be seen"
        )
    rule = make(Tolerance(0.2, components=("moving",)))
    rule.name_components(["moving", "still"])
    targets, moments = targets_of(rule, draw)
    assert targets[-1] < 1500
    assert rule.outcome(moments, ROUNDING).reached


@every_rule
def test_events_that_never_came_are_told(make: Make) -> None:
    rule = make(Tolerance(0.01))
    targets, moments = targets_of(rule, lambda n: np.zeros(n), events=True)
    assert targets[-1] == NO_VARIATION
    assert rule.outcome(moments, ROUNDING).reason.startswith("no variation: component 0 did not vary")


@every_rule
def test_a_mean_of_zero_has_no_relative_tolerance(make: Make) -> None:
    """Exactly 0 it is even where the targets are even."""
    rule = make(Tolerance(rtol=0.1, max_evaluations=3000))
    x = np.abs(normal(1500)) + 1
    targets, moments = targets_of(rule, lambda n: np.stack([x, -x], axis=1).reshape(-1)[: n // 2 * 2])
    assert targets[-1] == 3000
    assert moments.mean[0] == pytest.approx(0, abs=1e-12)
    assert rule.outcome(moments, ROUNDING).reason.startswith("limit: max_evaluations=3,000: component 0 has half-width")


def test_a_mean_that_may_be_zero_does_not_say_how_many() -> None:
    """A tiny mean of the first stage would ask for billions."""
    x = normal(32, mean=0.0)
    x += 1e-6 - x.mean()
    rule = TwoStage(Tolerance(rtol=0.1), 0.95)
    assert rule.next_target(moments_of(x), ROUNDING) == pytest.approx(32 * 100, abs=1)


def test_looks_of_a_sequence_grow_by_a_part() -> None:
    targets, _ = targets_of(Anytime(Tolerance(0.02), 0.95), normal)
    ratios = np.array(targets[1:]) / targets[:-1]
    assert (ratios >= 1.05).all()
    assert (ratios <= 2).all()
    assert len(targets) > 5
    # Planned for very many, the first looks have no interval at all.
    rule = Anytime(Tolerance(0.05), 0.95, planned=10**6)
    assert np.isinf(rule.half_widths(moments_of(normal(32)))).all()
    targets, moments = targets_of(rule, normal)
    assert rule.outcome(moments, ROUNDING).reached


def test_tolerances_beyond_numbers_are_no_error() -> None:
    rule = TwoStage(Tolerance(1e-300), 0.95)
    assert rule.next_target(moments_of(normal(32)), ROUNDING) == 2**60


def test_runs_cut_short_say_so() -> None:
    rule = TwoStage(Tolerance(0.01), 0.95)
    ended = rule.outcome(moments_of(normal(10)), ROUNDING)
    assert ended.reason.startswith("ended early, after 10 replicates: component 0 has half-width")
    assert ended.first_count == 10
    sampled = replace(IntervalInput.of(moments_of(normal(10)), None, SEED), first_stage=ended.first_stage)
    made, _ = make_interval(sampled, 0.95, "two-stage-t", False)
    plain, _ = make_interval(sampled, 0.95, "skewness-safe-t", False)
    assert made.half_width == pytest.approx(plain.half_width)
    with pytest.raises(ValueError, match="the rule asked for 32 replicates; got the moments of 10. Run the others too"):
        rule.next_target(moments_of(normal(10)), ROUNDING)


def test_how_it_stopped_is_kept_as_json(tmp_path: Path) -> None:
    rule = TwoStage(Tolerance(0.2), 0.95)
    _, moments = targets_of(rule, lambda n: normal(n, 2))
    ended = rule.outcome(moments, ROUNDING)
    write_json("stopping", vars(ended), tmp_path / "stopping.json")
    content = read_json("stopping", tmp_path / "stopping.json")
    again = Stopping(**{field.name: content[field.name] for field in fields(Stopping)})
    for field in fields(Stopping):
        assert np.array_equal(getattr(again, field.name), getattr(ended, field.name))


@every_rule
@pytest.mark.parametrize(
    ("tolerance", "n_points", "message"),
    [
        (
            Tolerance(1.0, max_evaluations=511),
            16,
            "max_evaluations must be at least 512, for the first 32 replicates of 16 points; got 511. Allow more, or run",
        ),
        (
            Tolerance(1.0, max_evaluations=99, min_replicates=100),
            1,
            "must be at least 100, for the first 100 replicates of 1 point; got 99",
        ),
    ],
)
def test_a_limit_has_room_for_the_first_replicates(
    make: Make, tolerance: Tolerance, n_points: int, message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        make(tolerance, n_points=n_points)


def test_parts_of_the_components_have_their_first_stage() -> None:
    rule = TwoStage(Tolerance(0.2), 0.95)
    _, moments = targets_of(rule, lambda n: normal(n, 3))
    ended = rule.outcome(moments, ROUNDING)
    part = ended.select(slice(1, 3))
    assert part.first_stage[1] == pytest.approx(ended.first_standard_deviation[1:])
    assert part.reason == ended.reason
    sequence = Anytime(Tolerance(0.2), 0.95).outcome(moments, ROUNDING)
    assert sequence.select(slice(1, 3)) is sequence


def test_tolerances_are_what_was_asked_for() -> None:
    assert checked_tolerance(None, None, None, None, None) is None
    assert checked_tolerance(1, None, None, None, None) == Tolerance(1.0)
    assert checked_tolerance(None, 0.05, 1000, 40, ["a", "b"]) == Tolerance(None, 0.05, 1000, 40, ("a", "b"))
    assert str(Tolerance(0.1, 0.05)) == "0.1 or 0.05 of its mean"


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"atol": 0}, ValueError, "atol must be above 0, such as 0.01; got 0. No run reaches a half-width of 0"),
        ({"atol": -0.1}, ValueError, "atol must be above 0"),
        ({"atol": float("nan")}, ValueError, "atol must be finite; got nan"),
        ({"atol": "0.1"}, TypeError, "atol must be a number; got '0.1'"),
        ({"atol": True}, TypeError, "atol must be a number"),
        ({"rtol": 0.0}, ValueError, "rtol must be above 0"),
        ({"rtol": 5}, ValueError, "rtol must be below 1, such as 0.05; got 5; for 5 % write 0.05"),
        ({"rtol": float("inf")}, ValueError, "rtol must be finite"),
        ({"max_evaluations": 100.0}, TypeError, "max_evaluations must be an int; got 100.0 of type float; write 100"),
        ({"max_evaluations": 0}, ValueError, "max_evaluations must be at least 1; got 0. Leave it out"),
        ({"min_replicates": 0}, ValueError, "min_replicates must be at least 1; got 0. Leave it out"),
        ({"min_replicates": "3"}, TypeError, "min_replicates must be an int; got '3'"),
        (
            {"components": "brightness"},
            TypeError,
            r"components must be a list of names such as \['brightness'\]; got 'bri",
        ),
        ({"components": [1]}, TypeError, r"components must be a list of names .*; got \[1\]"),
        ({"components": []}, ValueError, "components is empty; name at least one, or leave it out for all"),
        (
            {"atol": None, "max_evaluations": 100, "components": ["a"]},
            ValueError,
            r"max_evaluations=100 and components=\['a'\] are for a run .* needs atol .* or rtol .*; got neither. Give one",
        ),
    ],
)
def test_tolerances_refuse(changes: dict, error: type[Exception], message: str) -> None:
    arguments = {"atol": 0.1, "rtol": None, "max_evaluations": None, "min_replicates": None, "components": None}
    with pytest.raises(error, match=message):
        checked_tolerance(**(arguments | changes))


def test_the_page_is_written_where_all_laws_were_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    made = stopping_studies.Stopped(hits=190, runs=200, replicates=1.25, width=1.5, beyond=1.0, looks=3.0)
    monkeypatch.setattr(stopping_studies, "simulated", lambda *_: made)
    monkeypatch.setattr(stopping_studies, "ever_missed", lambda *_: {"anytime": 0.04})
    monkeypatch.setattr(stopping_studies, "widths", lambda *_: {"anytime": 1.6})
    monkeypatch.setattr(
        stopping_studies, "LAWS", {name: stopping_studies.LAWS[name] for name in ("normal", "lognormal")}
    )
    (tmp_path / "validation").mkdir()
    page, arguments = tmp_path / "validation" / "stopping.md", ["stopping", "--folder", str(tmp_path)]
    assert main(arguments) == 2
    assert f"there is no page {page}" in capsys.readouterr().err
    page.write_text("".join(f"<!-- {mark} -->\n<!-- end -->\n" for mark in stopping_studies._MARKS))
    empty = page.read_text()
    assert main([*arguments, "--only", "nonsense"]) == 2
    assert "no law's name contains 'nonsense'" in capsys.readouterr().err
    assert main([*arguments, "--only", "NORMAL"]) == 0
    assert main([*arguments, "--only", "logn"]) == 0
    printed = capsys.readouterr().out
    assert "| lognormal | 0.950, 1.25, 1.50 |" in printed
    assert main(arguments) == 0
    assert page.read_text() != empty
    assert "| lognormal | 0.040 |" in page.read_text()
    assert "| lognormal, R = 1,000 | 1.60 |" in page.read_text()
    assert page.read_text().count("| lognormal | 0.950, 1.25, 1.50 |") == len(stopping_studies.RULES)
    assert "| two stages | symmetric | 0.950 | normal, n* = 30 |" in page.read_text()
