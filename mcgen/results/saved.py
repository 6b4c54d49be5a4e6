"""Estimates as dictionaries that JSON can hold, and back."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import fields
from typing import Any

import numpy as np
from numpy.random import SeedSequence

from mcgen._lib.serialization import to_plain
from mcgen.inference.functional_intervals import Lengthened, Scale
from mcgen.inference.interval_input import Interval
from mcgen.inference.moments import Moments
from mcgen.inference.population import VarianceComponents
from mcgen.inference.quantile_sums import QuantileSum
from mcgen.inference.quantiles import Quantiles
from mcgen.inference.stopping import Stopping
from mcgen.results.provenance import Provenance

# Keys of the files that differ from the names of the attributes: files keep the names of the first version.
_KEYS = {"parts": "strata"}
# Attributes that only some estimates have: files of the others do without them, as those of older versions do.
_LEFT_OUT_IF_NONE = {
    "pairs",
    "product",
    "plug_in",
    "scale",
    "quantiles",
    "variance_components",
    "n_clusters",
    "between_conditions",
} | {
    *("functional", "features", "reference", "across", "model", "models_noise", "between_clusters"),
}

# Attributes that are not in files: samples, and the influence of each point of a reference.
_NOT_SAVED = {"samples", "of_reference"}


def estimate_to_plain(record: Any) -> dict[str, Any]:
    """Return the fields of an estimate, and of the records inside it, as dictionaries."""

    def plain(value: Any) -> Any:
        if isinstance(value, Interval):
            return value._asdict()
        if isinstance(value, tuple):
            return [plain(item) for item in value]
        return estimate_to_plain(value) if hasattr(value, "__dataclass_fields__") else value

    values = {f.name: getattr(record, f.name) for f in fields(record) if f.name not in _NOT_SAVED}
    return {
        _KEYS.get(name, name): plain(value)
        for name, value in values.items()
        if value is not None or name not in _LEFT_OUT_IF_NONE
    }


def attributes_from_plain(content: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of an estimate, all but the estimates that it is made of."""
    moments, provenance, stopping = content["moments"], content["provenance"], content.get("stopping")
    if provenance.get("coefficients") is not None:
        provenance = provenance | {"coefficients": tuple(provenance["coefficients"])}
    own = {name: value for name, value in content.items() if name != "strata"}
    for name in ("names", "warnings"):
        if not isinstance(own[name], list):
            raise TypeError(f"{name} must be a list of texts; got {own[name]!r}")
    interval = Interval(**content["interval"])
    return own | {
        "interval": interval,
        # Files of older versions have none.
        "half_width": content.get("half_width", interval.half_width),
        "provenance": Provenance(**provenance),
        "moments": None if moments is None else Moments(**moments),
        "stopping": None if stopping is None else Stopping(**stopping),
        "scale": _scale_from(content.get("scale")),
        "quantiles": _quantiles_from(content.get("quantiles")),
        "variance_components": (
            None
            if content.get("variance_components") is None
            else components_from_plain(content["variance_components"])
        ),
        "names": tuple(content["names"]),
        "warnings": tuple(content["warnings"]),
        "boolean": tuple(content.get("boolean", ())),
        "weights": tuple(content.get("weights", ())),
        "bounds": tuple(map(tuple, content.get("bounds", ()))),
    }


def _scale_from(content: dict[str, Any] | None) -> Scale | Lengthened | None:
    if content is None:
        return None
    return Lengthened(**content) if "from_zero" in content else Scale(**content)


def _quantiles_from(content: dict[str, Any] | None) -> Quantiles | QuantileSum | None:
    """Return what the interval of a quantile, or of a sum of quantiles, is made from."""
    if content is None or "terms" not in content:
        return None if content is None else Quantiles(**content)
    terms = tuple(Quantiles(**term) for term in content["terms"])
    return QuantileSum(terms, tuple(content["factors"]), content["same_noise"])


def components_from_plain(content: dict[str, Any]) -> VarianceComponents:
    """Return the variance components of a file, which leaves out those that are None."""
    absent: dict[str, Any] = dict.fromkeys(("n_clusters", "between_clusters", "between_conditions"))
    return VarianceComponents(**absent | content)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _are(kind: type) -> Callable[[Any], bool]:
    return lambda value: isinstance(value, tuple) and all(isinstance(one, kind) for one in value)


