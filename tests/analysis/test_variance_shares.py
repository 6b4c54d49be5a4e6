"""`mcgen.analysis.variance_shares`: known indices, laws of its design, parts by name, the result and refusals."""

from __future__ import annotations

import pickle
import warnings
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from helpers import SEED

import mcgen
from mcgen.analysis import VarianceShares, variance_shares
from mcgen.analysis.noise_parts import parts_of
from mcgen.analysis.pick_freeze import PickFreeze
from mcgen.bases import Basis
from mcgen.errors import CoverageWarning, RunError
from mcgen.noise import Block, NoiseSpec
from mcgen.validation.conformance import check_design

# Whether a share rests on few replicates is chance.
pytestmark = pytest.mark.filterwarnings("ignore::mcgen.CoverageWarning")

UNIFORM = mcgen.as_generator(lambda u: u, NoiseSpec.uniform((3,), "float64"), name="uniform")
NORMAL = mcgen.as_generator(lambda z: z, NoiseSpec.normal((6,), "float64"), name="normal")
STEPS = NoiseSpec({"start": Block((2, 3)), **{f"step {i}": Block((2, 3)) for i in range(1, 6)}}, "float64")
SAMPLER = mcgen.as_generator(
    lambda z: np.concatenate([np.asarray(z[name]) for name, _ in STEPS.blocks], axis=2), STEPS, name="sampler"
)
COORDINATES = [f"noise[{i}]" for i in range(3)]
# Tests of known values use intervals with a false alarm of 1e-6 each.
SURE = 1 - 1e-6


def ishigami(u: Any) -> Any:
    x = np.pi * (2 * u - 1)
    return np.sin(x[:, 0]) + 7 * np.sin(x[:, 1]) ** 2 + 0.1 * x[:, 2] ** 4 * np.sin(x[:, 0])


def g_function(u: Any) -> Any:
    a = np.array([0.0, 1.0, 4.5])
    return np.prod((np.abs(4 * u - 2) + a) / (1 + a), axis=1)


def shares(generator: Any, score: Any, n_evaluations: int = 8000, **options: Any) -> VarianceShares:
    return variance_shares(generator, score, n_evaluations=n_evaluations, seed=SEED, **options)


def require(found: VarianceShares, truths: dict[tuple[str, str], float]) -> None:
    """Every truth lies in its interval, and the interval is short enough to say something."""
    for (part, index), truth in truths.items():
        share = found.share(part, index)
        assert share.interval.low - 1e-9 <= truth <= share.interval.high + 1e-9, (part, index, truth, share)


def ishigami_truths() -> dict[tuple[str, str], float]:
    first = 0.5 * (1 + 0.1 * np.pi**4 / 5) ** 2
    both = 0.01 * np.pi**8 * (1 / 18 - 1 / 50)
    second = 49 / 8
    v = first + both + second
    return {
        ("all noise", "odd"): (first + both) / v,
        ("all noise", "even"): second / v,
        ("noise[0]", "first-order"): first / v,
        ("noise[0]", "total"): (first + both) / v,
        ("noise[1]", "first-order"): second / v,
        ("noise[1]", "total"): second / v,
        ("noise[2]", "first-order"): 0.0,
        ("noise[2]", "total"): both / v,
        ("blocks", "additive"): 1 - both / v,
        ("blocks", "mean dimension"): 1 + both / v,
        ("coordinates", "additive"): 1 - both / v,
        ("coordinates", "mean dimension"): 1 + both / v,
    }


def test_the_ishigami_function() -> None:
    found = shares(UNIFORM, ishigami, 40_000, blocks=COORDINATES, confidence_level=SURE)
    require(found, ishigami_truths())
    assert max(np.ravel(found.interval.half_width)) < 0.2
    assert abs(found.variance[0] - 13.84) < 1


def test_another_function_has_other_indices() -> None:
    """The negative control."""
    found = shares(UNIFORM, g_function, 40_000, blocks=COORDINATES, confidence_level=SURE)
    with pytest.raises(AssertionError):
        require(found, ishigami_truths())
    own = 1 / 3 / (1 + np.array([0.0, 1.0, 4.5])) ** 2
    v = np.prod(1 + own) - 1
    totals = [own[i] * np.prod(np.delete(1 + own, i)) / v for i in range(3)]
    truths = {(f"noise[{i}]", "first-order"): own[i] / v for i in range(3)}
    truths |= {(f"noise[{i}]", "total"): totals[i] for i in range(3)}
    require(found, truths | {("blocks", "additive"): own.sum() / v, ("blocks", "mean dimension"): sum(totals)})


