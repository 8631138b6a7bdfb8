"""Studies: a search space, an objective, and the trials that explore it."""
