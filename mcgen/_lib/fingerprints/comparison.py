"""What differs between what is known of a value and what it is now, and which differences are harmless.

A value that changes by running, such as a counter, a cache or the state of a scheduler, is noted after the first batch
and at the end. Later differences in these places say nothing of the result. What is filled once, such as a network that
is loaded when it is first needed, is noted with its content: later it may be there or not, but be no other.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from mcgen._lib.fingerprints.places import INEXACT, is_inside
from mcgen._lib.fingerprints.walk import FINGERPRINT, Content, content_of

_MOST_SHOWN = 4
# A number, or a container and its length.
_LAST_NUMBER = re.compile(r"((?:~?\w+ of )?)(\d+)")

EXCLUDE = (
    "If such a part does not change the result (a counter, a cache), keep it out: give the function, or the object "
    'that holds it, an attribute `fingerprint`, a text that changes with what does, such as "decoder, epoch 3" '
    "(mcgen.as_generator takes it as fingerprint=)"
)
"""What to do where a harmless part differs."""


class Difference(NamedTuple):
    """A part that differs: its place, and its text before and now; None where it is absent."""

    place: str
    before: str | None
    now: str | None


class Change(NamedTuple):
    """What running does to a part.

    Attributes
    ----------
    before, after : str or None
        Its texts before and after; None where it is absent.
    keeps : bool or None
        True where it keeps changing, as counters do; False where it was filled once, as a network that is loaded when
        it is first needed; None where there was no time to tell.
    """

    before: str | None
    after: str | None
    keeps: bool | None

    def joined(self, later: Change) -> Change:
        """Return this change and one that was seen later, or elsewhere, as one."""
        if self.keeps or later.keeps:
            return Change(self.before, later.after, True)
        if self.after == later.after:
            return Change(self.before, later.after, False if False in (self.keeps, later.keeps) else None)
        # A part that was seen to be filled once, and has another content, is another part.
        return self if False is self.keeps is later.keeps else Change(self.before, later.after, True)

    def allows(self, one: Difference) -> bool:
        """Tell whether a difference is one that running makes."""
        if self.keeps:
            return True
        if (self.before or "").startswith(INEXACT):
            return one.now == self.after
        return {one.before, one.now} <= {self.before, self.after}


Changes = dict[str, Change]
"""What running changes, by the places."""

# Changes of global variables that were seen in this process.
_global_changes: Changes = {}


Sides = tuple[str, str]
"""Words that say where the two texts of a difference are from, such as " in the store" and " here"."""


def differences(
    before: Mapping[str, str], now: Mapping[str, str], changes: Mapping[str, Change] | None = None
) -> list[Difference]:
    """Return the parts that differ, but for those that differ as running makes them differ.

    Parameters
    ----------
    before, now : mapping of str to str
        Parts by their places, as in `Content.parts`.
    changes : mapping of str to Change, optional
        What running was seen to change. A part that keeps changing may differ, and new parts may appear inside it; one
        that changed once may have its text from before or from after.

    Examples
    --------
    >>> from mcgen._lib.fingerprints import Change, differences
    >>> differences({"global `steps`": "2"}, {"global `steps`": "8"})
    [Difference(place='global `steps`', before='2', now='8')]
    >>> changes = {"global `net`": Change("None", "loaded", keeps=False)}
    >>> differences({"global `net`": "None"}, {"global `net`": "loaded"}, changes)
    []
    """
    found = []
    for place in dict.fromkeys([*before, *now]):
        one = Difference(place, before.get(place), now.get(place))
        if one.before != one.now and not _is_harmless(one, changes or {}):
            found.append(one)
    return found


def _is_harmless(one: Difference, changes: Mapping[str, Change]) -> bool:
    change = changes.get(one.place)
    if change is not None:
        return change.allows(one)
    growing = (place for place, change in changes.items() if change.keeps)
    return one.before is None and any(is_inside(one.place, place) for place in growing)


def shown(found: list[Difference], of: str, sides: Sides) -> str:
    """Return the first differences in words.

    Parameters
    ----------
    found : list of Difference
        What differs.
    of : str
        What the places are in, such as "generator".
    sides : tuple of two str
        Where the two texts are from.

    Examples
    --------
    >>> from mcgen._lib.fingerprints import Difference, shown
    >>> shown([Difference("global `steps`", "2", "8")], "generator", (" in the store", " here"))
    'global `steps` of the generator is 2 in the store and 8 here'
    """
    texts = [(place, before or "absent", now or "absent") for place, before, now in found]
    return _first([f"{place} of the {of} is {before}{sides[0]} and {now}{sides[1]}" for place, before, now in texts])


def _first(told: list[str]) -> str:
    more = len(told) - _MOST_SHOWN
    return "; ".join(told[:_MOST_SHOWN]) + (f"; and {more} more" if more > 0 else "")


class Given:
    """What a user gave to a run, by which a store knows the run again.

    Parameters
    ----------
    things : mapping of str to object, optional
        By name: "generator", "statistic", and what else there is.

    Attributes
    ----------
    changes : dict
        What running was seen to change in the things, by places such as "generator: global `calls`".
    """

    def __init__(self, things: Mapping[str, Any] | None = None) -> None:
        self.things = dict(things or {})
        self.changes: Changes = {}
        self._was_watched = False

    def watched(self) -> Watched | None:
        """Return what notes the changes of a run; None once it was asked for, or where there is nothing."""
        if self._was_watched or not self.things:
            return None
        self._was_watched = True
        return Watched(self)

    def note(self, changes: Mapping[str, Change]) -> None:
        """Add what was seen to change."""
        note(self.changes, changes)


class Watched:
    """Notes which parts of what a user gave change while it runs."""

    def __init__(self, given: Given) -> None:
        self._given = given
        self._last = self._parts()
        self._seen: Changes = {}

    def look(self) -> None:
        """Note what has changed since the last look, and what has not."""
        now, found = self._parts(), {}
        for name, parts in now.items():
            # A fingerprint that an object gives is all that is known of it, and always counts.
            changed = [one for one in differences(self._last[name], parts) if not one.place.endswith(FINGERPRINT)]
            if any((one.now or "").startswith(INEXACT) for one in changed):
                parts = parts | self._exact(name, {one.place for one in changed})
            for one in changed:
                place = f"{name}: {one.place}"
                keeps = True if place in self._seen or _counts(one) else None
                found[place] = Change(one.before, parts.get(one.place), keeps)
        settled = {place: one._replace(keeps=False) for place, one in self._seen.items() if place not in found}
        self._seen = {place: one for place, one in self._seen.items() if one.keeps} | found
        for changes in (found, {place: one for place, one in settled.items() if not self._given.changes[place].keeps}):
            self._given.note(changes)
            note(_global_changes, {place.partition(": ")[2]: one for place, one in changes.items()}, "global ")
        self._last = now

    def _parts(self) -> dict[str, dict[str, str]]:
        return {name: content_of(thing, quick=True).parts for name, thing in self._given.things.items()}

    def _exact(self, name: str, places: set[str]) -> dict[str, str]:
        return content_of(self._given.things[name], quick=True, exact=places).parts


def _counts(one: Difference) -> bool:
    """Tell whether a part looks like a counter or a list that grows."""
    numbers = [_LAST_NUMBER.fullmatch(text or "") for text in (one.before, one.now)]
    if numbers[0] is None or numbers[1] is None or numbers[0][1] != numbers[1][1]:
        return False
    return int(numbers[0][2]) < int(numbers[1][2])


def note(known: Changes, changes: Mapping[str, Change], start: str = "") -> None:
    """Add what was seen to change to what is known, of places that start with a text."""
    for place, change in changes.items():
        if place.startswith(start):
            known[place] = known[place].joined(change) if place in known else change


def changes_of_globals() -> Changes:
    """Return what of the global variables of this process was seen to change by running."""
    return dict(_global_changes)


def unknown_text(content: Content) -> str:
    """Return what of a value can't be known, in words."""
    return _first([f"{place or 'the whole'}: an object of type {kind}" for place, kind in content.unknown.items()])