def test_exact_shares() -> None:
    linear = shares(NORMAL, lambda z: z @ np.arange(1.0, 7.0) + 100, 3200)
    assert linear.share("all noise", "odd").estimate == pytest.approx(1, abs=1e-12)
    square = shares(NORMAL, lambda z: (z**2).sum(axis=1), 3200)
    assert square.share("all noise", "odd") == (0.0, mcgen.Interval(0.0, 0.0))
    assert square.share("all noise", "even") == (1.0, mcgen.Interval(1.0, 1.0))


@pytest.mark.parametrize("n_parts", [2, 3, 6])
def test_additive_in_the_parts_is_exact(n_parts: int) -> None:
    found = shares(NORMAL, lambda z: np.exp(z / 2).sum(axis=1), 3200, blocks=[f"noise[{i}]" for i in range(n_parts)])
    assert found.share("blocks", "additive").estimate == pytest.approx(1, abs=1e-12)
    assert found.share("blocks", "mean dimension").estimate == pytest.approx(1, abs=1e-12)
    first = [i for i, name in enumerate(found.indices) if name == "first-order"]
    np.testing.assert_allclose(found.estimate[first], found.estimate[[i + 1 for i in first]], atol=1e-12)


def test_only_one_part_matters() -> None:
    found = shares(NORMAL, lambda z: np.exp(z[:, 0] / 4) - 1e6, 3200, blocks=COORDINATES)
    assert "'noise[1]' changed the statistic in none of" in " ".join(found.warnings)
    for index in ("first-order", "total"):
        assert found.share("noise[0]", index).estimate == pytest.approx(1, abs=1e-7)
        assert found.share("noise[1]", index) == (0.0, mcgen.Interval(0.0, 0.0))


def test_a_product_is_all_interaction() -> None:
    found = shares(NORMAL, lambda z: z[:, 0] * z[:, 1], 20_000, blocks=COORDINATES[:2], confidence_level=SURE)
    require(found, {("noise[0]", "first-order"): 0, ("noise[0]", "total"): 1, ("blocks", "mean dimension"): 2})
    require(found, {("coordinates", "additive"): 0, ("coordinates", "mean dimension"): 2, ("all noise", "odd"): 0})


def test_first_order_is_at_most_total_and_shares_are_in_range() -> None:
    for function in (ishigami, g_function):
        found = shares(UNIFORM, function, 3200, blocks=COORDINATES)
        first = [i for i, name in enumerate(found.indices) if name == "first-order"]
        assert (found.estimate[first] <= found.estimate[[i + 1 for i in first]]).all()
        low, high = np.asarray(found.interval.low), np.asarray(found.interval.high)
        assert (low <= found.estimate).all()
        assert (found.estimate <= high).all()
        assert low.min() >= 0
        assert high.max() <= 3


@pytest.mark.parametrize("law", ["normal", "uniform"])
def test_directions(law: Any) -> None:
    weights = np.array([3.0, 0.0, 4.0, 0.0, 0.0, 0.0])
    basis = Basis.orthonormal(np.stack([weights, np.eye(6)[1]], axis=1))
    generator = mcgen.as_generator(lambda z: z, NoiseSpec((("noise", Block((2, 3), law)),), "float64"), name="two")

    def statistic(z: Any) -> Any:
        z = z.reshape(-1, 6)
        if law == "uniform":
            from scipy.special import ndtri

            z = ndtri(z)
        return z @ weights / 5 + z[:, 1]

    found = shares(generator, statistic, 20_000, basis=basis, n_directions=[1, 2], confidence_level=SURE)
    require(found, {("1 direction", "first-order"): 0.5, ("1 direction", "total"): 0.5})
    assert found.share("2 directions", "first-order").estimate == pytest.approx(1, abs=1e-6)


def test_directions_over_several_blocks() -> None:
    one = np.ones((6, 1)) / np.sqrt(12)
    basis = Basis({"start": one, "step 2": one})
    found = shares(SAMPLER, lambda x: x[:, :, [0, 1, 2, 6, 7, 8]].sum(axis=(1, 2)), 3200, basis=basis)
    assert found.share("1 direction", "first-order").estimate == pytest.approx(1, abs=1e-12)


