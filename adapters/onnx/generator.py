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

from collections.abc import Iterator, Mapping, Sequence
from os import PathLike, fspath
from types import ModuleType
from typing import Any

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
    """A graph whose noise are its inputs; made by `from_onnx`.

    Attributes
    ----------
    noise : NoiseSpec
        One block for each noise input, in the graph's order and by its name.
    batch_size : int or None
        Rows that the graph takes at a time, None for any number. Noise of other lengths is cut into slices, the last
        one filled.

    Notes
    -----
    A generator can be pickled, with its graph or the path of it; of the options their attributes are kept, not the
    entries that were added by name. Stores know it by its graph, or the content of the files when they were loaded; a
    process in which these are others refuses to load them.
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
            If there is a condition and no input for it, or the reverse, or it is of another shape; if the outputs'
            leading axis is not that of the noise; or if rows of a fixed batch depend on each other.
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
        """Return the outputs for some rows, which the first of them fill up to the graph's batch size."""
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
        """Return a condition as its input takes it, or refuse what would have to be changed for that."""
        wanted = self._condition_input
        if wanted is None and condition is not None:
            raise ValueError(
                f"{self.name!r} has no input for a condition; got condition={condition!r}. Say which it is by "
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
        """Refuse, once, a fixed batch in which one row's noise reaches other rows: its axis would be no batch axis."""
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
                        "row's noise there changes other rows: the axis is none of samples. Export the model with a "
                        "batch axis in all noise, or a leading axis of 1"
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
                    f"{file} is not what it was when {self.name!r} was made of it; call from_onnx again after a "
                    "change, and give all processes the same file"
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
    TypeError
        If `model` is neither a path nor a ModelProto, or a sequence of names is one text.
    ValueError
        If the graph draws inside; if a provider is not there; if an input is no floating-point array with a batch
        axis, has sides that are not known, or another batch size than the others; if a name is not among the graph's.

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
    onnx = imported("onnx")
    # Exporters put draws into functions of the model; inlined they are nodes like any other.
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
    value = onnx.helper.make_tensor_value_info(name, element, told.get("shape"), doc_string=NOTE + law)
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
            f"providers names {', '.join(names)}; this onnxruntime has {', '.join(there)}. Install the package that "
            "brings it, such as onnxruntime-gpu"
        ) from None


def _values_of(options: Any) -> dict[str, Any] | None:
    """Return the attributes of session options, which can't be pickled themselves."""
    if options is None:
        return None
    values = {name: getattr(options, name) for name in dir(options) if not name.startswith("_")}
    return {name: value for name, value in values.items() if not callable(value)}


def _cast(noise: Any, dtype: np.dtype[Any] | None, law: Law) -> Array:
    """Return noise in an input's type; rounding would reach 1, which no uniform noise is."""
    block: Array = np.asarray(noise, dtype)
    return np.minimum(block, np.nextafter(block.dtype.type(1), block.dtype.type(0))) if law == "uniform" else block
