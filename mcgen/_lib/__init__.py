"""Helpers for all packages: checks of arguments, arrays of any library, the content of values, JSON files."""
