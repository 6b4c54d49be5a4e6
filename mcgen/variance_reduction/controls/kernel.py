"""Kernel controls of antithetic pairs: their part in a run. The mathematics is in `kernel_regression`."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.designs import Antithetic, Design
from mcgen.inference.moments import ReplicateMeans
from mcgen.noise import NoiseSpec, as_rows
from mcgen.noise.directions import Basis
from mcgen.replicates.tally import Segment, Tally
from mcgen.replicates.task import Facts, Task
from mcgen.runs.corrections import Corrected
from mcgen.variance_reduction.controls.control_variates import cost_beside
from mcgen.variance_reduction.controls.coordinates import coordinates, require_controlled
from mcgen.variance_reduction.controls.correction import with_residuals
from mcgen.variance_reduction.controls.kernel_regression import MOST_CENTRES, kernel_corrected

MOST_COORDINATES = 16
"""Most coordinates of a kernel control: in more, a few thousand pairs are too far from each other to say anything."""
FEWEST_REPLICATES = 100
"""Fewest pairs for a kernel control: the cross-validation inside the folds needs about 80 pairs to find a gain."""
# Numbers of noise that are drawn again at a time: 32 MB in double precision.
_DRAWN = 2**22


def kernel(basis: Basis | None = None) -> KernelControl:
    """Return a control that learns the even part of a statistic from the run's own antithetic pairs.

    Use it where quadratic controls leave much variance. It suits smooth statistics of noise in at most 16 dimensions,
    or those that depend on at most 16 directions. A kernel regression over the noise predicts the pair means, and its
    expectation is known. It is cross-fitted over ten folds, so that the estimate stays unbiased. Length and ridge are
    chosen for each component. A component that the regression does not predict is not changed.

    The regression is fitted to the first 2,000 pairs at most, and corrects all. It takes about 5 seconds for 1,600
    pairs, and one more second for every further 2,000.

    Parameters
    ----------
    basis : Basis, optional
        At most 16 directions, such as those of `mcgen.bases.active_subspace`. By default all coordinates of the noise,
        at most 16, without blocks that are drawn independently for every point. If the basis knows the importance of
        its directions, the kernel is wider along those of less importance.

    Raises
    ------
    TypeError, ValueError
        If the basis is none, or has more than 16 directions. `mcgen.estimate` raises ValueError for other designs than
        ``Antithetic()``, for fewer than 100 pairs, and for noise that the basis does not fit. Without a basis also for
        noise of more than 16 dimensions.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> generator = mcgen.as_generator(lambda z: np.cos(z.sum(axis=1) / 2), noise=(4,), name="cosine")
    >>> options = dict(design=mcgen.Antithetic(), n_evaluations=400, seed=0)
    >>> alone = mcgen.estimate(generator, mcgen.statistics.identity, **options)
    >>> controlled = mcgen.estimate(generator, mcgen.statistics.identity, controls=mcgen.controls.kernel(), **options)
    >>> bool(controlled.half_width < alone.half_width / 5)
    True
    """
    if basis is not None and not isinstance(basis, Basis):
        raise TypeError(f"kernel takes an mcgen.bases.Basis, or nothing; got {basis!r}")
    return KernelControl(basis)


@dataclass(frozen=True, repr=False)
class KernelControl:
    """A control that a kernel regression learns from the run's own antithetic pairs; made by `kernel`.

    Attributes
    ----------
    basis : Basis or None
        The directions; None for all coordinates of the noise.

    Examples
    --------
    >>> import mcgen
    >>> control = mcgen.controls.kernel()
    >>> type(control).__name__, control.basis, control.n_evaluations
    ('KernelControl', None, 0)
    """

    basis: Basis | None = None
    # Number of statistics of the same components, side by side.
    _n_alike: int = field(default=1, kw_only=True)

    def __post_init__(self) -> None:
        if self.basis is not None and self.basis.n_directions > MOST_COORDINATES:
            raise ValueError(
                f"a kernel control takes at most {MOST_COORDINATES} directions; got {self.basis}. Use "
                f"mcgen.controls.kernel(basis.leading({MOST_COORDINATES}))"
            )

    @property
    def n_evaluations(self) -> int:
        """The cost of the control in evaluations of the generator: that of its basis."""
        return 0 if self.basis is None else self.basis.n_evaluations

    @property
    def needs_means(self) -> bool:
        """Whether the correction needs all replicate means: True, since cross-fitting does."""
        return True

    @property
    def text(self) -> str:
        """The text by which a store recognizes the control."""
        return str(self)

    def begin(self, task: Task, n_replicates: int | None) -> KernelRun:
        """Return this control in a run, or refuse a run that it is not for."""
        assert n_replicates is not None
        return KernelRun(task, self, n_replicates)

    def for_each(self, n: int) -> KernelControl:
        """Return the control for n statistics of the same components at once.

        They share length and ridge, so that the correction of their weighted average is the average of corrections.
        """
        return replace(self, _n_alike=n * self._n_alike)

    def n_evaluations_beside(self, design: Design) -> int:
        """Return the cost of the control, without a basis that the design has paid for."""
        return 0 if self.basis is None else cost_beside((self.basis,), design)

    def on(self, spec: NoiseSpec) -> Basis:
        """Return the directions in noise of a spec.

        Raises
        ------
        ValueError
            If the basis does not fit the noise, all blocks are drawn independently for every point, or there are more
            than 16 coordinates without a basis.
        """
        if self.basis is not None:
            require_controlled(self.basis, spec)
            return self.basis
        sizes = {name: block.size for name, block in spec.blocks if not block.iid}
        n = sum(sizes.values())
        if not 1 <= n <= MOST_COORDINATES:
            raise ValueError(
                f"mcgen.controls.kernel() takes from 1 to {MOST_COORDINATES} coordinates of noise, without blocks that "
                f"are drawn independently for every point; got {n} of {spec}. Give it leading directions, "
                f"mcgen.controls.kernel(basis) with basis=mcgen.bases.active_subspace(generator, statistic, "
                f"{MOST_COORDINATES}, seed=...)"
            )
        parts = np.split(np.eye(n), np.cumsum([*sizes.values()])[:-1])
        return Basis(dict(zip(sizes, parts, strict=True)))

    def __str__(self) -> str:
        return f"kernel({'' if self.basis is None else self.basis})"

    __repr__ = __str__


class KernelRun:
    """A run with a kernel control: an ordinary run, whose pair means are corrected in the end.

    The coordinates of the pairs are not among the values of the run: the design draws them again.

    Parameters
    ----------
    task : Task
        The task of the run.
    control : KernelControl
        The control.
    n_replicates : int
        Number of replicates.

    Raises
    ------
    ValueError
        If the control is not for the noise, the design or so few replicates.
    """

    def __init__(self, task: Task, control: KernelControl, n_replicates: int) -> None:
        design = task.design
        if not isinstance(design, Antithetic) or design.base is not None:
            raise ValueError(
                f"a kernel control corrects antithetic pairs, design=mcgen.Antithetic(); got {design}. Use these, or "
                "mcgen.controls.quadratic(basis), which takes any design"
            )
        self._basis = control.on(task.generator.noise)
        if n_replicates < FEWEST_REPLICATES:
            raise ValueError(_too_few(n_replicates))
        self._task, self._control = task, control
        # The number of the run's first replicate, once there is one.
        self._first: int | None = None
        self._made: Corrected | None = None

    @property
    def task(self) -> Task:
        """The task of the run."""
        return self._task

    @property
    def n_controls(self) -> int:
        """The number of controls whose values stand beside those of the statistic: none."""
        return 0

    def rows(self, segment: Segment, facts: Facts) -> ReplicateMeans:
        """Return the rows unchanged, and take note of the number of the run's first replicate."""
        # A run with controls gets replicate means from its source, never sums of 256 replicates.
        assert isinstance(segment, ReplicateMeans)
        self._first = segment.start if self._first is None else self._first
        return segment

    def corrected(self, tally: Tally, facts: Facts) -> Corrected:
        """Return the corrected replicates of a tally of what `rows` returned."""
        # A stored run asks twice at its end, and a fit takes seconds.
        if self._made is None or self._made.tally.count != tally.count:
            self._made = self._fitted(tally, facts)
        return self._made

    def _fitted(self, tally: Tally, facts: Facts) -> Corrected:
        moments, kept, n = tally.moments(), tally.kept(), tally.count
        assert moments is not None
        assert kept is not None
        assert self._first is not None
        if n < FEWEST_REPLICATES:
            text = f"{self._control}, not used"
            return with_residuals(tally, kept[0], 0, text, (f"the control was not used: {_too_few(n)}",))
        z = self._coordinates(range(self._first, self._first + n))
        corrected = kernel_corrected(kept[0], z, _weights(self._basis), self._control._n_alike)
        # What varies by rounding alone is to look like it.
        constant = moments.constant(facts.rounding)
        text = f"{self._control}, cross-fitted"
        if n > MOST_CENTRES:
            text += f", fitted to {MOST_CENTRES:,} of {n:,} replicates"
        # The control is one function: it takes one degree of freedom. By that a result knows that nothing is to be
        # resampled.
        return with_residuals(tally, np.where(constant, kept[0], corrected), 1, text, ())

    def _coordinates(self, replicates: range) -> Floats:
        """Return the coordinates of the first point of each pair, shape (R, r)."""
        spec, task = self._task.generator.noise, self._task
        step = max(1, _DRAWN // spec.dimension)
        parts = [replicates[i : i + step] for i in range(0, len(replicates), step)]
        drawn = (task.design.draw(spec, part, task.seed, stream=task.stream, points=range(1)) for part in parts)
        return np.concatenate([coordinates(self._basis, as_rows(noise), spec) for noise in drawn])


def _weights(basis: Basis) -> Floats:
    """Return the relative scales of the kernel along the directions, of mean square 1.

    They are the fourth roots of the importance. On a decoder whose directions have from 0.42 to less than 0.01 of the
    importance, this gained 5 % over equal scales, and square roots lost 7 %.
    """
    shares = np.ones(basis.n_directions) if basis.importance is None else np.maximum(basis.importance, 0.0)
    shares = shares if shares.any() else np.ones_like(shares)
    weights = shares**0.25
    return np.asarray(weights / np.sqrt(np.square(weights).mean()))


def _too_few(n_replicates: int) -> str:
    return (
        f"a kernel control needs {FEWEST_REPLICATES} pairs or more; got {n_replicates}. Use n_evaluations of "
        f"{2 * FEWEST_REPLICATES} or more, or mcgen.controls.quadratic(basis)"
    )
