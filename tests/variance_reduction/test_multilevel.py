"""`multilevel`: the sum over levels, who gets how many replicates, its interval, and what it refuses."""

from __future__ import annotations

import functools
import warnings
from typing import Any

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT, logistic, logistic_until

import mcgen
from mcgen import Antithetic, Block, MonteCarlo, NoiseSpec
from mcgen.generators import GaussianDiffusion
from mcgen.inference.log_ratios import welch_satterthwaite
from mcgen.statistics import pixel_mean
from mcgen.validation.problems.gaussians import energy
from mcgen.validation.problems.lines import mixture, patterns
from mcgen.validation.problems.quadrature import normal_rule
from mcgen.validation.problems.samplers import MixtureDiffusion
from mcgen.variance_reduction.levels.allocation import allocation
from mcgen.variance_reduction.levels.sum_of_levels import slopes, weights_of

# Whether few replicates look skewed is chance, and another seed may bring the warning.
pytestmark = pytest.mark.filterwarnings("ignore:.*the replicate means")

POSITIONS, WEIGHTS, VARIANCE = np.array([[-2.4], [0.3], [2.1]]), np.array([0.5, 0.2, 0.3]), 0.36
COARSE = mcgen.as_generator(lambda z: 1 + z / 4 + z**2 / 32, noise=(16,), name="coarse")
FINE = mcgen.as_generator(lambda z: np.exp(z / 4), noise=(16,), name="fine")
TRUTH = np.exp(1 / 32)


def line(n_steps: int) -> mcgen.Generator:
    """DDIM of three clusters on a line in 64 dimensions."""
    return MixtureDiffusion(mixture(POSITIONS, WEIGHTS, patterns(64)[:1]), steps=n_steps, name=f"line-{n_steps}")


@functools.cache
def line_truth(n_steps: int) -> float:
    """The expected energy of its samples: on the line by quadrature, across it by recursion."""
    nodes, probabilities = normal_rule(0.02)
    p = MixtureDiffusion(mixture(POSITIONS, WEIGHTS, np.eye(1)), steps=n_steps)(nodes[:, None])
    across = GaussianDiffusion([0.0], [[VARIANCE]], sampler="ddim", steps=n_steps).sample_covariance[0, 0]
    return float((probabilities @ p[:, 0] ** 2 + 63 * across) / 64)


def run(levels: Any = ((COARSE, 1), (FINE, 20)), statistic: Any = pixel_mean, **changes: Any) -> mcgen.Estimate:
    return mcgen.multilevel(levels, statistic, **{"n_evaluations": 640, "seed": SEED} | changes)


def test_unbiased_for_the_fine_sampler_only() -> None:
    """In standard errors: the sum is near the truth of 20 steps; the coarse level alone is not, and is rejected."""
    result = run([(line(5), 5), (line(20), 20)], energy, n_evaluations=20000)
    assert abs(result.mean - line_truth(20)) < Z_LIMIT * result.standard_error
    coarse = result.levels[0]
    assert abs(coarse.mean - line_truth(20)) > 2 * Z_LIMIT * coarse.standard_error
    assert abs(coarse.mean - line_truth(5)) < Z_LIMIT * coarse.standard_error


def test_three_levels_telescope() -> None:
    result = run([(line(2), 2), (line(5), 5), (line(20), 20)], energy, n_evaluations=10000)
    assert [part.provenance.generator for part in result.levels] == ["line-2", "line-5 - line-2", "line-20 - line-5"]
    assert [part.provenance.cost for part in result.levels] == pytest.approx([0.1, 0.35, 1.25])
    assert abs(result.mean - line_truth(20)) < Z_LIMIT * result.standard_error


