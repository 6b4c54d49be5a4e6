"""`plan` and `design="auto"`: what they choose, predict and spend, and what they refuse."""

from __future__ import annotations

import functools
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT

import mcgen
from mcgen import Antithetic, MonteCarlo, OrthogonalAntithetic, Subspace
from mcgen.generators.joint import pair
from mcgen.inference.log_ratios import LogRatio, log_variance_of
from mcgen.noise import NoiseSpec
from mcgen.statistics import Combined, pixel_mean, stack
from mcgen.statistics.joint import Difference
from mcgen.validation.studies.verdicts import acceptance_band
from mcgen.variance_reduction.levels.allocation import coarse_share
from mcgen.variance_reduction.planning.candidate import Candidate, efficiencies
from mcgen.variance_reduction.planning.choice import choose
from mcgen.variance_reduction.planning.coarse import Coarse
from mcgen.variance_reduction.planning.predictions import net_size
from mcgen.variance_reduction.planning.promises import Promises
from mcgen.variance_reduction.planning.rule import FEWEST_FOR_PILOT
from mcgen.variance_reduction.planning.shrinkage import PRIORS

# Whether few replicates look skewed is chance, and another seed may bring the warning.
pytestmark = pytest.mark.filterwarnings("ignore:.*the replicate means")

D = 16


class Steps:
    """A sampler of a smooth map whose steps bring it near a limit: odd, even and mixed parts, gradients by hand."""

    def __init__(self, steps: int = 50) -> None:
        self.steps, self.noise, self.name = steps, NoiseSpec.normal((D,), "float64"), f"sampler-{steps}"

    def coarse(self, steps: int) -> Steps:
        return Steps(steps)

    def __call__(self, z: Any, condition: Any = None) -> Any:
        bent = np.tanh(z + 0.2) + 0.3 * (z**2 - 1) + 0.2 * (z * np.roll(z, 1, axis=1))
        shift = 0.0 if condition is None else float(condition)
        return bent + shift + np.sin(3 * z + 0.5) / self.steps


class Steep(Steps):
    """The same with its gradient, of statistics that are linear in the samples."""

    def coarse(self, steps: int) -> Steep:
        return Steep(steps)

    def jacobian(self, z: Any, statistic: Any, condition: Any = None) -> Any:
        h = 1e-4
        columns = []
        for i in range(D):
            step = h * np.eye(D)[i]
            up, down = (np.asarray(statistic(self(z + s * step, condition))).reshape(len(z), -1) for s in (1, -1))
            columns.append((up - down) / (2 * h))
        return np.stack(columns, axis=-1)

    def gradient(self, z: Any, statistic: Any, condition: Any = None) -> Any:
        return self.jacobian(z, statistic, condition)[:, 0]


def first_four(x: Any) -> Any:
    return x[:, :4].mean(axis=1)


def energy(x: Any) -> Any:
    return (x[:, :4] ** 2).mean(axis=1)


BOTH = stack(first_four, energy)


@functools.cache
def truth(steps: int = 50) -> Any:
    """By a long run over nets on all 16 directions."""
    basis = mcgen.bases.Basis(np.eye(D))
    long = mcgen.estimate(
        Steps(steps), BOTH, design=Subspace(basis, mcgen.Sobol(1024)), n_replicates=400, seed=1, batch_size=4096
    )
    return long.mean, long.standard_error


def planned(n: int | None = 3200, **changes: Any) -> mcgen.Plan:
    options: dict[str, Any] = {"n_evaluations": n, "seed": SEED, "batch_size": 1024} | changes
    return mcgen.plan(options.pop("generator", Steep()), options.pop("statistic", BOTH), **options)


def test_two_levels_with_a_net_below_are_chosen_and_better() -> None:
    # With some seeds pairs with controls are chosen, since much of the statistic is quadratic.
    plan = planned(seed=1)
    assert plan.chosen.coarse is not None
    assert isinstance(plan.chosen.designs[0], Subspace)
    made = plan.estimate()
    pairs = mcgen.estimate(Steep(), BOTH, design=Antithetic(), n_evaluations=3200, seed=1, batch_size=1024)
    assert ((pairs.half_width / made.half_width) ** 2 > 2).all()
    value, error = truth()
    assert (abs(made.mean - value) < Z_LIMIT * np.hypot(made.standard_error, error)).all()
    # A control: the coarse level alone is not near the fine sampler's expectation.
    alone = made.levels[0]
    assert (abs(alone.mean - value) > Z_LIMIT * alone.standard_error).any()


