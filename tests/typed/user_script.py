"""What a user may write, with every public verb; tests/test_packaging.py checks its types and runs it."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
from numpy.typing import NDArray

import mcgen

Array = NDArray[np.float64]


def decode(z: Array) -> Array:
    samples: Array = 1 / (1 + np.exp(-z - 1))
    return samples


def shifted(z: Array, shift: float) -> Array:
    return decode(z) * shift


def brightest(samples: Array) -> Array:
    values: Array = samples.max(axis=1)
    return values


def show(state: mcgen.RunState) -> None:
    target: int | None = state.target
    low, high = state.estimate.interval
    assert state.finished or state.estimate.partial
    assert target is not None
    assert np.all(low <= high)


def main(folder: Path) -> None:
    model = mcgen.as_generator(decode, noise=(16,), name="decode")
    conditional = mcgen.as_generator(shifted, noise=(16,), name="shifted")
    score = mcgen.as_statistic(brightest, name="brightest", bounds=(0.0, 1.0))
    pair = mcgen.Antithetic()

    result: mcgen.Estimate = mcgen.estimate(
        model, mcgen.statistics.pixel_mean, design=pair, n_evaluations=640, seed=0, callback=show
    )
    text: str = result.summary() + result.to_markdown() + result.to_latex()
    assert text
    assert len(result.to_frame()) == 1
    result.save(folder / "result.json")
    again = mcgen.load(folder / "result.json")
    assert isinstance(again, mcgen.Estimate)
    interval: mcgen.Interval = again.interval
    assert interval.low <= interval.high

    with ThreadPoolExecutor(2) as executor:
        mcgen.estimate(
            model,
            score,
            design=pair,
            atol=0.01,
            interval="betting",
            seed=0,
            executor=executor,
            store=folder / "a.sqlite",
        )
    assert mcgen.status(folder / "a.sqlite")
    assert mcgen.read_store(folder / "a.sqlite")

    options: mcgen.RunArguments = {"n_evaluations": 640, "seed": 0}
    conditions: mcgen.RunArguments = {**options, "condition": {"a": 0.9, "b": 1.0}}
    several = mcgen.estimate(conditional, score, design=pair, **conditions)
    one: mcgen.Estimate = several["a"]
    assert one.n_replicates == 320
    assert mcgen.compare(model, score, designs=[mcgen.MonteCarlo(), pair], **options).labels[1] == str(pair)
    named: str = score.name
    assert named == one.provenance.statistic

    change = mcgen.difference(
        model,
        mcgen.as_generator(lambda z: decode(z) ** 2, noise=(16,), name="squared"),
        mcgen.functionals.variance(score),
        design=pair,
        n_evaluations=3200,
        seed=0,
    )
    assert change.half_width > 0

    designs: list[mcgen.Design] = [mcgen.MonteCarlo(), pair, mcgen.KAntithetic(4), mcgen.LatinHypercube(32)]
    table: mcgen.Comparison = mcgen.compare(
        model, score, designs=[*designs, mcgen.Sobol(32)], n_evaluations=3200, seed=0
    )
    assert len(table.labels) == 5

    card: mcgen.Scorecard = mcgen.evaluate(
        {"decode": model}, {"brightest": score, "spread": mcgen.functionals.std(score)}, n_evaluations=3200, seed=0
    )
    best: tuple[str, ...] = card.best("brightest", largest=True)
    assert best == ("decode",)
    assert card["decode", "spread"].mean > 0

    plan: mcgen.Plan = mcgen.plan(model, score, n_evaluations=3200, seed=0)
    planned: mcgen.Estimate = plan.estimate()
    assert planned.n_evaluations <= 3200

    coarse = mcgen.as_generator(lambda z: decode(z) * 0.99, noise=(16,), name="coarse")
    levels = mcgen.multilevel([(coarse, 1), (model, 20)], score, n_evaluations=3200, seed=0)
    assert len(levels.levels) == 2

    samples = mcgen.sample(model, 4, seed=0)
    assert samples.shape == (4, 16)
    shares = mcgen.analysis.variance_shares(model, score, n_evaluations=2000, seed=0)
    assert shares.summary()
    cited: str = mcgen.citation(result)
    assert cited


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        main(Path(folder))