def test_narrower_than_the_fine_generator_alone_and_not_on_other_noise() -> None:
    options = {"n_evaluations": 6400, "seed": SEED}
    result = run(**options)
    alone = mcgen.estimate(FINE, pixel_mean, design=Antithetic(), **options)
    assert result.half_width < alone.half_width / 2
    # A control: a coarse generator that takes other entries of the noise follows nothing, and the pilot tells.
    turned = mcgen.as_generator(lambda z: COARSE(np.roll(z, 3, axis=1)[:, ::-1] * [[1, -1] * 8]), (16,), name="turned")
    with pytest.warns(mcgen.CoverageWarning, match=r"by the pilot the variance is .* times that of 'fine' alone"):
        broken = run([(turned, 1), (FINE, 20)], lambda x: x[:, 0], **options)
    alone = mcgen.estimate(FINE, lambda x: x[:, 0], design=Antithetic(), **options)
    assert broken.half_width > 0.9 * alone.half_width
    assert "by the pilot" in broken.summary()
    assert abs(broken.mean - TRUTH) < Z_LIMIT * broken.standard_error


# The first component of the coarse samples follows that of the fine ones, the second has noise of its own.
HALF = [
    (mcgen.as_generator(lambda z: np.stack([z[:, 0] + z[:, 2] / 20, 3 * z[:, 3]], axis=1), (4,), name="half"), 1),
    (mcgen.as_generator(lambda z: z[:, :2] + 1, (4,), name="fine"), 10),
]


def itself(x: np.ndarray) -> np.ndarray:
    return x


@pytest.mark.filterwarnings("ignore:.*by the pilot")
def test_coefficients_protect_what_the_coarse_generator_does_not_follow() -> None:
    options = {"statistic": itself, "designs": MonteCarlo(), "n_evaluations": 4000, "n_pilot": 64}
    for given in (None, [[1.0, 0.0]], 1.0):
        found = run(HALF, coefficients=given, **options)
        first, second = found.standard_error**2
        # The fine generator alone has 1 over the evaluations, in all or of the last level.
        assert first < 0.5 / 4000
        times = second * found.levels[1].n_evaluations
        assert times > 6 if given == 1.0 else times < 2
        assert found.levels[1].provenance.coefficients == pytest.approx((1, 1 if given == 1.0 else 0), abs=0.3)
        assert (abs(found.mean - 1) < Z_LIMIT * found.standard_error).all()


@pytest.mark.filterwarnings("ignore:.*by the pilot", "ignore:.*all .* are equal but for rounding")
def test_given_coefficients_are_used_exactly() -> None:
    """Generators that are the same up to a factor: what is left of a replicate is that factor less the coefficient."""
    whole = mcgen.as_generator(lambda z: z + 1, (4,), name="whole")
    twice = mcgen.as_generator(lambda z: 2 * z + 1, (4,), name="twice")
    options = {"designs": MonteCarlo(), "n_evaluations": 400, "coefficients": [[0.5, -1.0, 2.0]]}
    result = run([(whole, 1), (twice, 5)], lambda x: np.stack([x.mean(axis=1)] * 3, axis=1), **options)
    base, last = result.levels
    assert base.provenance.coefficients is None
    assert last.provenance.coefficients == (0.5, -1.0, 2.0)
    z = (last.replicate_means[:, 0] - 0.5) / 1.5
    assert z.std() == pytest.approx(0.5, rel=0.5)
    assert last.replicate_means[:, 1] == pytest.approx(3 * z + 2, abs=1e-5)
    assert last.replicate_means[:, 2] == pytest.approx(-1, abs=1e-5)
    assert last.standard_error[:2] == pytest.approx(np.array([1.5, 3]) * z.std(ddof=1) / np.sqrt(len(z)), rel=1e-4)
    assert result.mean == pytest.approx(last.mean + np.array([0.5, -1.0, 2.0]) * base.mean)
    assert result.standard_error == pytest.approx(
        np.hypot(last.standard_error, np.array([0.5, 1.0, 2.0]) * base.standard_error)
    )


@pytest.mark.filterwarnings("ignore:.*by the pilot")
@pytest.mark.parametrize("b", [-0.7, 0.0, 0.4, 3.1])
def test_unbiased_whatever_the_coefficients(b: float) -> None:
    """In standard errors; a sum of the levels without their weights, the control, is rejected."""
    result = run(coefficients=b, n_evaluations=2000)
    assert abs(result.mean - TRUTH) < Z_LIMIT * result.standard_error
    unweighted = sum(part.mean for part in result.levels)
    assert abs(unweighted - TRUTH) > 2 * Z_LIMIT * np.sqrt(sum(part.standard_error**2 for part in result.levels))


