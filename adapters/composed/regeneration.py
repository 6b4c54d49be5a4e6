r"""Stochastic regeneration: a predictor makes a first sample from a measurement, and a diffusion model improves it.

A predictor D, trained by squared error, returns the mean of all samples that fit a measurement y. It needs one pass and
is blurred. A posterior sampler that starts from noise needs many steps. StoRM [1]_ starts it at a later time t instead,
from the prediction with noise mixed in,

.. math:: x_t = \sqrt{\bar\alpha_t}\, D(y) + \sqrt{1 - \bar\alpha_t}\, z,

and goes back from there, given y. The sampler must know y: the noise hides some of what D found in y, and a sampler
without y replaces this by chance.

.. rubric:: References

.. [1] J.-M. Lemercier, J. Richter, S. Welker, T. Gerkmann (2023). StoRM: a diffusion-based stochastic regeneration
   model for speech enhancement and dereverberation. IEEE/ACM Transactions on Audio, Speech, and Language Processing 31.
   Section III.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from mcgen._lib.arrays import as_numpy
from mcgen.adapters.composed.combinators import in_library_of
from mcgen.adapters.composed.truncation import Partial, Start
from mcgen.adapters.samplers.diffusion import Diffusion
from mcgen.adapters.samplers.paths import Encode, Modules
from mcgen.adapters.tensors.floats import require_floats
from mcgen.adapters.tensors.torch_generator import TensorNoise, modules_of, owners_of


class StoRM(Partial):
    """Predict, then regenerate: a sampler that starts late, from the prediction of a network with noise mixed in.

    Use it for restoration and other inverse problems, where you have a network that predicts the sample. It needs far
    fewer steps than the sampler from noise.

    The condition is the measurement y. It may also be a pair: y, and then the truth or anything else that a statistic
    with `uses_condition=True` needs. The second part is never looked at.

    Parameters
    ----------
    predictor : callable
        ``predictor(y)`` returns a sample for a measurement y, with or without a leading axis of 1. If y has
        measurements of n rows, it returns n samples. It receives y as a tensor. A module, or a function with its
        `modules`.
    sampler : Diffusion
        A posterior sampler, such as ``DDS(prior, operator, noise_sd=0.3)``, or a diffusion model whose condition is y.
    step : int
        Number of the step to start at; see `Partial`.
    encode : callable, optional
        Maps samples (n, ...) back to the sampler's states (n, ...); see `Partial`. It is needed if the sampler decodes.
    modules : torch.nn.Module or iterable of them
        Networks that the predictor runs, where it is not a module itself. They must be in evaluation mode.
    name : str, optional
        The generator's name in results.

    Attributes
    ----------
    sampler : Diffusion
        The sampler.

    Notes
    -----
    The noise has a block "mix" and, for a stochastic sampler, the blocks of the remaining steps. The predictor runs
    once in each batch where y is one measurement.

    Raises
    ------
    TypeError
        If the predictor can't be called, or the sampler is not a `Diffusion`. In a call, if the prediction or the
        measurement is not an array of floats.
    ValueError
        If there is no such step, the sampler decodes and there is no `encode`, or a module is in training mode. In a
        call, if there is no measurement, or the measurement or the prediction has another shape.

    Examples
    --------
    Half of a real digit's pixels are hidden. This predictor leaves them black:

    >>> import mcgen
    >>> from mcgen.adapters import DDS, Inpainting, StoRM, models
    >>> operator = Inpainting.random((1, 8, 8), hidden=0.5, seed=0)
    >>> truth = models.real_images("digits-diffusion")[0]
    >>> y = operator.measure(truth)
    >>> def predictor(y):
    ...     return operator.adjoint(y[None])
    >>> sampler = DDS(models.load("digits-diffusion", steps=10), operator, noise_sd=0.05)
    >>> storm = StoRM(predictor, sampler, 6)
    >>> mcgen.sample(storm, 3, seed=0, condition=y).shape, storm.network_evaluations
    (torch.Size([3, 1, 8, 8]), 5)
    """

    def __init__(
        self,
        predictor: Callable[[Any], Any],
        sampler: Diffusion,
        step: int,
        *,
        encode: Encode | None = None,
        modules: Modules = (),
        name: str | None = None,
    ) -> None:
        if not callable(predictor):
            raise TypeError(f"predictor must be a callable from a measurement to a sample; got {predictor!r}")
        super().__init__(sampler, step, encode=encode, name=name)
        self.name = name or f"StoRM {self.name}"
        self.predictor = predictor
        self.modules = tuple(dict.fromkeys([*self.modules, *owners_of(predictor), *modules_of(modules)]))
        self.require_evaluation_mode()

    @property
    def sampler(self) -> Diffusion:
        """The sampler that starts from the prediction."""
        return self.diffusion

    @property
    def operator(self) -> Any:
        """The operator of the posterior sampler, which simulates measurements: ``operator.measure(image, ...)``."""
        return getattr(self.diffusion, "operator")  # noqa: B009

    @property
    def network_evaluations(self) -> int:
        """Evaluations of networks per sample: one of the predictor, and those of the remaining steps."""
        return 1 + super().network_evaluations

    def sample(self, noise: TensorNoise, condition: object = None) -> torch.Tensor:
        """Return the samples (n, ...) that `noise` makes from the prediction for the measurement."""
        y = self._measurement_in(condition)
        return super().sample(noise, Start(self._prediction(y), y))

    def predict(self, condition: object) -> torch.Tensor:
        """Return the predictor's sample for a condition, without its leading axis if that is 1."""
        self.require_evaluation_mode()
        with torch.no_grad():
            return self._prediction(self._measurement_in(condition))

    def _measurement_in(self, condition: object) -> Any:
        """Return the measurement in the condition as the predictor receives it, or refuse the condition."""
        if condition is None:
            raise ValueError(f"{self.name!r} starts from a prediction for a measurement: give it as the condition")
        pair = isinstance(condition, tuple) and len(condition) == 2
        y = condition[0] if isinstance(condition, tuple) and pair else condition
        # A posterior sampler knows what its measurements look like, and its message is clearer than the predictor's.
        checked = getattr(self.diffusion, "measurement_of", None)
        return in_library_of(self, y if checked is None else checked(y))

    def _prediction(self, y: Any) -> torch.Tensor:
        """Return the prediction for a measurement."""
        found = self.predictor(y)
        require_floats(found, "the prediction")
        x = found if isinstance(found, torch.Tensor) else torch.tensor(as_numpy(found))
        return x[0] if x.ndim == 1 + len(self.diffusion.shape) and len(x) == 1 else x
