"""Any torch sampler, unmodified: its draws found, tried, and supplied by mcgen."""
