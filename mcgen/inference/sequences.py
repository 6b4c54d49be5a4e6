r"""Confidence sequences: intervals that may be looked at after every replicate, and whose run may stop by any rule.

A confidence sequence covers at all numbers of replicates together: with probability c none of its intervals misses the
expectation. So a run may stop for any reason, and its interval still covers. Both sequences here start from a
half-width around the mean of n replicate means with standard deviation s. It is in units of the standard error
s / sqrt(n). With alpha = 1 - c:

The **normal mixture with estimated variance**. For a normal law with mean mu, any variance, and T the t statistic for
mu,

.. math::

    M_n = \sqrt r \left(\frac{1 + T^2 / (n - 1)}{1 + r T^2 / (n - 1)}\right)^{n / 2}, \qquad r = \frac{\phi}{\phi + n},

is the likelihood ratio of the means mu + delta sigma, delta ~ N(0, 1 / phi), to mu, both mixed over the right Haar
measure of sigma. As a function of scale-invariant statistics it is a martingale of mean 1 [2]_, so that
P(M_n >= 1 / alpha for any n) <= alpha by Ville's inequality. This bounds the probability over the whole path. So a rule
may also stop by s, although s is not in the martingale's own filtration. Solved for T, with
:math:`c = (\alpha^2 r)^{-1 / n}`,

.. math:: |T| < \sqrt{(n - 1) (c - 1) / (1 - c r)}, \quad \text{without an end where } c r \ge 1 .

For normal replicate means this holds exactly from n = 2 on. Lai [1]_ mixes over all means with an improper flat law;
that is no martingale of mean 1 and has other constants. The proper mixture is that of Wang and Ramdas [2]_.

The **asymptotic sequence** [3]_ needs no normal law, but holds only in the limit of late first looks:

.. math:: \sqrt{\frac{2 (n \rho^2 + 1)}{n \rho^2} \log\frac{\sqrt{n \rho^2 + 1}}{\alpha}} .

Choice of phi and rho: with known variance and x = 1 / rho^2 = phi, both half-widths are the square root of
(1 + x / n) (log(1 + n / x) + 2 log(1 / alpha)). Their minimum over x is where y = 1 + n / x solves
y - log y = 1 + 2 log(1 / alpha). So y = -W(-alpha^2 / e), with the lower branch of Lambert's function W. At
alpha = 0.05 this gives n / x = y - 1 = 8.21. The half-width at the planned n is then sqrt(y) = 3.03 standard errors,
1.55 times that of the normal interval.

**Skewed replicate means** have other ends. Each side takes the farther of two ends: that of the half-width h, and that
of Hall's transformation at h (see `mcgen.inference.intervals`). There is no end below 30 replicates, none below 10 g^2
replicates for the estimated skewness g of the replicate means, and none while the replicate means are constant. A side
is never shorter than before, so what is proved for normal replicate means still holds. For other laws there is no
proof, and none is possible without bounds (see `betting`). Simulations from 5 to 10,000 replicates support it, at
nominal 0.05: the chance of ever missing was 0.035 for pairs of exp(w/2), where the half-width alone had 0.112, and
0.014 for Bernoulli(0.1), where it had 0.238. `docs/validation/stopping.md` has more laws.

.. rubric:: References

.. [1] T. L. Lai (1976). On confidence sequences. Ann. Statist. 4(2), 265-280.
.. [2] H. Wang, A. Ramdas (2023). Anytime-valid t-tests and confidence sequences for Gaussian means with unknown
   variance. arXiv:2310.03722: the Gaussian mixture under the right Haar mixture.
.. [3] I. Waudby-Smith, D. Arbour, R. Sinha, E. H. Kennedy, A. Ramdas (2024). Time-uniform central limit theory and
   asymptotic confidence sequences. Ann. Statist. 52(6), 2613-2640.
"""

from __future__ import annotations

import math

import numpy as np
from scipy.special import lambertw

