"""Compositions by annealed chains: closed-form truths, broken moves as controls, and what is refused."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT, z_score

torch = pytest.importorskip("torch")

import mcgen  # noqa: E402
from mcgen import MonteCarlo  # noqa: E402
from mcgen.adapters import DDIM, Compose, Energy, Heun, Schedule, models  # noqa: E402
from mcgen.adapters.composed.moves import Point, hamiltonian, langevin  # noqa: E402
from mcgen.validation.conformance import check_generator  # noqa: E402
from mcgen.validation.problems.compositions import Isotropic, ring, two_spots, wide  # noqa: E402
from mcgen.validation.systems.composition import MixtureEnergy  # noqa: E402

pytestmark = pytest.mark.usefixtures("one_torch_thread")

SCHEDULE = Schedule.cosine()
FEW = {"steps": 12, "n_moves": 6}


def energy(law: Isotropic) -> Energy:
    return Energy(MixtureEnergy(law, SCHEDULE))


def composed(*laws: Isotropic, **options: Any) -> Compose:
    given = {"width": 0.2, "dtype": torch.float64} | FEW | options
    return Compose([energy(law) for law in laws], SCHEDULE, (2,), **given)


def drawn(model: mcgen.Generator, n: int) -> Any:
    noise = MonteCarlo().draw(model.noise, n, SEED)
    return noise[:, 0] if isinstance(noise, np.ndarray) else {name: block[:, 0] for name, block in noise.items()}


def moments_of(model: Compose, n: int = 1500) -> np.ndarray:
    """Samples of x, y and the squared length, shape (3, n)."""
    x = model(drawn(model, n)).numpy()
    return np.stack([x[:, 0], x[:, 1], (x**2).sum(1)])


def z_scores(found: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """How many standard errors the means are from the truth."""
    return np.array([z_score(values, one) for values, one in zip(found, truth, strict=True)])


def test_closed_forms_agree_with_quadrature() -> None:
    line = np.linspace(-6, 6, 301)
    points = np.stack([one.ravel() for one in np.meshgrid(line, line)], axis=1)
    values = np.column_stack([points, (points**2).sum(1)])

    def density(law: Isotropic) -> np.ndarray:
        return np.exp(law.log_components(points)).sum(1)

    for law, expected in (
        (ring().times(two_spots()), density(ring()) * density(two_spots())),
        (two_spots().times(wide(), power=-1), density(two_spots()) / density(wide())),
        (ring().pooled(wide(), 0.3), 0.3 * density(ring()) + 0.7 * density(wide())),
    ):
        weights = expected / expected.sum()
        assert np.allclose(law.moments(), weights @ values, atol=1e-6)
        assert np.allclose(density(law) / density(law).sum(), weights, atol=1e-12)


class Normal:
    """The standard normal law as a target, with or without log densities."""

    def at(self, x: torch.Tensor) -> Point:
        return Point(x, -x, -x.flatten(1).square().sum(1) / 2)

    def rise(self, here: Point, there: Point) -> torch.Tensor:
        return there.density - here.density


def after_moves(kind: str, broken: bool = False, n_moves: int = 4, n: int = 40_000) -> np.ndarray:
    """Squares after some moves from N(0, 1), which every adjusted move must keep."""
    torch.manual_seed(SEED % 2**31)
    target = Normal()
    here = target.at(torch.randn(n, 1, dtype=torch.float64))
    v = torch.randn_like(here.x)
    for _ in range(n_moves):
        xi, u = torch.randn_like(v), torch.rand(n, dtype=torch.float64)
        if kind == "langevin":
            here, _ = langevin(target, here, xi, u, 0.8)
            continue
        v = 0.9 * v + math.sqrt(1 - 0.9**2) * xi
        old = v
        here, v, accepted = hamiltonian(target, here, v, u, 1.8, 1)
        if broken:
            v = torch.where(accepted[:, None], v, old)
    return here.x[:, 0].square().numpy()


@pytest.mark.parametrize("kind", ["langevin", "hamiltonian"])
def test_adjusted_moves_keep_their_target(kind: str) -> None:
    assert abs(z_score(after_moves(kind), 1.0)) < Z_LIMIT


def test_a_velocity_that_keeps_its_sign_is_found() -> None:
    assert abs(z_score(after_moves("hamiltonian", broken=True), 1.0)) > Z_LIMIT


def test_a_wrong_proposal_density_is_found() -> None:
    """With 2 h^2 in place of 4 h, as in public code, the law is another one."""
    torch.manual_seed(SEED % 2**31)
    x, h = torch.randn(40_000, 1, dtype=torch.float64), 0.8
    for _ in range(4):
        y = (1 - h) * x + math.sqrt(2 * h) * torch.randn_like(x)
        moved = (x - (1 - h) * y) ** 2 - (y - (1 - h) * x) ** 2
        rise = (x**2 - y**2) / 2
        x = torch.where(torch.rand_like(x).log() < rise - moved / (2 * h**2), y, x)
    assert abs(z_score(x[:, 0].square().numpy(), 1.0)) > Z_LIMIT


@pytest.mark.parametrize("options", [{"sampler": "mala"}, {"sampler": "hmc", "n_moves": 2}])
def test_products_have_their_closed_form(options: dict) -> None:
    truth = ring().times(two_spots()).moments()
    found = moments_of(composed(ring(), two_spots(), **options))
    assert np.abs(z_scores(found, truth)).max() < Z_LIMIT


@pytest.mark.parametrize("options", [{"sampler": "ula"}, {"sampler": "uhmc", "n_moves": 2}])
def test_chains_without_accept_steps_come_close(options: dict) -> None:
    truth = ring().times(two_spots()).moments()
    found = moments_of(composed(ring(), two_spots(), **options))
    errors = found.std(axis=1) / math.sqrt(found.shape[1])
    assert (np.abs(found.mean(axis=1) - truth) < 0.03 + Z_LIMIT * errors).all()


def test_the_bias_of_the_reverse_process_is_found() -> None:
    truth = ring().times(two_spots()).moments()
    for eta in (0.0, 1.0):
        model = composed(ring(), two_spots(), sampler="reverse", eta=eta, steps=50)
        assert z_scores(moments_of(model), truth)[2] < -Z_LIMIT


def test_mixtures_have_their_closed_form() -> None:
    model = composed(two_spots(), wide(), operator="mixture", weights=(0.7, 0.3), width=0.4)
    found = moments_of(model)
    assert np.abs(z_scores(found, two_spots().pooled(wide(), 0.7).moments())).max() < Z_LIMIT
    # The weights matter: with others the law is another.
    assert np.abs(z_scores(found, two_spots().pooled(wide(), 0.2).moments())).max() > Z_LIMIT
    same = composed(two_spots(), wide(), operator=lambda logs: logs.sum(0) / 2, steps=3)
    half = composed(two_spots(), wide(), weights=(0.5, 0.5), steps=3)
    noise = drawn(half, 5)
    assert torch.allclose(same(noise), half(noise))


def test_negations_have_their_closed_form() -> None:
    truth = two_spots().times(two_spots()).times(wide(), power=-1).moments()
    model = composed(two_spots(), two_spots(), wide(), operator="negation", width=0.3)
    assert np.abs(z_scores(moments_of(model), truth)).max() < Z_LIMIT
    laws = (two_spots(), two_spots(), wide())
    negated = composed(*laws, operator="negation", weights=0.5, steps=3)
    noise = drawn(negated, 5)
    assert torch.equal(negated(noise), composed(*laws, weights=(1, 0.5, -0.5), steps=3)(noise))
    with pytest.raises(ValueError, match="a quotient by a narrower law has no finite integral"):
        wide().times(Isotropic.of([1], [[0, 0]], 0.5), power=-1)


def test_one_part_reversed_is_ddim() -> None:
    """With the noise prediction of the energy, or the sample and the velocity that it stands for."""
    law = energy(two_spots())
    denoiser = law.denoiser(SCHEDULE)

    def told(prediction: str) -> Any:
        def network(x: torch.Tensor, time: torch.Tensor, condition: object) -> torch.Tensor:
            signal = SCHEDULE.alpha_bar[round(float(time[0]) * 1000)]
            a, b = math.sqrt(signal), math.sqrt(1 - signal)
            epsilon = denoiser(x, time)
            sample = (x - b * epsilon) / a
            return {"noise": epsilon, "sample": sample, "velocity": a * epsilon - b * sample}[prediction]

        return network

    options: dict = {"steps": 8, "dtype": torch.float64}
    expected = DDIM(told("noise"), SCHEDULE, (2,), eta=0.5, **options)
    expected.noise = composed(two_spots(), sampler="reverse", eta=0.5, steps=8).noise
    noise = drawn(expected, 6)
    for prediction in ("noise", "sample", "velocity"):
        model = Compose(
            [told(prediction)], SCHEDULE, (2,), sampler="reverse", eta=0.5, prediction=prediction, **options
        )
        assert torch.allclose(model(noise), expected(noise), atol=1e-4)
    made = Compose([denoiser], SCHEDULE, (2,), sampler="reverse", eta=0.5, **options)
    assert made.noise == expected.noise
    assert torch.allclose(made(noise), expected(noise), atol=1e-6)
    # Heun evaluates the denoiser between training steps.
    x = Heun(denoiser, SCHEDULE, (2,), steps=20)(drawn(Heun(denoiser, SCHEDULE, (2,)), 2000)).numpy()
    assert abs(z_score(x[:, 0], two_spots().moments()[0])) < Z_LIMIT


def test_differences_along_a_segment_are_exact_for_normal_laws() -> None:
    narrow = Isotropic.of([1.0], [[0.5, -0.5]], 0.3)
    exact, path = composed(narrow, wide(), steps=4), composed(narrow, wide(), steps=4, energy="path")
    noise = drawn(exact, 20)
    assert torch.allclose(exact(noise), path(noise), atol=1e-9)
    assert (exact.network_evaluations, path.network_evaluations) == (4 * 7 * 2, 4 * (1 + 6 * 3) * 2)


def test_compositions_keep_the_laws_of_generators() -> None:
    for sampler in ("mala", "hmc", "ula", "reverse"):
        model = composed(ring(), two_spots(), sampler=sampler, steps=3, n_moves=2, with_acceptance=True)
        check_generator(model, n=4, seed=SEED).require()
    digits = models.load("digits-energy")
    parts, options = [digits.denoiser] * 2, {"steps": 3, "n_moves": 2, "decode": digits.decode}
    model = Compose(parts, digits.schedule, digits.shape, **options)
    check_generator(model, condition=(3, 8), n=4, seed=SEED).require()


def test_one_accept_step_for_the_whole_batch_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    from mcgen.adapters.composed import levels

    rise = levels.Level.rise
    monkeypatch.setattr(levels.Level, "rise", lambda *points: rise(*points).sum().expand(len(points[1].x)))
    assert not check_generator(composed(ring(), two_spots(), steps=3), n=4, seed=SEED).passed


def test_blocks_acceptances_and_states() -> None:
    model = composed(ring(), two_spots(), steps=3, n_moves=2, with_acceptance=True)
    names = ["start", "move 0.0", "accept 0.0", "move 0.1", "accept 0.1", "move 1.0"]
    assert [name for name, _ in model.noise.blocks][:6] == names
    assert model.noise.dimension == 2 + 3 * 2 * 3
    noise = drawn(model, 40)
    x, rate = model(noise)
    assert set((rate * 6).round().int().tolist()) <= {*range(7)}
    path = model.trajectory(noise)
    assert path.shape == (40, 4, 2)
    assert torch.equal(path[:, -1], x)
    assert torch.allclose(path[:, 0] * math.sqrt(2), torch.from_numpy(noise["start"]))
    assert len(model.signal_shares) == 4
    always = dict(noise) | {name: np.zeros(40) for name in noise if name.startswith("accept")}
    assert model(always)[1].min() == 1
    iid = composed(ring(), two_spots(), steps=3, n_moves=1, accept_iid=True)
    assert [block.iid for _, block in iid.noise.blocks] == [False] + 3 * [False, True]
    assert model.with_steps(2).noise.dimension == 2 + 2 * 2 * 3
    with pytest.raises(TypeError, match=r"has no coarse version on its own noise; use with_steps\(2\)"):
        model.coarse(2)


def test_conditions_go_to_their_parts() -> None:
    def shifted(x: torch.Tensor, time: torch.Tensor, mean: float) -> torch.Tensor:
        return -((x - mean) ** 2).sum(1) / 2

    model = Compose([Energy(shifted)] * 2, SCHEDULE, (1,), steps=4, n_moves=20, dtype=torch.float64, width=1.0)
    noise = drawn(model, 500)
    apart, same = model(noise, (0.0, 4.0)), model(noise, 2.0)
    assert abs(float(apart.mean()) - 2) < 0.3
    assert abs(float(same.mean()) - 2) < 0.3
    with pytest.raises(ValueError, match="must have one entry for each of the 2 parts; got \\(1, 2, 3\\)"):
        model(noise, (1, 2, 3))


def test_gradients_pass_through_the_chain() -> None:
    model = composed(two_spots(), wide(), sampler="ula", steps=2, n_moves=1)
    noise = drawn(model, 2)
    slope = model.gradient(noise, lambda x: x[:, 0])["move 0.0"][0, 1]
    # A step far above the rounding of a predicted sample at the first level, which is 1e-11.
    ends = []
    for step in (1e-3, -1e-3):
        moved = {name: block.copy() for name, block in noise.items()}
        moved["move 0.0"][0, 1] += step
        ends.append(float(model(moved)[0, 0]))
    assert slope == pytest.approx((ends[0] - ends[1]) / 2e-3, rel=1e-3, abs=1e-6)


def network(x: torch.Tensor, time: torch.Tensor, condition: object) -> torch.Tensor:
    return x


@pytest.mark.parametrize(
    ("parts", "options", "error", "message"),
    [
        ([network], {}, ValueError, r"sampler='mala' compares .* and part 1 \(network\) is a denoiser"),
        ([network], {"sampler": "hmc"}, ValueError, "take 'ula' or 'uhmc', or estimate by energy='path'"),
        (
            [energy(wide()), network],
            {"operator": "mixture", "sampler": "ula"},
            ValueError,
            r"this operator weighs the parts by their densities, and part 2 \(network\)",
        ),
        ([], {}, ValueError, "needs at least one part; got none"),
        (["x"], {"sampler": "ula"}, TypeError, "part 1 must be callable"),
        ([network], {"sampler": "nuts"}, ValueError, "sampler must be one of .* got 'nuts'"),
        ([network], {"sampler": "ula", "energy": "path"}, ValueError, "which sampler='ula' does not have"),
        ([network], {"energy": "none"}, ValueError, "energy must be one of"),
        ([network], {"prediction": "score"}, ValueError, "prediction must be one of"),
        ([network], {"operator": "sum"}, ValueError, "operator must be one of .*, or a function"),
        ([network] * 2, {"operator": "negation"}, ValueError, "negation takes three parts.* got 2"),
        ([network] * 2, {"weights": (1,)}, ValueError, "weights must be 2 numbers, one for each part"),
        ([network] * 2, {"weights": (1, -1)}, ValueError, "the weights must add up to more than 0"),
        ([network] * 2, {"operator": "mixture", "weights": (1, 0)}, ValueError, "of a mixture must be positive"),
        ([network], {"operator": torch.sum, "weights": (1,)}, TypeError, "that is a function takes no weights"),
        ([energy(wide())], {"n_moves": 0}, ValueError, "n_moves must be at least 1; got 0"),
        ([energy(wide())], {"leapfrog": 0}, ValueError, "leapfrog must be at least 1; got 0"),
        ([energy(wide())], {"step_size": 0.0}, ValueError, "step_size must be above 0; got 0.0"),
        ([energy(wide())], {"width": -1.0}, ValueError, "width must be at least 0; got -1.0"),
        ([energy(wide())], {"damping": 1.0}, ValueError, r"damping must lie in \[0, 1\)"),
        ([energy(wide())], {"eta": 2.0}, ValueError, "eta must lie between 0"),
        ([energy(wide())], {"steps": 1}, ValueError, "steps must be between 2 and the schedule's 1000; got 1"),
        ([energy(wide())], {"accept_iid": 1}, TypeError, "accept_iid must be True or False; got 1"),
        ([energy(wide())], {"with_acceptance": "yes"}, TypeError, "with_acceptance must be True or False"),
        ([energy(wide())], {"dtype": torch.bfloat16}, ValueError, "need log densities in float32 or better"),
    ],
)
def test_arguments_that_are_refused(parts: list, options: dict, error: type, message: str) -> None:
    with pytest.raises(error, match=message):
        Compose(parts, SCHEDULE, (2,), **options)


def test_calls_that_are_refused() -> None:
    noise = drawn(composed(wide(), steps=2, n_moves=1), 3)
    options = {"steps": 2, "n_moves": 1, "dtype": torch.float64}
    for function, message in (
        (lambda x, t, c: x, r"must return one log density for each state, shape \(3,\); got \(3, 2\)"),
        (lambda x, t, c: x.detach().sum(1), "carries no gradient: it is constant"),
        (lambda x, t, c: -(x**2).sum(1) / 0.0, "is not finite at level 0"),
    ):
        with pytest.raises(ValueError, match=message):
            Compose([Energy(function)], SCHEDULE, (2,), **options)(noise)
    with pytest.raises(ValueError, match=r"operator must map log densities \(1, 1\), a row for each part"):
        composed(wide(), operator=lambda logs: logs)
    for constant in (lambda logs: logs.detach().sum(0), lambda logs: torch.zeros(logs.shape[1])):
        with pytest.raises(ValueError, match="what it returned carries no gradient"):
            composed(wide(), operator=constant)
    short = Compose([lambda x, t, c: x[:, :1]], SCHEDULE, (2,), sampler="ula", **options)
    with pytest.raises(ValueError, match="part 1 of .* must return a tensor of the shape of its states"):
        short(drawn(short, 3))
    with pytest.raises(TypeError, match="an energy is made from a function"):
        Energy(3.0)
    steep = Compose([lambda x, t, c: 1e200 * x**3], SCHEDULE, (2,), sampler="ula", **options)
    with pytest.raises(
        ValueError, match="a state of .* or its score is not finite at level 0.*give a smaller step_size"
    ):
        steep(drawn(steep, 3))


def test_the_shipped_energy_has_its_gradient_as_its_prediction() -> None:
    model = models.load("digits-energy", steps=5)
    x = torch.from_numpy(np.random.default_rng(SEED).standard_normal((2, 1, 8, 8), dtype=np.float32))
    wide_energy = model.denoiser.energy.double()
    time = torch.full((2,), 0.3, dtype=torch.float64)
    step = torch.zeros(2, 1, 8, 8, dtype=torch.float64)
    step[:, 0, 3, 4] = 1e-5
    rise = wide_energy(x + step, time, 3) - wide_energy(x - step, time, 3)
    noise = -math.sqrt(1 - model.schedule.alpha_bar[300]) * rise / 2e-5
    assert torch.allclose(model.denoiser(x.double(), time, 3)[:, 0, 3, 4], noise, rtol=1e-4)


def test_a_sampler_stands_for_its_denoiser() -> None:
    model = models.load("digits-diffusion", steps=5)
    options = {"sampler": "ula", "steps": 2, "n_moves": 1, "prediction": "velocity"}
    by_sampler, by_denoiser = (
        Compose([part] * 2, model.schedule, model.shape, **options) for part in (model, model.denoiser)
    )
    noise = drawn(by_sampler, 3)
    assert torch.equal(by_sampler(noise, (3, 8)), by_denoiser(noise, (3, 8)))
    for part, changed, error, message in (
        (model, {"prediction": "noise"}, ValueError, "Give prediction='velocity'"),
        (model.with_steps(3), {"schedule": SCHEDULE}, None, ""),
        (model, {"schedule": Schedule.cosine(500)}, ValueError, "the schedule of the model"),
        (models.load("mnist-vae"), {}, TypeError, "Give the denoiser itself"),
        (DDIM(model.denoiser, model.schedule, model.shape, clip=1.0), {}, TypeError, "it clips its predictions"),
    ):
        given = {"schedule": model.schedule, "shape": model.shape} | options | changed
        if error is None:
            Compose([part], **given)
            continue
        with pytest.raises(error, match=message):
            Compose([part], **given)


def test_a_denoiser_of_another_schedule_is_refused() -> None:
    other = Schedule.from_betas(np.linspace(1e-4, 0.02, 1000))
    denoiser = Energy(lambda x, t, c: -(x**2).sum(1) / 2).denoiser(other)
    assert DDIM(denoiser, other, (2,), steps=3).schedule == other
    for make in (DDIM, Heun, lambda part, *rest, steps: Compose([part], *rest, steps=steps)):
        with pytest.raises(ValueError, match="another schedule. Give the denoiser's own"):
            make(denoiser, SCHEDULE, (2,), steps=3)


def test_shapes_and_types_that_are_refused() -> None:
    with pytest.raises(ValueError, match=r"For states of one number write \(1,\)"):
        Compose([energy(wide())], SCHEDULE, ())
    for dtype in ("float64", torch.int32):
        with pytest.raises(TypeError, match="dtype must be a torch type of floats"):
            composed(wide(), dtype=dtype)


def test_log_densities_that_rounding_changes_are_refused() -> None:
    def energy_with(constant: float) -> Energy:
        return Energy(lambda x, t, c: constant - (x**2).sum(1) / 2)

    options = {"steps": 2, "n_moves": 1}
    single = Compose([energy_with(1e8)], SCHEDULE, (2,), **options)
    with pytest.raises(ValueError, match="log densities of .* reach 1e\\+08.*give dtype=torch.float64"):
        single(drawn(single, 3))
    for constant, dtype in ((1e4, torch.float32), (1e8, torch.float64)):
        fine = Compose([energy_with(constant)], SCHEDULE, (2,), dtype=dtype, **options)
        assert fine(drawn(fine, 3)).isfinite().all()
