"""BibTeX entries for the methods that a result used."""

from __future__ import annotations

import re
from collections.abc import Sequence

from mcgen._version import __version__
from mcgen.analysis import VarianceShares
from mcgen.designs.sobol import MAX_DIMENSION
from mcgen.inference.functional_intervals import Scale
from mcgen.inference.methods import AND
from mcgen.results.comparison import Comparison
from mcgen.results.estimate import Estimate

_ENTRIES = {
    "mcgen": f"""@software{{mcgen,
  title = {{mcgen: Monte Carlo estimates of generative models, with confidence intervals}},
  author = {{{{The mcgen developers}}}},
  version = {{{__version__}}},
  year = {{2026}}
}}""",
    "jia2025antithetic": """@article{jia2025antithetic,
  title = {Antithetic Noise in Diffusion Models},
  author = {Jia, Jing and Liu, Sifan and Song, Bowen and Yuan, Wei and Shen, Liyue and Wang, Guanyang},
  journal = {arXiv preprint arXiv:2506.06185},
  year = {2025}
}""",
    "hammersley1956antithetic": """@article{hammersley1956antithetic,
  title = {A new {Monte Carlo} technique: antithetic variates},
  author = {Hammersley, J. M. and Morton, K. W.},
  journal = {Mathematical Proceedings of the Cambridge Philosophical Society},
  volume = {52}, number = {3}, pages = {449--475},
  year = {1956}
}""",
    "joe2008sobol": """@article{joe2008sobol,
  title = {Constructing {Sobol} sequences with better two-dimensional projections},
  author = {Joe, Stephen and Kuo, Frances Y.},
  journal = {SIAM Journal on Scientific Computing},
  volume = {30}, number = {5}, pages = {2635--2654},
  year = {2008}
}""",
    "matousek1998discrepancy": """@article{matousek1998discrepancy,
  title = {On the {$L_2$}-discrepancy for anchored boxes},
  author = {Matou{\\v s}ek, Ji{\\v r}{\\'i}},
  journal = {Journal of Complexity},
  volume = {14}, number = {4}, pages = {527--556},
  year = {1998}
}""",
    "owen1998supercube": """@article{owen1998supercube,
  title = {{Latin} supercube sampling for very high-dimensional simulations},
  author = {Owen, Art B.},
  journal = {ACM Transactions on Modeling and Computer Simulation},
  volume = {8}, number = {1}, pages = {71--102},
  year = {1998}
}""",
    "searle1992variance": """@book{searle1992variance,
  title = {Variance Components},
  author = {Searle, Shayle R. and Casella, George and McCulloch, Charles E.},
  publisher = {Wiley},
  year = {1992}
}""",
    "cameron2015practitioner": """@article{cameron2015practitioner,
  title = {A practitioner's guide to cluster-robust inference},
  author = {Cameron, A. Colin and Miller, Douglas L.},
  journal = {Journal of Human Resources},
  volume = {50}, number = {2}, pages = {317--372},
  year = {2015}
}""",
    "mckay1979comparison": """@article{mckay1979comparison,
  title = {A comparison of three methods for selecting values of input variables in the analysis of output from a
    computer code},
  author = {McKay, M. D. and Beckman, R. J. and Conover, W. J.},
  journal = {Technometrics},
  volume = {21}, number = {2}, pages = {239--245},
  year = {1979}
}""",
    "stein1987large": """@article{stein1987large,
  title = {Large sample properties of simulations using {Latin} hypercube sampling},
  author = {Stein, Michael},
  journal = {Technometrics},
  volume = {29}, number = {2}, pages = {143--151},
  year = {1987}
}""",
    "yu2016orthogonal": """@inproceedings{yu2016orthogonal,
  title = {Orthogonal random features},
  author = {Yu, Felix X. and Suresh, Ananda Theertha and Choromanski, Krzysztof and Holtmann-Rice, Daniel and Kumar,
    Sanjiv},
  booktitle = {Advances in Neural Information Processing Systems 29},
  year = {2016}
}""",
    "rowland2018geometrically": """@inproceedings{rowland2018geometrically,
  title = {Geometrically coupled {Monte Carlo} sampling},
  author = {Rowland, Mark and Choromanski, Krzysztof and Chalus, Fran{\\c c}ois and Pacchiano, Aldo and Sarl{\\'o}s,
    Tam{\\'a}s and Turner, Richard E. and Weller, Adrian},
  booktitle = {Advances in Neural Information Processing Systems 31},
  year = {2018}
}""",
    "caflisch1997valuation": """@article{caflisch1997valuation,
  title = {Valuation of mortgage-backed securities using {Brownian} bridges to reduce effective dimension},
  author = {Caflisch, Russel E. and Morokoff, William J. and Owen, Art B.},
  journal = {Journal of Computational Finance},
  volume = {1}, number = {1}, pages = {27--46},
  year = {1997}
}""",
    "imai2006general": """@article{imai2006general,
  title = {A general dimension reduction technique for derivative pricing},
  author = {Imai, Junichi and Tan, Ken Seng},
  journal = {Journal of Computational Finance},
  volume = {10}, number = {2}, pages = {129--155},
  year = {2006}
}""",
    "constantine2014active": """@article{constantine2014active,
  title = {Active subspace methods in theory and practice: applications to kriging surfaces},
  author = {Constantine, Paul G. and Dow, Eric and Wang, Qiqi},
  journal = {SIAM Journal on Scientific Computing},
  volume = {36}, number = {4}, pages = {A1500--A1524},
  year = {2014}
}""",
    "stein1981estimation": """@article{stein1981estimation,
  title = {Estimation of the mean of a multivariate normal distribution},
  author = {Stein, Charles M.},
  journal = {The Annals of Statistics},
  volume = {9}, number = {6}, pages = {1135--1151},
  year = {1981}
}""",
    "li1992principal": """@article{li1992principal,
  title = {On principal {Hessian} directions for data visualization and dimension reduction: another application of
    {Stein's} lemma},
  author = {Li, Ker-Chau},
  journal = {Journal of the American Statistical Association},
  volume = {87}, number = {420}, pages = {1025--1039},
  year = {1992}
}""",
    "sobol1993sensitivity": """@article{sobol1993sensitivity,
  title = {Sensitivity estimates for nonlinear mathematical models},
  author = {Sobol', Ilya M.},
  journal = {Mathematical Modelling and Computational Experiment},
  volume = {1}, number = {4}, pages = {407--414},
  year = {1993}
}""",
    "saltelli2010variance": """@article{saltelli2010variance,
  title = {Variance based sensitivity analysis of model output. {Design} and estimator for the total sensitivity index},
  author = {Saltelli, Andrea and Annoni, Paola and Azzini, Ivano and Campolongo, Francesca and Ratto, Marco and
    Tarantola, Stefano},
  journal = {Computer Physics Communications},
  volume = {181}, number = {2}, pages = {259--270},
  year = {2010}
}""",
    "owen2013better": """@article{owen2013better,
  title = {Better estimation of small {Sobol'} sensitivity indices},
  author = {Owen, Art B.},
  journal = {ACM Transactions on Modeling and Computer Simulation},
  volume = {23}, number = {2}, pages = {11:1--11:17},
  year = {2013}
}""",
    "liu2006estimating": """@article{liu2006estimating,
  title = {Estimating mean dimensionality of analysis of variance decompositions},
  author = {Liu, Ruixue and Owen, Art B.},
  journal = {Journal of the American Statistical Association},
  volume = {101}, number = {474}, pages = {712--721},
  year = {2006}
}""",
    "lecuyer2023confidence": """@inproceedings{lecuyer2023confidence,
  title = {Confidence intervals for randomized quasi-{Monte Carlo} estimators},
  author = {L'Ecuyer, Pierre and Nakayama, Marvin K. and Owen, Art B. and Tuffin, Bruno},
  booktitle = {Proceedings of the 2023 Winter Simulation Conference},
  year = {2023}
}""",
    "salmon2011parallel": """@inproceedings{salmon2011parallel,
  title = {Parallel random numbers: as easy as 1, 2, 3},
  author = {Salmon, John K. and Moraes, Mark A. and Dror, Ron O. and Shaw, David E.},
  booktitle = {Proceedings of the International Conference for High Performance Computing (SC'11)},
  year = {2011}
}""",
    "hall1988theoretical": """@article{hall1988theoretical,
  title = {Theoretical comparison of bootstrap confidence intervals},
  author = {Hall, Peter},
  journal = {The Annals of Statistics},
  volume = {16}, number = {3}, pages = {927--953},
  year = {1988}
}""",
    "clopper1934use": """@article{clopper1934use,
  author = {Clopper, C. J. and Pearson, E. S.},
  title = {The use of confidence or fiducial limits illustrated in the case of the binomial},
  journal = {Biometrika}, volume = {26}, number = {4}, pages = {404--413}, year = {1934}
}""",
    "fay1997confidence": """@article{fay1997confidence,
  author = {Fay, Michael P. and Feuer, Eric J.},
  title = {Confidence intervals for directly standardized rates: a method based on the gamma distribution},
  journal = {Statistics in Medicine}, volume = {16}, number = {7}, pages = {791--801}, year = {1997}
}""",
    "korn1998confidence": """@article{korn1998confidence,
  author = {Korn, Edward L. and Graubard, Barry I.},
  title = {Confidence intervals for proportions with small expected number of positive counts estimated from survey
    data},
  journal = {Survey Methodology}, volume = {24}, number = {2}, pages = {193--201}, year = {1998}
}""",
    "hall1992removal": """@article{hall1992removal,
  title = {On the removal of skewness by transformation},
  author = {Hall, Peter},
  journal = {Journal of the Royal Statistical Society: Series B},
  volume = {54}, number = {1}, pages = {221--228},
  year = {1992}
}""",
    "dunn1961multiple": """@article{dunn1961multiple,
  title = {Multiple comparisons among means},
  author = {Dunn, Olive Jean},
  journal = {Journal of the American Statistical Association},
  volume = {56}, number = {293}, pages = {52--64},
  year = {1961}
}""",
    "chernozhukov2013gaussian": """@article{chernozhukov2013gaussian,
  title = {{Gaussian} approximations and multiplier bootstrap for maxima of sums of high-dimensional random vectors},
  author = {Chernozhukov, Victor and Chetverikov, Denis and Kato, Kengo},
  journal = {The Annals of Statistics},
  volume = {41}, number = {6}, pages = {2786--2819},
  year = {2013}
}""",
    "welch1947generalization": """@article{welch1947generalization,
  title = {The generalization of {`Student's'} problem when several different population variances are involved},
  author = {Welch, B. L.},
  journal = {Biometrika},
  volume = {34}, number = {1--2}, pages = {28--35},
  year = {1947}
}""",
    "miller1968jackknifing": """@article{miller1968jackknifing,
  title = {Jackknifing variances},
  author = {Miller, Rupert G.},
  journal = {The Annals of Mathematical Statistics},
  volume = {39}, number = {2}, pages = {567--582},
  year = {1968}
}""",
    "jones1974jackknife": """@article{jones1974jackknife,
  title = {Jackknife estimation of functions of stratum means},
  author = {Jones, Howard L.},
  journal = {Biometrika},
  volume = {61}, number = {2}, pages = {343--348},
  year = {1974}
}""",
    "giles2008multilevel": """@article{giles2008multilevel,
  title = {Multilevel {Monte Carlo} path simulation},
  author = {Giles, Michael B.},
  journal = {Operations Research},
  volume = {56}, number = {3}, pages = {607--617},
  year = {2008}
}""",
    "nelson1990control": """@article{nelson1990control,
  title = {Control variate remedies},
  author = {Nelson, Barry L.},
  journal = {Operations Research},
  volume = {38}, number = {6}, pages = {974--992},
  year = {1990}
}""",
    "oates2017control": """@article{oates2017control,
  title = {Control functionals for {Monte Carlo} integration},
  author = {Oates, Chris J. and Girolami, Mark and Chopin, Nicolas},
  journal = {Journal of the Royal Statistical Society: Series B},
  volume = {79}, number = {3}, pages = {695--718},
  year = {2017}
}""",
    "dubrule1983cross": """@article{dubrule1983cross,
  title = {Cross validation of kriging in a unique neighborhood},
  author = {Dubrule, Olivier},
  journal = {Mathematical Geology},
  volume = {15}, number = {6}, pages = {687--699},
  year = {1983}
}""",
    "avramidis1993splitting": """@article{avramidis1993splitting,
  title = {A splitting scheme for control variates},
  author = {Avramidis, Athanassios N. and Wilson, James R.},
  journal = {Operations Research Letters},
  volume = {14}, number = {4}, pages = {187--198},
  year = {1993}
}""",
    "efron1982jackknife": """@book{efron1982jackknife,
  title = {The jackknife, the bootstrap and other resampling plans},
  author = {Efron, Bradley},
  publisher = {SIAM},
  year = {1982}
}""",
    "busing1999delete": """@article{busing1999delete,
  title = {Delete-m jackknife for unequal m},
  author = {Busing, Frank M. T. A. and Meijer, Erik and van der Leeden, Rien},
  journal = {Statistics and Computing},
  volume = {9}, pages = {3--8},
  year = {1999}
}""",
    "fisher1921probable": """@article{fisher1921probable,
  title = {On the ``probable error'' of a coefficient of correlation deduced from a small sample},
  author = {Fisher, R. A.},
  journal = {Metron},
  volume = {1}, pages = {3--32},
  year = {1921}
}""",
    "salimans2016improved": """@inproceedings{salimans2016improved,
  title = {Improved techniques for training {GANs}},
  author = {Salimans, Tim and Goodfellow, Ian and Zaremba, Wojciech and Cheung, Vicki and Radford, Alec and Chen, Xi},
  booktitle = {Advances in Neural Information Processing Systems},
  year = {2016}
}""",
    "woodruff1952confidence": """@article{woodruff1952confidence,
  title = {Confidence intervals for medians and other position measures},
  author = {Woodruff, Ralph S.},
  journal = {Journal of the American Statistical Association},
  volume = {47}, number = {260}, pages = {635--646},
  year = {1952}
}""",
    "david2003order": """@book{david2003order,
  title = {Order statistics},
  author = {David, H. A. and Nagaraja, H. N.},
  publisher = {Wiley},
  year = {2003}
}""",
    "stein1945two": """@article{stein1945two,
  title = {A two-sample test for a linear hypothesis whose power is independent of the variance},
  author = {Stein, Charles},
  journal = {The Annals of Mathematical Statistics},
  volume = {16}, number = {3}, pages = {243--258},
  year = {1945}
}""",
    "wang2023anytime": """@article{wang2023anytime,
  title = {Anytime-valid t-tests and confidence sequences for {Gaussian} means with unknown variance},
  author = {Wang, Hongjian and Ramdas, Aaditya},
  journal = {arXiv preprint arXiv:2310.03722},
  year = {2023}
}""",
    "waudbysmith2024time": """@article{waudbysmith2024time,
  title = {Time-uniform central limit theory and asymptotic confidence sequences},
  author = {Waudby-Smith, Ian and Arbour, David and Sinha, Ritwik and Kennedy, Edward H. and Ramdas, Aaditya},
  journal = {The Annals of Statistics},
  volume = {52}, number = {6}, pages = {2613--2640},
  year = {2024}
}""",
    "waudbysmith2024betting": """@article{waudbysmith2024betting,
  title = {Estimating means of bounded random variables by betting},
  author = {Waudby-Smith, Ian and Ramdas, Aaditya},
  journal = {Journal of the Royal Statistical Society: Series B},
  volume = {86}, number = {1}, pages = {1--27},
  year = {2024}
}""",
}

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
}