@pytest.mark.parametrize(
    "design",
    [
        PickFreeze(),
        PickFreeze(parts_of(NoiseSpec.normal((2, 2)), ["noise[0]", "noise[1]"])),
        PickFreeze(n_coordinates=3),
        PickFreeze((), Basis({"noise": np.eye(4)[:, :2]}), (1, 2), 1),
    ],
    ids=str,
)
def test_the_design_keeps_the_laws(design: PickFreeze) -> None:
    # The first block has the name of a single one, for which the directions are.
    spec = NoiseSpec({"noise": Block((2, 2)), "levels": Block((2, 2), "uniform"), "x": Block((2, 2), iid=True)})
    report = check_design(design, noise=spec, seed=SEED)
    assert report.passed, report
    assert pickle.loads(pickle.dumps(design)) == design


def test_points_swap_what_they_say() -> None:
    parts = parts_of(STEPS, {"a": ["start", "step 1[0]"], "b": "step 2", "c": ["step 3", "step 4"]})
    design = PickFreeze(parts, n_coordinates=2)
    noise = design.draw(STEPS, 7, SEED)
    x, other = ({name: block[:, point] for name, block in noise.items()} for point in (0, 2))
    for name, block in noise.items():
        np.testing.assert_array_equal(block[:, 1], -x[name])
        np.testing.assert_array_equal(block[:, 3], -other[name])
        for j, part in enumerate(parts):
            own, reverse = design.points_of(("part", j))
            mask = np.broadcast_to(part.mask(name, (2, 3)), x[name].shape)
            np.testing.assert_array_equal(block[:, own], np.where(mask, x[name], other[name]))
            np.testing.assert_array_equal(block[:, reverse], np.where(mask, other[name], x[name]))
    for i in range(2):
        own, reverse = design.points_of(("coordinate", i))
        changed = sum((block[:, reverse] != x[name]).sum(axis=(1, 2)) for name, block in noise.items())
        kept = sum((block[:, own] != other[name]).sum(axis=(1, 2)) for name, block in noise.items())
        assert changed.tolist() == kept.tolist() == [1] * 7


def test_coordinates_are_equally_likely() -> None:
    design, n = PickFreeze(n_coordinates=2), 20_000
    noise = np.asarray(design.draw((5,), n, SEED))
    changed = (noise[:, [5, 7]] != noise[:, [0]]).sum(axis=1)
    assert changed.max() == 1
    share = changed.mean(axis=0)
    assert np.abs(share - 0.4).max() < 6.1 * np.sqrt(0.24 / n)


def test_parts_by_name() -> None:
    assert [part.name for part in parts_of(STEPS)] == ["start", "step 1 to step 5"]
    assert [part.name for part in parts_of(STEPS, "each")] == [name for name, _ in STEPS.blocks]
    assert parts_of(NoiseSpec.normal((4,))) == ()
    few = NoiseSpec({"start": Block((2,)), "dropout": Block((), "uniform")})
    assert [part.name for part in parts_of(few)] == ["start", "dropout"]
    assert [part.name for part in parts_of(STEPS, ["step *"])] == ["step *", "the rest"]
    left = parts_of(STEPS, ["start[1]", "step *"])[-1]
    assert [(one.block, one.first, one.last) for one in left.stretches] == [("start", 0, 1)]
    many = NoiseSpec({name: Block((1,)) for name in "abcdefghij"})
    assert [part.name for part in parts_of(many)] == ["a", "b to j"]


@pytest.mark.parametrize(
    ("blocks", "message"),
    [
        ("start", "must be 'each', a list or a dict"),
        ([], "one or more names"),
        (3, "one or more names"),
        ([["start"]], "holds texts"),
        (["begin"], "no noise block 'begin'"),
        (["start", "start[0]"], "must not overlap; 'start\\[0\\]' and 'start'"),
        (["start", "start"], "must differ"),
        (["start[2]"], "numbers from 0 to 1"),
        (["start[1:1]"], "numbers from 0 to 1"),
        (["start[]"], "no noise block"),
        (["*"], "is all the noise"),
        ({"blocks": "start"}, "can't be named 'blocks'"),
        ({"a": 3}, "a name of blocks or a list"),
        ({"a": []}, "a name of blocks or a list"),
    ],
)
def test_parts_that_are_refused(blocks: Any, message: str) -> None:
    with pytest.raises((TypeError, ValueError), match=message):
        parts_of(STEPS, blocks)