def test_budget_holds_pilot_and_run_and_its_pilot_is_a_tenth_at_most() -> None:
    for n in (1000, 1777, 3200, 20000):
        plan = planned(n)
        assert plan.pilot_evaluations <= n / 10
        assert plan.n_evaluations <= n
        made = plan.estimate()
        assert made.n_evaluations + made.provenance.pilot_evaluations == plan.n_evaluations
        if plan.n_evaluations < n:
            assert f"rounded down by {n - plan.n_evaluations}" in str(plan)


def test_auto_is_the_plan_and_says_so(tmp_path: Any) -> None:
    made = mcgen.estimate(Steep(), BOTH, design="auto", n_evaluations=3200, seed=SEED, batch_size=1024)
    assert made == planned().estimate()
    assert "chosen:" in str(made.provenance.plan)
    assert "plan" in made.summary()
    made.save(tmp_path / "one.json")
    assert mcgen.Estimate.load(tmp_path / "one.json") == made


def test_the_run_shares_no_noise_with_its_pilot() -> None:
    """A plan's numbers are used up: the run's replicates are those of its own streams, which no pilot draws."""
    seen: list[Any] = []

    class Watching(Steep):
        def coarse(self, steps: int) -> Steep:
            return Watching(steps)

        def __call__(self, z: Any, condition: Any = None) -> Any:
            seen.extend(row.tobytes() for row in np.asarray(z))
            return super().__call__(z, condition)

    plan = planned(generator=Watching())
    pilot = set(seen)
    seen.clear()
    plan.estimate()
    assert pilot
    assert not pilot & set(seen)


@pytest.mark.study
def test_predictions_hold_about_eight_times_in_ten() -> None:
    hits, low = [], []
    for seed in range(60):
        plan = planned(seed=seed)
        half = plan.estimate().half_width
        hits.append((plan.prediction.low <= half) & (half <= plan.prediction.high))
        low.append(half < plan.half_width / 3)
    assert 0.6 < np.mean(hits) <= 1.0
    # A control: a third of what is predicted is hardly ever enough.
    assert np.mean(low) < 0.1


@pytest.mark.parametrize(
    ("n", "design", "runs"),
    [(400, mcgen.Auto(coarse=[(Steps(10), 0.2)], correlation=0.99), 1000), (1200, mcgen.Auto(), 250)],
    ids=["a known correlation", "a pilot"],
)
@pytest.mark.study
def test_intervals_of_auto_cover(n: int, design: mcgen.Auto, runs: int) -> None:
    value, _ = truth()
    hits = 0
    for seed in range(runs):
        made = mcgen.estimate(Steps(), BOTH, design=design, n_evaluations=n, seed=seed, batch_size=1024)
        hits += int(((made.interval.low <= value) & (value <= made.interval.high)).sum())
    low, high = acceptance_band(2 * runs)
    assert low <= hits / (2 * runs) <= high


def test_without_gradients_or_coarse_generators_it_says_what_there_is() -> None:
    plain = mcgen.as_generator(lambda z: np.tanh(z + 0.2), noise=(D,), name="plain")
    plan = planned(generator=plain, statistic=pixel_mean)
    assert plan.chosen.coarse is None
    assert not any(isinstance(design, Subspace) for one in plan.candidates for design in one.designs)
    # Images have low frequencies, which need no gradient.
    image = mcgen.as_generator(lambda z: np.tanh(z + 0.2), noise=(1, 8, 8), name="image")
    plan = planned(generator=image, statistic=pixel_mean)
    assert any("cosines" in str(design) for one in plan.candidates for design in one.designs)


