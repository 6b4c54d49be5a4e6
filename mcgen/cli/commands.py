"""The commands: each takes its parsed options, and returns a result or prints."""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, suppress
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

from mcgen._lib.names import name_of
from mcgen.cli.objects import (
    design_named,
    generator_named,
    load,
    load_own,
    model_log,
    model_names,
    statistic_named,
)
from mcgen.cli.outputs import require_folder
from mcgen.cli.scores import Against, NamedModel, models_named, scores_named
from mcgen.cli.values import names_in
from mcgen.comparison import compare
from mcgen.differences import difference
from mcgen.estimation import estimate
from mcgen.evaluation import evaluate
from mcgen.generators.factories import from_factory
from mcgen.generators.finished import FinishedSamples
from mcgen.replicates.stores.merging import merge_stores
from mcgen.results.comparison import Comparison
from mcgen.results.estimate import Estimate
from mcgen.results.scorecard import Scorecard
from mcgen.runs.export import EXPORTS, export
from mcgen.runs.stored import status
from mcgen.variance_reduction.planning.auto import Auto
from mcgen.variance_reduction.planning.plan import Plan
from mcgen.variance_reduction.planning.planner import plan

# Named as a user names a generator, so that the core imports no adapter and no validation.
_DEMO = "mcgen.validation.pages.demo:run_demo"
_VALIDATE = "mcgen.validation.studies.promises:validate"

DESIGNS = "monte-carlo,antithetic,k-antithetic:8,sobol:64"
"""The designs that `mcgen compare` compares where none are named."""
_SHARED = ("n_evaluations", "seed", "confidence_level", "interval", "simultaneous", "batch_size", "progress")
_LONG = ("n_replicates", "atol", "rtol", "max_evaluations", "min_replicates", "keep_replicates", "store")
# Antithetic pairs of samples of each model in a report.
_PICTURES = 8


def demo_command(options: argparse.Namespace) -> None:
    """Write the report of the demo."""
    run = load_own(_DEMO, "the demo needs", "torch,plot")
    require_folder(options.folder, "--folder")
    run(folder=Path(options.folder), n_evaluations=options.n_evaluations, seed=options.seed, progress=options.progress)


def validate_command(options: argparse.Namespace) -> bool:
    """Return whether all promises hold."""
    validate = load_own(_VALIDATE, "the studies need", "validation")
    holds: bool = validate(full=options.full, only=options.only, seed=options.seed, page=options.page)
    return holds


def status_command(options: argparse.Namespace) -> None:
    """Print how far a stored run is."""
    print(status(options.store, options.verbose))


def export_command(options: argparse.Namespace) -> None:
    """Write the file that was asked for."""
    for kind in EXPORTS:
        path = getattr(options, kind)
        if path is not None:
            export(options.store, kind, path)
            print(f"saved to {path}")


def merge_command(options: argparse.Namespace) -> None:
    """Make one store of several, and print how far its run is."""
    if not Path(options.output).absolute().parent.is_dir():
        raise ValueError(f"the folder of --output {options.output} does not exist; make it first")
    merge_stores(options.parts, options.output)
    print(status(options.output))


def models_command(options: argparse.Namespace) -> None:
    """Print the shipped models, a line each, and how to use them."""
    logs = {name: model_log(name) for name in model_names()}
    width = max(map(len, logs))
    for name, log in logs.items():
        print(f"{name:<{width}}  {log['bytes'] / 1e6:.1f} MB, trained on {log['data']}")
    print(
        "\nUse a name in place of a generator; --condition 3 asks for the class 3 where a model has classes.\n"
        "Options follow the name: mnist-ddpm:steps=10,guidance_scale=2. The diffusion models and mnist-dit take\n"
        "steps, eta, guidance_scale and sampler (ddim or heun); mnist-consistency, digits-truncated and moons-flow\n"
        "take steps; mnist-glow takes temperature, and needs the extra [glow]. The conditions of mnist-storm, a\n"
        "measurement, and of reaching-policy, a position, can be given in Python alone."
    )


def estimate_command(options: argparse.Namespace) -> Estimate:
    """Return the estimate for one generator."""
    return _long_run(estimate, [options.generator], options)


