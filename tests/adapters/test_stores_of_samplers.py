"""Stores of captured samplers and torch functions: another sampler is another run, and the same one goes on."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest

torch = pytest.importorskip("torch")
diffusers = pytest.importorskip("diffusers")

from test_pipelines import N_TRAINING, quiet, tiny_unet  # noqa: E402

import mcgen  # noqa: E402
from mcgen._lib.fingerprints import content_of  # noqa: E402
from mcgen.adapters import DDIM, Schedule, capture, from_torch  # noqa: E402

pytestmark = [
    pytest.mark.filterwarnings("ignore:.*the replicate means", "ignore:all 32", "ignore:__array__ implementation"),
    pytest.mark.usefixtures("one_torch_thread"),
]

Run = Callable[[Any], mcgen.Estimate]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    def run(generator: Any, n_evaluations: int = 64) -> mcgen.Estimate:
        options: dict[str, Any] = {"design": mcgen.Antithetic(), "seed": 0, "store": tmp_path / "run.sqlite"}
        return mcgen.estimate(generator, mcgen.statistics.pixel_mean, n_evaluations=n_evaluations, **options)

    return run


def scheduler(**config: Any) -> Any:
    return diffusers.DDIMScheduler(num_train_timesteps=N_TRAINING, **config)


@pytest.fixture
def pipe() -> Any:
    return quiet(diffusers.DDIMPipeline(tiny_unet(), scheduler()))


def sampler(pipe: Any, steps: int = 2, scale: float = 1.0, after: Any = torch.abs) -> Callable[[int, Any], Any]:
    return lambda n, condition: after(scale * pipe(batch_size=n, num_inference_steps=steps, output_type="pt").images)


def with_steps(n: int, condition: Any, pipe: Any, steps: int) -> Any:
    return sampler(pipe, steps)(n, condition)


def of_another_scheduler(pipe: Any, other: Any) -> Any:
    pipe.scheduler = other
    return sampler(pipe)


CHANGES: dict[str, tuple[Callable[[Any], Any], str]] = {
    "steps": (lambda pipe: sampler(pipe, 4), "closure variable `steps` of the generator is 2 in the store and 4 here"),
    "a float": (lambda pipe: sampler(pipe, scale=0.5), "closure variable `scale` of the generator is 1.0 in the store"),
    "post-processing": (lambda pipe: sampler(pipe, after=torch.square), "closure variable `after`"),
    "a scheduler's settings": (
        lambda pipe: of_another_scheduler(pipe, scheduler(beta_end=0.03)),
        r"beta_end.*of the generator is 0\.02 in the store and 0\.03 here",
    ),
    "a scheduler of another kind": (
        lambda pipe: of_another_scheduler(pipe, scheduler(prediction_type="sample")),
        "'epsilon' in the store and 'sample' here",
    ),
    "weights": (
        lambda pipe: pipe.unet.conv_out.bias.data.add_(0.1) is not None and sampler(pipe),
        "pipe.unet.conv_out",
    ),
    "a plain attribute": (lambda pipe: setattr(pipe.unet, "added", 1.0) or sampler(pipe), "pipe.unet"),
    "a forward that was replaced": (
        lambda pipe: setattr(pipe.unet.conv_out, "forward", lambda x: x[:, :1]) or sampler(pipe),
        "pipe.unet.conv_out",
    ),
}


@pytest.mark.parametrize("change", CHANGES)
def test_another_sampler_is_another_run(change: str, pipe: Any, run: Run) -> None:
    make, message = CHANGES[change]
    modules = [pipe.unet]
    first = run(capture(sampler(pipe), modules=modules))
    # Captured again: the scheduler's working state is no part of it.
    assert run(capture(sampler(pipe), modules=modules)) == first
    assert run(capture(sampler(pipe), modules=modules), 128).n_evaluations == 128
    with pytest.raises(mcgen.StoreError, match=message):
        run(capture(make(pipe), modules=modules))


def test_arguments_of_a_partial_sampler(pipe: Any, run: Run) -> None:
    first = run(capture(partial(with_steps, pipe=pipe, steps=2)))
    assert run(capture(partial(with_steps, pipe=pipe, steps=2))) == first
    with pytest.raises(mcgen.StoreError, match="partial argument `steps` of the generator is 2 in the store and 3"):
        run(capture(partial(with_steps, pipe=pipe, steps=3)))


@pytest.mark.parametrize("kind", ["DPMSolverMultistepScheduler", "EulerAncestralDiscreteScheduler"])
def test_schedulers_that_keep_what_they_computed_go_on(kind: str, run: Run) -> None:
    steps = getattr(diffusers, kind)(num_train_timesteps=N_TRAINING)
    net = tiny_unet()

    def sample(n: int, condition: Any) -> Any:
        steps.set_timesteps(3)
        x = torch.randn(n, 1, 8, 8) * steps.init_noise_sigma
        for t in steps.timesteps:
            x = steps.step(net(steps.scale_model_input(x, t), t).sample, t, x).prev_sample
        return x

    generator = capture(sample, modules=net)
    first = run(generator)
    assert run(generator) == first
    assert run(generator, 128).n_evaluations == 128
    assert run(capture(sample, modules=net), 192).n_evaluations == 192
    steps.register_to_config(beta_end=0.03)
    with pytest.raises(mcgen.StoreError, match=r"beta_end.*is 0\.02 in the store and 0\.03 here"):
        run(generator, 192)


class Scaled(torch.nn.Module):
    def __init__(self, scale: float) -> None:
        super().__init__()
        self.scale, self.layer = scale, torch.nn.Linear(4, 4, bias=False)
        torch.nn.init.eye_(self.layer.weight)

    def forward(self, z: Any) -> Any:
        return torch.sigmoid(self.scale * self.layer(z))


def test_torch_functions(run: Run) -> None:
    first = run(from_torch(Scaled(1.0).eval(), noise=(4,), name="net"))
    assert run(from_torch(Scaled(1.0).eval(), noise=(4,), name="net")) == first
    with pytest.raises(mcgen.StoreError, match="scale` of the generator is 1.0 in the store and 2.0 here"):
        run(from_torch(Scaled(2.0).eval(), noise=(4,), name="net"))


def test_functions_that_hide_a_network(run: Run) -> None:
    """With no module named, the weights count all the same."""
    nets = [Scaled(1.0).eval() for _ in range(2)]
    torch.nn.init.constant_(nets[1].layer.weight, 0.5)

    def around(net: Any) -> Any:
        return from_torch(lambda z: net(z), noise=(4,), name="net")

    run(around(nets[0]))
    with pytest.raises(mcgen.StoreError, match="closure variable `net.layer`: parameters of the generator"):
        run(around(nets[1]))


def test_a_statistic_that_hides_a_network(run: Run, tmp_path: Path) -> None:
    generator = from_torch(torch.nn.Identity().eval(), noise=(4,))

    def scored(net: Any) -> mcgen.Estimate:
        options: dict[str, Any] = {"design": mcgen.Antithetic(), "seed": 0, "store": tmp_path / "scored.sqlite"}
        return mcgen.estimate(generator, lambda x: net(x).mean(1), n_evaluations=64, **options)

    scored(Scaled(1.0).eval())
    with pytest.raises(mcgen.StoreError, match="closure variable `net.scale` of the statistic"):
        scored(Scaled(2.0).eval())


def test_families_of_adapters(run: Run) -> None:
    def model(steps: int, factor: float) -> Any:
        return DDIM(lambda x, t, condition=None: factor * x, Schedule.cosine(20), (1, 4, 4), steps=steps)

    first = run(model(4, 0.5))
    assert run(model(4, 0.5)) == first
    for other in (model(5, 0.5), model(4, 0.4)):
        with pytest.raises(mcgen.StoreError, match="of the generator is"):
            run(other)


_ELSEWHERE = """
import sys
sys.path[:0] = {folders!r}
import diffusers, test_stores_of_samplers as t
from mcgen._lib.fingerprints import content_of
pipe = t.quiet(diffusers.DDIMPipeline(t.tiny_unet(), t.scheduler()))
print(content_of(t.capture(t.sampler(pipe))).fingerprint)
"""


def test_the_same_in_every_process(pipe: Any) -> None:
    code = _ELSEWHERE.format(folders=[str(folder) for folder in Path(__file__).parents[:2]])
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert run.stdout.split()[-1] == content_of(capture(sampler(pipe))).fingerprint
