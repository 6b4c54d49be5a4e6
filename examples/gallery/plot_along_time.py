"""
Correlation along a sampler's steps
===================================

A sampler starts from noise z and -z, whose correlation is -1. The curves show how it changes from
step to step, with bands that hold at all steps together.
"""

import mcgen
from mcgen.adapters import models

profile = mcgen.analysis.along_time(
    models.load("digits-diffusion", steps=6), n_pairs=30, seed=0
)

figure = profile.plot()
