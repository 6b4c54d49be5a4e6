"""`main`: from the arguments of a command to its exit status."""

from __future__ import annotations

import argparse
import logging
import os
import re
import sys
import traceback
import warnings
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType
from typing import Any, TextIO

from mcgen.citations import citation
from mcgen.cli.outputs import require_ending, require_json_name, require_writable, write_scorecard
from mcgen.cli.parser import parser
from mcgen.cli.wording import in_flags
from mcgen.errors import CoverageWarning, GeneratorWarning, RunError, StoreError, WorkerError
from mcgen.results.comparison import Comparison
from mcgen.results.estimate import Estimate
from mcgen.results.result import Result
from mcgen.results.scorecard import Scorecard
from mcgen.variance_reduction.planning.plan import Plan

_EXPECTED = (ValueError, TypeError, OSError, ImportError)
"""Errors that arguments cause, where no code of the user has raised them."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run a command and return its exit status.

    The status is 0 for success, 1 for a run that failed, an output that was lost or a promise that does not hold, 2 for
    arguments that can't be used, and 130 for an interruption from the keyboard.
    """
    options = parser().parse_args(arguments)
    # A generator is imported from the current folder, as `python -m` does.
    sys.path.insert(0, os.getcwd())
    with _warnings_in_a_line(), _records_on_stderr(getattr(options, "verbose", 0)):
        try:
            _try_outputs(options)
            result = options.command(options)
        except KeyboardInterrupt as interrupt:
            kept = _kept(options) or "before two replicates were finished"
            _say(f"interrupted{':' if _kept(options) else ''} {str(interrupt) or kept}")
            _show_finished(interrupt, options)
            return 130
        except Exception as error:
            if isinstance(error, BrokenPipeError) and not (options.keeps or hasattr(options, "generator")):
                # The reader of a list, such as head, has enough.
                _give_up_stdout()
                return 0
            return _failed(error, options)
        if result is None or isinstance(result, bool):
            return int(result is False)
        return _finished(result, options)


def _finished(result: Estimate | Comparison | Scorecard | Plan, options: argparse.Namespace) -> int:
    """Print a result, save it, and return the exit status."""
    shown = result.summary() if isinstance(result, Estimate | Scorecard) else str(result)
    printed = _print(in_flags(shown) if isinstance(result, Plan) else shown)
    saved = _save(result, options) and printed
    if not any(part.partial for part in _estimates_of(result)):
        return 0 if saved else 1
    if _kept(options):
        print(_kept(options), file=sys.stderr)
    return 130


def _estimates_of(result: Estimate | Comparison | Scorecard | Plan) -> list[Estimate]:
    """Return the estimates of a result; a plan has none."""
    if isinstance(result, Scorecard):
        return [one for by_model in result.estimates.values() for one in by_model.values()]
    parts = result.estimates if isinstance(result, Comparison) else (result,)
    return [part for part in parts if isinstance(part, Estimate)]


def _print(text: str) -> bool:
    """Print a text, and return whether it is not lost; a reader that has gone, such as head, wanted no more."""
    try:
        print(text, flush=True)
    except OSError as error:
        _give_up_stdout()
        if isinstance(error, BrokenPipeError):
            return True
        _say(f"the result could not be printed ({error.strerror})")
        return False
    return True


def _give_up_stdout() -> None:
    """Let all that is still to be printed go nowhere: the interpreter would try again at its end."""
    with suppress(OSError), open(os.devnull, "w") as nowhere:
        os.dup2(nowhere.fileno(), sys.stdout.fileno())


def _failed(error: Exception, options: argparse.Namespace) -> int:
    """Print the error, save the finished part, and return the exit status."""
    ours = isinstance(error, RunError | StoreError | WorkerError)
    if ours or _is_of_arguments(error):
        _say(in_flags(str(error)))
    else:
        _show_place(error, options)
    _show_finished(error, options)
    status = _status_of(error)
    if status == 1 and _kept(options):
        print(_kept(options), file=sys.stderr)
    return status


def _show_finished(error: BaseException, options: argparse.Namespace) -> None:
    """Print and save what was finished before an error or an interruption, if there is something."""
    partial = getattr(error, "partial", None)
    if partial is not None:
        what = "interruption" if isinstance(error, KeyboardInterrupt) else "error"
        print(f"finished before the {what}: {partial}", file=sys.stderr)
        _save(partial, options)


def _status_of(error: Exception) -> int:
    """Return 1 for an error of the run, and 2 for arguments that can't be used."""
    notes = getattr(error, "__notes__", [])
    if any(note.startswith("raised while importing") for note in notes):
        return 2
    if (notes and not _is_of_arguments(error)) or isinstance(error, RunError | WorkerError):
        return 1
    # Some arguments, such as names of components, can be checked only after the first replicates.
    if isinstance(error, ValueError | TypeError):
        return 2
    return 2 if isinstance(error, (StoreError, *_EXPECTED)) and getattr(error, "partial", None) is None else 1