def difference_command(options: argparse.Namespace) -> Estimate:
    """Return the estimate of the difference of two generators."""
    given = {
        "--independent-noise": options.independent_noise,
        "--share-blocks": options.share_blocks,
        "--common-random-numbers": options.common_random_numbers,
    }
    flags = [flag for flag, value in given.items() if value is not None]
    if len(flags) > 1:
        raise ValueError(f"{' and '.join(flags)} each say which noise the generators share; give one of them")
    common = options.common_random_numbers
    if options.share_blocks is not None:
        pairs = [name.partition("=") for name in names_in(options.share_blocks)]
        common = {in_a: in_b or in_a for in_a, _, in_b in pairs}
    shared = False if options.independent_noise else common
    return _long_run(partial(difference, common_random_numbers=shared), [options.generator, options.other], options)


def _long_run(verb: Callable[..., Estimate], targets: Sequence[str], options: argparse.Namespace) -> Estimate:
    """Return what `estimate` or `difference` makes of the generators."""
    _check_amount(options)
    _check_resources(options)
    chosen = _given(options, _LONG) | {"replicates": _replicates_named(options.replicates)}
    if options.components is not None:
        chosen["components"] = names_in(options.components)
    is_auto = _is_auto(options.design)
    if is_auto and options.n_points is not None:
        raise ValueError("--design auto chooses its points itself; leave out --n-points")
    design = "auto" if is_auto else design_named(options.design, options.n_points)
    generators = [generator_named(target) for target in targets]
    statistic = statistic_named(options.statistic)
    with ExitStack() as stack:
        if options.workers is not None:
            # Each worker imports the generators itself, so that no model is pickled.
            generators = [
                from_factory(generator_named, target, name=name_of(one))
                for target, one in zip(targets, generators, strict=True)
            ]
            pool = ProcessPoolExecutor(options.workers, get_context("spawn"), _prepare, (targets, options.statistic))
            chosen["executor"] = stack.enter_context(pool)
            chosen |= _given(options, ["range_timeout"])
        return verb(*generators, statistic, design=design, **chosen, **_run_options(options))


def evaluate_command(options: argparse.Namespace) -> Scorecard:
    """Return the scorecard of several models."""
    models = models_named(options.models)
    _check_models(models, options)
    against = Against(options.reference, options.features, options.n_images, options.sampled_reference)
    scores = scores_named(options.scores, against, models)
    chosen = _given(options, _LONG)
    if options.components is not None:
        chosen["components"] = names_in(options.components)
    if any(path.lower().endswith(".html") for path in options.output or ()):
        chosen |= {"curves": True, "pictures": _PICTURES}
    design = design_named(options.design, options.n_points)
    made = {one.name: one.model for one in models}
    with ExitStack() as stack:
        if options.workers is not None:
            generators = [one for one in models if not isinstance(one.model, FinishedSamples)]
            # Each worker imports the generators itself, so that no model is pickled.
            made |= {one.name: from_factory(generator_named, one.text, name=name_of(one.model)) for one in generators}
            files = [one.text for one in generators] + names_in(options.scores) + [options.features or ""]
            pool = ProcessPoolExecutor(options.workers, get_context("spawn"), _import_files, (files,))
            chosen["executor"] = stack.enter_context(pool)
            chosen |= _given(options, ["range_timeout"])
        return evaluate(made, scores, design=design, **chosen, **_run_options(options))


def _check_models(models: Sequence[NamedModel], options: argparse.Namespace) -> None:
    """Refuse a run whose length is not given, is given twice, or is given for samples that are there already."""
    if _is_auto(options.design):
        raise ValueError(
            "--design auto plans for one score of one model; name a design, such as antithetic or sobol:64, or leave "
            "--design out"
        )
    _check_resources(options)
    given = [flag for flag, value in _amounts(options).items() if value is not None]
    if any(not isinstance(one.model, FinishedSamples) for one in models):
        _check_amount(options)
    elif given:
        raise ValueError(
            f"{' and '.join(given)} says how many samples to make, and all models here are finished samples, which are "
            "all used; leave it out"
        )


def _import_files(texts: Sequence[str]) -> None:
    """Import the files that a command names in a worker, in the order of the main process."""
    for text in texts:
        if ".py:" in text:
            with suppress(Exception):
                # The worker's first range raises the same error, and reports it.
                load(text)


def _is_auto(text: str) -> bool:
    """Return whether a design's text leaves the choice to a pilot."""
    return text.strip().lower() == "auto"


