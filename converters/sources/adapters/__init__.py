"""PEFT adapters: what their config says, what their tensors are, and their merging."""
