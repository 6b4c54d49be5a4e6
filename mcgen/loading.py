"""`load`: any saved result from its file."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from mcgen._lib.serialization import kind_of
from mcgen.analysis import PairAnalysis, VarianceShares
from mcgen.results.comparison import Comparison
from mcgen.results.estimate import Estimate
from mcgen.results.profile import Profile
from mcgen.results.result import Result
from mcgen.results.scorecard import Scorecard
from mcgen.variance_reduction.planning.plan import Plan

_LOADERS: dict[str, Callable[[str | Path], Result]] = {
    "estimate": Estimate.load,
    "comparison": Comparison.load,
    "plan": Plan.load,
    "pairs": PairAnalysis.load,
    "variance-shares": VarianceShares.load,
    "profile": Profile.load,
    "scorecard": Scorecard.load,
}
_ADVICE = (
    "load reads the JSON files that the save of an Estimate, a Comparison, a Scorecard, a Plan or an analysis wrote; "
    "mcgen.read_store reads a store, and mcgen.bases.Basis.load a basis"
)


def load(path: str | Path) -> Result:
    """Return the result that a file holds: an `Estimate`, a `Scorecard`, or another kind of result.

    Parameters
    ----------
    path : str or Path
        A file that the ``save`` of a result wrote.

    Raises
    ------
    ValueError
        If the file holds no result, is incomplete, or was written by a newer schema.

    Examples
    --------
    >>> import tempfile
    >>> from pathlib import Path
    >>> import mcgen
    >>> generator = mcgen.as_generator(lambda z: z**2, noise=(16,), name="square")
    >>> options = dict(design=mcgen.Antithetic(), n_evaluations=640, seed=0)
    >>> result = mcgen.estimate(generator, mcgen.statistics.pixel_mean, **options)
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     result.save(Path(folder) / "run.json")
    ...     mcgen.load(Path(folder) / "run.json") == result
    True
    """
    if not isinstance(path, str | os.PathLike):
        raise TypeError(f"path must be the path of a file, such as 'run.json'; got {path!r}. {_ADVICE}")
    try:
        kind = kind_of(path)
    except ValueError as error:
        raise ValueError(f"{error}. {_ADVICE}") from error
    if not isinstance(kind, str) or kind not in _LOADERS:
        raise ValueError(f"{path} holds {kind or 'something mcgen did not save'}, which is no result. {_ADVICE}")
    return _LOADERS[kind](path)
