"""`Auto`: the design of a run that a pilot chooses."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from mcgen._lib.names import name_of
from mcgen.generators import Generator
from mcgen.runs.options import RunOptions
from mcgen.variance_reduction.planning.promises import checked_protect


@dataclass(frozen=True)
class Auto:
    """A pilot that chooses the design: pass it in place of a design.

    Pass it to `mcgen.estimate` as ``design=mcgen.Auto()``, or ``design="auto"`` for short, with `n_evaluations`. Pilot
    and run share these evaluations. `mcgen.plan` makes the same choice and shows it before it runs.

    Attributes
    ----------
    coarse : sequence of (Generator, float), optional
        Cheaper generators on the same noise, each with its cost as a share of the model's. By default those that the
        model itself offers: a sampler with fewer steps.
    correlation : float or sequence of float, optional
        Known correlation between antithetic pair means of the model and of the first coarse generator: for all
        components, or for each. It is used below 1,000 evaluations, which are too few for a pilot.
    protect : "all" or sequence of str
        Names of the components that must keep 0.9 of the efficiency of antithetic pairs. By default all, except those
        for which the pilot is unreliable; the plan names them. An empty sequence protects none: the choice then looks
        at the geometric mean of the efficiencies alone.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> fine = mcgen.as_generator(lambda z: np.exp(z / 4), noise=(16,), name="fine")
    >>> coarse = mcgen.as_generator(lambda z: 1 + z / 4 + z**2 / 32, noise=(16,), name="coarse")
    >>> design = mcgen.Auto(coarse=[(coarse, 0.05)])
    >>> result = mcgen.estimate(fine, mcgen.statistics.pixel_mean, design=design, n_evaluations=3200, seed=0)
    >>> "coarse" in result.provenance.plan
    True
    """

    coarse: Sequence[tuple[Generator, float]] | None = None
    correlation: float | Sequence[float] | None = None
    protect: Literal["all"] | Sequence[str] = "all"

    def __post_init__(self) -> None:
        object.__setattr__(self, "protect", checked_protect(self.protect))
        if self.coarse is None:
            return
        try:
            pairs = tuple((one, cost) for one, cost in self.coarse)
        except (TypeError, ValueError):
            raise ValueError(
                "coarse must be a list of pairs (generator, cost), such as [(model.coarse(10), 0.2)]; got "
                f"{self.coarse!r}"
            ) from None
        # Kept, since an iterator would be used up by the first look.
        object.__setattr__(self, "coarse", pairs)

    def __str__(self) -> str:
        coarse = self._texts()
        if isinstance(coarse, list):
            coarse = f"[{', '.join(f'{name} at {cost:g}' for name, cost in coarse)}]"
        texts = [] if coarse is None else [f"coarse={coarse}"]
        texts += [] if self.correlation is None else [f"correlation={self.correlation}"]
        texts += [] if self.protect == "all" else [f"protect={[*self.protect]}"]
        return f"Auto({', '.join(texts)})" if texts else "auto"

    @property
    def generators(self) -> tuple[Generator, ...] | None:
        """The coarse generators without their costs; None if none are given."""
        return None if self.coarse is None else tuple(one for one, _ in self.coarse)

    def header(self, n_evaluations: int | None, options: RunOptions) -> dict[str, Any]:
        """Return the arguments by which a store recognizes a planned run."""
        asked = options.interval
        return {
            "design": "auto",
            "n_evaluations": n_evaluations,
            "coarse": self._texts(),
            "correlation": self.correlation,
            "protect": self.protect if self.protect == "all" else [*self.protect],
            "confidence_level": asked.confidence_level,
            "interval": asked.method,
            "simultaneous": asked.simultaneous,
            "keep_replicates": options.keep_replicates,
            "batch_size": options.batch_size,
        }

    def _texts(self) -> Any:
        """Return the names and costs of the coarse generators."""
        try:
            return None if self.coarse is None else [[name_of(one), float(cost)] for one, cost in self.coarse]
        except (TypeError, ValueError):
            # The plan will refuse this with a message.
            return repr(self.coarse)


def check_auto(
    options: RunOptions,
    n_evaluations: int | None,
    n_replicates: int | None,
    common_random_numbers: bool,
    part: range,
) -> None:
    """Refuse arguments that do not go with a design that a pilot chooses."""
    if part or options.tolerance is not None:
        raise ValueError(
            "design='auto' shares n_evaluations between pilot and run. For a half-width use mcgen.plan(..., "
            "atol=...).estimate(); for atol, rtol or replicates=... here choose a design, such as mcgen.Antithetic()"
        )
    if n_replicates is not None or n_evaluations is None:
        raise ValueError(
            f"design='auto' takes n_evaluations, which pilot and run share; got n_evaluations={n_evaluations} and "
            f"n_replicates={n_replicates}. Give n_evaluations, or use mcgen.plan(..., atol=...) to find how many are "
            "enough"
        )
    if options.keep_samples:
        raise ValueError(
            "design='auto' may choose a sum of levels, whose samples are of several models; got keep_samples=True. "
            "Leave it out, or choose a design"
        )
    if options.controls is not None:
        raise ValueError("design='auto' chooses controls itself; leave them out, or choose a design")
    if common_random_numbers:
        raise ValueError(
            "design='auto' plans each condition alone; with common_random_numbers=True choose a design, such as the "
            "one that mcgen.plan chooses for one of the conditions"
        )
    if options.interval.is_sequential:
        raise ValueError(
            f"design='auto' runs a fixed number of evaluations; got interval={options.interval.method!r}. Use "
            "'student-t' or 'skewness-safe-t', or choose a design"
        )
    options.interval.require_no_resampling("design='auto' may choose a sum of levels, which", ", or choose a design")
