"""Finished replicates in a file: the SQLite database, the store on it, and one store of several."""
