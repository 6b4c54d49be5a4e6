"""Warnings as results show them: a mark and a short line each, and one for all parts that have a warning of a kind."""

from __future__ import annotations

import html
from collections.abc import Sequence

from mcgen.errors import first_sentence, kind_of

MARK = "!"
"""Mark before a warning in plain text: ASCII, since some consoles can't show a warning sign."""
_MARK_HTML = "&#9888;"
# The longest line of a warning in characters, so that a long warning does not hide the numbers.
_LONGEST = 120
# The number of parts that a merged warning names, and the longest name in characters: prompts can be long.
_NAMED, _LONGEST_NAME = 2, 20


def short_form(warning: str) -> str:
    """Return the first sentence of a warning, cut between words to at most 120 characters."""
    return _cut(first_sentence(warning), _LONGEST)


def with_marks(text: str, warnings: Sequence[str]) -> str:
    """Return a text with a marked line below it for each warning."""
    return "\n".join([text, *(f"{MARK} {short_form(warning)}" for warning in warnings)])


def marks_html(warnings: Sequence[str]) -> str:
    """Return a marked HTML paragraph for each warning, its special characters escaped."""
    return "".join(f"<p>{_MARK_HTML} {html.escape(short_form(warning))}</p>" for warning in warnings)


def merged_warnings(
    parts: Sequence[tuple[str, Sequence[str]]],
    called: str,
    names: Sequence[str] = (),
    on_average: Sequence[str] = (),
) -> tuple[str, ...]:
    """Return the warnings of the parts of a result: one for each kind, with the number and names of its parts.

    Parameters
    ----------
    parts : sequence of (str, sequence of str)
        The name of each part, and its warnings.
    called : str
        What a part is, such as "condition".
    names : sequence of str
        Names of the components; warnings of a kind may name other components.
    on_average : sequence of str
        Warnings of the average over the parts.
    """
    found: dict[str, dict[int, str]] = {}
    # The average comes last: its number is that of the parts.
    for number, texts in enumerate([*(texts for _, texts in parts), on_average]):
        for text in texts:
            found.setdefault(kind_of(text, names), {}).setdefault(number, text)
    return tuple(_merged(texts, [name for name, _ in parts], called) for texts in found.values())


def _merged(texts: dict[int, str], names: Sequence[str], called: str) -> str:
    """Return one warning for the parts that have it; `texts` has it by the numbers of the parts."""
    concerned = [_cut(names[number], _LONGEST_NAME) for number in texts if number < len(names)]
    first = next(iter(texts.values()))
    if not concerned or len(names) == 1:
        return first
    if len(texts) == 1:
        return f"{called} {concerned[0]}: {first}"
    named = ", ".join(concerned[:_NAMED]) + (", ..." if len(concerned) > _NAMED else "")
    average = " and the average" if len(names) in texts else ""
    numbers = f". The numbers are those of {called} {concerned[0]}" if len(set(texts.values())) > 1 else ""
    return f"in {len(concerned)} of {len(names)} {called}s ({named}){average}: {first}{numbers}"


def _cut(text: str, longest: int) -> str:
    """Return a text on one line, cut between words where there are some, to at most so many characters."""
    text = " ".join(text.split())
    if len(text) <= longest:
        return text
    kept = text[: longest - 4]
    whole_words = kept.rpartition(" ")[0] if len(kept.rpartition(" ")[0]) > longest // 2 else kept
    return f"{whole_words.rstrip(' ,;:')} ..."
