"""Samplers that go step by step: diffusion, consistency models, flows, and pipelines that are read."""
