"""The counter of modules and frames between a user's call and the model."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from types import ModuleType

import pytest

from mcgen.validation.measurements.journeys import Counted, counted, journeys_table

INNER = """
def each(model):
    return sum(model() for _ in range(2))
def beside(model):
    return 0
class Body:
    pass
"""
OUTER = """
import mcgen.toy_inner
def short(model):
    mcgen.toy_inner.beside(model)
    return mcgen.toy_inner.each(model)
def longer(model):
    return short(model)
"""


def model() -> int:
    return 1


@pytest.fixture
def toy(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A module that passes for one of mcgen's, and calls another."""
    import mcgen

    for name, source in {"toy_inner": INNER, "toy_outer": OUTER}.items():
        module = ModuleType(f"mcgen.{name}")
        monkeypatch.setitem(sys.modules, module.__name__, module)
        monkeypatch.setattr(mcgen, name, module, raising=False)
        exec(source, module.__dict__)
    return sys.modules["mcgen.toy_outer"]


def met(function: Callable[[Callable[[], int]], int]) -> Counted:
    return counted(lambda: function(model), model.__code__)


def test_modules_and_frames_of_a_toy_journey(toy: ModuleType) -> None:
    one = met(toy.short)
    assert one.modules == ["mcgen.toy_outer", "mcgen.toy_inner"]
    assert one.frames == ["mcgen.toy_outer:short", "mcgen.toy_inner:each", "mcgen.toy_inner:each.<locals>.<genexpr>"]
    assert one.last_frames == one.frames


def test_rooms_are_the_first_parts_of_names_below_mcgen() -> None:
    names = ["estimation", "inference.moments", "replicates.stores.store", "inference.methods"]
    one = Counted(modules=[f"mcgen.{name}" for name in names])
    assert one.rooms == ["estimation", "inference", "replicates"]


def test_a_planted_frame_is_counted(toy: ModuleType) -> None:
    short, longer = met(toy.short), met(toy.longer)
    assert longer.frames == ["mcgen.toy_outer:longer", *short.frames]
    assert longer.modules == short.modules


def test_the_most_frames_and_those_of_the_last_call(toy: ModuleType) -> None:
    one = counted(lambda: (toy.longer(model), toy.short(model)), model.__code__)
    assert (len(one.frames), len(one.last_frames)) == (4, 3)


def test_what_the_model_and_imports_run_does_not_count(toy: ModuleType) -> None:
    def model_of_mcgen() -> int:
        return toy.longer(model)

    def importing() -> None:
        exec("from mcgen.toy_inner import beside\nbeside(None)", {"__name__": "mcgen.new"})

    assert counted(model_of_mcgen, model_of_mcgen.__code__) == Counted()
    assert counted(importing, model.__code__) == Counted()


def test_threads_are_watched_and_hooks_put_back(toy: ModuleType) -> None:
    def journey() -> None:
        thread = threading.Thread(target=toy.short, args=[model])
        thread.start()
        thread.join()

    before = sys.getprofile(), threading.getprofile()
    assert len(counted(journey, model.__code__).frames) == 3
    assert (sys.getprofile(), threading.getprofile()) == before


def test_a_journey_of_mcgen() -> None:
    table = journeys_table("1 estimate", names=True)
    assert table.startswith(
        "| journey | modules | rooms | frames | frames at the last call |\n| --- | --- | --- | --- | --- |\n| 1 est"
    )
    assert "\n\n1 estimate, rooms:\n\n1. designs\n2. " in table
    assert "\n\n1 estimate, frames:\n\n1. mcgen." in table
    assert "mcgen.validation" not in table
    assert "mcgen.adapters" not in table
