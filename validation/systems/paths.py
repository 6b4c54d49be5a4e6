"""Path functionals: lengths and actions of a network's paths, divergences between samplers, and bounds of digits."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import cache
from typing import Any

import numpy as np

import mcgen
from mcgen.adapters import models
from mcgen.generators import EmpiricalDiffusion, GaussianDiffusion, Paths, VariationalBound
from mcgen.statistics import paths as functionals
from mcgen.validation.problems.affine_paths import AffinePath
from mcgen.validation.systems._base import SEED, Case, System, Table

# Steps of the cases, and of the divergences: few steps leave time for many designs.
_STEPS, _MANY_STEPS = 20, 50
_CLASS = 3
# Samples that the normal laws are fitted to, and the share of their covariance that is replaced.
_FITTED, _SHRINK = 2_000, 0.02
# Leading directions of the noise of the quadratic controls.
_DIRECTIONS = 16
# Held-out digits whose bounds are averaged, and their levels of grey, 0 to 16.
_DIGITS, _LEVELS = 60, 17


def network(steps: int = _STEPS, eta: float = 1.0, **options: Any) -> Any:
    """Return the diffusion model of digits."""
    return models.load("digits-diffusion", steps=steps, eta=eta, **options)


@cache
def states(condition: int | None) -> Any:
    """Return samples of the network as states in [-1, 1]."""
    images = mcgen.sample(network(), _FITTED, seed=SEED, condition=condition)
    return 2 * np.asarray(images, np.float64) - 1


def normal(condition: int | None, steps: int = _STEPS, eta: float = 1.0) -> GaussianDiffusion:
    """Return the sampler of normal data that is fitted to the network's samples."""
    options: dict[str, Any] = {"sampler": "ddim", "steps": steps, "eta": eta, "name": "normal fit"}
    return GaussianDiffusion.fit(states(condition), shrink=_SHRINK, **options)


def bound(model: Any) -> VariationalBound:
    """Return the bound of a model of digits on images in [0, 1]."""
    return VariationalBound(model, encode=_encode, levels=_LEVELS)


def cases() -> list[Case]:
    """Return functionals of deterministic and of ancestral paths, and the bound of one digit."""
    guided = functionals.action_gap(network(guidance_scale=3.0))
    plain = functionals.path_length, functionals.straightness, functionals.kinetic, functionals.fisher_action
    lone = mcgen.statistics.stack(*plain)
    both = mcgen.statistics.stack(*plain[2:], guided, names=("kinetic", "fisher_action", "action gap to guidance 3"))
    digit = models.real_images("digits-diffusion")[0]
    return [
        Case("paths of digits, eta = 0", Paths(network(eta=0.0)), lone, condition=_CLASS),
        Case("paths of digits, eta = 1", Paths(network()), both, condition=_CLASS),
        Case("bound of one digit", bound(network()), functionals.bits_per_dimension, condition=digit),
    ]


def control_table() -> Table:
    """Return the efficiencies of control variates for functionals of paths."""
    rows = []
    for eta in (0.0, 1.0):
        fitted = normal(_CLASS, eta=eta)
        law = AffinePath(fitted)
        parts: list[Any] = [functionals.kinetic, functionals.fisher_action]
        own, exact = list(parts), [law.kinetic(), law.fisher_action()]
        if eta:
            parts.append(functionals.action_gap(network(guidance_scale=3.0)))
            own.append(functionals.action_gap(normal(None)))
            exact.append(law.divergence(AffinePath(normal(None))))
        names = ("kinetic", "fisher_action", "action gap to guidance 3")[: len(parts)]
        score = mcgen.statistics.stack(*parts, names=names)
        surrogate = mcgen.controls.surrogate(Paths(fitted), mcgen.statistics.stack(*own), exact)
        quadratic = mcgen.controls.quadratic(leading(law, _DIRECTIONS))
        ways = [(None, 1), (quadratic, 1), (surrogate, 1), (surrogate, 32)]
        model = Paths(network(eta=eta))
        squares = [_squared_error(model, score, controls, n) for controls, n in ways]
        for j, name in enumerate(score.names):
            rows.append([f"eta = {eta:g}", name, *(_gain(squares[0][j] / one[j]) for one in squares[1:])])
    head = ["model", "mean of", f"quadratic in {_DIRECTIONS} directions", "normal fit", "normal fit, Sobol(32)"]
    return Table(head, rows)


