"""Torch samplers that draw their own noise as generators, without a change to their source.

The sampler is first run to record its draws. In later runs mcgen's noise replaces the outcome of every draw. So designs
act on the initial noise and on the noise of every step.

A dispatch mode of torch inspects every operation, which costs some microseconds each. Networks that drew nothing in the
recorded run are therefore run outside the mode. The state of torch's random generators before and after shows whether
they still draw nothing.
"""

from __future__ import annotations

import inspect
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, nullcontext
from functools import wraps
from typing import Any, NoReturn

import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import _get_current_dispatch_mode, _pop_mode_temporarily
from torch.utils._pytree import tree_map_only

from mcgen._lib.arrays import leading_length
from mcgen._lib.names import name_of
from mcgen.adapters.capturing.draws import PROBES, Draw, Forward, Record, Watch, main_output, matched, watching
from mcgen.adapters.capturing.laws import Arguments, kind_of
from mcgen.adapters.capturing.random_state import own_random_state, random_states
from mcgen.adapters.capturing.trials import arranged, require_rows_apart, without_effect
from mcgen.adapters.tensors.torch_generator import TensorNoise, TorchGenerator, modules_of
from mcgen.noise import NoiseSpec

Sampler = Callable[[int, Any], Any]

PIPELINE_ADVICE = (
    "mcgen.adapters.capture takes any pipeline as it is: capture(lambda n, prompt: pipe([prompt] * n, "
    'num_inference_steps=50, output_type="pt").images, condition="a cat", modules=[pipe.unet, pipe.vae]); for one '
    "without prompts capture(lambda n, condition: pipe(batch_size=n, num_inference_steps=50, "
    'output_type="pt").images, modules=pipe.unet)'
)

# All threads share torch's random state and the networks, which a run changes. So one captured sampler runs at a time.
_ONE_AT_A_TIME = threading.RLock()


class CapturedGenerator(TorchGenerator):
    """A torch sampler whose random draws are replaced by mcgen's noise. `capture` makes one.

    Attributes
    ----------
    draws : tuple of Draw
        The draws of the sampler, in order.
    noise : NoiseSpec
        One block for each draw, named by its number and its operation.

    Examples
    --------
    >>> import numpy as np
    >>> import torch
    >>> from mcgen.adapters import capture
    >>> def sampler(n, condition):
    ...     return torch.randn(n, 2) + 0.1 * torch.randn(n, 2)
    >>> generator = capture(sampler)
    >>> generator
    CapturedGenerator(sampler, noise=0 randn: normal(2), 1 randn: normal(2) float32)
    >>> zeros, ones = np.zeros((1, 2), np.float32), np.ones((1, 2), np.float32)
    >>> generator({"0 randn": ones, "1 randn": zeros})
    tensor([[1., 1.]])
    """

    # Networks may be in training mode: dropout is a draw like any other, and `capture` refuses coupled samples.
    steers_its_networks = True

    def __init__(
        self, sampler: Sampler, draws: tuple[Draw, ...], *, quiet: Iterable[torch.nn.Module] = (), **options: Any
    ) -> None:
        self.draws = draws
        self.sampler = sampler
        self._quiet = tuple(quiet)
        blocks = tuple((_name(i, draw), draw.block) for i, draw in enumerate(draws) if draw.same is None)
        double = any(draw.dtype in (torch.float64, torch.complex128) for draw in draws)
        super().__init__(self._sample, NoiseSpec(blocks, "float64" if double else "float32"), **options)
        # Each draw is made in its own type. The networks' half precision must not round a draw in single precision.
        self.dtype = None

    def to(self, device: torch.device | str) -> NoReturn:
        """Refuse to move: the sampler's own code says on which device it draws and runs."""
        raise TypeError(
            f"a captured sampler runs on the device that its own code names; got .to({device!r}). Move its networks, "
            "such as pipe.to('cuda'), and capture it again"
        )

    def _sample(self, noise: TensorNoise, condition: object = None) -> Any:
        # A lazy block is drawn anew at each access, so a block is kept until its last use. The first block has n rows.
        kept = {self.block_of(0): noise if isinstance(noise, torch.Tensor) else noise[self.block_of(0)]}
        n = len(kept[self.block_of(0)])
        last_uses = {self.block_of(i): i for i in range(len(self.draws))}

        def block(i: int) -> torch.Tensor:
            name = self.block_of(i)
            if name not in kept and not isinstance(noise, torch.Tensor):
                kept[name] = noise[name]
            return kept.pop(name) if last_uses[name] == i else kept[name]

        gradients = torch.is_grad_enabled()
        supply = _Supply(self.draws, block, n, str(self.name), gradients)
        with (
            _ONE_AT_A_TIME,
            own_random_state(),
            watching(supply),
            _Follow(supply) if gradients else nullcontext(),
            _forwards_wrapped(self._quiet, supply.unwatched),
        ):
            samples = self.sampler(n, condition)
        supply.require_all_used()
        return samples

    def block_of(self, number: int) -> str:
        """Return the name of a draw's block of noise: its own, or the block of the draw whose numbers it uses."""
        same = self.draws[number].same
        return _name(number, self.draws[number]) if same is None else self.block_of(same)

    def describe(self, *, effects: bool = False, condition: object = None) -> str:
        """Return the draws as text, one draw a line: its operation, its law and its shape for one sample.

        A line also says if a draw is replayed, uses the numbers of an earlier draw, or has several rows per sample.

        Parameters
        ----------
        effects : bool
            Also test which draws have an effect, by a few runs of the sampler for every 64 draws.
        condition : object, optional
            The condition in these runs.
        """
        inert = without_effect(self, condition) if effects else set()
        made, numbers = len(self.draws), self.noise.dimension
        lines = [f"{self.name}: {made} draw{'s' * (made != 1)}, {numbers:,} number{'s' * (numbers != 1)} a sample"]
        for i, draw in enumerate(self.draws):
            words = [f"{i:>4} {draw.operation:<13} {draw.block}"]
            words += [f"batch axis {draw.axis}"] if draw.axis else []
            words += [f"{draw.rows} rows a sample{_order(draw)}"] if draw.rows > 1 else []
            words += ["replayed, not steered"] if draw.kind.iid and draw.same is None else []
            words += [f"same numbers as draw {draw.same}"] if draw.same is not None else []
            words += ["no effect on the samples"] if i in inert else []
            lines.append(", ".join(words))
        return "\n".join(lines)


