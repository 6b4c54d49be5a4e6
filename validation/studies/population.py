"""Studies of populations of conditions: coverage of their mean, and efficiencies of comparisons under conditions.

The code that `mcgen.estimate` uses, `mcgen.results.population.of_population`, makes the intervals of thousands of
samples at once: each sample is a component. The expectations of conditions have a normal, an exponential or a lognormal
law of variance 1. Their noise has a fifth of that variance, and a cluster has half of the variance between conditions.
There are two negative controls: the average over exactly these conditions, and clusters whose members are treated as
single conditions.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.random import Generator as NumpyGenerator
from numpy.random import SeedSequence
from numpy.typing import NDArray

import mcgen
from mcgen._lib.arrays import Floats
from mcgen.inference.functional_intervals import moments_of
from mcgen.inference.methods import IntervalOptions
from mcgen.noise import Array
from mcgen.results.estimate import Estimate
from mcgen.results.from_moments import estimate_from_moments
from mcgen.results.population import of_population
from mcgen.results.provenance import Provenance
from mcgen.results.sums import weighted_sum
from mcgen.statistics import pixel_mean
from mcgen.validation.studies.verdicts import Study, Verdict, at_most, control, share
from mcgen.validation.writing.markdown import chosen, fill_page, made_by, markdown_table, require_marks

Law = Callable[[NumpyGenerator, tuple[int, int]], Floats]

# Samples of a cell in full form and in short form: the standard error of a coverage of 0.95 is 0.002 and 0.0034.
REPETITIONS, _FEWER = 12_000, 4_000
LAWS: dict[str, Law] = {
    "normal": lambda rng, shape: rng.normal(size=shape),
    "exponential": lambda rng, shape: rng.exponential(size=shape) - 1,
    "lognormal": lambda rng, shape: (np.exp(rng.normal(size=shape)) - math.exp(0.5)) / math.sqrt(math.e**2 - math.e),
}
"""Laws of the conditions' expectations, of mean 0 and variance 1; the last two have the skewness 2 and 6.2."""
SIZES = {"conditions": (1,), "clusters of 3": (3,), "clusters of 1 to 6": (1, 2, 3, 6)}
"""Numbers of conditions in the clusters, in turn."""
COUNTS = (5, 10, 25, 50, 200)
# Replicates of a condition, and the variance of their mean.
_REPLICATES, _NOISE = 8, 0.2
_MARKS = ("made by", "coverage")

# Shares that are promised, by law and number of conditions or clusters. With fewer than 10 runs warn. Clusters of
# unequal size have means of unequal variance, for which Student's t is not exact.
PROMISED = {
    "normal": {5: 0.945, 10: 0.945, 25: 0.95, 50: 0.95, 200: 0.945},
    "exponential": {5: 0.91, 10: 0.94, 25: 0.945, 50: 0.945, 200: 0.945},
    "lognormal": {5: 0.9, 10: 0.92, 25: 0.93, 50: 0.935, 200: 0.94},
}


def sampled(law: str, sizes: str, count: int, runs: int, seed: int) -> tuple[tuple[Estimate, ...], NDArray[np.int64]]:
    """Return the estimates of the conditions, of which component j is sample j, and the cluster of each condition."""
    rng = np.random.default_rng(SeedSequence(seed, spawn_key=(list(LAWS).index(law), list(SIZES).index(sizes), count)))
    each = [SIZES[sizes][number % len(SIZES[sizes])] for number in range(count)]
    clusters = np.repeat(np.arange(count), each)
    expectations = LAWS[law](rng, (count, runs))[clusters]
    if max(each) > 1:
        expectations = math.sqrt(0.5) * (expectations + LAWS[law](rng, (len(clusters), runs)))
    names = tuple(f"sample {j}" for j in range(runs))
    return tuple(_condition(one, names, rng) for one in expectations), clusters


def _condition(expectation: Floats, names: tuple[str, ...], rng: NumpyGenerator) -> Estimate:
    """Return the estimate of a condition from normal replicate means."""
    rows = expectation + rng.normal(0, math.sqrt(_NOISE * _REPLICATES), (_REPLICATES, len(expectation)))
    return estimate_from_moments(moments_of(rows), None, _PROVENANCE, expectation.shape, names, IntervalOptions(0.95))


_PROVENANCE = Provenance(
    generator="model",
    statistic="value",
    noise="normal(1)",
    dimension=1,
    design="MonteCarlo()",
    n_points=1,
    n_replicates=_REPLICATES,
    n_evaluations=_REPLICATES,
    seed=SeedSequence(0),
    condition="prompt",
    batch_size=_REPLICATES,
)


def covering(made: Estimate) -> int:
    """Return how many intervals hold the population's mean, 0."""
    low, high = map(np.ravel, made.interval)
    return int(((low <= 0) & (high >= 0)).sum())


def of_sample(law: str, sizes: str, count: int, runs: int, seed: int) -> int:
    """Return how many intervals of the population hold its mean."""
    parts, clusters = sampled(law, sizes, count, runs, seed)
    return covering(of_population(parts, clusters, _PROVENANCE, IntervalOptions(0.95)))


def of_average(law: str, sizes: str, count: int, runs: int, seed: int) -> int:
    """Return how many intervals of the average over exactly these conditions hold the population's mean."""
    parts, _ = sampled(law, sizes, count, runs, seed)
    weights = np.full(len(parts), 1 / len(parts))
    return covering(weighted_sum(parts, weights, _PROVENANCE, IntervalOptions(0.95)))


