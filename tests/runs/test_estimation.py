"""`estimate` and `difference`: conditions, common random numbers, interruptions, progress."""

from __future__ import annotations

import io
import re
from contextlib import redirect_stderr

import numpy as np
import pytest
from helpers import SEED, logistic, logistic_until

import mcgen
from mcgen import Antithetic, KAntithetic, MonteCarlo, Sobol
from mcgen.inference.efficiency import welch_satterthwaite
from mcgen.statistics import pixel_mean

# Whether few replicates look skewed is chance, and another seed may bring the warning.
pytestmark = pytest.mark.filterwarnings("ignore:the replicate means")


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


def test_conditions_have_their_own_numbers_and_an_average() -> None:
    options = {"design": Antithetic(), "n_evaluations": 640, "seed": SEED}
    result = mcgen.estimate(CONDITIONAL, pixel_mean, condition=[0, 1, 2], **options)
    alone = mcgen.estimate(CONDITIONAL, pixel_mean, condition=1, **options)
    assert result.strata[1] == alone
    assert result.mean == pytest.approx(np.mean([part.mean for part in result.strata]))
    errors = np.array([part.standard_error for part in result.strata]) / 3
    assert result.standard_error == pytest.approx(np.sqrt((errors**2).sum()))
    assert result.degrees_of_freedom == pytest.approx(
        welch_satterthwaite((errors**2)[:, None], np.full((3, 1), 319.0))[0]
    )
    frame = result.to_frame()
    assert frame["condition"].tolist() == ["0", "1", "2", "0, 1, 2"]
    assert frame["mean"].tolist()[-1] == result.mean


def test_an_average_over_conditions_has_the_weighted_third_moments() -> None:
    options = {"design": MonteCarlo(), "n_evaluations": 200, "seed": SEED}
    generator = mcgen.as_generator(lambda z, scale: np.exp(scale * z), (1,), name="lognormal")
    average = mcgen.estimate(generator, lambda x: x[:, 0], condition=[0.5, 1.0], weights=[0.25, 0.75], **options)
    third = [
        (w * part.standard_error) ** 3 * part.skewness for w, part in zip((0.25, 0.75), average.strata, strict=True)
    ]
    assert average.skewness == pytest.approx(sum(third) / average.standard_error**3)
    made = average.with_interval(interval="skewness-adjusted-t").interval
    assert made.high - average.mean > 1.05 * (average.mean - made.low)


def test_conditions_are_weighted() -> None:
    options = {"design": Antithetic(), "n_evaluations": 640, "seed": SEED, "condition": [0, 1]}
    result = mcgen.estimate(CONDITIONAL, pixel_mean, weights=[0.9, 0.1], **options)
    assert result.mean == pytest.approx(0.9 * result.strata[0].mean + 0.1 * result.strata[1].mean)


def test_common_random_numbers_average_replicate_by_replicate() -> None:
    options = {"design": Antithetic(), "n_evaluations": 640, "seed": SEED, "condition": [0, 1, 2]}
    result = mcgen.estimate(CONDITIONAL, lambda x: x[:, :2], common_random_numbers=True, **options)
    parts = [part.replicate_means for part in result.strata]
    assert np.allclose(np.mean(parts, axis=0), result.replicate_means)
    assert result.degrees_of_freedom.tolist() == [319, 319]
    assert np.corrcoef(parts[0][:, 0], parts[1][:, 0])[0, 1] > 0.9
    unpaired = mcgen.estimate(CONDITIONAL, lambda x: x[:, :2], **options)
    assert (result.standard_error > 1.3 * unpaired.standard_error).all()  # what is common does not average out
    joint = result.with_interval(interval="bootstrap-t")
    assert joint.half_width == pytest.approx(result.half_width, rel=0.15)


def test_common_noise_that_breaks_keeps_every_condition() -> None:
    with pytest.raises(RuntimeError) as caught:
        mcgen.estimate(
            mcgen.as_generator(logistic_until(20, RuntimeError("out of memory")), (8,)), pixel_mean, design=Antithetic(), n_evaluations=1280, seed=SEED,
            condition=[0, 1], common_random_numbers=True,
        )  # fmt: skip
    partial = caught.value.partial
    assert [part.provenance.condition for part in partial.strata] == ["0", "1"]
    assert partial.shape == ()


def test_conditions_must_give_the_same_components() -> None:
    growing = mcgen.as_generator(lambda z, c: logistic(z)[:, :c], (8,))
    with pytest.raises(mcgen.RunError, match=r"components of shape \(4,\) under condition 4, where \(3,\)") as caught:
        mcgen.estimate(growing, lambda x: x, design=Antithetic(), n_evaluations=640, seed=SEED, condition=[3, 4])
    assert len(caught.value.partial.strata) == 1


