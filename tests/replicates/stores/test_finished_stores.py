"""Stores of finished runs where nothing can be written, and stores in the first moments of a run."""

from __future__ import annotations

import subprocess
import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import mcgen
from mcgen.runs.stored import status

pytestmark = pytest.mark.filterwarnings("ignore:.*the replicate means")

# A process of another user where the tests run as root, whom no permission stops. It imports everything before.
_CODE = """
import os, sys, tempfile
import numpy as np
import mcgen

kind, path, when = sys.argv[1:]
calls = []

def model(z, condition=0):
    calls.append(len(z))
    return np.exp(z + condition)

def coarse(z):
    return 1 + z

generator = mcgen.as_generator(model, (4,), name="model", fingerprint="model")
cheap = mcgen.as_generator(coarse, (4,), name="coarse", fingerprint="coarse")
mean = mcgen.statistics.pixel_mean
run = dict(design=mcgen.Antithetic(), seed=0, store=path)
CALLS = {
    "fixed": lambda n: mcgen.estimate(generator, mean, n_evaluations=n, **run),
    "sums": lambda n: mcgen.estimate(generator, mean, n_evaluations=n, keep_replicates=False, **run),
    "watched": lambda n: mcgen.estimate(generator, mean, n_evaluations=n, interval="anytime", **run),
    "tolerance": lambda n: mcgen.estimate(generator, mean, rtol=20 / n, **run),
    "conditions": lambda n: mcgen.estimate(generator, mean, n_evaluations=n, condition=[0, 1], **run),
    "levels": lambda n: mcgen.multilevel([(cheap, 1), (generator, 9)], mean, n_evaluations=n, seed=0, store=run["store"]),
}
import warnings
warnings.simplefilter("ignore")
if when != "write" and os.getuid() == 0:
    # A call in another store imports what the other user may not read.
    with tempfile.TemporaryDirectory() as folder:
        run["store"] = folder + "/run.sqlite"
        CALLS[kind](1280)
    calls.clear()
    run["store"] = path
    os.setuid(65534)
try:
    print(repr(CALLS[kind](2560 if when == "more" else 1280).mean), len(calls))
except mcgen.StoreError as error:
    print(error, len(calls))
"""


def child(kind: str, path: Path, when: str) -> str:
    done = subprocess.run(
        [sys.executable, "-c", _CODE, kind, str(path), when], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


@pytest.mark.parametrize(
    ("kind", "locked"),
    [
        ("fixed", "folder"),
        ("fixed", "file"),
        ("fixed", "lock"),
        ("sums", "folder"),
        ("watched", "folder"),
        ("tolerance", "folder"),
        ("conditions", "folder"),
        ("levels", "folder"),
    ],
)
def test_finished_runs_return_from_where_nothing_can_be_written(kind: str, locked: str) -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name), Path(name) / "run.sqlite"
        made, _ = child(kind, path, "write").rsplit(maxsplit=1)
        if locked == "lock":
            Path(f"{path}-lock").touch(0o444)
        path.chmod(0o444)
        folder.chmod(0o777 if locked == "file" else 0o555)
        before = path.read_bytes()
        again, calls = child(kind, path, "again").rsplit(maxsplit=1)
        more, calls_for_more = child(kind, path, "more").rsplit(maxsplit=1)
        folder.chmod(0o755)
        assert again == made
        assert path.read_bytes() == before
        # The pilot of levels runs again in every call.
        assert kind == "levels" or calls == calls_for_more == "0"
        assert more.startswith("the run is not finished, and store")
        assert "writable" in more


def test_another_run_is_refused_there_too() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder, path = Path(name), Path(name) / "run.sqlite"
        child("fixed", path, "write")
        folder.chmod(0o555)
        answer = child("levels", path, "again")
        folder.chmod(0o755)
        assert "belongs to another run" in answer


def test_a_missing_store_is_refused_there() -> None:
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o555)
        answer = child("fixed", folder / "run.sqlite", "again")
        folder.chmod(0o755)
        assert "can't be opened" in answer


@pytest.mark.parametrize("options", [{"n_evaluations": 640}, {"atol": 0.01}, {"replicates": range(64, 128)}])
def test_a_run_is_in_its_store_from_its_beginning(options: dict[str, Any], tmp_path: Path) -> None:
    """The model waits in its first call, until the store was read."""
    path, arrived, go_on = tmp_path / "run.sqlite", threading.Event(), threading.Event()

    def waiting(z: np.ndarray) -> np.ndarray:
        arrived.set()
        assert go_on.wait(60)
        return np.exp(z)

    model = mcgen.as_generator(waiting, (4,), name="model", fingerprint="model")
    made: list[mcgen.Estimate] = []
    call = {"design": mcgen.Antithetic(), "seed": 0, "store": path} | options
    thread = threading.Thread(target=lambda: made.append(mcgen.estimate(model, mcgen.statistics.pixel_mean, **call)))
    thread.start()
    try:
        assert arrived.wait(60)
        [run] = mcgen.read_store(path)
        words = status(path)
        with pytest.raises(mcgen.StoreError, match="has no finished replicates yet; let its run go on first"):
            mcgen.export(path, "json", tmp_path / "run.json")
    finally:
        go_on.set()
        thread.join()
    wanted = 0 if "atol" in options else len(options.get("replicates", range(320)))
    assert (run.n_finished, run.n_wanted, run.estimate, run.covered) == (0, wanted, None, [])
    assert ("nothing is finished yet" if not wanted else f"0 of {wanted} replicates") in words
    assert "(64 to 127)" in words or "replicates" not in options
    [run] = mcgen.read_store(path)
    assert run.estimate == made[0]
