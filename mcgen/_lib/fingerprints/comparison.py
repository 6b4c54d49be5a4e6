"""Differences between the stored and the present content of a value, and which of them are harmless.

Some parts change by running, such as a counter, a cache or the state of a scheduler. These changes are recorded after
the first batch and at the end of a run; later differences at the same places do not matter. A part that is filled once,
such as a network that is loaded when it is first needed, is recorded with its content. Later it may be missing or
present, but not have another content.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, NamedTuple

from mcgen._lib.fingerprints.places import INEXACT, is_inside
from mcgen._lib.fingerprints.walk import FINGERPRINT, Content, content_of

# Most differences that a message lists.
_MOST_SHOWN = 4
# Text of a number, or of a container and its length.
_LAST_NUMBER = re.compile(r"((?:~?\w+ of )?)(\d+)")

EXCLUDE = (
    "If such a part does not change the result (a counter, a cache), exclude it: give the function, or the object "
    'that holds it, an attribute `fingerprint`, a text that changes when the result may, such as "decoder, epoch 3" '
    "(mcgen.as_generator takes it as fingerprint=)"
)
"""Advice in messages about differences, for parts that do not change the result."""


class Difference(NamedTuple):
    """A part that differs: its place, and its texts before and now; None where the part is absent."""

    place: str
    before: str | None
    now: str | None


class Change(NamedTuple):
    """Change of a part that running causes.

    Attributes
    ----------
    before, after : str or None
        Texts of the part before and after the change; None where the part is absent.
    keeps : bool or None
        True for a part that keeps changing, such as a counter. False for a part that was filled once, such as a network
        that is loaded when it is first needed. None where it was seen to change only at the last look.
    """

    before: str | None
    after: str | None
    keeps: bool | None

    def joined(self, later: Change) -> Change:
        """Return this change joined with one of the same part that was seen later, or in another process."""
        if self.keeps or later.keeps:
            return Change(self.before, later.after, True)
        if self.after == later.after:
            return Change(self.before, later.after, False if False in (self.keeps, later.keeps) else None)
        # Two parts that were filled once with different contents are different parts, and the first is kept.
        return self if False is self.keeps is later.keeps else Change(self.before, later.after, True)

    def allows(self, one: Difference) -> bool:
        """Tell whether running can have caused a difference."""
        if self.keeps:
            return True
        if (self.before or "").startswith(INEXACT):
            return one.now == self.after
        return {one.before, one.now} <= {self.before, self.after}


Changes = dict[str, Change]
"""Changes that running causes, by the places of the parts."""

# Changes of global variables that were seen in this process, by place.
_global_changes: Changes = {}


Sides = tuple[str, str]
"""Words for the origins of the two texts of a difference, such as " in the store" and " here"."""


def differences(
    before: Mapping[str, str], now: Mapping[str, str], changes: Mapping[str, Change] | None = None
) -> list[Difference]:
    """Return the parts that differ, without differences that running causes.

    Parameters
    ----------
    before, now : mapping of str to str
        Texts of the parts by their places, as in `Content.parts`.
    changes : mapping of str to Change, optional
        Changes that running was seen to cause. A part that keeps changing may differ, and new parts may appear inside
        it. A part that changed once may have its text from before or after the change.

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
        Differences to describe.
    of : str
        Object that has the parts, such as "generator".
    sides : tuple of two str
        Words for the origins of the two texts.

    Examples
    --------
    >>> from mcgen._lib.fingerprints import Difference, shown
    >>> shown([Difference("global `steps`", "2", "8")], "generator", (" in the store", " here"))
    'global `steps` of the generator is 2 in the store and 8 here'
    """
    texts = [(place, before or "absent", now or "absent") for place, before, now in found]
    return _first([f"{place} of the {of} is {before}{sides[0]} and {now}{sides[1]}" for place, before, now in texts])


def _first(texts: list[str]) -> str:
    more = len(texts) - _MOST_SHOWN
    return "; ".join(texts[:_MOST_SHOWN]) + (f"; and {more} more" if more > 0 else "")


class Given:
    """The objects that a user gave to a run, whose content identifies the run in a store.

    Parameters
    ----------
    things : mapping of str to object, optional
        Objects by their roles, such as "generator" and "statistic".

    Attributes
    ----------
    changes : dict
        Changes that running was seen to cause in the objects, by places such as "generator: global `calls`".
    """

    def __init__(self, things: Mapping[str, Any] | None = None) -> None:
        self.things = dict(things or {})
        self.changes: Changes = {}
        self._was_watched = False

    def watched(self) -> Watched | None:
        """Return the recorder of changes at the first call; None at later calls, or where there are no objects."""
        if self._was_watched or not self.things:
            return None
        self._was_watched = True
        return Watched(self)

    def note(self, changes: Mapping[str, Change]) -> None:
        """Add changes that were seen."""
        note(self.changes, changes)


class Watched:
    """Recorder of the parts of a user's objects that change while a run goes on."""

    def __init__(self, given: Given) -> None:
        self._given = given
        self._last = self._parts()
        self._seen: Changes = {}

    def look(self) -> None:
        """Record which parts have changed since the last look, and which have not."""
        now, found = self._parts(), {}
        for name, parts in now.items():
            # A fingerprint is the whole content of its object, so that it must never change.
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
    """Join changes into the known ones, for the places that start with a text."""
    for place, change in changes.items():
        if place.startswith(start):
            known[place] = known[place].joined(change) if place in known else change


def changes_of_globals() -> Changes:
    """Return the changes of global variables that running was seen to cause in this process."""
    return dict(_global_changes)


def unknown_text(content: Content) -> str:
    """Return, in words, the parts of a value whose content can't be found out."""
    return _first([f"{place or 'the whole'}: an object of type {kind}" for place, kind in content.unknown.items()])
