"""The result of an evaluation: many models measured by many scores."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.serialization import read_json, write_json
from mcgen.results.estimate import Estimate
from mcgen.results.figures.scores import plot_conditions, plot_curves, plot_differences, plot_scores
from mcgen.results.notes import marks_html, with_marks
from mcgen.results.provenance import Provenance
from mcgen.results.score_fields import (
    checked_curves,
    checked_estimates,
    checked_pairs,
    checked_pictures,
    scorecard_from_plain,
    scorecard_to_plain,
)
from mcgen.results.score_pairs import (
    Pair,
    SharedPairs,
    best_models,
    differences_frame,
    is_distance,
    number_of_component,
    shared_pairs,
)
from mcgen.results.score_report import Frame, write_report
from mcgen.results.score_tables import Column, columns_of, cut_table, scorecard_table, scores_frame
from mcgen.results.score_text import headlines, scorecard_summary, scorecard_text, scorecard_warnings

if TYPE_CHECKING:
    import pandas as pd
    from matplotlib.figure import Figure

    from mcgen.results.figures.base import AxesLike

# The most panels of all scores, and of one score, so that each stays readable.
_MOST_PANELS, _MOST_OF_SCORE = 12, 6


@dataclass(frozen=True, eq=False, repr=False)
class Scorecard:
    """Estimates of many scores of many models, and of the differences between the models; made by `evaluate`.

    ``card["model", "score"]`` is an `Estimate`. `differences` compares the models by one score. `best` returns the
    models that cannot be told from the best one.

    Attributes
    ----------
    estimates : mapping of mapping of Estimate
        The estimates, by score and then by model.
    pairs : mapping of mapping of Estimate
        By score and then by the names of two models: the first model minus the second. The models share their noise
        where ``provenance.models_noise`` says so. Each has its own interval; `differences` has intervals that hold
        together.
    curves : mapping of mapping of DataFrame
        By score and then by model: a distance against the number of samples. Columns ``n``, ``plug_in``, ``estimate``,
        ``low`` and ``high``; empty where there are none.
    pictures : mapping of ndarray of shape (2, k, C, H, W) or (2, k, H, W)
        By model: samples of z, and samples of -z; empty where there are none. They are not in files, and don't count
        for equality.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> models = {
    ...     "a": mcgen.as_generator(lambda z: np.tanh(z + 1.0), noise=(4,), name="a"),
    ...     "b": mcgen.as_generator(lambda z: np.tanh(z + 1.1), noise=(4,), name="b"),
    ... }
    >>> card = mcgen.evaluate(models, {"mean": mcgen.statistics.pixel_mean}, n_evaluations=2000, seed=0)
    >>> card.best("mean", largest=True), card["b", "mean"].n_evaluations
    (('b',), 2000)
    >>> card.differences("mean")["verdict"].tolist()
    ['lower']
    """

    estimates: Mapping[str, Mapping[str, Estimate]]
    pairs: Mapping[str, Mapping[Pair, Estimate]] = field(default_factory=dict)
    curves: Mapping[str, Mapping[str, pd.DataFrame]] = field(default_factory=dict)
    pictures: Mapping[str, NDArray[Any]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        object.__setattr__(self, "estimates", checked_estimates(self.estimates))
        object.__setattr__(self, "pairs", checked_pairs(self.pairs, self.estimates))
        object.__setattr__(self, "curves", checked_curves(self.curves, self.estimates))
        object.__setattr__(self, "pictures", checked_pictures(self.pictures, self.models))

    @property
    def models(self) -> tuple[str, ...]:
        """Names of the models, in the order in which they were given."""
        return tuple(dict.fromkeys(model for by_model in self.estimates.values() for model in by_model))

    @property
    def scores(self) -> tuple[str, ...]:
        """Names of the scores, in the order in which they were given."""
        return tuple(self.estimates)

    @property
    def confidence_level(self) -> float:
        """The level of the intervals."""
        return self._first.confidence_level

    @property
    def provenance(self) -> Provenance:
        """The record of the first score of the first model; each estimate and each pair has its own."""
        return self._first.provenance

    @cached_property
    def warnings(self) -> tuple[str, ...]:
        """The warnings of the runs: one for each kind, with the number and the names of what it is about."""
        return scorecard_warnings(self)

    @property
    def _first(self) -> Estimate:
        return next(iter(next(iter(self.estimates.values())).values()))

    def __getitem__(self, key: tuple[str, str]) -> Estimate:
        """Return the estimate of a model by a score.

        Raises
        ------
        KeyError
            If there is none; the message lists the models and the scores.
        """
        if isinstance(key, tuple) and len(key) == 2 and key[0] in self.estimates.get(key[1], {}):
            return self.estimates[key[1]][key[0]]
        raise KeyError(
            f"a scorecard is asked for card[model, score]; got {key!r}. The models are {', '.join(self.models)}; the "
            f"scores are {', '.join(self.scores)}"
        )

    def __contains__(self, key: object) -> bool:
        """Return whether there is an estimate of this model by this score."""
        return isinstance(key, tuple) and len(key) == 2 and key[0] in self.estimates.get(key[1], {})

    # Python would otherwise iterate by card[0], card[1] and so on.
    __iter__ = None

    def shared(self, score: str) -> SharedPairs:
        """Return the estimates of the differences by a score, with intervals that hold together; see `differences`."""
        self._require_score(score)
        if score not in self._shared:
            self._shared[score] = shared_pairs(self.pairs.get(score, {}))
        return self._shared[score]

    @cached_property
    def _shared(self) -> dict[str, SharedPairs]:
        return {}

    def differences(self, score: str) -> pd.DataFrame:
        """Return the differences between the models by one score, with intervals that hold together.

        Parameters
        ----------
        score : str
            Name of the score.

        Returns
        -------
        DataFrame
            A row for each pair of models and each component. Columns: ``first``, ``second``, ``component``,
            ``difference`` (first minus second), ``low``, ``high``, ``noise`` (which noise the models share) and
            ``verdict``. The verdict is that the first model is "lower" or "higher" than the second, or that they
            "cannot be told apart". A difference without an interval at the shared level has NaN for its ends and the
            verdict "no interval"; the warnings say why.

        Notes
        -----
        With the probability of the confidence level c all intervals of the table contain their differences. Each of n
        pairs with k components has Bonferroni's level 1 - (1 - c) / (n k). Where the k components of a pair are
        resampled together, they share 1 - (1 - c) / n. The methods are those of ``simultaneous=True``; runs that
        stopped by themselves keep theirs. The intervals of several scores do not hold together.
        """
        return differences_frame(self.shared(score))

    def best(self, score: str, *, component: str | None = None, largest: bool | None = None) -> tuple[str, ...]:
        """Return the models that cannot be told from the best one by a score, best first.

        Parameters
        ----------
        score : str
            Name of the score.
        component : str, optional
            Which component; needed where the score has several.
        largest : bool, optional
            Whether more is better. By default less is better for distances; other scores need it.

        Returns
        -------
        tuple of str
            One or more models, in the order of their estimates.

        Raises
        ------
        ValueError
            If the score is no distance and `largest` is not given, or it has several components and none is named.
        KeyError
            If there is no such score or component.

        Notes
        -----
        A model is excluded if its difference to some other model, in `differences`, shows that it is worse. If all
        these intervals contain their differences, no excluded model is the best one. So the best model is among those
        returned with at least the probability of the confidence level, for all components of the score at once.
        Several models in the answer are not proved equal: more evaluations may separate them. If the intervals
        contradict each other, so that each model is worse than another one, no model is excluded.
        """
        self._require_score(score)
        by_model = self.estimates[score]
        if largest is None and not is_distance(by_model):
            raise ValueError(
                f"{score!r} is no distance, so mcgen can't know which values are good; got largest=None. Use "
                "largest=True where more is better, or largest=False where less is better"
            )
        if largest is not None and not isinstance(largest, bool | np.bool_):
            raise TypeError(f"largest must be True, False or None; got {largest!r}. Leave it out for distances")
        number = number_of_component(next(iter(by_model.values())).names, component, score)
        return best_models(by_model, self.shared(score), number, bool(largest))

    def to_frame(self) -> pd.DataFrame:
        """Return a table with a row for each score, model and component; those of each condition come first.

        The columns are ``score``, ``model``, those of `Estimate.to_frame`, and ``plug_in`` where a score has one.
        """
        return scores_frame(self.estimates)

    def summary(self) -> str:
        """Return the long form: what the numbers say in words, the table, what was run, and the warnings."""
        return scorecard_summary(self)

    def plot(self, ax: AxesLike | None = None, score: str | None = None) -> Figure:
        """Draw each model's number with its own interval, a panel for each score and component (up to twelve).

        For distances, models that cannot be told from the best are blue, and the plug-in is a hollow marker. Needs
        matplotlib (the extra ``[plot]``).

        Parameters
        ----------
        ax : Axes, or sequence or array of Axes, optional
            Where to draw, one for each panel.
        score : str, optional
            The only score to draw.
        """
        columns = columns_of(self) if score is None else self._columns(score)
        return plot_scores(self, columns[:_MOST_PANELS], ax)

    def plot_differences(self, score: str, ax: AxesLike | None = None) -> Figure:
        """Draw the differences by a score with the intervals that hold together, a panel a component (up to six)."""
        return plot_differences(self, self._columns(score)[:_MOST_OF_SCORE], ax)

    def plot_conditions(self, score: str, ax: AxesLike | None = None) -> Figure:
        """Draw the number of each model under each condition, a panel a component (up to six).

        Raises
        ------
        ValueError
            If the models were not run under several conditions.
        """
        return plot_conditions(self, self._columns(score)[:_MOST_OF_SCORE], ax)

    def plot_curves(self, score: str, ax: AxesLike | None = None) -> Figure:
        """Draw a distance against the number of samples: the plug-in, and the corrected estimate with its band.

        Raises
        ------
        ValueError
            If there is no curve of this score.
        """
        self._require_score(score)
        return plot_curves(self, score, ax)

    def to_markdown(self) -> str:
        """Return the table for a paper as Markdown: models as rows, scores as columns.

        For distances, models that cannot be told from the best are in bold.
        """
        return cut_table(self).markdown()

    def to_latex(self) -> str:
        """Return the same table as a LaTeX ``tabular`` that needs no package."""
        return cut_table(self).latex()

    def report(
        self,
        path: str | Path,
        *,
        title: str | None = None,
        introduction: str | None = None,
        sections: Mapping[str, str] | None = None,
        citation: str | None = None,
    ) -> Path:
        """Write a report as one HTML file without further files, and return its path; needs matplotlib.

        Parameters
        ----------
        path : str or Path
            The file; its folders are made.
        title : str, optional
            The heading; by default the names of the models.
        introduction : str, optional
            A paragraph below the heading, such as what the models are.
        sections : mapping of str to str, optional
            Texts of yours by their headings, after the scorecard's own sections.
        citation : str, optional
            How to cite, such as ``mcgen.citation(card)``.
        """
        return write_report(self, path, Frame(title, introduction, sections or {}, citation))

    def save(self, path: str | Path) -> None:
        """Write the scorecard as JSON, from which `load` makes an equal one; without the pictures."""
        write_json("scorecard", scorecard_to_plain(self, self.pairs), path)

    @classmethod
    def load(cls, path: str | Path) -> Scorecard:
        """Read a scorecard that `save` wrote.

        Raises
        ------
        ValueError
            If the file holds something else, is incomplete, or was written by a newer schema.
        """
        made: Scorecard = scorecard_from_plain(cls, read_json("scorecard", path))
        return made

    def __str__(self) -> str:
        return with_marks(scorecard_text(self), self.warnings)

    __repr__ = __str__

    def _repr_html_(self) -> str:
        import html

        said = "".join(f"<p>{html.escape(text)}</p>" for text in headlines(self))
        return said + scorecard_table(self).html() + marks_html(self.warnings)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Scorecard):
            return NotImplemented
        same = (self.estimates, self.pairs) == (other.estimates, other.pairs)
        same = same and (self.models, self.scores) == (other.models, other.scores)
        mine, theirs = ({(s, m): t for s, by in one.curves.items() for m, t in by.items()} for one in (self, other))
        return same and mine.keys() == theirs.keys() and all(mine[key].equals(theirs[key]) for key in mine)

    def __hash__(self) -> int:
        return hash((self.models, self.scores, self.provenance.seed_text))

    def _columns(self, score: str) -> list[Column]:
        """Return the components of a score; KeyError where there is no such score."""
        self._require_score(score)
        return [column for column in columns_of(self) if column.score == score]

    def _require_score(self, score: str) -> str:
        """Return the name of a score; KeyError where there is none of this name."""
        if score not in self.estimates:
            raise KeyError(f"there is no score {score!r}; the scores are {', '.join(self.scores)}. Give one of them")
        return score
