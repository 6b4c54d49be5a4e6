"""Numbers and pictures of ``docs/reference/models.md``: correlations and efficiencies of pairs, model by model.

``python -m mcgen.validation models`` measures them again, model by model (``--only NAME`` for some), keeps them in
``docs/reference/models.json`` and writes the tables into the page. The Pearson correlation of a pair is taken over the
pixels of its two samples. The centralized one subtracts the mean image (of the class) first [1]_.

.. rubric:: References

.. [1] J. Jia, S. Liu, B. Song, W. Yuan, L. Shen, G. Wang (2025). Antithetic noise in diffusion models.
   arXiv:2506.06185.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

import mcgen
from mcgen import statistics
from mcgen._lib.arrays import Floats, as_numpy
from mcgen.adapters import DDS, DPS, GaussianBlur, Inpainting, Operator, SuperResolution, models
from mcgen.adapters.models.training import data
from mcgen.inference.efficiency import log_variance
from mcgen.inference.log_ratios import LogRatio, welch_satterthwaite
from mcgen.noise import Noise, NoiseSpec, as_rows
from mcgen.replicates.streams import stream_of
from mcgen.validation.conformance import check_generator
from mcgen.validation.writing.pictures import N_COLUMNS, pairs_figure, plane_figure, samples_figure

Numbers = dict[str, Any]

N_PAIRS = 1600
PLANE = statistics.stack(lambda x: x[:, 0], lambda x: x[:, 1], lambda x: (x**2).sum(1), names=("x", "y", "x^2 + y^2"))
FOUR = statistics.stack(statistics.brightness, statistics.pixel_mean, statistics.contrast, statistics.centroid)
# The designs have 100 replicates or more in 2 N_PAIRS evaluations; with fewer, intervals of efficiencies undercover.
DESIGNS = (mcgen.MonteCarlo(), mcgen.Antithetic(), mcgen.Sobol(32))
_BATCH = 200


@dataclass(frozen=True)
class Shown:
    """A shipped model as the page shows it.

    Attributes
    ----------
    model : str
        Name for `models.load`.
    options : dict
        Options for `models.load`.
    takes_class : bool
        Whether the pictures have a column for each class.
    by_class : bool
        Whether pairs are spread over the ten classes, and efficiencies are measured under one class.
    paper : str
        The correlations that reference 1 found for this kind of model, standard and centralized.
    """

    model: str
    options: Numbers
    takes_class: bool
    by_class: bool
    paper: str


_UNCONDITIONAL = "-0.34 to -0.76, centralized -0.77 to -0.86"
SHOWN = {
    "patches-diffusion": Shown("patches-diffusion", {"steps": 25}, False, False, _UNCONDITIONAL),
    "patches-latent": Shown("patches-latent", {"steps": 25}, False, False, "-0.47, centralized -0.54"),
    "mnist-ddpm": Shown("mnist-ddpm", {}, True, False, _UNCONDITIONAL),
    "digits-diffusion": Shown("digits-diffusion", {}, True, False, _UNCONDITIONAL),
    "mnist-consistency, 1 step": Shown("mnist-consistency", {"steps": 1}, True, False, "-0.71 to -0.88"),
    "mnist-consistency, 2 steps": Shown("mnist-consistency", {"steps": 2}, True, False, "-0.71 to -0.88"),
    "mnist-vae": Shown("mnist-vae", {}, False, False, "+0.21, centralized -0.41"),
    "mnist-glow": Shown("mnist-glow", {}, True, True, "-0.52, centralized -0.57"),
    "mnist-dit, guidance_scale 2": Shown(
        "mnist-dit", {"guidance_scale": 2.0, "steps": 25}, True, True, "-0.07, centralized -0.45"
    ),
}
_CLASS = 3
NOISE_SD = 0.05
PROBLEMS: dict[str, Operator] = {
    "inpainting, half of the pixels hidden": Inpainting.random((1, 28, 28), hidden=0.5, seed=0),
    "Gaussian blur of 1.5 pixels": GaussianBlur((1, 28, 28), 1.5),
    "super-resolution, 4 x 4 pixels to 1": SuperResolution((1, 28, 28), 4),
}
METHODS: Numbers = {"DPS": {}, "DDS": {"noise_sd": NOISE_SD}}


class Remembering:
    """A generator that keeps its samples, so that several tables share those of one run."""

    def __init__(self, generator: mcgen.Generator) -> None:
        self.generator, self.noise = generator, generator.noise
        self.name = getattr(generator, "name", "generator")
        self._known: dict[bytes, Any] = {}

    def __call__(self, noise: Noise, condition: Any = None) -> Any:
        """Return samples; if all rows are known, from memory."""
        blocks = [noise] if isinstance(noise, np.ndarray) else [*noise.values()]
        keys = [_key(condition, [block[i] for block in blocks]) for i in range(len(blocks[0]))]
        if not all(key in self._known for key in keys):
            self._known |= dict(zip(keys, as_numpy(self.generator(noise, condition)), strict=True))
        return np.stack([self._known[key] for key in keys])


def _key(condition: Any, rows: list[Any]) -> bytes:
    digest = hashlib.blake2b(repr(stream_of(condition, 0)).encode(), digest_size=16)
    for row in rows:
        digest.update(np.ascontiguousarray(row).tobytes())
    return digest.digest()


def pairs_of(generator: mcgen.Generator, design: mcgen.Design, n_pairs: int, condition: Any, seed: int) -> Floats:
    """Return samples (n_pairs, 2, pixels): of antithetic pairs, or of two replicates where these have one point."""
    parts = []
    for start in range(0, 2 * n_pairs, _BATCH):
        replicates = range(start // design.n_points, (start + min(_BATCH, 2 * n_pairs - start)) // design.n_points)
        noise = design.draw(generator.noise, replicates, seed, stream=stream_of(condition, 0))
        parts.append(as_numpy(generator(as_rows(noise), condition)).astype(np.float64))
    samples = np.concatenate(parts)
    return samples.reshape(n_pairs, 2, -1)


def pearson(pairs: Floats) -> Floats:
    """Return the Pearson correlation over pixels of each pair (n, 2, pixels), shape (n,).

    Raises
    ------
    ValueError
        If an image is constant, so that the correlation is not defined.
    """
    deviations = pairs - pairs.mean(axis=2, keepdims=True)
    a, b = deviations[:, 0], deviations[:, 1]
    squared: Floats = (a**2).sum(1) * (b**2).sum(1)
    if (squared == 0).any():
        raise ValueError(f"{int((squared == 0).sum())} of {len(pairs)} pairs have a constant image: no correlation")
    correlation: Floats = (a * b).sum(1) / np.sqrt(squared)
    return correlation


def correlations(
    generator: mcgen.Generator, classes: bool, n_pairs: int = N_PAIRS, seed: int = 0, independent: bool = True
) -> Numbers:
    """Return mean and sd of the standard and centralized correlations of pairs z, -z and of independent pairs."""
    conditions = [*range(N_COLUMNS)] if classes else [None]
    found: dict[str, list[Floats]] = {}
    for condition in conditions:
        kinds: dict[str, mcgen.Design] = {"negated": mcgen.Antithetic()}
        if independent:
            kinds["independent"] = mcgen.MonteCarlo()
        by_kind = {
            kind: pairs_of(generator, design, n_pairs // len(conditions), condition, seed)
            for kind, design in kinds.items()
        }
        mean = np.concatenate([*by_kind.values()]).mean(axis=(0, 1))
        for kind, pairs in by_kind.items():
            found.setdefault(f"{kind}, standard", []).append(pearson(pairs))
            found.setdefault(f"{kind}, centralized", []).append(pearson(pairs - mean))
    joined = {name: np.concatenate(parts) for name, parts in found.items()}
    return {name: [float(r.mean()), float(r.std(ddof=1))] for name, r in joined.items()}


def efficiencies(generator: mcgen.Generator, statistic: Any, condition: Any, seed: int = 0) -> Numbers:
    """Return the relative efficiencies [value, low, high] of antithetic and Sobol' noise on a statistic."""
    table = mcgen.compare(
        generator,
        statistic,
        designs=DESIGNS,
        n_evaluations=2 * N_PAIRS,
        seed=seed,
        condition=condition,
        batch_size=_BATCH,
    ).to_frame()
    columns = ["relative_efficiency", "efficiency_low", "efficiency_high"]
    chosen = table[table["design"] != str(mcgen.MonteCarlo())]
    return {f"{row['design']}, {row['component']}": [float(row[c]) for c in columns] for _, row in chosen.iterrows()}


