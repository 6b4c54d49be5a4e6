r"""ONNX graphs as generators, run by onnxruntime: noise in, samples out, in numpy; no torch.

A graph is a generator where all its noise are inputs. The operators of ONNX [1]_ that draw have no input for it:

    RandomNormal, RandomNormalLike      x = mean + scale z,         z ~ N(0, 1)
    RandomUniform, RandomUniformLike    x = low + (high - low) u,   u ~ U(0, 1)

so `noise_inputs` puts these formulas in their place, with z and u as inputs of the graph that designs can act on. The
others (Multinomial, Bernoulli, Dropout in training mode) are no fixed functions of such noise here, and are refused.

.. rubric:: References

.. [1] ONNX Operator Schemas, RandomNormal-22, RandomNormalLike-22, RandomUniform-22, RandomUniformLike-22.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from os import PathLike, fspath
from types import ModuleType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen.noise import Block, Law, Noise, NoiseSpec, Shape

Array = NDArray[Any]

_STEERED = ("RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
_REFUSED = ("Multinomial", "Bernoulli")
_NOTE = "noise of law "


@dataclass(frozen=True)
class _Input:
    """An input of a graph.

    Attributes
    ----------
    name : str
        As in the graph.
    dtype : numpy.dtype or None
        None for what is no array of numbers.
    sides : tuple of int and None, or None
        The batch axis first, None for open sides; None for an unknown rank.
    law : {"normal", "uniform"}
        As `noise_inputs` wrote it down, else normal.
    """

    name: str
    dtype: np.dtype[Any] | None
    sides: tuple[int | None, ...] | None
    law: Law


class OnnxGenerator:
    """A graph whose noise are its inputs; made by `from_onnx`.

    Attributes
    ----------
    noise : NoiseSpec
        One block for each noise input, in the graph's order and by its name.
    batch_size : int or None
        Rows that the graph takes at a time, None for any number. Noise of other lengths is cut into slices, the last
        one filled.
    """

    def __init__(
        self,
        session: Any,
        inputs: Sequence[_Input],
        noise: NoiseSpec,
        batch_size: int | None,
        condition_input: _Input | None,
        outputs: Sequence[str],
        name: str,
    ) -> None:
        self.session, self.noise, self.batch_size, self.name = session, noise, batch_size, name
        self._inputs, self._condition_input, self._outputs = inputs, condition_input, [*outputs]

    def __call__(self, noise: Noise, condition: Any = None) -> Array | tuple[Array, ...]:
        """Return the samples of `noise`, a tuple where the graph has several outputs; float16 becomes float32.

        Parameters
        ----------
        noise : ndarray of shape (n, ...), or a mapping of such arrays
            As drawn by a design.
        condition : array_like, optional
            For the condition's input: the value of one sample, which all rows get.

        Raises
        ------
        ValueError
            If there is a condition and no input for it, or the reverse; or the outputs' leading axis is not that of
            the noise.
        """
        if (condition is None) != (self._condition_input is None):
            raise ValueError(
                f"{self.name!r} has {'no' if self._condition_input is None else 'an'} input for a condition; got "
                f"condition={condition!r}. Say which it is by from_onnx(..., condition_input=name)"
            )
        given = noise if isinstance(noise, Mapping) else {self.noise.blocks[0][0]: noise}
        blocks = {wanted.name: np.asarray(given[wanted.name], wanted.dtype) for wanted in self._inputs}
        n = len(next(iter(blocks.values())))
        size = self.batch_size or n
        parts = [self._run(blocks, range(start, min(start + size, n)), size, condition) for start in range(0, n, size)]
        samples = tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return samples if len(samples) > 1 else samples[0]

    def _run(self, blocks: dict[str, Array], rows: range, size: int, condition: Any) -> list[Array]:
        """Return the outputs for some rows, which the first of them fill up to the graph's batch size."""
        taken = np.resize(np.arange(rows.start, rows.stop), size)
        feeds = {name: block if len(block) == size else block[taken] for name, block in blocks.items()}
        if self._condition_input is not None:
            value = np.asarray(condition, self._condition_input.dtype)
            lone = self._condition_input.sides == ()
            feeds[self._condition_input.name] = value if lone else np.broadcast_to(value, (size, *value.shape))
        outputs = self.session.run(self._outputs, feeds)
        for name, output in zip(self._outputs, outputs, strict=True):
            if np.shape(output)[:1] != (size,):
                raise ValueError(
                    f"output {name!r} of {self.name!r} has shape {np.shape(output)} for {size} rows of noise, where "
                    f"its leading axis must be {size}; choose outputs that are samples by from_onnx(..., outputs=[...])"
                )
        wide = (output.astype(np.float32) if output.dtype == np.float16 else output for output in outputs)
        return [output[: len(rows)] for output in wide]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({self.name}, noise={self.noise})"


