"""Flows in time against closed forms, normalizing flows of zuko, and edits by a flow."""

from __future__ import annotations

import math

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT, z_score

torch = pytest.importorskip("torch")

from half_precision import HalfNetwork  # noqa: E402

import mcgen  # noqa: E402
from mcgen import Antithetic, MonteCarlo, Sobol  # noqa: E402
from mcgen.adapters.composed.editing import Edit, FlowEdit  # noqa: E402
from mcgen.adapters.samplers.flow import Flow, from_zuko  # noqa: E402
from mcgen.validation.conformance import check_generator  # noqa: E402

# Whether few replicates look skewed is chance, and another seed may bring the warning.
# Pairs under an affine map are equal but for rounding, which is warned of.
pytestmark = [
    pytest.mark.filterwarnings("ignore:.*the replicate means", "ignore:all .* replicate means"),
    pytest.mark.usefixtures("one_torch_thread"),
]

MEAN, SD = 0.7, 0.5


def gaussian_velocity(x: torch.Tensor, time: torch.Tensor, condition: float | None = None) -> torch.Tensor:
    """E[x_1 - z | x_t] for data N(mean, SD^2), whose flow is z -> mean + SD z."""
    t, mean = time[:, None], MEAN if condition is None else condition
    variance = (t * SD) ** 2 + (1 - t) ** 2
    return mean + (t * SD**2 - (1 - t)) / variance * (x - t * mean)


def gaussian_flow(steps: int, method: str) -> Flow:
    flow = Flow(gaussian_velocity, (1,), steps=steps, method=method)
    flow.dtype = torch.float64
    return flow


@pytest.mark.parametrize(("method", "order"), [("euler", 1), ("midpoint", 2), ("heun", 2), ("rk4", 4)])
def test_steps_have_the_order_of_their_method(method: str, order: int) -> None:
    """For dx/dt = x + t, which leads from 1 to 2 e - 2."""
    errors = []
    for steps in (40, 80):
        flow = Flow(lambda x, time, c: x + time[:, None], (1,), steps=steps, method=method)
        flow.dtype = torch.float64
        errors.append(abs(float(flow(np.ones((1, 1)))) - (2 * math.e - 2)))
    assert math.log2(errors[0] / errors[1]) == pytest.approx(order, abs=0.25)


def test_flow_has_the_datas_law_and_pairs_are_exact() -> None:
    """A flow between Gaussians is affine; a field that forgets a factor is not the data's and must be told apart."""
    noise = MonteCarlo().draw((1,), 20_000, SEED)[:, 0]
    x = gaussian_flow(20, "rk4")(noise).numpy()[:, 0]
    assert abs(z_score(x, MEAN)) < Z_LIMIT
    assert abs(z_score((x - MEAN) ** 2, SD**2)) < Z_LIMIT
    wrong = Flow(lambda x, time, c: 1.1 * gaussian_velocity(x, time), (1,), steps=20)
    assert abs(z_score((wrong(noise).numpy()[:, 0] - MEAN) ** 2, SD**2)) > Z_LIMIT
    result = mcgen.estimate(
        gaussian_flow(20, "rk4"), lambda s: s[:, 0], design=Antithetic(), n_evaluations=64, seed=SEED
    )
    assert result.half_width < 1e-6
    assert result.mean == pytest.approx(MEAN, abs=1e-4)


def test_flow_conditions_trajectories_times_and_coarse() -> None:
    flow = gaussian_flow(10, "midpoint")
    z = np.linspace(-2, 2, 5)[:, None]
    path = flow.trajectory(z)
    assert path.shape == (5, 11, 1)
    assert np.array_equal(path[:, 0], z)
    assert torch.equal(path[:, -1], flow(z))
    assert torch.allclose(flow(z, 3.0), flow(z) + 3.0 - MEAN)
    assert flow.coarse(4).steps == 4
    assert flow.coarse(4).method == "midpoint"
    given = Flow(gaussian_velocity, (1,), steps=[0, 0.2, 1], method="euler")
    assert given.times.tolist() == [0, 0.2, 1]
    doubled = Flow(gaussian_velocity, (1,), steps=2, decode=lambda x: 2 * x)
    single = Flow(gaussian_velocity, (1,), steps=2)
    assert torch.equal(doubled(z), 2 * single(z))
    assert torch.equal(doubled.coarse(1)(z), 2 * single.coarse(1)(z))


