"""The command line: ``mcgen demo``, ``estimate``, ``compare``, ``validate``, ``status``, ``export`` and ``merge``."""

from __future__ import annotations

import argparse
import importlib
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from mcgen import statistics
from mcgen._lib.names import name_of
from mcgen._version import __version__
from mcgen.comparison import compare
from mcgen.designs import Antithetic, Design, KAntithetic, LatinHypercube, MonteCarlo, OrthogonalAntithetic, Sobol
from mcgen.errors import RunError, StoreError, WorkerError
from mcgen.estimation import estimate
from mcgen.generators.factories import from_factory
from mcgen.replicates.stores.merging import merge_stores
from mcgen.results.comparison import Comparison
from mcgen.results.estimate import Estimate
from mcgen.runs.export import EXPORTS, export
from mcgen.runs.stored import status

# Named as a user names a generator, so that the core imports no adapter and no validation.
_DEMO = "mcgen.validation.pages.demo:run_demo"
_VALIDATE = "mcgen.validation.studies.promises:validate"

_DESIGNS: dict[str, Callable[[int], Design]] = {
    "k-antithetic": KAntithetic,
    "sobol": Sobol,
    "latin-hypercube": LatinHypercube,
    "orthogonal": OrthogonalAntithetic,
}
_FIXED_DESIGNS: dict[str, Design] = {"monte-carlo": MonteCarlo(), "antithetic": Antithetic()}
STATISTICS = ("pixel_mean", "brightness", "contrast", "centroid", "identity")
"""Names of the statistics that the command line knows."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    The status is 0 for success, 1 for a run that failed or a promise that does not hold, 2 for arguments that can't be
    used, and 130 for an interruption from the keyboard.
    """
    options = _parser().parse_args(arguments)
    # A generator is imported from the current folder, as `python -m` does.
    sys.path.insert(0, os.getcwd())
    output = getattr(options, "output", None)
    try:
        _require_folder(output)
        result = options.command(options)
    except KeyboardInterrupt as interrupt:
        kept = _kept(options) or "before two replicates were finished"
        print(f"mcgen: interrupted{':' if _kept(options) else ''} {str(interrupt) or kept}", file=sys.stderr)
        return 130
    except Exception as error:
        failed = _failed(error, output)
        if failed == 1 and _kept(options):
            print(_kept(options), file=sys.stderr)
        return failed
    if result is None or isinstance(result, bool):
        return int(result is False)
    _save(result, output)
    print(result.summary() if isinstance(result, Estimate) else result)
    parts = result.estimates if isinstance(result, Comparison) else (result,)
    if not any(part.partial for part in parts):
        return 0
    if _kept(options):
        print(_kept(options), file=sys.stderr)
    return 130


def _kept(options: argparse.Namespace) -> str:
    """Return the text that says where an interrupted run keeps its finished replicates; empty without a store."""
    store = getattr(options, "store", None) if options.command is _estimate else None
    return f"finished replicates are kept in {store}; the same command continues the run" if store else ""


def _failed(error: Exception, output: str | None) -> int:
    """Print the error, save the finished part, and return the exit status."""
    expected = isinstance(error, ValueError | TypeError | OSError | ImportError)
    if isinstance(error, RunError | StoreError | WorkerError) or (expected and not getattr(error, "__notes__", None)):
        print(f"mcgen: {error}", file=sys.stderr)
    else:
        # An error in the user's own code: the traceback shows where.
        traceback.print_exception(error)
    partial = getattr(error, "partial", None)
    if partial is not None:
        print(f"finished before the error: {partial}", file=sys.stderr)
        _save(partial, output)
    return 2 if partial is None and not isinstance(error, RunError) else 1


def _require_folder(output: str | None, option: str = "--output") -> None:
    if output is not None and not Path(output).absolute().parent.is_dir():
        raise ValueError(f"the folder of {option} {output} does not exist; make it first")


def _save(result: Estimate | Comparison, output: str | None) -> None:
    if output is not None:
        result.save(output)
        print(f"saved to {output}")


def _demo(options: argparse.Namespace) -> None:
    load(_DEMO)(
        folder=Path(options.folder), n_evaluations=options.n_evaluations, seed=options.seed, progress=options.progress
    )


def _validate(options: argparse.Namespace) -> bool:
    holds: bool = load(_VALIDATE)(full=options.full, only=options.only, seed=options.seed, page=options.page)
    return holds


def _status(options: argparse.Namespace) -> None:
    print(status(options.store, options.verbose))


def _export(options: argparse.Namespace) -> None:
    for kind in EXPORTS:
        path = getattr(options, kind)
        if path is not None:
            _require_folder(path, f"--{kind}")
            export(options.store, kind, path)
            print(f"saved to {path}")


def _merge(options: argparse.Namespace) -> None:
    merge_stores(options.parts, options.output)
    print(status(options.output))


