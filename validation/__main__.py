"""``python -m mcgen.validation KIND``: measures, prints tables, and writes those of the documentation."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import scipy

import mcgen
from mcgen.validation.writing.markdown import chosen


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure one kind and return the exit status: 0, or 2 for arguments or pages that can't be used."""
    description = "Measure what mcgen promises, and write the tables of its documentation."
    parser = argparse.ArgumentParser(prog="python -m mcgen.validation", description=description)
    parser.add_argument("kind", choices=[*_KINDS])
    parser.add_argument("--only", default="", help="only those whose name contains this")
    parser.add_argument("--folder", type=Path, default=Path("docs"), help="where the pages are (default: docs)")
    parser.add_argument("--names", action="store_true", help="journeys: the modules, rooms and frames by name")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="coverage: number of processes")
    options = parser.parse_args(arguments)
    print(f"mcgen {mcgen.__version__}, numpy {np.__version__}, scipy {scipy.__version__}")
    try:
        _KINDS[options.kind](options)
    except (ValueError, OSError, ModuleNotFoundError, RuntimeError) as error:
        print(f"{parser.prog}: {error}", file=sys.stderr)
        return 2
    return 0


def _models(options: argparse.Namespace) -> None:
    from mcgen.validation.pages.models import write_page

    write_page(options.folder, options.only)


def _coverage(options: argparse.Namespace) -> None:
    from mcgen.validation.pages.coverage import write_map

    if options.workers < 1:
        raise ValueError(f"--workers must be at least 1; got {options.workers}")
    with ProcessPoolExecutor(options.workers) as executor:
        write_map(options.folder / "validation", options.only, executor=executor)


def _efficiency(options: argparse.Namespace) -> None:
    from mcgen.validation.pages.efficiency import write_page

    write_page(options.folder, options.only)


def _efficiency_coverage(options: argparse.Namespace) -> None:
    from mcgen.validation.studies.efficiency_formulas import write_efficiency_coverage

    write_efficiency_coverage(options.folder, options.only)


def _stopping(options: argparse.Namespace) -> None:
    from mcgen.validation.studies.stopping import write_page

    write_page(options.folder, options.only)


def _population(options: argparse.Namespace) -> None:
    from mcgen.validation.studies.population import write_page

    write_page(options.folder, options.only)


def _proportions(options: argparse.Namespace) -> None:
    from mcgen.validation.pages.proportions import write_page

    write_page(options.folder, options.only)


def _quantiles(options: argparse.Namespace) -> None:
    from mcgen.validation.pages.quantiles import write_page

    write_page(options.folder, options.only)


def _fitted(options: argparse.Namespace) -> None:
    from mcgen.validation.measurements.fitted import write_tables

    write_tables(options.folder, options.only)


def _functionals(options: argparse.Namespace) -> None:
    from mcgen.validation.pages.functionals import write_page

    write_page(options.folder, options.only)


def _distances(options: argparse.Namespace) -> None:
    from mcgen.validation.pages.distances import write_page

    write_page(options.folder, options.only)


def _steps(options: argparse.Namespace) -> None:
    from mcgen.validation.measurements.steps import write_tables

    write_tables(options.folder, options.only)


def _editing(options: argparse.Namespace) -> None:
    from mcgen.validation.measurements.editing import write_table

    write_table(options.folder, options.only)


def _rare_failures(options: argparse.Namespace) -> None:
    from mcgen.validation.studies.rare_failures import write_table

    write_table(options.folder, options.only)


def _shares(options: argparse.Namespace) -> None:
    from mcgen.validation.measurements.shares import write_picture

    write_picture(options.folder)


def _soak(options: argparse.Namespace) -> None:
    from mcgen.validation.measurements.soak import write_page

    write_page(options.folder)


def _systems(options: argparse.Namespace) -> None:
    from mcgen.validation.pages.systems import write_page

    write_page(options.folder, options.only)


def _truths(options: argparse.Namespace) -> None:
    from mcgen.validation.problems import simulate_truths
    from mcgen.validation.problems.mixtures import unknown

    chosen([problem.name for problem in unknown()], options.only, "simulated problem")
    # `simulate_truths` is case-sensitive, and names of problems have no capitals.
    simulate_truths(options.only.casefold())


def _benchmarks(options: argparse.Namespace) -> None:
    from mcgen.validation.measurements.speed import TABLES

    for title in chosen(TABLES, options.only, "benchmark"):
        print(f"\n{title}\n{TABLES[title]().to_string(index=False, float_format='%.3g')}", flush=True)


def _paper(options: argparse.Namespace) -> None:
    from mcgen.validation.pages.paper import write_page

    write_page(options.folder, options.only)


def _conditions(options: argparse.Namespace) -> None:
    from mcgen.validation.measurements.condition_designs import write_tables

    write_tables(options.folder, options.only)


def _fid(options: argparse.Namespace) -> None:
    from mcgen.validation.pages.fid import write_page

    write_page(options.folder, options.only)


def _journeys(options: argparse.Namespace) -> None:
    from mcgen.validation.measurements.journeys import journeys_table

    print(journeys_table(options.only, options.names))


_KINDS = {
    "benchmarks": _benchmarks,
    "conditions": _conditions,
    "coverage": _coverage,
    "distances": _distances,
    "editing": _editing,
    "efficiency": _efficiency,
    "efficiency-coverage": _efficiency_coverage,
    "fid": _fid,
    "fitted": _fitted,
    "functionals": _functionals,
    "journeys": _journeys,
    "models": _models,
    "paper": _paper,
    "population": _population,
    "proportions": _proportions,
    "quantiles": _quantiles,
    "rare-failures": _rare_failures,
    "shares": _shares,
    "soak": _soak,
    "steps": _steps,
    "stopping": _stopping,
    "systems": _systems,
    "truths": _truths,
}

if __name__ == "__main__":
    sys.exit(main())
