"""Simulated truths: each is simulated once, by large Sobol' nets, and stored in ``truths.json``.

The standard error of a truth is at most a twentieth of that of any run that it judges. A truth is stored with a
fingerprint: the values of its problem at eight fixed points of noise. A problem that was changed later does not match.
"""

from __future__ import annotations

import json
import math
from dataclasses import replace
from functools import lru_cache
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import mcgen
from mcgen._lib.arrays import Floats
from mcgen.designs import Antithetic, Design, KAntithetic, MonteCarlo, Sobol
from mcgen.noise import Array, as_rows
from mcgen.validation.problems._base import Problem

TRUTHS = Path(__file__).with_name("truths.json")
COMMAND = "python -m mcgen.validation truths"

# Largest standard error of a truth, as a share of a run's: a bias of 1/20 moves the coverage of a 95 % interval by less
# than 0.0003.
SHARE = 1 / 20
RUNS: tuple[Design, ...] = (MonteCarlo(), Antithetic(), KAntithetic(8), Sobol(16), Sobol(64))
"""The designs whose coverage is studied: a truth is exact enough for the largest run of each."""

# Dimension from which runs and truths get fewer replicates, because an evaluation is expensive.
_LARGE = 256
_NET = Sobol(4096)
_SEED = 20260501
# Replicates that the error of a run is predicted from; of normal replicate means they tell it to about 2 %.
_PILOT = 1000
# Relative and absolute difference between fingerprints that rounding in float32 explains.
_TOLERANCE = 1e-3


def most_replicates(problem: Problem) -> int:
    """Return the largest number of replicates of a run in the coverage studies of a problem."""
    return 50 if problem.dimension >= _LARGE else 200


def with_truth(problem: Problem, path: Path = TRUTHS) -> Problem:
    """Return the problem with its stored truth.

    Raises
    ------
    RuntimeError
        If no truth is stored, or the one of another definition of the problem.
    """
    record = _stored(path).get(problem.name)
    advice = f"; simulate it by: {COMMAND} --only {problem.name}"
    if record is None:
        raise RuntimeError(f"the truth of problem {problem.name!r} is not stored in {path}{advice}")
    found, known = fingerprint(problem), np.asarray(record["fingerprint"])
    if found.shape != known.shape or not np.allclose(found, known, rtol=_TOLERANCE, atol=_TOLERANCE):
        raise RuntimeError(f"the truth of problem {problem.name!r} in {path} is for another definition of it{advice}")
    source = f"simulated: {record['n_evaluations']:,} evaluations by {record['design']}, seed {record['seed']}"
    truth = record["truth"]
    event = None if problem.event_probability is None else truth
    return replace(problem, truth=truth, truth_error=record["standard_error"], source=source, event_probability=event)


def fingerprint(problem: Problem) -> Floats:
    """Return the statistic, and a projection of the samples, at eight fixed points of noise; shape (16,)."""
    samples = problem.generator(as_rows(MonteCarlo().draw(problem.generator.noise, 8, 0, stream=("fingerprint",))))
    flat = np.asarray(samples, np.float64).reshape(8, -1)
    return np.concatenate([problem.statistic(samples), flat @ np.cos(np.arange(flat.shape[1]))]).astype(np.float64)


def simulate_truths(only: str = "", path: Path = TRUTHS) -> pd.DataFrame:
    """Simulate and store the truths of the problems whose name contains `only`; return them as a table.

    Statistics of one generator share its samples.

    Raises
    ------
    RuntimeError
        If the standard error of a truth is more than `SHARE` of that of the most accurate run.
    """
    from mcgen.validation.problems.mixtures import unknown

    rows = []
    for _, group in groupby((problem for problem in unknown() if only in problem.name), key=lambda p: id(p.generator)):
        problems = tuple(group)
        records = _simulated(problems)
        # Written after each generator: an interrupted call keeps the truths that it has finished.
        truths = dict(_stored(path)) | records
        path.write_text(json.dumps({"command": COMMAND, "truths": dict(sorted(truths.items()))}, indent=1) + "\n")
        _stored.cache_clear()
        rows += [{"problem": name} | record for name, record in records.items()]
    return pd.DataFrame(rows).drop(columns="fingerprint", errors="ignore")


def _simulated(problems: tuple[Problem, ...]) -> dict[str, dict[str, Any]]:
    errors = np.stack([_run_errors(problems, design) for design in RUNS])
    n_replicates = 512 if problems[0].dimension >= _LARGE else 2048
    truth, error = _estimated(problems, _NET, n_replicates, _SEED)
    records = {}
    for i, problem in enumerate(problems):
        best = int(np.argmin(errors[:, i]))
        run = f"{most_replicates(problem)} replicates of {RUNS[best]}"
        if not error[i] <= SHARE * errors[best, i]:
            raise RuntimeError(
                f"the truth of {problem.name!r} has standard error {error[i]:.3g}, more than a twentieth of the "
                f"{errors[best, i]:.3g} of {run}; simulate it by more replicates"
            )
        records[problem.name] = {
            "truth": float(truth[i]),
            "standard_error": float(error[i]),
            "n_evaluations": n_replicates * _NET.n_points,
            "design": str(_NET),
            "seed": _SEED,
            "smallest_run_error": float(f"{errors[best, i]:.4g}"),
            "run": run,
            "mcgen": mcgen.__version__,
            "fingerprint": [float(f"{value:.6g}") for value in fingerprint(problem)],
        }
    return records


def _run_errors(problems: tuple[Problem, ...], design: Design) -> Floats:
    """Return the standard errors of the largest run by a design, predicted from a pilot."""
    _, error = _estimated(problems, design, _PILOT, _SEED + 1)
    return error * math.sqrt(_PILOT / most_replicates(problems[0]))


def _estimated(problems: tuple[Problem, ...], design: Design, n_replicates: int, seed: int) -> tuple[Floats, Floats]:
    """Return the estimates, and their standard errors, of problems that share a generator."""

    def statistics(samples: Array) -> Array:
        return np.stack([problem.statistic(samples) for problem in problems], axis=1)

    result = mcgen.estimate(
        problems[0].generator, statistics, design=design, n_replicates=n_replicates, seed=seed, batch_size=_NET.n_points
    )
    return np.asarray(result.mean), np.asarray(result.standard_error)


@lru_cache
def _stored(path: Path) -> dict[str, dict[str, Any]]:
    if not path.exists():
        return {}
    truths: dict[str, dict[str, Any]] = json.loads(path.read_text())["truths"]
    return truths
