"""Benchmarks, mostly as ratios in one process: noise against scipy, torch and QMCPy, the loop, memory, the import.

Machines are shared and noisy. So both sides of a ratio run in turn for several rounds, and the fastest round of each
side counts. The benchmarks print tables and assert nothing.
"""

from __future__ import annotations

import subprocess
import sys
import time
import tracemalloc
import warnings
from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import pandas as pd

import mcgen
from mcgen import functionals
from mcgen.designs import Design
from mcgen.statistics import pixel_mean
from mcgen.validation.measurements.auto_runs import auto_table
from mcgen.validation.measurements.distance_costs import TABLES as DISTANCES
from mcgen.validation.measurements.long_runs import content_table, coordinator_table, processes_table, store_table
from mcgen.validation.measurements.negated_nets import negations_table
from mcgen.validation.measurements.plans import TABLES as PLANS
from mcgen.validation.measurements.replicates_of_nets import TABLES as REPLICATES_OF_NETS

Job = Callable[[], object]


def ratio(job: Job, reference: Job, rounds: int = 5, clock: Callable[[], float] = time.perf_counter) -> float:
    """Return the time of a job divided by that of a reference, from the fastest of some rounds of each, run in turn."""
    best = [float("inf"), float("inf")]
    for _ in range(rounds):
        for side, one in enumerate((job, reference)):
            start = clock()
            one()
            best[side] = min(best[side], clock() - start)
    return best[0] / best[1]


def scipy_noise(n: int, d: int, replicates: int) -> None:
    """Draw normal noise with one scrambled engine of scipy for each replicate."""
    from scipy.special import ndtri
    from scipy.stats import qmc

    for seed in range(replicates):
        points = qmc.Sobol(d, scramble=True, rng=np.random.default_rng(seed)).random(n)
        ndtri(points).astype(np.float32)


def torch_noise(n: int, d: int, replicates: int) -> None:
    """Draw normal noise with one scrambled engine of torch for each replicate."""
    import torch

    for seed in range(replicates):
        points = torch.quasirandom.SobolEngine(d, scramble=True, seed=seed).draw(n)  # type: ignore[no-untyped-call]
        torch.erfinv(2 * points - 1)


def qmcpy_noise(n: int, d: int, replicates: int) -> None:
    """Draw normal noise with one scrambled sequence of QMCPy for each replicate."""
    import qmcpy
    from scipy.special import ndtri

    for seed in range(replicates):
        points = qmcpy.DigitalNetB2(d, randomize="LMS_DS", seed=seed)(n)
        ndtri(points).astype(np.float32)


PEERS: dict[str, Callable[[int, int, int], None]] = {
    "scipy.stats.qmc + ndtri": scipy_noise,
    "torch SobolEngine + erfinv": torch_noise,
    "qmcpy DigitalNetB2 + ndtri": qmcpy_noise,
}


def standard_normal(n: int, d: int) -> Job:
    """Return a job that draws n x d numbers by numpy's standard_normal."""
    return lambda: np.random.default_rng(0).standard_normal((n, d), dtype=np.float32)


def noise_table() -> pd.DataFrame:
    """Return the time of Sobol' noise relative to other libraries and to numpy's standard_normal of the same size."""
    return pd.DataFrame([_noise_row(64, 3072, 50, 4), _noise_row(64, 16384, 50, 2), _noise_row(2**20, 8, 1, 1)])


def _noise_row(n: int, d: int, replicates: int, peer_replicates: int) -> dict[str, Any]:
    draw = partial(mcgen.Sobol(n).draw, (d,), seed=0)
    draw(1, points=range(1))
    row: dict[str, Any] = {"noise": f"{replicates} x ({n}, {d})"}
    row["times numpy standard_normal"] = ratio(partial(draw, replicates), standard_normal(replicates * n, d))
    for name, peer in PEERS.items():
        # A few replicates are enough, because each costs the other library the same.
        row[f"faster than {name}"] = _faster(partial(draw, peer_replicates), partial(peer, n, d, peer_replicates))
    return row


def _faster(job: Job, peer: Job) -> float:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            peer()
            return 1 / ratio(job, peer, rounds=3)
    except ImportError:
        return float("nan")


