"""One run from its task to its estimate: execution, conditions, what a store knows of it."""
