"""The fit of a `Fitted` sampler: a pilot of fine trajectories, and least squares at each of its nodes."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import torch

from mcgen._lib.checks import checked_integer
from mcgen._lib.condition_keys import key_of_condition
from mcgen.adapters.samplers.fitted import FineSampler, Fitted, Floats, Weights, block_of
from mcgen.adapters.samplers.nodes import spaced_nodes
from mcgen.adapters.tensors.torch_generator import TensorNoise
from mcgen.designs import Antithetic
from mcgen.noise import as_rows
from mcgen.noise.random import Seed

# Fewest antithetic pairs of a fit: with one, its two states determine the mean and nothing is left for the weights.
_FEWEST_PAIRS = 2
# Weight of the ridge, relative to the diagonal. It only makes systems of nearly equal features solvable: 1e-4 gives the
# same samples, and 1e-3 samples whose squared distance from the fine ones is a third larger.
_RIDGE = 1e-6
# Rows that the network gets at a time in a fit: the 8 pairs of the default in one batch.
_BATCH = 16


def fit(
    fine: FineSampler,
    evaluations: int,
    *,
    pairs: int,
    seed: Seed,
    condition: Any,
    nodes: Sequence[int] | None = None,
) -> Fitted:
    """Return a sampler that is fitted to the trajectories of `fine`; see `PathGenerator.fitted`."""
    n_nodes = _checked_evaluations(fine, evaluations)
    if checked_integer("pairs", pairs) < _FEWEST_PAIRS:
        raise ValueError(f"a fit needs at least {_FEWEST_PAIRS} antithetic pairs; got pairs={pairs}. The default is 8")
    chosen = spaced_nodes(fine.progress, n_nodes) if nodes is None else _checked_nodes(fine, nodes, n_nodes)
    fine.require_evaluation_mode()
    conditions = conditions_by_key(condition)
    with torch.no_grad():
        pilots = [run_pilot(fine, pairs, seed, one, chosen) for one in conditions.values()]
        found = [one for pilot in pilots for one in regressions(fine, [pilot], chosen)]
    spent = 2 * pairs * len(conditions) * (fine.network_evaluations + n_nodes * fine.prediction_evaluations)
    cost = math.ceil(spent / fine.network_evaluations - 1e-9)
    return Fitted(fine, chosen, dict(zip(conditions, found, strict=True)), cost)


@dataclass(frozen=True, eq=False)
class Pilot:
    """Fine trajectories of N rows under one condition.

    Attributes
    ----------
    condition : object
        The condition.
    noise : dict of str to Tensor (N, ...)
        The blocks of noise.
    states : dict of int to Tensor (N, ...)
        The fine states at the nodes and at the end.
    """

    condition: Any
    noise: dict[str, torch.Tensor]
    states: dict[int, torch.Tensor]


def run_pilot(fine: FineSampler, pairs: int, seed: Seed, condition: Any, nodes: Sequence[int]) -> Pilot:
    """Return antithetic pairs of fine trajectories, whose random numbers no run uses."""
    key = key_of_condition(condition)
    stream = ("fitted",) if condition is None else ("fitted", str(key))
    rows = as_rows(Antithetic().draw(fine.noise, pairs, seed, stream=stream))
    noise = fine.tensors_of(rows)
    blocks = {name: block_of(noise, name) for name, _ in fine.noise.blocks}
    kept = {*nodes, fine.steps}
    parts: dict[int, list[torch.Tensor]] = {i: [] for i in sorted(kept)}
    for first in range(0, 2 * pairs, _BATCH):
        some = {name: block[first : first + _BATCH] for name, block in blocks.items()}
        given: TensorNoise = some if len(some) > 1 else next(iter(some.values()))
        for i, x in enumerate(fine.states(given, condition)):
            if i in kept:
                parts[i].append(x)
    states = {i: torch.cat(part) for i, part in parts.items()}
    if not all(bool(x.isfinite().all()) for x in states.values()):
        raise ValueError(
            f"a trajectory of {fine.name!r} has a NaN or an infinity under the condition {condition!r}, which nothing "
            "can be fitted to; look at fine.trajectory(noise, condition)"
        )
    return Pilot(condition, blocks, states)


def regressions(fine: FineSampler, pilots: Sequence[Pilot], nodes: Sequence[int]) -> list[Weights]:
    """Return the weights for pilots under several conditions: the same a and c for all, an intercept for each.

    Parameters
    ----------
    fine : FineSampler
        The fine sampler.
    pilots : sequence of Pilot
        One for each condition.
    nodes : sequence of int
        The steps at which the network is evaluated.
    """
    names = [name for name, _ in fine.noise.blocks]
    shape = (len(nodes) + 1, len(names)), (len(nodes) + 1, len(nodes))
    of_noise, of_predictions = np.zeros(shape[0]), np.zeros(shape[1])
    predictions: list[list[torch.Tensor]] = [[] for _ in pilots]
    intercepts: list[list[torch.Tensor]] = [[] for _ in pilots]
    residual = 0.0
    for j, target in enumerate([*nodes, fine.steps]):
        own = fine.blocks_before(target)
        features = [
            [*(pilot.noise[name] for name in own), *made] for pilot, made in zip(pilots, predictions, strict=True)
        ]
        weights, residual = _least_squares(features, [pilot.states[target] for pilot in pilots])
        of_noise[j, [names.index(name) for name in own]] = weights[: len(own)]
        of_predictions[j, :j] = weights[len(own) :]
        for number, (pilot, made) in enumerate(zip(pilots, features, strict=True)):
            mean = _combined(pilot.states[target].mean(dim=0), [one.mean(dim=0) for one in made], -weights)
            intercepts[number].append(mean)
            if target < fine.steps:
                x = _combined(mean.expand(pilot.states[target].shape), made, weights)
                predictions[number].append(_predictions(fine, x, target, pilot.condition))
    return [Weights(of_noise, of_predictions, torch.stack(one).cpu().numpy(), residual) for one in intercepts]


def _predictions(fine: FineSampler, x: torch.Tensor, i: int, condition: Any) -> torch.Tensor:
    return torch.cat([fine.predict(x[first : first + _BATCH], i, condition) for first in range(0, len(x), _BATCH)])


def _least_squares(features: Sequence[Sequence[torch.Tensor]], targets: Sequence[torch.Tensor]) -> tuple[Floats, float]:
    """Return the weights of features, each less its mean over the rows, for the targets, and the residual share.

    There is a list of features and a target for each condition; the means are those of each condition.
    """
    n, total = len(features[0]), 0.0
    gram, right = np.zeros((n, n)), np.zeros(n)
    for some, target in zip(features, targets, strict=True):
        columns, y = np.stack([_centred(one) for one in some], axis=1), _centred(target)
        gram += columns.T @ columns
        right += columns.T @ y
        total += float(y @ y)
    diagonal = np.diag(gram)
    # A feature that does not vary gets the weight 0.
    weights: Floats = np.linalg.solve(gram + np.diag(np.where(diagonal > 0, _RIDGE * diagonal, 1.0)), right)
    left = total - 2 * float(weights @ right) + float(weights @ gram @ weights)
    return weights, max(0.0, left / total) if total > 0 else 0.0


def _centred(x: torch.Tensor) -> Floats:
    """Return x (N, ...) less its mean over the rows, as one vector in double precision."""
    # The conversion is on the CPU, since some devices have no double precision.
    rows = x.cpu().double().numpy()
    return np.asarray((rows - rows.mean(axis=0)).ravel())


def _combined(x: torch.Tensor, features: Sequence[torch.Tensor], weights: Floats) -> torch.Tensor:
    for weight, feature in zip(weights.tolist(), features, strict=True):
        x = x + weight * feature
    return x


def conditions_by_key(condition: Any) -> dict[str, Any]:
    """Return one condition, or those of a list, a range or a dictionary from names to values, by their keys."""
    several = condition.values() if isinstance(condition, dict) else condition
    given = [*several] if isinstance(condition, list | range | dict) else [condition]
    if not given:
        raise ValueError(
            f"condition is an empty {type(condition).__name__}; give at least one condition, or leave it out for a "
            "generator without"
        )
    found = {}
    for one in given:
        key = key_of_condition(one)
        if key is None:
            raise TypeError(
                "a fitted sampler recognizes its conditions by their content: numbers, texts, arrays, and tuples and "
                f"dictionaries of these; got {one!r} of type {type(one).__name__}"
            )
        found[key] = one
    return found


def _checked_evaluations(fine: FineSampler, evaluations: int) -> int:
    n = checked_integer("evaluations", evaluations)
    if not 1 <= n < fine.steps:
        raise ValueError(
            f"a fitted sampler has between 1 and {fine.steps - 1} evaluations, fewer than the {fine.steps} steps of "
            f"{fine.name!r}; got {evaluations}"
        )
    return n


def _checked_nodes(fine: FineSampler, nodes: Sequence[int], n: int) -> tuple[int, ...]:
    found = tuple(checked_integer("each of nodes", node) for node in nodes)
    increasing = all(a < b for a, b in pairwise(found))
    if len(found) != n or not increasing or found[0] < 0 or found[-1] >= fine.steps:
        raise ValueError(
            f"nodes must be {n} increasing steps from 0 to {fine.steps - 1}, one for each evaluation; got {nodes}"
        )
    return found
