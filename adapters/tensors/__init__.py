"""The border between numpy and torch."""
