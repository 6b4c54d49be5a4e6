r"""How close samples are to given data: distances to the nearest two, and the share of copies.

The distance of a sample x to a datum y with d numbers is the root of the mean square :math:`\lVert x - y \rVert / \sqrt
d`. It has the unit of the data and can be compared between shapes. A sample is a copy if its distance to the nearest
datum is at most a share of that to the second nearest. Such a rule needs no scale; with the share 1/3 it is that of
[1]_ for copies of training images.

.. rubric:: References

.. [1] X. Gu, C. Du, T. Pang, C. Li, M. Lin, Y. Wang (2023). On memorization in diffusion models. arXiv:2310.02664.
   Section 2.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats, numbers_of
from mcgen._lib.checks import checked_real
from mcgen.statistics._libraries import _real

# Numbers of a table of distances from samples to data that are held at a time: 16 MB.
_AT_ONCE = 2**21


@dataclass(frozen=True, eq=False)
class Nearest:
    """Distances of each sample to the nearest two of given data, and whether it is a copy; made by `nearest`.

    Attributes
    ----------
    data : ndarray of shape (N, ...)
        The data, without repetitions.
    tolerance : float
        A sample is a copy if its distance to the nearest datum is at most this share of that to the second nearest.
    names : tuple of str
        Names of the components: "nearest", "second nearest" and "copy".

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> mcgen.statistics.nearest(np.eye(3)).names
    ('nearest', 'second nearest', 'copy')
    """

    data: Floats
    tolerance: float
    name: ClassVar[str] = "nearest datum"
    names: ClassVar[tuple[str, ...]] = ("nearest", "second nearest", "copy")

    def __mcgen_content__(self, load: bool) -> Any:
        return self.data, self.tolerance

    def __call__(self, samples: Any) -> Floats:
        """Return distance, second distance and 1 for a copy, of n samples of any library, shape (n, 3).

        Raises
        ------
        TypeError, ValueError
            If the samples are no array of real numbers in the shape of the data.
        """
        rows = numbers_of(_real(samples)).astype(np.float64)
        if rows.shape[1:] != self.data.shape[1:]:
            raise ValueError(f"samples must have the shape of the data, {self.data.shape[1:]}; got {rows.shape[1:]}")
        data = self.data.reshape(len(self.data), -1)
        flat = rows.reshape(len(rows), data.shape[1])
        step = max(1, _AT_ONCE // len(data))
        parts = [_two_least(flat[first : first + step], data) for first in range(0, len(flat), step)]
        distances = np.concatenate(parts) if parts else np.empty((0, 2))
        if not np.isfinite(distances).all():
            raise ValueError("a distance from a sample to a datum is not finite; look at the samples' size")
        copies = distances[:, 0] <= self.tolerance * distances[:, 1]
        return np.column_stack([distances, copies])

    def boolean_components(self, samples: Any) -> NDArray[np.bool_]:
        """Return which components are indicators: the last one."""
        return np.array([False, False, True])

    def component_bounds(self, k: int, samples: Any) -> Floats:
        """Return the least and the largest possible values, shape (2, k)."""
        return np.array([[0.0, 0.0, 0.0], [np.inf, np.inf, 1.0]])


def _two_least(rows: Floats, data: Floats) -> Floats:
    """Return the two least distances (n, 2) of rows (n, d) to data (N, d)."""
    # Its distances are from differences: those from squares and products would be rounding for close pairs.
    from scipy.spatial.distance import cdist

    distances: Floats = np.sort(np.partition(cdist(rows, data), 1, axis=1)[:, :2], axis=1) / math.sqrt(data.shape[1])
    return distances


def nearest(data: Any, *, tolerance: float = 0.01) -> Nearest:
    """Return a statistic that says how close samples are to data: a check for copies of training data.

    Its components are the distance to the nearest datum, the distance to the second nearest, and whether the sample is
    a copy of the nearest. Estimate it for a model and for held-out data: a model that copies has far smaller distances.

    Parameters
    ----------
    data : array_like of shape (N, ...)
        The data, such as training images, in the shape and range of the samples. Repetitions count once.
    tolerance : float
        Largest distance to the nearest datum of a copy, as a share of the distance to the second nearest, in [0, 1).
        The default finds exact copies up to rounding. Take 1/3 for near copies, as in the literature.

    Returns
    -------
    Nearest
        The statistic. Distances are roots of mean squares over the numbers of a sample.

    Raises
    ------
    TypeError, ValueError
        If there are fewer than 2 different data, they are not finite numbers, or the tolerance is outside [0, 1).

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> data = np.random.default_rng(0).normal(size=(50, 8, 8))
    >>> copies = mcgen.generators.EmpiricalDiffusion(data)
    >>> statistic = mcgen.statistics.nearest(data)
    >>> found = mcgen.estimate(copies, statistic, design=mcgen.MonteCarlo(), n_evaluations=200, seed=0)
    >>> found.mean.round(2).tolist()
    [0.0, 1.17, 1.0]
    """
    try:
        values = numbers_of(data).astype(np.float64)
    except (TypeError, ValueError) as error:
        raise TypeError(f"data must be an array of real numbers of shape (N, ...); got {error}") from error
    if values.ndim < 2 or math.prod(values.shape) == 0:
        raise ValueError(f"data must have shape (N, ...), one datum a row; got shape {values.shape}")
    if not np.isfinite(values).all():
        raise ValueError(f"data must be finite; got {int((~np.isfinite(values)).sum())} NaN or infinite numbers")
    different = np.unique(values, axis=0)
    if len(different) < 2:
        raise ValueError("data must hold at least 2 different rows, since copies are judged by the second nearest")
    if not 0 <= checked_real("tolerance", tolerance) < 1:
        raise ValueError(
            f"tolerance must lie in [0, 1), a share of the distance to the second nearest; got {tolerance}"
        )
    return Nearest(different, float(tolerance))
