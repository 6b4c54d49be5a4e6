"""Samples and values that are no plain numbers, and names that do not fit: each refused by name, in every statistic."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from helpers import SEED, logistic

import mcgen
from mcgen import RunError
from mcgen import statistics as s

pytestmark = pytest.mark.filterwarnings("ignore:.*the replicate means", "ignore:all .* replicate means")

REFERENCE = np.zeros(4)
STATISTICS = {
    "pixel_mean": s.pixel_mean,
    "l1": s.L1(REFERENCE),
    "psnr": s.PSNR(REFERENCE, data_range=1e6),
    "stack": s.stack(s.pixel_mean, lambda x: x[:, 0], names=["mean", "first"]),
    "stack of own": s.stack(lambda x: x[:, 0], lambda x: x[:, 1], names=["first", "second"]),
    "own": lambda x: x[:, 0],
    "named": mcgen.as_statistic(lambda x: x[:, 0], name="first"),
    "list": lambda x: [*x[:, 0:1]],
}


def run(function: Any, statistic: Any = s.pixel_mean, **options: Any) -> mcgen.Estimate:
    options = {"design": mcgen.Antithetic(), "n_evaluations": 128, "seed": SEED} | options
    return mcgen.estimate(mcgen.as_generator(function, (4,), name="model"), statistic, **options)


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize(
    "function",
    [
        lambda z: np.ma.array((100 * z).astype(np.int64), mask=z > 0.5),
        lambda z: np.ma.array(z > 0, mask=z > 0.5),
        lambda z: np.ma.array(z, mask=z > 0.5),
        lambda z: np.ma.array((100 * logistic(z)).astype(np.uint8)),
    ],
    ids=["integers", "booleans", "floats", "no value masked"],
)
def test_masked_samples_are_refused(function: Any, statistic: str) -> None:
    with pytest.raises((TypeError, RunError), match="a masked array, whose mask would be lost; fill it or average"):
        run(function, STATISTICS[statistic])


@pytest.mark.parametrize("statistic", STATISTICS)
@pytest.mark.parametrize(
    ("function", "kind"),
    [
        (lambda z: (1e3 * z).astype("datetime64[s]"), "datetime64"),
        (lambda z: (1e3 * z).astype("timedelta64[s]"), "timedelta64"),
        (lambda z: z.astype(str), "<U"),
        (lambda z: (1e3 * z).astype(np.int64).astype("S"), r"\|S"),
        (lambda z: z.astype(str).astype(object), "object"),
    ],
)
def test_dates_and_texts_do_not_become_numbers(function: Any, kind: str, statistic: str) -> None:
    with pytest.raises((TypeError, RunError), match=f"values of type {kind}.*, which are no real numbers"):
        run(function, STATISTICS[statistic])


def test_objects_that_are_numbers_are_numbers() -> None:
    assert run(lambda z: logistic(z).astype(object)).mean == pytest.approx(run(logistic).mean, rel=1e-6)


@pytest.mark.parametrize(
    "reference", [np.ma.array(REFERENCE, mask=[1, 0, 0, 0]), ["0.5"] * 4, [np.datetime64(1, "s")] * 4]
)
def test_references_are_plain_numbers(reference: Any) -> None:
    for statistic in (s.L1(reference), s.PSNR(reference)):
        with pytest.raises(TypeError, match="a reference must be an array of plain numbers; got"):
            run(logistic, statistic)


def test_masks_stay_in_samples_of_several_batches() -> None:
    model = mcgen.as_generator(lambda z: np.ma.array(z, mask=z > 0.5), (4,), name="model")
    found = mcgen.sample(model, 200, seed=SEED, batch_size=64)
    assert isinstance(found, np.ma.MaskedArray)
    assert (found.mask == (found.data > 0.5)).all()


TENSORS = {
    "sparse": lambda torch, x: torch.tensor(x).relu().to_sparse(),
    "sparse rows": lambda torch, x: torch.tensor(x).relu().to_sparse_csr(),
    "quantized": lambda torch, x: torch.quantize_per_tensor(torch.tensor(x), 0.1, 0, torch.qint8),
    "meta": lambda torch, x: torch.empty(x.shape, device="meta"),
    "nested": lambda torch, x: torch.nested.nested_tensor([torch.zeros(1 + i % 2) for i in range(len(x))]),
}
ADVICE = {
    "sparse": "a tensor of layout torch.sparse_coo; make it dense by .to_dense",
    "sparse rows": "a tensor of layout torch.sparse_csr; make it dense by .to_dense",
    "quantized": r"a quantized tensor \(torch.qint8\); make it a tensor of floats by .dequantize",
    "meta": "a tensor on the meta device, which has no numbers; load the model's weights",
    "nested": "a nested tensor, whose parts differ in shape; pad it",
}


@pytest.mark.filterwarnings("ignore:.*(beta|prototype|deprecated)")
@pytest.mark.parametrize("kind", TENSORS)
def test_tensors_without_plain_numbers(kind: str) -> None:
    torch = pytest.importorskip("torch")
    with pytest.raises(
        RunError, match=f"samples of generator 'model' must be arrays of plain numbers; got {ADVICE[kind]}"
    ):
        run(lambda z: TENSORS[kind](torch, z), lambda x: np.zeros(len(x)))
    with pytest.raises(RunError, match=f"statistic '<lambda>' returned {ADVICE[kind]}"):
        run(logistic, lambda x: TENSORS[kind](torch, x))
    if kind != "nested":
        with pytest.raises(TypeError, match=f"a reference must be an array of plain numbers; got {ADVICE[kind]}"):
            run(logistic, s.L1(TENSORS[kind](torch, np.zeros((4, 4), np.float32))[0] if kind != "sparse rows" else TENSORS[kind](torch, np.zeros((2, 2), np.float32))))  # fmt: skip


def test_values_that_torch_left_for_later() -> None:
    torch = pytest.importorskip("torch")
    values = run(logistic, lambda x: torch.complex(torch.tensor(x[:, 0]), torch.tensor(x[:, 1])).conj().imag)
    assert values.mean == -run(logistic, lambda x: x[:, 1]).mean


def test_torch_modules_take_no_numpy_samples() -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Linear(4, 1)).eval()
    for statistic in (module, mcgen.as_statistic(module), s.stack(s.pixel_mean, module)):
        with pytest.raises(
            RunError, match="statistic 'Sequential' is a torch module, which takes tensors, and .* ndarray"
        ):
            run(logistic, statistic)
    wrapped = run(logistic, lambda x: module(torch.as_tensor(x)).detach())
    assert run(lambda z: torch.tensor(logistic(z)), module).mean == pytest.approx(wrapped.mean)


class Declared:
    """Two values a sample, with names by an attribute or a method."""

    def __init__(self, **given: Any) -> None:
        vars(self).update(given)

    def __call__(self, samples: Any) -> Any:
        return samples[:, :2]


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"names": ["a", "b", "c"]},
            r"statistic 'Declared' has 3 component names \(a, b, c\) and .* shape \(2,\), 2 values",
        ),
        ({"names": ["a"]}, r"has 1 component names \(a\)"),
        ({"component_names": lambda shape: ("a",)}, r"has 1 component names \(a\)"),
        ({"component_names": ("a", "b", "c")}, "has 3 component names"),
        ({"names": "ab"}, "must be a list or tuple of texts, one for each value of a sample; got 'ab'"),
        ({"component_names": lambda shape: "ab"}, "must be a list or tuple of texts"),
    ],
)
def test_names_of_another_length_are_refused_in_the_first_batch(given: dict[str, Any], message: str) -> None:
    with pytest.raises(RunError, match=message) as caught:
        run(logistic, Declared(**given), n_evaluations=12800)
    assert caught.value.partial is None


def test_names_that_fit_are_taken() -> None:
    assert run(logistic, Declared(names=np.array(["a", "b"]))).names == ("a", "b")
    assert run(logistic, Declared(component_names=lambda shape: ["a", "b"])).names == ("a", "b")
    assert run(logistic, Declared(names={"a thing": 1})).names == ("Declared[0]", "Declared[1]")


@pytest.mark.parametrize("data_range", [0, -1, math.nan, math.inf])
def test_the_range_of_a_ratio_is_above_zero(data_range: float) -> None:
    with pytest.raises(ValueError, match="data_range must be (above 0|finite)"):
        s.PSNR(REFERENCE, data_range=data_range)


@pytest.mark.parametrize("data_range", ["1", None, True])
def test_the_range_of_a_ratio_is_a_number(data_range: Any) -> None:
    with pytest.raises(TypeError, match="data_range must be a number; got"):
        s.PSNR(REFERENCE, data_range=data_range)


def test_a_ratio_refuses_values_outside_its_range() -> None:
    bytes_ = (255 * np.random.default_rng(SEED).random((5, 3, 4))).astype(np.uint8)
    reference = np.full((3, 4), 128, np.uint8)
    with pytest.raises(
        ValueError, match="PSNR: .* have values from .*, and data_range=1 allows .* data_range=255 for bytes"
    ):
        s.PSNR(reference)(bytes_)
    with pytest.raises(ValueError, match="have values from -1 to .*Give the range of the values"):
        s.PSNR(np.zeros(2))(np.array([[0.5, 0.2], [-1.0, 1.0]]))
    mse = ((bytes_ - 128.0) ** 2).mean(axis=(1, 2))
    assert s.PSNR(reference, data_range=255)(bytes_) == pytest.approx(10 * np.log10(255**2 / mse))
    # An interval of the length of the range is enough, wherever it lies, and rounding errors are no excess.
    assert s.PSNR(np.zeros(2), data_range=2)(np.array([[-1.0, 1.0 + 1e-15]])) == pytest.approx(10 * np.log10(4))
