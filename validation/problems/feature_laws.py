r"""Laws of features with known means and second moments, and references at a known Fréchet distance from them.

Features x of mean m and covariance S are one of

- linear: :math:`m + B^T z`, normal features;
- rectified: :math:`V^T \max(W^T z, 0)`. For units of norms a and b at the angle t the mean product is
  :math:`a b (\sin t + (\pi - t) \cos t) / 2 \pi` [1]_;
- elliptical: :math:`m + e^{s g - s^2} B^T z` with a normal g that all features share, so that fourth moments are twice
  those of normal features;
- lognormal: :math:`e^{c_j^T z}`, with :math:`E\, x_i x_j = e^{|c_i + c_j|^2 / 2}`;
- periodic: :math:`V^T \sin(W^T z + b)`, from :math:`E \cos(u) = e^{-\sigma^2 / 2} \cos \mu`.

For a symmetric positive definite :math:`T = I + \varepsilon E` the reference has the mean :math:`m + \varepsilon v` and
the covariance T S T. T is then the optimal transport from one to the other, and the distance is exactly
:math:`\varepsilon^2 (|v|^2 + \operatorname{tr} E S E)`.

.. rubric:: References

.. [1] Y. Cho, L. K. Saul (2009). Kernel methods for deep learning. NeurIPS 22.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import cached_property, lru_cache

import numpy as np
from scipy.linalg import sqrtm
from scipy.special import ndtr

from mcgen._lib.arrays import Floats
from mcgen.functionals.references import ReferenceFeatures, identity_of
from mcgen.generators import Generator, as_generator
from mcgen.inference.distances.feature_moments import FeatureMoments
from mcgen.noise import NoiseSpec
from mcgen.validation.problems._base import parameters

# Spread of the logarithm of the common scale: then E scale^4 = exp(4 s^2) = 2 for E scale^2 = 1.
_SCALE = math.sqrt(math.log(2)) / 2
# Eigenvalues of the covariances of linear and elliptical features fall geometrically from 1 to this, or to the other.
_LEAST, _STEEP = 0.05, 1e-4
# Share of the mean in a distance is 1/3: |v|^2 is this multiple of tr(E S E).
_OF_MEAN = 0.5
# Points from which the standard deviation of the influence is computed, and of how many numbers at most.
_PILOT, _PILOT_NUMBERS = 20_000, 2**23
# Largest eigenvalue of epsilon E, so that the reference has no direction without variance.
_MOST = 0.9


@dataclass(frozen=True, eq=False)
class FeatureLaw:
    """A model of features with known moments.

    Attributes
    ----------
    name : str
        What the features are.
    map : callable
        From noise of shape (n, p) to features of shape (n, d).
    noise : int
        The number of normal numbers p.
    moments : FeatureMoments
        Mean and covariance.
    seed : int
        The number that the directions of references come from.
    """

    name: str
    map: Callable[[Floats], Floats]
    noise: int
    moments: FeatureMoments
    seed: int

    @property
    def generator(self) -> Generator:
        """The model."""
        return as_generator(self.map, noise=NoiseSpec.normal((self.noise,), "float64"), name=self.name)

    def sample(self, n: int, rng: np.random.Generator) -> Floats:
        """Return independent features, shape (n, d)."""
        return self.map(rng.standard_normal((n, self.noise)))

    @cached_property
    def directions(self) -> tuple[Floats, Floats]:
        """The symmetric matrix E, whose largest eigenvalue is 1 in size, and the vector v."""
        d, s = len(self.moments.mean), self.moments.covariance
        vectors = np.linalg.qr(parameters(self.seed, d, d))[0]
        values = np.linspace(-1, 1, d)
        e = (vectors * values) @ vectors.T
        v = parameters(self.seed + 1, d)
        return e, v * math.sqrt(_OF_MEAN * np.trace(e @ s @ e) / (v @ v))

    def transported(self, x: Floats, epsilon: float) -> Floats:
        """Return features of this law as features of the reference."""
        e, v = self.directions
        centred = x - self.moments.mean
        return np.asarray(self.moments.mean + epsilon * v + centred + epsilon * centred @ e)

    def at(self, epsilon: float) -> tuple[FeatureMoments, float]:
        """Return the moments of a reference, and the distance from it."""
        e, v = self.directions
        s, transport = self.moments.covariance, np.eye(len(v)) + epsilon * e
        found = FeatureMoments(self.moments.mean + epsilon * v, transport @ s @ transport)
        return found, epsilon**2 * float(v @ v + np.trace(e @ s @ e))

    @cached_property
    def _spread(self) -> float:
        """The standard deviation of the influence of a point, for epsilon = 1."""
        e, v = self.directions
        points = min(_PILOT, _PILOT_NUMBERS // len(v))
        x = self.sample(points, np.random.default_rng(self.seed)) - self.moments.mean
        return float((2 * x @ v + ((x @ e) * x).sum(axis=1)).std())

    @property
    def _second(self) -> float:
        """The standard deviation at a distance of 0 times n, of normal features with this covariance."""
        s = np.linalg.eigvalsh(self.moments.covariance)
        products = np.outer(s, s) / np.add.outer(s, s)
        pairs = (products**2).sum() / 2 - (np.diagonal(products) ** 2).sum() / 2
        return math.sqrt(2 * (float((s**2).sum()) + float(pairs) + float((s**2).sum()) / 4))

    def epsilon(self, errors: float, n: int) -> float:
        """Return epsilon for a distance of about so many standard errors of n independent points, at most 0.9.

        With the variance epsilon^2 sigma^2 / n + V_2 its square is the root of a quadratic equation.
        """
        e, v = self.directions
        one = float(v @ v + np.trace(e @ self.moments.covariance @ e))
        b, c = errors**2 * self._spread**2 / n, (errors * self._second / n) ** 2
        return min(math.sqrt((b + math.sqrt(b**2 + 4 * one**2 * c)) / 2) / one, _MOST)


def exact(moments: FeatureMoments) -> ReferenceFeatures:
    """Return a reference that is known exactly."""
    return ReferenceFeatures(moments, None, True, "exact moments", identity_of(None, len(moments.mean)))


def squared_distance(a: FeatureMoments, b: FeatureMoments) -> float:
    """Return the squared Fréchet distance of two laws by the matrix root: exact, and without samples."""
    root = np.real(sqrtm(a.covariance))
    middle = np.linalg.eigvalsh(root @ b.covariance @ root)
    gap = a.mean - b.mean
    return float(gap @ gap + a.trace + b.trace - 2 * np.sqrt(np.maximum(middle, 0)).sum())


def _factor(seed: int, d: int, steep: bool) -> Floats:
    """Return a matrix B with B^T B of geometrically falling eigenvalues, shape (d, d)."""
    vectors = np.linalg.qr(parameters(seed, d, d))[0]
    return np.asarray(np.sqrt(np.geomspace(1, _STEEP if steep else _LEAST, d))[:, None] * vectors.T)


def _named(kind: str, d: int, steep: bool) -> str:
    return f"{kind}{', steep' if steep else ''}, d = {d}"


@lru_cache
def linear(d: int, steep: bool = False) -> FeatureLaw:
    """Return normal features; steep ones have a small effective rank."""
    b, m = _factor(7100 + d, d, steep), parameters(7000 + d, d)
    moments = FeatureMoments(m, b.T @ b)
    return FeatureLaw(_named("linear", d, steep), lambda z: m + z @ b, d, moments, 70_000 + 10 * d)


@lru_cache
def elliptical(d: int, steep: bool = False) -> FeatureLaw:
    """Return features with a common random scale; steep ones have a small effective rank."""
    b, m = _factor(7200 + d, d, steep), parameters(7000 + d, d)

    def made(z: Floats) -> Floats:
        scale = np.exp(_SCALE * z[:, :1] - _SCALE**2)
        return np.asarray(m + scale * (z[:, 1:] @ b))

    return FeatureLaw(_named("elliptical", d, steep), made, d + 1, FeatureMoments(m, b.T @ b), 71_000 + 10 * d)


@lru_cache
def rectified(d: int, noise: int, change: float = 0.0) -> FeatureLaw:
    """Return features of a network with 3 d rectified units; `change` perturbs all weights by this share."""
    units = 3 * d
    w, v = (
        (parameters(seed + d, *shape) + change * parameters(seed + 1000 + d, *shape)) / math.sqrt(shape[0])
        for seed, shape in ((7300, (noise, units)), (7400, (units, d)))
    )
    norms = np.linalg.norm(w, axis=0)
    angles = np.arccos(np.clip(w.T @ w / np.outer(norms, norms), -1, 1))
    products = np.outer(norms, norms) * (np.sin(angles) + (math.pi - angles) * np.cos(angles)) / (2 * math.pi)
    mean = norms / math.sqrt(2 * math.pi)
    moments = FeatureMoments(mean @ v, v.T @ (products - np.outer(mean, mean)) @ v)
    name = f"rectified, d = {d}" + (f", weights changed by {change:g}" if change else "")
    return FeatureLaw(name, lambda z: np.maximum(z @ w, 0) @ v, noise, moments, 72_000 + 10 * d)


@lru_cache
def lognormal(d: int) -> FeatureLaw:
    """Return exponentials of correlated normal numbers of standard deviation 1/2."""
    c = parameters(7500 + d, d, d)
    c = c / (2 * np.linalg.norm(c, axis=0))
    gram = c.T @ c
    mean = np.exp(np.diagonal(gram) / 2)
    moments = FeatureMoments(mean, np.outer(mean, mean) * np.expm1(gram))
    return FeatureLaw(f"lognormal, d = {d}", lambda z: np.exp(z @ c), d, moments, 73_000 + 10 * d)


@lru_cache
def periodic(d: int, noise: int) -> FeatureLaw:
    """Return features of a network with 3 d sines."""
    units = 3 * d
    w, b = parameters(7600 + d, noise, units), parameters(7610 + d, units)
    v = parameters(7700 + d, units, d) / math.sqrt(units)

    def cosine(mean: Floats, square: Floats) -> Floats:
        return np.asarray(np.exp(-square / 2) * np.cos(mean))

    gram = w.T @ w
    squares = np.diagonal(gram)
    mean = np.exp(-squares / 2) * np.sin(b)
    total = np.add.outer(squares, squares)
    products = (cosine(np.subtract.outer(b, b), total - 2 * gram) - cosine(np.add.outer(b, b), total + 2 * gram)) / 2
    moments = FeatureMoments(mean @ v, v.T @ (products - np.outer(mean, mean)) @ v)
    return FeatureLaw(f"periodic, d = {d}", lambda z: np.sin(z @ w + b) @ v, noise, moments, 74_000 + 10 * d)


@dataclass(frozen=True, eq=False)
class LawByClass:
    """A model of classes, in equal shares, and the law of all features together.

    Attributes
    ----------
    classes : tuple of FeatureLaw
        The law of each class; all have the same numbers of noise and features.
    pooled : FeatureLaw
        The law of all together, from one more number of noise.
    """

    classes: tuple[FeatureLaw, ...]
    pooled: FeatureLaw

    @property
    def generator(self) -> Generator:
        """The model, whose condition is the number of the class."""
        spec = NoiseSpec.normal((self.classes[0].noise,), "float64")
        return as_generator(lambda z, number: self.classes[int(number)].map(z), noise=spec, name=self.pooled.name)


@lru_cache
def by_class(d: int) -> LawByClass:
    """Return three classes of features: linear, lognormal and rectified."""
    classes = (linear(d), lognormal(d), rectified(d, d))
    means = np.stack([one.moments.mean for one in classes])
    seconds = [one.moments.covariance + np.outer(one.moments.mean, one.moments.mean) for one in classes]
    mean = means.mean(axis=0)
    moments = FeatureMoments(mean, np.mean(seconds, axis=0) - np.outer(mean, mean))

    def made(z: Floats) -> Floats:
        number = np.minimum((ndtr(z[:, -1]) * len(classes)).astype(int), len(classes) - 1)
        return np.asarray(np.stack([one.map(z[:, :-1]) for one in classes], axis=1)[np.arange(len(z)), number])

    pooled = FeatureLaw(f"three classes, d = {d}", made, d + 1, moments, 75_000 + 10 * d)
    return LawByClass(classes, pooled)
