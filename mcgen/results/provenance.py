"""What was done to get an estimate."""

from __future__ import annotations

from dataclasses import dataclass, field

from numpy.random import SeedSequence


def expectation_text(provenance: Provenance) -> str:
    """Return what is estimated, such as ``E[brightness(model(noise))]``."""
    if ", " in provenance.statistic:
        return f"E[S({provenance.generator}(noise))] for S = {provenance.statistic}"
    return f"E[{provenance.statistic}({provenance.generator}(noise))]"


def _drawn(p: Provenance) -> str:
    return f"{p.design}, {p.n_replicates:,} replicates of {_points(p.n_points)}"


def _taken(level: Provenance) -> str:
    """Return how much of the coarser generator a level takes away, if not simply all."""
    if level.coefficients is None or set(level.coefficients) == {1.0}:
        return ""
    low, high = min(level.coefficients), max(level.coefficients)
    return (
        f", less {low:.3g} "
        + ("" if low == high else f"to {high:.3g} ")
        + "times the coarser one, which the sum adds again"
    )


def _points(n: int) -> str:
    return "1 point" if n == 1 else f"{n} points"


def text_of_seed(seed: SeedSequence) -> str:
    """Return a seed as one would pass it again."""
    if not seed.spawn_key:
        return str(seed.entropy)
    return f"SeedSequence({seed.entropy}, spawn_key={seed.spawn_key})"


@dataclass(frozen=True, eq=False)
class Provenance:
    """What was done to get an estimate.

    Attributes
    ----------
    generator, statistic : str
        Their names.
    noise, design : str
        Their text forms.
    dimension : int
        Entries of the noise of one sample.
    n_points, n_replicates, n_evaluations : int
        Points in a replicate, replicates, and their product: the runs of the model that count in the estimate. Under
        conditions: for each.
    seed : SeedSequence
        What all randomness came from.
    condition : str or None
        Text form of the condition; of all of them for an average.
    batch_size : int
        Rows that the model saw at a time, at most: whole replicates, or a part of one.
    first_replicate : int
        Number of the first replicate; not 0 for parts of a run only.
    pilot_evaluations : int
        What was spent before the run to make the design and the controls, once for all conditions, or by plans and
        levels, for all conditions together; not in `n_evaluations`.
    partial : bool
        Whether the run ended before its time.
    common_random_numbers : bool
        Whether several conditions shared their noise.
    rounding : float
        Relative rounding error of the samples' type.
    seconds : float
        Wall time of the run; no part of equality.
    seconds_per_evaluation, timing_error : float
        Of a row that the model ran, whether it counts or fills a batch; from the batches but the first, in which models
        warm up, with the relative standard error; no part of equality.
    versions : dict of str
        Of Python and the libraries; no part of equality.
    level : str or None
        Which level of `mcgen.multilevel`, or that it is their sum: its `n_evaluations` are those of all levels by their
        cost, its `n_points` and `n_replicates` those of the finest.
    cost : float
        Of an evaluation, in evaluations of the generator whose expectation is estimated; not 1 for levels only.
    coefficients : tuple of float or None
        How much of the coarser generator's components a level takes away.
    plan : str or None
        What `mcgen.plan` chose, and why.
    controls : str or None
        Which control variates, and where their coefficients are from.
    """

    generator: str
    statistic: str
    noise: str
    dimension: int
    design: str
    n_points: int
    n_replicates: int
    n_evaluations: int
    seed: SeedSequence
    condition: str | None
    batch_size: int
    partial: bool = False
    common_random_numbers: bool = False
    rounding: float = 2.0**-52
    seconds: float = 0.0
    seconds_per_evaluation: float = 0.0
    timing_error: float = 0.0
    versions: dict[str, str] = field(default_factory=dict)
    pilot_evaluations: int = 0
    level: str | None = None
    cost: float = 1.0
    coefficients: tuple[float, ...] | None = None
    plan: str | None = None
    controls: str | None = None
    first_replicate: int = 0

    @property
    def seed_text(self) -> str:
        """The seed as one would pass it again."""
        return text_of_seed(self.seed)
