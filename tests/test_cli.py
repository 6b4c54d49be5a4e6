"""The command line, as a user would type it."""

from __future__ import annotations

import importlib.util
import re
import shlex
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

import mcgen
from mcgen.cli import design_named, main
from mcgen.cli.parser import parser
from mcgen.cli.values import condition_value, names_in, whole_number
from mcgen.cli.wording import in_flags

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
def _model(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "mymodel.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = {*sys.modules}
    yield
    for name in {*sys.modules} - before:
        # Modules of the test's own folder; others, such as numpy's, can't be imported twice.
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


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
    assert main(["estimate", "mymodel:generator", "--statistic", "pixel_mean", "--design", "autos", *RUN]) == 2
    assert "or auto, which a pilot chooses" in capsys.readouterr().err


def test_auto_is_a_design_of_compare(capsys) -> None:
    call = ["compare", "mymodel:generator", "--statistic", "pixel_mean", "--designs", "monte-carlo,Auto", *RUN]
    assert main([*call, "--output", "table.json"]) == 0
    assert "auto: " in capsys.readouterr().out
    assert [one.split(":")[0] for one in mcgen.Comparison.load("table.json").labels] == ["MonteCarlo()", "auto"]
    assert main([*call, "--condition", "1", "--condition", "2", "--common-random-numbers"]) == 2
    assert "--design auto plans each condition alone" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")
def test_conditions_may_be_a_sample(capsys) -> None:
    conditions = [word for number in range(6) for word in ("--condition", str(number))]
    call = ["estimate", "mymodel:generator", "--statistic", "pixel_mean", "--design", "antithetic", *RUN, *conditions]
    assert main([*call, "--across", "population", "--clusters", "a,a,b,b", "--clusters", "c,c"]) == 0
    assert "population: pixel_mean" in capsys.readouterr().out
    assert main(["compare", *call[1:4], "--designs", "monte-carlo,antithetic", *RUN, *conditions]) == 0
    assert "for each of 6 conditions" in capsys.readouterr().out


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
        (["estimate", "mymodel", "--statistic", "brightness", "--design", "antithetic", *RUN], "name an object as package.module:name or file.py:name"),
        (["estimate", "mymodel:nothing", "--statistic", "brightness", "--design", "antithetic", *RUN], "mymodel has no 'nothing'; it has np, mcgen, decode"),
        (["estimate", "nomodel:generator", "--statistic", "brightness", "--design", "antithetic", *RUN], "No module named 'nomodel'"),
        (["estimate", "mymodel:generator", "--statistic", "brightness", "--design", "latin-hypercube", *RUN], "--design latin-hypercube lacks its number of points .*; write --design latin-hypercube:64 or --n-points 64; got 'latin-hypercube'"),
        (["estimate", "mymodel:generator", "--statistic", "brightness", "--design", "sobol", "--seed", "0", "--n-replicates", "40"], "sobol takes its number of points from the --n-evaluations of mcgen estimate.* such as sobol:64"),
        (["estimate", "mymodel:generator", "--statistic", "brightness", "--design", "sobol:48", *RUN], "got 48. Near it: 32 and 64"),
        (["estimate", "mymodel:generator", "--statistic", "brightness", "--design", "subspace:64", *RUN], "make a Subspace in Python"),
        (["estimate", "mymodel:decode", "--statistic", "brightness", "--design", "antithetic", *RUN], "generator must satisfy mcgen.Generator"),
    ],
)  # fmt: skip
def test_wrong_arguments_exit_with_2_and_one_line(arguments: list[str], message: str, capsys) -> None:
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
def test_the_demo_measures_samplers_against_real_digits_and_writes_a_report(tmp_path: Path, capsys) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("matplotlib")
    threads = torch.get_num_threads()
    assert main(["demo", "--n-evaluations", "640", "--no-progress"]) == 0
    assert torch.get_num_threads() == threads
    out = capsys.readouterr().out
    assert re.search(r"lowest Fréchet distance of 3 models|cannot be told apart", out)
    assert re.search(r"independent samples, with 95 % intervals: .* for Sobol\(n_points=64\)", out)
    assert "report: demo/report.html" in out
    report = (tmp_path / "demo" / "report.html").read_text()
    # Intervals and differences by four scores, two curves; samples of three models.
    assert report.count("data:image/svg+xml;base64") == 10
    assert report.count("data:image/png;base64") == 3
    assert "http" not in re.sub(r"data:image/[^']*", "", report)
    for key in ("jia2025antithetic", "heusel2017gans", "johnson1978modified"):
        assert key in report
    card = mcgen.load(tmp_path / "demo" / "scorecard.json")
    assert isinstance(card, mcgen.Scorecard)
    assert card.scores == ("Fréchet distance", "kernel distance", "brightness", "contrast")
    assert {one.provenance.reference for one in card.estimates["kernel distance"].values()} == {
        "360 held-out real digits, fixed"
    }


def test_conditions_folders_and_failures(capsys) -> None:
    run = ["estimate", "mymodel:generator", "--statistic", "pixel_mean", "--design", "antithetic", *RUN]
    assert main([*run, "--condition", "1", "--condition", "2", "--output", "two.json"]) == 0
    assert len(mcgen.Estimate.load("two.json").conditions) == 2
    assert main([*run, "--output", "missing/run.json"]) == 2
    assert "the folder of --output missing/run.json does not exist" in capsys.readouterr().err
    assert main([*run[:5], "sobol:32", "--n-points", "64", *RUN]) == 2
    assert "disagree; leave out one of them" in capsys.readouterr().err


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


