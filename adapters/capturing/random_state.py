"""States of torch's random generators: reading them, and running a sampler on fixed states of its own."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

import torch

# Arbitrary large seeds. A sampler is unlikely to use one of them, so that its own seeds give other random numbers.
_SEED, _OTHER_SEED = 2_714_915_363, 3_318_084_907
_seed: ContextVar[int] = ContextVar("seed", default=_SEED)


@contextmanager
def own_random_state() -> Iterator[None]:
    """Set the process's random generators to fixed states inside the context, and restore them afterwards.

    The states are the same each time, whatever the user seeded before. So random numbers can only repeat because the
    sampler itself seeds a random generator or restores its state.
    """
    devices = list(range(torch.cuda.device_count())) if torch.cuda.is_available() else []
    with torch.random.fork_rng(devices=devices):
        for i, generator in enumerate(_default_generators()):
            generator.manual_seed(_seed.get() + i)
        yield


@contextmanager
def another_seed() -> Iterator[None]:
    """Let `own_random_state` use another seed inside the context, so that draws that are not replaced change."""
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
    """Return the state of the process's random generator for a device; empty for a device that has none."""
    if device.type == "cpu":
        return state_of(torch.default_generator)
    if device.type == "cuda":
        return state_of(torch.cuda.default_generators[device.index or 0])
    get_state = getattr(getattr(torch, device.type, None), "get_rng_state", None)
    return b"" if get_state is None else get_state().numpy().tobytes()


def _default_generators() -> list[torch.Generator]:
    return [torch.default_generator, *(torch.cuda.default_generators if torch.cuda.is_initialized() else ())]  # type: ignore[no-untyped-call]
