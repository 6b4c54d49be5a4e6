"""Generators that are built from other generators, and editing by a flow model."""
