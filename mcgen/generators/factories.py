"""Factories: generators that each process loads for itself, by a call of a function.

A factory is pickled as its call alone. So a model that cannot be pickled, or is too large to send, can still run in
other processes. Each process loads the model once, when it first needs it, even for several factories with the same
call and content. It frees the model with the last of these factories.

The content of a call is that of the function, of its arguments, and of the files that they name, at the time when the
factory was made. A process where the content differs, such as a file that was overwritten, refuses to load.
"""

from __future__ import annotations

import pickle
import threading
from collections import ChainMap
from collections.abc import Callable, Mapping
from typing import Any
from weakref import WeakValueDictionary

from mcgen._lib.fingerprints import FINGERPRINT, Content, changes_of_globals, content_of, differences, is_file, shown
from mcgen._lib.names import name_of
from mcgen._lib.pickling import pickled
from mcgen.generators.base import Generator, checked_fingerprint
from mcgen.noise import Block, Noise, NoiseSpec, Shape, as_noise_spec
from mcgen.noise.spec import differences_of

__all__ = ["Factory", "from_factory", "pickled"]


def from_factory(
    load: Callable[..., Generator],
    *args: Any,
    noise: NoiseSpec | Shape | Block | Mapping[str, Block] | None = None,
    name: str | None = None,
    fingerprint: str | None = None,
    **kwargs: Any,
) -> Factory:
    """Return a generator that loads its model by a call, in each process that needs it.

    Use it with an ``executor``, for models that cannot be pickled or are large.

    Parameters
    ----------
    load : callable
        ``load(*args, **kwargs)`` returns the generator. It is pickled instead of the model, and called once in each
        process that needs the model. It must be a function at the top level of a module. Where cloudpickle is
        installed, any function will do.
    *args, **kwargs
        Arguments of `load`; small, such as a path. The content of files and folders that they name is part of the
        model's identity, so make a new factory after a change. Where `load` has arguments that are called noise, name
        or fingerprint, use `functools.partial`.
    noise : NoiseSpec, tuple of int, Block or mapping of Block, optional
        Noise of one sample. If it is given, the process that starts the run need not load the model. By default it is
        taken from the loaded generator.
    name : str, optional
        Name of the generator in results; by default that of `load`.
    fingerprint : str, optional
        Text that changes with the model that is loaded. The model is then identified by this text, and no file is read
        to compare it.

    Returns
    -------
    Factory
        The generator.

    Raises
    ------
    TypeError
        If `load` can't be called, or the call can't be pickled.
    ValueError
        If a file or a folder among the arguments can't be read, or has too many files.

    Examples
    --------
    >>> import numpy as np
    >>> import mcgen
    >>> generator = mcgen.from_factory(mcgen.as_generator, np.tanh, (16,), name="tanh")
    >>> generator
    Factory(tanh, noise=not loaded yet)
    >>> generator(np.zeros((2, 16))).shape
    (2, 16)
    """
    if not callable(load):
        raise TypeError(
            f"a factory is made from a callable that returns a generator; got {load!r} of type "
            f"{type(load).__name__}. Pass the function and its arguments apart: from_factory(load, path), not "
            "from_factory(load(path))"
        )
    if isinstance(load, Generator) and not isinstance(load, type):
        raise TypeError(
            f"{name_of(load)!r} is a generator already; a factory takes the call that makes it, the function and its "
            'arguments apart, such as from_factory(models.load, "digits-diffusion")'
        )
    name = name or name_of(load)
    try:
        call = pickled((load, args, kwargs))
    except Exception as error:
        raise TypeError(
            f"the call of factory {name!r} can't be pickled ({error}); use a function at the top level of a module "
            "(or install cloudpickle, which takes any other) with arguments such as numbers and paths"
        ) from error
    known = checked_fingerprint(fingerprint)
    content = _content_of_call(load, args, kwargs) if known is None else Content({FINGERPRINT: repr(known)})
    unread = [place for place in content.unknown if is_file(place)]
    if unread:
        raise ValueError(
            f"factory {name!r} must know the files that its call names, and can't read {unread[0]}: an object of type "
            f"{content.unknown[unread[0]]}. Name the model's own file or folder, or say by fingerprint= what it loads, "
            'such as "epoch 3"'
        )
    return Factory(call, None if noise is None else as_noise_spec(noise), name, content)


def _content_of_call(load: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]) -> Content:
    """Return the content of a function, its arguments, and the files that they name."""
    arguments = (*enumerate(args), *kwargs.items())
    found = [content_of(load), *(content_of(value, f"argument `{key}`", folders=True) for key, value in arguments)]
    return Content(dict(ChainMap(*(one.parts for one in found))), dict(ChainMap(*(one.unknown for one in found))))


