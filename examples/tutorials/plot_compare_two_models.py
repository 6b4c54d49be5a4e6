"""
Compare two models
==================

After this tutorial you can say which of two models is better, and how sure you are of it.
You measure two samplers of one diffusion model on the same noise, read the interval of
their difference, and then rank more samplers by several scores in one call.
"""

# %%
# Two samplers of one model
# -------------------------
#
# mcgen ships a small diffusion model of handwritten digits, with its weights. Here it runs
# with 10 steps of DDIM, and with 10 steps of Heun. Both take the same noise: one standard
# normal number for each of the 64 pixels.

from typing import Any

import mcgen
from mcgen import statistics
from mcgen.adapters import features, models

ddim = models.load("digits-diffusion", steps=10)
heun = models.load("digits-diffusion", steps=10, sampler="heun")
print(ddim.noise)

# %%
# The same noise gives similar digits:

import matplotlib.pyplot as plt
import numpy as np

pictures, axes = plt.subplots(2, 1, figsize=(5, 2.8))
for ax, name, model in zip(axes, ("DDIM", "Heun"), (ddim, heun), strict=True):
    digits = np.asarray(mcgen.sample(model, 8, seed=1, condition=3))[:, 0]
    framed = np.pad(digits, ((0, 0), (0, 0), (0, 1)), constant_values=1)
    ax.imshow(np.hstack(list(framed)), cmap="gray", vmin=0, vmax=1)
    ax.set_title(name, loc="left")
    ax.axis("off")
pictures.tight_layout()

# %%
# Measure each of them
# --------------------
#
# A statistic is a function of one sample. ``statistics.brightness`` is the mean of the
# pixels. First measure each sampler alone, by 400 samples of the digit 3 and a seed of its
# own.

run: dict[str, Any] = dict(
    design=mcgen.MonteCarlo(), n_evaluations=400, condition=3, confidence_level=0.95
)
first = mcgen.estimate(ddim, statistics.brightness, seed=0, **run)
second = mcgen.estimate(heun, statistics.brightness, seed=1, **run)
print(first)
print(second)

# %%
# The number behind ± is half the width of the 95 % interval. Whether the two intervals
# overlap answers nothing: two intervals that overlap may belong to models that differ
# clearly. Ask for the difference itself.
#
# The difference on the same noise
# --------------------------------

difference = mcgen.difference(heun, ddim, statistics.brightness, seed=0, **run)
print(difference)

# %%
# The number is the first model minus the second. The result ends in "same noise":
# ``difference`` gave both samplers the same random numbers, since both can take them. What
# the two samples share cancels, so the interval is narrow.
#
# - If the interval does not contain 0, the models differ, in the direction of the sign.
# - If it contains 0, nothing is decided: the models may be equal, or the run too short.
# - In both cases the ends say how large the difference can be.

low, high = difference.interval
print(f"Heun minus DDIM: from {low:.4f} to {high:.4f}")
print("0 lies in the interval:", bool(low <= 0 <= high))

# %%
# What the same noise gains
# -------------------------
#
# ``common_random_numbers=False`` gives each model its own noise. The same number of samples
# then says less.

apart = mcgen.difference(
    heun, ddim, statistics.brightness, seed=0, common_random_numbers=False, **run
)
narrower = float(apart.half_width / difference.half_width)
print(apart)
print(f"On the same noise the interval is {narrower:.1f} times narrower.")
print(f"Independent noise would need {narrower**2:.0f} times the samples.")

# %%
# The gain is large where the models are alike: two checkpoints of one training, two numbers
# of steps, a network and its quantized copy. Models that share nothing, such as a VAE and a
# diffusion model, get independent noise by themselves.
#
# Several samplers, several scores
# --------------------------------
#
# ``evaluate`` takes models by name and scores by name. Each model makes its samples once for
# all scores, in antithetic pairs of noise z and -z, and all models get the same noise. The
# Fréchet distance compares the features of samples with those of real digits, which no
# model was trained on; its bias is removed.

from mcgen.functionals import frechet_distance

samplers = {
    "DDIM 5": models.load("digits-diffusion", steps=5),
    "DDIM 10": ddim,
    "DDIM 20": models.load("digits-diffusion", steps=20),
    "Heun 10": heun,
}
real = models.real_images("digits-diffusion")
scores: dict[str, Any] = {
    "FID": frechet_distance(real, features("digits-classifier")),
    "brightness": statistics.brightness,
}
card = mcgen.evaluate(samplers, scores, n_evaluations=1000, seed=0)
print(card)

# %%
# The plot has a panel for each score. In that of the FID, blue marks the models that cannot
# be told from the best one; the hollow marker is the usual FID, which has the bias and no
# interval.

figure = card.plot()
figure

# %%
# Here, too, intervals that overlap decide nothing. The differences do:

columns = ["first", "second", "difference", "low", "high", "verdict"]
card.differences("FID")[columns].round(1)

# %%
# All intervals of this table hold together with 95 %, however many pairs there are. So the
# verdicts may be read side by side.

differences = card.plot_differences("FID")
differences

# %%
# ``best`` returns the models that can be the best one. Where it returns several, more
# evaluations may separate them. A distance is better where it is smaller; for other scores
# say which direction is good, by ``largest=``.

card.best("FID")

# %%
# What to remember
# ----------------
#
# - Ask for the difference; never compare two intervals by eye.
# - Give both models the same noise where they can take it. That is the default.
# - A difference that is clear may still be too small to matter: look at its size.
# - Do not train on the seed. A new decision gets a new seed.
#
# Where to go next
# ----------------
#
# - :doc:`/how-to/compare-checkpoints`: add a checkpoint later without running the others
#   again, and write a report.
# - :doc:`/how-to/two-models`: models that share a part of their noise, or none.
# - :doc:`/how-to/report-an-fid`: what the FID and its interval mean.
# - :doc:`/how-to/many-conditions`: averages over classes or prompts.
