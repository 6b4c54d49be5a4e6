"""Faults at random moments: runs are killed, stores are damaged, disks are full; `make soak`, in short in the tests.

A fault may end in two ways. Either the run goes on and gives the estimate of an undisturbed run, bit for bit, or an
exception says what is wrong.
"""

from __future__ import annotations

import importlib
import math
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import mcgen
from mcgen.replicates.stores.store import Store
from mcgen.validation.writing.markdown import fill_page, made_by, markdown_table, require_marks

# Replicates of a batch.
_GROUP = 32


@dataclass(frozen=True)
class Busy:
    """A generator that waits, and writes into a file how many samples it was asked for.

    Attributes
    ----------
    seconds : float
        Time for a batch of 64.
    log : str
        The file, with one line for each batch.
    """

    seconds: float
    log: str

    noise = mcgen.NoiseSpec.normal((16,))
    name = "busy"
    # Neither the pace nor the log changes the samples.
    fingerprint = "busy"

    def __call__(self, noise: Any, condition: Any = None) -> Any:
        """Return the samples."""
        with open(self.log, "a") as file:
            file.write(f"{len(noise)}\n")
        time.sleep(self.seconds * len(noise) / 64)
        return 1 / (1 + np.exp(-noise - 1))

    def n_samples(self) -> int:
        """Return how many samples were made so far, by all processes."""
        return sum(map(int, Path(self.log).read_text().split())) if os.path.exists(self.log) else 0


def components(samples: Any) -> Any:
    """Return mean, maximum, standard deviation and an event of each sample, shape (n, 4)."""
    return np.stack([samples.mean(axis=1), samples.max(axis=1), samples.std(axis=1), samples[:, 0] > 0.8], axis=1)


def run(
    folder: str | Path, n_replicates: int, seconds: float = 0.0, store: str | None = "run.sqlite", **options: Any
) -> mcgen.Estimate:
    """Return the estimate of the run that all faults hit; its store and its generator's log are in the folder."""
    return mcgen.estimate(
        Busy(seconds, str(Path(folder) / "log")),
        components,
        design=mcgen.Antithetic(),
        n_replicates=n_replicates,
        seed=0,
        batch_size=2 * _GROUP,
        store=None if store is None else Path(folder) / store,
        **options,
    )


def undisturbed(n_replicates: int) -> mcgen.Estimate:
    """Return the estimate of the same run without a store and without faults."""
    with tempfile.TemporaryDirectory() as folder:
        return run(folder, n_replicates, store=None)


@dataclass
class Report:
    """A fault and how it ended.

    Attributes
    ----------
    fault : str
        The fault in words.
    times : int
        How often it was tried.
    outcome : str
        How it ended, in words.
    holds : bool
        Whether it ended as it should.
    """

    fault: str
    times: int
    outcome: str
    holds: bool


_CHILD = """
import sys
from mcgen.validation.measurements import soak
folder, n, seconds = sys.argv[1:]
soak.run(folder, int(n), float(seconds)).save(folder + "/done.json")
"""


def killed_and_resumed(folder: Path, kills: int, seed: int, seconds: float = 0.02, longest: float = 2.0) -> Report:
    """Kill a run with SIGKILL at random moments, start it again each time, and report whether its bits are the same.

    Parameters
    ----------
    folder : Path
        An empty folder.
    kills : int
        How often the run is killed.
    seed : int
        Seed of the moments.
    seconds : float
        Time for a batch of 64.
    longest : float
        Most seconds that a process lives after its first batch; one process in five is killed while it starts.
    """
    rng, done = random.Random(seed), 0
    # So much work that no process can finish before the last one is killed.
    n_replicates = int(kills * longest / seconds) * _GROUP
    generator = Busy(seconds, str(folder / "log"))
    while done < kills:
        arguments = [sys.executable, "-c", _CHILD, str(folder), str(n_replicates), str(seconds)]
        child = subprocess.Popen(arguments)
        if done % 5:
            started = generator.n_samples()
            _wait_for(lambda before=started: generator.n_samples() > before, child)  # type: ignore[misc]
            time.sleep(rng.uniform(0.0, longest))
        else:
            time.sleep(rng.uniform(0.0, 0.8))
        child.send_signal(signal.SIGKILL)
        if child.wait() != -signal.SIGKILL:
            raise RuntimeError(f"the run ended by itself, with status {child.returncode}; its output is above")
        done += 1
    found = run(folder, n_replicates)
    same = found == undisturbed(n_replicates)
    again, allowed = generator.n_samples() - 2 * n_replicates, _again_at_most(done, seconds)
    outcome = f"{_bits(same)}; {again:,} of {2 * n_replicates:,} samples run again, {allowed:,} were in flight at most"
    return Report("SIGKILL of the run at a random moment", done, outcome, same and again <= allowed)


