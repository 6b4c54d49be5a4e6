"""Warnings of intervals that may cover less often than their level says, with the coverage that simulations measured.

No warning is no proof of coverage: few replicates of a skewed statistic seldom look skewed. So below 25 replicates
there is always a warning, and below 32 nets, but where something else than the replicate means shows that the interval
covers: the skewness of all values for nets, and the numbers of events for probabilities. There it is below 8, or below
10 or 20 for nets of somewhat skewed values.

The rule for skewness follows from the expansion of the Student t interval's coverage (P. Hall (1988), Ann. Statist.
16(3), 927-953). At level 95 %, with R replicate means of skewness g, the coverage is too small by about
2 phi(1.96) 2.117 g^2 / R: half a percentage point at R = 50 g^2, one at R = 25 g^2.
"""

from __future__ import annotations

import bisect
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import ndtri

from mcgen._lib.arrays import Floats
from mcgen.inference.interval_input import skewness_factor
from mcgen.inference.moments import Moments
from mcgen.inference.sequences import REPLICATES_BY_SKEWNESS as LEAST_FOR_SEQUENCES
from mcgen.inference.sequences import SEQUENCES

FEWEST_WITHOUT_WARNING = 25
"""Fewest replicates whose intervals come without a warning: with fewer, estimated skewness says next to nothing."""

FEWEST_OF_NETS = 32
"""Fewest replicates that are nets of 64 points or more: these integrate the smooth part of a statistic away, and leave
its tail."""
FEWEST_OF_TAME_NETS, TAME = 10, 2.0
"""Fewest such replicates where the skewness of all values is at most 2: there skewness-safe intervals covered 0.93 with
10 nets and 0.94 from 16 on, also where a statistic depends on one coordinate; elsewhere 0.95 with 10."""
FEWEST_OF_SKEWED_NETS, SKEWED = 20, 4.0
"""Fewest such replicates where the skewness of all values is at most 4: there these intervals covered 0.94."""
FEWEST_WHERE_SAFE = 8
"""Fewest replicates where the interval is known to cover from few on: that of a probability, and Student's t for nets
of hardly skewed values."""

EXAMPLE_SKEWNESS = 3.4
"""Skewness of the means of antithetic pairs of exp(w/2), w ~ N(0, 1): the example whose coverage was simulated."""
# Measured coverage of 95 % intervals in that example, by the number of replicates: of Student t intervals and of
# skewness-safe ones, in 50,000 simulated runs each. `tests/inference/test_coverage.py` repeats the simulation.
EXAMPLE_COVERAGE = {5: (0.81, 0.91), 10: (0.85, 0.94), 25: (0.89, 0.95), 50: (0.91, 0.96), 200: (0.94, 0.96)}

REPLICATES_BY_SKEWNESS = {
    **dict.fromkeys(("skewness-safe-t", "skewness-safe", "two-stage-t", "bonferroni-two-stage-t"), 1.5),
    **{f"{prefix}{name}": float(LEAST_FOR_SEQUENCES) for prefix in ("", "bonferroni-") for name in SEQUENCES},
}
"""Replicates that an interval needs for each unit of squared skewness, 25 where it is not named here. Skewness-safe
intervals covered 0.94 and more of means of skewness up to 3.4 from 16 replicates on, and of skewness 6.2 from 50 on.
Confidence sequences have no end before."""


