"""The process that prepares datasets, runs trials and builds models."""
