"""What a store belongs to, and the estimates that it holds: `estimates_in`, `status`, `export`."""

from __future__ import annotations

import importlib.metadata
import os
import platform
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mcgen._lib.checks import checked_real
from mcgen._lib.condition_keys import key_of_condition
from mcgen._lib.fingerprints import Content, content_of, unknown_text
from mcgen._lib.names import name_of
from mcgen._lib.serialization import require_no_store
from mcgen._version import __version__
from mcgen.errors import StoreError
from mcgen.inference.coverage import coverage_warnings
from mcgen.inference.moments import Moments
from mcgen.inference.sampled import Sampled
from mcgen.inference.stopping import Stopping
from mcgen.noise.random import Seed, as_seed_sequence
from mcgen.replicates.executors.coordinator import checked_executor
from mcgen.replicates.loop import Task
from mcgen.replicates.source import Resources
from mcgen.replicates.stores.database import CONTENT, in_use
from mcgen.replicates.stores.store import Store, StoredRun
from mcgen.replicates.tally import Leaf, Segment, Tally
from mcgen.results.estimate import Estimate, estimate_of
from mcgen.results.provenance import Provenance
from mcgen.runs.outcome import RunOptions, with_options

if TYPE_CHECKING:
    import pandas as pd

EXPORTS = {
    "json": "the estimate so far, which Estimate.load reads",
    "csv": "the replicates as a table",
    "parquet": "the same in Parquet (needs pyarrow)",
}
"""What `export` writes, by name."""

_LIBRARIES = ("numpy", "scipy", "torch")


@contextmanager
def opened(
    store: str | Path | None, header: Callable[[], dict[str, Any]], executor: Any, timeout: Any
) -> Iterator[Resources]:
    """Give a call its store, open, and its executor.

    Raises
    ------
    TypeError, ValueError
        If the executor is none, or the timeout no time.
    StoreError
        If the store can't be used.
    """
    if executor is not None:
        executor = checked_executor(executor)
    if timeout is not None and (executor is None or checked_real("range_timeout", timeout) <= 0):
        raise ValueError(
            f"range_timeout must be a number of seconds above 0, beside an executor; got {timeout} and "
            f"executor={executor!r}"
        )
    if store is None:
        yield Resources(None, executor, timeout)
        return
    if not isinstance(store, str | os.PathLike):
        raise TypeError(f"store must be the path of a file, such as 'run.sqlite'; got {store!r}")
    with Store(store, header()) as there:
        yield Resources(there, executor, timeout)


def header_of(kind: str, task: Task, more: dict[str, Any]) -> dict[str, Any]:
    """Return what a store of a call belongs to: whatever its replicate means depend on, but the size of batches.

    Parameters
    ----------
    kind : str
        Which function was called.
    task : Task
        With what the user gave, seed and conditions.
    more : dict
        What else it was called with.

    Raises
    ------
    StoreError
        If what a generator, the statistic or controls are can't be known.
    """
    generators = task.given.things["generator"]
    generators = generators if isinstance(generators, tuple) else (generators,)
    names = getattr(task.statistic, "names", None)
    several = task.condition if isinstance(task.condition, list) else [task.condition]
    return {
        "call": kind,
        "generator": ", ".join(map(name_of, generators)),
        "noise": repr(task.generator.noise),
        "statistic": name_of(task.statistic),
        **{CONTENT + name: _known_parts(name, part) for name, part in task.given.things.items()},
        "components": None if names is None else [str(name) for name in names],
        "condition": [_known(condition) for condition in several],
        CONTENT + "conditions": _known_parts("conditions", [*several], "condition"),
        "seed": _seed_text(task.seed),
        **more,
        "mcgen": __version__,
        "python": ".".join(platform.python_version_tuple()[:2]),
        **{library: _version(library) for library in _LIBRARIES},
    }


def _known_parts(name: str, thing: Any, place: str = "") -> dict[str, str]:
    """Return the parts of something that a run depends on, or refuse what can't be known again."""
    content = content_of(thing, place)
    if content.unknown:
        raise StoreError(
            f"a store must know the {name} again, and can't know {unknown_text(content)}. Give the {name}, or the "
            "object that holds this, an attribute `fingerprint`: a text that changes with what the results depend on, "
            'such as "decoder, epoch 3" (mcgen.as_generator takes it as fingerprint=); or run without a store'
        )
    return content.parts


def _seed_text(seed: Seed) -> str:
    """Return all that a seed is."""
    whole = as_seed_sequence(seed)
    return f"{whole.entropy}" + (f", spawn_key={whole.spawn_key}" if whole.spawn_key else "")


def _known(condition: Any) -> str | None:
    """Return a condition's content, by which a later call knows it again."""
    if condition is None:
        return None
    content = key_of_condition(condition)
    if content is None:
        raise ValueError(
            "a store must know conditions again, which it does of numbers, texts, arrays, dates, and tuples, lists and "
            f"dicts of these; got {condition!r}. Pass such a one, and let the generator look up what it stands for"
        )
    return content


