"""Samplers that go step by step: diffusion models, consistency models, flows, and pipelines of diffusers."""
