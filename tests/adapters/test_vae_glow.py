"""VAEs and multiscale flows: linear ones against their closed forms, normflows' own sampling, the shipped models."""

from __future__ import annotations

import copy
import sys

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT, binomial_p_value, z_score

torch = pytest.importorskip("torch")
normflows = pytest.importorskip("normflows")

import mcgen  # noqa: E402
from mcgen import Antithetic, MonteCarlo  # noqa: E402
from mcgen.adapters import models  # noqa: E402
from mcgen.adapters.decoders.glow import Glow  # noqa: E402
from mcgen.adapters.decoders.vae import VAE  # noqa: E402
from mcgen.adapters.models import loading  # noqa: E402
from mcgen.adapters.models._decoders import multiscale_glow  # noqa: E402
from mcgen.validation.conformance import check_generator  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*the replicate means"),
    pytest.mark.filterwarnings("ignore:torch.lu is deprecated"),
    pytest.mark.usefixtures("one_torch_thread"),
]


def drawn(generator, n: int) -> object:
    """Independent noise for n samples."""
    noise = MonteCarlo().draw(generator.noise, n, SEED)
    return noise[:, 0] if isinstance(noise, np.ndarray) else {name: block[:, 0] for name, block in noise.items()}


class LinearVAE(torch.nn.Module):
    """Decodes by a matrix; the encoder's mean and log variance are simple functions of the image."""

    def __init__(self) -> None:
        super().__init__()
        self.matrix = torch.nn.Linear(2, 3).double()

    def encode(self, x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        return x[:, :2] + 1, x[:, 1:] - 2

    def decode(self, z: torch.Tensor) -> torch.Tensor:
        return self.matrix(z)


def linear_vae() -> VAE:
    torch.manual_seed(SEED)
    network = LinearVAE().eval()
    return VAE(network.decode, (2,), encoder=network.encode, name="linear VAE")


def test_a_vae_decodes_its_noise_and_its_network_is_found() -> None:
    vae = linear_vae()
    z = drawn(vae, 5)
    network = vae.modules[0]
    assert isinstance(network, LinearVAE)
    assert len(vae.modules) == 1
    assert torch.equal(vae(z), network.decode(torch.from_numpy(z).double()))
    network.train()
    with pytest.raises(ValueError, match="LinearVAE is in training mode"):
        vae(z)


def test_a_decoder_may_take_a_condition() -> None:
    vae = VAE(lambda z, condition=0.0: z + condition, (2,))
    assert torch.equal(vae(np.zeros((3, 2), np.float32), 2.0), torch.full((3, 2), 2.0))


@pytest.mark.parametrize("broken", [False, True])
def test_reconstructions_have_the_law_of_the_encoder(broken: bool) -> None:
    """The control takes the log variance for a log standard deviation."""
    vae = linear_vae()
    if broken:
        encode = vae.encoder
        vae.encoder = lambda x: (encode(x)[0], 2 * encode(x)[1])
    image = np.array([0.5, -0.3, 0.8])
    generator = vae.reconstruction()
    assert generator.name == "linear VAE reconstruction"
    x = generator(drawn(generator, 20_000), image).numpy()[:, 0]
    weight, bias = (p.detach().numpy()[0] for p in vae.modules[0].matrix.parameters())
    mean = weight @ (image[:2] + 1) + bias
    variance = weight**2 @ np.exp(image[1:] - 2)
    assert abs(z_score(x, mean)) < Z_LIMIT
    assert (abs(z_score((x - mean) ** 2, variance)) < Z_LIMIT) is not broken
    if not broken:
        z = drawn(generator, 5)
        middle = (generator(z, image) + generator(-z, image)).numpy()[:, 0] / 2
        assert middle == pytest.approx(mean, abs=1e-12)  # affine in its noise: -eps is the right negation


def test_what_a_vae_refuses() -> None:
    vae = linear_vae()
    z = drawn(vae, 2)
    with pytest.raises(ValueError, match="'linear VAE' reconstructs an image: pass it as condition"):
        vae.reconstruction()(z)
    with pytest.raises(ValueError, match="has no encoder to reconstruct by; make the VAE with encoder="):
        VAE(torch.nn.Identity().eval(), (2,)).reconstruction()
    for encoded, found in [((torch.zeros(1, 2),), "1 things"), ([torch.zeros(1, 2)] * 3, "3 things"), (z, "ndarray")]:
        vae.encoder = lambda x, encoded=encoded: encoded
        with pytest.raises(TypeError, match=f"must return mean and log variance, two tensors; got {found}"):
            vae.reconstruction()(z, np.zeros(3))
    for image, found in [
        (np.zeros(3, np.uint8), "got uint8. Give floats on the scale .* image / 255"),
        (np.zeros(3, np.complex128), "real numbers; got complex128"),
        ("image.png", "condition must be an array of floats; got str"),
        ([0.0, 0.0, 0.0], "got list. A list is a list of conditions"),
    ]:
        with pytest.raises(TypeError, match=found):
            vae.reconstruction()(z, image)
    with pytest.raises(TypeError, match="a VAE takes a callable decoder, and a callable encoder or none; got .* 3"):
        VAE(torch.nn.Identity().eval(), (2,), encoder=3)
    with pytest.raises(TypeError, match="'linear VAE' takes no condition; got 3. Leave it out"):
        vae(z, 3)
    vae.encoder = lambda x: (x, x)
    with pytest.raises(ValueError, match=r"gave a mean of shape \(1, 3\) and a log variance of \(1, 3\) .* \(1, 2\)"):
        vae.reconstruction()(z, np.zeros(3))


def test_the_laws_of_generators_hold() -> None:
    image = np.array([0.5, -0.3, 0.8], np.float32)
    check_generator(linear_vae().reconstruction(), condition=image, seed=SEED).require()
    check_generator(Glow(_FLOWS["channels by class"]()), seed=SEED).require()


def test_an_autoencoder_of_diffusers_is_two_small_functions() -> None:
    diffusers = pytest.importorskip("diffusers")
    torch.manual_seed(0)
    network = diffusers.AutoencoderKL(block_out_channels=(8,), norm_num_groups=4, latent_channels=2).eval()

    def encode(x: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        law = network.encode(x).latent_dist
        return law.mean, law.logvar

    vae = VAE(lambda z: network.decode(z).sample, (2, 8, 8), encoder=encode, modules=network, name="AutoencoderKL")
    z, image = drawn(vae, 3), np.random.default_rng(SEED).random((3, 8, 8), dtype=np.float32)
    assert torch.equal(vae(z), network.decode(torch.from_numpy(z)).sample)
    law = network.encode(torch.from_numpy(image)[None]).latent_dist
    expected = network.decode(law.mean + law.std * torch.from_numpy(z)).sample
    assert torch.allclose(vae.reconstruction()(z, image), expected, atol=1e-5)


def flow_of(*bases: torch.nn.Module, class_cond: bool = False) -> torch.nn.Module:
    """Two levels of Glow blocks over bases with random parameters, in float64, for images of 1 x 8 x 8."""
    torch.manual_seed(SEED)
    blocks = [[normflows.flows.GlowBlock(channels, 8), normflows.flows.Squeeze()] for channels in (8, 4)]
    flow = normflows.MultiscaleFlow(bases, blocks, [normflows.flows.Merge()], class_cond=class_cond).double()
    with torch.no_grad():
        for parameter in flow.parameters():
            parameter.add_(0.1 * torch.randn_like(parameter))
        for layer in flow.modules():
            if isinstance(layer, normflows.flows.ActNorm):
                layer.data_dep_init_done.fill_(1)
        for base in flow.q0:
            base.loc.add_(0.5)
    return flow.eval()


_SHAPES = ((8, 2, 2), (2, 4, 4))
_DISTRIBUTIONS = normflows.distributions
_FLOWS = {
    "diagonal": lambda: flow_of(*map(_DISTRIBUTIONS.DiagGaussian, _SHAPES)),
    "channels": lambda: flow_of(*map(_DISTRIBUTIONS.GlowBase, _SHAPES)),
    "diagonal by class": lambda: flow_of(
        *(_DISTRIBUTIONS.ClassCondDiagGaussian(shape, 3) for shape in _SHAPES), class_cond=True
    ),
    "channels by class": lambda: flow_of(*(_DISTRIBUTIONS.GlowBase(shape, 3) for shape in _SHAPES), class_cond=True),
}


@pytest.mark.parametrize("kind", _FLOWS)
@pytest.mark.parametrize("temperature", [None, 0.6])
def test_samples_are_those_that_normflows_draws_from_the_same_noise(kind: str, temperature: float | None) -> None:
    flow = _FLOWS[kind]()
    glow = Glow(flow, temperature=temperature or 1.0)
    torch.manual_seed(SEED)
    noise = {f"level {i}": torch.randn(5, *shape, dtype=torch.float64).numpy() for i, shape in enumerate(_SHAPES)}
    torch.manual_seed(SEED)
    classes = torch.full((5,), 2) if glow.n_classes else None
    noise |= {"class": np.zeros(5)} if glow.n_classes else {}
    expected, _ = flow.sample(5, classes, temperature=temperature)
    assert torch.allclose(glow(noise, 2 if glow.n_classes else None), expected, atol=1e-12)


@pytest.mark.parametrize("kind", _FLOWS)
def test_the_flows_inverse_gives_back_the_latent_variables(kind: str) -> None:
    glow = Glow(_FLOWS[kind]())
    noise = {name: torch.from_numpy(block).double() for name, block in drawn(glow, 4).items()}
    condition = 1 if glow.n_classes else None
    back, _ = glow.flow.inverse_and_log_det(glow.sample(noise, condition))
    for z, found in zip(glow.latents(noise, condition), back, strict=True):
        assert torch.allclose(found, z, atol=1e-9)


def linear_flow() -> torch.nn.Module:
    """Levels merged and squeezed and nothing else: every pixel is one entry of z."""
    bases = [_DISTRIBUTIONS.DiagGaussian(shape) for shape in _SHAPES]
    with torch.no_grad():
        for base in bases:
            base.loc.add_(0.7)
    squeezes = [[normflows.flows.Squeeze()], [normflows.flows.Squeeze()]]
    return normflows.MultiscaleFlow(bases, squeezes, [normflows.flows.Merge()], class_cond=False).eval()


def test_negated_noise_has_the_flows_law_and_negated_latent_variables_do_not() -> None:
    glow = Glow(linear_flow())
    noise = {name: torch.from_numpy(block) for name, block in drawn(glow, 2000).items()}

    def brightness(latents: list[torch.Tensor]) -> np.ndarray:
        return glow.flow.forward_and_log_det(latents)[0].detach().double().flatten(1).mean(1).numpy()

    plain = brightness(glow.latents(noise))
    negated_noise = brightness(glow.latents({name: -block for name, block in noise.items()}))
    negated_latents = brightness([-z for z in glow.latents(noise)])
    assert (plain + negated_noise) / 2 == pytest.approx(0.7, abs=1e-5)
    for values, right in ((plain, True), (negated_noise, True), (negated_latents, False)):
        assert (abs(z_score(values, 0.7)) < Z_LIMIT) is right


def test_a_lone_level_takes_an_array() -> None:
    base = _DISTRIBUTIONS.DiagGaussian((4, 2, 2))
    glow = Glow(normflows.MultiscaleFlow([base], [[normflows.flows.Squeeze()]], [], class_cond=False).eval())
    assert str(glow.noise) == "normal(4x2x2) float32"
    assert glow(drawn(glow, 3)).shape == (3, 1, 4, 4)


def flow_that_shows_its_class() -> torch.nn.Module:
    base = _DISTRIBUTIONS.ClassCondDiagGaussian((4, 1, 1), 5)
    with torch.no_grad():
        base.loc.copy_(torch.arange(5.0).expand(4, 1, 1, 5))
        base.log_scale.fill_(-10)
    return normflows.MultiscaleFlow([base], [[normflows.flows.Squeeze()]], []).eval()


def test_without_a_condition_the_class_is_drawn() -> None:
    glow = Glow(flow_that_shows_its_class())
    assert str(glow.noise) == "class: uniform(scalar, iid), level 0: normal(4x1x1) float32"
    classes = glow(drawn(glow, 4000)).flatten(1).mean(1).round()
    for c in range(5):
        assert binomial_p_value(int((classes == c).sum()), 4000, 0.2) > 1e-9
    # A class that is asked for needs no draw.
    noise = {"level 0": torch.zeros(2, 4, 1, 1)}
    assert torch.allclose(glow.sample(noise, 3), torch.tensor(3.0))
    glow.dtype = torch.float16
    last = glow.tensor_of("class", np.full(3, np.nextafter(np.float32(1), np.float32(0))))
    assert [int((last * n).long().max()) for n in (2, 3, 5, 10)] == [1, 2, 4, 9]
    glow.dtype = torch.float32
    result = mcgen.estimate(glow, mcgen.statistics.pixel_mean, design=Antithetic(), n_evaluations=6400, seed=SEED)
    assert abs(result.mean - 2) < Z_LIMIT * result.standard_error
    slopes = glow.gradient(drawn(glow, 3), mcgen.statistics.pixel_mean)
    assert slopes["class"] == pytest.approx(0)
    assert slopes["level 0"] == pytest.approx(np.exp(-10) / 4)


def test_what_glow_refuses() -> None:
    flow = _FLOWS["diagonal"]()
    with pytest.raises(TypeError, match="Glow takes a normflows.MultiscaleFlow, with a list q0 of bases; got"):
        Glow(torch.nn.Identity())
    with pytest.raises(ValueError, match="temperature must be positive; got 0"):
        Glow(flow, temperature=0)
    with pytest.raises(ValueError, match="temperature must be finite; got inf"):
        Glow(flow, temperature=np.inf)
    with pytest.raises(TypeError, match="temperature must be a number; got '0.7' of type str"):
        Glow(flow, temperature="0.7")
    flow.set_temperature(0.7)
    with pytest.raises(ValueError, match="level 0 of the flow has a temperature of its own, 0.7: call flow.set_temper"):
        Glow(flow)
    flow.set_temperature(None)
    with pytest.raises(ValueError, match="this model was trained without classes and takes no condition; got 1"):
        Glow(flow)(drawn(Glow(flow), 1), 1)
    by_class = Glow(_FLOWS["channels by class"]())
    with pytest.raises(ValueError, match="condition must be a class from 0 to 2, or None for any; got 3"):
        by_class(drawn(by_class, 1), 3)
    with pytest.raises(ValueError, match="MultiscaleFlow is in training mode"):
        Glow(copy.deepcopy(flow).train())
    flow.q0[1] = _DISTRIBUTIONS.AffineGaussian((2, 4, 4), (2, 1, 1))
    with pytest.raises(ValueError, match="level 1 of the flow has a base AffineGaussian; only DiagGaussian, ClassCond"):
        Glow(flow)


def test_layers_that_learn_from_a_batch_are_refused() -> None:
    with pytest.raises(ValueError, match=r"ActNorm\) takes its scales from the first batch .* load trained weights"):
        Glow(multiscale_glow(8, (1,), (4,), 2).eval())
    flow = linear_flow()
    flow.flows[0].append(normflows.flows.BatchNorm())
    with pytest.raises(ValueError, match=r"flows.0.1 \(BatchNorm\) normalizes over the batch, also in evaluation"):
        Glow(flow)


def test_without_normflows_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "normflows", None)
    with pytest.raises(ImportError, match="a flow of normflows, which is not installed: pip install normflows"):
        loading.network("mnist-glow")


@pytest.mark.parametrize("name", ["mnist-vae", "mnist-glow"])
def test_shipped_models_give_images_row_by_row(name: str) -> None:
    model = models.load(name)
    noise = drawn(model, 8)
    x = model(noise)
    part = noise[:3] if isinstance(noise, np.ndarray) else {key: block[:3] for key, block in noise.items()}
    assert x.shape == (8, 1, 28, 28)
    assert 0 <= x.min() < 0.05
    assert 0.8 < x.max() <= 1
    assert torch.allclose(model(part), x[:3], atol=1e-3)
    log = models.log(name)
    assert log["bytes"] == loading.weights_path(name).stat().st_size < {"mnist-vae": 1.2e6, "mnist-glow": 3e6}[name]


def test_the_shipped_vae_reconstructs_the_image_that_it_is_given() -> None:
    images = models.load("mnist-vae")(drawn(models.load("mnist-vae"), 4))
    generator = models.load("mnist-vae").reconstruction()
    noise = drawn(generator, 8)
    for image, other in zip(images, images.roll(1, 0), strict=True):
        x = generator(noise, image)
        assert x.shape == (8, 1, 28, 28)
        assert (x - image).square().mean() < 0.5 * (x - other).square().mean()


def test_the_shipped_glow_knows_classes_and_temperature() -> None:
    model = models.load("mnist-glow")
    noise = drawn(model, 20)
    ones, zeros = (model(noise, c).flatten(1).mean(1) for c in (1, 0))
    assert ones.mean() < zeros.mean()
    cold = models.load("mnist-glow", temperature=0.2)(noise, 0)
    assert cold.std(0).mean() < model(noise, 0).std(0).mean()