def test_steps_of_a_sampler() -> None:
    def statistic(x: Any) -> Any:
        return x[:, :, :3].sum(axis=(1, 2)) + 2 * x[:, 0, 6]

    found = shares(SAMPLER, statistic, 8000, blocks=["start", "step 2[0]"], confidence_level=SURE)
    require(found, {("start", "total"): 0.6, ("step 2[0]", "first-order"): 0.4, ("the rest", "total"): 0.0})
    by_default = shares(SAMPLER, statistic, 8000, confidence_level=SURE)
    require(by_default, {("start", "total"): 0.6, ("step 1 to step 5", "total"): 0.4})
    assert by_default.provenance.n_points == 10


def test_components_and_all_of_them_together() -> None:
    both = mcgen.as_statistic(
        lambda z: np.stack([z[:, 0], 3 * z[:, 1] ** 2, 0 * z[:, 0]], axis=1), name="both", components=["a", "b", "c"]
    )
    with pytest.warns(CoverageWarning, match="1 component does not vary"):
        found = shares(NORMAL, both, 8000, confidence_level=SURE)
    assert found.names == ("a", "b", "c", "all components")
    assert found.share("all noise", "odd", "a").estimate == pytest.approx(1)
    assert found.share("all noise", "odd", "b").estimate == 0
    assert np.isnan(found.share("all noise", "odd", "c").estimate)
    require(found, {("all noise", "odd"): 1 / 19})
    many = shares(NORMAL, lambda z: np.concatenate([z, z**2], axis=1), 3200)
    assert many.readable().columns.tolist() == ["part", "index", "all components"]
    assert "12 components have shares of their own in to_frame()" in str(many)
    assert len(many.to_frame()) == 13 * len(many.parts)


def test_chunks_of_components_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    options = {"n_evaluations": 3200, "blocks": ["noise[0]"]}
    whole = shares(NORMAL, lambda z: np.exp(z / 3), **options)
    import sys

    monkeypatch.setattr(sys.modules["mcgen.analysis.variance_shares"], "_AT_ONCE", 1)
    parts = shares(NORMAL, lambda z: np.exp(z / 3), **options)
    np.testing.assert_allclose(whole.estimate, parts.estimate, rtol=1e-12)
    np.testing.assert_allclose(whole.interval.high, parts.interval.high, rtol=1e-12)


def test_a_functional_has_the_shares_of_its_influence() -> None:
    score = mcgen.functionals.variance(lambda z: z[:, 0] + 7)
    found = shares(NORMAL, score, 4000, blocks=["noise[0]"])
    assert found.share("all noise", "even").estimate > 0.95
    assert found.share("noise[0]", "total").estimate == pytest.approx(1)
    assert found.provenance.functional == "variance"
    assert found.provenance.pilot_evaluations == 128
    assert found.provenance.n_evaluations + 128 <= 4000
    assert "the variance of" in str(found)


def test_conditions_and_batches() -> None:
    shifted = mcgen.as_generator(lambda z, c: z**2 + c * z, NoiseSpec.normal((6,), "float64"), name="shifted")
    statistic = mcgen.as_statistic(lambda x, c: x[:, 0] - c, name="s", uses_condition=True)
    low, high = (shares(shifted, statistic, 4000, condition=c).share("all noise", "odd").estimate for c in (0.0, 9.0))
    assert low == 0
    assert high > 0.9
    one, other = (shares(UNIFORM, ishigami, 3200, batch_size=size) for size in (7, 500))
    np.testing.assert_allclose(one.estimate, other.estimate, rtol=1e-12)


def test_the_result_keeps_the_protocol(tmp_path: Path) -> None:
    found = shares(UNIFORM, mcgen.as_statistic(ishigami, name="ishigami"), 3000, blocks=COORDINATES)
    assert isinstance(found, mcgen.Result)
    assert found == shares(UNIFORM, mcgen.as_statistic(ishigami, name="ishigami"), 3000, blocks=COORDINATES)
    assert hash(found) == hash(pickle.loads(pickle.dumps(found)))
    found.save(tmp_path / "shares.json")
    loaded = mcgen.load(tmp_path / "shares.json")
    assert loaded == found
    assert str(loaded) == str(found)
    assert loaded.summary() == found.summary()
    assert "noise[1]" in found.to_markdown()
    assert r"\hline" in found.to_latex()
    assert "<table" in found._repr_html_()
    assert "owen2013better" in mcgen.citation(found)
    with pytest.raises(KeyError, match="'noise\\[0\\]' 'total'"):
        found.share("start", "total")
    text = (tmp_path / "shares.json").read_text()
    (tmp_path / "shares.json").write_text(text.replace('"parts"', '"part"'))
    with pytest.raises(ValueError, match="incomplete"):
        mcgen.load(tmp_path / "shares.json")


