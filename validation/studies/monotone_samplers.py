r"""When a diffusion sampler is monotone in its noise: data whose log density is supermodular (MTP2) [1]_.

A density p is **MTP2**, multivariate totally positive of order 2, if
:math:`p(x \vee y)\, p(x \wedge y) \ge p(x)\, p(y)` with the larger and the smaller of each two coordinates [2]_. For
smooth p > 0 this says :math:`\partial_i \partial_j \log p \ge 0` for all i != j.

Let t and s > t be the signal's shares before and after a step, and p_t the density of
:math:`x_t = \sqrt t\, x_0 + \sqrt{1 - t}\, \xi`. DDIM's step with the exact score is

.. math::

    F(x) = A x + B\, \nabla \log p_t(x), \qquad A = \sqrt{s / t}, \qquad
    B = A (1 - t) - \sqrt{(1 - s)(1 - t)} > 0.

If p_t is MTP2 with :math:`\partial_i^2 \log p_t \ge -M` and :math:`A - B M \ge 0`, no entry of the Jacobian
:math:`A I + B\, \nabla^2 \log p_t` is negative (propositions 9 and 10 of [1]_). Two facts leave MTP2 data as the only
assumption.

- **The bound on the step holds by itself.** The second formula of Tweedie is

  .. math::

      \nabla^2 \log p_t(x) = -\frac{I}{1 - t} + \frac{t}{(1 - t)^2} \operatorname{Cov}(x_0 \mid x_t = x),

  so M = 1 / (1 - t) serves for any data, and then
  :math:`A - B M = \sqrt{(1 - s) / (1 - t)} > 0` for a step of any length.
- **Noise keeps MTP2.** The joint density of x_0 and x_t is p_0 times the normal densities
  :math:`N(x_{t,i}; \sqrt t\, x_{0,i}, 1 - t)`, each totally positive in its two arguments.
  Products and marginal densities of MTP2 densities are MTP2 [2]_.

So for MTP2 data a sampler of any number of steps rises in each coordinate of its noise. With S that rises in each
coordinate, f = S o F has Cov(f(Z), f(-Z)) <= 0, by the argument of `many_dimensions` in
`mcgen.validation.studies.antithetic_theory`.

**One sign.** For S(x) = c'x this needs coefficients c of one sign. [1]_ states it for any linear statistic, but that
does not follow from a monotone F: F(x) = (max(x_1, x_2), min(x_1, x_2)) rises in both coordinates, and for c = (1, -1)
the statistic :math:`|x_1 - x_2|` is even. It does not follow from MTP2 data either. The means
:math:`(-a + r, -a - r), (-r, r), (a + r, a - r)` with 0 < 2 r < a rise in both coordinates, so a mixture of
N(mean, v I) is MTP2. Along this bent chain x_1 - x_2 is 2r, -2r, 2r: the same at both ends. So it is nearly even in the
noise of the sampler, and pairs lose (`bent_chain`).

.. rubric:: References

.. [1] J. Jia, S. Liu, B. Song, W. Yuan, L. Shen, G. Wang (2025). Antithetic noise in diffusion models.
   arXiv:2506.06185v2.
.. [2] S. Karlin, Y. Rinott (1980). Classes of orderings of measures and related correlation inequalities. I.
   Multivariate totally positive distributions. J. Multivariate Anal. 10(4), 467-498.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from scipy.special import softmax

from mcgen._lib.arrays import Floats
from mcgen.generators import Schedule
from mcgen.validation.problems.samplers import Mixture, MixtureDiffusion
from mcgen.validation.studies.antithetic_theory import ROUNDING, Nodes, random_mixture
from mcgen.validation.studies.verdicts import Study, Verdict, at_most, control

STEPS = (1, 2, 3, 5, 20, 100)
"""Numbers of steps that are checked."""


@dataclass(frozen=True)
class Step:
    """DDIM's step from share t of the signal to share s > t, by the score: F(x) = A x + B grad log p_t(x)."""

    t: float
    s: float

    @property
    def state(self) -> float:
        """The factor A."""
        return math.sqrt(self.s / self.t)

    @property
    def score(self) -> float:
        """The factor B."""
        return self.state * (1 - self.t) - math.sqrt((1 - self.s) * (1 - self.t))

    def least_slope(self, curvature: float) -> float:
        """Return A - B M for the curvature bound M."""
        return self.state - self.score * curvature