def test_a_statistic_without_gradient_is_said() -> None:
    torch = pytest.importorskip("torch")
    from mcgen.adapters import from_torch

    model = from_torch(lambda z: torch.tanh(z + 0.3), noise=(1, 8, 8), name="model")
    with pytest.warns(mcgen.GeneratorWarning, match="has no gradient"):
        plan = planned(generator=model, statistic=lambda x: (x.detach().numpy().mean(axis=(1, 2, 3)) > 0).astype(float))
    assert plan.n_evaluations <= 3200


def test_it_tells_when_nothing_helps() -> None:
    """The parity of many bits is even, of high dimension, and the coarse generator has other bits."""
    parity = mcgen.as_generator(lambda z: np.sign(z).prod(axis=1), noise=(20,), name="parity")
    other = mcgen.as_generator(lambda z: np.sign(z - 1).prod(axis=1), noise=(20,), name="other")
    plan = planned(generator=parity, statistic=lambda x: x, coarse=[(other, 0.2)])
    assert plan.chosen.coarse is None
    assert "no candidate is much better" in str(plan)


def test_what_antithetic_noise_hurts_goes_to_monte_carlo_or_better() -> None:
    hurt = mcgen.as_generator(lambda z: (z**2).sum(axis=1), noise=(400,), name="even")
    plan = planned(generator=hurt, statistic=lambda x: x, coarse=[])
    made = plan.estimate()
    alone = mcgen.estimate(hurt, lambda x: x, design=MonteCarlo(), n_evaluations=3200, seed=SEED)
    assert (alone.half_width / made.half_width) ** 2 > 0.8


def test_many_components_and_maps() -> None:
    """More than eight components: gradients of random combinations; shapes come back."""
    plan = planned(statistic=lambda x: x.reshape(len(x), 4, 4))
    assert len(plan.names) == D
    assert plan.estimate().shape == (4, 4)
    values = np.arange(12.0).reshape(3, 4)
    assert np.array_equal(Combined(lambda x: x, np.ones((4, 2)))(values), values @ np.ones((4, 2)))


def test_a_constant_component_has_no_say() -> None:
    with pytest.warns(mcgen.GeneratorWarning, match="have no gradient"):
        plan = planned(statistic=stack(first_four, lambda x: 0 * x[:, 0] + 1, names=("mean", "one")))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mcgen.CoverageWarning)
        made = plan.estimate()
    assert made.mean[1] == 1
    assert made.half_width[1] == 0
    pairs = mcgen.estimate(Steep(), first_four, design=Antithetic(), n_evaluations=3200, seed=SEED, batch_size=1024)
    assert made.half_width[0] < pairs.half_width


def test_conditions_are_planned_each() -> None:
    made = mcgen.estimate(
        Steep(), BOTH, design="auto", n_evaluations=1600, seed=SEED, condition=[0, 1], batch_size=1024
    )
    one = mcgen.estimate(Steep(), BOTH, design="auto", n_evaluations=1600, seed=SEED, condition=1, batch_size=1024)
    assert made.conditions[1] == one
    assert np.allclose(made.mean, (made.conditions[0].mean + made.conditions[1].mean) / 2)
    assert "condition 0" in made.summary()
    assert "average" in made.summary()


def test_atol_is_met_about() -> None:
    atol = 0.004
    plan = planned(None, atol=atol)
    assert (plan.half_width <= atol * 1.0001).all()
    wider = planned(None, atol=2 * atol)
    # Half the width takes up to four times the evaluations, and less where nets grow with them.
    assert 1.5 < (plan.n_evaluations - plan.pilot_evaluations) / (wider.n_evaluations - wider.pilot_evaluations) < 6
    assert (plan.estimate().half_width < 2 * atol).all()


