"""Unmodified torch samplers as generators: their random draws are found, tested and replaced by mcgen's noise."""
