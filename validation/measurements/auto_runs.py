"""The time of `estimate` with design="auto" beyond the model's own, for models that wait 20 ms for a batch of 64.

A model that waits leaves the processor free, as one on a device does. Its seconds are counted inside its calls and its
gradients, those of the samplers that the plan fits to it included. All else is overhead: the fit, the pilot's draws and
checks, the choice, and the run's draws, checks and sums.
"""

from __future__ import annotations

import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd

import mcgen

if TYPE_CHECKING:
    from mcgen.generators import Generator

SHAPES: dict[int, tuple[int, ...]] = {64: (1, 8, 8), 784: (1, 28, 28), 3072: (3, 32, 32)}
"""Shapes of the noise by its dimension: images of one channel, or three."""

# Seconds that a model takes for a batch of 64 samples.
_SECONDS = 0.02
# Steps of the sampler, of which each evaluates its network once.
_STEPS = 25
# Hidden units of its network: as many directions of its states matter.
_WIDTH = 12


class Clock:
    """The seconds that a model takes, counted once where its calls are nested.

    Attributes
    ----------
    seconds : float
        The seconds so far.
    """

    def __init__(self) -> None:
        self.seconds, self._depth = 0.0, 0

    def __mcgen_content__(self, load: bool) -> Any:
        return ()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Count the time inside."""
        start, self._depth = time.perf_counter(), self._depth + 1
        try:
            yield
        finally:
            self._depth -= 1
            if not self._depth:
                self.seconds += time.perf_counter() - start


def auto_table(sizes: Sequence[int] = (3200, 12_800), rounds: int = 2) -> pd.DataFrame:
    """Return the overhead of `estimate` with design="auto", and of antithetic pairs, in percent of the model's time.

    Each is the least of some rounds with other seeds, after one that fills caches and imports.
    """
    rows = []
    for kind, make in {"DDIM of 25 steps": sampler, "black box": black_box}.items():
        for d in SHAPES:
            row: dict[str, Any] = {"model": kind, "dimensions": d}
            overhead(make, d, "auto", min(sizes), rounds)
            for n in sizes:
                runs = [overhead(make, d, "auto", n, seed) for seed in range(rounds)]
                row |= {f"auto, {n} evaluations, %": min(percent for percent, _ in runs), f"chosen, {n}": runs[0][1]}
            runs = [overhead(make, d, mcgen.Antithetic(), min(sizes), seed) for seed in range(rounds)]
            rows.append(row | {f"pairs, {min(sizes)}, %": min(percent for percent, _ in runs)})
    return pd.DataFrame(rows)


def overhead(
    make: Callable[[int, Clock], Generator], d: int, design: Any, n_evaluations: int, seed: int
) -> tuple[float, str]:
    """Return the overhead of a run in percent of the model's seconds, and what the plan chose."""
    clock = Clock()
    generator = make(d, clock)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        start = time.perf_counter()
        made = mcgen.estimate(
            generator, mean_and_square, design=design, n_evaluations=n_evaluations, seed=seed, batch_size=64
        )
        seconds = time.perf_counter() - start
    chosen = (made.provenance.plan or "").partition(",")[0].removeprefix("chosen: ")
    return 100 * (seconds / clock.seconds - 1), chosen


def mean_and_square(samples: Any) -> Any:
    """Return the mean over an image and the mean square, shape (n, 2)."""
    flat = samples.reshape(len(samples), -1)
    both = flat.mean(1), (flat**2).mean(1)
    if isinstance(samples, np.ndarray):
        return np.stack(both, axis=1)
    import torch

    return torch.stack(both, dim=1)


def black_box(d: int, clock: Clock) -> Generator:
    """Return a numpy function that waits, as a generator."""

    def wait(z: Any) -> Any:
        with clock.running():
            time.sleep(_SECONDS * len(z) / 64)
            return np.tanh(z + 0.2)

    return mcgen.as_generator(wait, noise=SHAPES[d], fingerprint="waits")


def sampler(d: int, clock: Clock) -> Generator:
    """Return a DDIM that takes 20 ms for a batch of 64, most of which its network waits; a plan fits samplers to it."""
    import torch

    from mcgen.adapters import DDIM, Schedule
    from mcgen.adapters.samplers.fitted import Fitted

    class Timed:
        def __call__(self, noise: Any, condition: Any = None) -> Any:
            with clock.running():
                return super().__call__(noise, condition)  # type: ignore[misc]

        def jacobian(self, noise: Any, statistic: Any, condition: Any = None) -> Any:
            with clock.running():
                return super().jacobian(noise, statistic, condition)  # type: ignore[misc]

    class TimedFitted(Timed, Fitted):
        pass

    class TimedDDIM(Timed, DDIM):
        def fitted_several(self, evaluations: Sequence[int], **options: Any) -> tuple[Fitted, ...]:
            made = super().fitted_several(evaluations, **options)
            return tuple(TimedFitted(self, one.weights, one._ends) for one in made)

    torch.set_num_threads(1)
    network = _network(d, clock)
    made = TimedDDIM(network, Schedule.cosine(1000), SHAPES[d], steps=_STEPS, prediction="sample", name="waiting")
    noise = np.random.default_rng(0).standard_normal((64, *SHAPES[d]), dtype=np.float32)
    # The waits fill up what the sampler computes itself. Each is somewhat longer than was asked for.
    for _ in range(3):
        network.seconds = max(0.0, network.seconds + (_SECONDS - _fastest(partial(made, noise))) / _STEPS)
    clock.seconds = 0.0
    return made


def _network(d: int, clock: Clock) -> Any:
    """Return a network of one hidden layer that predicts samples, and waits `seconds` for 64 of them."""
    import torch

    class Network(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            random = torch.Generator().manual_seed(0)
            self.seconds = 0.0
            self.inner, self.outer = torch.nn.Linear(d, _WIDTH), torch.nn.Linear(_WIDTH, d)
            with torch.no_grad():
                for layer in (self.inner, self.outer):
                    n_out, n_in = layer.weight.shape
                    layer.weight.copy_(torch.randn(n_out, n_in, generator=random) * n_in**-0.5)
                    layer.bias.copy_(torch.randn(n_out, generator=random) / 4)

        def forward(self, x: torch.Tensor, t: torch.Tensor, condition: Any = None) -> torch.Tensor:
            with clock.running():
                time.sleep(self.seconds * len(x) / 64)
                found: torch.Tensor = self.outer(torch.tanh(self.inner(x.flatten(1)))).reshape(x.shape)
            return found

    return Network().eval()


def _fastest(job: Callable[[], object], rounds: int = 5) -> float:
    """Return the least seconds of some rounds of a job."""
    found = []
    for _ in range(rounds):
        start = time.perf_counter()
        job()
        found.append(time.perf_counter() - start)
    return min(found)
