"""The one door: from a path, a hub id or a live model to a reader."""
