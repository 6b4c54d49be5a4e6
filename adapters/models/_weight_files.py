"""Files of weights in half precision, stored so that the wheel's compression works on them.

Compression by Huffman codes treats bytes alike. The high byte of a float16 (sign, exponent and two bits of the
mantissa) is predictable, the low byte is not. Stored apart, they take about 7 % less room in the wheel. So a tensor of
shape s is stored as bytes of shape (2, *s): first all high bytes, then all low bytes.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors.torch import load_file, save_file


def save_weights(weights: Mapping[str, torch.Tensor], path: Path) -> None:
    """Write tensors in half precision to a file in the safetensors format."""
    save_file({name: _planes(value) for name, value in weights.items()}, path)


def read_weights(path: Path) -> dict[str, torch.Tensor]:
    """Return the tensors of a file that `save_weights` wrote, in single precision."""
    return {name: _halves(planes).float() for name, planes in load_file(path).items()}


def _planes(value: torch.Tensor) -> torch.Tensor:
    """Return the high and the low bytes of a tensor in half precision, shape (2, ...)."""
    pairs = value.half().contiguous().reshape(-1, 1).view(torch.uint8)
    return torch.stack([pairs[:, 1], pairs[:, 0]]).reshape(2, *value.shape)


def _halves(planes: torch.Tensor) -> torch.Tensor:
    """Return the tensor in half precision whose bytes are these."""
    high, low = planes.reshape(2, -1)
    return torch.stack([low, high], dim=1).view(torch.float16).reshape(planes.shape[1:])
