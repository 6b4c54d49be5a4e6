"""Subspace: exact whatever the basis is, the leading design on its directions, the other on the rest."""

from __future__ import annotations

import pickle
from dataclasses import dataclass, field, replace

import numpy as np
import pytest
from helpers import FALSE_ALARM, SEED, Z_LIMIT, z_score
from scipy import stats

import mcgen
from mcgen import Antithetic, Block, KAntithetic, MonteCarlo, NoiseSpec, Sobol, Subspace
from mcgen.designs import subspace
from mcgen.noise import as_noise_spec
from mcgen.noise.directions import Basis
from mcgen.validation.conformance import check_design
from mcgen.variance_reduction.bases.cosines import dct_basis

JOINT = NoiseSpec({"start": Block((2, 2)), "steps": Block((5,)), "mask": Block((3,), "uniform", iid=True)})


def some_basis(sizes: dict[str, int] | int = 6, r: int = 2, seed: int = 1) -> Basis:
    rng = np.random.default_rng(seed)
    given = sizes if isinstance(sizes, dict) else {"noise": sizes}
    return Basis.orthonormal({name: rng.standard_normal((size, r)) for name, size in given.items()})


def projected(basis: Basis, noise: dict[str, np.ndarray]) -> np.ndarray:
    return sum(noise[name].reshape(*noise[name].shape[:2], -1).astype(float) @ m for name, m in basis.matrices.items())


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("rest", [Antithetic(), MonteCarlo(), KAntithetic(8)], ids=str)
def test_the_leading_design_is_met_on_the_directions_and_the_other_on_the_rest(dtype: str, rest: mcgen.Design) -> None:
    basis, design = some_basis(), Subspace(some_basis(), Sobol(16), rest)
    b, spec = basis.matrices["noise"], NoiseSpec.normal((6,), dtype)
    z = np.asarray(design.draw(spec, range(5, 9), SEED, stream=("here",)), float)
    path = (str(design), "here")
    a = Sobol(16).draw(NoiseSpec.normal((2,), "float64"), range(5, 9), SEED, stream=(*path, "leading"))
    each = 16 // rest.n_points
    w = np.asarray(rest.draw(spec, range(5 * each, 9 * each), SEED, stream=(*path, "rest")), float).reshape(4, 16, 6)
    rounding = 1e-6 if dtype == "float32" else 1e-13
    assert np.abs(z @ b - a).max() < rounding
    assert np.abs((z - w) - (z - w) @ b @ b.T).max() < rounding


@pytest.mark.parametrize("design", [Subspace(some_basis(), Sobol(16)), Subspace(some_basis(r=6), Sobol(4), Sobol(2))])
@pytest.mark.parametrize("law", ["normal", "uniform"])
def test_margins_are_exact(design: Subspace, law: str) -> None:
    n = 20_000
    noise = np.asarray(design.draw(NoiseSpec({"noise": Block((6,), law)}), n, SEED), float)
    z = noise if law == "normal" else stats.norm.ppf(noise)
    diagonal = np.random.default_rng(2).standard_normal(6)
    for point in (0, design.n_points - 1):
        for direction in (diagonal / np.linalg.norm(diagonal), np.eye(6)[0], design.basis.matrices["noise"][:, 1]):
            assert stats.kstest(z[:, point] @ direction, "norm").pvalue > FALSE_ALARM
        for i in range(6):
            assert abs(z_score(z[:, point, i] * z[:, point, (i + 1) % 6], 0.0)) < Z_LIMIT


def test_a_ridge_meets_the_net_in_one_dimension() -> None:
    """S = f(b'z) in 64 dimensions: the net's error in one dimension, not in 64."""
    b = np.ones((64, 1)) / 8
    variances = []
    for design in (Sobol(64), Subspace(Basis(b), Sobol(64))):
        z = design.draw(NoiseSpec.normal((64,)), 400, SEED)
        variances.append((1 / (1 + np.exp(-z @ b - 1))).mean(axis=(1, 2)).var())
    assert variances[1] < variances[0] / 20


@pytest.mark.parametrize("rest", [Antithetic(), MonteCarlo()], ids=str)
def test_laws_of_one_block(rest: mcgen.Design) -> None:
    hidden = Block((2, 2), "uniform", iid=True)
    noise = NoiseSpec({"noise": Block((2, 2)), "levels": Block((2, 2), "uniform"), "hidden": hidden})
    check_design(Subspace(some_basis(4, 2), Sobol(4), rest), noise=noise).require()


