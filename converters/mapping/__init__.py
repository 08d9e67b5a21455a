"""Rule tables between names, and how tensors go through them."""
