r"""Predictions: the half-width that a pilot predicts for each candidate.

Let w be the variance of a replicate mean times the points of a replicate. A part l of an estimate with R_l replicates
of n_l points has variance :math:`v_l = w_l / (n_l R_l)`. An estimate of one design has one part; that of two levels has
two. The half-width of an estimate with variance :math:`\sum_l v_l` is predicted as t times its square root, or longer
where skewness lengthens the interval, and the error of its logarithm h has

.. math:: \operatorname{Var} h \approx \tfrac14 \sum_l p_l^2 \Bigl(e_l + \frac{\kappa_l - 1}{R_l - 1}\Bigr),
   \qquad p_l = v_l / \sum_m v_m,

where :math:`e_l` is the variance of the error of :math:`\log w_l` in the pilot, and the other term is the scatter of
the variance that the run itself will estimate from replicate means of kurtosis :math:`\kappa_l`, which is 3 for levels.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen.designs import Antithetic, Design, MonteCarlo, OrthogonalAntithetic, Subspace
from mcgen.designs._base import net_dimension
from mcgen.inference.coverage import FEWEST_WITHOUT_WARNING, fewest_of_nets
from mcgen.inference.interval_input import LEAST_NET, skewness_safe_ends
from mcgen.inference.log_ratios import LogRatio, skew, welch_satterthwaite
from mcgen.noise import NoiseSpec
from mcgen.variance_reduction.levels.allocation import coarse_share
from mcgen.variance_reduction.levels.unseen_failures import (
    NEARLY_ZERO,
    PASSES,
    SMALL,
    failures_text,
    is_heavy,
    is_nearly_zero,
    largest_share,
    least_shares,
    unseen_text,
    wanted_evaluations,
)
from mcgen.variance_reduction.planning.candidate import Candidate, design_text, geometric_mean, two_levels_text
from mcgen.variance_reduction.planning.coarse import Coarse, cheapest
from mcgen.variance_reduction.planning.pilot import Pilot, log_w, odd_share
from mcgen.variance_reduction.planning.promises import Promises
from mcgen.variance_reduction.planning.trials import Trial, is_net, resized

# Variance of log variances that a pilot does not show: rare large differences, trials on a coarse generator instead of
# the fine one. So chosen that 80 % prediction intervals hold 77 to 86 % of half-widths on mixtures and digits.
_UNSEEN = 0.25

# Odd share of the variance of a component above which nets without negations are left out: to be as good as pairs they
# would have to integrate nearly all of it, which short trials don't show.
_TOO_ODD = 0.97
# Fewest replicates of a net on the coarse level: with fewer the interval's factor costs more than larger nets gain.
_FEWEST_ON_COARSE_LEVEL = 32
# Fewest replicates of Sobol' points that are run alone. Where values are hardly skewed there is no warning from 10 on,
# but with 10 the Student t quantile costs more than twice as many points gain.
_FEWEST_ALONE = 12
# Skewness of the pilot's values as a share of what that of the run's may be.
_SKEWNESS_SEEN = 0.75
# Most points of a net.
_LARGEST_NET = 8192
# Efficiency that designs are known to keep of what they are made from: pairs, or independent points. Of 14 functions
# nets of 16 points had 0.85 or more, and larger ones 1.0 or more.
_KNOWN_TO_KEEP = 0.9
# Fewest replicates for each control, as cross-fitting asks for.
_REPLICATES_PER_CONTROL = 10
# Passes that share evaluations out between two levels, see `Predictor._shared_out`. A third pass changed the size of
# the net for 6 of 80 candidates on test models.
_PASSES = 2


def net_size(evaluations: float, fewest: int) -> int:
    """Return the largest power of two of points, from 2 to 8192, that leaves `fewest` replicates."""
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
    noise : NoiseSpec
        The generator's noise.
    quantile : callable
        From degrees of freedom (k,) to half-widths in standard errors.
    promises : Promises
        Which components count, and which are protected.
    with_controls : bool
        Whether control variates may be chosen.
    fewest : int
        Fewest replicates of a design that is run alone, where its interval needs more than that of a mean.
    """

    pilot: Pilot
    coarse: Sequence[Coarse]
    noise: NoiseSpec
    quantile: Callable[[Floats], Floats]
    promises: Promises
    with_controls: bool = True
    fewest: int = 0

    def candidates(self, budget: float) -> list[Candidate]:
        """Return all candidates that the budget of evaluations is enough for; Monte Carlo and pairs come first."""
        pilot = self.pilot
        n_pairs = len(pilot.pairs)
        points, pairs = pilot.log_w_of_points(), log_w(pilot.pairs, 2)
        found = [
            self._single(MonteCarlo(), points, budget, f"{2 * n_pairs} samples"),
            self._single(Antithetic(), pairs, budget, f"{n_pairs} pairs"),
            self._controlled(pairs, budget),
        ]
        for design, trial in self._trials().items():
            larger, gain, own = self._enlarged(design, trial, budget)
            lost = np.isneginf(gain.value)
            found_gain = replace(gain, value=np.where(lost, 0.0, gain.value))
            work = self._on_fine(design, found_gain) if self.coarse else LogRatio(pairs.value - found_gain.value, own)
            # Any variance above 0 says that the design loses a component that pairs integrate exactly.
            work = replace(work, value=np.where(lost, points.value, work.value))
            found.append(self._single(larger, work, budget, _source_text(trial)))
        return [one for one in [*found, *self._two_levels(budget)] if one is not None]

    def _trials(self) -> dict[Design, Trial]:
        """Return the trials of designs that may be chosen."""
        odd = odd_share(self.pilot.pairs, self.pilot.within)[self.promises.watched]
        if (odd <= _TOO_ODD).all():
            return self.pilot.trials
        return {design: one for design, one in self.pilot.trials.items() if _has_negations(design)}

    def _on_fine(self, design: Design, gain: LogRatio) -> LogRatio:
        """Return log w of a design for the generator itself, from its gain over pairs on the cheapest coarse one.

        The generator is the slope times the coarse one, which gains, plus a difference, which need not. The difference
        has the variance that it has under pairs; or, for points without negations, under independent points if that is
        more.
        """
        number = cheapest(self.coarse)
        assert number is not None
        b, difference = self.pilot.correction(number)
        rest = difference.value + math.log(2)
        if not _has_negations(design):
            odd = np.minimum(self.pilot.odd_differences[number], 1 - 1e-9)
            rest = np.maximum(rest, rest - np.log(2 * (1 - odd)))
        below = log_w(self.pilot.coarse_pairs[number], 2).minus(gain)
        with np.errstate(divide="ignore", invalid="ignore"):
            parts = np.exp([below.value + 2 * np.log(np.abs(b)), rest])
            share = np.nan_to_num(parts / parts.sum(axis=0))
            variance = share[0] ** 2 * below.variance + share[1] ** 2 * difference.variance
            return LogRatio(np.log(parts.sum(axis=0)), variance)

    def _enlarged(
        self, design: Design, trial: Trial, evaluations: float, fewest: int | None = None
    ) -> tuple[Design, LogRatio, Floats]:
        """Return a net with as many points as leave enough replicates, and what its trial says of it (`Trial.at`).

        Other designs are returned unchanged. By default there are as many replicates as `_fewest_alone` says.
        """
        if not is_net(design):
            return design, self._at_least_known(design, trial.gain), trial.work_variance
        larger = resized(design, net_size(evaluations, fewest or _FEWEST_ALONE))
        while fewest is None and larger.n_points > 4 and evaluations // larger.n_points < self._fewest_alone(larger):
            larger = resized(design, larger.n_points // 2)
        gain, own = trial.at(larger.n_points)
        return larger, self._at_least_known(larger, gain), own

    def _at_least_known(self, design: Design, gain: LogRatio) -> LogRatio:
        """Return a log efficiency over pairs, given that the design is about as good as what it is made from.

        Designs with negations are at least 0.9 as good as pairs, and nets without a coarse generator as independent
        points, whatever a short trial says. So the posterior is cut off there: the mean and the variance are those of
        the normal law above the limit.
        """
        limit = np.full(len(gain.value), math.log(_KNOWN_TO_KEEP))
        if not _has_negations(design):
            if self.coarse or not is_net(design):
                return gain
            with np.errstate(divide="ignore", invalid="ignore"):
                over_pairs = np.log(2 * self.pilot.variance / self.pilot.point_variance)
            limit = limit + np.nan_to_num(over_pairs, neginf=-np.inf)
        return gain.above(limit)

    def _fewest_alone(self, design: Design) -> int:
        """Return the fewest replicates of a design that is run alone: those that its interval has no warning for."""
        if design.n_points < LEAST_NET or not net_dimension(design, self.noise):
            return max(FEWEST_WITHOUT_WARNING, self.fewest)
        skewness = self.pilot.skewness_of_points[self.promises.counted] / _SKEWNESS_SEEN
        return max(_FEWEST_ALONE, self.fewest, int(fewest_of_nets(skewness).max(initial=0)))

    def _single(self, design: Design, work: LogRatio, budget: float, source: str) -> Candidate | None:
        """Return the candidate that spends all evaluations on one design, or None if its replicates are too few."""
        count = int(budget // design.n_points)
        if count < self._fewest_alone(design):
            return None
        variance = np.where(self.pilot.point_variance > 0, np.exp(work.value) / (design.n_points * count), np.nan)
        half = self.quantile(np.full(len(variance), count - 1.0)) * np.sqrt(variance)
        half = half * self._lengthened(design, count)
        # Means of more points have tails that are less heavy, as those of independent points have.
        excess = self.pilot.excess_kurtosis * min(1.0, 2 / design.n_points)
        error = np.sqrt(work.variance + (2 + excess) / (count - 1)) / 2
        return Candidate(design_text(design), (design,), (count,), variance, half, error, source)

    def _lengthened(self, design: Design, count: int) -> Floats:
        """Return the factor, at least 1, by which skewness lengthens an interval that is safe from it, shape (k,)."""
        skewness = self.pilot.skewness_of_points / math.sqrt(design.n_points)
        if isinstance(design, Antithetic) and design.base is None:
            skewness = skew(self.pilot.pairs)
        t = self.quantile(np.full(len(skewness), count - 1.0))
        low, high = skewness_safe_ends(t, np.nan_to_num(skewness) / math.sqrt(count))
        return (high - low) / (2 * t)

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
        """Yield two levels for each coarse generator and each design of the coarse level; the fine one has pairs."""
        for number, coarse in enumerate(self.coarse):
            pairs = log_w(self.pilot.coarse_pairs[number], 2)
            nothing = LogRatio(np.zeros_like(pairs.value), np.zeros_like(pairs.value))
            b, difference = self.pilot.correction(number)
            # The variance is that of pair means: w is twice as much.
            fine = LogRatio(difference.value + math.log(2), difference.variance)
            levels = _TwoLevels(coarse, b, pairs, fine, *self._unseen(number, b, SMALL))
            for design, trial in {Antithetic(): Trial(nothing, pairs.variance), **self._trials()}.items():
                if np.isneginf(trial.gain.value).any():
                    continue
                yield self._sum_of(levels, design, trial, budget)

    def with_unseen(self, chosen: Candidate, names: Sequence[str]) -> tuple[Candidate, list[str]]:
        """Return a candidate with its warning of unseen failures, and the note that it searches for them."""
        if chosen.coarse is None or chosen.coefficients is None:
            return chosen, []
        number = [one is chosen.coarse for one in self.coarse].index(True)
        sd, n_pilot = self._unseen(number, chosen.coefficients, NEARLY_ZERO)[0], len(self.pilot.pairs)
        if not sd.any():
            return chosen, []
        name, count = names[int(sd.argmax())], chosen.n_replicates[1]
        wanted = float(wanted_evaluations(sd, np.sqrt(chosen.variance))[0])
        text = unseen_text(n_pilot, name, "level 1", count * chosen.designs[1].n_points, wanted)
        return replace(chosen, unseen=text or ""), [failures_text(n_pilot, name, "level 1", count)]

    def _unseen(self, number: int, b: Floats, limit: float) -> tuple[Floats, bool]:
        """Return the standard deviation of a value where differences are nearly 0, else 0, and whether one is large.

        The shape of the first is (1, k).
        """
        pilot = self.pilot
        differences = pilot.pairs - b * pilot.coarse_pairs[number]
        sd = np.where(is_nearly_zero(differences, pilot.pairs, limit), np.sqrt(pilot.point_variance), 0.0)
        return sd[None], is_heavy(differences)

    def _sum_of(self, levels: _TwoLevels, design: Design, trial: Trial, budget: float) -> Candidate | None:
        """Return two levels with their predictions, or None if the budget is too small for their replicates.

        Parameters
        ----------
        levels : _TwoLevels
            What the pilot measured of the two levels.
        design, trial : Design and Trial
            The design of the coarse level and what is known of it.
        budget : float
            The evaluations.
        """
        coarse_design, coarse_gain, own, evaluations = self._shared_out(levels, design, trial, budget)
        designs = (coarse_design, Antithetic())
        points = np.array([one.n_points for one in designs])
        # The factor keeps a whole number whole that rounding has put just below it.
        counts = np.maximum(FEWEST_WITHOUT_WARNING, np.floor(evaluations / points * (1 + 1e-12)).astype(int))
        if (counts * points * levels.costs).sum() > budget * (1 + 1e-9):
            return None
        w, w_error = levels.w(coarse_gain), np.stack([own, levels.fine.variance])
        parts = np.where(self.pilot.point_variance > 0, w / (points * counts)[:, None], np.nan)
        variance = parts.sum(axis=0)
        half = self.quantile(welch_satterthwaite(parts, counts[:, None] - 1.0)) * np.sqrt(variance)
        error = _log_half_width_error(parts, w_error + _UNSEEN, counts)
        tried = f", {_source_text(trial)}" if design in self.pilot.trials else ""
        name, source = two_levels_text(levels.coarse.cost, *designs), f"{len(self.pilot.pairs)} pairs{tried}"
        n_replicates = tuple(counts.tolist())
        return Candidate(name, designs, n_replicates, variance, half, error, source, levels.coarse, levels.b)

    def _shared_out(
        self, levels: _TwoLevels, design: Design, trial: Trial, budget: float
    ) -> tuple[Design, LogRatio, Floats, Floats]:
        """Return the coarse level's design, what its trial says of it, and the evaluations of both levels.

        The difference gets more than the best share where its rare failures are to be seen, see
        `levels.unseen_failures`.

        The best share of the coarse level depends on the efficiency of its net, which depends on the net's size, which
        depends on the share. This is solved by fixed-point iteration from the net of the trial. Sizes are powers of
        two, so that few passes are enough.
        """
        pairs, counted = 2 * self.pilot.variance, self.promises.counted
        best = np.minimum(pairs, self.pilot.point_variance)
        # What is not protected has no standard to keep.
        best, standard = (np.where(self.promises.protected, one, np.inf) for one in (best, pairs))
        enlarged, gain, own = design, trial.gain, trial.work_variance
        for _ in range(_PASSES):
            w = levels.w(gain)
            works = w * levels.costs[:, None]
            share = coarse_share(works[:, counted], pairs[counted], best[counted], standard[counted])
            evaluations = levels.with_least(w, budget, share, np.array([enlarged.n_points, 2]), pairs)
            enlarged, gain, own = self._enlarged(design, trial, evaluations[0], _FEWEST_ON_COARSE_LEVEL)
        return enlarged, gain, own, evaluations


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
        with np.errstate(invalid="ignore"):
            w = np.exp([self.pairs.value - gain.value, self.fine.value])
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


def _has_negations(design: Design) -> bool:
    """Return whether each point of a design comes with its negation."""
    if isinstance(design, Subspace):
        return _has_negations(design.leading) and _has_negations(design.rest)
    return isinstance(design, Antithetic | OrthogonalAntithetic)


def _source_text(trial: Trial) -> str:
    """Return the source of a design's log efficiency: the replicates of its trial, or other models."""
    return f"{trial.n_replicates} replicates" if trial.n_replicates else "other models"


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
