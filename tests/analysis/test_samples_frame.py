"""`mcgen.analysis.samples_frame`: a row for each sample."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import SEED, logistic

import mcgen
from mcgen.designs import Antithetic, Sobol
from mcgen.errors import RunError
from mcgen.replicates import gathering

GENERATOR = mcgen.as_generator(logistic, noise=(4,), name="logistic")
BOTH = mcgen.as_statistic(lambda x: x[:, :2], name="both", components=["first", "second"])


@pytest.mark.parametrize("design", [Antithetic(), Sobol(16), Sobol(256)], ids=str)
def test_rows_are_the_samples_of_an_estimate(design: Antithetic) -> None:
    frame = mcgen.analysis.samples_frame(GENERATOR, BOTH, design=design, n_replicates=30, seed=SEED)
    assert frame.columns.tolist() == ["replicate", "point", "first", "second"]
    assert len(frame) == 30 * design.n_points
    estimate = mcgen.estimate(GENERATOR, BOTH, design=design, n_replicates=30, seed=SEED)
    means = frame.groupby("replicate")[["first", "second"]].mean().to_numpy()
    np.testing.assert_allclose(means, estimate.replicate_means, rtol=1e-12)
    assert (frame.groupby("replicate")["point"].max() == design.n_points - 1).all()


def test_statistics_of_a_condition_and_names() -> None:
    shifted = mcgen.as_statistic(lambda x, c: x[:, 0] - c, name="shifted", uses_condition=True)
    options = {"design": Antithetic(), "n_replicates": 3, "seed": SEED}
    frame = mcgen.analysis.samples_frame(GENERATOR, shifted, condition=2.0, **options)
    plain = mcgen.analysis.samples_frame(GENERATOR, lambda x: x[:, 0], condition=2.0, **options)
    np.testing.assert_allclose(frame["shifted"], plain.iloc[:, 2] - 2)


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"design": Antithetic(), "seed": SEED}
    with pytest.raises(ValueError, match="1 or more; got 0"):
        mcgen.analysis.samples_frame(GENERATOR, BOTH, n_replicates=0, **options)
    with pytest.raises(ValueError, match="one condition"):
        mcgen.analysis.samples_frame(GENERATOR, BOTH, n_replicates=5, condition=[1, 2], **options)
    with pytest.raises(TypeError, match="the functional 'variance of both'"):
        mcgen.analysis.samples_frame(GENERATOR, mcgen.functionals.variance(BOTH), n_replicates=5, **options)
    for name in ("replicate", "point"):
        named = mcgen.as_statistic(lambda x: x[:, :2], name="named", components=[name, "x"])
        with pytest.raises(ValueError, match="components with different names, none of them 'replicate' or 'point'"):
            mcgen.analysis.samples_frame(GENERATOR, named, n_replicates=5, **options)
    monkeypatch.setattr(gathering, "MOST_BYTES", 320)
    with pytest.raises(RunError, match="use up to 20 evaluations"):
        mcgen.analysis.samples_frame(GENERATOR, BOTH, n_replicates=11, **options)
