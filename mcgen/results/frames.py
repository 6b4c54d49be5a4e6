"""Estimates as pandas data frames; pandas is imported when one is made."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np

from mcgen.results.provenance import INDEPENDENT_NOISE, weights_of_levels

if TYPE_CHECKING:
    import pandas as pd


def estimate_frame(estimate: Any) -> pd.DataFrame:
    """Return the table of an estimate; see `mcgen.Estimate.to_frame`."""
    import pandas as pd

    if estimate.parts:
        frames = [estimate_frame(part) for part in (*estimate.parts, replace(estimate, parts=()))]
        if estimate.levels:
            weights: list[Any] = weights_of_levels([part.provenance for part in estimate.levels], len(estimate.names))
            for frame, weight in zip(frames, [*weights, 1.0], strict=True):
                frame.insert([*frame.columns].index("component") + 1, "coefficient", weight)
        table: pd.DataFrame = pd.concat(frames, ignore_index=True)
        return table
    columns: dict[str, Any] = {
        "component": list(estimate.names),
        "mean": np.ravel(estimate.mean),
        "standard_error": np.ravel(estimate.standard_error),
        "low": np.ravel(estimate.interval.low),
        "high": np.ravel(estimate.interval.high),
        "half_width": np.ravel(estimate.half_width),
        "degrees_of_freedom": np.ravel(estimate.degrees_of_freedom),
        "n_replicates": estimate.n_replicates,
        "n_evaluations": estimate.n_evaluations,
    }
    if estimate.provenance.condition is not None:
        columns = {"condition": estimate.provenance.condition, **columns}
    if estimate.provenance.models_noise == INDEPENDENT_NOISE or estimate.provenance.model is not None:
        columns = {"model": estimate.provenance.model or estimate.provenance.generator, **columns}
    if estimate.provenance.level is not None:
        columns = {"level": estimate.provenance.level, **columns}
    return pd.DataFrame(columns)
