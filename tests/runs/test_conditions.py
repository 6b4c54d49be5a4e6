"""What a condition is: the same random numbers for the same content, and several conditions by name."""

from __future__ import annotations

import datetime as dt
import enum
import os
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from decimal import Decimal
from fractions import Fraction
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np
import pandas as pd
import pytest
from helpers import SEED

import mcgen
from mcgen import Antithetic
from mcgen._lib.condition_keys import key_of_condition
from mcgen.replicates.streams import stream_of
from mcgen.statistics import pixel_mean

# Conditions are told apart here, not covered: some are so far out that their pairs are skewed.
pytestmark = pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")


def shifted(z: np.ndarray, b: Any) -> np.ndarray:
    return 1 / (1 + np.exp(-z - float(b)))


def by_length(z: np.ndarray, texts: Any) -> np.ndarray:
    return 1 / (1 + np.exp(-z - sum(len(str(text)) for text in np.ravel(np.asarray(texts, dtype=object)))))


NUMBERS = mcgen.as_generator(shifted, noise=(4,), name="shifted")
TEXTS = mcgen.as_generator(by_length, noise=(4,), name="by length")
OPTIONS: dict[str, Any] = {"design": Antithetic(), "n_evaluations": 200, "seed": SEED}


def run(condition: Any, generator: mcgen.Generator = NUMBERS, **options: Any) -> mcgen.Estimate:
    return mcgen.estimate(generator, pixel_mean, condition=condition, **OPTIONS | options)


def texts(*parts: str) -> np.ndarray:
    """An object array whose elements are new objects at new addresses."""
    return np.array(["".join(list(part)) for part in parts], dtype=object)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclass(frozen=True)
class Mask:
    size: int
    rows: tuple[int, ...]


class ShowsItsAddress(int):
    __repr__ = object.__repr__


# Made by functions, so that each is made twice, at other addresses.
KNOWN: dict[str, Callable[[], Any]] = {
    "texts": lambda: texts("a", "a dog 1"),
    "texts in a tuple": lambda: (1, (texts("a", "a dog 1"),)),
    "a table of texts": lambda: texts("a", "b").reshape(1, 2),
    "ragged": lambda: np.array([[1, 2], [3]], dtype=object),
    "texts of any length": lambda: np.array(["a", "a dog"], np.dtypes.StringDType()),
    "records": lambda: np.array([("".join("ab"), 1)], dtype=[("text", object), ("number", int)]),
    "padded records": lambda: np.array([(1, 2.0)], np.dtype("i1,f8", align=True)),
    "masked": lambda: np.ma.array([1.0, 2.0], mask=[False, True]),
    "wide numbers": lambda: np.array([1.5], np.longdouble),
    "numbers with gaps": lambda: pd.array([1, None], dtype="Int64"),
    "texts with gaps": lambda: pd.array(["a", None], dtype="string"),
    "categories": lambda: pd.Categorical(["a", "b"]),
    "list": lambda: ["a", [1.5, texts("b")]],
    "dict": lambda: {"scale": 2.0, "text": texts("b")},
    "set": lambda: frozenset(["fog", "rain", "snow", "sun"]),
    "enum": lambda: Colour.RED,
    "date": lambda: dt.date(2020, 1, 2),
    "time": lambda: pd.Timestamp("2020-01-02 03:04", tz="Europe/Berlin"),
    "duration": lambda: dt.timedelta(seconds=1.5),
    "decimal": lambda: Decimal("1.50"),
    "fraction": lambda: Fraction(1, 3),
    "path": lambda: PurePosixPath("a/b"),
    "dataclass": lambda: Mask(3, (1, 2)),
    "range in a tuple": lambda: (range(3),),
    "a number that shows its address": lambda: ShowsItsAddress(70000),
}


@pytest.mark.parametrize("name", KNOWN)
def test_equal_contents_have_equal_texts(name: str) -> None:
    first, second = KNOWN[name](), KNOWN[name]()
    text = key_of_condition(first)
    assert text is not None
    assert text == key_of_condition(second)
    assert f"{id(first):x}" not in text


