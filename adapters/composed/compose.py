r"""Composition of diffusion models by annealed Markov chains, in which every draw is a block of noise.

Let :math:`q_{i,t}` be the density of model i at the noise level t, and :math:`q_t` their product, mixture or negation;
`mcgen.adapters.composed.operators` has the formulas. The product of noised densities is not the density of noised
samples of the product. So the reverse process with the summed score is biased, however many steps it has [1]_. A Markov
chain needs the density of one level only. The sampler goes down the levels, and makes some moves of a chain with the
law :math:`q_t` at each. Its law tends to :math:`q_0` with the number of moves.

Between two levels, a to b, the sampler makes one step of DDIM with the mean prediction. With the total weight W and the
score s of the composed density these are

.. math::

    \hat\varepsilon = -\frac{\sqrt{1 - \bar\alpha_a}}{W}\, s, \qquad
    \hat x_0 = \frac{x - \sqrt{1 - \bar\alpha_a}\, \hat\varepsilon}{\sqrt{\bar\alpha_a}}, \qquad
    x' = \sqrt{\bar\alpha_b}\, \hat x_0 + \sqrt{1 - \bar\alpha_b}\, \hat\varepsilon .

At the highest level the composed law is :math:`N(0, I / W)`, from which the chain starts. The moves only need to
correct what the step leaves.

The local width of a density at the level is about :math:`r_t = \sqrt{\bar\alpha_t r^2 + 1 - \bar\alpha_t}` for data of
the local width r (`width`). A Langevin move has the step :math:`h = c\, r_t^2`, a leapfrog step the length
:math:`c\, r_t`, with c the `step_size`. `mcgen.adapters.composed.moves` has the moves.

.. rubric:: References

.. [1] Y. Du, C. Durkan, R. Strudel, J. B. Tenenbaum, S. Dieleman, R. Fergus, J. Sohl-Dickstein, A. Doucet,
   W. Grathwohl (2023). Reduce, reuse, recycle: compositional generation with energy-based diffusion models and MCMC.
   ICML. Sections 3 to 5.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal, NoReturn, Self, get_args

import numpy as np
import torch

from mcgen._lib.checks import checked_flag, checked_integer, checked_real
from mcgen._lib.names import name_of
from mcgen.adapters.composed.annealing import ADJUSTED, Moves, Sampler, default_step_size
from mcgen.adapters.composed.levels import PATH_EVALUATIONS, Level, denoiser_of, energy_of
from mcgen.adapters.composed.moves import Point
from mcgen.adapters.composed.operators import operator_of
from mcgen.adapters.samplers.paths import Decode, Modules, PathGenerator, start_of
from mcgen.adapters.samplers.predictions import Prediction
from mcgen.adapters.tensors.torch_generator import TensorNoise
from mcgen.generators.reverse_steps import fresh_variance
from mcgen.generators.schedule import Schedule, checked_schedule
from mcgen.noise import Block, NoiseSpec

# Largest rounding of a log density. It changes the probability of an accept step by as much.
_ROUNDING = 0.05


class Compose(PathGenerator):
    """A composition of models of one data space: their product, mixture or negation, sampled by annealed MCMC.

    Use it to sample what several models agree on, such as one network under two conditions.

    Parameters
    ----------
    parts : sequence of callable or Energy
        The models: denoisers as for `Diffusion`, energies, or denoisers made by `Energy.denoiser`. A denoiser has a
        score and no log density. So it serves in products and negations, for the samplers "reverse", "ula" and "uhmc".
        A sampler such as a `DDIM` stands for its denoiser; it must have this schedule and this `prediction`.
    schedule : Schedule
        The schedule of all parts.
    shape : tuple of int
        Shape of one sample's state.
    operator : {"product", "mixture", "negation"} or callable
        What is done with the densities. "negation" takes three parts: the first times the second over the third. A
        function maps log densities (parts, n) to those of the composition (n,).
    weights : sequence of float, or float, optional
        The weight of each part of a product (an exponent, by default 1) or a mixture. For "negation" the one weight w
        of the second and third part.
    sampler : {"mala", "ula", "hmc", "uhmc", "reverse"}
        The moves at each level: Langevin or Hamiltonian, with or without the accept step. "reverse" is DDIM with the
        composed score, which is biased. With weights whose sum is not 1 its states may leave the data's range.
    steps : int or sequence of int
        Number of noise levels, or their training steps.
    n_moves : int
        Moves at each level. More of them bring the law closer to the composed density.
    step_size : float, optional
        The factor c of the module; by default 0.15 ("ula"), 0.25 ("mala") or 0.5 ("uhmc", "hmc"). A larger one moves
        faster and is accepted less often. In d dimensions take less by about d^(-1/3).
    width : float
        Standard deviation of the data's narrowest part that matters, on the scale of the states.
    leapfrog : int
        Leapfrog steps of a Hamiltonian move.
    damping : float
        The share gamma of the velocity that a Hamiltonian move keeps, in [0, 1).
    eta : float
        Share of fresh noise in the steps of "reverse", see `DDIM`.
    energy : {"parts", "path"}
        Where "mala" and "hmc" have differences of log densities from: the parts' energies, or an approximate integral
        of the score along a segment.
    accept_iid : bool
        Draw the uniform numbers of the accept steps independently, whatever the design.
    with_acceptance : bool
        Return a tuple: the samples, and for each the share (n,) of its proposals that were accepted.
    prediction : {"noise", "sample", "velocity"}
        What the denoisers predict; for a denoiser of a shipped model, ``model.prediction``.
    decode, modules, name, device, dtype
        See `Diffusion`. With dtype ``torch.float64`` the noise is drawn in float64.

    Notes
    -----
    The blocks of noise are "start"; for each level i and move j "move i.j"; and for accept steps the uniform number
    "accept i.j". "reverse" has the blocks of `DDIM`.

    A condition goes to all parts. A tuple with one entry for each part gives each its own.

    The interval of an estimate is for the law after these moves. It does not include the distance to the composed
    density.

    Raises
    ------
    TypeError
        If a part or the schedule is of another type, or a function is given weights.
    ValueError
        If an option is out of range. If a sampler or an operator needs log densities that a part does not have. In a
        call, if a tuple of conditions has another length than the parts, or a state is not finite.

    Examples
    --------
    The product of N(-1, 1) and N(1, 1) is N(0, 1/2):

    >>> import mcgen
    >>> import torch
    >>> from mcgen.adapters import Compose, Energy, Schedule
    >>> schedule = Schedule.cosine()
    >>> def normal(x, time, mean):
    ...     share = schedule.alpha_bar[round(float(time[0]) * 1000)]
    ...     return -((x - share**0.5 * mean) ** 2).sum(1) / 2
    >>> parts = [Energy(normal), Energy(normal)]
    >>> product = Compose(parts, schedule, (1,), steps=5, width=1.0, n_moves=5, dtype=torch.float64)
    >>> product.noise.dimension
    51
    >>> options = dict(design=mcgen.Antithetic(), condition=(-1.0, 1.0), n_evaluations=2000, seed=0)
    >>> second = mcgen.estimate(product, lambda x: x[:, 0] ** 2, **options)
    >>> bool(abs(second.mean - 0.5) < 2 * second.half_width)
    True
    """

    def __init__(
        self,
        parts: Sequence[Any],
        schedule: Schedule,
        shape: tuple[int, ...],
        *,
        operator: str | Callable[[torch.Tensor], torch.Tensor] = "product",
        weights: Sequence[float] | float | None = None,
        sampler: Sampler = "mala",
        steps: int | Sequence[int] = 30,
        n_moves: int = 4,
        step_size: float | None = None,
        width: float = 0.0,
        leapfrog: int = 3,
        damping: float = 0.9,
        eta: float = 0.0,
        energy: Literal["parts", "path"] = "parts",
        accept_iid: bool = False,
        with_acceptance: bool = False,
        prediction: Prediction = "noise",
        decode: Decode | None = None,
        modules: Modules = (),
        name: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        own = {**locals()}
        self._arguments = {key: own[key] for key in _OPTIONS}
        self.schedule, self.prediction = checked_schedule(schedule), prediction
        self.parts = tuple(denoiser_of(part, self.schedule, prediction) for part in parts)
        self.sampler, self.energy = sampler, energy
        self._check_words()
        self.operator = operator_of(operator, weights, len(self.parts))
        c = default_step_size(sampler) if step_size is None else step_size
        if shape == ():
            raise ValueError("shape must have at least one axis; got (). For states of one number write (1,)")
        self.moves = Moves(sampler, n_moves, c, width, leapfrog, damping, accept_iid)
        self.eta = eta
        if not 0 <= checked_real("eta", eta) <= 1:
            raise ValueError(f"eta must lie between 0 (deterministic) and 1 (ancestral); got {eta}")
        self.with_acceptance = checked_flag("with_acceptance", with_acceptance)
        self._require_energies()
        self.times = _levels(self.schedule, steps, sampler)
        self.signals = np.asarray([self.schedule.signal(t) for t in self.times.tolist()])
        self.steps = len(self.times) - 1
        super().__init__(
            {f"part {i + 1}": part for i, part in enumerate(self.parts)},
            self._spec(shape, dtype),
            label=f"{operator if isinstance(operator, str) else name_of(operator)} of "
            f"{', '.join(map(name_of, self.parts))} {sampler}-{self.steps}",
            decode=decode,
            device=device,
            dtype=dtype,
            modules=modules,
            name=name,
        )
        self._require_precision_of_densities()

    @property
    def network_evaluations(self) -> int:
        """Evaluations of the parts per sample, all parts together."""
        if self.sampler == "reverse":
            return self.steps * len(self.parts)
        per_move = self.moves.evaluations + (PATH_EVALUATIONS if self.energy == "path" else 0)
        return self.steps * (1 + self.moves.n_moves * per_move) * len(self.parts)

    @property
    def signal_shares(self) -> np.ndarray[Any, np.dtype[np.float64]]:
        """The signal's share of the squared scales of each state, shape (steps + 1,)."""
        return self.signals

    def with_steps(self, steps: int) -> Self:
        """Return the same composition with another number of levels, on noise of its own."""
        options = self._arguments | self._options() | {"steps": steps, "name": self._name_with(steps)}
        return type(self)(self.parts, self.schedule, self.shape, **options)

    def coarse(self, steps: int) -> NoReturn:
        """Refuse: a chain of fewer levels has other moves, and no noise in common with this one."""
        raise TypeError(f"{self.name!r} has no coarse version on its own noise; use with_steps({steps})")

    def sample(self, noise: TensorNoise, condition: object = None) -> Any:
        """Return the samples (n, ...), with the shares of accepted proposals where `with_acceptance` asks for them."""
        *_, (x, accepted) = self._walk(noise, condition)
        return (self.finish(x), accepted) if self.with_acceptance else self.finish(x)

    def states(self, noise: TensorNoise, condition: object = None) -> Iterator[torch.Tensor]:
        """Yield the start (n, ...) and the state after the moves of each level, steps + 1 in all."""
        for x, _ in self._walk(noise, condition):
            yield x

    def _walk(self, noise: TensorNoise, condition: object) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the states and the share of accepted proposals so far (n,)."""
        conditions = self._conditions(condition)
        x = start_of(noise)
        if self.sampler == "reverse":
            yield from self._reverse(x, noise, conditions)
            return
        x = x / math.sqrt(self.operator.total)
        accepted = torch.zeros(len(x), dtype=x.dtype, device=x.device)
        yield x, accepted
        here = None
        for i in range(self.steps):
            if here is not None:
                x = self._step(here, i, self.operator.total)
            target, signal = self._level(i + 1, conditions), float(self.signals[i + 1])
            here, share = self.moves.run(target, x, signal, noise, i)
            self._require_finite(here, i)
            accepted = accepted + (share - accepted) / (i + 1)
            yield here.x, accepted

    def _reverse(
        self, x: torch.Tensor, noise: TensorNoise, conditions: tuple[Any, ...]
    ) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Yield the states of DDIM with the composed score; there are no proposals, and the share is 1."""
        ones = torch.ones(len(x), dtype=x.dtype, device=x.device)
        yield x, ones
        for i in range(self.steps):
            here = self._level(i, conditions).at(x)
            self._require_finite(here, i)
            x = self._step(here, i, 1.0, noise)
            yield x, ones

    def _step(self, here: Point, i: int, total: float, noise: TensorNoise | None = None) -> torch.Tensor:
        """Return the states after a step of DDIM from state i to i + 1; `total` divides the score, see the module."""
        signal, next_signal = float(self.signals[i]), float(self.signals[i + 1])
        epsilon = -math.sqrt(1 - signal) / total * here.score
        x_0 = (here.x - math.sqrt(1 - signal) * epsilon) / math.sqrt(signal)
        variance = self._variance(i)
        x = math.sqrt(next_signal) * x_0 + math.sqrt(max(0.0, 1 - next_signal - variance)) * epsilon
        if variance > 0:
            assert noise is not None
            assert not isinstance(noise, torch.Tensor)
            x = x + math.sqrt(variance) * noise[f"step {i + 1}"]
        return x

    def _variance(self, i: int) -> float:
        """Return the variance of the fresh noise in step i of "reverse", as in `DDIM`."""
        signal, next_signal = float(self.signals[i]), float(self.signals[i + 1])
        if self.sampler != "reverse" or not signal < next_signal < 1:
            return 0.0
        return fresh_variance(signal, next_signal, self.eta)

    def _level(self, i: int, conditions: tuple[Any, ...]) -> Level:
        """Return the composed density at state i."""
        path = self.energy == "path"
        densities = self.operator.needs_densities or (self.sampler in ADJUSTED and not path)
        time = float(self.times[i]) / len(self.schedule.alpha_bar)
        signal = float(self.signals[i])
        return Level(
            self, self.parts, self.operator, self.prediction, time, signal, conditions, densities, along_path=path
        )

    def _spec(self, shape: tuple[int, ...], dtype: torch.dtype | None) -> NoiseSpec:
        """Return the blocks of noise."""
        if self.sampler == "reverse":
            blocks = {f"step {i + 1}": Block(shape) for i in range(self.steps) if self._variance(i) > 0}
        else:
            blocks = {name: block for i in range(self.steps) for name, block in self.moves.blocks(shape, i).items()}
        return NoiseSpec({"start": Block(shape)} | blocks, "float64" if dtype is torch.float64 else "float32")

    def _conditions(self, condition: object) -> tuple[Any, ...]:
        """Return the condition of each part."""
        if not isinstance(condition, tuple):
            return (condition,) * len(self.parts)
        if len(condition) != len(self.parts):
            raise ValueError(
                f"a tuple of conditions must have one entry for each of the {len(self.parts)} parts; got {condition!r}"
            )
        return condition

    def _require_finite(self, here: Point, i: int) -> None:
        undefined = here.density is not None and bool(here.density.isnan().any())
        if undefined or not bool(torch.isfinite(here.x).all() and torch.isfinite(here.score).all()):
            raise ValueError(
                f"a state of {self.name!r} or its score is not finite at level {i}, so that its samples would be no "
                f"numbers. Look at the parts, or give a smaller step_size (it is {self.moves.step_size:g}), more "
                "steps, or a sampler with accept steps"
            )

        if here.density is not None and self.sampler in ADJUSTED:
            finite = here.density[here.density.isfinite()].abs()
            largest = float(finite.max()) if len(finite) else 0.0
            if largest * torch.finfo(here.density.dtype).eps > _ROUNDING:
                raise ValueError(
                    f"log densities of {self.name!r} reach {largest:.2g}, so that {here.density.dtype} rounds the "
                    "differences that accept steps compare; leave constants out, or give dtype=torch.float64"
                )

    def _check_words(self) -> None:
        """Refuse unknown words and empty parts."""
        for key, words in (("sampler", Sampler), ("prediction", Prediction), ("energy", Literal["parts", "path"])):
            value = getattr(self, key)
            if value not in get_args(words):
                raise ValueError(f"{key} must be one of {get_args(words)}; got {value!r}")
        if not self.parts:
            raise ValueError("a composition needs at least one part; got none. Give denoisers or energies")
        if self.energy == "path" and self.sampler not in ADJUSTED:
            raise ValueError(
                f"energy='path' estimates the differences of accept steps, which sampler={self.sampler!r} does not "
                "have; leave it out, or take 'mala' or 'hmc'"
            )

    def _require_energies(self) -> None:
        """Refuse denoisers where log densities are needed."""
        adjusted = self.sampler in ADJUSTED and self.energy == "parts"
        lacking = [f"{i + 1} ({name_of(part)})" for i, part in enumerate(self.parts) if energy_of(part) is None]
        if not lacking or not (adjusted or self.operator.needs_densities):
            return
        what = "this operator weighs the parts by their densities" if self.operator.needs_densities else (
            f"sampler={self.sampler!r} compares the density of a proposal with the old one"
        )  # fmt: skip
        advice = "" if self.operator.needs_densities else ", take 'ula' or 'uhmc', or estimate by energy='path'"
        raise ValueError(
            f"{what}, and part {', '.join(lacking)} is a denoiser: its output is the gradient of no known function, so "
            f"it has a score but no log density. Give Energy(function){advice}"
        )

    def _require_precision_of_densities(self) -> None:
        """Refuse accept steps whose densities would be rounded to three digits."""
        if self.sampler in ADJUSTED and self.network_dtype in (torch.float16, torch.bfloat16):
            raise ValueError(
                f"accept steps need log densities in float32 or better; the parts compute in {self.network_dtype}. "
                "Convert them by .float(), or take 'ula' or 'uhmc'"
            )


# The options that `with_steps` passes on as they were given.
_OPTIONS = (
    *("operator", "weights", "sampler", "n_moves", "step_size", "width", "leapfrog", "damping", "eta", "energy"),
    *("accept_iid", "with_acceptance", "prediction"),
)


def _levels(schedule: Schedule, steps: int | Sequence[int], sampler: str) -> np.ndarray[Any, np.dtype[np.int64]]:
    """Return the training steps of the states, steps + 1 of them.

    A chain starts at its first level, and its last level is training step 0: there the density of a part is known, and
    at the finished sample, step -1, it is not.
    """
    if sampler == "reverse":
        return schedule.times(steps)
    if np.ndim(steps) > 0:
        levels = schedule.times(steps)[:-1]
    else:
        n_training, n_steps = len(schedule.alpha_bar), checked_integer("steps", steps)
        if not 2 <= n_steps <= n_training:
            raise ValueError(f"steps must be between 2 and the schedule's {n_training}; got {n_steps}")
        levels = np.rint(np.linspace(n_training - 1, 0, n_steps)).astype(np.int64)
    return np.concatenate([levels[:1], levels])
