"""What every result can do."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol, runtime_checkable

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from mcgen.results.figures.base import AxesLike


@runtime_checkable
class Result(Protocol):
    """The protocol of all results: what `Estimate`, `Comparison`, `Scorecard`, `Plan` and the others can do.

    ``str`` and ``print`` give the short form, with a marked line for each warning. `mcgen.load` reads what `save`
    wrote.

    Examples
    --------
    >>> import mcgen
    >>> generator = mcgen.as_generator(lambda z: z**2, noise=(16,), name="square")
    >>> options = dict(design=mcgen.Antithetic(), n_evaluations=640, seed=0)
    >>> result = mcgen.estimate(generator, mcgen.statistics.pixel_mean, **options)
    >>> isinstance(result, mcgen.Result)
    True
    >>> print(result.to_markdown())
    | component  | estimate             | 95 % interval  | replicates | evaluations |
    | ---------- | -------------------- | -------------- | ---------- | ----------- |
    | pixel_mean | 1.013 [0.977, 1.051] | [0.977, 1.051] | 320        | 640         |
    """

    @property
    def warnings(self) -> tuple[str, ...]:
        """Reasons for doubt, each once."""
        ...

    @property
    def provenance(self) -> Any:
        """The record of what was done; it has `generator`, `statistic`, `condition`, `seed_text`, `n_evaluations`."""
        ...

    def to_frame(self) -> pd.DataFrame:
        """Return all numbers as a table."""
        ...

    def summary(self) -> str:
        """Return the long form: the numbers, what was done, and the warnings."""
        ...

    def plot(self, ax: AxesLike | None = None) -> Figure:
        """Draw the result and return its figure; needs matplotlib (the extra ``[plot]``).

        Parameters
        ----------
        ax : Axes, or sequence or array of Axes, optional
            Where to draw: one for each panel. By default a new figure is made.

        Raises
        ------
        TypeError, ValueError
            If `ax` is not one Axes of matplotlib for each panel.
        """
        ...

    def save(self, path: str | Path) -> None:
        """Write the result as JSON."""
        ...

    def to_markdown(self) -> str:
        """Return a table for reading, rounded, as Markdown."""
        ...

    def to_latex(self) -> str:
        """Return a table for reading, rounded, as a LaTeX ``tabular`` that needs no package."""
        ...

    def __str__(self) -> str: ...

    def _repr_html_(self) -> str: ...