@dataclass(frozen=True)
class StoredProgress:
    """How far a run in a store is.

    Attributes
    ----------
    name : str
        Of the run in the store: its stream of random numbers; empty where the call has one run.
    about : dict
        What the run said of itself: names, shape, provenance, interval, target, when it began.
    covered : list of range
        The finished replicates.
    estimate : Estimate or None
        From those up to the first gap, where there are two; of runs with controls the run's own call alone makes one.
    """

    name: str
    about: dict[str, Any]
    covered: list[range]
    estimate: Estimate | None

    @property
    def n_finished(self) -> int:
        """Number of finished replicates."""
        return sum(map(len, self.covered))

    @property
    def n_wanted(self) -> int:
        """Number of replicates that the run is going to have, as far as it knows."""
        return max(int(self.about["target"]), self.n_finished)

    def in_words(self) -> str:
        """Return how many replicates of how many there are."""
        first = int(self.about["first"])
        which = f" ({first} to {first + self.n_wanted - 1})" if first else ""
        goal = "" if self.about["tolerance"] is None else f" expected for half-widths of {self.about['tolerance']}"
        share = self.n_finished / self.n_wanted
        return f"{self.n_finished:,} of {self.n_wanted:,} replicates{which}{goal} ({share:.0%})"

    def seconds_left(self, last_written: float) -> float | None:
        """Return about how long it takes still, by how fast its last call went until it wrote last."""
        done, passed = self.n_finished - self.about["count"], last_written - self.about["began"]
        if done <= 0 or passed <= 0:
            return None
        return float(max(0, self.n_wanted - self.n_finished) * passed / done)


def progress_of(store: Store) -> list[StoredProgress]:
    """Return how far the runs in a store are."""
    found = []
    for name in store.run_names():
        run = store.run(name)
        about = run.recall("about")
        if about is not None:
            found.append(StoredProgress(name, about, run.covered(), _estimate_in(run, about)))
    return found


def tally_of(run: StoredRun) -> Tally | None:
    """Return the finished replicates of a run up to the first gap."""
    covered = run.covered()
    if not covered:
        return None
    tally = Tally(None)
    for segment in run.segments(covered[0]):
        tally.add(segment)
    return tally


def _estimate_in(run: StoredRun, about: dict[str, Any]) -> Estimate | None:
    tally = None if about["controls"] else tally_of(run)
    if tally is None or tally.count < 2:
        return None
    moments, kept = tally.moments(), tally.kept()
    assert moments is not None
    provenance = Provenance(**about["provenance"])
    provenance = replace(
        provenance,
        n_replicates=tally.count,
        n_evaluations=tally.count * provenance.n_points,
        partial=not about["done"] or tally.count < about["target"],
        seconds=run.seconds,
    )
    stopping = None if about["stopping"] is None else Stopping(**about["stopping"])
    sampled = Sampled.of(moments, None if kept is None else kept[0], provenance.seed)
    if stopping is not None:
        sampled = replace(sampled, first_stage=stopping.first_stage, planned=stopping.planned)
    facts, names = run.facts, tuple(about["names"])
    made = estimate_of(
        sampled,
        provenance,
        tuple(about["shape"]),
        names,
        moments=moments,
        within=None if kept is None else kept[1],
        stopping=stopping,
        warnings=(
            *(() if facts is None else facts.warnings),
            *coverage_warnings(moments, names, provenance.rounding, about["interval"]),
        ),
    )
    options = RunOptions(about["confidence_level"], about["interval"], about["simultaneous"], None, False)
    return with_options(made, options)


def read_store(path: str | Path) -> list[StoredProgress]:
    """Return what a store holds: for each of its runs how far it is, and the estimate so far; no model is needed.

    A call has one run, or one for each of several conditions and levels.

    Raises
    ------
    StoreError
        If there is no such store, or it is damaged.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> import mcgen
    >>> path = tempfile.mkdtemp() + "/run.sqlite"
    >>> generator = mcgen.as_generator(lambda z: 1 / (1 + np.exp(-z - 1)), noise=(16,), name="decode")
    >>> options = dict(design=mcgen.Antithetic(), n_evaluations=3200, seed=0, store=path)
    >>> made = mcgen.estimate(generator, mcgen.statistics.pixel_mean, **options)
    >>> [run] = mcgen.read_store(path)
    >>> run.estimate == made, run.n_finished
    (True, 1600)
    """
    with Store.open_read(path) as store:
        return progress_of(store)


