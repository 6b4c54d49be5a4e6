"""Study of the intervals of variance shares: their coverage of indices that are known exactly.

Many runs are cut from one long run. The code of `mcgen.analysis.variance_shares` makes their intervals, with a column
for each run. With 100 replicates and more, 95 % intervals must cover in a share of 0.93 to 0.97. Intervals of
coordinates, which are drawn at random, must cover in 0.91 or more. For statistics with heavy tails, where a result
warns, the promise is 0.88. The negative control treats the two estimates in a replicate as independent, which they are
not.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen.analysis.indices import Index, indices_of, jackknifed
from mcgen.analysis.noise_parts import ALL, BLOCKS, COORDINATES, parts_of
from mcgen.analysis.pick_freeze import PickFreeze
from mcgen.bases import Basis
from mcgen.generators import as_generator
from mcgen.inference.interval_input import IntervalInput
from mcgen.inference.intervals import make_interval
from mcgen.noise import NoiseSpec
from mcgen.replicates.gathering import Values
from mcgen.replicates.loop import run_all
from mcgen.replicates.task import estimand_of
from mcgen.validation.studies.verdicts import Study, Verdict, acceptance_band, control, inside, share

# Runs of the short and of the full form: standard errors of a coverage of 0.95 are 0.008 and 0.003.
_RUNS = {False: 800, True: 4_000}
_BATCH = 4_096
_LOWEST, _HIGHEST, _OF_COORDINATES = 0.93, 0.97, 0.91

Truths = dict[tuple[str, str], float]


@dataclass(frozen=True)
class _Case:
    """A statistic of the noise with known indices.

    Attributes
    ----------
    name : str
        Its name.
    noise : NoiseSpec
        Its noise, one block.
    statistic : callable
        From noise (n, ...) to values (n,).
    truths : dict
        The indices by part and name.
    design : PickFreeze
        The points.
    """

    name: str
    noise: NoiseSpec
    statistic: Callable[[Any], Floats]
    truths: Truths
    design: PickFreeze


def _case(
    name: str,
    noise: NoiseSpec,
    statistic: Callable[[Any], Floats],
    truths: Truths,
    n_parts: int,
    directions: tuple[Basis | None, tuple[int, ...]] = (None, ()),
) -> _Case:
    parts = parts_of(noise, [f"noise[{i}]" for i in range(n_parts)])
    return _Case(name, noise, statistic, truths, PickFreeze(parts, *directions, n_coordinates=2))


def ishigami() -> _Case:
    """Return the Ishigami function of uniform noise, with a = 7 and b = 0.1 (T. Ishigami, T. Homma 1990)."""
    first, second, both = 0.5 * (1 + np.pi**4 / 50) ** 2, 49 / 8, np.pi**8 * 0.01 * (1 / 18 - 1 / 50)

    def statistic(u: Any) -> Floats:
        x = np.pi * (2 * u - 1)
        return np.asarray(np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0]))

    v = first + second + both
    truths = _by_part([first / v, second / v, 0.0], [(first + both) / v, second / v, both / v])
    truths[ALL, "odd"] = (first + both) / v
    return _case("Ishigami", NoiseSpec.uniform((3,), "float64"), statistic, truths, 3)


def g_function() -> _Case:
    """Return Sobol's g-function, a product of |4 u_i - 2| with weights 0, 1, 4.5 and 9 that hold them back."""
    a = np.array([0.0, 1.0, 4.5, 9.0])
    own = 1 / (3 * (1 + a) ** 2)
    v = float(np.prod(1 + own) - 1)
    totals = [own[i] * np.prod(np.delete(1 + own, i)) / v for i in range(len(a))]

    def statistic(u: Any) -> Floats:
        return np.asarray(np.prod((np.abs(4 * u - 2) + a) / (1 + a), axis=1))

    truths = _by_part([*(own / v)], totals)
    return _case("g-function", NoiseSpec.uniform((4,), "float64"), statistic, truths, len(a))


def steps() -> _Case:
    """Return a sum of ten blocks of four normal numbers each, with one product of two of them."""

    def statistic(z: Any) -> Floats:
        return np.asarray(z.sum(axis=(1, 2)) + 2 * z[:, 0, 0] * z[:, 1, 0])

    v = 44.0
    truths = _by_part([4 / v] * 10, [8 / v] * 2 + [4 / v] * 8)
    truths[ALL, "odd"] = 40 / v
    return _case("ten steps", NoiseSpec.normal((10, 4), "float64"), statistic, truths, 10)