def test_other_contents_have_other_texts() -> None:
    made = [key_of_condition(make()) for make in KNOWN.values()]
    assert len(set(made)) == len(made)
    for one, other in [
        (texts("a", "a dog 1"), texts("a", "a dog 2")),
        (texts("ab", "c"), texts("a", "bc")),
        (np.ma.array([1.0, 2.0], mask=[False, True]), np.array([1.0, 2.0])),
        (np.ma.array([1.0, 2.0], mask=[False, True]), np.ma.array([1.0, 2.0], mask=[True, False])),
        (Mask(3, (1, 2)), Mask(3, (2, 1))),
        ({"a": 1}, {"a": 2}),
    ]:
        assert key_of_condition(one) != key_of_condition(other)


def test_what_lies_under_a_mask_does_not_count() -> None:
    one, other = (np.ma.array([1.0, hidden], mask=[False, True]) for hidden in (2.0, 7.0))
    assert key_of_condition(one) == key_of_condition(other)


# Numbers for a seed hang on these texts: they must never change.
@pytest.mark.parametrize(
    ("condition", "text"),
    [
        (None, "None"),
        (1, "1"),
        (np.int64(1), "1"),
        (np.float32(0.5), "0.5"),
        ("fog", "'fog'"),
        ((1, "fog"), "(1, 'fog')"),
        (np.zeros((2, 1)), "float64 (2, 1) 374708fff7719dd5979ec875d56cd2286f6d3cf7ec317a3b25632aab28ec37bb"),
        (np.array(0.0), "float64 (1,) af5570f5a1810b7af78caf4bc70a660f0df51e42baf91d4de5b2328de0e83dfc"),
    ],
)
def test_texts_of_conditions_stay(condition: Any, text: str) -> None:
    assert key_of_condition(condition) == text


def itself() -> list[Any]:
    found: list[Any] = []
    found.append(found)
    return found


@pytest.mark.parametrize("condition", [object(), (1, object()), np.array([object()]), {"a": object()}, itself()])
def test_what_is_not_known_has_its_place_in_the_list(condition: Any) -> None:
    assert key_of_condition(condition) is None
    assert stream_of(condition, 3) == ("condition", "number 3")


@pytest.mark.filterwarnings("ignore::UserWarning")
def test_tensors_that_numpy_can_not_read() -> None:
    torch = pytest.importorskip("torch")
    known = [
        torch.eye(2).to_sparse(),
        torch.quantize_per_tensor(torch.ones(2), 0.1, 0, torch.quint8),
        torch.ones(2, dtype=torch.complex64).conj(),
    ]
    assert all(key_of_condition(one) == key_of_condition(one.clone()) is not None for one in known)
    assert key_of_condition(torch.empty(2, device="meta")) is None


IN_A_PROCESS = """
import datetime, enum, numpy as np, mcgen
def by_length(z, texts):
    return 1 / (1 + np.exp(-z - len(repr(texts)) % 3))
generator = mcgen.as_generator(by_length, noise=(4,))
options = dict(design=mcgen.Antithetic(), n_evaluations=200, seed=0)
for condition in (
    np.array(["a", "a dog 1"], dtype=object),
    (np.array(["a", "a dog 1"], dtype=object), 1),
    frozenset(["fog", "rain", "snow", "sun"]),
    {"a": ["fog", {"rain", "snow", "sun"}]},
    np.array(["a", "a dog"], np.dtypes.StringDType()),
    object,
):
    several = condition if isinstance(condition, tuple) else (condition, "beside")
    for one in (condition, [condition, "another"]):
        one = [one] if isinstance(one, dict) else one
        print(mcgen.estimate(generator, mcgen.statistics.pixel_mean, condition=one, **options).mean)
"""


def test_the_same_numbers_in_every_process() -> None:
    def printed(hash_seed: int) -> str:
        environment = os.environ | {
            "PYTHONHASHSEED": str(hash_seed),
            "PYTHONPATH": str(Path(mcgen.__file__).parents[1]),
        }
        done = subprocess.run(
            [sys.executable, "-W", "ignore", "-c", IN_A_PROCESS],
            capture_output=True,
            text=True,
            env=environment,
            check=True,
        )
        return done.stdout

    first = printed(1)
    assert len(first.splitlines()) == 12
    assert first == printed(2) == printed(77)


def test_another_condition_has_other_numbers() -> None:
    """The negative control: were texts to leave anything out, these would share their random numbers."""
    one, again = (run(texts("a", "a dog 1"), TEXTS) for _ in range(2))
    other = run(texts("a", "a dog 2"), TEXTS)
    assert one == again
    assert one.mean != other.mean