def from_onnx(
    model: str | PathLike[str] | Any,
    *,
    condition_input: str | None = None,
    outputs: Sequence[str] | None = None,
    shapes: Mapping[str, Shape] | None = None,
    laws: Mapping[str, Law] | None = None,
    providers: Sequence[str] = ("CPUExecutionProvider",),
    options: Any = None,
    name: str | None = None,
) -> OnnxGenerator:
    """Take an ONNX graph as a generator: each of its inputs, but that of the condition, is a block of noise.

    Parameters
    ----------
    model : path or onnx.ModelProto
        The graph. Where it draws inside, give ``noise_inputs(model)``.
    condition_input : str, optional
        The input that takes the condition: its value for one sample, given to all rows.
    outputs : sequence of str, optional
        Those that are samples; by default all.
    shapes : mapping of str to tuple of int, optional
        Shapes for one sample, without the batch axis, of inputs for which the graph leaves sides open.
    laws : mapping of str to {"normal", "uniform"}, optional
        Of the noise inputs; by default what `noise_inputs` wrote down, else normal.
    providers : sequence of str
        Of onnxruntime, such as ``("CUDAExecutionProvider",)``.
    options : onnxruntime.SessionOptions, optional
        Such as the number of threads, ``options.intra_op_num_threads = 1``.
    name : str, optional
        How results call the generator.

    Raises
    ------
    ImportError
        If onnx or onnxruntime is not installed.
    ValueError
        If the graph draws inside; if an input is no floating-point array with a batch axis, has sides that are not
        known, or another batch size than the others; if a name is not among the graph's.

    Examples
    --------
    >>> import numpy as np
    >>> import onnx.parser
    >>> from mcgen.adapters.onnx import from_onnx
    >>> graph = onnx.parser.parse_model('<ir_version: 8, opset_import: ["" : 17]>'
    ...     'decoder (float[batch, 4] z) => (float[batch, 4] x) { x = Sigmoid(z) }')
    >>> generator = from_onnx(graph)
    >>> generator
    OnnxGenerator(decoder, noise=normal(4) float32)
    >>> generator(np.zeros((2, 4), np.float32)).tolist()
    [[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]]
    """
    runtime = _imported("onnxruntime")
    proto = _loaded(model, weights=False)
    _require_no_draws(proto)
    inputs = {one.name: one for one in _inputs_of(proto)}
    results = [value.name for value in proto.graph.output]
    _require_known("condition_input", [condition_input] if condition_input else [], inputs)
    _require_known("shapes", shapes or {}, inputs)
    _require_known("laws", laws or {}, inputs)
    _require_known("outputs", outputs or [], results)
    condition = inputs.pop(condition_input) if condition_input else None
    batch_size = _batch_size_of([*inputs.values()])
    blocks = {
        one.name: Block(_sample_shape(one, (shapes or {}).get(one.name)), (laws or {}).get(one.name, one.law))
        for one in inputs.values()
    }
    source = fspath(model) if isinstance(model, str | PathLike) else model.SerializeToString()
    session = runtime.InferenceSession(source, options, providers=[*providers])
    double = any(one.dtype == np.float64 for one in inputs.values())
    return OnnxGenerator(
        session,
        [*inputs.values()],
        NoiseSpec(tuple(blocks.items()), "float64" if double else "float32"),
        batch_size,
        condition,
        outputs or results,
        name or proto.graph.name or "onnx",
    )