def test_below_a_thousand_there_is_a_rule() -> None:
    plan = planned(200)
    assert plan.pilot_evaluations == 0
    assert plan.chosen.designs == (Antithetic(),)
    assert plan.names == ()
    assert "below 1,000" in str(plan)
    assert plan.estimate().n_evaluations == 200
    coarse = [(Steep(10), 0.2)]
    two = planned(200, coarse=coarse, correlation=[0.99, 0.98])
    assert two.chosen.coarse is not None
    assert two.estimate().provenance.level == "sum of 2 levels"
    assert two.n_evaluations <= 200
    # Where the correlation does not pay for it, pairs stay; so too where one component alone would lose.
    for correlation in (0.5, [0.99, 0.3]):
        assert planned(200, coarse=coarse, correlation=correlation).chosen.designs == (Antithetic(),)
    few = planned(60, coarse=coarse, correlation=0.99)
    assert few.chosen.designs == (Antithetic(),)
    assert "or more" in str(few)


def test_the_rule_is_better_where_the_correlation_is_true() -> None:
    coarse = Steps(10)
    both = mcgen.estimate(
        pair(Steps(), coarse), Difference(first_four), design=Antithetic(), n_replicates=2000, seed=7
    ).moments
    fine = mcgen.estimate(Steps(), first_four, design=Antithetic(), n_replicates=2000, seed=8).moments
    assert both is not None
    assert fine is not None
    rho = 1 - both.variance[0] / fine.variance[0] / 2
    widths = []
    for seed in range(20):
        options: dict[str, Any] = {"n_evaluations": 200, "seed": seed}
        two = mcgen.estimate(Steps(), first_four, design=mcgen.Auto(coarse=[(coarse, 0.2)], correlation=rho), **options)
        widths.append([two.half_width, mcgen.estimate(Steps(), first_four, design=Antithetic(), **options).half_width])
    two_levels, pairs = np.mean(np.square(widths), axis=0)
    assert pairs / two_levels > 1.3


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n": None}, "give either n_evaluations or atol"),
        ({"atol": 0.1}, "give either n_evaluations or atol"),
        ({"n": None, "atol": 0.0}, "atol must be above 0"),
        ({"n": 3}, "at least 2 pairs"),
        ({"condition": [1, 2]}, "a plan is for one condition"),
        ({"interval": "bootstrap-t"}, "no replicate means of its own"),
        ({"coarse": [(Steep(10), 0.0)]}, "above 0 and below 1, such as"),
        ({"coarse": [(Steep(10), 2.0)]}, "above 0 and below 1, such as"),
        ({"coarse": Steep(10)}, "list of pairs"),
        ({"coarse": [(mcgen.as_generator(np.tanh, noise=(3,)), 0.1)]}, "must take the noise of level 1"),
        ({"coarse": [], "correlation": 0.9}, "Pass coarse="),
        ({"coarse": [(Steep(10), 0.2)], "correlation": 1.5}, r"in \[-1, 1\]"),
        ({"coarse": [(Steep(10), 0.2)], "correlation": "high"}, r"in \[-1, 1\]"),
    ],
)
def test_refused_with_advice(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        planned(**changes)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_replicates": 100, "n_evaluations": None}, "takes n_evaluations"),
        ({"condition": [1, 2], "common_random_numbers": True}, "plans each condition alone"),
        ({"interval": "bootstrap-t"}, "may choose a sum of levels"),
        ({"design": Antithetic(), "coarse": [(Steep(10), 0.2)]}, r"are for design=mcgen\.Auto"),
        ({"controls": mcgen.controls.quadratic(mcgen.bases.Basis(np.eye(D)[:, :2]))}, "chooses controls itself"),
    ],
)
def test_auto_refuses(changes: dict[str, Any], message: str) -> None:
    options: dict[str, Any] = {"design": "auto", "n_evaluations": 3200, "seed": 0} | changes
    with pytest.raises(ValueError, match=message):
        mcgen.estimate(Steep(), BOTH, **options)


def test_unknown_designs_in_words_are_refused() -> None:
    with pytest.raises(TypeError, match="must satisfy mcgen.Design"):
        mcgen.estimate(Steep(), BOTH, design="antithetic", n_evaluations=100, seed=0)  # type: ignore[arg-type]


def made_up(name: str, half_width: list[float], *designs: Any) -> Candidate:
    half = np.array(half_width)
    return Candidate(name, designs, (100,) * len(designs), half**2, half, 0 * half, "made up")


