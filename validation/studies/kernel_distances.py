r"""Studies of distances by a kernel (KID, energy distance): coverage, no bias, and that simpler methods fail.

Two promises were declared before the runs, as in `mcgen.validation.studies.distances`. Intervals of nominally 95 %
cover 0.93 or more in each cell, and the mean of the estimates is the truth. The features, references and numbers of
samples are not those with which the intervals were developed. True values:

- cubic kernel: :math:`\sum_k \binom{3}{k} d^{-k} |E x^{\otimes k} - E y^{\otimes k}|^2`, k from 1 to 3, with the third
  moments of normal features in closed form and those of a network from 2^20 points of nets;
- energy distance of normal features with the covariance :math:`\sigma^2 I`: for a normal difference of mean length r
  and standard deviation s, :math:`E|x - y| = s \sqrt 2\, \Gamma(\frac{d+1}2) / \Gamma(\frac d2)\,
  {}_1F_1(-\frac12; \frac d2; -\frac{r^2}{2 s^2})`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache, partial

import numpy as np
from scipy.special import gamma, hyp1f1

import mcgen
from mcgen import functionals
from mcgen._lib.arrays import Floats
from mcgen.designs import Sobol
from mcgen.functionals.distances import Distance
from mcgen.functionals.references import ReferenceFeatures
from mcgen.inference.distances.feature_moments import FeatureMoments
from mcgen.validation.problems.feature_laws import FeatureLaw, linear, rectified
from mcgen.validation.studies.distance_runs import (
    DESIGNS,
    Outcome,
    covering,
    estimated,
    pooled,
    repeated,
    replicates_for,
    sampled,
)
from mcgen.validation.studies.verdicts import Study, Verdict, control, mean

EPSILONS = (0.0, 0.15, 0.5)
"""How far the law of the reference is: its features are x + epsilon (E x + v)."""
N_REFERENCE = 400
"""Points of a reference."""
N_POINTS = 320
"""Samples of a run, at least; 20 replicates of nets have more."""
# Points from which the third moments of a network are computed, in nets.
_NETS, _POINTS = 16, 2**16

Moments = tuple[Floats, Floats, Floats]


@dataclass(frozen=True, eq=False)
class KernelCase:
    """A distance by a kernel of a law of features.

    Attributes
    ----------
    name : str
        What the features and the kernel are.
    law : FeatureLaw
        The features.
    energy : bool
        Whether it is the energy distance; by default the cubic kernel's.
    """

    name: str
    law: FeatureLaw
    energy: bool = False

    def score(self, target: ReferenceFeatures, block_size: int | None = None) -> Distance:
        """Return the distance from a reference."""
        made = functionals.energy_distance if self.energy else functionals.kernel_distance
        return made(target, block_size=block_size)

    def from_points(self, points: Floats) -> float:
        """Return the true distance from some points, which are the reference."""
        if self.energy:
            law = self.law.moments
            s = math.sqrt(law.covariance[0, 0])
            between = _mean_length(np.linalg.norm(points - law.mean, axis=1), s, len(law.mean)).mean()
            among = np.linalg.norm(points[:, None] - points, axis=2).mean()
            return float(2 * between - self._own - among)
        return cubic_distance(_moments_of(self.law), moments_of_points(points))

    def from_law(self, epsilon: float) -> float:
        """Return the true distance from the law of the reference."""
        if self.energy:
            law, (mean, _) = self.law.moments, (self.law.at(epsilon)[0].mean, None)
            gap = float(np.linalg.norm(mean - law.mean))
            s = math.sqrt(law.covariance[0, 0])
            own = s * (1 + epsilon)
            d = len(mean)
            between = _mean_length(np.array([gap]), math.hypot(s, own), d)[0]
            return float(2 * between - self._own - _mean_length(np.zeros(1), own * math.sqrt(2), d)[0])
        return cubic_distance(_moments_of(self.law), _transported(self.law, epsilon))

    @property
    def _own(self) -> float:
        """The mean distance of two points of the model."""
        law = self.law.moments
        s = math.sqrt(2 * law.covariance[0, 0])
        return float(_mean_length(np.zeros(1), s, len(law.mean))[0])


def _mean_length(r: Floats, s: float, d: int) -> Floats:
    """Return the mean length of normal vectors with the standard deviation s of each entry, and means of length r."""
    factor = s * math.sqrt(2) * gamma((d + 1) / 2) / gamma(d / 2)
    return np.asarray(factor * hyp1f1(-0.5, d / 2, -(r**2) / (2 * s**2)))


@lru_cache
def _isotropic(d: int) -> FeatureLaw:
    """Return independent normal features of the same variance, whose references are larger by 1 + epsilon."""
    m = np.linspace(-1, 1, d)

    class Isotropic(FeatureLaw):
        """Features that references stretch in all directions alike."""

        @property
        def directions(self) -> tuple[Floats, Floats]:
            return np.eye(d), np.full(d, 0.5)

    return Isotropic(f"isotropic, d = {d}", lambda z: m + 0.7 * z, d, FeatureMoments(m, 0.49 * np.eye(d)), 76_000)


def cases() -> tuple[KernelCase, ...]:
    """Return the distances of the tables."""
    return (
        KernelCase("cubic kernel, linear, d = 8", linear(8)),
        KernelCase("cubic kernel, rectified, d = 10", rectified(10, 6)),
        KernelCase("energy, normal, d = 12", _isotropic(12), energy=True),
    )


def moments_of_points(x: Floats) -> Moments:
    """Return the mean tensors of x of the first three orders."""
    n = len(x)
    return x.mean(axis=0), x.T @ x / n, np.einsum("ni,nj,nk->ijk", x, x, x, optimize=True) / n


@lru_cache
def _moments_of(law: FeatureLaw) -> Moments:
    """Return the moments of a law: of normal features in closed form, of others from nets."""
    if law.name.startswith("linear"):
        m, s = law.moments.mean, law.moments.covariance
        mixed = np.einsum("i,jk->ijk", m, s)
        third = np.einsum("i,j,k->ijk", m, m, m) + mixed + mixed.transpose(1, 0, 2) + mixed.transpose(1, 2, 0)
        return m, s + np.outer(m, m), third
    third = np.mean([moments_of_points(net)[2] for net in _nets(law)], axis=0)
    return law.moments.mean, law.moments.covariance + np.outer(law.moments.mean, law.moments.mean), third


def _nets(law: FeatureLaw) -> list[Floats]:
    drawn = np.asarray(Sobol(_POINTS).draw(law.generator.noise, _NETS, 77))
    return [law.map(net) for net in drawn]


def _transported(law: FeatureLaw, epsilon: float) -> Moments:
    """Return the moments of the reference's law, an affine map of the features."""
    e, v = law.directions
    t = np.eye(len(v)) + epsilon * e
    shift = law.moments.mean + epsilon * v - t @ law.moments.mean
    m1, m2, m3 = _moments_of(law)
    one = t @ m1
    two = t @ m2 @ t
    three = np.einsum("ai,bj,ck,ijk->abc", t, t, t, m3, optimize=True)
    c = np.einsum("i,jk->ijk", shift, two)
    b = np.einsum("i,j,k->ijk", shift, shift, one)
    third = three + c + c.transpose(1, 0, 2) + c.transpose(1, 2, 0) + b + b.transpose(0, 2, 1) + b.transpose(2, 0, 1)
    third = third + np.einsum("i,j,k->ijk", shift, shift, shift)
    outer = np.outer(shift, one)
    return one + shift, two + outer + outer.T + np.outer(shift, shift), third