def _estimate(options: argparse.Namespace) -> Estimate:
    if options.replicates is not None and options.store is None:
        raise ValueError("--replicates runs a part of a run, to be merged later: it needs a --store of its own")
    names = ("atol", "rtol", "components", "max_evaluations", "min_replicates", "store", "range_timeout")
    chosen = {name: getattr(options, name) for name in names}
    if options.components is not None:
        chosen["components"] = options.components.split(",")
    generator = load(options.generator)
    with ExitStack() as stack:
        if options.workers is not None:
            if options.workers < 1:
                raise ValueError(f"--workers must be at least 1; got {options.workers}")
            # Each worker imports the generator itself, so that no model is pickled.
            generator = from_factory(load, options.generator, name=name_of(generator))
            chosen["executor"] = stack.enter_context(ProcessPoolExecutor(options.workers, get_context("spawn")))
        return estimate(
            generator,
            statistic_named(options.statistic),
            design="auto" if options.design == "auto" else design_named(options.design, options.n_points),
            replicates=_replicates_named(options.replicates),
            **chosen,
            **_run_options(options),
        )


def _replicates_named(text: str | None) -> range | None:
    """Return the range of ``first:stop``."""
    if text is None:
        return None
    first, colon, stop = text.partition(":")
    if not (colon and first.isdigit() and stop.isdigit()):
        raise ValueError(f"--replicates takes first:stop, such as 1000:2000 for replicates 1000 to 1999; got {text!r}")
    return range(int(first), int(stop))


def _compare(options: argparse.Namespace) -> Comparison:
    return compare(
        load(options.generator),
        statistic_named(options.statistic),
        designs=[design_named(text, None) for text in options.designs.split(",")],
        **_run_options(options),
    )


def _run_options(options: argparse.Namespace) -> dict[str, Any]:
    names = ("n_evaluations", "seed", "confidence_level", "interval", "simultaneous", "batch_size", "progress")
    conditions = [int(text) if text.lstrip("-").isdigit() else text for text in options.condition or []]
    return {
        **{name: getattr(options, name) for name in names},
        "condition": conditions if len(conditions) > 1 else conditions[0] if conditions else None,
        "common_random_numbers": options.common_random_numbers,
    }


def load(target: str) -> Any:
    """Return the object that ``package.module:name`` names.

    Raises
    ------
    ValueError, ImportError
        If the text has another form, or there is no such module or name.
    """
    module_name, colon, name = target.partition(":")
    if not (module_name and colon and name):
        raise ValueError(f"name an object as package.module:name, such as mymodel:generator; got {target!r}")
    if module_name.endswith(".py"):
        raise ValueError(f"name the module, not its file: {module_name[:-3].replace('/', '.')}:{name}; got {target!r}")
    try:
        found = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not module_name.startswith(error.name or "\0"):
            error.add_note(f"raised while importing {module_name!r}")
        raise
    except Exception as error:
        error.add_note(f"raised while importing {module_name!r}")
        raise
    for part in name.split("."):
        if not hasattr(found, part):
            raise ValueError(f"{module_name} has no {name!r}; it has {', '.join(_public(found)) or 'nothing public'}")
        found = getattr(found, part)
    return found


def _public(module: Any) -> list[str]:
    return [name for name in vars(module) if not name.startswith("_")][:12]


def design_named(text: str, n_points: int | None) -> Design:
    """Return the design that a text names: ``antithetic``, ``sobol:64``, or ``sobol`` with ``n_points=64``."""
    name, _, number = text.strip().partition(":")
    if number.isdigit() and n_points not in (None, int(number)):
        raise ValueError(f"the design {text!r} and --n-points {n_points} disagree; leave out one of them")
    points = int(number) if number.isdigit() else n_points
    if name in _FIXED_DESIGNS and (points is None or points == _FIXED_DESIGNS[name].n_points):
        return _FIXED_DESIGNS[name]
    if name in _DESIGNS and points is not None:
        return _DESIGNS[name](points)
    if name == "subspace":
        raise ValueError(
            "make a Subspace in Python from a basis: mcgen.Subspace(mcgen.bases.dct_basis(generator.noise, 32)); on "
            "the command line mcgen estimate --design auto finds directions itself"
        )
    raise ValueError(
        f"a design is one of {', '.join(_FIXED_DESIGNS)}, k-antithetic:K, sobol:N (N a power of two), "
        f"latin-hypercube:N or orthogonal:N (N even), and auto for mcgen estimate; got {text!r}"
        + (f" with --n-points {n_points}" if n_points is not None else "")
    )


def statistic_named(text: str) -> statistics.Statistic:
    """Return the statistic that a text names, a stack of several for names separated by commas."""
    chosen = [_one_statistic(part.strip()) for part in text.split(",")]
    return chosen[0] if len(chosen) == 1 else statistics.stack(*chosen)


def _one_statistic(text: str) -> statistics.Statistic:
    if ":" in text:
        found: statistics.Statistic = load(text)
        return found
    if text not in STATISTICS:
        raise ValueError(f"a statistic is one of {', '.join(STATISTICS)} or package.module:name; got {text!r}")
    chosen: statistics.Statistic = getattr(statistics, text)
    return chosen


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
        help="student-t, normal, skewness-safe-t, skewness-adjusted-t, bootstrap-t, anytime or asymptotic-anytime",
    )
    command.add_argument("--simultaneous", action="store_true", help="intervals that cover all components together")
    command.add_argument("--batch-size", type=int, help="samples in a batch (default: about 64)")
    command.add_argument("--output", metavar="FILE", help="save the result as JSON")