def plain_table(n: int = 3200) -> pd.DataFrame:
    """Return the time of other designs relative to standard_normal calls for as many numbers as they return."""
    designs = (
        mcgen.MonteCarlo(),
        mcgen.Antithetic(),
        mcgen.KAntithetic(8),
        mcgen.LatinHypercube(64),
        mcgen.OrthogonalAntithetic(64),
    )
    return pd.DataFrame([_plain_row(design, n, d) for d in (64, 3072, 16384) for design in designs])


def _plain_row(design: Design, n: int, d: int) -> dict[str, Any]:
    job = partial(design.draw, (d,), n // design.n_points, 0)
    fresh = n // 2 if isinstance(design, mcgen.Antithetic | mcgen.OrthogonalAntithetic) else n
    return {
        "design": str(design),
        "d": d,
        "times standard_normal": ratio(job, standard_normal(n, d), rounds=9),
        "times that of the numbers drawn afresh": ratio(job, standard_normal(fresh, d), rounds=9),
    }


def memory_table() -> pd.DataFrame:
    """Return the peak memory of drawing noise, divided by the size of the noise."""
    rows = []
    cases: tuple[tuple[Design, int, int], ...] = (
        (mcgen.MonteCarlo(), 3072, 3200),
        (mcgen.Antithetic(), 3072, 1600),
        (mcgen.KAntithetic(8), 3072, 400),
        (mcgen.Sobol(64), 3072, 50),
        (mcgen.Sobol(2**20), 8, 1),
        (mcgen.LatinHypercube(64), 3072, 50),
        (mcgen.LatinHypercube(2**20), 8, 1),
        (mcgen.OrthogonalAntithetic(64), 3072, 50),
        (mcgen.OrthogonalAntithetic(64), 196_608, 1),
    )
    for design, d, count in cases:
        design.draw((d,), 1, 0, points=range(1))
        tracemalloc.start()
        noise = np.asarray(design.draw((d,), count, 0))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        rows.append(
            {"design": str(design), "noise": f"{count} x {design.n_points} x {d}", "peak / size": peak / noise.nbytes}
        )
    return pd.DataFrame(rows)


def overhead_table(n_batches: int = 200, seconds: float = 0.02) -> pd.DataFrame:
    """Return the overhead of `estimate` over a bare loop, for generators that take about 20 ms a batch of 64."""
    rows = []
    generators = {
        "numpy, waiting 20 ms": _waiting(seconds),
        "numpy, working": _working(seconds),
        "torch": _torch(seconds),
    }
    for name, generator in generators.items():
        for design in (mcgen.MonteCarlo(), mcgen.Antithetic(), mcgen.Sobol(64)):
            percent = _overhead(generator, design, n_batches)
            rows.append({"generator": name, "design": str(design), "overhead in %": percent})
    return pd.DataFrame(rows)


def _overhead(generator: Any, design: Design, n_batches: int, rounds: int = 2) -> float:
    """Return the overhead of a whole run over a bare loop in percent, from the fastest round of each, run in turn."""
    shape = (64, *generator.noise.blocks[0][1].shape)

    def ours() -> object:
        return mcgen.estimate(generator, pixel_mean, design=design, n_evaluations=64 * n_batches, seed=0, batch_size=64)

    def bare() -> object:
        rng = np.random.default_rng(0)
        return [pixel_mean(generator(rng.standard_normal(shape, dtype=np.float32))) for _ in range(n_batches)]

    design.draw(generator.noise, 1, 0, points=range(1))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", mcgen.CoverageWarning)
        return 100 * (ratio(ours, bare, rounds) - 1)


def _waiting(seconds: float) -> Any:
    def wait(z: Any) -> Any:
        time.sleep(seconds * len(z) / 64)
        return z

    return mcgen.as_generator(wait, noise=(3, 32, 32))


def _working(seconds: float) -> Any:
    def work(z: Any) -> Any:
        x = np.array(z)
        for _ in range(steps):
            np.tanh(x, out=x)
        return x

    steps = 100
    noise = np.ones((64, 3, 32, 32), np.float32)
    steps = _steps_for(seconds, steps, lambda: work(noise))
    return mcgen.as_generator(work, noise=(3, 32, 32))


def _torch(seconds: float) -> Any:
    import torch

    from mcgen.adapters import from_torch

    torch.set_num_threads(1)
    layer = torch.nn.Linear(3072, 512)
    back = torch.nn.Linear(512, 3072)

    def work(z: torch.Tensor) -> torch.Tensor:
        x = z.flatten(1)
        for _ in range(steps):
            x = torch.tanh(back(torch.relu(layer(x))))
        return x.reshape(z.shape)

    steps = 2
    with torch.no_grad():
        steps = _steps_for(seconds, steps, lambda: work(torch.ones(64, 3, 32, 32)))
    return from_torch(work, noise=(3, 32, 32), modules=[layer.eval(), back.eval()])


def capture_table(steps: int = 50, operations: int = 20) -> pd.DataFrame:
    """Return the overhead of a captured sampler over the sampler itself, by the number of samples in a batch."""
    import torch

    from mcgen.adapters import capture

    torch.set_num_threads(1)
    layers = [module for _ in range(operations) for module in (torch.nn.Linear(1024, 1024), torch.nn.Tanh())]
    network = torch.nn.Sequential(*layers).eval()

    def sampler(n: int, condition: object) -> torch.Tensor:
        x = torch.randn(n, 1024)
        for _ in range(steps):
            x = network(x) + 0.1 * torch.randn_like(x)
        return x

    watched, named = capture(sampler), capture(sampler, modules=network)
    rows = []
    with torch.no_grad():
        for n in (1, 16, 192, 512):
            noise = {name: block[:, 0] for name, block in dict(mcgen.MonteCarlo().draw(named.noise, n, 0)).items()}
            start = time.perf_counter()
            sampler(n, None)
            each = (time.perf_counter() - start) / (2 * steps * operations)
            own = partial(sampler, n, None)
            over = [100 * (ratio(partial(one, noise), own, rounds=3) - 1) for one in (watched, named)]
            rows.append(
                {"samples": n, "ms an operation": 1e3 * each, "watched, in %": over[0], "modules named, in %": over[1]}
            )
    return pd.DataFrame(rows)


def _steps_for(seconds: float, steps: int, work: Job) -> int:
    """Return how many steps take so many seconds, from the fastest of five runs of `work`, which has `steps` steps."""
    times = []
    for _ in range(5):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return max(1, round(steps * seconds / min(times)))


GROWTH = """
import mcgen
generator = mcgen.as_generator(lambda z: z**2, noise=(64,))
def peak(n):
    mcgen.estimate(generator, mcgen.statistics.pixel_mean, design=mcgen.Antithetic(), n_replicates=n, seed=0)
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) / 1024 for line in status if line.startswith("VmHWM"))
print(peak(10_000), peak(1_000_000))
"""


def growth_table() -> pd.DataFrame:
    """Return how much a process grows from 10^4 to 10^6 replicates of a 64-dimensional generator (Linux only)."""
    # The kernel's largest resident size of this process; getrusage would count the parent's memory at the fork.
    printed = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True).stdout
    small, large = map(float, printed.split())
    return pd.DataFrame([{"MB after 10^4": small, "MB after 10^6": large, "growth in MB": large - small}])


