"""``python -m mcgen.validation benchmarks | coverage | efficiency | models | truths``: tables of the documentation."""

from __future__ import annotations

import argparse
import os
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import numpy as np
import scipy

import mcgen


def main() -> None:
    """Make the tables of one kind."""
    parser = argparse.ArgumentParser(prog="python -m mcgen.validation", description="What mcgen promises, shown.")
    parser.add_argument("kind", choices=[*_KINDS])
    parser.add_argument("--only", default="", help="benchmarks, problems or models whose title contains this")
    parser.add_argument("--workers", type=int, default=os.cpu_count(), help="processes for the coverage")
    options = parser.parse_args()
    print(f"mcgen {mcgen.__version__}, numpy {np.__version__}, scipy {scipy.__version__}")
    _KINDS[options.kind](options)


def _models(options: argparse.Namespace) -> None:
    from mcgen.validation.model_page import write_page

    write_page(Path("docs"), options.only)


def _coverage(options: argparse.Namespace) -> None:
    from mcgen.validation.coverage_map import write_map

    with ProcessPoolExecutor(options.workers) as executor:
        write_map(Path("docs/validation"), options.only, executor=executor)


def _efficiency(options: argparse.Namespace) -> None:
    from mcgen.validation.efficiency import efficiency_coverage_table

    title = "Coverage of nominal 95 % intervals of the efficiency of pairs"
    print(f"\n{title}\n{efficiency_coverage_table().to_string(index=False, float_format='%.3f')}")


def _truths(options: argparse.Namespace) -> None:
    from mcgen.validation.problems import simulate_truths

    simulate_truths(options.only)


def _benchmarks(options: argparse.Namespace) -> None:
    from mcgen.validation.benchmarks import TABLES

    for title, table in TABLES.items():
        if options.only in title:
            print(f"\n{title}\n{table().to_string(index=False, float_format='%.3g')}", flush=True)


_KINDS = {
    "benchmarks": _benchmarks,
    "coverage": _coverage,
    "efficiency": _efficiency,
    "models": _models,
    "truths": _truths,
}

if __name__ == "__main__":
    main()
