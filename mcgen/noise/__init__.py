"""What a model is fed: the declaration of its noise, random numbers as pure functions, directions."""

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
