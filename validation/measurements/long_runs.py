"""Benchmarks of stores and executors: runs with a store, what a store reads of a model, processes, a coordinator."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import tempfile
import time
import timeit
from collections.abc import Callable
from concurrent.futures import Executor, Future, ProcessPoolExecutor
from dataclasses import dataclass
from functools import partial
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

import mcgen
from mcgen._version import __version__
from mcgen.inference.moments import Moments
from mcgen.replicates.executors.worker import Reply
from mcgen.replicates.ranges import FinishedRange
from mcgen.replicates.summation import LEAF
from mcgen.replicates.tally import Leaf
from mcgen.replicates.task import Facts
from mcgen.validation.measurements.soak import components


@dataclass(frozen=True)
class Waits:
    """A generator that takes a millisecond for an antithetic pair."""

    noise = mcgen.NoiseSpec.normal((16,))
    name = "waits"

    def __call__(self, noise: Any, condition: Any = None) -> Any:
        """Return the samples, after a pause."""
        time.sleep(0.0005 * len(noise))
        return 1 / (1 + np.exp(-noise - 1))


@dataclass(frozen=True)
class Computes:
    """A generator that keeps one processor busy, with torch on one thread."""

    noise = mcgen.NoiseSpec.normal((256,))
    name = "computes"

    def __call__(self, noise: Any, condition: Any = None) -> Any:
        """Return the samples of a small network."""
        import torch

        torch.set_num_threads(1)
        weights = torch.from_numpy(np.random.default_rng(0).normal(0, 1 / 16, (256, 256)).astype(np.float32))
        x = torch.from_numpy(noise)
        with torch.no_grad():
            for _ in range(100):
                x = torch.tanh(x @ weights + 0.1)
        return x


def store_table(n_replicates: int = 10_000) -> pd.DataFrame:
    """Return the time of runs with a store relative to runs without, at 1,000 replicates a second, run in turn."""
    rows = []
    for keep in (False, True):
        seconds: dict[bool, list[float]] = {True: [], False: []}
        for _ in range(3):
            for with_store in (True, False):
                with tempfile.TemporaryDirectory() as folder:
                    path = Path(folder) / "run.sqlite"
                    start = time.perf_counter()
                    mcgen.estimate(
                        Waits(),
                        components,
                        design=mcgen.Antithetic(),
                        n_replicates=n_replicates,
                        seed=0,
                        keep_replicates=keep,
                        store=path if with_store else None,
                    )
                    seconds[with_store].append(time.perf_counter() - start)
        cost = min(seconds[True]) / min(seconds[False]) - 1
        rows.append(
            {
                "replicate means kept": keep,
                "replicates a second": n_replicates / min(seconds[False]),
                "cost of the store, %": 100 * cost,
            }
        )
    return pd.DataFrame(rows)


_BARE = """
import time
import numpy as np
from mcgen.validation.measurements.long_runs import Computes
noise, generator = np.ones((64, 256), np.float32), Computes()
generator(noise)
print(flush=True)
input()
start = time.perf_counter()
for _ in range({n}):
    generator(noise)
print(time.perf_counter() - start)
"""


def _bare(n_batches: int, processes: int) -> float:
    """Return the seconds that processes take which run a bare loop side by side, each over n_batches batches."""
    code = _BARE.format(n=n_batches)
    made = [
        subprocess.Popen([sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        for _ in range(processes)
    ]
    for one in made:
        assert one.stdout is not None
        one.stdout.readline()
    return max(float(one.communicate("\n")[0]) for one in made)


def processes_table(n_batches: int = 200, rounds: int = 2) -> pd.DataFrame:
    """Return the throughput of two processes over one, and that of two bare loops over one, the machine's own limit."""

    def run(workers: int) -> float:
        with ProcessPoolExecutor(workers, get_context("spawn")) as pool:
            # Imports and the start of processes happen once, and are left out of the time of a run.
            list(pool.map(_warm, range(4 * workers)))
            start = time.perf_counter()
            mcgen.estimate(
                Computes(),
                mcgen.statistics.pixel_mean,
                design=mcgen.Antithetic(),
                n_evaluations=64 * n_batches,
                seed=0,
                batch_size=64,
                executor=pool,
            )
            return time.perf_counter() - start

    found: dict[str, list[float]] = {"one": [], "two": [], "bare one": [], "bare two": []}
    for _ in range(rounds):
        found["one"].append(run(1))
        found["two"].append(run(2))
        found["bare one"].append(_bare(n_batches, 1))
        found["bare two"].append(_bare(n_batches, 2))
    best = {name: min(times) for name, times in found.items()}
    return pd.DataFrame(
        [
            {
                "throughput of two processes over one": best["one"] / best["two"],
                "of two bare loops over one": 2 * best["bare one"] / best["bare two"],
                "processors": os.cpu_count(),
            }
        ]
    )


