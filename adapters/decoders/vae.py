r"""Variational autoencoders as generators: they decode noise from the prior, or reconstruct a given image.

A decoder maps a latent vector with the prior :math:`z \sim N(0, I)` to the mean of :math:`p(x | z)` [1]_, which is the
sample here. An encoder returns the mean and the log variance of a Gaussian :math:`q(z | x)` that approximates the
posterior. A reconstruction decodes

.. math:: z = \mu(x) + \sigma(x)\, \varepsilon, \qquad \varepsilon \sim N(0, I),

equation (10) of [1]_. So the noise is standard normal, and :math:`-\varepsilon` has the same law.

.. rubric:: References

.. [1] D. Kingma, M. Welling (2014). Auto-encoding variational Bayes. ICLR.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from typing import Any

import torch

from mcgen.adapters.tensors.floats import as_floats
from mcgen.adapters.tensors.torch_generator import TorchGenerator, owners_of
from mcgen.noise import Shape

Encoder = Callable[[torch.Tensor], tuple[torch.Tensor, torch.Tensor]]
"""Maps images (1, ...) to the mean and the log variance (1, *latent_shape) of their latent vectors."""


class VAE(TorchGenerator):
    """The decoder of a VAE as a generator. Its noise is the latent vector.

    With an encoder, `reconstruction` gives the generator of reconstructions of one image.

    Parameters
    ----------
    decoder : callable
        ``decoder(z)``, or ``decoder(z, condition)`` if a condition is given, returns n samples for latent vectors
        (n, ...). A module, a method of a module, or a function that runs them.
    latent_shape : tuple of int
        Shape of one latent vector.
    encoder : callable, optional
        See `Encoder`. It is needed for `reconstruction`.
    modules : torch.nn.Module or iterable of them, optional
        The networks that decoder and encoder run. By default the decoder and the encoder if they are modules, or the
        modules whose methods they are.
    name : str, optional
        The generator's name in results.

    Raises
    ------
    TypeError
        If the decoder or the encoder is not callable. In a call, if a condition is given and the decoder takes none.

    Examples
    --------
    >>> import torch
    >>> from mcgen.adapters import VAE
    >>> decoder = torch.nn.Sequential(torch.nn.Linear(2, 9), torch.nn.Sigmoid()).eval()
    >>> VAE(decoder, (2,), name="tiny VAE")
    VAE(tiny VAE, noise=normal(2) float32)
    """

    def __init__(
        self,
        decoder: Callable[..., torch.Tensor],
        latent_shape: Shape,
        *,
        encoder: Encoder | None = None,
        modules: torch.nn.Module | Iterable[torch.nn.Module] | None = None,
        name: str | None = None,
    ) -> None:
        if not callable(decoder) or not (encoder is None or callable(encoder)):
            raise TypeError(
                f"a VAE takes a callable decoder, and a callable encoder or none; got {decoder!r} and {encoder!r}"
            )
        self.encoder = encoder
        modules = owners_of(decoder, encoder) if modules is None else modules
        super().__init__(decoder, latent_shape, modules=modules, name=name)

    def reconstruction(self) -> TorchGenerator:
        """Return the generator of reconstructions of one image. The image, without a leading axis, is the condition.

        Raises
        ------
        TypeError
            In a call, if the condition is not an array of floats, or the encoder does not return two tensors.
        ValueError
            If the VAE has no encoder. In a call, if the condition is None, or the mean and the log variance do not have
            the shape of the decoder's latent vectors.
        """
        if self.encoder is None:
            raise ValueError(f"{self.name!r} has no encoder to reconstruct by; make the VAE with encoder=")
        return TorchGenerator(
            self._reconstruct,
            self.noise,
            device=self.device,
            dtype=self.dtype,
            modules=self.modules,
            name=f"{self.name} reconstruction",
        )

    def _reconstruct(self, noise: torch.Tensor, condition: Any = None) -> torch.Tensor:
        if condition is None or self.encoder is None:
            raise ValueError(f"{self.name!r} reconstructs an image: pass it as condition")
        # The image is encoded once for the whole batch.
        x = as_floats(condition).to(noise)[None]
        encoded = self.encoder(x)
        if not isinstance(encoded, tuple | list) or [isinstance(part, torch.Tensor) for part in encoded] != [True] * 2:
            found = f"{len(encoded)} things" if isinstance(encoded, tuple | list) else type(encoded).__name__
            raise TypeError(f"the encoder of {self.name!r} must return mean and log variance, two tensors; got {found}")
        mean, log_variance = encoded
        if mean.shape != (1, *noise.shape[1:]) or log_variance.shape != mean.shape:
            raise ValueError(
                f"the encoder of {self.name!r} gave a mean of shape {tuple(mean.shape)} and a log variance of "
                f"{tuple(log_variance.shape)} for one image of {tuple(x.shape[1:])}; both must be "
                f"{(1, *noise.shape[1:])}, as the decoder takes them"
            )
        samples: torch.Tensor = self.function(mean + (log_variance / 2).exp() * noise)
        return samples