def test_statistics_that_take_the_condition(tmp_path: Path, capsys) -> None:
    own = "\ndef squares(x, c):\n    return (x.mean((1, 2, 3)) - c) ** 2\n"
    own += "taken = mcgen.as_statistic(squares, uses_condition=True)\nplain = lambda x, c: squares(x, c)\n"
    (tmp_path / "own.py").write_text(MODEL + own)
    run = ["estimate", "own.py:generator", "--design", "antithetic", *RUN, "--statistic"]
    assert main([*run, "own.py:taken", "--condition", "1", "--condition", "2"]) == 0
    assert "condition 2: squares" in capsys.readouterr().out
    assert main([*run, "own.py:taken"]) == 2
    assert "and no condition was given; pass --condition" in capsys.readouterr().err
    assert main([*run, "own.py:plain", "--condition", "1"]) == 1
    told = capsys.readouterr().err
    assert "uses_condition=True" in told
    assert "the generator may take no condition" not in told


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
        ([*ONE, "--atol", "0", "--store", "a.sqlite"], "--atol must be above 0"),
        ([*ONE, "--n-evaluations", "640", "--workers", "0"], "--workers must be at least 1"),
        ([*ONE, "--n-evaluations", "640", "--store", "nowhere/a.sqlite"], "folder"),
        (ONE, "say how much to run: --n-evaluations 3200, or --atol or --rtol"),
    ],
)
def test_wrong_arguments_of_long_runs(arguments: list[str], message: str, capsys) -> None:
    assert main(arguments) == 2
    assert message in capsys.readouterr().err


def test_an_output_that_cannot_be_written_is_refused_before_the_run(tmp_path: Path, capsys) -> None:
    counting = (
        "import mcgen\ndef f(z):\n    open('ran', 'w')\n    return z\ngenerator = mcgen.as_generator(f, noise=(4,))\n"
    )
    (tmp_path / "counts.py").write_text(counting)
    (tmp_path / "folder").mkdir()
    mcgen.estimate(mcgen.as_generator(np.tanh, noise=(4,)), mcgen.statistics.pixel_mean, design=mcgen.MonteCarlo(), n_replicates=25, seed=0, store="old")  # fmt: skip
    run = ["estimate", "counts:generator", "--statistic", "pixel_mean", "--design", "antithetic", *RUN]
    cases = {
        "missing/run.json": "the folder of --output missing/run.json does not exist",
        "folder": "--output folder is a folder; name a file in it",
        "counts.py/run.json": "the folder of --output counts.py/run.json does not exist",
        "old": "old is a store",
        "run.csv": "--output run.csv would hold JSON; name it run.json",
    }
    if Path("/proc").is_dir():
        # A folder in which no file can be made, whoever tries.
        cases["/proc/run.json"] = "--output /proc/run.json can't be written"
    for output, message in cases.items():
        assert main([*run, "--output", output]) == 2, output
        assert message in capsys.readouterr().err
    assert main([*run, "--store", "new", "--output", str(tmp_path / "new")]) == 2
    assert "--output and the store are the same file" in capsys.readouterr().err
    assert not Path("ran").exists()
    assert not Path("new").exists()
    for command in (["plan", "counts:generator", "--statistic", "pixel_mean", *RUN], ["compare", "counts:generator", "--statistic", "pixel_mean", *RUN]):  # fmt: skip
        assert main([*command, "--output", "missing/x.json"]) == 2
    assert main(["export", "old", "--csv", "folder"]) == 2
    assert "--csv folder is a folder" in capsys.readouterr().err
    assert main(["export", "old", "--csv", "old"]) == 2
    assert main(["merge", "old", "-o", "missing/all.sqlite"]) == 2
    assert "the folder of --output missing/all.sqlite does not exist" in capsys.readouterr().err
    assert not Path("ran").exists()


def test_trying_an_output_leaves_it_as_it_was(capsys) -> None:
    Path("run.json").write_text("kept")
    run = ["estimate", "mymodel:nothing", "--statistic", "pixel_mean", "--design", "antithetic", *RUN]
    for output in ("run.json", "new.json"):
        assert main([*run, "--output", output]) == 2
    assert Path("run.json").read_text() == "kept"
    assert not Path("new.json").exists()


def test_the_numbers_are_printed_before_they_are_saved(monkeypatch: pytest.MonkeyPatch, capsys) -> None:
    shown: list[str] = []

    def fails(self: mcgen.Estimate, path: str) -> None:
        shown.append(capsys.readouterr().out)
        raise OSError("No space left on device")

    monkeypatch.setattr(mcgen.Estimate, "save", fails)
    run = ["estimate", "mymodel:generator", "--statistic", "pixel_mean", "--design", "antithetic", *RUN]
    assert main([*run, "--output", "run.json"]) == 1
    assert "E[pixel_mean(decode(noise))]" in shown[0]
    captured = capsys.readouterr()
    assert captured.err == "mcgen: the result could not be saved to run.json (No space left on device)\n"
    assert "saved" not in captured.out


@pytest.mark.parametrize(
    ("text", "value"),
    [("3", 3), ("-3", -3), ("+7", 7), ("0.5", 0.5), ("-.5", -0.5), ("1e-3", 0.001), ("2.", 2.0), ("a cat", "a cat"),
     ("'3'", "3"), ('"0.5"', "0.5"), ("²", "²"), ("nan", "nan"), ("inf", "inf"), ("1e999", "1e999"), ("3 cats", "3 cats"), ("1_000", "1_000"), ("", "")],
)  # fmt: skip
def test_conditions_that_are_numbers_arrive_as_numbers(text: str, value: object) -> None:
    assert condition_value(text) == value
    assert type(condition_value(text)) is type(value)


def test_a_run_gets_its_conditions_as_numbers() -> None:
    Path("asks.py").write_text(
        "import mcgen\nseen = []\n"
        "def f(z, condition):\n    seen.append(condition)\n    return z\n"
        "generator = mcgen.as_generator(f, noise=(4,))\n"
    )
    run = ["estimate", "asks.py:generator", "--statistic", "pixel_mean", "--design", "monte-carlo", *RUN]
    assert main([*run, "--condition", "0.5", "--condition", "-1e-3", "--condition", "7", "--condition", "a cat"]) == 0
    assert {*sys.modules["asks"].seen} == {0.5, -0.001, 7, "a cat"}


