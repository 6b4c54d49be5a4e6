"""The commands: each takes its parsed options, and returns a result or prints."""

from __future__ import annotations

import argparse
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from mcgen._lib.names import name_of
from mcgen.cli.objects import design_named, load, statistic_named
from mcgen.comparison import compare
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


def _require_folder(output: str | None, option: str = "--output") -> None:
    if output is not None and not Path(output).absolute().parent.is_dir():
        raise ValueError(f"the folder of {option} {output} does not exist; make it first")


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
