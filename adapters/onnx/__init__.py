"""ONNX graphs as generators; they need no torch."""

from mcgen.adapters.onnx.generator import OnnxGenerator, from_onnx, noise_inputs

__all__ = ["OnnxGenerator", "from_onnx", "noise_inputs"]