def capture(
    sampler: Sampler,
    *,
    condition: object = None,
    device: torch.device | str | None = None,
    modules: torch.nn.Module | Iterable[torch.nn.Module] = (),
    name: str | None = None,
) -> CapturedGenerator:
    """Return a torch sampler that draws its own noise as a generator, without a change to its source.

    Use it for a pipeline or a sampling loop that you do not want to rewrite. If your function takes the noise as an
    argument, use `from_torch`.

    The sampler is run six times, for 2 or 3 samples. These runs record its draws, and test that it draws nothing else
    and that a sample depends on its own noise alone. If a draw has several rows per sample, about ten more runs of a
    few samples find the order of the rows.

    Each run sets torch's random state and restores it afterwards. The whole process shares this state: do not draw by
    torch in another thread meanwhile, since its numbers would repeat. Draws that the sampler makes in threads of its
    own are not seen, and are refused if they change the samples.

    Parameters
    ----------
    sampler : callable
        ``sampler(n, condition)`` returns n samples and draws its noise by torch.
    condition : object, optional
        A condition for the first runs.
    device : torch.device or str, optional
        The device of the noise. Draws on other devices get their noise there.
    modules : torch.nn.Module or iterable of them
        The networks that the sampler runs; they must be in evaluation mode. Networks that draw nothing then run at full
        speed.
    name : str, optional
        The generator's name in results.

    Returns
    -------
    CapturedGenerator
        Its noise has a block for every draw, in order. Designs act on normal and uniform draws, and on draws that
        increase with a uniform number (gamma, beta, Poisson, ...). Integers, masks and categories become uniform blocks
        that are independent whatever the design. If the sampler seeds a random generator again, a draw may use the
        random numbers of an earlier one; it then shares its block. `describe` lists the draws.

    Raises
    ------
    TypeError
        If the sampler can't be called as ``sampler(n, condition)``, or returns no samples.
    ValueError
        If the sampler draws nothing, or a draw can't be made from given noise (permutations, ...) or is not made for
        each sample. If it turns the same random numbers into different values. If its draws change from call to call,
        or it draws outside torch or in another thread. If a sample depends on the noise of another sample, on its place
        in the batch or on the size of the batch.

    Examples
    --------
    >>> import torch
    >>> import mcgen
    >>> from mcgen.adapters import capture
    >>> def sampler(n, condition):
    ...     x = torch.randn(n, 4)
    ...     for _ in range(3):
    ...         x = 0.9 * x + 0.1 * torch.randn_like(x) + 0.05 * x**2
    ...     return x
    >>> generator = capture(sampler)
    >>> print(generator.describe())
    sampler: 4 draws, 16 numbers a sample
       0 randn         normal(4)
       1 randn_like    normal(4)
       2 randn_like    normal(4)
       3 randn_like    normal(4)
    """
    name = name or name_of(sampler)
    modules = modules_of(modules)
    _require_sampler(sampler, condition, name)
    fewer, more = (_record(sampler, n, condition, modules, name) for n in PROBES)
    draws = tuple(matched(fewer, more, name))
    if not draws:
        raise ValueError(
            f"{name!r} draws no random numbers by torch, so that designs have nothing to act on; use from_torch for a "
            "function of noise. Draws of numpy and jax are not seen: pass them as an argument, "
            "mcgen.as_generator(function, noise=shape). Draws in other threads are not seen either: draw in the thread "
            "that calls the sampler"
        )
    quiet = dict.fromkeys(more.quiet(modules))

    def make(draws: tuple[Draw, ...]) -> CapturedGenerator:
        return CapturedGenerator(sampler, draws, quiet=quiet, device=device, modules=modules, name=name)

    captured = make(arranged(make, draws, condition))
    require_rows_apart(captured, condition)
    return captured


