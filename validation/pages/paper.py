"""The tables and figures of the paper that mcgen grew out of, on the shipped models, beside the paper's own numbers.

``python -m mcgen.validation paper`` measures them (``--only`` for some), keeps the numbers in
``docs/explanation/paper.json``, and writes the tables and pictures of ``docs/explanation/paper.md`` [1]_.

.. rubric:: References

.. [1] J. Jia, S. Liu, B. Song, W. Yuan, L. Shen, G. Wang (2025). Antithetic noise in diffusion models.
   arXiv:2506.06185.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Hashable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch

import mcgen
from mcgen import statistics
from mcgen.adapters import (
    DDS,
    DPS,
    ClassifierScore,
    FeatureDistance,
    MaskedFourier,
    Operator,
    features,
    models,
)
from mcgen.adapters.models.training import data
from mcgen.analysis import PairAnalysis, pairs, ssim
from mcgen.analysis.measures import Measure
from mcgen.noise import Noise
from mcgen.validation.measurements.models import METHODS, NOISE_SD, PROBLEMS
from mcgen.validation.writing.markdown import chosen, fill_page, markdown_table, require_marks

Numbers = dict[str, Any]

SEED = 0
CLASSES = [*range(10)]
_GREY: Any = partial(statistics.contrast, grey="mean"), partial(statistics.centroid, grey="mean")
FOUR = statistics.stack(
    statistics.brightness, statistics.pixel_mean, *_GREY, names=("brightness", "pixel mean", "contrast", "centroid")
)
# Model, options of `load`, conditions, and pairs of each kind under each condition.
MODELS: dict[str, tuple[str, Numbers, Any, int]] = {
    "patches-diffusion, 10 steps": ("patches-diffusion", {"steps": 10}, None, 200),
    "mnist-ddpm, 10 steps": ("mnist-ddpm", {"steps": 10}, None, 200),
    "digits-diffusion": ("digits-diffusion", {}, None, 800),
    "mnist-consistency": ("mnist-consistency", {}, None, 800),
    "mnist-vae": ("mnist-vae", {}, None, 800),
    "mnist-glow, 10 classes": ("mnist-glow", {}, CLASSES, 100),
    "mnist-dit, 10 classes, 10 steps": ("mnist-dit", {"steps": 10}, CLASSES, 100),
}
# Standard and centralized correlations of negated and independent pairs, and Wasserstein distances, by reference 1.
PAPER: dict[str, tuple[str, str]] = {
    "patches-diffusion, 10 steps": ("Church -.62 / -.77 / .08 / .00", "Church .16 / .12"),
    "mnist-ddpm, 10 steps": ("CIFAR-10, 1,000 steps -.73 / -.80 / .04 / .01", "CIFAR-10 .19 / .15"),
    "digits-diffusion": ("CIFAR-10 -.76 / -.86 / .05 / .00", "CIFAR-10 .19 / .15"),
    "mnist-consistency": ("cat -.88 / -.91 / .02 / .01", ""),
    "mnist-vae": ("MNIST .21 / -.41 / .42 / .00", "MNIST .07 / .05"),
    "mnist-glow, 10 classes": ("CIFAR-10 -.52 / -.57 / .08 / -.01", "CIFAR-10 .15 / .12"),
    "mnist-dit, 10 classes, 10 steps": ("DiT -.07 / -.45 / .26 / .00", "DiT .19 / .14"),
}
_ERRORS = [
    "sampler and problem",
    "z, -z",
    "centralized",
    "independent",
    "centralized",
    "efficiency for L1",
    "efficiency for PSNR",
]
# Correlations of errors and efficiencies of DPS in reference 1. Its blur and super-resolution are milder.
PAPER_ERRORS: dict[str, list[str]] = {
    "DPS, inpainting, half of the pixels hidden": [".28", "-.72", ".57", "-.02", "1.54", "1.84"],
    "DPS, Gaussian blur of 1.5 pixels": [".27", "-.71", ".57", "-.01", "1.34", "1.56"],
    "DPS, super-resolution, 4 x 4 pixels to 1": [".20", "-.72", ".53", "-.01", "1.41", "1.54"],
}
# Largest difference of means that counts as none, by score of quality.
MARGINS = {"pixel mean": 0.05, "top-1 probability": 0.05, "entropy": 0.25, "sharpness": 0.25}
_SPLITS = {"25 x 128": mcgen.Sobol(128), "50 x 64": mcgen.Sobol(64), "200 x 16": mcgen.Sobol(16)}
_RUNS = 5


def _digits() -> Any:
    """Return ten held-out digits."""
    return data.mnist().x_new[:10]


def write_page(folder: Path, only: str = "") -> None:
    """Measure the parts whose title contains `only`, and write the page.

    Raises
    ------
    OSError, ValueError
        If there is no page ``explanation/paper.md`` with its marks, or no such part.
    """
    page, store = folder / "explanation" / "paper.md", folder / "explanation" / "paper.json"
    require_marks(page, TABLES)
    for title in chosen(PARTS, only, "part"):
        print(title, flush=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", mcgen.CoverageWarning)
            found = PARTS[title](folder / "images")
        numbers = (json.loads(store.read_text()) if store.exists() else {}) | {title: found}
        store.write_text(json.dumps(numbers, indent=1) + "\n")
    write_tables(folder)


def write_tables(folder: Path) -> None:
    """Write the tables of the stored numbers into the page."""
    numbers: Numbers = json.loads((folder / "explanation" / "paper.json").read_text())
    fill_page(folder / "explanation" / "paper.md", {title: table(numbers) for title, table in TABLES.items()})


def measured_pairs(label: str) -> PairAnalysis:
    """Return the pairs of a model."""
    name, options, conditions, n = MODELS[label]
    model = models.load(name, **options)
    return pairs(model, n_pairs=n, seed=SEED, condition=conditions, statistic=FOUR, undefined="drop")


def _of_model(label: str, pictures: Path) -> Numbers:
    """Return the numbers of a model for tables 1, 2, 5, 6 and 9, and draw figure 2."""
    found = measured_pairs(label)
    figure = found.plot()
    figure.savefig(pictures / f"paper-pairs-{MODELS[label][0]}.png", dpi=90)
    frame = found.to_frame()
    whole = frame[frame["condition"] == "all"] if "condition" in frame else frame
    rows = {f"{row['kind']}, {row['measure']}": _plain(row) for row in whole.to_dict("records")}
    tests = {row["measure"]: _plain(row) for row in found.test().to_dict("records")}
    return {"pairs": rows, "tests": tests, "worth": _worth(found), "n": int(frame["n"].max())}


def _diversity(pictures: Path) -> Numbers:
    """Return table 4: structural similarity and the distance of features, for negated and independent pairs."""
    found: Numbers = {}
    distance = FeatureDistance()
    wanted: dict[str, list[str | Measure]] = {
        "patches-diffusion, 10 steps": [ssim, distance],
        "digits-diffusion": [ssim],
        "mnist-vae": [ssim, distance],
        "mnist-consistency": [ssim, distance],
    }
    for label, measures in wanted.items():
        name, options, _, _ = MODELS[label]
        made = pairs(models.load(name, **options), n_pairs=100, seed=SEED + 1, measures=measures)
        found[label] = {f"{row['kind']}, {row['measure']}": _plain(row) for row in made.to_frame().to_dict("records")}
        found[label]["tests"] = {row["measure"]: _plain(row) for row in made.test().to_dict("records")}
    return found


def _splits(pictures: Path) -> Numbers:
    """Return table 11: efficiencies of Sobol' points by how 3,200 evaluations are split, each run five times."""
    model = models.load("digits-diffusion")
    found: dict[str, list[list[float]]] = {name: [] for name in ["pairs", *_SPLITS]}
    for run in range(_RUNS):
        designs = [mcgen.MonteCarlo(), mcgen.Antithetic(), *_SPLITS.values()]
        frame = mcgen.compare(model, FOUR, designs=designs, n_evaluations=3200, seed=SEED + run).to_frame()
        by_design = [frame[frame["design"] == str(design)]["relative_efficiency"].tolist() for design in designs[1:]]
        for name, efficiencies in zip(found, by_design, strict=True):
            found[name].append(efficiencies)
    return {name: np.mean(runs, axis=0).tolist() for name, runs in found.items()}


