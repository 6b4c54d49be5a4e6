"""`main`: from the arguments of a command to its exit status."""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Sequence

from mcgen.cli.commands import _estimate, _require_folder
from mcgen.cli.parser import _parser
from mcgen.errors import RunError, StoreError, WorkerError
from mcgen.results.comparison import Comparison
from mcgen.results.estimate import Estimate


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


def _save(result: Estimate | Comparison, output: str | None) -> None:
    if output is not None:
        result.save(output)
        print(f"saved to {output}")
