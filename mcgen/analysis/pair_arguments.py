"""The arguments of `pairs`: kinds of pairs, measures, conditions, references and regions."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats, as_numpy, numbers_of
from mcgen._lib.names import name_of
from mcgen.analysis.measures import Measure
from mcgen.designs import Antithetic, Design, MonteCarlo
from mcgen.designs._base import Path, Replicates, checked_design
from mcgen.noise import Noise, NoiseSpec, Shape
from mcgen.noise.random import Seed
from mcgen.replicates.sizes import Conditions, is_named, named_conditions
from mcgen.replicates.streams import labels_of
from mcgen.runs.conditions import require_different

STANDARD = ("standard", "centralized", "wasserstein")
"""The measures that are known by name."""
ALL = "all"
"""What results call all conditions together; no condition has this name."""
_KINDS: dict[str, Design] = {"negated": Antithetic(), "independent": MonteCarlo()}


@dataclass(frozen=True)
class Kind:
    """A kind of pairs: its name in results, and the design that draws them; one of one point draws independent ones."""

    name: str
    design: Design


@dataclass(frozen=True)
class _FirstTwo:
    """The first two points of each replicate of a design, as a design."""

    base: Design
    n_points: int = 2

    def __repr__(self) -> str:
        return f"first two of {self.base}"

    def draw(
        self,
        spec: NoiseSpec | Shape,
        replicates: Replicates,
        seed: Seed,
        *,
        stream: Path = (),
        points: range | None = None,
    ) -> Noise:
        """Return the noise of some replicates; see `PointsDesign.draw`."""
        return self.base.draw(spec, replicates, seed, stream=stream, points=points or range(2))


def checked_kinds(kinds: Any, share_first: bool) -> tuple[Kind, ...]:
    """Return the kinds with their designs, or refuse what is no design of pairs."""
    if isinstance(kinds, str | Design):
        kinds = (kinds,)
    if not isinstance(kinds, Iterable):
        raise TypeError(f"kinds must be names such as {', '.join(_KINDS)}, or designs of two points; got {kinds!r}")
    found = [_kind(one) for one in kinds]
    names = [kind.name for kind in found]
    if not found or len(set(names)) < len(names):
        raise ValueError(f"kinds must be one or more, all different; got {names}")
    if share_first and (found[0].design.n_points == 1 or all(kind.design.n_points > 1 for kind in found)):
        raise ValueError(
            f"share_first gives independent pairs the first samples of the first kind; got the kinds {names}. Put "
            "another kind first, and 'independent' after it"
        )
    return tuple(found)


def _kind(one: Any) -> Kind:
    """Return a kind by its name or its design."""
    if isinstance(one, str) and one not in _KINDS:
        raise ValueError(f"a kind of pairs is one of {', '.join(_KINDS)}, or a design of two points; got {one!r}")
    design = _KINDS[one] if isinstance(one, str) else checked_design(one)
    name = one if isinstance(one, str) else str(one)
    if not isinstance(one, str) and design.n_points == 1:
        name = "independent"
    return Kind(name, _FirstTwo(design) if design.n_points > 2 else design)


def checked_measures(measures: Any) -> tuple[str | Measure, ...]:
    """Return the measures one by one, or refuse unknown ones and those of the same name."""
    if isinstance(measures, str) or callable(measures):
        measures = (measures,)
    if not isinstance(measures, Iterable):
        raise TypeError(f"measures must be names such as {', '.join(STANDARD)}, or functions; got {measures!r}")
    given = tuple(measures)
    for one in given:
        if isinstance(one, str) and one not in STANDARD:
            raise ValueError(f"a measure is one of {', '.join(STANDARD)}, or a function of two batches; got {one!r}")
        if not isinstance(one, str) and not callable(one):
            raise TypeError(f"a measure is one of {', '.join(STANDARD)}, or a function of two batches; got {one!r}")
    names = [one if isinstance(one, str) else name_of(one) for one in given]
    if not names or len(set(names)) < len(names):
        raise ValueError(f"measures must be one or more, with different names; got {names}. Give each a name")
    return given


def checked_labels(conditions: Conditions) -> tuple[str, ...]:
    """Return what results call several conditions, or refuse those that repeat or have the name of all of them."""
    require_different(conditions, "list each once, since repeated ones have the same samples")
    labels = labels_of(conditions, conditions.names)
    if ALL in labels:
        raise ValueError(f"a condition is named {ALL!r}, which is what results call all of them; give it another name")
    return labels


def truth_of(reference: Any, several: Conditions, number: int, shape: tuple[int, ...]) -> Floats | None:
    """Return the truth of a condition as a flat array, or refuse what is none of a sample's shape."""
    if reference is None:
        return None
    whole = None if is_named(reference) else _numbers(reference)
    if whole is not None and whole.shape == shape:
        return _flat(whole)
    own = _numbers(_of_condition(reference, several, number, shape))
    if own is None or own.shape != shape:
        got = "what is no array of real numbers" if own is None else f"shape {own.shape}"
        raise ValueError(f"{_references(shape)}; got {got}")
    return _flat(own)


def _of_condition(reference: Any, several: Conditions, number: int, shape: tuple[int, ...]) -> Any:
    """Return the truth of a condition out of those of all conditions, in their order or by their names."""
    if is_named(reference):
        given = named_conditions(reference)
        if given.names is not None:
            if several.names is None or set(given.names) != set(several.names):
                names = "have no names" if several.names is None else f"are named {', '.join(several.names)}"
                raise ValueError(
                    f"references by name need the names of the conditions, which {names}; got references for "
                    f"{', '.join(given.names)}. Pass both as dicts with the same names, or as lists"
                )
            return given[given.names.index(several.names[number])]
        reference = list(given)
    if not isinstance(reference, Sequence) and not (hasattr(reference, "dtype") and np.ndim(reference)):
        raise TypeError(f"{_references(shape)}; got {reference!r}")
    if len(reference) != len(several):
        raise ValueError(f"{_references(shape)}; got {len(reference)} for {len(several)}")
    return reference[number]


def _references(shape: tuple[int, ...]) -> str:
    return f"a reference has the shape of a sample, {shape}, or is a list or dict with one for each condition"


def _numbers(values: Any) -> NDArray[Any] | None:
    """Return an array of real numbers; None where values are no such array."""
    try:
        return numbers_of(values)
    except (TypeError, ValueError):
        return None


def _flat(truth: NDArray[Any]) -> Floats:
    """Return a truth as a flat array, or refuse one with a NaN or an infinity."""
    if not np.isfinite(truth).all():
        raise ValueError(
            f"a reference must have finite numbers alone; got {int((~np.isfinite(truth)).sum())} NaN or infinite ones. "
            "Fill them, and leave their places out by region=..."
        )
    return truth.astype(np.float64).ravel()


def region_of(region: Any, shape: tuple[int, ...]) -> NDArray[np.bool_] | None:
    """Return the entries that count as a flat mask, or refuse one of another shape."""
    if region is None:
        return None
    mask = as_numpy(region)
    if mask.dtype != np.bool_ or mask.shape != shape or mask.sum() < 2:
        true = f", {int(mask.sum())} of them True" if mask.dtype == np.bool_ else ""
        raise ValueError(
            f"region must be an array of booleans of a sample's shape {shape}, with two or more that are True; got "
            f"dtype {mask.dtype} and shape {mask.shape}{true}"
        )
    return mask.ravel()
