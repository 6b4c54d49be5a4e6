"""``python -m mcgen.validation benchmarks | coverage | models``: the tables and pictures of the documentation."""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import scipy

import mcgen


def main() -> None:
    """Print the tables of one kind."""
    parser = argparse.ArgumentParser(prog="python -m mcgen.validation", description="What mcgen promises, shown.")
    parser.add_argument("kind", choices=("benchmarks", "coverage", "models"))
    parser.add_argument("--only", default="", help="benchmarks or models whose title contains this")
    options = parser.parse_args()
    print(f"mcgen {mcgen.__version__}, numpy {np.__version__}, scipy {scipy.__version__}")
    if options.kind == "models":
        from mcgen.validation.model_page import write_page

        write_page(Path("docs"), options.only)
        return
    if options.kind == "coverage":
        from mcgen.validation.coverage import coverage_table, efficiency_coverage_table

        for title, make in (("of the mean", coverage_table), ("of the efficiency of pairs", efficiency_coverage_table)):
            print(f"\nCoverage of nominal 95 % intervals {title}\n{make().to_string(index=False, float_format='%.3f')}")
        return
    from mcgen.validation.benchmarks import TABLES

    for title, table in TABLES.items():
        if options.only in title:
            print(f"\n{title}\n{table().to_string(index=False, float_format='%.3g')}", flush=True)


if __name__ == "__main__":
    main()
