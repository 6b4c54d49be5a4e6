"""The fit of a `Fitted` sampler: a pilot of fine trajectories, and least squares at each of its nodes."""

from __future__ import annotations

import hashlib
import math
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from mcgen._lib.arrays import as_numpy
from mcgen._lib.checks import checked_integer
from mcgen._lib.condition_keys import key_of_condition
from mcgen._lib.fingerprints import fingerprint_of
from mcgen.adapters.samplers.fitted import FineSampler, Fitted, block_of, in_range
from mcgen.adapters.samplers.nodes import Moments, PredictedError, best_nodes, moments_of, spaced_nodes, starts_of
from mcgen.adapters.samplers.weights import Floats, Weights
from mcgen.adapters.tensors.torch_generator import TensorNoise
from mcgen.designs import Antithetic
from mcgen.noise import as_rows
from mcgen.noise.random import Seed, as_seed_sequence

# Fewest antithetic pairs of a fit: with one, its two states determine the mean and nothing is left for the weights.
_FEWEST_PAIRS = 2
# Weight of the ridge, relative to the diagonal. It only makes systems of nearly equal features solvable: 1e-4 gives the
# same samples, and 1e-3 samples whose squared distance from the fine ones is a third larger.
_RIDGE = 1e-6
# Most features that are sums of fresh noises, without those that nodes add. With one for each of 50 steps the squared
# distance from the fine samples is a fifth smaller than with one between two nodes; with 1,000 they would be too many
# for the pilot's states.
_MOST_SUMS = 64
# Most steps among which nodes are chosen: more would only make the choice slow.
_MOST_CANDIDATES = 64
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
    folder: str | Path | None = None,
) -> Fitted:
    """Return a sampler that is fitted to the trajectories of `fine`; see `PathGenerator.fitted`."""
    n_nodes = _checked_evaluations(fine, evaluations)
    conditions = _checked_fit(fine, pairs, condition)
    given = None if nodes is None else _checked_nodes(fine, nodes, n_nodes)
    if folder is None:
        return _made(fine, [n_nodes], pairs, seed, conditions, given)[0]
    number = as_seed_sequence(seed)
    asked = (n_nodes, pairs, number.entropy, number.spawn_key, number.pool_size, [*conditions], given)
    path = Path(folder) / f"fitted-{hashlib.sha256(repr((fingerprint_of(fine), asked)).encode()).hexdigest()[:16]}.npz"
    if path.exists():
        return Fitted.load(path, fine)
    made = _made(fine, [n_nodes], pairs, seed, conditions, given)[0]
    path.parent.mkdir(parents=True, exist_ok=True)
    # Renamed when it is complete, so that another process never reads a part of it.
    draft = path.with_name(f"{path.stem}.{os.getpid()}.npz")
    made.save(draft)
    os.replace(draft, path)
    return made


def fit_several(
    fine: FineSampler, evaluations: Sequence[int], *, pairs: int, seed: Seed, condition: Any
) -> tuple[Fitted, ...]:
    """Return a sampler for each number of evaluations, all fitted to the same trajectories of `fine`."""
    numbers = [_checked_evaluations(fine, one) for one in evaluations]
    return _made(fine, numbers, pairs, seed, _checked_fit(fine, pairs, condition), None)


def _checked_fit(fine: FineSampler, pairs: int, condition: Any) -> dict[str, Any]:
    """Return the conditions of a fit by their keys; refuse too few pairs, and modules in training mode."""
    if checked_integer("pairs", pairs) < _FEWEST_PAIRS:
        raise ValueError(f"a fit needs at least {_FEWEST_PAIRS} antithetic pairs; got pairs={pairs}. The default is 8")
    fine.require_evaluation_mode()
    return conditions_by_key(condition)