def test_flow_refuses() -> None:
    with pytest.raises(
        ValueError, match="got 'dopri5'. An adaptive method chooses its steps by an error over the whole"
    ):
        Flow(gaussian_velocity, (1,), method="dopri5")
    with pytest.raises(ValueError, match="a flow takes at least 1 step; got 0"):
        Flow(gaussian_velocity, (1,), steps=0)
    with pytest.raises(ValueError, match="must increase from 0, the noise, to 1, the sample"):
        Flow(gaussian_velocity, (1,), steps=[0, 0.5, 0.4, 1])
    with pytest.raises(ValueError, match="between 1 and the model's own 10 steps; got 11"):
        gaussian_flow(10, "rk4").coarse(11)
    layer = torch.nn.BatchNorm1d(4)
    with pytest.raises(ValueError, match="BatchNorm1d is in training mode"):
        Flow(lambda x, time, c: layer(x), (4,), modules=[layer])


def test_networks_of_torchcfm() -> None:
    """They are called v(t, x) or, the plain MLP, on x and t in one vector."""
    torchcfm = pytest.importorskip("torchcfm.models.models")
    torch.manual_seed(0)
    mlp = torchcfm.MLP(dim=2, time_varying=True, w=16).eval()
    flow = Flow(
        lambda x, t, c: mlp(torch.cat([x, t[:, None]], dim=1)), (2,), steps=8, method="euler", modules=[mlp], name="mlp"
    )
    z = np.random.default_rng(SEED).standard_normal((6, 2), dtype=np.float32)
    x = torch.from_numpy(z)
    with torch.no_grad():
        for i in range(8):
            x = x + mlp(torch.cat([x, torch.full((6, 1), i / 8)], dim=1)) / 8
    assert torch.allclose(flow(z), x, atol=1e-6)
    assert torch.allclose(flow(z)[:2], flow(z[:2]), atol=1e-6)
    assert all(p.requires_grad for p in mlp.parameters())
    assert not flow(z).requires_grad
    slope = flow.gradient(z, lambda s: s[:, 0])
    bump = (flow(z + np.float32([0.01, 0])) - flow(z - np.float32([0.01, 0])))[:, 0].numpy() / 0.02
    assert np.allclose(slope[:, 0], bump, atol=0.01)


def test_image_networks_of_torchcfm_take_time_first() -> None:
    unet = pytest.importorskip("torchcfm.models.unet")
    torch.manual_seed(0)
    network = unet.UNetModel(
        dim=(1, 8, 8), num_res_blocks=1, num_channels=32, channel_mult=(1, 2), num_classes=10, class_cond=True
    ).eval()
    # Its residual branches start at zero, which would hide time and class.
    for parameter in (p for p in network.parameters() if not p.any()):
        torch.nn.init.normal_(parameter, std=0.1)
    flow = Flow(
        lambda x, t, c: network(t, x, torch.full((len(x),), c)), (1, 8, 8), steps=2, modules=[network], name="unet"
    )
    z = np.random.default_rng(SEED).standard_normal((4, 1, 8, 8), dtype=np.float32)
    assert torch.allclose(flow(z, 3)[:2], flow(z[:2], 3), atol=1e-5)
    assert not torch.allclose(flow(z, 3), flow(z, 4), atol=1e-4)


def zuko_flow(kind: str, **options: object):
    zuko = pytest.importorskip("zuko")
    torch.manual_seed(0)
    return getattr(zuko.flows, kind)(3, transforms=2, hidden_features=(16,), **options).eval()


@pytest.mark.parametrize("kind", ["MAF", "NSF", "NICE"])
def test_zuko_flows_invert_their_transform(kind: str) -> None:
    flow = zuko_flow(kind, context=2)
    generator = from_zuko(flow)
    z = np.random.default_rng(SEED).standard_normal((16, 3), dtype=np.float32)
    c = np.float32([0.5, -1.0])
    x = generator(z, c)
    assert x.shape == (16, 3)
    assert torch.allclose(flow.transform(torch.from_numpy(c))(x), torch.from_numpy(z), atol=1e-4)
    assert torch.allclose(generator(z[5:7], c), x[5:7], atol=1e-5)
    assert not torch.allclose(generator(z, -c), x, atol=1e-3)
    assert torch.equal(from_zuko(flow, context=lambda sign: sign * torch.from_numpy(c))(z, 1.0), x)


