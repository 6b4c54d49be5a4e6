"""The tables of ``docs/systems.md``, between marks in the page; `mcgen.validation.systems` has what is measured."""

from __future__ import annotations

import json
from importlib import import_module
from pathlib import Path
from typing import Any

from mcgen.validation.systems._base import COLUMNS, System, measured
from mcgen.validation.writing.markdown import chosen, fill_page, markdown_table, require_marks

EFFICIENCIES = "efficiencies"
# The modules of `mcgen.validation.systems`, in the order of the page; each has a SYSTEM.
_MODULES: tuple[str, ...] = (
    "composition",
    "chains",
    "truncation",
    "regeneration",
    "autonomy",
    "latents",
    "finite_data",
    "outline",
    "paths",
)


def systems() -> dict[str, System]:
    """Return the systems by name."""
    found = [import_module(f"mcgen.validation.systems.{module}").SYSTEM for module in _MODULES]
    return {system.name: system for system in found}


def write_page(folder: Path, only: str = "") -> None:
    """Measure the systems whose name contains `only`, keep the numbers in ``systems.json``, and write the tables.

    Raises
    ------
    OSError, ValueError
        If there is no page ``systems.md`` with its marks, or no system of such a name. Nothing has been measured then.
    """
    known, store = systems(), folder / "systems.json"
    titles = [EFFICIENCIES, *(title for system in known.values() for title in system.tables)]
    require_marks(folder / "systems.md", titles)
    for name in chosen(known, only, "system"):
        print(name, flush=True)
        found = measured(known[name])
        # The file is read again, because other processes may measure other systems at the same time.
        store.write_text(json.dumps(_stored(store) | {name: found}, indent=1, sort_keys=True) + "\n")
    write_tables(folder)


def write_tables(folder: Path) -> None:
    """Write the tables of the stored numbers into the page."""
    numbers = _stored(folder / "systems.json")
    rows = [row for name in systems() if name in numbers for row in numbers[name]["efficiencies"]]
    tables = {title: table for found in numbers.values() for title, table in found["tables"].items()}
    parts = {title: markdown_table(table["head"], table["rows"]) for title, table in tables.items()}
    head = ["model", "mean of", "noise numbers", *COLUMNS]
    fill_page(folder / "systems.md", {EFFICIENCIES: markdown_table(head, rows)} | parts)


def _stored(path: Path) -> dict[str, Any]:
    numbers: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {}
    return numbers
