"""Plans: a pilot measures what each design would give, and the best one runs."""
