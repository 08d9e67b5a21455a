"""VideoMAE: names of tensors."""
