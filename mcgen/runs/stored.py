"""How far the runs in a store are, and their estimates so far, without the model: `read_store` and `status`."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from mcgen._lib.fingerprints import Content
from mcgen.inference.methods import IntervalOptions
from mcgen.inference.receding import receding_warning
from mcgen.inference.stopping import Stopping
from mcgen.inference.tolerance import Tolerance
from mcgen.replicates.stores.locks import Lock
from mcgen.replicates.stores.states import About, Asked, RuleState
from mcgen.replicates.stores.store import Store, StoredRun
from mcgen.replicates.tally import Tally
from mcgen.results.estimate import Estimate
from mcgen.results.from_moments import estimate_from_moments
from mcgen.results.provenance import Provenance


@dataclass(frozen=True)
class StoredProgress:
    """How far a run in a store is.

    Attributes
    ----------
    name : str
        Name of the run: its stream of random numbers; empty where the call has one run.
    about : About
        What the run says of itself: names, shape, provenance, interval, target, when it began. A run that has not
        finished two replicates says its target alone.
    covered : list of range
        The finished replicates.
    estimate : Estimate or None
        The estimate from the replicates up to the first gap; None where there are fewer than two. Runs with control
        variates and of functionals have none here, since only their own call can make one.
    """

    name: str
    about: About
    covered: list[range]
    estimate: Estimate | None

    @property
    def label(self) -> str:
        """What texts call the run: its level and its condition by its name; empty where the call has one run."""
        return run_label(self.name, self.about)

    @property
    def n_finished(self) -> int:
        """Number of finished replicates."""
        return sum(map(len, self.covered))

    @property
    def n_wanted(self) -> int:
        """Number of replicates that the run wants, as far as it knows."""
        return max(int(self.about.target), self.n_finished)

    def in_words(self) -> str:
        """Return the number of finished replicates, and that of wanted ones, in words."""
        first = int(self.about.first)
        which = f" ({first} to {first + self.n_wanted - 1})" if first else ""
        if not self.n_wanted:
            return "nothing is finished yet"
        goal = "" if self.about.tolerance is None else f" expected for half-widths of {self.about.tolerance}"
        share = self.n_finished / self.n_wanted
        return f"{self.n_finished:,} of {self.n_wanted:,} replicates{which}{goal} ({share:.0%})"

    def seconds_left(self, last_written: float) -> float | None:
        """Return about how many seconds are left, at the pace of the last call; None where there is no pace yet."""
        done, passed = self.n_finished - self.about.count, last_written - self.about.began
        if done <= 0 or passed <= 0:
            return None
        return float(max(0, self.n_wanted - self.n_finished) * passed / done)


def run_label(name: str, about: About) -> str:
    """Return the name of a run with the condition's name in results in place of the key of its content."""
    before, key, _ = name.partition("condition / ")
    condition = about.provenance.get("condition") if about.provenance else None
    return (f"{before}condition {condition}" if key and condition is not None else name).replace(" / ", " ")


def progress_of(store: Store) -> list[StoredProgress]:
    """Return how far the runs in a store are."""
    found = []
    for name in store.run_names():
        run = store.run(name)
        about = About.of(run)
        if about is None and (asked := Asked.of(run)) is not None:
            # A run writes its account once it has finished two replicates.
            part = store.header.get("replicates")
            about = About.before_first(asked, part[0] if part else 0)
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


def _estimate_in(run: StoredRun, about: About) -> Estimate | None:
    """Return the estimate from the replicates up to the first gap; None where only the run's own call can make one."""
    known = about.provenance and all(about.provenance.get(name) is None for name in ("controls", "functional"))
    tally = tally_of(run) if known else None
    if tally is None or tally.count < 2:
        return None
    moments = tally.moments()
    assert moments is not None
    provenance = Provenance(**about.provenance)
    provenance = replace(
        provenance,
        n_replicates=tally.count,
        n_evaluations=tally.count * provenance.n_points,
        partial=not about.done or tally.count < about.target,
        seconds=run.seconds,
    )
    return estimate_from_moments(
        moments,
        tally.kept(),
        provenance,
        about.shape,
        about.names,
        IntervalOptions(about.confidence_level, about.interval, about.simultaneous),
        stopping=None if about.stopping is None else Stopping(**about.stopping),
        boolean=() if run.facts is None else run.facts.boolean,
        bounds=() if run.facts is None else run.facts.bounds,
        warnings=(*(() if run.facts is None else run.facts.warnings), *_receding_in(run, about)),
    )


