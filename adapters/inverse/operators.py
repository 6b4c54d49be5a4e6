r"""Linear measurement operators of inverse problems on images, each with its adjoint.

A measurement of an image x is

.. math:: y = A x + \sigma n, \qquad n \sim N(0, I).

The adjoint :math:`A^\top` is the map with :math:`\langle A x, y \rangle = \langle x, A^\top y \rangle` for all x and y.
Where A is an orthogonal projection (inpainting) or a part of an orthonormal transform (masked Fourier),
:math:`A^\top y` is the image with zeros for all that was not measured. Both maps work on a batch, row by row, in the
dtype and on the device of their argument.

Blurring and averaging are separable: with one matrix for the rows and one for the columns,
:math:`A x = K_h x K_w^\top` and :math:`A^\top y = K_h^\top y K_w`. The masked Fourier operator describes magnetic
resonance imaging with a single coil [1]_. It measures whole lines of the Fourier plane, always including the middle
ones. The transform is orthonormal, and a measurement holds its real and its imaginary parts.

.. rubric:: References

.. [1] M. Lustig, D. Donoho, J. M. Pauly (2007). Sparse MRI: the application of compressed sensing for rapid MR imaging.
   Magnetic Resonance in Medicine 58(6).
"""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike, NDArray

from mcgen._lib.checks import checked_integer, checked_real
from mcgen.adapters.tensors.floats import as_floats
from mcgen.noise import Shape

# Range of the share of hidden pixels in random inpainting. With fewer the problem is easy, with more the measurement
# says little; any other mask can be given as an array.
_LEAST_HIDDEN, _MOST_HIDDEN = 0.3, 0.7

# Radius of the blur in standard deviations. There a Gaussian is below 4e-6 of its peak.
_REACH = 5.0


class Operator(ABC):
    """Base class of the measurement operators: a linear map from images to measurements, with its adjoint.

    For a measurement that is not among the shipped operators, write a subclass with `measurement_shape`, `apply` and
    `adjoint`.

    Attributes
    ----------
    shape : tuple of int
        Shape of one image.
    measurement_shape : tuple of int
        Shape of one measurement.

    Examples
    --------
    The mean of each row of pixels:

    >>> import numpy as np
    >>> from mcgen.adapters import Operator
    >>> class RowMeans(Operator):
    ...     shape = (1, 8, 8)
    ...     measurement_shape = (1, 8)
    ...     def apply(self, x):
    ...         return x.mean(-1)
    ...     def adjoint(self, y):
    ...         return y[..., None].expand(-1, *self.shape) / self.shape[-1]
    >>> RowMeans().measure(np.full((1, 8, 8), 0.5))
    array([[0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5, 0.5]])
    """

    shape: Shape

    @property
    @abstractmethod
    def measurement_shape(self) -> Shape:
        """Shape of one measurement."""

    @abstractmethod
    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """Return the noiseless measurements ``(n, *measurement_shape)`` of images ``(n, *shape)``."""

    @abstractmethod
    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """Return the images ``(n, *shape)`` that the adjoint makes of measurements ``(n, *measurement_shape)``."""

    def measure(self, image: Any, noise_sd: float = 0.0, noise: ArrayLike | None = None) -> NDArray[Any]:
        """Return a simulated measurement of one image.

        Parameters
        ----------
        image : array of shape `shape`
            An array of floats, of any library.
        noise_sd : float
            Standard deviation of the measurement's noise.
        noise : array of shape `measurement_shape`, optional
            Standard normal numbers; needed if `noise_sd` is above 0.

        Returns
        -------
        ndarray of shape `measurement_shape`

        Raises
        ------
        ValueError
            If a shape does not fit, `noise_sd` is below 0 or not finite, or the noise is missing or not finite.
        TypeError
            If the image or the noise is not an array of floats.
        """
        x = as_floats(image, "image")
        noise_sd = checked_real("noise_sd", noise_sd)
        if tuple(x.shape) != self.shape:
            raise ValueError(f"{self} measures one image of shape {self.shape}; got shape {tuple(x.shape)}")
        y: NDArray[Any] = self.apply(x[None])[0].numpy()
        if noise_sd < 0:
            raise ValueError(f"noise_sd must be at least 0; got {noise_sd}")
        if noise_sd == 0:
            return y
        if noise is None or np.shape(noise) != self.measurement_shape:
            found = "none" if noise is None else f"shape {np.shape(noise)}"
            raise ValueError(
                f"a measurement with noise_sd={noise_sd} needs standard normal numbers of shape "
                f"{self.measurement_shape} as noise; got {found}. Draw them by a random generator with a seed"
            )
        n = as_floats(noise, "noise").numpy()
        if not np.isfinite(n).all():
            raise ValueError("noise must be finite; got a NaN or an infinity in it. Draw it by a random generator")
        return np.asarray(y + noise_sd * n, dtype=y.dtype)


