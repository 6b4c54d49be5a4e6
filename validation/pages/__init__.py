"""Makers of pages: the map of coverage, the pages of efficiencies and of the models, the demo."""
