"""Torch modules and functions as generators. Only this module turns noise from numpy arrays into tensors.

Designs draw the noise as numpy arrays, so that its numbers do not depend on a device. `TorchGenerator` moves the noise
to the model's device and dtype. It runs the model in evaluation mode, without gradients. The samples stay tensors on
their device, where the statistics of `mcgen.statistics` are computed.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np

from mcgen._lib.arrays import as_numpy, tuple_like
from mcgen._lib.names import name_of
from mcgen.generators.base import checked_fingerprint
from mcgen.noise import Noise, NoiseSpec, Shape, as_noise_spec
from mcgen.statistics.values import with_condition

try:
    import torch
except ImportError as error:  # pragma: no cover - shown by the clean-environment step of .ci/run
    raise ImportError(
        "mcgen.adapters needs torch, which is not installed; install the extra: pip install 'mcgen-stats[torch]'"
    ) from error

TensorNoise = torch.Tensor | Mapping[str, torch.Tensor]

_HALF = (torch.float16, torch.bfloat16)


class TorchGenerator:
    """A torch callable as a generator: it takes noise as numpy arrays and returns samples as tensors.

    `from_torch` makes one. All generators of `mcgen.adapters` that run torch are subclasses.

    Parameters
    ----------
    function : callable
        ``function(noise)`` or, where a condition is given, ``function(noise, condition)``. `noise` is a tensor of
        shape ``(n, ...)``, or a mapping of such tensors when the noise has several blocks. It returns samples whose
        leading axis is n.
    noise : tuple of int or NoiseSpec
        The noise of one sample.
    device : torch.device or str, optional
        The device that the noise is moved to. Noise is drawn on the CPU, so a seed gives the same noise on all devices.
        By default the device of the parameters of `modules`, else the CPU. To move the networks too, see `to`.
    dtype : torch.dtype, optional
        The type of the noise that the function receives. By default the type of the parameters of `modules`, else the
        type of the spec (float32). Samples in float16 or bfloat16 are returned in float32, in which statistics are
        computed.
    modules : torch.nn.Module or iterable of them, optional
        The networks that `function` runs. By default `function` itself where it is a module, or the module that
        it is a method of. They must be in evaluation mode.
    name : str, optional
        The generator's name in results.
    fingerprint : str, optional
        A text that changes with weights and settings. A store recognizes the generator by it. By default a store
        compares the function and the networks themselves.

    Raises
    ------
    ValueError
        If one of the modules is in training mode. Batch normalization would then couple the samples of a batch, and
        dropout would draw noise that mcgen does not control. If the modules are on several devices and `device` is not
        given. If there is no such device here. If the noise is float64 and the device has no double precision.

    Examples
    --------
    A decoder with a condition. The function runs a network that it does not own, so `modules` names it:

    >>> import numpy as np
    >>> import torch
    >>> from mcgen.adapters import TorchGenerator
    >>> network = torch.nn.Linear(4, 9).eval()
    >>> def decode(z, shift):
    ...     return network(z) + shift
    >>> generator = TorchGenerator(decode, noise=(4,), modules=network)
    >>> generator
    TorchGenerator(decode, noise=normal(4) float32)
    >>> generator(np.zeros((2, 4), np.float32), 0.5).shape
    torch.Size([2, 9])
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
        fingerprint: str | None = None,
    ) -> None:
        if not callable(function) or not isinstance(dtype, torch.dtype | None):
            raise TypeError(
                f"from_torch takes a callable and a dtype such as torch.float32; got {function!r} and dtype={dtype!r}"
            )
        self.modules = modules_of(modules) if modules is not None else owners_of(function)
        self.function = function
        self.noise = as_noise_spec(noise)
        self.dtype = dtype or _dtype_of(self.modules)
        place = _device_of(self.modules) if device is None else device
        self._require_precision(place)
        checked_device(place)
        self.device = torch.device(place)
        self.name = name or name_of(function)
        self.fingerprint = checked_fingerprint(fingerprint)
        self.require_evaluation_mode()

    def __call__(self, noise: Noise, condition: object = None) -> Any:
        """Return the samples of `noise`, without gradients.

        Parameters
        ----------
        noise : ndarray of shape (n, ...), or a mapping of such arrays
            As drawn by a design.
        condition : object, optional
            Passed to the function as its second argument where it is not None.
        """
        with torch.no_grad():
            return self._run(self.tensors_of(noise), condition)

    def to(self, device: torch.device | str) -> Self:
        """Move the networks to a device, in place, and return this generator, as `torch.nn.Module.to` does.

        The noise of a run is drawn on the CPU and moved to the device afterwards. So a seed gives the same noise on
        every device; the samples differ by the rounding of the device's arithmetic alone.

        Parameters
        ----------
        device : torch.device or str
            Such as ``"cuda"``, ``"cuda:1"`` or ``"cpu"``.

        Raises
        ------
        ValueError
            If there is no such device here, or the noise is float64 and the device has no double precision.

        Notes
        -----
        What moves are the `modules`, and the generators that this one is made of. A function that holds a network which
        is not among the `modules` keeps it where it is. Other generators on the same networks, such as that of
        `coarse`, know of the move after their own ``.to(device)``.

        Examples
        --------
        >>> import torch
        >>> from mcgen.adapters import from_torch
        >>> model = from_torch(torch.nn.Linear(2, 3).eval(), noise=(2,), name="model")
        >>> device = "cuda" if torch.cuda.is_available() else "cpu"
        >>> model.to(device).device.type == device
        True
        """
        place = checked_device(device)
        self._require_precision(place)
        for part in self._generators():
            part.to(place)
        for module in self.modules:
            module.to(place)
        self.device = place
        return self

    def _generators(self) -> list[TorchGenerator]:
        """Return the generators that this one is made of."""
        held = [*vars(self).values(), getattr(self.function, "__self__", None)]
        return [one for one in held if isinstance(one, TorchGenerator) and one is not self]

    def _require_precision(self, device: torch.device | str) -> None:
        """Refuse a device without double precision for noise in float64."""
        if str(device).partition(":")[0] == "mps" and (self.dtype or self.noise.dtype) in (torch.float64, "float64"):
            raise ValueError(
                f"noise in float64 can't go to {device}, which has no double precision; pass dtype=torch.float32"
            )

    def tensors_of(self, noise: Noise) -> TensorNoise:
        """Return noise as the function receives it. Several blocks are made and checked one by one, at their access.

        Raises
        ------
        TypeError
            If it is not one array, or not a mapping where there are several blocks.
        ValueError
            If a block is missing or has another shape, or the leading axes of the blocks differ in length.
        """
        blocks = self.noise.blocks
        if len(blocks) > 1 and isinstance(noise, Mapping) and {*noise} == {name for name, _ in blocks}:
            return _LazyTensors(noise, self)
        if len(blocks) > 1 or not isinstance(noise, np.ndarray):
            found = f"a mapping of {', '.join(map(str, noise))}" if isinstance(noise, Mapping) else type(noise).__name__
            wanted = f"a mapping of the blocks of {self.noise}" if len(blocks) > 1 else "one numpy array"
            raise TypeError(f"{self.name!r} takes {wanted}, as designs draw it; got {found}")
        return self.tensor_of(blocks[0][0], noise)

    def tensor_of(self, name: str, array: np.ndarray[Any, np.dtype[Any]]) -> torch.Tensor:
        """Return one block's noise (n, ...) as a tensor, on the generator's device and in its type.

        On the CPU, where the type is the same, the tensor shares the array's memory.
        """
        block = dict(self.noise.blocks)[name]
        if np.shape(array)[1:] != block.shape or np.ndim(array) != 1 + len(block.shape):
            raise ValueError(
                f"block {name!r} of the noise of {self.name!r} must have shape (n, {str(block.shape)[1:].lstrip()}"
                f"; got {np.shape(array)}. One sample's noise gets its leading axis by noise[None]"
            )
        tensor = torch.from_numpy(array).to(device=self.device, dtype=self.dtype)
        if block.law == "uniform" and tensor.dtype in _HALF:
            # Rounding to half precision can give 1, but uniform noise is below 1.
            tensor = tensor.clamp(max=1 - torch.finfo(tensor.dtype).eps / 2)
        return tensor

    def gradient(self, noise: Noise, statistic: Callable[[Any], Any], condition: object = None) -> Noise:
        """Return the gradient of a statistic with respect to each sample's noise, by backpropagation.

        Parameters
        ----------
        noise : ndarray of shape (n, ...), or a mapping of such arrays
            As drawn by a design.
        statistic : callable
            Maps n samples to a tensor of n values.
        condition : object, optional
            As in a call; a statistic that takes it gets it too.

        Returns
        -------
        ndarray of shape (n, ...), or a mapping of such arrays
            Row i is the gradient of value i with respect to noise i; blocks that have no effect get zeros.

        Raises
        ------
        ValueError
            If the statistic does not return a tensor of n values, or the samples carry no gradient.
        """
        found = self._slopes(noise, statistic, condition, vector=False)
        return found[:, 0] if isinstance(found, np.ndarray) else {name: block[:, 0] for name, block in found.items()}

    def jacobian(self, noise: Noise, statistic: Callable[[Any], Any], condition: object = None) -> Noise:
        """Return the gradients of all components of a statistic, by backpropagation through one batch of samples.

        Parameters
        ----------
        noise, condition
            As for `gradient`.
        statistic : callable
            Maps n samples to a tensor of shape (n,) or (n, ...) with k numbers per sample.

        Returns
        -------
        ndarray of shape (n, k, ...), or a mapping of such arrays
            Entry (i, j) is the gradient of component j of value i with respect to noise i; components are in C order.

        Raises
        ------
        ValueError
            As for `gradient`.
        """
        return self._slopes(noise, statistic, condition, vector=True)

    def _slopes(self, noise: Noise, statistic: Callable[[Any], Any], condition: object, vector: bool) -> Noise:
        given = self.tensors_of(noise)
        lone = isinstance(given, torch.Tensor)
        blocks = {"noise": given} if isinstance(given, torch.Tensor) else given
        tensors = {name: block.detach().clone().requires_grad_() for name, block in blocks.items()}
        with torch.enable_grad():
            samples = self._run(tensors["noise"] if lone else tensors, condition)
            values = with_condition(statistic, condition)(samples)
            n = len(next(iter(tensors.values())))
            if not isinstance(values, torch.Tensor) or not (_is_vector if vector else _is_single)(values, n):
                found = tuple(values.shape) if isinstance(values, torch.Tensor) else type(values).__name__
                raise ValueError(f"a gradient needs a statistic that returns a tensor of {n} values; got {found}")
            if not values.requires_grad:
                raise ValueError(
                    f"the samples of {self.name!r} carry no gradient: its function runs under torch.no_grad or leaves "
                    "torch. Give its undecorated function (function.__wrapped__), or estimate without gradients"
                )
            sums = values.reshape(n, -1).sum(0)
            slopes = [_slopes_of(total, [*tensors.values()], last=j + 1 == len(sums)) for j, total in enumerate(sums)]
        gradients = {
            name: np.stack([as_numpy(g.to(torch.float64)).astype(self.noise.dtype) for g in parts], axis=1)
            for name, parts in zip(tensors, zip(*slopes, strict=True), strict=True)
        }
        return gradients["noise"] if lone else gradients

    def _run(self, tensors: TensorNoise, condition: object) -> Any:
        self.require_evaluation_mode()
        require_condition_taken(self.function, condition, self.name)
        arguments = (tensors,) if condition is None else (tensors, condition)
        try:
            samples = self.function(*arguments)
        except RuntimeError as error:
            error.add_note(
                f"{self.name!r} was given noise of {self.noise}, as its spec says, on {self.device}; check that the "
                "model takes these shapes on this device. Networks that another generator moved need this one's .to too"
            )
            raise
        return _widened(samples)

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}, noise={self.noise})"

    def require_evaluation_mode(self) -> None:
        """Refuse modules in training mode."""
        for module in (part for whole in self.modules for part in whole.modules()):
            if module.training:
                raise ValueError(
                    f"{type(module).__name__} is in training mode, where batch normalization couples the samples "
                    "and dropout draws noise of its own; models are run in evaluation mode: call its .eval() first"
                )


