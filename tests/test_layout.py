"""The rules of the code itself: where things live, how long they are, who imports whom."""

from __future__ import annotations

import ast
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

import mcgen

ROOT = Path(__file__).parents[1]
FOLDERS = {"mcgen": ROOT / "mcgen", "mcgen.adapters": ROOT / "adapters", "mcgen.validation": ROOT / "validation"}
in_checkout = pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="needs the checkout")

# From the lowest layer to the highest; a module imports from its own layer's predecessors only.
LAYERS = [
    [
        "_version",
        "_lib",
        "inference",
        "variance_reduction",
        "variance_reduction.levels",
        "variance_reduction.bases",
        "variance_reduction.controls",
        "variance_reduction.planning",
        "results",
        "runs",
        "replicates",
        "replicates.executors",
        "replicates.stores",
        "_lib.checks",
        "_lib.names",
        "errors",
        "noise.spec",
    ],
    ["noise"],
    ["noise.random", "noise.numbers", "_lib.arrays", "noise.directions"],
    ["_lib.fingerprints.origins", "_lib.fingerprints.bytecode", "_lib.fingerprints.files", "_lib.fingerprints.arrays"],
    ["_lib.fingerprints.places"],
    ["_lib.fingerprints.code"],
    ["_lib.fingerprints.modules"],
    ["_lib.fingerprints.walk"],
    ["_lib.fingerprints.comparison"],
    ["_lib.fingerprints", "_lib.condition_keys"],
    ["designs._base"],
    [
        "designs.monte_carlo",
        "designs.antithetic",
        "designs.k_antithetic",
        "designs.latin_hypercube",
        "designs.orthogonal",
        "designs.sobol",
    ],
    ["designs.subspace"],
    ["designs"],
    ["generators.base"],
    ["generators"],
    ["generators.factories"],
    ["inference.moments", "statistics.images"],
    ["statistics"],
    ["replicates.laws", "replicates.tally", "inference.sequences", "inference.tolerance"],
    ["replicates.first_batch"],
    ["replicates.loop", "inference.intervals"],
    ["replicates.ranges"],
    ["replicates.executors.worker"],
    ["replicates.executors.coordinator"],
    ["inference.efficiency", "inference.coverage", "_lib.serialization", "results.text"],
    ["replicates.stores.encoding"],
    ["replicates.stores.database"],
    ["replicates.stores.store"],
    ["replicates.stores.merging"],
    ["inference.stopping"],
    ["results.figures", "runs.progress", "replicates.sizes"],
    ["variance_reduction.bases.gradients", "variance_reduction.controls.correction"],
    ["variance_reduction.controls.control_variates"],
    ["variance_reduction.controls.surrogate"],
    ["results.estimate", "results.report"],
    ["replicates.source", "results.sums"],
    ["runs.outcome"],
    ["runs.bookkeeping", "runs.stored"],
    ["runs.execution"],
    ["runs.conditions"],
    ["runs.differences"],
    ["variance_reduction.levels.sum_of_levels"],
    ["variance_reduction.levels.multilevel", "variance_reduction.planning.trials"],
    ["variance_reduction.planning.predictions"],
    ["variance_reduction.planning.plan"],
    ["variance_reduction.planning.planner"],
    ["estimation"],
    ["comparison"],
    ["citations"],
    ["bases", "controls", "intervals"],
    [""],
    ["cli"],
    ["__main__"],
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


def is_module(path: Path) -> bool:
    return path.with_suffix(".py").exists() or path.is_dir()


def runtime_imports(path: Path) -> set[str]:
    """Names of the mcgen modules, and of the top-level packages, that a file imports outside TYPE_CHECKING."""
    found: set[str] = set()

    def visit(node: ast.AST) -> None:
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            return
        if isinstance(node, ast.Import):
            found.update(alias.name for alias in node.names)
        if isinstance(node, ast.ImportFrom) and node.module == "mcgen":
            found.update(
                f"mcgen.{alias.name}" if is_module(ROOT / "mcgen" / alias.name) else "mcgen" for alias in node.names
            )
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
        for child in ast.iter_child_nodes(node):
            visit(child)

    visit(ast.parse(path.read_text()))
    return found


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
def test_imports_go_one_way() -> None:
    level = {f"mcgen.{name}".rstrip("."): i for i, layer in enumerate(LAYERS) for name in layer}
    core = [(name, path) for name, path in modules() if not name.startswith(("mcgen.adapters", "mcgen.validation"))]
    assert {name for name, _ in core} == set(level)
    wrong = [
        f"{name} imports {other}"
        for name, path in core
        for other in runtime_imports(path)
        if other.split(".")[0] == "mcgen" and level.get(other, 99) >= level[name]
    ]
    assert wrong == []


@in_checkout
def test_only_adapters_and_validation_know_torch() -> None:
    outside = [name for name, path in modules() if "torch" in {i.split(".")[0] for i in runtime_imports(path)}]
    assert [name for name in outside if not name.startswith(("mcgen.adapters", "mcgen.validation"))] == []


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
