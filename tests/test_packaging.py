"""What a user installs and cites: extras, the citation's version, and the types of a script of theirs."""

from __future__ import annotations

import re
import runpy
import tomllib
from pathlib import Path

import pytest

import mcgen

ROOT = Path(__file__).parents[1]
in_checkout = pytest.mark.skipif(not (ROOT / "pyproject.toml").exists(), reason="needs the checkout")

# Extras of those who work on mcgen; all others are for users.
OF_DEVELOPERS = {"all", "train", "benchmarks", "dev", "docs"}


def extras() -> dict[str, list[str]]:
    found: dict[str, list[str]] = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"][
        "optional-dependencies"
    ]
    return found


def named(requirements: list[str]) -> set[str]:
    """The extras of mcgen itself that some requirements name."""
    texts = [re.fullmatch(r"mcgen-stats\[(.*)\]", one) for one in requirements]
    return {name for text in texts if text is not None for name in text[1].split(",")}


@in_checkout
def test_all_has_every_extra_of_users() -> None:
    found = extras()
    assert named(found["all"]) == set(found) - OF_DEVELOPERS
    assert len(found["all"]) == 1


@in_checkout
def test_developers_have_all() -> None:
    assert {"all", "train"} <= named(extras()["dev"])


@in_checkout
def test_extras_that_are_named_exist() -> None:
    found = extras()
    assert set().union(*map(named, found.values())) <= set(found)
    # Error messages name extras too.
    texts = [path.read_text() for folder in ("mcgen", "adapters") for path in (ROOT / folder).rglob("*.py")]
    asked = {
        name for text in texts for names in re.findall(r"mcgen-stats\[([a-z,]+)\]", text) for name in names.split(",")
    }
    assert asked
    assert asked <= set(found)


def citation() -> dict[str, str]:
    """The top-level entries of CITATION.cff that stand on one line."""
    lines = (ROOT / "CITATION.cff").read_text().splitlines()
    pairs = [line.split(": ", 1) for line in lines if re.match(r"[a-z-]+: ", line)]
    return {name: text.strip('"') for name, text in pairs}


@in_checkout
def test_the_citation_is_of_this_version() -> None:
    found = citation()
    assert found["version"] == mcgen.__version__
    assert found["cff-version"] == "1.2.0"
    assert re.fullmatch(r"\d{4}-\d\d-\d\d", found["date-released"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    assert found["license"] == project["license"]
    keywords = (ROOT / "CITATION.cff").read_text().split("\nkeywords:\n")[1].split("\nreferences:")[0]
    assert [line.removeprefix("  - ") for line in keywords.splitlines()] == project["keywords"]


@in_checkout
def test_the_changelog_begins_with_this_version() -> None:
    sections = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), flags=re.MULTILINE)
    assert sections[0] == mcgen.__version__


@in_checkout
def test_the_source_distribution_names_files_that_exist() -> None:
    lines = (ROOT / "MANIFEST.in").read_text().splitlines()
    included = [name for line in lines if line.startswith("include ") for name in line.split()[1:]]
    assert [name for name in included if not (ROOT / name).is_file()] == []
    assert {"CHANGELOG.md", "CITATION.cff", "CONTRIBUTING.md", "SECURITY.md"} <= set(included)


def test_a_user_script_runs(tmp_path: Path) -> None:
    script = runpy.run_path(str(Path(__file__).parent / "typed" / "user_script.py"))
    script["main"](tmp_path)
