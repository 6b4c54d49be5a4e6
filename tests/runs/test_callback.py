"""`callback=`: what it sees, that it changes nothing, and what its errors do."""

from __future__ import annotations

import dataclasses
import functools
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from helpers import SEED, logistic
from worker_parts import coordinates

import mcgen
from mcgen.runs import watching

MEAN = mcgen.statistics.pixel_mean
MODEL = mcgen.as_generator(logistic, noise=(4,), name="logistic")
CHEAP = mcgen.as_generator(functools.partial(logistic, condition=0.1), noise=(4,), name="cheap")
estimate = functools.partial(mcgen.estimate, MODEL, MEAN, design=mcgen.Antithetic(), seed=SEED)


class Log:
    """Keeps what each call saw."""

    def __init__(self) -> None:
        self.states: list[mcgen.RunState] = []
        self.estimates: list[dict[str, mcgen.Estimate]] = []

    def __call__(self, state: mcgen.RunState) -> None:
        self.states.append(state)
        self.estimates.append(dict(state.estimates))

    def finished(self) -> list[mcgen.Estimate]:
        return [
            estimate
            for state, found in zip(self.states, self.estimates, strict=True)
            if state.finished
            for estimate in found.values()
        ]


@pytest.fixture
def at_each_batch(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watching, "_SECONDS_BETWEEN", -1.0)


def same(a: mcgen.Estimate, b: mcgen.Estimate) -> bool:
    """Whether two estimates have the same bits."""
    one, two = a.interval, b.interval
    return bool(
        a.n_replicates == b.n_replicates
        and np.array_equal(a.mean, b.mean)
        and np.array_equal(a.standard_error, b.standard_error)
        and np.array_equal(one.low, two.low)
        and np.array_equal(one.high, two.high)
    )


def test_a_callback_sees_the_run_from_two_replicates_to_its_estimate(at_each_batch: None) -> None:
    log = Log()
    result = estimate(n_evaluations=640, batch_size=64, callback=log)
    assert [state.n_replicates for state in log.states] == [*range(32, 321, 32), 320]
    assert [state.finished for state in log.states] == [False] * 10 + [True]
    assert all(state.n_evaluations == 2 * state.n_replicates and state.target == 320 for state in log.states)
    assert {(s.model, s.score, s.design, s.condition) for s in log.states} == {
        ("logistic", "pixel_mean", "Antithetic()", None)
    }
    seconds = [state.seconds for state in log.states]
    assert seconds == sorted(seconds)
    assert seconds[0] > 0
    *running, last = (found["pixel_mean"] for found in log.estimates)
    assert all(one.partial for one in running)
    assert last == result
    assert not result.partial


def test_an_estimate_on_the_way_is_that_of_a_run_that_ends_there(at_each_batch: None) -> None:
    log = Log()
    estimate(n_evaluations=640, batch_size=64, callback=log)
    for state, found in zip(log.states, log.estimates, strict=True):
        assert same(found["pixel_mean"], estimate(n_evaluations=state.n_evaluations, batch_size=64))


def test_calls_are_a_second_apart_and_the_first_and_the_last_always_come(monkeypatch: pytest.MonkeyPatch) -> None:
    now = 0.0

    def slow(z: np.ndarray) -> np.ndarray:
        nonlocal now
        now += 0.3
        return logistic(z)

    monkeypatch.setattr(watching, "time", SimpleNamespace(monotonic=lambda: now))
    model, log = mcgen.as_generator(slow, noise=(4,), name="slow"), Log()
    mcgen.estimate(model, MEAN, design=mcgen.MonteCarlo(), n_evaluations=640, batch_size=64, seed=0, callback=log)
    assert [state.n_replicates for state in log.states] == [64, 320, 576, 640]


def test_the_time_of_a_callback_is_no_time_of_the_run(at_each_batch: None) -> None:
    import time

    result = estimate(n_evaluations=256, batch_size=64, callback=lambda state: time.sleep(0.1))
    assert result.provenance.seconds < 0.1


