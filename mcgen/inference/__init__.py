"""Statistical inference: from the moments of replicate means to intervals, efficiencies and stopping rules."""