def _name(number: int, draw: Draw) -> str:
    return f"{number} {draw.operation}"


def _order(draw: Draw) -> str:
    if draw.rounds == draw.rows:
        return ""
    return ", sample by sample" if draw.rounds == 1 else f", in {draw.rounds} rounds of the samples"


class _Supply(Watch):  # type: ignore[no-untyped-call]
    def __init__(
        self, draws: tuple[Draw, ...], block: Callable[[int], torch.Tensor], n: int, name: str, gradients: bool
    ) -> None:
        super().__init__(name)
        self._draws, self._block, self._n, self._name, self._gradients = draws, block, n, name, gradients
        self.steered: list[Callable[[], torch.Tensor]] = []

    def drawn(self, operation: str, out: Any, arguments: Arguments, same: int | None) -> Any:
        i = self.made - 1
        main = main_output(out)
        expected = self._expected(i, operation, main, same)
        noise = self._block(i).to(device=main.device)

        def outcome() -> Any:
            return expected.outcome(noise, arguments)

        if self._gradients and not expected.kind.iid:
            self._require_gradient(i, expected)
            self.steered.append(outcome)
        if isinstance(out, tuple):
            return tuple(part.copy_(values) for part, values in zip(out, outcome(), strict=True))
        return out.copy_(outcome())

    def _expected(self, i: int, operation: str, main: torch.Tensor, same: int | None) -> Draw:
        """Return draw number i of the captured sampler, or refuse a draw that differs from it."""
        expected = self._draws[i] if i < len(self._draws) else None
        shape = None if expected is None else expected.shape_for(self._n)
        if expected is None or operation != expected.operation or tuple(main.shape) != shape:
            wanted = "no more draws" if expected is None else f"{expected.operation} of shape {shape}"
            raise ValueError(
                f"{self._name!r} draws {operation} of shape {tuple(main.shape)} as number {i}, where {wanted} came "
                "when it was captured: what it draws changes from call to call (a rejection loop, an adaptive step?), "
                "and can't be steered. Fix its number of steps"
            )
        if same != expected.same:
            raise ValueError(
                f"{self._name!r} draws {operation} (as number {i}) from {_source(same)}, where it came from "
                f"{_source(expected.same)} when it was captured: which random numbers repeat must not change from call "
                "to call or with the condition. Seed its random generators in the same places at every call"
            )
        return expected

    def _require_gradient(self, i: int, expected: Draw) -> None:
        if not expected.kind.smooth:
            raise ValueError(
                f"{self._name!r} draws {expected.operation} (as number {i}), which is made by an inverse distribution "
                "function of scipy, where gradients can't follow. Estimate without gradients"
            )
        if not torch.is_grad_enabled():
            raise ValueError(
                f"{self._name!r} draws {expected.operation} (as number {i}) under torch.no_grad, where gradients can't "
                "follow. Capture its undecorated function, such as type(pipe).__call__.__wrapped__ of a pipeline "
                'with output_type="pt", or estimate without gradients'
            )

    def unwatched(self, module: torch.nn.Module, forward: Forward) -> Forward:
        """Return the forward of a module, wrapped to run outside the mode and to raise an error if it draws."""

        @wraps(forward)
        def call(*arguments: Any, **options: Any) -> Any:
            if _get_current_dispatch_mode() is not self:
                return forward(*arguments, **options)
            with _pop_mode_temporarily():
                before = random_states()
                outputs = forward(*arguments, **options)
                # All threads share the state, so another thread may have drawn. A repetition shows who did.
                drew = random_states() != before and _draws_itself(forward, arguments, options)
            if drew:
                raise ValueError(
                    f"{type(module).__name__} drew random numbers inside {self._name!r}, and none when it was "
                    "captured: what it draws changes from call to call or with the condition. Capture the sampler "
                    "under the condition in which it draws, or leave the module out of modules="
                )
            return outputs

        return call

    def require_all_used(self) -> None:
        """Refuse a run that made fewer draws than the captured one."""
        if self.made < len(self._draws):
            raise ValueError(
                f"{self._name!r} made {self.made} draws, where {len(self._draws)} came when it was captured: what it "
                "draws changes from call to call, and can't be steered. Fix its number of steps"
            )


