"""Functionals of means have the same bits in whatever batches, on whatever executor, and from whatever stores."""

from __future__ import annotations

import warnings
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from contextlib import suppress
from itertools import pairwise
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import functional_parts as parts
import numpy as np
import pytest

import mcgen
from mcgen import functionals
from mcgen.designs import Antithetic, MonteCarlo, Sobol

FUNCTIONALS = {
    "std": functionals.std(parts.second),
    "correlation": functionals.correlation(parts.first, parts.second),
    "ratio": functionals.ratio(parts.first, parts.second),
    "quotient": functionals.function_of_means(parts.both, parts.quotient),
    "inception": functionals.inception_score(parts.classes),
}
N = 700


def bits(name: str, design: Any = None, n: int | None = N, **options: Any) -> list[bytes]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = mcgen.estimate(
            parts.model(),
            FUNCTIONALS[name],
            design=design or Antithetic(),
            seed=0,
            **({} if n is None else {"n_replicates": n}),
            **options,
        )
    numbers = (result.mean, result.standard_error, *result.interval, result.plug_in, result.half_width)
    return [np.asarray(one, np.float64).tobytes() for one in numbers]


@pytest.mark.parametrize("keep", [None, False])
@pytest.mark.parametrize("name", FUNCTIONALS)
def test_batches(name: str, keep: bool | None) -> None:
    whole = bits(name, keep_replicates=keep)
    for size in (2, 50, 1400):
        assert bits(name, keep_replicates=keep, batch_size=size) == whole
    assert bits(name, MonteCarlo(), keep_replicates=keep) != whole


@pytest.mark.parametrize("keep", [None, False])
@pytest.mark.parametrize("name", FUNCTIONALS)
def test_threads(name: str, keep: bool | None) -> None:
    with ThreadPoolExecutor(3) as executor:
        assert bits(name, keep_replicates=keep, executor=executor) == bits(name, keep_replicates=keep)


def test_processes() -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as executor:
        for name in FUNCTIONALS:
            for keep in (None, False):
                assert bits(name, keep_replicates=keep, executor=executor) == bits(name, keep_replicates=keep)


@pytest.mark.parametrize("keep", [None, False])
@pytest.mark.parametrize("name", FUNCTIONALS)
def test_stores(name: str, keep: bool | None, tmp_path: Path) -> None:
    store = tmp_path / "run.sqlite"
    bits(name, n=300, keep_replicates=keep, store=store)
    whole = bits(name, keep_replicates=keep)
    assert bits(name, keep_replicates=keep, store=store) == whole
    assert bits(name, keep_replicates=keep, store=store) == whole


@pytest.mark.parametrize("keep", [None, False])
@pytest.mark.parametrize("name", FUNCTIONALS)
def test_merged_stores(name: str, keep: bool | None, tmp_path: Path) -> None:
    edges = (0, 256, 390, N)
    pieces = []
    for first, last in pairwise(edges):
        pieces.append(tmp_path / f"{first}.sqlite")
        options = {"replicates": range(first, last), "keep_replicates": keep, "store": pieces[-1]}
        # A part that is a single group has no jackknife; its replicates are stored all the same.
        with suppress(mcgen.RunError):
            bits(name, n=None, **options)
    mcgen.merge_stores(pieces, tmp_path / "whole.sqlite")
    assert bits(name, keep_replicates=keep, store=tmp_path / "whole.sqlite") == bits(name, keep_replicates=keep)


def test_nets_in_parts() -> None:
    assert bits("std", Sobol(64), 40, batch_size=16) == bits("std", Sobol(64), 40)
