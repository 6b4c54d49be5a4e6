"""The latent diffusion of patches: what pairs and designs are worth for its latents, and after its decoder.

The conditions are its six photographs, which stand for the prompts of the paper's Stable Diffusion [1]_.

.. rubric:: References

.. [1] J. Jia, S. Liu, B. Song, W. Yuan, L. Shen, G. Wang (2025). Antithetic noise in diffusion models.
   arXiv:2506.06185. Tables 1 and 2, figure 7.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import cache
from typing import Any

import mcgen
from mcgen import statistics
from mcgen.adapters import DDIM, models
from mcgen.analysis import PairAnalysis, pairs
from mcgen.noise import Noise, NoiseSpec
from mcgen.validation.systems._base import SEED, Case, System, Table

STEPS = 10
CLASSES = tuple(range(6))
SPACES = ("latents", "images")
# Pairs of each class without guidance, and at each scale of guidance.
_PAIRS, _GUIDED_PAIRS = 134, 30
_SCALES = (3.0, 5.0, 7.0, 9.0)
_KINDS = [(kind, measure) for kind in ("negated", "independent") for measure in ("standard", "centralized")]
# Table 1 of reference 1 for Stable Diffusion, whose correlations are of decoded images.
_PAPER = ["paper: Stable Diffusion, images", "", "-0.47", "-0.54", "0.05", "0.00"]


class LatentsAndImages:
    """Samples of a latent diffusion as a tuple: the latents, and the images that they decode to."""

    def __init__(self, model: Any) -> None:
        self._latents, self._decode = sampler_of_latents(model), model.decode
        self.noise: NoiseSpec = model.noise
        self.name = f"{model.name}, latents and images"

    def __call__(self, noise: Noise, condition: Any = None) -> tuple[Any, Any]:
        """Return latents and images."""
        latents = self._latents(noise, condition)
        return latents, self._decode(latents)


def sampler_of_latents(model: Any) -> DDIM:
    """Return the sampler of a model without its decoder, so that its samples are latents."""
    return DDIM(
        model.denoiser,
        model.schedule,
        model.shape,
        steps=model.steps,
        prediction=model.prediction,
        name=f"{model.name}, latents",
    )


def cases() -> Sequence[Case]:
    """Return one case: the paper's four statistics of images, and those that latents have too."""
    of_latents = (statistics.pixel_mean, lambda z: statistics.contrast(z.mean(1)))
    of_images = (statistics.brightness, statistics.pixel_mean, statistics.contrast, statistics.centroid)
    statistic = statistics.stack(
        *(_of(k, one) for k, group in enumerate((of_latents, of_images)) for one in group),
        names=["latents: mean", "latents: contrast", *(f"images: {one.__name__}" for one in of_images)],
    )
    model = models.load("patches-latent", steps=STEPS)
    return [Case("latent diffusion, class china", LatentsAndImages(model), statistic, condition=0)]


def _of(part: int, statistic: Any) -> Any:
    return lambda samples: statistic(samples[part])


@cache
def measured_pairs(space: str, guidance_scale: float, n_pairs: int) -> PairAnalysis:
    """Return pairs of latents or of images under each class, at a scale of guidance."""
    model: Any = models.load("patches-latent", steps=STEPS, guidance_scale=guidance_scale)
    generator = sampler_of_latents(model) if space == "latents" else model
    options: Any = {} if space == "latents" else {"statistic": statistics.brightness}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mcgen.CoverageWarning)
        # A patch of night sky can be black everywhere, and has no correlation then.
        return pairs(generator, n_pairs=n_pairs, seed=SEED, condition=[*CLASSES], undefined="drop", **options)


def cells(found: PairAnalysis) -> list[str]:
    """Return the mean correlations of all classes with their intervals."""
    frame = found.to_frame()
    whole = frame[frame["condition"] == "all"].to_dict("records")
    rows = {(row["kind"], row["measure"]): row for row in whole}
    return [f"{row['mean']:+.2f} [{row['low']:+.2f}, {row['high']:+.2f}]" for row in (rows[kind] for kind in _KINDS)]


def correlations() -> Table:
    """Return the correlations of pairs without guidance, for latents and for images, beside the paper's."""
    rows = [[space, str(_PAIRS * len(CLASSES)), *cells(measured_pairs(space, 1.0, _PAIRS))] for space in SPACES]
    return Table(["samples", "pairs", "z, -z", "centralized", "independent", "centralized"], [*rows, _PAPER])


def guidance() -> Table:
    """Return the correlations of pairs, and the efficiency for brightness, by the scale of guidance."""
    rows = []
    for scale in (1.0, *_SCALES):
        for space in SPACES:
            found = measured_pairs(space, scale, _PAIRS if scale == 1 else _GUIDED_PAIRS)
            rows.append([f"{scale:g}", space, *cells(found), _efficiency(found) if space == "images" else ""])
    head = ["scale", "samples", "z, -z", "centralized", "independent", "centralized"]
    return Table([*head, "efficiency for brightness"], rows)


def _efficiency(found: PairAnalysis) -> str:
    frame = found.efficiencies()
    row = frame[frame["kind"] == "negated"].iloc[0]
    return f"{row['predicted']:.1f} [{row['predicted_low']:.1f}, {row['predicted_high']:.1f}]"


SYSTEM = System("latents", cases, {"latent correlations": correlations, "latent guidance": guidance})
