r"""Candidates: ways of spending the evaluations, each with the half-width that a pilot predicts for it.

Let w be the variance of a replicate mean times the points of a replicate. A part l of an estimate with R_l replicates
of n_l points has variance :math:`v_l = w_l / (n_l R_l)`. An estimate of one design has one part; that of two levels has
two. The half-width of an estimate with variance :math:`\sum_l v_l` is predicted as t times its square root, and the
error of its logarithm h has

.. math:: \operatorname{Var} h \approx \tfrac14 \sum_l p_l^2 \bigl(e_l + 2 / (R_l - 1)\bigr),
   \qquad p_l = v_l / \sum_m v_m,

where :math:`e_l` is the variance of the error of :math:`\log w_l` in the pilot, and the other term is the scatter of
the variance that the run itself will estimate.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen.designs import Antithetic, Design, MonteCarlo, OrthogonalAntithetic, Sobol, Subspace
from mcgen.inference.coverage import FEWEST_WITHOUT_WARNING
from mcgen.inference.log_ratios import LogRatio, welch_satterthwaite
from mcgen.variance_reduction.controls.control_variates import Controls
from mcgen.variance_reduction.levels.allocation import coarse_share
from mcgen.variance_reduction.levels.unseen_failures import (
    PASSES,
    failures_text,
    is_heavy,
    is_nearly_zero,
    largest_share,
    least_shares,
    unseen_text,
    wanted_evaluations,
)
from mcgen.variance_reduction.planning.shrinkage import PRIOR_OF_FINE_NET
from mcgen.variance_reduction.planning.trials import Coarse, Pilot, log_w, prior_of_doubling

LEAST_EFFICIENCY = 0.975
"""Efficiency that a choice must keep for every component, relative to the better of pairs and Monte Carlo.

The pilot costs about 1/13 of the evaluations, after which 0.975 x 12/13 = 0.9 is left.
"""

# Limit of efficiencies, so that a candidate that integrates a component exactly has a finite geometric mean.
_MOST_EFFICIENT = 1e6
# Variance of log variances that a pilot does not show: rare large differences, trials on a coarse generator instead of
# the fine one. So chosen that 80 % prediction intervals hold 77 to 86 % of half-widths on mixtures and digits.
_UNSEEN = 0.25

# Fewest replicates of a net on the coarse level: with fewer the t quantile costs more than larger nets gain.
_FEWEST_ON_COARSE_LEVEL = 26
# Fewest replicates of a net that is run alone.
_FEWEST_ALONE = 40
# Most points of a net.
_LARGEST_NET = 1024
# Sobol' points on the fine level, the number that `PRIOR_OF_FINE_NET` is for.
_POINTS_ON_FINE_LEVEL = 16
# Greatest odd share of the difference of levels for which a net on the fine level is tried: nets do not remove the odd
# part. For exp less its second-order expansion, which is nearly odd, a net had five times the half-width of pairs.
_MOST_ODD = 0.9
# Fewest replicates for each control, as cross-fitting asks for.
_REPLICATES_PER_CONTROL = 10
# Passes that share evaluations out between two levels, see `Predictor._shared_out`. A third pass changed the size of
# the net for 6 of 80 candidates on test models.
_PASSES = 2


@dataclass(frozen=True, eq=False)
class Candidate:
    """One way of spending the evaluations.

    Attributes
    ----------
    name : str
        Short name, as `LEGEND` explains it.
    designs : tuple of Design
        The design, or those of the coarse and of the fine level.
    n_replicates : tuple of int
        Number of replicates of each design.
    variance, half_width : ndarray of shape (k,)
        Predicted variance and half-width of the estimate of each component; NaN where nothing is predicted.
    error : ndarray of shape (k,)
        Standard deviation of the log of the half-width about its prediction.
    known_from : str
        Source of the prediction: samples, pairs, replicates of a trial, regression or other models.
    coarse : Coarse or None
        The generator of the coarse level.
    coefficients : ndarray of shape (k,) or None
        Factor of the coarse generator in the fine level.
    controls : Controls or None
        Control variates.
    unseen : str
        Warning that rare failures of the coarse generator may go unseen; empty where there is none.
    """

    name: str
    designs: tuple[Design, ...]
    n_replicates: tuple[int, ...]
    variance: Floats
    half_width: Floats
    error: Floats
    known_from: str
    coarse: Coarse | None = None
    coefficients: Floats | None = None
    controls: Controls | None = None
    unseen: str = ""

    @property
    def n_evaluations(self) -> int:
        """The cost of the run, in evaluations of the generator."""
        points = [design.n_points * n for design, n in zip(self.designs, self.n_replicates, strict=True)]
        if self.coarse is None:
            return points[0]
        return math.ceil(points[0] * self.coarse.cost + points[1] * (1 + self.coarse.cost) - 1e-9)


def efficiencies(one: Candidate, base: Candidate) -> Floats:
    """Return the squared ratio of half-widths, base over one, shape (k,), limited to 1e6.

    It is 1 where both half-widths are 0, and where nothing is predicted.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (base.half_width / one.half_width) ** 2
    return np.asarray(np.where(np.isnan(ratio), 1.0, np.clip(ratio, 1 / _MOST_EFFICIENT, _MOST_EFFICIENT)))