# Tests of the values of saved fields, by the annotations of the records; `A | B` passes the test of A or that of B.
_TESTS: dict[str, Callable[[Any], bool]] = {
    "None": lambda value: value is None,
    "bool": lambda value: isinstance(value, bool),
    "dict[str, str]": lambda value: (
        isinstance(value, dict) and all(isinstance(text, str) for pair in value.items() for text in pair)
    ),
    "float": _is_number,
    "Floats": lambda value: isinstance(value, np.ndarray) and value.dtype.kind == "f",
    "int": lambda value: isinstance(value, int) and not isinstance(value, bool) and value >= 0,
    "NDArray[np.int64]": lambda value: isinstance(value, np.ndarray) and value.dtype.kind == "i",
    "SeedSequence": lambda value: isinstance(value, SeedSequence),
    "str": lambda value: isinstance(value, str),
    "tuple[float, ...]": lambda value: isinstance(value, tuple) and all(map(_is_number, value)),
    "tuple[bool, ...]": _are(bool),
    "tuple[tuple[float, float], ...]": lambda value: (
        isinstance(value, tuple) and all(len(pair) == 2 and all(map(_is_number, pair)) for pair in value)
    ),
    "tuple[str, ...]": _are(str),
}


def require_fields(estimate: Any) -> None:
    """Refuse an estimate from a file whose fields have other types or shapes than a run gives them.

    Raises
    ------
    TypeError
        If a field is a text where numbers belong, has another shape than the mean, or the like.
    """
    _require_types(estimate, "")
    for name in ("provenance", "moments", "stopping", "scale", "quantiles", "variance_components"):
        if getattr(estimate, name) is not None:
            _require_types(getattr(estimate, name), f"{name}.")
    mean, k = np.shape(estimate.mean), int(np.size(estimate.mean))
    shaped = {name: getattr(estimate, name) for name in ("standard_error", "degrees_of_freedom", "skewness")}
    shaped |= {"interval.low": estimate.interval.low, "interval.high": estimate.interval.high}
    for name, value in shaped.items():
        if name == "skewness" and value is None:
            continue
        if not (_TESTS["float"](value) or _TESTS["Floats"](value)):
            raise TypeError(f"{name} must be numbers; got {value!r}")
        if np.shape(value) != mean:
            raise TypeError(f"{name} must have the shape {mean} of the mean; got {np.shape(value)}")
    by_component = {"names": estimate.names, "coefficients": estimate.provenance.coefficients}
    for name, value in (by_component | {"bounds": estimate.bounds or None}).items():
        if value is not None and len(value) != k:
            raise TypeError(f"{name} must be {k}, one for each component; got {len(value)}")
    if not 0 < estimate.confidence_level < 1:
        raise TypeError(f"confidence_level must lie between 0 and 1; got {estimate.confidence_level}")
    for name in ("replicate_means", "within"):
        value = getattr(estimate, name)
        if value is not None and (value.ndim != 2 or value.shape[1] != k):
            raise TypeError(f"{name} must have a column for each of {k} components; got the shape {value.shape}")
    for name, value in vars(estimate.moments).items() if estimate.moments is not None else ():
        if isinstance(value, np.ndarray) and value.shape != ((k, k) if name == "comoment" else (k,)):
            raise TypeError(f"moments.{name} must have an entry for each of {k} components; got shape {value.shape}")


def _require_types(record: Any, prefix: str) -> None:
    """Refuse fields that do not pass the tests of their annotations; fields that are records are left out."""
    for one in fields(record):
        kinds, value = str(one.type).split(" | "), getattr(record, one.name)
        tests = [_TESTS[kind] for kind in kinds if kind in _TESTS]
        if len(tests) == len(kinds) and not any(test(value) for test in tests):
            raise TypeError(f"{prefix}{one.name} must be {one.type}; got {value!r}")


# Entries of the provenance that differ from run to run and do not count for equality.
_CIRCUMSTANCES = ("seconds", "seconds_per_evaluation", "timing_error", "versions")


def without_circumstances(provenance: dict[str, Any]) -> dict[str, Any]:
    """Return the entries of a provenance that count for equality: all but times and versions."""
    return {name: value for name, value in provenance.items() if name not in _CIRCUMSTANCES}


def compared(estimate: Any) -> Any:
    """Return what counts when two estimates are compared: all but times and versions."""

    def what_counts(record: dict[str, Any]) -> dict[str, Any]:
        # The half-width follows from the rest; files of older versions have it with less digits.
        rest = {name: value for name, value in record.items() if name != "half_width"}
        return rest | {
            "provenance": without_circumstances(record["provenance"]),
            "strata": [what_counts(part) for part in record["strata"]],
        }

    return to_plain(what_counts(estimate_to_plain(estimate)))