def leading(law: AffinePath, r: int) -> mcgen.bases.Basis:
    """Return the directions of noise in which a normal sampler's sample varies most."""
    directions, d = np.linalg.svd(law.loads[-1], full_matrices=False)[2][:r].T, law.model.mean.size
    blocks = [name for name, _ in law.model.noise.blocks]
    return mcgen.bases.Basis({name: directions[i * d : (i + 1) * d] for i, name in enumerate(blocks)})


def gap_table() -> Table:
    """Return the divergences from the network's law of paths to those of other samplers, in nats."""
    model, rows = network(_MANY_STEPS), []
    guided = [functionals.action_gap(network(_MANY_STEPS, guidance_scale=g)) for g in (1.5, 3.0)]
    coarse = [functionals.coarse_gap(steps) for steps in (25, 10)]
    data = EmpiricalDiffusion(states(None), bandwidth=0.2, eta=1.0, steps=_MANY_STEPS)
    free = [functionals.action_gap(normal(None, _MANY_STEPS)), functionals.action_gap(data)]
    names = {
        _CLASS: ["guidance 1.5", "guidance 3", "25 steps of 50", "10 steps of 50"],
        None: ["normal law, fitted to 2,000 samples", "kernel density of 2,000 samples"],
    }
    for condition, scores in ((_CLASS, [*guided, *coarse]), (None, free)):
        found = mcgen.estimate(
            Paths(model),
            mcgen.statistics.stack(*scores, names=names[condition]),
            condition=condition,
            **_options(mcgen.Sobol(32), 1600),
        )
        for name, mean, half in zip(found.names, np.ravel(found.mean), np.ravel(found.half_width), strict=True):
            rows.append(["any" if condition is None else str(condition), name, f"{mean:.3g} ± {half:.2g}"])
    return Table(["class", "other sampler", "divergence of paths (nats)"], rows)


def bound_table() -> Table:
    """Return bounds on the bits per dimension of held-out digits."""
    digits, rows = [*models.real_images("digits-diffusion")[:_DIGITS]], []
    made: Sequence[tuple[str, Callable[[int], Any]]] = (
        ("digits-diffusion", network),
        ("normal law, fitted to its samples", lambda steps: normal(None, steps)),
    )
    for name, make in made:
        cells = []
        for steps in (10, 20, 50):
            found = mcgen.estimate(
                bound(make(steps)),
                functionals.bits_per_dimension,
                design=mcgen.Antithetic(),
                n_replicates=2,
                condition=digits,
                across="population",
                seed=SEED,
            )
            cells.append(f"{float(found.mean):.2f} ± {float(found.half_width):.2f}")
        rows.append([name, *cells])
    return Table(["model", "10 steps", "20 steps", "50 steps"], rows)


def _encode(images: Any) -> Any:
    return 2 * images - 1


def _options(design: Any, n: int) -> dict[str, Any]:
    return {"design": design, "n_evaluations": n, "seed": SEED}


def _gain(x: float) -> str:
    """Return two digits of a gain, without an exponent."""
    return f"{float(f'{x:.2g}'):,g}"


def _squared_error(model: Paths, score: Any, controls: Any, n_points: int) -> Any:
    """Return the squared half-width of each component."""
    design = mcgen.MonteCarlo() if n_points == 1 else mcgen.Sobol(n_points)
    found = mcgen.estimate(model, score, condition=_CLASS, controls=controls, **_options(design, 3200))
    return np.square(found.half_width)


SYSTEM = System(
    "paths",
    cases,
    {
        "controls of path functionals": control_table,
        "divergences of paths": gap_table,
        "bounds of digits": bound_table,
    },
)