def test_pictures() -> None:
    pytest.importorskip("matplotlib")
    figure = shares(UNIFORM, ishigami, 3000, blocks=COORDINATES).plot()
    (panel,) = figure.axes
    assert len(panel.patches) == 10
    assert "mean dimension of blocks" in panel.get_title()
    assert len(shares(NORMAL, lambda z: z[:, :3], 3200).plot().axes) == 4 + 2
    with pytest.raises(ValueError, match="panels"):
        shares(NORMAL, lambda z: z[:, :3], 3200).plot(panel)


def test_few_replicates_warn() -> None:
    with pytest.warns(CoverageWarning, match="from 50 replicates"):
        shares(UNIFORM, ishigami, 400)
    with pytest.warns(CoverageWarning, match="heavy tails"):
        shares(NORMAL, lambda z: np.exp(2 * z[:, 0]), 3200, coordinates=0)
    with pytest.warns(CoverageWarning, match="variances of 2 components rest on few"):
        shares(
            NORMAL, lambda z: np.stack([np.exp(2 * z[:, 0]), z[:, 1] > 2.2, 1e4 * z[:, 0]], axis=1), 800, coordinates=0
        )


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"n_evaluations": 100}, ValueError, "at least 20 replicates of 8 points"),
        ({"n_evaluations": 3200.0}, TypeError, "must be an int"),
        ({"coordinates": -1}, ValueError, "0 or more"),
        ({"n_directions": 2}, ValueError, "directions of a basis"),
        ({"basis": np.eye(6)}, TypeError, "write Basis"),
        ({"basis": mcgen.bases.dct_basis((6,), 2), "n_directions": 3}, ValueError, "from 1 to the 2"),
        ({"basis": mcgen.bases.dct_basis((5,), 2)}, ValueError, "is for noise with the blocks"),
        ({"blocks": ["noise"]}, ValueError, "is all the noise"),
        ({"condition": [1, 2]}, ValueError, "one condition"),
        ({"simultaneous": "yes"}, TypeError, "True or False"),
        ({"confidence_level": 95}, ValueError, "0.95"),
        ({"score": lambda z: np.zeros(len(z))}, RunError, "does not vary"),
        ({"score": lambda z: np.log(z[:, 0])}, RunError, "finite"),
        ({"score": 3}, TypeError, "callable"),
    ],
)
def test_refusals(changes: dict[str, Any], error: type[Exception], message: str) -> None:
    options: dict[str, Any] = {"score": ishigami, "n_evaluations": 3200} | changes
    with np.errstate(divide="ignore", invalid="ignore"), pytest.raises(error, match=message):
        shares(NORMAL, options.pop("score"), options.pop("n_evaluations"), **options)


def test_blocks_that_are_drawn_for_every_point_are_refused() -> None:
    spec = NoiseSpec({"z": Block((2,)), "class": Block((), "uniform", iid=True)})
    generator = mcgen.as_generator(lambda z: z["z"], spec, name="hidden")
    with pytest.raises(ValueError, match="'class' is drawn independently for every point"):
        shares(generator, lambda z: z[:, 0])


def test_one_number_of_noise_is_enough() -> None:
    single = mcgen.as_generator(lambda z: z, NoiseSpec.normal((), "float64"), name="single")
    found = shares(single, lambda z: z + z**2, 8000, confidence_level=SURE)
    assert found.parts == ("all noise", "all noise")
    require(found, {("all noise", "odd"): 1 / 3})


def test_simultaneous_intervals_are_wider() -> None:
    one, together = (shares(UNIFORM, ishigami, 3000, simultaneous=flag) for flag in (False, True))
    assert (together.interval.high - one.interval.high >= 0).all()
    assert together.interval.high[0, 0] > one.interval.high[0, 0]


def test_intervals_beyond_the_range_of_an_index_keep_their_width() -> None:
    """A mean dimension estimated below 1 came as 1 ± 0, without a word."""
    model = mcgen.as_generator(lambda z: z[:, 0] + z[:, 1:].sum(axis=1) / 4, noise=(8,), name="sum")
    for seed in range(SEED, SEED + 40):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", mcgen.CoverageWarning)
            found = variance_shares(model, lambda x: x + x**2 / 8, n_evaluations=400, seed=seed, coordinates=2)
        frame = found.to_frame()
        uncertain = frame[frame["standard_error"] > 1e-6]
        assert (uncertain["high"] > uncertain["low"]).all()