def signals(n_steps: int, first: float = 1e-3, last: float = 0.999) -> tuple[float, ...]:
    """Return n_steps + 1 shares of the signal, with equal steps of the angle whose squared cosine they are."""
    angles = np.linspace(math.acos(math.sqrt(first)), math.acos(math.sqrt(last)), n_steps + 1)
    return tuple((np.cos(angles) ** 2).tolist())


def noised(data: Mixture, t: float) -> Mixture:
    """Return the law of sqrt(t) x_0 + sqrt(1 - t) xi."""
    return data.at(-math.log(t) / 2)


def hessian(p: Mixture, x: Floats) -> Floats:
    """Return the Hessians (n, d, d) of log p at points (n, d)."""
    pulls = (p.means - x[:, None]) / p.variances
    shares = _shares(p, x)
    mean = np.einsum("nk,nki->ni", shares, pulls)
    second = np.einsum("nk,nki,nkj->nij", shares, pulls, pulls) - np.einsum("ni,nj->nij", mean, mean)
    inverse = np.broadcast_to(1 / p.variances, p.means.shape)
    return np.asarray(second - (shares @ inverse)[:, :, None] * np.eye(x.shape[1]))


def posterior_covariance(data: Mixture, t: float, x: Floats) -> Floats:
    """Return Cov(x_0 | x_t = x) (n, d, d) at points (n, d)."""
    spread = t * data.variances + 1 - t
    gain = math.sqrt(t) * data.variances / spread
    means = data.means + gain * (x[:, None] - math.sqrt(t) * data.means)
    shares = _shares(noised(data, t), x)
    between = means - np.einsum("nk,nki->ni", shares, means)[:, None]
    own = np.broadcast_to((1 - t) * data.variances / spread, data.means.shape)
    across = np.einsum("nk,nki,nkj->nij", shares, between, between)
    return np.asarray(across + (shares @ own)[:, :, None] * np.eye(x.shape[1]))


def ddim(data: Mixture, shares: Sequence[float], z: Floats) -> tuple[Floats, Floats]:
    """Return the samples (n, d) of DDIM from noise z, and the Jacobians (n, d, d) of the samples in the noise."""
    x, jacobian = z, np.broadcast_to(np.eye(z.shape[1]), (len(z), z.shape[1], z.shape[1]))
    for step in (Step(t, s) for t, s in pairwise(shares)):
        p = noised(data, step.t)
        jacobian = (step.state * np.eye(z.shape[1]) + step.score * hessian(p, x)) @ jacobian
        x = step.state * x + step.score * p.score(x)
    return x, jacobian


def ordered_mixture(rng: np.random.Generator, dimension: int = 2) -> Mixture:
    """Return an MTP2 mixture: two to four normal laws of one variance, whose means rise in each coordinate."""
    k = int(rng.integers(2, 5))
    means = rng.uniform(-2, 1, dimension) + np.cumsum(rng.exponential(1.0, (k, dimension)), axis=0)
    return Mixture(rng.dirichlet(np.ones(k)), means - means.mean(axis=0), np.full((1, dimension), rng.uniform(0.1, 1)))


def mirrored(data: Mixture) -> Mixture:
    """Return the law with the sign of the first coordinate changed."""
    signs = np.where(np.arange(data.means.shape[1]) == 0, -1.0, 1.0)
    return Mixture(data.weights, data.means * signs, data.variances)


def bent_chain() -> Mixture:
    """Return MTP2 data whose x_1 - x_2 is nearly even in the noise of the sampler, as the module's docstring says."""
    means = np.array([[-5.5, -6.5], [-0.5, 0.5], [6.5, 5.5]])
    return Mixture(np.array([0.25, 0.5, 0.25]), means, np.full((1, 2), 0.05))