@dataclass(frozen=True)
class OneOrSeveral:
    """A basis over several blocks, and one for the lone blocks that `check_design` tries too."""

    several: Subspace = field(default_factory=lambda: Subspace(some_basis({"start": 4, "levels": 4}, 3), Sobol(4)))
    lone: Subspace = field(default_factory=lambda: Subspace(some_basis(4, 2), Sobol(4)))
    n_points: int = field(default=4, init=False, repr=False)

    def draw(self, spec, replicates, seed, **options):
        spec = as_noise_spec(spec)
        return (self.several if len(spec.blocks) > 1 else self.lone).draw(spec, replicates, seed, **options)


def test_laws_of_directions_over_several_blocks() -> None:
    """Whole replicates of two blocks depend on each other; at each point blocks are independent, all that is needed."""
    hidden = Block((2, 2), "uniform", iid=True)
    noise = NoiseSpec({"start": Block((2, 2)), "levels": Block((2, 2), "uniform"), "hidden": hidden})
    design = OneOrSeveral()
    check_design(design, noise=noise).require()
    drawn = {name: np.asarray(block, float) for name, block in design.draw(noise, 20_000, SEED).items()}
    levels = stats.norm.ppf(drawn["levels"])
    for point in range(4):
        start, other = drawn["start"][:, point].reshape(-1, 4), levels[:, point].reshape(-1, 4)
        assert stats.kstest((start[:, 0] + other[:, 1]) / 2**0.5, "norm").pvalue > FALSE_ALARM
        for i in range(4):
            for values, truth in ((start * np.roll(other, i, 1), 0.0), (start**2 * np.roll(other, i, 1) ** 2, 1.0)):
                assert abs(z_score(values.mean(axis=1), truth)) < Z_LIMIT


@dataclass(frozen=True)
class WithoutProjection(Subspace):
    """Negative control: the directions' own part of w is not taken out."""

    def draw(self, spec, replicates, seed, *, stream=(), points=None):
        spec = as_noise_spec(spec)
        z = np.asarray(super().draw(spec, replicates, seed, stream=stream))
        each = self.n_points // self.rest.n_points
        rows = range(replicates) if isinstance(replicates, int) else replicates
        inner, path = range(rows.start * each, rows.stop * each), (str(self), *stream, "rest")
        (b,) = self.basis.matrices.values()
        flat = np.asarray(self.rest.draw(spec, inner, seed, stream=path)).reshape(len(rows), self.n_points, -1)
        wrong = z + (flat @ (0.3 * b @ b.T)).astype(z.dtype).reshape(z.shape)
        return wrong if points is None else wrong[:, points.start : points.stop]


def test_the_laws_reject_a_formula_without_the_projection() -> None:
    """The variance along the directions is 1.09."""
    design = WithoutProjection(some_basis(4, 2), Sobol(4))
    failures = {check.law for check in check_design(design, noise=NoiseSpec.normal((4,))).failures}
    assert {"margins", "coordinates"} & failures
    # It is the formula that is rejected, not what the control adds to a design.
    assert not {"ranges", "slices", "text"} & failures


def test_directions_reach_over_blocks_and_leave_the_others() -> None:
    basis = some_basis({"start": 4, "steps": 5}, 3)
    design = Subspace(basis, Sobol(8), Antithetic())
    noise = design.draw(JOINT, range(3, 6), SEED)
    a = Sobol(8).draw(NoiseSpec.normal((3,), "float64"), range(3, 6), SEED, stream=(str(design), "leading"))
    assert np.abs(projected(basis, noise) - a).max() < 1e-6
    other = Antithetic().draw(JOINT, range(12, 24), SEED, stream=(str(design), "rest"))
    assert np.array_equal(noise["mask"].reshape(12, 2, 3), other["mask"])
    first = Subspace(some_basis({"start": 4}, 2), Sobol(8)).draw(JOINT, 4, SEED)
    assert np.array_equal(first["steps"][:, 1::2], -first["steps"][:, ::2])