def test_zuko_base_is_standardized() -> None:
    """A learnt base, mean 2 and scale 3: samples have the flow's law; without the scale they haven't."""
    zuko = pytest.importorskip("zuko")
    base = zuko.lazy.UnconditionalDistribution(
        zuko.distributions.DiagNormal, loc=torch.full((3,), 2.0), scale=torch.full((3,), 3.0)
    )
    flow = zuko_flow("MAF")
    generator = from_zuko(zuko.lazy.Flow(flow.transform, base).eval())
    noise = MonteCarlo().draw(generator.noise, 20_000, SEED)[:, 0]
    with torch.no_grad():
        back = flow.transform()(generator(noise)).numpy().mean(axis=1)
        wrong = flow.transform()(from_zuko(flow)(noise)).numpy().mean(axis=1)
    assert abs(z_score(back, 2.0)) < Z_LIMIT
    assert abs(z_score((back - 2) ** 2, 3.0)) < Z_LIMIT
    assert abs(z_score(wrong, 2.0)) > Z_LIMIT


def test_zuko_refuses_adaptive_steps_and_other_bases() -> None:
    zuko = pytest.importorskip("zuko")
    with pytest.raises(ValueError, match="CNF is integrated by adaptive steps, .*give its field to Flow"):
        from_zuko(zuko.flows.CNF(2).eval())
    with pytest.raises(ValueError, match="the base of NCSF is BoxUniform; only normal bases"):
        from_zuko(zuko.flows.NCSF(2).eval())
    with pytest.raises(TypeError, match="from_zuko takes a flow of zuko, with a transform and a base; got Linear"):
        from_zuko(torch.nn.Linear(2, 2))
    with pytest.raises(ValueError, match="MAF is in training mode"):
        from_zuko(zuko.flows.MAF(2))


def test_continuous_flow_of_zuko_in_fixed_steps() -> None:
    """As the message of the refusal says; adaptive steps couple the batch, fixed ones don't."""
    zuko = pytest.importorskip("zuko")
    torch.manual_seed(0)
    cnf = zuko.flows.CNF(2, hidden_features=(16,)).eval()
    flow = Flow(lambda x, t, c: -cnf.transform.f(1 - t, x, c), (2,), steps=30, method="rk4", modules=[cnf])
    z = np.random.default_rng(SEED).standard_normal((32, 2), dtype=np.float32)
    with torch.no_grad():
        adaptive = cnf.transform().inv(torch.from_numpy(z))
    assert torch.allclose(flow(z), adaptive, atol=1e-3)
    assert torch.allclose(flow(z)[:3], flow(z[:3]), atol=1e-6)


CENTRES = {"source": torch.tensor([[-2.0, 0.0], [-1.0, 1.5]]), "target": torch.tensor([[2.0, 0.5], [1.0, -2.0]])}


def mixture_velocity(x: torch.Tensor, time: torch.Tensor, condition: str) -> torch.Tensor:
    """E[x_1 - z | x_t] for an even mixture of N(m, SD^2 I), in closed form."""
    t = time[:, None, None]
    variance = (t * SD) ** 2 + (1 - t) ** 2
    away = x[:, None] - t * CENTRES[condition]
    share = torch.softmax(-(away**2).sum(-1, keepdim=True) / (2 * variance), dim=1)
    return (share * (CENTRES[condition] + (t * SD**2 - (1 - t)) / variance * away)).sum(dim=1)


EDIT = Edit(np.float32([-1.8, 0.3]), "source", "target")


def edits(n: int, seed: int, **options: object) -> np.ndarray:
    editor = FlowEdit(mixture_velocity, (2,), steps=12, skip=2, **options)
    noise = MonteCarlo().draw(editor.noise, n, seed)
    return editor({name: block[:, 0] for name, block in noise.items()}, EDIT).numpy()


def test_pairs_inside_an_edit_make_it_vary_less() -> None:
    """At the same number of evaluations; two runs of independent noises must not be told apart."""
    squares = []
    for pairs, seed in ((True, SEED), (False, SEED + 1), (False, SEED + 2)):
        x = edits(4000, seed, n_average=2, pairs=pairs)
        squares.append(((x - x.mean(axis=0)) ** 2).sum(axis=1))

    def distance(a: np.ndarray, b: np.ndarray) -> float:
        return float((a.mean() - b.mean()) / math.sqrt(a.var() / len(a) + b.var() / len(b)))

    assert distance(squares[0], squares[1]) < -Z_LIMIT
    assert abs(distance(squares[1], squares[2])) < Z_LIMIT


