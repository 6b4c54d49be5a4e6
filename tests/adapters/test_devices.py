"""Generators on devices: what moves, what is refused, and what stays the same."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

torch = pytest.importorskip("torch")

import mcgen  # noqa: E402
from mcgen._lib.fingerprints import fingerprint_of  # noqa: E402
from mcgen.adapters import (  # noqa: E402
    DDIM,
    DDS,
    DPS,
    VAE,
    Chain,
    Edit,
    FeatureNetwork,
    Flow,
    FlowEdit,
    Heun,
    Inpainting,
    Partial,
    Schedule,
    Start,
    Truncate,
    capture,
    features,
    from_torch,
    models,
)
from mcgen.adapters.samplers.guidance import Guided  # noqa: E402
from mcgen.statistics import pixel_mean  # noqa: E402


class Denoiser(torch.nn.Module):
    """A network without a look at values, which tensors of the device "meta" don't have."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = torch.nn.Parameter(torch.tensor(0.5))

    def forward(self, x: Any, time: Any, condition: Any = None) -> Any:
        return self.scale * x


SCHEDULE = Schedule.cosine(50)


def ddim(**options: Any) -> DDIM:
    return DDIM(Denoiser().eval(), SCHEDULE, (1, 4, 4), steps=5, **options)


MAKERS: dict[str, Callable[[], Any]] = {
    "module": lambda: from_torch(torch.nn.Linear(4, 4).eval(), (4,)),
    "DDIM": ddim,
    "DDPM": lambda: ddim(eta=1.0),
    "Heun": lambda: Heun(Denoiser().eval(), SCHEDULE, (1, 4, 4), steps=5),
    "guided": lambda: DDIM(Guided(Denoiser().eval(), guidance_scale=2.0), SCHEDULE, (1, 4, 4), steps=5),
    "Flow": lambda: Flow(Denoiser().eval(), (4,), steps=3),
    "VAE": lambda: VAE(torch.nn.Linear(4, 6).eval(), (4,)),
    "coarse": lambda: ddim().coarse(2),
    "DPS": lambda: DPS(ddim(), Inpainting((1, 4, 4), np.ones((4, 4), bool))),
    "DDS": lambda: DDS(ddim(), Inpainting((1, 4, 4), np.ones((4, 4), bool))),
    "Partial": lambda: Partial(ddim(), 2),
    "Chain": lambda: Chain(from_torch(torch.nn.Linear(4, 4).eval(), (4,)), from_torch(Both().eval(), (4,))),
    "Truncate": lambda: Truncate(VAE(Image().eval(), (4,)), ddim(), 2),
    "FlowEdit": lambda: FlowEdit(Denoiser().eval(), (4,), steps=3),
    "Fitted": lambda: ddim().fitted(3, pairs=4, seed=0),
}
# What the others are given as their condition.
CONDITIONS: dict[str, Any] = {
    "DPS": np.zeros(16, np.float32),
    "DDS": np.zeros(16, np.float32),
    "Partial": Start(np.zeros((1, 4, 4), np.float32)),
    "FlowEdit": Edit(np.zeros(4, np.float32), 0, 1),
    "guided": 1,
}