class _Posterior:
    """Posterior samples of several measured images; the condition is the number of the image."""

    def __init__(self, sampler: mcgen.Generator, measurements: list[Any]) -> None:
        self._sampler, self._measurements = sampler, measurements
        self.noise, self.name = sampler.noise, getattr(sampler, "name", "posterior")

    def __call__(self, noise: Noise, condition: Any = 0) -> Any:
        """Return samples of one image."""
        return self._sampler(noise, self._measurements[condition])


def _of_errors(sampler: mcgen.Generator, operator: Operator, truths: Any, n_pairs: int) -> Numbers:
    """Return correlations of errors over images (n, ...), with `n_pairs` pairs each, and the efficiency of pairs."""
    noise = np.random.default_rng(SEED).standard_normal((len(truths), *operator.measurement_shape), dtype=np.float32)
    measured = [operator.measure(x, NOISE_SD, e) for x, e in zip(truths, noise, strict=True)]

    def errors(samples: Any, condition: int) -> Any:
        off = (samples - truths[condition]).flatten(1)
        # Samples and truths lie in [-1, 1].
        return torch.stack([off.abs().mean(1), 10 * torch.log10(4 / off.square().mean(1))], 1)

    made = pairs(
        _Posterior(sampler, measured),
        n_pairs=n_pairs,
        seed=SEED,
        condition=[*range(len(truths))],
        reference=[*truths.numpy()],
        measures=["standard", "centralized"],
        statistic=mcgen.as_statistic(errors, uses_condition=True, components=["l1", "psnr"]),
    )
    rows = made.to_frame().to_dict("records")
    whole = {f"{row['kind']}, {row['measure']}": _plain(row) for row in rows if row["condition"] == "all"}
    return {"pairs": whole, "worth": _worth(made)}


