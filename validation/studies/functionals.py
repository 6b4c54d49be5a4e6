"""Studies of functionals that are functions of means: the coverage of their intervals, and that no bias remains.

All intervals are those of `mcgen.estimate`: thousands of independent runs are components of one statistic, whose noise
`SideBySide` draws. ``python -m mcgen.validation functionals`` writes the page.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

import mcgen
from mcgen import functionals
from mcgen._lib.arrays import Floats
from mcgen.designs import Antithetic, Design, MonteCarlo, Sobol
from mcgen.inference.interval_input import student_t_quantile
from mcgen.noise import NoiseSpec
from mcgen.validation.studies.functional_laws import (
    FUNCTIONALS,
    LAWS,
    FunctionalLaw,
    SideBySide,
    class_probabilities,
    noise,
    noise_by_condition,
    true_inception_score,
)
from mcgen.validation.studies.verdicts import FALSE_ALARM, Study, Verdict, acceptance_band, at_most, control, mean

PROMISED = (0.93, 0.975)
"""Least and largest coverage that is promised to intervals of nominally 95 %. Skewness-safe intervals of variances
cover up to 0.970, of normal values in 50 pairs."""
DESIGNS: dict[str, tuple[Design, int]] = {
    "Monte Carlo": (MonteCarlo(), 2),
    "pairs": (Antithetic(), 2),
    "nets, 2 dimensions": (Sobol(64), 2),
    "nets, 4 dimensions": (Sobol(64), 4),
}
"""Designs, and the dimension of the noise of a run."""
PROMISED_LAWS = {
    "variance": ("w + 3", "exp(w/2)", "w^2"),
    "std": ("w + 3", "exp(w/2)", "w^2"),
    "ratio": ("w + 3", "exp(w/2)", "w^2"),
    "correlation": ("w + 3", "exp(w/2)"),
}
"""Laws for which a coverage is promised from 50 replicates on, by functional."""
# Numbers of noise in a batch of all runs, 8 MB in float64.
_BATCH_NUMBERS = 2**20
Ends = Callable[["mcgen.Estimate"], tuple[Floats, Floats]]
"""Makes the ends of the intervals of an estimate of many runs."""


@dataclass(frozen=True)
class Cell:
    """The outcome of simulated runs of a functional.

    Attributes
    ----------
    what : str
        The functional, law, design and number of replicates.
    hits, runs : int
        How many intervals hold the true value, and how many runs have one.
    width : float
        Median half-width in standard errors.
    bias : float
        Mean of the estimates less the true value, in standard errors of that mean.
    """

    what: str
    hits: int
    runs: int
    width: float
    bias: float

    @property
    def covered(self) -> float:
        """Share of the intervals that hold the true value; NaN without any."""
        return self.hits / self.runs if self.runs else math.nan


def by_default(result: mcgen.Estimate) -> tuple[Floats, Floats]:
    """Return the interval of `mcgen.estimate`."""
    return np.asarray(result.interval.low), np.asarray(result.interval.high)


def student(result: mcgen.Estimate) -> tuple[Floats, Floats]:
    """Return Student's t interval of the pseudo-values, on the functional's own scale: a control."""
    t = student_t_quantile(0.975, np.asarray(result.degrees_of_freedom, np.float64))
    return np.asarray(result.mean - t * result.standard_error), np.asarray(result.mean + t * result.standard_error)


def naive(result: mcgen.Estimate) -> tuple[Floats, Floats]:
    """Return sd (1 +- 1.96 / sqrt(2 N)), the usual interval for independent normal values: a control."""
    sd, error = np.asarray(result.plug_in), 1.96 / math.sqrt(2 * result.n_evaluations)
    return sd * (1 - error), sd * (1 + error)


def estimated(name: str, law: FunctionalLaw, design: str, n_replicates: int, runs: int, seed: int) -> mcgen.Estimate:
    """Return the estimate of a functional whose components are independent runs."""
    drawn, dimension = DESIGNS[design]
    side = SideBySide(drawn, runs)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return mcgen.estimate(
            noise(runs, dimension),
            FUNCTIONALS[name].of(law),
            design=side,
            n_replicates=n_replicates,
            seed=seed,
            batch_size=_batch_size(drawn, runs * dimension),
        )


def _batch_size(design: Design, numbers: int) -> int:
    return design.n_points * max(1, _BATCH_NUMBERS // (numbers * design.n_points))


def cell(name: str, law: str, design: str, n_replicates: int, runs: int, seed: int, ends: Ends = by_default) -> Cell:
    """Return the coverage of runs of a functional of a law; without hits or runs where it is refused."""
    what, truth = f"{law}, {design}, R = {n_replicates:,}", FUNCTIONALS[name].truth(LAWS[law])
    try:
        result = estimated(name, LAWS[law], design, n_replicates, runs, seed)
    except mcgen.RunError:
        # One of the runs has no such functional, such as a log of no events.
        return Cell(what, 0, 0, math.nan, math.nan)
    return _judged(what, result, truth, ends)


def _judged(what: str, result: mcgen.Estimate, truth: float, ends: Ends = by_default) -> Cell:
    low, high = ends(result)
    # An interval without width, of a design that integrates exactly, may miss the truth by rounding.
    slack = 1e-12 * abs(truth)
    hits = (low - slack <= truth) & (truth <= high + slack)
    error = np.asarray(result.standard_error)
    with np.errstate(invalid="ignore", divide="ignore"):
        widths = np.asarray(result.half_width) / error
    estimates = np.ravel(result.mean)
    spread = float(estimates.std(ddof=1)) / math.sqrt(len(estimates))
    bias = (float(estimates.mean()) - truth) / spread if spread > slack else 0.0
    return Cell(what, int(hits.sum()), hits.size, float(np.median(widths)), bias)


def promised(name: str, designs: Iterable[str], n_replicates: Sequence[int], runs: int, seed: int) -> list[Verdict]:
    """Return a verdict on the coverage of a functional under each design."""
    verdicts = []
    for design in designs:
        fewer = runs if DESIGNS[design][0].n_points == 1 or design == "pairs" else runs // 2
        cells = [cell(name, law, design, n, fewer, seed) for law in PROMISED_LAWS[name] for n in n_replicates]
        verdicts.append(covering(f"{name} under {design}", cells))
    return verdicts


def covering(promise: str, cells: Sequence[Cell]) -> Verdict:
    """Return the verdict on the cells that cover least and most; false alarms are shared among them."""
    least, most = min(cells, key=lambda one: one.covered), max(cells, key=lambda one: one.covered)
    alarm = FALSE_ALARM / len(cells)
    low = acceptance_band(least.runs, PROMISED[0], alarm)[0]
    high = acceptance_band(most.runs, PROMISED[1], alarm)[1]
    measured = f"{least.covered:.4f} ({least.what})" + (
        "" if most is least else f" to {most.covered:.4f} ({most.what})"
    )
    holds = low <= least.covered and most.covered <= high
    text = f"{measured} of {least.runs:,} runs each"
    return Verdict(
        f"{promise} covers {PROMISED[0]} to {PROMISED[1]}", f"in [{low:.4f}, {high:.4f}]", text, holds, least.covered
    )


def coverage(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts on the coverage of variances, standard deviations, ratios and correlations from 50 replicates on.

    The controls are the usual error of a standard deviation under pairs of an even statistic; Student's t for the
    variance of a skewed one; and a correlation without Fisher's z.
    """
    runs, counts = (10_000, (50, 200)) if full else (4000, (50,))
    designs = [*DESIGNS] if full else ["Monte Carlo", "pairs", "nets, 4 dimensions"]
    found = [verdict for name in PROMISED_LAWS for verdict in promised(name, designs, counts, runs, seed)]
    wrong = (
        ("sd (1 +- 1.96 / sqrt(2 N))", cell("std", "w^2", "pairs", 50, 4000, seed, naive)),
        ("Student's t for a variance", cell("variance", "exp(w/2)", "Monte Carlo", 50, 4000, seed, student)),
        ("a correlation without z", cell("correlation", "exp(w/2)", "Monte Carlo", 25, 8000, seed, student)),
    )
    return [*found, *(control(covering(what, [one])) for what, one in wrong)]