class Times(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.factor = torch.nn.Parameter(torch.ones(4))

    def forward(self, x: Any) -> Any:
        return self.factor * x


class Both(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 4)

    def forward(self, z: Any, condition: Any) -> Any:
        return self.layer(z) + condition


class Image(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.layer = torch.nn.Linear(4, 16)

    def forward(self, z: Any) -> Any:
        return self.layer(z).reshape(-1, 1, 4, 4)


def noise_of(model: Any) -> Any:
    rng = np.random.default_rng(0)
    blocks = {name: rng.standard_normal((2, *block.shape), np.float32) for name, block in model.noise.blocks}
    return blocks if len(blocks) > 1 else next(iter(blocks.values()))


@pytest.mark.parametrize("name", MAKERS)
def test_all_networks_of_a_generator_move_with_it(name: str) -> None:
    model = MAKERS[name]()
    before = fingerprint_of(model)
    assert model.to("cpu") is model
    assert model.device == torch.device("cpu")
    # The device is no part of what a store recognizes a generator by.
    assert fingerprint_of(model) == before
    assert model.to("meta") is model
    assert model.device.type == "meta"
    assert {p.device.type for module in model.modules for p in module.parameters()} == {"meta"}
    assert model.modules
    samples = model(noise_of(model), CONDITIONS.get(name))
    assert samples.device.type == "meta"
    assert len(samples) == 2


def test_networks_on_the_same_device_give_the_same_samples() -> None:
    for name, make in MAKERS.items():
        model, condition = make(), CONDITIONS.get(name)
        z = noise_of(model)
        assert torch.equal(model(z, condition), model.to("cpu")(z, condition))


def test_samples_of_a_pilot_follow_their_sampler_to_a_device() -> None:
    fitted = ddim(decode=Times().eval()).fitted(3, pairs=4, seed=0)
    fine, own = fitted.to("meta").pilot_samples()
    assert fine.device.type == own.device.type == "meta"


def test_generators_on_shared_networks_move_by_themselves() -> None:
    fine = ddim()
    coarse = fine.coarse(2)
    fine.to("meta")
    assert coarse.device.type == "cpu"
    assert coarse.to("meta")(noise_of(coarse)).device.type == "meta"


@pytest.mark.parametrize("device", ["cuda:7", "gpu", 3.5, "mps" if not torch.backends.mps.is_available() else "xpu:9"])
def test_a_device_that_is_not_here_is_refused(device: Any) -> None:
    model = ddim()
    for move in (
        model.to,
        lambda device: models.load("moons-flow", device=device),
        lambda device: features("digits-classifier", device=device),
        lambda device: from_torch(torch.nn.Linear(2, 3).eval(), (2,), device=device),
        lambda device: ddim(device=device),
    ):
        with pytest.raises(
            ValueError, match=r"device must be one that this torch can use, .*; got .* Use device='cpu'"
        ):
            move(device)
    assert model.device == torch.device("cpu")
    assert model(noise_of(model)).device == torch.device("cpu")


def test_double_precision_does_not_move_to_a_device_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from mcgen.adapters.tensors import torch_generator

    monkeypatch.setattr(torch_generator, "checked_device", torch.device)
    model = from_torch(lambda z: z, mcgen.NoiseSpec.normal((4,), "float64"))
    with pytest.raises(ValueError, match="noise in float64 can't go to mps, which has no double precision"):
        model.to("mps")


def test_what_does_not_move_says_why() -> None:
    captured = capture(lambda n, condition: torch.randn(n, 3))
    with pytest.raises(
        TypeError, match=r"a captured sampler runs on the device that its own code names; got .to\('cpu'"
    ):
        captured.to("cpu")
    with pytest.raises(TypeError, match="a captured sampler runs on the device"):
        Chain(captured, from_torch(torch.nn.Linear(3, 3).eval(), (3,))).to("cpu")


def test_shipped_models_are_the_same_on_a_named_device() -> None:
    named, plain = models.load("digits-diffusion", steps=2, device="cpu"), models.load("digits-diffusion", steps=2)
    assert fingerprint_of(named) == fingerprint_of(plain)
    options: dict[str, Any] = {"design": mcgen.Antithetic(), "n_evaluations": 64, "seed": 0}
    assert mcgen.estimate(named, pixel_mean, **options).mean == mcgen.estimate(plain, pixel_mean, **options).mean


@pytest.mark.parametrize("name", models.list())
def test_every_shipped_model_moves_as_a_whole(name: str) -> None:
    if name == "mnist-glow":
        pytest.importorskip("normflows")
    model = models.load(name).to("meta")
    held = [*model.modules, *(value for value in vars(model).values() if isinstance(value, torch.nn.Module))]
    tensors = [tensor for module in held for tensor in (*module.parameters(), *module.buffers())]
    assert tensors
    assert {tensor.device.type for tensor in tensors} == {"meta"}


def test_feature_networks_move() -> None:
    network = features("digits-classifier", device="cpu")
    assert isinstance(network, FeatureNetwork)
    assert network.to("meta") is network
    assert {p.device.type for p in network.network.parameters()} == {"meta"}
