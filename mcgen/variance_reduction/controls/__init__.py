"""Control variates: how a run has them, their values and fit, and those that mcgen makes."""
