"""Simulated listeners with known tastes, who say whether an experiment finds what is true of them."""