@dataclass(frozen=True, eq=False)
class Inpainting(Operator):
    """The operator of inpainting: it returns the visible pixels of a masked image, as one vector.

    Parameters
    ----------
    shape : tuple of int
        Shape of one image, such as (3, 32, 32).
    mask : array of bool
        True where a pixel is visible. It has the image's shape or that of its last axes, such as (32, 32) for the same
        mask in all channels.

    Raises
    ------
    ValueError
        If the mask does not fit, or hides all pixels.

    Examples
    --------
    >>> from mcgen.adapters import Inpainting
    >>> operator = Inpainting.random((1, 8, 8), hidden=0.5, seed=0)
    >>> operator.measurement_shape
    (32,)
    """

    shape: Shape
    mask: NDArray[np.bool_] = field(repr=False)

    def __post_init__(self) -> None:
        seen = np.broadcast_to(_checked_mask(self.mask, self.shape, len(self.shape)), self.shape)
        object.__setattr__(self, "mask", seen)

    @classmethod
    def random(cls, shape: Shape, *, hidden: float = 0.5, seed: int = 0) -> Inpainting:
        """Return the operator that hides a share of the pixels at random, the same ones in every channel.

        Parameters
        ----------
        shape : tuple of int
            Shape of one image; its last two axes are rows and columns.
        hidden : float
            Share of the pixels that are hidden, from 0.3 to 0.7, rounded to the nearest pixel.
        seed : int
            Seed of the mask.

        Raises
        ------
        ValueError
            If the share is outside this range.
        """
        if not _LEAST_HIDDEN <= hidden <= _MOST_HIDDEN:
            raise ValueError(
                f"hidden must be a share of the pixels from {_LEAST_HIDDEN} to {_MOST_HIDDEN}; got {hidden}. For any "
                "other mask give it as an array: Inpainting(shape, mask)"
            )
        plane = shape[-2:]
        n = math.prod(plane)
        order = np.random.default_rng(seed).permutation(n)
        return cls(shape, (order >= round(hidden * n)).reshape(plane))

    @property
    def measurement_shape(self) -> Shape:
        """Shape of one measurement: one number for each visible pixel."""
        return (int(self.mask.sum()),)

    @cached_property
    def _places(self) -> torch.Tensor:
        return torch.from_numpy(np.flatnonzero(self.mask))

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """Return the visible pixels, shape (n, number of them)."""
        return x.flatten(1)[:, self._places.to(x.device)]

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """Return images with zeros at the hidden pixels."""
        return _placed(y, self._places, math.prod(self.shape)).reshape(-1, *self.shape)


