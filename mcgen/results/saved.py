"""Estimates as dictionaries that JSON can hold, and back."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from mcgen._lib.serialization import to_plain
from mcgen.inference.interval_input import Interval
from mcgen.inference.moments import Moments
from mcgen.inference.stopping import Stopping
from mcgen.results.provenance import Provenance

# Keys of the files that differ from the names of the attributes: files keep the names of the first version.
_KEYS = {"parts": "strata"}


def estimate_to_plain(record: Any) -> dict[str, Any]:
    """Return the fields of an estimate, and of the records inside it, as dictionaries."""

    def plain(value: Any) -> Any:
        if isinstance(value, Interval):
            return value._asdict()
        if isinstance(value, tuple):
            return [plain(item) for item in value]
        return estimate_to_plain(value) if hasattr(value, "__dataclass_fields__") else value

    return {_KEYS.get(f.name, f.name): plain(getattr(record, f.name)) for f in fields(record)}


def attributes_from_plain(content: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of an estimate, all but the estimates that it is made of."""
    moments, provenance, stopping = content["moments"], content["provenance"], content.get("stopping")
    if provenance.get("coefficients") is not None:
        provenance = provenance | {"coefficients": tuple(provenance["coefficients"])}
    own = {name: value for name, value in content.items() if name != "strata"}
    interval = Interval(**content["interval"])
    return own | {
        "interval": interval,
        # Files of older versions have none.
        "half_width": content.get("half_width", interval.half_width),
        "provenance": Provenance(**provenance),
        "moments": None if moments is None else Moments(**moments),
        "stopping": None if stopping is None else Stopping(**stopping),
        "names": tuple(content["names"]),
        "warnings": tuple(content["warnings"]),
    }


# Entries of the provenance that differ from run to run and do not count for equality.
_CIRCUMSTANCES = ("seconds", "seconds_per_evaluation", "timing_error", "versions")


def compared(estimate: Any) -> Any:
    """Return what counts when two estimates are compared: all but times and versions."""

    def without_circumstances(record: dict[str, Any]) -> dict[str, Any]:
        provenance = {k: v for k, v in record["provenance"].items() if k not in _CIRCUMSTANCES}
        # The half-width follows from the rest; files of older versions have it with less digits.
        rest = {name: value for name, value in record.items() if name != "half_width"}
        return rest | {
            "provenance": provenance,
            "strata": [without_circumstances(part) for part in record["strata"]],
        }

    return to_plain(without_circumstances(estimate_to_plain(estimate)))