def functionals_table(rounds: int = 15) -> pd.DataFrame:
    """Return the processor time of a functional over that of the means of the same values, in percent more.

    The models are a function of 16 numbers that takes some 1.5 microseconds a sample, and one of 0.5 ms a batch of 64,
    a hundredth of what a small network takes.
    """
    first, second = (mcgen.as_statistic(lambda x, j=j: x[:, 4 * j : 4 * j + 4], name=f"x{j}") for j in range(2))
    eight = mcgen.as_statistic(lambda x: x[:, :8], name="eight")
    one = mcgen.as_statistic(lambda x: x[:, 0], name="one")
    scores = {
        "std, 1 number": functionals.std(one),
        "std, 8 numbers": functionals.std(eight),
        "4 correlations": functionals.correlation(first, second),
        "4 ratios": functionals.ratio(first, second),
        "a function of 8 means": functionals.function_of_means(eight, lambda m: (m**2).sum(), name="length"),
        "0.9 quantile": functionals.quantile(one, 0.9),
        "0.9 expected shortfall": functionals.expected_shortfall(one, 0.9),
    }

    def logistic(z: Any) -> Any:
        return 1 / (1 + np.exp(-z - 1))

    def slow(z: Any) -> Any:
        end = time.perf_counter() + 0.0005 * len(z) / 64
        while time.perf_counter() < end:
            pass
        return logistic(z)

    models = {"1.5 us a sample": logistic, "0.5 ms a batch": slow}
    rows = []
    for score, functional in scores.items():
        row: dict[str, Any] = {"functional": score}
        for name, model in models.items():
            generator = mcgen.as_generator(model, noise=(16,), name="model")
            for design in (mcgen.Antithetic(), mcgen.Sobol(64)):
                run = partial(mcgen.estimate, generator, design=design, n_evaluations=32_000, seed=0)
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", mcgen.CoverageWarning)
                    jobs = partial(run, functional), partial(run, functional.statistic)
                    found = ratio(*jobs, rounds, time.process_time)
                row[f"{name}, {design}"] = 100 * (found - 1)
        rows.append(row)
    return pd.DataFrame(rows)