@pytest.mark.parametrize(
    ("text", "value"), [("10000", 10000), ("1e4", 10000), ("2.5e3", 2500), ("1E4", 10000), ("10_000", 10000), ("3200.0", 3200), ("-1", -1), (str(2**127), 2**127)]
)  # fmt: skip
def test_whole_numbers(text: str, value: int) -> None:
    assert whole_number(text) == value


def test_numbers_with_exponents_are_numbers_everywhere(capsys) -> None:
    many = ["--n-evaluations", "3.2e3", "--seed", "0", "--no-progress"]
    plain = ["estimate", "mymodel:generator", "--statistic", "pixel_mean", "--design", "sobol:6.4e1"]
    assert main([*plain, *many, "--output", "one.json"]) == 0
    assert main([*plain, *RUN, "--batch-size", "6.4e1", "--output", "two.json"]) == 0
    assert mcgen.load("one.json") == mcgen.load("two.json")
    sure = ["estimate", "mymodel:generator", "--statistic", "pixel_mean", "--design", "antithetic", "--seed", "0"]
    assert main([*sure, "--no-progress", "--atol", "1e-2", "--max-evaluations", "1e5", "--min-replicates", "1e2"]) == 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--n-evaluations", "1.5"], "argument --n-evaluations: must be a whole number, such as 3200 or 1e4; got '1.5'"),
        (["--n-evaluations", "10,000"], "must be a whole number; got '10,000'; write it as 10000"),
        (["--n-evaluations", "many"], "must be a whole number; got 'many', such as 3200 or 1e4"),
        (["--n-evaluations", "1e999999999"], "must have at most 40 digits"),
        (["--n-evaluations", "inf"], "must be a whole number"),
        (["--n-evaluations", "640", "--seed", "zero"], "argument --seed: must be a whole number; got 'zero'"),
        (["--atol", "0,001"], "argument --atol: must be a number, such as 0.001 or 1e-3; got '0,001'; write a point before the decimals"),
        (["--n-evaluations", "640", "--confidence-level", "95%"], "write 5 % as 0.05"),
        (["--n-evaluations", "640", "--output", ""], "argument --output: must be a path"),
    ],
)  # fmt: skip
def test_texts_that_are_no_numbers_are_refused_by_flag(arguments: list[str], message: str, capsys) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["estimate", "mymodel:generator", "--statistic", "pixel_mean", "--design", "antithetic", "--seed", "0", *arguments])  # fmt: skip
    assert stopped.value.code == 2
    assert message in capsys.readouterr().err


BRIEF = ["estimate", "mymodel:generator", "--statistic", "pixel_mean", "--design", "antithetic", "--no-progress"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([*BRIEF, "--seed", "-1", "--n-evaluations", "640"], "seed"),
        ([*BRIEF, "--seed", "0", "--n-evaluations", "641"], "--n-evaluations must be a multiple of the 2 points of a replicate of antithetic; got 641. Use 640 or 642"),
        ([*BRIEF, "--seed", "0", "--n-evaluations", "2"], "Use --n-evaluations of 4 or more"),
        ([*BRIEF, "--seed", "0", "--n-evaluations", "640", "--atol", ".1"], "--n-evaluations and --atol or --rtol each say how much to run; give one of them"),
        ([*BRIEF, "--seed", "0", "--n-evaluations", "640", "--n-replicates", "320"], "--n-evaluations and --n-replicates each say"),
        ([*BRIEF, "--seed", "0", "--n-evaluations", "640", "--max-evaluations", "1e4"], "--max-evaluations 10000 are for a run that stops by itself, which needs --atol"),
        ([*BRIEF, "--seed", "0", "--n-evaluations", "640", "--batch-size", "0"], "--batch-size must be at least 1"),
        ([*BRIEF, "--seed", "0", "--n-evaluations", "640", "--confidence-level", "95"], "--confidence-level must lie between 0 and 1"),
        ([*BRIEF, "--seed", "0", "--n-evaluations", "640", "--interval", "wald"], "--interval must be one of student-t"),
        ([*BRIEF, "--seed", "0", "--n-evaluations", "640", "--common-random-numbers"], "--common-random-numbers gives several conditions the same noise; repeat --condition"),
        ([*BRIEF, "--seed", "0", "--n-evaluations", "640", "--range-timeout", "5"], "--range-timeout is for workers that hang; give --workers too"),
        ([*BRIEF, "--seed", "0", "--n-evaluations", "640", "--workers", "1", "--range-timeout", "0"], "--range-timeout must be a number of seconds above 0; got 0"),
        ([*BRIEF, "--seed", "0", "--rtol", "5"], "--rtol must be below 1"),
        ([*BRIEF, "--seed", "0", "--rtol", ".05", "--max-evaluations", "10"], "--max-evaluations must be at least 64"),
        ([*BRIEF, "--seed", "0", "--replicates", "5:5", "--store", "a.sqlite"], "--replicates must be a range"),
        ([*BRIEF[:5], "auto", "--seed", "0", "--atol", ".1"], "--design auto shares --n-evaluations between pilot and run. For a half-width use mcgen plan ... --atol;"),
        ([*BRIEF[:5], "auto", "--seed", "0", "--n-replicates", "100"], "--design auto takes --n-evaluations, which pilot and run share; got no --n-evaluations and --n-replicates 100"),
        ([*BRIEF[:5], "auto", "--seed", "0", "--n-evaluations", "640", "--n-points", "8"], "leave out --n-points"),
        ([*BRIEF[:5], "sobol:many", "--seed", "0", "--n-evaluations", "640"], "the number of points in --design sobol:64 must be a whole number; got 'many'"),
        ([*BRIEF[:5], "k-antithetic", "--seed", "0", "--n-evaluations", "640"], "--design k-antithetic lacks its number of points (2 or more); write --design k-antithetic:8"),
        ([*BRIEF[:5], "antithetic:4", "--seed", "0", "--n-evaluations", "640"], "--design antithetic has 2 point(s) always; got 4"),
        ([*BRIEF[:5], "antithetc", "--seed", "0", "--n-evaluations", "640"], "Did you mean antithetic?"),
        ([*BRIEF[:5], "orthogonal:7", "--seed", "0", "--n-evaluations", "640"], "orthogonal needs an even number of points"),
        (["plan", "mymodel:generator", "--statistic", "pixel_mean", "--seed", "0"], "give --n-evaluations, for the narrowest intervals that they buy, or --atol"),
        (["plan", "mymodel:generator", "--statistic", "pixel_mean", "--seed", "0", "--atol", "0"], "--atol must be above 0"),
        (["plan", "mymodel:generator", "--statistic", "pixel_mean", "--seed", "0", "--n-evaluations", "3200", "--condition", "1", "--condition", "2"], "Use mcgen estimate with --design auto, which plans each"),
        (["compare", "mymodel:generator", "--statistic", "pixel_mean", *RUN, "--condition", "1", "--condition", "2", "--across", "population"], "got --across population. Use --across average"),
        ([*BRIEF, "--seed", "0", "--n-evaluations", "640", "--condition", "1", "--condition", "2", "--clusters", "a,b"], "for --across population; got --across average"),
        ([*BRIEF, "--seed", "0", "--n-evaluations", "640", "--condition", "1", "--condition", "2", "--across", "population", "--clusters", "a,b,c"], "--clusters must have a label for each of 2 conditions; got 3"),
        (["compare", "mymodel:generator", "--statistic", "pixel_mean", *RUN, "--designs", "orthogonal,antithetic"], "write --designs orthogonal:16; got 'orthogonal'"),
        (["compare", "mymodel:generator", "--statistic", "pixel_mean", *RUN, "--designs", "antithetic,antithetic"], "all different"),
    ],
)  # fmt: skip
def test_messages_use_flags(arguments: list[str], message: str, capsys) -> None:
    assert main(arguments) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1
    assert not re.search(r"\b[a-z]+_[a-z_]+=|\bn_[a-z]+|mcgen\.(estimate|plan|compare)", error)


