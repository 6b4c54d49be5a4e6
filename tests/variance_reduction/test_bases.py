"""Bases: orthonormal or refused, known by their content; what finds them finds the directions that are there."""

from __future__ import annotations

import copy
import pickle

import numpy as np
import pytest
from helpers import SEED
from scipy.fft import idctn

import mcgen
from mcgen import Block, NoiseSpec
from mcgen.noise.directions import Basis
from mcgen.variance_reduction.bases.cosines import dct_basis
from mcgen.variance_reduction.bases.gradients import active_subspace
from mcgen.variance_reduction.bases.regression import regression_basis


def shares(basis: Basis, directions: np.ndarray, name: str = "noise") -> np.ndarray:
    """How much of each unit direction, a row, lies in the span of the basis."""
    return ((directions @ basis.matrices[name]) ** 2).sum(axis=1) / (directions**2).sum(axis=1)


class Quadratic:
    """A generator with analytic gradients, in numpy: component j of a sample is f_j(z)."""

    def __init__(self, function, slope, noise=(30,)) -> None:
        self.function, self.slope, self.noise = function, slope, mcgen.noise.as_noise_spec(noise)
        self.calls = 0

    def __call__(self, noise, condition=None):
        return self.function(noise) if condition is None else self.function(noise) * condition

    def gradient(self, noise, statistic, condition=None):
        self.calls += 1
        statistic(self(noise, condition))
        return self.slope(noise, getattr(statistic, "number", 0))


def values(samples):
    return samples


def linear(noise=(30,), scales=(1.0, 1000.0)) -> Quadratic:
    """S_0 is the first coordinate, S_1 a thousand times the second."""

    def slope(z, j):
        out = np.zeros_like(z)
        out[:, j] = scales[j]
        return out

    return Quadratic(lambda z: z[:, :2] * np.array(scales), slope, noise)


# The value


def test_a_basis_is_a_value(tmp_path) -> None:
    basis = Basis.orthonormal(
        {"a": np.random.default_rng(0).standard_normal((5, 3)), "b": np.eye(4)[:, :3]},
        importance=(0.5, 0.25, 0.125),
        made="active subspace",
        n_evaluations=192,
    )
    basis.save(tmp_path / "basis.npz")
    copies = pickle.loads(pickle.dumps(basis)), copy.deepcopy(basis), Basis.load(tmp_path / "basis.npz")
    for other in copies:
        assert other == basis
        assert hash(other) == hash(basis)
        assert str(other) == str(basis)
        assert (other.importance, other.made, other.n_evaluations) == ((0.5, 0.25, 0.125), "active subspace", 192)
        assert all(np.array_equal(other.matrices[name], basis.matrices[name]) for name in "ab")
        with pytest.raises(ValueError, match="read-only"):
            other.matrices["a"][0, 0] = 1
    assert str(basis) == f"Basis(3 directions of 9, active subspace, {basis.digest[:8]})"
    assert basis != Basis(basis.matrices)
    assert basis != "basis"
    assert Basis(np.eye(4)[:, :2]) != Basis(np.eye(4)[:, 1:3])
    with pytest.raises(AttributeError):
        basis.made = "given"


def test_files_that_are_not_what_they_say_are_refused(tmp_path) -> None:
    path = tmp_path / "basis.npz"
    Basis(np.eye(4)[:, :2]).save(path)
    with np.load(path) as file:
        content = dict(file)
    for change, message in (
        ({"matrix 0": np.eye(4)[:, 1:3]}, "does not match its SHA-256"),
        ({"schema": 99}, "saved with schema 99, this version of mcgen reads up to 1; upgrade"),
    ):
        np.savez(path, **content | change)
        with pytest.raises(ValueError, match=message):
            Basis.load(path)
    path.write_text("no basis")
    with pytest.raises(ValueError, match="is not a file that mcgen.bases.Basis saved"):
        Basis.load(path)


