"""What may be wrong with a source, and what is in it."""
