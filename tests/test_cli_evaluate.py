"""`mcgen evaluate`, as a user would type it."""

from __future__ import annotations

import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import mcgen
from mcgen.cli import main
from mcgen.functionals import energy_distance, frechet_distance

MODEL = """
import numpy as np
import mcgen

def decode(z, condition=0):
    return 1 / (1 + np.exp(-z - condition - 1))

def top(x):
    return x.max(axis=(1, 2, 3))

def squares(x):
    return np.asarray(x).reshape(len(x), -1)[:, :5] ** 2

calls = 0

def stops(z):
    global calls
    calls += 1
    if calls > 6:
        raise KeyboardInterrupt
    return decode(z)

spread = mcgen.functionals.std(mcgen.statistics.pixel_mean)
generator = mcgen.as_generator(decode, noise=(1, 4, 4), name="decode")
shifted = mcgen.as_generator(lambda z: decode(1.2 * z, 0.1), noise=(1, 4, 4), name="shifted")
stopped = mcgen.as_generator(stops, noise=(1, 4, 4), name="stopped")
broken = mcgen.as_generator(lambda z: np.where(z > 3, np.nan, z), noise=(1, 4, 4), name="broken")
"""
RUN = ["--n-evaluations", "640", "--seed", "0", "--no-progress"]
ONE = ["evaluate", "mymodel.py:generator", "--scores"]


@pytest.fixture(autouse=True)
def _files(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "mymodel.py").write_text(MODEL)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    noise = np.random.default_rng(0).standard_normal((500, 1, 4, 4))
    real = (1 / (1 + np.exp(-1.1 * noise - 1))).astype("float32")
    np.save("real.npy", real)
    np.save("images.npy", real[:300])
    flat = real.reshape(500, -1)
    np.savez("stats.npz", mu=flat.mean(0), sigma=np.cov(flat.T))
    np.savez("seven.npz", mu=np.zeros(7), sigma=np.eye(7))
    Path("empty").mkdir()
    Path("folder").mkdir()
    for number, image in enumerate(real[:200]):
        np.save(f"folder/{number:03d}.npy", image)
    before = {*sys.modules}
    yield
    for name in {*sys.modules} - before:
        if str(getattr(sys.modules[name], "__file__", None)).startswith(str(tmp_path)):
            del sys.modules[name]


def loaded(path: str) -> mcgen.Scorecard:
    card = mcgen.load(path)
    assert isinstance(card, mcgen.Scorecard)
    return card


def test_models_and_finished_samples_by_scores_of_all_kinds(capsys) -> None:
    call = ["evaluate", "new=mymodel.py:shifted", "mymodel.py:generator", "folder", "--reference", "real.npy"]
    call += ["--scores", "energy_distance,brightness", "--scores", "mymodel.py:top,mymodel.py:spread"]
    assert main([*call, *RUN, "--output", "card.json", "--output", "table.md", "--output", "table.tex"]) == 0
    out = capsys.readouterr().out
    card = loaded("card.json")
    assert card.models == ("new", "decode", "folder")
    assert card.scores == ("energy_distance", "brightness", "top", "standard deviation of pixel_mean")
    assert card.summary() in out
    assert "saved to card.json\nsaved to table.md\nsaved to table.tex" in out
    assert Path("table.md").read_text() == card.to_markdown() + "\n"
    assert Path("table.tex").read_text() == card.to_latex() + "\n"
    assert "features     the samples themselves, 16 numbers" in out
    assert "reference    500 real.npy, fixed: the sampling error of the reference itself is outside" in out


def test_it_gives_the_numbers_of_evaluate(capsys) -> None:
    flags = ["--design", "sobol:16", "--confidence-level", "0.9", "--simultaneous", "--sampled-reference"]
    call = [*ONE, "energy_distance,frechet_distance", "--reference", "real.npy", "--features", "mymodel.py:squares"]
    assert main([*call, *RUN, *flags, "--output", "card.json"]) == 0
    import mymodel  # type: ignore[import-not-found]

    real = mcgen.functionals.reference("real.npy", fixed=False)
    scores = {
        "energy_distance": energy_distance(real, mymodel.squares),
        "frechet_distance": frechet_distance(real, mymodel.squares),
    }
    run = {"n_evaluations": 640, "seed": 0, "confidence_level": 0.9, "simultaneous": True}
    assert loaded("card.json") == mcgen.evaluate(mymodel.generator, scores, design=mcgen.Sobol(16), **run)


def test_moments_of_a_file_are_a_reference(capsys) -> None:
    assert main([*ONE, "frechet_distance", "--reference", "stats.npz", "--n-images", "500", *RUN]) == 0
    assert "reference    stats.npz, 500 images, fixed" in capsys.readouterr().out


def test_samples_alone_need_no_number(capsys) -> None:
    call = ["evaluate", "images.npy", "rest=folder", "--scores", "frechet_distance", "--reference", "stats.npz"]
    assert main([*call, "--seed", "0", "--output", "card.json"]) == 0
    assert [loaded("card.json")[name, "frechet_distance"].n_evaluations for name in ("images.npy", "rest")] == [
        300,
        200,
    ]
    assert main([*call, *RUN]) == 2
    assert "all models here are finished samples, which are all used; leave it out" in capsys.readouterr().err


