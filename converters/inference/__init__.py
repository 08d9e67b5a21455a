"""A converted model at work: predictions, features, attention."""
