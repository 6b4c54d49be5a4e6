"""Torch's random generators: their states, and states of a run's own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

# Seeds that no sampler is likely to use itself, so that its own seeds make other numbers.
_SEED, _OTHER_SEED = 2_714_915_363, 3_318_084_907
_seed: ContextVar[int] = ContextVar("seed", default=_SEED)


@contextmanager
def own_random_state() -> Iterator[None]:
    """Give the process's random generators states of their own for a while, and set them back afterwards.

    The states are the same each time, whatever the user seeded before: random numbers that come again do so because
    the sampler seeds or restores a state itself.
    """
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        for i, generator in enumerate(_default_generators()):
            generator.manual_seed(_seed.get() + i)
        yield


@contextmanager
def another_seed() -> Iterator[None]:
    """Let `own_random_state` begin at other states for a while: draws that it doesn't see become others."""
    token = _seed.set(_OTHER_SEED)
    try:
        yield
    finally:
        _seed.reset(token)


def random_states() -> list[bytes]:
    """Return the states of the process's random generators."""
    return [state_of(generator) for generator in _default_generators()]


def state_of(generator: torch.Generator) -> bytes:
    """Return the state of a random generator."""
    return generator.get_state().numpy().tobytes()


def state_on(device: torch.device) -> bytes:
    """Return the state of the process's random generator for a device, nothing of a device that has none."""
    if device.type == "cpu":
        return state_of(torch.default_generator)
    if device.type == "cuda":
        return state_of(torch.cuda.default_generators[device.index or 0])
    get_state = getattr(getattr(torch, device.type, None), "get_rng_state", None)
    return b"" if get_state is None else get_state().numpy().tobytes()


def _default_generators() -> list[torch.Generator]:
    return [torch.default_generator, *(torch.cuda.default_generators if torch.cuda.is_initialized() else ())]  # type: ignore[no-untyped-call]
