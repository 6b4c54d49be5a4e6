"""The fields of a scorecard: checked when it is made, and as dictionaries that JSON can hold."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from mcgen.results.estimate import Estimate, estimate_from_plain
from mcgen.results.saved import estimate_to_plain
from mcgen.results.score_pairs import Pair, ShownScorecard

if TYPE_CHECKING:
    import pandas as pd

CURVE = ("n", "plug_in", "estimate", "low", "high")
"""Columns of a curve: number of samples, value of the samples as they are, corrected value and its interval."""


def checked_estimates(estimates: Any) -> dict[str, dict[str, Estimate]]:
    """Return the estimates by score and model, or refuse what is none, or differs in its components.

    Raises
    ------
    TypeError, ValueError
        If something is no Estimate, there is none, or the models of a score have other components than each other.
    """
    found = _nested("estimates", estimates)
    if not found or not all(found.values()):
        raise ValueError(
            f"a scorecard needs one or more scores, each of one or more models; got {estimates!r}. Give a dict such as "
            "{'fid': {'a': estimate, 'b': estimate}}"
        )
    for score, by_model in found.items():
        names = {model: _checked_estimate(one, f"{score!r} of {model!r}").names for model, one in by_model.items()}
        if len(set(names.values())) > 1:
            raise ValueError(
                f"all models must have the same components of {score!r}; got {names}. Measure them by the same score"
            )
        for what in ("features", "reference"):
            compared = {model: getattr(one.provenance, what) for model, one in by_model.items()}
            if len(set(compared.values())) > 1:
                raise ValueError(
                    f"only distances of the same features from the same reference can be compared; {score!r} has the "
                    f"{what} {compared}. Measure all models by the same score"
                )
    return found


def checked_pairs(pairs: Any, estimates: Mapping[str, Mapping[str, Estimate]]) -> dict[str, dict[Pair, Estimate]]:
    """Return the differences by score and pair of models, or refuse those of other scores, models or components."""
    found = _without_empty(_nested("pairs", pairs))
    for score, by_pair in found.items():
        if score not in estimates:
            raise ValueError(f"pairs must be of the scores {', '.join(estimates)}; got {score!r}. Leave it out")
        models = estimates[score]
        for pair, one in by_pair.items():
            named = isinstance(pair, tuple) and len(pair) == 2 and pair[0] != pair[1]
            if not (named and all(model in models for model in pair)) or pair[::-1] in by_pair:
                raise ValueError(
                    f"each pair of {score!r} must be two of the models {', '.join(models)}, once in one order; got "
                    f"{pair!r}. Give keys such as {tuple(models)[:2]!r}"
                )
            names = next(iter(models.values())).names
            if len(_checked_estimate(one, f"{score!r} of {pair!r}").names) != len(names):
                raise ValueError(
                    f"a difference must have the components of its score; got {one.names} of {pair!r} for {names}. "
                    "Measure both by the same score"
                )
    return found


def checked_curves(curves: Any, estimates: Mapping[str, Mapping[str, Estimate]]) -> dict[str, dict[str, pd.DataFrame]]:
    """Return the curves by score and model as data frames, or refuse those of other scores, models or columns."""
    found = _without_empty(_nested("curves", curves))
    if not found:
        return found
    import pandas as pd

    for score, by_model in found.items():
        for model, one in by_model.items():
            if model not in estimates.get(score, {}):
                raise ValueError(f"curves must be of estimates; got one of {score!r} of {model!r}. Leave it out")
            frame = one if isinstance(one, pd.DataFrame) else pd.DataFrame(one, columns=[*CURVE])
            if not set(CURVE) <= set(frame.columns) or frame.empty:
                raise ValueError(
                    f"a curve must have rows and the columns {', '.join(CURVE)}; got {[*frame.columns]} with "
                    f"{len(frame)} rows for {score!r} of {model!r}. Leave it out where there is none"
                )
            columns = {name: frame[name].to_numpy(np.int64 if name == "n" else np.float64) for name in CURVE}
            by_model[model] = pd.DataFrame(columns)
    return found


def checked_pictures(pictures: Any, models: tuple[str, ...]) -> dict[str, NDArray[Any]]:
    """Return the pictures of z and -z by model, or refuse other models and shapes."""
    found = {model: np.asarray(one) for model, one in dict(pictures or {}).items()}
    for model, one in found.items():
        grey_or_colour = one.ndim == 4 or (one.ndim == 5 and one.shape[2] in (1, 3))
        if model not in models or not grey_or_colour or one.shape[0] != 2 or one.size == 0:
            raise ValueError(
                "pictures must be arrays of shape (2, k, C, H, W) with 1 or 3 channels, or (2, k, H, W), of the models "
                f"{', '.join(models)}; got {model!r} with shape {one.shape}. The first row is of z, the second of -z"
            )
    return found


def _nested(name: str, given: Any) -> dict[str, dict[Any, Any]]:
    """Return a mapping of mappings as dicts."""
    if not isinstance(given, Mapping) or not all(isinstance(one, Mapping) for one in given.values()):
        raise TypeError(f"{name} must be a dict of dicts, by score first; got {type(given).__name__} {given!r}")
    return {str(score): dict(inner) for score, inner in given.items()}


def _without_empty(given: dict[str, dict[Any, Any]]) -> dict[str, dict[Any, Any]]:
    """Return what is not empty: files have no empty parts."""
    return {name: inner for name, inner in given.items() if inner}


def _checked_estimate(one: Any, what: str) -> Estimate:
    if not isinstance(one, Estimate):
        raise TypeError(
            f"{what} must be an Estimate; got {type(one).__name__}. Make it by mcgen.estimate or difference"
        )
    return one


def scorecard_to_plain(card: ShownScorecard, pairs: Mapping[str, Mapping[Pair, Estimate]]) -> dict[str, Any]:
    """Return the fields of a scorecard, without its pictures, as records.

    Names of models and scores are values and no keys, so that any name can be written.
    """
    return {
        "estimates": [
            {"score": score, "model": model, "estimate": estimate_to_plain(one)}
            for score, by_model in card.estimates.items()
            for model, one in by_model.items()
        ],
        "pairs": [
            {"score": score, "first": first, "second": second, "estimate": estimate_to_plain(one)}
            for score, by_pair in pairs.items()
            for (first, second), one in by_pair.items()
        ],
        "curves": [
            {"score": score, "model": model, **{name: one[name].to_numpy() for name in CURVE}}
            for score, by_model in card.curves.items()
            for model, one in by_model.items()
        ],
    }


def scorecard_from_plain(kind: Any, content: dict[str, Any]) -> Any:
    """Return the scorecard whose fields `scorecard_to_plain` gave.

    Raises
    ------
    ValueError
        If fields are missing, or are others.
    """
    try:
        estimates: dict[str, dict[str, Estimate]] = {}
        for one in content["estimates"]:
            estimates.setdefault(_text(one["score"]), {})[_text(one["model"])] = estimate_from_plain(one["estimate"])
        pairs: dict[str, dict[Pair, Estimate]] = {}
        for one in content["pairs"]:
            both = _text(one["first"]), _text(one["second"])
            pairs.setdefault(_text(one["score"]), {})[both] = estimate_from_plain(one["estimate"])
        curves: dict[str, dict[str, dict[str, Any]]] = {}
        for one in content["curves"]:
            curves.setdefault(one["score"], {})[one["model"]] = {name: one[name] for name in CURVE}
        return kind(estimates, pairs, curves)
    except (KeyError, TypeError, AttributeError, ValueError) as error:
        raise ValueError(
            f"the saved scorecard is incomplete, or was changed by hand or by another version ({error}); save it again"
        ) from error


def _text(value: Any) -> str:
    if not isinstance(value, str):
        raise TypeError(f"names must be texts; got {value!r}")
    return value
