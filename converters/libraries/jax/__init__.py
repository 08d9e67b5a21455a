"""JAX and Flax `.npz`: names of tensors."""