def no_bias(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts that variances and covariances are unbiased; the controls are those of all values."""
    runs = 20_000 if full else 4000
    verdicts = []
    for name in ("variance", "covariance"):
        for design in ("Monte Carlo", "pairs", "nets, 2 dimensions"):
            truth = FUNCTIONALS[name].truth(LAWS["exp(w/2)"])
            result = estimated(name, LAWS["exp(w/2)"], design, 10, runs // (10 if "nets" in design else 1), seed)
            verdicts.append(mean(f"E of the {name} of exp(w/2), {design}, R = 10", np.asarray(result.mean), truth))
            if design == "Monte Carlo":
                plain = mean(f"E of the {name} of all values, without correction", np.asarray(result.plug_in), truth)
                verdicts.append(control(plain))
    return verdicts


def several_laws(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts on averages, mixtures and differences, and on replicates that are not kept.

    The control takes the average of the conditions' standard deviations for that of their mixture.
    """
    runs = 10_000 if full else 2000
    found = [
        covering(f"std, the {across} of two conditions, {_noises(common)}", [_conditions(across, common, runs, seed)])
        for across in ("average", "mixture")
        for common in (True, False)
    ]
    found += [
        covering(f"the difference of two models' std, {_noises(common)}", [_difference(common, runs, seed)])
        for common in (True, False)
    ]
    found.append(covering("variance from 64 groups of 256 replicates", [_grouped(runs // 2, seed)]))
    wrong = _conditions("average", True, runs, seed, of_mixture=True)
    return [*found, control(covering("the average of std for that of the mixture", [wrong]))]


def _noises(common: bool) -> str:
    return "common noise" if common else "independent noise"


# Conditions shift w by 0 and 1, so that exp(w/2) is multiplied by 1 and exp(1/2).
_SHIFTS, _FACTORS = (0.0, 1.0), np.exp([0.0, 0.5])
_LAW = LAWS["exp(w/2)"]


def _conditions(across: str, common: bool, runs: int, seed: int, of_mixture: bool = False) -> Cell:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = mcgen.estimate(
            noise_by_condition(runs, 2),
            functionals.std(_LAW.first),
            design=SideBySide(Antithetic(), runs),
            n_replicates=100,
            seed=seed,
            condition=list(_SHIFTS),
            across="mixture" if across == "mixture" else "average",
            common_random_numbers=common,
            batch_size=_batch_size(Antithetic(), 2 * runs),
        )
    second = float(((_LAW.variance + _LAW.mean**2) * _FACTORS**2).mean())
    pooled = math.sqrt(second - float((_LAW.mean * _FACTORS).mean()) ** 2)
    average = math.sqrt(_LAW.variance) * float(_FACTORS.mean())
    truth = pooled if of_mixture or across == "mixture" else average
    return _judged("exp(w/2), pairs, R = 100", result, truth)


def _difference(common: bool, runs: int, seed: int) -> Cell:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = mcgen.difference(
            noise(runs, 2, _SHIFTS[1]),
            noise(runs, 2),
            functionals.std(_LAW.first),
            design=SideBySide(Antithetic(), runs),
            n_replicates=100,
            seed=seed,
            common_random_numbers=common,
            batch_size=_batch_size(Antithetic(), 2 * runs),
        )
    truth = math.sqrt(_LAW.variance) * float(_FACTORS[1] - _FACTORS[0])
    return _judged("exp(w/2), pairs, R = 100", result, truth)


def _grouped(runs: int, seed: int) -> Cell:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = mcgen.estimate(
            noise(runs, 2),
            functionals.variance(_LAW.first),
            design=SideBySide(MonteCarlo(), runs),
            n_replicates=64 * 256,
            seed=seed,
            keep_replicates=False,
            batch_size=256,
        )
    return _judged("exp(w/2), Monte Carlo, R = 16,384", result, _LAW.variance)


def inception_scores(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts that inception scores cover, and have no bias; the control keeps it."""
    runs, truth, what = (4000 if full else 500), true_inception_score(), "inception score of 3 classes"
    verdicts = []
    for design in ("Monte Carlo", "pairs"):
        low, high, *_ = _scores(DESIGNS[design][0], 50, runs, seed)
        hits = int(((low <= truth) & (truth <= high)).sum())
        found = Cell(f"{design}, R = 50", hits, runs, math.nan, math.nan)
        verdicts.append(covering(f"the {what} under {design}", [found]))
    *_, means, plain = _scores(MonteCarlo(), 20, 2 * runs, seed)
    # The bias that remains is of third order; 0.001 allows for it.
    verdicts.append(mean(f"E of the {what}, R = 20", means, truth, 1e-3))
    return [*verdicts, control(mean(f"E of the {what}, as it is usually computed", plain, truth, 1e-3))]


def _scores(design: Design, n_replicates: int, runs: int, seed: int) -> tuple[Floats, Floats, Floats, Floats]:
    """Return ends, estimates and plug-in values of inception scores, one run after another."""
    found = np.empty((4, runs))
    score, generator = functionals.inception_score(class_probabilities), noise(1, 2)
    for run in range(runs):
        number = np.random.SeedSequence(seed, spawn_key=(run,))
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = mcgen.estimate(generator, score, design=design, n_replicates=n_replicates, seed=number)
        assert result.plug_in is not None
        found[:, run] = *result.interval, result.mean, result.plug_in
    return found[0], found[1], found[2], found[3]


def side_by_side(full: bool, seed: int) -> list[Verdict]:
    """Return verdicts that runs side by side are those of `mcgen.estimate` with the plain design, bit for bit.

    The control is a run of other replicates.
    """
    verdicts = []
    for name in ("variance", "correlation", "function_of_means"):
        for design in DESIGNS:
            alone = estimated(name, LAWS["exp(w/2)"], design, 50, 1, seed)
            plain = _plain(name, design, 50, seed)
            verdicts.append(
                at_most(f"{name} under {design}, a run alone and by the study differ by", _gap(alone, plain), 0)
            )
    other = _plain("variance", "Monte Carlo", 50, seed + 1)
    alone = estimated("variance", LAWS["exp(w/2)"], "Monte Carlo", 50, 1, seed)
    return [*verdicts, control(at_most("runs of other seeds differ by", _gap(alone, other), 0))]


def _plain(name: str, design: str, n_replicates: int, seed: int) -> mcgen.Estimate:
    drawn, dimension = DESIGNS[design]
    spec = NoiseSpec.normal((dimension,), "float64")
    generator = mcgen.as_generator(lambda z: z[:, None], noise=spec, name="noise")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        score = FUNCTIONALS[name].of(LAWS["exp(w/2)"])
        return mcgen.estimate(generator, score, design=drawn, n_replicates=n_replicates, seed=seed)


def _gap(a: mcgen.Estimate, b: mcgen.Estimate) -> float:
    """Return the largest difference of estimates, standard errors and ends."""

    def numbers(one: mcgen.Estimate) -> NDArray[np.float64]:
        return np.concatenate([np.ravel(part) for part in (one.mean, one.standard_error, *one.interval)])

    return float(np.abs(numbers(a) - numbers(b)).max())


STUDIES: dict[str, Study] = {
    "functionals, coverage": coverage,
    "functionals, no bias": no_bias,
    "functionals, several laws": several_laws,
    "functionals, inception scores": inception_scores,
    "functionals, runs side by side": side_by_side,
}
