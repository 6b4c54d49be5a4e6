"""The page ``docs/validation/efficiency.md``: measures the numbers that are missing, and writes the tables from all.

Numbers are stored after each case and contender, so that a long measurement can be interrupted and continued. Numbers
that are stored with the same settings are measured again only if their case is named.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from mcgen.inference.interval_input import Interval
from mcgen.validation.measurements.cases import CASES
from mcgen.validation.measurements.image_mixtures import (
    MEANS_SEED,
    MIXTURES,
    N_TRAINING_STEPS,
    NAMES,
    PIXEL_SD,
    STEPS,
    WEIGHTS,
)
from mcgen.validation.measurements.rivals import COVERED, N_REPETITIONS, N_TRUTH, ON, RIVALS, repeated, truth
from mcgen.validation.measurements.widths import (
    AUTO,
    BUDGETS,
    CONTENDERS,
    PAIRS,
    PLAIN,
    Record,
    measure,
    relative_efficiency,
    settings,
)
from mcgen.validation.studies.verdicts import acceptance_band
from mcgen.validation.writing.markdown import chosen, fill_page, markdown_table, require_marks

Numbers = dict[str, dict[str, Record]]

AGAINST = "against what a user would pick"
CHOOSING, GAINS = "explanation/choosing-a-design.md", "gains"
_TRUTH = "truth"
_MISSING = "-"


def write_page(folder: Path, only: str = "") -> None:
    """Measure what is not stored yet, or the named cases again; store the numbers, and write the tables into the page.

    Parameters
    ----------
    folder : Path
        Folder of the documentation.
    only : str
        Part of the names of the cases to measure again; empty for all that is not stored yet.

    Raises
    ------
    OSError, ValueError
        If there is no page ``validation/efficiency.md`` or ``explanation/choosing-a-design.md`` with its marks, or no
        case of such a name; nothing has been measured then.
    """
    page, store = _paths(folder)
    require_marks(page, TABLES)
    require_marks(folder / CHOOSING, [GAINS])
    for name in chosen([AGAINST, *CASES], only, "case"):
        if name == AGAINST:
            _measure_rivals(store, again=bool(only))
        else:
            _measure_case(store, name, again=bool(only))
        write_tables(folder)


def write_tables(folder: Path) -> None:
    """Write the tables of the stored numbers into the page, and their summary into that on choosing a design."""
    page, store = _paths(folder)
    numbers = stored(store)
    fill_page(page, {title: table(numbers) for title, table in TABLES.items()})
    fill_page(folder / CHOOSING, {GAINS: gains_table(numbers)})


def _paths(folder: Path) -> tuple[Path, Path]:
    return folder / "validation" / "efficiency.md", folder / "validation" / "efficiency.json"


def stored(store: Path) -> Numbers:
    """Return the stored numbers by case, then by contender."""
    numbers: Numbers = json.loads(store.read_text()) if store.exists() else {}
    return numbers


def keep(store: Path, case: str, label: str, found: Record) -> None:
    """Store the numbers of one contender on a case."""
    # The file is read again, because other processes may measure other cases at the same time.
    numbers = stored(store)
    numbers.setdefault(case, {})[label] = found
    draft = store.with_suffix(f".{os.getpid()}")
    draft.write_text(json.dumps(numbers, indent=1) + "\n")
    os.replace(draft, store)


def is_known(store: Path, case: str, label: str, wanted: Record) -> bool:
    """Return whether a contender was measured on a case with these settings."""
    return bool(stored(store).get(case, {}).get(label, {}).get("settings") == wanted)


def _measure_case(store: Path, name: str, again: bool) -> None:
    case = CASES[name]
    for label, contender in CONTENDERS.items():
        wanted = settings(case, contender)
        if not again and is_known(store, name, label, wanted):
            continue
        print(f"{name}: {label}", flush=True)
        found = measure(case, contender)
        if found is not None:
            keep(store, name, label, {"settings": wanted} | found)


def _measure_rivals(store: Path, again: bool) -> None:
    means = _truth_of(store, ON, again)
    wanted: Record = {"repetitions": N_REPETITIONS, "means": means}
    for label, rival in RIVALS.items():
        if again or not is_known(store, AGAINST, label, wanted):
            print(f"{AGAINST}: {label}", flush=True)
            keep(store, AGAINST, label, {"settings": wanted} | repeated(rival, means))
    for name, n, repetitions in COVERED:
        means = _truth_of(store, name, again)
        label, wanted = _coverage_label(name, n), {"repetitions": repetitions, "means": means}
        if again or not is_known(store, AGAINST, label, wanted):
            print(f"{AGAINST}: {label} evaluations", flush=True)
            found = repeated(RIVALS[f"mcgen, {AUTO}"], means, repetitions, n, name)
            keep(store, AGAINST, label, {"settings": wanted} | found)


def _truth_of(store: Path, name: str, again: bool) -> list[float]:
    """Return the means of a long run on a case, which is made if it is not stored."""
    label, wanted = _TRUTH if name == ON else f"{_TRUTH}: {name}", {"evaluations": N_TRUTH}
    if (again and name == ON) or not is_known(store, AGAINST, label, wanted):
        print(f"{AGAINST}: {label}", flush=True)
        keep(store, AGAINST, label, {"settings": wanted} | truth(name))
    found: list[float] = stored(store)[AGAINST][label]["mean"]
    return found


def _coverage_label(name: str, n: int) -> str:
    return f"{AUTO}, {name}, {n}"


def summary(n: int, baseline: str) -> Callable[[Numbers], str]:
    """Return the function that makes the table of geometric means at n evaluations: rows are cases."""

    def table(numbers: Numbers) -> str:
        columns = [label for label in CONTENDERS if label != baseline]
        rows = []
        for name in CASES:
            found = numbers.get(name, {})
            cells = [_cells(found, label, baseline, n)[-1:] for label in columns]
            if found:
                rows.append([name, *(cell[0] if cell else _MISSING for cell in cells)])
        return markdown_table(["case", *columns], rows)

    return table


def gains_table(numbers: Numbers) -> str:
    """Return a table for the shipped models: pairs over Monte Carlo, and some designs over pairs, at the larger n."""
    columns = [
        AUTO,
        "k-antithetic 8",
        "Sobol' 64",
        "Sobol' 64 on active subspace",
        "Latin hypercube 64",
        "antithetic frames 64",
    ]
    pairs = [(PAIRS, PLAIN), *((label, PAIRS) for label in columns)]
    rows = []
    for name in CASES:
        found = numbers.get(name, {})
        if found and name not in MIXTURES:
            cells = [_cells(found, label, baseline, BUDGETS[0])[-1:] for label, baseline in pairs]
            rows.append([name, *(cell[0] if cell else _MISSING for cell in cells)])
    return markdown_table(["model", "pairs over Monte Carlo", *columns], rows)


def auto_table(numbers: Numbers) -> str:
    """Return the table of auto's gains in the mean and in the worst component of each case, and over the best other."""
    rows = []
    for name in CASES:
        found = numbers.get(name, {})
        row = [name]
        for n in BUDGETS:
            over = {label: relative_efficiency(found.get(label), found.get(PAIRS), n) for label in CONTENDERS}
            own, plain = over.pop(AUTO, None), relative_efficiency(found.get(AUTO), found.get(PLAIN), n)
            if own is None or plain is None:
                row += [_MISSING] * (4 if n == BUDGETS[0] else 2)
                continue
            value, low, high = _ends(*own)
            row += [with_interval(value[-1], low[-1], high[-1]), _short(np.nanmin(value[:-1]))]
            if n == BUDGETS[0]:
                best = max((label for label in over if over[label]), key=lambda label: float(over[label][0][-1]))  # type: ignore[index]
                against = over[best]
                assert against is not None
                row += [_short(np.nanmin(plain[0][:-1])), f"{value[-1] / against[0][-1]:.2f} of {best}"]
        rows.append(row)
    large, small = BUDGETS
    head = ["case", f"n = {large:,}: mean", "least", "least over Monte Carlo", "beside the best other"]
    return markdown_table([*head, f"n = {small}: mean", "least"], rows)