@pytest.mark.parametrize(
    ("message", "expected"),
    [
        ("give either n_evaluations or n_replicates (mcgen.estimate takes atol or rtol in their place); got n_evaluations=None, n_replicates=None",
         "give either --n-evaluations or --n-replicates (mcgen estimate takes --atol or --rtol in their place); got no --n-evaluations, no --n-replicates"),
        ("got interval='anytime' beside simultaneous='bootstrap-max-t'. Use simultaneous=True", "got --interval anytime beside --simultaneous bootstrap-max-t. Use --simultaneous"),
        ("at most 64 rows of replicates=range(0, 32)", "at most 64 rows of --replicates 0:32"),
        ("closure variable `n_evaluations=3` of /home/seed=1/n_evaluations is 2", "closure variable `n_evaluations=3` of /home/seed=1/n_evaluations is 2"),
        ("seeds and the seed are words; a store is in use", "seeds and the seed are words; a store is in use"),
        ("mcgen.Antithetic(), Antithetic(), KAntithetic(k=8), OrthogonalAntithetic(n_points=4)", "antithetic, antithetic, k-antithetic:8, orthogonal:4"),
        ("generator must satisfy mcgen.Generator; use mcgen.as_generator(f, noise=shape)", "generator must satisfy mcgen.Generator; use mcgen.as_generator(f, noise=shape)"),
        ("components must be a list", "--components must be a list"),
        ("store a.sqlite does not exist; a run with store= makes it", "store a.sqlite does not exist; a run with --store makes it"),
        ("got 3. For several use mcgen.statistics.stack(...)", "got 3. Name several with commas between them"),
        ("correct the model; this error's .partial is the estimate from the batches before", "correct the model"),
        ("generator b must satisfy x, or use a ThreadPoolExecutor", "the second generator must satisfy x, or leave out --workers"),
        ("pass keep_replicates=True or common_random_numbers=False", "pass --keep-replicates or no --common-random-numbers"),
    ],
)  # fmt: skip
def test_arguments_become_flags_in_messages(message: str, expected: str) -> None:
    assert in_flags(message) == expected


def test_warnings_are_messages_with_flags(tmp_path: Path) -> None:
    run = ["estimate", "mymodel:generator", "--statistic", "pixel_mean", "--design", "antithetic", "--seed", "0"]
    command = [sys.executable, "-m", "mcgen", *run, "--n-evaluations", "20", "--no-progress"]
    error = subprocess.run(command, capture_output=True, text=True, check=True).stderr
    assert error.startswith("mcgen: warning: ")
    assert "cli" not in error
    assert "CoverageWarning" not in error


def test_one_number_of_evaluations_is_named_for_all_designs(capsys) -> None:
    compare = ["compare", "mymodel:generator", "--statistic", "pixel_mean", "--seed", "0", "--no-progress"]
    assert main([*compare, "--n-evaluations", "3100"]) == 2
    assert "(1 of monte-carlo, 2 of antithetic, 8 of k-antithetic:8, 64 of sobol:64)" in (
        error := capsys.readouterr().err
    )
    assert "got 3100. Use 3072 or 3136" in error
    for valid in ("3072", "3136"):
        assert main([*compare, "--n-evaluations", valid]) == 0
    capsys.readouterr()
    designs = ["--designs", "latin-hypercube:10,sobol:16", "--designs", "antithetic"]
    assert main([*compare, *designs, "--n-evaluations", "10"]) == 2
    assert "Use 80\n" in capsys.readouterr().err
    assert main([*compare, *designs, "--n-evaluations", "400"]) == 0


def test_a_module_that_is_not_found_says_where_it_was_looked_for(tmp_path: Path, monkeypatch, capsys) -> None:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path / "own"))
    run = ["--statistic", "brightness", "--design", "antithetic", *RUN]
    assert main(["estimate", "nomodel:generator", *run]) == 2
    error = capsys.readouterr().err
    assert f"looked in {tmp_path} (the current folder), {tmp_path / 'own'} (PYTHONPATH)" in error
    assert "name its file: path/to/nomodel.py:generator" in error
    (tmp_path / "parts").mkdir()
    (tmp_path / "parts" / "__init__.py").touch()
    assert main(["estimate", "parts.gone:generator", *run]) == 2
    assert f"No module named 'parts.gone': looked for gone in {tmp_path / 'parts'}" in capsys.readouterr().err
    assert main(["estimate", "mymodel.sub:generator", *run]) == 2
    assert "mymodel, which is no package" in capsys.readouterr().err
    assert main(["estimate", "nowhere/model.py:generator", *run]) == 2
    assert (
        f"there is no file nowhere/model.py; looked for {tmp_path / 'nowhere' / 'model.py'}" in capsys.readouterr().err
    )


