"""Every example in the docstrings, the README and the documentation, run."""

from __future__ import annotations

import doctest
import importlib
import importlib.util
import pkgutil
import warnings
from pathlib import Path

import pytest

import mcgen

ROOT = Path(__file__).parents[1]
OPTIONS = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
WITHOUT_EXAMPLES = ("mcgen.__main__", "mcgen.validation.__main__")
NEEDS_TORCH = {"from mcgen.adapters", "import torch"}


def module_names() -> list[str]:
    found = pkgutil.walk_packages(mcgen.__path__, "mcgen.", onerror=lambda name: None)
    return sorted(module.name for module in found if module.name not in WITHOUT_EXAMPLES)


def example_lines(name: str) -> list[str]:
    """The first two words of each example of a module, which is not imported."""
    origin = importlib.util.find_spec(name).origin
    return [
        " ".join(line.split()[1:3]) for line in Path(origin).read_text().splitlines() if line.strip().startswith(">>>")
    ]


def pages() -> list[Path]:
    return sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])


# Modules of validation that import torch at their head.
TORCH_ITSELF = tuple(
    f"validation.{name}"
    for name in (
        *(
            "pages.demo",
            "measurements.speed",
            "measurements.models",
            "measurements.condition_designs",
            "measurements.editing",
            "measurements.steps",
            "pages.paper",
            "pages.models",
            "measurements.image_mixtures",
        ),
        *(
            "measurements.widths",
            "measurements.cases",
            "pages.efficiency",
            "pages.fid",
            "measurements.rivals",
            "measurements.fitted",
        ),
    )
)


@pytest.mark.parametrize("name", module_names())
def test_docstring_examples(name: str) -> None:
    if name.startswith(("mcgen.adapters.", "mcgen.validation.systems.")) or name.endswith(TORCH_ITSELF):
        pytest.importorskip("torch")
    if NEEDS_TORCH & set(example_lines(name)):
        pytest.importorskip("torch")
    for optional in ("diffusers", "normflows", "zuko"):
        if f"import {optional}" in example_lines(name):
            pytest.importorskip(optional)
    if name.startswith("mcgen.adapters.onnx"):
        pytest.importorskip("onnxruntime")
    if name == "mcgen.analysis.measures":
        pytest.importorskip("skimage")
    if name == "mcgen.plots" or name.startswith("mcgen.results.figures"):
        pytest.importorskip("matplotlib")
    result = doctest.testmod(importlib.import_module(name), optionflags=OPTIONS)
    assert result.failed == 0


@pytest.mark.parametrize("page", pages(), ids=lambda page: page.name)
def test_page_examples(page: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if ">>> from mcgen.adapters" in page.read_text():
        pytest.importorskip("torch")
    if "import onnx" in page.read_text():
        pytest.importorskip("onnxruntime")
    monkeypatch.chdir(tmp_path)
    # In Markdown an example's output ends at the fence, which doctest does not know.
    text = page.read_text().replace("\n```", "\n\n```")
    examples = doctest.DocTestParser().get_doctest(text, {}, page.name, str(page), 0)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert doctest.DocTestRunner(optionflags=OPTIONS).run(examples).failed == 0


def test_some_pages_have_examples() -> None:
    assert sum(">>>" in page.read_text() for page in pages()) >= 3
