"""The steps of a fine sampler at which a fitted sampler evaluates the network: its nodes.

Steps are compared by their progress from noise to a sample. With the signal's scale s and the noise's scale n in a
state it is (2 / pi) arctan(s / n), from 0 to 1. Along the cosine schedule of diffusion models it is linear in time, so
that shares of progress are shares of the steps there.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

# Progress at the nodes of 5 evaluations, at the quantiles 0.1, 0.3, ..., 0.9 of the nodes: good on four image models
# with the cosine schedule. Images get their low frequencies early, so that half of the nodes are in the first third.
_QUANTILES = (0.0, 0.1, 0.3, 0.5, 0.7, 0.9, 1.0)
_PROGRESS = (0.0, 0.04, 0.12, 0.32, 0.64, 0.88, 1.0)


def spaced_nodes(progress: NDArray[np.float64], n_nodes: int) -> tuple[int, ...]:
    """Return n_nodes increasing steps from 1 to n - 1, at fixed shares of progress.

    Parameters
    ----------
    progress : ndarray of shape (n + 1,)
        The progress of the states, increasing from 0 to 1.
    n_nodes : int
        Number of nodes, at most n - 1.

    Examples
    --------
    >>> import numpy as np
    >>> from mcgen.adapters.samplers.nodes import spaced_nodes
    >>> spaced_nodes(np.linspace(0, 1, 51), 5)
    (2, 6, 16, 32, 44)
    """
    n, numbers = len(progress) - 1, np.arange(n_nodes)
    wanted = np.interp((numbers + 0.5) / n_nodes, _QUANTILES, _PROGRESS)
    nearest = 1 + np.abs(progress[1:n, None] - wanted).argmin(axis=0)
    # Nodes that fall on the same step move on, but for those that have no step left before the end.
    apart = np.maximum.accumulate(nearest - numbers) + numbers
    return tuple(int(node) for node in np.minimum(apart, n - n_nodes + numbers))