def damaged(folder: Path, times: int, seed: int, fault: str) -> Report:
    """Damage the store of an unfinished run at random places and start the run again; report how often it goes on.

    Parameters
    ----------
    folder : Path
        An empty folder.
    times : int
        How often, each time with an undamaged copy.
    seed : int
        Seed of the places.
    fault : {"truncated", "flipped", "log truncated", "log flipped"}
        What happens to the store's file, or to the write-ahead log beside it.
    """
    rng, n_replicates = random.Random(seed), 2048
    wanted = undisturbed(n_replicates)
    whole = folder / "whole"
    whole.mkdir()
    if fault.startswith("log"):
        # A process that is killed leaves the log beside its file.
        child = subprocess.Popen([sys.executable, "-c", _CHILD, str(whole), str(n_replicates), "0.05"])
        _wait_for(lambda: _stored(whole / "run.sqlite") >= n_replicates // 4, child)
        child.send_signal(signal.SIGKILL)
        child.wait()
    else:
        run(whole, n_replicates // 2)
    refused, gone_on, wrong = 0, 0, 0
    for number in range(times):
        copy = folder / f"copy {number}"
        shutil.copytree(whole, copy)
        path = copy / ("run.sqlite-wal" if fault.startswith("log") else "run.sqlite")
        data = bytearray(path.read_bytes())
        place = rng.randrange(len(data))
        if fault.endswith("truncated"):
            del data[place:]
        else:
            data[place] ^= 1 << rng.randrange(8)
        path.write_bytes(data)
        try:
            found = run(copy, n_replicates)
        except mcgen.StoreError:
            refused += 1
        else:
            gone_on += 1
            wrong += found != wanted
        shutil.rmtree(copy)
    outcome = f"{refused} refused with an error, {gone_on} gone on to {_bits(not wrong)}"
    return Report(f"the store {fault} at a random place", times, outcome, wrong == 0 and refused + gone_on == times)


def disk_full(folder: Path, times: int, seed: int) -> Report:
    """Limit the file to random sizes, then start the run again without the limit; report how it ends."""
    rng, n_replicates, wrong, full = random.Random(seed), 2048, 0, 0
    wanted = undisturbed(n_replicates)
    for number in range(times):
        own = folder / f"full {number}"
        own.mkdir()
        limit = rng.randrange(8_192, 100_000)
        child = subprocess.run(
            [sys.executable, "-c", _LIMITED + _CHILD, str(own), str(n_replicates), "0.0", str(limit)],
            capture_output=True,
            text=True,
        )
        full += "StoreError" in child.stderr
        (own / "done.json").unlink(missing_ok=True)
        wrong += run(own, n_replicates) != wanted
    outcome = f"{full} errors that say so; all gone on, once there was room, to {_bits(not wrong)}"
    return Report("no room for the file to grow, at a random size", times, outcome, wrong == 0 and full > 0)


def tmpfs_full(folder: Path, times: int, seed: int) -> Report:
    """Fill a small disk in memory, make it larger and start the run again; not tried where mounting is forbidden."""
    rng, n_replicates, wrong, full = random.Random(seed), 2048, 0, 0
    wanted, fault = undisturbed(n_replicates), "a full disk (tmpfs), later made larger"
    for number in range(times):
        disk = folder / f"disk {number}"
        disk.mkdir()
        size = f"size={rng.randrange(80, 300)}k"
        mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", str(disk)], capture_output=True)
        if mounted.returncode:
            return Report(fault, 0, "not tried: mounting is not permitted here", True)
        try:
            try:
                run(disk, n_replicates)
            except (mcgen.StoreError, OSError):
                full += 1
            subprocess.run(["mount", "-o", "remount,size=10m", str(disk)], check=True)
            wrong += run(disk, n_replicates) != wanted
        finally:
            subprocess.run(["umount", str(disk)], check=True)
    outcome = f"{full} errors that say so; all gone on, once there was room, to {_bits(not wrong)}"
    return Report(fault, times, outcome, wrong == 0 and full > 0)


def workers_killed(folder: Path, kills: int, seed: int) -> Report:
    """Kill Dask worker processes at random moments during a run; report whether it ends with the same bits."""
    # Dask has no type annotations.
    distributed: Any = importlib.import_module("distributed")
    rng, n_replicates = random.Random(seed), 64 * _GROUP * kills
    with (
        distributed.LocalCluster(n_workers=2, threads_per_worker=1, processes=True, dashboard_address=None) as cluster,
        distributed.Client(cluster) as client,
        ThreadPoolExecutor(1) as other,
    ):
        done = other.submit(run, folder, n_replicates, 0.05, executor=client)
        killed = 0
        while killed < kills and not done.done():
            time.sleep(rng.uniform(0.5, 2.0))
            workers = list(client.run(os.getpid).values())
            os.kill(rng.choice(workers), signal.SIGKILL)
            killed += 1
        found = done.result()
    same = found == undisturbed(n_replicates)
    return Report("SIGKILL of a Dask worker process during a run", killed, _bits(same), same and killed == kills)


def coordinator_killed(folder: Path, kills: int, seed: int) -> Report:
    """Kill a run on a pool of processes, pool included, and go on without one; report whether it has the same bits."""
    rng, done, seconds = random.Random(seed), 0, 0.02
    n_replicates = 256 * _GROUP * kills
    while done < kills:
        arguments = [sys.executable, "-c", _WITH_POOL, str(folder), str(n_replicates), str(seconds)]
        # The whole session is killed, workers included, as by a scheduler that ends a job.
        child = subprocess.Popen(arguments, start_new_session=True)
        _wait_for(lambda: (folder / "run.sqlite").exists(), child)
        time.sleep(rng.uniform(0.5, 2.5))
        os.killpg(child.pid, signal.SIGKILL)
        if child.wait() != -signal.SIGKILL:
            raise RuntimeError(f"the run ended by itself, with status {child.returncode}; its output is above")
        done += 1
    stored = _stored(folder / "run.sqlite")
    same = run(folder, n_replicates) == undisturbed(n_replicates)
    outcome = f"{stored:,} of {n_replicates:,} replicates were stored; gone on to {_bits(same)}"
    return Report("SIGKILL of a run and its pool of processes", done, outcome, same and stored > 0)


_WITH_POOL = """
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from mcgen.validation.measurements import soak
if __name__ == "__main__":
    folder, n, seconds = sys.argv[1:]
    with ProcessPoolExecutor(2, get_context("fork")) as pool:
        soak.run(folder, int(n), float(seconds), executor=pool)
"""

_LIMITED = """
import resource, signal, sys
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
limit = int(sys.argv.pop())
resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
"""


def soak(seed: int = 0, kills: int = 100, damages: int = 200) -> Iterator[Report]:
    """Yield the report of each fault as it is tried; takes about ten minutes.

    Parameters
    ----------
    seed : int
        Seed of moments and places.
    kills : int
        How often the run is killed.
    damages : int
        How often the store is damaged in each way.
    """
    work: list[Callable[[Path], Report]] = [
        partial(killed_and_resumed, kills=kills, seed=seed),
        *(partial(damaged, times=damages, seed=seed, fault=fault) for fault in FAULTS),
        partial(disk_full, times=20, seed=seed),
        partial(tmpfs_full, times=20, seed=seed),
        partial(workers_killed, kills=5, seed=seed),
        partial(coordinator_killed, kills=5, seed=seed),
    ]
    for one in work:
        with tempfile.TemporaryDirectory() as folder:
            yield one(Path(folder))


def write_page(folder: Path, seed: int = 0) -> None:
    """Try all faults and write the page ``validation/soak.md``.

    Raises
    ------
    FileNotFoundError, ValueError
        If there is no page with its marks.
    RuntimeError
        If a fault did not end as it should; the page says which.
    """
    page = folder / "validation" / "soak.md"
    require_marks(page, _MARKS)
    found = []
    for one in soak(seed):
        found.append(one)
        print(f"{'  holds' if one.holds else '  FAILS'}  {one.fault}, {one.times} times: {one.outcome}", flush=True)
    rows = [[one.fault, f"{one.times}", one.outcome, "yes" if one.holds else "NO"] for one in found]
    table = markdown_table(["fault", "times", "how it ended", "holds"], rows)
    fill_page(page, {_MARKS[0]: made_by("make soak", seed), _MARKS[1]: table})
    if not all(one.holds for one in found):
        raise RuntimeError(f"not all faults ended as they should: see {page}")


_MARKS = ("made by", "faults")
FAULTS = ("truncated", "flipped", "log truncated", "log flipped")


def _stored(path: Path) -> int:
    """Return how many replicates a store has."""
    try:
        with Store.open_read(path) as store:
            return sum(len(part) for name in store.run_names() for part in store.run(name).covered())
    except mcgen.StoreError:
        return 0


def _bits(same: bool) -> str:
    return "the same bits" if same else "OTHER BITS"


def _again_at_most(kills: int, seconds: float) -> int:
    """Return how many samples may run again: for each kill a second of them, two batches, two of a check."""
    return kills * (math.ceil(1.0 / seconds) * 64 + 2 * 64 + 2)


def _wait_for(happened: Callable[[], bool], child: subprocess.Popen[bytes], patience: float = 60.0) -> None:
    end = time.monotonic() + patience
    while not happened() and child.poll() is None and time.monotonic() < end:
        time.sleep(0.005)
