"""What the REST surface takes and gives, one file a subject."""
