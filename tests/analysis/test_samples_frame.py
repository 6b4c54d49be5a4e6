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


def test_several_conditions_are_named_and_on_the_random_numbers_of_an_estimate() -> None:
    shift = mcgen.as_generator(lambda z, c: logistic(z) + c, noise=(4,), name="shift")
    options = {"design": Antithetic(), "n_replicates": 30, "seed": SEED, "condition": {"low": 0.0, "high": 2.0}}
    frame = mcgen.analysis.samples_frame(shift, BOTH, **options)
    assert frame.columns.tolist() == ["replicate", "point", "condition", "first", "second"]
    assert frame["replicate"].nunique() == 60
    means = frame.groupby(["condition", "replicate"])["first"].mean()
    estimate = mcgen.estimate(shift, BOTH, **options)
    for one in estimate.conditions:
        np.testing.assert_allclose(means[one.provenance.condition], one.replicate_means[:, 0], rtol=1e-12)


@pytest.mark.parametrize("design", [mcgen.MonteCarlo(), Antithetic(), mcgen.KAntithetic(4), Sobol(16)], ids=str)
def test_regressions_with_replicates_as_clusters_have_the_errors_of_an_estimate(design: mcgen.Design) -> None:
    regression = pytest.importorskip("statsmodels.regression.linear_model")
    frame = mcgen.analysis.samples_frame(GENERATOR, BOTH, design=design, n_replicates=40, seed=SEED)
    estimate = mcgen.estimate(GENERATOR, BOTH, design=design, n_replicates=40, seed=SEED)
    model = regression.OLS(frame["first"], np.ones(len(frame)))
    clustered = model.fit(cov_type="cluster", cov_kwds={"groups": frame["replicate"]})
    assert clustered.params.iloc[0] == pytest.approx(estimate.mean[0], rel=1e-12)
    assert clustered.bse.iloc[0] == pytest.approx(estimate.standard_error[0], rel=1e-12)
    if design.n_points > 1:
        assert abs(model.fit().bse.iloc[0] / estimate.standard_error[0] - 1) > 0.2


def test_refusals(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"design": Antithetic(), "seed": SEED}
    with pytest.raises(ValueError, match="1 or more; got 0"):
        mcgen.analysis.samples_frame(GENERATOR, BOTH, n_replicates=0, **options)
    with pytest.raises(TypeError, match="the functional 'variance of both'"):
        mcgen.analysis.samples_frame(GENERATOR, mcgen.functionals.variance(BOTH), n_replicates=5, **options)
    for name in ("replicate", "point"):
        named = mcgen.as_statistic(lambda x: x[:, :2], name="named", components=[name, "x"])
        with pytest.raises(ValueError, match="components with different names, none of them replicate, point"):
            mcgen.analysis.samples_frame(GENERATOR, named, n_replicates=5, **options)
    monkeypatch.setattr(gathering, "MOST_BYTES", 320)
    with pytest.raises(RunError, match="use up to 20 evaluations"):
        mcgen.analysis.samples_frame(GENERATOR, BOTH, n_replicates=11, **options)
