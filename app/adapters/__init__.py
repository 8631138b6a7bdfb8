"""What the ports are made of: databases, files, libraries."""