def test_choice_is_the_greatest_mean_that_leaves_none_behind() -> None:
    alone, pairs = made_up("alone", [2, 1], MonteCarlo()), made_up("pairs", [1, 1.2], Antithetic())
    greedy = made_up("greedy", [0.1, 1.3], OrthogonalAntithetic(4))
    fair = made_up("fair", [0.6, 0.9], OrthogonalAntithetic(6))
    every = Promises(np.ones(2, bool), np.ones(2, bool))
    chosen, reasons = choose([alone, pairs, greedy, fair], every)
    assert chosen is fair
    assert any("not chosen: greedy" in reason for reason in reasons)
    # The second component is judged by Monte Carlo, which is better there than pairs.
    even = made_up("even", [0.1, 1.1], OrthogonalAntithetic(8))
    assert choose([alone, pairs, fair, even], every)[0] is fair
    # Where nothing reaches the better of both everywhere, pairs are what nothing may be behind.
    assert choose([alone, pairs, even, greedy], every)[0] is even
    assert choose([alone, pairs, greedy], every)[0] is pairs
    # What is not protected has no veto, and what does not count has no say.
    first = np.array([True, False])
    assert choose([alone, pairs, greedy, fair], Promises(np.ones(2, bool), first))[0] is greedy
    assert choose([alone, pairs, fair, even], Promises(~first, ~first))[0] is fair
    assert efficiencies(fair, pairs) == pytest.approx([1 / 0.36, (1.2 / 0.9) ** 2])


def test_shares_of_levels_protect_the_worst_component() -> None:
    works = np.array([[0.1, 0.1], [0.1, 0.9]])
    share = coarse_share(works, np.ones(2), np.ones(2))
    gains = 1 / (works[0] / share + works[1] / (1 - share))
    alone = coarse_share(works[:, :1], np.ones(1), np.ones(1))
    assert gains.min() > (1 / (works[0] / alone + works[1] / (1 - alone))).min()
    assert share < alone
    # One component: the share of least variance x cost, sqrt(w_0) / (sqrt(w_0) + sqrt(w_1)).
    assert alone == pytest.approx(0.5, abs=0.01)


def test_net_sizes_leave_replicates() -> None:
    assert [net_size(n, 40) for n in (50, 2560, 2570, 10**6)] == [2, 64, 64, 8192]


def test_log_variances_are_unbiased_with_the_error_they_say() -> None:
    rng = np.random.default_rng(SEED)
    for r in (4, 10):
        logs = log_variance_of(rng.standard_normal((r, 40000)).var(axis=0, ddof=1), r - 1)
        error = np.sqrt(logs.variance[0] / 40000)
        assert abs(logs.value.mean()) < Z_LIMIT * error
        assert logs.value.var() == pytest.approx(logs.variance[0], rel=0.1)
    ratio = LogRatio.of(PRIORS["Subspace"], 3).minus(LogRatio(np.ones(3), np.ones(3)))
    assert ratio.value == pytest.approx(np.full(3, PRIORS["Subspace"][0] - 1))
    assert ratio.variance == pytest.approx(np.full(3, PRIORS["Subspace"][1] ** 2 + 1))


def test_coarse_generators_of_some_blocks_are_adapted() -> None:
    spec = NoiseSpec((("a", mcgen.Block((4,))), ("b", mcgen.Block((4,)))))
    part = mcgen.as_generator(lambda z: np.tanh(z + 0.2), noise=NoiseSpec((("a", mcgen.Block((4,))),)), name="part")
    noise = {"a": np.ones((2, 4), np.float32), "b": np.zeros((2, 4), np.float32)}
    assert np.allclose(Coarse(part, 0.1).on(spec)(noise), np.tanh(1.2))
    whole = mcgen.as_generator(lambda z: np.tanh(z["a"] + 0.2) + 0.1 * z["b"] ** 2, noise=spec, name="whole")
    plan = planned(generator=whole, statistic=pixel_mean, coarse=[(part, 0.1)])
    made = plan.estimate()
    value = mcgen.estimate(whole, pixel_mean, design=Antithetic(), n_evaluations=100000, seed=3)
    assert abs(made.mean - value.mean) < Z_LIMIT * np.hypot(made.standard_error, value.standard_error)
    assert FEWEST_FOR_PILOT <= 3200


