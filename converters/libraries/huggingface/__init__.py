"""Hugging Face transformers: names of tensors, configs, live modules, the original."""
