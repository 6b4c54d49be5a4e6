r"""Editing by a flow model, without inversion: from a sample under one condition to a sample under another.

FlowEdit, Algorithm 1 of [1]_, moves an edit x, first the source :math:`x_{\mathrm{src}}`, along the difference of two
velocities at points with the same noise. In the time of `Flow`, 0 at the noise and 1 at the sample,

.. math::

    y = t\, x_{\mathrm{src}} + (1 - t)\, z, \qquad
    \frac{dx}{dt} = \frac{1}{m} \sum_{z} \bigl[ v_{\mathrm{tar}}(x + y - x_{\mathrm{src}}, t)
    - v_{\mathrm{src}}(y, t) \bigr],

averaged over m fresh noises z at every step. Here the m noises are m / 2 pairs z and -z: what is odd in z cancels, so
that the average varies less at the same number of evaluations.

.. rubric:: References

.. [1] V. Kulikov, M. Kleiner, I. Huberman-Spiegelglas, T. Michaeli (2025). FlowEdit: inversion-free text-based editing
   using pre-trained flow models. ICCV.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import torch

from mcgen._lib.checks import checked_integer
from mcgen.adapters.composed.combinators import rows_of
from mcgen.adapters.samplers.paths import Decode, LoopGenerator, Modules, Network, time_grid
from mcgen.adapters.tensors.torch_generator import TensorNoise
from mcgen.noise import Block, NoiseSpec


class Edit(NamedTuple):
    """What is edited and how: the condition of `FlowEdit`.

    Attributes
    ----------
    source : array
        One sample on the scale of the flow's states, or one for each row.
    source_condition, target_condition : object
        Conditions of the velocity, such as prompts or classes, that describe the source and the edit.
    """

    source: Any
    source_condition: Any
    target_condition: Any


class FlowEdit(LoopGenerator):
    """The edit of a source by a flow model, over the noises that the algorithm averages at every step.

    Parameters
    ----------
    velocity : callable
        ``velocity(x, time, condition)`` with x of shape (n, ...) and time of shape (n,), from 0 at the noise to 1 at
        the sample, to dx/dt (n, ...).
    shape : tuple of int
        Shape of one sample's state.
    steps : int or sequence of float
        Number of steps of the same length; or the times themselves, increasing from 0 to 1.
    skip : int
        Leave out so many of the first, noisiest steps: the more, the closer the edit stays to its source.
    n_average : int
        Noises a step, m; an edit costs 2 m evaluations of the velocity a step.
    pairs : bool
        Whether the noises are m / 2 pairs z and -z, or m independent ones.
    source_velocity : callable, optional
        The velocity under the source's condition, where it is another one, such as one of a smaller guidance scale.
    decode : callable, optional
        From the last state to samples.
    modules : torch.nn.Module or iterable of them
        Networks that the velocities, where they are no modules themselves, and `decode` run: they must be in evaluation
        mode.
    name : str, optional
        How results call the generator.
    device : torch.device or str, optional
        By default that of the modules.
    dtype : torch.dtype, optional
        What the velocities receive, by default the type of the modules; states are in float32 or better.

    Notes
    -----
    Each step's noises are a block, "step i". With pairs inside, the edit is the same for z and -z: antithetic noise
    around it would do the same edit twice. Take `MonteCarlo` or `Sobol` there.

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
                + (". Otherwise say pairs=False" if pairs else "")
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
        """Return the edits (n, ...) that `noise` makes of the source."""
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
        """Return the difference of the velocities, averaged over the noises (n, m or m / 2, ...) of a step."""
        total = torch.zeros_like(x)
        for k in range(z.shape[1]):
            for sign in self.signs:
                y = t * edit.source + (1 - t) * sign * z[:, k]
                there = self.ask("velocity", self.velocity, x + y - edit.source, t, edit.target_condition)
                here = self.ask("source_velocity", self.source_velocity, y, t, edit.source_condition)
                total = total + there - here
        return total / self.n_average
