"""The measured part of ``docs/report-an-fid.md``: FID and KID of shipped models of digits from real digits.

``python -m mcgen.validation fid`` measures it in some ten minutes on one core (``--only`` for some parts),
keeps the numbers in ``docs/fid.json``, and writes the tables and the pictures.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import mcgen
from mcgen import functionals
from mcgen.adapters import features, models
from mcgen.results.figures import COLOURS, new_figure
from mcgen.validation.writing.markdown import chosen, fill_page, made_by, markdown_table, require_marks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Numbers = dict[str, Any]

SEED = 0
_PAGE, _STORE = "report-an-fid.md", "fid.json"
# Features of digits, and of photographs: the first take 0.4 ms an image, the second 20.
_DIGITS, _PHOTOGRAPHS = "mnist-classifier", "efficientnet-lite0"
# Samples of the long run, of the short ones by many seeds, and the number of seeds.
_LONG, _SHORT, _SEEDS = 16_384, (128, 512), 100
# Short runs of the picture.
_SHOWN = 25
_COMPARED = 2048
_DESIGNS = (mcgen.MonteCarlo(), mcgen.Antithetic(), mcgen.KAntithetic(8), mcgen.Sobol(64))
_PER_DESIGN = 6400
# Sharp on screens with two pixels for one, and small enough for a page.
_DPI = 170


@cache
def scores_by(network: str) -> dict[str, Any]:
    """Return FID and KID from 1,000 held-out real digits, by the features of a network."""
    net = features(network)
    fid = functionals.frechet_distance(models.real_images("mnist-vae"), net)
    # The features of the real digits are computed once.
    return {"FID": fid, "KID": functionals.kernel_distance(fid.target, net)}


def write_page(folder: Path, only: str = "") -> None:
    """Measure the parts whose title contains `only`, and write the page.

    Raises
    ------
    OSError, ValueError
        If there is no page ``report-an-fid.md`` with its marks, or no such part; nothing has been measured then.
    """
    store, pictures = folder / _STORE, folder / "images"
    require_marks(folder / _PAGE, TABLES)
    titles = chosen(PARTS, only, "part")
    pictures.mkdir(exist_ok=True)
    for title in titles:
        print(title, flush=True)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", mcgen.CoverageWarning)
            found = PARTS[title](pictures)
        numbers = json.loads(store.read_text()) if store.exists() else {}
        numbers |= {title: found, "made by": made_by("python -m mcgen.validation fid", SEED)}
        store.write_text(json.dumps(numbers, indent=1) + "\n")
    write_pictures(folder)
    write_tables(folder)


def write_pictures(folder: Path) -> None:
    """Draw the pictures that are made from the stored numbers."""
    numbers: Numbers = json.loads((folder / _STORE).read_text())
    curves = numbers.get("number of samples", {})
    if curves:
        draw_against_n(curves, folder / "images")
    if curves and "many seeds" in numbers:
        draw_seeds(numbers["many seeds"], _truths(curves), folder / "images")


def write_tables(folder: Path) -> None:
    """Write the tables of the stored numbers into the page."""
    numbers: Numbers = json.loads((folder / _STORE).read_text())
    if "number of samples" in numbers and "many seeds" in numbers:
        numbers["many seeds"] = {"short": numbers["many seeds"], "long": _truths(numbers["number of samples"])}
    fill_page(folder / _PAGE, {title: table(numbers[title]) for title, table in TABLES.items() if title in numbers})


def _truths(curves: Numbers) -> dict[str, float]:
    """Return the estimates of the long run, which are the last ones of its curves."""
    return {score: curve["estimate"][-1] for score, curve in curves.items()}


def _measured() -> mcgen.Generator:
    """Return the model of the curve and of the short runs."""
    return models.load("mnist-consistency", steps=2)


def _against_n(pictures: Path) -> Numbers:
    """Return FID and KID against the number of independent samples, up to a long run."""
    run: dict[str, Any] = {"design": mcgen.MonteCarlo(), "n_evaluations": _LONG, "seed": SEED}
    card = mcgen.evaluate(_measured(), scores_by(_DIGITS), curves=True, **run)
    return {score: curve.to_dict("list") for score, by_model in card.curves.items() for curve in by_model.values()}


def _many_seeds(pictures: Path) -> Numbers:
    """Return short runs, by score and number of samples."""
    model, scores = _measured(), scores_by(_DIGITS)
    found: Numbers = {score: {str(n): [] for n in _SHORT} for score in scores}
    for n in _SHORT:
        for seed in range(1, _SEEDS + 1):
            card = mcgen.evaluate(model, scores, design=mcgen.MonteCarlo(), n_evaluations=n, seed=seed)
            for row in card.to_frame().to_dict("records"):
                numbers = {name: float(f"{row[name]:.6g}") for name in ("mean", "low", "high", "plug_in")}
                found[str(row["score"])][str(n)].append(numbers)
    return found


def _by_design(pictures: Path) -> Numbers:
    """Return what an evaluation of each design is worth for both distances."""
    found: Numbers = {}
    for name in ("mnist-vae", "mnist-consistency"):
        for score in scores_by(_DIGITS):
            model, functional = models.load(name), scores_by(_DIGITS)[score]
            table = mcgen.compare(model, functional, designs=_DESIGNS, n_evaluations=_PER_DESIGN, seed=SEED)
            columns = ("relative_efficiency", "efficiency_low", "efficiency_high")
            rows = table.to_frame().to_dict("records")
            found[f"`{name}`, {score}"] = {str(row["design"]): [row[one] for one in columns] for row in rows}
    return found


def _three_models(pictures: Path) -> Numbers:
    """Return the numbers of three models and their differences, and draw those of FID."""
    compared = {
        "VAE": models.load("mnist-vae"),
        "consistency, 1 step": models.load("mnist-consistency"),
        "consistency, 2 steps": models.load("mnist-consistency", steps=2),
    }
    card = mcgen.evaluate(compared, scores_by(_PHOTOGRAPHS), n_evaluations=_COMPARED, seed=SEED)
    figure, axes = new_figure(2, 1, 4.2, 4.0)
    card.plot(axes[0, 0], "FID")
    card.plot_differences("FID", axes[1, 0])
    axes[1, 0].set_title("differences of FID", fontsize=10)
    figure.savefig(pictures / "fid-of-three-models.png", dpi=_DPI)
    return {
        "numbers": card.to_markdown(),
        "differences": {score: card.differences(score).to_dict("records") for score in card.scores},
        "best": {score: list(card.best(score)) for score in card.scores},
    }


PARTS: dict[str, Callable[[Path], Numbers]] = {
    "number of samples": _against_n,
    "many seeds": _many_seeds,
    "designs": _by_design,
    "three models": _three_models,
}


def draw_against_n(curves: Numbers, pictures: Path) -> None:
    """Draw both distances against the number of samples: the usual value, and the estimate with its band."""
    figure, axes = new_figure(len(curves), 1, 4.2, 2.4 * len(curves))
    for (score, curve), panel in zip(curves.items(), axes[:, 0], strict=True):
        n, plug_in, estimate, low, high = (np.array(curve[x]) for x in ("n", "plug_in", "estimate", "low", "high"))
        panel.fill_between(n, low, high, color=COLOURS[1], alpha=0.2, lw=0, label="its 95 % interval")
        panel.plot(n, estimate, "o-", color=COLOURS[1], ms=5, label="corrected estimate")
        panel.plot(n, plug_in, "s--", color=COLOURS[2], ms=5, mfc="white", label="usual value (plug-in)")
        # Bands of few samples would hide the rest.
        panel.set_ylim(0, 1.08 * max(plug_in.max(), high[len(n) // 2 :].max()))
        panel.set_xscale("log")
        panel.set_xticks(n[::2], [f"{count:,}" for count in n[::2]], fontsize=9)
        panel.minorticks_off()
        _dressed(panel, score)
    axes[-1, 0].set_xlabel("number of samples", fontsize=9)
    axes[0, 0].legend(fontsize=8, frameon=False)
    figure.savefig(pictures / "fid-against-n.png", dpi=_DPI)


def draw_seeds(runs: Numbers, truths: Mapping[str, float], pictures: Path) -> None:
    """Draw the intervals and the usual values of the shortest runs, and the long run that they are held to."""
    figure, axes = new_figure(len(runs), 1, 4.2, 2.4 * len(runs))
    for (score, by_n), panel in zip(runs.items(), axes[:, 0], strict=True):
        for seed, run in enumerate(next(iter(by_n.values()))[:_SHOWN], 1):
            covers = _covers(run, truths[score])
            colour = COLOURS[1] if covers else "black"
            panel.plot([seed, seed], [run["low"], run["high"]], color=colour, lw=2, solid_capstyle="butt")
            panel.plot(seed, run["mean"], "o" if covers else "X", color=colour, ms=4.5)
            panel.plot(seed, run["plug_in"], "s", color=COLOURS[2], ms=4.5, mfc="white")
        panel.axhline(truths[score], color="black", lw=1, ls="--", zorder=0)
        _dressed(panel, score)
    axes[-1, 0].set_xlabel("seed", fontsize=9)
    figure.savefig(pictures / "fid-by-seed.png", dpi=_DPI)


def _dressed(panel: Axes, score: str) -> None:
    panel.set_ylabel(score, fontsize=10)
    panel.tick_params(labelsize=9)
    panel.grid(alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)


def _covers(run: dict[str, float], truth: float) -> bool:
    return run["low"] <= truth <= run["high"]


def seeds_table(runs: Numbers) -> str:
    """Return what the short runs gave on average, and how many intervals hold the value of the long run."""
    rows = []
    for score, by_n in runs["short"].items():
        for n, found in by_n.items():
            means = [np.mean([run[x] for run in found]) for x in ("plug_in", "mean", "low", "high")]
            covering = sum(_covers(run, runs["long"][score]) for run in found)
            numbers = [_rounded(float(x)) for x in (runs["long"][score], *means)]
            rows.append([score, n, *numbers, f"{covering} of {len(found)}"])
    head = ["", "samples", "long run", "usual value", "corrected estimate", "low", "high", "intervals that cover"]
    return markdown_table(head, rows)


def designs_table(found: Numbers) -> str:
    """Return what one evaluation of each design is worth, in independent samples."""
    rows = [
        [label, *("{} [{}, {}]".format(*map(_rounded, by_design[str(design)])) for design in _DESIGNS[1:])]
        for label, by_design in found.items()
    ]
    return markdown_table(["", *(f"`{design}`" for design in _DESIGNS[1:])], rows)


def models_table(found: Numbers) -> str:
    """Return the numbers of three models, and below them the differences."""
    rows = [
        [
            score,
            f"{row['first']} - {row['second']}",
            f"{_rounded(row['difference'])} [{_rounded(row['low'])}, {_rounded(row['high'])}]",
            row["noise"],
            row["verdict"],
        ]
        for score, differences in found["differences"].items()
        for row in differences
    ]
    head = ["score", "difference", "value and interval", "noise", "the first is"]
    return f"{found['numbers']}\n\n{markdown_table(head, rows)}"


def _rounded(value: float) -> str:
    return np.format_float_positional(value, precision=3, fractional=False, trim="-")


TABLES: dict[str, Callable[[Any], str]] = {
    "made by": str,
    "many seeds": seeds_table,
    "designs": designs_table,
    "three models": models_table,
}
