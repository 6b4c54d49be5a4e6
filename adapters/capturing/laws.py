"""How the outcome of each random operation of torch is made from given noise.

Each operation is one of three:

- steered: normal noise, and what increases with uniform noise u, by the inverse of its distribution function;
- replayed: integers, masks and categories, made from uniform noise that is independent whatever the design, since a
  negated mask or a stratified category means nothing;
- refused by name: everything that is not listed in `KINDS`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from scipy import special

from mcgen.noise import Law

# The most values that noise in single precision, which has 23 bits, makes without a bias that shows.
_WIDEST_RANGE = 2**16
# Below this a gamma quantile is computed from the leading term of its distribution function, as float64 ends at 1e-308.
_TINY = 1e-200

Arguments = Mapping[str, Any]
"""The arguments of an operation by the names of its schema, with defaults."""
Outcome = Callable[[torch.Tensor, Arguments], Any]
"""From noise shaped like the draw, and the operation's arguments, to what the operation returns."""


@dataclass(frozen=True)
class Kind:
    """How a draw is made from noise.

    Attributes
    ----------
    law : {"normal", "uniform"}
        Law of the noise.
    iid : bool
        Whether designs leave the noise independent.
    outcome : callable
        See `Outcome`.
    family : str
        Operations of one family make the same standard numbers from one state of the random generator.
    settings : tuple of str
        Arguments that must be equal too, for two operations to make the same standard numbers.
    smooth : bool
        Whether gradients by the noise can be computed.
    """

    law: Law
    iid: bool
    outcome: Outcome
    family: str
    settings: tuple[str, ...] = ()
    smooth: bool = True


def draws_nothing(operation: str, a: Arguments) -> bool:
    """Tell whether an operation that could draw does not: attention without dropout, layers in evaluation mode."""
    if operation in _NEVER_DRAW:
        return True
    if "dropout_p" in a:
        return bool(a["dropout_p"] == 0.0)
    if operation.startswith("rrelu_with_noise"):
        return not a["training"]
    if operation in _RECURRENT:
        return not a["train"] or a["dropout"] == 0.0
    # Without a word on training it drops.
    return operation == "native_dropout" and a["train"] is False


# Torch tags these as random, though they take no random number.
_NEVER_DRAW = frozenset(
    ["_fused_sdp_choice", "_flash_attention_forward_no_dropout_inplace", "_nested_tensor_softmax_with_shape"]
)
_RECURRENT = frozenset(["_cudnn_rnn", "miopen_rnn", "_lstm_mps"])


def _standard(noise: torch.Tensor, a: Arguments) -> torch.Tensor:
    return noise


def _normal(z: torch.Tensor, a: Arguments) -> torch.Tensor:
    mean, std = a["mean"], a["std"]
    if not isinstance(mean, torch.Tensor) and not isinstance(std, torch.Tensor) and (mean, std) == (0.0, 1.0):
        return z
    values: torch.Tensor = z * std + mean
    return values


def _uniform(u: torch.Tensor, a: Arguments) -> torch.Tensor:
    low, high = a["from"], a["to"]
    return u if (low, high) == (0.0, 1.0) else low + (high - low) * u


def _numbers(u: torch.Tensor, a: Arguments) -> torch.Tensor:
    low, high = a.get("low", a.get("from", 0)), a.get("high", a.get("to"))
    if low is None or high is None or high - low > _WIDEST_RANGE:
        raise ValueError(
            f"an integer draw is made from noise of 23 bits, between two bounds at most {_WIDEST_RANGE:,} apart; got "
            f"the bounds {low} and {high}. Give both, nearer to each other, or draw it outside the sampler"
        )
    values: torch.Tensor = low + (u.double() * (high - low)).floor()
    return values


def _bernoulli(u: torch.Tensor, a: Arguments) -> torch.Tensor:
    values: torch.Tensor = u < a.get("p", a["self"])
    return values


def _exponential(u: torch.Tensor, a: Arguments) -> torch.Tensor:
    values: torch.Tensor = -torch.log(u) / a["lambd"]
    return values


def _log_normal(z: torch.Tensor, a: Arguments) -> torch.Tensor:
    return torch.exp(z * a["std"] + a["mean"])


def _cauchy(u: torch.Tensor, a: Arguments) -> torch.Tensor:
    values: torch.Tensor = a["median"] + a["sigma"] * torch.tan(math.pi * (u - 0.5))
    return values


def _geometric(u: torch.Tensor, a: Arguments) -> torch.Tensor:
    return torch.ceil(torch.log(u) / math.log1p(-a["p"]))


def _dropout(u: torch.Tensor, a: Arguments) -> tuple[torch.Tensor, torch.Tensor]:
    x, share = a["input"], a["p"]
    kept = u < 1 - share
    return x * kept / (1 - share) if share < 1 else torch.zeros_like(x), kept


def _multinomial(u: torch.Tensor, a: Arguments) -> torch.Tensor:
    weights, number, replacement = a["self"], a["num_samples"], a["replacement"]
    if number > 1 and not replacement:
        raise ValueError(
            f"multinomial with num_samples={number} and replacement=False draws categories that exclude each other, "
            "which is no fixed function of a uniform number each; got such a draw. Draw one a row, draw with "
            "replacement=True, or draw it outside the sampler"
        )
    if weights.shape[-1] > _WIDEST_RANGE:
        raise ValueError(
            f"multinomial is made from noise of 23 bits, for at most {_WIDEST_RANGE:,} categories; got "
            f"{weights.shape[-1]:,}. Draw it outside the sampler"
        )
    reached = weights.double().cumsum(-1)
    # From the right: categories of weight 0 are never taken.
    return torch.searchsorted(reached, (u.double() * reached[..., -1:]).contiguous(), right=True)


