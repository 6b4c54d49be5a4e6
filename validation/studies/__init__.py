"""Studies: simulations that judge what is promised, each by a rule that was declared before."""
