"""The functions that turn given noise into the outcome of each random operation of torch.

There are three kinds of operations:

- Steered: designs act on the noise. The outcome is normal noise, or the inverse distribution function at uniform noise
  u, which increases with u.
- Replayed: integers, masks and categories. They are made from uniform noise that is independent whatever the design,
  since a negated mask or a stratified category means nothing.
- Refused by name: every operation that is not listed in `KINDS`.
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

# Most values of an integer or a category. Noise in single precision has 23 bits, so that the probability of each of
# 2**16 values is right to 1 %.
_WIDEST_RANGE = 2**16
# Below this gamma quantile the leading term of the distribution function is used, since float64 ends at 1e-308.
_TINY = 1e-200

Arguments = Mapping[str, Any]
"""The arguments of an operation by their names in its schema, defaults included."""
Outcome = Callable[[torch.Tensor, Arguments], Any]
"""Maps noise shaped like the draw, and the operation's arguments, to what the operation returns."""


@dataclass(frozen=True)
class Kind:
    """A kind of draw: the law of its noise and the function that makes the outcome from it.

    Attributes
    ----------
    law : {"normal", "uniform"}
        The law of the noise.
    iid : bool
        Whether the noise is independent whatever the design.
    outcome : callable
        See `Outcome`.
    family : str
        Operations of one family make the same standard numbers from the same state of the random generator.
    settings : tuple of str
        Names of arguments that must be equal too for two operations to make the same standard numbers.
    smooth : bool
        Whether gradients with respect to the noise can be computed.
    """

    law: Law
    iid: bool
    outcome: Outcome
    family: str
    settings: tuple[str, ...] = ()
    smooth: bool = True


def draws_nothing(operation: str, a: Arguments) -> bool:
    """Return True for a random operation that draws nothing: attention without dropout, layers in evaluation mode."""
    if operation in _NEVER_DRAW:
        return True
    if "dropout_p" in a:
        return bool(a["dropout_p"] == 0.0)
    if operation.startswith("rrelu_with_noise"):
        return not a["training"]
    if operation in _RECURRENT:
        return not a["train"] or a["dropout"] == 0.0
    # Where train is None, torch drops too.
    return operation == "native_dropout" and a["train"] is False


# Torch tags these operations as random, but they use no random number.
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
            f"the bounds {low} and {high}. Give both bounds, closer to each other, or draw it outside the sampler"
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
            f"the sampler draws multinomial with num_samples={number} and replacement=False; the categories exclude "
            "each other, so that none is a fixed function of one uniform number. Draw one category a row, draw with "
            "replacement=True, or draw outside the sampler"
        )
    if weights.shape[-1] > _WIDEST_RANGE:
        raise ValueError(
            f"multinomial is made from noise of 23 bits, for at most {_WIDEST_RANGE:,} categories; got "
            f"{weights.shape[-1]:,}. Draw it outside the sampler"
        )
    reached = weights.double().cumsum(-1)
    # The search from the right never returns a category of weight 0.
    return torch.searchsorted(reached, (u.double() * reached[..., -1:]).contiguous(), right=True)


def _inverse(function: Callable[..., Any], u: torch.Tensor, *parameters: torch.Tensor) -> torch.Tensor:
    """Return function(u, *parameters), computed by numpy in float64, as a tensor on the device of u."""
    arrays = [tensor.detach().to(device="cpu", dtype=torch.float64).numpy() for tensor in (u, *parameters)]
    return torch.from_numpy(np.asarray(function(*arrays))).to(u.device)


def _gamma(u: torch.Tensor, a: Arguments) -> torch.Tensor:
    shape = a["self"]
    values = _inverse(lambda p, k: special.gammaincinv(k, p), u, shape)
    # As in torch, no gamma number is 0.
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
        # Dirichlet shares are independent gamma numbers divided by their sum.
        values = _inverse(_log_gamma_quantile, u, shapes).softmax(dim=-1)
    # As in torch, no share is 0 or 1.
    limits = torch.finfo(shapes.dtype)
    return values.clamp(min=limits.tiny, max=1 - limits.eps / 2)


def _least(quantile: Any, distribution: Callable[[Any], Any], p: Any) -> Any:
    """Return the least integer at which a distribution function reaches p, given its real-valued quantile."""
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
        # For shares of 0 and 1, where the number is constant, scipy's quantile is NaN.
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
"""The kind of each operation by the operation's name."""


def kind_of(operation: str) -> Kind | None:
    """Return the kind of an operation; None where its outcome can't be made from noise."""
    # exponential, for example, is exponential_ out of place.
    return KINDS.get(operation, KINDS.get(f"{operation}_"))
