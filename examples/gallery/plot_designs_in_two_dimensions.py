"""
Designs in two dimensions
=========================

Each design draws dependent noise vectors in its own way. Two pictures show how: the points
of six designs in two dimensions, and how fast the variance of a mean falls with the number
of points. :doc:`How designs work </explanation/designs>` explains what they show.
"""

# %%
# Points
# ------
#
# ``design.draw`` gives the noise alone. Every panel has 16 points of two normal numbers.
# Points of one replicate have one colour, and lines join each point with its negation.
# The grid of the hypercube has 16 columns and 16 rows of equal probability, with one point in
# each. The net has one point in each of 4 x 4 boxes of equal probability as well.

import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
from matplotlib.figure import Figure
from numpy.typing import NDArray
from scipy.stats import norm

import mcgen

N = 16
designs: list[mcgen.Design] = [
    mcgen.MonteCarlo(),
    mcgen.Antithetic(),
    mcgen.KAntithetic(4),
    mcgen.OrthogonalAntithetic(4),
    mcgen.LatinHypercube(N),
    mcgen.Sobol(N),
]

points = Figure(figsize=(9, 6.4), layout="constrained")
axes = points.subplots(2, 3, sharex=True, sharey=True)
for ax, design in zip(axes.flat, designs, strict=True):
    replicates = np.asarray(design.draw((2,), replicates=N // design.n_points, seed=3))
    for replicate in replicates:
        ax.scatter(
            *replicate.T,
            s=28,
            zorder=2,
            color="#0072b2" if len(replicates) in (1, N) else None,
        )
        if isinstance(design, mcgen.Antithetic | mcgen.OrthogonalAntithetic):
            for first, second in zip(replicate[::2], replicate[1::2], strict=True):
                ax.plot(*np.stack([first, second]).T, lw=0.8, color="0.6", zorder=1)
    ax.set_title(f"{design}\n{len(replicates)} x {design.n_points}", fontsize=10)
    ax.set_aspect("equal")
    ax.set(xlim=(-3, 3), ylim=(-3, 3))
for ax, cells in zip(axes.flat[-2:], (16, 4), strict=True):
    for edge in norm.ppf(np.arange(1, cells) / cells):
        ax.axvline(edge, lw=0.4, color="0.75", zorder=0)
        ax.axhline(edge, lw=0.4, color="0.75", zorder=0)

# %%
# Variance
# --------
#
# Four statistics of the two numbers differ in what a design can cancel. An estimate from R
# replicates has the squared standard error s²/R, so its product with R is the variance of
# the mean over one replicate.

Statistic = Callable[[NDArray[np.float64]], NDArray[np.float64]]
statistics: dict[str, Statistic] = {
    "almost odd:\nsin(a + b) + 0.1 cos(a - b)": lambda z: (
        np.sin(z.sum(1)) + 0.1 * np.cos(z[:, 0] - z[:, 1])
    ),
    "additive:\nexp(a / 2) + exp(b / 2)": lambda z: np.exp(z / 2).sum(1),
    "smooth, with interactions:\nexp((a + b) / 2)": lambda z: np.exp(z.sum(1) / 2),
    "a jump:\n1 where a + b > 1": lambda z: (z.sum(1) > 1).astype(float),
}
noise = mcgen.as_generator(lambda z: z, noise=(2,), name="noise")


def variance(
    statistic: Statistic, design: mcgen.Design, n_replicates: int = 200
) -> float:
    """Return the variance of the mean over one replicate of the design."""
    result = mcgen.estimate(
        noise, statistic, design=design, n_replicates=n_replicates, seed=0
    )
    return float(result.standard_error) ** 2 * result.n_replicates


sizes = [4, 16, 64, 256, 1024]
fixed = {"MonteCarlo()": mcgen.MonteCarlo(), "Antithetic()": mcgen.Antithetic()}
growing: dict[str, list[mcgen.Design]] = {
    "LatinHypercube(n)": [mcgen.LatinHypercube(n) for n in sizes],
    "Sobol(n)": [mcgen.Sobol(n) for n in sizes],
    "Antithetic(Sobol(n / 2))": [mcgen.Antithetic(mcgen.Sobol(n // 2)) for n in sizes],
}
looks = zip(
    ("#4c566a", "#0072b2", "#e69f00", "#d55e00", "#009e73"), "sovD^", strict=True
)
styles = dict(zip([*fixed, *growing], looks, strict=True))

variances = Figure(figsize=(9, 7.4), layout="constrained")
axes = variances.subplots(2, 2, sharex=True)
for ax, (title, statistic) in zip(axes.flat, statistics.items(), strict=True):
    curves = {
        label: variance(statistic, one) * one.n_points / np.array(sizes)
        for label, one in fixed.items()
    }
    curves |= {
        label: np.array([variance(statistic, one) for one in several])
        for label, several in growing.items()
    }
    for label, values in curves.items():
        colour, marker = styles[label]
        ax.loglog(sizes, values, marker=marker, ms=4, lw=1.2, color=colour, label=label)
    ax.set_title(title, fontsize=10)
    ax.grid(alpha=0.3)
for ax in axes[1]:
    ax.set_xlabel("points in the mean, n")
for ax in axes[:, 0]:
    ax.set_ylabel("variance of the mean")
handles, labels = axes[0, 0].get_legend_handles_labels()
_ = variances.legend(handles, labels, loc="outside lower center", ncol=3, frameon=False)

# %%
# Independent points and pairs fall as 1/n: pairs gain a constant factor. Sobol' points are
# steeper, most of all for smooth statistics. Hypercubes are as steep for the additive statistic,
# and as flat as independent points for the interactions of the others.

# %%
# Gains
# -----
#
# The same as numbers: the variance of 64 independent points over that of 64 points of a design,
# from 2,000 replicates of each.

contenders: list[mcgen.Design] = [
    *(mcgen.Antithetic(), mcgen.KAntithetic(4), mcgen.OrthogonalAntithetic(4)),
    *(mcgen.LatinHypercube(64), mcgen.Sobol(64), mcgen.Antithetic(mcgen.Sobol(32))),
]
for title, statistic in statistics.items():
    independent = variance(statistic, mcgen.MonteCarlo(), 20_000)
    print(title)
    for design in contenders:
        gain = independent / (design.n_points * variance(statistic, design, 2000))
        print(f"{gain:8.3g}  {design}")

# %%
# Run this script with a folder to keep both pictures there, as
# ``python examples/gallery/plot_designs_in_two_dimensions.py docs/images`` does.

for folder in sys.argv[1:]:
    points.savefig(Path(folder) / "designs-points.png", dpi=110)
    variances.savefig(Path(folder) / "designs-variance.png", dpi=110)