@pytest.mark.parametrize("name", ["texts", "texts in a tuple", "masked", "list", "dict", "set", "dataclass"])
def test_stores_go_on_with_such_conditions(name: str, tmp_path: Path) -> None:
    generator = mcgen.as_generator(lambda z, c: np.tanh(z + 0.1 * len(str(type(c)))), noise=(4,), name="any")
    options = {"store": tmp_path / "run.sqlite", "batch_size": 50}
    run([KNOWN[name]()], generator, **options)
    longer = run([KNOWN[name]()], generator, n_evaluations=400, **options)
    assert longer == run([KNOWN[name]()], generator, n_evaluations=400, batch_size=50)


def test_stores_of_parts_with_such_conditions_are_merged(tmp_path: Path) -> None:
    options = OPTIONS | {"n_evaluations": None}
    for number, part in enumerate((range(0, 64), range(64, 100))):
        condition = [texts("a", "a dog 1"), "beside"]
        options |= {"replicates": part, "store": tmp_path / f"part{number}.sqlite"}
        mcgen.estimate(TEXTS, pixel_mean, condition=condition, **options)
    mcgen.merge_stores(sorted(tmp_path.glob("part*.sqlite")), tmp_path / "all.sqlite")
    whole = run([texts("a", "a dog 1"), "beside"], TEXTS, store=tmp_path / "all.sqlite")
    assert whole == run([texts("a", "a dog 1"), "beside"], TEXTS, batch_size=64)


def test_stores_refuse_what_they_can_not_know_again(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="a store must know conditions again"):
        run((object(),), store=tmp_path / "run.sqlite")


SEVERAL: dict[str, Callable[[], Any]] = {
    "range": lambda: range(1, 4),
    "dict": lambda: {"one": 1, "two": 2, "three": 3},
    "series": lambda: pd.Series([1, 2, 3]),
    "series with an index": lambda: pd.Series([1, 2, 3], index=["one", "two", "three"]),
    "part of a series": lambda: pd.Series([0, 1, 2, 3])[1:],
    "nullable series": lambda: pd.Series([1, 2, 3], dtype="Int64"),
}
NAMES = {
    "dict": ["one", "two", "three"],
    "series with an index": ["one", "two", "three"],
    "part of a series": ["1", "2", "3"],
}


@pytest.mark.parametrize("common", [False, True])
@pytest.mark.parametrize("name", SEVERAL)
def test_several_conditions_have_the_numbers_of_a_list(name: str, common: bool) -> None:
    plain, made = (run(c, common_random_numbers=common) for c in ([1, 2, 3], SEVERAL[name]()))
    assert (made.mean, made.interval) == (plain.mean, plain.interval)
    assert [part.interval for part in made.conditions] == [part.interval for part in plain.conditions]
    shown = NAMES.get(name, ["1", "2", "3"])
    assert [part.provenance.condition for part in made.conditions] == shown
    assert made.to_frame()["condition"].tolist() == [*shown, ", ".join(shown)]


def test_arrays_and_tuples_are_one_condition() -> None:
    generator = mcgen.as_generator(lambda z, b: shifted(z, np.sum(b)), noise=(4,), name="sum")
    for condition in (np.array([1, 2, 3]), (1, 2, 3), pd.Index([1, 2, 3])):
        assert run(condition, generator).conditions == ()


def test_names_in_multilevel_comparisons_and_stores(tmp_path: Path) -> None:
    named, plain = {"low": 0.5, "high": 1.0}, [0.5, 1.0]
    coarse = mcgen.as_generator(lambda z, b: shifted(0.9 * z, b), noise=(4,), name="coarse")

    def levels(condition: Any) -> mcgen.Estimate:
        return mcgen.multilevel(
            [(coarse, 1), (NUMBERS, 20)], pixel_mean, condition=condition, n_evaluations=800, seed=SEED
        )

    assert levels(named).interval == levels(plain).interval
    assert [part.provenance.condition for part in levels(named).conditions] == ["low", "high"]
    options = OPTIONS | {"designs": [Antithetic()], "common_random_numbers": True}
    options.pop("design")
    tables = [mcgen.compare(NUMBERS, pixel_mean, condition=c, **options) for c in (named, plain)]
    assert tables[0].estimates[0].interval == tables[1].estimates[0].interval
    pairs = [mcgen.difference(NUMBERS, coarse, pixel_mean, condition=c, **OPTIONS).interval for c in (named, plain)]
    assert pairs[0] == pairs[1]
    auto = run(named, design="auto", n_evaluations=1000)
    assert auto.interval == run(plain, design="auto", n_evaluations=1000).interval
    store = tmp_path / "run.sqlite"
    made = run(named, store=store)
    assert run(named, store=store) == made
    assert {one.estimate.provenance.condition for one in mcgen.read_store(store)} == {"low", "high"}
    assert run(plain, store=store).interval == made.interval


