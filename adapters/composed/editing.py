r"""Editing by a flow model without inversion: a sample under one condition is moved to a sample under another.

FlowEdit, Algorithm 1 of [1]_, starts with x equal to the source :math:`x_{\mathrm{src}}`. It moves x along the
difference of two velocities at points with the same noise. In the time of `Flow`, 0 at the noise and 1 at the sample,

.. math::

    y = t\, x_{\mathrm{src}} + (1 - t)\, z, \qquad
    \frac{dx}{dt} = \frac{1}{m} \sum_{z} \bigl[ v_{\mathrm{tar}}(x + y - x_{\mathrm{src}}, t)
    - v_{\mathrm{src}}(y, t) \bigr],

averaged over m fresh noises z at every step. Here the m noises are m / 2 pairs z and -z. Terms that are odd in z cancel
in a pair, so that the average varies less at the same number of evaluations.

.. rubric:: References

.. [1] V. Kulikov, M. Kleiner, I. Huberman-Spiegelglas, T. Michaeli (2025). FlowEdit: inversion-free text-based editing
   using pre-trained flow models. ICCV.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from mcgen._lib.checks import checked_integer
from mcgen.adapters.composed.truncation import rows_of
from mcgen.adapters.samplers.paths import Decode, LoopGenerator, Modules, Network, time_grid
from mcgen.adapters.tensors.torch_generator import TensorNoise
from mcgen.noise import Block, NoiseSpec


class Edit(NamedTuple):
    """The condition of `FlowEdit`: a source, and the conditions that describe the source and its edit.

    Attributes
    ----------
    source : array
        One sample on the scale of the flow's states, or one for each row.
    source_condition, target_condition : object
        Conditions of the velocity, such as prompts or classes. The first describes the source, the second the edit.

    Examples
    --------
    A digit of class 3, on the scale of the states [-1, 1], becomes one of class 8:

    >>> import mcgen
    >>> from mcgen.adapters import Edit, FlowEdit, models, velocity_of
    >>> digits = models.load("digits-diffusion")
    >>> velocity = velocity_of(digits)
    >>> editor = FlowEdit(velocity, digits.shape, steps=10, skip=3, decode=digits.decode)
    >>> source = 2 * mcgen.sample(digits, 1, seed=0, condition=3)[0] - 1
    >>> mcgen.sample(editor, 2, seed=0, condition=Edit(source, 3, 8)).shape
    torch.Size([2, 1, 8, 8])
    """

    source: Any
    source_condition: Any
    target_condition: Any


class FlowEdit(LoopGenerator):
    """Edits of a source by a flow model, without inversion. Its noise is what the algorithm averages over.

    Use it with the velocity of a `Flow`, or with that of a diffusion model by `velocity_of`.

    Parameters
    ----------
    velocity : callable
        ``velocity(x, time, condition)`` returns dx/dt (n, ...), for x of shape (n, ...) and time of shape (n,). The
        time is 0 at the noise and 1 at the sample.
    shape : tuple of int
        Shape of one sample's state.
    steps : int or sequence of float
        Number of steps of equal length, or the times themselves, increasing from 0 to 1.
    skip : int
        Number of steps that are left out at the start, where the noise is largest. With more of them the edit stays
        closer to its source.
    n_average : int
        Number m of noises per step. A step of an edit costs 2 m evaluations of the velocity.
    pairs : bool
        Whether the noises are m / 2 pairs z and -z, or m independent ones.
    source_velocity : callable, optional
        The velocity under the source's condition, if it differs, for example by a smaller guidance scale.
    decode : callable, optional
        Maps the last state to samples.
    modules : torch.nn.Module or iterable of them
        Networks that `decode` runs, and the velocities if they are not modules themselves. They must be in evaluation
        mode.
    name : str, optional
        The generator's name in results.
    device : torch.device or str, optional
        The device of the noise, by default the device of the modules.
    dtype : torch.dtype, optional
        The type that the velocities receive, by default the type of the modules. States are in float32 or better.

    Notes
    -----
    The noises of a step are one block, "step i". With `pairs` an edit is the same for z and -z, so that antithetic
    noise would make each edit twice. Use `MonteCarlo` or `Sobol` then.

    Raises
    ------
    TypeError
        If a velocity can't be called. In a call, if the condition is not an `Edit`.
    ValueError
        If `skip` leaves no step, or `n_average` is not even with `pairs`.

    Examples
    --------
    >>> import numpy as np
    >>> from mcgen.adapters import Edit, FlowEdit
    >>> editor = FlowEdit(lambda x, time, condition: condition - x, (3,), steps=10, skip=4, n_average=4, name="toy")
    >>> editor.noise.dimension, len(editor.noise.blocks)
    (36, 6)
    """

    def __init__(
        self,
        velocity: Network,
        shape: tuple[int, ...],
        *,
        steps: int | Sequence[float] = 50,
        skip: int = 0,
        n_average: int = 2,
        pairs: bool = True,
        source_velocity: Network | None = None,
        decode: Decode | None = None,
        modules: Modules = (),
        name: str | None = None,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
    ) -> None:
        times = time_grid(steps)
        if not 0 <= checked_integer("skip", skip) < len(times) - 1:
            raise ValueError(f"skip must leave at least one of the {len(times) - 1} steps; got {skip}")
        if checked_integer("n_average", n_average) < 1 or (pairs and n_average % 2):
            raise ValueError(
                f"n_average must be {'even, for pairs of noise' if pairs else 'at least 1'}; got {n_average}"
                + (". For another number give pairs=False" if pairs else "")
            )
        self.velocity, self.source_velocity = velocity, velocity if source_velocity is None else source_velocity
        self.signs = (1, -1) if pairs else (1,)
        self.times, self.skip, self.n_average = times, skip, n_average
        block = Block((n_average // len(self.signs), *shape))
        noise = NoiseSpec(tuple((f"step {i}", block) for i in range(skip, len(times) - 1)))
        super().__init__(
            {"velocity": velocity, "source_velocity": self.source_velocity},
            noise,
            label=f"FlowEdit-{len(noise.blocks)}",
            decode=decode,
            device=device,
            dtype=dtype,
            modules=modules,
            name=name,
        )

    def sample(self, noise: TensorNoise, condition: object = None) -> torch.Tensor:
        """Return the edits (n, ...) of the source that `noise` makes."""
        if not isinstance(condition, Edit):
            raise TypeError(
                f"{self.name!r} takes as condition an Edit(source, source_condition, target_condition); got "
                f"{type(condition).__name__}"
            )
        edit, x = condition, torch.empty(0)
        for i in range(self.skip, len(self.times) - 1):
            z = noise if isinstance(noise, torch.Tensor) else noise[f"step {i}"]
            if i == self.skip:
                x = rows_of(condition.source, z[:, 0])
                edit = condition._replace(source=x)
            t, s = float(self.times[i]), float(self.times[i + 1])
            x = x + (s - t) * self._direction(x, edit, t, z)
        return self.finish(x)

    def _direction(self, x: torch.Tensor, edit: Edit, t: float, z: torch.Tensor) -> torch.Tensor:
        """Return the difference of the velocities, averaged over the noises z of a step, (n, m or m / 2, ...)."""
        total = torch.zeros_like(x)
        for k in range(z.shape[1]):
            for sign in self.signs:
                y = t * edit.source + (1 - t) * sign * z[:, k]
                there = self.ask("velocity", self.velocity, x + y - edit.source, t, edit.target_condition)
                here = self.ask("source_velocity", self.source_velocity, y, t, edit.source_condition)
                total = total + there - here
        return total / self.n_average
