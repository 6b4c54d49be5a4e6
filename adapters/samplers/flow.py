r"""Flows as generators: velocity fields that are integrated in time, and normalizing flows that are inverted.

A velocity field moves noise :math:`x(0) = z \sim N(0, I)` to a sample :math:`x(1)`, equation (1) of [1]_,

.. math:: \frac{dx}{dt} = v(x, t),

where :math:`v` was trained by flow matching [1]_ or as a rectified flow [2]_ to predict :math:`x_1 - z` from
:math:`x_t = (1 - t) z + t x_1`. `Flow` integrates it by a fixed number of explicit Runge-Kutta steps [3]_ of length h,

.. math:: k_i = v\Bigl(x + h \sum_{j < i} a_{ij} k_j,\; t + h \sum_{j < i} a_{ij}\Bigr), \qquad
    x(t + h) = x + h \sum_i b_i k_i.

A normalizing flow [4]_ has an invertible transform f with :math:`f(x) = \mu + \sigma z`, so that
:math:`x = f^{-1}(\mu + \sigma z)`.

.. rubric:: References

.. [1] Y. Lipman, R. T. Q. Chen, H. Ben-Hamu, M. Nickel, M. Le (2023). Flow matching for generative modeling. ICLR.
.. [2] X. Liu, C. Gong, Q. Liu (2023). Flow straight and fast: learning to generate and transfer data with rectified
   flow. ICLR.
.. [3] E. Hairer, S. P. Nørsett, G. Wanner (1993). Solving ordinary differential equations I. Springer. Section II.1.
.. [4] G. Papamakarios, E. Nalisnick, D. J. Rezende, S. Mohamed, B. Lakshminarayanan (2021). Normalizing flows for
   probabilistic modeling and inference. Journal of Machine Learning Research 22. Equation (1).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, Self, get_args

import numpy as np
import torch
from numpy.typing import NDArray

from mcgen.adapters.samplers.paths import Decode, Modules, Network, PathGenerator, time_grid
from mcgen.adapters.tensors.torch_generator import TensorNoise, TorchGenerator
from mcgen.noise import NoiseSpec

Method = Literal["euler", "midpoint", "heun", "rk4"]

# The coefficients a (rows) and b (weights) of each method, in the notation of the module.
_TABLEAUS: dict[str, tuple[tuple[tuple[float, ...], ...], tuple[float, ...]]] = {
    "euler": (((),), (1.0,)),
    "midpoint": (((), (1 / 2,)), (0.0, 1.0)),
    "heun": (((), (1.0,)), (1 / 2, 1 / 2)),
    "rk4": (((), (1 / 2,), (0.0, 1 / 2), (0.0, 0.0, 1.0)), (1 / 6, 1 / 3, 1 / 3, 1 / 6)),
}


class Flow(PathGenerator):
    """A velocity field as a generator, integrated from noise at time 0 to a sample at time 1 by fixed steps.

    Use it for models trained by flow matching, and for rectified flows.

    Parameters
    ----------
    velocity : callable
        ``velocity(x, time, condition)`` returns dx/dt (n, ...), for x of shape (n, ...) and time of shape (n,) in
        [0, 1].
    shape : tuple of int
        Shape of one sample's state, which is also the shape of its noise.
    steps : int or sequence of float
        Number of steps of equal length, or the times themselves, increasing from 0 to 1.
    method : {"euler", "midpoint", "heun", "rk4"}
        The Runge-Kutta method. The orders are 1, 2, 2 and 4, the evaluations of the velocity per step 1, 2, 2 and 4.
    decode : callable, optional
        Maps the last state to samples: from [-1, 1] to images in [0, 1], or a decoder of latents.
    modules : torch.nn.Module or iterable of them
        Networks that `decode` runs, and `velocity` if it is not a module itself. They must be in evaluation mode.
    name : str, optional
        The generator's name in results.
    device : torch.device or str, optional
        The device of the noise, by default the device of the modules.
    dtype : torch.dtype, optional
        The type that the velocity receives, by default the type of the modules. States are in float32 or better.

    Attributes
    ----------
    times : ndarray of float
        The times from 0 to 1, steps + 1 of them.

    Raises
    ------
    ValueError
        If the method is not one of these. Adaptive methods choose a step by the error over the whole batch. A sample
        would then depend on the other samples of its batch, and intervals would not cover.

    Examples
    --------
    >>> import numpy as np
    >>> from mcgen.adapters import Flow
    >>> flow = Flow(lambda x, time, condition: 2.0 - x, (3,), steps=20, method="rk4", name="toy")
    >>> flow(np.zeros((1, 3), np.float32))
    tensor([[1.2642, 1.2642, 1.2642]])
    """

    shows_predictions = True
    prediction_names = ("velocity",)

    def __init__(
        self,
        velocity: Network,
        shape: tuple[int, ...],
        *,
        steps: int | Sequence[float] = 50,
        method: Method = "midpoint",
        decode: Decode | None = None,
        modules: Modules = (),
        name: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        if method not in _TABLEAUS:
            raise ValueError(
                f"method must be one of {get_args(Method)}, whose steps are fixed; got {method!r}. An adaptive method "
                "chooses its steps by an error over the whole batch, so that samples depend on each other and an "
                "interval would not cover: use 'rk4' with more steps"
            )
        self.velocity, self.method, self.times = velocity, method, time_grid(steps)
        self.steps = len(self.times) - 1
        super().__init__(
            {"velocity": velocity},
            NoiseSpec.normal(shape),
            label=f"flow {method}-{self.steps}",
            decode=decode,
            device=device,
            dtype=dtype,
            modules=modules,
            name=name,
        )

    @property
    def network_evaluations(self) -> int:
        """Evaluations of the velocity per sample: 1, 2, 2 or 4 for each step, depending on the method."""
        return self.steps * len(_TABLEAUS[self.method][1])

    @property
    def scales(self) -> NDArray[np.float64]:
        """Scales of the signal and of the noise in each state, t and 1 - t, shape (2, steps + 1)."""
        return np.stack([self.times, 1 - self.times])

    def predict(self, x: torch.Tensor, i: int, condition: object = None) -> torch.Tensor:
        """Return the velocity (n, ...) for states `x` (n, ...) at step i."""
        return self.ask("velocity", self.velocity, x, float(self.times[i]), condition)

    def with_steps(self, steps: int) -> Self:
        """Return the same model with another number of steps, evenly spaced, on the same noise."""
        options = self._options() | {"method": self.method, "name": self._name_with(steps)}
        return type(self)(self.velocity, self.shape, steps=steps, **options)

    def states(self, noise: TensorNoise, condition: object = None) -> Iterator[torch.Tensor]:
        """Yield the states (n, ...) from the noise to the last one, steps + 1 in all."""
        assert isinstance(noise, torch.Tensor)
        return self.reverse(noise, noise, condition)

    def reverse(
        self, x: torch.Tensor, noise: TensorNoise, condition: object = None, *, first: int = 0
    ) -> Iterator[torch.Tensor]:
        """Yield the states from `x`, the state at step number `first`, to the last one; flows have no fresh noise."""
        return (shown["state"] for shown in self._observed_from(x, condition, first))

    @property
    def signal_shares(self) -> NDArray[np.float64]:
        """The signal's share of the squared scales of each state, shape (steps + 1,)."""
        signal, noise = self.scales**2
        return np.asarray(signal / (signal + noise))

    def _observed(self, noise: TensorNoise, condition: object) -> Iterator[dict[str, torch.Tensor]]:
        assert isinstance(noise, torch.Tensor)
        return self._observed_from(noise, condition, 0)

    def _observed_from(self, x: torch.Tensor, condition: object, first: int) -> Iterator[dict[str, torch.Tensor]]:
        for i in range(first, self.steps):
            velocity = self.predict(x, i, condition)
            yield {"state": x, "velocity": velocity}
            x = self._step(x, i, velocity, condition)
        yield {"state": x}

    def _predictions(self, x: torch.Tensor, i: int, condition: object) -> dict[str, torch.Tensor]:
        return {"velocity": self.predict(x, i, condition)}

    def _step(self, x: torch.Tensor, i: int, first: torch.Tensor, condition: object) -> torch.Tensor:
        """Return the state at step i + 1 from that at step i, whose velocity is the first slope of each method."""
        rows, weights = _TABLEAUS[self.method]
        t, h = float(self.times[i]), float(self.times[i + 1] - self.times[i])
        slopes = [first]
        for row in rows[1:]:
            slopes.append(self.ask("velocity", self.velocity, _moved(x, h, row, slopes), t + h * sum(row), condition))
        return _moved(x, h, weights, slopes)


