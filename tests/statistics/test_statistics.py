"""The statistics of the field: their formulas, in numpy and torch, with gradients, on odd shapes."""

from __future__ import annotations

import numpy as np
import pytest
from helpers import SEED

from mcgen import statistics as s

RNG = np.random.default_rng(SEED)
GREY = RNG.random((5, 1, 7, 6))
COLOUR = RNG.random((5, 3, 8, 6))
REFERENCE = RNG.random((3, 8, 6))
ALL = [s.pixel_mean, s.brightness, s.contrast, s.centroid, s.identity, s.L1(REFERENCE), s.PSNR(REFERENCE)]


def test_formulas_on_colour_images() -> None:
    y = np.tensordot(COLOUR, [0.2126, 0.7152, 0.0722], (1, 0))
    assert s.pixel_mean(COLOUR) == pytest.approx(COLOUR.mean(axis=(1, 2, 3)))
    assert s.brightness(COLOUR) == pytest.approx(y.mean(axis=(1, 2)))
    assert s.contrast(COLOUR) == pytest.approx(y[:, :4].mean(axis=(1, 2)) - y[:, 4:].mean(axis=(1, 2)))
    weights = y.sum(axis=2)
    assert s.centroid(COLOUR) == pytest.approx((weights * np.arange(8)).sum(axis=1) / weights.sum(axis=1))
    assert s.L1(REFERENCE)(COLOUR) == pytest.approx(np.abs(COLOUR - REFERENCE).mean(axis=(1, 2, 3)))
    mse = ((COLOUR - REFERENCE) ** 2).mean(axis=(1, 2, 3))
    assert s.PSNR(REFERENCE)(COLOUR) == pytest.approx(10 * np.log10(1 / mse))
    assert s.PSNR(255 * REFERENCE, data_range=255)(255 * COLOUR) == pytest.approx(10 * np.log10(1 / mse))
    assert s.identity(COLOUR) is COLOUR


def test_luma_weights_sum_to_one() -> None:
    assert sum(s.LUMA) == pytest.approx(1.0)
    grey = np.repeat(GREY, 3, axis=1)
    assert s.brightness(grey) == pytest.approx(s.brightness(GREY))


def test_grey_images_with_and_without_a_channel_axis() -> None:
    for statistic in (s.pixel_mean, s.brightness, s.contrast, s.centroid):
        assert statistic(GREY) == pytest.approx(statistic(GREY[:, 0]))


def test_odd_rows_leave_the_middle_out() -> None:
    image = np.zeros((1, 7, 2))
    image[:, 3] = 1
    assert s.contrast(image) == 0


def test_grey_may_be_the_mean_over_channels() -> None:
    y = COLOUR.mean(axis=1)
    weights = y.mean(axis=2)
    assert s.contrast(COLOUR, grey="mean") == pytest.approx(y[:, :4].mean(axis=(1, 2)) - y[:, 4:].mean(axis=(1, 2)))
    expected = (weights * np.arange(8)).sum(axis=1) / weights.sum(axis=1)
    assert s.centroid(COLOUR, grey="mean") == pytest.approx(expected)
    assert not np.allclose(s.contrast(COLOUR, grey="mean"), s.contrast(COLOUR))
    for statistic in (s.contrast, s.centroid):
        np.testing.assert_array_equal(statistic(GREY, grey="mean"), statistic(GREY))
    with pytest.raises(ValueError, match="grey must be one of luminance, mean; got 'rgb'"):
        s.contrast(COLOUR, grey="rgb")


def test_centroid_of_a_single_bright_row_is_its_number() -> None:
    image = np.zeros((1, 1, 9, 4))
    image[:, :, 6] = 0.5
    assert s.centroid(image) == pytest.approx(6.0)


