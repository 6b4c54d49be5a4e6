"""ONNX graphs as generators: what from_onnx reads and refuses, and draws inside a graph turned into inputs."""

from __future__ import annotations

import io
import pickle
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from helpers import SEED, Z_LIMIT

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from onnx import TensorProto, helper, numpy_helper, parser  # noqa: E402

import mcgen  # noqa: E402
from mcgen import Antithetic, Block, NoiseSpec, Sobol  # noqa: E402
from mcgen.validation.conformance import check_generator  # noqa: E402


def graph(body: str, opset: int = 17) -> onnx.ModelProto:
    """A graph named model, from its text: inputs, outputs and nodes."""
    return parser.parse_model(f'<ir_version: 8, opset_import: ["" : {opset}]> model {body}')


def one_thread() -> onnxruntime.SessionOptions:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    return options


def from_onnx(model: object, **options: object):
    from mcgen.adapters.onnx import from_onnx

    return from_onnx(model, **{"options": one_thread()} | options)


def noise_inputs(model: object) -> onnx.ModelProto:
    from mcgen.adapters.onnx import noise_inputs

    return noise_inputs(model)


def network(leading: object, dtype: int = TensorProto.FLOAT) -> onnx.ModelProto:
    """tanh(z W) + 0.1 u, with z normal(8) and u uniform(3)."""
    weights = np.random.default_rng(0).standard_normal((8, 3)) / 3
    kind = helper.tensor_dtype_to_np_dtype(dtype)
    nodes = [
        helper.make_node("MatMul", ["z", "w"], ["zw"]),
        helper.make_node("Tanh", ["zw"], ["t"]),
        helper.make_node("Mul", ["u", "tenth"], ["v"]),
        helper.make_node("Add", ["t", "v"], ["x"]),
    ]
    values = [helper.make_tensor_value_info(name, dtype, [leading, side]) for name, side in (("z", 8), ("u", 3))]
    constants = [("w", weights), ("tenth", np.array(0.1))]
    initializers = [numpy_helper.from_array(array.astype(kind), name) for name, array in constants]
    output = [helper.make_tensor_value_info("x", dtype, [leading, 3])]
    made = helper.make_graph(nodes, "network", values, output, initializers)
    return helper.make_model(made, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def expected(z: np.ndarray, u: np.ndarray) -> np.ndarray:
    return np.tanh(z @ (np.random.default_rng(0).standard_normal((8, 3)) / 3)) + 0.1 * u


LAWS = {"u": "uniform"}
TYPES = [
    (TensorProto.FLOAT, "float32", 1e-6),
    (TensorProto.DOUBLE, "float64", 1e-14),
    (TensorProto.FLOAT16, "float32", 2e-3),
]


@pytest.mark.parametrize("leading", ["batch", None, 1, 4])
@pytest.mark.parametrize(("dtype", "noise", "tolerance"), TYPES)
def test_inputs_are_blocks_whatever_the_batch_size_and_type(
    leading: object, dtype: int, noise: str, tolerance: float
) -> None:
    generator = from_onnx(network(leading, dtype), laws=LAWS)
    assert generator.noise == NoiseSpec({"z": Block((8,)), "u": Block((3,), "uniform")}, noise)
    assert generator.batch_size == (leading if isinstance(leading, int) else None)
    rng = np.random.default_rng(SEED)
    z, u = rng.standard_normal((10, 8)).astype(noise), rng.random((10, 3)).astype(noise)
    x = generator({"z": z, "u": u})
    assert x.dtype == noise
    assert np.allclose(x, expected(z, u), atol=tolerance, rtol=0)
    # A model in float16 rounds to 2^-11 whatever the type of its samples.
    check_generator(generator, seed=SEED, tolerance=2e-3 if tolerance == 2e-3 else None).require()


def test_estimates_from_a_file_on_several_threads_are_those_of_numpy(tmp_path: Path) -> None:
    path = tmp_path / "network.onnx"
    onnx.save(network("batch"), path)
    options = {"design": Sobol(64), "n_evaluations": 6400, "seed": SEED}
    spec = NoiseSpec({"z": Block((8,)), "u": Block((3,), "uniform")})
    other = mcgen.as_generator(lambda noise: expected(noise["z"], noise["u"]), spec)
    in_numpy = mcgen.estimate(other, mcgen.statistics.pixel_mean, **options)
    for generator in (from_onnx(path, laws=LAWS), from_onnx(str(path), laws=LAWS, options=None, name="named")):
        result = mcgen.estimate(generator, mcgen.statistics.pixel_mean, **options)
        assert result.mean == pytest.approx(in_numpy.mean, abs=1e-6)
        again = mcgen.estimate(generator, mcgen.statistics.pixel_mean, **options)
        assert again.mean == result.mean
    assert repr(generator) == "OnnxGenerator(named, noise=z: normal(8), u: uniform(3) float32)"


def test_conditions_and_outputs() -> None:
    model = graph(
        """(float[n, 2] z, int64[n] label, float scale) => (float[n, 2] x, float[n] y, float total) {
            number = Cast <to = 1> (label)
            one = Constant <value = int64[1] {1}> ()
            column = Unsqueeze (number, one)
            x = Add (z, column)
            y = ReduceSum <keepdims = 0> (z, one)
            total = ReduceSum <keepdims = 0> (z)
        }"""
    )
    del model.graph.input[2]
    generator = from_onnx(model, condition_input="label", outputs=["x", "y"])
    z = np.random.default_rng(SEED).standard_normal((3, 2), dtype=np.float32)
    x, y = generator(z, 5)
    assert np.array_equal(x, z + 5)
    assert np.allclose(y, z.sum(axis=1))
    check_generator(generator, condition=5, seed=SEED).require()
    with pytest.raises(ValueError, match="'model' has an input 'label' for a condition: give condition= to estimate"):
        generator(z)
    with pytest.raises(ValueError, match="has no input for a condition; got condition=1. Name the input by"):
        from_onnx(network("n"))({"z": np.zeros((1, 8)), "u": np.zeros((1, 3))}, 1)
    with pytest.raises(ValueError, match=r"output 'total' .* has shape \(\) for 3 rows of noise, .* by .*outputs="):
        from_onnx(model, condition_input="label")(z, 5)
    with pytest.raises(ValueError, match="input 'label' is of type int64, .* give condition_input='label'"):
        from_onnx(model)


@pytest.mark.parametrize("label", [2.7, 2.0, "5", True, None])
def test_conditions_are_not_changed_to_fit_their_input(label: object) -> None:
    body = """(float[n, 2] z, int64[n] label, int8[n, 2] small) => (float[n, 2] x) {
        number = Cast <to = 1> (label)
        one = Constant <value = int64[1] {1}> ()
        column = Unsqueeze (number, one)
        x = Add (z, column)
    }"""
    model = graph(body)
    del model.graph.input[2]
    generator, z = from_onnx(model, condition_input="label"), np.zeros((2, 2), np.float32)
    assert generator(z, np.int32(5)).max() == 5
    with pytest.raises(
        (TypeError, ValueError), match=r"must be of type int64, as input 'label' .* got|give condition="
    ):
        generator(z, label)
    with pytest.raises(ValueError, match=r"condition must have shape \(\), that of one sample; got shape \(2,\)"):
        generator(z, np.array([1, 2]))
    small = graph(body.replace("int64[n]", "int8[n]"))
    del small.graph.input[2]
    with pytest.raises(TypeError, match="must be of type int8, .* got 300"):
        from_onnx(small, condition_input="label")(z, 300)


def test_uniform_noise_in_float16_stays_below_one() -> None:
    generator = from_onnx(graph("(float16[n] u) => (float16[n] x) { x = Identity (u) }"), laws={"u": "uniform"})
    almost = np.full(3, np.nextafter(np.float32(1), np.float32(0)))
    assert np.float16(almost[0]) == 1
    assert generator(almost).max() < 1


def test_pickled_generators_run_again() -> None:
    generator = from_onnx(network("n"), laws=LAWS)
    again = pickle.loads(pickle.dumps(generator))
    noise = {"z": np.ones((2, 8), np.float32), "u": np.ones((2, 3), np.float32) / 2}
    assert np.array_equal(again(noise), generator(noise))
    assert again.session.get_session_options().intra_op_num_threads == 1


@pytest.mark.parametrize(
    ("options", "kind", "message"),
    [
        ({"outputs": "x"}, TypeError, r"outputs must be a sequence of names, such as \['x'\]; got the text 'x'"),
        ({"providers": "CPUExecutionProvider"}, TypeError, "providers must be a sequence of names, such as"),
        (
            {"providers": ["Nowhere"]},
            ValueError,
            "providers names Nowhere; this onnxruntime has .*CPUExecutionProvider",
        ),
    ],
)
def test_options_that_are_refused(options: dict[str, object], kind: type[Exception], message: str) -> None:
    with pytest.raises(kind, match=message):
        from_onnx(network("n"), **options)


@pytest.mark.parametrize(("model", "advice"), [(3, "got int: export"), (b"", r"got bytes: give onnx.load_from_string")])
def test_what_is_no_graph_is_refused(model: object, advice: str) -> None:
    for function in (from_onnx, noise_inputs):
        with pytest.raises(TypeError, match=f"a graph is a path or an onnx.ModelProto; {advice}"):
            function(model)


def test_a_condition_without_axes_is_passed_as_it_is() -> None:
    generator = from_onnx(
        graph("(float[n, 2] z, float scale) => (float[n, 2] x) { x = Mul (z, scale) }"), condition_input="scale"
    )
    assert np.array_equal(generator(np.ones((3, 2), np.float32), 2.5), np.full((3, 2), 2.5))


SIDES = "(float[n, channels, 4] z) => (float[n, channels, 4] x) { x = Tanh (z) }"
REFUSED = [
    (SIDES, {}, r"input 'z' is of shape \(\?, 4\) for one sample .* shapes says None; give it without the batch"),
    (SIDES, {"shapes": {"z": (3, 5)}}, r"shapes says \(3, 5\)"),
    ("(float z) => (float x) { x = Tanh (z) }", {}, "input 'z' is a single number, where noise must be an array"),
    ("(string[n] z) => (string[n] x) { x = Identity (z) }", {}, "input 'z' is of type None"),
    ("(float[2, 3] z, float[4, 3] y) => (float[2, 3] x) { x = Tanh (z) }", {}, "leading axes of {'z': 2, 'y': 4}"),
    ("() => (float[1] x) { x = Constant <value = float[1] {1}> () }", {}, "the graph has no input for noise"),
    (SIDES, {"laws": {"u": "uniform"}}, "laws names u; the graph has z"),
    (SIDES, {"condition_input": "label"}, "condition_input names label; the graph has z"),
    (SIDES, {"outputs": ["y"]}, "outputs names y; the graph has x"),
    (SIDES, {"shapes": {"z": (3, 4)}, "laws": {"z": "cauchy"}}, "the law of a noise block must be one of"),
    (
        "(float[n, 4] z) => (float[n, 4] x) { e = RandomNormalLike (z) x = Add (z, e) }",
        {},
        r"draws its own noise, in RandomNormalLike \(node 'e'\).* from_onnx\(noise_inputs\(model\)\)",
    ),
    (
        "(float[n, 4] z) => (float[n, 4] x) { e = Bernoulli (z) x = Add (z, e) }",
        {},
        r"draws random numbers in Bernoulli \(node 'e'\), which can't be steered; export the model in evaluation mode",
    ),
    (
        """(float[n, 4] z) => (float[n, 4] x) {
            r = Constant <value = float {0.5}> ()
            on = Constant <value = bool {1}> ()
            x = Dropout (z, r, on)
        }""",
        {},
        r"draws random numbers in Dropout \(node 'x'\)",
    ),
    ("(float[n, 4] z, bool on) => (float[n, 4] x) { x = Dropout (z, , on) }", {}, r"in Dropout \(node 'x'\)"),
]


@pytest.mark.parametrize(("body", "options", "message"), REFUSED)
def test_graphs_that_are_refused(body: str, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        from_onnx(graph(body), **options)


def test_open_sides_are_given_and_dropout_in_evaluation_mode_passes() -> None:
    generator = from_onnx(graph(SIDES), shapes={"z": (3, 4)})
    assert generator.noise == NoiseSpec({"z": Block((3, 4))})
    assert generator(np.zeros((2, 3, 4), np.float32)).shape == (2, 3, 4)
    off = """(float[n, 4] z) => (float[n, 4] x) {
        r = Constant <value = float {0.5}> ()
        on = Constant <value = bool {0}> ()
        x = Dropout (z, r, on)
    }"""
    assert check_generator(from_onnx(graph(off)), seed=SEED).passed


SAMPLER = """(float[batch, 4] mean) => (float[batch, 4] x, float[batch, 4] v) {
    z = RandomNormalLike <mean = 1.0, scale = 2.0> (mean)
    u = RandomUniformLike <low = -1.0, high = 3.0> (z)
    v = RandomUniformLike (z)
    y = Add (mean, z)
    x = Add (y, u)
}"""


def test_draws_become_standard_inputs() -> None:
    model = graph(SAMPLER)
    before = model.SerializeToString()
    converted = noise_inputs(model)
    assert model.SerializeToString() == before
    generator = from_onnx(converted, condition_input="mean")
    names = {"noise_0": "normal", "noise_1": "uniform", "noise_2": "uniform"}
    assert generator.noise == NoiseSpec({name: Block((4,), law) for name, law in names.items()})
    rng = np.random.default_rng(SEED)
    z, u, v = (rng.standard_normal((5, 4)), rng.random((5, 4)), rng.random((5, 4)))
    x, w = generator({"noise_0": z, "noise_1": u, "noise_2": v}, np.arange(4))
    assert np.allclose(x, np.arange(4) + (1 + 2 * z) + (-1 + 4 * u), atol=1e-5)
    assert np.allclose(w, v, atol=1e-6)
    check_generator(generator, condition=np.arange(4), seed=SEED).require()
    pairs = Antithetic().draw(generator.noise, 4, SEED)
    there, back = (generator({name: block[:, i] for name, block in pairs.items()}, np.zeros(4))[0] for i in (0, 1))
    assert np.allclose(there + back, 4, atol=1e-5)


def test_the_graphs_own_draws_have_the_same_law() -> None:
    """Means and variances of the unchanged graph and of the changed one under independent noise; another scale shows."""
    model = graph(SAMPLER)
    mean = np.zeros((20_000, 4), np.float32)
    own = onnxruntime.InferenceSession(model.SerializeToString(), one_thread()).run(["x"], {"mean": mean})[0]
    generator = from_onnx(noise_inputs(model), condition_input="mean")
    noise = mcgen.MonteCarlo().draw(generator.noise, 20_000, SEED)
    ours = generator({name: block[:, 0] for name, block in noise.items()}, mean[0])[0]

    def far(a: np.ndarray, b: np.ndarray) -> bool:
        error = np.sqrt(a.var() / a.size + b.var() / b.size)
        return bool(abs(a.mean() - b.mean()) > Z_LIMIT * error)

    # Both have mean 2 and variance 4 + 16 / 12.
    assert not far(own, ours)
    assert not far((own - 2) ** 2, (ours - 2) ** 2)
    assert far((own - 2) ** 2, (1.1 * (ours - 2)) ** 2)


def test_draws_of_fixed_shape_run_in_slices_of_their_batch_size() -> None:
    body = "(float[n, 4] z) => (float[n, 4] x) { e = RandomNormal <shape = [ROWS, 4], dtype = 1> () x = Add (z, e) }"
    for rows in (1, 3):
        generator = from_onnx(noise_inputs(graph(body.replace("ROWS", str(rows)))))
        assert generator.batch_size == rows
        check_generator(generator, seed=SEED).require()


def test_a_draw_without_batch_axis_is_refused() -> None:
    """Taken for a batch of 4, its samples would be copies of one draw."""
    body = "(float[n, 4] z) => (float[n, 4] x) { e = RandomNormal <shape = [4], dtype = 1> () x = Add (z, e) }"
    generator = from_onnx(noise_inputs(graph(body)))
    assert generator.batch_size == 4
    rng = np.random.default_rng(SEED)
    with pytest.raises(
        ValueError, match="takes batches of 4, by .* 'noise_0', but one row's noise there changes other"
    ):
        generator({"z": rng.standard_normal((6, 4)), "noise_0": rng.standard_normal(6)})


def test_an_input_that_only_told_a_shape_is_gone() -> None:
    converted = noise_inputs(
        graph("(float[n, 4] shape) => (float[n, 4] x) { e = RandomNormalLike (shape) x = Tanh (e) }")
    )
    assert [value.name for value in converted.graph.input] == ["noise_0"]
    assert from_onnx(converted).noise == NoiseSpec({"noise_0": Block((4,))})


def test_a_shape_that_is_not_known_is_asked_for() -> None:
    body = "(float[n, 4] z, int64[2] to) => (float[n, k] x) { y = Reshape (z, to) e = RandomNormalLike (y) x = Add (y, e) }"
    converted = noise_inputs(graph(body))
    with pytest.raises(
        ValueError, match=r"input 'noise_0' is of .* for one sample .*shapes={'noise_0': \(3, 32, 32\)}"
    ):
        from_onnx(converted, condition_input="to")


def test_draws_in_functions_are_reached_and_those_in_branches_refused() -> None:
    text = """<ir_version: 8, opset_import: ["" : 17, "own" : 1]>
        model (float[n, 4] z) => (float[n, 4] x) { x = own.noisy (z) }
        <domain: "own", opset_import: ["" : 17]>
        noisy (a) => (b) { e = RandomNormalLike (a) b = Add (a, e) }"""
    model = parser.parse_model(text)
    with pytest.raises(ValueError, match="draws its own noise, in RandomNormalLike"):
        from_onnx(model)
    assert len(from_onnx(noise_inputs(model)).noise.blocks) == 2
    branch = graph(
        """(float[n, 4] z, bool on) => (float[n, 4] x) {
            x = If (on) <
                then_branch = yes () => (float[n, 4] a) { a = RandomNormalLike (z) },
                else_branch = no () => (float[n, 4] b) { b = Identity (z) }
            >
        }"""
    )
    with pytest.raises(ValueError, match=r"RandomNormalLike \(node 'a'\) draws inside a loop or a branch"):
        noise_inputs(branch)
    with pytest.raises(ValueError, match="draws its own noise, in RandomNormalLike"):
        from_onnx(branch, condition_input="on")
    with pytest.raises(ValueError, match="has none of RandomNormal, .*; give it to from_onnx as it is"):
        noise_inputs(network("n"))
    with pytest.raises(ValueError, match=r"draws random numbers in Bernoulli \(node 'e'\), which can't be steered"):
        noise_inputs(graph("(float[n, 4] z) => (float[n, 4] x) { e = Bernoulli (z) x = Add (z, e) }"))


@pytest.mark.usefixtures("one_torch_thread")
@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_an_exported_torch_model_gives_torchs_samples() -> None:
    torch = pytest.importorskip("torch")
    torch.manual_seed(0)
    decoder = torch.nn.Sequential(torch.nn.Linear(8, 32), torch.nn.SiLU(), torch.nn.Linear(32, 48), torch.nn.Sigmoid())

    class Reconstruction(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.decoder = decoder

        def forward(self, mean: torch.Tensor) -> torch.Tensor:
            return self.decoder(mean + 0.5 * torch.randn_like(mean)).reshape(-1, 3, 4, 4)

    file = io.BytesIO()
    axes = {"mean": {0: "batch"}, "image": {0: "batch"}}
    torch.onnx.export(
        Reconstruction().eval(), (torch.zeros(2, 8),), file, dynamo=False, input_names=["mean"], output_names=["image"], dynamic_axes=axes
    )  # fmt: skip
    generator = from_onnx(noise_inputs(onnx.load_from_string(file.getvalue())), condition_input="mean")
    assert generator.noise == NoiseSpec({"noise_0": Block((8,))})
    mean, z = np.arange(8, dtype=np.float32) / 8, np.random.default_rng(SEED).standard_normal((5, 8), dtype=np.float32)
    with torch.no_grad():
        images = decoder(torch.from_numpy(mean + 0.5 * z)).reshape(-1, 3, 4, 4).numpy()
    assert np.allclose(generator(z, mean), images, atol=1e-6)
    assert not np.allclose(generator(z, mean), generator(-z, mean), atol=1e-2)
    check_generator(generator, condition=mean, seed=SEED).require()


@pytest.mark.parametrize("missing", ["onnx", "onnxruntime"])
def test_what_is_missing_is_named(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, missing, None)
    with pytest.raises(ImportError, match=rf"need {missing}, which is not installed; .*'mcgen-stats\[onnx\]'"):
        from_onnx(network("n"), options=None)


def test_it_needs_no_torch() -> None:
    code = "import sys; sys.modules['torch'] = None; import mcgen.adapters.onnx"
    subprocess.run([sys.executable, "-c", code], check=True)