def test_an_edit_leads_to_the_target_and_back_to_nothing() -> None:
    x = edits(500, SEED, n_average=4)
    assert ((x[:, None] - CENTRES["target"].numpy()) ** 2).sum(-1).min(axis=1).mean() < 1
    editor = FlowEdit(mixture_velocity, (2,), steps=5)
    noise = {name: block[:, 0] for name, block in MonteCarlo().draw(editor.noise, 4, SEED).items()}
    same = editor(noise, Edit(EDIT.source, "source", "source"))
    assert torch.allclose(same, torch.from_numpy(EDIT.source).expand(4, 2), atol=1e-6)
    rows = np.stack([EDIT.source + np.float32(i) for i in range(4)])
    each = editor(noise, EDIT._replace(source=rows))
    third = editor({name: block[2:3] for name, block in noise.items()}, EDIT._replace(source=rows[2]))
    assert torch.allclose(each[2:3], third, atol=1e-6)


def test_an_edit_is_the_algorithm() -> None:
    """One step by hand, with the source's velocity weaker."""

    def weaker(x: torch.Tensor, time: torch.Tensor, condition: str) -> torch.Tensor:
        return 0.5 * mixture_velocity(x, time, condition)

    editor = FlowEdit(
        mixture_velocity, (2,), steps=[0, 0.4, 1], skip=1, n_average=2, pairs=False, source_velocity=weaker
    )
    assert str(editor.noise) == "normal(2x2) float32"
    z = np.random.default_rng(SEED).standard_normal((3, 2, 2), dtype=np.float32)
    source, time = torch.from_numpy(EDIT.source).expand(3, 2), torch.full((3,), 0.4)
    x = source
    for k in range(2):
        y = 0.4 * source + 0.6 * torch.from_numpy(z[:, k])
        x = x + 0.6 / 2 * (mixture_velocity(y, time, "target") - weaker(y, time, "source"))
    assert torch.allclose(editor(z, EDIT), x, atol=1e-6)


def test_negation_around_pairs_changes_nothing() -> None:
    """So that antithetic noise around pairs would repeat each edit; nets still work, and the edit names the condition."""
    editor = FlowEdit(mixture_velocity, (2,), steps=6, skip=1)
    noise = {name: block[:, 0] for name, block in MonteCarlo().draw(editor.noise, 8, SEED).items()}
    negated = editor({name: -block for name, block in noise.items()}, EDIT)
    assert torch.allclose(editor(noise, EDIT), negated, atol=1e-5)
    result = mcgen.estimate(editor, lambda s: s[:, 0], design=Sobol(16), n_evaluations=640, seed=SEED, condition=EDIT)
    assert result.provenance.condition.startswith("Edit(source=array(")


def test_edits_refuse() -> None:
    with pytest.raises(
        ValueError, match="n_average must be even, for pairs of noise; got 3. For another number give pairs=False"
    ):
        FlowEdit(mixture_velocity, (2,), n_average=3)
    with pytest.raises(ValueError, match="skip must leave at least one of the 5 steps; got 5"):
        FlowEdit(mixture_velocity, (2,), steps=5, skip=5)
    editor = FlowEdit(mixture_velocity, (2,), steps=1)
    z = np.zeros((3, 1, 2), np.float32)
    with pytest.raises(
        TypeError, match=r"takes as condition an Edit\(source, source_condition, target_condition\); got"
    ):
        editor(z, "target")
    with pytest.raises(ValueError, match=r"has shape \(1, 2, 2\); 1 axes are needed for one sample"):
        editor(z, EDIT._replace(source=np.zeros((1, 2, 2))))
    with pytest.raises(ValueError, match=r"has shape \(3,\) where the model's states have \(2,\)"):
        editor(z, EDIT._replace(source=np.zeros(3)))


def test_states_of_flows_are_kept_in_single_precision() -> None:
    """The mean and the standard deviation of a network in half precision are the data's; a state in it biases both."""
    z = np.random.default_rng(SEED).standard_normal((2000, 1), dtype=np.float32)
    expected = MEAN + SD * z[:, 0]
    flow = Flow(HalfNetwork(gaussian_velocity).eval(), (1,), steps=200)
    assert (flow.dtype, flow.network_dtype) == (torch.float32, torch.bfloat16)
    x = flow(z).numpy()[:, 0]
    assert abs((x - expected).mean()) < 1e-3
    assert x.std() == pytest.approx(expected.std(), rel=0.005)
    flow.dtype = torch.bfloat16
    x = flow(z).numpy()[:, 0]
    assert abs((x - expected).mean()) > 0.02
    assert x.std() > 1.1 * expected.std()