class Factory:
    """A generator that is loaded in each process that needs it; made by `from_factory`.

    It also has the other attributes of the loaded generator, such as ``gradient`` or ``coarse``.

    Attributes
    ----------
    name : str
        Name of the generator in results.
    """

    def __init__(self, call: bytes, noise: NoiseSpec | None, name: str, content: Content) -> None:
        self._call, self._noise, self.name, self._content = call, noise, name, content
        self._model = _model_of(call, content)

    def __reduce__(self) -> tuple[Any, ...]:
        return _factory, (self._call, self._noise, self.name, self._content, self._model.code())

    def __repr__(self) -> str:
        known = self._noise or getattr(self._model.generator, "noise", None)
        return f"{type(self).__name__}({self.name}, noise={known or 'not loaded yet'})"

    @property
    def noise(self) -> NoiseSpec:
        """Noise that one sample needs: the declaration that was given, or that of the loaded generator."""
        return self._loaded().noise if self._noise is None else self._noise

    @property
    def is_loaded(self) -> bool:
        """Whether this process has loaded the generator."""
        return self._model.generator is not None

    def __mcgen_content__(self, load: bool) -> Any:
        # The model is not loaded where its noise was given, so that a process can start a run without it.
        if self._noise is not None or not load or FINGERPRINT in self._content.parts:
            return self._content
        content = content_of(self._loaded())
        return self._content if content.unknown else content

    def __call__(self, noise: Noise, condition: Any = None) -> Any:
        """Return the samples of the loaded generator."""
        return self._loaded()(noise, condition)

    def __getattr__(self, attribute: str) -> Any:
        # Copying and unpickling ask for private names before the instance has a model to load.
        if attribute.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {attribute!r}")
        return getattr(self._loaded(), attribute)

    def _loaded(self) -> Generator:
        """Return the generator; this process loads it at the first call."""
        generator = self._model.load(self.name)
        if self._noise is not None and generator.noise != self._noise:
            raise ValueError(
                f"factory {self.name!r} was given another noise than the generator that it loads wants: "
                f"{differences_of(self._noise, generator.noise, ('noise=', 'the generator'))}. Give the same, or leave "
                "noise= out"
            )
        return generator


def _factory(call: bytes, noise: NoiseSpec | None, name: str, content: Content, code: dict[str, str]) -> Factory:
    """Return a factory that was pickled in another process, with the code that its generator has there."""
    made = Factory(call, noise, name, content)
    made._model.expect(code, name)
    return made


class _Model:
    """The generator that a call loads in this process."""

    def __init__(self, call: bytes, content: Content) -> None:
        self._call, self._content, self._lock = call, content, threading.RLock()
        self.generator: Generator | None = None
        # Code of the generator in the process that pickled the factory, by place; empty where it was not loaded there.
        self.expected: dict[str, str] = {}

    def expect(self, code: dict[str, str], name: str) -> None:
        """Store the code that the generator has in another process, and refuse other code if it is loaded here."""
        with self._lock:
            self.expected = code or self.expected
            if self.generator is not None:
                self._require_same_code(name)

    def code(self) -> dict[str, str]:
        """Return the code of the generator by place: of the loaded one, or as another process reported it."""
        if self.generator is None:
            return self.expected
        parts = content_of(self.generator, quick=True).parts
        return {place: text for place, text in parts.items() if place.rpartition(": ")[2] == "code"}

    def load(self, name: str) -> Generator:
        """Return the generator; the first call loads it."""
        with self._lock:
            if self.generator is None:
                try:
                    function, args, kwargs = pickle.loads(self._call)
                    self._require_same(function, args, kwargs, name)
                    # Called without a cache of the function, which may hold a model older than the files.
                    found = _uncached(function)(*args, **kwargs)
                    self._require_same(function, args, kwargs, name, files_alone=True)
                except Exception as error:
                    error.add_note(f"raised as factory {name!r} loaded its generator")
                    raise
                self.generator = _checked(found, name)
                self._require_same_code(name)
            return self.generator

    def _require_same_code(self, name: str) -> None:
        """Refuse a model whose code differs from that in the process that pickled the factory."""
        here = self.code()
        found = [one for one in differences(self.expected, here) if one.before is not None] if self.expected else []
        if found:
            self.generator = None
            raise RuntimeError(
                f"factory {name!r} has loaded other code than in the process that it comes from: "
                f"{shown(found, 'generator', (' there', ' here'))}. Start the workers anew after a change of code"
            )

    def _require_same(
        self, function: Any, args: tuple[Any, ...], kwargs: dict[str, Any], name: str, files_alone: bool = False
    ) -> None:
        """Refuse to load where the content of the call differs from that when the factory was made."""
        if FINGERPRINT in self._content.parts:
            return
        now = _content_of_call(function, args, kwargs)
        found = differences(self._content.parts, now.parts, changes_of_globals())
        # New parts are allowed: loading may write files into a folder, such as a cache, and import modules.
        found = [one for one in found if one.before is not None and (is_file(one.place) or not files_alone)]
        if found:
            raise RuntimeError(
                f"factory {name!r} would load something else than when it was made: "
                f"{shown(found, 'call', (' there', ' here'))}. After a change make a new factory, "
                f"from_factory({name}, ...); workers must see the same files and the same code, so start them anew "
                "where a module has changed"
            )


_models: WeakValueDictionary[tuple[bytes, str], _Model] = WeakValueDictionary()
_models_lock = threading.Lock()


def _model_of(call: bytes, content: Content) -> _Model:
    """Return the model of a call and its content; there is one for each pair in this process."""
    key = call, content.fingerprint
    with _models_lock:
        model = _models.get(key)
        if model is None:
            model = _models[key] = _Model(call, content)
        return model


def _uncached(function: Any) -> Any:
    """Return a function without the cache of `functools.lru_cache`."""
    return function.__wrapped__ if hasattr(function, "cache_info") and hasattr(function, "__wrapped__") else function


def _checked(found: Any, name: str) -> Generator:
    if isinstance(found, Generator) and not isinstance(found, type) and isinstance(found.noise, NoiseSpec):
        return found
    advice = "mcgen.as_generator(f, noise=shape)"
    if hasattr(found, "named_parameters"):
        advice = "mcgen.adapters.from_torch(module, noise=shape)"
    raise TypeError(
        f"factory {name!r} must load an mcgen.Generator whose noise is an mcgen.NoiseSpec; its call returned "
        f"{type(found).__name__}. Let it return {advice}"
    )
