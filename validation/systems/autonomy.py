"""Shared autonomy: a diffusion of an expert's actions corrects pilots, by several diffusion ratios."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

import mcgen
from mcgen.adapters import Episode, Partial, Rollout, models
from mcgen.adapters.models.training.reaching_task import HORIZON, PILOTS, Reaching, goal_of, pilot
from mcgen.validation.systems._base import SEED, Case, System, Table

_STEPS = 10
RATIOS = (0.0, 0.2, 0.4, 0.6, 0.8, 1.0)
"""Diffusion ratios k / T: the share of the sampler's steps that are run from the pilot's action."""
# Episodes for each number of the tables: half-widths of success rates are at most 0.02.
_EPISODES = 2500
_DESIGN = mcgen.MonteCarlo()
# Small batches would spend most of their time between the operations of a small network.
_BATCH = 500
_WORST = "blind"
"""The pilot with the lowest success rate when alone."""
_BEST_RATIO = 0.2
"""The ratio with the highest success rates of the three bad pilots."""


def assisted(name: str, ratio: float) -> Episode:
    """Return episodes of a pilot whose actions are corrected; at ratio 0 it acts alone, at 1 the policy alone."""
    policy, environment = models.load("reaching-policy", steps=_STEPS), Reaching()
    if ratio == 1:
        return Episode(policy, environment, HORIZON, pilot=pilot(name), join=_observation, name="policy alone")
    if ratio == 0:
        return Episode(None, environment, HORIZON, pilot=pilot(name), name=f"{name} pilot alone")
    helper = Partial(policy, _STEPS - round(ratio * _STEPS))
    return Episode(helper, environment, HORIZON, pilot=pilot(name), name=f"{name} pilot, ratio {ratio}")


def _observation(action: Any, observation: Any) -> Any:
    """Return the condition of a policy that does not see the pilot's action."""
    return observation


def success(rollout: Rollout) -> NDArray[np.bool_]:
    """Return whether each episode reaches its goal."""
    return rollout.success


def deviation(rollout: Rollout) -> NDArray[np.float64]:
    """Return the squared distance of the actions from the pilot's, averaged over the steps of each episode."""
    squared = ((rollout.actions - rollout.pilot_actions) ** 2).sum(axis=(1, 2), dtype=np.float64)
    return np.asarray(squared / rollout.length)


def final_distance(rollout: Rollout) -> NDArray[np.float64]:
    """Return the distance of each last position from the goal."""
    last = rollout.states[:, -1]
    return np.asarray(np.linalg.norm(last[:, :2] - goal_of(last), axis=1), np.float64)


def cases() -> list[Case]:
    """Return the worst pilot at the best ratio, and the policy alone."""
    scores = mcgen.statistics.stack(success, final_distance)
    return [
        Case(f"shared autonomy, {_WORST} pilot, ratio {_BEST_RATIO}", assisted(_WORST, _BEST_RATIO), scores),
        Case("shared autonomy, policy alone", assisted(_WORST, 1.0), scores),
    ]


def rates() -> Table:
    """Return the table of success rates, one pilot a row."""
    return _by_ratio(RATIOS, lambda name, ratio: _interval(_estimate(name, ratio), 0))


def deviations() -> Table:
    """Return the table of deviations from the pilot."""
    return _by_ratio(RATIOS, lambda name, ratio: _interval(_estimate(name, ratio), 1) if ratio else "0")


def gains() -> Table:
    """Return the table of gains in the success rate over the pilot alone, on the same noise."""
    return _by_ratio(RATIOS[1:], lambda name, ratio: _interval(_gain(name, ratio)))


def goal_pairs() -> Table:
    """Return the table of efficiencies of pairs that negate all noise, and of pairs that negate the goal alone."""
    designs = [mcgen.MonteCarlo(), mcgen.Antithetic(), mcgen.Antithetic(only={"start": [False, False, True]})]
    rows = []
    for name, ratio in ((_WORST, _BEST_RATIO), (_WORST, 0.6), ("laggy", _BEST_RATIO), ("laggy", 0.6)):
        frame = mcgen.compare(assisted(name, ratio), success, designs=designs, **_options()).to_frame()
        columns = frame[["relative_efficiency", "efficiency_low", "efficiency_high"]].iloc[1:]
        rows.append([name, f"{ratio:g}", *(f"{x:.2f} [{low:.2f}, {high:.2f}]" for x, low, high in columns.to_numpy())])
    return Table(["pilot", "ratio", "all noise negated", "the goal alone negated"], rows)


def _by_ratio(ratios: Sequence[float], cell: Callable[[str, float], str]) -> Table:
    head = ["pilot", *(f"ratio {ratio:g}" for ratio in ratios)]
    return Table(head, [[name, *(cell(name, ratio) for ratio in ratios)] for name in PILOTS])


@cache
def _estimate(name: str, ratio: float) -> mcgen.Estimate:
    """Return the success rate of a pilot at a ratio, and the deviation from a pilot that does not act alone."""
    scores = [success, deviation] if ratio else [success]
    return mcgen.estimate(assisted(name, ratio), mcgen.statistics.stack(*scores), design=_DESIGN, **_options())


def _gain(name: str, ratio: float) -> mcgen.Estimate:
    """Return the difference of success rates; pilot and environment have the same noise in both."""
    alone = assisted(name, 0.0)
    shared = [block for block, _ in alone.noise.blocks]
    return mcgen.difference(
        assisted(name, ratio), alone, success, design=_DESIGN, common_random_numbers=shared, **_options()
    )


def _options() -> dict[str, Any]:
    return {"n_evaluations": _EPISODES, "seed": SEED, "batch_size": _BATCH}


def _interval(found: mcgen.Estimate, component: int | None = None) -> str:
    mean, low, high = found.mean, *found.interval
    if component is not None:
        mean, low, high = (np.asarray(part)[component] for part in (mean, low, high))
    return f"{mean:.3f} [{low:.3f}, {high:.3f}]"


SYSTEM = System(
    "shared autonomy",
    cases,
    {
        "success rates by diffusion ratio": rates,
        "deviations from the pilot by diffusion ratio": deviations,
        "gains over the pilot alone": gains,
        "pairs that negate the goal alone": goal_pairs,
    },
)
