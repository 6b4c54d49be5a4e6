"""Models that decode noise in one pass: VAEs and Glow."""
