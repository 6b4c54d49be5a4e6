"""Generators that are made where they run: a call that loads the model, instead of the model itself.

A factory is pickled as its call alone, so that a model that can't be pickled, or is too large to travel, still runs in
other processes. Each process loads it once, when it first needs it, whatever the number of factories for the same
call and the same content; it is let go of with the last of them.

The content of a call is that of the function, its arguments, and the files that these name, when the factory was made.
A process in which it is another, since a file was overwritten or is not the same there, refuses to load.
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
from mcgen.generators import Generator, checked_fingerprint
from mcgen.noise import Block, Noise, NoiseSpec, Shape, as_noise_spec

__all__ = ["Factory", "from_factory", "pickled"]


def from_factory(
    load: Callable[..., Generator],
    *args: Any,
    noise: NoiseSpec | Shape | Block | Mapping[str, Block] | None = None,
    name: str | None = None,
    fingerprint: str | None = None,
    **kwargs: Any,
) -> Factory:
    """Take a call that loads a generator as that generator.

    Parameters
    ----------
    load : callable
        ``load(*args, **kwargs)`` returns the generator. It is called once in each process that needs the model, and
        pickled in its place: a function at the top level of a module, or, where cloudpickle is installed, any other.
    *args, **kwargs
        Of `load`; small, such as a path. The files, and files in folders, that they name are part of what the model is
        known by; after a change make a new factory. For arguments of `load` that are called noise, name or fingerprint
        use `functools.partial`.
    noise : NoiseSpec, tuple of int, Block or mapping of Block, optional
        The noise of one sample, where it is known, so that the process that starts the run need not load the model;
        by default the loaded generator says it.
    name : str, optional
        How results call the generator; by default the name of `load`.
    fingerprint : str, optional
        A text that changes with what is loaded. The model is then known by this text; no file is looked into.

    Returns
    -------
    Factory
        A generator, for `mcgen.estimate` with an ``executor`` above all.

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
    >>> from mcgen.generators.factories import from_factory
    >>> generator = from_factory(mcgen.as_generator, np.tanh, (16,), name="tanh")
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
    """Return the content of a function and its arguments, with the files that they name."""
    arguments = (*enumerate(args), *kwargs.items())
    found = [content_of(load), *(content_of(value, f"argument `{key}`", folders=True) for key, value in arguments)]
    return Content(dict(ChainMap(*(one.parts for one in found))), dict(ChainMap(*(one.unknown for one in found))))


class Factory:
    """A generator that is loaded in each process that needs it; made by `from_factory`.

    What else the loaded generator has, such as ``gradient`` or ``coarse``, the factory has too.

    Attributes
    ----------
    name : str
        How results call the generator.
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
        """The noise that one sample needs: what was given, or what the loaded generator says."""
        return self._loaded().noise if self._noise is None else self._noise

    def __mcgen_content__(self, load: bool) -> Any:
        # Where the noise was given, nothing need be loaded.
        if self._noise is not None or not load or FINGERPRINT in self._content.parts:
            return self._content
        content = content_of(self._loaded())
        return self._content if content.unknown else content

    def __call__(self, noise: Noise, condition: Any = None) -> Any:
        """Call the loaded generator."""
        return self._loaded()(noise, condition)

    def __getattr__(self, attribute: str) -> Any:
        # Copying and unpickling ask for private names before there is anything to load.
        if attribute.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {attribute!r}")
        return getattr(self._loaded(), attribute)

    def _loaded(self) -> Generator:
        """Return the generator, loaded where this process has not yet."""
        generator = self._model.load(self.name)
        if self._noise is not None and generator.noise != self._noise:
            raise ValueError(
                f"factory {self.name!r} was given noise {self._noise}, but the generator that it loads wants "
                f"{generator.noise}; give the same, or leave noise= out"
            )
        return generator


def _factory(call: bytes, noise: NoiseSpec | None, name: str, content: Content, code: dict[str, str]) -> Factory:
    """Return a factory that comes from another process, in which its generator has some code."""
    made = Factory(call, noise, name, content)
    made._model.expect(code, name)
    return made


class _Model:
    """What a call loads in this process."""

    def __init__(self, call: bytes, content: Content) -> None:
        self._call, self._content, self._lock = call, content, threading.RLock()
        self.generator: Generator | None = None
        # The code of the loaded generator where the factory comes from, as far as it is known.
        self.expected: dict[str, str] = {}

    def expect(self, code: dict[str, str], name: str) -> None:
        """Take note of the code that the generator has elsewhere, and refuse to be another where it is loaded."""
        with self._lock:
            self.expected = code or self.expected
            if self.generator is not None:
                self._require_same_code(name)

    def code(self) -> dict[str, str]:
        """Return the code of the loaded generator, by its places; nothing where it is not loaded."""
        if self.generator is None:
            return self.expected
        parts = content_of(self.generator, quick=True).parts
        return {place: text for place, text in parts.items() if place.rpartition(": ")[2] == "code"}

    def load(self, name: str) -> Generator:
        """Return the generator, loaded the first time."""
        with self._lock:
            if self.generator is None:
                try:
                    function, args, kwargs = pickle.loads(self._call)
                    self._require_same(function, args, kwargs, name)
                    # A cache of what it returned may be older than the files.
                    found = _uncached(function)(*args, **kwargs)
                    self._require_same(function, args, kwargs, name, files_alone=True)
                except Exception as error:
                    error.add_note(f"raised as factory {name!r} loaded its generator")
                    raise
                self.generator = _checked(found, name)
                self._require_same_code(name)
            return self.generator

    def _require_same_code(self, name: str) -> None:
        """Refuse a model whose code is another than in the process that the factory comes from."""
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
        """Refuse to load where the call has another content than where the factory was made."""
        if FINGERPRINT in self._content.parts:
            return
        now = _content_of_call(function, args, kwargs)
        found = differences(self._content.parts, now.parts, changes_of_globals())
        # Loading may write into a folder, such as a cache, and import modules, whose variables are then seen too.
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
    """Return the one model that a call of some content has in this process."""
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