def cubic_distance(a: Moments, b: Moments) -> float:
    """Return the squared distance by the cubic kernel of laws with these moments."""
    d = len(a[0])
    return float(
        sum(math.comb(3, k) * ((x - y) ** 2).sum() / d**k for k, (x, y) in enumerate(zip(a, b, strict=True), 1))
    )


def cell(case: KernelCase, epsilon: float, design: str, fixed: bool, runs: int, seed: int) -> Outcome:
    """Return the outcome of runs with an exact reference, one set of points, or with a fresh sample in each run."""
    drawn, law = DESIGNS[design], case.law
    count = replicates_for(drawn, N_POINTS)
    what = f"{case.name}, epsilon = {epsilon:g}, {design}, R = {count}, {'exact' if fixed else 'sampled'} reference"

    def points(own: np.random.Generator) -> Floats:
        return law.transported(law.sample(N_REFERENCE, own), epsilon)

    if fixed:
        values = points(np.random.default_rng(law.seed))
        score = case.score(sampled(values, True))
        return repeated(what, partial(estimated, law, score, drawn, count), case.from_points(values), runs, seed)

    def run(own: np.random.SeedSequence) -> mcgen.Estimate:
        return estimated(law, case.score(sampled(points(np.random.default_rng(own)), False)), drawn, count, own)

    return repeated(what, run, case.from_law(epsilon), runs, seed)