def test_a_store_of_a_folder_is_gone_on_with_by_workers() -> None:
    call = [sys.executable, "-m", "mcgen", *ONE, "frechet_distance,mymodel.py:top", "--reference", "real.npy"]
    call += ["--features", "mymodel.py:squares", "--seed", "0", "--no-progress"]
    for more in (["--n-evaluations", "320", "--store", "runs"], ["--n-evaluations", "640", "--store", "runs", "--workers", "1"]):  # fmt: skip
        subprocess.run([*call, *more, "--output", "two.json"], check=True, capture_output=True)
    assert [path.name for path in Path("runs").glob("*.sqlite")] == ["decode.sqlite"]
    subprocess.run([*call, "--n-evaluations", "640", "--output", "one.json"], check=True, capture_output=True)
    assert loaded("one.json") == loaded("two.json")


def test_a_tolerance_counts_for_the_scores_that_are_named() -> None:
    call = [*ONE, "brightness,contrast", "--seed", "0", "--no-progress", "--atol", "0.01", "--components", "brightness"]
    assert main([*call, "--condition", "0", "--condition", "1", "--output", "card.json"]) == 0
    card = loaded("card.json")
    assert card["decode", "brightness"].half_width <= 0.01
    assert len(card["decode", "brightness"].conditions) == 2


def test_a_report_has_curves_pictures_and_citations() -> None:
    pytest.importorskip("matplotlib")
    call = ["evaluate", "mymodel.py:generator", "mymodel.py:shifted", "--scores", "frechet_distance,brightness"]
    assert main([*call, "--reference", "real.npy", *RUN, "--output", "report.HTML"]) == 0
    text = Path("report.HTML").read_text()
    assert "<h2>Distance against the number of samples</h2>" in text
    assert "<h2>Samples</h2>" in text
    assert "@article{dowson1982frechet," in text


def test_shipped_models_have_their_real_images(capsys) -> None:
    pytest.importorskip("torch")
    call = ["evaluate", "digits-diffusion:steps=5", "--scores", "kernel_distance", "--features", "digits-classifier"]
    for name in ("real-images", "digits-diffusion"):
        assert main([*call, "--reference", name, *RUN]) == 0
        out = capsys.readouterr().out
        assert "features     digits-classifier, 64 features" in out
        assert "reference    360 held-out real images of digits-diffusion, fixed" in out
    # The name of a shipped model is the model; its folder is ./name.
    Path("digits-diffusion").mkdir()
    assert main(["evaluate", "./digits-diffusion", "--scores", "brightness", "--seed", "0"]) == 2
    assert "digits-diffusion has no samples" in capsys.readouterr().err


def test_what_is_not_installed_is_named_before_the_run() -> None:
    # A module without content that can't be imported stands for a library that is not installed.
    hide = "import sys; sys.modules[{!r}] = None; sys.argv[0] = 'mcgen'; from mcgen.cli import main; sys.exit(main())"
    call = [*ONE, "brightness", *RUN, "--output", "report.html"]
    run = subprocess.run([sys.executable, "-c", hide.format("matplotlib"), *call], capture_output=True, text=True, check=False)  # fmt: skip
    assert run.returncode == 2
    assert re.fullmatch(r"mcgen: plots need matplotlib.*pip install 'mcgen-stats\[plot\]'\n", run.stderr), run.stderr
    # Real images need no torch.
    call = ["evaluate", "images.npy", "--scores", "brightness,energy_distance", "--seed", "0", "--reference"]
    np.save("images.npy", np.random.default_rng(0).uniform(size=(300, 1, 8, 8)))
    run = subprocess.run([sys.executable, "-c", hide.format("torch"), *call, "digits-diffusion"], capture_output=True, text=True, check=False)  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "held-out real images of digits-diffusion" in run.stdout