def status(path: str | Path, verbose: bool = False) -> str:
    """Return how far the run of a store is, in words: progress, the interval so far, seconds left.

    Parameters
    ----------
    path : str or Path
        The store.
    verbose : bool
        Say too what the store belongs to.

    Raises
    ------
    StoreError
        If there is no such store, or it is damaged.
    """
    with Store.open_read(path) as store:
        header, found = store.header, progress_of(store)
    going_on = in_use(Path(path).resolve())
    written = max(os.path.getmtime(one) for one in (path, f"{path}-wal") if os.path.exists(one))
    lines = [f"{path}: {header['statistic']} of {header['generator']}, {header['design']}"]
    if not found:
        lines.append("nothing is finished yet")
    for one in found:
        done = one.in_words()
        if not one.about["done"]:
            done += f", last written {_seconds(time.time() - written)} ago"
            left = one.seconds_left(written)
            if not going_on:
                done += "; no process has it open: the same call goes on"
            elif left is not None:
                done += f", about {_seconds(left)} left at the pace so far"
        lines.append(f"{one.name.replace(' / ', ' ')}: {done}" if one.name else done)
        if one.estimate is not None:
            lines.append(str(one.estimate))
    if verbose:
        lines += [f"{name:<26} {_in_short(value)}" for name, value in header.items()]
    return "\n".join(lines)


def _in_short(value: Any) -> Any:
    """Return a field of a header; of the content of something its fingerprint."""
    return f"{len(value)} parts, {Content(value).fingerprint}" if isinstance(value, dict) else value


def _seconds(seconds: float) -> str:
    """Return a time in words."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return "a second" if seconds < 1.5 else f"{seconds:.0f} seconds"


def export(path: str | Path, kind: str, output: str | Path) -> None:
    """Write what a store holds.

    Parameters
    ----------
    path : str or Path
        The store.
    kind : {"json", "csv", "parquet"}
        The estimate so far, or the table of `replicates_frame`.
    output : str or Path
        The file to write.

    Raises
    ------
    StoreError
        If there is nothing to write yet, or several runs of which JSON takes one.
    ImportError
        If Parquet is asked for without pyarrow.
    """
    require_no_store(output)
    if kind == "json":
        _only_estimate(path).save(output)
    elif kind == "csv":
        replicates_frame(path).to_csv(output, index=False)
    elif kind == "parquet":
        try:
            replicates_frame(path).to_parquet(output, index=False)
        except ImportError as error:
            raise ImportError(
                "Parquet needs pyarrow, which is not installed; install the extra: pip install 'mcgen-stats[parquet]', "
                "or export to CSV"
            ) from error
    else:
        raise ValueError(f"a store is exported as {', '.join(EXPORTS)}; got {kind!r}")


def _only_estimate(path: str | Path) -> Estimate:
    found = read_store(path)
    if not found:
        raise StoreError(f"{path} has no finished replicates yet; let its run go on first")
    if len(found) != 1 or found[0].estimate is None:
        raise StoreError(
            f"{path} has {len(found)} runs{'' if len(found) != 1 else ', of which no estimate can be made yet'}; JSON "
            "holds the estimate of one run without controls that has two replicates. Call mcgen.estimate again with "
            "this store, and save what it returns; export a table; or take each run's from mcgen.read_store"
        )
    return found[0].estimate


def replicates_frame(path: str | Path) -> pd.DataFrame:
    """Return the finished replicates of a store as a table.

    A row a replicate (its number; the mean of each component and its mean squared deviation within) where their means
    are kept, else a row a leaf of 256: the first and the last replicate, and of each component the mean and the
    sum of squared deviations of the replicate means. With a column `run` where the store has several.

    Raises
    ------
    StoreError
        If the store is damaged, or nothing is finished yet.
    """
    import pandas as pd

    frames = []
    with Store.open_read(path) as store:
        names = store.run_names()
        for name in names:
            run = store.run(name)
            about = run.recall("about")
            if about is None or not run.covered():
                continue
            labels = list(about["names"]) + [f"control {j}" for j in range(about["controls"])]
            segments = [one for part in run.covered() for one in run.segments(part)]
            whole = any(isinstance(one, Leaf) for one in segments)
            frame = pd.concat([_sums(one, labels) if whole else _rows(one, labels) for one in segments])
            frames.append(frame if len(names) == 1 else frame.assign(run=name))
    if not frames:
        raise StoreError(f"{path} has no finished replicates yet; let its run go on first")
    return pd.concat(frames, ignore_index=True)


def _sums(segment: Segment, names: list[str]) -> pd.DataFrame:
    """Return the row of a leaf, or of a part of one."""
    import pandas as pd

    m = segment.moments if isinstance(segment, Leaf) else Moments.of(segment)
    row: dict[str, Any] = {"first": segment.start, "last": segment.start + len(segment) - 1}
    for j, name in enumerate(names):
        row |= {f"{name} mean": m.mean[j], f"{name} sum of squares": m.m2[j], f"{name} within": m.within[j]}
    return pd.DataFrame([row])


def _rows(segment: Segment, names: list[str]) -> pd.DataFrame:
    import pandas as pd

    assert not isinstance(segment, Leaf)
    columns: dict[str, Any] = {"replicate": np.arange(segment.start, segment.start + len(segment))}
    for j, name in enumerate(names):
        columns |= {name: segment.means[:, j], f"{name} within": segment.within[:, j]}
    return pd.DataFrame(columns)


def _version(library: str) -> str | None:
    # The versions installed, imported or not: a resumed run may import torch later than the first did.
    try:
        return importlib.metadata.version(library)
    except importlib.metadata.PackageNotFoundError:
        return None
