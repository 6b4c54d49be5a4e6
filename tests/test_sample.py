"""`sample`: the samples that an estimate with the same seed looks at."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pytest

import mcgen
from mcgen import Antithetic, KAntithetic, MonteCarlo, Sobol
from mcgen.statistics import identity

# Whether few replicates look skewed is chance.
pytestmark = pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")

model = mcgen.as_generator(lambda z, c=0.0: np.tanh(z + c), noise=(3,), name="model")


@pytest.mark.parametrize("design", [MonteCarlo(), Antithetic(), KAntithetic(5), Sobol(64), Sobol(256)], ids=str)
@pytest.mark.parametrize("condition", [None, 0.5])
def test_they_are_the_samples_of_an_estimate(design: mcgen.Design, condition: float | None) -> None:
    n = 30 * design.n_points
    options: dict[str, Any] = {"seed": 3, "condition": condition, "batch_size": 32, "design": design}
    found = mcgen.sample(model, n, **options)
    made = mcgen.estimate(model, identity, n_evaluations=n, keep_replicates=True, **options)
    assert found.shape == (n, 3)
    means = found.reshape(30, design.n_points, 3).mean(axis=1)
    assert made.replicate_means == pytest.approx(means, abs=1e-6)


def test_batches_and_the_default_design_change_nothing() -> None:
    whole = mcgen.sample(model, 100, seed=1)
    assert np.array_equal(whole, mcgen.sample(model, 100, seed=1, batch_size=7))
    assert np.array_equal(whole[:50], mcgen.sample(model, 50, seed=1))
    assert not np.array_equal(whole, mcgen.sample(model, 100, seed=2))


def test_tuples_and_lists_of_the_generators_own() -> None:
    both = mcgen.as_generator(lambda z: (z, z[:, :1]), noise=(3,), name="both")
    first, second = mcgen.sample(both, 100, seed=0)
    assert first.shape == (100, 3)
    assert np.array_equal(second, first[:, :1])


class Both(NamedTuple):
    whole: np.ndarray
    first: np.ndarray


def test_named_tuples_keep_their_names() -> None:
    both = mcgen.as_generator(lambda z: Both(z, z[:, :1]), noise=(3,), name="both")
    found = mcgen.sample(both, 100, seed=0, batch_size=7)
    assert isinstance(found, Both)
    assert np.array_equal(found.first, found.whole[:, :1])
    options = {"design": mcgen.MonteCarlo(), "n_evaluations": 100, "seed": 0}
    result = mcgen.estimate(both, lambda samples: samples.first[:, 0], **options)
    assert result.mean == pytest.approx(found.first.mean(), abs=1e-6)


def test_torch_samples_stay_in_torch() -> None:
    torch = pytest.importorskip("torch")
    generator = mcgen.as_generator(lambda z: torch.from_numpy(z) * 2, noise=(3,), name="torch")
    found = mcgen.sample(generator, 100, seed=1)
    assert isinstance(found, torch.Tensor)
    assert found.shape == (100, 3)


@pytest.mark.parametrize(
    ("n", "options", "error", "message"),
    [
        (3, {"design": Antithetic()}, ValueError, r"multiple of the 2 points of Antithetic\(\), .* got 3\. Use 4"),
        (0, {}, ValueError, "1 or more; got 0"),
        (2.0, {}, TypeError, "n must be an int; got 2.0"),
        (4, {"condition": [1, 2]}, ValueError, "samples are of one condition"),
        (4, {"design": "auto"}, TypeError, "design must satisfy"),
    ],
)
def test_refused_with_advice(n: Any, options: dict[str, Any], error: type[Exception], message: str) -> None:
    with pytest.raises(error, match=message):
        mcgen.sample(model, n, seed=0, **options)


def test_broken_laws_are_refused() -> None:
    short = mcgen.as_generator(lambda z: z[:-1], noise=(3,), name="short")
    with pytest.raises(mcgen.RunError, match="returned .* samples for"):
        mcgen.sample(short, 10, seed=0)
    with pytest.raises(mcgen.NonFiniteError):
        mcgen.sample(mcgen.as_generator(lambda z: np.where(z > 1, np.nan, z), noise=(3,)), 100, seed=0)