def from_torch(function: Callable[..., Any], noise: Shape | NoiseSpec, **options: Any) -> TorchGenerator:
    """Return a torch module or function as a generator.

    Use it for a GAN, a decoder, or any function that maps a tensor of noise to samples. For a sampler that draws its
    own noise, use `capture`.

    Parameters
    ----------
    function : callable
        ``function(noise)``, or ``function(noise, condition)`` where a condition is given. It maps noise (n, ...) to
        samples whose leading axis is n.
    noise : tuple of int or NoiseSpec
        The noise of one sample, such as ``(512,)``.
    **options
        `device`, `dtype`, `modules`, `name` and `fingerprint`; see `TorchGenerator`, which also lists the errors.

    Returns
    -------
    TorchGenerator

    Examples
    --------
    >>> import mcgen
    >>> import torch
    >>> from mcgen.adapters import from_torch
    >>> decoder = torch.nn.Sequential(torch.nn.Linear(2, 3), torch.nn.Sigmoid()).eval()
    >>> model = from_torch(decoder, noise=(2,), name="decoder")
    >>> model
    TorchGenerator(decoder, noise=normal(2) float32)
    >>> options = dict(design=mcgen.Antithetic(), n_evaluations=640, seed=0)
    >>> result = mcgen.estimate(model, mcgen.statistics.pixel_mean, **options)
    >>> bool(0 < result.mean < 1)
    True
    """
    return TorchGenerator(function, noise, **options)


