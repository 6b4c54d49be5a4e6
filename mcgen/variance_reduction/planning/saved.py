"""What a saved plan keeps of its parts: their numbers, and texts in place of models, designs and controls."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any, cast

import numpy as np

from mcgen._lib.arrays import Floats
from mcgen._lib.names import name_of
from mcgen.designs import Design
from mcgen.generators import Generator
from mcgen.noise import Noise, NoiseSpec
from mcgen.noise.random import as_seed_sequence
from mcgen.replicates.streams import condition_text
from mcgen.replicates.task import Estimand
from mcgen.results.provenance import text_of_seed
from mcgen.variance_reduction.controls.control_variates import Controls
from mcgen.variance_reduction.planning.candidate import Candidate
from mcgen.variance_reduction.planning.coarse import Coarse

NOT_RUN = (
    "this plan is from a file, which has its numbers but no model, and can't run; call mcgen.plan again with the same "
    "generator, statistic and seed, or pass the chosen design to mcgen.estimate"
)
_NOT_FINITE = ("nan", "inf", "-inf")


@dataclass(frozen=True)
class PlanProvenance:
    """What was planned.

    Attributes
    ----------
    generator, statistic : str
        Their names.
    condition : str or None
        Name or text form of the condition.
    seed_text : str
        The seed as one would pass it again.
    n_evaluations : int
        What pilot and run cost together, in evaluations of the generator.
    """

    generator: str
    statistic: str
    condition: str | None
    seed_text: str
    n_evaluations: int

    @classmethod
    def of(cls, estimand: Estimand, n_evaluations: int) -> PlanProvenance:
        """Return the record of a plan for an estimand."""
        condition = estimand.label
        if condition is None and estimand.condition is not None:
            condition = condition_text(estimand.condition)
        score = estimand.given.things.get("statistic", estimand.statistic)
        names = name_of(estimand.generator), name_of(score)
        return cls(*names, condition, text_of_seed(as_seed_sequence(estimand.seed)), n_evaluations)

    @classmethod
    def from_plain(cls, content: dict[str, Any]) -> PlanProvenance:
        """Return the record that `asdict` gave."""
        made = cls(**content)
        texts = made.generator, made.statistic, made.seed_text, made.condition or ""
        _require(all(isinstance(text, str) for text in texts), "names and seed are texts")
        _count(made.n_evaluations)
        return made


@dataclass(frozen=True)
class SavedDesign:
    """A design of a saved plan: its text and its number of points. It draws nothing."""

    text: str
    n_points: int

    def draw(self, *arguments: Any, **options: Any) -> Noise:
        """Refuse: only the text of the design was saved."""
        raise ValueError(NOT_RUN)

    def __str__(self) -> str:
        return self.text


@dataclass(frozen=True)
class SavedGenerator:
    """The name of a generator of a saved plan. It makes no samples."""

    name: str

    @property
    def noise(self) -> NoiseSpec:
        """Refuse: only the name of the generator was saved."""
        raise ValueError(NOT_RUN)

    def __call__(self, noise: Noise, condition: Any = None) -> Any:
        """Refuse: only the name of the generator was saved."""
        raise ValueError(NOT_RUN)


@dataclass(frozen=True)
class SavedControls:
    """The text of the control variates of a saved plan. They have no values."""

    name: str


def candidate_to_plain(one: Candidate) -> dict[str, Any]:
    """Return a candidate as JSON can hold it."""
    return {
        "name": one.name,
        "designs": [{"text": str(design), "n_points": design.n_points} for design in one.designs],
        "n_replicates": [*one.n_replicates],
        "variance": numbers_to_plain(one.variance),
        "half_width": numbers_to_plain(one.half_width),
        "error": numbers_to_plain(one.error),
        "known_from": one.known_from,
        "coarse": None if one.coarse is None else {"name": name_of(one.coarse.generator), "cost": one.coarse.cost},
        "coefficients": None if one.coefficients is None else numbers_to_plain(one.coefficients),
        "controls": None if one.controls is None else one.controls.name,
        "unseen": one.unseen,
    }


def candidate_from_plain(content: dict[str, Any]) -> Candidate:
    """Return the candidate that `candidate_to_plain` was given, with texts in place of what can run."""
    designs: list[Design] = [SavedDesign(str(one["text"]), _count(one["n_points"])) for one in content["designs"]]
    counts = tuple(_count(n) for n in content["n_replicates"])
    coarse, coefficients, controls = content["coarse"], content["coefficients"], content["controls"]
    below: Generator | None = None if coarse is None else SavedGenerator(str(coarse["name"]))
    _require(len(designs) == len(counts) == (1 if below is None else 2), "a candidate has a design for each level")
    made = Candidate(
        str(content["name"]),
        tuple(designs),
        counts,
        numbers_from_plain(content["variance"]),
        numbers_from_plain(content["half_width"]),
        numbers_from_plain(content["error"]),
        str(content["known_from"]),
        None if below is None else Coarse(below, _number(coarse["cost"])),
        None if coefficients is None else numbers_from_plain(coefficients),
        None if controls is None else cast("Controls", SavedControls(str(controls))),
        str(content.get("unseen", "")),
    )
    _require(len(made.variance) == len(made.half_width) == len(made.error), "a candidate has as many errors as widths")
    return made


def attributes_from_plain(content: dict[str, Any]) -> dict[str, Any]:
    """Return the attributes of a saved plan, checked against each other."""
    candidates = tuple(candidate_from_plain(one) for one in content["candidates"])
    names, reasons = _texts(content["names"]), _texts(content["reasons"])
    widths = {len(one.half_width) for one in candidates}
    _require(bool(candidates) and (not names or widths == {len(names)}), "candidates have a width for each name")
    chosen = _count(content["chosen"])
    return {
        "candidates": candidates,
        "chosen": candidates[chosen],
        "pilot_evaluations": _count(content["pilot_evaluations"]),
        "reasons": reasons,
        "names": names,
        "correlations": tuple(numbers_from_plain(one) for one in content["correlations"]),
        "_saved": PlanProvenance.from_plain(content["provenance"]),
    }


def provenance_to_plain(provenance: PlanProvenance) -> dict[str, Any]:
    """Return what was planned as JSON can hold it."""
    return asdict(provenance)


def numbers_to_plain(values: Floats) -> list[float | str]:
    """Return numbers as a list; those that JSON lacks are the texts ``nan``, ``inf`` and ``-inf``."""
    return [value if math.isfinite(value) else str(value) for value in values.tolist()]


def numbers_from_plain(content: Any) -> Floats:
    """Return the numbers that `numbers_to_plain` was given."""
    _require(isinstance(content, list), "numbers are a list")
    return np.array([float(value) if value in _NOT_FINITE else _number(value) for value in content], dtype=np.float64)


def _number(value: Any) -> float:
    _require(isinstance(value, int | float) and not isinstance(value, bool), f"{value!r} is no number")
    return float(value)


def _texts(value: Any) -> tuple[str, ...]:
    _require(isinstance(value, list) and all(isinstance(one, str) for one in value), f"{value!r} is no list of texts")
    return tuple(value)


def _count(value: Any) -> int:
    _require(isinstance(value, int) and not isinstance(value, bool) and value >= 0, f"{value!r} is no count")
    return int(value)


def _require(met: bool, rule: str) -> None:
    if not met:
        raise TypeError(rule)
