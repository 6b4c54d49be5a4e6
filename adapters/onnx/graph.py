"""Inspection of ONNX graphs: their inputs, their random operators, and reasons why they can't be generators."""

from __future__ import annotations

import importlib
import os
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from types import ModuleType
from typing import Any

import numpy as np

from mcgen.noise import Law, Shape

# Documentation text of an input by which `noise_inputs` tells `from_onnx` the law of the input.
NOTE = "noise of law "

# Random operators that are refused, since their outcome is no fixed function of normal or uniform noise here.
_REFUSED = ("Multinomial", "Bernoulli")

# Random operators that `noise_inputs` replaces by inputs.
STEERED = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")


@dataclass(frozen=True)
class Input:
    """An input of a graph.

    Attributes
    ----------
    name : str
        The input's name in the graph.
    dtype : numpy.dtype or None
        The type of the numbers; None if the input is not an array of numbers.
    sides : tuple of int and None, or None
        The lengths of the axes, the batch axis first, with None for axes of open length. None for an unknown rank.
    law : {"normal", "uniform"}
        The law that `noise_inputs` has stored, else normal.
    """

    name: str
    dtype: np.dtype[Any] | None
    sides: tuple[int | None, ...] | None
    law: Law


def external_files(proto: Any, path: str) -> list[str]:
    """Return the files that hold the weights of a graph outside its own file, sorted."""
    entries = (entry for tensor in proto.graph.initializer for entry in tensor.external_data)
    return sorted({os.path.join(os.path.dirname(path), entry.value) for entry in entries if entry.key == "location"})


def require_no_draws(proto: Any) -> None:
    """Refuse a graph that has random operators."""
    functions = [node for function in proto.functions for node in function.node]
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    constants |= {n.output[0]: n.attribute[0].t for n in proto.graph.node if n.op_type == "Constant"}
    inner = [*inner_nodes(proto.graph), *functions, *(n for f in proto.functions for n in inner_nodes(f))]
    nodes = [*proto.graph.node, *inner]
    steered = [node for node in nodes if node.op_type in STEERED]
    if steered:
        raise ValueError(
            f"the graph draws its own noise, in {', '.join(map(label, steered))}, which no design reaches; make it an "
            "input: from_onnx(noise_inputs(model))"
        )
    refused = [node for node in nodes if node.op_type in _REFUSED or _drops(node, constants)]
    if refused:
        raise ValueError(
            f"the graph draws random numbers in {', '.join(map(label, refused))}, which can't be steered; export the "
            "model in evaluation mode, or make the outcome of the draw an input of the graph"
        )


def _drops(node: Any, constants: Mapping[str, Any]) -> bool:
    """Return True if a node is Dropout in training mode, or in a mode that is not constant."""
    if node.op_type != "Dropout" or len(node.input) < 3 or not node.input[2]:
        return False
    training = constants.get(node.input[2])
    return training is None or bool(imported("onnx.numpy_helper").to_array(training))


def inner_nodes(graph: Any) -> Iterator[Any]:
    """Yield the nodes of the graphs inside nodes: the bodies of loops and branches."""
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                yield from inner.node
                yield from inner_nodes(inner)


def label(node: Any) -> str:
    """Return the name of a node in messages."""
    return f"{node.op_type} (node {node.name or node.output[0]!r})"


def loaded(model: str | PathLike[str] | Any, *, weights: bool) -> Any:
    """Return a model as a ModelProto, with or without its weights in other files."""
    onnx = imported("onnx")
    if not isinstance(model, str | PathLike | onnx.ModelProto):
        advice = {
            "bytes": "give onnx.load_from_string(model)",
            "InferenceSession": "give the path that it was made from",
        }.get(type(model).__name__, "export a torch module by torch.onnx.export first")
        raise TypeError(f"a graph is a path or an onnx.ModelProto; got {type(model).__name__}: {advice}")
    return model if isinstance(model, onnx.ModelProto) else onnx.load(fspath(model), load_external_data=weights)


def require_known(argument: str, names: Iterable[str], known: Iterable[str]) -> None:
    """Refuse names that a graph does not have."""
    if isinstance(names, str):
        raise TypeError(f"{argument} must be a sequence of names, such as [{names!r}]; got the text {names!r}")
    if not set(names) <= set(known):
        raise ValueError(f"{argument} names {', '.join(names)}; the graph has {', '.join(known)}")


def inputs_of(proto: Any) -> Iterator[Input]:
    """Yield the inputs of a graph, without weights that are listed as inputs."""
    onnx = imported("onnx")
    weights = {tensor.name for tensor in proto.graph.initializer}
    for value in proto.graph.input:
        tensor = value.type.tensor_type
        numbers = value.type.HasField("tensor_type") and tensor.elem_type != onnx.TensorProto.STRING
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)) if numbers else None
        sides = tuple(dim.dim_value or None for dim in tensor.shape.dim) if tensor.HasField("shape") else None
        law: Law = "uniform" if value.doc_string == f"{NOTE}uniform" else "normal"
        if value.name not in weights:
            yield Input(value.name, dtype, sides, law)


def sample_shape(given: Input, shape: Shape | None) -> Shape:
    """Return the shape of a noise input for one sample, or refuse an input that can't be noise."""
    name, sides = given.name, given.sides
    if given.dtype not in (np.float16, np.float32, np.float64) or sides == ():
        what = "a single number" if sides == () else f"of type {given.dtype}"
        raise ValueError(
            f"input {name!r} is {what}, where noise must be an array of float16, float32 or float64 with a batch axis "
            f"first; if it takes the condition, give condition_input={name!r}, else make it a constant of the graph"
        )
    inner = (None,) if sides is None else sides[1:]
    if shape is not None and (sides is None or fits(tuple(shape), inner)):
        return tuple(shape)
    known = tuple(side for side in inner if side is not None)
    if shape is None and len(known) == len(inner):
        return known
    found = (
        "of unknown rank" if sides is None else f"of shape ({', '.join('?' if s is None else str(s) for s in inner)})"
    )
    raise ValueError(
        f"input {name!r} is {found} for one sample in the graph, and shapes says {shape}; give it without the batch "
        f"axis, such as shapes={{{name!r}: (3, 32, 32)}}"
    )


def fits(shape: Shape, sides: Sequence[int | None]) -> bool:
    """Return True if a shape has the lengths `sides` of an input's axes, where None allows any length."""
    return len(shape) == len(sides) and all(b in (None, a) for a, b in zip(shape, sides, strict=True))


def batch_size_of(inputs: Sequence[Input]) -> int | None:
    """Return the number of rows that the graph takes at a time; None for any number."""
    if not inputs:
        raise ValueError("the graph has no input for noise, so that its samples would all be equal; give it one")
    sizes = {one.name: one.sides[0] for one in inputs if one.sides}
    fixed = {size for size in sizes.values() if size is not None}
    if len(fixed) > 1:
        raise ValueError(
            f"the inputs have leading axes of {sizes}, where all must be the same number of samples; export the "
            "model with one batch size, or with a symbolic one"
        )
    return next(iter(fixed), None)


def imported(module: str) -> ModuleType:
    """Return a module that is imported, or raise an error that names the extra to install."""
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"ONNX graphs need {module}, which is not installed; install the extra: pip install 'mcgen-stats[onnx]'"
        ) from error
