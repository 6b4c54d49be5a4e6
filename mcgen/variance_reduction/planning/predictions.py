r"""Ways of spending evaluations, and what a pilot predicts of each.

Variances are on the log scale until the end, with the variance of their error beside them. A half-width h of an
estimate whose variance is the sum of parts v_l has

.. math:: \operatorname{Var} \log h \approx \tfrac14 \sum_l p_l^2 \bigl(e_l + 2 / (R_l - 1)\bigr),
   \qquad p_l = v_l / \sum_m v_m,

e_l being the error of the part's log variance in the pilot and the other term the scatter of the run's own.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.designs import Antithetic, Design, MonteCarlo, OrthogonalAntithetic, Sobol, Subspace
from mcgen.inference.coverage import FEWEST_WITHOUT_WARNING
from mcgen.inference.log_ratios import LogRatio, log_variance_of, welch_satterthwaite
from mcgen.variance_reduction.controls.control_variates import Controls
from mcgen.variance_reduction.levels.allocation import coarse_share
from mcgen.variance_reduction.planning.shrinkage import PRIOR_OF_FINE_NET
from mcgen.variance_reduction.planning.trials import Coarse, Pilot

LEAST_EFFICIENCY = 0.975
"""Of the better of pairs and Monte Carlo, that a choice leaves every component; with the pilot's cost it is 0.9."""

_BEYOND = 1e6
# Variance of log variances that pilots do not see: rare large differences, trials on a coarse generator.
_UNSEEN = 0.25

# Replicates that a net should have at least: with fewer the t quantile costs more than larger nets bring.
_REPLICATES_OF_NETS = 26
_FEWEST_OF_SINGLE = 40
_LARGEST_NET = 1024
_POINTS_ABOVE, _MOST_ODD = 16, 0.9