def _inverse(function: Callable[..., Any], u: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
    """Return function(u, *parameters), which works on float64 arrays of numpy, as a tensor beside u."""
    arrays = [tensor.detach().to(device="cpu", dtype=torch.float64).numpy() for tensor in (u, *parameters)]
    return torch.from_numpy(np.asarray(function(*arrays))).to(u.device)


def _gamma(u: torch.Tensor, a: Arguments) -> torch.Tensor:
    shape = a["self"]
    values = _inverse(lambda p, k: special.gammaincinv(k, p), u, shape)
    # As torch does: no gamma number is 0.
    return values.clamp(min=torch.finfo(shape.dtype).tiny)


def _log_gamma_quantile(p: Any, k: Any) -> Any:
    values = special.gammaincinv(k, p)
    # P(k, x) is x^k / Gamma(k + 1) to first order in x.
    leading = (np.log(p) + special.gammaln(k + 1)) / k
    return np.where(values < _TINY, leading, np.log(np.maximum(values, _TINY)))


def _dirichlet(u: torch.Tensor, a: Arguments) -> torch.Tensor:
    shapes = a["self"]
    if shapes.shape[-1] == 2:
        first = _inverse(lambda p, k, m: special.betaincinv(k, m, p), u[..., 0], shapes[..., 0], shapes[..., 1])
        values = torch.stack([first, 1 - first], dim=-1)
    else:
        # Independent gamma numbers over their sum.
        values = _inverse(_log_gamma_quantile, u, shapes).softmax(dim=-1)
    # As torch does: no share is 0 or 1.
    limits = torch.finfo(shapes.dtype)
    return values.clamp(min=limits.tiny, max=1 - limits.eps / 2)


def _least(quantile: Any, distribution: Callable[[Any], Any], p: Any) -> Any:
    """Return the least integer at which a distribution function reaches p, near a quantile of real numbers."""
    upper = np.ceil(np.nan_to_num(quantile))
    lower = np.maximum(upper - 1, 0)
    return np.where(distribution(lower) >= p, lower, upper)


def _poisson(u: torch.Tensor, a: Arguments) -> torch.Tensor:
    def quantile(p: Any, rate: Any) -> Any:
        return _least(special.pdtrik(p, rate), lambda k: special.pdtr(k, rate), p)

    return _inverse(quantile, u, a["self"])


def _binomial(u: torch.Tensor, a: Arguments) -> torch.Tensor:
    def quantile(p: Any, count: Any, share: Any) -> Any:
        whole = count.astype(np.int64)
        found = _least(special.bdtrik(p, count, share), lambda k: special.bdtr(k, whole, share), p)
        # The quantile of a constant is not a number.
        return np.where(share <= 0, 0, np.where(share >= 1, count, np.minimum(found, count)))

    return _inverse(quantile, u, a["count"], a["prob"])


_BOUNDS = ("low", "high", "from", "to")

KINDS: dict[str, Kind] = {
    "randn": Kind("normal", False, _standard, "normal"),
    "randn_like": Kind("normal", False, _standard, "normal"),
    "normal_": Kind("normal", False, _normal, "normal"),
    "normal": Kind("normal", False, _normal, "normal"),
    "rand": Kind("uniform", False, _standard, "uniform"),
    "rand_like": Kind("uniform", False, _standard, "uniform"),
    "uniform_": Kind("uniform", False, _uniform, "uniform"),
    "exponential_": Kind("uniform", False, _exponential, "exponential", ("lambd",)),
    "log_normal_": Kind("normal", False, _log_normal, "log_normal", ("mean", "std")),
    "cauchy_": Kind("uniform", False, _cauchy, "cauchy", ("median", "sigma")),
    "_standard_gamma": Kind("uniform", False, _gamma, "gamma", ("self",), smooth=False),
    "_sample_dirichlet": Kind("uniform", False, _dirichlet, "dirichlet", ("self",), smooth=False),
    "poisson": Kind("uniform", False, _poisson, "poisson", ("self",), smooth=False),
    "binomial": Kind("uniform", False, _binomial, "binomial", ("count", "prob"), smooth=False),
    "randint": Kind("uniform", True, _numbers, "integers", _BOUNDS),
    "randint_like": Kind("uniform", True, _numbers, "integers", _BOUNDS),
    "random_": Kind("uniform", True, _numbers, "random_", _BOUNDS),
    "geometric_": Kind("uniform", True, _geometric, "geometric", ("p",)),
    "native_dropout": Kind("uniform", True, _dropout, "native_dropout", ("p",)),
    "bernoulli": Kind("uniform", True, _bernoulli, "bernoulli", ("self", "p")),
    "bernoulli_": Kind("uniform", True, _bernoulli, "bernoulli_", ("p",)),
    "multinomial": Kind("uniform", True, _multinomial, "multinomial", ("self", "num_samples", "replacement")),
}
"""By the name of the operation."""


def kind_of(operation: str) -> Kind | None:
    """Return how an operation's outcome is made from noise, None where it can't be."""
    # exponential and its like do out of place what exponential_ does.
    return KINDS.get(operation, KINDS.get(f"{operation}_"))
