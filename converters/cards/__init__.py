"""Cards: what is said of a written model beside it, in the form of model cards."""