def test_what_pairs_integrate_exactly_is_left_to_them() -> None:
    linear = mcgen.as_generator(lambda z: z, noise=(16,), name="linear")
    for statistic in (pixel_mean, stack(pixel_mean, lambda x: np.exp(x.mean(axis=1)), names=("linear", "exp"))):
        plan = planned(generator=linear, statistic=statistic)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", mcgen.CoverageWarning)
            made = plan.estimate()
        assert np.ravel(made.half_width)[0] < 1e-6
    # An exact component has no veto where another design leaves it exact.
    coarse = mcgen.as_generator(lambda z: z * (1 + 1e-3), noise=(16,), name="near")
    plan = planned(generator=linear, statistic=statistic, coarse=[(coarse, 0.02)])
    assert plan.chosen.coarse is not None


def test_nets_in_all_of_few_dimensions_are_tried_without_a_basis() -> None:
    def decode(z: Any) -> Any:
        return 1 / (1 + np.exp(-z - 1))

    smooth = mcgen.as_generator(decode, noise=(16,), name="decode")
    plan = planned(3200, generator=smooth, statistic=pixel_mean)
    assert plan.chosen.designs == (mcgen.Sobol(128),)
    assert plan.chosen.name == "sobol 128"
    assert "sobol n: n in all dimensions" in str(plan)
    pairs = mcgen.estimate(smooth, pixel_mean, design=Antithetic(), n_evaluations=3200, seed=0)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mcgen.CoverageWarning)
        assert plan.estimate().half_width < pairs.half_width / 4
    # What is nearly odd is left to designs with negations, and noise of many dimensions has no such net.
    for d, model in ((8, lambda z: z + 0.01 * z**2), (64, decode)):
        other = planned(3200, generator=mcgen.as_generator(model, noise=(d,), name="other"), statistic=pixel_mean)
        assert not isinstance(other.chosen.designs[0], mcgen.Sobol)


def test_a_rare_event_is_not_planned_for() -> None:
    def rare(x: Any) -> Any:
        return (x.mean(axis=1) > 3.0).astype(float)

    plan = planned(generator=Steps(), statistic=stack(first_four, rare, names=("mean", "rare")))
    assert np.isnan(plan.half_width[1])
    assert "rare did not vary in" in str(plan)
    with pytest.raises(ValueError, match="did not vary in the pilot"):
        planned(None, generator=Steps(), statistic=rare, atol=0.001)


def test_a_net_is_never_chosen_untried() -> None:
    torch = pytest.importorskip("torch")
    from mcgen.adapters import from_torch

    weights = torch.randn(64, 256, generator=torch.Generator().manual_seed(0)) / 16
    model = from_torch(
        lambda z: torch.sigmoid(0.2 * z.reshape(len(z), -1) @ weights.T + 0.5), noise=(1, 16, 16), name="near linear"
    )
    for n in (1200, 3200):
        plan = planned(n, generator=model, statistic=pixel_mean, batch_size=None)
        assert all(one.known_from != "other models" for one in plan.candidates if isinstance(one.designs[0], Subspace))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", mcgen.CoverageWarning)
            half = plan.estimate().half_width
        pairs = mcgen.estimate(model, pixel_mean, design=Antithetic(), n_evaluations=n, seed=SEED).half_width
        assert (pairs / half) ** 2 > 0.7


def test_controls_stay_away_from_skewed_rests() -> None:
    class Exponential(Steep):
        def coarse(self, steps: int) -> Exponential:
            return Exponential(steps)

        def __call__(self, z: Any, condition: Any = None) -> Any:
            return np.exp(z.sum(axis=1, keepdims=True) / 4) * np.ones((1, 4))

    plan = planned(generator=Exponential(), statistic=lambda x: x[:, 0], coarse=[])
    assert plan.chosen.controls is None


