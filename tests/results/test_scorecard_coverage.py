"""How often the intervals of all differences hold together, and how often the best model is among `Scorecard.best`.

Each check raises a false alarm with probability 1e-6 at most where the intervals just keep their level. The controls
are the same runs with intervals for one pair alone, which must be found to miss more.
"""

from __future__ import annotations

from functools import cache
from itertools import combinations
from typing import Any

import numpy as np
import pytest
from helpers import SEED
from scipy import stats
from score_cards import as_distance

import mcgen
from mcgen.results.score_pairs import SharedPairs, best_models
from mcgen.results.scorecard import Scorecard

pytestmark = pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")

FALSE_ALARM = 1e-6
REPETITIONS = 300
SHIFTS = {"A": 0.0, "B": 0.0, "C": 0.0, "D": 0.0, "E": 0.3}
"""Four models share the first place, so that each left out is an error; the means of one component are the shifts."""


def both(x: Any) -> Any:
    return np.stack([x[:, 0], x[:, 1] ** 2], axis=1)


MODELS = {
    name: mcgen.as_generator(lambda z, shift=shift: z + np.float32([shift, 0]), noise=(2,), name=name)
    for name, shift in SHIFTS.items()
}
PAIRS = [*combinations(SHIFTS, 2)]


@cache
def cards() -> list[Scorecard]:
    """Scorecards of runs with other seeds, every pair on noise of its own."""
    run: dict[str, Any] = {"design": mcgen.MonteCarlo(), "n_evaluations": 40}
    estimates = {name: as_distance(mcgen.estimate(one, both, seed=SEED, **run)) for name, one in MODELS.items()}
    found = []
    for i in range(REPETITIONS):
        pairs = {
            (a, b): mcgen.difference(
                MODELS[a],
                MODELS[b],
                both,
                seed=np.random.SeedSequence([SEED, i, number]),
                common_random_numbers=False,
                **run,
            )
            for number, (a, b) in enumerate(PAIRS)
        }
        found.append(Scorecard({"distance": estimates}, {"distance": pairs}))
    return found


def missed(card: Scorecard, pairs: Any) -> bool:
    """Return whether some interval misses its difference."""
    return any(np.array([SHIFTS[a] - SHIFTS[b], 0.0]) not in pairs[a, b].interval for a, b in PAIRS)


def left_out(card: Scorecard, pairs: SharedPairs) -> bool:
    """Return whether a model that shares the first place is left out."""
    return not {"A", "B", "C", "D"} <= {*best_models(card.estimates["distance"], pairs, 0, largest=False)}


def too_many(errors: int) -> bool:
    return bool(stats.binom.sf(errors - 1, REPETITIONS, 0.05) < FALSE_ALARM)


def test_all_differences_hold_together() -> None:
    errors = sum(missed(card, card.shared("distance").pairs) for card in cards())
    assert not too_many(errors), errors


def test_intervals_for_one_pair_alone_miss_more() -> None:
    errors = sum(missed(card, card.pairs["distance"]) for card in cards())
    assert too_many(errors), errors


def test_the_best_models_are_among_those_returned() -> None:
    errors = sum(left_out(card, card.shared("distance")) for card in cards())
    assert not too_many(errors), errors
    assert all(
        set(card.best("distance", component=card.estimates["distance"]["A"].names[0])) >= {"A"}
        or left_out(card, card.shared("distance"))
        for card in cards()[:20]
    )


def test_intervals_for_one_pair_alone_leave_out_the_best_more_often() -> None:
    errors = sum(left_out(card, SharedPairs(dict(card.pairs["distance"]), ())) for card in cards())
    assert too_many(errors), errors


def test_worse_models_are_left_out_where_runs_are_long() -> None:
    run: dict[str, Any] = {"design": mcgen.MonteCarlo(), "n_evaluations": 1000, "common_random_numbers": False}
    pairs = {
        (a, b): mcgen.difference(MODELS[a], MODELS[b], both, seed=np.random.SeedSequence([SEED, 10**6, n]), **run)
        for n, (a, b) in enumerate(PAIRS)
    }
    made = Scorecard({"distance": cards()[0].estimates["distance"]}, {"distance": pairs})
    assert "E" not in made.best("distance", component=made["A", "distance"].names[0])
