"""The parser: all commands with their options."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from mcgen._version import __version__
from mcgen.cli.commands import _compare, _demo, _estimate, _export, _merge, _status, _validate
from mcgen.cli.objects import STATISTICS
from mcgen.runs.export import EXPORTS


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="mcgen", description="Estimates of generative models, with intervals.")
    parser.add_argument("--version", action="version", version=f"mcgen {__version__}")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    demo = commands.add_parser("demo", help="compare the designs on a trained diffusion model; writes a report")
    demo.set_defaults(command=_demo)
    demo.add_argument("--folder", default="demo", help="folder for report.html (default: demo)")
    demo.add_argument("--n-evaluations", type=int, default=3200, help="samples for each design (default: 3200)")
    one = commands.add_parser("estimate", help="estimate a statistic of your own generator")
    one.set_defaults(command=_estimate)
    one.add_argument(
        "--design",
        required=True,
        help="auto (by a pilot), monte-carlo, antithetic, k-antithetic:K, sobol:N, latin-hypercube:N, orthogonal:N",
    )
    one.add_argument("--n-points", type=int, help="points of the design, if its name does not give them")
    several = commands.add_parser("compare", help="compare designs on your own generator")
    several.set_defaults(command=_compare)
    several.add_argument(
        "--designs", default="monte-carlo,antithetic,k-antithetic:8,sobol:64", help="separated by commas"
    )
    promises = commands.add_parser("validate", help="check all promises of mcgen by simulation")
    promises.set_defaults(command=_validate)
    promises.add_argument(
        "--full", action="store_true", help="all replicates, up to an hour, instead of a minute or two"
    )
    promises.add_argument("--only", default="", help="only studies whose title contains this")
    promises.add_argument("--seed", type=int, default=0, help="of all studies, at least 0 (default: 0)")
    promises.add_argument("--page", type=Path, help="a Markdown page with marks to write the table into")
    _add_store_commands(commands)
    for command in (one, several):
        _add_run_arguments(command, required=command is several)
    _add_long_run_arguments(one)
    for command in (demo, one, several):
        command.add_argument(
            "--seed", type=int, required=command is not demo, default=0, help="the same seed gives the same numbers"
        )
        command.add_argument("--no-progress", dest="progress", action="store_false", help="show no progress bar")
    return parser


def _add_store_commands(commands: Any) -> None:
    how_far = commands.add_parser("status", help="show a stored run: replicates, interval, seconds left")
    how_far.set_defaults(command=_status)
    table = commands.add_parser("export", help="write the replicates of a store as a table, or its estimate as JSON")
    table.set_defaults(command=_export)
    how_far.add_argument("--verbose", action="store_true", help="also show the run that the store belongs to")
    for command in (how_far, table):
        command.add_argument("store", help="the file that --store named")
    formats = table.add_mutually_exclusive_group(required=True)
    for kind, what in EXPORTS.items():
        formats.add_argument(f"--{kind}", metavar="FILE", help=what)
    together = commands.add_parser("merge", help="make one store from the stores of the parts of a run")
    together.set_defaults(command=_merge)
    together.add_argument("parts", nargs="+", help="the stores of runs with --replicates")
    together.add_argument("-o", "--output", required=True, metavar="FILE", help="the store to make")


def _add_long_run_arguments(command: argparse.ArgumentParser) -> None:
    command.add_argument("--atol", type=float, help="run until every half-width is at most this")
    command.add_argument("--rtol", type=float, help="or this share of the estimate")
    command.add_argument("--components", help="the components that these apply to, separated by commas (default: all)")
    command.add_argument("--max-evaluations", type=int, help="with --atol or --rtol: the most samples")
    command.add_argument("--min-replicates", type=int, help="with --atol or --rtol: the fewest replicates")
    command.add_argument("--replicates", metavar="FIRST:STOP", help="run only this part of a longer run, to be merged")
    command.add_argument(
        "--store", metavar="FILE", help="keep finished replicates in this file, and continue a run that stopped"
    )
    command.add_argument("--workers", type=int, help="number of worker processes; each imports the generator")
    command.add_argument("--range-timeout", type=float, help="seconds after which a worker counts as hanging")


def _add_run_arguments(command: argparse.ArgumentParser, required: bool) -> None:
    command.add_argument("generator", metavar="package.module:generator", help="an mcgen generator")
    command.add_argument(
        "--statistic",
        required=True,
        help=f"{', '.join(STATISTICS)} or package.module:name; several separated by commas",
    )
    command.add_argument("--n-evaluations", type=int, required=required, help="how many samples (of each design)")
    command.add_argument("--condition", action="append", help="a class (number) or prompt; repeat it for several")
    command.add_argument("--common-random-numbers", action="store_true", help="the same noise for all conditions")
    command.add_argument("--confidence-level", type=float, default=0.95, help="of the intervals (default: 0.95)")
    command.add_argument(
        "--interval",
        default="student-t",
        help="student-t, normal, skewness-adjusted-t, bootstrap-t, anytime or asymptotic-anytime",
    )
    command.add_argument("--simultaneous", action="store_true", help="intervals that cover all components together")
    command.add_argument("--batch-size", type=int, help="samples in a batch (default: about 64)")
    command.add_argument("--output", metavar="FILE", help="save the result as JSON")
