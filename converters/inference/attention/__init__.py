"""What a model attends to in one input, as numbers and as a picture."""