def in_blocks(case: KernelCase, epsilon: float, design: str, runs: int, seed: int) -> Outcome:
    """Return the outcome of runs of 24 blocks of 128 samples with an exact reference."""
    drawn, law = DESIGNS[design], case.law
    values = law.transported(law.sample(N_REFERENCE, np.random.default_rng(law.seed)), epsilon)
    score = case.score(sampled(values, True), block_size=128)
    count = 24 * 128 // drawn.n_points
    what = f"{case.name}, epsilon = {epsilon:g}, {design}, 24 blocks of 128"
    return repeated(what, partial(estimated, law, score, drawn, count), case.from_points(values), runs, seed)


def coverage(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts on coverage; the control takes a sampled reference for exact."""
    runs = 100 if full else 40
    found: list[Verdict] = []
    together: dict[str, list[Outcome]] = {}
    for case in cases():
        cells = [
            cell(case, epsilon, design, fixed, runs, seed)
            for epsilon in (EPSILONS if full else EPSILONS[::2])
            for design in (DESIGNS if full else ("pairs",))
            for fixed in (True, False)
        ]
        if full:
            cells += [in_blocks(case, epsilon, "pairs", runs // 2, seed) for epsilon in EPSILONS]
        found.append(covering(f"the distance by a kernel, {case.name},", cells))
        together[case.name] = cells
    return [
        *found,
        pooled("the distance by a kernel in all cells together", together),
        CONTROLS["a sample taken as exact"](seed),
    ]


def _taken_as_exact(runs: int, seed: int) -> Outcome:
    """Return the outcome of sampled references that are taken for exact."""
    case, epsilon = cases()[0], EPSILONS[-1]
    law, drawn = case.law, DESIGNS["pairs"]

    def run(own: np.random.SeedSequence) -> mcgen.Estimate:
        values = law.transported(law.sample(N_REFERENCE, np.random.default_rng(own)), epsilon)
        return estimated(law, case.score(sampled(values, True)), drawn, N_POINTS // 2, own)

    return repeated(f"{case.name}, pairs", run, case.from_law(epsilon), runs, seed)


def no_bias(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts that the estimate has no bias; the control has pairs of points of one replicate, under pairs."""
    runs, found = 300 if full else 200, []
    for case in cases() if full else cases()[:1]:
        for design in DESIGNS if full else ("pairs", "nets of 64"):
            made = cell(case, EPSILONS[1], design, False, runs if "nets" not in design else runs // 2, seed)
            found.append(mean(f"E of the distance, {made.what}", made.means, made.truth))
    return [*found, CONTROLS["pairs inside replicates"](seed)]


def _with_own_pairs(seed: int) -> Verdict:
    """Return the verdict on the mean of the usual value, which has pairs of points of one replicate, under pairs."""
    wrong = cell(cases()[0], EPSILONS[1], "pairs", True, 100, seed)
    what = "E of the distance by a kernel with pairs of points of one replicate, under pairs"
    return mean(what, wrong.plug_ins, wrong.truth)


CONTROLS: dict[str, Callable[[int], Verdict]] = {
    "a sample taken as exact": lambda seed: control(
        covering("a sampled reference taken as exact, by a kernel,", [_taken_as_exact(100, seed)])
    ),
    "pairs inside replicates": lambda seed: control(_with_own_pairs(seed)),
}
"""Negative controls by name, made from a seed."""

STUDIES: dict[str, Study] = {
    "distances by a kernel, coverage": coverage,
    "distances by a kernel, no bias": no_bias,
}
