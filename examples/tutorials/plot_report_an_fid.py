"""
Report an FID
=============

After this tutorial you can give the Fréchet distance (FID) of a model with an interval and
without the bias that makes it fall with the number of samples. You can compare two models
by it, and write down what a reader needs to judge the number.
"""

# %%
# A model, real images, features
# ------------------------------
#
# An FID compares the mean and the covariance of features of samples with those of real
# images. Here the model is a small diffusion model of digits, the real images are held-out
# digits, and the features are the 64 hidden units of a small classifier of digits. All
# three ship with mcgen.

import mcgen
from mcgen.adapters import features, models
from mcgen.functionals import frechet_distance, kernel_distance

model = models.load("digits-diffusion", steps=10)
real = models.real_images("digits-diffusion")
network = features("digits-classifier")
print(real.shape, network.n_features)

# %%
# For your model, replace these three by a generator, by an array or a folder of images, and
# by a function from images to features. The how-to page below shows the Inception network
# of other packages.
#
# The number and its interval
# ---------------------------

fid = frechet_distance(real, network)
result = mcgen.estimate(
    model, fid, design=mcgen.MonteCarlo(), n_evaluations=1000, seed=0
)
print(result)

# %%
# ``estimate`` takes an FID like any other score. The number has the bias removed. It
# belongs to the model, not to the number of samples. Other packages print the plug-in,
# which is the formula applied to the samples as they are:

print(f"corrected: {result.mean:.1f}, usual: {result.plug_in:.1f}")

# %%
# The usual value depends on the number of samples
# ------------------------------------------------
#
# ``evaluate(..., curves=True)`` computes both values from the first n samples, for several
# n.

card = mcgen.evaluate(
    {"10 steps": model}, {"FID": fid}, n_evaluations=2000, seed=0, curves=True
)
card.curves["FID"]["10 steps"].round(1)

# %%
# The model is the same in each row, but the plug-in of few samples is several times that of
# many. So two FIDs from different numbers of samples cannot be compared. The corrected
# estimate has no such trend: it varies by chance, and its interval says how much.

figure = card.plot_curves("FID")
figure

# %%
# How many samples does it take?
# ------------------------------
#
# The reference knows it before the run. Below ``fewest_samples`` the run is refused; from
# ``enough_samples`` on the bias is removed but for about 1 %. The width of the interval is
# another question: four times the samples halve it.

moments = fid.target.moments
print(moments.fewest_samples, moments.enough_samples)

# %%
# Two samplers
# ------------
#
# Do twice the steps make a better FID? Ask for the difference. Both samplers take the same
# noise, which cancels most of the error.

more = models.load("digits-diffusion", steps=20)
difference = mcgen.difference(
    model, more, fid, design=mcgen.MonteCarlo(), n_evaluations=1000, seed=0
)
print(difference)

# %%
# The number is the FID of 10 steps minus the FID of 20 steps. The interval holds no 0 where
# one of them is better. It is narrower than that of either FID alone:

narrower = float(result.half_width / difference.half_width)
print(f"{narrower:.1f} times narrower than the interval of the FID of 10 steps")

# %%
# Fixed real images, or a sample of them?
# ---------------------------------------
#
# By default the distance is to exactly these real images, which all models share. That is
# what a comparison needs. For the distance to the law behind the real images, say that they
# are a sample: the bias of their number is removed, and their error counts.

from mcgen.functionals import reference

sampled = frechet_distance(reference(real, fixed=False), network)
wider = mcgen.estimate(
    model, sampled, design=mcgen.MonteCarlo(), n_evaluations=1000, seed=0
)
print(wider)

# %%
# A table for the paper
# ---------------------
#
# ``evaluate`` measures several models by several scores, on the same noise. KID has no bias
# for any number of samples, and stands well beside the FID. The models that cannot be told
# from the best are in bold.

scores = {"FID": fid, "KID": kernel_distance(real, network)}
table = mcgen.evaluate(
    {"10 steps": model, "20 steps": more}, scores, n_evaluations=1000, seed=0
)
print(table.to_markdown())

# %%
# ``to_latex()`` makes the same table for LaTeX, without a package.
#
# What to write
# -------------
#
# An FID means something only beside others with the same features and the same real images.
# The result knows what to say:

provenance = result.provenance
low, high = result.interval
print(f"FID {result.mean:.1f}, 95 % interval [{low:.1f}, {high:.1f}]")
print(f"bias removed; the usual, biased value is {result.plug_in:.1f}")
print("features:", provenance.features)
print("real images:", provenance.reference)
print(f"samples: {result.n_evaluations}, design: {provenance.design}")

# %%
# What the interval does not say
# ------------------------------
#
# - It is about one choice of features. Other features may rank the models otherwise.
# - A model that repeats its training images has a good FID against them. Use held-out
#   images, and look at samples.
# - Choose among many checkpoints by ``card.best("FID")``, not by the smallest number.
#
# Where to go next
# ----------------
#
# - :doc:`/how-to/report-an-fid`: Inception features, classes in equal shares, images without
#   a model, how often the intervals cover.
# - :doc:`/how-to/compare-checkpoints`: many models, reports, checkpoints that come later.
# - :doc:`/how-to/functionals`: other scores that are no means.
# - :doc:`/explanation/interval`: what an interval covers.
