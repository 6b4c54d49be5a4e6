"""Texts of scorecards: what the numbers say in words, the table, what was run, and the warnings."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

import numpy as np

from mcgen.results.estimate import Estimate
from mcgen.results.notes import merged_warnings
from mcgen.results.provenance import drawn_text, percent_of
from mcgen.results.score_pairs import (
    ALIKE,
    HIGHER,
    LOWER,
    Pair,
    SharedPairs,
    ShownScorecard,
    best_models,
    difference_text,
    ends_of,
    has_bias,
    is_distance,
    verdict,
)
from mcgen.results.score_tables import (
    Column,
    columns_of,
    evaluations_text,
    hidden_columns,
    scorecard_table,
)
from mcgen.results.text import FIXED, ends_text, fact_lines, method_text, number_pair, reference_text

# The most sentences about single components; the table has the others.
_MOST_SENTENCES = 6
# The most names that a sentence lists.
_MOST_NAMED = 6


def headlines(card: ShownScorecard) -> list[str]:
    """Return what the numbers say in words: a sentence for each score and component, of many the first 6."""
    columns = columns_of(card)
    found = [_sentence(card, column) for column in columns[:_MOST_SENTENCES]]
    more = len(columns) - _MOST_SENTENCES
    return [*found, f"The table has {_counted(more, 'more number')} of each model."] if more > 0 else found


def _sentence(card: ShownScorecard, column: Column) -> str:
    """Return what one component says of the models."""
    by_model, shared = card.estimates[column.score], card.shared(column.score)
    what, level = words_of(column), percent_of(card.confidence_level)
    if len(by_model) == 1:
        model, one = next(iter(by_model.items()))
        return f"The {what} of {model} is {ends_text(one, column.number)} at {level} confidence."
    if len(by_model) == 2:
        return _about_two(by_model, shared, column.number, what, level)
    if is_distance(by_model):
        return _about_distances(by_model, shared, column.number, what, level)
    return _about_several(by_model, shared, column.number, what, level)


def words_of(column: Column) -> str:
    """Return the name of a score for a sentence, such as ``Fréchet distance``."""
    score, _, component = column.header.partition(": ")
    words = score.replace("_", " ").replace("frechet", "Fréchet").replace("Frechet", "Fréchet")
    return f"{words} ({component})" if component else words


def _about_two(by_model: Mapping[str, Estimate], shared: SharedPairs, number: int, what: str, level: str) -> str:
    a, b = by_model
    told = {model: ends_text(one, number) for model, one in by_model.items()}
    found = shared.pairs.get((a, b)) or shared.pairs.get((b, a))
    if found is None:
        return f"The {what} of {a} is {told[a]}, that of {b} is {told[b]}; their difference was not run."
    first, second = (a, b) if (a, b) in shared.pairs else (b, a)
    mean, (low, high) = float(np.ravel(found.mean)[number]), ends_of(found, number)
    half = float(np.ravel(found.half_width)[number])
    said = verdict(low, high)
    if said == ALIKE:
        ends = _between(low, high, half)
        return (
            f"{a} and {b} cannot be told apart by {what}: {told[a]} and {told[b]}; the {level} interval of their "
            f"difference, {ends}, contains 0."
        )
    if said not in (LOWER, HIGHER):
        return f"The {what} of {a} is {told[a]}, that of {b} is {told[b]}; their difference has no interval."
    lower = is_distance(by_model)
    better, other = (first, second) if (said == LOWER) == lower else (second, first)
    # In the order of the table of differences, so that the signs agree.
    pair = difference_text((first, second))
    return (
        f"{better} has the {'lower' if lower else 'higher'} {what}: {told[better]} against {told[other]} of {other}; "
        f"the difference {pair}, {number_pair(mean, half)[0]} {_between(low, high, half)}, is clear at {level} "
        "confidence."
    )


def _about_distances(by_model: Mapping[str, Estimate], shared: SharedPairs, number: int, what: str, level: str) -> str:
    best, n = best_models(by_model, shared, number, largest=False), len(by_model)
    told = {model: ends_text(one, number) for model, one in by_model.items()}
    if len(best) == 1:
        rest = sorted((float(np.ravel(one.mean)[number]), model) for model, one in by_model.items() if model != best[0])
        return (
            f"{best[0]} has the lowest {what} of {n} models: {told[best[0]]}, before {rest[0][1]} with "
            f"{told[rest[0][1]]}; this is clear at {level} confidence."
        )
    if len(best) == n:
        return (
            f"None of the {n} models can be told apart by {what} at {level} confidence: from {told[best[0]]} of "
            f"{best[0]} to {told[best[-1]]} of {best[-1]}."
        )
    others = [model for model in by_model if model not in best]
    return (
        f"{listed(best)} have the lowest {what} of {n} models and cannot be told apart: {told[best[0]]} to "
        f"{told[best[-1]]}; {listed(others)} {'has a higher one' if len(others) == 1 else 'have higher ones'} at "
        f"{level} confidence."
    )


def _about_several(by_model: Mapping[str, Estimate], shared: SharedPairs, number: int, what: str, level: str) -> str:
    order = sorted(by_model, key=lambda model: float(np.ravel(by_model[model].mean)[number]))
    verdicts = [verdict(*ends_of(one, number)) for one in shared.pairs.values()]
    clear = sum(one in (LOWER, HIGHER) for one in verdicts)
    return (
        f"The {what} is lowest for {order[0]}, {ends_text(by_model[order[0]], number)}, and highest for {order[-1]}, "
        f"{ends_text(by_model[order[-1]], number)}; {clear} of {len(verdicts)} differences are clear at {level} "
        "confidence."
    )


def _between(low: float, high: float, half: float) -> str:
    return f"[{number_pair(low, half)[0]}, {number_pair(high, half)[0]}]"


def listed(names: Iterable[str]) -> str:
    """Return names as a list in a sentence; of many the first and how many more there are."""
    names = [*names]
    if len(names) > _MOST_NAMED:
        names = [*names[: _MOST_NAMED - 1], f"{len(names) - _MOST_NAMED + 1} more"]
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}"


def _counted(n: int, noun: str) -> str:
    return f"{n} {noun}" if n == 1 else f"{n} {noun}s"


def notes_of(card: ShownScorecard, *, bold: bool) -> list[str]:
    """Return how to read the table, which may have cells in bold."""
    level = percent_of(card.confidence_level)
    found = []
    if len(card.models) > 1:
        found.append(
            f"Each number has its own {level} interval. Models are compared by their differences, whose intervals hold "
            f"together at {level} for each score: two intervals may overlap although the difference is clear."
        )
    if bold and len(card.models) > 1 and any(map(is_distance, card.estimates.values())):
        found.append("In bold: the lowest distance, and those that cannot be told from it.")
    if hidden := hidden_columns(card):
        found.append(f"{_counted(hidden, 'more component')} of each model: see to_frame().")
    return found


def scorecard_text(card: ShownScorecard) -> str:
    """Return the short form: the sentences, and the table."""
    import pandas as pd

    table = scorecard_table(card, arrows=False)
    frame = pd.DataFrame([*table.rows], columns=[*table.header])
    return "\n".join([*headlines(card), "", frame.to_string(index=False)])


def scorecard_summary(card: ShownScorecard) -> str:
    """Return the long form: the sentences, the table, what was run, and the warnings."""
    notes = notes_of(card, bold=False)
    found = [scorecard_text(card), "", *notes, *([""] if notes else [])]
    found += [*fact_lines(run_facts(card)), *partial_lines(card)]
    return "\n".join([*found, *(f"warning: {text}" for text in card.warnings)])


def run_facts(card: ShownScorecard) -> dict[str, str | None]:
    """Return what was run, by the names of the facts; facts that differ name their models or scores."""
    each = [(model, score, one) for score, by_model in card.estimates.items() for model, one in by_model.items()]
    by_model = {model: [one for name, _, one in each if name == model] for model in card.models}

    def of_models(text: str) -> str | None:
        found = {
            model: dict.fromkeys(getattr(one.provenance, text) for one in ones) for model, ones in by_model.items()
        }
        return _grouped((model, ", ".join(filter(None, texts))) for model, texts in found.items())

    designs = {model: dict.fromkeys(_drawn(one) for one in ones) for model, ones in by_model.items()}
    seconds = sum(max(one.provenance.seconds for one in ones) for ones in by_model.values())
    versions = next(one.provenance.versions for _, _, one in each)
    return {
        "design": _grouped((model, ", ".join(texts)) for model, texts in designs.items()),
        "evaluations": _grouped((model, evaluations_text(card.estimates, model)) for model in card.models),
        "interval": f"{percent_of(card.confidence_level)} "
        + (_grouped((score, method_text(one.method)) for _, score, one in each) or ""),
        "differences": _about_pairs(card),
        **_plug_ins(card),
        "features": _grouped((score, one.provenance.features or "") for _, score, one in each if _of_distance(one)),
        "reference": _references([(score, one.provenance.reference or "") for _, score, one in each]),
        "pilot": _grouped((model, _pilots(ones)) for model, ones in by_model.items()),
        "plan": of_models("plan"),
        "noise": of_models("noise"),
        "condition": of_models("condition"),
        "controls": of_models("controls"),
        "seed": of_models("seed_text"),
        "seconds": f"{seconds:.3g}",
        "versions": ", ".join(f"{name} {version}" for name, version in versions.items()) or None,
    }


def _references(named: list[tuple[str, str]]) -> str | None:
    """Return what the distances compare with, and once what their intervals leave out."""
    texts = _grouped((score, text) for score, text in named if text)
    if texts is None:
        return None
    same = len({text for _, text in named if text}) == 1
    fixed = any(text.endswith(FIXED) for _, text in named)
    if same or not fixed:
        return reference_text(texts)
    return f"{texts}; the sampling error of a fixed reference is outside the interval"


def _of_distance(one: Estimate) -> bool:
    return one.provenance.reference is not None


def _drawn(one: Estimate) -> str:
    """Return which design drew how many replicates; of conditions with their own numbers, of each."""
    return " + ".join(dict.fromkeys(drawn_text(part.provenance) for part in one.levels or one.conditions or (one,)))


def _pilots(estimates: Iterable[Estimate]) -> str:
    """Return the evaluations before the runs of a model; nothing where there were none."""
    most = max(one.provenance.pilot_evaluations for one in estimates)
    return f"{most:,} evaluations before the run" if most else ""


def _about_pairs(card: ShownScorecard) -> str | None:
    """Return which noise the models of each pair share."""
    noises = [
        (difference_text(names), one.provenance.models_noise or "unknown noise")
        for score in card.scores
        for names, one in card.shared(score).pairs.items()
    ]
    return _grouped(noises)


def _plug_ins(card: ShownScorecard) -> dict[str, str | None]:
    """Return the plug-in values of the distances, which other programs print."""
    found: dict[bool, list[str]] = {True: [], False: []}
    for score, by_model in card.estimates.items():
        values = [f"{_plug_in_text(one)} ({model})" for model, one in by_model.items() if one.plug_in is not None]
        if is_distance(by_model) and values:
            found[has_bias(by_model)].append(f"{score} {', '.join(values)}")
    told = {
        True: "the samples as they are, biased and without interval",
        False: "the usual unbiased value, which takes the reference for a sample, without interval",
    }
    return {
        "plug-in": "; ".join(f"{'; '.join(texts)}: {told[biased]}" for biased, texts in found.items() if texts) or None
    }


def _plug_in_text(one: Estimate) -> str:
    values = np.ravel(one.plug_in if one.plug_in is not None else np.nan)
    return ", ".join(number_pair(*pair)[0] for pair in zip(values.tolist(), np.ravel(one.half_width), strict=True))


def _grouped(items: Iterable[tuple[str, str]]) -> str | None:
    """Return the texts, each once; where they differ, each with the names that it is of."""
    found: dict[str, dict[str, None]] = {}
    for name, text in items:
        found.setdefault(text, {})[name] = None
    if len(found) <= 1:
        return next(iter(found), None) or None
    return "; ".join(f"{text or 'none'} ({listed(names)})" for text, names in found.items())


def partial_lines(card: ShownScorecard) -> list[str]:
    """Return a line for each model whose run was interrupted."""
    ended = dict.fromkeys(m for by_model in card.estimates.values() for m, one in by_model.items() if one.partial)
    return [f"PARTIAL: the run of {model} ended early; these are its finished replicates" for model in ended]


def scorecard_warnings(card: ShownScorecard) -> tuple[str, ...]:
    """Return what the runs warned of: one warning for each kind, with the numbers and names it is of."""
    several = len(card.scores) > 1
    names = [*dict.fromkeys(name for by in card.estimates.values() for one in by.values() for name in one.names)]
    numbers = [
        (f"{score} of {model}" if several else model, one.warnings)
        for score, by_model in card.estimates.items()
        for model, one in by_model.items()
    ]
    shared: list[tuple[str, Mapping[Pair, Estimate]]] = [(score, card.shared(score).pairs) for score in card.scores]
    pairs = [
        (f"{score} of {difference_text(both)}" if several else difference_text(both), one.warnings)
        for score, found in shared
        for both, one in found.items()
    ]
    missing = tuple(text for score in card.scores for text in card.shared(score).warnings)
    own = merged_warnings(numbers, "number" if several else "model", names)
    return (*own, *merged_warnings(pairs, "difference", names), *missing)