FILES = {
    "sub/other.py": "import mcgen\nfrom helper import scale\ndef f(z):\n    return scale * z\n"
    "def top(x):\n    return x.max(axis=1)\ngenerator = mcgen.as_generator(f, noise=(4,), name='other')\n",
    "sub/helper.py": "scale = 2.0\n",
    "old/other.py": "import mcgen\ndef f(z):\n    return 3 * z\ngenerator = mcgen.as_generator(f, noise=(4,), name='old')\n",
    "pack/__init__.py": "",
    "pack/inner/__init__.py": "",
    "pack/inner/model.py": "import mcgen\nfrom .near import f\nimport far\ngenerator = mcgen.as_generator(f, noise=(4,))\n",
    "pack/inner/near.py": "def f(z):\n    return z + 1\n",
    "pack/inner/far.py": "",
    "parts.v2/__init__.py": "",
    "parts.v2/model.py": "import mcgen\ndef f(z):\n    return z + 1\ngenerator = mcgen.as_generator(f, noise=(4,))\n",
    "my-model 1.2.py": "import mcgen\ndef f(z):\n    return z + 2\ndef top(x):\n    return x.max(axis=1)\n"
    "generator = mcgen.as_generator(f, noise=(4,))\n",
}


@pytest.fixture
def files(tmp_path: Path) -> Path:
    for name, text in FILES.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    return tmp_path


FILE_RUN = ["--statistic", "pixel_mean", "--design", "monte-carlo", *RUN]


@pytest.mark.parametrize(
    "target", ["mymodel.py:generator", "./mymodel.py:generator", "sub/other.py:generator", "pack/inner/model.py:generator", "parts.v2/model.py:generator", "my-model 1.2.py:generator", "~/sub/other.py:generator"]
)  # fmt: skip
def test_a_file_is_a_module(target: str, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(files))
    assert main(["estimate", target, *FILE_RUN]) == 0


def test_a_file_and_its_module_are_one(files: Path) -> None:
    call = ["--statistic", "mymodel.py:top", "--design", "antithetic", *RUN, "--store", "run.sqlite"]
    assert main(["estimate", "mymodel.py:generator", *call, "--output", "one.json"]) == 0
    assert main(["estimate", "mymodel:generator", *call, "--output", "two.json"]) == 0
    assert main(["estimate", str(files / "mymodel.py:generator"), *call, "--output", "three.json"]) == 0
    assert mcgen.load("one.json") == mcgen.load("two.json") == mcgen.load("three.json")


def test_two_files_of_one_name_are_two_models(files: Path, capsys) -> None:
    call = ["--statistic", "sub/other.py:top", "--design", "monte-carlo", *RUN, "--output", "two.json"]
    assert main(["difference", "old/other.py:generator", "sub/other.py:generator", *call]) == 0
    # The largest of four normal numbers has the mean 1.03; one model triples them, the other doubles them.
    assert abs(mcgen.load("two.json").mean - 1.03) < 0.2
    (files / "old" / "helper.py").write_text("scale = 4.0\n")
    (files / "old" / "third.py").write_text("import helper\n")
    assert main(["difference", "sub/other.py:generator", "old/third.py:generator", *FILE_RUN]) == 2
    assert "have the same name, and Python imports only one of them; rename one" in capsys.readouterr().err


@pytest.mark.parametrize("file", ["sub/other.py", "my-model 1.2.py"])
def test_workers_import_files(file: str, files: Path) -> None:
    call = ["estimate", f"{file}:generator", "--statistic", f"{file}:top", "--design", "antithetic", *RUN]
    for more in ([], ["--workers", "1"]):
        command = [sys.executable, "-m", "mcgen", *call, *more, "--output", f"run{len(more)}.json"]
        subprocess.run(command, check=True, capture_output=True, cwd=files)
    assert mcgen.load("run0.json") == mcgen.load("run2.json")


@pytest.mark.parametrize(
    ("target", "message"),
    [
        ("mymodel.py", "say which object of the file: mymodel.py:generator; got 'mymodel.py'"),
        (r"C:\models\mine.py", "say which object of the file"),
        (r"C:\models\mine.py:generator", r"there is no file C:\models\mine.py"),
        ("sub/other:generator", "name a file as sub/other.py:generator, or a module as sub.other:generator"),
        ("mymodel.py:", "name an object as package.module:name or file.py:name"),
        ("mymodel.py:nothing", "mymodel.py has no 'nothing'; it has np, mcgen, decode"),
        ("numpy/inner.py:generator", "is in the package numpy, and Python finds another one of that name; rename its folder"),
        (":generator", "name an object as package.module:name"),
        ("torch.py:generator", "torch.py has the name of the module torch, which Python could then not find; rename it"),
        ("random.py:generator", "random.py has the name of the module random"),
        ("ends.py:generator", "ends.py ended Python while it was imported; put what it runs below if __name__"),
    ],
)  # fmt: skip
def test_texts_that_name_no_object(target: str, message: str, files: Path, capsys) -> None:
    if target.startswith("torch"):
        pytest.importorskip("torch")
    (files / "numpy").mkdir()
    for name in ("torch.py", "random.py", "numpy/__init__.py", "numpy/inner.py"):
        (files / name).touch()
    (files / "ends.py").write_text("import sys\nsys.exit(3)\n")
    if target.startswith("sub"):
        (files / "sub" / "other").touch()
    assert main(["estimate", target, *FILE_RUN]) == 2
    error = capsys.readouterr().err
    assert message in error
    assert error.count("\n") == 1