def _warm(_: int) -> None:
    Computes()(np.ones((64, 256), np.float32))
    time.sleep(0.05)


class _Instant(Executor):
    """An executor that answers at once, with the same moments for every leaf of a range."""

    _max_workers = 64

    def __init__(self, k: int) -> None:
        rng = np.random.default_rng(0)
        mean, m2, m3, m4, within = (rng.random(k) for _ in range(5))
        self._moments = Moments(LEAF, mean, m2, m3, m4, within, comoment=rng.random((k, k)))
        self._facts = Facts((k,), 1e-7, ())
        self.n_ranges = 0

    def submit(self, function: Any, /, *arguments: Any, **options: Any) -> Future[Any]:
        """Return a future that is done."""
        done: Future[Any] = Future()
        if not isinstance(arguments[-1], range):
            done.set_result(__version__)
            return done
        replicates = arguments[-1]
        leaves = [Leaf(start, self._moments) for start in range(replicates.start, replicates.stop, LEAF)]
        # Each leaf reports one second of work.
        done.set_result(Reply(FinishedRange(leaves, self._facts, float(len(leaves))), {}))
        self.n_ranges += 1
        return done


def content_table(layers: int = 100, width: int = 512, rounds: int = 5) -> pd.DataFrame:
    """Return the seconds that a run with a store needs to read a network of 100 MB, beyond one reading of its weights.

    The last column has the seconds of a look: what a run without a store does to notice that a model changed.
    """
    import torch

    from mcgen._lib.fingerprints import content_of
    from mcgen.adapters import from_torch

    layer = (lambda: torch.nn.Linear(width, width), torch.nn.Dropout, torch.nn.GELU)
    network = torch.nn.Sequential(*(make() for _ in range(layers) for make in layer)).eval()
    generator = from_torch(network, noise=(width,))

    def read_once() -> None:
        digest = hashlib.sha256()
        for parameter in network.parameters():
            digest.update(parameter.detach().numpy().data)

    def fastest(call: Callable[[], Any]) -> float:
        return min(timeit.repeat(call, number=1, repeat=rounds))

    once = fastest(read_once)
    whole, quick = (fastest(partial(content_of, generator, quick=quick)) for quick in (False, True))
    return pd.DataFrame(
        [
            {
                "MB": sum(one.nbytes for one in network.parameters()) / 1e6,
                "modules": len(list(network.modules())),
                "seconds of one reading": once,
                "seconds beyond it, with a store": whole - once,
                "seconds of a look, three a run": quick,
            }
        ]
    )


def coordinator_table(n_ranges: int = 20_000, k: int = 4) -> pd.DataFrame:
    """Return how many ranges a second a coordinator submits, merges and stores, if workers take no time."""
    rows = []
    for stored in (False, True):
        with tempfile.TemporaryDirectory() as folder:
            pool, path = _Instant(k), Path(folder) / "run.sqlite"
            start = time.perf_counter()
            mcgen.estimate(
                Waits(),
                components,
                design=mcgen.KAntithetic(64),
                n_replicates=n_ranges * LEAF,
                seed=0,
                keep_replicates=False,
                batch_size=64 * LEAF,
                store=path if stored else None,
                executor=pool,
            )
            seconds = time.perf_counter() - start
            size = path.stat().st_size / pool.n_ranges if stored else float("nan")
            rows.append({"store": stored, "ranges a second": pool.n_ranges / seconds, "bytes a range": size})
    return pd.DataFrame(rows)
