"""The border between numpy and torch, and the only place that crosses it.

Noise is drawn by mcgen as numpy arrays, so that its numbers do not depend on a device. Here it becomes
tensors of the device and dtype that the model wants, the model runs without gradients and in evaluation
mode, and its samples stay tensors: the statistics of `mcgen.statistics` work on them where they lie.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from mcgen.arrays import as_numpy
from mcgen.generators import name_of
from mcgen.noise import Noise, NoiseSpec, Shape, as_noise_spec

try:
    import torch
except ImportError as error:  # pragma: no cover - shown by the clean-environment step of .ci/run
    raise ImportError(
        "mcgen.adapters needs torch, which is not installed; install the extra: pip install 'mcgen-stats[torch]'"
    ) from error

TensorNoise = torch.Tensor | Mapping[str, torch.Tensor]


class TorchGenerator:
    """A torch callable taken as a generator: `mcgen.Generator` in, tensors inside, tensors out.

    Parameters
    ----------
    function : callable
        ``function(noise)`` or, where a condition is given, ``function(noise, condition)``, with `noise` a
        tensor of shape ``(n, ...)`` (a mapping of such tensors when the noise has several blocks), to
        samples whose leading axis is n.
    noise : tuple of int or NoiseSpec
        What the function wants for one sample.
    device : torch.device or str, optional
        Where the noise goes. By default where the parameters of `modules` are, else the CPU.
    dtype : torch.dtype, optional
        The type of the noise that the function receives. By default that of the parameters of `modules`, else that of
        the spec (float32). Samples in float16 or bfloat16 are returned in float32, in which statistics are computed.
    modules : torch.nn.Module or iterable of them, optional
        The networks that `function` runs. By default `function` itself where it is a module, or the module that
        it is a method of. They must be in evaluation mode.
    name : str, optional
        How results call the generator.

    Raises
    ------
    ValueError
        If one of the modules is in training mode, where batch normalization would couple the samples of a
        batch and dropout would draw noise that mcgen doesn't see; if the modules lie on several devices and `device`
        does not say where the noise goes; or if float64 noise is to go to a device without it.
    """

    def __init__(
        self,
        function: Callable[..., Any],
        noise: Shape | NoiseSpec,
        *,
        device: torch.device | str | None = None,
        dtype: torch.dtype | None = None,
        modules: torch.nn.Module | Iterable[torch.nn.Module] | None = None,
        name: str | None = None,
    ) -> None:
        if not callable(function) or not isinstance(dtype, torch.dtype | None):
            raise TypeError(
                f"from_torch takes a callable and a dtype such as torch.float32; got {function!r} and dtype={dtype!r}"
            )
        if modules is None:
            # A method's network is the module that it is bound to.
            owner = getattr(function, "__self__", function)
            modules = [owner] if isinstance(owner, torch.nn.Module) else []
        self.modules = (modules,) if isinstance(modules, torch.nn.Module) else tuple(modules)
        self.function = function
        self.noise = as_noise_spec(noise)
        self.dtype = dtype or _dtype_of(self.modules)
        self.device = torch.device(device) if device is not None else _device_of(self.modules)
        if self.device.type == "mps" and (self.dtype or self.noise.dtype) in (torch.float64, "float64"):
            raise ValueError(
                f"noise in float64 can't go to {self.device}, which has no double precision; pass dtype=torch.float32"
            )
        self.name = name or name_of(function)
        self._require_evaluation_mode()

    def __call__(self, noise: Noise, condition: object = None) -> Any:
        """Return the samples of `noise`, without gradients.

        Parameters
        ----------
        noise : ndarray of shape (n, ...), or a mapping of such arrays
            As drawn by a design.
        condition : object, optional
            Passed on as second argument where it is not None.
        """
        tensors = to_tensors(noise, device=self.device, dtype=self.dtype)
        with torch.no_grad():
            return self._run(tensors, condition)

    def gradient(self, noise: Noise, statistic: Callable[[Any], Any], condition: object = None) -> Noise:
        """Return the gradient of a statistic with respect to each sample's noise, by backpropagation.

        Parameters
        ----------
        noise : ndarray of shape (n, ...), or a mapping of such arrays
            As drawn by a design.
        statistic : callable
            From n samples to a tensor of n values.
        condition : object, optional
            As in a call.

        Returns
        -------
        ndarray of shape (n, ...), or a mapping of such arrays
            Row i is the gradient of value i by noise i; blocks that have no effect get zeros.

        Raises
        ------
        ValueError
            If the statistic gives no tensor of n values, or the samples carry no gradient.
        """
        lone = not isinstance(noise, Mapping)
        blocks = {"noise": noise} if isinstance(noise, np.ndarray) else dict(noise)
        tensors = {b: _tensor(a, self.device, self.dtype).detach().clone().requires_grad_() for b, a in blocks.items()}
        with torch.enable_grad():
            values = statistic(self._run(tensors["noise"] if lone else tensors, condition))
            n = len(next(iter(tensors.values())))
            if not isinstance(values, torch.Tensor) or values.shape != (n,):
                found = tuple(values.shape) if isinstance(values, torch.Tensor) else type(values).__name__
                raise ValueError(f"a gradient needs a statistic that returns a tensor of {n} values; got {found}")
            if not values.requires_grad:
                raise ValueError(
                    f"the samples of {self.name!r} carry no gradient: its function runs under torch.no_grad or leaves "
                    "torch. Give its undecorated function (function.__wrapped__), or estimate without gradients"
                )
            slopes = torch.autograd.grad(values.sum(), [*tensors.values()], allow_unused=True, materialize_grads=True)
        gradients = {b: as_numpy(g).astype(blocks[b].dtype) for b, g in zip(tensors, slopes, strict=True)}
        return gradients["noise"] if lone else gradients

    def _run(self, tensors: TensorNoise, condition: object) -> Any:
        self._require_evaluation_mode()
        arguments = (tensors,) if condition is None else (tensors, condition)
        try:
            samples = self.function(*arguments)
        except RuntimeError as error:
            error.add_note(
                f"{self.name!r} was given noise of {self.noise}, as its spec says, on {self.device}; see that the "
                "model takes these shapes there"
            )
            raise
        return tuple(map(_widened, samples)) if isinstance(samples, tuple) else _widened(samples)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}, noise={self.noise})"

    def _require_evaluation_mode(self) -> None:
        for module in self.modules:
            if module.training:
                raise ValueError(
                    f"{type(module).__name__} is in training mode, where batch normalization couples the samples "
                    "and dropout draws noise of its own; models are run in evaluation mode: call its .eval() first"
                )


def from_torch(function: Callable[..., Any], noise: Shape | NoiseSpec, **options: Any) -> TorchGenerator:
    """Take a torch module or function as a generator; the options are those of `TorchGenerator`.

    Examples
    --------
    >>> import mcgen, torch
    >>> from mcgen.adapters import from_torch
    >>> decoder = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Sigmoid()).eval()
    >>> from_torch(decoder, noise=(2,), name="decoder")
    TorchGenerator(decoder, noise=normal(2) float32)
    """
    return TorchGenerator(function, noise, **options)


def checked_class(condition: object, n_classes: int) -> int:
    """Return a condition that is a class, or refuse it."""
    if n_classes == 0:
        raise ValueError(f"this model was trained without classes and takes no condition; got {condition!r}")
    if not isinstance(condition, int | np.integer) or not 0 <= condition < n_classes:
        raise ValueError(f"condition must be a class from 0 to {n_classes - 1}, or None for any; got {condition!r}")
    return int(condition)


def to_tensors(noise: Noise, *, device: torch.device, dtype: torch.dtype | None) -> TensorNoise:
    """Return the noise as a tensor, or as a mapping that makes each block's tensor when it is asked for.

    On the CPU and without a change of dtype the tensor shares the array's memory.
    """
    if isinstance(noise, Mapping):
        return _LazyTensors(noise, device, dtype)
    return _tensor(noise, device, dtype)


class _LazyTensors(Mapping[str, torch.Tensor]):
    """Tensors made block by block, so that a long sampler's noise is never in memory as a whole."""

    def __init__(self, noise: Mapping[str, Any], device: torch.device, dtype: torch.dtype | None) -> None:
        self._noise, self._device, self._dtype = noise, device, dtype

    def __getitem__(self, name: str) -> torch.Tensor:
        return _tensor(self._noise[name], self._device, self._dtype)

    def __iter__(self) -> Iterator[str]:
        return iter(self._noise)

    def __len__(self) -> int:
        return len(self._noise)


def _tensor(array: np.ndarray[Any, np.dtype[Any]], device: torch.device, dtype: torch.dtype | None) -> torch.Tensor:
    return torch.from_numpy(array).to(device=device, dtype=dtype)


def _widened(samples: Any) -> Any:
    """Return half-precision samples in float32: a mean over their pixels would round to three digits."""
    half = isinstance(samples, torch.Tensor) and samples.dtype in (torch.float16, torch.bfloat16)
    return samples.float() if half else samples


def _dtype_of(modules: tuple[torch.nn.Module, ...]) -> torch.dtype | None:
    floating = (p.dtype for module in modules for p in module.parameters() if p.dtype.is_floating_point)
    return next(floating, None)


def _device_of(modules: tuple[torch.nn.Module, ...]) -> torch.device:
    devices = {parameter.device for module in modules for parameter in module.parameters()}
    if len(devices) > 1:
        raise ValueError(
            f"the modules lie on several devices, {', '.join(sorted(map(str, devices)))}; move them to one, or say by "
            "device= where the noise goes"
        )
    return devices.pop() if devices else torch.device("cpu")