def case_tables(numbers: Numbers) -> str:
    """Return the tables of every case, each below its name."""
    parts = [text for name in CASES if name in numbers for text in _case_text(name, numbers[name])]
    return "\n\n".join(parts)


def _case_text(name: str, found: dict[str, Record]) -> list[str]:
    case = CASES[name]
    parts = [f"### {name}", _work(found)]
    for baseline in (PAIRS, PLAIN):
        for n in BUDGETS:
            columns = len(case.names) + 1
            rows = [
                [label, *(_cells(found, label, baseline, n) or [_MISSING] * columns)]
                for label in CONTENDERS
                if label != baseline
            ]
            head = ["design", *(f"({x})" if x in case.repeated else x for x in case.names), "geometric mean"]
            parts += [f"Over {baseline}, n = {n:,}:", markdown_table(head, rows)]
    return parts


def _work(found: dict[str, Record]) -> str:
    """Return a text on the runs and pilots behind a case's numbers."""
    single = {label: record for label, record in found.items() if "n_points" in record}
    whole = {label: record["widths"] for label, record in found.items() if "widths" in record}
    parts = []
    if single:
        evaluations = max(record["replicates"] * record["n_points"] for record in single.values())
        speed = float(np.median([record["seconds_per_evaluation"] for record in single.values()]))
        parts.append(f"Variances from {evaluations:,} evaluations a design, {1e3 * speed:.2g} ms each.")
    pilots = {label: record["pilot"] for label, record in single.items() if record["pilot"]}
    for label, widths in whole.items():
        runs = " and ".join(f"{made['runs']} of {int(n):,} evaluations" for n, made in widths.items())
        parts.append(f"Whole runs, {label}: {runs}.")
        pilots[label] = widths[str(BUDGETS[0])]["pilot"]
    if pilots:
        costs = ", ".join(f"{label} ({cost:.0f})" for label, cost in pilots.items())
        parts.append(f"Evaluations of the pilots at n = {BUDGETS[0]:,}: {costs}.")
    return " ".join(parts)