class _Separable(Operator):
    """A separable operator: one matrix for the rows and one for the columns."""

    @property
    @abstractmethod
    def matrices(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The matrices of the rows and of the columns, in float64."""

    @property
    def measurement_shape(self) -> Shape:
        """Shape of one measurement: that of the image, with as many rows and columns as the matrices have rows."""
        rows, columns = self.matrices
        return (*self.shape[:-2], len(rows), len(columns))

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """Return the measured images :math:`K_h x K_w^T`."""
        rows, columns = (matrix.to(x) for matrix in self.matrices)
        return rows @ x @ columns.T

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """Return the images :math:`K_h^T y K_w` for measured images y."""
        rows, columns = (matrix.to(y) for matrix in self.matrices)
        return rows.T @ y @ columns


@dataclass(frozen=True)
class GaussianBlur(_Separable):
    """The operator of deblurring: a Gaussian blur.

    At the border the weights are normalized over the pixels inside the image.

    Parameters
    ----------
    shape : tuple of int
        Shape of one image; its last two axes are rows and columns.
    sd : float
        Standard deviation of the Gaussian in pixels.

    Raises
    ------
    ValueError
        If the standard deviation is not above 0.

    Examples
    --------
    >>> import numpy as np
    >>> from mcgen.adapters import GaussianBlur
    >>> point = np.zeros((1, 7, 7))
    >>> point[0, 3, 3] = 1.0
    >>> GaussianBlur((1, 7, 7), sd=1.0).measure(point)[0, 3].round(2)
    array([0.  , 0.02, 0.1 , 0.16, 0.1 , 0.02, 0.  ])
    """

    shape: Shape
    sd: float

    def __post_init__(self) -> None:
        _require_plane(self.shape)
        if not 0 < self.sd < math.inf:
            raise ValueError(f"the blur's sd must be a number of pixels above 0; got {self.sd}")

    @cached_property
    def matrices(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The matrices of Gaussian weights; each row sums to 1."""
        rows, columns = (self._weights(side) for side in self.shape[-2:])
        return rows, columns

    def _weights(self, side: int) -> torch.Tensor:
        places = torch.arange(side, dtype=torch.float64)
        distance = (places[:, None] - places) / self.sd
        weights = torch.exp(-(distance**2) / 2) * (distance.abs() <= _REACH)
        return weights / weights.sum(1, keepdim=True)


@dataclass(frozen=True)
class SuperResolution(_Separable):
    """The operator of super-resolution: averages over squares of pixels. A measurement is a smaller image.

    Parameters
    ----------
    shape : tuple of int
        Shape of one large image; its last two axes are rows and columns.
    factor : int
        Side of a square in pixels.

    Raises
    ------
    ValueError
        If `factor` does not divide the numbers of rows and columns.

    Examples
    --------
    >>> import numpy as np
    >>> from mcgen.adapters import SuperResolution
    >>> SuperResolution((1, 4, 4), factor=2).measure(np.arange(16.0).reshape(1, 4, 4))
    array([[[ 2.5,  4.5],
            [10.5, 12.5]]])
    """

    shape: Shape
    factor: int

    def __post_init__(self) -> None:
        _require_plane(self.shape)
        factor = checked_integer("factor", self.factor)
        if factor < 1 or any(side % factor for side in self.shape[-2:]):
            raise ValueError(
                f"factor must be at least 1 and divide the rows and columns, {self.shape[-2:]}; got {factor}"
            )

    @cached_property
    def matrices(self) -> tuple[torch.Tensor, torch.Tensor]:
        """The matrices whose rows each average `factor` neighbours."""
        rows, columns = (self._averages(side) for side in self.shape[-2:])
        return rows, columns

    def _averages(self, side: int) -> torch.Tensor:
        one = torch.eye(side // self.factor, dtype=torch.float64)
        return one.repeat_interleave(self.factor, dim=1) / self.factor


@dataclass(frozen=True, eq=False)
class MaskedFourier(Operator):
    """The operator of magnetic resonance imaging with one coil: a part of the Fourier transform of real images.

    The transform is orthonormal. `random_lines` makes the usual masks.

    Parameters
    ----------
    shape : tuple of int
        Shape of one image; its last two axes are rows and columns.
    mask : array of bool, shape (rows, columns)
        True where the Fourier plane is measured. The zero frequency is in the middle, at (rows // 2, columns // 2).

    Raises
    ------
    ValueError
        If the mask does not fit, or hides all frequencies.

    Examples
    --------
    Half of the 8 columns of the Fourier plane, as real and imaginary parts:

    >>> from mcgen.adapters import MaskedFourier
    >>> operator = MaskedFourier.random_lines((1, 8, 8), measured=0.5, centre=0.25)
    >>> operator.measurement_shape
    (2, 1, 32)
    """

    shape: Shape
    mask: NDArray[np.bool_] = field(repr=False)

    def __post_init__(self) -> None:
        _require_plane(self.shape)
        object.__setattr__(self, "mask", _checked_mask(self.mask, self.shape, 2))

    @classmethod
    def random_lines(cls, shape: Shape, *, measured: float = 0.5, centre: float = 0.2, seed: int = 0) -> MaskedFourier:
        """Return the operator that measures whole columns of the Fourier plane: the middle ones and random others.

        Parameters
        ----------
        shape : tuple of int
            Shape of one image.
        measured : float
            Share of the columns that are measured, in (0, 1], rounded to the nearest column.
        centre : float
            Share of the columns around the zero frequency that are always measured, at most `measured`.
        seed : int
            Seed of the mask.

        Raises
        ------
        ValueError
            If a share is out of range, or `centre` is above `measured`.
        """
        _require_plane(shape)
        columns = shape[-1]
        n_measured, n_centre = round(measured * columns), max(1, round(centre * columns))
        if not (0 < measured <= 1 and 0 <= centre <= 1 and n_centre <= n_measured):
            raise ValueError(
                f"measured must be a share of the {columns} columns in (0, 1], centre a share of at most that; got "
                f"measured={measured} and centre={centre}"
            )
        middle = columns // 2 - n_centre // 2 + np.arange(n_centre)
        others = np.random.default_rng(seed).permutation(np.setdiff1d(np.arange(columns), middle))
        lines = np.zeros(columns, bool)
        lines[middle] = lines[others[: n_measured - n_centre]] = True
        return cls(shape, np.broadcast_to(lines, shape[-2:]))

    @property
    def measurement_shape(self) -> Shape:
        """Shape of one measurement, (2, ..., number of frequencies): the real and the imaginary parts."""
        return (2, *self.shape[:-2], int(self.mask.sum()))

    @cached_property
    def _places(self) -> torch.Tensor:
        return torch.from_numpy(np.flatnonzero(np.fft.ifftshift(self.mask)))

    def apply(self, x: torch.Tensor) -> torch.Tensor:
        """Return the real and the imaginary parts of the measured frequencies."""
        plane = torch.fft.fft2(x, norm="ortho").flatten(-2)[..., self._places.to(x.device)]
        return torch.stack([plane.real, plane.imag], dim=1)

    def adjoint(self, y: torch.Tensor) -> torch.Tensor:
        """Return the real part of the images with zeros at the other frequencies."""
        plane = _placed(torch.complex(y[:, 0], y[:, 1]), self._places, self.mask.size)
        x: torch.Tensor = torch.fft.ifft2(plane.reshape(-1, *self.shape), norm="ortho").real
        return x


def _placed(values: torch.Tensor, places: torch.Tensor, size: int) -> torch.Tensor:
    """Return zeros (..., size) with the values (..., number of places) at their places."""
    zeros = values.new_zeros((*values.shape[:-1], size))
    return zeros.index_copy(-1, places.to(values.device), values)


def _checked_mask(mask: ArrayLike, shape: Shape, most_axes: int) -> NDArray[np.bool_]:
    """Return a read-only copy of a mask that has the shape of the last axes, 2 to `most_axes` of them."""
    seen = np.array(mask)
    axes = seen.ndim
    if seen.dtype != bool or not min(2, most_axes) <= axes <= most_axes or seen.shape != shape[len(shape) - axes :]:
        raise ValueError(
            f"the mask must be an array of bool, True where something is measured, with the shape of the last axes of "
            f"{shape}; got shape {seen.shape} and type {seen.dtype}"
        )
    if not seen.any():
        raise ValueError("the mask hides everything; it must be True at one place at least")
    seen.flags.writeable = False
    return seen


def _require_plane(shape: Shape) -> None:
    if len(shape) < 2:
        raise ValueError(f"this operator works on rows and columns, the last two axes of an image; got shape {shape}")
