"""Messages in the words of the command line: flags in place of Python's arguments, texts in place of designs."""

from __future__ import annotations

import re
from collections.abc import Callable

from mcgen.runs.arguments import NAMES

# Arguments that no flag sets; messages leave them as they are.
_WITHOUT_FLAG = {"weights", "controls", "executor", "progress", "callback"}
_FLAGS = {name: f"--{name.replace('_', '-')}" for name in (*NAMES, "design", "designs") if name not in _WITHOUT_FLAG}
# Arguments whose names are no words of English: they are arguments wherever they stand.
_CERTAIN = sorted({name for name in _FLAGS if "_" in name} | {"atol", "rtol"})
_UNCERTAIN = sorted({*_FLAGS, "statistic"} - {*_CERTAIN})

# A name that is no part of a path, of another name or of an attribute.
_START = r"(?<![\w/\\.\-`])"
_VALUE = r"""'[^']*'|"[^"]*"|range\([^)]*\)|\[[^\]]*\]|\.\.\.|[\w+\-.]*\w"""
_COMMANDS = "estimate|difference|compare|evaluate|plan|export|status"

_DESIGNS: list[tuple[str, str]] = [
    (r"MonteCarlo\(\)", "monte-carlo"),
    (r"(?<!Orthogonal)(?<!K)Antithetic\(\)", "antithetic"),
    (r"KAntithetic\(k=(\d+)\)", r"k-antithetic:\1"),
    (r"Sobol\(n_points=(\d+)\)", r"sobol:\1"),
    (r"Sobol\((\d+)\)", r"sobol:\1"),
    (r"Sobol\(\)", "sobol"),
    (r"LatinHypercube\(n_points=(\d+)\)", r"latin-hypercube:\1"),
    (r"OrthogonalAntithetic\(n_points=(\d+)\)", r"orthogonal:\1"),
    (r"KAntithetic(?= needs)", "k-antithetic"),
    (r"Sobol(?= needs)", "sobol"),
    (r"LatinHypercube(?= needs)", "latin-hypercube"),
    (r"OrthogonalAntithetic(?= needs)", "orthogonal"),
]

_Replacement = str | Callable[[re.Match[str]], str]


def in_flags(message: str) -> str:
    """Return a message of the package with flags in place of arguments: ``--n-evaluations`` for ``n_evaluations``.

    Texts between backticks name parts of the user's code, and stay as they are.
    """
    parts = re.split(r"(`[^`]*`)", message)
    return "".join(part if part.startswith("`") else _translated(part) for part in parts)


def _translated(text: str) -> str:
    for pattern, word in _rules():
        text = re.sub(pattern, word, text)
    return text


def _rules() -> list[tuple[str, _Replacement]]:
    """Return the replacements in their order."""
    return [
        # mcgen.plan(..., atol=...).estimate()
        (rf"mcgen\.({_COMMANDS})\(\.\.\., ([^()]*)\)(\.estimate\(\))?", r"mcgen \1 ... \2"),
        (rf"mcgen\.({_COMMANDS})\b(\(\))?", r"mcgen \1"),
        *((rf"(?:mcgen\.|{_START}){pattern}", word) for pattern, word in _DESIGNS),
        (r"\bgenerator a\b", "the first generator"),
        (r"\bgenerator b\b", "the second generator"),
        (r"common_random_numbers=\['([^\]]*)'\]", r"--share-blocks \1"),
        (r"leave out common_random_numbers\b", "leave out --share-blocks"),
        (r"\{'start': 'noise'\}", "start=noise"),
        (r"\bfixed=False\b", "--sampled-reference"),
        (r"leave fixed out", "leave --sampled-reference out"),
        (r"use a ThreadPoolExecutor", "leave out --workers"),
        (r"Make a new executor and run again", "Give the same command again"),
        (r"For several use mcgen\.statistics\.stack\(\.\.\.\)", "Name several with commas between them"),
        (r"; this error's \.partial is [^;.]*", ""),
        # A number of points is part of a design's text.
        (r"\bn_points\b", "number of points"),
        (rf"{_START}({'|'.join(_FLAGS)})=({_VALUE})", _assigned),
        (rf"{_START}({'|'.join(_FLAGS)})=(?=[\s,.;)]|$)", lambda found: _FLAGS[found[1]]),
        (rf"{_START}({'|'.join(_CERTAIN)})\b(?!\()", lambda found: _FLAGS[found[1]]),
        # Arguments with names of English words stand at the beginning of a message, before what they must be.
        (rf"^({'|'.join(_UNCERTAIN)})(?= (?:must|is empty))", lambda found: f"--{found[1]}"),
    ]


def _assigned(found: re.Match[str]) -> str:
    """Return a flag with its value for ``name=value``."""
    flag, value = _FLAGS[found[1]], found[2]
    if value in ("True", "..."):
        return flag
    if value in ("False", "None"):
        return f"no {flag}"
    part = re.fullmatch(r"range\((\d+), (\d+)\)", value)
    if part is not None:
        return f"{flag} {part[1]}:{part[2]}"
    return f"{flag} {value.strip(chr(39) + chr(34))}"
