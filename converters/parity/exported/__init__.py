"""Exported artifacts and served models as B of a verification.

They give outputs and nothing else: weights cannot be read, layers not be looked at,
gradients not be taken. An artifact that `export` wrote says of which weights it was
made; that is compared, and told as its own word.
"""
