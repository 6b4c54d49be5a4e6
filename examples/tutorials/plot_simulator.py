"""
A simulator that is no neural network
=====================================

After this tutorial you can put any stochastic simulation into mcgen: say what noise it
takes, estimate means, probabilities, ratios and quantiles with intervals, choose a design,
and use what is known about the noise.
"""

# %%
# An epidemic
# -----------
#
# The example simulates an epidemic in many towns at once. Each sample is one town. Its two
# blocks of noise are:
#
# - ``days``: a standard normal number for each of 60 days, for the chance of the day;
# - ``town``: two uniform numbers in (0, 1), for what differs between towns.
#
# Noise is an argument: the function draws nothing itself. A uniform number becomes a number
# of any law by the inverse distribution function, here of a gamma law for the infections.

from typing import Any

import numpy as np
from scipy.stats import gamma

import mcgen

noise = mcgen.NoiseSpec(
    {
        "days": mcgen.Block((60,)),
        "town": mcgen.Block((2,), law="uniform"),
    }
)


def epidemic(z: Any) -> Any:
    """Return the share of a town that is ill on each day, shape (n, 60)."""
    rate = 0.3 * gamma.ppf(z["town"][:, 0], 8, scale=1 / 8)  # infections a day
    recovery = 0.1 + 0.05 * z["town"][:, 1]  # recoveries a day
    chance = np.exp(0.2 * z["days"] - 0.02)
    healthy, ill = np.full(len(rate), 0.99), np.full(len(rate), 0.01)
    path = []
    for day in range(60):
        new = healthy * (1 - np.exp(-rate * ill * chance[:, day]))
        healthy, ill = healthy - new, ill * np.exp(-recovery) + new
        path.append(ill)
    return np.stack(path, axis=1)


model = mcgen.as_generator(epidemic, noise=noise, name="epidemic")
print(model.noise)

# %%
# Look at some towns. ``sample`` draws the noise and runs the model.

import matplotlib.pyplot as plt

paths = mcgen.sample(model, 20, seed=1)
pictures, ax = plt.subplots(figsize=(5.5, 3))
ax.plot(paths.T, color="tab:blue", alpha=0.5)
ax.set_xlabel("day")
ax.set_ylabel("share of the town that is ill")
pictures.tight_layout()

# %%
# A mean and a probability
# ------------------------
#
# A statistic is a function of n samples that returns a number for each. Boolean values are
# events: their mean is a probability, and its interval is one for probabilities.

peak = mcgen.as_statistic(lambda x: x.max(axis=1), name="peak")
crowded = mcgen.as_statistic(lambda x: x.max(axis=1) > 0.3, name="crowded")
run: dict[str, Any] = dict(n_evaluations=6400, seed=0)
print("peak:", mcgen.estimate(model, peak, design=mcgen.Antithetic(), **run))
print("crowded:", mcgen.estimate(model, crowded, design=mcgen.Antithetic(), **run))

# %%
# Which design?
# -------------
#
# A design draws the noise of several samples together, so that their errors cancel.
# Antithetic pairs run z and -z, and u and 1 - u for uniform numbers. Sobol' points fill the
# space evenly. ``compare`` says what each is worth: the number of independent samples that
# one sample of the design replaces.

designs = [mcgen.MonteCarlo(), mcgen.Antithetic(), mcgen.Sobol(64)]
comparison = mcgen.compare(model, peak, designs=designs, **run)
print(comparison)

# %%
# The plot shows the efficiencies with their intervals.

figure = comparison.plot()
figure

# %%
# A quantile and a ratio
# ----------------------
#
# How bad is the worst town of twenty? That is a quantile, and no mean. And how much of the
# illness falls into the peak week? That is a ratio of two means. Both are *functionals*,
# and stand where a statistic stood.

from mcgen.functionals import quantile, ratio

worst = mcgen.estimate(model, quantile(peak, 0.95), design=mcgen.Sobol(64), **run)
print("95 % quantile of the peak:", worst)


def peak_week(x: Any) -> Any:
    """Return the ill days in the seven days around the peak, shape (n,)."""
    center = np.clip(x.argmax(axis=1), 3, x.shape[1] - 4)
    days = center[:, None] + np.arange(-3, 4)
    return np.take_along_axis(x, days, axis=1).sum(axis=1)


total = mcgen.as_statistic(lambda x: x.sum(axis=1), name="ill days")
week = mcgen.as_statistic(peak_week, name="ill days of the peak week")
share = mcgen.estimate(model, ratio(week, total), design=mcgen.Sobol(64), **run)
print("share of the peak week:", share)

# %%
# A policy
# --------
#
# What would a tenth fewer infections bring? The two models take the same noise: the same
# towns, the same days. So their difference is known well, for a quantile too.


def careful(z: Any) -> Any:
    """Return the epidemic with a tenth fewer infections a day."""
    u = z["town"][:, 0]
    fewer = gamma.cdf(0.9 * gamma.ppf(u, 8), 8)
    town = np.stack([fewer, z["town"][:, 1]], axis=1)
    return epidemic({"days": z["days"], "town": town})


policy = mcgen.as_generator(careful, noise=noise, name="careful")
print(
    mcgen.difference(policy, model, quantile(peak, 0.95), design=mcgen.Sobol(64), **run)
)

# %%
# What is known already
# ---------------------
#
# The mean of the infection rate is known: it is a gamma variable. Where the total of ill
# days follows the rate, a *control variate* takes that part of the error away. The control
# here is the rate and its square, as a small generator on the same noise, with their exact
# means.


def rate_of(z: Any) -> Any:
    """Return the relative infection rate and its square, shape (n, 2)."""
    relative = gamma.ppf(z["town"][:, 0], 8, scale=1 / 8)  # mean 1, variance 1 / 8
    return np.stack([relative, relative**2], axis=1)


rates = mcgen.as_generator(rate_of, noise=noise, name="infection rate")
controls = mcgen.controls.surrogate(rates, mcgen.statistics.identity, [1, 1 + 1 / 8])
pairs = mcgen.estimate(model, total, design=mcgen.Antithetic(), **run)
helped = mcgen.estimate(
    model, total, design=mcgen.Antithetic(), controls=controls, **run
)
print("pairs:              ", pairs)
print("pairs and controls: ", helped)

# %%
# The squared ratio of the half-widths says how many times more pairs would do the same:

gain = float(pairs.half_width / helped.half_width) ** 2
print(f"the controls are worth {gain:.1f} times the evaluations")

# %%
# Pairs take away what is odd in the noise, and the square is mostly even. So pairs and
# controls help each other. For a simulator with a time step, ``mcgen.multilevel`` is
# another way: longer steps do most of the work. It pays where the short and the long steps
# agree closely on the same noise, and warns where they do not.
#
# Where to go next
# ----------------
#
# - :doc:`/how-to/generators`: blocks of noise, conditions, and what a model must keep.
# - :doc:`/how-to/fewer-runs`: designs, control variates, levels, plans.
# - :doc:`/how-to/functionals` and :doc:`/how-to/quantiles`: scores that are no means.
# - :doc:`/explanation/choosing-a-design`: which design for which model.
