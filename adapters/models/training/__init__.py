"""How the shipped models were made: ``python -m mcgen.adapters.models.training NAME`` makes one again.

Each command trains from data that other packages carry (the extra ``[train]``), stores the weights in half precision,
judges what was stored, and writes the log beside the weights.
"""
