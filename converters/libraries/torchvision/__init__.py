"""torchvision: names of tensors, configs, live modules, the original."""
