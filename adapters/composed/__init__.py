"""Generators made of generators, and edits of images."""
