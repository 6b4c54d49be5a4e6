"""The command line, as a user would type it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import mcgen
from mcgen.cli import design_named, main

MODEL = """
import numpy as np
import mcgen

def decode(z, condition=0):
    return 1 / (1 + np.exp(-z - condition - 1))

def top(x):
    return x.max(axis=(1, 2, 3))

trigger = mcgen.MonteCarlo().draw((1, 4, 4), range(1000, 1001), seed=0)[0, 0]

def breaks(z):
    return np.where((z == trigger).all(axis=(1, 2, 3), keepdims=True), np.nan, z)

generator = mcgen.as_generator(decode, noise=(1, 4, 4), name="decode")
broken = mcgen.as_generator(breaks, noise=(1, 4, 4))
"""


@pytest.fixture(autouse=True)
def _model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "mymodel.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    sys.modules.pop("mymodel", None)


RUN = ["--n-evaluations", "3200", "--seed", "0", "--no-progress"]


def test_estimate_saves_what_it_prints(capsys: pytest.CaptureFixture[str]) -> None:
    status = main(["estimate", "mymodel:generator", "--statistic", "brightness,mymodel:top", "--design", "sobol", "--n-points", "64", *RUN, "--output", "run.json"])  # fmt: skip
    assert status == 0
    result = mcgen.Estimate.load("run.json")
    assert result.names == ("brightness", "top")
    assert result.provenance.design == "Sobol(n_points=64)"
    out = capsys.readouterr().out
    assert result.summary() in out
    assert "saved to run.json" in out


@pytest.mark.parametrize("more", [[], ["--workers", "1"]])
def test_a_store_knows_what_a_module_loads(more: list[str]) -> None:
    lines = ["import numpy as np, mcgen", "W = np.load('w.npy')", "def decode(z): return 1 / (1 + np.exp(-z - W))"]
    lines += ["generator = mcgen.as_generator(decode, noise=(4,), name='decode')"]
    Path("loads.py").write_text("\n".join(lines))
    call = ["estimate", "loads:generator", "--statistic", "pixel_mean", "--design", "antithetic", *RUN]
    call += ["--store", "run.sqlite", *more]
    for weight, status in ((1.0, 0), (1.0, 0), (0.5, 2)):
        np.save("w.npy", weight)
        command = subprocess.run([sys.executable, "-m", "mcgen", *call], capture_output=True, text=True, check=False)
        assert command.returncode == status, command.stderr
    assert "global `loads.W` of the generator is float64 ()" in command.stderr


def test_compare_prints_the_table(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = [
        "compare",
        "mymodel:generator",
        "--statistic",
        "contrast",
        *RUN,
        "--condition",
        "2",
        "--output",
        "table.json",
    ]
    assert main(arguments) == 0
    table = mcgen.Comparison.load("table.json")
    assert len(table.estimates) == 4
    assert table.estimates[0].provenance.condition == "2"
    assert "KAntithetic(k=8)" in capsys.readouterr().out


def test_auto_is_a_design_of_estimate(capsys) -> None:
    assert main(["estimate", "mymodel:generator", "--statistic", "pixel_mean", "--design", "auto", *RUN]) == 0
    assert "seed" in capsys.readouterr().out
    assert main(["compare", "mymodel:generator", "--statistic", "pixel_mean", "--designs", "auto", *RUN]) == 2
    assert "auto for mcgen estimate" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "design"),
    [("latin-hypercube:10", mcgen.LatinHypercube(10)), ("orthogonal:8", mcgen.OrthogonalAntithetic(8))],
)
def test_designs_have_names(text: str, design: mcgen.Design) -> None:
    assert design_named(text, None) == design_named(text.partition(":")[0], design.n_points) == design


def test_module_runs_as_a_command() -> None:
    run = subprocess.run([sys.executable, "-m", "mcgen", "estimate", "mymodel:generator", "--statistic", "pixel_mean", "--design", "antithetic", *RUN], capture_output=True, text=True, check=True)  # fmt: skip
    assert "E[pixel_mean(decode(noise))]" in run.stdout


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["estimate", "mymodel:generator", "--statistic", "sharpness", "--design", "antithetic", *RUN], "a statistic is one of pixel_mean"),
        (["estimate", "mymodel", "--statistic", "brightness", "--design", "antithetic", *RUN], "name an object as package.module:name"),
        (["estimate", "mymodel:nothing", "--statistic", "brightness", "--design", "antithetic", *RUN], "mymodel has no 'nothing'; it has np, mcgen, decode"),
        (["estimate", "nomodel:generator", "--statistic", "brightness", "--design", "antithetic", *RUN], "No module named 'nomodel'"),
        (["estimate", "mymodel:generator", "--statistic", "brightness", "--design", "sobol", *RUN], "sobol:N .* got 'sobol'"),
        (["estimate", "mymodel:generator", "--statistic", "brightness", "--design", "sobol:48", *RUN], "got 48. Near it: 32 and 64"),
        (["estimate", "mymodel:generator", "--statistic", "brightness", "--design", "subspace:64", *RUN], "make a Subspace in Python"),
        (["estimate", "mymodel:decode", "--statistic", "brightness", "--design", "antithetic", *RUN], "generator must satisfy mcgen.Generator"),
    ],
)  # fmt: skip
def test_wrong_arguments_exit_with_2_and_one_line(arguments: list[str], message: str, capsys) -> None:
    import re

    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert re.search(message, error)
    assert error.count("\n") == 1


def test_a_broken_run_exits_with_1_and_saves_what_was_finished(capsys) -> None:
    arguments = [
        "estimate",
        "mymodel:broken",
        "--statistic",
        "pixel_mean",
        "--design",
        "monte-carlo",
        *RUN,
        "--output",
        "part.json",
    ]
    assert main(arguments) == 1
    assert "NaN or infinity" in capsys.readouterr().err
    partial = mcgen.Estimate.load("part.json")
    assert partial.partial
    assert 900 < partial.n_replicates <= 1000


@pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")  # Sobol(64) has 10 replicates here
def test_demo_compares_the_designs_and_writes_a_report(tmp_path: Path, capsys) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("matplotlib")
    assert main(["demo", "--n-evaluations", "640", "--no-progress"]) == 0
    out = capsys.readouterr().out
    assert "Sobol(n_points=64)" in out
    assert "report: demo/report.html" in out
    report = (tmp_path / "demo" / "report.html").read_text()
    assert report.count("data:image/png;base64") == 3
    assert "http" not in report.replace("https://", "http://").split("<body>")[0]
    assert "jia2025antithetic" in report


def test_conditions_folders_and_failures(capsys) -> None:
    run = ["estimate", "mymodel:generator", "--statistic", "pixel_mean", "--design", "antithetic", *RUN]
    assert main([*run, "--condition", "1", "--condition", "2", "--output", "two.json"]) == 0
    assert len(mcgen.Estimate.load("two.json").conditions) == 2
    assert main([*run, "--output", "missing/run.json"]) == 2
    assert "the folder of --output missing/run.json does not exist" in capsys.readouterr().err
    assert main([*run[:5], "sobol:32", "--n-points", "64", *RUN]) == 2
    assert "disagree; leave out one of them" in capsys.readouterr().err
    assert main(["estimate", "mymodel.py:generator", *run[2:]]) == 2
    assert "name the module, not its file: mymodel:generator" in capsys.readouterr().err


def test_errors_of_the_users_code_show_where_and_save_what_was_finished(tmp_path: Path, capsys) -> None:
    (tmp_path / "late.py").write_text(
        "import mcgen\ncalls = 0\n"
        "def fails(z):\n    global calls\n    calls += 1\n"
        "    if calls > 9:\n        raise RuntimeError('out of memory')\n    return z + z**2\n"
        "generator = mcgen.as_generator(fails, noise=(8,))\n"
    )
    run = ["estimate", "late:generator", "--statistic", "pixel_mean", "--design", "antithetic", *RUN]
    assert main([*run, "--output", "part.json"]) == 1
    error = capsys.readouterr().err
    assert "late.py" in error
    assert "raised by 'fails' at replicates" in error
    assert mcgen.Estimate.load("part.json").partial
    (tmp_path / "typo.py").write_text("import nowhere_to_be_found\n")
    assert main(["estimate", "typo:generator", *run[2:]]) == 2
    assert "typo.py" in capsys.readouterr().err


def test_an_interrupted_run_without_results_exits_with_130(tmp_path: Path, capsys) -> None:
    (tmp_path / "stops.py").write_text(
        "import mcgen\ndef stops(z):\n    raise KeyboardInterrupt\ngenerator = mcgen.as_generator(stops, noise=(8,))\n"
    )
    assert main(["estimate", "stops:generator", "--statistic", "pixel_mean", "--design", "antithetic", *RUN]) == 130
    assert capsys.readouterr().err == "mcgen: interrupted before two replicates were finished\n"


def test_help_says_what_the_seed_of_validate_is(capsys) -> None:
    with pytest.raises(SystemExit):
        main(["validate", "--help"])
    assert "of all studies, at least 0 (default: 0)" in " ".join(capsys.readouterr().out.split())


ONE = ["estimate", "mymodel:generator", "--statistic", "brightness,mymodel:top", "--design", "antithetic", "--seed", "0", "--no-progress"]  # fmt: skip


def test_a_store_is_gone_on_with_told_of_and_exported(capsys) -> None:
    assert main([*ONE, "--n-evaluations", "1600", "--store", "run.sqlite"]) == 0
    assert main([*ONE, "--n-evaluations", "3200", "--store", "run.sqlite", "--output", "run.json"]) == 0
    whole = mcgen.Estimate.load("run.json")
    capsys.readouterr()
    assert main(["status", "run.sqlite"]) == 0
    told = capsys.readouterr().out
    assert "brightness, top of decode, Antithetic()" in told
    assert "1,600 of 1,600 replicates (100%)" in told
    assert str(whole) in told
    for kind in ("csv", "json"):
        assert main(["export", "run.sqlite", f"--{kind}", f"out.{kind}"]) == 0
    table = pd.read_csv("out.csv")
    assert list(table.columns) == ["replicate", "brightness", "brightness within", "top", "top within"]
    assert np.array_equal(table["brightness"], whole.replicate_means[:, 0])
    exported = mcgen.Estimate.load("out.json")
    assert (exported.mean == whole.mean).all()
    assert (exported.interval.low == whole.interval.low).all()


def test_parquet_is_written_or_says_what_it_needs(capsys) -> None:
    main([*ONE, "--n-evaluations", "640", "--store", "run.sqlite"])
    found = importlib.util.find_spec("pyarrow") is not None
    assert main(["export", "run.sqlite", "--parquet", "out.parquet"]) == (0 if found else 2)
    err = capsys.readouterr().err
    assert len(pd.read_parquet("out.parquet")) == 320 if found else "mcgen-stats[parquet]" in err


def test_a_store_of_sums_is_exported_by_leaves() -> None:
    generator = mcgen.as_generator(np.tanh, noise=(4,), name="tanh")
    options: dict[str, Any] = {"design": mcgen.MonteCarlo(), "seed": 0, "keep_replicates": False, "store": "run.sqlite"}
    made = mcgen.estimate(generator, mcgen.statistics.pixel_mean, n_replicates=600, **options)
    assert main(["export", "run.sqlite", "--csv", "out.csv"]) == 0
    table = pd.read_csv("out.csv")
    # The last leaf is not whole, and may have been stored in several parts.
    assert table[["first", "last"]].to_numpy().tolist()[:2] == [[0, 255], [256, 511]]
    assert (table["first"].iloc[2], table["last"].iloc[-1]) == (512, 599)
    counts = table["last"] - table["first"] + 1
    assert np.isclose((table["pixel_mean mean"] * counts).sum() / 600, made.mean)


def test_parts_are_merged(capsys) -> None:
    for number, part in enumerate(["0:700", "700:1600"]):
        assert main([*ONE, "--replicates", part, "--store", f"part{number}.sqlite"]) == 0
    assert main(["merge", "part0.sqlite", "part1.sqlite", "-o", "run.sqlite"]) == 0
    assert "1,600 of 1,600 replicates (100%)" in capsys.readouterr().out
    assert main(["merge", "part0.sqlite", "part0.sqlite", "-o", "twice.sqlite"]) == 2
    assert "both hold replicates 0 to 699" in capsys.readouterr().err
    assert main(["merge", "part1.sqlite", "-o", "gap.sqlite"]) == 2
    assert "replicates 0 to 699" in capsys.readouterr().err


def test_workers_and_a_tolerance(tmp_path: Path, capsys) -> None:
    code = f"import sys; from mcgen.cli import main; sys.exit(main({[*ONE, '--atol', '0.004', '--workers', '2', '--output', 'two.json']!r}))"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=tmp_path, capture_output=True)
    assert main([*ONE, "--atol", "0.004", "--output", "one.json"]) == 0
    one = mcgen.Estimate.load("one.json")
    assert one == mcgen.Estimate.load("two.json")
    assert one.stopping is not None
    assert one.stopping.reason in capsys.readouterr().out


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["status", "missing.sqlite"], "missing.sqlite"),
        (["export", "missing.sqlite", "--csv", "out.csv"], "missing.sqlite"),
        ([*ONE, "--replicates", "5-10", "--store", "a.sqlite"], "--replicates takes first:stop"),
        ([*ONE, "--atol", "0", "--store", "a.sqlite"], "atol must be above 0"),
        ([*ONE, "--n-evaluations", "640", "--workers", "0"], "--workers must be at least 1"),
        ([*ONE, "--n-evaluations", "640", "--store", "nowhere/a.sqlite"], "folder"),
        (ONE, "n_evaluations"),
    ],
)
def test_wrong_arguments_of_long_runs(arguments: list[str], message: str, capsys) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err