def from_zuko(
    flow: Any, *, context: Callable[[Any], torch.Tensor] | None = None, name: str | None = None
) -> TorchGenerator:
    """Return a normalizing flow of zuko as a generator. Its noise is the flow's normal base in standardized form.

    Parameters
    ----------
    flow : zuko.lazy.Flow
        A flow whose base is made of independent normals; their means and scales may be learnt.
    context : callable, optional
        Maps the condition to the flow's context, a tensor of shape (k,) or (n, k). By default the context is the
        condition.
    name : str, optional
        The generator's name in results.

    Raises
    ------
    TypeError
        If it is not a flow of zuko.
    ValueError
        If its base is not normal, or if it is integrated by adaptive steps (zuko.flows.CNF).

    Examples
    --------
    A flow of 3 numbers under a context of 2 numbers:

    >>> import numpy as np
    >>> import zuko
    >>> from mcgen.adapters import from_zuko
    >>> generator = from_zuko(zuko.flows.NSF(3, context=2).eval())
    >>> generator
    TorchGenerator(NSF, noise=normal(3) float32)
    >>> generator(np.zeros((4, 3), np.float32), np.float32([0.5, -1.0])).shape
    torch.Size([4, 3])
    """
    if not isinstance(getattr(flow, "transform", None), torch.nn.Module) or not hasattr(flow, "base"):
        raise TypeError(f"from_zuko takes a flow of zuko, with a transform and a base; got {type(flow).__name__}")
    if any(type(module).__name__ == "FFJTransform" for module in flow.modules()):
        raise ValueError(
            f"{type(flow).__name__} is integrated by adaptive steps, chosen by an error over the whole batch, so that "
            "samples depend on each other and an interval would not cover; give its field to Flow: "
            "Flow(lambda x, t, c: -flow.transform.f(1 - t, x, c), shape, method='rk4', modules=[flow])"
        )

    def sample(noise: torch.Tensor, condition: object = None) -> torch.Tensor:
        given = condition if context is None or condition is None else context(condition)
        # A context of another type, such as a numpy array, becomes a tensor on the device of the noise.
        c = None if given is None else torch.as_tensor(given, device=noise.device, dtype=noise.dtype)
        base = _normal_base(flow)
        x: torch.Tensor = flow.transform(c).inv(base.loc + base.scale * noise)
        return x

    return TorchGenerator(sample, tuple(_normal_base(flow).loc.shape), modules=[flow], name=name or type(flow).__name__)


def _moved(x: torch.Tensor, h: float, weights: tuple[float, ...], slopes: list[torch.Tensor]) -> torch.Tensor:
    for weight, slope in zip(weights, slopes, strict=True):
        x = x + h * weight * slope if weight else x
    return x


def _normal_base(flow: Any) -> torch.distributions.Normal:
    """Return the independent normals that are the base of a flow of zuko."""
    base = flow.base(None)
    law = base
    while isinstance(law, torch.distributions.Independent):
        law = law.base_dist
    if not isinstance(law, torch.distributions.Normal):
        raise ValueError(
            f"the base of {type(flow).__name__} is {type(base).__name__}; only normal bases (zuko.distributions."
            "DiagNormal) are allowed, which are standard normal noise scaled and shifted. For another base write the "
            "map from noise yourself and give it to from_torch"
        )
    return law