def test_an_error_of_a_file_shows_its_place_alone(files: Path, capsys) -> None:
    (files / "wrong.py").write_text("def f():\n    raise ValueError('no weights')\nf()\n")
    (files / "typed.py").write_text("def f(:\n")
    for name, line in (("wrong", "raise ValueError('no weights')"), ("typed", "def f(:")):
        assert main(["estimate", f"{name}.py:generator", *FILE_RUN]) == 2
        error = capsys.readouterr().err
        assert error.startswith("mcgen: an error in your own code\n")
        assert line in error
        assert f"raised while importing '{name}.py'" in error
        assert "mcgen/cli" not in error


def test_an_error_of_the_users_code_exits_with_1(files: Path, capsys) -> None:
    (files / "breaks.py").write_text("import mcgen\ndef f(z):\n    return z @ 3\ngenerator = mcgen.as_generator(f, noise=(4,))\n")  # fmt: skip
    assert main(["estimate", "breaks.py:generator", *FILE_RUN]) == 1
    error = capsys.readouterr().err
    assert "return z @ 3" in error
    assert "mcgen/replicates" not in error
    command = [sys.executable, "-m", "mcgen", "estimate", "breaks.py:generator", *FILE_RUN, "--workers", "1"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 1
    assert "return z @ 3" in run.stderr
    assert "mcgen/replicates" not in run.stderr


def test_a_condition_too_many_or_too_few_is_named(capsys) -> None:
    Path("asks.py").write_text(
        "import mcgen\ngenerator = mcgen.as_generator(lambda z, c: z * c, noise=(4,))\n"
        "free = mcgen.as_generator(lambda z: z, noise=(4,))\n"
    )
    for target, more, message in (("generator", [], "it may need a --condition"), ("free", ["--condition", "2"], "leave out --condition")):  # fmt: skip
        assert main(["estimate", f"asks.py:{target}", *FILE_RUN, *more]) == 1
        error = capsys.readouterr().err
        assert message in error
        assert "File" not in error


def test_shipped_models_have_names(capsys) -> None:
    pytest.importorskip("torch")
    call = ["estimate", "moons-flow:steps=2", "--statistic", "pixel_mean", "--design", "antithetic", *RUN]
    assert main([*call, "--output", "run.json"]) == 0
    from mcgen.adapters import models

    result = mcgen.estimate(models.load("moons-flow", steps=2), mcgen.statistics.pixel_mean, design=mcgen.Antithetic(), n_evaluations=3200, seed=0)  # fmt: skip
    assert mcgen.load("run.json") == result
    for target, message in (
        ("mnist-ddmp", "no model 'mnist-ddmp' ships with mcgen; did you mean mnist-ddpm? There are digits-diffusion"),
        ("moons-flow:size=2", "moons-flow takes steps=20 and device; got size=2"),
        ("mnist-consistency:steps=3", "mnist-consistency takes steps=1 or 2; got 3"),
    ):
        assert main(["estimate", target, *FILE_RUN]) == 2
        assert message in capsys.readouterr().err


def test_models_are_listed_with_options_that_they_take(capsys) -> None:
    pytest.importorskip("torch")
    from mcgen.adapters import models

    assert main(["models"]) == 0
    out = capsys.readouterr().out
    for name in models.list():
        assert re.search(rf"^{name} +\d\.\d MB, trained on ", out, re.MULTILINE)
    for name in ("mnist-ddpm", "mnist-dit", "digits-diffusion", "patches-diffusion"):
        assert models.load(name, steps=2, eta=0, guidance_scale=1, sampler="ddim")
    assert models.load("mnist-consistency", steps=2)
    for name in ("moons-flow", "digits-truncated", "mnist-storm"):
        assert models.load(name, steps=2)


def test_shipped_models_say_which_extra_they_need(tmp_path: Path) -> None:
    # A module without content that can't be imported stands for a library that is not installed.
    hide = (
        "import sys; sys.modules['torch'] = None; sys.argv[0] = 'mcgen'; from mcgen.cli import main; sys.exit(main())"
    )
    for arguments in (["models"], ["estimate", "moons-flow", *FILE_RUN], ["demo"]):
        run = subprocess.run([sys.executable, "-c", hide, *arguments], capture_output=True, text=True, check=False)
        assert run.returncode == 2
        assert re.fullmatch(r"mcgen: .*pip install 'mcgen-stats\[torch(,plot)?\]'.*\n", run.stderr), run.stderr


def test_the_difference_of_two_generators(capsys) -> None:
    call = ["--statistic", "brightness", "--design", "antithetic", *RUN]
    Path("pair.py").write_text(MODEL + "\nshifted = mcgen.as_generator(lambda z: decode(z, 0.1), noise=(1, 4, 4), name='shifted')\n")  # fmt: skip
    assert main(["difference", "pair.py:shifted", "pair.py:generator", *call, "--output", "two.json"]) == 0
    sys.path.insert(0, ".")
    import pair  # type: ignore[import-not-found]

    direct = mcgen.difference(pair.shifted, pair.generator, mcgen.statistics.brightness, design=mcgen.Antithetic(), n_evaluations=3200, seed=0)  # fmt: skip
    assert mcgen.load("two.json") == direct
    assert direct.mean > 0
    assert main(["difference", "pair.py:shifted", "pair.py:decode", *call]) == 2
    assert "the second generator must satisfy mcgen.Generator" in capsys.readouterr().err


TWO = """
import mcgen
long = mcgen.NoiseSpec({"start": mcgen.Block((4,)), "step": mcgen.Block((4,))})
ancestral = mcgen.as_generator(lambda z: (z["start"] + z["step"] / 2) ** 2, noise=long, name="ancestral")
plain = mcgen.as_generator(lambda z: z**2, noise=(4,), name="plain")
"""


@pytest.mark.parametrize(
    ("flags", "noise"),
    [
        ([], "independent noise"),
        (["--independent-noise"], "independent noise"),
        (["--share-blocks", "start=noise"], "same noise in start = noise"),
    ],
)
def test_which_noise_two_generators_share(flags: list[str], noise: str, capsys) -> None:
    Path("two.py").write_text(TWO)
    call = ["difference", "two.py:ancestral", "two.py:plain", "--statistic", "pixel_mean", "--design", "antithetic"]
    assert main([*call, *RUN, *flags, "--output", "two.json"]) == 0
    result = mcgen.load("two.json")
    assert isinstance(result, mcgen.Estimate)
    assert result.provenance.models_noise == noise
    assert len(result.models) == (0 if "same" in noise else 2)
    assert f"models       {noise}" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (["--common-random-numbers"], "name the blocks that they share, such as --share-blocks start, or leave it out"),
        (["--share-blocks", "start"], "give both names where these differ, such as start=noise, or leave out --share-blocks"),
        (["--share-blocks", "start=noise", "--independent-noise"], "--independent-noise and --share-blocks each say which"),
    ],
)  # fmt: skip
def test_noise_that_two_generators_can_not_share(flags: list[str], message: str, capsys) -> None:
    Path("two.py").write_text(TWO)
    call = ["difference", "two.py:ancestral", "two.py:plain", "--statistic", "pixel_mean", "--design", "antithetic"]
    assert main([*call, *RUN, *flags]) == 2
    assert message in capsys.readouterr().err