def _made(
    fine: FineSampler,
    numbers: Sequence[int],
    pairs: int,
    seed: Seed,
    conditions: dict[str, Any],
    nodes: tuple[int, ...] | None,
) -> tuple[Fitted, ...]:
    """Run the pilot and return a fitted sampler for each number of nodes; without nodes, choose them."""
    with torch.no_grad():
        kept = set().union(*(steps_to_keep(fine, n, nodes) for n in numbers))
        pilots = {key: run_pilot(fine, pairs, seed, one, kept) for key, one in conditions.items()}
        several = chosen_nodes(fine, [*pilots.values()], numbers) if nodes is None else [nodes] * len(numbers)
        made = []
        for n, chosen in zip(numbers, several, strict=True):
            spent = 2 * pairs * len(conditions) * (fine.network_evaluations + n * fine.prediction_evaluations)
            cost = math.ceil(spent / fine.network_evaluations - 1e-9)
            made.append(regression(fine, pilots, chosen, cost))
    return tuple(made)


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
        The fine states, by their number.
    """

    condition: Any
    noise: dict[str, torch.Tensor]
    states: dict[int, torch.Tensor]


def run_pilot(fine: FineSampler, pairs: int, seed: Seed, condition: Any, kept: Collection[int]) -> Pilot:
    """Return antithetic pairs of fine trajectories, whose random numbers no run uses."""
    key = key_of_condition(condition)
    stream = ("fitted",) if condition is None else ("fitted", str(key))
    rows = as_rows(Antithetic().draw(fine.noise, pairs, seed, stream=stream))
    noise = fine.tensors_of(rows)
    blocks = {name: block_of(noise, name) for name, _ in fine.noise.blocks}
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


def candidates(fine: FineSampler, n_nodes: int) -> list[int]:
    """Return the steps that may be nodes: all but the first, and evenly spread ones where there are many."""
    n = min(fine.steps - 1, max(_MOST_CANDIDATES, n_nodes))
    return [int(one) for one in np.rint(np.linspace(1, fine.steps - 1, n))]


def steps_to_keep(fine: FineSampler, n_nodes: int, nodes: Sequence[int] | None) -> set[int]:
    """Return the numbers of the fine states that a fit needs, for given nodes, or for a choice of them."""
    steps = [one + i for one in candidates(fine, n_nodes) for i in (0, 1)] if nodes is None else nodes
    return {*steps, fine.steps}


def chosen_nodes(fine: FineSampler, pilots: Sequence[Pilot], numbers: Sequence[int]) -> list[tuple[int, ...]]:
    """Return, for each number of nodes, those with the least predicted error.

    `mcgen.adapters.samplers.nodes` has the criterion.
    """
    found, known = [], {}
    for n in numbers:
        steps = candidates(fine, n)
        if len(steps) not in known:
            known[len(steps)] = _moments_of_choice(fine, pilots, steps)
        error = PredictedError(known[len(steps)], fine.scales[:, steps], n)
        starts = starts_of(spaced_nodes(fine.scales, n), steps)
        found.append(tuple(steps[one] for one in best_nodes(error, starts, len(steps))))
    return found


def _moments_of_choice(fine: FineSampler, pilots: Sequence[Pilot], steps: Sequence[int]) -> Moments:
    """Return the moments of the pilots' features, with the predictions that two neighbouring states imply.

    With the fresh noise f of the step and the scales s and n, the states are x_i = s_i x0 + n_i e and
    x_{i+1} - f = s_{i+1} x0 + k e, where k^2 = n_{i+1}^2 - Var f.
    """
    start, *fresh = pilots[0].noise
    ends = [*steps, fine.steps if any(fine.fresh_weights(0, fine.steps).values()) else fine.steps - 1] if fresh else []
    sums = [fine.fresh_weights(0, end) for end in ends]
    steps_noise = {i: one for i in steps if any((one := fine.fresh_weights(i, i + 1)).values())}
    kept = sorted({*steps, *(i + 1 for i in steps), fine.steps})
    fields = [start, *ends, *steps_noise, *kept]
    place = {("noise", i): 1 + len(ends) + j for j, i in enumerate(steps_noise)}
    place |= {("state", i): len(fields) - len(kept) + j for j, i in enumerate(kept)}
    predictions = np.zeros((len(steps), len(fields)))
    for row, i in zip(predictions, steps, strict=True):
        (s, s_next), (n, n_next) = fine.scales[:, i : i + 2].tolist()
        k = math.sqrt(max(0.0, n_next**2 - sum(weight**2 for weight in steps_noise.get(i, {}).values())))
        row[place["state", i]], row[place["state", i + 1]] = k, -n
        if i in steps_noise:
            row[place["noise", i]] = n
        row /= k * s - n * s_next
    own = np.eye(len(fields))
    states = [place["state", i] for i in (*steps, fine.steps)]
    combinations = np.concatenate([own[: 1 + len(ends)], predictions, own[states]])
    weights = [*sums, *steps_noise.values()]
    return moments_of([_fields(one, weights, kept) for one in pilots], combinations)


def _fields(pilot: Pilot, weights: Sequence[Mapping[str, float]], kept: Sequence[int]) -> list[NDArray[Any]]:
    """Return the start of a pilot, sums of its blocks of noise, and some of its states."""
    noises = [next(iter(pilot.noise.values())), *(_added(pilot.noise, one) for one in weights)]
    return [as_numpy(one) for one in (*noises, *(pilot.states[i] for i in kept))]


def _added(noise: Mapping[str, torch.Tensor], weights: Mapping[str, float]) -> torch.Tensor:
    """Return the sum of blocks (N, ...) with weights."""
    found = torch.zeros_like(next(iter(noise.values())))
    for name, weight in weights.items():
        found = found + weight * noise[name]
    return found


def regression(fine: FineSampler, pilots: Mapping[str, Pilot], nodes: Sequence[int], cost: int) -> Fitted:
    """Return the sampler for pilots under several conditions: the same a and c for all, intercepts for each.

    Parameters
    ----------
    fine : FineSampler
        The fine sampler.
    pilots : mapping of str to Pilot
        A pilot for each condition, by its key.
    nodes : sequence of int
        The steps at which the network is evaluated.
    cost : int
        Cost of the fit, in evaluations of the fine sampler.
    """
    n, (blocks, firsts) = len(nodes), noise_features(fine, nodes)
    of_noise, of_predictions, residual = np.zeros((n + 1, blocks.shape[1])), np.zeros((n + 1, n)), 0.0
    names = [name for name, _ in fine.noise.blocks]
    sums = [{names[m]: float(row[m]) for m in np.flatnonzero(row)} for row in blocks]
    noises = {key: [_added(one.noise, weights) for weights in sums] for key, one in pilots.items()}
    predictions: dict[str, list[torch.Tensor]] = {key: [] for key in pilots}
    intercepts: dict[str, list[torch.Tensor]] = {key: [] for key in pilots}
    ends: dict[str, tuple[torch.Tensor, torch.Tensor]] = {}
    for j, target in enumerate([*nodes, fine.steps]):
        m = int(np.searchsorted(firsts, target, side="right"))
        features = {key: [*noises[key][:m], *predictions[key]] for key in pilots}
        weights, residual = _least_squares([(features[key], one.states[target]) for key, one in pilots.items()])
        of_noise[j] = weights[:m] @ blocks[:m]
        of_predictions[j, :j] = weights[m:]
        for key, pilot in pilots.items():
            mean = pilot.states[target].mean(dim=0)
            b = _combined(mean, [one.mean(dim=0) for one in features[key]], -weights)
            intercepts[key].append(b)
            x = _combined(b.expand(pilot.states[target].shape), features[key], weights)
            if target < fine.steps:
                predictions[key].append(_predictions(fine, x, target, pilot.condition))
            else:
                ends[key] = (pilot.states[target], in_range(fine, x))
    stacked = {key: torch.stack(some).cpu().numpy() for key, some in intercepts.items()}
    return Fitted(fine, Weights(tuple(nodes), of_noise, of_predictions, stacked, residual, cost), ends)


def noise_features(fine: FineSampler, nodes: Sequence[int]) -> tuple[Floats, NDArray[np.int64]]:
    """Return the features that the noise makes, and the first step that each may help to fit, in increasing order.

    The first feature is the start. The others are sums of the fresh noises of consecutive steps, which end at each node
    and are 64 to 64 + K in number, or one for each step if the steps are fewer.

    Returns
    -------
    ndarray of shape (features, blocks), ndarray of shape (features,)
        The weights of the blocks of noise, and the steps.
    """
    names = [name for name, _ in fine.noise.blocks]
    edges = {*nodes, *np.rint(np.linspace(0, fine.steps, min(fine.steps, _MOST_SUMS) + 1)).astype(int).tolist()}
    features, ends = [np.eye(1, len(names))[0]], [0]
    for first, last in pairwise(sorted(edges)):
        found = fine.fresh_weights(first, last)
        if not any(found.values()):
            # A last step that ends without noise keeps no fresh noise, but the network has seen that of steps before.
            found = fine.fresh_weights(first, last - 1)
        if any(found.values()):
            features.append(np.array([found.get(name, 0.0) for name in names]))
            ends.append(last)
    return np.stack(features), np.array(ends)


def _predictions(fine: FineSampler, x: torch.Tensor, i: int, condition: Any) -> torch.Tensor:
    return torch.cat([fine.predict(x[first : first + _BATCH], i, condition) for first in range(0, len(x), _BATCH)])


def _least_squares(parts: Sequence[tuple[Sequence[torch.Tensor], torch.Tensor]]) -> tuple[Floats, float]:
    """Return the weights of features for targets, and the share of the targets' variance that is left.

    There are features and a target for each condition. Their means over the rows of the condition are taken off first.
    """
    n, total = len(parts[0][0]), 0.0
    gram, right = np.zeros((n, n)), np.zeros(n)
    for features, target in parts:
        columns, y = np.stack([_centred(one) for one in features], axis=1), _centred(target)
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
