"""`Profile`: what was measured at each step of a sampler, as curves with intervals."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen._lib.serialization import read_json, to_plain, write_json
from mcgen.results.figures.profiles import plot_curves, plot_slices
from mcgen.results.notes import marks_html, with_marks
from mcgen.results.provenance import Provenance, percent_of
from mcgen.results.saved import estimate_to_plain, without_circumstances
from mcgen.results.tables import Table
from mcgen.results.text import fact_lines, frame_html

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from mcgen.results.figures.base import AxesLike

# Steps in tables for reading, evenly spaced among those that all curves have; the last step of all comes after them.
_SHOWN_STEPS = 5
# Width, relative to the value, below which an interval is rounding, and texts leave it out.
_NO_WIDTH = 1e-6


@dataclass(frozen=True, eq=False)
class Curve:
    """A quantity at each of k steps, with the interval of each step and a band for all of them.

    Attributes
    ----------
    labels : dict of str
        What is shown, such as ``{"of": "state", "kind": "negated", "measure": "centralized"}``.
    steps : ndarray of int of shape (k,)
        Numbers of the steps.
    mean : ndarray of shape (k,)
        The value at each step.
    low, high : ndarray of shape (k,)
        Ends of the interval of each step alone.
    band_low, band_high : ndarray of shape (k,)
        Ends of the simultaneous band: the bands of all curves of a profile hold together, at all steps.
    """

    labels: dict[str, str]
    steps: NDArray[np.int64]
    mean: Floats
    low: Floats
    high: Floats
    band_low: Floats
    band_high: Floats


class Number(NamedTuple):
    """One number over all steps, with its interval; the ends are None where it has none.

    Attributes
    ----------
    name : str
        What it is, such as "median".
    value : float
        The number.
    low, high : float or None
        The ends of its interval.
    """

    name: str
    value: float
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True, eq=False)
class Slices:
    """A prediction along lines through 0, for pictures.

    Attributes
    ----------
    grid : ndarray of shape (points,)
        The factors c, from -1 to 1.
    steps : ndarray of int of shape (s,)
        Numbers of the steps.
    coordinates : ndarray of int of shape (j,)
        Which numbers of the prediction, counted in C order.
    values : ndarray of shape (s, bases, j, points)
        The prediction at c z for some bases z.
    """

    grid: Floats
    steps: NDArray[np.int64]
    coordinates: NDArray[np.int64]
    values: Floats


@dataclass(frozen=True, repr=False)
class Profile:
    """Curves over the steps of a sampler; made by `mcgen.analysis.along_time` and `mcgen.analysis.symmetry`.

    Attributes
    ----------
    title : str
        What was measured, such as "pair correlations".
    curves : tuple of Curve
        The curves.
    signals : ndarray of shape (steps + 1,), or None
        The signal's share in each state of the sampler; None where it is not known.
    confidence_level : float
        Level of the intervals and of the bands.
    numbers : tuple of Number
        Numbers over all steps.
    slices : Slices or None
        Predictions along lines, for `plot_slices`.
    scores : ndarray of shape (steps, bases, coordinates), or None
        The score of each slice, NaN where it is not defined.
    warnings : tuple of str
        Reasons for doubt.
    provenance : Provenance
        What was done. A replicate is a pair, or a base; `n_evaluations` counts the work in samples of the model.

    Examples
    --------
    >>> import mcgen
    >>> from mcgen.adapters import models
    >>> digits = models.load("digits-diffusion", steps=5)
    >>> found = mcgen.analysis.along_time(digits, n_pairs=10, seed=0, of="state", kinds="negated")
    >>> found.to_frame()["step"].nunique(), len(found.curves)
    (6, 2)
    """

    title: str
    curves: tuple[Curve, ...]
    signals: Floats | None
    confidence_level: float
    provenance: Provenance
    numbers: tuple[Number, ...] = ()
    slices: Slices | None = None
    scores: Floats | None = None
    warnings: tuple[str, ...] = ()

    def curve(self, **labels: str) -> Curve:
        """Return the curve that has these labels, such as ``of="state", kind="negated", measure="standard"``.

        Raises
        ------
        KeyError
            If none, or more than one, has them.
        """
        found = [one for one in self.curves if labels.items() <= one.labels.items()]
        if len(found) != 1:
            known = "; ".join(str(one.labels) for one in self.curves)
            raise KeyError(f"{len(found)} curves have the labels {labels}; there are {known}")
        return found[0]

    def to_frame(self) -> pd.DataFrame:
        """Return a table with a row for each curve and step.

        It has the columns ``step``, ``signal`` (the signal's share, where it is known), the labels of the curves,
        ``mean``, ``low``, ``high``, ``band_low`` and ``band_high``.
        """
        import pandas as pd

        frames = []
        for one in self.curves:
            columns: dict[str, Any] = {"step": one.steps}
            if self.signals is not None:
                columns["signal"] = self.signals[one.steps]
            columns |= one.labels
            columns |= {name: getattr(one, name) for name in ("mean", "low", "high", "band_low", "band_high")}
            frames.append(pd.DataFrame(columns))
        return pd.concat(frames, ignore_index=True)

    def numbers_frame(self) -> pd.DataFrame:
        """Return a table of the numbers over all steps, with the columns ``name``, ``value``, ``low``, ``high``."""
        import pandas as pd

        return pd.DataFrame(self.numbers, columns=[*Number._fields])

    def readable(self) -> pd.DataFrame:
        """Return the table for reading: up to six steps of each curve, and the numbers over all steps, as text."""
        import pandas as pd

        common = sorted(set.intersection(*({*one.steps.tolist()} for one in self.curves)))
        places = np.rint(np.linspace(0, len(common) - 1, _SHOWN_STEPS)).astype(int).tolist()
        last = max(int(one.steps[-1]) for one in self.curves)
        shown = [*dict.fromkeys([*(common[place] for place in places), last])]
        rows = [one.labels | _texts(one, shown) for one in self.curves]
        first = next(iter(self.curves[0].labels))
        rows += [
            {first: number.name, "all steps": _number_text(number.value, number.low, number.high)}
            for number in self.numbers
        ]
        return pd.DataFrame(rows).fillna("")

    def to_markdown(self) -> str:
        """Return the table for reading (`readable`) as Markdown."""
        return Table.of_frame(self.readable()).markdown()

    def to_latex(self) -> str:
        """Return the table for reading (`readable`) as a LaTeX ``tabular``."""
        return Table.of_frame(self.readable()).latex()

    def plot(self, ax: AxesLike | None = None) -> Figure:
        """Draw the curves by step, with their simultaneous bands; needs matplotlib (the extra ``[plot]``).

        A panel shows the curves of one quantity, such as the states; `ax` is one Axes for each panel.
        """
        return plot_curves(self.curves, self.title, ax)

    def plot_slices(self) -> Figure:
        """Draw the predictions along lines through 0, a panel a step (up to six); a straight line is odd.

        Raises
        ------
        ValueError
            If the profile has no slices.
        """
        if self.slices is None:
            raise ValueError("this profile has no slices; those of mcgen.analysis.symmetry have them")
        return plot_slices(self.slices.grid, self.slices.steps, self.slices.values[:, :, 0])

    def summary(self) -> str:
        """Return the long form: the table, what was done, and the warnings."""
        p = self.provenance
        facts = {
            "noise": p.noise,
            "design": p.design,
            "condition": p.condition,
            "work": f"that of {p.n_evaluations:,} samples",
            "versions": ", ".join(f"{name} {version}" for name, version in p.versions.items()),
        }
        return "\n".join([self._text(), *fact_lines(facts), *(f"warning: {text}" for text in self.warnings)])

    def save(self, path: str | Path) -> None:
        """Write the profile as JSON, from which `load` makes an equal one."""
        write_json("profile", self._content(), path)

    @classmethod
    def load(cls, path: str | Path) -> Profile:
        """Read a profile that `save` wrote.

        Raises
        ------
        ValueError
            If the file holds something else, is incomplete, or was written by a newer schema.
        """
        content = read_json("profile", path)
        try:
            parts: dict[str, Any] = {
                "curves": tuple(Curve(**one) for one in content["curves"]),
                "numbers": tuple(Number(**one) for one in content["numbers"]),
                "slices": None if content["slices"] is None else Slices(**content["slices"]),
                "warnings": tuple(content["warnings"]),
                "provenance": Provenance(**content["provenance"]),
            }
            made = cls(**(content | parts))
            _require_arrays(made)
        except (KeyError, TypeError) as error:
            raise ValueError(f"{path} is incomplete, or was changed by hand ({error}); save it again") from error
        return made

    def __str__(self) -> str:
        return with_marks(self._text(), self.warnings)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        return frame_html(self.readable()) + marks_html(self.warnings)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Profile):
            return NotImplemented
        return bool(_compared(self._content()) == _compared(other._content()))

    def __hash__(self) -> int:
        return hash((self.title, self.provenance.seed_text, len(self.curves)))

    def _content(self) -> dict[str, Any]:
        records = {
            "curves": [vars(one) for one in self.curves],
            "numbers": [one._asdict() for one in self.numbers],
            "slices": None if self.slices is None else vars(self.slices),
            "provenance": estimate_to_plain(self.provenance),
        }
        return {one.name: records.get(one.name, getattr(self, one.name)) for one in fields(self)}

    def _text(self) -> str:
        p = self.provenance
        condition = "" if p.condition is None else f", condition {p.condition}"
        head = f"{self.title} of {p.generator}{condition}: {p.n_replicates:,} {p.statistic}, seed {p.seed_text}, "
        table = self.readable().to_string(index=False)
        return f"{head}{percent_of(self.confidence_level)} intervals\n{table}"


def _texts(curve: Curve, steps: Sequence[int]) -> dict[str, str]:
    """Return the texts of some steps of a curve, by the names of their columns; nothing for steps it does not have."""
    places = {step: i for i, step in enumerate(curve.steps.tolist())}
    found = {}
    for step in steps:
        i = places.get(step)
        text = "" if i is None else _number_text(float(curve.mean[i]), float(curve.low[i]), float(curve.high[i]))
        found[f"step {step}"] = text
    return found


def _number_text(value: float, low: float | None, high: float | None) -> str:
    """Return a number with its interval, in decimals that show the interval's width; without one that has no width."""
    if low is None or high is None or high - low <= _NO_WIDTH * max(1.0, abs(value)):
        return f"{value:.3f}"
    decimals = max(2, 1 - math.floor(math.log10((high - low) / 2)))
    return f"{value:.{decimals}f} [{low:.{decimals}f}, {high:.{decimals}f}]"


def _compared(content: dict[str, Any]) -> Any:
    """Return what counts when two profiles are compared: all but times and versions."""
    return to_plain(content | {"provenance": without_circumstances(content["provenance"])})


def _require_arrays(profile: Profile) -> None:
    """Refuse a profile from a file whose curves are not numbers of one length each."""
    curves: Sequence[Curve] = profile.curves
    for one in curves:
        arrays = [getattr(one, name) for name in ("steps", "mean", "low", "high", "band_low", "band_high")]
        if not all(isinstance(array, np.ndarray) and array.shape == arrays[0].shape for array in arrays):
            raise TypeError("the numbers of a curve must be arrays of one length")
    if not curves or not isinstance(profile.title, str) or not isinstance(profile.confidence_level, float):
        raise TypeError("a profile needs curves, a title and a confidence level")
