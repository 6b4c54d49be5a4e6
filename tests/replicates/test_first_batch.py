"""What a run tries on its first batch: statistics that look at the batch, networks in training, stale generators."""

from __future__ import annotations

import functools
import itertools
import types
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SEED

import mcgen
from mcgen import Antithetic, MonteCarlo
from mcgen._lib.fingerprints import networks_in_training
from mcgen.errors import GeneratorWarning, RunError
from mcgen.replicates.laws import values_gap
from mcgen.statistics import pixel_mean

OPTIONS: dict[str, Any] = {"design": Antithetic(), "n_evaluations": 200, "seed": 0}


def logistic(z: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-z - 1))


def generator_of(function: Callable[..., Any] = logistic, noise: Any = (4,)) -> mcgen.Generator:
    return mcgen.as_generator(function, noise=noise, name="model")


def run(statistic: Any = pixel_mean, function: Callable[..., Any] = logistic, **options: Any) -> mcgen.Estimate:
    return mcgen.estimate(generator_of(function), statistic, **OPTIONS | options)


def means(x: Any) -> Any:
    return x.mean(1)


def frechet_like(x: np.ndarray) -> np.ndarray:
    """A score of the whole batch, given to every row."""
    return np.full(len(x), (x.mean(0) ** 2).sum() + np.trace(np.atleast_2d(np.cov(x.T))) if len(x) > 1 else 0.0)


def ranks(x: np.ndarray) -> np.ndarray:
    return means(x).argsort().argsort() / len(x)