@pytest.mark.filterwarnings("ignore:.*by the pilot")
def test_coefficients_of_three_levels_telescope() -> None:
    middle = mcgen.as_generator(lambda z: 1 + z / 4 + z**2 / 32 + z**3 / 384, noise=(16,), name="middle")
    levels = [(COARSE, 1), (middle, 4), (FINE, 20)]
    result = run(levels, lambda x: x[:, :2], coefficients=[0.5, [2.0, -1.0]], n_evaluations=4000)
    assert [part.provenance.coefficients for part in result.levels] == [None, (0.5, 0.5), (2.0, -1.0)]
    weights = np.array([[1.0, -0.5], [2.0, -1.0], [1.0, 1.0]])
    assert weights_of([np.array([0.5, 0.5]), np.array([2.0, -1.0])]).tolist() == weights.tolist()
    assert result.mean == pytest.approx(sum(w * part.mean for w, part in zip(weights, result.levels, strict=True)))
    assert (abs(result.mean - TRUTH) < Z_LIMIT * result.standard_error).all()
    found = run(levels, lambda x: x[:, :2], n_evaluations=4000)
    assert found.levels[2].provenance.coefficients == pytest.approx((1, 1), abs=0.2)
    assert (found.standard_error < result.standard_error).all()


def test_statistics_of_several_axes() -> None:
    def table(x: np.ndarray) -> np.ndarray:
        return x[:, :6].reshape(-1, 2, 3) * [[1], [2]]

    for coefficients in (None, [np.arange(6) / 4]):
        result = run(statistic=table, n_evaluations=4000, coefficients=coefficients)
        assert result.shape == result.levels[1].shape == result.mean.shape == (2, 3)
        assert (abs(result.mean - TRUTH * np.array([[1], [2]])) < Z_LIMIT * result.standard_error).all()
        b = np.array(result.levels[1].provenance.coefficients).reshape(2, 3)
        assert result.mean == pytest.approx(result.levels[1].mean + b * result.levels[0].mean)
    assert b.ravel() == pytest.approx(np.arange(6) / 4)


@pytest.mark.filterwarnings("ignore:.*replicates are few for 3 intervals")
def test_components_covered_together() -> None:
    def first(x: np.ndarray) -> np.ndarray:
        return x[:, :3]

    alone, together = (run(statistic=first, simultaneous=simultaneous) for simultaneous in (False, True))
    assert (alone.method, together.method) == ("skewness-safe-t", "skewness-safe")
    assert (together.half_width > 1.15 * alone.half_width).all()
    assert (together.interval.high == alone.with_interval(simultaneous=True).interval.high).all()
    named = run(statistic=first, simultaneous="skewness-safe")
    assert (named.half_width == together.half_width).all()


def test_slopes_are_those_of_least_squares() -> None:
    rng = np.random.default_rng(SEED)
    coarse = rng.standard_normal((20, 3)) * [1, 1, 0]
    fine = 2 * coarse + rng.standard_normal((20, 3)) + 5
    lines = [np.polyfit(coarse[:, j], fine[:, j], 1)[0] for j in range(2)]
    assert slopes(fine, coarse) == pytest.approx([*lines, 1])


def test_allocation_is_the_closed_form() -> None:
    variances, costs = np.array([4.0, 1.0, 0.09]), np.array([1.0, 4.0, 25.0])
    counts = allocation(variances[:, None], costs, 100000.0)
    expected = 100000 * np.sqrt(variances / costs) / np.sqrt(variances * costs).sum()
    assert counts == tuple(np.floor(expected).astype(int))
    # No neighbour of the same cost is better.
    best = (variances / counts).sum()
    for move in (np.array([4, -1, 0]), np.array([-25, 0, 1]), np.array([0, 25, -4]), np.array([0, -25, 4])):
        assert (variances / (np.array(counts) + 40 * move)).sum() > best


