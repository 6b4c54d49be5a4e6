"""Linear measurements, and samplers of what they leave open."""
