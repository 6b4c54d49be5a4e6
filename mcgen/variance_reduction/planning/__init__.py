"""A pilot and the way of spending evaluations that it chooses."""
