"""
Noise and its negation
======================

A diffusion model of image patches makes nearly opposite images from noise z and from -z: blue
for red, dark for bright. So the brightness of a pair varies less than that of two independent
images, and the same number of runs gives a narrower interval.
"""

from matplotlib.figure import Figure

import mcgen
from mcgen import Antithetic, MonteCarlo, statistics
from mcgen.adapters import models

model = models.load("patches-diffusion", steps=10)
designs = {"independent noise": MonteCarlo(), "pairs (z, -z)": Antithetic()}
estimates = {
    label: mcgen.estimate(
        model, statistics.brightness, design=design, n_evaluations=64, seed=0
    )
    for label, design in designs.items()
}

# %%
# The upper images are made from z, the lower ones from -z. Below are the intervals for the
# brightness, each from 64 runs of the model.

figure = Figure(figsize=(7, 3.3), dpi=130, layout="constrained")
above, below = figure.subplots(2, 1, height_ratios=[1.8, 1])
mcgen.plots.samples(model, 8, above, seed=1)
mcgen.plots.forest(estimates, below)
figure