@pytest.mark.parametrize(
    ("matrices", "message"),
    [
        (np.eye(4)[:, :2] * 1.01, r"off by 0.02, where 1e-09 is allowed. Basis.orthonormal\(matrices\) makes them so"),
        (np.linalg.qr(np.ones((9, 1)))[0].astype(np.float32), "off by .* Basis.orthonormal"),
        (np.eye(3, 4), "a basis of 3 dimensions has from 1 to 3 directions; got 4"),
        (np.zeros((3, 0)), "from 1 to 3 directions; got 0"),
        (np.ones(4), r"a matrix of shape \(size, n_directions\).*'noise': \(4,\)"),
        ({"a": np.eye(4), "b": np.eye(4)[:, :2]}, r"'a': \(4, 4\), 'b': \(4, 2\)"),
        ({}, "got none"),
        ("abc", "got 'noise': str"),
        (np.array([[np.nan], [1.0]]), "finite numbers; there is a NaN"),
    ],
)
def test_what_is_no_basis_is_refused(matrices, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        Basis(matrices)


def test_options_of_a_basis_are_checked() -> None:
    with pytest.raises(ValueError, match="importance is a finite number for each of 2 directions"):
        Basis(np.eye(4)[:, :2], importance=(1.0,))
    with pytest.raises(ValueError, match="n_evaluations must be at least 0; got -1"):
        Basis(np.eye(4)[:, :2], n_evaluations=-1)


def test_orthonormal_keeps_spans_and_refuses_dependent_columns() -> None:
    given = np.random.default_rng(0).standard_normal((30, 4)) * [1, 1e6, 1e-6, 1]
    basis = Basis.orthonormal(given)
    assert np.allclose(shares(basis, given.T), 1)
    assert basis.matrices["noise"][:, 0] @ given[:, 0] > 0
    with pytest.raises(ValueError, match="column 2 is a combination of those before it"):
        Basis.orthonormal(np.stack([given[:, 0], given[:, 1], given[:, 0] + given[:, 1]], axis=1))


# Fixed ones


@pytest.mark.parametrize("shape", [(9,), (2, 9), (6, 8), (3, 4, 5)])
def test_cosines_are_those_of_the_transform_lowest_first(shape: tuple[int, ...]) -> None:
    size = int(np.prod(shape))
    matrix = dct_basis(shape, size).matrices["noise"]
    waves = np.stack([idctn(e.reshape(shape), norm="ortho").ravel() for e in np.eye(size)])
    places = np.abs(waves @ matrix).argmax(axis=0)
    assert np.allclose((waves @ matrix)[places, range(size)], 1)
    frequencies = sum((k / n) ** 2 for k, n in zip(np.unravel_index(places, shape), shape, strict=True))
    assert (np.diff(frequencies) > -1e-9).all()
    few = dct_basis(shape, 3).matrices["noise"]
    assert np.array_equal(few, matrix[:, :3])


def test_cosines_of_several_blocks() -> None:
    spec = {"a": Block((8,)), "hidden": Block((8,), iid=True), "b": Block((4, 4), "uniform"), "c": Block((2,))}
    basis = dct_basis(mcgen.noise.as_noise_spec(spec), 4)
    assert [*basis.matrices] == ["a", "b", "c"]
    assert basis.matrices["a"][:, 0] == pytest.approx(8**-0.5)
    assert [*dct_basis(NoiseSpec(spec), 4, blocks=["b"]).matrices] == ["b"]
    assert dct_basis((), 1).matrices["noise"] == 1
    for make, message in (
        (lambda: dct_basis((2, 3), 7), "noise of 6 dimensions has from 1 to 6 directions; got n_directions=7"),
        (lambda: dct_basis(NoiseSpec(spec), 2, blocks=["hidden"]), "blocks must be of 'a', 'b', 'c'; got 'hidden'"),
        (lambda: dct_basis(NoiseSpec({"a": spec["hidden"]}), 1), "there is nothing to steer"),
    ):
        with pytest.raises(ValueError, match=message):
            make()


# From gradients


def test_components_count_alike_and_cost_what_they_cost() -> None:
    generator = linear()
    basis = active_subspace(generator, values, 2, n_gradients=10, seed=SEED)
    assert np.allclose(shares(basis, np.eye(30)[:2]), 1)
    assert basis.importance == pytest.approx((0.5, 0.5))
    # Two batches of two gradients each, of 3 evaluations a point.
    assert (generator.calls, basis.n_evaluations) == (4, 60)
    cheap = active_subspace(linear(), values, 2, n_gradients=10, seed=SEED, coarse=linear(), cost=0.1)
    assert cheap.n_evaluations == 6


def test_gradients_are_winsorized() -> None:
    """One point in 33 has a gradient 100 times as long along another axis: it leads only where it is left so."""

    def slope(z, j):
        out = np.zeros_like(z)
        rare = np.arange(len(z)) == 0
        out[~rare, 0], out[rare, 1] = 1, 100
        return out

    generator = Quadratic(lambda z: z[:, 0], slope)
    for quantile, axis in ((0.9, 0), (1.0, 1)):
        options = {"n_gradients": 33, "seed": SEED, "winsorize": quantile, "batch_size": 33}
        basis = active_subspace(generator, values, 1, **options)
        assert abs(basis.matrices["noise"][axis, 0]) == pytest.approx(1)


def test_uniform_noise_counts_by_its_normal_scores() -> None:
    """S = Phi^-1(u_0) + Phi^-1(u_1): a constant gradient by the scores."""
    from scipy import stats

    def slope(u, j):
        out = np.zeros_like(u)
        out[:, :2] = 1 / stats.norm.pdf(stats.norm.ppf(u[:, :2]))
        return out

    generator = Quadratic(lambda u: stats.norm.ppf(u[:, :2]).sum(1), slope, NoiseSpec.uniform((30,), "float64"))
    basis = active_subspace(generator, values, 1, seed=SEED)
    assert shares(basis, np.eye(30)[:1] + np.eye(30)[1:2]) == pytest.approx(1)


def test_directions_of_torch_models_reach_over_blocks() -> None:
    torch = pytest.importorskip("torch")
    from mcgen.adapters import from_torch

    spec = NoiseSpec({"a": Block((3, 2)), "b": Block((4,)), "idle": Block((2,)), "hidden": Block((2,), iid=True)})
    generator = from_torch(
        lambda z: torch.stack([z["a"][:, 0, 1] + z["b"][:, 3], z["a"][:, 1, 0].sin() + z["hidden"][:, 0]], 1), spec
    )
    basis = active_subspace(generator, values, 2, n_gradients=16, seed=SEED)
    assert [*basis.matrices] == ["a", "b"]
    assert basis.n_evaluations == 16 * 5
    joint = np.concatenate([basis.matrices["a"], basis.matrices["b"]])
    both, sine = np.zeros((2, 10))
    both[[1, 9]], sine[2] = 0.5**0.5, 1
    assert np.linalg.norm(np.stack([both, sine]) @ joint, axis=1) == pytest.approx([1, 1])
    design = mcgen.Subspace(basis, mcgen.Sobol(8))
    assert design.draw(spec, 3, SEED)["a"].shape == (3, 8, 3, 2)


def test_jacobians_are_the_gradients_of_all_components() -> None:
    torch = pytest.importorskip("torch")
    from mcgen.adapters import from_torch

    generator = from_torch(
        lambda z, c=1.0: c * torch.stack([z.prod(1), z.sin().sum(1)], 1), NoiseSpec.normal((3,), "float64")
    )
    z = np.random.default_rng(SEED).standard_normal((5, 3))
    found = generator.jacobian(z, lambda x: x, 2.0)
    assert found.shape == (5, 2, 3)
    for j in range(2):
        assert np.allclose(found[:, j], generator.gradient(z, lambda x, j=j: x[:, j], 2.0))
    assert np.allclose(generator.jacobian(z, lambda x: x[:, 0])[:, 0], generator.gradient(z, lambda x: x[:, 0]))
    assert generator.jacobian(z, lambda x: x[:, None] * x[:, :, None]).shape == (5, 4, 3)
    with pytest.raises(ValueError, match="a tensor of 5 values"):
        generator.jacobian(z, lambda x: x[0])


def test_the_pilots_noise_is_apart_from_runs_and_conditions() -> None:
    seen: list[np.ndarray] = []
    generator = linear()

    def record(z):
        seen.append(z.copy())
        return z[:, :2]

    generator.function = record
    active_subspace(generator, values, 2, n_gradients=8, seed=SEED)
    active_subspace(generator, values, 2, n_gradients=8, seed=SEED, condition=2.0)
    run = mcgen.MonteCarlo().draw((30,), 8, SEED)[:, 0]
    assert not any(np.isin(row, run).any() for z in seen for row in z)
    assert not np.isin(seen[0], seen[-1]).any()
    again = active_subspace(linear(), values, 2, n_gradients=8, seed=SEED)
    assert again == active_subspace(linear(), values, 2, n_gradients=8, seed=SEED)


@pytest.mark.parametrize(
    ("generator", "message"),
    [
        (mcgen.as_generator(lambda z: z[:, 0], (30,), name="plain"), "'values' of 'plain' has no gradient .Callable"),
        (Quadratic(lambda z: z[:, 0], lambda z, j: np.zeros_like(z)), "its gradient is zero, or not finite, at every"),
        (Quadratic(lambda z: z[:, 0], lambda z, j: np.full_like(z, np.nan)), "its gradient is zero, or not finite"),
    ],
)
def test_without_gradients_it_falls_to_regression_and_says_so(generator, message: str) -> None:
    with pytest.warns(mcgen.GeneratorWarning, match=message) as told:
        basis = active_subspace(generator, values, 1, n_gradients=500, seed=SEED)
    assert "see mcgen.bases.regression_basis" in str(told[0].message)
    assert told[0].filename == __file__
    assert "regression" in str(basis)
    assert basis.n_evaluations == 1500 + (0 if "Callable" in message else 1500)
    assert shares(basis, np.eye(30)[:1]) > 0.9


def test_indicators_have_no_gradient_in_torch() -> None:
    pytest.importorskip("torch")
    from mcgen.adapters import from_torch

    generator = from_torch(lambda z: z, (4,), name="identity")
    with pytest.warns(mcgen.GeneratorWarning, match="no gradient .the samples of 'identity' carry no gradient"):
        basis = active_subspace(generator, lambda x: (x[:, 0] > 0).double(), 1, n_gradients=300, seed=SEED)
    assert shares(basis, np.eye(4)[:1]) > 0.9
    stacked = mcgen.statistics.stack(lambda x: x[:, 2], lambda x: (x[:, 0] > 0).double(), names=["a", "b"])
    with pytest.warns(mcgen.GeneratorWarning, match=r"components \[1\] of .* have no gradient"):
        basis = active_subspace(generator, stacked, 1, n_gradients=8, seed=SEED)
    assert shares(basis, np.eye(4)[2:3]) == pytest.approx(1)


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"n_directions": 31}, "noise of 30 dimensions has from 1 to 30 directions; got n_directions=31"),
        ({"n_directions": 3}, "span 2 directions, fewer than n_directions=3; ask for n_directions=2, on which alone"),
        ({"n_gradients": 0}, "n_gradients and batch_size must be at least 1"),
        ({"winsorize": 0.0}, r"winsorize in \(0, 1\]"),
        ({"cost": -1.0}, "cost must be at least 0"),
        ({"coarse": linear((31,))}, "coarse must take noise of the generator's own blocks, normal.30. float32; got"),
        ({"n_gradients": 3000}, "3000 gradients of 2 components are more than the 4096"),
    ],
)
def test_pilots_refuse(changes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        active_subspace(**{"generator": linear(), "statistic": values, "n_directions": 2, "seed": 0} | changes)


def test_more_gradients_are_asked_for_where_they_are_too_few() -> None:
    generator = Quadratic(lambda z: (z**2).sum(1), lambda z, j: 2 * z)
    with pytest.raises(ValueError, match="at 4 points span 4 directions, .* n_directions=4 or more n_gradients"):
        active_subspace(generator, values, 5, n_gradients=4, seed=SEED)


# From values


def test_regression_finds_slopes_and_curvature() -> None:
    generator = mcgen.as_generator(lambda z: np.stack([z[:, 0], 100 * (z[:, 1] + z[:, 2] ** 2)], 1), (10,))
    basis = regression_basis(generator, values, 3, n_evaluations=8000, seed=SEED)
    assert (shares(basis, np.eye(10)[:3]) > 0.95).all()
    assert (basis.n_evaluations, basis.made, basis.importance) == (8000, "regression", None)
    twice = mcgen.as_generator(lambda z: np.stack([z[:, 0], z[:, 0]], 1), (10,))
    assert regression_basis(twice, values, 2, seed=SEED).n_directions == 2


@pytest.mark.parametrize(
    ("function", "changes", "message"),
    [
        (
            lambda z: z[:, 0],
            {"n_evaluations": 3},
            "a pilot for 2 directions needs n_evaluations of at least 4.*dct_basis",
        ),
        (lambda z: 0 * z[:, 0], {}, "not finite, or all the same"),
        (lambda z: z[:, 0] / 0, {}, "not finite, or all the same"),
    ],
)
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_regression_refuses(function, changes, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        regression_basis(mcgen.as_generator(function, (10,)), values, 2, seed=SEED, **changes)
