r"""Diffusion models with exact score and simulated truth: mixtures that look like images, and a data set of digits.

The mixtures have eight components, which differ in mean, variance and weight. In the discrete cosine basis, squared
means and variances decay with frequency f as :math:`1 / (1 + f^2)`. The sampler works in that basis; noise and samples
are in pixels.

The data set has ten digits, each a component of variance 0. With many steps, the samples of the exact score are the
digits themselves, in equal shares. With ten steps, a sample is the posterior mean of the last step: mostly close to a
digit, sometimes between two. The shares of the digits are then off by about a tenth of their value. The truth is the
expectation of this ten-step sampler.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import partial

import numpy as np
from numpy.typing import NDArray
from scipy.fft import dct

from mcgen._lib.arrays import Floats
from mcgen._lib.batches import by_slices
from mcgen.generators import Generator, as_generator
from mcgen.noise import Array, DType
from mcgen.statistics import contrast, pixel_mean
from mcgen.validation.problems._base import Problem, parameters
from mcgen.validation.problems.samplers import Mixture, MixtureDiffusion, as_images

N_STEPS = 10
# Pixels from which samplers compute in float64.
_LARGE = 256
# Weights of the eight components, and the scale of the distances between their means.
_WEIGHTS = np.array([0.22, 0.18, 0.15, 0.13, 0.11, 0.09, 0.07, 0.05])
_SEPARATION = 1.2
# The most typical image of each digit in scikit-learn's load_digits: UCI Optical Recognition of Handwritten Digits
# (E. Alpaydin, C. Kaynak 1998, CC BY 4.0). A line has the 8 x 8 grey values of an image; characters 0 to g are 0 to 16.
_DIGITS = """
002e910001ccb80004e10d3008d00a6005g1089000g00b9000dbaf40003fg500
006a8300006gg900009gg600007gga0000bgg800007gg90000agg6000049cb20
01cg50000bggd0000765e2000000c3000004d000001d500000aga84000dfgc70
006cga0004f8ce000000d8000006e1000005f80000002f5000145f80005ge910
0007g200000fb00000be650004g7ed200agdgga008fega100009g1000009f100
019ggf3008gc883006g9300008ggg4000364db0000008d000058fa0000bgb100
001d7000007e200000d5000000g3000003gacc3003gb59c001db4db0001cgb20
003gcc7000cddg6000206e000014da10009ggg80004cc710000e6000004g2000
003dd30002eccb0004g85f3001deg70000bgd10001gcde1000dd9g70003dga10
004dd40000gaa80000e76b00006ffg2000000b500000079001446ca0016bfc10
"""


def digits() -> Floats:
    """Return the data, shape (10, 64), from -1 (white) to 1."""
    grey = [[int(character, 17) for character in line] for line in _DIGITS.split()]
    return np.asarray(grey, np.float64) / 8 - 1


def basis(side: int) -> Floats:
    """Return the discrete cosine basis of images (side, side): row f of shape (d, d) is the image of frequency f."""
    line = dct(np.eye(side), axis=0, norm="ortho")
    return np.asarray(np.kron(line, line), np.float64)


def image_mixture(side: int) -> Mixture:
    """Return eight components in the cosine basis of images of that side."""
    f = np.arange(side)
    decay = (1 / (1 + f[:, None] ** 2 + f**2)).reshape(-1)
    k = len(_WEIGHTS)
    sizes = np.linspace(0.5, 1.5, k)
    means = _SEPARATION * math.sqrt(side) * parameters(21, k, side * side) * np.sqrt(decay)
    return Mixture(_WEIGHTS, means, sizes[:, None] * decay)


def image_generator(side: int, n_steps: int = N_STEPS) -> Generator:
    """Return DDIM with the exact score of `image_mixture(side)`: noise (side^2,) to images (n, side, side)."""
    # Sums over many pixels decide between clusters. In float32 their rounding, which varies with the batch, could too.
    dtype: DType = "float32" if side * side < _LARGE else "float64"
    sampler = MixtureDiffusion(image_mixture(side), steps=n_steps, dtype=dtype)
    function = partial(_in_pixels, basis(side).astype(dtype), sampler, side)
    return as_generator(function, sampler.noise, name=f"mixture-{side * side}")


def digit_generator(n_steps: int = N_STEPS) -> Generator:
    """Return DDIM with the exact score of the ten digits: noise (64,) to images (n, 8, 8)."""
    points = digits()
    data = Mixture(np.full(len(points), 1 / len(points)), points, np.zeros((1, 64)))
    sampler = MixtureDiffusion(data, steps=n_steps)
    return as_generator(partial(as_images, sampler, 8), sampler.noise, name="digits")


def _in_pixels(to_images: Array, sampler: MixtureDiffusion, side: int, z: Array) -> Array:
    def run(part: Array) -> Array:
        images: Array = sampler(part @ to_images.T.astype(part.dtype)) @ to_images.astype(part.dtype)
        return images

    return by_slices(run, z).reshape(-1, side, side)


def maximum(x: Array) -> Array:
    """Return the brightest pixel of each image, shape (n,)."""
    values: Array = x.reshape(len(x), -1).max(axis=1)
    return values


def nearest_is(number: int, points: Floats, x: Array) -> NDArray[np.bool_]:
    """Return for each sample whether its nearest point is `points[number]`, shape (n,)."""
    scores = x.reshape(len(x), -1) @ points.T.astype(x.dtype)
    scores -= ((points**2).sum(axis=1) / 2).astype(x.dtype)
    return np.asarray(scores.argmax(axis=1) == number)


def unknown() -> list[Problem]:
    """Return the problems of this module with NaN as their truth; `with_truth` fills it in."""
    hard = {
        "mean": "eight clusters of unequal weight and spread",
        "contrast": "eight clusters of unequal weight and spread",
        "maximum": "mostly even in the noise; a kink where another pixel becomes the brightest",
        "class": "an indicator: jumps where a sample goes over to another cluster",
    }
    found = []
    for side, kinds in (
        (4, ("mean", "maximum", "class")),
        (8, ("contrast", "maximum", "class")),
        (16, ("mean", "maximum", "class")),
    ):
        generator, centres = image_generator(side), image_mixture(side).means @ basis(side)
        statistics: dict[str, Callable[[Array], Array]] = {
            "mean": pixel_mean,
            "contrast": contrast,
            "maximum": maximum,
            "class": partial(nearest_is, 0, centres),
        }
        for kind in kinds:
            name = f"mixture-{side * side}-{kind}"
            found.append(_open(name, generator, statistics[kind], hard[kind], "mixture"))
    generator, hard_digits = digit_generator(), "ten points, nothing between them: samples jump from one to another"
    for kind, statistic in (("contrast", contrast), ("class", partial(nearest_is, 1, digits()))):
        found.append(_open(f"digits-{kind}", generator, statistic, hard_digits, "data"))
    return found


def _open(name: str, generator: Generator, statistic: Callable[[Array], Array], hard: str, family: str) -> Problem:
    event = math.nan if name.endswith("-class") else None
    return Problem(name, generator, statistic, math.nan, hard=hard, family=family, event_probability=event)