def coverage_warnings(
    moments: Moments,
    names: Sequence[str],
    rounding: float,
    methods: NDArray[np.str_] | str = "student-t",
    numbers: int = 1,
    confidence_level: float = 0.95,
    *,
    student_holds: NDArray[np.bool_] | None = None,
    net: bool = False,
) -> list[str]:
    """Return the warnings about an interval from these replicate means: few replicates, skewness, no variation.

    Parameters
    ----------
    moments : Moments
        Moments of the replicate means.
    names : sequence of str
        Names of the components.
    rounding : float
        Relative rounding error of the values.
    methods : ndarray of str of shape (k,), or str
        Name of the method of each component, on which thresholds and advice depend; or of all of them.
    numbers : int
        Number of intervals that cover together.
    confidence_level : float
        In (0, 1).
    student_holds : ndarray of bool of shape (k,), optional
        Where Student's t is known to cover; see `mcgen.inference.interval_input.student_holds`.
    net : bool
        Whether the replicates are randomized nets of 64 points or more.
    """
    n, found = moments.count, []
    judged = Judged.of(moments, rounding, np.asarray(methods), student_holds, net, numbers)
    together = FEWEST_WITHOUT_WARNING if "bootstrap-max-t" in judged.methods else fewest_for(numbers, confidence_level)
    if judged.few.any():
        found.append(few_text(n, int(judged.fewest.max())))
    elif numbers > 1 and n < together and not judged.proven.all():
        found.append(
            f"{n} replicates are few for {numbers:,} intervals that are to cover together: far tails show only in "
            f"more replicates. Use at least {together}, or keep_replicates=True for a bootstrap"
        )
    if judged.skewed.any():
        worst = int(judged.needed.argmax())
        skewness, needed = float(judged.skewness[worst]), float(judged.needed[worst])
        found.append(
            f"the replicate means of {names[worst]}{_and_others(judged.skewed)} have skewness up to {skewness:.2g}, "
            f"for which {n} replicates are few (below {needed / skewness**2:g} x skewness^2 = {needed:.0f}). "
            f"{_measured_at(n / skewness**2)}. {_advice(str(judged.methods[worst]))}"
            if not judged.sequence[worst]
            else f"the replicate means of {names[worst]}{_and_others(judged.skewed)} have skewness up to "
            f"{skewness:.2g}: their confidence sequence has no end before {LEAST_FOR_SEQUENCES} x skewness^2 = "
            f"{needed:.0f} replicates, and there are {n}. Use more replicates"
        )
    if judged.constant.any():
        found.append(
            f"all {n} replicate means of {names[int(judged.constant.argmax())]}{_and_others(judged.constant)} are "
            f"equal but for rounding: their {_of_constant(judged)}. The statistic is constant, the design integrates "
            "it exactly, or a rare event was never seen"
        )
    return found


@dataclass(frozen=True, eq=False)
class Judged:
    """What is doubtful about the intervals of k components, all arrays of shape (k,).

    Attributes
    ----------
    n : int
        Number of replicates.
    methods : ndarray of str
        Name of the method of each component.
    fewest : ndarray
        Fewest replicates without a warning.
    skewness : ndarray
        Absolute skewness of the replicate means; 0 where they do not vary.
    needed : ndarray
        Replicates that this skewness needs.
    constant : ndarray of bool
        Where the replicate means differ only by rounding, and the interval has no width.
    """

    n: int
    methods: NDArray[np.str_]
    fewest: NDArray[np.int64]
    skewness: Floats
    needed: Floats
    constant: NDArray[np.bool_]

    @classmethod
    def of(
        cls,
        moments: Moments,
        rounding: float,
        methods: NDArray[np.str_],
        student_holds: NDArray[np.bool_] | None = None,
        net: bool = False,
        numbers: int = 1,
    ) -> Judged:
        """Judge the intervals of these replicate means; see `coverage_warnings`."""
        methods = np.broadcast_to(methods, len(moments.mean))
        proven = np.char.endswith(methods, "betting")
        events = np.char.endswith(methods, "proportion") | proven
        safe = events if student_holds is None else events | (student_holds & (methods == "student-t"))
        fewest = np.where(safe, FEWEST_WHERE_SAFE, _fewest_of_nets(moments) if net else FEWEST_WITHOUT_WARNING)
        fewest = np.where(proven, 0, fewest)
        factors = np.array([REPLICATES_BY_SKEWNESS.get(method, 25.0) for method in methods.tolist()])
        constant = moments.constant(rounding)
        # Sequences have an end by the skewness without its bias.
        own = skewness_factor(numbers) * np.sqrt(moments.count) * moments.skewness_of_mean
        skewness = np.abs(np.where(np.char.endswith(methods, "anytime"), own, moments.skewness))
        skewness = np.where(constant, 0.0, skewness)
        needed = np.where(safe, 0.0, factors * skewness**2)
        return cls(moments.count, methods, fewest, skewness, needed, constant & ~events)

    @property
    def proven(self) -> NDArray[np.bool_]:
        """Where the interval covers by proof, whatever the replicate means."""
        return np.asarray(np.char.endswith(self.methods, "betting"))

    @property
    def sequence(self) -> NDArray[np.bool_]:
        """Where the interval is that of a confidence sequence."""
        return np.asarray(np.char.endswith(self.methods, "anytime"))

    @property
    def few(self) -> NDArray[np.bool_]:
        """Where the replicates are few, whatever they show."""
        return np.asarray(self.n < self.fewest)

    @property
    def skewed(self) -> NDArray[np.bool_]:
        """Where the replicates are few for their skewness."""
        return np.asarray(self.n < self.needed)

    @property
    def warned(self) -> NDArray[np.bool_]:
        """Where there is a warning."""
        return self.few | self.skewed | self.constant