class _LazyTensors(Mapping[str, torch.Tensor]):
    """Noise as tensors, one block at a time, so that the noise of a long sampler is never in memory as a whole."""

    def __init__(self, noise: Mapping[str, Any], generator: TorchGenerator) -> None:
        self._noise, self._generator = noise, generator
        self._n: int | None = None

    def __getitem__(self, name: str) -> torch.Tensor:
        tensor = self._generator.tensor_of(name, self._noise[name])
        if self._n not in (None, len(tensor)):
            raise ValueError(
                f"all blocks of the noise of {self._generator.name!r} must have as many rows; got {len(tensor)} in "
                f"block {name!r} and {self._n} in one before"
            )
        self._n = len(tensor)
        return tensor

    def __iter__(self) -> Iterator[str]:
        return iter(self._noise)

    def __len__(self) -> int:
        return len(self._noise)


def require_condition_taken(function: Callable[..., Any], condition: Any, name: str) -> None:
    """Refuse a condition if the function takes no second argument."""
    if condition is None:
        return
    try:
        signature = inspect.signature(function.forward if isinstance(function, torch.nn.Module) else function)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(None, condition)
    except TypeError:
        raise TypeError(f"{name!r} takes no condition; got {condition!r}. Leave it out") from None


def modules_of(modules: torch.nn.Module | Iterable[torch.nn.Module]) -> tuple[torch.nn.Module, ...]:
    """Return one module or several as a tuple, or refuse anything that is not a module."""
    found = (modules,) if isinstance(modules, torch.nn.Module) or not isinstance(modules, Iterable) else tuple(modules)
    if not all(isinstance(module, torch.nn.Module) for module in found):
        raise TypeError(f"modules must be torch modules; got {modules!r}. For a pipeline give its networks: pipe.unet")
    return found


