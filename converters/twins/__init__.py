"""Live twins: whether an object is what its weights and config say."""
