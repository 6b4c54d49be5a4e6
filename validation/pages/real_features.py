"""Coverage of distances of shipped models by shipped networks of features, with a large pool as the population.

The pool has the features of N noises and of their negations, in an order such that the places u N and (1 - u) N hold a
pair. A model that returns the features at the place u then has the pool as its law, and antithetic pairs of it are
antithetic pairs of the model.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property, lru_cache, partial

import numpy as np

import mcgen
from mcgen import functionals
from mcgen._lib.arrays import Floats, as_numpy
from mcgen.designs import Design, MonteCarlo
from mcgen.functionals.distances import Distance
from mcgen.inference.distances.feature_moments import FeatureMoments
from mcgen.noise import NoiseSpec
from mcgen.validation.problems.feature_laws import squared_distance
from mcgen.validation.studies.distance_runs import DESIGNS, Outcome, repeated, replicates_for, sampled
from mcgen.validation.studies.kernel_distances import Moments, cubic_distance, moments_of_points

MODELS = {"mnist-vae": ("mnist-classifier", 8000), "digits-diffusion": ("digits-classifier", 3000)}
"""Shipped models, their networks of features, and how many pairs make a pool."""
_BATCH = 500
# Points of the reference of a distance by a kernel, whose pairs are formed in each run.
_MOST_OF_KERNEL = 500


@dataclass(frozen=True, eq=False)
class Pool:
    """Features of a model, and two references.

    Attributes
    ----------
    features : ndarray of shape (2 N, d)
        The population.
    references : dict of str to ndarray of shape (M, d)
        Features of real images, and of other samples of the same model.
    """

    features: Floats
    references: dict[str, Floats]

    @property
    def moments(self) -> FeatureMoments:
        """Mean and covariance of the population."""
        return FeatureMoments(self.features.mean(axis=0), np.cov(self.features, rowvar=False, ddof=0))

    @cached_property
    def tensors(self) -> Moments:
        """The mean tensors of the population of the first three orders."""
        return moments_of_points(self.features)


@lru_cache
def pool(name: str) -> Pool:
    """Return the pool of a shipped model."""
    from mcgen.adapters import features, models

    network, pairs = MODELS[name]
    of_images = features(network)
    model = models.load(name)

    def seen(noise: Floats) -> Floats:
        parts = [noise[start : start + _BATCH] for start in range(0, len(noise), _BATCH)]
        return np.concatenate([as_numpy(of_images(model(part))).astype(np.float64) for part in parts])

    noise = np.asarray(MonteCarlo().draw(model.noise, pairs + pairs // 2, 1))[:, 0]
    own = noise[:pairs]
    real = as_numpy(of_images(models.real_images(name))).astype(np.float64)
    return Pool(
        np.concatenate([seen(own), seen(-own)[::-1]]),
        {"real images": real, "other samples of the model": seen(noise[pairs:])},
    )


def cell(name: str, target: str, kind: str, design: str, n: int, runs: int, seed: int) -> Outcome:
    """Return the outcome of runs of a distance of a pool."""
    found, drawn = pool(name), DESIGNS[design]
    values, count = found.references[target], replicates_for(DESIGNS[design], n)
    if kind != "Fréchet":
        values = values[:_MOST_OF_KERNEL]
    exact = sampled(values, True)
    score: Distance
    if kind == "Fréchet":
        score, truth = functionals.frechet_distance(exact), squared_distance(found.moments, exact.moments)
    else:
        score = functionals.kernel_distance(exact)
        truth = cubic_distance(found.tensors, moments_of_points(values))
    what = f"{kind}, {name}, {target}, {design}, n = {n:,}"
    return repeated(what, partial(_estimated, found.features, score, drawn, count), truth, runs, seed)


def _estimated(
    features: Floats, score: Distance, design: Design, n_replicates: int, seed: np.random.SeedSequence
) -> mcgen.Estimate:
    def at_place(u: Floats) -> Floats:
        return np.asarray(features[np.minimum((u[:, 0] * len(features)).astype(int), len(features) - 1)])

    spec = NoiseSpec((("place", mcgen.Block((1,), "uniform")),), "float64")
    generator = mcgen.as_generator(at_place, noise=spec, name="pool")
    size = design.n_points * n_replicates
    return mcgen.estimate(generator, score, design=design, n_replicates=n_replicates, seed=seed, batch_size=size)