def _receding_in(run: StoredRun, about: About) -> tuple[str, ...]:
    """Return the warning that the relative tolerance recedes, if the run has noted that and goes on."""
    stopping = about.stopping
    if stopping is None or stopping["reached"] or stopping["rtol"] is None:
        return ()
    state = RuleState.of(run, stopping["rule"])
    name = None if state is None else state.values.get("receding")
    # A later call may have given a limit, with which the run ends.
    if state is None or name is None or "max_evaluations=None" not in state.asked:
        return ()
    tolerance = Tolerance(stopping["atol"], stopping["rtol"])
    return (receding_warning(name, tolerance),) if tolerance.may_recede else ()


def read_store(path: str | Path) -> list[StoredProgress]:
    """Return the runs of a store, each with its progress and its estimate so far; the model is not needed.

    A call has one run, or one for each condition and each level. A run is in the list from its beginning on. At first
    its ``n_finished`` is 0 and it has no estimate.

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
    """Return the progress of the runs of a store in words: replicates, the interval so far, the time left.

    Parameters
    ----------
    path : str or Path
        The store.
    verbose : bool
        Add what the store belongs to: the call, the seed, the generator and the rest of its header.

    Raises
    ------
    StoreError
        If there is no such store, or it is damaged.

    Examples
    --------
    >>> import tempfile
    >>> import mcgen
    >>> path = tempfile.mkdtemp() + "/run.sqlite"
    >>> model = mcgen.as_generator(lambda z: z**2, noise=(16,), name="square")
    >>> options = dict(design=mcgen.Antithetic(), n_evaluations=640, seed=0, store=path)
    >>> result = mcgen.estimate(model, mcgen.statistics.pixel_mean, **options)
    >>> print(mcgen.status(path))
    /.../run.sqlite: pixel_mean of square, Antithetic()
    320 of 320 replicates (100%)
    1.013 [0.977, 1.051] (95 % skewness-safe t, 320 replicates of 2 points, Antithetic(), seed 0)
    """
    with Store.open_read(path) as store:
        header, found = store.header, progress_of(store)
    going_on = Lock(Path(path).resolve()).is_held
    written = max(os.path.getmtime(one) for one in (path, f"{path}-wal") if os.path.exists(one))
    lines = [f"{path}: {header['statistic']} of {header['generator']}, {header['design']}"]
    if not found:
        lines.append("nothing is finished yet")
    for one in found:
        done = one.in_words()
        if not one.about.done:
            done += f", last written {_seconds(time.time() - written)} ago"
            left = one.seconds_left(written)
            if not going_on:
                done += "; no process has it open: the same call goes on"
            elif left is not None:
                done += f", about {_seconds(left)} left at the pace so far"
        lines.append(f"{one.label}: {done}" if one.name else done)
        if one.estimate is not None:
            lines.append(str(one.estimate))
    if verbose:
        lines += [f"{name:<26} {_in_short(value)}" for name, value in header.items()]
    return "\n".join(lines)


def _in_short(value: Any) -> Any:
    """Return a field of a header; long lists of parts as their number and fingerprint."""
    return f"{len(value)} parts, {Content(value).fingerprint}" if isinstance(value, dict) else value


def _seconds(seconds: float) -> str:
    """Return a time in words."""
    for size, unit in ((86400, "days"), (3600, "hours"), (60, "minutes")):
        if seconds >= 2 * size:
            return f"{seconds / size:.0f} {unit}"
    return "a second" if seconds < 1.5 else f"{seconds:.0f} seconds"