def test_a_difference_by_workers_and_a_tolerance(tmp_path: Path) -> None:
    call = ["difference", "mymodel.py:generator", "mymodel.py:broken", "--statistic", "pixel_mean", "--design", "antithetic", "--seed", "0", "--no-progress", "--atol", "1e-2"]  # fmt: skip
    for more in ([], ["--workers", "1"]):
        command = [sys.executable, "-m", "mcgen", *call, *more, "--output", f"run{len(more)}.json"]
        subprocess.run(command, check=True, capture_output=True)
    assert mcgen.load("run0.json") == mcgen.load("run2.json")
    assert mcgen.load("run0.json").stopping is not None


def test_a_plan_is_shown_and_saved(capsys) -> None:
    plan = ["plan", "mymodel:generator", "--statistic", "brightness", "--seed", "0", "--no-progress"]
    assert main([*plan, "--n-evaluations", "3205", "--output", "plan.json"]) == 0
    out = capsys.readouterr().out
    saved = mcgen.load("plan.json")
    assert isinstance(saved, mcgen.Plan)
    assert in_flags(str(saved)) in out
    assert "n_evaluations" not in out
    assert main([*plan, "--atol", "1e-3", "--interval", "student-t", "--confidence-level", ".9"]) == 0
    assert "predicted half-width" in capsys.readouterr().out


def test_statistics_and_components_add_up(capsys) -> None:
    call = [*ONE[:2], "--statistic", "brightness", "--statistic", " contrast , mymodel.py:top", *ONE[4:]]
    assert main([*call, "--atol", "1e-2", "--components", "brightness, contrast", "--components", "top", "--output", "run.json"]) == 0  # fmt: skip
    result = mcgen.load("run.json")
    assert result.names == ("brightness", "contrast", "top")
    assert (np.asarray(result.half_width) <= 0.01).all()
    assert names_in(["a[0, 1], b(2, 3)", "c"]) == ["a[0, 1]", "b(2, 3)", "c"]


def test_components_that_are_not_there_are_refused_after_the_first_replicates(capsys) -> None:
    assert main([*BRIEF, "--seed", "0", "--atol", ".1", "--components", "sharpness"]) == 2
    assert "--components must be among pixel_mean; got 'sharpness'" in capsys.readouterr().err


def test_replicates_are_counted_and_kept() -> None:
    assert main([*ONE, "--n-replicates", "1e2", "--keep-replicates", "--output", "run.json"]) == 0
    assert mcgen.load("run.json").n_replicates == 100