@dataclass(frozen=True, eq=False)
class Candidate:
    """One way of spending the evaluations.

    Attributes
    ----------
    name : str
        In words.
    designs : tuple of Design
        One, or that of the coarse level and that of the fine one.
    n_replicates : tuple of int
        Of each.
    variance, half_width : ndarray of shape (k,)
        Predicted, of the estimate of each component.
    error : ndarray of shape (k,)
        Standard deviation of the log of the half-width about its prediction.
    known_from : str
        What the prediction is made from.
    coarse : Coarse or None
        The coarse level's generator.
    coefficients : ndarray of shape (k,) or None
        How much of it the fine level takes away.
    controls : Controls or None
        Control variates.
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

    @property
    def n_evaluations(self) -> int:
        """What its run costs."""
        points = [design.n_points * n for design, n in zip(self.designs, self.n_replicates, strict=True)]
        if self.coarse is None:
            return points[0]
        return math.ceil(points[0] * self.coarse.cost + points[1] * (1 + self.coarse.cost) - 1e-9)


def efficiencies(one: Candidate, base: Candidate) -> Floats:
    """Return the squared ratio of half-widths, shape (k,); 1 where neither has any, or nothing is predicted."""
    with np.errstate(divide="ignore", invalid="ignore"):
        ratio = (base.half_width / one.half_width) ** 2
    # What is integrated exactly beats everything that is not.
    return np.asarray(np.where(np.isnan(ratio), 1.0, np.clip(ratio, 1 / _BEYOND, _BEYOND)))


def geometric_mean(values: Floats) -> float:
    """Return the geometric mean."""
    return math.exp(float(np.log(values).mean()))


def design_text(design: Design) -> str:
    """Return a design in few words, as `LEGEND` explains them."""
    if isinstance(design, Subspace):
        return f"net {design.n_points}"
    if isinstance(design, OrthogonalAntithetic):
        return f"frames {design.n_points}"
    return "pairs" if isinstance(design, Antithetic) else "Monte Carlo"


def two_levels_text(cost: float, below: Design, above: Design) -> str:
    """Return two levels in few words, as `LEGEND` explains them."""
    return f"two levels ({cost:.2g}): {design_text(below)} + {design_text(above)}"


LEGEND = (
    "net n: n Sobol' points on the leading directions, pairs on the rest; frames n: n/2 orthogonal directions and\n"
    "their negations; two levels (c): the coarse generator of cost c + the difference; overall: geometric mean; known\n"
    "from: this pilot's pairs, trials or regression, or what the same design did on other models"
)


def net_size(evaluations: float, fewest: int = _FEWEST_OF_SINGLE) -> int:
    """Return the largest power of two of points that leaves enough replicates; 2 at least."""
    return min(_LARGEST_NET, max(2, 1 << int(math.log2(max(2.0, evaluations / fewest)))))


@dataclass(frozen=True)
class Predictor:
    """What candidates are made from.

    Attributes
    ----------
    pilot : Pilot
        What was measured.
    coarse : sequence of Coarse
        The coarse generators, as in the pilot.
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
        """Return all ways that so many evaluations are enough for; Monte Carlo and pairs come first."""
        pilot = self.pilot
        k, pairs = len(pilot.variance), len(pilot.pairs)
        with np.errstate(divide="ignore"):
            points = LogRatio(np.log(pilot.point_variance), np.full(k, 1 / pairs))
        even = log_variance_of(2 * pilot.variance, pairs - 1)
        found = [
            self._single(MonteCarlo(), points, budget, f"{2 * pairs} samples"),
            self._single(Antithetic(), even, budget, f"{pairs} pairs"),
            self._controlled(even, budget),
        ]
        for design, gain in pilot.gains.items():
            larger, larger_gain = self._grown(design, gain, budget, _FEWEST_OF_SINGLE)
            found.append(self._single(larger, even.minus(larger_gain), budget, self._tried(design)))
        return [one for one in [*found, *self._two_levels(budget)] if one is not None]

    def _grown(self, design: Design, gain: LogRatio, evaluations: float, fewest: int) -> tuple[Design, LogRatio]:
        """Return a net as large as its replicates allow, and its log efficiency; other designs as they are."""
        if not isinstance(design, Subspace):
            return design, gain
        larger = Subspace(design.basis, Sobol(net_size(evaluations, fewest)))
        doublings, (mean, sd) = math.log2(larger.n_points / design.n_points), self.pilot.doubling
        more = LogRatio.of((-mean * doublings, sd * doublings), len(gain.value))
        return larger, gain.minus(more)

    def _tried(self, design: Design) -> str:
        tried = self.pilot.tried.get(design)
        return "other models" if tried is None else f"{tried} replicates"

    def _single(self, design: Design, work: LogRatio, budget: float, known: str) -> Candidate | None:
        count = int(budget // design.n_points)
        if count < FEWEST_WITHOUT_WARNING:
            return None
        variance = np.where(self.pilot.point_variance > 0, np.exp(work.value) / (design.n_points * count), np.nan)
        half = self.quantile(np.full(len(variance), count - 1.0)) * np.sqrt(variance)
        error = np.sqrt(work.variance + 2 / (count - 1)) / 2
        return Candidate(design_text(design), (design,), (count,), variance, half, error, known)

    def _controlled(self, even: LogRatio, budget: float) -> Candidate | None:
        """Return pairs with controls, as far as there are ten replicates for each."""
        pilot = self.pilot
        if not self.with_controls or pilot.controls is None or pilot.controls_gain is None:
            return None
        r = pilot.controls.bases[0].n_directions
        n_controls = r * (r + 1) // 2
        n_replicates = budget // 2
        # What controls leave is often skewed: as many replicates as Student's t needs for twice what the pilot saw.
        if n_replicates < max(10 * n_controls, 25 * (2 * pilot.residual_skewness) ** 2):
            return None
        # Controls that tell nothing cost no more than their coefficients' errors do.
        gained = np.maximum(pilot.controls_gain.value, 0.0) - math.log1p(n_controls / n_replicates)
        gain = LogRatio(gained, pilot.controls_gain.variance + _UNSEEN)
        made = self._single(Antithetic(), even.minus(gain), budget, "regression")
        if made is None:
            return None
        name = f"{made.name} with {n_controls} control{'s' if n_controls > 1 else ''}"
        return replace(made, name=name, controls=pilot.controls)

    def _two_levels(self, budget: float) -> Iterator[Candidate | None]:
        for number, coarse in enumerate(self.coarse):
            below = log_variance_of(2 * self.pilot.coarse_pairs[number].var(axis=0, ddof=1), len(self.pilot.pairs) - 1)
            nothing = LogRatio(np.zeros_like(below.value), np.zeros_like(below.value))
            for design, gain in {Antithetic(): nothing, **self.pilot.gains}.items():
                for above in self._above(number):
                    yield self._sum(number, coarse, design, (below, gain), above, budget)

    def _above(self, number: int) -> list[Design]:
        """Return pairs, and a small net where the difference is not mostly odd: pairs take that away, nets do not."""
        basis, odd = self.pilot.basis, self.pilot.odd_differences[number]
        if basis is None or odd.max(initial=0.0) > _MOST_ODD:
            return [Antithetic()]
        return [Antithetic(), Subspace(basis, Sobol(_POINTS_ABOVE))]

    def _sum(
        self,
        number: int,
        coarse: Coarse,
        design: Design,
        works_below: tuple[LogRatio, LogRatio],
        above: Design,
        budget: float,
    ) -> Candidate | None:
        """Return pairs or a net above, a design below; the net below as large as its replicates allow."""
        pilot, (below, gain) = self.pilot, works_below
        pairs = 2 * pilot.variance
        known = "" if isinstance(design, Antithetic) else f", {self._tried(design)}"
        b, left = pilot.correction(number)
        if not isinstance(above, Antithetic):
            left = left.minus(LogRatio.of(PRIOR_OF_FINE_NET, len(b)))
        costs = np.array([coarse.cost, 1 + coarse.cost])
        grown, grown_gain = design, gain
        for _ in range(2):
            works = np.exp([below.minus(grown_gain).value, left.value + math.log(2)]) * np.stack(
                [b**2, np.ones_like(b)]
            )
            share = coarse_share(works * costs[:, None], pairs, np.minimum(pairs, pilot.point_variance))
            evaluations = budget * np.array([share, 1 - share]) / costs
            grown, grown_gain = self._grown(design, gain, evaluations[0], _REPLICATES_OF_NETS)
        works[0] = np.exp(below.minus(grown_gain).value) * b**2
        below_error = below.minus(grown_gain).variance
        designs = (grown, above)
        points = np.array([one.n_points for one in designs])
        counts = np.maximum(FEWEST_WITHOUT_WARNING, np.floor(evaluations / points * (1 + 1e-12)).astype(int))
        if (counts * points * costs).sum() > budget * (1 + 1e-9):
            return None
        parts = np.where(pilot.point_variance > 0, works / (points * counts)[:, None], np.nan)
        variance = parts.sum(axis=0)
        df = welch_satterthwaite(parts, counts[:, None] - 1.0)
        with np.errstate(divide="ignore", invalid="ignore"):
            shares = np.nan_to_num(parts / variance)
        own = np.stack([below_error, left.variance]) + _UNSEEN + 2 / (counts[:, None] - 1)
        return Candidate(
            two_levels_text(coarse.cost, *designs),
            designs,
            tuple(counts.tolist()),
            variance,
            self.quantile(df) * np.sqrt(variance),
            np.sqrt((shares**2 * own).sum(axis=0)) / 2,
            f"{len(pilot.pairs)} pairs{known}",
            coarse,
            b,
        )