def noise_inputs(model: str | PathLike[str] | Any) -> Any:
    """Return the model with the noise that its graph draws as inputs: z or u, standard, and named "noise_0", ...

    Parameters
    ----------
    model : path or onnx.ModelProto
        Not changed.

    Returns
    -------
    onnx.ModelProto
        Whose new inputs have the shapes of the draws as far as shape inference finds them, and their laws written down
        for `from_onnx`. An input that told a draw its shape and nothing else is gone.

    Raises
    ------
    ValueError
        If the graph draws nothing that can become an input, or draws inside a loop or a branch, where the number of
        draws is not known.

    Examples
    --------
    >>> import onnx.parser
    >>> from mcgen.adapters.onnx import from_onnx, noise_inputs
    >>> graph = onnx.parser.parse_model('''<ir_version: 8, opset_import: ["" : 17]>
    ...     vae (float[batch, 4] mean) => (float[batch, 4] x) {
    ...         noise = RandomNormalLike (mean)
    ...         sum = Add (mean, noise)
    ...         x = Sigmoid (sum)
    ...     }''')
    >>> from_onnx(noise_inputs(graph), condition_input="mean")
    OnnxGenerator(vae, noise=normal(4) float32)
    """
    onnx = _imported("onnx")
    # Exporters put draws into functions of the model; inlined they are nodes like any other.
    proto = _imported("onnx.inliner").inline_local_functions(_loaded(model, weights=True))
    graph = proto.graph
    for node in _inner_nodes(graph):
        if node.op_type in _STEERED:
            raise ValueError(
                f"{_label(node)} draws inside a loop or a branch, where the number of draws is not known; export the "
                "model with a fixed number of steps, unrolled"
            )
    if not any(node.op_type in _STEERED for node in graph.node):
        raise ValueError(f"the graph {graph.name!r} has none of {', '.join(_STEERED)}; give it to from_onnx as it is")
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    types = {value.name: value.type for value in [*inferred.value_info, *inferred.input, *inferred.output]}
    kept: list[Any] = []
    n_found = 0
    for node in graph.node:
        if node.op_type not in _STEERED:
            kept.append(node)
            continue
        value, formula = _as_input(node, _unused(f"noise_{n_found}", types), types, onnx)
        n_found += 1
        graph.input.append(value)
        kept += formula
    del graph.node[:]
    graph.node.extend(kept)
    _drop_unused_inputs(graph)
    onnx.checker.check_model(proto)
    return proto


def _as_input(node: Any, name: str, types: Mapping[str, Any], onnx: ModuleType) -> tuple[Any, list[Any]]:
    """Return a graph input for a draw's standard noise, and the nodes that make the draw's outcome from it."""
    told = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    found = types.get(node.output[0])
    like = types.get(node.input[0]) if node.input else None
    default = like.tensor_type.elem_type if like is not None else onnx.TensorProto.FLOAT
    element = told.get("dtype") or (found.tensor_type.elem_type if found is not None else 0) or default
    law = "normal" if "Normal" in node.op_type else "uniform"
    if law == "normal":
        shift, factor = told.get("mean", 0.0), told.get("scale", 1.0)
    else:
        shift, factor = told.get("low", 0.0), told.get("high", 1.0) - told.get("low", 0.0)
    value = onnx.helper.make_tensor_value_info(name, element, told.get("shape"), doc_string=_NOTE + law)
    if "shape" not in told and found is not None and found.tensor_type.HasField("shape"):
        value.type.tensor_type.shape.CopyFrom(found.tensor_type.shape)
    constant, operator = onnx.helper.make_tensor, onnx.helper.make_node
    numbers = {f"{name}_factor": factor, f"{name}_shift": shift}
    nodes = [
        operator("Constant", [], [key], value=constant(key, element, [], [number])) for key, number in numbers.items()
    ]
    nodes.append(operator("Mul", [name, f"{name}_factor"], [f"{name}_scaled"]))
    nodes.append(operator("Add", [f"{name}_scaled", f"{name}_shift"], [node.output[0]]))
    return value, nodes


def _drop_unused_inputs(graph: Any) -> None:
    used = {name for node in [*graph.node, *_inner_nodes(graph)] for name in node.input}
    used |= {value.name for value in graph.output}
    inputs = [value for value in graph.input if value.name in used]
    del graph.input[:]
    graph.input.extend(inputs)


def _unused(name: str, types: Mapping[str, Any]) -> str:
    while name in types:
        name += "_"
    return name


