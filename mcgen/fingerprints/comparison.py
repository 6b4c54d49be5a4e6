"""What differs between what is known of a value and what it is now, and which differences are harmless.

A value that changes by running, such as a counter, a cache or the state of a scheduler, is noted while the first batch
runs. Later differences in these places say nothing of the result.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from typing import Any, NamedTuple

from mcgen.fingerprints.places import is_inside
from mcgen.fingerprints.walk import FINGERPRINT, Content, content_of

_MOST_SHOWN = 4

EXCLUDE = (
    "If such a part does not change the result (a counter, a cache), keep it out: give the function, or the object "
    'that holds it, an attribute `fingerprint`, a text that changes with what does, such as "decoder, epoch 3" '
    "(mcgen.as_generator takes it as fingerprint=)"
)
"""What to do where a harmless part differs."""

# Global variables of this process that were seen to change by running.
_changed_globals: set[str] = set()


Sides = tuple[str, str]
"""Words that say where the two texts of a difference are from, such as " in the store" and " here"."""


class Difference(NamedTuple):
    """A part that differs: its place, and its text before and now; None where it is absent."""

    place: str
    before: str | None
    now: str | None


def differences(before: Mapping[str, str], now: Mapping[str, str], changed: Collection[str] = ()) -> list[Difference]:
    """Return the parts that differ, but for those that change by running.

    Parameters
    ----------
    before, now : mapping of str to str
        Parts by their places, as in `Content.parts`.
    changed : collection of str
        Places that were seen to change by running. What appears inside one of them is harmless too.

    Examples
    --------
    >>> from mcgen.fingerprints import differences
    >>> differences({"global `steps`": "2"}, {"global `steps`": "8"})
    [Difference(place='global `steps`', before='2', now='8')]
    """
    found = []
    for place in dict.fromkeys([*before, *now]):
        one = Difference(place, before.get(place), now.get(place))
        if one.before == one.now or place in changed:
            continue
        if one.before is None and any(is_inside(place, container) for container in changed):
            continue
        found.append(one)
    return found


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
    >>> from mcgen.fingerprints import Difference, shown
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
    changed : list of str
        Places in the things that were seen to change by running, such as "generator: global `calls`".
    """

    def __init__(self, things: Mapping[str, Any] | None = None) -> None:
        self.things = dict(things or {})
        self.changed: list[str] = []
        self._was_watched = False

    def watched(self) -> Watched | None:
        """Return what notes the changes of the first batch; None once it was asked for, or where there is nothing."""
        if self._was_watched or not self.things:
            return None
        self._was_watched = True
        return Watched(self.things)

    def note(self, changed: Iterable[str]) -> None:
        """Add places that were seen to change."""
        self.changed += [place for place in changed if place not in self.changed]


class Watched:
    """Notes which parts of some things change while they run."""

    def __init__(self, things: Mapping[str, Any]) -> None:
        self._things = things
        self._before = self._parts()

    def changed(self) -> list[str]:
        """Return the places that have changed since this was made."""
        places = []
        for name, parts in self._parts().items():
            # A fingerprint that an object gives is all that is known of it, and always counts.
            found = [one.place for one in differences(self._before[name], parts) if not one.place.endswith(FINGERPRINT)]
            _changed_globals.update(place for place in found if place.startswith("global "))
            places += [f"{name}: {place}" for place in found]
        return places

    def _parts(self) -> dict[str, dict[str, str]]:
        return {name: content_of(thing, quick=True).parts for name, thing in self._things.items()}


def changed_globals() -> frozenset[str]:
    """Return the global variables of this process that were seen to change by running."""
    return frozenset(_changed_globals)


def unknown_text(content: Content) -> str:
    """Return what of a value can't be known, in words."""
    return _first([f"{place or 'the whole'}: an object of type {kind}" for place, kind in content.unknown.items()])
