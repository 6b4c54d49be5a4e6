"""The parser: all commands with their options, and examples in their help."""

from __future__ import annotations

import argparse
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, get_args

from mcgen._version import __version__
from mcgen.cli import commands
from mcgen.cli.objects import STATISTICS
from mcgen.cli.outputs import FORMATS
from mcgen.cli.scores import DISTANCES, REAL_IMAGES
from mcgen.cli.values import condition_value, decimal_number, path_text, whole_number
from mcgen.inference.methods import FixedMethod, Method
from mcgen.runs.arguments import DEFAULTS, Across
from mcgen.runs.export import EXPORTS

_GENERATOR = (
    "package.module:name, file.py:name, or a shipped model (mcgen models lists them), with options as in "
    "mnist-ddpm:steps=10"
)
_DESIGN = "monte-carlo, antithetic, antithetic:sobol:N, k-antithetic:K, sobol:N, latin-hypercube:N, orthogonal:N"
_MINE = "(mymodel.py is a file of yours with generator = mcgen.as_generator(...).)"
_LONG_EXAMPLE = (
    "mcgen estimate mymodel.py:generator --statistic pixel_mean --design antithetic --seed 0 --rtol 0.01 "
    "--max-evaluations 1e6 --store run.sqlite"
)
# Examples of evaluations of a model of the user's own.
_EVALUATIONS = (
    "--scores brightness,contrast --output card.json --output table.tex",
    "--scores frechet_distance --reference stats.npz",
    "other=images.npy --scores energy_distance --reference real.npy",
)


