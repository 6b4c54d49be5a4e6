r"""Whether FlowEdit's edits are better with noises z and -z than with independent ones, at equal cost.

FlowEdit averages velocities over m noises at every step: here m / 2 pairs z and -z, or m independent ones. A source is
a held-out digit of class c, and is edited to the class (c + 5) mod 10 several times by each kind of noise. A win is an
edit of the first kind that is better than one of the second. The share of wins in all comparisons of one source
estimates :math:`P(X > Y) + P(X = Y) / 2`. These comparisons share their edits, so that they are not independent: the
interval inside a source is Brunner and Munzel's [1]_ [2]_, and that over sources is Student's t of the sources' shares.
A binomial interval of all comparisons would be too narrow.

An edit follows its target by the probability that a classifier gives to the target class; it keeps its source by its
mean absolute distance (L1) from the source. The spread is the standard deviation of a pixel over the noise, averaged
over pixels and sources.

.. rubric:: References

.. [1] E. Brunner, U. Munzel (2000). The nonparametric Behrens-Fisher problem: asymptotic theory and a small-sample
   approximation. Biometrical Journal 42, 17-25.
.. [2] statsmodels, ``statsmodels.stats.nonparametric.rank_compare_2indep``.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

import mcgen
from mcgen._lib.arrays import Floats, as_numpy
from mcgen.adapters import Edit, FlowEdit, models, velocity_of
from mcgen.adapters.models.training import data
from mcgen.inference.interval_input import student_t_quantile
from mcgen.noise import as_rows
from mcgen.validation.writing.markdown import chosen, fill_page, made_by, markdown_table, require_marks

_SEED = 0
_LEVEL = 0.95
PAGE, TITLE = "explanation/antithetic.md", "editing"
KINDS = {"z and -z": True, "independent": False}
"""What `FlowEdit` takes as ``pairs`` for each kind of noise."""


@dataclass(frozen=True)
class Study:
    """The edits of one model.

    Attributes
    ----------
    model : str
        The shipped model.
    n_sources, n_edits : int
        Sources, and edits of each by each kind of noise.
    steps, skip, n_average
        See `FlowEdit`.
    """

    model: str
    n_sources: int
    n_edits: int = 10
    steps: int = 20
    skip: int = 5
    n_average: int = 2


# With 5 of 20 steps left out the edits of MNIST's digits hardly differ from their sources.
STUDIES = {one.model: one for one in (Study("digits-diffusion", 60), Study("mnist-ddpm", 40, skip=2))}


class Share(NamedTuple):
    """The share of wins inside a source, with its interval, whose ends are NaN where all comparisons end alike."""

    value: float
    low: float
    high: float

    @property
    def decided(self) -> int | None:
        """1 or 0 where the interval, or all comparisons, are on this side of one half; else None."""
        if self.value == 1 or self.low > 0.5:
            return 1
        return 0 if self.value == 0 or self.high < 0.5 else None


class Edits(NamedTuple):
    """The edits of one source by one kind of noise: higher is better for the first, lower for the second.

    Attributes
    ----------
    target : ndarray of shape (n_edits,)
        The classifier's probability of the target class.
    distance : ndarray of shape (n_edits,)
        Mean absolute distance from the source.
    spread : float
        Standard deviation of a pixel over the edits, averaged over pixels.
    """

    target: Floats
    distance: Floats
    spread: float


def share_of_wins(better: Floats, worse: Floats, level: float = _LEVEL) -> Share:
    """Return the share of comparisons in which a value of the first sample is larger, ties counted half.

    Parameters
    ----------
    better, worse : ndarray
        Two independent samples.
    level : float
        Level of Brunner and Munzel's interval.

    Examples
    --------
    >>> import numpy as np
    >>> from mcgen.validation.measurements.editing import share_of_wins
    >>> share_of_wins(np.array([1.0, 2.0, 4.0]), np.array([0.0, 2.0, 3.0])).value
    0.6111111111111112
    """
    from statsmodels.stats.nonparametric import rank_compare_2indep

    with np.errstate(divide="ignore", invalid="ignore"):
        found = rank_compare_2indep(better, worse)
        low, high = found.conf_int(alpha=1 - level)
    return Share(float(found.prob1), float(low), float(high))


def mean_and_half_width(values: Floats, level: float = _LEVEL) -> tuple[float, float]:
    """Return the mean of independent values and the half-width of its Student t interval."""
    n = len(values)
    half = student_t_quantile((1 + level) / 2, n - 1.0) * values.std(ddof=1) / np.sqrt(n)
    return float(values.mean()), float(half)


def edits_of(study: Study) -> list[dict[str, Edits]]:
    """Return the edits of each source, by the kind of noise."""
    model: Any = models.load(study.model)
    images = getattr(data, study.model.partition("-")[0])()
    probabilities = _classifier(images)
    velocity, found = velocity_of(model), []
    for number in range(study.n_sources):
        source, label = images.x_new[number], int(images.y_new[number])
        target, by_kind = (label + 5) % 10, {}
        for kind, pairs in KINDS.items():
            editor = FlowEdit(
                velocity,
                model.shape,
                steps=study.steps,
                skip=study.skip,
                n_average=study.n_average,
                pairs=pairs,
                decode=model.decode,
            )
            noise = mcgen.MonteCarlo().draw(editor.noise, study.n_edits, _SEED, stream=("editing", kind, number))
            edits = as_numpy(editor(as_rows(noise), Edit(2 * source - 1, label, target)))
            flat = edits.reshape(study.n_edits, -1).astype(np.float64)
            distance = np.abs(flat - as_numpy(source).reshape(1, -1)).mean(axis=1)
            by_kind[kind] = Edits(probabilities(flat)[:, target], distance, float(flat.std(axis=0, ddof=1).mean()))
        found.append(by_kind)
    return found


def _classifier(images: Any) -> Callable[[Floats], Floats]:
    """Return a function from flattened images to the probabilities of their classes, fitted to the training images."""
    from sklearn.linear_model import LogisticRegression

    fitted = LogisticRegression(max_iter=1000).fit(images.x.flatten(1).numpy(), images.y.numpy())
    return lambda flat: np.asarray(fitted.predict_proba(flat), np.float64)


def rows_of(name: str, found: list[dict[str, Edits]]) -> list[list[str]]:
    """Return the rows of a model's table: one for each measure."""
    measures: Mapping[str, tuple[int, int]] = {"target's probability": (0, 1), "L1 to the source": (1, -1)}
    rows = []
    for measure, (place, sign) in measures.items():
        values = [[np.asarray(by_kind[kind][place]) for kind in KINDS] for by_kind in found]
        means = np.array([[one.mean() for one in pair] for pair in values])
        difference = mean_and_half_width(means[:, 0] - means[:, 1])
        shares = [share_of_wins(sign * a, sign * b) for a, b in values]
        over_sources = mean_and_half_width(np.array([one.value for one in shares]))
        won, lost = (sum(one.decided == end for one in shares) for end in (1, 0))
        decided = f"{won} / {lost}"
        texts = [f"{mean:.4f}" for mean in means.mean(axis=0)]
        rows.append([name, measure, *texts, _plus_minus(difference, 4), _plus_minus(over_sources, 3), decided])
    spreads = np.array([[by_kind[kind].spread for kind in KINDS] for by_kind in found])
    texts = [f"{spread:.4f}" for spread in spreads.mean(axis=0)]
    difference = mean_and_half_width(spreads[:, 0] - spreads[:, 1])
    rows.append([name, "spread over the noise", *texts, _plus_minus(difference, 4), "", ""])
    print(*rows, sep="\n", flush=True)
    return rows


def _plus_minus(pair: tuple[float, float], digits: int) -> str:
    return f"{pair[0]:.{digits}f} ± {pair[1]:.{digits}f}"


def write_table(folder: Path, only: str = "") -> None:
    """Measure the models whose name contains `only`; without `only`, write the table into the page of a folder."""
    names = chosen(STUDIES, only, "model")
    if not only:
        require_marks(folder / PAGE, (TITLE,))
    rows = [row for name in names for row in rows_of(name, edits_of(STUDIES[name]))]
    if only:
        return
    head = ["model", "measure", *KINDS, "difference", "share of wins", "sources won / lost"]
    note = made_by("python -m mcgen.validation editing", _SEED)
    fill_page(folder / PAGE, {TITLE: f"{markdown_table(head, rows)}\n\n{note}"})
