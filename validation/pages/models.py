"""The tables of ``docs/reference/models.md``, between marks in the page; `measurements.models` has the numbers."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path

from mcgen.adapters import models
from mcgen.validation.measurements.models import (
    DESIGNS,
    FOUR,
    METHODS,
    OTHERS,
    PLANE,
    PROBLEMS,
    SHOWN,
    Numbers,
    measure,
)
from mcgen.validation.writing.markdown import chosen, fill_page, markdown_table, require_marks


def write_page(folder: Path, only: str = "") -> None:
    """Measure the models whose name contains `only`, keep the numbers in ``models.json``, and write the tables.

    Raises
    ------
    OSError, ValueError
        If there is no page ``reference/models.md`` with its marks, or no model of such a name. Nothing has been
        measured then.
    """
    page, store, pictures = folder / "reference" / "models.md", folder / "reference" / "models.json", folder / "images"
    require_marks(page, TABLES)
    labels = chosen([*SHOWN, *OTHERS], only, "model")
    pictures.mkdir(exist_ok=True)
    for label in labels:
        print(label, flush=True)
        found = measure(label, pictures) if label in SHOWN else OTHERS[label](pictures)
        # The file is read again, because other processes may measure other models at the same time.
        numbers = _stored(store) | {label: found}
        draft = store.with_suffix(f".{os.getpid()}")
        draft.write_text(json.dumps(numbers, indent=1) + "\n")
        os.replace(draft, store)
    write_tables(folder)


def write_tables(folder: Path) -> None:
    """Write the tables of the stored numbers into the page."""
    numbers = _stored(folder / "reference" / "models.json")
    fill_page(folder / "reference" / "models.md", {title: table(numbers) for title, table in TABLES.items()})


def _stored(path: Path) -> Numbers:
    numbers: Numbers = json.loads(path.read_text()) if path.exists() else {}
    return numbers


def quality_table(numbers: Numbers) -> str:
    """Return the table of shipped models: their size, and their quality beside that of real data."""
    rows = []
    for name in models.list():
        log = models.log(name)
        quality = log["quality"]
        accuracy = [quality.get(f"accuracy_on_{what}") for what in ("samples_of_each_class", "held_out_images")]
        distances = [value for key, value in quality.items() if "distance_of" in key]
        rows.append(
            [
                f"`{name}`",
                log["data"],
                f"{log['bytes'] / 1e6:.2f} MB",
                _minutes(log["log"][-1]),
                " / ".join(f"{value:.3f}" for value in accuracy) if accuracy[0] else "",
                " / ".join(f"{value:.3g}" for value in distances),
                f"{quality['nearest_training_image_ratio']:.2f}" if "nearest_training_image_ratio" in quality else "",
            ]
        )
    head = ["model", "trained on", "size", "minutes", "accuracy", "distance", "nearest"]
    return markdown_table(head, rows)


def correlation_table(numbers: Numbers) -> str:
    """Return the table of mean and standard deviation of the correlations of pairs, beside the paper's."""
    kinds = ("negated, standard", "negated, centralized", "independent, standard", "independent, centralized")
    rows = [
        [label, *(_mean_and_sd(numbers[label]["correlations"][kind]) for kind in kinds), SHOWN[label].paper]
        for label in SHOWN
        if label in numbers
    ]
    return markdown_table(["model", "z / -z", "centralized", "independent", "centralized", "paper, z / -z"], rows)


def efficiency_table(numbers: Numbers) -> str:
    """Return the table of relative efficiencies with their intervals."""
    rows = []
    for label in SHOWN:
        found = numbers.get(label, {}).get("efficiencies", {})
        for design in dict.fromkeys(key.rpartition(", ")[0] for key in found):
            rows.append([label, design, *(_with_interval(found[f"{design}, {name}"]) for name in FOUR.names)])
    return markdown_table(["model", "design", *FOUR.names], rows)


def plane_table(numbers: Numbers) -> str:
    """Return the table of efficiencies and correlations of the flow on the plane."""
    found = numbers.get("moons-flow", {"efficiencies": {}, "correlations": {}})
    designs = [*dict.fromkeys(key.rpartition(", ")[0] for key in found["efficiencies"])]
    rows = []
    for name in PLANE.names if designs else ():
        correlation = found["correlations"].get(name)
        efficiencies = [_with_interval(found["efficiencies"][f"{design}, {name}"]) for design in designs]
        rows.append([name, "" if correlation is None else f"{correlation:+.4f}", *efficiencies])
    return markdown_table(["mean of", "correlation of z / -z", *designs], rows)


def ddpm_table(numbers: Numbers) -> str:
    """Return the table of correlations of DDPM's pairs, by the noise that was negated."""
    kinds = ("negated, standard", "negated, centralized")
    rows = [
        [label, what, *(_mean_and_sd(found[kind]) for kind in kinds)]
        for label in OTHERS
        if label.startswith("DDPM") and label in numbers
        for what, found in numbers[label].items()
    ]
    return markdown_table(["sampler", "negated", "z / -z", "centralized"], rows)


def problem_table(numbers: Numbers) -> str:
    """Return the table of L1 distance and PSNR of posterior samples with their intervals, by both designs."""
    rows = []
    for problem in PROBLEMS:
        for method in METHODS:
            found = numbers.get(f"{method}, {problem}")
            if found is None:
                continue
            by_design = [found[str(design)] for design in DESIGNS[:2]]
            for k, what in enumerate(("L1", "PSNR")):
                plain, pairs = ([one["mean"][k], one["half width"][k]] for one in by_design)
                intervals = [f"{mean:.4g} ± {half:.2g}" for mean, half in (plain, pairs)]
                rows.append([problem, method, what, *intervals, _with_interval(found["efficiency"][k])])
    return markdown_table(["problem", "sampler", "", "Monte Carlo", "antithetic", "efficiency"], rows)


def conformance_table(numbers: Numbers) -> str:
    """Return the table of the gaps that the conformance checks found."""
    labels = [*SHOWN, "moons-flow"]
    found = {label: numbers[label]["conformance"] for label in labels if label in numbers}
    laws = [*next(iter(found.values()))] if found else []
    return markdown_table(
        ["model", *laws], [[label, *(f"{gap:.1g}" for gap in gaps.values())] for label, gaps in found.items()]
    )


def _minutes(last: Numbers) -> str:
    # Logs from a busy machine have wall-clock seconds only, which bound the core's seconds from above.
    return f"{last['core_seconds'] / 60:.0f}" if "core_seconds" in last else f"< {last['seconds'] / 60:.0f}"


def _mean_and_sd(pair: list[float]) -> str:
    return f"{pair[0]:+.2f} ({pair[1]:.2f})"


def _with_interval(found: list[float]) -> str:
    value, low, high = (f"{x:.2g}" if x < 10 else f"{x:.0f}" for x in found)
    return f"{value} [{low}, {high}]"


TABLES: dict[str, Callable[[Numbers], str]] = {
    "quality": quality_table,
    "correlations": correlation_table,
    "efficiencies": efficiency_table,
    "plane": plane_table,
    "negated noise of DDPM": ddpm_table,
    "inverse problems": problem_table,
    "conformance": conformance_table,
}
