"""A network in bfloat16, for tests of loops that keep their states in float32; needs torch."""

from __future__ import annotations

from collections.abc import Callable

import torch


class HalfNetwork(torch.nn.Module):
    """A denoiser or a velocity whose numbers are rounded to bfloat16, as a network in it would round them."""

    def __init__(self, exact: Callable[..., torch.Tensor]) -> None:
        super().__init__()
        self.exact, self.weight = exact, torch.nn.Parameter(torch.zeros(1, dtype=torch.bfloat16))

    def forward(self, x: torch.Tensor, time: torch.Tensor, condition: object = None) -> torch.Tensor:
        assert x.dtype == torch.bfloat16
        assert time.dtype == torch.float32
        return self.exact(x.double(), time.double(), condition).to(x.dtype)