def test_the_words_that_auto_has_replaced_still_work() -> None:
    options: dict[str, Any] = {"n_evaluations": 400, "seed": SEED}
    coarse = [(Steps(10), 0.2)]
    with pytest.warns(
        DeprecationWarning, match=r"write design=mcgen\.Auto\(coarse=\.\.\., correlation=\.\.\.\)"
    ) as told:
        old = mcgen.estimate(Steps(), first_four, design="auto", coarse=coarse, correlation=0.99, **options)
    assert [Path(one.filename) for one in told] == [Path(__file__)]
    assert old == mcgen.estimate(Steps(), first_four, design=mcgen.Auto(coarse, 0.99), **options)


def test_correlations_are_checked_by_the_run() -> None:
    tripled = mcgen.as_generator(lambda z: 3 * Steps(10)(z), noise=NoiseSpec.normal((D,), "float64"), name="tripled")
    options: dict[str, Any] = {"n_evaluations": 400, "seed": SEED}
    with pytest.warns(mcgen.CoverageWarning, match="varies far more than the correlation"):
        made = mcgen.estimate(Steps(), first_four, design=mcgen.Auto([(tripled, 0.2)], 0.99), **options)
    assert any("far more" in text for text in made.warnings)
    with warnings.catch_warnings():
        warnings.simplefilter("error", mcgen.CoverageWarning)
        mcgen.estimate(Steps(), first_four, design=mcgen.Auto([(Steps(10), 0.2)], 0.99), **options)


def test_correlations_of_a_plan_serve_short_runs() -> None:
    plan = planned()
    assert [len(part) for part in plan.correlations] == [2, 2]
    coarse = plan.candidates[-1].coarse
    assert coarse is not None
    short = planned(400, coarse=[(coarse.generator, coarse.cost)], correlation=plan.correlations[1])
    assert short.chosen.coarse is not None


def test_pilots_run_no_more_than_they_say() -> None:
    rows: list[int] = []

    class Counting(Steps):
        def coarse(self, steps: int) -> Counting:
            return Counting(steps)

        def __call__(self, z: Any, condition: Any = None) -> Any:
            rows.append(len(z) * self.steps)
            return super().__call__(z, condition)

    plan = planned(1000, generator=Counting(), batch_size=4096)
    # The repeat check asks for two rows again in each of the pilot's runs.
    assert sum(rows) / 50 <= plan.pilot_evaluations + 2 * len(rows)


def test_an_error_in_the_run_tells_the_plan_too() -> None:
    class Breaking(Steps):
        calls = 0

        def coarse(self, steps: int) -> Breaking:
            raise TypeError("needs more")

        def __call__(self, z: Any, condition: Any = None) -> Any:
            Breaking.calls += 1
            if Breaking.calls > 40:
                raise RuntimeError("broken")
            return super().__call__(z, condition)

    plan = mcgen.plan(Breaking(), first_four, n_evaluations=3200, seed=SEED)
    with pytest.raises(RuntimeError, match="broken") as caught:
        plan.estimate()
    assert caught.value.partial.provenance.pilot_evaluations == plan.pilot_evaluations  # type: ignore[attr-defined]


def test_plans_show_as_html_with_and_without_a_pilot() -> None:
    assert "net" in planned()._repr_html_()
    assert "below 1,000" in planned(200)._repr_html_()
    assert len(planned(200).to_frame()) == 0
    assert "half_width" in planned(200).to_frame()


def test_coarse_generators_may_come_from_an_iterator() -> None:
    coarse, cost = Steps(10), 0.2
    options: dict[str, Any] = {"n_evaluations": 3200, "seed": SEED}
    listed = mcgen.estimate(Steps(), first_four, design=mcgen.Auto(coarse=[(coarse, cost)]), **options)
    assert (
        mcgen.estimate(Steps(), first_four, design=mcgen.Auto(coarse=zip([coarse], [cost], strict=True)), **options)
        == listed
    )


@pytest.mark.parametrize("coarse", [Steps(10), 3, [Steps(10)], [(Steps(10), 0.2, 1)]])
def test_auto_refuses_what_is_no_list_of_pairs(coarse: Any) -> None:
    with pytest.raises(ValueError, match=r"coarse must be a list of pairs \(generator, cost\)"):
        mcgen.Auto(coarse=coarse)