def _require_no_draws(proto: Any) -> None:
    functions = [node for function in proto.functions for node in function.node]
    constants = {tensor.name: tensor for tensor in proto.graph.initializer}
    constants |= {n.output[0]: n.attribute[0].t for n in proto.graph.node if n.op_type == "Constant"}
    inner = [*_inner_nodes(proto.graph), *functions, *(n for f in proto.functions for n in _inner_nodes(f))]
    nodes = [*proto.graph.node, *inner]
    steered = [node for node in nodes if node.op_type in _STEERED]
    if steered:
        raise ValueError(
            f"the graph draws its own noise, in {', '.join(map(_label, steered))}, which no design reaches; make it an "
            "input: from_onnx(noise_inputs(model))"
        )
    refused = [node for node in nodes if node.op_type in _REFUSED or _drops(node, constants)]
    if refused:
        raise ValueError(
            f"the graph draws random numbers in {', '.join(map(_label, refused))}, which can't be steered; export the "
            "model in evaluation mode, or make the outcome of the draw an input of the graph"
        )


def _drops(node: Any, constants: Mapping[str, Any]) -> bool:
    """Tell whether a node is Dropout in training mode, or may be."""
    if node.op_type != "Dropout" or len(node.input) < 3 or not node.input[2]:
        return False
    training = constants.get(node.input[2])
    return training is None or bool(_imported("onnx.numpy_helper").to_array(training))


def _inner_nodes(graph: Any) -> Iterator[Any]:
    """Yield the nodes of the graphs inside nodes: the bodies of loops and branches."""
    for node in graph.node:
        for attribute in node.attribute:
            for inner in [attribute.g, *attribute.graphs]:
                yield from inner.node
                yield from _inner_nodes(inner)


def _label(node: Any) -> str:
    return f"{node.op_type} (node {node.name or node.output[0]!r})"


def _loaded(model: str | PathLike[str] | Any, *, weights: bool) -> Any:
    onnx = _imported("onnx")
    return model if isinstance(model, onnx.ModelProto) else onnx.load(fspath(model), load_external_data=weights)


def _require_known(argument: str, names: Iterable[str], known: Iterable[str]) -> None:
    if not set(names) <= set(known):
        raise ValueError(f"{argument} names {', '.join(names)}; the graph has {', '.join(known)}")


def _inputs_of(proto: Any) -> Iterator[_Input]:
    """Yield the inputs of a graph, without weights that stand among them."""
    onnx = _imported("onnx")
    weights = {tensor.name for tensor in proto.graph.initializer}
    for value in proto.graph.input:
        tensor = value.type.tensor_type
        numbers = value.type.HasField("tensor_type") and tensor.elem_type != onnx.TensorProto.STRING
        dtype = np.dtype(onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type)) if numbers else None
        sides = tuple(dim.dim_value or None for dim in tensor.shape.dim) if tensor.HasField("shape") else None
        law: Law = "uniform" if value.doc_string == f"{_NOTE}uniform" else "normal"
        if value.name not in weights:
            yield _Input(value.name, dtype, sides, law)


def _sample_shape(given: _Input, shape: Shape | None) -> Shape:
    """Return the shape of a noise input for one sample, or refuse what can't be noise."""
    name, sides = given.name, given.sides
    if given.dtype not in (np.float16, np.float32, np.float64) or sides == ():
        what = "a single number" if sides == () else f"of type {given.dtype}"
        raise ValueError(
            f"input {name!r} is {what}, where noise must be an array of float16, float32 or float64 with a batch axis "
            f"first; where it takes the condition, say condition_input={name!r}, else make it a constant of the graph"
        )
    inner = (None,) if sides is None else sides[1:]
    if shape is not None and (sides is None or _fits(tuple(shape), inner)):
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


def _fits(shape: Shape, sides: Sequence[int | None]) -> bool:
    return len(shape) == len(sides) and all(b in (None, a) for a, b in zip(shape, sides, strict=True))


def _batch_size_of(inputs: Sequence[_Input]) -> int | None:
    """Return the rows that the graph takes at a time, None for any number."""
    if not inputs:
        raise ValueError("the graph has no input for noise, and its samples would all be equal; give it one")
    sizes = {one.name: one.sides[0] for one in inputs if one.sides}
    fixed = {size for size in sizes.values() if size is not None}
    if len(fixed) > 1:
        raise ValueError(
            f"the inputs have leading axes of {sizes}, where all must be the same number of samples; export the "
            "model with one batch size, or with a symbolic one"
        )
    return next(iter(fixed), None)


def _imported(module: str) -> ModuleType:
    try:
        return importlib.import_module(module)
    except ImportError as error:
        raise ImportError(
            f"ONNX graphs need {module}, which is not installed; install the extra: pip install 'mcgen-stats[onnx]'"
        ) from error