WHOLE_BATCH: dict[str, Callable[[Any], Any]] = {
    "centred": lambda x: means(x) - x.mean(),
    "standardized": lambda x: (means(x) - x.mean()) / x.std(),
    "divided by the largest": lambda x: means(x) / x.max(),
    "above the median": lambda x: means(x) > np.median(means(x)),
    "above the mean": lambda x: means(x) > x.mean(),
    "the largest of all": lambda x: means(x) == means(x).max(),
    "clipped at a quantile": lambda x: np.minimum(means(x), np.quantile(means(x), 0.9)),
    "ranks": ranks,
    "largest so far": lambda x: np.maximum.accumulate(means(x)),
    "divided by the number": lambda x: means(x) / len(x),
    "by the place": lambda x: means(x) * np.arange(len(x)),
    "means of neighbours": lambda x: np.repeat(means(x)[: len(x) // 2 * 2].reshape(-1, 2).mean(1), 2)[: len(x)],
    "a score of the batch": frechet_like,
    "distance to the next row": lambda x: np.abs(x - np.roll(x, 1, axis=0)).mean(1),
    "softmax over the batch": lambda x: np.exp(means(x)) / np.exp(means(x)).sum(),
    "one of two components": lambda x: np.stack([1e3 * means(x), means(x) - x.mean()], axis=1),
}


@pytest.mark.parametrize("batch_size", [None, 2, 6, 200])
@pytest.mark.parametrize("name", WHOLE_BATCH)
def test_statistics_of_the_whole_batch_are_refused(name: str, batch_size: int | None) -> None:
    with pytest.raises(RunError, match=r"depends on the other rows of the batch|comes alone"):
        run(WHOLE_BATCH[name], batch_size=batch_size)


def test_a_batch_of_one_row_shows_nothing_and_needs_nothing() -> None:
    made = run(WHOLE_BATCH["divided by the largest"], batch_size=1, design=MonteCarlo(), n_evaluations=64)
    assert made.half_width > 0


def moving(state: list[float]) -> Callable[[Any], Any]:
    def statistic(x: np.ndarray) -> np.ndarray:
        state[0] = 0.9 * state[0] + 0.1 * x.mean()
        return means(x) - state[0]

    return statistic


def test_random_numbers_and_states_are_refused() -> None:
    hidden, calls = np.random.default_rng(0), itertools.count()
    for statistic in (
        lambda x: means(x) + 0.01 * hidden.normal(size=len(x)),
        lambda x: means(x) + 0.01 * next(calls),
        moving([0.0]),
    ):
        for options in ({}, {"batch_size": 1}, {"batch_size": 2}):
            with pytest.raises(RunError, match="it draws random numbers, or keeps a state from call to call"):
                run(statistic, **options)


@pytest.mark.parametrize(
    ("statistic", "message"),
    [
        (lambda x: np.squeeze(x[:, :1]), r"fails where sample 0 of the first batch comes alone.*never squeeze"),
        (lambda x: np.stack([row.mean() for row in x]) if len(x) > 1 else 1 / 0, "comes alone .division by zero"),
        (lambda x: x[:, : min(2, len(x))], r"components of shape \(1,\) for sample 0 .* and \(2,\) for all"),
    ],
)
def test_statistics_that_need_several_samples_are_refused(statistic: Any, message: str) -> None:
    with pytest.raises(RunError, match=message):
        run(statistic)


LAWFUL: dict[str, Callable[[Any], Any]] = {
    "a vector": lambda x: x,
    "an indicator": lambda x: means(x) > 0.7,
    "whole numbers": lambda x: (10 * means(x)).astype(int),
    "float16": lambda x: means(x).astype(np.float16),
    "a list": lambda x: [float(row.mean()) for row in x],
    "all zero": lambda x: 0 * means(x),
    "far from zero": lambda x: 1e6 + means(x),
    "components of other sizes": lambda x: np.stack([1e9 * means(x), 1e-9 * means(x)], axis=1),
    "a table": lambda x: x.reshape(-1, 2, 2),
    "matrix products": lambda x: np.tanh(x @ np.ones((4, 300), np.float32)) @ np.ones((300, 2), np.float32),
}


@pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")
@pytest.mark.parametrize("batch_size", [None, 1, 2, 3, 6, 200])
@pytest.mark.parametrize("name", LAWFUL)
def test_lawful_statistics_pass(name: str, batch_size: int | None) -> None:
    assert run(LAWFUL[name], batch_size=batch_size).n_evaluations == 200


def test_a_statistic_that_works_in_the_memory_of_its_samples_passes() -> None:
    def squares(x: np.ndarray) -> np.ndarray:
        x -= 0.5
        return (x**2).mean(1)

    assert run(squares).mean == run(lambda x: ((x - 0.5) ** 2).mean(1)).mean


@pytest.mark.parametrize("kind", ["list", "tuple", "nested tuple", "torch"])
def test_samples_of_every_kind(kind: str) -> None:
    kinds: dict[str, tuple[Any, Any]] = {
        "list": (lambda z: [*logistic(z)], lambda x: np.array([row.mean() for row in x])),
        "tuple": (lambda z: (z, logistic(z)), lambda x: means(x[1])),
        "nested tuple": (lambda z: (z, (logistic(z), [*z])), lambda x: means(x[1][0])),
    }
    if kind == "torch":
        torch = pytest.importorskip("torch")
        kinds["torch"] = lambda z: torch.sigmoid(torch.from_numpy(z) + 1), means
    function, statistic = kinds[kind]
    assert run(statistic, function).mean == pytest.approx(run(means).mean, rel=1e-6)
    with pytest.raises(RunError, match="depends on the other rows"):
        run(lambda x: statistic(x) - statistic(x).mean(), function)


def test_few_rows_once() -> None:
    rows: list[int] = []

    def counting(x: np.ndarray) -> np.ndarray:
        rows.append(len(x))
        return means(x)

    run(counting, n_evaluations=640)
    assert rows.count(64) == 10
    tried = sorted(rows)[:-10]
    assert set(tried) == {1, 4}
    # One row more shows whether the values are boolean.
    assert sum(tried) == 17 + 1


@pytest.mark.parametrize(
    "way", ["difference", "compare", "common", "levels", "auto", "controls", "fit", "basis", "atol"]
)
def test_every_way_to_run_refuses(way: str) -> None:
    bad, model = WHOLE_BATCH["centred"], generator_of()
    conditional = generator_of(lambda z, b: logistic(z + b))
    controls = mcgen.controls.quadratic(mcgen.bases.dct_basis((4,), 1))
    ways: dict[str, Callable[[], Any]] = {
        "difference": lambda: mcgen.difference(model, generator_of(np.tanh), bad, **OPTIONS),
        "compare": lambda: mcgen.compare(model, bad, designs=[Antithetic()], n_evaluations=200, seed=0),
        "common": lambda: mcgen.estimate(conditional, bad, condition=[0.0, 1.0], common_random_numbers=True, **OPTIONS),
        "levels": lambda: mcgen.multilevel([(generator_of(np.tanh), 1), (model, 20)], bad, n_evaluations=800, seed=0),
        "auto": lambda: mcgen.estimate(model, bad, **OPTIONS | {"design": "auto", "n_evaluations": 2000}),
        "controls": lambda: run(bad, controls=controls),
        "fit": lambda: controls.fit(model, bad, **OPTIONS),
        "basis": lambda: mcgen.bases.regression_basis(model, bad, 1, n_evaluations=400, seed=0),
        "atol": lambda: mcgen.estimate(model, bad, design=Antithetic(), atol=0.01, seed=0),
    }
    with pytest.raises(RunError, match="depends on the other rows of the batch"):
        ways[way]()


def test_a_difference_of_models_much_alike_passes() -> None:
    """Its values are rounding errors beside those of the two models, of whose statistic alone laws are tried."""
    torch = pytest.importorskip("torch")
    weights = torch.randn(64, 64, generator=torch.Generator().manual_seed(0))

    def model(shift: float) -> mcgen.Generator:
        return generator_of(lambda z: torch.sigmoid(torch.from_numpy(z) @ weights + shift), noise=(64,))

    made = mcgen.difference(model(0.0), model(1e-6), lambda x: (x @ weights).mean(1), **OPTIONS)
    assert abs(made.mean) < 1e-4


def test_executors_refuse() -> None:
    with ThreadPoolExecutor(2) as pool, pytest.raises(RunError, match="depends on the other rows of the batch"):
        run(WHOLE_BATCH["centred"], executor=pool)


class Switch:
    """A statistic whose law breaks between two calls, as that of a network put back in training mode."""

    fingerprint, name = "switch", "switch"
    broken = False

    def __call__(self, x: np.ndarray) -> np.ndarray:
        return means(x) - x.mean() * self.broken


def test_a_run_that_goes_on_is_tried_again(tmp_path: Path) -> None:
    statistic, store = Switch(), tmp_path / "run.sqlite"
    made = run(statistic, store=store)
    statistic.broken = True
    # Nothing is run, so that nothing can be wrong.
    assert run(statistic, store=store) == made
    with pytest.raises(RunError, match="depends on the other rows of the batch") as caught:
        run(statistic, store=store, n_evaluations=400)
    assert caught.value.partial.n_replicates == 100


def coverage(statistic: Callable[[Any], Any], truth: float, repetitions: int = 200) -> float:
    """Share of the runs of 256 samples in batches of 64 whose 95 % interval holds the truth."""
    options = {"design": MonteCarlo(), "n_evaluations": 256, "batch_size": 64}
    made = (run(statistic, lambda z: z, **options | {"seed": SEED + number}) for number in range(repetitions))
    return sum(truth in one.interval for one in made) / repetitions


def test_coverage_of_a_statistic_of_the_whole_batch_is_wrong(monkeypatch: pytest.MonkeyPatch) -> None:
    """The negative control: without the check such a statistic covers 0.2 instead of 0.95, and nothing says so."""

    def of_the_batch(x: np.ndarray) -> np.ndarray:
        return np.full(len(x), x.mean())

    with pytest.raises(RunError, match="depends on the other rows of the batch"):
        coverage(of_the_batch, 0.0)
    monkeypatch.setattr("mcgen.replicates.first_batch._require_rows_apart", lambda seen: None)
    assert coverage(of_the_batch, 0.0) < 0.35
    assert coverage(means, 0.0) > 0.88


# Networks.


def networks() -> dict[str, Callable[[Any], Any]]:
    """Ways in which a statistic, or a generator, holds a network in training mode."""
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3))

    def values(network: Any, x: Any) -> Any:
        with torch.no_grad():
            return network(torch.as_tensor(x))

    class Holder:
        def __init__(self) -> None:
            self.nets = {"inner": [net]}

        def __call__(self, x: Any) -> Any:
            return values(self.nets["inner"][0], x)

        def method(self, x: Any) -> Any:
            return self(x)

    class Slotted:
        __slots__ = ("net",)

        def __init__(self) -> None:
            self.net = net

        def __call__(self, x: Any) -> Any:
            return values(self.net, x)

    space: dict[str, Any] = {"NET": net, "values": values, "NETS": {"a": net}}
    exec("def named(x):\n    return values(NET, x)\ndef listed(x):\n    return values(NETS['a'], x)", space)
    library = types.ModuleType("library")
    library.__dict__.update(space)
    outside: dict[str, Any] = {"library": library, "values": values, "Holding": type("Holding", (), {"net": net})}
    exec("def far(x):\n    return library.named(x)\ndef of_class(x):\n    return values(Holding.net, x)", outside)
    return {
        "function of a module": outside["far"],
        "attribute of a class": outside["of_class"],
        "closure": lambda x: values(net, x),
        "default": lambda x, network=net: values(network, x),
        "partial": functools.partial(values, net),
        "object": Holder(),
        "method": Holder().method,
        "slots": Slotted(),
        "global": space["named"],
        "global in a dict": space["listed"],
        "wrapped": functools.wraps(means)(lambda x: values(net, x)),
        "inner function": lambda x: [(lambda y: values(net, y))(x)][0],
    }


