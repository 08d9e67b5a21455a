"""From a checked source to a verified file."""
