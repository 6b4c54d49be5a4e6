"""BibTeX entries for the methods that a result used."""

from __future__ import annotations

import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path

from mcgen._version import __version__
from mcgen.analysis import VarianceShares
from mcgen.designs.sobol import MAX_DIMENSION
from mcgen.inference.functional_intervals import Scale
from mcgen.inference.methods import AND
from mcgen.results.comparison import Comparison
from mcgen.results.estimate import Estimate
from mcgen.results.scorecard import Scorecard

_MCGEN = f"""@software{{mcgen,
  title = {{mcgen: Monte Carlo estimates of generative models, with confidence intervals}},
  author = {{{{The mcgen developers}}}},
  version = {{{__version__}}},
  year = {{2026}}
}}"""
_FILE = Path(__file__).with_name("references.bib")

_DESIGN_KEYS = {
    "Antithetic": ("jia2025antithetic", "hammersley1956antithetic"),
    "KAntithetic": ("jia2025antithetic",),
    "LatinHypercube": ("mckay1979comparison", "stein1987large"),
    "OrthogonalAntithetic": ("yu2016orthogonal", "rowland2018geometrically"),
    "Subspace": ("caflisch1997valuation", "imai2006general"),
    "Sobol": ("joe2008sobol", "matousek1998discrepancy", "lecuyer2023confidence"),
}
_PILOT_KEYS = {
    "active subspace": ("constantine2014active",),
    "regression": ("stein1981estimation", "li1992principal"),
}
_METHOD_KEYS = {
    "skewness-safe-t": ("hall1992removal",),
    "skewness-safe": ("hall1992removal", "dunn1961multiple"),
    "skewness-adjusted-t": ("hall1992removal",),
    "bootstrap-t": ("hall1988theoretical",),
    "proportion": ("clopper1934use", "fay1997confidence", "korn1998confidence"),
    "bootstrap-max-t": ("hall1988theoretical",),
    "bonferroni": ("dunn1961multiple",),
    "gaussian-multiplier": ("chernozhukov2013gaussian",),
    "two-stage-t": ("stein1945two", "hall1992removal"),
    "anytime": ("wang2023anytime", "hall1992removal"),
    "asymptotic-anytime": ("waudbysmith2024time", "hall1992removal"),
    "betting": ("waudbysmith2024betting",),
    "quantile-inversion": ("woodruff1952confidence",),
    "order-statistics": ("david2003order",),
    "lengthened-t": ("johnson1978modified",),
}
# By the first words of a functional's name: features and kernels stand after them.
_DISTANCE_KEYS = {
    "Fréchet distance": (
        "dowson1982frechet",
        "heusel2017gans",
        "chong2020effectively",
        "efron1982jackknife",
        "busing1999delete",
    ),
    "kernel distance by": ("gretton2012kernel",),
    "kernel distance": ("gretton2012kernel", "binkowski2018demystifying"),
    "energy distance": ("szekely2013energy",),
}

_OF_SHARES = ("sobol1993sensitivity", "saltelli2010variance", "owen2013better", "liu2006estimating")


def citation(result: Estimate | Comparison | Scorecard | VarianceShares) -> str:
    """Return BibTeX entries for the methods of a result: its designs, controls, levels, intervals, and mcgen itself.

    Parameters
    ----------
    result : Estimate, Comparison, Scorecard or VarianceShares
        The result that you publish.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> generator = mcgen.as_generator(lambda z: np.exp(z / 4), noise=(16,), name="lognormal")
    >>> options = dict(design=mcgen.Antithetic(), n_evaluations=200, seed=0)
    >>> print(mcgen.citation(mcgen.estimate(generator, mcgen.statistics.pixel_mean, **options)).splitlines()[0])
    @software{mcgen,
    """
    keys = ["mcgen", "salmon2011parallel"]
    if isinstance(result, VarianceShares):
        return _entries([*keys, *_OF_SHARES, *_method_keys(result.method)])
    if not isinstance(result, Estimate | Comparison | Scorecard):
        raise TypeError(f"citation takes an Estimate, a Comparison, a Scorecard or VarianceShares; got {result!r}")
    for estimate in _estimates_of(result):
        keys += _estimate_keys(estimate)
    if isinstance(result, Comparison):
        keys += ["miller1968jackknifing"]
        own = [one for one in result.estimates if one.conditions]
        summed = any(not one.provenance.common_random_numbers for one in own)
        keys += ["jones1974jackknife"] if summed or "giles2008multilevel" in keys else []
    return _entries(keys)


