"""Records that a store keeps of a run beside its replicates, each under a name of its own."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, Protocol, Self

from mcgen.replicates.stores.store import StoredRun


class State(Protocol):
    """A record that a store keeps of a run."""

    @property
    def key(self) -> str:
        """The name under which it is kept."""
        ...

    def to_plain(self) -> dict[str, Any]:
        """Return its fields as a dictionary of plain values."""
        ...


def remember(run: StoredRun, state: State) -> None:
    """Store a record in place of the one that had its name."""
    run.remember(state.key, state.to_plain())


@dataclass(frozen=True)
class Begun:
    """Decisions of the first call of a run, which later calls must share.

    Attributes
    ----------
    design : str
        Text form of the design.
    statistic : str
        Fingerprint of the statistic; coefficients of levels and controls are part of it.
    batch_size : int
        The most rows of a batch: other batches give other last bits.
    """

    design: str
    statistic: str
    batch_size: int
    key: ClassVar[str] = "begun"
    names: ClassVar[dict[str, str]] = {"design": "design", "statistic": "content of the statistic"}
    """The fields that must agree, by the names that messages and stores use."""

    def to_plain(self) -> dict[str, Any]:
        """Return the fields by the names that stores use."""
        return {name: getattr(self, own) for own, name in self.names.items()} | {"batch_size": self.batch_size}

    @classmethod
    def of(cls, run: StoredRun) -> Self | None:
        """Return what a store has; None where there is nothing."""
        found = run.recall(cls.key)
        if found is None:
            return None
        return cls(found[cls.names["design"]], found[cls.names["statistic"]], int(found["batch_size"]))


@dataclass(frozen=True)
class Asked:
    """Arguments of the first call of a run. Merged runs have none: the next call is their first.

    Attributes
    ----------
    n_replicates : int
        The number of replicates, at which a confidence sequence is narrowest; 0 where a tolerance was asked for.
    batch_size : int or None
        As for `mcgen.estimate`.
    """

    n_replicates: int
    batch_size: int | None
    key: ClassVar[str] = "planned"

    def to_plain(self) -> dict[str, Any]:
        """Return the fields by the names that stores use."""
        return {"planned": self.n_replicates, "batch_size": self.batch_size}

    @classmethod
    def of(cls, run: StoredRun) -> Self | None:
        """Return what a store has; None where there is nothing."""
        found = run.recall(cls.key)
        return None if found is None else cls(int(found["planned"]), found["batch_size"])


@dataclass(frozen=True)
class RuleState:
    """The state of the rule that stops a run.

    Attributes
    ----------
    rule : str
        The rule's name.
    asked : str
        The tolerance, the confidence level and the kind of interval that were asked for.
    values : dict
        The state of `mcgen.inference.stopping.Rule`.
    """

    rule: str
    asked: str
    values: Mapping[str, Any]

    @property
    def key(self) -> str:
        """The name under which it is kept."""
        return f"stopping by {self.rule}"

    def to_plain(self) -> dict[str, Any]:
        """Return the rule's state and what was asked for."""
        return {**self.values, "asked": self.asked}

    @classmethod
    def of(cls, run: StoredRun, rule: str) -> Self | None:
        """Return what a store has of a rule; None where there is nothing."""
        found = run.recall(cls(rule, "", {}).key)
        if found is None:
            return None
        return cls(rule, found["asked"], {name: value for name, value in found.items() if name != "asked"})


@dataclass(frozen=True)
class About:
    """A run's account of itself, from which `mcgen status` makes an estimate without the model.

    Attributes
    ----------
    names : tuple of str
        Names of the components.
    shape : tuple of int
        Shape of the components.
    controls : int
        Number of control variates, whose values stand beside those of the components.
    provenance : dict
        Fields of the estimate's provenance.
    confidence_level, interval, simultaneous
        The interval that was asked for.
    stopping : dict or None
        Fields of how the run ended, or would end now.
    tolerance : str or None
        The half-widths that were asked for.
    first : int
        Number of the first replicate.
    target : int
        Number of replicates that are wanted, as far as is known.
    done : bool
        Whether the run has come to its end.
    began : float
        When the last call began, in seconds since the epoch.
    count : int
        Number of replicates that were there when the last call began.
    """

    names: tuple[str, ...]
    shape: tuple[int, ...]
    controls: int
    provenance: dict[str, Any]
    confidence_level: float
    interval: Any
    simultaneous: Any
    stopping: dict[str, Any] | None
    tolerance: str | None
    first: int
    target: int
    done: bool
    began: float
    count: int
    key: ClassVar[str] = "about"

    @classmethod
    def before_first(cls, asked: Asked, first: int) -> Self:
        """Return the account of a run that has begun and finished nothing: what it is to run, and nothing else."""
        return cls((), (), 0, {}, math.nan, None, False, None, None, first, asked.n_replicates, False, math.inf, 0)

    def to_plain(self) -> dict[str, Any]:
        """Return the fields by the names that stores use."""
        return dict(vars(self))

    @classmethod
    def of(cls, run: StoredRun) -> Self | None:
        """Return what a store has; None where there is nothing."""
        found = run.recall(cls.key)
        return None if found is None else cls(**found | {key: tuple(found[key]) for key in ("names", "shape")})