def test_allocation_keeps_the_fewest_and_the_budget() -> None:
    rng = np.random.default_rng(SEED)
    for _ in range(200):
        costs = np.cumsum(rng.uniform(0.1, 5, size=4))
        variances = rng.exponential(size=(4, 3)) ** 4 * (rng.random((4, 3)) < 0.8)
        budget = 25 * costs.sum() * rng.uniform(1, 20)
        counts = np.array(allocation(variances, costs, budget))
        assert (counts >= 25).all()
        assert counts @ costs <= budget * (1 + 1e-9)
        if variances.any():
            assert counts @ costs > budget - costs.sum() - 1e-9
    assert allocation(np.array([[1.0], [0.0]]), np.array([1.0, 5.0]), 225.0) == (100, 25)


def test_allocation_weighs_components_alike() -> None:
    """Units of a component do not matter, and several that are the same are one."""
    variances, costs = np.array([[4.0, 1.0], [0.2, 0.3]]), np.array([1.0, 6.0])
    assert allocation(variances, costs, 9000.0) == allocation(variances * [1.0, 1e6], costs, 9000.0)
    assert allocation(variances[:, :1], costs, 9000.0) == allocation(variances[:, [0, 0]], costs, 9000.0)


def test_variances_add_and_degrees_of_freedom_are_welchs() -> None:
    result = run()
    errors = np.array([part.standard_error for part in result.levels])
    df = np.array([part.degrees_of_freedom for part in result.levels])
    (b,) = result.levels[1].provenance.coefficients
    weights = np.array([b, 1.0])
    assert b == pytest.approx(1, abs=0.2)
    assert result.mean == pytest.approx(weights @ [part.mean for part in result.levels])
    errors *= weights
    assert result.standard_error == pytest.approx(np.sqrt((errors**2).sum()))
    assert result.degrees_of_freedom == pytest.approx(welch_satterthwaite(errors[:, None] ** 2, df[:, None])[0])
    third = errors**3 @ [part.skewness for part in result.levels]
    assert result.skewness == pytest.approx(third / result.standard_error**3)
    adjusted = run(interval="skewness-adjusted-t")
    assert adjusted.interval == result.with_interval(interval="skewness-adjusted-t").interval
    assert adjusted.interval.high - adjusted.mean > adjusted.mean - adjusted.interval.low


@pytest.mark.filterwarnings("ignore:.*may miss rare failures")
def test_levels_and_pilot_have_their_own_numbers() -> None:
    """Levels of the same statistic on the same noise: no noise vector is seen twice."""
    seen: list[np.ndarray] = []

    def watched(z: np.ndarray) -> np.ndarray:
        seen.append(z.copy())
        return z

    fine = mcgen.as_generator(lambda z: 1.1 * watched(z), (4,), name="fine")
    coarse = mcgen.as_generator(lambda z: +z, (4,), name="coarse")
    first = mcgen.as_generator(lambda z: 0.9 * watched(z), (4,), name="first")
    run([(first, 1), (coarse, 2), (fine, 3)], designs=MonteCarlo(), n_evaluations=300)
    # Two rows of every first batch are run again.
    rows = np.concatenate([block for block in seen if len(block) > 2])
    assert len(np.unique(rows, axis=0)) == len(rows)
    means = run([(first, 1), (coarse, 2), (fine, 3)], designs=MonteCarlo(), n_evaluations=9000).levels
    n = min(part.n_replicates for part in means)
    table = np.corrcoef([part.replicate_means[:n, 0] for part in means])
    assert np.abs(table[np.triu_indices(3, 1)]).max() < Z_LIMIT / np.sqrt(n)


def test_same_seed_same_numbers() -> None:
    assert run() == run()
    assert run() != run(seed=SEED + 1)
    assert run(condition=None) == run(seed=np.random.SeedSequence(SEED))


