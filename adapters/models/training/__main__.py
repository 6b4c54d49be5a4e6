"""Train a shipped model or make the real images again: ``python -m mcgen.adapters.models.training NAME``."""

from __future__ import annotations

import sys
from importlib import import_module

RECIPES = {
    "digits-diffusion": "diffusion",
    "digits-energy": "energy",
    "mnist-ddpm": "diffusion",
    "mnist-dit": "diffusion",
    "patches-diffusion": "diffusion",
    "patches-latent": "latent",
    "mnist-consistency": "consistency",
    "digits-truncated": "truncated",
    "mnist-storm": "storm",
    "mnist-vae": "vae",
    "mnist-glow": "glow",
    "moons-flow": "flow",
    "reaching-policy": "reaching",
    "digits-classifier": "classifier",
    "mnist-classifier": "classifier",
    "real-images": "real_images",
}


def main(arguments: list[str]) -> None:
    """Train the model named in the arguments."""
    if len(arguments) != 1 or arguments[0] not in RECIPES:
        raise SystemExit(f"usage: python -m mcgen.adapters.models.training NAME, one of {', '.join(RECIPES)}")
    import_module(f"mcgen.adapters.models.training.{RECIPES[arguments[0]]}").train(arguments[0])


if __name__ == "__main__":
    main(sys.argv[1:])
