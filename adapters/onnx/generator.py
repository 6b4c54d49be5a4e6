r"""ONNX graphs as generators, run by onnxruntime on numpy arrays, without torch.

A graph is a generator if all its noise comes from inputs. The random operators of ONNX [1]_ have no input for noise:

    RandomNormal, RandomNormalLike      x = mean + scale z,         z ~ N(0, 1)
    RandomUniform, RandomUniformLike    x = low + (high - low) u,   u ~ U(0, 1)

so `noise_inputs` replaces them by these formulas. Then z and u are inputs of the graph, and designs can act on them.
The other random operators (Multinomial, Bernoulli, Dropout in training mode) are refused.

.. rubric:: References

.. [1] ONNX Operator Schemas, RandomNormal-22, RandomNormalLike-22, RandomUniform-22, RandomUniformLike-22.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike, fspath
from types import ModuleType
from typing import Any, NoReturn

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import as_numpy, gap_between, tolerance_of
from mcgen._lib.fingerprints import content_of_file
from mcgen.adapters.onnx.graph import (
    NOTE,
    STEERED,
    Input,
    batch_size_of,
    external_files,
    fits,
    imported,
    inner_nodes,
    inputs_of,
    label,
    loaded,
    require_known,
    require_no_draws,
    sample_shape,
)
from mcgen.noise import Block, Law, Noise, NoiseSpec, Shape

Array = NDArray[Any]


class OnnxGenerator:
    """An ONNX graph as a generator. Its inputs are the noise. `from_onnx` makes it.

    Attributes
    ----------
    noise : NoiseSpec
        One block for each noise input, in the order of the graph and by the input's name.
    batch_size : int or None
        Number of rows that the graph takes at a time; None for any number. Other noise is cut into slices, and the last
        slice is filled with repeated rows.

    Notes
    -----
    A generator can be pickled, with its graph or the path of the graph. Session options are kept by their attributes,
    without the entries that were added by name. A store recognizes the generator by its graph, or by the content of the
    files when they were loaded. A process in which the files have other content refuses to load them.

    Examples
    --------
    A graph whose input "label" is the condition:

    >>> import numpy as np
    >>> import onnx.parser
    >>> from mcgen.adapters import from_onnx
    >>> graph = onnx.parser.parse_model('<ir_version: 8, opset_import: ["" : 17]>'
    ...     'shifted (float[batch, 4] z, float[batch] label) => (float[batch, 4] x)'
    ...     '{ axis = Constant <value_ints = [1]> ()'
    ...     ' column = Unsqueeze (label, axis) x = Add (z, column) }')
    >>> generator = from_onnx(graph, condition_input="label")
    >>> generator
    OnnxGenerator(shifted, noise=normal(4) float32)
    >>> generator(np.zeros((2, 4), np.float32), 3).tolist()
    [[3.0, 3.0, 3.0, 3.0], [3.0, 3.0, 3.0, 3.0]]
    """

    def __init__(
        self,
        source: str | bytes,
        options: Any,
        providers: Sequence[Any],
        inputs: Sequence[Input],
        noise: NoiseSpec,
        batch_size: int | None,
        condition_input: Input | None,
        outputs: Sequence[str],
        name: str,
        files: Sequence[str] = (),
    ) -> None:
        self._files = {file: content_of_file(file) for file in files}
        self.fingerprint: str | None = None
        self.noise, self.batch_size, self.name = noise, batch_size, name
        self._source, self._options, self._providers = source, _values_of(options), [*providers]
        self.session = imported("onnxruntime").InferenceSession(source, options, providers=self._providers)
        self._rows_are_apart = batch_size in (None, 1)
        self._inputs, self._condition_input, self._outputs = inputs, condition_input, [*outputs]

    def to(self, device: object) -> NoReturn:
        """Refuse to move: the providers of ONNX Runtime say where a graph runs."""
        raise TypeError(
            f"an ONNX graph runs where its providers say; got .to({device!r}). Give from_onnx(..., "
            "providers=['CUDAExecutionProvider', 'CPUExecutionProvider']), with onnxruntime-gpu installed"
        )

    def __call__(self, noise: Noise, condition: Any = None) -> Array | tuple[Array, ...]:
        """Return the samples of `noise`, in float32 or better; a tuple of arrays if the graph has several outputs.

        Parameters
        ----------
        noise : ndarray of shape (n, ...), or a mapping of such arrays
            As drawn by a design.
        condition : array_like, optional
            The condition of one sample. All rows get it as the value of the condition's input.

        Raises
        ------
        ValueError
            If there is a condition and no input for it, or the reverse, or the condition has another shape than the
            input. If the outputs have another number of rows than the noise. If rows of a fixed batch depend on each
            other.
        TypeError
            If the condition is not of its input's type.
        """
        condition = self._checked_condition(condition)
        given = noise if isinstance(noise, Mapping) else {self.noise.blocks[0][0]: noise}
        blocks = {one.name: _cast(given[one.name], one.dtype, law) for one, law in self._inputs_and_laws()}
        n = len(next(iter(blocks.values())))
        size = self.batch_size or n
        if not self._rows_are_apart:
            self._require_rows_apart(blocks, size, condition)
        parts = [self._run(blocks, range(start, min(start + size, n)), size, condition) for start in range(0, n, size)]
        samples = tuple(np.concatenate(arrays) for arrays in zip(*parts, strict=True))
        return samples if len(samples) > 1 else samples[0]

    def _run(self, blocks: dict[str, Array], rows: range, size: int, condition: Any) -> list[Array]:
        """Return the outputs for some rows; the rows are repeated up to the graph's batch size."""
        taken = np.resize(np.arange(rows.start, rows.stop), size)
        feeds = {name: block if len(block) == size else block[taken] for name, block in blocks.items()}
        if self._condition_input is not None:
            lone = self._condition_input.sides == ()
            feeds[self._condition_input.name] = (
                condition if lone else np.broadcast_to(condition, (size, *condition.shape))
            )
        outputs = self.session.run(self._outputs, feeds)
        for name, output in zip(self._outputs, outputs, strict=True):
            if np.shape(output)[:1] != (size,):
                raise ValueError(
                    f"output {name!r} of {self.name!r} has shape {np.shape(output)} for {size} rows of noise, where "
                    f"its leading axis must be {size}; choose outputs that are samples by from_onnx(..., outputs=[...])"
                )
        wide = (output.astype(np.float32) if output.dtype == np.float16 else output for output in outputs)
        return [output[: len(rows)] for output in wide]

    def _inputs_and_laws(self) -> Iterator[tuple[Input, Law]]:
        laws = {name: block.law for name, block in self.noise.blocks}
        return ((one, laws[one.name]) for one in self._inputs)

    def _checked_condition(self, condition: Any) -> Any:
        """Return a condition in its input's type, or refuse one whose shape or values would have to change."""
        wanted = self._condition_input
        if wanted is None and condition is not None:
            raise ValueError(
                f"{self.name!r} has no input for a condition; got condition={condition!r}. Name the input by "
                "from_onnx(..., condition_input=name)"
            )
        if wanted is None:
            return None
        if condition is None:
            raise ValueError(f"{self.name!r} has an input {wanted.name!r} for a condition: give condition= to estimate")
        value = as_numpy(condition)
        if wanted.sides is not None and not fits(value.shape, wanted.sides[1:]):
            shape = f"({', '.join('?' if s is None else str(s) for s in wanted.sides[1:])})"
            raise ValueError(f"condition must have shape {shape}, that of one sample; got shape {value.shape}")
        if wanted.dtype is None:
            return value
        kinds = {"f": "iuf", "i": "iu", "u": "iu"}.get(wanted.dtype.kind, wanted.dtype.kind)
        cast = value.astype(wanted.dtype) if value.dtype.kind in kinds else None
        if cast is None or (wanted.dtype.kind in "iu" and not np.array_equal(cast, value)):
            raise TypeError(
                f"condition must be of type {wanted.dtype}, as input {wanted.name!r} takes it; got {condition!r} of "
                f"type {value.dtype}. Convert it first"
            )
        return cast

    def _require_rows_apart(self, blocks: dict[str, Array], size: int, condition: Any) -> None:
        """Refuse a graph of fixed batch size if the noise of one row changes other rows. The test runs once."""
        rows = range(min(size, len(next(iter(blocks.values())))))
        if len(rows) < 2:
            return
        plain = self._run(blocks, rows, size, condition)
        for name, block in blocks.items():
            moved = block.copy()
            moved[0] = 0.5 * moved[0] + 0.3
            for a, b in zip(plain, self._run(blocks | {name: moved}, rows, size, condition), strict=True):
                if gap_between(a[1:], b[1:]) > tolerance_of(a):
                    raise ValueError(
                        f"{self.name!r} takes batches of {size}, by the leading axis of its input {name!r}, but one "
                        "row's noise there changes other rows, so that the axis is not a batch axis. Export the model "
                        "with a batch axis in all noise, or a leading axis of 1"
                    )
        self._rows_are_apart = True

    def __mcgen_content__(self, load: bool) -> Any:
        graph = self._source if isinstance(self._source, bytes) else [*self._files.values()]
        return (
            "OnnxGenerator",
            graph,
            self._options,
            self.batch_size,
            self._inputs,
            self._condition_input,
            self._outputs,
        )

    def __getstate__(self) -> dict[str, Any]:
        return {name: value for name, value in vars(self).items() if name != "session"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        vars(self).update(state)
        for file, content in self._files.items():
            if content_of_file(file) != content:
                raise RuntimeError(
                    f"{file} has changed since {self.name!r} was made of it; call from_onnx again after a change, and "
                    "give all processes the same file"
                )
        runtime = imported("onnxruntime")
        options = None if self._options is None else runtime.SessionOptions()
        for name, value in (self._options or {}).items():
            setattr(options, name, value)
        self.session = runtime.InferenceSession(self._source, options, providers=self._providers)

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
    """Return an ONNX graph as a generator. Each of its inputs, except that of the condition, is a block of noise.

    Use it for models exported from any framework. It needs onnxruntime and no torch.

    Parameters
    ----------
    model : path or onnx.ModelProto
        The graph. If it draws random numbers inside, give ``noise_inputs(model)``.
    condition_input : str, optional
        The name of the input that takes the condition.
    outputs : sequence of str, optional
        The names of the outputs that are samples. By default all outputs.
    shapes : mapping of str to tuple of int, optional
        Shapes of inputs for one sample, without the batch axis. They are needed for inputs with axes of open length.
    laws : mapping of str to {"normal", "uniform"}, optional
        The laws of noise inputs. By default the law that `noise_inputs` has stored in the graph, else normal.
    providers : sequence of str
        Execution providers of onnxruntime, such as ``("CUDAExecutionProvider",)``.
    options : onnxruntime.SessionOptions, optional
        Options of the session, such as the number of threads: ``options.intra_op_num_threads = 1``.
    name : str, optional
        The generator's name in results.

    Raises
    ------
    ImportError
        If onnx or onnxruntime is not installed.
    TypeError
        If `model` is neither a path nor a ModelProto, or a text is given where a sequence of names is needed.
    ValueError
        If the graph draws random numbers inside. If a provider is not available. If an input is not a floating-point
        array with a batch axis, has an axis of unknown length, or another batch size than the others. If the graph has
        no input or output of a given name.

    Examples
    --------
    >>> import numpy as np
    >>> import onnx.parser
    >>> from mcgen.adapters import from_onnx
    >>> graph = onnx.parser.parse_model('<ir_version: 8, opset_import: ["" : 17]>'
    ...     'decoder (float[batch, 4] z) => (float[batch, 4] x) { x = Sigmoid(z) }')
    >>> generator = from_onnx(graph)
    >>> generator
    OnnxGenerator(decoder, noise=normal(4) float32)
    >>> generator(np.zeros((2, 4), np.float32)).tolist()
    [[0.5, 0.5, 0.5, 0.5], [0.5, 0.5, 0.5, 0.5]]
    """
    _require_providers(providers)
    proto = loaded(model, weights=False)
    require_no_draws(proto)
    inputs = {one.name: one for one in inputs_of(proto)}
    results = [value.name for value in proto.graph.output]
    require_known("condition_input", [condition_input] if condition_input else [], inputs)
    require_known("shapes", shapes or {}, inputs)
    require_known("laws", laws or {}, inputs)
    require_known("outputs", outputs or [], results)
    condition = inputs.pop(condition_input) if condition_input else None
    batch_size = batch_size_of([*inputs.values()])
    blocks = {
        one.name: Block(sample_shape(one, (shapes or {}).get(one.name)), (laws or {}).get(one.name, one.law))
        for one in inputs.values()
    }
    source = fspath(model) if isinstance(model, str | PathLike) else model.SerializeToString()
    double = any(one.dtype == np.float64 for one in inputs.values())
    return OnnxGenerator(
        source,
        options,
        providers,
        [*inputs.values()],
        NoiseSpec(tuple(blocks.items()), "float64" if double else "float32"),
        batch_size,
        condition,
        outputs or results,
        name or proto.graph.name or "onnx",
        [source, *external_files(proto, source)] if isinstance(source, str) else (),
    )


def noise_inputs(model: str | PathLike[str] | Any) -> Any:
    """Return a model whose random operators are replaced by inputs "noise_0", "noise_1", ... for standard noise.

    Use it for a graph that draws its noise inside, before you give it to `from_onnx`.

    Parameters
    ----------
    model : path or onnx.ModelProto
        The model. It is not changed.

    Returns
    -------
    onnx.ModelProto
        The changed model. The new inputs have the shapes of the draws as far as shape inference finds them, and their
        laws are stored for `from_onnx`. An input that only gave a draw its shape is removed.

    Raises
    ------
    ValueError
        If the graph has no random operator that can become an input. If it draws inside a loop or a branch, where the
        number of draws is not known.

    Examples
    --------
    >>> import onnx.parser
    >>> from mcgen.adapters import from_onnx, noise_inputs
    >>> graph = onnx.parser.parse_model('''<ir_version: 8, opset_import: ["" : 17]>
    ...     vae (float[batch, 4] mean) => (float[batch, 4] x) {
    ...         noise = RandomNormalLike (mean)
    ...         sum = Add (mean, noise)
    ...         x = Sigmoid (sum)
    ...     }''')
    >>> from_onnx(noise_inputs(graph), condition_input="mean")
    OnnxGenerator(vae, noise=normal(4) float32)
    """
    onnx = imported("onnx")
    # Exporters put random operators into functions of the model. Inlining makes them nodes of the graph.
    proto = imported("onnx.inliner").inline_local_functions(loaded(model, weights=True))
    graph = proto.graph
    for node in inner_nodes(graph):
        if node.op_type in STEERED:
            raise ValueError(
                f"{label(node)} draws inside a loop or a branch, where the number of draws is not known; export the "
                "model with a fixed number of steps, unrolled"
            )
    if not any(node.op_type in STEERED for node in graph.node):
        require_no_draws(proto)
        raise ValueError(f"the graph {graph.name!r} has none of {', '.join(STEERED)}; give it to from_onnx as it is")
    inferred = onnx.shape_inference.infer_shapes(proto, data_prop=True).graph
    types = {value.name: value.type for value in [*inferred.value_info, *inferred.input, *inferred.output]}
    kept: list[Any] = []
    n_found = 0
    for node in graph.node:
        if node.op_type not in STEERED:
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
    """Return a graph input for the noise of a random node, and the nodes that compute the node's output from it."""
    given = {attribute.name: onnx.helper.get_attribute_value(attribute) for attribute in node.attribute}
    found = types.get(node.output[0])
    like = types.get(node.input[0]) if node.input else None
    default = like.tensor_type.elem_type if like is not None else onnx.TensorProto.FLOAT
    element = given.get("dtype") or (found.tensor_type.elem_type if found is not None else 0) or default
    law = "normal" if "Normal" in node.op_type else "uniform"
    if law == "normal":
        shift, factor = given.get("mean", 0.0), given.get("scale", 1.0)
    else:
        shift, factor = given.get("low", 0.0), given.get("high", 1.0) - given.get("low", 0.0)
    value = onnx.helper.make_tensor_value_info(name, element, given.get("shape"), doc_string=NOTE + law)
    if "shape" not in given and found is not None and found.tensor_type.HasField("shape"):
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
    used = {name for node in [*graph.node, *inner_nodes(graph)] for name in node.input}
    used |= {value.name for value in graph.output}
    inputs = [value for value in graph.input if value.name in used]
    del graph.input[:]
    graph.input.extend(inputs)


def _unused(name: str, types: Mapping[str, Any]) -> str:
    while name in types:
        name += "_"
    return name


def _require_providers(providers: Sequence[Any]) -> None:
    there = imported("onnxruntime").get_available_providers()
    # A provider may come with its options, as (name, options).
    names = providers if isinstance(providers, str) else [one if isinstance(one, str) else one[0] for one in providers]
    try:
        require_known("providers", names, there)
    except ValueError:
        raise ValueError(
            f"providers names {', '.join(names)}; this onnxruntime has {', '.join(there)}. Install the package with "
            "this provider, such as onnxruntime-gpu"
        ) from None


def _values_of(options: Any) -> dict[str, Any] | None:
    """Return the attributes of session options as a dict, which can be pickled."""
    if options is None:
        return None
    values = {name: getattr(options, name) for name in dir(options) if not name.startswith("_")}
    return {name: value for name, value in values.items() if not callable(value)}


def _cast(noise: Any, dtype: np.dtype[Any] | None, law: Law) -> Array:
    """Return noise in an input's type. Uniform noise is kept below 1, which rounding to the type could give."""
    block: Array = np.asarray(noise, dtype)
    return np.minimum(block, np.nextafter(block.dtype.type(1), block.dtype.type(0))) if law == "uniform" else block
