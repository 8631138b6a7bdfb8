"""The demo: the whole loop on real listening, through the public HTTP API alone."""