def test_bits_are_those_of_replicates_however_they_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    basis = dct_basis({"start": Block((3, 16, 16)), "steps": Block((40,))}, 7)
    spec = NoiseSpec({"start": Block((3, 16, 16)), "steps": Block((40,))})
    design = Subspace(basis, Sobol(32))
    together = dict(design.draw(spec, 9, SEED))
    monkeypatch.setattr(subspace, "_AT_ONCE", 1)
    for r in (8, 3):
        alone = design.draw(spec, range(r, r + 1), SEED, points=range(5, 20))
        for name in ("steps", "start"):
            assert alone[name].tobytes() == together[name][r : r + 1, 5:20].tobytes()


def test_the_basis_is_in_the_text_the_stream_and_the_result() -> None:
    basis = replace(dct_basis((16,), 3), made="active subspace", n_evaluations=192)
    design = Subspace(basis, Sobol(8))
    assert str(basis) in str(design)
    assert basis.digest[:8] in str(design)
    assert pickle.loads(pickle.dumps(design)) == design
    turned = Subspace(some_basis(16, 3), Sobol(8))
    noise = [np.asarray(d.draw((16,), 200, SEED), float).ravel() for d in (design, turned)]
    assert abs(np.corrcoef(noise)[0, 1]) < 0.05


def test_results_say_what_the_pilot_cost(generator: mcgen.Generator, tmp_path) -> None:
    basis = replace(dct_basis((16,), 3), n_evaluations=1192)
    options = {"n_replicates": 30, "seed": SEED}
    result = mcgen.estimate(generator, mcgen.statistics.pixel_mean, design=Subspace(basis, Sobol(8)), **options)
    assert (result.provenance.pilot_evaluations, result.n_evaluations) == (1192, 240)
    assert "pilot        1,192 evaluations before the run" in result.summary()
    result.save(tmp_path / "run.json")
    assert mcgen.Estimate.load(tmp_path / "run.json") == result
    free = replace(result, provenance=replace(result.provenance, pilot_evaluations=0))
    assert free != result
    assert "pilot" not in free.summary()
    # As versions before the pilots saved it.
    text = (tmp_path / "run.json").read_text()
    start = text.index('"pilot_evaluations"')
    older = text[:start].rstrip().rstrip(",") + "\n  }" + text[text.index("}", start) + 1 :]
    (tmp_path / "older.json").write_text(older)
    assert mcgen.Estimate.load(tmp_path / "older.json").provenance.pilot_evaluations == 0


def test_runs_have_the_same_bits_at_every_batch_size(generator: mcgen.Generator) -> None:
    options = {"design": Subspace(dct_basis((16,), 3), Sobol(32)), "n_replicates": 30, "seed": SEED}
    runs = [mcgen.estimate(generator, mcgen.statistics.pixel_mean, batch_size=size, **options) for size in (8, 32, 200)]
    assert len({run.mean for run in runs}) == 1


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Subspace(some_basis(), Sobol(16), KAntithetic(3)), r"the 16 points of leading=.* of the 3 of rest=KA"),
        (lambda: Subspace(some_basis(), MonteCarlo()), r"the 1 points of leading=.* take rest=MonteCarlo\(\)"),
        (lambda: Subspace(some_basis()).draw((7,), 2, 0), r"blocks 'noise' of 6 numbers; got 'noise' of 7 \(normal"),
        (lambda: Subspace(some_basis()).draw(JOINT, 2, 0), "got 'start' of 4, 'steps' of 5, 'mask' of 3"),
        (
            lambda: Subspace(some_basis({"start": 4, "mask": 3})).draw(JOINT, 2, 0),
            "reach into 'mask', drawn independently for every point .* make the basis without",
        ),
        (lambda: Subspace(some_basis()).draw((6,), 0, 0), "replicates must be a non-empty range"),
        (lambda: Subspace(some_basis()).draw((6,), 2, 0, points=range(65)), "points must be a non-empty range"),
    ],
)
def test_refusals_say_what_to_do(make, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("wrong", [{"basis": np.eye(4)}, {"leading": 64}, {"rest": Antithetic}])
def test_parts_must_be_what_they_are_called(wrong) -> None:
    with pytest.raises(TypeError, match="must (be an mcgen.bases.Basis|satisfy mcgen.Design)"):
        Subspace(**{"basis": some_basis()} | wrong)