def curvature_bound(full: bool, seed: int) -> list[Verdict]:
    """Hess log p_t >= -I / (1 - t) for any data, so no eigenvalue of DDIM's Jacobian is below sqrt((1 - s) / (1 - t)).

    Given x_t = x, x_0 has a density proportional to p_0(y) exp(sqrt(t) y'x / (1 - t) - t |y|^2 / (2 (1 - t))): an
    exponential family in x. Its covariance is (1 - t)^2 / t times the Hessian of log p_t(x) + |x|^2 / (2 (1 - t)). That
    is Tweedie's second formula. A covariance has no negative eigenvalue, so the Hessian has none below -1 / (1 - t).
    A score that is not the exact one of any data can break the bound. Doubled, it does.
    """
    rng = np.random.default_rng([seed, 1])
    tweedie, slope, below, doubled = 0.0, 0.0, -math.inf, -math.inf
    n = 300 if full else 40
    for _ in range(n):
        data, x = random_mixture(rng, 2), rng.normal(0, 2, (20, 2))
        step = Step(*np.sort(rng.uniform(0.01, 0.99, 2)).tolist())
        found, t = hessian(noised(data, step.t), x), step.t
        stated = t / (1 - t) ** 2 * posterior_covariance(data, t, x) - np.eye(2) / (1 - t)
        tweedie = max(tweedie, float(np.max(np.abs(found - stated)) / np.max(np.abs(stated))))
        least = math.sqrt((1 - step.s) / (1 - t))
        slope = max(slope, abs(step.least_slope(1 / (1 - t)) - least))
        eigenvalues = np.linalg.eigvalsh(found)
        below = max(below, least - (step.state + step.score * float(eigenvalues.min())))
        doubled = max(doubled, least - (step.state + 2 * step.score * float(eigenvalues.min())))
    what = f"of {n} random mixtures and steps, the largest"
    return [
        at_most(f"relative gap of the Hessian of log p_t to Tweedie's formula {what}", tweedie, ROUNDING),
        at_most(f"|A - B / (1 - t) - sqrt((1 - s) / (1 - t))| {what}", slope, ROUNDING),
        at_most(f"sqrt((1 - s) / (1 - t)) less the least eigenvalue of the Jacobian {what}", below, ROUNDING),
        control(at_most("the same with the score doubled", doubled, ROUNDING)),
    ]


def gaussian_data(full: bool, seed: int) -> list[Verdict]:
    """N(m, K^{-1}) is MTP2 if no off-diagonal entry of its precision K is positive, so that K is an M-matrix.

    log p has the Hessian -K. With noise the precision is (t K^{-1} + (1 - t) I)^{-1} = (I - t ((1 - t) K + t I)^{-1}) /
    (1 - t). The inverse of an M-matrix has no negative entry, so the noised precision is an M-matrix too. An
    autoregressive process of order 1, with covariance r^|i - j| and 0 <= r < 1, is an instance. For r < 0 it is not.
    F is affine here, so pairs cancel every linear statistic, whatever the signs of its coefficients.
    """
    rng, d = np.random.default_rng([seed, 2]), 5
    nodes = Nodes.normal(3, d)
    precision, jacobian, wrong_sign, apart = -math.inf, -math.inf, -math.inf, 0.0
    n = 100 if full else 10
    for _ in range(n):
        r, distance = float(rng.uniform(0.05, 0.95)), np.abs(np.subtract.outer(np.arange(d), np.arange(d)))
        for steps in STEPS:
            path = signals(steps)
            matrices = [np.linalg.inv(t * r**distance + (1 - t) * np.eye(d)) for t in path]
            precision = max(precision, *(float(np.max(k - np.diag(np.diag(k)))) for k in matrices))
            matrix = _affine(r**distance, path)
            jacobian = max(jacobian, -float(matrix.min()))
            apart = max(apart, abs(1 + nodes.pair_correlation(nodes.z @ matrix.T @ rng.normal(size=d))))
            wrong_sign = max(wrong_sign, -float(_affine((-r) ** distance, path).min()))
    what = f"of {n} autoregressive processes with r > 0, {_after()}"
    return [
        at_most(f"off-diagonal entries of noised precisions {what}, the largest", precision, ROUNDING),
        at_most(f"minus the entries of the Jacobian {what}, the largest", jacobian, ROUNDING),
        control(at_most("the same with r < 0", wrong_sign, ROUNDING)),
        at_most("1 + Corr(f(Z), f(-Z)), f = c'F and c of any signs, the largest", apart, ROUNDING),
    ]


