"""The tables and everything that is said to them in SQL."""
