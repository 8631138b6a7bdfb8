"""What Redis makes quicker; nothing is correct because of it."""
