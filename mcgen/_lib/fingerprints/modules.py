"""Torch modules as parts of a value: parameters, buffers, attributes, hooks and inner modules."""

from __future__ import annotations

import functools
import re
import types
from collections.abc import Mapping
from typing import Any

from mcgen._lib.fingerprints.bytecode import names_of
from mcgen._lib.fingerprints.code import SCALARS, Walk, title_of
from mcgen._lib.fingerprints.origins import origin_of_class
from mcgen._lib.fingerprints.places import INEXACT, digest, inside, part_of

# Number of classes in the cache of `_reads_training`; programs use fewer.
_CLASSES = 1024
# Attributes of every torch module that are visited separately, or only matter for saving and loading.
_OF_EVERY_MODULE = {"_parameters", "_buffers", "_modules", "_non_persistent_buffers_set"}
_OF_EVERY_MODULE |= {"_is_full_backward_hook", "_forward_hooks_with_kwargs"}
_OF_EVERY_MODULE |= {"_forward_hooks_always_called", "_forward_pre_hooks_with_kwargs", "_state_dict_hooks"}
_OF_EVERY_MODULE |= {"_state_dict_pre_hooks", "_load_state_dict_pre_hooks", "_load_state_dict_post_hooks"}
_OF_EVERY_MODULE |= {"_compiled_call_impl"}
_BASE_OF_MODULES = ("torch.nn.modules.module", "Module")
# Attributes with hooks; only their values are visited, since their keys count all hooks of the process.
_HOOKS = ("_forward_hooks", "_forward_pre_hooks", "_backward_hooks", "_backward_pre_hooks")


def add_torch_module(walk: Walk, module: Any, path: str) -> None:
    """Add a torch module. A module of an installed class has few parts: all its settings, and all its parameters."""
    kind, state = type(module), vars(module)
    origin = origin_of_class(kind)
    if module.training and _minds_training(module):
        walk.training[path or "the whole"] = kind.__name__
    attributes = {name: value for name, value in state.items() if name not in (*_OF_EVERY_MODULE, *_HOOKS)}
    plain = {name: value for name, value in attributes.items() if type(value) in SCALARS}
    if origin is not None:
        walk.add(part_of(path, "settings"), f"{kind.__name__} {digest(repr((title_of(origin, kind), plain)))}")
        if state["_parameters"]:
            _add_parameters(walk, state["_parameters"], part_of(path, "parameters"))
    else:
        walk.visit(kind, part_of(path, "class"))
        walk.add_state(plain | state["_parameters"], path)
    walk.add_state({name: value for name, value in attributes.items() if name not in plain} | state["_buffers"], path)
    for name in _HOOKS:
        if state.get(name):
            walk.visit([*state[name].values()], inside(path, f".{name}"))
    # Not by named_children, which names a module only once even where it has several places.
    walk.add_state(state["_modules"], path)


def add_scripted(walk: Walk, thing: Any, path: str) -> None:
    """Add a scripted function or module of torch: its graph, and the attributes that the graph reads."""
    # The numbers of classes with equal names, and the paths of source files, are removed from the graph.
    graph = re.sub(r"___torch_mangle_\d+\.| # .*", "", str(thing.inlined_graph))
    walk.add(part_of(path, "code"), digest(graph))
    names = sorted(set(re.findall(r'GetAttr\[name="(\w+)"\]', graph)))
    for prefix, module in thing.named_modules() if hasattr(thing, "named_modules") else ():
        values = {name: module._c.getattr(name) for name in names if module._c.hasattr(name)}
        known = {
            name: one for name, one in values.items() if type(one).__name__ not in ("ScriptModule", "ScriptObject")
        }
        walk.add_state(known, inside(path, f".{prefix}") if prefix else path)


def _add_parameters(walk: Walk, parameters: Mapping[str, Any], path: str) -> None:
    quick, walk.quick = walk.quick, walk.quick and path not in walk.exact
    texts = [(name, None if one is None else walk.apart(one, path)) for name, one in parameters.items()]
    walk.add(path, (INEXACT if walk.quick else "") + digest(repr(texts)))
    walk.quick = quick


def is_torch_module(thing: Any) -> bool:
    """Tell whether a value is a torch module, without importing torch."""
    return hasattr(type(thing), "named_children") and "_modules" in getattr(thing, "__dict__", ())


def _minds_training(module: Any) -> bool:
    """Tell whether a torch module computes something else in training mode than in evaluation mode."""
    # Recurrent networks and attention read the mode only for their dropout.
    state = vars(module)
    if state.get("dropout") == 0 or state.get("track_running_stats") is False:
        return False
    kind: Any = type(module)
    return _reads_training(kind)


@functools.lru_cache(_CLASSES)
def _reads_training(cls: Any) -> bool:
    """Tell whether a method of a class, or of its bases below `torch.nn.Module`, reads the attribute `training`."""
    bases = [base for base in cls.__mro__ if (base.__module__, base.__name__) != _BASE_OF_MODULES]
    methods = (value for base in bases for value in vars(base).values() if isinstance(value, types.FunctionType))
    return any("training" in names_of(method.__code__).attributes for method in methods)
