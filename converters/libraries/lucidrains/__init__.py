"""lucidrains' vit-pytorch: names of tensors, configs."""
