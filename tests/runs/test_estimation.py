"""`estimate` and `difference`: what they are made from, that they repeat, progress."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stderr

import numpy as np
import pytest
from helpers import SEED, logistic

import mcgen
from mcgen import Antithetic, KAntithetic, MonteCarlo, Sobol
from mcgen.statistics import pixel_mean

# Whether few replicates look skewed is chance, and another seed may bring the warning.
pytestmark = pytest.mark.filterwarnings("ignore:.*the replicate means")


CONDITIONAL = mcgen.as_generator(logistic, noise=(8,), name="shifted")


@pytest.mark.parametrize("design", [MonteCarlo(), Antithetic(), KAntithetic(8), Sobol(16)], ids=str)
def test_estimate_is_made_from_the_replicate_means(estimate, design) -> None:
    result = estimate(design=design, n_evaluations=1600)
    noise = np.asarray(design.draw((16,), 1600 // design.n_points, SEED))
    means = logistic(noise).mean(axis=2, dtype=np.float64).mean(axis=1)
    assert result.mean == pytest.approx(means.mean(), rel=1e-6)
    assert result.standard_error == pytest.approx(means.std(ddof=1) / np.sqrt(len(means)), rel=1e-5)
    assert result.degrees_of_freedom == len(means) - 1
    assert result.n_evaluations == 1600
    assert result.provenance.design == str(design)


def test_n_replicates_is_n_evaluations_over_points(estimate) -> None:
    assert estimate(n_evaluations=640) == estimate(n_replicates=320)


def test_vector_statistics_keep_their_shape(estimate) -> None:
    result = estimate(statistic=lambda x: x.reshape(-1, 4, 4))
    assert result.shape == (4, 4)
    assert result.interval.low.shape == (4, 4)
    assert result.names[5] == "<lambda>[1, 1]"
    alone = estimate(statistic=lambda x: x[:, 5])
    assert alone.mean == pytest.approx(result.mean[1, 1])
    assert alone.shape == ()


def test_any_array_library_will_do(estimate) -> None:
    torch = pytest.importorskip("torch")
    by_numpy = estimate()
    by_torch = estimate(
        generator=mcgen.as_generator(lambda z: torch.sigmoid(torch.from_numpy(z) + 1).requires_grad_(), (16,)),
        statistic=lambda x: x.mean(1),
    )
    assert by_torch.mean == pytest.approx(by_numpy.mean, rel=1e-6)
    bfloat = estimate(statistic=lambda x: torch.from_numpy(x).mean(1).to(torch.bfloat16))
    assert bfloat.mean == pytest.approx(by_numpy.mean, rel=1e-2)


def test_difference_pairs_the_replicates() -> None:
    a = mcgen.as_generator(logistic, (8,), name="a")
    b = mcgen.as_generator(lambda z: logistic(1.05 * z), (8,), name="b")
    options = {"design": MonteCarlo(), "n_evaluations": 2000, "seed": SEED}
    paired = mcgen.difference(a, b, pixel_mean, **options)
    alone = [mcgen.estimate(g, pixel_mean, **options) for g in (a, b)]
    assert paired.mean == pytest.approx(alone[0].mean - alone[1].mean, abs=1e-7)
    assert paired.standard_error < 0.2 * alone[0].standard_error
    assert paired.provenance.generator == "a - b"
    with pytest.raises(
        ValueError, match=r"got noise that differs: block 0 is noise: normal\(8\) in 'a' and noise: normal\(9\) in"
    ):
        mcgen.difference(a, mcgen.as_generator(logistic, (9,)), pixel_mean, common_random_numbers=True, **options)


def test_progress_shows_evaluations_and_the_estimate_so_far(estimate, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mcgen.runs.progress._SECONDS_BETWEEN", 0.0)
    shown = io.StringIO()
    with redirect_stderr(shown):
        estimate(progress=True, n_evaluations=6400)
    last = shown.getvalue().split("\r")[-1]
    assert re.search(r"Antithetic\(\): 100%.*6\.40k/6\.40k .*0\.69\d* ± 0\.00", last)


def test_same_seed_same_numbers(estimate) -> None:
    assert estimate() == estimate()
    assert estimate() != estimate(seed=SEED + 1)
    assert estimate(seed=np.random.SeedSequence(SEED)) == estimate()


def test_generators_may_return_tuples() -> None:
    pair = mcgen.as_generator(lambda z: (logistic(z), z), (8,), name="pair")
    options = {"design": Antithetic(), "n_evaluations": 640, "seed": SEED}
    result = mcgen.estimate(pair, lambda samples: samples[0].mean(axis=1), **options)
    assert result.mean == pytest.approx(mcgen.estimate(CONDITIONAL, pixel_mean, **options).mean, abs=0.01)
    other = mcgen.as_generator(lambda z: (logistic(1.1 * z), z), (8,), name="other")
    paired = mcgen.difference(pair, other, lambda samples: samples[0].mean(axis=1), **options)
    assert paired.half_width < result.half_width


def blocks(function, names: str, iid: bool = False, shape: int = 4, dtype: str = "float32", name: str = "model"):
    laws = zip(names, [mcgen.Block((4,)), mcgen.Block((shape,), "uniform"), mcgen.Block((2,), iid=iid)], strict=False)
    return mcgen.as_generator(function, mcgen.NoiseSpec(dict(laws), dtype), name=name)


def summed(noise) -> np.ndarray:
    parts = [noise] if isinstance(noise, np.ndarray) else [*noise.values()]
    return np.concatenate([logistic(part) for part in parts], axis=1)


def doubled(noise) -> np.ndarray:
    return summed(noise) ** 2


@pytest.mark.parametrize("names", ["x", "xy", "xyz"])
@pytest.mark.parametrize("design", [Antithetic(), Sobol(16)], ids=str)
def test_differences_of_generators_whose_blocks_have_other_names(names: str, design) -> None:
    run = {"design": design, "n_evaluations": 640, "seed": SEED}
    first, same, other = (blocks(f, n) for f, n in ((summed, "abc"[: len(names)]), (doubled, "abc"[: len(names)]), (doubled, names)))  # fmt: skip
    made = mcgen.difference(first, other, pixel_mean, **run)
    assert made == mcgen.difference(first, same, pixel_mean, **run)
    assert "abc"[len(names) - 1] + ":" in made.provenance.noise or len(names) == 1


def test_the_second_generator_gets_its_own_names() -> None:
    seen = []

    def looking(noise) -> np.ndarray:
        seen.append(sorted(noise))
        return doubled(noise)

    mcgen.difference(blocks(summed, "ab"), blocks(looking, "yx"), pixel_mean, design=Antithetic(), n_evaluations=640, seed=0)  # fmt: skip
    assert all(names == ["x", "y"] for names in seen)


def test_a_difference_with_other_names_is_stored(tmp_path) -> None:
    run = {"design": Antithetic(), "n_evaluations": 640, "seed": 0, "store": tmp_path / "run.sqlite"}
    made = [mcgen.difference(blocks(summed, "ab"), blocks(doubled, "xy"), pixel_mean, **run) for _ in range(2)]
    assert made[0] == made[1]
    with pytest.raises(mcgen.StoreError, match="belongs to another run"):
        mcgen.difference(blocks(summed, "ab"), blocks(summed, "xy"), pixel_mean, **run)


@pytest.mark.parametrize(
    ("other", "text"),
    [
        (blocks(doubled, "ax", shape=5, name="b"), r"block 1 is b: uniform\(4\) in 'a' and x: uniform\(5\) in 'b'"),
        (blocks(doubled, "ab", dtype="float64", name="b"), "the dtype is float32 in 'a' and float64 in 'b'"),
        (blocks(doubled, "abc", name="b"), "'a' has 2 blocks and 'b' has 3"),
        (blocks(doubled, "ab", shape=3, name="a"), "in generator a and b: uniform.3. in generator b"),
    ],
)
def test_differences_name_what_differs_in_the_noise(other, text: str) -> None:
    with pytest.raises(
        ValueError, match=f"blocks agree in order by shape, law and dtype; got noise that differs: .*{text}"
    ):
        mcgen.difference(
            blocks(summed, "ab", name="a"),
            other,
            pixel_mean,
            design=Antithetic(),
            n_evaluations=64,
            seed=0,
            common_random_numbers=True,
        )


def test_iid_blocks_differ_from_others() -> None:
    pair = blocks(summed, "abc", name="a"), blocks(doubled, "abc", iid=True, name="b")
    with pytest.raises(ValueError, match=r"block 2 is c: normal\(2\) in 'a' and c: normal\(2, iid\) in 'b'"):
        mcgen.difference(*pair, pixel_mean, design=Antithetic(), n_evaluations=64, seed=0, common_random_numbers=True)


def nine_blocks() -> mcgen.Generator:
    return mcgen.as_generator(summed, mcgen.NoiseSpec({f"step {i}": mcgen.Block((4,)) for i in range(9)}))


def test_levels_and_factories_name_the_blocks_that_differ() -> None:
    fine = {f"step {i}": mcgen.Block((4,)) for i in range(9)}
    coarse = {**fine, "step 4": mcgen.Block((4,), iid=True)}
    generators = [mcgen.as_generator(summed, mcgen.NoiseSpec(spec)) for spec in (coarse, fine)]
    with pytest.raises(ValueError, match=r"got step 4: normal\(4, iid\) float32. Wrap it"):
        mcgen.multilevel([(generators[0], 1), (generators[1], 2)], pixel_mean, n_evaluations=1000, seed=0)
    factory = mcgen.from_factory(nine_blocks, noise=mcgen.NoiseSpec(coarse), name="loaded")
    with pytest.raises(
        ValueError, match=r"block 4 is step 4: normal\(4, iid\) in noise= and step 4: normal\(4\) in the"
    ):
        mcgen.estimate(factory, pixel_mean, design=Antithetic(), n_evaluations=64, seed=0)