from mcgen._lib.arrays import Floats
from mcgen.inference.interval_input import skewness_safe_ends

FEWEST_REPLICATES = 30
"""Fewest replicates at which a sequence of replicate means of any law has an end."""
REPLICATES_BY_SKEWNESS = 10
"""Replicates per squared skewness below which a sequence has no end: fewer seldom show how skewed they are."""
FEWEST_FOR_ASYMPTOTIC = 30
"""Fewest replicates at which the asymptotic sequence has an end: with fewer its limit is no approximation."""


def planned_ratio(confidence_level: float) -> float:
    """Return y - 1, the ratio of the planned number of replicates to phi: 8.21 at level 0.95."""
    y = -float(lambertw(-((1 - confidence_level) ** 2) / math.e, -1).real)
    # At levels near 0, y is next to the branch point 1, and rounding may make the difference 0.
    return max(y - 1, 1e-6)


def mixture_t_half_width(n: float | Floats, planned: float, confidence_level: float) -> Floats:
    """Return the half-width of the normal mixture with estimated variance, in standard errors.

    Parameters
    ----------
    n : float or ndarray
        Numbers of replicates, 2 or more.
    planned : float
        Number of replicates at which the sequence is narrowest, chosen before the data.
    confidence_level : float
        Probability that the intervals at all n cover together, in (0, 1).

    Returns
    -------
    ndarray of the shape of `n`
        Half-widths; infinite where n is too small for the sequence to have an end.
    """
    n = np.asarray(n, dtype=np.float64)
    log_r = -np.log1p(n * (planned_ratio(confidence_level) / planned))
    log_c = -(2 * math.log1p(-confidence_level) + log_r) / n
    # Powers overflow only for the smallest n, where c r >= 1 and the half-width is infinite anyway.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        squared = (n - 1) * np.expm1(log_c) / -np.expm1(log_c + log_r)
        return np.asarray(np.sqrt(np.where(log_c + log_r < 0, squared, np.inf)))


def asymptotic_half_width(n: float | Floats, planned: float, confidence_level: float) -> Floats:
    """Return the half-width of the asymptotic confidence sequence, in standard errors.

    Parameters
    ----------
    n, planned, confidence_level
        As for `mixture_t_half_width`.

    Returns
    -------
    ndarray of the shape of `n`
        Half-widths; infinite below 30 replicates, where the limit is no approximation.
    """
    n = np.asarray(n, dtype=np.float64)
    x = n * (planned_ratio(confidence_level) / planned)
    squared = (1 + 1 / x) * (np.log1p(x) - 2 * math.log1p(-confidence_level))
    return np.asarray(np.where(n >= FEWEST_FOR_ASYMPTOTIC, np.sqrt(squared), np.inf))


SEQUENCES = {"anytime": mixture_t_half_width, "asymptotic-anytime": asymptotic_half_width}
"""Half-widths of the confidence sequences, in standard errors, by the names of their intervals."""


def sequence_ends(
    method: str, n: float | Floats, planned: float, confidence_level: float, skewness: Floats
) -> tuple[Floats, Floats]:
    """Return the ends of a confidence sequence for replicate means of any law, in standard errors from the mean.

    Parameters
    ----------
    method : {"anytime", "asymptotic-anytime"}
        Where the half-width comes from.
    n, planned, confidence_level
        As for `mixture_t_half_width`.
    skewness : ndarray
        Skewness of the estimate, that of the replicate means over sqrt(n).

    Returns
    -------
    low, high : ndarray
        Infinite where the sequence has no end yet.
    """
    width = SEQUENCES[method](n, planned, confidence_level)
    ended = np.isfinite(width) & (np.asarray(n) >= FEWEST_REPLICATES) & (REPLICATES_BY_SKEWNESS * skewness**2 <= 1)
    low, high = skewness_safe_ends(np.where(ended, width, 1.0), skewness)
    return np.where(ended, low, -np.inf), np.where(ended, high, np.inf)