def without_clusters(law: str, sizes: str, count: int, runs: int, seed: int) -> int:
    """Return how many intervals hold the mean where the conditions of clusters are taken for independent ones."""
    parts, _ = sampled(law, sizes, count, runs, seed)
    return covering(of_population(parts, None, _PROVENANCE, IntervalOptions(0.95)))


def coverage(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts on the coverage of a population's mean, with single conditions and with clusters."""
    runs, found = REPETITIONS if full else _FEWER, []
    for law in LAWS:
        for sizes in SIZES:
            # The largest cells hold hundreds of conditions.
            for count in COUNTS if full or sizes == "conditions" else COUNTS[:-1]:
                promised = PROMISED[law][count]
                what = f"the mean of a population from {count} {sizes}, {law}: covers {promised:g}"
                found.append(share(what, of_sample(law, sizes, count, runs, seed), runs, promised, at_least=True))
    hits = of_average("normal", "conditions", 50, runs, seed)
    what = "the average over exactly 50 normal conditions covers the mean of their population by 0.9"
    found.append(control(share(what, hits, runs, 0.9, at_least=True)))
    hits = without_clusters("normal", "clusters of 3", 50, runs, seed)
    what = "conditions of 50 clusters, taken for independent ones: covers 0.945"
    found.append(control(share(what, hits, runs, 0.945, at_least=True)))
    return found


SCALES = (0.5, 1.0, 2.0)
"""Conditions of the known problem: factors of exp(z / 2), z ~ N(0, 1), which all have the same efficiency of pairs."""
_OF_VALUE, _OF_NEGATION = math.exp(0.5) - math.exp(0.25), 1 - math.exp(0.25)
EFFICIENCY = _OF_VALUE / (_OF_VALUE + _OF_NEGATION)
"""That of pairs over Monte Carlo, 1 / (1 + correlation): 2.28."""


def _lognormal(z: Array, scale: float) -> Array:
    return np.asarray(scale * np.exp(z / 2))


def comparisons(runs: int, seed: int) -> list[dict[str, Any]]:
    """Return the row of antithetic pairs of each of some comparisons with Monte Carlo under three conditions."""
    model = mcgen.as_generator(_lognormal, noise=(1,), name="lognormal")
    designs, seeds = [mcgen.MonteCarlo(), mcgen.Antithetic()], SeedSequence(seed).spawn(runs)
    options: dict[str, Any] = {"designs": designs, "n_evaluations": 400, "condition": [*SCALES]}
    found = []
    for one in seeds:
        row = mcgen.compare(model, pixel_mean, seed=one, **options).to_frame().to_dict("records")[1]
        found.append({str(name): value for name, value in row.items()})
    return found


def efficiencies(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts on the efficiencies of a comparison under several conditions, against the known one."""
    runs = 1000 if full else 60
    rows = comparisons(runs, seed)

    def hits(name: str, truth: float = EFFICIENCY) -> int:
        return sum(row[f"{name}_low"] <= truth <= row[f"{name}_high"] for row in rows)

    def off(name: str, truth: float = EFFICIENCY) -> float:
        return abs(float(np.mean([math.log(row[name] / truth) for row in rows])))

    what, names = "under three conditions", ("relative_efficiency_mean_width", "efficiency_geometric_mean")
    return [
        share(f"the efficiency of the average {what}: covers 0.93", hits("efficiency"), runs, 0.93, at_least=True),
        share(f"the geometric mean {what}: covers 0.93", hits("geometric_mean"), runs, 0.93, at_least=True),
        *(at_most(f"the mean logarithm of {name} {what} is off by", off(name), 0.1) for name in names),
        control(
            at_most(f"the same for twice the efficiency: {names[0]} is off by", off(names[0], 2 * EFFICIENCY), 0.1)
        ),
    ]


def write_page(folder: Path, only: str = "", seed: int = 0, runs: int = REPETITIONS) -> None:
    """Measure the coverage of all cells, and write the table of ``how-to/many-conditions.md``.

    Parameters
    ----------
    folder : path
        Folder of the page, which has the marks.
    only : str
        Part of the name of a law; if it leaves some out, the table is printed, and the page is left as it was.
    seed : int
        Seed of all samples.
    runs : int
        Samples in each cell.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no page with its marks, or no law of such a name.
    """
    page = folder / "how-to" / "many-conditions.md"
    require_marks(page, _MARKS)
    laws = chosen(LAWS, only, "law")
    head, rows = ["conditions", "sample", "interval", *map(str, COUNTS)], []
    kinds = {"population": of_sample, "average": of_average}
    for law in laws:
        for sizes in SIZES:
            for kind, hits in kinds.items():
                if kind == "average" and sizes != "conditions":
                    continue
                cells = [f"{hits(law, sizes, count, runs, seed) / runs:.3f}" for count in COUNTS]
                rows.append([law, sizes, kind, *cells])
                print(*rows[-1], sep="  ", flush=True)
    if not only:
        text = f"{made_by('python -m mcgen.validation population', seed)} Each cell is {runs:,} samples."
        fill_page(page, {"coverage": markdown_table(head, rows), "made by": text})


STUDIES: dict[str, Study] = {
    "populations of conditions: coverage of the mean": coverage,
    "efficiencies under several conditions": efficiencies,
}
