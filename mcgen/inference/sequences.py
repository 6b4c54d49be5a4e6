r"""Confidence sequences: intervals that may be looked at after every replicate, and stopped at by any rule.

A confidence sequence covers at all numbers of replicates together: with probability c none of its intervals misses, so
that whoever stops, for whatever reason, holds an interval that covers. Both here are centred at the mean of n
replicate means with standard deviation s, and are given in standard errors s / sqrt n. With alpha = 1 - c:

The **normal mixture with estimated variance**. For a normal law with mean mu, any variance and T the t statistic of mu,

.. math::

    M_n = \sqrt r \left(\frac{1 + T^2 / (n - 1)}{1 + r T^2 / (n - 1)}\right)^{n / 2}, \qquad r = \frac{\phi}{\phi + n},

is the likelihood ratio of mu + delta sigma, delta ~ N(0, 1 / phi), to mu, both with the right Haar measure of sigma: a
martingale of mean 1 of what does not depend on sigma [2]_, so that P(M_n >= 1 / alpha for any n) <= alpha by Ville's
inequality. That event is one of the whole path, whatever else is looked at: stopping by s, which the martingale's
own filtration does not have, is allowed. Solved for T, with :math:`c = (\alpha^2 r)^{-1 / n}`,

.. math:: |T| < \sqrt{(n - 1) (c - 1) / (1 - c r)}, \quad \text{without an end where } c r \ge 1 .

It is exact in that sense for normal replicate means from n = 2 on. Lai [1]_ mixes over all means alike, by an improper
law, which is no martingale of mean 1 and has other constants; the proper one is of Wang and Ramdas [2]_.

The **asymptotic** one [3]_ needs no normal law, and holds in the limit of late first looks only:

.. math:: \sqrt{\frac{2 (n \rho^2 + 1)}{n \rho^2} \log\frac{\sqrt{n \rho^2 + 1}}{\alpha}} .

How phi and rho are chosen. With known variance and x = 1 / rho^2 = phi, both are the square root of
(1 + x / n) (log(1 + n / x) + 2 log(1 / alpha)). It is least over x where y = 1 + n / x solves y - log y = 1 + 2
log(1 / alpha), so y = -W(-alpha^2 / e) with the lower branch of Lambert's function. Then n / x = y - 1 = 8.21 at
alpha = 0.05, and the sequence is sqrt(y) = 3.03 standard errors wide at the planned n, 1.55 times the normal interval.

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

FEWEST_FOR_ASYMPTOTIC = 30


def planned_ratio(confidence_level: float) -> float:
    """Return y - 1, the planned number of replicates over phi: 8.21 at 0.95."""
    y = -float(lambertw(-((1 - confidence_level) ** 2) / math.e, -1).real)
    # At levels near 0 the branch point's rounding may leave no difference.
    return max(y - 1, 1e-6)


def mixture_t_half_width(n: float | Floats, planned: float, confidence_level: float) -> Floats:
    """Return the half-width of the normal mixture with estimated variance, in standard errors.

    Parameters
    ----------
    n : float or ndarray
        Numbers of replicates, 2 or more.
    planned : float
        The number at which it is to be narrowest, chosen before the data.
    confidence_level : float
        Of all n together, in (0, 1).

    Returns
    -------
    ndarray of the shape of `n`
        Infinite where n is too small for the sequence to have an end.
    """
    n = np.asarray(n, dtype=np.float64)
    log_r = -np.log1p(n * (planned_ratio(confidence_level) / planned))
    log_c = -(2 * math.log1p(-confidence_level) + log_r) / n
    # Powers overflow for the smallest n alone, where c r >= 1 too.
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        squared = (n - 1) * np.expm1(log_c) / -np.expm1(log_c + log_r)
        return np.asarray(np.sqrt(np.where(log_c + log_r < 0, squared, np.inf)))


def asymptotic_half_width(n: float | Floats, planned: float, confidence_level: float) -> Floats:
    """Return the half-width of the asymptotic confidence sequence, in standard errors.

    Parameters
    ----------
    n, planned, confidence_level
        As of `mixture_t_half_width`.

    Returns
    -------
    ndarray of the shape of `n`
        Infinite below 30 replicates, where the limit says nothing.
    """
    n = np.asarray(n, dtype=np.float64)
    x = n * (planned_ratio(confidence_level) / planned)
    squared = (1 + 1 / x) * (np.log1p(x) - 2 * math.log1p(-confidence_level))
    return np.asarray(np.where(n >= FEWEST_FOR_ASYMPTOTIC, np.sqrt(squared), np.inf))


SEQUENCES = {"anytime": mixture_t_half_width, "asymptotic-anytime": asymptotic_half_width}
"""By the names of the intervals."""
