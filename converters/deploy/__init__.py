"""Using a converted model: prediction, features, and files that run without us."""