def test_states_of_edits_are_kept_in_single_precision() -> None:
    """Steps of 1/400 of a small difference of velocities are lost beside a large state in half precision."""

    def drift(x: torch.Tensor, time: torch.Tensor, condition: float) -> torch.Tensor:
        return torch.full_like(x, condition)

    source, moved = np.float32([4.0, 8.0]), []
    for narrow in (False, True):
        editor = FlowEdit(HalfNetwork(drift).eval(), (2,), steps=400, decode=lambda x: x)
        assert (editor.dtype, editor.network_dtype) == (torch.float32, torch.bfloat16)
        editor.network_dtype = torch.float32
        editor.dtype = torch.bfloat16 if narrow else editor.dtype
        editor.velocity = editor.source_velocity = drift
        noise = {name: block[:, 0] for name, block in MonteCarlo().draw(editor.noise, 2, SEED).items()}
        moved.append(float((editor(noise, Edit(source, 0.0, 1.0)) - torch.from_numpy(source)).mean()))
    assert moved[0] == pytest.approx(1.0, abs=0.01)
    assert abs(moved[1] - 1.0) > 0.5


def test_velocities_that_would_broadcast_are_refused() -> None:
    z = np.ones((3, 4), np.float32)
    for wrong, found in (
        (lambda x, t, c: torch.tensor(1.0), r"\(\)"),
        (lambda x, t, c: x[:, 0], r"\(3,\)"),
        (lambda x, t, c: x.mean(0, keepdim=True), r"\(1, 4\)"),
        (lambda x, t, c: x.numpy(), "ndarray"),
    ):
        with pytest.raises(ValueError, match=rf"the velocity of 'f' must return .*, \(3, 4\); got {found}"):
            Flow(wrong, (4,), steps=2, name="f")(z)
        editor = FlowEdit(lambda x, t, c: x, (4,), steps=1, source_velocity=wrong, name="e")
        with pytest.raises(ValueError, match=rf"the source_velocity of 'e' must return .*; got {found}"):
            editor(z[:, None], Edit(z[0], None, None))


def test_flows_and_edits_obey_the_laws_of_a_generator() -> None:
    check_generator(Flow(gaussian_velocity, (3,), steps=5, method="heun"), seed=SEED).require()
    check_generator(FlowEdit(mixture_velocity, (2,), steps=5), condition=EDIT, seed=SEED).require()
    coupled = Flow(lambda x, t, c: x - x.mean(0, keepdim=True), (3,), steps=5)
    assert not check_generator(coupled, seed=SEED).passed


def test_functions_modules_device_and_name_of_flows() -> None:
    for wrong in ({"velocity": 3}, {"decode": "x"}):
        with pytest.raises(TypeError, match=f"{next(iter(wrong))} must be callable: a torch module, its method or a"):
            Flow(**({"velocity": gaussian_velocity, "shape": (1,)} | wrong))
        with pytest.raises(TypeError, match=f"{next(iter(wrong))} must be callable: a torch module, its method or a"):
            FlowEdit(**({"velocity": gaussian_velocity, "shape": (1,)} | wrong))
    layer = torch.nn.Linear(2, 2).eval()
    assert Flow(lambda x, t, c: layer(x), (2,), modules=layer).modules == (layer,)
    flow = Flow(gaussian_velocity, (1,), steps=8, device="meta", dtype=torch.float64, name="mine").coarse(4)
    assert (flow.device.type, flow.dtype, flow.name) == ("meta", torch.float64, "mine-4")
    assert FlowEdit(gaussian_velocity, (1,), device="meta", dtype=torch.float64).device.type == "meta"
    assert Flow(gaussian_velocity, (1,), steps=np.int64(3)).steps == 3


@pytest.mark.parametrize(
    ("make", "options", "message"),
    [
        (Flow, {"steps": "5"}, "steps must be an int; got '5' of type str"),
        (Flow, {"steps": True}, "steps must be an int; got True"),
        (Flow, {"steps": [0, math.nan, 1]}, "each time must be finite; got nan"),
        (FlowEdit, {"skip": "1"}, "skip must be an int; got '1'"),
        (FlowEdit, {"n_average": 2.0}, "n_average must be an int; got 2.0 of type float; write 2"),
    ],
)
def test_settings_of_flows_and_edits_are_numbers(make: type, options: dict, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        make(gaussian_velocity, (1,), **options)