def test_budget_holds_pilot_and_run() -> None:
    for budget in (200, 641, 5000):
        p = run(n_evaluations=budget).provenance
        # Pairs: 16 replicates of 2 points of both levels, at 1/20 and 21/20.
        assert p.pilot_evaluations == 36
        assert budget - 5 < p.n_evaluations + p.pilot_evaluations <= budget
    spent = []
    fine = mcgen.as_generator(lambda z: (spent.append(len(z)), FINE(z))[1], (16,), name="fine")
    counted = run([(COARSE, 1), (fine, 20)], n_evaluations=300, batch_size=2)
    # Beside the four points by which pilot and run are tried.
    assert sum(spent) == 2 * 16 + 2 * counted.n_replicates + 2 * 4
    basis = mcgen.bases.dct_basis((16,), 4)
    object.__setattr__(basis, "n_evaluations", 7)
    design = mcgen.Subspace(basis, leading=MonteCarlo(), rest=MonteCarlo())
    assert run(designs=[design, design]).provenance.pilot_evaluations == 18 + 7


def test_a_level_each_has_its_design() -> None:
    result = run(designs=[mcgen.Sobol(16), Antithetic()], n_evaluations=2000)
    assert [part.provenance.design for part in result.levels] == ["Sobol(n_points=16)", "Antithetic()"]
    assert result.provenance.design == "Sobol(n_points=16) + Antithetic()"
    assert {"giles2008multilevel", "joe2008sobol", "welch1947generalization"} <= {
        entry.split("{")[1].split(",")[0] for entry in mcgen.citation(result).split("\n\n")
    }


def test_a_coarse_generator_may_take_some_of_the_blocks() -> None:
    blocks = {"start": Block((4,)), "middle": Block((4,)), "fresh": Block((4,))}
    fine = mcgen.as_generator(lambda z: z["start"] + z["middle"] / 4 + z["fresh"] / 10, NoiseSpec(blocks), name="fine")
    one = mcgen.as_generator(lambda z: 1 * z, NoiseSpec({"start": blocks["start"]}), name="one block")
    spec = NoiseSpec({name: blocks[name] for name in ("middle", "start")})
    two = mcgen.as_generator(lambda z: z["start"] + z["middle"] / 4, spec, name="two blocks")
    result = run([(one, 1), (two, 2), (fine, 10)], designs=MonteCarlo(), n_evaluations=2000)
    last = result.levels[-1]
    # What is left of one replicate of the last level is its fresh noise alone.
    assert last.standard_error * np.sqrt(last.n_replicates) == pytest.approx(0.1 / 2, rel=0.5)
    assert abs(result.mean) < Z_LIMIT * result.standard_error


def test_shown_saved_and_framed(tmp_path) -> None:
    result = run(statistic=mcgen.statistics.stack(pixel_mean, lambda x: x[:, 0]))
    assert "sum of 2 levels" in str(result)
    assert f"{result.levels[0].n_replicates} + {result.levels[1].n_replicates} replicates" in str(result)
    text = result.summary()
    for part in (
        "level 0: pixel_mean",
        "level 1: pixel_mean",
        "sum of 2 levels: pixel_mean",
        "fine - coarse by Antith",
    ):
        assert part in text
    assert "condition" not in text
    assert result.to_frame()["level"].tolist() == ["level 0"] * 2 + ["level 1"] * 2 + ["sum of 2 levels"] * 2
    result.save(tmp_path / "sum.json")
    loaded = mcgen.Estimate.load(tmp_path / "sum.json")
    assert loaded == result
    assert [*loaded.levels[1].provenance.coefficients] == [*result.levels[1].provenance.coefficients]
    assert loaded != run(statistic=mcgen.statistics.stack(pixel_mean, lambda x: x[:, 0]), coefficients=1.0)
    assert loaded.with_interval(simultaneous=True) == result.with_interval(simultaneous=True)
    assert result.with_interval(simultaneous=True).method == "skewness-safe"


SHIFTED = [
    (mcgen.as_generator(lambda z, condition: COARSE(z) + condition, (16,), name="coarse"), 1),
    (mcgen.as_generator(lambda z, condition: FINE(z) + condition * z**2, (16,), name="fine"), 20),
]