def test_weights_by_name() -> None:
    weights = {"b": 0.25, "a": 0.75}
    made = run({"a": 1, "b": 2}, weights=weights)
    assert made.mean == run([1, 2], weights=[0.75, 0.25]).mean
    assert made.mean == run({"a": 1, "b": 2}, weights=pd.Series(weights)).mean
    # The negative control: in their own order they would be others.
    assert made.mean != run([1, 2], weights=[*weights.values()]).mean
    for wrong in ({"a": 1.0}, {"a": 0.5, "c": 0.5}):
        with pytest.raises(ValueError, match="weights must be 2 numbers above 0 that sum to 1"):
            run({"a": 1, "b": 2}, weights=wrong)


@pytest.mark.parametrize(
    ("condition", "message"),
    [
        ({}, "condition is an empty dict"),
        (range(0), "condition is an empty range"),
        (pd.Series([], dtype=float), "condition is an empty Series"),
        ({"a": 1, "b": 1}, r"conditions repeat in \[a: 1, b: 1\]"),
        ([texts("a"), texts("a")], "conditions repeat"),
        ({1: 1, "1": 2}, "names repeat in 1, 1"),
        (pd.Series([1, 2], index=["a", "a"]), "names repeat in a, a"),
    ],
)
def test_conditions_that_are_refused(condition: Any, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        run(condition)


def test_the_same_unknown_object_twice_is_refused() -> None:
    unknown = object()
    with pytest.raises(ValueError, match="conditions repeat"):
        run([unknown, unknown])


def test_a_plan_and_coefficients_are_for_one_condition() -> None:
    with pytest.raises(ValueError, match="a plan is for one condition; got the dict"):
        mcgen.plan(NUMBERS, pixel_mean, n_evaluations=1000, seed=0, condition={"a": 1})
    controls = mcgen.controls.quadratic(mcgen.bases.dct_basis((4,), 1))
    with pytest.raises(ValueError, match="coefficients are fitted under one condition; got the range"):
        controls.fit(NUMBERS, pixel_mean, condition=range(2), **OPTIONS)


def test_a_store_knows_what_a_condition_holds(tmp_path: Path) -> None:
    """Also where the random numbers are the same: a file, the value of an enumeration, the type of an array."""

    class Low(enum.Enum):
        LEVEL = 1.0

    class High(enum.Enum):
        LEVEL = 5.0

    Low.__qualname__ = High.__qualname__ = "Level"
    path = tmp_path / "condition.npy"

    def saved(value: float) -> Path:
        np.save(path, value)
        return path

    cases: list[tuple[Any, Callable[[], Any], Callable[[], Any]]] = [
        (lambda z, c: z + float(np.load(c)), lambda: saved(1.0), lambda: saved(5.0)),
        (lambda z, c: z + float(np.load(c[1])), lambda: (1, str(saved(1.0))), lambda: (1, str(saved(5.0)))),
        (lambda z, c: z + c.value, lambda: Low.LEVEL, lambda: High.LEVEL),
        (
            lambda z, c: z + c[0]["a"],
            lambda: (pd.Series([1.0, 2.0], index=["a", "b"]),),
            lambda: (pd.Series([1.0, 2.0], index=["b", "a"]),),
        ),
        (
            lambda z, c: z + 1 if c.dtype == "M8[ns]" else z,
            lambda: np.datetime64(5, "ns"),
            lambda: np.datetime64(5, "ps"),
        ),
    ]
    for number, (function, one, other) in enumerate(cases):
        generator = mcgen.as_generator(function, noise=(4,), name="model")
        options: dict[str, Any] = {"design": Antithetic(), "n_evaluations": 64, "seed": 0}
        options["store"] = tmp_path / f"{number}.sqlite"
        first = mcgen.estimate(generator, pixel_mean, condition=one(), **options)
        assert mcgen.estimate(generator, pixel_mean, condition=one(), **options) == first
        with pytest.raises(mcgen.StoreError, match="belongs to another run: condition"):
            mcgen.estimate(generator, pixel_mean, condition=other(), **options)
