"""What a value is known by: every change that can change a result is seen, and nothing else."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
import importlib
import io
import itertools
import logging
import os
import subprocess
import sys
import threading
import types
import weakref
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import own_code
import pandas as pd
import pytest
import tqdm
from helpers import logistic

import mcgen
from mcgen import Antithetic, Sobol, StoreError, statistics
from mcgen._lib.fingerprints import Change, Given, content_of, differences, fingerprint_of
from mcgen._lib.fingerprints.files import content_of_file
from mcgen._lib.fingerprints.origins import origin_of

pytestmark = pytest.mark.filterwarnings("ignore:.*the replicate means", "ignore:.*by the pilot")

mean = statistics.pixel_mean
SCALE, WEIGHTS = 2.0, np.ones(4)


class Colour(enum.Enum):
    RED = 1
    BLUE = 2


@dataclasses.dataclass
class Settings:
    steps: int
    names: list[str] = dataclasses.field(default_factory=list)


class Slotted:
    __slots__ = ("steps",)

    def __init__(self, steps: int) -> None:
        self.steps = steps


class Classifier:
    def __init__(self, scale: float) -> None:
        self.scale = scale

    def __call__(self, x: Any) -> Any:
        return self.score(x)

    def score(self, x: Any) -> Any:
        return self.scale * x.mean(1)


def closing_over(value: Any) -> Callable[[Any], Any]:
    return lambda z: z if value is None else z + 0


def with_default(value: Any) -> Callable[[Any], Any]:
    def function(z: Any, t: Any = value) -> Any:
        return z

    return function


def with_keyword_default(value: Any) -> Callable[[Any], Any]:
    def function(z: Any, *, t: Any = value) -> Any:
        return z

    return function


def with_attribute(value: Any) -> Callable[[Any], Any]:
    def function(z: Any) -> Any:
        return z

    function.value = value  # type: ignore[attr-defined]
    return function


def bound(value: Any) -> Callable[[Any], Any]:
    return Classifier(value).score


def with_partial(value: Any) -> Callable[[Any], Any]:
    return functools.partial(closing_over(1), value)


def with_partial_keyword(value: Any) -> Callable[[Any], Any]:
    return functools.partial(closing_over(1), t=value)


def object_array(*elements: Any) -> np.ndarray:
    return np.array([*elements, None], dtype=object)


HOLDERS = (
    *(closing_over, with_default, with_keyword_default, with_attribute),
    *(bound, with_partial, with_partial_keyword, Classifier),
)
# Values that differ in one place, however they are held.
VALUES: list[tuple[Any, Any]] = [
    (1, 2),
    (1, 1.0),
    (1, True),
    ("a", b"a"),
    (0.1, 0.1 + 1e-16),
    ([0.5], [0.7]),
    ([1, [2, 3]], [1, [2, 4]]),
    ({"a": 1}, {"a": 2}),
    ({"a": 1}, {"b": 1}),
    ({"a": {"b": [1]}}, {"a": {"b": [2]}}),
    ({1, 2}, {1, 3}),
    (frozenset("ab"), frozenset("ac")),
    (collections.OrderedDict(a=1), collections.OrderedDict(a=2)),
    (collections.defaultdict(list, a=[1]), collections.defaultdict(list, a=[2])),
    (collections.deque([1]), collections.deque([2])),
    (types.SimpleNamespace(a=1), types.SimpleNamespace(a=2)),
    (types.MappingProxyType({"a": 1}), types.MappingProxyType({"a": 2})),
    (range(3), range(4)),
    (list(range(100)), [*range(99), 0]),
    ([[i] for i in range(100)], [*([i] for i in range(99)), [0]]),
    (np.zeros(3), np.zeros(4)),
    (np.zeros(3), np.array([0.0, 0.0, 1.0])),
    (np.zeros(3, np.float32), np.zeros(3, np.float64)),
    (np.arange(6).reshape(2, 3), np.arange(6).reshape(3, 2)),
    (np.arange(6)[::2], np.arange(6)[1::2]),
    (object_array("a", "a dog 1"), object_array("a", "a dog 2")),
    (np.ma.masked_array([1, 2], [0, 1]), np.ma.masked_array([1, 2], [1, 0])),
    (np.zeros(1, [("a", "O")]), np.ones(1, [("a", "O")])),
    (np.float32(1), np.float32(2)),
    (pd.Series([1, 2]), pd.Series([1, 3])),
    (pd.Series(["a", "b"]), pd.Series(["a", "c"])),
    (pd.Series([1, 2], index=["a", "b"]), pd.Series([1, 2], index=["a", "c"])),
    (pd.DataFrame({"a": [1]}), pd.DataFrame({"a": [2]})),
    (Colour.RED, Colour.BLUE),
    (Settings(1), Settings(2)),
    (Settings(1, ["a"]), Settings(1, ["b"])),
    (Slotted(1), Slotted(2)),
    (Classifier(1.0), Classifier(2.0)),
    (Classifier(1.0).score, Classifier(2.0).score),
    (np.exp, np.log),
    (len, sum),
    (np.random.default_rng(0), np.random.default_rng(1)),
    (functools.lru_cache(closing_over(1)), functools.lru_cache(closing_over(2))),
    (weakref.ref(Colour), weakref.ref(Settings)),
    (mcgen.Sobol(8), mcgen.Sobol(16)),
    (Path("a"), Path("b")),
]


@pytest.mark.parametrize("hold", HOLDERS, ids=lambda hold: hold.__name__)
def test_every_value_counts_however_it_is_held(hold: Callable[[Any], Any]) -> None:
    for one, other in VALUES:
        assert fingerprint_of(hold(one)) == fingerprint_of(hold(one)), one
        assert fingerprint_of(hold(one)) != fingerprint_of(hold(other)), (one, other)


def test_what_can_be_known_has_no_unknown_part() -> None:
    for one, _ in VALUES:
        assert content_of(one).unknown == {}, one


def test_equal_values_are_equal_whatever_object_they_are() -> None:
    for one, other in [
        ([1, [2]], [1, [2]]),
        (np.arange(6)[::2], np.array([0, 2, 4])),
        (object_array("ab" * 50), object_array("".join(["ab"] * 50))),
        (Classifier(1.0), Classifier(1.0)),
        (Settings(1, ["a"]), Settings(1, ["a"])),
    ]:
        assert one is not other
        assert fingerprint_of(closing_over(one)) == fingerprint_of(closing_over(other))


def test_functions_by_their_code_and_not_by_where_it_stands() -> None:
    assert fingerprint_of(lambda z: z + 1) == fingerprint_of(
        lambda z: z + 1  # Another line.
    )
    assert fingerprint_of(lambda z: z + 1) != fingerprint_of(lambda z: z + 2)
    assert fingerprint_of(lambda z: [a + 1 for a in z]) != fingerprint_of(lambda z: [a + 2 for a in z])
    assert fingerprint_of(lambda z: z in {1, 2}) != fingerprint_of(lambda z: z in {1, 3})

    def told() -> None:
        """Do nothing."""

    def untold() -> None:
        """Do what it does."""

    assert fingerprint_of(told) == fingerprint_of(untold)


class TestGlobals:
    """Global variables, and the functions and classes that code names."""

    def test_a_variable(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def function(z: Any) -> Any:
            return z * SCALE

        before = content_of(function)
        monkeypatch.setattr(sys.modules[__name__], "SCALE", 3.0)
        [found] = differences(before.parts, content_of(function).parts)
        assert found == ("global `test_fingerprints.SCALE`", "2.0", "3.0")

    def test_what_a_helper_reads(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def function(z: Any) -> Any:
            return own_code.shifted(z)

        before = content_of(function)
        monkeypatch.setattr(own_code, "SHIFT", 2.0)
        [found] = differences(before.parts, content_of(function).parts)
        assert found == ("global `own_code.SHIFT`", "1.0", "2.0")

    def test_a_helper(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before = fingerprint_of(own_code.counted)
        monkeypatch.setattr(own_code, "shifted", lambda z: z)
        assert fingerprint_of(own_code.counted) != before

    def test_a_method(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before = fingerprint_of(Classifier(1.0))
        monkeypatch.setattr(Classifier, "score", lambda self, x: x.max(1))
        assert fingerprint_of(Classifier(1.0)) != before

    def test_a_base_class(self, monkeypatch: pytest.MonkeyPatch) -> None:
        class Finer(Classifier):
            pass

        before = fingerprint_of(Finer(1.0))
        monkeypatch.setattr(Classifier, "score", lambda self, x: x.max(1))
        assert fingerprint_of(Finer(1.0)) != before

    def test_a_variable_that_it_does_not_read(self, monkeypatch: pytest.MonkeyPatch) -> None:
        before = fingerprint_of(own_code.shifted)
        monkeypatch.setitem(own_code.TABLE, "shift", 2.0)
        assert fingerprint_of(own_code.shifted) == before

    def test_a_module_that_is_imported_inside(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def function(z: Any) -> Any:
            import own_code as settings

            return z + settings.TABLE["shift"]

        before = content_of(function)
        monkeypatch.setitem(own_code.TABLE, "shift", 2.0)
        [found] = differences(before.parts, content_of(function).parts)
        assert found.place == "global `own_code.TABLE['shift']`"

    def test_modules_that_the_import_of_one_imports(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        folder = tmp_path / "package_of_mine"
        folder.mkdir()
        files = {"__init__": "", "model": "def f(z):\n    from .outer import gain\n    return gain * z\n"}
        files |= {"outer": "from .inner import gain\n", "inner": "gain = 2\n"}
        for name, text in files.items():
            (folder / f"{name}.py").write_text(text)
        monkeypatch.syspath_prepend(tmp_path)
        model = importlib.import_module("package_of_mine.model")
        before = content_of(model.f)
        assert "package_of_mine.inner" not in sys.modules
        (folder / "inner.py").write_text("gain = 3\n")
        [found] = differences(before.parts, content_of(model.f).parts)
        assert found.place == "import `package_of_mine.inner`"

    def test_a_module_that_travels_as_a_value(self, monkeypatch: pytest.MonkeyPatch) -> None:
        def apply(z: Any, module: Any) -> Any:
            return z + module.SHIFT

        before = fingerprint_of(lambda z: apply(z, own_code))
        monkeypatch.setattr(own_code, "SHIFT", 2.0)
        assert fingerprint_of(lambda z: apply(z, own_code)) != before

    def test_functions_that_call_each_other(self) -> None:
        assert fingerprint_of(_even) == fingerprint_of(_even)
        assert content_of(_even).unknown == {}


_hidden: dict[str, float] = {}


def _even(n: int) -> bool:
    return n == 0 or _odd(n - 1)


def _odd(n: int) -> bool:
    return n > 0 and _even(n - 1)


def test_values_that_hold_themselves() -> None:
    ring: list[Any] = [1]
    ring.append(ring)
    other: list[Any] = [2]
    other.append(other)
    assert fingerprint_of(ring) != fingerprint_of(other)
    assert content_of(ring).unknown == {}


def _with_and_without_else(inside: bool) -> Callable[[Any], Any]:
    if inside:

        def function(z: Any) -> Any:
            try:
                y = own_code.shifted(z)
                return y
            except ValueError:
                return 0
    else:

        def function(z: Any) -> Any:
            try:
                y = own_code.shifted(z)
            except ValueError:
                return 0
            else:
                return y

    return function


def _layers(kind: Callable[..., Any], *scales: float) -> Any:
    """Objects of two classes of one name."""
    return [kind(scale) for scale in scales]


def _class_of(scale: float) -> Any:
    class Layer:
        factor = scale

        def __init__(self, *_: Any) -> None:
            pass

    return Layer


def _in_keys(a: float) -> Any:
    before = {Colour.RED: 1.0, Colour.BLUE: 2.0}
    return [before, {Colour.RED: a, Colour.BLUE: 2.0}, {Classifier(1.0): 1.0, Classifier(2.0): a}]


_f, _g = closing_over(1), closing_over(2)

# What was once taken for the same.
MIXED_UP: dict[str, tuple[Callable[[], Any], Callable[[], Any]]] = {
    "values of keys met before": (lambda: _in_keys(1.0), lambda: _in_keys(5.0)),
    "a set of what was met before": (lambda: [*Colour, {Colour.RED}], lambda: [*Colour, {Colour.BLUE}]),
    "functions far down a list": (lambda: [_f, _g] + [_f, _g] * 900, lambda: [_f, _g] + [_f, _f] * 900),
    "an array of functions": (lambda: np.array([_f, _g, _f] * 20), lambda: np.array([_f, _g, _g] * 20)),
    "classes of one name": (
        lambda: [_class_of(1.0), _class_of(2.0)],
        lambda: [_class_of(6.0), _class_of(2.0)],
    ),
    "the try of a function": (lambda: _with_and_without_else(True), lambda: _with_and_without_else(False)),
    "a wrapper with the fingerprint of what it wraps": (lambda: _wrapper(1.0), lambda: _wrapper(2.0)),
    "what a bar shows": (lambda: tqdm.tqdm(range(3), disable=True), lambda: tqdm.tqdm(range(4), disable=True)),
    "kinds of arrays": (lambda: np.matrix([[1.0]]), lambda: np.array([[1.0]])),
    "sets of one's own": (lambda: _set(1), lambda: _set(2)),
    "a variable that an inner function also has": (lambda: _with_inner(2), lambda: _with_inner(3)),
    "a variable that a function sets itself": (lambda: _setting_itself(2), lambda: _setting_itself(3)),
}


def _wrapper(scale: float) -> Any:
    def inner(z: Any) -> Any:
        return z

    inner.fingerprint = "inner"  # type: ignore[attr-defined]
    return functools.wraps(inner)(lambda z: scale * inner(z))


class _OwnSet(set[str]):
    scale = 1


def _set(scale: int) -> Any:
    found = _OwnSet({"a", "b", "c"})
    found.scale = scale
    return found


def _with_inner(scale: float) -> Any:
    def function(z: Any) -> Any:
        def other(x: Any) -> Any:
            scale = 2
            return (lambda: scale)() * x

        return z * scale + other(z)

    return function


def _setting_itself(scale: float) -> Any:
    def function(z: Any) -> Any:
        nonlocal scale
        scale = float(scale)
        return z * scale

    return function


@pytest.mark.filterwarnings("ignore:the matrix subclass")
@pytest.mark.parametrize("case", MIXED_UP)
def test_what_is_easily_mixed_up(case: str) -> None:
    one, other = MIXED_UP[case]
    assert fingerprint_of(closing_over(one())) == fingerprint_of(closing_over(one()))
    assert fingerprint_of(closing_over(one())) != fingerprint_of(closing_over(other()))


def test_what_lies_between_the_fields_of_a_record_is_no_part() -> None:
    kind = np.dtype([("a", "i1"), ("b", "i8")], align=True)
    one, other = (np.frombuffer(bytes([fill]) * 16, np.uint8).copy().view(kind) for fill in (0, 7))
    for records in (one, other):
        records["a"], records["b"] = 1, 2
    assert one.tobytes() != other.tobytes()
    assert fingerprint_of(one) == fingerprint_of(other)


def test_documentation_is_no_part() -> None:
    def plain(z: Any) -> Any:
        def inner(x: Any) -> Any:
            return x + 1

        return inner(z)

    def told(z: Any) -> Any:
        """Say what it does."""

        def inner(x: Any) -> Any:
            """Add one."""
            return x + 1

        return inner(z)

    assert content_of(plain).parts["code"] == content_of(told).parts["code"]


def test_what_raises_keeps_its_place() -> None:
    class Named:
        pass

    gone = Named()
    proxy = weakref.proxy(gone)
    del gone
    assert "closure variable `value`" in content_of(closing_over(proxy)).unknown


def test_files_that_never_end_are_not_read(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.npy")
    assert content_of(closing_over(str(tmp_path / "pipe.npy"))).unknown == {}
    with pytest.raises(ValueError, match="argument `0`: file `/usr`.*more than 2,000 files.*fingerprint="):
        mcgen.from_factory(own_code.load_array, "/usr")


def test_which_of_two_objects_a_name_means() -> None:
    one, other = Classifier(1.0), Classifier(2.0)
    assert fingerprint_of([one, other, one]) != fingerprint_of([one, other, other])


UNKNOWN: dict[str, Callable[[], Any]] = {
    "generator": lambda: (i for i in range(3)),
    "_io.TextIOWrapper": lambda: open(__file__),  # noqa: SIM115
    "_thread._local": threading.local,
    "itertools.count": itertools.count,
    "numpy.ufunc": lambda: np.frompyfunc(lambda x: x, 1, 1),
    "socket.socket": lambda: __import__("socket").socket(),
}


@pytest.mark.parametrize("kind", UNKNOWN)
def test_what_can_not_be_known_is_named_with_its_place(kind: str) -> None:
    thing = UNKNOWN[kind]()
    model = types.SimpleNamespace(sampler=thing)

    def function(z: Any) -> Any:
        return model.sampler

    found = content_of(function).unknown
    if hasattr(thing, "close"):
        thing.close()
    assert found == {"closure variable `model.sampler`": kind}


def test_what_raises_when_it_is_looked_into_is_unknown() -> None:
    class Broken:
        def __reduce_ex__(self, protocol: Any) -> Any:
            raise OSError("gone")

    assert "Broken" in content_of(closing_over(Broken())).unknown["closure variable `value`"]


def test_too_deep_is_unknown() -> None:
    nested: list[Any] = []
    for _ in range(150):
        nested = [nested]
    [what] = content_of(nested).unknown.values()
    assert what == "list, nested deeper than 100"


@pytest.mark.parametrize(
    "thing",
    [
        tqdm.tqdm(disable=True),
        logging.getLogger("test"),
        threading.Lock(),
        threading.RLock(),
        threading.Event(),
        sys.__stderr__,
        weakref.WeakValueDictionary(),
    ],
    ids=lambda thing: type(thing).__name__,
)
def test_bars_logs_locks_and_streams_are_no_part(thing: Any) -> None:
    content = content_of(closing_over(thing))
    assert not content.unknown
    assert not any("closure" in place for place in content.parts)


def test_a_given_fingerprint_is_all_that_counts() -> None:
    one, other = Classifier(1.0), Classifier(2.0)
    one.fingerprint = other.fingerprint = "epoch 3"  # type: ignore[attr-defined]
    assert content_of(one).parts == {"fingerprint": "'epoch 3'"}
    assert fingerprint_of(closing_over(one)) == fingerprint_of(closing_over(other))
    other.fingerprint = "epoch 4"  # type: ignore[attr-defined]
    assert fingerprint_of(closing_over(one)) != fingerprint_of(closing_over(other))

    class Unnamed(Classifier):
        fingerprint = None

    assert fingerprint_of(Unnamed(1.0)) != fingerprint_of(Unnamed(2.0))


@pytest.mark.parametrize("fingerprint", ["", 3, b"abc"])
def test_a_fingerprint_is_a_text(fingerprint: Any) -> None:
    with pytest.raises(TypeError, match="a fingerprint must be a text that is not empty"):
        mcgen.as_generator(logistic, noise=(4,), fingerprint=fingerprint)


class TestOrigins:
    """Installed code counts by name and version, the user's own and editable code by what it says."""

    def test_of_known_modules(self) -> None:
        assert origin_of("numpy.linalg") == f"numpy {np.__version__}"
        assert origin_of("json") == origin_of("builtins") == "python"
        assert origin_of("mcgen.statistics") == origin_of("mcgen.adapters.capture") == "mcgen"
        assert origin_of("_pytest.fixtures") == f"pytest {pytest.__version__}"
        assert origin_of("own_code") is origin_of("__main__") is origin_of("no_such_module") is origin_of(None) is None

    @pytest.mark.parametrize("metadata", ["dist-info", "egg-info", "editable"])
    def test_of_a_checkout_with_metadata(self, metadata: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        name = f"mine_{metadata.replace('-', '_')}"
        (tmp_path / f"{name}.py").write_text("x = 1\n")
        folder = tmp_path / f"{name}-1.0.{'egg-info' if metadata == 'egg-info' else 'dist-info'}"
        folder.mkdir()
        text = f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"
        (folder / ("PKG-INFO" if metadata == "egg-info" else "METADATA")).write_text(text)
        (folder / "top_level.txt").write_text(name)
        if metadata == "dist-info":
            (folder / "RECORD").write_text(f"{name}.py,,\n")
        monkeypatch.syspath_prepend(tmp_path)
        assert origin_of(name) == (f"{name} 1.0" if metadata == "dist-info" else None)

    def test_of_a_file_with_the_name_of_a_standard_module(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (tmp_path / "wave.py").write_text("x = 1\n")
        monkeypatch.syspath_prepend(tmp_path)
        monkeypatch.delitem(sys.modules, "wave", raising=False)
        origin_of.cache_clear()
        assert origin_of("wave") is None
        origin_of.cache_clear()

    def test_of_code_without_a_module(self) -> None:
        """As in a document's examples, or in code that a program makes."""

        def made(scale: float) -> dict[str, Any]:
            names: dict[str, Any] = {}
            exec(f"def function(z): return {scale} * z\nclass Model:\n    scale = {scale}\nmodel = Model()", names)
            return names

        for name in ("function", "Model", "model"):
            assert fingerprint_of(made(1.0)[name]) == fingerprint_of(made(1.0)[name])
            assert fingerprint_of(made(1.0)[name]) != fingerprint_of(made(2.0)[name])

    def test_of_a_function_that_says_it_is_another(self) -> None:
        def around(scale: float) -> Any:
            @functools.wraps(np.linalg.norm)
            def function(z: Any) -> Any:
                return scale * z

            return function

        assert fingerprint_of(around(1.0)) != fingerprint_of(around(2.0))
        assert fingerprint_of(around(1.0)) != fingerprint_of(functools.wraps(np.linalg.norm)(lambda z: z))

    def test_mcgens_own_classes_have_no_module(self) -> None:
        """So that a later move invalidates no store."""
        generator = mcgen.as_generator(logistic, noise=(4,))
        joint = mcgen.generators.joint.pair(generator, generator)
        # A joint generator is what its generators are.
        assert not [text for text in content_of(joint).parts.values() if "mcgen" in text]
        for thing in [Sobol(8), statistics.stack(mean, statistics.contrast), statistics.L1(np.zeros(4)), mean]:
            texts = [text for text in content_of(thing).parts.values() if "mcgen" in text]
            assert texts
            assert all(text.removeprefix("mcgen.").isidentifier() for text in texts), texts


class TestFiles:
    """Files that a value names count by their content."""

    def test_a_file_that_is_named(self, tmp_path: Path) -> None:
        path = tmp_path / "weights.npy"
        for name in (path, str(path)):
            path.write_bytes(b"one")
            before = fingerprint_of(closing_over(name))
            assert fingerprint_of(closing_over(name)) == before
            path.write_bytes(b"two")
            assert fingerprint_of(closing_over(name)) != before

    def test_a_file_that_the_code_names(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        Path("shift.npy").write_bytes(b"one")

        def function(z: Any) -> Any:
            return z + np.load("shift.npy")

        before = fingerprint_of(function)
        Path("shift.npy").write_bytes(b"two")
        assert fingerprint_of(function) != before

    def test_overwritten_with_the_same_size_and_time(self, tmp_path: Path) -> None:
        """What settles within the resolution of a clock is not trusted."""
        path = tmp_path / "weights.npy"
        for text in ("one", "two"):
            path.write_text(text)
            os.utime(path, ns=(10**18, 10**18))
            content = content_of_file(str(path))
            assert content_of_file(str(path)) == content
        path.write_text("one")
        os.utime(path, ns=(10**18, 10**18))
        assert content_of_file(str(path)) != content

    def test_read_again_only_after_a_change(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path = tmp_path / "weights.npy"
        path.write_text("one")
        monkeypatch.setattr("mcgen._lib.fingerprints.files._SETTLED_SECONDS", -1.0)
        content = content_of_file(str(path))
        monkeypatch.setattr("hashlib.file_digest", lambda *_: pytest.fail("read again"))
        assert content_of_file(str(path)) == content


class TestTorch:
    """Modules by their parameters, buffers and attributes; tensors of every kind."""

    @pytest.fixture
    def torch(self) -> Any:
        return pytest.importorskip("torch")

    @pytest.mark.filterwarnings("ignore:torch.ao.quantization is deprecated", "ignore:.*quantize")
    def test_tensors(self, torch: Any) -> None:
        eye = torch.eye(3)
        for one, other in [
            (torch.zeros(2), torch.ones(2)),
            (torch.zeros(2), torch.zeros(2, dtype=torch.float64)),
            (torch.zeros(2, dtype=torch.bfloat16), torch.ones(2, dtype=torch.bfloat16)),
            (eye.to_sparse(), (2 * eye).to_sparse()),
            (torch.tensor([1j]), torch.tensor([1j]).conj()),
            (torch.zeros(2, 3), torch.zeros(3, 2)),
            (torch.arange(6.0).reshape(2, 3), torch.arange(6.0).reshape(3, 2).T),
            (torch.quantize_per_tensor(eye, 0.1, 0, torch.qint8), torch.quantize_per_tensor(eye, 0.2, 0, torch.qint8)),
            (torch.Generator().manual_seed(0), torch.Generator().manual_seed(1)),
        ]:
            assert fingerprint_of(closing_over(one)) == fingerprint_of(closing_over(one)), one
            assert fingerprint_of(closing_over(one)) != fingerprint_of(closing_over(other)), (one, other)
        assert fingerprint_of(eye) == fingerprint_of(eye.T.contiguous())

    @pytest.mark.parametrize(
        "change",
        [
            lambda net: net[0].weight.data.mul_(2),
            lambda net: net[0].bias.data.add_(1),
            lambda net: net[1].running_mean.add_(1),
            lambda net: net.register_buffer("extra", net[0].bias.detach() + 1, persistent=False),
            lambda net: setattr(net[1], "eps", 0.5),
            lambda net: setattr(net, "guidance", 3.0),
            lambda net: net.train(),
            lambda net: setattr(net, "2", net[3]),
            lambda net: net[0].register_forward_hook(lambda module, inputs, output: 2 * output),
            lambda net: net[0].register_full_backward_hook(lambda module, inputs, outputs: None),
        ],
    )
    def test_modules(self, torch: Any, change: Callable[[Any], Any]) -> None:
        def net() -> Any:
            torch.manual_seed(0)
            layers = torch.nn.Linear(2, 3), torch.nn.BatchNorm1d(3), torch.nn.ReLU(), torch.nn.Tanh()
            return torch.nn.Sequential(*layers).eval()

        one, other = net(), net()
        assert fingerprint_of(closing_over(one)) == fingerprint_of(closing_over(other))
        change(other)
        assert content_of(other).unknown == {}
        assert fingerprint_of(closing_over(one)) != fingerprint_of(closing_over(other))

    def test_modules_that_come_again(self, torch: Any) -> None:
        a, b = torch.nn.Linear(2, 2), torch.nn.Linear(2, 2)
        kinds = [torch.nn.Sequential(*modules) for modules in ((a, b), (a, b, a), (a, b, b), (b, a, b))]
        assert len(set(map(fingerprint_of, kinds))) == 4

    def test_parametrized_modules(self, torch: Any) -> None:
        net = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(2, 2))
        before = content_of(net)
        assert before.unknown == {}
        net.parametrizations.weight.original0.data.add_(1)
        assert fingerprint_of(net) != before.fingerprint

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_attributes_of_scripted_modules(self, torch: Any) -> None:
        one, again, other = (torch.jit.script(own_code.scaled_module(scale)) for scale in (1.0, 1.0, 2.0))
        assert fingerprint_of(one) == fingerprint_of(again) != fingerprint_of(other)

    @pytest.mark.filterwarnings("ignore::DeprecationWarning")
    def test_compiled_and_scripted_ones(self, torch: Any) -> None:
        net = torch.nn.Linear(2, 2)
        compiled, scripted = torch.compile(net), torch.jit.script(net)
        function = torch.compile(closing_over(1))
        for one in (compiled, scripted, function):
            assert content_of(one).unknown == {}
        before = [fingerprint_of(one) for one in (compiled, scripted)]
        net.weight.data.add_(1)
        assert all(a != fingerprint_of(b) for a, b in zip(before, (compiled, scripted), strict=True))
        assert fingerprint_of(function) != fingerprint_of(torch.compile(closing_over(2)))

    def test_where_it_lies_does_not_count(self, torch: Any) -> None:
        assert fingerprint_of(torch.device("cpu")) == fingerprint_of(torch.device("cuda"))


_SAME_ELSEWHERE = """
import sys
sys.path[:0] = {folders!r}
import test_fingerprints as t
from mcgen._lib.fingerprints import fingerprint_of
things = [hold(one) for hold in t.HOLDERS for one, _ in t.VALUES]
things += [t.own_code.counted, t._even, t.Classifier, t.statistics.stack(t.mean, t.Classifier(2.0), names=("a", "b"))]
print(*map(fingerprint_of, things))
"""


def test_the_same_in_every_process() -> None:
    code = _SAME_ELSEWHERE.format(folders=[str(folder) for folder in Path(__file__).parents[:2]])
    told = [
        subprocess.run(
            [sys.executable, "-c", code],
            env=os.environ | {"PYTHONHASHSEED": seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for seed in ("1", "2")
    ]
    assert told[0] == told[1]
    assert len(set(told[0].split())) > 300


class TestStores:
    """The same call with the same store goes on; with anything else in the model or the statistic it is refused."""

    @pytest.fixture
    def run(self, tmp_path: Path) -> Callable[..., mcgen.Estimate]:
        def run(function: Any, statistic: Any = mean, n_evaluations: int = 64, **options: Any) -> mcgen.Estimate:
            generator = function if hasattr(function, "noise") else mcgen.as_generator(function, noise=(4,), name="g")
            options = {"design": Antithetic(), "seed": 0, "store": tmp_path / "run.sqlite"} | options
            return mcgen.estimate(generator, statistic, n_evaluations=n_evaluations, **options)

        return run

    @pytest.mark.parametrize("hold", HOLDERS[:-1], ids=lambda hold: hold.__name__)
    def test_a_generator(self, hold: Callable[[Any], Any], run: Callable[..., mcgen.Estimate]) -> None:
        def around(held: Any) -> Callable[[Any], Any]:
            return lambda z: logistic(z) if held else z

        wrapped = [around(hold(value)) for value in ([0.5], [0.5], [0.7])]
        first = run(wrapped[0])
        assert run(wrapped[1]) == first
        assert run(wrapped[1], n_evaluations=128).n_evaluations == 128
        with pytest.raises(StoreError, match="of the generator is.*in the store and.*here"):
            run(wrapped[2])

    def test_a_statistic(self, run: Callable[..., mcgen.Estimate]) -> None:
        def above(thresholds: list[float]) -> Callable[[Any], Any]:
            return lambda x: np.stack([(x > t).mean(1) for t in thresholds], axis=1)

        first = run(logistic, above([0.5]))
        assert run(logistic, above([0.5])) == first
        with pytest.raises(
            StoreError, match=r"closure variable `thresholds\[0\]` of the statistic is 0.5 in the store"
        ):
            run(logistic, above([0.7]))

    @pytest.mark.parametrize("statistic", [Classifier(1.0), Classifier(1.0).score, lambda x: Classifier(1.0)(x)])
    def test_a_classifier(self, statistic: Any, run: Callable[..., mcgen.Estimate]) -> None:
        run(logistic, statistic)
        changed = getattr(statistic, "__self__", statistic)
        if isinstance(changed, Classifier):
            changed.scale += 1
            with pytest.raises(StoreError, match="`scale` of the statistic is"):
                run(logistic, statistic)
            changed.scale -= 1
        assert run(logistic, statistic).n_evaluations == 64

    def test_without_these_differences_the_first_number_would_come_back(
        self, run: Callable[..., mcgen.Estimate], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The negative control: knowing nothing of the model, a store returns another model's number."""
        first = run(lambda z: logistic(z, 0.0))
        monkeypatch.setattr("mcgen.replicates.stores.headers.differences", lambda *_: [])
        assert run(lambda z: logistic(z, 5.0)) == first

    def test_counters_caches_and_bars_do_not_stop_a_run_that_goes_on(self, run: Callable[..., mcgen.Estimate]) -> None:
        calls: list[int] = []
        cache: dict[int, int] = {}
        counter = {"calls": 0, "shift": 1.0}
        bar = tqdm.tqdm(disable=True)

        def function(z: Any) -> Any:
            calls.append(len(z))
            counter["calls"] += 1
            cache.setdefault(len(z), len(calls))
            bar.update()
            return 1 / (1 + np.exp(-z - counter["shift"]))

        first = run(function)
        calls.append(0)
        assert run(function) == first
        assert run(function, n_evaluations=6400).n_evaluations == 6400
        assert run(function, n_evaluations=9600).n_evaluations == 9600
        counter["shift"] = 2.0
        with pytest.raises(StoreError, match=r"`counter\['shift'\]` of the generator is 1.0 in the store and 2.0 here"):
            run(function, n_evaluations=9600)

    def test_a_network_that_is_loaded_when_it_is_needed(self, run: Callable[..., mcgen.Estimate]) -> None:
        """It may be there or not when a run goes on, but be no other."""

        class Model:
            def __init__(self, shift: float = 1.0) -> None:
                self.net: Any = None
                self.calls, self._shift = 0, [shift]

            def __call__(self, z: Any) -> Any:
                self.calls += 1
                if self.net is None:
                    self.net = np.full(4, self._shift[0])
                return 1 / (1 + np.exp(-z - self.net))

        model = Model()
        first = run(model, n_evaluations=640)
        assert run(model, n_evaluations=640) == first
        assert run(Model(), n_evaluations=640) == first
        assert run(model, n_evaluations=1280).n_evaluations == 1280
        model.net = model.net + 1
        with pytest.raises(StoreError, match="attribute `net` of the generator is None in the store and"):
            run(model, n_evaluations=1280)

    def test_another_network_that_was_loaded_by_running(
        self, tmp_path: Path, run: Callable[..., mcgen.Estimate]
    ) -> None:
        weights: dict[str, float] = {}

        def model() -> Any:
            net: list[Any] = []

            def function(z: Any) -> Any:
                if not net:
                    # From where nothing tells.
                    net.append(weights.__class__.__getitem__(_hidden, "shift"))
                return 1 / (1 + np.exp(-z - net[0]))

            return function

        _hidden["shift"] = 1.0
        run(model(), n_evaluations=640)
        _hidden["shift"] = 2.0
        with pytest.raises(StoreError, match=r"another model was loaded|of the generator is"):
            run(model(), n_evaluations=1280)

    def test_weights_beside_working_state(self, run: Callable[..., mcgen.Estimate]) -> None:
        torch = pytest.importorskip("torch")
        net = torch.nn.Linear(4, 4)
        net.register_forward_hook(lambda module, inputs, output: setattr(module, "last", output))

        def function(z: Any) -> Any:
            with torch.no_grad():
                return torch.sigmoid(net(torch.as_tensor(z)))

        first = run(function, n_evaluations=640)
        assert run(function, n_evaluations=640) == first
        net.weight.data.add_(1)
        with pytest.raises(StoreError, match="closure variable `net`: parameters of the generator"):
            run(function, n_evaluations=640)

    def test_a_key_that_is_added_by_hand(self, run: Callable[..., mcgen.Estimate]) -> None:
        settings: dict[str, Any] = {"scale": 1.0}

        def function(z: Any) -> Any:
            settings.setdefault("cache", 3)
            return 1 / (1 + np.exp(-z - settings.get("shift", 0.5)))

        run(function, n_evaluations=640)
        settings["shift"] = 2.0
        with pytest.raises(StoreError, match="`settings.*of the generator is"):
            run(function, n_evaluations=640)

    def test_what_is_no_working_state_is_told_how_to_be_kept_out(self, run: Callable[..., mcgen.Estimate]) -> None:
        notes: list[str] = []
        run(lambda z: logistic(z) if notes is not None else z)
        notes.append("by hand")
        with pytest.raises(StoreError, match="a counter, a cache.*attribute `fingerprint`.*as_generator takes it"):
            run(lambda z: logistic(z) if notes is not None else z)

    def test_a_fingerprint_keeps_all_out(self, run: Callable[..., mcgen.Estimate]) -> None:
        notes: list[str] = []

        def made(fingerprint: str) -> Any:
            function = lambda z: logistic(z) if notes is not None else z  # noqa: E731
            return mcgen.as_generator(function, noise=(4,), name="g", fingerprint=fingerprint)

        first = run(made("one"))
        notes.append("by hand")
        assert run(made("one")) == first
        with pytest.raises(StoreError, match="fingerprint of the generator is 'one' in the store and 'two' here"):
            run(made("two"))

    def test_what_can_not_be_known_is_refused_only_where_there_is_a_store(
        self, run: Callable[..., mcgen.Estimate]
    ) -> None:
        model = types.SimpleNamespace(sampler=io.TextIOWrapper(io.BytesIO(b"")))
        function = lambda z: logistic(z) if model.sampler else z  # noqa: E731
        message = r"can't know closure variable `model.sampler`: an object of type _io.TextIOWrapper.*fingerprint"
        with pytest.raises(StoreError, match=message):
            run(function)
        assert run(function, store=None).n_evaluations == 64
        with pytest.raises(StoreError, match="know the statistic again.*`model.sampler`"):
            run(logistic, lambda x: x.mean(1) if model.sampler else x)

    def test_controls_coarse_generators_levels_and_differences(self, tmp_path: Path) -> None:
        def model(shift: float) -> mcgen.Generator:
            return mcgen.as_generator(lambda z: 1 / (1 + np.exp(-z - shift)), noise=(4,), name="model")

        def controls(scale: float) -> Any:
            return mcgen.controls.surrogate(model(scale), mean, 0.5)

        options: dict[str, Any] = {"seed": 0, "n_evaluations": 1600}
        for number, call in enumerate(
            [
                lambda x, **o: mcgen.estimate(model(1.0), mean, design=Antithetic(), controls=controls(x), **o),
                lambda x, **o: mcgen.estimate(model(1.0), mean, design=mcgen.Auto(coarse=[(model(x), 0.1)]), **o),
                lambda x, **o: mcgen.multilevel([(model(x), 1), (model(1.0), 10)], mean, **o),
                lambda x, **o: mcgen.difference(model(1.0), model(x), mean, design=Antithetic(), **o),
            ]
        ):
            store = tmp_path / f"{number}.sqlite"
            first = call(0.9, store=store, **options)
            assert call(0.9, store=store, **options) == first
            with pytest.raises(StoreError, match="0.9 in the store and 0.8 here"):
                call(0.8, store=store, **options)

    def test_a_store_of_before(self, run: Callable[..., mcgen.Estimate], monkeypatch: pytest.MonkeyPatch) -> None:
        with monkeypatch.context() as older:
            older.setattr("mcgen.runs.header.CONTENT", "fingerprint of the ")
            older.setattr("mcgen.replicates.stores.database.SCHEMA", 1)
            run(logistic)
        with pytest.raises(StoreError, match="written by an older mcgen.*can be read, exported and merged"):
            run(logistic)


def test_what_changes_by_running_is_noted_once() -> None:
    calls: list[int] = []
    given = Given({"generator": lambda z: calls.append(1)})
    watched = given.watched()
    assert watched is not None
    calls.append(1)
    watched.look()
    assert given.changes == {
        "generator: closure variable `calls`": Change("list of 0", "list of 1", True),
        "generator: closure variable `calls[0]`": Change(None, "1", None),
    }
    watched.look()
    assert given.changes["generator: closure variable `calls[0]`"].keeps is False
    assert given.watched() is None


@pytest.mark.parametrize("made", [dict, set, list])
def test_of_large_containers_a_look_sees_the_length(made: Any) -> None:
    large = made(dict.fromkeys(((i, str(i)) for i in range(5000)), 0))
    given = Given({"generator": closing_over(large)})
    watched = given.watched()
    assert watched is not None
    assert len(content_of(closing_over(large), quick=True).parts) < 5
    {dict: lambda: large.update({0: 1}), set: lambda: large.add(0), list: lambda: large.append(0)}[made]()
    watched.look()
    assert given.changes["generator: closure variable `value`"].keeps is True


def test_a_given_fingerprint_never_counts_as_working_state() -> None:
    """It may be all that is known."""
    model = Classifier(1.0)
    model.fingerprint = "one"  # type: ignore[attr-defined]
    given = Given({"generator": model})
    watched = given.watched()
    model.fingerprint = "two"  # type: ignore[attr-defined]
    assert watched is not None
    watched.look()
    assert given.changes == {}


@pytest.mark.skipif(np.finfo(np.longdouble).nmant != 63, reason="numbers of 80 bits have padding")
def test_the_padding_of_extended_precision_is_no_content() -> None:
    numbers = np.full(4, 1.5, np.longdouble)
    octets = np.frombuffer(numbers.tobytes(), np.uint8).reshape(-1, 16).copy()
    octets[:, 10:] = 7
    padded = octets.reshape(-1).view(np.longdouble)
    assert padded.tobytes() != numbers.tobytes()
    assert content_of(padded) == content_of(numbers) != content_of(numbers + 1)


def test_what_a_class_of_mcgen_has_computed_from_its_content_does_not_count() -> None:
    real = np.random.default_rng(0).standard_normal((60, 2))
    score = mcgen.functionals.energy_distance(real)
    before = content_of(score)
    assert score.plug_in(real + 1.0) > 0
    assert score.target.moments.rank == 2
    assert content_of(score) == before
