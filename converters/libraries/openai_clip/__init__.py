"""OpenAI CLIP and open_clip: names of tensors."""
