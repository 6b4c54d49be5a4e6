"""The designs of a comparison that cannot be told from the most efficient one, and how that is said.

A design is left out where its efficiency is shown to be below that of any other design. Each component has a comparison
with each of the m - 1 other designs. Their intervals are made at Bonferroni's level 1 - (1 - c) / ((m - 1) k) for k
components. With probability c all m - 1 intervals between the truly most efficient design and the others cover, for all
components, so that no other design leaves it out. (Multiple comparisons with the best: Hsu 1996, chapter 4.)

In 700 simulated comparisons of two equally efficient designs each, one was left out at 95 % in 2 to 5 % (pairs of
exp(z), from 10 to 200 replicates). It was in 6 to 7 % for exp(1.5 z), whose skewness of 33 few replicates do not show.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats
from mcgen.inference.efficiency import stretch_between
from mcgen.inference.interval_input import shared_level
from mcgen.results.efficiencies import fewest_replicates, log_work
from mcgen.results.estimate import Estimate
from mcgen.results.provenance import percent_of

# Up to so many components have a sentence of their own, and up to so many designs are named in one.
_SENTENCES, _NAMED = 4, 3


class Ranking:
    """Designs by their efficiency, for each of k components.

    Parameters
    ----------
    estimates : sequence of Estimate
        The estimate of each design, on independent random numbers, with kept replicate means.
    baseline : int
        Number of the design that efficiencies are relative to.
    labels : sequence of str
        Names of the designs.

    Attributes
    ----------
    best : list of list of int
        For each component the designs that cannot be told from the most efficient one, by decreasing estimated
        efficiency; last come designs without an efficiency, whose replicate means do not vary.
    """

    def __init__(self, estimates: Sequence[Estimate], baseline: int, labels: Sequence[str]) -> None:
        self._estimates, self._baseline, self._labels = estimates, baseline, labels
        self._works = [log_work(one) for one in estimates]
        self._values = np.stack([work.value for work in self._works])
        # A NaN is larger than all numbers when sorted.
        order = np.argsort(self._values, axis=0, kind="stable")
        worse = self._worse()
        self.best = [[int(i) for i in order[:, j] if not worse[i, j]] for j in range(order.shape[1])]

    def sentences(self) -> list[str]:
        """Return which design is the most efficient and whether that is certain, for each of a few components."""
        names = self._estimates[0].names
        if len(self._labels) == 1:
            return []
        if len(names) > _SENTENCES:
            return [self._counts()]
        return [self._sentence(j, f" for {name}" if len(names) > 1 else "") for j, name in enumerate(names)]

    def _worse(self) -> NDArray[np.bool_]:
        """Return which designs (m, k) are less efficient than another one, beyond doubt."""
        m, k = self._values.shape
        worse = np.zeros((m, k), bool)
        level = shared_level(self._level, max(1, (m - 1) * k))
        for number, better in itertools.permutations(range(m), 2):
            _, low, _ = self._efficiency(better, number, level)
            worse[number] |= low > 1
        return worse

    def _efficiency(self, number: int, over: int, level: float) -> tuple[Floats, Floats, Floats]:
        """Return the efficiency of a design over another one, with the ends of its interval."""
        ratio = self._works[over].minus(self._works[number])
        stretch = stretch_between(*(fewest_replicates(self._estimates[i]) for i in (over, number)))
        value, (low, high) = ratio.exp(level, stretch)
        return value, np.asarray(low), np.asarray(high)

    @property
    def _level(self) -> float:
        return self._estimates[0].confidence_level

    def _sentence(self, j: int, about: str) -> str:
        """Return the sentence about one component."""
        first, *others = self.best[j]
        percent, count = percent_of(self._level), len(self._labels)
        if np.isnan(self._values[first, j]):
            return f"No efficiency is defined{about}, so no design can be told from the others."
        gain = ""
        if first != self._baseline and not np.isnan(self._values[self._baseline, j]):
            value, low, high = (ends[j] for ends in self._efficiency(first, self._baseline, self._level))
            gain = f": one evaluation is worth {value:.3g} [{low:.3g}, {high:.3g}] of {self._labels[self._baseline]}"
        if not others:
            start = f"{self._labels[first]} is the most efficient of {count} designs{about}"
            return f"{start}{gain}; this is clear at {percent} confidence."
        alike = [i for i in others if not np.isnan(self._values[i, j])]
        still = [i for i in others if i not in alike]
        together = " for all comparisons together" if self._values.size > len(self.best) + 1 else ""
        doubts = [f"it can't be told from {self._listed(alike)} at {percent} confidence{together}"] if alike else []
        doubts += [f"it can't be compared with {self._listed(still)}, without variance in this run"] if still else []
        defined = count - int(np.isnan(self._values[:, j]).sum())
        if defined == 1:
            start = f"{self._labels[first]} is the only one of {count} designs with an efficiency{about}"
        else:
            among = f"the {defined} that have one{about}, of {count} designs" if still else f"{count} designs{about}"
            start = f"{self._labels[first]} has the highest estimated efficiency of {among}"
        return f"{start}{gain}; {'; '.join(doubts)}."

    def _listed(self, numbers: Sequence[int]) -> str:
        """Return the names of designs, the first of many."""
        texts = [self._labels[i] for i in numbers[:_NAMED]]
        more = len(numbers) - len(texts)
        texts += [f"{more} more"] if more else []
        return texts[0] if len(texts) == 1 else f"{', '.join(texts[:-1])} or {texts[-1]}"

    def _counts(self) -> str:
        """Return for how many components each design is the most efficient one."""
        clear = [found[0] for found in self.best if len(found) == 1]
        counts = {self._labels[i]: clear.count(i) for i in sorted(set(clear), key=lambda i: -clear.count(i))}
        said = [f"{label} for {count:,}" for label, count in counts.items()]
        open_ones = len(self.best) - len(clear)
        said += [f"several designs can't be told apart for {open_ones:,}"] if open_ones else []
        start = (
            f"The most efficient of {len(self._labels)} designs, by component, at {percent_of(self._level)} confidence"
        )
        return f"{start}: {', '.join(said)} of {len(self.best):,} components."
