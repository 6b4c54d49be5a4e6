"""From replicate means to intervals: moments, methods, warnings, efficiencies, and when there are enough replicates."""
