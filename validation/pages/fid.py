"""The measured part of ``docs/how-to/report-an-fid.md``: FID and KID of shipped models of digits from real digits.

``python -m mcgen.validation fid`` measures it in some ten minutes on one core (``--only`` for some parts),
keeps the numbers in ``docs/how-to/fid.json``, and writes the tables and the pictures.
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

import mcgen
from mcgen import functionals
from mcgen._lib.arrays import as_numpy
from mcgen.adapters import features, models
from mcgen.results.figures.base import COLOURS, new_figure
from mcgen.validation.writing.markdown import chosen, fill_page, made_by, markdown_table, require_marks

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Numbers = dict[str, Any]

SEED = 0
_PAGE, _STORE = "how-to/report-an-fid.md", "how-to/fid.json"
# Features of digits, and of photographs: the first take 0.4 ms an image, the second 20.
_DIGITS, _PHOTOGRAPHS = "mnist-classifier", "efficientnet-lite0"
# Samples of the pool, of the runs that it is cut into, and the most runs of a size.
_POOL, _SIZES, _RUNS = 51_200, (64, 128, 256, 512, 1024), 100
# Size and number of the runs that are drawn one by one.
_DRAWN, _SHOWN = 128, 25
_COMPARED = 1024
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
        If there is no page ``how-to/report-an-fid.md`` with its marks, or no such part; nothing has been measured then.
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
    if "number of samples" in numbers:
        draw_against_n(numbers["number of samples"], folder / "images")
        draw_runs(numbers["number of samples"], folder / "images")


def write_tables(folder: Path) -> None:
    """Write the tables of the stored numbers into the page."""
    numbers: Numbers = json.loads((folder / _STORE).read_text())
    fill_page(folder / _PAGE, {title: table(numbers[title]) for title, table in TABLES.items() if title in numbers})


def _against_n(pictures: Path) -> Numbers:
    """Return FID and KID of runs of several sizes that a pool of independent samples is cut into, and of the pool."""
    model, network = models.load("mnist-consistency", steps=2), features(_DIGITS)
    real = scores_by(_DIGITS)["FID"].target.values
    parts = range(_POOL // max(_SIZES))
    pool = np.concatenate([as_numpy(network(mcgen.sample(model, max(_SIZES), seed=one))) for one in parts])
    fid = functionals.frechet_distance(real)
    whole = {"FID": fid, "KID": functionals.kernel_distance(real, block_size=max(_SIZES))}
    scores = {"FID": fid, "KID": functionals.kernel_distance(real)}
    found: Numbers = {score: {"pool": numbers[0]} for score, numbers in _of_runs([pool], whole).items()}
    for n in _SIZES:
        runs = [pool[start : start + n] for start in range(0, _POOL, n)][:_RUNS]
        for score, numbers in _of_runs(runs, scores).items():
            found[score][str(n)] = numbers
    return found


def _of_runs(runs: Sequence[Any], scores: Mapping[str, Any]) -> dict[str, list[dict[str, float]]]:
    """Return estimate, ends and usual value of each score for each array of features."""
    found: dict[str, list[dict[str, float]]] = {score: [] for score in scores}
    for run in runs:
        for row in mcgen.evaluate(run, scores, seed=SEED).to_frame().to_dict("records"):
            numbers = {name: float(f"{row[name]:.6g}") for name in ("mean", "low", "high", "plug_in")}
            found[str(row["score"])].append(numbers)
    return found


def _by_design(pictures: Path) -> Numbers:
    """Return the efficiency of each design over Monte Carlo for both distances."""
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
    """Return the numbers of three models and their differences by two networks, and draw those of FID."""
    compared = {
        "VAE": models.load("mnist-vae"),
        "consistency-1": models.load("mnist-consistency"),
        "consistency-2": models.load("mnist-consistency", steps=2),
    }
    scores = {f"{score}, {net}": scores_by(net)[score] for net in (_DIGITS, _PHOTOGRAPHS) for score in ("FID", "KID")}
    card = mcgen.evaluate(compared, scores, n_evaluations=_COMPARED, seed=SEED)
    figure, axes = new_figure(3, 1, 4.2, 5.8)
    for network, panel in zip((_DIGITS, _PHOTOGRAPHS), axes[:2, 0], strict=True):
        card.plot(panel, f"FID, {network}")
    card.plot_differences(f"FID, {_DIGITS}", axes[2, 0])
    axes[2, 0].set_title(f"differences of FID, {_DIGITS}", fontsize=10)
    figure.savefig(pictures / "fid-of-three-models.png", dpi=_DPI)
    return {
        "numbers": card.to_markdown(),
        "differences": {score: card.differences(score).to_dict("records") for score in card.scores},
        "best": {score: list(card.best(score)) for score in card.scores},
    }


PARTS: dict[str, Callable[[Path], Numbers]] = {
    "number of samples": _against_n,
    "designs": _by_design,
    "three models": _three_models,
}


def draw_against_n(found: Numbers, pictures: Path) -> None:
    """Draw both distances against the number of samples: means over the runs of each size, and the pool."""
    figure, axes = new_figure(len(found), 1, 4.2, 2.4 * len(found))
    sizes = [*map(str, _SIZES)]
    for (score, runs), panel in zip(found.items(), axes[:, 0], strict=True):
        plug_in, estimate, low, high = (
            np.array([_mean(runs[n], name) for n in sizes]) for name in ("plug_in", "mean", "low", "high")
        )
        panel.fill_between(_SIZES, low, high, color=COLOURS[1], alpha=0.2, lw=0, label="its 95 % interval")
        panel.plot(_SIZES, estimate, "o-", color=COLOURS[1], ms=5, label="corrected estimate")
        panel.plot(_SIZES, plug_in, "s--", color=COLOURS[2], ms=5, mfc="white", label="usual value (plug-in)")
        panel.axhline(runs["pool"]["mean"], color="black", lw=1, ls=":", label=f"{_POOL:,} samples")
        panel.set_ylim(0, 1.08 * max(plug_in.max(), high[1:].max()))
        panel.set_xscale("log")
        panel.set_xticks(_SIZES, [f"{n:,}" for n in _SIZES], fontsize=9)
        panel.minorticks_off()
        _dressed(panel, score)
    axes[-1, 0].set_xlabel("number of samples", fontsize=9)
    axes[0, 0].legend(fontsize=8, frameon=False)
    figure.savefig(pictures / "fid-against-n.png", dpi=_DPI)


def draw_runs(found: Numbers, pictures: Path) -> None:
    """Draw intervals and usual values of single runs, and the value of the pool that they are held to."""
    figure, axes = new_figure(len(found), 1, 4.2, 2.4 * len(found))
    for (score, runs), panel in zip(found.items(), axes[:, 0], strict=True):
        truth = runs["pool"]["mean"]
        for number, run in enumerate(runs[str(_DRAWN)][:_SHOWN], 1):
            covers = _covers(run, truth)
            colour = COLOURS[1] if covers else "black"
            panel.plot([number, number], [run["low"], run["high"]], color=colour, lw=2, solid_capstyle="butt")
            panel.plot(number, run["mean"], "o" if covers else "X", color=colour, ms=4.5)
            panel.plot(number, run["plug_in"], "s", color=COLOURS[2], ms=4.5, mfc="white")
        panel.axhline(truth, color="black", lw=1, ls=":", zorder=0)
        _dressed(panel, score)
    axes[-1, 0].set_xlabel(f"runs of {_DRAWN} samples", fontsize=9)
    figure.savefig(pictures / "fid-of-many-runs.png", dpi=_DPI)


def _dressed(panel: Axes, score: str) -> None:
    panel.set_ylabel(score, fontsize=10)
    panel.tick_params(labelsize=9)
    panel.grid(alpha=0.3)
    panel.spines[["top", "right"]].set_visible(False)


def _covers(run: dict[str, float], truth: float) -> bool:
    return run["low"] <= truth <= run["high"]


def _mean(runs: Sequence[dict[str, float]], name: str) -> float:
    return float(np.mean([run[name] for run in runs]))


def runs_table(found: Numbers) -> str:
    """Return the means over the runs of each size, and how many of their intervals hold the value of the pool."""
    rows = []
    for score, runs in found.items():
        for n in map(str, _SIZES):
            covering = sum(_covers(run, runs["pool"]["mean"]) for run in runs[n])
            numbers = [_rounded(_mean(runs[n], name)) for name in ("plug_in", "mean", "low", "high")]
            rows.append([f"{score}, {int(n):,}", *numbers, f"{covering} of {len(runs[n])}"])
        pool = [_rounded(runs["pool"][name]) for name in ("plug_in", "mean", "low", "high")]
        rows.append([f"{score}, {_POOL:,}", *pool, ""])
    return markdown_table(["samples", "usual value", "corrected", "low", "high", "cover"], rows)


def designs_table(found: Numbers) -> str:
    """Return the table of efficiencies of designs over Monte Carlo."""
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
    "number of samples": runs_table,
    "designs": designs_table,
    "three models": models_table,
}