def mixture_data(full: bool, seed: int) -> list[Verdict]:
    """Mixtures of N(m_k, v I) whose means rise in each coordinate are MTP2, and DDIM is monotone on them.

    N(x_i; m_ki, v) is totally positive in x_i and k, so the joint density of x and the component is MTP2, and so is the
    marginal density of x. Noise keeps this form. For two components at +-m, log p_t is a quadratic without mixed terms
    plus log cosh(sqrt(t) m'x / (t v + 1 - t)). Its mixed derivatives are m_i m_j times a positive function. If two
    coordinates of m have different signs, their posterior covariance is negative everywhere.

    Covariances of the samples are on symmetric nodes, for which the argument holds exactly. The controls have data with
    one coordinate mirrored, and coefficients of both signs: the map to (max, min), and a sampler on MTP2 data.
    """
    rng, nodes = np.random.default_rng([seed, 3]), Nodes.normal(16, 2)
    data = [ordered_mixture(rng) for _ in range(40 if full else 6)]
    slopes, covariances, mixed, mirror = [], [], [], []
    for p in data:
        for steps in STEPS:
            x, jacobian = ddim(p, signals(steps), nodes.z)
            slopes.append(-float(jacobian.min()))
            directions = [np.eye(2)[0], np.eye(2)[1], *rng.uniform(0, 1, (3, 2)), -rng.uniform(0, 1, 2)]
            covariances += [nodes.pair_covariance(x @ c) for c in directions]
        mixed.append(max(-float(posterior_covariance(p, t, nodes.z)[:, 0, 1].min()) for t in signals(20)))
        mirror.append(-float(ddim(mirrored(p), signals(20), nodes.z)[1].min()))
    *shares, end = signals(20)
    schedule = Schedule(shares[::-1], end=end)
    problem = MixtureDiffusion(data[0], schedule=schedule, steps=20, dtype="float64")
    gap = float(np.max(np.abs(problem(nodes.z) - ddim(data[0], signals(20), nodes.z)[0])))
    what = f"of {len(data)} ordered mixtures {_after()}"
    return [
        at_most("these samples less those of the package's DDIM, the largest", gap, ROUNDING),
        at_most(f"minus Cov(x_01, x_02 | x_t) of {len(data)} ordered mixtures, the largest", max(mixed), ROUNDING),
        at_most(f"minus the entries of the Jacobian {what}, the largest", max(slopes), ROUNDING),
        at_most(f"Cov(f(Z), f(-Z)), f = c'F and c of one sign, {what}, the largest", max(covariances), ROUNDING),
        control(
            at_most("minus the entries of the Jacobian, one coordinate mirrored, the least", min(mirror), ROUNDING)
        ),
        *_one_sign(),
    ]


STUDIES: dict[str, Study] = {
    "monotone samplers: the step": curvature_bound,
    "monotone samplers: normal data": gaussian_data,
    "monotone samplers: mixtures": mixture_data,
}
"""Studies by title."""


def _one_sign() -> list[Verdict]:
    """Return verdicts on monotone maps for which pairs gain with c = (1, 1) and lose with c = (1, -1)."""
    nodes = Nodes.normal(48, 2)
    sorted_noise = np.sort(nodes.z, axis=1)[:, ::-1]
    verdicts = _of_both_signs("F = (max, min)", sorted_noise, nodes)
    for steps in (20, 100):
        x, jacobian = ddim(bent_chain(), signals(steps), nodes.z)
        name = f"{steps} steps on a bent chain, which is MTP2"
        verdicts.append(at_most(f"minus the entries of the Jacobian of {name}", -float(jacobian.min()), ROUNDING))
        verdicts += _of_both_signs(name, x, nodes)
    return verdicts


def _of_both_signs(name: str, x: Floats, nodes: Nodes) -> list[Verdict]:
    """Return verdicts on samples x: pairs gain with c = (1, 1), and lose with c = (1, -1)."""
    one, both = (nodes.pair_covariance(x @ np.array(c)) for c in ((1.0, 1.0), (1.0, -1.0)))
    return [
        at_most(f"Cov(f(Z), f(-Z)) of {name}, c = (1, 1)", one, ROUNDING),
        control(at_most(f"Cov(f(Z), f(-Z)) of {name}, c = (1, -1)", both, ROUNDING)),
    ]


def _after() -> str:
    return f"after {', '.join(map(str, STEPS[:-1]))} and {STEPS[-1]} steps"


def _shares(p: Mixture, x: Floats) -> Floats:
    """Return the posterior probabilities (n, k) of the components at points (n, d)."""
    z2 = (x[:, None] - p.means) ** 2 / p.variances + np.log(p.variances)
    return np.asarray(softmax(np.log(p.weights) - z2.sum(axis=2) / 2, axis=1))


def _affine(covariance: Floats, shares: Sequence[float]) -> Floats:
    """Return the matrix of DDIM on data N(0, covariance), by its steps."""
    one = np.eye(len(covariance))
    matrix = one
    for step in (Step(t, s) for t, s in pairwise(shares)):
        precision = np.linalg.inv(step.t * covariance + (1 - step.t) * one)
        matrix = (step.state * one - step.score * precision) @ matrix
    return matrix
