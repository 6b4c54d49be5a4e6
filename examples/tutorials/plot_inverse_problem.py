"""
Benchmark an inverse-problem solver
===================================

After this tutorial you can measure a solver that draws reconstructions at random: how good
it is on your test images, how good on images like them, and whether it beats another
solver. The example fills in hidden pixels of digits by two solvers, DPS and DDS.
"""

# %%
# The problem
# -----------
#
# A measurement shows half of the pixels of a digit, with noise of standard deviation 0.05.
# The test images are 12 real digits that the diffusion model has not seen in training.

from typing import Any

import numpy as np

import mcgen
from mcgen.adapters import DDS, DPS, FeatureDistance, Inpainting, features, models

rng = np.random.default_rng(0)
real = models.real_images("digits-diffusion")
truths = real[rng.choice(len(real), 12, replace=False)]
operator = Inpainting.random((1, 8, 8), hidden=0.5, seed=0)
noise = rng.standard_normal((12, *operator.measurement_shape))
measured = [operator.measure(x, 0.05, n) for x, n in zip(truths, noise, strict=True)]

# %%
# The solvers
# -----------
#
# Both solvers follow the same prior, a diffusion model, and correct each of its steps
# towards the measurement. Their noise is that of the prior: the start and, for ``eta=1``,
# every step.

prior = models.load("digits-diffusion", steps=10, eta=1.0)
dps = DPS(prior, operator)
dds = DDS(prior, operator, noise_sd=0.05)

# %%
# A solver takes the measurement as its condition. A score needs the true image too. So let
# the condition be the number of the image, by which both find what they need.


def of_image(solver: mcgen.Generator, name: str) -> mcgen.Generator:
    """Return the solver of the measurement with a given number."""
    return mcgen.as_generator(
        lambda z, k: solver(z, measured[k]), noise=solver.noise, name=name
    )


solvers = {"DPS": of_image(dps, "DPS"), "DDS": of_image(dds, "DDS")}

# %%
# Look at some reconstructions before you measure: the truth, what is measured, and one
# sample of each solver.

import matplotlib.pyplot as plt

shown = [
    truths[:8, 0],
    np.where(operator.mask, truths[:8], 0.5)[:, 0],
    *(
        [np.asarray(mcgen.sample(one, 1, seed=0, condition=k))[0, 0] for k in range(8)]
        for one in solvers.values()
    ),
]
pictures, axes = plt.subplots(4, 1, figsize=(5, 4.2))
for ax, title, row in zip(axes, ("truth", "measured", *solvers), shown, strict=True):
    framed = np.pad(np.asarray(row), ((0, 0), (0, 0), (0, 1)), constant_values=1)
    ax.imshow(np.hstack(list(framed)), cmap="gray", vmin=0, vmax=1)
    ax.set_title(title, loc="left", fontsize=9)
    ax.axis("off")
pictures.tight_layout()

# %%
# The score
# ---------
#
# A statistic of samples and condition has ``uses_condition=True``. This one has two
# components: the PSNR in decibels, and a distance of the features of a small classifier of
# digits. LPIPS is such a distance with another network;
# ``FeatureDistance.from_lpips(lpips.LPIPS())`` takes it.

distance = FeatureDistance(features("digits-classifier"))


def quality_of(samples: Any, k: int) -> Any:
    """Return the PSNR and the feature distance to the truth, shape (n, 2)."""
    x = np.asarray(samples)
    psnr = mcgen.statistics.PSNR(truths[k])(x)
    return np.stack([psnr, distance(x, np.full_like(x, truths[k]))], axis=1)


quality = mcgen.as_statistic(
    quality_of,
    name="quality",
    components=["PSNR", "feature distance"],
    uses_condition=True,
)

# %%
# These 12 images
# ---------------
#
# ``condition=`` takes a dictionary of names and conditions. Each image gets 50 samples: 25
# pairs of noise z and -z. A store keeps what was run, in a file; here it is a temporary one.

import tempfile
from pathlib import Path

store = Path(tempfile.mkdtemp(), "dps.sqlite")
images = {f"image {k}": k for k in range(12)}
run: dict[str, Any] = dict(
    design=mcgen.Antithetic(), n_evaluations=50, seed=0, condition=images
)
average = mcgen.estimate(solvers["DPS"], quality, store=store, **run)
print(average)

# %%
# The result is the average over exactly these images. Its interval covers the randomness of
# the solver and nothing else: with other noise, the average over the same 12 images would
# lie there. ``average["image 0"]`` is the estimate of one image, and the plot shows all.

figure = average.plot()
figure

# %%
# Images like these
# -----------------
#
# A benchmark means more: the 12 images stand for all digits. They are a sample of a
# population, and another sample would have another average. ``across="population"`` says
# so. The samples are the same, so the store has them all, and no solver runs again.

population = mcgen.estimate(
    solvers["DPS"], quality, across="population", store=store, **run
)
print(population)

# %%
# The estimates are the same numbers, and the interval is much wider, because digits differ
# more than samples of one digit. One side may be longer than the other: the feature
# distances are skewed, and a few images have far larger ones. A paper that reports the
# narrow interval for "digits" claims too much. Which interval you need depends on your
# sentence:
#
# - "on this test set": the average;
# - "on images of this kind": the population.
#
# More images, or more samples of each?
# -------------------------------------
#
# The result knows both sources of its variance, and says which one to reduce.

parts = population.variance_components
assert parts is not None  # only a population has them
print(parts.advice(population.names))
print("with 64 images: ", parts.standard_error(n_units=64).round(3))
print("with 500 samples:", parts.standard_error(n_evaluations=500).round(3))
print("as it is:        ", np.round(population.standard_error, 3))

# %%
# Is DPS better than DDS?
# -----------------------
#
# Give both solvers the same images and the same noise. Each image is then compared with
# itself, and what makes an image difficult cancels.

difference = mcgen.difference(
    solvers["DPS"], solvers["DDS"], quality, across="population", **run
)
print(difference)

# %%
# The first solver minus the second: for the PSNR more is better, for a distance less. An
# interval without 0 says that one solver is better on images of this kind, not only on
# these 12. The interval of the difference is narrower than that of a solver alone:

gain = np.asarray(population.half_width) / np.asarray(difference.half_width)
print("times narrower:", gain.round(1))

# %%
# What the interval does not cover
# --------------------------------
#
# - The test images must be a random sample of what you claim. No interval repairs a
#   selection.
# - The solvers are approximations. The interval is about the solver's samples, not about
#   the exact posterior.
# - The settings are part of the solver: steps, strength, the noise that it assumes.
#
# Where to go next
# ----------------
#
# - :doc:`/how-to/many-conditions`: populations, groups of images that belong together, and
#   the cost of one more image.
# - :doc:`/how-to/adapters`: the operators, DPS and DDS, and solvers of your own.
# - :doc:`/how-to/two-models`: differences on the same and on independent noise.
# - :doc:`/explanation/interval`: what an interval covers.