def _fewest_of_nets(moments: Moments) -> NDArray[np.int64]:
    """Return the fewest nets without a warning, by the skewness of all values."""
    skewness = moments.skewness_of_values
    return fewest_of_nets(np.full(len(moments.mean), np.inf) if skewness is None else skewness)


def fewest_of_nets(skewness: Floats) -> NDArray[np.int64]:
    """Return the fewest nets of 64 points or more without a warning, for values of such skewness, shape (k,)."""
    size = np.abs(skewness)
    return np.where(size <= TAME, FEWEST_OF_TAME_NETS, np.where(size <= SKEWED, FEWEST_OF_SKEWED_NETS, FEWEST_OF_NETS))


def few_text(n: int, fewest: int) -> str:
    """Return the warning that n replicates are few, where there should be `fewest`."""
    near = _at_most(n, [*EXAMPLE_COVERAGE])
    plain, safe = EXAMPLE_COVERAGE[near]
    return (
        f"{n} replicates are few: they do not show how skewed the replicate means are. In simulations with {near} "
        f"replicate means of skewness {EXAMPLE_SKEWNESS}, 95 % Student t intervals covered the truth {100 * plain:.0f} "
        f"% of the time, and skewness-safe ones {100 * safe:.0f} %. Use at least {fewest}: more evaluations, or fewer "
        "points per replicate"
    )


def fewest_for(numbers: int, confidence_level: float) -> int:
    """Return the fewest replicates for so many intervals that cover together, when only moments are kept.

    It is 6 z^2 for the normal quantile z at 1 - (1 - c) / (2 numbers), and at least 25: 45, 68 and 99 for 8, 64 and
    1,024 intervals at 95 %. Below it skewness-safe intervals of skewed means covered together less than they say.
    """
    return max(FEWEST_WITHOUT_WARNING, math.ceil(6 * ndtri(1 - (1 - confidence_level) / (2 * numbers)) ** 2))


def _measured_at(replicates_by_skewness: float) -> str:
    """Return, in words, the coverage measured at the same ratio of replicates to squared skewness."""
    near = _at_most(replicates_by_skewness * EXAMPLE_SKEWNESS**2, [*EXAMPLE_COVERAGE])
    plain, safe = EXAMPLE_COVERAGE[near]
    return (
        f"In simulations with as few replicates for their skewness ({near} of skewness {EXAMPLE_SKEWNESS}), 95 % "
        f"Student t intervals covered the truth {100 * plain:.0f} % of the time, and skewness-safe ones "
        f"{100 * safe:.0f} %"
    )


def _of_constant(judged: Judged) -> str:
    """Return, in words, what the intervals of constant replicate means are."""
    return "confidence sequence has no end" if judged.sequence[judged.constant].all() else "interval has no width"


def _advice(method: str) -> str:
    more = "Use more replicates"
    return (
        f"{more}, or interval='skewness-safe-t'" if method in ("student-t", "normal", "skewness-adjusted-t") else more
    )


def _at_most(value: float, counts: Sequence[int]) -> int:
    """Return the largest of the increasing counts that is at most the value, or the first where none is."""
    return counts[max(0, bisect.bisect_right(counts, value) - 1)]


def _and_others(concerned: NDArray[np.bool_]) -> str:
    """Return, in words, how many components a warning that names one of them concerns."""
    others = int(concerned.sum()) - 1
    return f" ({others + 1} of {len(concerned)} components)" if others else ""