@pytest.mark.parametrize("statistic", ALL, ids=lambda f: getattr(f, "name", getattr(f, "__name__", "")))
def test_torch_stays_torch_and_keeps_its_gradient(statistic) -> None:
    torch = pytest.importorskip("torch")
    samples = torch.tensor(COLOUR, requires_grad=True)
    values = statistic(samples)
    assert isinstance(values, torch.Tensor)
    assert values.detach().numpy() == pytest.approx(np.asarray(statistic(COLOUR)))
    values.sum().backward()
    assert samples.grad is not None
    assert torch.isfinite(samples.grad).all()


def test_stack_joins_components_in_both_libraries() -> None:
    torch = pytest.importorskip("torch")
    both = s.stack(s.brightness, s.contrast, s.L1(REFERENCE))
    assert both.names == ("brightness", "contrast", "l1")
    values = both(COLOUR)
    assert values.shape == (5, 3)
    assert values[:, 1] == pytest.approx(s.contrast(COLOUR))
    samples = torch.tensor(COLOUR, requires_grad=True)
    joined = both(samples)
    assert joined.detach().numpy() == pytest.approx(values)
    joined.sum().backward()
    assert samples.grad is not None


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: s.centroid(np.zeros((3, 1, 8, 8))), "centroid: 3 of 3 images are black .*; use a statistic that is defined"),
        (lambda: s.brightness(np.zeros((3, 4, 8, 8))), r"takes images of shape .*; got samples of shape \(3, 4, 8, 8\). Move the channels"),
        (lambda: s.contrast(np.zeros((3, 1, 8))), "at least two rows"),
        (lambda: s.L1(np.zeros((2, 2)))(COLOUR), r"the reference must have the shape of one sample, \(3, 8, 6\); got \(2, 2\)"),
        (lambda: s.PSNR(COLOUR[0])(COLOUR), "PSNR: a sample equals the reference, and the ratio is infinite; use L1"),
        (lambda: s.stack(), "at least one statistic and a different name"),
        (lambda: s.stack(s.contrast, s.contrast), "a different name for each; got 2 statistics .* Name them by names"),
        (lambda: s.stack(s.contrast, s.identity)(COLOUR), "one number a sample; 'identity' gave an array of shape"),
    ],
)  # fmt: skip
def test_refusals(call, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()


def test_numbers_and_booleans_are_not_wrapped_around() -> None:
    torch = pytest.importorskip("torch")
    images = (255 * COLOUR).astype(np.uint8)
    reference = np.full((3, 8, 6), 200, np.uint8)
    for samples, ref in ((images, reference), (torch.from_numpy(images), torch.from_numpy(reference))):
        expected = np.abs(images.astype(float) - 200).mean(axis=(1, 2, 3))
        assert np.asarray(s.L1(ref)(samples)) == pytest.approx(expected)
        assert np.asarray(s.pixel_mean(samples)) == pytest.approx(images.mean(axis=(1, 2, 3)))
        assert np.asarray(s.brightness(samples)) == pytest.approx(s.brightness(images.astype(float)), rel=1e-5)


def test_stack_keeps_every_columns_precision() -> None:
    torch = pytest.importorskip("torch")
    samples = torch.tensor(COLOUR)
    both = s.stack(lambda x: (x > 2).flatten(1).any(1), lambda x: x.flatten(1).mean(1).to(torch.bfloat16), s.pixel_mean, names=["any", "half", "mean"])  # fmt: skip
    values = both(samples)
    assert values[:, 2].numpy() == pytest.approx(s.pixel_mean(COLOUR))
    assert (values[:, 0] == 0).all()


def test_references_may_be_of_another_library() -> None:
    torch = pytest.importorskip("torch")
    for samples, reference in ((torch.tensor(COLOUR), REFERENCE), (COLOUR, torch.tensor(REFERENCE)), (COLOUR, REFERENCE.tolist())):  # fmt: skip
        assert np.asarray(s.L1(reference)(samples)) == pytest.approx(s.L1(REFERENCE)(COLOUR))


def test_centroid_refuses_negative_brightness() -> None:
    with pytest.raises(
        ValueError, match=r"values are at least 0, as weights must be; got -1. Map them to \[0, 1\] first"
    ):
        s.centroid(2 * np.round(GREY) - 1)
