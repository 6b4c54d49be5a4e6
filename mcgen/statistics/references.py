"""Statistics that compare each sample with a reference.

A reference is the same for all conditions. Where each condition has its own, such as the truth of a measurement, make
a statistic of samples and condition by ``as_statistic(f, uses_condition=True)``; `PSNR` has an example.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mcgen._lib.arrays import as_numpy, rounding_of
from mcgen._lib.checks import checked_real
from mcgen.statistics._libraries import _like, _real

# Rounding errors of its type by which a value may lie outside the range: a sum of a few terms makes so many.
_ROUNDINGS = 8


@dataclass(frozen=True, eq=False)
class L1:
    """The mean absolute difference between each sample and a reference, mean abs(x - reference), shape (n,).

    Parameters
    ----------
    reference : array of the shape of one sample
        The reference, such as the true image of an inverse problem. It is the same for all conditions; `PSNR` shows
        how each condition gets its own.

    Examples
    --------
    >>> import numpy as np
    >>> from mcgen import statistics
    >>> statistics.L1(np.zeros((2, 2)))(np.array([[[1.0, -1.0], [0.5, 0.0]]])).tolist()
    [0.625]
    """

    reference: Any
    name = "l1"

    def __call__(self, samples: Any) -> Any:
        """Return the distances of n samples, shape (n,)."""
        return abs(_difference(samples, self.reference)).mean(1)


@dataclass(frozen=True, eq=False)
class PSNR:
    """The peak signal-to-noise ratio of each sample over a reference, in decibels, shape (n,).

    It is 10 log10(data_range^2 / mean (x - reference)^2).

    Parameters
    ----------
    reference : array of the shape of one sample
        The reference, such as the true image of an inverse problem. It is the same for all conditions.
    data_range : float
        The largest possible value minus the smallest: 1 for images in [0, 1], 2 in [-1, 1], 255 for bytes.

    Raises
    ------
    TypeError, ValueError
        If `data_range` is no number above 0.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> mcgen.statistics.PSNR(np.zeros(16))(np.full((1, 16), 0.1)).round(3).tolist()
    [20.0]

    With several measurements, each has a truth of its own. Let a condition be the pair of measurement and truth. The
    model uses the measurement, and the statistic the truth:

    >>> model = mcgen.as_generator(lambda z, pair: pair[0] + 0.1 * z, noise=(16,), name="model")
    >>> psnr = lambda x, pair: mcgen.statistics.PSNR(pair[1], data_range=4)(x)
    >>> statistic = mcgen.as_statistic(psnr, name="psnr", uses_condition=True)
    >>> truths = {"dark": np.zeros(16), "bright": np.ones(16)}
    >>> pairs = {name: (truth + 0.1, truth) for name, truth in truths.items()}
    >>> options = dict(condition=pairs, design=mcgen.MonteCarlo(), n_evaluations=640, seed=0)
    >>> own = mcgen.estimate(model, statistic, **options)
    >>> [round(float(part.mean), 1) for part in own.conditions]
    [29.2, 29.2]

    With the first truth for both, the second number answers another question:

    >>> first = mcgen.estimate(model, mcgen.statistics.PSNR(truths["dark"], data_range=4), **options)
    >>> [round(float(part.mean), 1) for part in first.conditions]
    [29.2, 11.2]
    """

    reference: Any
    data_range: float = 1.0
    name = "psnr"

    def __post_init__(self) -> None:
        if checked_real("data_range", self.data_range) <= 0:
            raise ValueError(
                f"data_range must be above 0: the largest possible value minus the smallest, such as 1 for images in "
                f"[0, 1] or 255 for bytes; got {self.data_range}"
            )

    def __call__(self, samples: Any) -> Any:
        """Return the ratios of n samples, shape (n,).

        Raises
        ------
        ValueError
            If a sample equals the reference, so that the ratio is infinite, or if a sample and the reference have
            values that are farther apart than `data_range`.
        """
        difference = _difference(samples, self.reference)
        self._require_range(samples)
        squared = (difference**2).mean(1)
        if (as_numpy(squared) == 0).any():
            raise ValueError("PSNR: a sample equals the reference, and the ratio is infinite; use L1 instead")
        # Torch tensors have a method log10; numpy arrays need the function.
        ratio = self.data_range**2 / squared
        return 10 * (ratio.log10() if hasattr(ratio, "log10") else np.log10(ratio))

    def _require_range(self, samples: Any) -> None:
        """Refuse a sample whose values, with those of the reference, do not fit into an interval of `data_range`."""
        rows = _real(samples).reshape(len(samples), -1)
        reference = np.real(as_numpy(self.reference)).astype(np.float64)
        values = np.real(as_numpy(rows)).astype(np.float64)
        low = np.minimum(values.min(axis=1, initial=np.inf), reference.min(initial=np.inf))
        high = np.maximum(values.max(axis=1, initial=-np.inf), reference.max(initial=-np.inf))
        allowed = self.data_range * (1 + _ROUNDINGS * max(rounding_of(rows), rounding_of(self.reference)))
        wide = np.flatnonzero(high - low > allowed)
        if wide.size:
            row = wide[0]
            raise ValueError(
                f"PSNR: a sample and the reference have values from {low[row]:.4g} to {high[row]:.4g}, and "
                f"data_range={self.data_range:g} allows a distance of {self.data_range:g}. Give the range of the "
                "values, such as data_range=255 for bytes, or clip the samples to it in a statistic of your own"
            )


def _difference(samples: Any, reference: Any) -> Any:
    samples = _real(samples)
    reference = _like(samples, reference)
    if tuple(samples.shape[1:]) != tuple(reference.shape):
        raise ValueError(
            f"the reference must have the shape of one sample, {tuple(samples.shape[1:])}; got {tuple(reference.shape)}"
        )
    return (samples - reference).reshape(len(samples), -1)