def measure(label: str, pictures: Path) -> Numbers:
    """Return the numbers of one shipped model, and write its pictures."""
    shown = SHOWN[label]
    generator = models.load(shown.model, **shown.options)
    condition = _CLASS if shown.by_class else None
    remembering = Remembering(generator)
    stem = re.sub(r"[^a-z0-9]+", "-", label)
    real = getattr(data, shown.model.partition("-")[0])()
    samples = samples_figure(generator, real.x_new, real.y_new, by_class=shown.takes_class)
    samples.savefig(pictures / f"{stem}.png")
    pairs_figure(generator, n_pairs=10, seed=0, condition=condition).savefig(pictures / f"{stem}-pairs.png")
    return {
        "efficiencies": efficiencies(remembering, FOUR, condition),
        "correlations": correlations(remembering, shown.by_class),
        "conformance": {check.law: check.gap for check in check_generator(generator, condition=condition).checks},
    }


def measure_plane(pictures: Path) -> Numbers:
    """Return the numbers of the flow on the plane, with correlations of each coordinate; write its picture."""
    flow = models.load("moons-flow")
    plane_figure(flow, data.moons().x_new).savefig(pictures / "moons-flow.png")
    pairs = pairs_of(flow, mcgen.Antithetic(), N_PAIRS, None, seed=0)
    return {
        "efficiencies": efficiencies(flow, PLANE, None),
        "correlations": {name: pearson(pairs[None, :, :, k].swapaxes(1, 2))[0] for k, name in enumerate("xy")},
        "conformance": {check.law: check.gap for check in check_generator(flow).checks},
    }