def test_paths_lead_home(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert main([*ONE, "--n-evaluations", "640", "--output=~/run.json", "--store=~/run.sqlite"]) == 0
    assert main(["export", "~/run.sqlite", "--csv=~/run.csv"]) == 0
    assert {"run.json", "run.sqlite", "run.csv"} <= {path.name for path in tmp_path.iterdir()}


def test_a_demo_that_could_not_write_does_not_run(capsys) -> None:
    pytest.importorskip("torch")
    pytest.importorskip("matplotlib")
    assert main(["demo", "--folder", "mymodel.py", "--no-progress"]) == 2
    assert "--folder mymodel.py can't be made" in capsys.readouterr().err


def commands_of_help() -> list[str]:
    return ["", *next(action for action in parser()._actions if hasattr(action, "choices") and action.choices).choices]  # type: ignore[union-attr]


def examples_of(command: str, capsys: pytest.CaptureFixture[str]) -> list[str]:
    with pytest.raises(SystemExit) as stopped:
        main([*command.split(), "--help"])
    assert stopped.value.code == 0
    _, _, text = capsys.readouterr().out.partition("\nexamples:\n")
    return re.findall(r"^  mcgen (.*)$", text, re.MULTILINE)


@pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")
@pytest.mark.parametrize("command", commands_of_help())
def test_the_examples_of_help_work(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    found = examples_of(command, capsys)
    assert found
    for part in ("0", "1"):
        assert main([*ONE, "--replicates", f"{part}00:{int(part) + 1}00", "--store", f"part{part}.sqlite"]) == 0
    if command in ("status", "export"):
        assert main([*ONE, "--n-evaluations", "640", "--store", "run.sqlite"]) == 0
    images = np.random.default_rng(0).uniform(size=(400, 1, 4, 4)).astype("float32")
    np.save("images.npy", images)
    np.save("real.npy", images)
    np.savez("stats.npz", mu=images.reshape(400, -1).mean(0), sigma=np.cov(images.reshape(400, -1).T))
    for line in found:
        arguments = shlex.split(line)
        needs = {"demo": ("torch", "matplotlib"), "models": ("torch",), "moons-flow": ("torch",), "compare": ("torch",)}
        shipped = ("torch", "matplotlib") if "digits-diffusion" in line else ("torch",) if "moons-flow" in line else ()
        for library in needs.get(arguments[0], shipped):
            pytest.importorskip(library)
        if arguments[0] in ("demo", "validate") or "--help" in arguments:
            # Each takes a minute, and has tests of its own.
            if "--help" not in arguments:
                parser().parse_args(arguments)
            continue
        assert main([*arguments, "--no-progress"] if "--seed" in arguments else arguments) == 0, line


@pytest.mark.parametrize("command", ["estimate", "difference"])
def test_help_has_the_options_of_tolerances_and_stores(command: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main([command, "--help"])
    text = capsys.readouterr().out
    for flag in (
        "atol",
        "rtol",
        "components",
        "max-evaluations",
        "min-replicates",
        "store",
        "workers",
        "range-timeout",
    ):
        assert f"--{flag}" in text
    assert "tolerance: run until the intervals are narrow enough" in text
    assert "store and workers: long runs" in text


def test_workers_continue_what_a_file_began(capsys) -> None:
    call = [
        "estimate",
        "mymodel.py:generator",
        "--statistic",
        "mymodel.py:top",
        "--design",
        "antithetic",
        "--seed",
        "0",
    ]
    for more in (["--n-evaluations", "1600"], ["--n-evaluations", "3200", "--workers", "1"]):
        command = [sys.executable, "-m", "mcgen", *call, *more, "--no-progress", "--store", "run.sqlite"]
        subprocess.run([*command, "--output", "two.json"], check=True, capture_output=True)
    assert main([*call, "--n-evaluations", "3200", "--no-progress", "--output", "one.json"]) == 0
    assert mcgen.load("one.json") == mcgen.load("two.json")


@pytest.mark.parametrize("verb", ["estimate", "difference"])
def test_an_interrupted_run_says_where_its_replicates_are(verb: str, capsys) -> None:
    Path("stops.py").write_text(
        "import mcgen\ncalls = 0\n"
        "def stops(z):\n    global calls\n    calls += 1\n"
        "    if calls > 9:\n        raise KeyboardInterrupt\n    return z + z**2\n"
        "generator = mcgen.as_generator(stops, noise=(8,))\n"
        "steady = mcgen.as_generator(lambda z: z, noise=(8,))\n"
    )
    targets = ["stops.py:generator", "stops.py:steady"][: 1 + (verb == "difference")]
    assert main([verb, *targets, *FILE_RUN, "--store", "run.sqlite", "--output", "run.json"]) == 130
    assert "finished replicates are kept in run.sqlite; the same command continues" in capsys.readouterr().err
    assert mcgen.load("run.json").partial


ROOT = Path(__file__).parents[1]


@pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="needs the checkout")
def test_the_commands_in_the_documentation_are_commands() -> None:
    found = []
    for page in [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]:
        text = page.read_text().replace("\\\n", " ")
        blocks = re.findall(r"^```\w*\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
        lines = re.findall(r"^mcgen ([a-z].*)$", "\n".join(blocks), re.MULTILINE)
        lines += [line for line in re.findall(r"`mcgen ([a-z][^`]*)`", text) if "--seed" in line and "..." not in line]
        found += [shlex.split(line, comments=True) for line in lines]
    for arguments in found:
        assert parser().parse_args(arguments).command
    assert len(found) > 10


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs a device that is full")
def test_a_result_that_can_not_be_printed_is_saved() -> None:
    call = [sys.executable, "-m", "mcgen", "estimate", "mymodel.py:generator", "--statistic", "pixel_mean", *RUN]
    call += ["--design", "antithetic", "--output"]
    with open("/dev/full", "w") as full:
        run = subprocess.run([*call, "full.json"], stdout=full, stderr=subprocess.PIPE, text=True, check=False)
    assert run.returncode == 1
    assert run.stderr == "mcgen: the result could not be printed (No space left on device)\n"
    # A reader that has gone, such as head, wanted no more.
    with subprocess.Popen([*call, "gone.json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 0
    assert mcgen.load("full.json") == mcgen.load("gone.json")


def test_lists_may_be_cut_short() -> None:
    pytest.importorskip("torch")
    with subprocess.Popen(
        [sys.executable, "-m", "mcgen", "models"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stderr is not None
        process.stdout.close()
        assert process.stderr.read() == ""
        assert process.wait() == 0


def test_what_a_shipped_model_or_statistic_refuses_is_no_error_of_own_code(capsys: pytest.CaptureFixture[str]) -> None:
    pytest.importorskip("torch")
    run = ["--design", "antithetic", "--n-evaluations", "60", "--seed", "0", "--no-progress", "--statistic"]
    assert main(["estimate", "digits-diffusion:steps=3", *run, "pixel_mean", "--condition", "11"]) == 2
    message = capsys.readouterr().err
    assert message.startswith("mcgen: --condition must be a class from 0 to 9, or None for any; got 11")
    assert "Traceback" not in message
    assert "File" not in message
    assert main(["estimate", "moons-flow", *run, "centroid"]) == 2
    assert capsys.readouterr().err.startswith("mcgen: this statistic takes images of shape")


@pytest.mark.skipif(not (ROOT / "docs").is_dir(), reason="needs the checkout")
def test_the_commands_that_the_page_shows_for_a_file_of_ones_own_work(capsys: pytest.CaptureFixture[str]) -> None:
    page = (ROOT / "docs" / "how-to" / "command-line.md").read_text()
    (model,) = re.findall(r"```python\n# mymodel\.py\n(.*?)```", page, re.DOTALL)
    Path("mymodel.py").write_text(model)
    blocks = re.findall(r"```bash\n(.*?)```", page.replace("\\\n", " "), re.DOTALL)
    commands = [one for one in "".join(blocks).splitlines() if "mymodel" in one or "sqlite" in one]
    assert len(commands) >= 10
    for command in commands:
        assert main(shlex.split(command)[1:]) == 0, command
    (shown,) = re.findall(r"```text\n(.*?)\.\.\.\n```", page, re.DOTALL)
    assert shown in capsys.readouterr().out