WAYS = [
    "function of a module",
    "attribute of a class",
    "wrapped",
    "closure",
    "default",
    "partial",
    "object",
    "method",
    "slots",
    "global",
    "global in a dict",
    "inner function",
]


@pytest.mark.parametrize("way", WAYS)
def test_networks_in_training_mode_are_refused(way: str) -> None:
    statistic = networks()[way]
    with pytest.raises(RunError, match=r"statistic .* uses BatchNorm1d in training mode.*call its .eval\(\) first"):
        run(statistic)
    with pytest.raises(RunError, match="generator 'model' uses BatchNorm1d"):
        run(pixel_mean, statistic)
    with pytest.raises(RunError, match="statistic .* uses BatchNorm1d"):
        mcgen.difference(generator_of(), generator_of(np.tanh), statistic, **OPTIONS)


def test_networks_in_evaluation_mode_pass() -> None:
    torch = pytest.importorskip("torch")
    net = torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.BatchNorm1d(3), torch.nn.Dropout()).eval()
    assert networks_in_training(lambda x: net(x)) == {}
    assert run(lambda x: net(torch.from_numpy(x)).detach()).shape == (3,)
    # One part alone in training mode is seen too.
    net[2].train()
    assert networks_in_training(lambda x: net(x)) == {"closure variable `net.2`": "Dropout"}


