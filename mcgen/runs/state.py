"""The state of a run as the user's `callback` gets it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from mcgen._lib.arrays import read_only
from mcgen.errors import RunError, held_warnings
from mcgen.results.estimate import Estimate

Make = Callable[[], Mapping[str, Estimate]]
"""Makes the estimates so far, by the names of their scores."""


class Reading:
    """Estimates of one call of the callback: made when they are read first, and only while the callback runs."""

    def __init__(self, make: Make) -> None:
        self._make: Make | None = make
        self._made: Mapping[str, Estimate] | None = None
        self.error: RunError | None = None

    def estimates(self) -> Mapping[str, Estimate]:
        """Return the estimates; the error of a functional without a value is kept beside."""
        if self._made is None:
            if self._make is None:
                raise RuntimeError(
                    "this state was not read while its callback ran, and the run has gone on since. Read "
                    "state.estimate inside the callback, and keep what it returns"
                )
            try:
                # The estimate keeps its warnings; they are given once, when the run ends.
                with held_warnings():
                    # The run goes on with the same arrays: what a callback writes into them would change its numbers.
                    self._made = read_only(dict(self._make()))
            except RunError as error:
                self.error = error
                raise
        return self._made

    def close(self) -> None:
        """Let nothing more be made: the replicates change as soon as the callback returns."""
        self._make = None


@dataclass(frozen=True)
class RunState:
    """The progress of a run, which a `callback` gets.

    A call of `estimate` is one run. With several conditions each of them is a run. So is each design of `compare`,
    each model of `evaluate`, each level of `multilevel`, and each model of a `difference` on independent noise. The
    texts say which run this is.

    Attributes
    ----------
    model, score, design : str
        Names of what is run. `evaluate` runs all statistics at once; its scores are the keys of `estimates`.
    condition : str or None
        Name of the condition, where there is one.
    n_replicates, n_evaluations : int
        Finished replicates, and the samples in them. Those that the store already had are included.
    target : int or None
        Replicates that were asked for; None where a tolerance decides.
    seconds : float
        Seconds since this run began in this call.
    finished : bool
        Whether this is the last call of the run.

    Examples
    --------
    >>> import mcgen
    >>> generator = mcgen.as_generator(lambda z: z**2, noise=(4,), name="square")
    >>> def show(state):
    ...     print(state.model, state.n_replicates, state.target, state.finished)
    >>> result = mcgen.estimate(
    ...     generator, mcgen.statistics.pixel_mean, design=mcgen.MonteCarlo(), n_evaluations=64, seed=0, callback=show
    ... )
    square 64 64 False
    square 64 64 True
    """

    model: str
    score: str
    design: str
    condition: str | None
    n_replicates: int
    n_evaluations: int
    target: int | None
    seconds: float
    finished: bool
    _reading: Reading = field(repr=False, compare=False)

    @property
    def estimate(self) -> Estimate:
        """The estimate so far, marked as partial; in the last call the finished estimate of the run.

        It is made when it is read, and can be read only inside the callback. Its arrays are read-only: copy one to
        change it. Its interval covers at a number of replicates that was fixed beforehand. To stop when you like the
        numbers, use ``interval="anytime"`` or ``interval="betting"``, or let ``atol`` and ``rtol`` stop the run.

        Raises
        ------
        RuntimeError
            If it is read first after the callback has returned.
        ValueError
            If the run has several scores, as those of `evaluate` have; read `estimates`.
        RunError
            If a functional has no value yet. A callback need not catch it: mcgen drops the call and goes on.
        """
        found = self.estimates
        if len(found) > 1:
            raise ValueError(
                f"this run has {len(found)} scores, {', '.join(found)}; read state.estimates[{next(iter(found))!r}]"
            )
        return next(iter(found.values()))

    @property
    def estimates(self) -> Mapping[str, Estimate]:
        """The estimates so far by the names of their scores; see `estimate`."""
        return self._reading.estimates()


Callback = Callable[[RunState], object]
"""A function of the state of a run; what it returns is not used."""