ARGUMENTS = {
    "fixed number": {"n_evaluations": 2000},
    "tolerance": {"rtol": 0.002},
    "anytime": {"rtol": 0.002, "interval": "anytime"},
    "bootstrap": {"n_evaluations": 2000, "interval": "bootstrap-t"},
    "part": {"replicates": range(100, 500)},
    "samples": {"n_evaluations": 2000, "keep_samples": True},
    "Auto": {"n_evaluations": 4000, "design": "auto"},
    "controls": {"n_evaluations": 2000, "controls": mcgen.controls.quadratic(mcgen.bases.dct_basis((4,), 2))},
}


@pytest.mark.parametrize("name", ARGUMENTS)
def test_no_number_changes(name: str, at_each_batch: None) -> None:
    log = Log()
    with_it = estimate(**ARGUMENTS[name], callback=log)
    assert same(with_it, estimate(**ARGUMENTS[name]))
    assert len(log.states) > 2


def within_bounds(samples: np.ndarray) -> np.ndarray:
    return samples.mean(axis=1)


SCORES = {
    "variance": mcgen.functionals.variance(MEAN),
    "quantile": mcgen.functionals.quantile(MEAN, 0.9),
    "boolean": mcgen.as_statistic(lambda samples: samples.mean(axis=1) > 0.8, name="high"),
}


@pytest.mark.parametrize("name", SCORES)
@pytest.mark.parametrize("amount", [{"n_evaluations": 3200}, {"atol": 0.02}], ids=str)
def test_no_number_of_another_score_changes(name: str, amount: dict, at_each_batch: None) -> None:
    log = Log()
    run = functools.partial(mcgen.estimate, MODEL, SCORES[name], design=mcgen.Antithetic(), seed=SEED, **amount)
    assert same(run(callback=log), run())
    assert len(log.states) > 2


def test_bets_do_not_change(at_each_batch: None) -> None:
    score, log = mcgen.as_statistic(within_bounds, bounds=(0, 1)), Log()
    run = functools.partial(mcgen.estimate, MODEL, score, design=mcgen.Antithetic(), seed=SEED, interval="betting")
    assert same(run(atol=0.02, callback=log), run(atol=0.02))
    assert len(log.states) > 2


@pytest.mark.parametrize("pool", [ThreadPoolExecutor, ProcessPoolExecutor])
def test_with_an_executor_it_runs_in_the_calling_thread(pool: type, at_each_batch: None) -> None:
    import os
    import threading

    places, log = set(), Log()

    def callback(state: mcgen.RunState) -> None:
        places.add((os.getpid(), threading.get_ident()))
        log(state)

    model = mcgen.as_generator(np.exp, noise=(4,), name="exp")
    run = functools.partial(mcgen.estimate, model, coordinates, design=mcgen.Antithetic(), n_evaluations=2000, seed=0)
    with pool(2) as executor:
        made = run(executor=executor, callback=callback)
    assert same(made, run())
    assert len(log.states) > 2
    assert places == {(os.getpid(), threading.get_ident())}
    assert log.finished() == [made]


def test_loky(at_each_batch: None) -> None:
    loky = pytest.importorskip("loky")
    model, log = mcgen.as_generator(np.exp, noise=(4,), name="exp"), Log()
    run = functools.partial(mcgen.estimate, model, coordinates, design=mcgen.Antithetic(), n_evaluations=2000, seed=0)
    with loky.ProcessPoolExecutor(1) as executor:
        made = run(executor=executor, callback=log)
    assert same(made, run())
    assert log.finished() == [made]


def test_a_store_does_not_know_of_it(tmp_path: Path, at_each_batch: None) -> None:
    first, second, third = Log(), Log(), Log()
    estimate(n_evaluations=1280, store=tmp_path / "run.sqlite", callback=first)
    longer = estimate(n_evaluations=2560, store=tmp_path / "run.sqlite", callback=second)
    again = estimate(n_evaluations=2560, store=tmp_path / "run.sqlite", callback=third)
    assert same(longer, estimate(n_evaluations=2560))
    assert same(again, longer)
    assert second.states[0].n_replicates == 256, "a leaf of the store, and no batch of 32"
    assert third.states[-1].finished
    assert third.states[-1].n_replicates == 1280


def test_each_condition_is_a_run(at_each_batch: None) -> None:
    log = Log()
    result = estimate(n_evaluations=640, condition={"low": 0.0, "high": 1.0}, callback=log)
    assert [one.condition for one in log.states if one.finished] == ["low", "high"]
    assert log.finished() == [*result.conditions]


