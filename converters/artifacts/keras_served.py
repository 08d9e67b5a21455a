"""The Keras twin as artifacts call it: all named outputs at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from converters.artifacts.contents import Contents
from converters.extras import twin


def load(model: Path) -> Any:
    """The Keras twin of a canonical file."""
    return twin("keras_vit").ViT.from_pretrained(model)


def outputs(model: Any, x: Any, contents: Contents) -> dict[str, Any]:
    """Every named output for prepared inputs (B, *spatial, C).

    Args:
        model: The `keras_vit.ViT`.
        x: The inputs.
        contents: What the artifact is to hold.
    """
    from keras import ops

    found = {}
    tokens = model.forward_features(x)
    if contents.head:
        found[contents.head] = model.forward_head(tokens)
    if contents.probabilities:
        how = {"softmax": ops.softmax, "sigmoid": ops.sigmoid}
        found["probabilities"] = how[contents.probabilities](found[contents.head])
    if contents.embedding:
        found["embedding"] = model.forward_head(tokens, pre_logits=True)
    if contents.all_tokens:
        found["tokens"] = tokens
    return found
