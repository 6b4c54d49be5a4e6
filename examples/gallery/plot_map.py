"""
A map of an image and of its uncertainty
========================================

The mean image of a variational autoencoder, pixel by pixel. The second map shows the half-width of
the intervals, which hold for all pixels together.
"""

import mcgen
from mcgen.adapters import models
from mcgen.statistics import identity

model = models.load("mnist-vae")
result = mcgen.estimate(model, identity, design=mcgen.Sobol(32), n_evaluations=1024, simultaneous=True, seed=0)

figure = result.plot()