def pairs_table(rounds: int = 3) -> pd.DataFrame:
    """Return the processor time of pairs, their measures and a statistic outside the model, over that inside it."""
    import torch

    from mcgen.adapters import models
    from mcgen.analysis import pairs

    torch.set_num_threads(1)
    rows = []
    for name, steps in (("mnist-vae", None), ("mnist-consistency", None), ("digits-diffusion", 10)):
        model: Any = models.load(name, steps=steps)
        inside = [0.0]

        def timed(noise: Any, model: Any = model, inside: list[float] = inside) -> Any:
            start = time.process_time()
            found = model(noise)
            inside[-1] += time.process_time() - start
            return found

        generator, over = mcgen.as_generator(timed, noise=model.noise, name=name), []
        for _ in range(rounds):
            inside.append(0.0)
            start = time.process_time()
            pairs(generator, n_pairs=1600, seed=0, statistic=mcgen.statistics.brightness, batch_size=64)
            over.append(100 * ((time.process_time() - start) / inside[-1] - 1))
        rows.append({"model": name, "ms a sample": 1e3 * inside[-1] / 6400, "outside the model, in %": min(over)})
    return pd.DataFrame(rows)


def pairs_memory_table() -> pd.DataFrame:
    """Return the peak memory of numpy in `pairs` of a model of 3,072 pixels, by the number of pairs."""
    from mcgen.analysis import pairs

    model = mcgen.as_generator(np.tanh, noise=(3, 32, 32), name="tanh")
    rows = []
    for n in (400, 1600, 6400, 25_600):
        tracemalloc.start()
        pairs(model, n_pairs=n, seed=0, batch_size=64)
        rows.append({"pairs of each kind": n, "MB": tracemalloc.get_traced_memory()[1] / 1e6})
        tracemalloc.stop()
    return pd.DataFrame(rows)


def import_table(rounds: int = 5) -> pd.DataFrame:
    """Return the seconds of `import mcgen` in a fresh interpreter, less those of the interpreter's own start."""

    def seconds(code: str) -> float:
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True)
        return time.perf_counter() - start

    def fastest(code: str) -> float:
        return min(seconds(code) for _ in range(rounds))

    return pd.DataFrame([{"seconds": fastest("import mcgen") - fastest("pass")}])


TABLES: dict[str, Callable[[], pd.DataFrame]] = {
    "Sobol' noise (float32, standard normal)": noise_table,
    "The other designs": plain_table,
    "Peak memory of drawing": memory_table,
    "The loop, 200 batches of 64": overhead_table,
    "Auto": auto_table,
    "A captured sampler": capture_table,
    "Memory of a run": growth_table,
    "Functionals, time over that of the means in percent": functionals_table,
    "Pairs of samples": pairs_table,
    "Memory of pairs": pairs_memory_table,
    "A store": store_table,
    "What a store reads of a model": content_table,
    "Two processes": processes_table,
    "A coordinator": coordinator_table,
    "import mcgen": import_table,
    "Nets and their negations, efficiency over pairs": negations_table,
    **REPLICATES_OF_NETS,
    **PLANS,
    **DISTANCES,
}
