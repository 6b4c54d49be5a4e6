"""Files from a store: an estimate, or a table of replicates."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from mcgen._lib.serialization import require_ending, require_no_store
from mcgen.errors import StoreError
from mcgen.inference.moments import Moments
from mcgen.replicates.stores.states import About
from mcgen.replicates.stores.store import Store
from mcgen.replicates.tally import Leaf, Segment
from mcgen.results.estimate import Estimate
from mcgen.runs.stored import read_store, run_label

if TYPE_CHECKING:
    import pandas as pd


EXPORTS = {
    "json": "the estimate so far, which Estimate.load reads",
    "csv": "the replicates as a table",
    "parquet": "the same in Parquet (needs pyarrow)",
}
"""The kinds of files that `export` writes."""


def export(path: str | Path, kind: str, output: str | Path) -> None:
    """Write the content of a store to a file: the estimate so far, or a table of replicates.

    Parameters
    ----------
    path : str or Path
        The store.
    kind : {"json", "csv", "parquet"}
        "json" for the estimate so far, which `load` reads. "csv" or "parquet" for the table of replicates: a row for
        each, with the mean of each component and its mean squared deviation inside the replicate.
    output : str or Path
        The file to write.

    Raises
    ------
    StoreError
        If there is nothing to write yet, or the store has several runs where JSON holds one.
    ImportError
        If Parquet is asked for without pyarrow.

    Examples
    --------
    >>> import tempfile
    >>> import mcgen
    >>> folder = tempfile.mkdtemp()
    >>> model = mcgen.as_generator(lambda z: z**2, noise=(16,), name="square")
    >>> options = dict(design=mcgen.Antithetic(), n_evaluations=640, seed=0, store=f"{folder}/run.sqlite")
    >>> result = mcgen.estimate(model, mcgen.statistics.pixel_mean, **options)
    >>> mcgen.export(f"{folder}/run.sqlite", "json", f"{folder}/run.json")
    >>> mcgen.load(f"{folder}/run.json") == result
    True
    """
    require_no_store(output)
    if kind in EXPORTS:
        others = ", ".join(one for one in EXPORTS if one != kind)
        require_ending(output, f".{kind}", f"Other formats are {others}")
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
    if not any(one.n_finished for one in found):
        raise StoreError(f"{path} has no finished replicates yet; let its run go on first")
    if len(found) != 1 or found[0].estimate is None:
        raise StoreError(
            f"{path} has {len(found)} runs{'' if len(found) != 1 else ', which gives no estimate by itself'}; JSON "
            "holds the estimate of one run of a statistic, without controls, that has two replicates. Call "
            "mcgen.estimate again with this store, and save what it returns; export a table; or take each run's from "
            "mcgen.read_store"
        )
    return found[0].estimate


def replicates_frame(path: str | Path) -> pd.DataFrame:
    """Return the finished replicates of a store as a table.

    A row a replicate (its number; the mean of each component and its mean squared deviation within) where their means
    are kept, else a row a leaf of 256: the first and the last replicate, and of each component the mean and the
    sum of squared deviations of the replicate means. With a column `run` where the store has several:
    the level, and the condition by its name.

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
            about = About.of(run)
            if about is None or not run.covered():
                continue
            labels = [*about.names, *(f"control {j}" for j in range(about.controls))]
            segments = [one for part in run.covered() for one in run.segments(part)]
            whole = any(isinstance(one, Leaf) for one in segments)
            frame = pd.concat([_sums(one, labels) if whole else _rows(one, labels) for one in segments])
            frames.append(frame if len(names) == 1 else frame.assign(run=run_label(name, about)))
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