def exponential(scale: float) -> _Case:
    """Return exp(b'z) of six normal numbers, with b of the length 0.75 times a scale; heavy tails for a scale of 1."""
    b = scale * np.array([0.6, 0.3, 0.2, 0.1, 0.1, 0.05])
    square = float(b @ b)
    v = np.expm1(square)
    columns = np.zeros((6, 2))
    columns[:2] = [[0.6, 0.8], [0.8, -0.6]]
    along = np.cumsum((b @ columns) ** 2)
    first, total = np.expm1(b**2) / v, 1 - np.expm1(square - b**2) / v
    truths: Truths = {(ALL, "odd"): np.expm1(2 * square) / (2 * np.exp(square) * v)}
    for number, name in enumerate(("1 direction", "2 directions")):
        truths[name, "first-order"] = np.expm1(along[number]) / v
        truths[name, "total"] = 1 - np.expm1(square - along[number]) / v
    for i in range(3):
        truths[f"noise[{i}]", "first-order"], truths[f"noise[{i}]", "total"] = first[i], total[i]
    truths |= {(COORDINATES, "additive"): first.sum(), (COORDINATES, "mean dimension"): total.sum()}

    def statistic(z: Any) -> Floats:
        return np.asarray(np.exp(z @ b))

    noise = NoiseSpec.normal((6,), "float64")
    return _case(f"exp, sd {0.75 * scale:.3g}", noise, statistic, truths, 3, (Basis({"noise": columns}), (1, 2)))


def _by_part(first: list[float], total: list[float]) -> Truths:
    """Return the truths of parts that are all of the noise, each of one coordinate or additive inside."""
    truths: Truths = {}
    for i, (one, all_of_it) in enumerate(zip(first, total, strict=True)):
        truths[f"noise[{i}]", "first-order"], truths[f"noise[{i}]", "total"] = one, all_of_it
    for part in (BLOCKS, COORDINATES):
        truths[part, "additive"], truths[part, "mean dimension"] = sum(first), sum(total)
    return truths


def _simulated(case: _Case, n_replicates: int, runs: int, seed: int) -> list[Index]:
    """Return the indices of many runs, a column for each."""
    generator = as_generator(lambda z: z, case.noise, name="noise")
    task = replace(estimand_of(generator, case.statistic, seed, None).task(case.design, _BATCH), gatherers=(Values(),))
    rows = run_all(replace(task, gatherers=(Values(),)), n_replicates * runs)[0].rows()
    assert rows is not None
    values = rows.gathered[Values.name].reshape(runs, n_replicates, case.design.n_points)
    return [*indices_of(np.moveaxis(values, 0, 2), case.design, case.noise.dimension)]


def _hits(indices: list[Index], truths: Truths) -> dict[tuple[str, str], int]:
    """Return how many of the runs' intervals hold each truth."""
    found = {}
    df = np.full(indices[0].numerator.shape[1], len(indices[0].numerator) - 1.0)
    for one, (mean, error, skewness) in zip(indices, np.moveaxis(jackknifed(indices), 1, 0), strict=True):
        truth = truths.get((one.part, one.name))
        if truth is not None:
            low, high = map(np.asarray, make_interval(IntervalInput(mean, error, df, None, 0, skewness), 0.95)[0])
            found[one.part, one.name] = int(((low <= truth) & (truth <= high)).sum())
    return found


def _judged(case: _Case, simulated: list[Index]) -> list[Verdict]:
    """Return verdicts on the worst of the parts' coverages, on the best, and on that of coordinates."""
    hits, (n_replicates, runs) = _hits(simulated, case.truths), simulated[0].numerator.shape
    found, what = [], f"{case.name}, R = {n_replicates}"
    parts = {key: count for key, count in hits.items() if key[0] != COORDINATES}
    low, high = acceptance_band(runs, _LOWEST)[0], acceptance_band(runs, _HIGHEST)[1]
    for end, key in (("least", min(parts, key=parts.__getitem__)), ("greatest", max(parts, key=parts.__getitem__))):
        promise = f"{what}: the {end} coverage of {len(parts)} indices is in [{_LOWEST}, {_HIGHEST}]"
        found.append(inside(promise, parts[key] / runs, low, high, f"{key[0]}, {key[1]}, {runs:,} runs"))
    least = min(count for key, count in hits.items() if key[0] == COORDINATES)
    promise = f"{what}: of coordinates covers {_OF_COORDINATES} at least"
    return [*found, share(promise, least, runs, _OF_COORDINATES, at_least=True)]


def coverage(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts on the coverage of intervals of known indices.

    The control takes the two estimates of a total index in a replicate for independent ones.
    """
    runs, first = _RUNS[full], ishigami()
    simulated = _simulated(first, 100, runs, seed)
    found = _judged(first, simulated)
    for case in [g_function(), steps(), exponential(0.5)] if full else [exponential(0.5)]:
        for n_replicates in (100, 400) if full else (100,):
            found += _judged(case, _simulated(case, n_replicates, runs, seed))
    heavy = exponential(1.0)
    hits = _hits(_simulated(heavy, 100, runs, seed), heavy.truths)
    promise = f"{heavy.name}, R = 100: the least coverage of all indices is 0.88 at least"
    found.append(share(promise, min(hits.values()), runs, 0.88, at_least=True))
    twice = [
        replace(one, numerator=np.repeat(one.numerator, 2, axis=0), denominator=np.repeat(one.denominator, 2, axis=0))
        for one in simulated
    ]
    wrong = _hits(twice, first.truths)["noise[0]", "total"]
    promise = f"{first.name}, R = 100: both estimates of a replicate taken as independent cover {_LOWEST}"
    return [*found, control(share(promise, wrong, runs, _LOWEST, at_least=True))]


STUDIES: dict[str, Study] = {"variance shares": coverage}
"""Studies by title."""
