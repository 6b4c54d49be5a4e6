r"""Operators that combine the densities of several models at one noise level.

With log densities :math:`l_i = \log q_i(x, t)` and scores :math:`s_i`, an operator f has the log density and the score

.. math:: l = f(l_1, \dots, l_k), \qquad s = \sum_i \frac{\partial f}{\partial l_i}\, s_i.

The operators are [1]_ [2]_

.. math::

    \text{product: } \sum_i w_i l_i, \qquad
    \text{mixture: } \log \sum_i w_i e^{l_i}, \qquad
    \text{negation: } l_1 + w\,(l_2 - l_3).

A product needs no log densities for its score. Classifier-free guidance is a product with the weights w of the
conditional and 1 - w of the unconditional model.

.. rubric:: References

.. [1] Y. Du, C. Durkan, R. Strudel, J. B. Tenenbaum, S. Dieleman, R. Fergus, J. Sohl-Dickstein, A. Doucet,
   W. Grathwohl (2023). Reduce, reuse, recycle: compositional generation with energy-based diffusion models and MCMC.
   ICML. Section 3.
.. [2] N. Liu, S. Li, Y. Du, A. Torralba, J. B. Tenenbaum (2022). Compositional visual generation with composable
   diffusion models. ECCV. Section 4.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from mcgen._lib.checks import checked_real

Combine = Callable[[torch.Tensor], torch.Tensor]
"""Maps log densities (parts, n) to log densities (n,)."""
NAMES = ("product", "mixture", "negation")


@dataclass(frozen=True)
class Linear:
    """A weighted sum of log densities: products and negations.

    Attributes
    ----------
    weights : tuple of float
        The weight of each part.
    """

    weights: tuple[float, ...]
    needs_densities = False

    def combined(self, densities: torch.Tensor) -> torch.Tensor:
        """Return the log densities (n,) for those of the parts (parts, n)."""
        return (densities.new_tensor(self.weights)[:, None] * densities).sum(0)

    def slopes(self, densities: torch.Tensor | None) -> Sequence[Any]:
        """Return the derivative with respect to each part's log density."""
        return self.weights

    @property
    def total(self) -> float:
        """The sum of the derivatives."""
        return math.fsum(self.weights)


@dataclass(frozen=True)
class Nonlinear:
    """A function of log densities: mixtures, and functions that a user gives.

    Attributes
    ----------
    combine : callable
        Maps log densities (parts, n) to log densities (n,).
    n_parts : int
        Number of parts.
    """

    combine: Combine
    n_parts: int
    needs_densities = True

    def combined(self, densities: torch.Tensor) -> torch.Tensor:
        """Return the log densities (n,) for those of the parts (parts, n)."""
        found = self.combine(densities)
        if not isinstance(found, torch.Tensor) or found.shape != densities.shape[1:]:
            got = tuple(found.shape) if isinstance(found, torch.Tensor) else type(found).__name__
            raise ValueError(
                f"operator must map log densities {tuple(densities.shape)}, a row for each part, to one for each "
                f"state, {tuple(densities.shape[1:])}; got {got}. Reduce the first axis, as l.logsumexp(0) does"
            )
        return found

    def slopes(self, densities: torch.Tensor | None) -> Sequence[Any]:
        """Return the derivatives with respect to the parts' log densities, shape (parts, n)."""
        assert densities is not None
        differentiable = densities.requires_grad
        with torch.enable_grad():
            densities = densities if differentiable else densities.detach().requires_grad_()
            total = self.combined(densities).sum()
            if not total.requires_grad:
                raise ValueError(
                    "operator must be a differentiable function of the log densities; what it returned carries no "
                    "gradient. Compute it from them by torch operations"
                )
            return torch.autograd.grad(total, densities, create_graph=differentiable)[0]  # type: ignore[return-value]

    @property
    def total(self) -> float:
        """The sum of the derivatives where all parts have the same density."""
        return float(sum(self.slopes(torch.zeros(self.n_parts, 1))))


@dataclass(frozen=True)
class LogSum:
    """The log of a weighted sum of densities, as a function of log densities (parts, n).

    Attributes
    ----------
    weights : tuple of float
        The weights, all positive.
    """

    weights: tuple[float, ...]

    def __call__(self, densities: torch.Tensor) -> torch.Tensor:
        """Return the log densities (n,) of the mixture."""
        logs = densities.new_tensor(self.weights).log()
        return torch.logsumexp(densities + logs[:, None], dim=0)


def operator_of(operator: Any, weights: Any, n_parts: int) -> Linear | Nonlinear:
    """Return the operator that a name or a function stands for.

    Raises
    ------
    TypeError
        If it is neither a name nor a function, or a function is given weights.
    ValueError
        If there is no such name, the number of parts or weights does not fit, or the weights are out of range.
    """
    if callable(operator):
        if weights is not None:
            raise TypeError(f"an operator that is a function takes no weights; got {weights!r}. Put them into it")
        made: Linear | Nonlinear = Nonlinear(operator, n_parts)
    elif operator == "negation":
        made = Linear(_negated(weights, n_parts))
    elif operator in NAMES:
        given = _checked_weights(np.ones(n_parts) if weights is None else weights, n_parts)
        if operator == "mixture" and min(given) <= 0:
            raise ValueError(f"the weights of a mixture must be positive; got {given}. Leave out a part of weight 0")
        made = Nonlinear(LogSum(given), n_parts) if operator == "mixture" else Linear(given)
    else:
        raise ValueError(f"operator must be one of {NAMES}, or a function of log densities; got {operator!r}")
    if not made.total > 0:
        raise ValueError(
            f"the weights must add up to more than 0, since at the highest noise level the composed density is "
            f"proportional to exp(-total |x|^2 / 2); they add up to {made.total:g}. Raise the positive weights"
        )
    return made


def _negated(weight: Any, n_parts: int) -> tuple[float, ...]:
    if n_parts != 3:
        raise ValueError(
            f"negation takes three parts: the model, what is wanted more, what is wanted less; got {n_parts}. For "
            "guidance of q_1 over q_2 give (q_2, q_1, q_2), or a product with the weights (w, 1 - w)"
        )
    w = checked_real("weights of a negation", 1.0 if weight is None else weight)
    return 1.0, w, -w


def _checked_weights(weights: Any, n_parts: int) -> tuple[float, ...]:
    """Return one finite weight for each part."""
    if np.ndim(weights) != 1 or len(weights) != n_parts:
        raise ValueError(f"weights must be {n_parts} numbers, one for each part; got {weights!r}")
    return tuple(checked_real("each of weights", one) for one in np.asarray(weights).tolist())
