r"""Relative tolerances that recede: the half-width of a mean that may be 0 is never a fraction of that mean.

A run with `rtol` alone wants a half-width of rtol times the absolute mean. While the interval contains 0, the mean is
within its half-width h, and both fall as 1 / sqrt(n) with the number n of replicates. So the number that the run wants
grows as fast as the run:

.. math:: n \left(\frac{h}{\text{rtol} \cdot |\text{mean}|}\right)^2 \ge \frac{n}{\text{rtol}^2}.

Such a run may never end. The same holds for a boolean component whose event never comes. A mean that is small but not 0
looks alike at first. So the warning waits until the wanted number is far beyond ordinary runs.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from mcgen.inference.moments import Moments
from mcgen.inference.progress import ToleranceProgress
from mcgen.inference.tolerance import Tolerance

FEWEST_REPLICATES = 1000
"""Fewest replicates before the warning: with fewer, ordinary means lie within their half-widths by chance."""
FAR_BEYOND = 1_000_000
"""Least wanted number of replicates, n / rtol^2, for the warning. A run that truly needs at most 150,000 replicates has
a mean of 5 standard errors and more by then, and is not warned of; one of a mean of 0 soon is."""
SHARE_OF_HALF_WIDTH = 0.5
"""Largest absolute mean, in half-widths, for the warning. A mean of 0 is as small at 2 of 3 looks (normal replicate
means, 95 %); a mean of 5 standard errors is at 1 of 30,000."""


def first_look(tolerance: Tolerance) -> int:
    """Return the fewest replicates at which the warning is possible, max(1,000, 10^6 rtol^2)."""
    assert tolerance.rtol is not None
    return max(FEWEST_REPLICATES, int(FAR_BEYOND * tolerance.rtol**2))


def receding_component(
    tolerance: Tolerance, moments: Moments, at: ToleranceProgress, names: Sequence[str]
) -> str | None:
    """Return the name of the first component for which the tolerance recedes; None where it recedes for none.

    Parameters
    ----------
    tolerance : Tolerance
        The tolerance of the run.
    moments : Moments
        Moments of the replicate means.
    at : ToleranceProgress
        The half-widths of the components that count, at these moments.
    names : sequence of str
        Names of all components.
    """
    if not tolerance.may_recede or at.n < first_look(tolerance):
        return None
    mean = np.abs(moments.mean[at.columns])
    # An interval without an end says nothing of the mean.
    receding = at.wide & ~at.constant & np.isfinite(at.half_width) & (mean < SHARE_OF_HALF_WIDTH * at.half_width)
    # An indicator that has an event has no mean of 0.
    receding &= at.events == 0
    return names[int(at.columns[int(receding.argmax())])] if receding.any() else None


def receding_warning(name: str, tolerance: Tolerance) -> str:
    """Return the warning that the tolerance recedes for a component."""
    return (
        f"the mean of {name} may be 0: its interval still contains 0. A half-width of rtol={tolerance.rtol:g} times "
        "the mean then recedes as the run goes on, and the run may never end. Give atol beside rtol, or max_evaluations"
    )
