"""Runs whose replicate means are corrected by control variates.

The loop runs an ordinary task: a generator that returns its samples and the values of the controls, and a statistic of
both. Controls correct replicate means, from which least squares and the interval are made. The mathematics is in
`mcgen.variance_reduction.controls`.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen.designs import Design
from mcgen.generators.joint import ControlValues, NoiseFunctions, WithControls
from mcgen.inference.moments import Moments, ReplicateMeans, varies_by_rounding
from mcgen.replicates.loop import run_all
from mcgen.replicates.tally import Segment, Tally
from mcgen.replicates.task import Facts, Task
from mcgen.runs.corrections import Corrected
from mcgen.statistics.joint import WithControlValues, as_they_are

REPLICATES_PER_CONTROL = 10
"""Fewest replicates for each control that varies: the loss by estimated coefficients is then about 10 %."""
FOLDS = 10
"""Number of folds: replicates r modulo 10 are corrected by the coefficients of the other folds."""
# Replicates whose noise shows which controls a design makes constant. It needs no model, so that a few are cheap.
_PROBED = 8
# Least singular value of controls of variance 1, relative to the largest: below it they count as linearly dependent.
_SMALLEST_SINGULAR_RATIO = 1e-6


class ControlledRun:
    """A run with controls: it turns replicate means of statistic and controls into corrected means.

    Parameters
    ----------
    task : Task
        The task without the controls.
    controls : NoiseFunctions
        The controls.
    n_replicates : int or None
        Number of replicates of the run; not needed with fixed coefficients.
    fitted : tuple of (ndarray of shape (q, k), tuple of int, str), or None
        Fixed coefficients, the shape of the components, and the text for results; None for cross-fitting.

    Raises
    ------
    ValueError
        If the controls are not for the generator's noise, or too many for the replicates.
    """

    def __init__(
        self,
        task: Task,
        controls: NoiseFunctions,
        n_replicates: int | None,
        fitted: tuple[Floats, tuple[int, ...], str] | None,
    ) -> None:
        self._controls, self._fitted = controls, fitted
        joint = WithControlValues(task.statistic, None if fitted is None else fitted[1])
        self._task = replace(task, generator=WithControls(task.generator, controls), statistic=joint)
        if fitted is None:
            assert n_replicates is not None
            require_few(controls, self._task, n_replicates)

    @property
    def task(self) -> Task:
        """The task that returns the values of the statistic and of the controls."""
        return self._task

    @property
    def n_controls(self) -> int:
        """The number of controls."""
        return len(self._controls.mean)

    def rows(self, rows: Segment, facts: Facts) -> ReplicateMeans:
        """Return the rows to be tallied: corrected and plain means for fixed coefficients, else the rows unchanged."""
        # A run with controls gets replicate means from its source, never sums of 256 replicates.
        assert isinstance(rows, ReplicateMeans)
        if self._fitted is None:
            return rows
        k = _n_components(facts)
        plain, corrected = rows.means[:, :k], rows.means[:, :k].copy()
        # One control at a time: a matrix product for all has other last bits for other numbers of rows.
        for control, coefficients in zip(rows.means[:, k:].T, self._fitted[0], strict=True):
            corrected -= control[:, None] * coefficients
        return _joined(rows, corrected, plain, rows.within[:, :k])

    def corrected(self, tally: Tally, facts: Facts) -> Corrected:
        """Return the corrected replicates of a tally of what `rows` returned."""
        if self._fitted is not None:
            return Corrected(tally, 0, self._fitted[2])
        moments, kept = tally.moments(), tally.kept()
        assert moments is not None
        assert kept is not None
        k, n, q = _n_components(facts), tally.count, len(self._controls.mean)
        plain, values = kept[0][:, :k], kept[0][:, k:]
        varies = varying(self._controls, moments, self.task, facts)
        enough = REPLICATES_PER_CONTROL * int(varies.sum()) <= n
        residuals, rank = cross_fitted(plain, values[:, varies]) if enough else (plain, 0)
        text = f"{self._controls.name}, cross-fitted" + (f" ({rank} of {q} vary)" if rank < q else "")
        warnings: tuple[str, ...] = ()
        if not enough:
            text = f"{self._controls.name}, not used"
            warnings = (f"the controls were not used: {too_many(self._controls, int(varies.sum()), n, self.task)}",)
        return with_residuals(tally, residuals, rank, text, warnings)


def with_residuals(tally: Tally, residuals: Floats, rank: int, text: str, warnings: tuple[str, ...]) -> Corrected:
    """Return corrected replicates: the residuals, shape (R, k), in place of the first k means of a tally."""
    kept = tally.kept()
    assert kept is not None
    means, within = (values[:, : residuals.shape[1]] for values in kept)
    made = Tally(True)
    made.add(_joined(ReplicateMeans(0, means, within, None, 1), residuals, means, within))
    return Corrected(made, rank, text, warnings)


def cross_fitted(means: Floats, controls: Floats, folds: int = FOLDS) -> tuple[Floats, int]:
    r"""Return replicate means corrected by cross-fitting, and the rank of the controls.

    They are :math:`e_r = Y_r - X_r'\, \hat\beta_{-f(r)}`, with the coefficients of the folds that r is not in.

    Parameters
    ----------
    means : ndarray of shape (R, k)
        Replicate means Y of the statistic.
    controls : ndarray of shape (R, q)
        Replicate means X of the controls less their expectations; none is constant.
    folds : int
        Number of folds; replicate r is in fold r modulo this.

    Examples
    --------
    >>> import numpy as np
    >>> from mcgen.variance_reduction.controls.correction import cross_fitted
    >>> x = np.random.default_rng(0).normal(size=(30, 2))
    >>> residuals, rank = cross_fitted(3 + x @ [[1.0], [2.0]], x)
    >>> bool(abs(residuals - 3).max() < 1e-12), rank
    (True, 2)
    """
    residuals, fold = means.copy(), np.arange(len(means)) % folds
    if controls.shape[1] == 0:
        return residuals, 0
    scaled = controls / controls.std(axis=0)
    sizes = np.linalg.svd(scaled - scaled.mean(axis=0), compute_uv=False)
    for f in range(folds):
        others = fold != f
        residuals[~others] -= scaled[~others] @ least_squares(means[others], scaled[others])
    return residuals, int((sizes > _SMALLEST_SINGULAR_RATIO * sizes[0]).sum())


def least_squares(means: Floats, controls: Floats) -> Floats:
    r"""Return the least-squares coefficients of controls, with an intercept: shape (q, k).

    With Y the means (R, k) and X the controls (R, q), each of about variance 1, they are

    .. math:: \hat\beta = \arg\min_\beta \sum_r \bigl\| Y_r - \bar Y - (X_r - \bar X)' \beta \bigr\|^2,

    the solution of least norm. Singular values below 1e-6 of the largest count as 0.
    """
    x, y = controls - controls.mean(axis=0), means - means.mean(axis=0)
    return np.asarray(np.linalg.lstsq(x, y, rcond=_SMALLEST_SINGULAR_RATIO)[0])


def varying(controls: NoiseFunctions, moments: Moments, task: Task, facts: Facts) -> NDArray[np.bool_]:
    """Return which controls, the last q components of the moments, vary by more than rounding: shape (q,)."""
    last = moments.select(slice(len(moments.mean) - len(controls.mean), None))
    rounding = max(facts.rounding, float(np.finfo(task.generator.noise.dtype).eps))
    # A constant less its expectation is 0 but for rounding. The size of both sets the size of these errors.
    size = np.abs(last.mean) + np.abs(controls.mean)
    return ~varies_by_rounding(size, last.variance, last.within, rounding)


def _n_components(facts: Facts) -> int:
    """Return k, the number of components of the statistic alone."""
    assert facts.own_shape is not None
    return math.prod(facts.own_shape)


def require_few(controls: NoiseFunctions, task: Task, n_replicates: int) -> None:
    """Refuse more controls than a tenth of the replicates, before the model runs.

    Controls that the design makes constant do not count; the noise of the first 8 replicates shows which these are.
    """
    if REPLICATES_PER_CONTROL * len(controls.mean) <= n_replicates:
        return
    probe = replace(task, generator=ControlValues(controls, task.generator.noise), statistic=as_they_are)
    tally, facts = run_all(probe, min(n_replicates, _PROBED))
    moments = tally.moments()
    assert moments is not None
    found = int(varying(controls, moments, probe, facts).sum())
    if REPLICATES_PER_CONTROL * found > n_replicates:
        raise too_many(controls, found, n_replicates, task)


def too_many(controls: NoiseFunctions, found: int, n_replicates: int, task: Task) -> ValueError:
    """Return the error for more controls than a tenth of the replicates."""
    design: Design = task.design
    fewest = REPLICATES_PER_CONTROL * found
    return ValueError(
        f"{found} controls that vary need {fewest} replicates, {REPLICATES_PER_CONTROL} for each; got {n_replicates} "
        f"of {design} for {controls.name}. Use n_evaluations of {fewest * design.n_points} or more, fewer controls (a "
        "basis of fewer directions, degree=1), or coefficients from a pilot of as many (controls.fit)"
    )


def _joined(rows: ReplicateMeans, corrected: Floats, plain: Floats, within: Floats) -> ReplicateMeans:
    """Return rows of corrected, then plain means, with the same deviations within replicates."""
    both = np.concatenate([corrected, plain], axis=1), np.concatenate([within, within], axis=1)
    return ReplicateMeans(rows.start, *both, None, rows.n_points)
