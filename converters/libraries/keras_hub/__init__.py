"""keras-hub: names of tensors, configs, presets as files."""
