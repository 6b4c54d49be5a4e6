"""
Samples of z and of -z
======================

The upper row is made from noise z, the lower row from the negated noise. Where one digit is bold, the
other one tends to be thin.
"""

import mcgen
from mcgen.adapters import models

figure = mcgen.plots.samples(models.load("mnist-vae"), 8, seed=0)
