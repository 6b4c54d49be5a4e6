"""Features of samples, such as the activations of a network: many numbers of each sample, from which distances come."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from mcgen._lib.arrays import Floats, as_values
from mcgen._lib.names import name_of
from mcgen.errors import RunError
from mcgen.statistics.values import called, parts_with_condition


@dataclass(frozen=True, eq=False)
class FeatureValues:
    """A statistic that returns the features of n samples, shape (n, d).

    A run gathers the features, and takes the mean of one number for each sample: the squared distance of its features
    from a centre.

    Attributes
    ----------
    network : callable or None
        From n samples to features of shape (n, d). None takes the numbers of each sample for its features.
    centre : ndarray of shape (d,)
        The centre.
    """

    network: Callable[[Any], Any] | None
    centre: Floats

    @property
    def key(self) -> tuple[object, ...]:
        """What is equal for the same features: their network and the content of their centre."""
        return (FeatureValues, id(self.network), self.centre.tobytes())

    @property
    def name(self) -> str:
        """The name of the features."""
        return "samples" if self.network is None else name_of(self.network)

    def for_condition(self, condition: Any) -> FeatureValues:
        """Return the features under a condition, where they depend on it."""
        return self if self.network is None else parts_with_condition(self, condition, "network")

    def component_names(self, shape: tuple[int, ...]) -> tuple[str, ...]:
        """Return the name of the reduced number, or of each feature."""
        if shape == ():
            return (f"squared distance of {self.name} from the mean of the reference",)
        return tuple(f"feature {number} of {self.name}" for number in range(shape[-1]))

    def boolean_components(self, samples: Any) -> NDArray[np.bool_]:
        """Return that the reduced number is no event."""
        return np.zeros(1, bool)

    def reduced_values(self, values: Floats) -> Floats:
        """Return the squared distance of features (..., d) from the centre, shape (...)."""
        return np.asarray(((values - self.centre) ** 2).sum(axis=-1))

    def __call__(self, samples: Any) -> Any:
        """Return the features of n samples, shape (n, d), in the library of the network.

        Raises
        ------
        RunError
            If they are another number of features than the centre has.
        """
        if self.network is None:
            found = samples.reshape(len(samples), -1) if hasattr(samples, "reshape") else samples
            found = found if hasattr(found, "shape") else np.asarray(found).reshape(len(found), -1)
        else:
            found = called(self.network, as_tensors(self.network, samples))
        shape = tuple(getattr(found, "shape", np.shape(found)))
        if len(shape) != 2 or shape[1] != len(self.centre):
            what = "the samples themselves" if self.network is None else f"the features {self.name!r}"
            raise RunError(
                f"a distance compares features of the model with those of its reference: {what} have shape {shape}, "
                f"and the reference has {len(self.centre):,} features for each image. Use the same features for both; "
                "a network of features must return an array of shape (n, d)"
            )
        return found


def as_tensors(network: Any, samples: Any) -> Any:
    """Return samples as a tensor where the network is a torch module and they are a numpy array; else themselves."""
    if hasattr(network, "named_parameters") and isinstance(samples, np.ndarray):
        # Where there is a module of torch, torch is imported.
        return sys.modules["torch"].as_tensor(samples)
    return samples


def features_of(network: Callable[[Any], Any] | None, samples: Any) -> NDArray[Any]:
    """Return the features of n samples as an array of real numbers, shape (n, d).

    Raises
    ------
    RunError
        If they are no finite real numbers of this shape.
    """
    found = samples if network is None else called(network, as_tensors(network, samples))
    try:
        values = as_values(found)
    except (TypeError, ValueError) as error:
        raise RunError(f"features must be real numbers of shape (n, d); got {error}") from error
    flat = values.reshape(len(values), -1) if network is None and values.ndim else values
    if flat.ndim != 2 or len(flat) != len(samples):
        raise RunError(
            f"the features {name_of(network)!r} have shape {values.shape} for {len(samples)} samples; a network of "
            f"features must return an array of shape ({len(samples)}, d)"
        )
    if not np.isfinite(flat).all():
        raise RunError(
            f"features of the reference are NaN or infinite in {int((~np.isfinite(flat)).any(axis=1).sum())} of "
            f"{len(flat)} images; every feature must be finite. Look at these images and at the network"
        )
    return flat