def test_conditions_reach_every_level() -> None:
    result = run(SHIFTED, condition=3.0, n_evaluations=2000)
    assert abs(result.mean - 3 - TRUTH) < Z_LIMIT * result.standard_error
    assert result.provenance.condition == "3.0"


def test_several_conditions_give_a_sum_each_and_their_average(tmp_path) -> None:
    options = {"n_evaluations": 2000}
    result = run(SHIFTED, condition=[1.0, 4.0], weights=[0.25, 0.75], **options)
    assert [len(part.levels) for part in result.conditions] == [2, 2]
    assert [part.provenance.level for part in result.conditions] == ["sum of 2 levels"] * 2
    assert result.conditions[1] == run(SHIFTED, condition=4.0, **options)
    means, errors, df = (
        np.array([getattr(part, name) for part in result.conditions])
        for name in ("mean", "standard_error", "degrees_of_freedom")
    )
    errors *= [0.25, 0.75]
    assert result.mean == pytest.approx(0.25 * means[0] + 0.75 * means[1])
    assert result.standard_error == pytest.approx(np.hypot(*errors))
    assert result.degrees_of_freedom == pytest.approx(welch_satterthwaite(errors[:, None] ** 2, df[:, None])[0])
    assert abs(result.mean - 3.25 - TRUTH) < Z_LIMIT * result.standard_error
    even = run(SHIFTED, condition=[1.0, 4.0], **options)
    assert even.mean == pytest.approx(means.mean())
    result.save(tmp_path / "average.json")
    assert mcgen.Estimate.load(tmp_path / "average.json") == result
    assert all(text in result.summary() for text in ("condition 1.0", "condition 4.0", "average"))


@pytest.mark.filterwarnings(r"ignore:\d+ replicates are few")
def test_what_breaks_in_the_last_level_leaves_the_sum() -> None:
    options = {"batch_size": 8, "n_evaluations": 2000}
    near = mcgen.as_generator(lambda z: logistic(1.02 * z), (16,), name="near")
    for error, calls in ((RuntimeError("out of memory"), 12), (KeyboardInterrupt(), 12)):
        fine = mcgen.as_generator(logistic_until(calls, error), (16,), name="fine")
        if isinstance(error, KeyboardInterrupt):
            partial = run([(near, 1), (fine, 20)], **options)
        else:
            with pytest.raises(RuntimeError) as caught:
                run([(near, 1), (fine, 20)], **options)
            partial = caught.value.partial
        assert partial.partial
        assert len(partial.levels) == 2
    for error in (RuntimeError("out of memory"), KeyboardInterrupt()):
        coarse = mcgen.as_generator(logistic_until(15, error), (16,), name="coarse")
        with pytest.raises(type(error)) as stopped:
            run([(coarse, 1), (mcgen.as_generator(lambda z: logistic(1.02 * z), (16,)), 20)], **options)
        assert getattr(stopped.value, "partial", None) is None