def _prepare(targets: Sequence[str], statistic: Sequence[str]) -> None:
    """Import the files that a command names in a worker, in the order of the main process.

    A file outside Python's path is found by its path alone, and unpickling a function looks for its module by name.
    """
    with suppress(Exception):
        # The worker's first range raises the same error, and reports it.
        for target in targets:
            if ".py:" in target:
                generator_named(target)
        statistic_named(statistic)


def _check_amount(options: argparse.Namespace) -> None:
    """Refuse a run whose length is not given, or is given twice."""
    given = [flag for flag, value in _amounts(options).items() if value is not None]
    if not given:
        raise ValueError(
            "say how much to run: --n-evaluations 3200, or --atol or --rtol to run until the interval is narrow enough"
        )
    if len(given) > 1:
        raise ValueError(f"{' and '.join(given)} each say how much to run; give one of them")


def _amounts(options: argparse.Namespace) -> dict[str, Any]:
    """Return the values of the flags that say how much to run."""
    return {
        "--n-evaluations": options.n_evaluations,
        "--n-replicates": options.n_replicates,
        "--replicates": getattr(options, "replicates", None),
        "--atol or --rtol": options.atol if options.atol is not None else options.rtol,
    }


def _check_resources(options: argparse.Namespace) -> None:
    """Refuse options of long runs that do nothing, or do not go together."""
    if getattr(options, "replicates", None) is not None and options.store is None:
        raise ValueError("--replicates runs a part of a run, to be merged later: it needs a --store of its own")
    if options.workers is not None and options.workers < 1:
        raise ValueError(f"--workers must be at least 1; got {options.workers}")
    if options.range_timeout is not None and not options.range_timeout > 0:
        raise ValueError(f"--range-timeout must be a number of seconds above 0; got {options.range_timeout:g}")
    if options.range_timeout is not None and options.workers is None:
        raise ValueError("--range-timeout is for workers that hang; give --workers too, or leave it out")


def _replicates_named(text: str | None) -> range | None:
    """Return the range of ``first:stop``."""
    if text is None:
        return None
    first, colon, stop = text.partition(":")
    if not (colon and first.isdecimal() and stop.isdecimal()):
        raise ValueError(f"--replicates takes first:stop, such as 1000:2000 for replicates 1000 to 1999; got {text!r}")
    return range(int(first), int(stop))


def compare_command(options: argparse.Namespace) -> Comparison:
    """Return the comparison of several designs."""
    names = names_in(options.designs or [DESIGNS])
    designs = [Auto() if _is_auto(text) else design_named(text, None, "--designs") for text in names]
    generator = generator_named(options.generator)
    return compare(generator, statistic_named(options.statistic), designs=designs, **_run_options(options))


def plan_command(options: argparse.Namespace) -> Plan:
    """Return the plan that a pilot makes."""
    if (options.n_evaluations is None) == (options.atol is None):
        raise ValueError(
            "give --n-evaluations, for the narrowest intervals that they buy, or --atol, for the evaluations that half-"
            f"widths of that size cost; got {'neither' if options.atol is None else 'both'}"
        )
    chosen = _given(options, ["atol", "keep_replicates"])
    generator = generator_named(options.generator)
    return plan(generator, statistic_named(options.statistic), **chosen, **_run_options(options))


def _run_options(options: argparse.Namespace) -> dict[str, Any]:
    """Return the arguments that all verbs take, without those that were left out."""
    conditions = options.condition or []
    # A difference has its own use of this flag.
    common = None if hasattr(options, "other") else getattr(options, "common_random_numbers", None)
    if common and len(conditions) < 2:
        raise ValueError(
            "--common-random-numbers gives several conditions the same noise; repeat --condition, or leave it out"
        )
    across = getattr(options, "across", None)
    if across and len(conditions) < 2:
        raise ValueError("--across says how several conditions are joined; repeat --condition, or leave it out")
    chosen = _given(options, _SHARED) | ({"across": across} if across else {})
    if getattr(options, "clusters", None) is not None:
        chosen["clusters"] = names_in(options.clusters)
    if conditions:
        chosen["condition"] = conditions if len(conditions) > 1 else conditions[0]
    return chosen | ({"common_random_numbers": True} if common else {})


def _given(options: argparse.Namespace, names: Iterable[str]) -> dict[str, Any]:
    """Return the options that were given; the defaults are the package's own."""
    return {name: getattr(options, name) for name in names if getattr(options, name, None) is not None}
