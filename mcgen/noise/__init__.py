"""Noise: its declaration, random numbers as pure functions of seed and replicate, and directions in it."""

from mcgen.noise.spec import (
    Array,
    Block,
    BlockNoise,
    DType,
    Law,
    Noise,
    NoiseSpec,
    Shape,
    as_noise_spec,
    as_rows,
    change_noise,
    noise_of,
)

__all__ = [
    "Array",
    "Block",
    "BlockNoise",
    "DType",
    "Law",
    "Noise",
    "NoiseSpec",
    "Shape",
    "as_noise_spec",
    "as_rows",
    "change_noise",
    "noise_of",
]
