"""Training of the shipped models: ``python -m mcgen.adapters.models.training NAME`` trains one again.

The command trains on data that other packages contain (the extra ``[train]``) and stores the weights in half precision.
Then it measures the quality of the stored model, and writes the log next to the weights.
"""
