"""Antithetic pairs of the points of another design."""

from __future__ import annotations

import re
import warnings
from typing import Any

import numpy as np
import pytest
from helpers import SEED

import mcgen
from mcgen import Antithetic, Block, KAntithetic, LatinHypercube, MonteCarlo, NoiseSpec, Sobol, Subspace
from mcgen.cli.objects import design_named
from mcgen.designs._base import net_dimension

BASES = [MonteCarlo(), Sobol(8), LatinHypercube(5), KAntithetic(3)]
MIXED = NoiseSpec({"start": Block((3,)), "share": Block((2,), law="uniform"), "rest": Block((4,), iid=True)})


@pytest.mark.parametrize("base", BASES, ids=str)
@pytest.mark.parametrize("law", ["normal", "uniform"])
def test_each_point_comes_with_its_negation(base: mcgen.Design, law: str) -> None:
    design = Antithetic(base)
    assert design.n_points == 2 * base.n_points
    noise = np.asarray(design.draw(NoiseSpec({"noise": Block((3,), law=law)}), 6, SEED))
    z, negated = noise[:, ::2], noise[:, 1::2]
    assert (negated == (-z if law == "normal" else 1 - z)).all()
    # Its points are the base's, drawn for this design.
    spec = NoiseSpec({"noise": Block((3,), law=law)})
    assert (z == np.asarray(base.draw(spec, 6, SEED, stream=(str(design),)))).all()


def test_blocks_with_independent_points_are_left_alone() -> None:
    noise: Any = Antithetic(Sobol(8)).draw(MIXED, 5, SEED)
    assert (noise["start"][:, 1::2] == -noise["start"][:, ::2]).all()
    assert (noise["share"][:, 1::2] == 1 - noise["share"][:, ::2]).all()
    rest = noise["rest"]
    assert len(np.unique(np.abs(rest))) == rest.size
    alone = Antithetic(Sobol(8)).draw(NoiseSpec({"rest": Block((4,), iid=True)}), 5, SEED)
    assert np.unique(np.abs(np.asarray(alone))).size == 5 * 16 * 4


@pytest.mark.parametrize("points", [range(16), range(1, 2), range(3, 14), range(4, 6), range(15, 16)], ids=str)
def test_some_points_are_those_of_the_whole(points: range) -> None:
    whole: Any = Antithetic(Sobol(8)).draw(MIXED, 3, SEED)
    some: Any = Antithetic(Sobol(8)).draw(MIXED, range(1, 3), SEED, points=points)
    for name in ("start", "share", "rest"):
        assert (some[name] == whole[name][1:, points.start : points.stop]).all()


def test_texts_and_refusals() -> None:
    assert str(Antithetic()) == "Antithetic()"
    assert str(Antithetic(Sobol(32))) == "Antithetic(Sobol(n_points=32))"
    assert Antithetic(Sobol(32)) == Antithetic(base=Sobol(32)) != Antithetic(Sobol(64))
    for base, error, message in (
        (Antithetic(), ValueError, "have their negations already; got Antithetic(Antithetic()). Use Antithetic(), or"),
        (Sobol(), ValueError, "Sobol() takes its number of points from the n_evaluations"),
        (Sobol, TypeError, "must be a design, not the class Sobol"),
        (32, TypeError, "the base of Antithetic must satisfy mcgen.Design, such as mcgen.Sobol(32); got 32"),
    ):
        with pytest.raises(error, match=re.escape(message)):
            Antithetic(base)  # type: ignore[arg-type]


def test_the_command_line_names_it() -> None:
    assert design_named("antithetic:sobol:32", None) == Antithetic(Sobol(32))
    assert design_named("antithetic:latin-hypercube:5", None) == Antithetic(LatinHypercube(5))
    assert design_named("antithetic:2", None) == Antithetic()
    with pytest.raises(ValueError, match="a design is one of"):
        design_named("antithetic:sobel:32", None)


def test_what_a_base_has_cost_counts() -> None:
    model = mcgen.as_generator(lambda z: np.exp(z / 4), noise=(8,), name="model")
    mean = mcgen.statistics.pixel_mean
    basis = mcgen.bases.regression_basis(model, mean, 2, n_evaluations=400, seed=0)
    design = Antithetic(Subspace(basis, Sobol(16), MonteCarlo()))
    result = mcgen.estimate(model, mean, design=design, n_evaluations=3200, seed=0)
    assert result.provenance.pilot_evaluations == 400


def test_odd_parts_cancel_and_even_ones_are_integrated() -> None:
    """Neither pairs nor the net alone do both for a statistic that is nearly linear, with a little curvature."""
    model = mcgen.as_generator(lambda z: z + 0.03 * z**2, noise=(8,), name="curved")
    options: dict[str, Any] = {"n_evaluations": 6400, "seed": SEED}
    designs = {"pairs": Antithetic(), "net": Sobol(64), "both": Antithetic(Sobol(32))}
    errors = {
        name: mcgen.estimate(model, mcgen.statistics.pixel_mean, design=design, **options).standard_error
        for name, design in designs.items()
    }
    assert errors["both"] < 0.5 * min(errors["pairs"], errors["net"])


def test_large_bases_that_are_nets_make_nets() -> None:
    spec = NoiseSpec.normal((3, 5))
    assert Antithetic(Sobol(64)).net_dimension(spec) == 15 == net_dimension(Antithetic(Sobol(64)), spec)
    assert Antithetic(Sobol(256)).net_dimension(spec) == 15
    for design in (Antithetic(Sobol(32)), Antithetic(), Antithetic(LatinHypercube(64)), Antithetic(MonteCarlo())):
        assert design.net_dimension(spec) == net_dimension(design, spec) == 0
    # Only what the net is in counts.
    assert net_dimension(Antithetic(Sobol(64)), MIXED) == net_dimension(Sobol(64), MIXED)


def test_few_replicates_of_large_nets_with_negations_have_no_warning() -> None:
    tame = mcgen.as_generator(lambda z: np.tanh(z + 0.2), noise=(8,), name="tame")
    options: dict[str, Any] = {"n_replicates": 12, "seed": SEED}
    with warnings.catch_warnings():
        warnings.simplefilter("error", mcgen.CoverageWarning)
        made = mcgen.estimate(tame, mcgen.statistics.pixel_mean, design=Antithetic(Sobol(64)), **options)
    assert made.warnings == ()
    for design in (Antithetic(Sobol(32)), Antithetic(LatinHypercube(64)), Antithetic()):
        with pytest.warns(mcgen.CoverageWarning, match="12 replicates are few"):
            mcgen.estimate(tame, mcgen.statistics.pixel_mean, design=design, **options)
    # Skewed values need more of them.
    skewed = mcgen.as_generator(
        lambda z: np.exp(1.5 * z.sum(axis=1, keepdims=True) / 8**0.5), noise=(8,), name="skewed"
    )
    with pytest.warns(mcgen.CoverageWarning, match="12 replicates are few"):
        mcgen.estimate(skewed, mcgen.statistics.pixel_mean, design=Antithetic(Sobol(64)), **options)