def test_modules_that_do_not_mind_may_be_in_training_mode() -> None:
    """Nobody calls .eval() on a loss."""
    torch = pytest.importorskip("torch")
    loss, net = torch.nn.MSELoss(reduction="none"), torch.nn.Sequential(torch.nn.Linear(4, 3), torch.nn.ReLU())
    for one in (loss, net, torch.nn.LSTM(2, 2), torch.nn.InstanceNorm1d(2), torch.nn.Upsample(2), torch.nn.Identity()):
        assert networks_in_training(lambda x, one=one: one(x)) == {}

    class Own(torch.nn.Module):
        def forward(self, x: Any) -> Any:
            return x + torch.randn_like(x) if self.training else x

    class OfOwn(Own):
        pass

    minding = [
        Own(),
        OfOwn(),
        torch.nn.LSTM(2, 2, 2, dropout=0.5),
        torch.nn.InstanceNorm1d(2, track_running_stats=True),
    ]
    for one in [*minding, torch.nn.RReLU(), torch.nn.AlphaDropout(), torch.nn.TransformerEncoderLayer(4, 2)]:
        assert networks_in_training(lambda x, one=one: one(x)), one
    assert run(lambda x: loss(torch.as_tensor(x), torch.zeros(x.shape)).mean(1)).shape == ()


def test_values_that_cancel_over_the_batch_are_seen() -> None:
    """Under antithetic noise the mean of a batch of an odd model is 0, and its product with anything."""
    odd = generator_of(np.tanh)
    for statistic in (
        lambda x: x.mean(axis=1) * x.mean(),
        lambda x: np.full(len(x), x.mean()),
        lambda x: np.stack([x[:, 0] ** 2, x.mean(axis=1) * x.mean()], axis=1),
    ):
        with pytest.raises(RunError, match="when fewer come with them"):
            mcgen.estimate(odd, statistic, **OPTIONS)


def test_the_search_for_networks_ends() -> None:
    endless: list[Any] = []
    endless.append({"itself": endless, "and": lambda: endless})
    assert networks_in_training(endless) == {}
    assert networks_in_training(pixel_mean) == networks_in_training(np) == networks_in_training(None) == {}


# Samples that do not change with the noise.


def stale_by_length() -> Callable[[np.ndarray], np.ndarray]:
    first: dict[int, np.ndarray] = {}
    return lambda z: np.exp(first.setdefault(len(z), z.copy()))


def stale_always() -> Callable[[np.ndarray], np.ndarray]:
    first: dict[int, np.ndarray] = {}
    return lambda z: np.exp(first.setdefault(0, z.copy())[: len(z)])


def twice(function: Callable[[np.ndarray], Any]) -> Callable[[np.ndarray], Any]:
    return lambda z: (function(z), function(z))