def geometric_mean(values: Floats) -> float:
    """Return the geometric mean."""
    return math.exp(float(np.log(values).mean()))


def design_text(design: Design) -> str:
    """Return the short name of a design, as `LEGEND` explains it."""
    if isinstance(design, Subspace):
        return f"net {design.n_points}"
    if isinstance(design, Sobol):
        return f"sobol {design.n_points}"
    if isinstance(design, OrthogonalAntithetic):
        return f"frames {design.n_points}"
    return "pairs" if isinstance(design, Antithetic) else "Monte Carlo"


def two_levels_text(cost: float, coarse: Design, fine: Design) -> str:
    """Return the short name of two levels, as `LEGEND` explains it."""
    return f"two levels ({cost:.2g}): {design_text(coarse)} + {design_text(fine)}"


LEGEND = (
    "net n: n Sobol' points on the leading directions, pairs on the rest; sobol n: n in all dimensions; frames n: n/2\n"
    "orthogonal directions and their negations; two levels (c): the coarse generator of cost c + the difference;\n"
    "overall: geometric mean; known from: this pilot's pairs, trials or regression, or what the same design did on\n"
    "other models"
)


def net_size(evaluations: float, fewest: int = _FEWEST_ALONE) -> int:
    """Return the largest power of two of points that leaves `fewest` replicates, from 2 to 1024."""
    return min(_LARGEST_NET, max(2, 1 << int(math.log2(max(2.0, evaluations / fewest)))))


