"""Experiments: variants on live listeners, who gets which, and what they did."""