def test_conditions_on_the_same_noise_are_one_run(at_each_batch: None) -> None:
    log = Log()
    run = functools.partial(estimate, n_evaluations=640, condition=[0.0, 1.0], common_random_numbers=True)
    result = run(callback=log)
    assert log.finished() == [result]
    assert same(result, run())
    assert len(log.estimates[0]["pixel_mean"].conditions) == 2


def test_other_verbs(at_each_batch: None) -> None:
    log = Log()
    made = mcgen.difference(MODEL, CHEAP, MEAN, design=mcgen.Antithetic(), n_evaluations=640, seed=0, callback=log)
    assert log.finished() == [made]
    log = Log()
    made = mcgen.difference(
        MODEL,
        CHEAP,
        MEAN,
        design=mcgen.Antithetic(),
        n_evaluations=640,
        seed=0,
        callback=log,
        common_random_numbers=False,
    )
    assert [state.model for state in log.states if state.finished] == ["logistic", "cheap"]
    assert log.finished() == [*made.models]
    log = Log()
    designs = [mcgen.Antithetic(), mcgen.MonteCarlo()]
    table = mcgen.compare(MODEL, MEAN, designs=designs, n_evaluations=640, seed=0, callback=log)
    assert {state.design for state in log.states if state.finished} == {str(design) for design in designs}
    assert len(log.finished()) == len(table.estimates)
    assert all(one in table.estimates for one in log.finished())
    log = Log()
    plan = mcgen.plan(MODEL, MEAN, n_evaluations=3200, seed=0, callback=log)
    assert log.states == [], "a pilot has no estimate"
    assert log.finished() == []
    assert same(plan.estimate(), log.finished()[0])
    log = Log()
    run = functools.partial(mcgen.multilevel, [(CHEAP, 1), (MODEL, 20)], MEAN, n_evaluations=3200, seed=0)
    made = run(callback=log)
    assert same(made, run())
    assert [state.model for state in log.states if state.finished] == ["cheap", "logistic - cheap"]
    for shown, level in zip(log.finished(), made.levels, strict=True):
        assert same(shown, level)


@pytest.mark.parametrize("amount", [{"n_evaluations": 6400}, {"atol": 0.02}], ids=str)
def test_evaluate_shows_all_scores(amount: dict, at_each_batch: None) -> None:
    log, spread = Log(), mcgen.functionals.variance(MEAN)
    run = functools.partial(
        mcgen.evaluate, {"old": MODEL, "new": CHEAP}, {"mean": MEAN, "spread": spread}, seed=0, **amount
    )
    card, without = run(callback=log), run()
    last = [(s, e) for s, e in zip(log.states, log.estimates, strict=True) if s.finished]
    assert [state.model for state, _ in last] == ["old", "new"]
    for state, found in last:
        for score in ("mean", "spread"):
            assert same(found[score], card[state.model, score])
            assert same(card[state.model, score], without[state.model, score])
    assert all(
        one.partial for s, e in zip(log.states, log.estimates, strict=True) if not s.finished for one in e.values()
    )


def test_one_estimate_of_several_scores_is_refused() -> None:
    seen = []

    def callback(state: mcgen.RunState) -> None:
        with pytest.raises(ValueError, match=r"2 scores, mean, spread; read state.estimates\['mean'\]"):
            _ = state.estimate
        seen.append(state)

    scores = {"mean": MEAN, "spread": mcgen.functionals.variance(MEAN)}
    mcgen.evaluate(MODEL, scores, n_evaluations=640, seed=0, callback=callback)
    assert seen


def test_a_functional_without_a_value_yet_drops_the_call(at_each_batch: None) -> None:
    rare = mcgen.as_statistic(lambda samples: (samples.mean(axis=1) > 0.85).astype(float), name="rare")
    seen = []
    result = mcgen.estimate(
        MODEL,
        mcgen.functionals.log_mean(rare),
        design=mcgen.MonteCarlo(),
        n_evaluations=6400,
        batch_size=2,
        seed=2,
        callback=lambda state: seen.append((state.n_replicates, state.estimate)),
    )
    assert np.isfinite(result.mean)
    assert 2 < seen[0][0] < 6400


