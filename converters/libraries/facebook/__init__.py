"""Facebook's DINO, DINOv2, DeiT, MAE, I-JEPA, V-JEPA: names of tensors."""