def owners_of(*functions: Any) -> tuple[torch.nn.Module, ...]:
    """Return the modules among the functions, and the modules whose methods the functions are."""
    owners = [getattr(function, "__self__", function) for function in functions]
    return tuple(dict.fromkeys(owner for owner in owners if isinstance(owner, torch.nn.Module)))


def checked_output(output: Any, x: torch.Tensor, culprit: str, advice: str = "") -> torch.Tensor:
    """Return a network's output for states x if it has their shape, or refuse it: another shape would broadcast."""
    if isinstance(output, torch.Tensor) and output.shape == x.shape:
        return output
    found = tuple(output.shape) if isinstance(output, torch.Tensor) else type(output).__name__
    raise ValueError(
        f"{culprit} must return a tensor of the shape of its states, {tuple(x.shape)}; got {found}{advice}"
    )


def checked_class(condition: Any, n_classes: int) -> int:
    """Return a condition as an int if it is a class (an integer of Python, numpy or torch), or refuse it."""
    if n_classes == 0:
        raise ValueError(f"this model was trained without classes and takes no condition; got {condition!r}")
    lone = condition.item() if hasattr(condition, "item") and np.ndim(condition) == 0 else condition
    if not isinstance(lone, int) or isinstance(lone, bool) or not 0 <= lone < n_classes:
        raise ValueError(
            f"condition must be a class from 0 to {n_classes - 1}, or None for any; got {condition!r}. For several "
            "classes give a list of them to estimate"
        )
    return lone


def checked_device(device: torch.device | str) -> torch.device:
    """Return a device that is here, or refuse it."""
    try:
        place = torch.empty(0, device=device).device
    except (AssertionError, NotImplementedError, RuntimeError, TypeError) as error:
        reason = str(error).strip().splitlines()[0][:120]
        raise ValueError(
            f"device must be one that this torch can use, such as 'cpu', 'cuda' or 'mps'; got {device!r} ({reason}). "
            f"torch {torch.__version__} finds {torch.cuda.device_count()} CUDA devices here. Use device='cpu', or "
            "install a torch for your GPU (https://pytorch.org/get-started) and look whether torch.cuda.is_available()"
        ) from error
    return place


def _is_single(values: torch.Tensor, n: int) -> bool:
    return values.shape == (n,)


def _is_vector(values: torch.Tensor, n: int) -> bool:
    return values.shape[:1] == (n,) and values.numel() > 0


def _slopes_of(total: torch.Tensor, tensors: list[torch.Tensor], last: bool) -> tuple[torch.Tensor, ...]:
    return torch.autograd.grad(total, tensors, retain_graph=not last, allow_unused=True, materialize_grads=True)


def _widened(samples: Any) -> Any:
    """Return half-precision samples in float32. In half precision a mean over pixels would keep three digits only."""
    if isinstance(samples, tuple):
        return tuple_like(samples, map(_widened, samples))
    half = isinstance(samples, torch.Tensor) and samples.dtype in _HALF
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
