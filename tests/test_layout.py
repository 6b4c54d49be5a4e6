"""The rules of the code itself: where things live, how long they are, who imports whom."""

from __future__ import annotations

import ast
import functools
import subprocess
import sys
import tomllib
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import mcgen

ROOT = Path(__file__).parents[1]
FOLDERS = {"mcgen": ROOT / "mcgen", "mcgen.adapters": ROOT / "adapters", "mcgen.validation": ROOT / "validation"}
in_checkout = pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="needs the checkout")

# The rooms and their floors: a module imports its own room and rooms on lower floors, types included.
FLOORS: list[set[str]] = [
    {"_lib", "errors", "_version"},
    {"noise", "statistics"},
    {"designs", "generators", "inference", "inference.distances"},
    {"replicates", "results"},
    {"functionals"},
    {"runs"},
    {"variance_reduction.bases", "variance_reduction.controls", "variance_reduction.levels"},
    {"variance_reduction.planning", "analysis"},
    # The face: what users call.
    {"bases", "controls", "intervals", "call_options", "loading", "sampling"},
    {"estimation", "evaluation"},
    {"comparison", "differences", "plots"},
    {"citations"},
    {""},
    {"cli"},
    {"__main__"},
    {"adapters.tensors", "adapters.onnx"},
    {"adapters.capturing", "adapters.decoders"},
    {"adapters.samplers"},
    {"adapters.inverse", "adapters.composed"},
    {"adapters.models"},
    {"adapters"},
    {"validation.problems", "validation.conformance", "validation.writing"},
    {"validation.studies", "validation.measurements", "validation.systems"},
    {"validation.pages"},
    {"validation"},
    {"validation.__main__"},
]
FACE = {
    "call_options",
    "bases",
    "controls",
    "intervals",
    "estimation",
    "evaluation",
    "loading",
    "sampling",
    "comparison",
    "differences",
    "plots",
    "citations",
    "",
    "cli",
    "__main__",
}
CORE = set().union(*FLOORS[: FLOORS.index({"__main__"}) + 1])

# What the floors alone would allow, and is not allowed: rooms that must not know of each other, by prefixes.
FORBIDDEN = [
    ("inference", "designs"),
    ("replicates", "results"),
    ("functionals", "results"),
    ("adapters", "functionals"),
    ("adapters", "inference"),
    ("adapters", "replicates"),
    ("adapters", "results"),
    ("adapters", "runs"),
    ("adapters", "variance_reduction"),
    ("validation.problems", "adapters"),
    ("validation.studies", "adapters"),
    ("validation.conformance", "adapters"),
]


def modules() -> list[tuple[str, Path]]:
    found = []
    for package, folder in FOLDERS.items():
        for path in sorted(folder.rglob("*.py")):
            inside = path.relative_to(folder)
            if package == "mcgen" and inside.parts[0] in ("adapters", "validation"):
                continue
            parts = [package, *inside.with_suffix("").parts]
            found.append((".".join(part for part in parts if part != "__init__"), path))
    return found


@functools.cache
def room_of(module: str) -> str:
    """Return the room of a module: "inference" for mcgen.inference.moments, "adapters.models" for its modules."""
    parts = module.split(".")[1:]
    rooms = set().union(*FLOORS)
    return next((room for n in (2, 1, 0) if (room := ".".join(parts[:n])) in rooms and n <= len(parts)), "?")


