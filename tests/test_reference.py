"""The reference lists every public name, and every name that it lists has a page with an example."""

from __future__ import annotations

import importlib
import inspect
import re
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

import mcgen

INDEX = Path(__file__).parents[1] / "docs" / "reference" / "index.md"
# What a user writes after `mcgen.`: the package, its public modules, and those that load by themselves.
MODULES = (
    *("mcgen", "mcgen.designs", "mcgen.adapters", "mcgen.adapters.models", "mcgen.validation"),
    *(f"mcgen.{name}" for name in mcgen.__all__ if inspect.ismodule(getattr(mcgen, name))),
)
NEED_TORCH = ("mcgen.adapters", "mcgen.adapters.models")
NEED_ONNX = ("mcgen.adapters.onnx",)

pytestmark = pytest.mark.skipif(not INDEX.exists(), reason="needs the checkout")


def listed() -> list[str]:
    """The full names in the tables of the reference."""
    names, module = [], ""
    for line in INDEX.read_text().splitlines() if INDEX.exists() else []:
        if found := re.fullmatch(r"\.\. currentmodule:: (\S+)", line):
            module = found[1]
        if found := re.fullmatch(r"   ([A-Za-z_][\w.]*)", line):
            names.append(f"{module}.{found[1]}")
    return names


def object_of(name: str) -> Any:
    """The object of a full name; modules on the way are imported."""
    if name.startswith(NEED_TORCH):
        pytest.importorskip("torch")
    if name.startswith(NEED_ONNX):
        pytest.importorskip("onnxruntime")
    found: Any = mcgen
    path = "mcgen"
    for part in name.split(".")[1:]:
        path += f".{part}"
        if isinstance(found, ModuleType) and not hasattr(found, part):
            importlib.import_module(path)
        found = getattr(found, part)
    return found


def documented(module: str) -> Iterator[str]:
    """The names of a module's ``__all__`` that are functions or classes: no modules, aliases of types or constants."""
    own = object_of(module)
    for name in own.__all__:
        value = getattr(own, name)
        if inspect.isfunction(value) or inspect.isclass(value):
            yield name


def test_the_reference_lists_names_once() -> None:
    names = listed()
    assert len(names) > 100
    assert sorted(set(names)) == sorted(names)


@pytest.mark.parametrize("name", listed())
def test_a_listed_name_has_a_page_with_an_example(name: str) -> None:
    text = inspect.getdoc(object_of(name)) or ""
    assert text.split("\n\n")[0].endswith(".")
    assert ">>> " in text


@pytest.mark.parametrize("module", MODULES)
def test_every_public_name_is_listed(module: str) -> None:
    own = object_of(module)
    pages = [object_of(name) for name in listed() if not name.startswith("mcgen.adapters") or module in NEED_TORCH]
    missing = [name for name in documented(module) if all(getattr(own, name) is not page for page in pages)]
    assert missing == []
