"""Noise from numpy as torch tensors: device, dtype, evaluation mode, gradients."""
