r"""Functionals of the paths of diffusion samplers: lengths, actions, and divergences between samplers.

A sampler goes from the state :math:`x_0 \sim N(0, I)` by N steps to the sample :math:`x_N`. Let :math:`a_i` be the
signal's share in state i, :math:`\hat\varepsilon_i` and :math:`\hat x_i` the predicted noise and sample there, and d
the numbers in a state. Step i of DDIM [1]_ draws :math:`x_{i+1} = \mu(x_i) + \sigma_i z_i` with

.. math:: \mu(x_i) = \sqrt{a_{i+1}}\, \hat x_i + \sqrt{1 - a_{i+1} - \sigma_i^2}\, \hat\varepsilon_i.

The forward process :math:`dx = -\tfrac12 g^2 x\, dt + g\, dw` keeps the variance, and
:math:`\int g^2 dt = \ln (a_{i+1} / a_i)` over step i, whatever the units of time. With the score
:math:`s = -\hat\varepsilon / \sqrt{1 - a}`, the functionals are

.. math::

    \text{length} = \frac{1}{\sqrt d} \sum_i \lVert x_{i+1} - x_i \rVert, \qquad
    \text{kinetic} = \sum_i \frac{\lVert x_{i+1} - x_i \rVert^2}{2 \ln(a_{i+1}/a_i)}, \qquad
    \text{Fisher action} = \sum_i \tfrac12 \ln(a_{i+1}/a_i)\, \lVert s(x_i) \rVert^2.

The Fisher action is the cost of the control :math:`u = g\, s`, which takes the place of the noise that the forward
process adds [2]_. For a sampler with fresh noise the density of a path is known. With another sampler's mean
:math:`\mu'`, sums being over the steps with :math:`\sigma_i > 0`,

.. math::

    \text{Onsager-Machlup} = \sum_i \frac{\lVert x_{i+1} - \mu'(x_i) \rVert^2}{2 \sigma_i^2}, \qquad
    \text{action gap} = \sum_i \frac{\lVert \mu(x_i) - \mu'(x_i) \rVert^2}{2 \sigma_i^2}.

The first is the negative log density of the path under the other sampler, up to a constant. The expectation of the
second is the Kullback-Leibler divergence between the laws of the two paths, Girsanov's formula [3]_ in discrete time.

.. rubric:: References

.. [1] J. Song, C. Meng, S. Ermon (2021). Denoising diffusion implicit models. ICLR. Equations (12) and (16).
.. [2] J. Berner, L. Richter, K. Ullrich (2024). An optimal control perspective on diffusion-based generative modeling.
   Transactions on Machine Learning Research. Section 3.
.. [3] B. Øksendal (2003). Stochastic differential equations, 6th edition. Springer. Section 8.6.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from mcgen._lib.arrays import Floats, as_numpy
from mcgen.statistics.path_actions import action_gap, coarse_gap, onsager_machlup
from mcgen.statistics.path_arrays import Path, clock_of, flat, path_of, require_predictions, row_of, steps_of

__all__ = [
    "Path",
    "action_gap",
    "bits_per_dimension",
    "coarse_gap",
    "fisher_action",
    "kinetic",
    "onsager_machlup",
    "path_length",
    "straightness",
]


def path_length(samples: Any) -> Floats:
    """Return the length of each path, the sum of its steps' Euclidean norms, divided by the root of d, shape (n,).

    Any sampler that shows its states has it. With fresh noise it grows with the number of steps.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> model = mcgen.generators.GaussianDiffusion(np.ones(3), np.eye(3) / 4, steps=10)
    >>> paths = mcgen.generators.Paths(model)
    >>> score = mcgen.statistics.stack(mcgen.statistics.paths.path_length, mcgen.statistics.paths.kinetic)
    >>> result = mcgen.estimate(paths, score, design=mcgen.MonteCarlo(), n_evaluations=640, seed=0)
    >>> result.names
    ('path_length', 'kinetic')
    """
    steps = steps_of(path_of(samples, "path_length"))
    lengths: Floats = np.sqrt(np.square(steps).sum(axis=2)).sum(axis=1) / math.sqrt(steps.shape[2])
    return lengths


def straightness(samples: Any) -> Floats:
    """Return the distance from start to end, divided by the path's length, shape (n,): 1 for a straight path.

    Raises
    ------
    ValueError
        If a path has length 0.

    Examples
    --------
    A path along two sides of a right-angled triangle:

    >>> import numpy as np
    >>> from mcgen.statistics import paths
    >>> unknown = np.zeros((1, 0))
    >>> corner = np.array([[[0.0, 0.0], [3.0, 0.0], [3.0, 4.0]]])
    >>> round(float(paths.straightness(paths.Path(corner, unknown, unknown, unknown, unknown))[0]), 4)
    0.7143
    """
    steps = steps_of(path_of(samples, "straightness"))
    lengths = np.sqrt(np.square(steps).sum(axis=2)).sum(axis=1)
    if (lengths == 0).any():
        raise ValueError("straightness: a path has length 0, all its states are equal; use path_length alone")
    return np.asarray(np.sqrt(np.square(steps.sum(axis=1)).sum(axis=1)) / lengths)


def kinetic(samples: Any) -> Floats:
    """Return the kinetic action of each path, shape (n,): its squared steps over twice the noise that a step removes.

    For a deterministic sampler it has a limit as steps grow. Each step with fresh noise adds about d / 2.

    Raises
    ------
    ValueError
        If the sampler's signal shares are not known.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> model = mcgen.generators.GaussianDiffusion(np.ones(3), np.eye(3) / 4, steps=10)
    >>> path = mcgen.generators.Paths(model)(np.zeros((2, 3), np.float32))
    >>> mcgen.statistics.paths.kinetic(path).shape
    (2,)
    """
    path = path_of(samples, "kinetic")
    energy = np.square(steps_of(path)).sum(axis=2)
    return np.asarray((energy / (2 * clock_of(path, "kinetic"))).sum(axis=1))


def fisher_action(samples: Any) -> Floats:
    """Return the cost of the score as a control along each path, shape (n,).

    For an exact score its expectation is half the Fisher information of the states' law, integrated over time.

    Raises
    ------
    ValueError
        If the sampler's signal shares or its predicted noises are not known.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> model = mcgen.generators.GaussianDiffusion(np.ones(3), np.eye(3) / 4, steps=10)
    >>> path = mcgen.generators.Paths(model)(np.zeros((2, 3), np.float32))
    >>> bool((mcgen.statistics.paths.fisher_action(path) > 0).all())
    True
    """
    path = path_of(samples, "fisher_action")
    clock = clock_of(path, "fisher_action")
    require_predictions(path, "fisher_action")
    squares = np.square(flat(path.noises)).sum(axis=2)
    return np.asarray((clock / 2 * squares / (1 - row_of(path.signals)[:-1])).sum(axis=1))


def bits_per_dimension(samples: Any) -> Floats:
    """Return the sum of the terms of a variational bound, shape (n,): for samples of `generators.VariationalBound`.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> model = mcgen.generators.GaussianDiffusion(np.ones(3), np.eye(3) / 4, sampler="ddim", eta=1.0, steps=10)
    >>> bound = mcgen.generators.VariationalBound(model)
    >>> options = dict(design=mcgen.Antithetic(), n_evaluations=640, seed=0, condition=np.ones(3))
    >>> result = mcgen.estimate(bound, mcgen.statistics.paths.bits_per_dimension, **options)
    >>> bool(0 < result.mean < 2)
    True
    """
    terms = as_numpy(samples).astype(np.float64, copy=False) if not isinstance(samples, tuple) else np.empty(0)
    if terms.ndim != 2:
        raise TypeError(
            "bits_per_dimension takes the terms of a bound, an array (n, steps + 1); wrap the model by "
            "mcgen.generators.VariationalBound(model)"
        )
    return np.asarray(terms.sum(axis=1))