class _Follow(TorchFunctionMode):
    """A function mode that applies each replaced draw again, above autograd, so that gradients reach its noise.

    A dispatch mode works below autograd, where gradients can't follow.
    """

    def __init__(self, supply: _Supply) -> None:
        super().__init__()
        self._supply = supply

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        out = func(*args, **(kwargs or {}))
        steered, self._supply.steered = self._supply.steered, []
        if not steered:
            return out
        if len(steered) > 1 or kind_of(func.__name__) is None:
            raise ValueError(
                f"{func.__name__} draws noise inside, where gradients can't follow; draw it in the sampler by "
                "torch.randn or torch.rand, or estimate without gradients"
            )
        return out.copy_(steered[0]())


def _draws_itself(forward: Forward, arguments: tuple[Any, ...], options: dict[str, Any]) -> bool:
    """Return whether a forward draws, by running it again on copies of its arguments."""
    arguments, options = tree_map_only(torch.Tensor, torch.clone, (arguments, options))
    with torch.no_grad(), watching(Record("")) as record:
        forward(*arguments, **options)
    return bool(record.seen)


@contextmanager
def _forwards_wrapped(
    modules: Iterable[torch.nn.Module], wrapped: Callable[[torch.nn.Module, Forward], Forward]
) -> Iterator[None]:
    """Replace the forward of modules inside the context, and restore it afterwards, also after an error."""
    own = {module: module.__dict__.get("forward") for module in modules}
    try:
        for module in own:
            module.__dict__["forward"] = wrapped(module, module.forward)
        yield
    finally:
        for module, forward in own.items():
            if forward is None:
                module.__dict__.pop("forward", None)
            else:
                module.__dict__["forward"] = forward


def _source(same: int | None) -> str:
    return "fresh random numbers" if same is None else f"the random numbers of draw {same}"


def _record(sampler: Sampler, n: int, condition: object, modules: tuple[torch.nn.Module, ...], name: str) -> Record:
    record = Record(name)
    every = [part for module in modules for part in module.modules()]
    with (
        _ONE_AT_A_TIME,
        torch.no_grad(),
        own_random_state(),
        watching(record),
        _forwards_wrapped(every, record.noted),
    ):
        try:
            samples = sampler(n, condition)
        except Exception as error:
            if condition is None:
                error.add_note(f"{name!r} was tried with condition None; give one: capture(..., condition=...)")
            raise
    _require_samples(samples, n, name)
    return record


def _require_sampler(sampler: Any, condition: object, name: str) -> None:
    if hasattr(sampler, "scheduler") and not inspect.isroutine(sampler):
        raise TypeError(
            f"capture takes a sampler, not the pipeline itself; got a {type(sampler).__name__}. {PIPELINE_ADVICE}"
        )
    if not callable(sampler):
        raise TypeError(f"capture takes a callable sampler(n, condition); got {sampler!r}")
    try:
        signature = inspect.signature(sampler)
    except (TypeError, ValueError):
        return
    try:
        signature.bind(PROBES[0], condition)
    except TypeError:
        raise TypeError(
            f"capture calls sampler(n, condition) for n samples; {name!r} takes {signature}: write lambda n, "
            "condition: ..."
        ) from None


def _require_samples(samples: Any, n: int, name: str) -> None:
    try:
        found = leading_length(samples)
    except TypeError:
        advice = "its images: pipe(...).images" if hasattr(samples, "images") else "one tensor, or a tuple of tensors"
        raise TypeError(
            f"{name!r} returned {type(samples).__name__}, which has no leading axis of {n} samples; return {advice}"
        ) from None
    if isinstance(samples, list) and samples and type(samples[0]).__module__.startswith("PIL"):
        raise TypeError(
            f"{name!r} returned a list of pictures of PIL; return one tensor (n, ...). For a pipeline give output_type="
            '"pt"'
        )
    if found != n:
        raise ValueError(
            f"{name!r} returned {found} samples where {n} were asked for; make n of them: sampler(n, condition) got "
            f"n={n}"
        )