STALE: dict[str, Callable[[], Callable[[np.ndarray], Any]]] = {
    "by length": stale_by_length,
    "always": stale_always,
    "constant": lambda: np.ones_like,
    "in a tuple": lambda: twice(stale_by_length()),
}


@pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")
@pytest.mark.parametrize("batch_size", [None, 1, 2, 3, 200])
@pytest.mark.parametrize("name", STALE)
def test_stale_generators_are_warned_of(name: str, batch_size: int | None) -> None:
    with pytest.warns(GeneratorWarning, match="do not change with the noise.*legitimate for discrete samples") as told:
        made = run(lambda x: means(x[0] if isinstance(x, tuple) else x), STALE[name](), batch_size=batch_size)
    assert len(told.list) <= 2
    assert any("do not change with the noise" in text for text in made.warnings)


@pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")
def test_stale_parts_are_warned_of() -> None:
    with pytest.warns(GeneratorWarning, match="do not change with the noise"):
        mcgen.difference(generator_of(), generator_of(stale_by_length()), pixel_mean, **OPTIONS)
    controls = mcgen.controls.quadratic(mcgen.bases.dct_basis((4,), 1))
    with pytest.warns(GeneratorWarning, match="do not change with the noise"):
        run(pixel_mean, stale_by_length(), controls=controls, n_evaluations=400)


def test_what_a_stale_generator_gives_is_wrong() -> None:
    """The negative control: the interval misses the truth by far, and nothing but the warning says so."""
    with pytest.warns(GeneratorWarning, match="do not change with the noise"):
        made = run(pixel_mean, stale_by_length(), n_evaluations=20_000)
    assert np.exp(0.5) not in made.interval
    assert np.exp(0.5) in run(pixel_mean, np.exp, n_evaluations=20_000).interval


@pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")
@pytest.mark.parametrize("batch_size", [None, 2, 3, 200])
@pytest.mark.parametrize(
    "function",
    [
        lambda z: (z > 0) * 1.0,
        lambda z: (z > 1) * 1.0,
        lambda z: np.sign(z[:, :1]),
        lambda z: z**2,
        lambda z: 1e6 + z,
        lambda z: ["odd" if row[0] > 0 else "even" for row in z],
    ],
)
def test_honest_generators_are_not_warned_of(function: Any, batch_size: int | None) -> None:
    def statistic(x: Any) -> Any:
        return np.array([len(one) for one in x]) if isinstance(x, list) else means(x)

    assert run(statistic, function, batch_size=batch_size).warnings is not None


def ragged(z: np.ndarray) -> list[list[np.ndarray]]:
    return [[row[:1], row[:2]] for row in z]


def test_samples_that_can_not_be_compared_are_said() -> None:
    with pytest.warns(GeneratorWarning, match="can't be compared .they are list., so that its laws were not tried"):
        run(lambda x: np.array([1 / (2 + np.exp(row[0][0])) for row in x]), ragged)


def test_what_the_generator_raises_stays_what_it_is() -> None:
    def fails(z: np.ndarray) -> np.ndarray:
        if len(z) == 2:
            raise ValueError("only whole batches")
        return z

    with pytest.raises(ValueError, match="only whole batches"):
        run(pixel_mean, fails)


def test_four_rows_of_the_model_once() -> None:
    rows: list[int] = []

    def counting(z: np.ndarray) -> np.ndarray:
        rows.append(len(z))
        return logistic(z)

    run(pixel_mean, counting, n_evaluations=640)
    assert sorted(rows) == [2, 2] + [64] * 10
    rows.clear()
    # A second part of the same run by executor: nothing is tried twice.
    with ThreadPoolExecutor(1) as pool:
        mcgen.estimate(generator_of(counting), pixel_mean, design=Antithetic(), atol=0.002, seed=SEED, executor=pool)
    assert rows.count(2) == 2


def test_gaps_of_values() -> None:
    among = np.array([[1e3, 1.0], [2e3, 0.5]])
    assert values_gap(among, among, among) == 0
    assert values_gap(among, among + np.array([0.0, 0.4]), among) == pytest.approx(0.2)
    assert values_gap(among, among + np.array([4.0, 0.0]), among) == pytest.approx(0.002)
    assert values_gap(np.array([np.nan, 1.0]), np.array([np.nan, 1.0]), np.ones(2)) == 0
    assert values_gap(np.array([np.nan, 1.0]), np.array([0.0, 1.0]), np.ones(2)) == np.inf