def _cells(found: dict[str, Record], label: str, baseline: str, n: int) -> list[str]:
    """Return the efficiencies of components and their geometric mean as texts; none if there is no interval."""
    made = relative_efficiency(found.get(label), found.get(baseline), n)
    return [] if made is None else [*map(with_interval, *_ends(*made))]


def _ends(value: Any, interval: Interval) -> tuple[Any, Any, Any]:
    return value, interval.low, interval.high


def with_interval(value: float, low: float, high: float) -> str:
    """Return a number with its interval, such as 3.1 [2.7, 3.6]."""
    if np.isnan(value):
        return "not defined"
    return f"{_short(value)} [{_short(low)}, {_short(high)}]"


def _short(x: float) -> str:
    if x < 0.095:
        return f"{x:.2g}"
    return f"{x:.2f}" if x < 1.995 else f"{x:.1f}" if x < 9.95 else f"{x:,.0f}"


def mixture_table(numbers: Numbers) -> str:
    """Return the parameters of the mixtures, and the distances of their components."""
    rows = []
    for name, mixture in MIXTURES.items():
        low, high = mixture.distances()
        sizes = " to ".join(f"{size:g}" for size in mixture.sizes)
        numbers_ = [f"{mixture.separation:g}", sizes, f"{mixture.scale:.4f}", f"{low:.1f} to {high:.1f}"]
        rows.append([name, str(mixture.side**2), *numbers_, f"{mixture.largest_posterior():.3f}"])
    head = ["mixture", "d", "separation", "sizes", "scale a", "distances of means / sd", "largest posterior"]
    weights = ", ".join(f"{weight:g}" for weight in WEIGHTS)
    text = (
        f"Weights {weights}; means from `numpy.random.default_rng({MEANS_SEED})`; a pixel's sd {PIXEL_SD}; cosine "
        f"schedule of {N_TRAINING_STEPS:,} steps, DDIM {STEPS} steps."
    )
    return f"{text}\n\n{markdown_table(head, rows)}"


def against_table(numbers: Numbers) -> str:
    """Return the table of mean half-widths and shares of intervals that cover, by rival."""
    found = numbers.get(AGAINST, {})
    if _TRUTH not in found:
        return markdown_table(["method", "evaluations"], [])
    names = CASES[ON].names
    errors = found[_TRUTH]["standard_error"]
    rows = []
    for label in RIVALS:
        if label not in found:
            rows.append([label, *[_MISSING] * (len(names) + 1)])
            continue
        made = found[label]
        pairs = zip(made["half_width"], made["covered"], strict=True)
        rows.append([label, f"{made['evaluations']:,.0f}", *(f"{half:.5f}, {share:.1%}" for half, share in pairs)])
    rows.append(["standard error of the truth", f"{found[_TRUTH]['evaluations']:,}", *(f"{e:.6f}" for e in errors)])
    repetitions = max((found[label]["repetitions"] for label in RIVALS if label in found), default=0)
    band = 1.96 * float(np.sqrt(0.95 * 0.05 / max(1, repetitions)))
    text = (
        f"{repetitions} repetitions: if the coverage is 95 %, the share lies between {0.95 - band:.1%} and "
        f"{0.95 + band:.1%} 95 times in 100."
    )
    return f"{text}\n\n{markdown_table(['method', 'evaluations', *names], rows)}"


def coverage_table(numbers: Numbers) -> str:
    """Return the table of the shares of auto's intervals that cover, with the band for a coverage of exactly 95 %."""
    found, rows = numbers.get(AGAINST, {}), []
    for name, n, repetitions in COVERED:
        made = found.get(_coverage_label(name, n))
        if made is not None:
            low, high = acceptance_band(repetitions)
            shares = [f"{share:.2%}" for share in made["covered"]]
            rows.append([name, f"{n:,}", f"{repetitions:,}", f"{low:.2%} to {high:.2%}", *shares])
    return markdown_table(["case", "evaluations", "repetitions", "band", *NAMES], rows)


def made_with(numbers: Numbers) -> str:
    """Return a sentence on the cases that are not measured yet."""
    missing = [name for name in CASES if not {PLAIN, PAIRS} <= {*numbers.get(name, {})}]
    if not missing:
        return "All cases are measured."
    return f"Not measured yet: {'; '.join(missing)}."


TABLES: dict[str, Callable[[Numbers], str]] = {
    **{
        f"geometric means over {baseline}, n = {n}": summary(n, baseline)
        for baseline in (PAIRS, PLAIN)
        for n in BUDGETS
    },
    "auto": auto_table,
    "measured": made_with,
    "rivals": against_table,
    "coverage of auto": coverage_table,
    "mixtures": mixture_table,
    "cases": case_tables,
}
