"""MONAI: names of tensors, configs, bundles, live modules, the original."""