_OF_SHARES = ("sobol1993sensitivity", "saltelli2010variance", "owen2013better", "liu2006estimating")


def citation(result: Estimate | Comparison | VarianceShares) -> str:
    """Return BibTeX entries for the methods of a result: its designs, controls, levels, intervals, and mcgen itself.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> generator = mcgen.as_generator(lambda z: np.exp(z / 4), noise=(16,), name="lognormal")
    >>> options = dict(design=mcgen.Antithetic(), n_evaluations=200, seed=0)
    >>> print(mcgen.citation(mcgen.estimate(generator, mcgen.statistics.pixel_mean, **options)).splitlines()[0])
    @software{mcgen,
    """
    if isinstance(result, VarianceShares):
        return _entries(["mcgen", "salmon2011parallel", *_OF_SHARES, *_method_keys(result.method)])
    if not isinstance(result, Estimate | Comparison):
        raise TypeError(f"citation takes an Estimate, a Comparison or VarianceShares; got {result!r}")
    compared = isinstance(result, Comparison)
    keys = ["mcgen", "salmon2011parallel"]
    for estimate in result.estimates if isinstance(result, Comparison) else (result,):
        models = estimate.models or (estimate,)
        for part in (part for model in models for part in model.levels or (model,)):
            keys += _design_keys(part.provenance.design)
        keys += ["giles2008multilevel"] if any(model.levels for model in models) else []
        keys += _control_keys(estimate.provenance.controls)
        keys += _method_keys(estimate.method)
        keys += _functional_keys(estimate)
        keys += ["owen1998supercube"] if any(map(_is_supercube, models)) else []
        keys += ["welch1947generalization"] if estimate.moments is None else []
        keys += _population_keys(estimate)
    keys += ["miller1968jackknifing"] if compared else []
    own = [one for one in result.estimates if one.conditions] if isinstance(result, Comparison) else []
    summed = any(not one.provenance.common_random_numbers for one in own)
    keys += ["jones1974jackknife"] if summed or (compared and "giles2008multilevel" in keys) else []
    return _entries(keys)


def _entries(keys: Sequence[str]) -> str:
    return "\n\n".join(_ENTRIES[key] for key in dict.fromkeys(keys))


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
