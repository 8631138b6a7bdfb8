"""Segue: song embeddings that are tuned, promoted, served and proven in one system."""