def _inverse(pictures: Path) -> Numbers:
    """Return tables 3, 7 and 8: correlations of errors and efficiencies of posterior samplers of digits."""
    prior = models.load("mnist-ddpm", steps=20, eta=1.0)
    return {
        f"{method}, {problem}": _of_errors(sampler(prior, operator, **METHODS[method]), operator, _digits(), 10)
        for problem, operator in PROBLEMS.items()
        for method, sampler in {"DPS": DPS, "DDS": DDS}.items()
    }


def _fourier(pictures: Path) -> Numbers:
    """Return table 3's last part: images measured on a quarter of the columns of their Fourier transform, by DDS."""
    from skimage.data import shepp_logan_phantom
    from skimage.transform import resize

    phantom = resize(shepp_logan_phantom(), (32, 32), anti_aliasing=True)  # type: ignore[no-untyped-call]
    cases = {
        "digits, prior mnist-ddpm": ("mnist-ddpm", _digits()),
        "patches, prior patches-diffusion": ("patches-diffusion", data.patches().x_new[:4]),
        "Shepp-Logan phantom, prior patches-diffusion": ("patches-diffusion", _as_colours(phantom)),
    }
    found: Numbers = {}
    for name, (model, truths) in cases.items():
        prior: Any = models.load(model, steps=20, eta=1.0)
        operator = MaskedFourier.random_lines(tuple(truths.shape[1:]), measured=0.25, centre=0.08, seed=SEED)
        found[name] = _of_errors(DDS(prior, operator, noise_sd=NOISE_SD), operator, truths, 100 // len(truths))
    return found


def _as_colours(picture: Any) -> torch.Tensor:
    """Return a grey picture in [0, 1] as one image (1, 3, rows, columns) in [-1, 1]."""
    return torch.as_tensor(2 * picture - 1, dtype=torch.float32).expand(1, 3, -1, -1)


def _scores(pictures: Path) -> Numbers:
    """Return the efficiency of pairs for quality scores of patches by a network, and for the mean of the pixels."""
    network = features("efficientnet-lite0")
    scores = statistics.stack(
        *(statistics.pixel_mean, ClassifierScore(network), ClassifierScore(network, "entropy"), sharpness),
        names=tuple(MARGINS),
    )
    model = models.load("patches-diffusion", steps=10)
    made = pairs(model, n_pairs=200, seed=SEED + 2, measures=["standard"], statistic=scores)
    same = {row["component"]: _plain(row) for row in made.equivalence([*MARGINS.values()]).to_dict("records")}
    return {name: worth | {"same": same[name]} for name, worth in _worth(made).items()}


def sharpness(images: torch.Tensor) -> torch.Tensor:
    """Return the logarithm of the mean squared Laplacian of grey images (n, ..., rows, columns), shape (n,)."""
    grey = images.mean(1)
    inner = grey[:, 1:-1, 1:-1]
    around = grey[:, :-2, 1:-1] + grey[:, 2:, 1:-1] + grey[:, 1:-1, :-2] + grey[:, 1:-1, 2:]
    return (around - 4 * inner).square().mean((1, 2)).log()


def _worth(found: PairAnalysis) -> Numbers:
    """Return the efficiency of negated pairs over Monte Carlo, by component."""
    rows = found.efficiencies().to_dict("records")
    return {row["component"]: _plain(row) for row in rows if row["kind"] == "negated"}


def _partial(pictures: Path) -> Numbers:
    """Return figure 8: correlations in the top and in the bottom half, where the noise of the top half is negated."""
    found: Numbers = {}
    for label in ("digits-diffusion", "patches-diffusion, 10 steps"):
        name, options, _, n = MODELS[label]
        model = models.load(name, **options)
        shape = dict(model.noise.blocks)[model.noise.blocks[0][0]].shape
        top = np.zeros(shape, bool)
        top[..., : shape[-2] // 2, :] = True
        for where, region in {"top": top, "bottom": ~top}.items():
            kinds: list[str | mcgen.Design] = [mcgen.Antithetic(only=top), "independent"]
            made = pairs(model, n_pairs=min(n, 300), seed=SEED, kinds=kinds, region=region, undefined="drop")
            rows = made.to_frame().to_dict("records")
            found[f"{label}, {where}"] = {row["measure"]: _plain(row) for row in rows if row["kind"] != "independent"}
    return found


def _guidance(pictures: Path) -> Numbers:
    """Return figure 7: correlations and efficiencies by the scale of guidance."""
    found: Numbers = {}
    for scale in (1.0, 3.0, 5.0, 7.0, 9.0):
        model = models.load("digits-diffusion", steps=20, guidance_scale=scale)
        made = pairs(model, n_pairs=60, seed=SEED, condition=CLASSES, statistic=statistics.brightness, undefined="drop")
        frame = made.to_frame()
        whole = frame[frame["condition"] == "all"]
        rows = {f"{row['kind']}, {row['measure']}": _plain(row) for row in whole.to_dict("records")}
        found[f"{scale:g}"] = {"pairs": rows, "worth": _plain(made.efficiencies().to_dict("records")[0])}
    return found


def _plain(row: Mapping[Hashable, Any]) -> Numbers:
    return {str(name): float(value) for name, value in row.items() if isinstance(value, int | float | np.number)}


def _with(row: Numbers, digits: int = 2) -> str:
    """Return a mean with its interval."""
    return f"{row['mean']:.{digits}f} [{row['low']:.{digits}f}, {row['high']:.{digits}f}]"


def correlation_table(numbers: Numbers) -> str:
    """Return table 1: mean correlations with intervals, tests, and the paper's numbers."""
    rows = []
    for label in MODELS:
        found = numbers.get(label)
        if found is None:
            continue
        cells = [
            f"{_with(found['pairs'][f'{kind}, {measure}'])} ({found['pairs'][f'{kind}, {measure}']['sd']:.2f})"
            for kind in ("negated", "independent")
            for measure in ("standard", "centralized")
        ]
        t = found["tests"]["centralized"]
        rows.append([label, str(found["n"]), *cells, f"{t['t']:.0f}, 10^{t['log10_p']:.0f}", PAPER[label][0]])
    head = ["model", "pairs", "z, -z", "centralized", "independent", "centralized", "t, p of centralized"]
    return markdown_table([*head, "paper: z, -z / centralized / independent / centralized"], rows)


def quantile_table(numbers: Numbers) -> str:
    """Return tables 5 and 6: the smallest, the quartiles and the largest of the correlations of negated pairs."""
    rows = []
    for label in MODELS:
        for measure in ("standard", "centralized"):
            row = numbers.get(label, {}).get("pairs", {}).get(f"negated, {measure}")
            if row is not None:
                five = [row[name] for name in ("least", "lower_quartile", "upper_quartile", "greatest")]
                rows.append([label, measure, f"{row['mean']:.2f} ({row['sd']:.2f})", *(f"{one:.2f}" for one in five)])
    return markdown_table(["model", "correlation", "mean (sd)", "smallest", "25 %", "75 %", "largest"], rows)


def distance_table(numbers: Numbers) -> str:
    """Return table 9: Wasserstein distances of pixel values."""
    rows = []
    for label in MODELS:
        found = numbers.get(label)
        if found is not None:
            cells = [_with(found["pairs"][f"{kind}, wasserstein"], 3) for kind in ("negated", "independent")]
            t = found["tests"]["wasserstein"]
            rows.append([label, *cells, f"{t['t']:.1f}", f"{t['holm']:.1g}", PAPER[label][1]])
    return markdown_table(["model", "z, -z", "independent", "t", "p (Holm)", "paper: z, -z / independent"], rows)


def efficiency_table(numbers: Numbers) -> str:
    """Return table 2: the efficiency of pairs, by model and statistic."""
    rows = []
    for label in MODELS:
        found = numbers.get(label)
        if found is not None:
            worth = found["worth"]
            rows.append([label, *(_worth_cell(worth[name]) for name in FOUR.names)])
    rows.append(["paper: CIFAR-10", "32.7", "27.1", "22.1", "9.7"])
    rows.append(["paper: CelebA", "47.4", "33.2", "10.2", "7.8"])
    rows.append(["paper: Church", "134", "104", "27.2", "9.8"])
    return markdown_table(["model", *FOUR.names], rows)


def diversity_table(numbers: Numbers) -> str:
    """Return table 4."""
    rows = []
    for label, found in numbers.get("diversity", {}).items():
        for measure, test in found["tests"].items():
            negated, independent = (found[f"{kind}, {measure}"] for kind in ("negated", "independent"))
            change = 100 * (negated["mean"] / independent["mean"] - 1)
            cells = [_with(negated, 3), _with(independent, 3), f"{change:+.0f} %", f"{test['p']:.1g}"]
            rows.append([label, measure, *cells])
    return markdown_table(["model", "measure", "z, -z", "independent", "change", "p"], rows)


def splits_table(numbers: Numbers) -> str:
    """Return table 11."""
    found = numbers.get("splits", {})
    rows = [[name, *(f"{one:.1f}" for one in efficiencies)] for name, efficiencies in found.items()]
    rows += [["paper, brightness: 25 x 128, 50 x 64, 200 x 16", "29.8, 32.1, 18.4", "", "", ""]]
    return markdown_table(["replicates x points", *FOUR.names], rows)


def inverse_table(numbers: Numbers) -> str:
    """Return tables 3, 7 and 8."""
    rows = []
    for name, found in numbers.get("inverse problems", {}).items():
        rows += [_of_problem(name, found)]
        rows += [[f"paper: {name}", *PAPER_ERRORS[name]]] if name in PAPER_ERRORS else []
    return markdown_table(_ERRORS, rows)


def fourier_table(numbers: Numbers) -> str:
    """Return table 3's last part."""
    return markdown_table(_ERRORS, [_of_problem(*one) for one in numbers.get("masked Fourier", {}).items()])


def _of_problem(name: str, found: Numbers) -> list[str]:
    """Return the row of a problem."""
    cells = [
        _with(found["pairs"][f"{kind}, {measure}"])
        for kind in ("negated", "independent")
        for measure in ("standard", "centralized")
    ]
    return [name, *cells, *(_worth_cell(found["worth"][one], 2) for one in ("l1", "psnr"))]


def _worth_cell(row: Numbers, digits: int = 1) -> str:
    """Return the efficiency of pairs with its interval."""
    return f"{row['predicted']:.{digits}f} [{row['predicted_low']:.{digits}f}, {row['predicted_high']:.{digits}f}]"


def score_table(numbers: Numbers) -> str:
    """Return the efficiency of pairs for scores of quality, and whether pairs leave the means unchanged."""
    rows = []
    for name, row in numbers.get("scores", {}).items():
        same = row["same"]
        difference = f"{same['difference']:.3f} [{same['low']:.3f}, {same['high']:.3f}]"
        cells = [
            f"{row['correlation']:.2f}",
            _worth_cell(row, 2),
            difference,
            f"{same['margin']:g}",
            f"{same['p']:.1g}",
        ]
        rows.append([name, *cells])
    head = ["statistic of patches", "correlation in a pair", "efficiency of pairs"]
    return markdown_table([*head, "mean less that of independent samples", "margin", "p of equivalence"], rows)


def partial_table(numbers: Numbers) -> str:
    """Return figure 8 as a table."""
    rows = [
        [name, *(_with(found[measure]) for measure in ("standard", "centralized"))]
        for name, found in numbers.get("partial negation", {}).items()
    ]
    return markdown_table(["model, half", "standard", "centralized"], rows)


def guidance_table(numbers: Numbers) -> str:
    """Return figure 7 as a table."""
    rows = []
    for scale, found in numbers.get("guidance", {}).items():
        cells = [
            _with(found["pairs"][f"{kind}, {measure}"])
            for measure in ("standard", "centralized")
            for kind in ("negated", "independent")
        ]
        rows.append([scale, *cells, f"{found['worth']['predicted']:.1f}"])
    head = ["guidance scale", "standard, z, -z", "independent", "centralized, z, -z", "independent"]
    return markdown_table([*head, "efficiency for brightness"], rows)


PARTS: dict[str, Callable[[Path], Numbers]] = {
    **{label: partial(_of_model, label) for label in MODELS},
    "diversity": _diversity,
    "splits": _splits,
    "inverse problems": _inverse,
    "masked Fourier": _fourier,
    "scores": _scores,
    "partial negation": _partial,
    "guidance": _guidance,
}
TABLES: dict[str, Callable[[Numbers], str]] = {
    "table 1": correlation_table,
    "tables 5 and 6": quantile_table,
    "table 9": distance_table,
    "table 2": efficiency_table,
    "table 4": diversity_table,
    "table 11": splits_table,
    "tables 3, 7 and 8": inverse_table,
    "masked Fourier": fourier_table,
    "scores of quality": score_table,
    "figure 8": partial_table,
    "figure 7": guidance_table,
}