def imports(text: str, known: set[str]) -> set[str]:
    """Return the modules that a file imports anywhere, under TYPE_CHECKING and in functions too."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(text)):
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom):
            parts = {f"{node.module}.{alias.name}": alias.name for alias in node.names}
            found.update(name if name in known else node.module or "" for name in parts)
    return found


@functools.cache
def edges() -> dict[str, frozenset[str]]:
    """Return which modules of mcgen each module imports."""
    found = texts()
    known = set(found)
    return {name: frozenset(imports(text, known) & known - {name}) for name, text in found.items()}


def planted(module: str, line: str) -> dict[str, frozenset[str]]:
    """Return the imports as they would be with one more line in a module."""
    known = set(edges())
    return edges() | {module: edges()[module] | imports(line, known) & known - {module}}


def wrong_imports(edges: dict[str, frozenset[str]]) -> list[str]:
    """Return the imports that go upwards, to the face, or between rooms that must not know of each other."""
    floor = {room: number for number, rooms in enumerate(FLOORS) for room in rooms}
    found = []
    for module, others in edges.items():
        room = room_of(module)
        for other in others:
            to = room_of(other)
            up = to != room and floor[to] >= floor[room]
            to_face = to in FACE and room in CORE - FACE
            apart = any(room.startswith(one) and to.startswith(two) for one, two in FORBIDDEN)
            if up or to_face or apart:
                found.append(f"{module} imports {other}")
    return found


def circles(edges: dict[str, frozenset[str]]) -> list[str]:
    """Return a circle of imports among modules, where there is one."""
    try:
        [*TopologicalSorter(edges).static_order()]
    except CycleError as error:
        return [*error.args[1]]
    return []


def texts() -> dict[str, str]:
    return {name: path.read_text() for name, path in modules()}


@in_checkout
def test_listed_packages_are_the_folders() -> None:
    listed = set(tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["setuptools"]["packages"])
    present = {name for name, path in modules() if path.name == "__init__.py"}
    assert listed == present


@in_checkout
@pytest.mark.parametrize("name", ["adapters", "validation"])
def test_links_lead_to_the_real_folders(name: str) -> None:
    assert (ROOT / "mcgen" / name).is_symlink()
    assert (ROOT / "mcgen" / name).resolve() == ROOT / name


@in_checkout
@pytest.mark.parametrize("name", ["adapters", "validation"])
def test_folders_refuse_to_be_top_level_packages(name: str) -> None:
    run = subprocess.run(
        [sys.executable, "-c", f"import {name}"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode != 0
    assert f"imported as '{name}'; import it as 'mcgen.{name}'" in run.stderr


@in_checkout
def test_every_module_is_in_a_room() -> None:
    rooms = {room_of(name) for name, _ in modules()}
    empty = {"variance_reduction"}
    assert "?" not in rooms
    assert {name for name, _ in modules() if room_of(name) == "" and name != "mcgen"} <= {
        f"mcgen.{name}" for name in empty
    }


@in_checkout
def test_imports_go_down() -> None:
    assert wrong_imports(edges()) == []


@in_checkout
def test_imports_have_no_circle() -> None:
    assert circles(edges()) == []


@in_checkout
@pytest.mark.parametrize(
    ("module", "line"),
    [
        ("mcgen.inference.moments", "from mcgen.designs import Design"),
        ("mcgen.inference.moments", "if TYPE_CHECKING:\n    from mcgen.results.estimate import Estimate"),
        ("mcgen.runs.execution", "def f():\n    from mcgen.variance_reduction.controls.quadratic import quadratic"),
        ("mcgen.runs.execution", "from mcgen.estimation import estimate"),
        ("mcgen.replicates.loop", "import mcgen.results.estimate"),
        ("mcgen.results.estimate", "from mcgen.replicates import loop"),
        ("mcgen.variance_reduction.planning.planner", "import mcgen"),
        ("mcgen.designs.sobol", "from mcgen.adapters import models"),
        ("mcgen.variance_reduction.levels.multilevel", "from mcgen.variance_reduction.controls import quadratic"),
        ("mcgen.adapters.tensors.floats", "from mcgen.adapters.samplers import diffusion"),
        ("mcgen.adapters.samplers.diffusion", "from mcgen.runs.execution import run"),
        ("mcgen.validation.problems.basic", "from mcgen.validation.studies import coverage"),
        ("mcgen.validation.studies.coverage", "from mcgen.adapters import models"),
    ],
)
def test_planted_imports_are_found(module: str, line: str) -> None:
    assert len(wrong_imports(planted(module, line))) > len(wrong_imports(edges()))


@in_checkout
def test_a_planted_circle_is_found() -> None:
    line = "if TYPE_CHECKING:\n    import mcgen.inference.intervals"
    assert "mcgen.inference.moments" in circles(planted("mcgen.inference.moments", line))


@in_checkout
def test_only_adapters_and_validation_know_torch() -> None:
    outside = [name for name, text in texts().items() if "torch" in {i.split(".")[0] for i in imports(text, set())}]
    assert [name for name in outside if not name.startswith(("mcgen.adapters", "mcgen.validation"))] == []
    assert [name for name in outside if name.startswith(("mcgen.validation.conformance", "mcgen.adapters.onnx"))] == []


@in_checkout
def test_modules_and_functions_stay_short() -> None:
    long = []
    for name, path in modules():
        text = path.read_text()
        if text.count("\n") > 500:
            long.append(f"{name}: {text.count(chr(10))} lines")
        for node in ast.walk(ast.parse(text)):
            if isinstance(node, ast.FunctionDef) and code_lines(node, text) > 40:
                long.append(f"{name}.{node.name}: {code_lines(node, text)} lines of code")
    assert long == []


def code_lines(function: ast.FunctionDef, text: str) -> int:
    """Lines of a function without its docstring, blank lines and comments."""
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    if not body:
        return 0
    lines = text.splitlines()[body[0].lineno - 1 : function.end_lineno]
    return sum(1 for line in lines if line.strip() and not line.strip().startswith("#"))


def test_import_is_lean() -> None:
    code = (
        "import sys, mcgen; heavy = {'torch', 'matplotlib', 'pandas', 'scipy.stats', 'tqdm', 'mcgen.adapters', "
        "'mcgen.validation'} & set(sys.modules); assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_adapters_and_validation_come_when_they_are_used() -> None:
    code = (
        "import sys, mcgen; assert sorted([*mcgen.__all__, 'adapters', 'validation']) == dir(mcgen); "
        "assert mcgen.validation.__name__ == 'mcgen.validation' and callable(mcgen.adapters.from_onnx); "
        "assert not hasattr(mcgen, 'nothing')"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_public_names_exist_and_are_documented() -> None:
    for name in mcgen.__all__:
        assert getattr(mcgen, name) is not None
        assert name == "__version__" or getattr(mcgen, name).__doc__


def test_typed_marker_ships() -> None:
    assert (Path(mcgen.__file__).parent / "py.typed").exists()