class _Parser(argparse.ArgumentParser):
    """A parser for which ``-1e-3`` is a number too, and whose examples keep their lines."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**{"formatter_class": argparse.RawDescriptionHelpFormatter} | kwargs)
        self._negative_number_matcher = re.compile(r"-(\d+\.?\d*|\.\d+)(e[-+]?\d+)?$", re.ASCII | re.IGNORECASE)

    def error(self, message: str) -> NoReturn:
        """End with what is wrong and an example; the usage that argparse prints fills a screen."""
        example = (self.epilog or "").splitlines()[1].strip()
        self.exit(2, f"{self.prog}: error: {message}\nFor example: {example}\nAll options: {self.prog} --help\n")


def parser() -> argparse.ArgumentParser:
    """Return the parser of all commands."""
    made = _Parser(
        prog="mcgen",
        description="Estimates of generative models, with intervals.",
        epilog=_examples(
            "mcgen models",
            "mcgen estimate moons-flow --statistic pixel_mean --design antithetic --n-evaluations 3200 --seed 0",
            "mcgen estimate --help",
            note="The exit status is 0 for success, 1 for a failed run, 2 for wrong usage, 130 for an interruption.",
        ),
    )
    made.add_argument("--version", action="version", version=f"mcgen {__version__}")
    found = made.add_subparsers(required=True, metavar="COMMAND")
    _add_estimate(found)
    _add_difference(found)
    _add_compare(found)
    _add_evaluate(found)
    _add_plan(found)
    _add(found, "models", commands.models_command, "list the shipped models", ["mcgen models"])
    _add_demo(found)
    _add_validate(found)
    _add_store_commands(found)
    return made


def _examples(*lines: str, note: str = "") -> str:
    return "\n".join(["examples:", *(f"  {line}" for line in lines), *([note] if note else [])])


def _add(
    found: Any, name: str, command: Callable[..., Any], what: str, examples: list[str], note: str = "", **defaults: Any
) -> argparse.ArgumentParser:
    """Return a new command. Its defaults say which options name outputs, and whether it keeps what it has run."""
    made: argparse.ArgumentParser = found.add_parser(
        name, help=what, description=what[0].upper() + what[1:] + ".", epilog=_examples(*examples, note=note)
    )
    made.set_defaults(**{"command": command, "outputs": (), "keeps": False} | defaults)
    return made


def _add_estimate(found: Any) -> None:
    one = _add(
        found,
        "estimate",
        commands.estimate_command,
        "estimate a statistic of a generator",
        [
            "mcgen estimate moons-flow --statistic pixel_mean --design antithetic --n-evaluations 3200 --seed 0",
            "mcgen estimate mymodel.py:generator --statistic brightness,contrast --design sobol:16 --n-evaluations 1e4 "
            "--seed 0 --output run.json",
            _LONG_EXAMPLE,
        ],
        _MINE,
        outputs=("output",),
        keeps=True,
    )
    one.add_argument("generator", metavar="GENERATOR", help=_GENERATOR)
    _add_long_run(one)


def _add_difference(found: Any) -> None:
    two = _add(
        found,
        "difference",
        commands.difference_command,
        "estimate the difference of two generators, the first minus the second",
        [
            "mcgen difference moons-flow:steps=5 moons-flow:steps=20 --statistic pixel_mean --design monte-carlo "
            "--n-evaluations 3200 --seed 0",
            "mcgen difference mymodel.py:generator mymodel.py:broken --statistic brightness --design antithetic "
            "--n-evaluations 3200 --seed 0",
        ],
        "(mymodel.py is a file of yours with two generators. They run on the same noise where they take the same.)",
        outputs=("output",),
        keeps=True,
    )
    two.add_argument("generator", metavar="GENERATOR", help=_GENERATOR)
    two.add_argument("other", metavar="OTHER", help="the generator that is subtracted, likewise")
    noise = two.add_argument_group("noise of the two generators (default: the same noise where they take the same)")
    noise.add_argument("--independent-noise", action="store_true", default=None, help="independent noise")
    noise.add_argument(
        "--share-blocks",
        action="append",
        metavar="NAMES",
        help="only these blocks of noise, separated by commas; start=noise where the second generator has another name",
    )
    _add_long_run(two)


def _add_compare(found: Any) -> None:
    several = _add(
        found,
        "compare",
        commands.compare_command,
        "compare designs on a generator",
        [
            "mcgen compare moons-flow --statistic pixel_mean --n-evaluations 3200 --seed 0",
            "mcgen compare mymodel.py:generator --statistic centroid --designs monte-carlo,antithetic,sobol:32 "
            "--n-evaluations 3200 --seed 0 --output table.json",
        ],
        _MINE,
        outputs=("output",),
    )
    several.add_argument("generator", metavar="GENERATOR", help=_GENERATOR)
    several.add_argument(
        "--designs",
        action="append",
        help=f"separated by commas: auto (by a pilot), {_DESIGN} (default: {commands.DESIGNS})",
    )
    several.add_argument(
        "--n-evaluations", type=whole_number, required=True, metavar="N", help="how many samples of each design"
    )
    _add_shared(several, conditions=True)


def _add_evaluate(found: Any) -> None:
    card = _add(
        found,
        "evaluate",
        commands.evaluate_command,
        "measure models and finished samples by scores; prints a scorecard, writes a report",
        [
            "mcgen evaluate digits-diffusion few=digits-diffusion:steps=10 --scores "
            f"frechet_distance,kernel_distance,brightness --reference {REAL_IMAGES} --features digits-classifier "
            "--n-evaluations 3200 --seed 0 --output report.html",
            *(
                f"mcgen evaluate mymodel.py:generator {options} --n-evaluations 3200 --seed 0"
                for options in _EVALUATIONS
            ),
        ],
        f"{_MINE}\n(images.npy and real.npy hold samples, one a row; stats.npz holds mu and sigma of features, as "
        "pytorch-fid\nand clean-fid write it.)",
        outputs=("output",),
        keeps=True,
    )
    _add_models(card)
    _add_reference(card)
    card.add_argument("--design", default="antithetic", help=f"{_DESIGN} (default: antithetic)")
    _add_points(card)
    _add_amount(card, "the scores that these apply to, by name", parts=False)
    _add_resources(card, "FOLDER", "keep finished replicates in this folder, in a file for each model; the same")
    _add_conditions(card, several=True, common=False)
    _add_intervals(card)
    _add_batch_size(card)
    formats = ", ".join(f"{ending} ({what})" for ending, what in FORMATS.items())
    card.add_argument(
        "--output", type=path_text, metavar="FILE", action="append", help=f"write {formats}; repeat it for several"
    )
    _add_seed_and_progress(card, required=True)


def _add_models(command: argparse.ArgumentParser) -> None:
    """Add the models and the scores of an evaluation."""
    command.add_argument(
        "models",
        metavar="MODEL",
        nargs="+",
        help=f"{_GENERATOR}; or samples that exist already: a folder of images, an .npy or an .npz file (a folder with "
        "the name of a shipped model as ./mnist-ddpm). NAME=MODEL gives a name",
    )
    command.add_argument(
        "--scores",
        metavar="NAMES",
        required=True,
        action="append",
        help=f"separated by commas: {', '.join((*STATISTICS, *DISTANCES))}, or a statistic or a functional as "
        "package.module:name or file.py:name",
    )


def _add_reference(command: argparse.ArgumentParser) -> None:
    """Add the options of distances."""
    distances = command.add_argument_group("what distances compare the models with")
    distances.add_argument(
        "--reference",
        metavar="WHAT",
        help="a folder of real images, an .npy or .npz file of images or features, or an .npz file with mu and sigma "
        f"(pytorch-fid, clean-fid); {REAL_IMAGES} for the held-out real images of the first shipped model, or the "
        "name of a shipped model for its own",
    )
    distances.add_argument(
        "--features",
        metavar="NAME",
        help="mnist-classifier, digits-classifier, efficientnet-lite0, or package.module:name or file.py:name of a "
        "function from samples to features (default: the numbers of a sample are its features)",
    )
    distances.add_argument(
        "--n-images", type=whole_number, metavar="N", help="how many images are behind mu and sigma; only shown"
    )
    distances.add_argument(
        "--sampled-reference",
        action="store_true",
        default=None,
        help="the reference is a sample: measure the distance to the law it comes from, with its error in the interval "
        "(default: the distance to exactly these images)",
    )


def _add_plan(found: Any) -> None:
    choice = _add(
        found,
        "plan",
        commands.plan_command,
        "choose a design by a pilot, and predict the half-widths",
        [
            "mcgen plan mymodel.py:generator --statistic brightness --n-evaluations 3200 --seed 0",
            "mcgen plan mymodel.py:generator --statistic brightness,contrast --atol 0.001 --seed 0 --output plan.json",
        ],
        f"{_MINE}\nmcgen estimate --design auto plans in the same way, and then runs what it chose.",
        outputs=("output",),
    )
    choice.add_argument("generator", metavar="GENERATOR", help=_GENERATOR)
    choice.add_argument(
        "--n-evaluations", type=whole_number, metavar="N", help="how many samples, those of the pilot too"
    )
    choice.add_argument("--atol", type=decimal_number, help="or the half-width that every component is to have")
    _add_shared(choice, conditions=False)


def _add_demo(found: Any) -> None:
    demo = _add(
        found,
        "demo",
        commands.demo_command,
        "measure three samplers of a diffusion model against real digits; writes a report",
        ["mcgen demo", "mcgen demo --folder report --n-evaluations 640 --no-progress"],
    )
    demo.add_argument("--folder", type=path_text, default="demo", help="folder for the report (default: demo)")
    demo.add_argument(
        "--n-evaluations", type=whole_number, default=3200, metavar="N", help="samples of each sampler (default: 3200)"
    )
    _add_seed_and_progress(demo, required=False)


def _add_validate(found: Any) -> None:
    promises = _add(
        found,
        "validate",
        commands.validate_command,
        "check all promises of mcgen by simulation",
        ["mcgen validate --only 'same bits'", "mcgen validate --full"],
    )
    promises.add_argument(
        "--full", action="store_true", help="all replicates, up to an hour, instead of several minutes"
    )
    promises.add_argument("--only", default="", help="only studies whose title contains this")
    promises.add_argument("--seed", type=whole_number, default=0, help="of all studies, at least 0 (default: 0)")
    promises.add_argument(
        "--page", type=lambda text: Path(path_text(text)), help="a Markdown page with marks to write the table into"
    )


def _add_store_commands(found: Any) -> None:
    how_far = _add(
        found,
        "status",
        commands.status_command,
        "show a stored run: replicates, interval, seconds left",
        ["mcgen status run.sqlite", "mcgen status run.sqlite --verbose"],
        "(run.sqlite is a file that --store of mcgen estimate made.)",
    )
    how_far.add_argument("--verbose", action="store_true", help="also show the run that the store belongs to")
    table = _add(
        found,
        "export",
        commands.export_command,
        "write the replicates of a store as a table, or its estimate as JSON",
        ["mcgen export run.sqlite --csv means.csv", "mcgen export run.sqlite --json run.json"],
        "(run.sqlite is a file that --store of mcgen estimate made.)",
        outputs=tuple(EXPORTS),
    )
    for command in (how_far, table):
        command.add_argument("store", type=path_text, help="the file that --store named")
    formats = table.add_mutually_exclusive_group(required=True)
    for kind, what in EXPORTS.items():
        formats.add_argument(f"--{kind}", type=path_text, metavar="FILE", help=what)
    together = _add(
        found,
        "merge",
        commands.merge_command,
        "make one store from the stores of the parts of a run",
        ["mcgen merge part0.sqlite part1.sqlite --output all.sqlite"],
        "(The parts are from mcgen estimate with --replicates 0:1000, then 1000:2000, each with a --store of its own.)",
    )
    together.add_argument("parts", nargs="+", type=path_text, help="the stores of runs with --replicates")
    together.add_argument("-o", "--output", required=True, type=path_text, metavar="FILE", help="the store to make")


def _add_long_run(command: argparse.ArgumentParser) -> None:
    """Add the options of `estimate` and `difference`."""
    command.add_argument("--design", required=True, help=f"auto (by a pilot), {_DESIGN}")
    _add_points(command)
    _add_amount(command, "the components that these apply to")
    _add_resources(command, "FILE", "keep finished replicates in this file; the same")
    command.add_argument(
        "--keep-replicates",
        action="store_true",
        default=None,
        help="keep every replicate mean, also where they are many",
    )
    _add_shared(command, conditions=True)


def _add_points(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "--n-points", type=whole_number, metavar="N", help="points of the design, if its name does not give them"
    )


def _add_amount(command: argparse.ArgumentParser, components: str, parts: bool = True) -> None:
    """Add the options that say how much to run; with `parts` that for a part of a run too."""
    amount = command.add_argument_group("how much to run; give one, or a tolerance")
    amount.add_argument("--n-evaluations", type=whole_number, metavar="N", help="how many samples, such as 3200 or 1e4")
    amount.add_argument("--n-replicates", type=whole_number, metavar="N", help="or how many replicates of the design")
    if parts:
        amount.add_argument(
            "--replicates", metavar="FIRST:STOP", help="or only this part of a longer run, such as 0:1000, to be merged"
        )
    until = command.add_argument_group("tolerance: run until the intervals are narrow enough")
    until.add_argument("--atol", type=decimal_number, help="until every half-width is at most this, such as 1e-3")
    until.add_argument("--rtol", type=decimal_number, help="or at most this share of the estimate, such as 0.01")
    until.add_argument(
        "--components", action="append", metavar="NAMES", help=f"{components}, separated by commas (default: all)"
    )
    until.add_argument("--max-evaluations", type=whole_number, metavar="N", help="stop after this many samples")
    until.add_argument("--min-replicates", type=whole_number, metavar="N", help="run at least this many replicates")


def _add_resources(command: argparse.ArgumentParser, place: str, keep: str) -> None:
    """Add the options of long runs; `place` is what a store is, and `keep` what is kept there."""
    keeping = command.add_argument_group("store and workers: long runs")
    keeping.add_argument(
        "--store", type=path_text, metavar=place, help=f"{keep} command continues a run that stopped, and extends one"
    )
    keeping.add_argument(
        "--workers", type=whole_number, metavar="N", help="number of processes; each imports the generator"
    )
    keeping.add_argument(
        "--range-timeout", type=decimal_number, metavar="SECONDS", help="after this a worker counts as hanging"
    )


def _add_shared(command: argparse.ArgumentParser, conditions: bool) -> None:
    """Add the options of all runs of one statistic; with `conditions` those of several conditions too."""
    command.add_argument(
        "--statistic",
        metavar="NAMES",
        required=True,
        action="append",
        help=f"{', '.join(STATISTICS)}, package.module:name or file.py:name; several separated by commas. Or a "
        "functional by its name, such as file.py:spread",
    )
    _add_conditions(command, several=conditions, common=True)
    _add_intervals(command)
    _add_batch_size(command)
    command.add_argument("--output", type=path_text, metavar="FILE", help="save the result as JSON")
    _add_seed_and_progress(command, required=True)


def _add_conditions(command: argparse.ArgumentParser, several: bool, common: bool) -> None:
    """Add the options of conditions; with `common` that of the same noise for several."""
    command.add_argument(
        "--condition",
        metavar="VALUE",
        action="append",
        type=condition_value,
        help="a class (a number) or a prompt, '\"7\"' for the text 7" + ("; repeat it for several" if several else ""),
    )
    if several and common:
        command.add_argument(
            "--common-random-numbers",
            action="store_true",
            default=None,
            help="the same noise for all conditions (and, of a difference, for both generators)",
        )
    if several:
        command.add_argument(
            "--across",
            choices=get_args(Across),
            help="of several conditions: the average over them (default), a functional of their mixture, or the mean "
            "of a population of which they are a sample",
        )
        command.add_argument(
            "--clusters",
            action="append",
            metavar="LABELS",
            help="of a population: a label for each --condition, separated by commas; equal ones were drawn together",
        )


def _add_batch_size(command: argparse.ArgumentParser) -> None:
    command.add_argument("--batch-size", type=whole_number, metavar="N", help="samples in a batch (default: about 64)")


def _add_intervals(command: argparse.ArgumentParser) -> None:
    """Add the options of intervals; their defaults are those of the package."""
    levels = command.add_argument_group("intervals")
    levels.add_argument(
        "--confidence-level",
        type=decimal_number,
        metavar="LEVEL",
        help=f"of the intervals (default: {DEFAULTS['confidence_level']})",
    )
    fixed = get_args(FixedMethod)
    # A run with a tolerance has the two-stage interval by itself.
    watched = [one for one in get_args(Method) if one not in (*fixed, "two-stage-t")]
    levels.add_argument(
        "--interval",
        help=f"{', '.join(fixed)}; for runs that are watched also {', '.join(watched)}",
    )
    levels.add_argument(
        "--simultaneous", action="store_true", default=None, help="intervals that cover all components together"
    )


def _add_seed_and_progress(command: argparse.ArgumentParser, required: bool) -> None:
    command.add_argument(
        "--seed", type=whole_number, required=required, default=0, help="the same seed gives the same numbers"
    )
    command.add_argument("--no-progress", dest="progress", action="store_false", help="show no progress bar")
    command.add_argument(
        "-v",
        "--verbose",
        action="count",
        default=0,
        help="say on stderr when runs begin, go on and end; -vv also what each part of a run does",
    )