OTHER = mcgen.as_generator(lambda z: z, (15,), name="other")
DOUBLE = mcgen.as_generator(lambda z: z, NoiseSpec.normal((16,), "float64"), name="double")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": [(FINE, 1)]}, "two or more pairs .* For one generator use mcgen.estimate"),
        ({"levels": [COARSE, FINE]}, "two or more pairs"),
        ({"levels": 3}, "two or more pairs"),
        ({"levels": [(COARSE, 0), (FINE, 1)]}, "cost of level 0 must be above 0; got 0"),
        ({"levels": [(COARSE, -1.0), (FINE, 1)]}, "cost of level 0 must be above 0; got -1.0"),
        ({"levels": [(COARSE, 1), (FINE, float("nan"))]}, "cost of level 1 must be finite"),
        ({"levels": [(FINE, 20), (COARSE, 1)]}, "from coarse to fine with rising costs; got costs 20, 1"),
        ({"levels": [(COARSE, 5), (FINE, 5)]}, "with rising costs; got costs 5, 5"),
        ({"levels": [(OTHER, 1), (FINE, 5)]}, r"level 0, 'other', must take the noise of level 1.*got normal\(15\)"),
        ({"levels": [(DOUBLE, 1), (FINE, 5)]}, r"laws and dtype: normal\(16\) float32; got normal\(16\) float64"),
        ({"n_evaluations": 90}, "cost 91 evaluations of 'fine'; got n_evaluations=90. Use 91 or more"),
        ({"n_pilot": 3}, "n_pilot must be at least 4 replicates, for variances and slopes; got 3. The default is 16"),
        ({"designs": [Antithetic()] * 3}, "one for each of the 2 levels; got 3"),
        ({"weights": [0.5, 0.5]}, "weights are for several conditions: pass a list or a dict as condition"),
        ({"condition": [1, 2], "weights": [1.0]}, "weights must be 2 "),
        ({"coefficients": float("nan")}, "a finite number or one for each component; got nan. Leave them out to have"),
        ({"coefficients": [[1.0, float("inf")]]}, "each a finite number .*; got .*inf.*. Leave them out to have them from the pilot"),
        ({"coefficients": [1.0, 1.0]}, r"for each of the 1 levels above the coarsest, .*; got \[1.0, 1.0\]. Leave them"),
        ({"coefficients": []}, r"for each of the 1 levels above the coarsest, .*; got \[\]"),
        ({"coefficients": "one"}, "coefficients must be a finite number, .*; got 'one'"),
        ({"coefficients": [[1.0, 2.0]]}, "must be a number or one for each of the 1 components; got 2"),
        ({"interval": "bootstrap-t"}, "no replicate means of its own"),
        ({"simultaneous": "bootstrap-max-t"}, "no replicate means of its own; .* or simultaneous=True"),
        ({"confidence_level": 1.5}, "confidence_level"),
    ],
)  # fmt: skip
def test_refused_with_advice(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"levels": [("coarse", 1), (FINE, 2)]}, "the generator of level 0 must satisfy mcgen.Generator"),
        ({"levels": [(COARSE, "1"), (FINE, 2)]}, "cost of level 0 must be a number"),
        ({"designs": "antithetic"}, "design must satisfy mcgen.Design"),
        ({"n_evaluations": 640.0}, "n_evaluations must be an int"),
        ({"statistic": 3}, "statistic must be a callable"),
    ],
)
def test_refused_types(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(TypeError, match=message):
        run(**changes)


def test_the_least_budget_is_enough() -> None:
    # So many components that their geometric mean is hardly random.
    wide = [
        (mcgen.as_generator(lambda z: z**2, (200,), name="wide"), 1),
        (mcgen.as_generator(lambda z: z**2 + np.sin(z) ** 2 / 10, (200,), name="wider"), 20),
    ]
    with pytest.warns(mcgen.CoverageWarning, match=r"by the pilot .* or the evaluations are few"):
        run(wide, itself, n_evaluations=91)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = run(n_evaluations=91)
    assert [part.n_replicates for part in result.levels] == [25, 25]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        warnings.filterwarnings("ignore", ".*the replicate means")
        run(n_evaluations=640)


def test_where_coarse_means_do_not_vary_the_slope_is_one() -> None:
    """So the coarse level, whose replicates are many, looks for a rare event that the pilot has not seen."""
    rng = np.random.default_rng(SEED)
    coarse = np.stack([np.zeros(20), np.full(20, 0.25), rng.standard_normal(20), np.zeros(20)], axis=1)
    fine = np.stack([rng.standard_normal(20), np.ones(20), np.zeros(20), np.zeros(20)], axis=1)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        found = slopes(fine, coarse)
    assert found.tolist() == [1, 1, 0, 1]
    # In a sum the rare event of both generators is counted on the coarse level.
    one, two = (mcgen.as_generator(lambda z: z, noise=(1,), name=name) for name in ("one", "two"))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mcgen.CoverageWarning)
        made = run([(one, 1), (two, 20)], lambda x: (x[:, 0] > 3).astype(float), n_evaluations=20_000)
    assert made.levels[1].provenance.coefficients == (1.0,)
    assert made.mean == made.levels[0].mean > 0