def with_start_negated_only(generator: mcgen.Generator) -> mcgen.Generator:
    """Return the sampler with all noise but that of the start marked iid, so that designs don't change it."""
    blocks = {name: replace(block, iid=name != "start") for name, block in generator.noise.blocks}
    return mcgen.as_generator(generator, NoiseSpec(tuple(blocks.items())), name="only the start negated")


def measure_ddpm(steps: int, n_pairs: int, pictures: Path) -> Numbers:
    """Return the correlations of DDPM's pairs with all noise negated, and with the initial noise alone negated."""
    model = models.load("mnist-ddpm", steps=steps, eta=1.0)
    only = with_start_negated_only(model)
    return {
        "every step": correlations(model, classes=False, n_pairs=n_pairs, independent=False),
        "only the start": correlations(only, classes=False, n_pairs=n_pairs, independent=False),
    }


@dataclass(frozen=True)
class Reconstructions:
    """A generator of posterior samples of measured images, with their truths; the condition is the image's number."""

    sampler: mcgen.Generator
    measurements: list[NDArray[Any]]
    truths: Any
    name: str

    @property
    def noise(self) -> NoiseSpec:
        """The noise of the posterior sampler."""
        return self.sampler.noise

    def __call__(self, noise: Noise, condition: Any = 0) -> tuple[Any, Any]:
        """Return the samples and as many copies of the truth."""
        samples = self.sampler(noise, self.measurements[condition])
        return samples, self.truths[condition].expand_as(samples)


def distances(samples: tuple[Any, Any]) -> Any:
    """Return the L1 distance of each sample to the truth, and its PSNR, shape (n, 2)."""
    difference = (samples[0] - samples[1]).flatten(1)
    return torch.stack([difference.abs().mean(1), -10 * difference.square().mean(1).log10()], dim=1)


def measure_problem(problem: str, method: str, pictures: Path, n_images: int = 10, n_evaluations: int = 80) -> Numbers:
    """Return the mean L1 distance and PSNR over some held-out digits, by Monte Carlo and antithetic noise."""
    operator = PROBLEMS[problem]
    prior = models.load("mnist-ddpm", steps=50, eta=1.0)
    sampler = {"DPS": DPS, "DDS": DDS}[method](prior, operator, **METHODS[method])
    truths = data.mnist().x_new[:n_images]
    rng = np.random.default_rng(0)
    noise = rng.standard_normal((n_images, *operator.measurement_shape), dtype=np.float32)
    measurements = [operator.measure(x, NOISE_SD, n) for x, n in zip(truths, noise, strict=True)]
    problems = Reconstructions(sampler, measurements, truths, f"{method} {problem}")
    found: Numbers = {}
    variances = []
    for design in DESIGNS[:2]:
        one = mcgen.estimate(
            problems,
            distances,
            design=design,
            n_evaluations=n_evaluations,
            seed=0,
            condition=[*range(n_images)],
            batch_size=n_evaluations,
            keep_replicates=True,
        )
        found[str(design)] = {"mean": [*np.ravel(one.mean)], "half width": [*np.ravel(one.half_width)]}
        variances.append(log_variance_of_average(one, design.n_points))
    value, interval = variances[0].minus(variances[1]).exp(0.95)
    return found | {"efficiency": np.stack([value, interval.low, interval.high], axis=1).tolist()}


def log_variance_of_average(one: mcgen.Estimate, n_points: int) -> LogRatio:
    """Return log(n_points sum_c V_c), where V_c is the variance of a replicate mean under condition c of an average.

    The error of each variance is the jackknife's; the delta method gives that of the sum.
    """
    parts = []
    for stratum in one.conditions:
        assert stratum.replicate_means is not None
        assert stratum.within is not None
        parts.append(log_variance(stratum.replicate_means, stratum.within, stratum.provenance.rounding))
    each = np.exp([part.value for part in parts])
    total = each.sum(axis=0)
    variances = (each / total) ** 2 * [part.variance for part in parts]
    df = welch_satterthwaite(variances, np.stack([part.degrees_of_freedom for part in parts]))
    return LogRatio(np.log(n_points * total), variances.sum(axis=0), df)


OTHERS: Mapping[str, Callable[[Path], Numbers]] = {
    "moons-flow": measure_plane,
    "DDPM, 100 steps": partial(measure_ddpm, 100, 1600),
    "DDPM, 1000 steps": partial(measure_ddpm, 1000, 200),
    **{f"{method}, {problem}": partial(measure_problem, problem, method) for problem in PROBLEMS for method in METHODS},
}
