"""A system of ``docs/systems.md``: its cases, whose designs are compared, and its own tables.

``python -m mcgen.validation systems`` measures all systems, ``--only NAME`` some of them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import mcgen
from mcgen.statistics import Statistic
from mcgen.validation.conformance import check_generator

SEED = 0
# Designs with 100 replicates or more in 3,200 evaluations: with fewer, intervals of efficiencies undercover.
DESIGNS: tuple[Any, ...] = (mcgen.MonteCarlo(), mcgen.Antithetic(), mcgen.KAntithetic(8), mcgen.Sobol(32), "auto")
COLUMNS = ("pairs", "8-antithetic", "Sobol(32)", "auto")


class Table(NamedTuple):
    """A table of a page, its cells as texts."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]


@dataclass(frozen=True)
class Case:
    """A generator whose designs are compared, by one statistic or several.

    Attributes
    ----------
    name : str
        What the page calls it, such as "product of two mixtures, MALA".
    generator : Generator
        The generator.
    statistic : callable
        One statistic, or several from `mcgen.statistics.stack`.
    condition : object
        The condition of all runs.
    n_evaluations : int
        Samples for each design.
    """

    name: str
    generator: mcgen.Generator
    statistic: Statistic
    condition: Any = None
    n_evaluations: int = 3200


@dataclass(frozen=True)
class System:
    """A system as the page shows it.

    Attributes
    ----------
    name : str
        Its name; `--only` selects by it.
    cases : callable
        Makes its cases.
    tables : mapping of str to callable
        Its own tables, by the titles of their marks in the page.
    """

    name: str
    cases: Callable[[], Sequence[Case]]
    tables: Mapping[str, Callable[[], Table]] = field(default_factory=dict)


def measured(system: System) -> dict[str, Any]:
    """Return what the page says of a system: its rows of efficiencies, and its own tables."""
    return {
        "efficiencies": [row for case in system.cases() for row in efficiency_rows(case)],
        "tables": {title: make()._asdict() for title, make in system.tables.items()},
    }


def efficiency_rows(case: Case) -> list[list[str]]:
    """Return one row for each component: case, component, noise numbers, and the efficiency of each design.

    Raises
    ------
    AssertionError
        If the generator does not keep the laws of generators.
    """
    check_generator(case.generator, condition=case.condition).require()
    frame = mcgen.compare(
        case.generator,
        case.statistic,
        designs=DESIGNS,
        condition=case.condition,
        n_evaluations=case.n_evaluations,
        seed=SEED,
    ).to_frame()
    rows = []
    for component, found in frame.groupby("component", sort=False):
        cells = [_cell(one) for one in found.iloc[1:].to_dict("records")]
        rows.append([case.name, str(component), f"{case.generator.noise.dimension:,}", *cells])
    return rows


def _cell(found: Mapping[Any, Any]) -> str:
    efficiency, low, high = (found[key] for key in ("relative_efficiency", "efficiency_low", "efficiency_high"))
    taken = str(found["design"]).partition("auto: ")[2]
    return f"{_number(efficiency)} [{_number(low)}, {_number(high)}]" + (f" ({taken})" if taken else "")


def _number(x: float) -> str:
    return f"{x:.2g}" if abs(x) < 10 else f"{x:.0f}"
