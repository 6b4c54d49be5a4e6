r"""What the network of a diffusion model predicts: the noise, the sample, or the velocity.

With :math:`x_t = \sqrt{\bar\alpha_t}\, x_0 + \sqrt{1 - \bar\alpha_t}\, \varepsilon` the velocity is [1]_
:math:`v = \sqrt{\bar\alpha_t}\,\varepsilon - \sqrt{1 - \bar\alpha_t}\,x_0`.

.. rubric:: References

.. [1] T. Salimans, J. Ho (2022). Progressive distillation for fast sampling of diffusion models. ICLR. Appendix D.
"""

from __future__ import annotations

import math
from typing import Literal

import torch

Prediction = Literal["noise", "sample", "velocity"]


def split_prediction(
    prediction: Prediction, x: torch.Tensor, output: torch.Tensor, alpha_bar: float
) -> tuple[torch.Tensor, torch.Tensor]:
    r"""Return the predicted sample and noise for a network's output, reference 1 of the module.

    With :math:`a = \sqrt{\bar\alpha}` and :math:`b = \sqrt{1 - \bar\alpha}` they solve
    :math:`x = a\, x_0 + b\, \varepsilon`. For a velocity v they are :math:`x_0 = a x - b v` and
    :math:`\varepsilon = b x + a v`.
    """
    signal, noise = math.sqrt(alpha_bar), math.sqrt(1 - alpha_bar)
    if prediction == "noise":
        return (x - noise * output) / signal, output
    if prediction == "sample":
        return output, (x - signal * output) / noise
    return signal * x - noise * output, noise * x + signal * output