def test_measurements_and_prompts_can_be_conditions() -> None:
    measurement = np.linspace(0, 1, 8)
    result = mcgen.estimate(
        CONDITIONAL, pixel_mean, design=Antithetic(), n_evaluations=400, seed=0, condition=[measurement, 1]
    )
    assert result.strata[0].provenance.condition == "ndarray of shape (8,)"
    prompts = mcgen.as_generator(lambda z, prompt: logistic(z) + len(prompt), noise=(8,))
    one = mcgen.estimate(prompts, pixel_mean, design=Antithetic(), n_evaluations=400, seed=0, condition="a cat")
    assert one.provenance.condition == "'a cat'"


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
        ValueError, match="need the same noise for both generators; got normal\\(8\\) float32 and normal"
    ):
        mcgen.difference(a, mcgen.as_generator(logistic, (9,)), pixel_mean, **options)


def test_interruption_gives_back_what_is_finished() -> None:
    # Four batches, and two calls that try the first: whether it repeats, and whether it changes with the noise.
    result = mcgen.estimate(
        mcgen.as_generator(logistic_until(6, KeyboardInterrupt()), (8,), name="interrupted"),
        pixel_mean,
        design=Antithetic(),
        n_evaluations=640,
        seed=SEED,
        batch_size=64,
    )
    assert result.partial
    assert result.n_replicates == 128
    assert "PARTIAL" in str(result)
    whole = mcgen.estimate(
        mcgen.as_generator(logistic, (8,), name="interrupted"),
        pixel_mean,
        design=Antithetic(),
        n_replicates=128,
        seed=SEED,
        batch_size=64,
    )
    assert result.mean == whole.mean
    assert result != whole


def test_interruption_before_two_replicates_is_an_interruption() -> None:
    def interrupted(z: np.ndarray) -> np.ndarray:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        mcgen.estimate(mcgen.as_generator(interrupted, (8,)), pixel_mean, design=Antithetic(), n_evaluations=64, seed=0)


def test_interrupted_conditions_keep_the_finished_ones() -> None:
    def interrupted(z: np.ndarray, condition: int) -> np.ndarray:
        if condition == 2:
            raise KeyboardInterrupt
        return logistic(z, condition)

    generator = mcgen.as_generator(interrupted, (8,))
    result = mcgen.estimate(
        generator, pixel_mean, design=Antithetic(), n_evaluations=640, seed=SEED, condition=[0, 1, 2]
    )
    assert result.partial
    assert len(result.strata) == 2
    assert "the average is over the first 2 of 3 conditions only" in result.summary()


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


def test_conditions_are_known_by_their_content() -> None:
    """The same noise alone and in a list, for Python's and numpy's numbers; other noise for every other content."""
    plain = mcgen.as_generator(lambda z, c: z + z**2, (8,))
    options = {"design": MonteCarlo(), "n_evaluations": 200, "seed": SEED}

    def means(condition: object) -> np.ndarray:
        return mcgen.estimate(plain, pixel_mean, condition=condition, **options).replicate_means[:, 0]

    different = [1, 2, 0.5, 0.7, "a cat", True, (1, 0.5), np.zeros(3), np.ones(3)]
    for i, one in enumerate(different):
        for other in different[:i]:
            assert abs(np.corrcoef(means(one), means(other))[0, 1]) < 0.45
    assert np.array_equal(means(np.int64(2)), means(2))
    joint = mcgen.estimate(plain, pixel_mean, condition=[0.7, np.ones(3)], **options)
    assert np.array_equal(joint.strata[0].replicate_means[:, 0], means(0.7))
    assert np.array_equal(joint.strata[1].replicate_means[:, 0], means(np.ones(3)))
    with pytest.raises(ValueError, match="conditions repeat"):
        mcgen.estimate(plain, pixel_mean, condition=[0.5, np.float64(0.5)], **options)


def test_differences_under_several_conditions_on_common_noise() -> None:
    a = mcgen.as_generator(logistic, (8,), name="a")
    b = mcgen.as_generator(lambda z, c: logistic(1.1 * z, c), (8,), name="b")
    options = {"design": MonteCarlo(), "n_evaluations": 640, "seed": SEED}
    joint = mcgen.difference(a, b, pixel_mean, condition=[0, 1], common_random_numbers=True, **options)
    assert len(joint.strata) == 2
    assert joint.mean == pytest.approx(np.mean([part.mean for part in joint.strata]))


def test_generators_may_return_tuples() -> None:
    pair = mcgen.as_generator(lambda z: (logistic(z), z), (8,), name="pair")
    options = {"design": Antithetic(), "n_evaluations": 640, "seed": SEED}
    result = mcgen.estimate(pair, lambda samples: samples[0].mean(axis=1), **options)
    assert result.mean == pytest.approx(mcgen.estimate(CONDITIONAL, pixel_mean, **options).mean, abs=0.01)
    other = mcgen.as_generator(lambda z: (logistic(1.1 * z), z), (8,), name="other")
    paired = mcgen.difference(pair, other, lambda samples: samples[0].mean(axis=1), **options)
    assert paired.half_width < result.half_width


def test_an_endless_run_takes_no_memory_before_it_starts() -> None:
    result = mcgen.estimate(
        mcgen.as_generator(logistic_until(20, KeyboardInterrupt()), (8,)),
        pixel_mean,
        design=Antithetic(),
        n_evaluations=2 * 10**13,
        seed=0,
    )
    assert result.partial