def test_an_error_of_the_callback_ends_the_run(tmp_path: Path, at_each_batch: None) -> None:
    def picky(state: mcgen.RunState) -> None:
        if state.n_replicates >= 320:
            raise RuntimeError("enough")

    with pytest.raises(RuntimeError, match="enough") as caught:
        estimate(n_evaluations=6400, store=tmp_path / "run.sqlite", callback=picky)
    assert caught.value.partial.partial
    assert caught.value.partial.n_replicates == 320
    assert caught.value.__notes__ == ["raised by the callback 'picky' at 320 replicates"]
    (stored,) = mcgen.read_store(tmp_path / "run.sqlite")
    assert stored.estimate.n_replicates == 320
    whole = estimate(n_evaluations=6400, store=tmp_path / "run.sqlite")
    assert same(whole, estimate(n_evaluations=6400))


def test_an_error_in_the_last_call_keeps_the_finished_estimate() -> None:
    def picky(state: mcgen.RunState) -> None:
        if state.finished:
            raise RuntimeError("the disk is full")

    with pytest.raises(RuntimeError, match="the disk is full") as caught:
        estimate(n_evaluations=640, callback=picky)
    assert same(caught.value.partial, estimate(n_evaluations=640))
    assert not caught.value.partial.partial


@pytest.mark.parametrize("at", [320, None])
def test_an_interrupt_in_the_callback_is_one_of_the_run(at: int | None, at_each_batch: None) -> None:
    def callback(state: mcgen.RunState) -> None:
        if state.finished if at is None else state.n_replicates == at:
            raise KeyboardInterrupt

    result = estimate(n_evaluations=1280, callback=callback)
    assert result.partial
    assert result.n_replicates == at or (at is None and result.n_replicates == 640)
    several = estimate(n_evaluations=1280, condition=[0.0, 1.0], callback=callback)
    assert several.partial
    assert len(several.conditions) == 1


def test_a_state_is_read_inside_the_callback() -> None:
    states: list[mcgen.RunState] = []
    estimate(n_evaluations=640, callback=states.append)
    with pytest.raises(RuntimeError, match="Read state.estimate inside the callback"):
        _ = states[0].estimate


def test_what_is_no_function_is_refused() -> None:
    for run in (
        functools.partial(estimate, n_evaluations=64),
        functools.partial(mcgen.multilevel, [(CHEAP, 1), (MODEL, 20)], MEAN, n_evaluations=3200, seed=0),
    ):
        with pytest.raises(TypeError, match=r"callback must be a function of one argument.*; got 'print'"):
            run(callback="print")


def test_warnings_come_once_and_not_by_reading(recwarn: pytest.WarningsRecorder, at_each_batch: None) -> None:
    import warnings

    warnings.simplefilter("always")
    log = Log()
    estimate(n_evaluations=16, batch_size=2, design=mcgen.MonteCarlo(), callback=log)
    assert any(found["pixel_mean"].warnings for found in log.estimates)
    assert len(recwarn) <= 1


def _arrays(value: Any) -> list[np.ndarray]:
    """All arrays of an estimate."""
    if isinstance(value, np.ndarray):
        return [value]
    if dataclasses.is_dataclass(value):
        value = vars(value)
    parts = value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else ()
    return [array for part in parts for array in _arrays(part)]


@pytest.mark.usefixtures("at_each_batch")
@pytest.mark.parametrize("options", [{"keep_samples": True}, {"keep_replicates": False}])
def test_a_callback_cannot_change_the_numbers_of_the_run(options: dict[str, bool]) -> None:
    """The estimate that a callback gets shares its arrays with the run, which goes on with them."""
    refused = []

    def spoil(state: mcgen.RunState) -> None:
        for array in _arrays(state.estimate):
            with pytest.raises(ValueError, match="read-only"):
                array[...] = 77
            refused.append(state.n_replicates)

    plain = estimate(n_evaluations=640, batch_size=64, **options)
    watched = estimate(n_evaluations=640, batch_size=64, callback=spoil, **options)
    assert len({*refused}) > 2
    assert same(plain, watched)
    assert watched == plain
    # The result itself is the user's own.
    assert all(array.flags.writeable for array in _arrays(watched.replicate_means))
