"""Statistics that compare each sample with a reference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np

from mcgen._lib.arrays import as_numpy
from mcgen.statistics._libraries import _like, _real


@dataclass(frozen=True, eq=False)
class L1:
    """Mean absolute difference to a reference, mean abs(x - reference), shape (n,).

    Parameters
    ----------
    reference : array of the shape of one sample
        Reference, such as the true image of an inverse problem.
    """

    reference: Any
    name = "l1"

    def __call__(self, samples: Any) -> Any:
        """Return the distances of n samples, shape (n,)."""
        return abs(_difference(samples, self.reference)).mean(1)


@dataclass(frozen=True, eq=False)
class PSNR:
    """Peak signal-to-noise ratio, 10 log10(data_range^2 / mean (x - reference)^2) in decibels, shape (n,).

    Parameters
    ----------
    reference : array of the shape of one sample
        Reference, such as the true image of an inverse problem.
    data_range : float
        Largest possible value minus the smallest: 1 for images in [0, 1].
    """

    reference: Any
    data_range: float = 1.0
    name = "psnr"

    def __call__(self, samples: Any) -> Any:
        """Return the ratios of n samples, shape (n,).

        Raises
        ------
        ValueError
            If a sample equals the reference, so that the ratio is infinite.
        """
        squared = (_difference(samples, self.reference) ** 2).mean(1)
        if (as_numpy(squared) == 0).any():
            raise ValueError("PSNR: a sample equals the reference, and the ratio is infinite; use L1 instead")
        # Torch tensors have a method log10; numpy arrays need the function.
        ratio = self.data_range**2 / squared
        return 10 * (ratio.log10() if hasattr(ratio, "log10") else np.log10(ratio))


def _difference(samples: Any, reference: Any) -> Any:
    samples = _real(samples)
    reference = _like(samples, reference)
    if tuple(samples.shape[1:]) != tuple(reference.shape):
        raise ValueError(
            f"the reference must have the shape of one sample, {tuple(samples.shape[1:])}; got {tuple(reference.shape)}"
        )
    return (samples - reference).reshape(len(samples), -1)
