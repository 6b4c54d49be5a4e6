"""``python -m mcgen.validation benchmarks`` and ``... coverage`` print the tables that the documentation quotes."""

from __future__ import annotations

import argparse

import numpy as np
import scipy

import mcgen


def main() -> None:
    """Print the tables of one kind."""
    parser = argparse.ArgumentParser(prog="python -m mcgen.validation", description="What mcgen promises, shown.")
    parser.add_argument("kind", choices=("benchmarks", "coverage"))
    parser.add_argument("--only", default="", help="benchmarks whose title contains this")
    options = parser.parse_args()
    print(f"mcgen {mcgen.__version__}, numpy {np.__version__}, scipy {scipy.__version__}")
    if options.kind == "coverage":
        from mcgen.validation.coverage import coverage_table

        print(coverage_table().to_string(index=False, float_format="%.3f"))
        return
    from mcgen.validation.benchmarks import TABLES

    for title, table in TABLES.items():
        if options.only in title:
            print(f"\n{title}\n{table().to_string(index=False, float_format='%.3g')}", flush=True)


if __name__ == "__main__":
    main()