def refused(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(arguments) == 2
    captured = capsys.readouterr()
    assert re.search(message, captured.err), captured.err
    assert captured.err.count("\n") == 1
    assert captured.out == ""


DISTANCE = [*ONE, "frechet_distance", "--reference"]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["evaluate", "nofolder/samples", "--scores", "brightness"], "there is no file or folder .*nofolder/samples"),
        (["evaluate", "lost.npy", "--scores", "brightness"], "there is no file or folder .*lost.npy"),
        (["evaluate", "empty", "--scores", "brightness"], "empty has no samples"),
        (["evaluate", "mymodel.py", "--scores", "brightness"], "say which object of the file: mymodel.py:generator"),
        (["evaluate", "=folder", "--scores", "brightness"], "a model is MODEL or NAME=MODEL, such as new=mymodel.py:generator; got '=folder'"),
        (["evaluate", "mymodel.py:generator", "mymodel.py:generator", "--scores", "brightness"], "2 of them are named 'decode'. Give names of yours, such as first=mymodel.py:generator"),
        (["evaluate", "mymodel.py:decode", "--scores", "brightness"], "model 'decode' must satisfy mcgen.Generator"),
        ([*ONE, "frechet"], "a score is one of pixel_mean.*energy_distance.*Did you mean frechet_distance"),
        ([*ONE, "brightness,brightness"], "--scores names 'brightness' twice"),
        ([*ONE, "mymodel.py:top,mymodel.py:sharpness"], "mymodel.py has no 'sharpness'"),
        ([*ONE, "frechet_distance"], "frechet_distance compares the models with real data: give --reference, a folder"),
        ([*ONE, "brightness", "--reference", "real.npy"], "--reference is for distances, and none is among --scores"),
        ([*DISTANCE, "lost"], "there is no file or folder --reference lost"),
        ([*DISTANCE, "empty"], "empty has no samples"),
        ([*DISTANCE, "real-images"], "none is among the models; give the name of a shipped model"),
        ([*DISTANCE, "real.npy", "--n-images", "5"], "--n-images says how many images are behind .* beside --reference real.npy"),
        ([*DISTANCE, "stats.npz", "--n-images", "5"], "stats.npz stands for 5 images, too few"),
        ([*DISTANCE, "stats.npz", "--sampled-reference"], "got --sampled-reference. .* or leave --sampled-reference out"),
        ([*DISTANCE, "real.npy", "--features", "mymodel.py:calls"], "--features must be a function from n samples .* mymodel.py:calls is a int"),
        ([*ONE, "kernel_distance", "--reference", "stats.npz"], "a kernel distance needs the features of the reference"),
        ([*ONE, "brightness", "--components", "contrast"], "--components must be names of scores"),
        ([*ONE, "brightness", "--store", "real.npy"], "--store must be a folder here"),
        ([*ONE, "brightness", "--design", "auto"], "--design auto plans for one score of one model"),
        ([*ONE, "brightness", "--output", "card.pdf"], "--output card.pdf has no ending of a format; give a file that ends in .html"),
        ([*ONE, "brightness", "--output", "lost/card.json"], "the folder of --output lost/card.json does not exist"),
        ([*ONE, "brightness", "--output", "card.json", "--output", "empty"], "--output empty has no ending of a format"),
        (["evaluate", "mymodel.py:generator", "folder", "--scores", "brightness", "--condition", "1", "--condition", "2"], "finished samples have no conditions; got samples for 'folder'"),
    ],
)  # fmt: skip
def test_what_can_not_be_used_is_refused_before_the_run(arguments: list[str], message: str, capsys) -> None:
    more = ["--seed", "0"] if arguments[1] in ("lost.npy", "empty", "=folder") else RUN
    refused([*arguments, *more], message, capsys)
    assert not Path("card.json").exists()


def test_names_of_shipped_things_are_checked(capsys) -> None:
    pytest.importorskip("torch")
    refused(["evaluate", "nomodel", "--scores", "brightness", *RUN], "no model 'nomodel' ships .* no folder or file of samples nomodel either", capsys)  # fmt: skip
    refused([*DISTANCE, "real.npy", "--features", "digits", *RUN], "the names are efficientnet-lite0, .* --features package.module:name", capsys)  # fmt: skip
    refused([*DISTANCE, "seven.npz", "--features", "digits-classifier", *RUN], "the reference has 7 features for each image, and digits-classifier gives 64", capsys)  # fmt: skip


def test_a_run_needs_a_length(capsys) -> None:
    refused([*ONE, "brightness", "--seed", "0"], "say how much to run: --n-evaluations 3200", capsys)


def test_features_of_another_number_fail_at_the_first_batch(capsys) -> None:
    assert main([*DISTANCE, "seven.npz", *RUN]) == 1
    assert "the samples themselves have shape (64, 16), and the reference has 7 features" in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")
def test_a_broken_model_leaves_the_scorecard_of_those_before(capsys) -> None:
    call = ["evaluate", "mymodel.py:generator", "mymodel.py:broken", "--scores", "brightness", *RUN]
    assert main([*call, "--output", "card.json", "--output", "card.md"]) == 1
    error = capsys.readouterr().err
    assert "generator 'broken' returned NaN or infinity" in error
    assert "finished before the error: The brightness of decode" in error
    assert loaded("card.json").models == ("decode",)
    Path("card.json").unlink()
    assert main(["evaluate", call[2], call[1], *call[3:], "--output", "card.json"]) == 1
    assert not Path("card.json").exists()
    assert "finished before" not in capsys.readouterr().err


@pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")
def test_an_interrupted_evaluation_keeps_what_it_has(capsys) -> None:
    call = ["evaluate", "mymodel.py:generator", "mymodel.py:stopped", "mymodel.py:shifted", "--scores", "brightness,mymodel.py:spread"]  # fmt: skip
    assert main([*call, *RUN, "--store", "runs", "--output", "card.json"]) == 130
    captured = capsys.readouterr()
    assert "PARTIAL: the run of stopped ended early" in captured.out
    assert "finished replicates are kept in runs; the same command continues the run" in captured.err
    card = loaded("card.json")
    assert card.models == ("decode", "stopped")
    assert not card["decode", "brightness"].partial
    assert card["stopped", "brightness"].partial
    assert set(card.pairs["brightness"]) == {("decode", "stopped")}
