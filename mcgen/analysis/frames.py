"""A table of the values of a statistic, sample by sample, for other software."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen._lib.checks import checked_integer
from mcgen.designs import Design
from mcgen.designs._base import checked_design
from mcgen.generators import Generator
from mcgen.noise.random import Seed
from mcgen.replicates.gathering import Values, require_room
from mcgen.replicates.loop import replicate_means
from mcgen.replicates.sizes import Conditions, checked_batch_size, conditions_of
from mcgen.replicates.streams import labels_of, under_condition
from mcgen.replicates.task import Findings, Task, estimand_of
from mcgen.statistics import Statistic
from mcgen.statistics.values import component_names

if TYPE_CHECKING:
    import pandas as pd

_COLUMNS = ("replicate", "point", "condition")


def samples_frame(
    generator: Generator,
    statistic: Statistic,
    *,
    design: Design,
    n_replicates: int,
    seed: Seed,
    condition: Any = None,
    batch_size: int | None = None,
) -> pd.DataFrame:
    """Return a table of the values of a statistic, a row for each sample.

    Use it for models of other software. The samples are the first ones that `mcgen.estimate` uses with the same seed,
    condition and design. Rows of one replicate depend on each other, and different replicates are independent. So take
    ``replicate`` as the group or the cluster, for example in statsmodels by
    ``smf.ols("y ~ 1", frame).fit(cov_type="cluster", cov_kwds={"groups": frame["replicate"]})``.

    Parameters
    ----------
    generator, statistic, design, seed
        As for `mcgen.estimate`.
    n_replicates : int
        How many replicates under each condition, 1 or more.
    condition : object, or a list, range, dict or Series of them, optional
        Passed to the generator. Several conditions have `n_replicates` each, on random numbers of their own.
    batch_size : int, optional
        The most rows that the model sees at a time; about 64 by default.

    Returns
    -------
    DataFrame
        Columns ``replicate`` and ``point``, and one with the values of each component by its name. Several conditions
        have their names in a column ``condition``, and replicates are numbered through all of them.

    Raises
    ------
    TypeError, ValueError
        If an argument is not as described.
    RunError
        If the generator or the statistic breaks a law, or the values are more than 512 MB.

    Examples
    --------
    >>> import mcgen
    >>> model = mcgen.as_generator(lambda z: z**3, noise=(2,), name="cube")
    >>> options = dict(design=mcgen.Antithetic(), n_replicates=2, seed=0)
    >>> frame = mcgen.analysis.samples_frame(model, mcgen.statistics.pixel_mean, **options)
    >>> frame.columns.tolist(), frame["replicate"].tolist(), bool(abs(frame["pixel_mean"].sum()) < 1e-6)
    (['replicate', 'point', 'pixel_mean'], [0, 0, 1, 1], True)
    """
    import pandas as pd

    design, n = checked_design(design), checked_integer("n_replicates", n_replicates)
    if n < 1:
        raise ValueError(f"n_replicates must be 1 or more; got {n}")
    conditions = conditions_of(condition)
    several = conditions if isinstance(conditions, Conditions) else Conditions([conditions], None)
    labels = labels_of(several, several.names) if isinstance(conditions, Conditions) else (None,)
    estimand = estimand_of(generator, statistic, seed, conditions)
    frames = []
    for number, (one, label) in enumerate(zip(several, labels, strict=True)):
        own = under_condition(estimand, one, number, label)
        task = own.task(design, checked_batch_size(batch_size, design.n_points, n))
        values, names = _values(replace(task, gatherers=(Values(),)), n, len(several))
        replicates, points = np.arange(number * n, (number + 1) * n), np.arange(design.n_points)
        index = {"replicate": np.repeat(replicates, design.n_points), "point": np.tile(points, n)}
        named = {} if label is None else {"condition": label}
        frames.append(pd.DataFrame(index | named | dict(zip(names, values.T, strict=True))))
    return pd.concat(frames, ignore_index=True)


def _values(task: Task, n: int, n_conditions: int) -> tuple[Floats, Sequence[str]]:
    """Return the values of all points of n replicates, a column for each component, and the components' names."""
    findings, parts = Findings(task), []
    for rows in replicate_means(task, range(n), findings):
        require_room(rows, n * n_conditions)
        parts.append(rows.gathered[Values.name])
    values = np.concatenate(parts).reshape(n * task.design.n_points, -1)
    names = component_names(task.statistic, findings.facts.components)
    if len({*names, *_COLUMNS}) < len(names) + len(_COLUMNS):
        raise ValueError(
            f"a table needs components with different names, none of them {', '.join(_COLUMNS)}, which are its other "
            f"columns; got {', '.join(names)}. Give the statistic other names"
        )
    return values, names