def _is_of_arguments(error: Exception) -> bool:
    """Return whether mcgen itself has refused something, also where a shipped model or statistic has.

    An error that has notes was raised under a generator or a statistic. It is no error of the user's code where this
    code is not on the way to it, and an adapter or a statistic of mcgen raised it.
    """
    if not isinstance(error, _EXPECTED):
        return False
    if not getattr(error, "__notes__", None):
        return True
    frames = [frame for frame, _ in traceback.walk_tb(error.__traceback__)]
    shipped = _module_of(frames[-1]).startswith(("mcgen.adapters.", "mcgen.statistics."))
    # A function that does not take what it is called with is refused by Python, in the frame of the call.
    called = isinstance(error, TypeError) and "positional argument" in str(error)
    others = [frame for frame in frames if not _is_of_mcgen(frame) and "site-packages" not in frame.f_code.co_filename]
    return shipped and not called and not others and error.__cause__ is None


def _module_of(frame: FrameType) -> str:
    return str(frame.f_globals.get("__name__"))


def _is_of_mcgen(frame: FrameType) -> bool:
    return _module_of(frame).partition(".")[0] in ("mcgen", "importlib")


def _show_place(error: Exception, options: argparse.Namespace) -> None:
    """Print an error of the user's own code with its place there; with all places where it is an error of mcgen."""
    notes = getattr(error, "__notes__", [])
    frames = [
        summary
        for (frame, _), summary in zip(
            traceback.walk_tb(error.__traceback__), traceback.extract_tb(error.__traceback__), strict=True
        )
        if not _is_of_mcgen(frame)
    ]
    if not frames and not notes:
        traceback.print_exception(error)
        return
    _say("an error in your own code")
    # A worker sends its own traceback as the text of the cause.
    places = traceback.format_list(frames) or _places_outside(str(error.__cause__))
    lines = [*places, *traceback.format_exception_only(error)]
    print("".join(lines), end="", file=sys.stderr)
    of_statistic = any("the statistic was called" in note for note in notes)
    if not frames and isinstance(error, TypeError) and "positional argument" in str(error) and not of_statistic:
        given = getattr(options, "condition", None) is not None
        _say("the generator may take no condition: leave out --condition" if given else "it may need a --condition")


def _places_outside(text: str) -> list[str]:
    """Return the places outside mcgen that a worker's traceback names."""
    package = f'  File "{Path(__file__).parents[1]}{os.sep}'
    return [place for place in re.findall(r'  File ".*\n(?:    .*\n)*', text) if not place.startswith(package)]


def _try_outputs(options: argparse.Namespace) -> None:
    """Refuse files that the command could not write at its end."""
    for name in options.outputs:
        for path in _paths(options, name):
            flag = f"--{name}"
            store = getattr(options, "store", None)
            if store is not None and os.path.realpath(path) == os.path.realpath(store):
                raise ValueError(f"{flag} and the store are the same file, {path}; give {flag} another name")
            if isinstance(getattr(options, name), list):
                require_ending(path, flag)
            elif name in ("output", "json"):
                require_json_name(path, flag)
            require_writable(path, flag)


def _paths(options: argparse.Namespace, name: str) -> list[str]:
    """Return the paths that an option names; of an option that may be repeated all of them."""
    given = getattr(options, name, None)
    return given if isinstance(given, list) else [] if given is None else [given]


def _save(result: Result, options: argparse.Namespace) -> bool:
    """Save a result where this is asked for, and return whether it is not lost."""
    saved = True
    for output in _paths(options, "output"):
        try:
            if isinstance(result, Scorecard):
                write_scorecard(result, output, citation(result))
            else:
                result.save(output)
        except Exception as error:
            _say(f"the result could not be saved to {output} ({error})")
            saved = False
        else:
            _print(f"saved to {output}")
    return saved


def _kept(options: argparse.Namespace) -> str:
    """Return the text that says where an interrupted run keeps its finished replicates; empty without a store."""
    store = getattr(options, "store", None) if options.keeps else None
    return f"finished replicates are kept in {store}; the same command continues the run" if store else ""


def _say(message: str) -> None:
    print(f"mcgen: {message}", file=sys.stderr)


class _InFlags(logging.Formatter):
    """Formats records as the other messages of the command line."""

    def format(self, record: logging.LogRecord) -> str:
        return f"mcgen: {in_flags(super().format(record))}"


@contextmanager
def _records_on_stderr(verbosity: int) -> Iterator[None]:
    """Print mcgen's log records above a progress bar: those of runs from 1 on, those of their parts from 2 on."""
    if not verbosity:
        yield
        return
    from tqdm.contrib.logging import logging_redirect_tqdm

    logger, handler = logging.getLogger("mcgen"), logging.StreamHandler()
    handler.setFormatter(_InFlags())
    level = logger.level
    logger.setLevel(logging.INFO if verbosity == 1 else logging.DEBUG)
    logger.addHandler(handler)
    try:
        with logging_redirect_tqdm([logger]):
            yield
    finally:
        logger.removeHandler(handler)
        logger.setLevel(level)


@contextmanager
def _warnings_in_a_line() -> Iterator[None]:
    """Show mcgen's own warnings as messages, with flags in place of arguments, and without a line of code."""
    with warnings.catch_warnings():
        show = warnings.showwarning

        def shown(
            message: Warning | str,
            category: type[Warning],
            filename: str,
            lineno: int,
            file: TextIO | None = None,
            line: str | None = None,
        ) -> Any:
            if issubclass(category, CoverageWarning | GeneratorWarning):
                _say(f"warning: {in_flags(str(message))}")
            else:
                show(message, category, filename, lineno, file, line)

        warnings.showwarning = shown
        yield
