"""The tutorials as notebooks: each runs top to bottom in a fresh kernel, shows pictures, and warns of nothing."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

sphinx_gallery = pytest.importorskip("sphinx_gallery")
nbclient = pytest.importorskip("nbclient")
nbformat = pytest.importorskip("nbformat")
for needed in ("ipykernel", "torch", "matplotlib", "diffusers", "transformers"):
    pytest.importorskip(needed)

from sphinx_gallery.gen_gallery import DEFAULT_GALLERY_CONF  # noqa: E402
from sphinx_gallery.notebook import jupyter_notebook  # noqa: E402
from sphinx_gallery.py_source_parser import split_code_and_text_blocks  # noqa: E402

TUTORIALS = sorted((Path(__file__).parents[1] / "examples" / "tutorials").glob("plot_*.py"))

# Jupyter's client warns of its own event loop and sockets.
pytestmark = pytest.mark.filterwarnings("ignore")


def run_as_notebook(script: Path, folder: Path) -> list[Any]:
    """Convert a script by sphinx-gallery, run all its cells in `folder`, and return their outputs."""
    _, blocks = split_code_and_text_blocks(str(script))
    options = DEFAULT_GALLERY_CONF | {"pypandoc": False, "first_notebook_cell": "%matplotlib inline"}
    content = json.dumps(jupyter_notebook(blocks, options, str(script.parent)))
    notebook = nbformat.reads(content, as_version=4)
    client = nbclient.NotebookClient(
        notebook, timeout=300, kernel_name="python3", resources={"metadata": {"path": str(folder)}}
    )
    client.execute()
    return [output for cell in notebook.cells for output in cell.get("outputs", [])]


def complaints(outputs: list[Any]) -> list[str]:
    """What the cells wrote to the standard error stream, but for what tqdm says of a missing widget."""
    texts = [output.text for output in outputs if output.output_type == "stream" and output.name == "stderr"]
    return [text for text in texts if "IProgress not found" not in text]


@pytest.fixture(autouse=True)
def own_kernels(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Kernels with one thread, that neither read nor write the user's settings."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    for name in ("IPYTHONDIR", "JUPYTER_CONFIG_DIR", "JUPYTER_DATA_DIR", "JUPYTER_RUNTIME_DIR"):
        monkeypatch.setenv(name, str(tmp_path / "jupyter"))


def test_there_are_six_tutorials() -> None:
    assert len(TUTORIALS) >= 6


@pytest.mark.parametrize("script", TUTORIALS, ids=lambda script: script.stem)
def test_a_tutorial_runs_as_a_notebook(script: Path, tmp_path: Path) -> None:
    outputs = run_as_notebook(script, tmp_path)
    assert complaints(outputs) == []
    assert sum("image/png" in output.get("data", {}) for output in outputs) >= 1
    assert sum(output.output_type == "stream" for output in outputs) >= 3


def test_a_script_that_fails_or_warns_is_noticed(tmp_path: Path) -> None:
    script = tmp_path / "plot_broken.py"
    script.write_text('"""\nBroken\n======\n"""\n\nimport warnings\n\nwarnings.warn("look", stacklevel=1)\n')
    assert "look" in complaints(run_as_notebook(script, tmp_path))[0]
    script.write_text('"""\nBroken\n======\n"""\n\n1 / 0\n')
    with pytest.raises(nbclient.exceptions.CellExecutionError, match="ZeroDivisionError"):
        run_as_notebook(script, tmp_path)