@dataclass(frozen=True)
class Predictor:
    """Predictions of the variance of every candidate, from a pilot.

    Attributes
    ----------
    pilot : Pilot
        The pilot's measurements.
    coarse : sequence of Coarse
        The coarse generators, in the order of the pilot's.
    quantile : callable
        From degrees of freedom (k,) to half-widths in standard errors.
    with_controls : bool
        Whether control variates may be chosen.
    """

    pilot: Pilot
    coarse: Sequence[Coarse]
    quantile: Callable[[Floats], Floats]
    with_controls: bool = True

    def candidates(self, budget: float) -> list[Candidate]:
        """Return all candidates that the budget of evaluations is enough for; Monte Carlo and pairs come first."""
        pilot = self.pilot
        k, n_pairs = len(pilot.variance), len(pilot.pairs)
        with np.errstate(divide="ignore"):
            points = LogRatio(np.log(pilot.point_variance), np.full(k, 1 / n_pairs))
        pairs = log_w(pilot.pairs, 2)
        found = [
            self._single(MonteCarlo(), points, budget, f"{2 * n_pairs} samples"),
            self._single(Antithetic(), pairs, budget, f"{n_pairs} pairs"),
            self._controlled(pairs, budget),
        ]
        for design, gain in pilot.gains.items():
            larger, larger_gain = self._enlarged(design, gain, budget, _FEWEST_ALONE)
            lost = np.isneginf(larger_gain.value)
            work = pairs.minus(LogRatio(np.where(lost, 0.0, larger_gain.value), larger_gain.variance))
            # Any variance above 0 says that the design loses a component that pairs integrate exactly.
            work = LogRatio(np.where(lost, points.value, work.value), work.variance)
            found.append(self._single(larger, work, budget, self._source_text(design)))
        return [one for one in [*found, *self._two_levels(budget)] if one is not None]

    def _enlarged(self, design: Design, gain: LogRatio, evaluations: float, fewest: int) -> tuple[Design, LogRatio]:
        """Return a net with as many points as leave `fewest` replicates, and its log efficiency over pairs.

        Each doubling of the points adds the pilot's log efficiency of a doubling. Other designs are returned unchanged.
        """
        if not isinstance(design, Subspace | Sobol):
            return design, gain
        net = Sobol(net_size(evaluations, fewest))
        larger = net if isinstance(design, Sobol) else Subspace(design.basis, net)
        mean, sd = self.pilot.doubling.get(design, prior_of_doubling(design))
        doublings = math.log2(larger.n_points / design.n_points)
        added = LogRatio.of((-mean * doublings, sd * doublings), len(gain.value))
        return larger, gain.minus(added)

    def _source_text(self, design: Design) -> str:
        """Return the source of a design's log efficiency: the replicates of its trial, or other models."""
        tried = self.pilot.tried.get(design)
        return "other models" if tried is None else f"{tried} replicates"

    def _single(self, design: Design, work: LogRatio, budget: float, source: str) -> Candidate | None:
        """Return the candidate that spends all evaluations on one design, or None if its replicates are too few."""
        count = int(budget // design.n_points)
        if count < FEWEST_WITHOUT_WARNING:
            return None
        variance = np.where(self.pilot.point_variance > 0, np.exp(work.value) / (design.n_points * count), np.nan)
        half = self.quantile(np.full(len(variance), count - 1.0)) * np.sqrt(variance)
        error = np.sqrt(work.variance + 2 / (count - 1)) / 2
        return Candidate(design_text(design), (design,), (count,), variance, half, error, source)

    def _controlled(self, pairs: LogRatio, budget: float) -> Candidate | None:
        """Return pairs with controls, or None if the replicates are too few for the controls or for their skewness."""
        pilot = self.pilot
        if not self.with_controls or pilot.controls is None or pilot.controls_gain is None:
            return None
        r = pilot.controls.bases[0].n_directions
        n_controls = r * (r + 1) // 2
        n_replicates = budget // 2
        # Residuals are often skewed, and a pilot underestimates skewness: Student's t needs about 25 times the squared
        # skewness of replicates, for twice the skewness that the pilot saw.
        if n_replicates < max(_REPLICATES_PER_CONTROL * n_controls, 25 * (2 * pilot.residual_skewness) ** 2):
            return None
        # Estimated coefficients cost a factor of about 1 + q / R. Useless controls cost no more than that.
        gained = np.maximum(pilot.controls_gain.value, 0.0) - math.log1p(n_controls / n_replicates)
        gain = LogRatio(gained, pilot.controls_gain.variance + _UNSEEN)
        made = self._single(Antithetic(), pairs.minus(gain), budget, "regression")
        if made is None:
            return None
        name = f"{made.name} with {n_controls} control{'s' if n_controls > 1 else ''}"
        return replace(made, name=name, controls=pilot.controls)

    def _two_levels(self, budget: float) -> Iterator[Candidate | None]:
        """Yield two levels for each coarse generator, each design of the coarse level and each of the fine one."""
        for number, coarse in enumerate(self.coarse):
            pairs = log_w(self.pilot.coarse_pairs[number], 2)
            nothing = LogRatio(np.zeros_like(pairs.value), np.zeros_like(pairs.value))
            for design, gain in {Antithetic(): nothing, **self.pilot.gains}.items():
                if np.isneginf(gain.value).any():
                    continue
                for fine in self._fine_designs(number):
                    b, log_w_fine = self._fine_level(number, fine)
                    levels = _TwoLevels(coarse, b, pairs, log_w_fine, *self._unseen(number, b))
                    yield self._sum_of(levels, design, gain, fine, budget)

    def with_unseen(self, chosen: Candidate, names: Sequence[str]) -> tuple[Candidate, list[str]]:
        """Return a candidate with its warning of unseen failures, and the note that it searches for them."""
        if chosen.coarse is None or chosen.coefficients is None:
            return chosen, []
        number = [one is chosen.coarse for one in self.coarse].index(True)
        sd, n_pilot = self._unseen(number, chosen.coefficients)[0], len(self.pilot.pairs)
        if not sd.any():
            return chosen, []
        name, count = names[int(sd.argmax())], chosen.n_replicates[1]
        wanted = float(wanted_evaluations(sd, np.sqrt(chosen.variance))[0])
        text = unseen_text(n_pilot, name, "level 1", count * chosen.designs[1].n_points, wanted)
        return replace(chosen, unseen=text or ""), [failures_text(n_pilot, name, "level 1", count)]

    def _unseen(self, number: int, b: Floats) -> tuple[Floats, bool]:
        """Return the standard deviation of a value where differences are nearly 0, else 0, and whether one is large.

        The shape of the first is (1, k).
        """
        pilot = self.pilot
        differences = pilot.pairs - b * pilot.coarse_pairs[number]
        sd = np.where(is_nearly_zero(differences, pilot.pairs), np.sqrt(pilot.point_variance), 0.0)
        return sd[None], is_heavy(differences)

    def _fine_designs(self, number: int) -> list[Design]:
        """Return pairs, and a small net unless the difference of the levels is mostly odd.

        Pairs remove the odd part of the difference, nets do not.
        """
        basis, odd = self.pilot.basis, self.pilot.odd_differences[number]
        if basis is None or odd.max(initial=0.0) > _MOST_ODD:
            return [Antithetic()]
        return [Antithetic(), Subspace(basis, Sobol(_POINTS_ON_FINE_LEVEL))]

    def _fine_level(self, number: int, design: Design) -> tuple[Floats, LogRatio]:
        """Return the slopes b on a coarse generator, and log w of the difference by a design of the fine level."""
        b, log_variance = self.pilot.correction(number)
        if not isinstance(design, Antithetic):
            log_variance = log_variance.minus(LogRatio.of(PRIOR_OF_FINE_NET, len(b)))
        # The variance is that of pair means: w is twice as much.
        return b, LogRatio(log_variance.value + math.log(2), log_variance.variance)

    def _sum_of(
        self, levels: _TwoLevels, design: Design, gain: LogRatio, fine: Design, budget: float
    ) -> Candidate | None:
        """Return two levels with their predictions, or None if the budget is too small for their replicates.

        Parameters
        ----------
        levels : _TwoLevels
            What the pilot measured of the two levels.
        design, gain : Design and LogRatio
            The design of the coarse level and its log efficiency over pairs.
        fine : Design
            The design of the fine level.
        budget : float
            The evaluations.
        """
        coarse_design, coarse_gain, evaluations = self._shared_out(levels, design, gain, fine.n_points, budget)
        designs = (coarse_design, fine)
        points = np.array([one.n_points for one in designs])
        # The factor keeps a whole number whole that rounding has put just below it.
        counts = np.maximum(FEWEST_WITHOUT_WARNING, np.floor(evaluations / points * (1 + 1e-12)).astype(int))
        if (counts * points * levels.costs).sum() > budget * (1 + 1e-9):
            return None
        w, w_error = levels.w(coarse_gain), levels.w_error(coarse_gain)
        parts = np.where(self.pilot.point_variance > 0, w / (points * counts)[:, None], np.nan)
        variance = parts.sum(axis=0)
        half = self.quantile(welch_satterthwaite(parts, counts[:, None] - 1.0)) * np.sqrt(variance)
        error = _log_half_width_error(parts, w_error + _UNSEEN, counts)
        own = "" if isinstance(design, Antithetic) else f", {self._source_text(design)}"
        name, source = two_levels_text(levels.coarse.cost, *designs), f"{len(self.pilot.pairs)} pairs{own}"
        n_replicates = tuple(counts.tolist())
        return Candidate(name, designs, n_replicates, variance, half, error, source, levels.coarse, levels.b)

    def _shared_out(
        self, levels: _TwoLevels, design: Design, gain: LogRatio, fine_points: int, budget: float
    ) -> tuple[Design, LogRatio, Floats]:
        """Return the coarse level's design, its log efficiency over pairs, and the evaluations of both levels.

        The difference gets more than the best share where its rare failures are to be seen, see
        `levels.unseen_failures`.

        The best share of the coarse level depends on the efficiency of its net, which depends on the net's size, which
        depends on the share. This is solved by fixed-point iteration from the net of the trial. Sizes are powers of
        two, so that few passes are enough.
        """
        pairs = 2 * self.pilot.variance
        best = np.minimum(pairs, self.pilot.point_variance)
        enlarged, enlarged_gain = design, gain
        for _ in range(_PASSES):
            w = levels.w(enlarged_gain)
            share = coarse_share(w * levels.costs[:, None], pairs, best)
            evaluations = levels.with_least(w, budget, share, np.array([enlarged.n_points, fine_points]), pairs)
            enlarged, enlarged_gain = self._enlarged(design, gain, evaluations[0], _FEWEST_ON_COARSE_LEVEL)
        return enlarged, enlarged_gain, evaluations


@dataclass(frozen=True, eq=False)
class _TwoLevels:
    """What a pilot measured of the two levels of a sum.

    Attributes
    ----------
    coarse : Coarse
        The coarse level's generator.
    b : ndarray of shape (k,)
        The coefficient of the coarse generator in the fine level, by which the coarse level is weighted.
    pairs : LogRatio
        Log w of antithetic pairs of the coarse generator.
    fine : LogRatio
        Log w of the difference.
    sd : ndarray of shape (1, k)
        Standard deviation of a value where the pilot's differences are nearly 0, else 0.
    heavy : bool
        Whether one of the pilot's differences makes most of their variance.
    """

    coarse: Coarse
    b: Floats
    pairs: LogRatio
    fine: LogRatio
    sd: Floats
    heavy: bool

    @property
    def costs(self) -> Floats:
        """The cost of an evaluation on the coarse and on the fine level."""
        return np.array([self.coarse.cost, 1 + self.coarse.cost])

    def w(self, gain: LogRatio) -> Floats:
        """Return w of both levels, shape (2, k), for a coarse design of a log efficiency `gain` over pairs."""
        w = np.exp([self.pairs.minus(gain).value, self.fine.value])
        return np.asarray(w * np.stack([self.b**2, np.ones_like(self.b)]))

    def with_least(self, w: Floats, budget: float, share: float, points: NDArray[np.int_], pairs: Floats) -> Floats:
        """Return the evaluations of both levels for a best share of the coarse one, with those that failures need.

        The `points` are those of a replicate of each level, and `pairs` is w of antithetic pairs.
        """
        evaluations = budget * np.array([share, 1 - share]) / self.costs
        both = budget * (w / evaluations[:, None]).sum(axis=0)
        varies = (both > 0) & (pairs > 0)
        gain = geometric_mean(pairs[varies] / both[varies]) if varies.any() else math.inf
        limits = partial(
            least_shares,
            costs=self.costs[1:],
            budget=budget,
            optimal=np.array([1 - share]),
            needed=FEWEST_WITHOUT_WARNING * points * self.costs / budget,
            heavy=[self.heavy],
            largest=largest_share(gain),
        )
        for _ in range(PASSES):
            least = limits(wanted_evaluations(self.sd, np.sqrt((w / evaluations[:, None]).sum(axis=0))))
            above = max(1 - share, float(least[0]))
            evaluations = budget * np.array([1 - above, above]) / self.costs
        return evaluations

    def w_error(self, gain: LogRatio) -> Floats:
        """Return the variances e_l of the errors of log w of both levels, shape (2, k)."""
        return np.stack([self.pairs.minus(gain).variance, self.fine.variance])


def _log_half_width_error(parts: Floats, w_error: Floats, counts: NDArray[np.int_]) -> Floats:
    r"""Return the standard deviation of the log half-width, by the formula of this module: shape (k,).

    Parameters
    ----------
    parts, w_error : ndarray of shape (L, k)
        The variances v_l and the errors e_l.
    counts : ndarray of shape (L,)
        The numbers of replicates R_l.
    """
    with np.errstate(divide="ignore", invalid="ignore"):
        p = np.nan_to_num(parts / parts.sum(axis=0))
    return np.asarray(np.sqrt((p**2 * (w_error + 2 / (counts[:, None] - 1))).sum(axis=0)) / 2)