def _estimates_of(result: Estimate | Comparison | Scorecard) -> list[Estimate]:
    """Return all estimates of a result, of a scorecard those of the differences too."""
    if isinstance(result, Comparison):
        return [*result.estimates]
    if isinstance(result, Scorecard):
        pairs = [one for score in result.scores for one in result.shared(score).pairs.values()]
        return [*(one for by_model in result.estimates.values() for one in by_model.values()), *pairs]
    return [result]


def _estimate_keys(estimate: Estimate) -> list[str]:
    """Return the entries for one estimate."""
    models, keys = estimate.models or (estimate,), []
    for part in (part for model in models for part in model.levels or (model,)):
        keys += _design_keys(part.provenance.design)
    keys += ["giles2008multilevel"] if any(model.levels for model in models) else []
    keys += _control_keys(estimate.provenance.controls)
    keys += _method_keys(estimate.method)
    keys += _functional_keys(estimate)
    keys += ["owen1998supercube"] if any(map(_is_supercube, models)) else []
    keys += ["welch1947generalization"] if estimate.moments is None else []
    return keys + _population_keys(estimate)


@cache
def _references() -> dict[str, str]:
    """Return the entries of the file by their keys, without the line that ends each."""
    entries = _FILE.read_text(encoding="utf-8").strip().split("\n\n")
    return {"mcgen": _MCGEN} | {entry.partition("{")[2].partition(",")[0]: entry for entry in entries}


def _entries(keys: Sequence[str]) -> str:
    return "\n\n".join(_references()[key] for key in dict.fromkeys(keys))


def _control_keys(text: str | None) -> list[str]:
    """Return the entries for the text of control variates in a result."""
    if text is None:
        return []
    kernels = ["oates2017control", "dubrule1983cross"] if text.startswith("kernel(") else []
    return ["nelson1990control", "avramidis1993splitting", *kernels]


def _population_keys(estimate: Estimate) -> list[str]:
    """Return the entries for the mean of a population of conditions, and for its clusters."""
    if estimate.variance_components is None:
        return []
    clustered = estimate.variance_components.n_clusters is not None
    return ["searle1992variance", *(["cameron2015practitioner"] if clustered else [])]


def _functional_keys(estimate: Estimate) -> list[str]:
    """Return the entries for a functional; quantiles have those of their interval."""
    name = estimate.provenance.functional or ""
    for beginning, keys_of_distance in _DISTANCE_KEYS.items():
        if name.startswith(beginning):
            return [*keys_of_distance]
    if estimate.plug_in is None or estimate.quantiles is not None:
        return []
    grouped = estimate.moments is not None and estimate.moments.count < estimate.n_replicates
    z = isinstance(estimate.scale, Scale) and estimate.scale.name == "Fisher's z"
    score = estimate.provenance.functional == "inception score"
    keys = {"busing1999delete": grouped, "fisher1921probable": z, "salimans2016improved": score}
    return ["efron1982jackknife", *(key for key, used in keys.items() if used)]


def _method_keys(method: str) -> list[str]:
    """Return the entries for the methods of a result; a name such as "bonferroni-anytime" stands for two."""
    names = [name for one in method.split(AND) for name in (one, *one.split("-", 1))]
    return [key for name in names for key in _METHOD_KEYS.get(name, ())]


def _design_keys(text: str) -> list[str]:
    """Return the entries for a design's text: for the design, those inside it, and the way its basis was found."""
    names = [name for name in re.findall(r"(\w+)\(", text) if name in _DESIGN_KEYS]
    pilots = [pilot for pilot in _PILOT_KEYS if f", {pilot}, " in text]
    return [key for name in names for key in _DESIGN_KEYS[name]] + [
        key for pilot in pilots for key in _PILOT_KEYS[pilot]
    ]


def _is_supercube(estimate: Estimate) -> bool:
    """Return whether Latin supercube sampling joined nets: for several blocks, or more dimensions than one has."""
    p = estimate.provenance
    return p.design.startswith("Sobol") and (": " in p.noise or p.dimension > MAX_DIMENSION)
