"""Makes tests/golden/flax_model: what transformers 4 saved with Flax, and its outputs.

    python tools/make_flax_goldens.py

needs transformers 4.46.3, flax 0.10.2 and jax 0.4.38 in an environment of its own: they
are the last to go together, and transformers 5 has no Flax. Weights are drawn, outputs
are computed in float64.
"""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from typing import Any

import jax
import numpy as np

jax.config.update("jax_enable_x64", True)

import transformers  # noqa: E402

OUT = Path(__file__).resolve().parent.parent / "tests" / "golden" / "flax_model"
SIZE = {
    "hidden_size": 12,
    "num_hidden_layers": 2,
    "num_attention_heads": 3,
    "image_size": 16,
    "patch_size": 8,
}
CLIP = {**SIZE, "intermediate_size": 18, "projection_dim": 5, "hidden_act": "gelu"}
TEXT = {
    **{"hidden_size": 6, "num_hidden_layers": 1, "num_attention_heads": 2},
    **{"intermediate_size": 8, "vocab_size": 9, "max_position_embeddings": 4},
}
MODELS: dict[str, tuple[str, str, dict[str, Any]]] = {
    # name: class, class of its config, fields of that
    "vit": (
        "FlaxViTForImageClassification",
        "ViTConfig",
        {**SIZE, "intermediate_size": 18, "num_labels": 5, "layer_norm_eps": 1e-2},
    ),
    "vit_bare": ("FlaxViTModel", "ViTConfig", {**SIZE, "intermediate_size": 18}),
    "dinov2": (
        "FlaxDinov2ForImageClassification",
        "Dinov2Config",
        {**SIZE, "mlp_ratio": 2, "num_labels": 5},
    ),
    "dinov2_bare": ("FlaxDinov2Model", "Dinov2Config", {**SIZE, "mlp_ratio": 2}),
    "clip": ("FlaxCLIPVisionModel", "CLIPVisionConfig", CLIP),
    "clip_whole": (
        "FlaxCLIPModel",
        "CLIPConfig",
        {"vision_config": CLIP, "text_config": TEXT, "projection_dim": 5},
    ),
}


def drawn(params: Any, seed: int) -> Any:
    """The same tree with random values."""
    rng = np.random.default_rng(seed)
    return jax.tree_util.tree_map(
        lambda x: (rng.standard_normal(x.shape) * 0.3).astype(np.float32), params
    )


def output(name: str, model: Any, images: np.ndarray) -> np.ndarray:
    """What the library computes: logits, tokens or the pooled vector."""
    wide = jax.tree_util.tree_map(lambda x: np.asarray(x, np.float64), model.params)
    if name == "clip_whole":
        return np.asarray(model.get_image_features(images, params=wide))
    found = model(images, params=wide)
    if name == "clip":
        return np.asarray(found.pooler_output)
    bare = name.endswith("_bare")
    return np.asarray(found.last_hidden_state if bare else found.logits)


def main() -> None:
    """Makes all folders anew."""
    images = np.random.default_rng(7).standard_normal((2, 3, 16, 16))
    for seed, (name, (cls, config, fields)) in enumerate(MODELS.items()):
        made = getattr(transformers, config)(**fields)
        model = getattr(transformers, cls)(made, dtype=np.float64)
        model.params = drawn(model.params, seed)
        folder = OUT / name
        model.save_pretrained(folder)
        np.savez(
            folder / "outputs.npz",
            images=images,
            outputs=output(name, model, images),
        )
        versions = {name: version(name) for name in ("transformers", "flax", "jax")}
        (folder / "versions.json").write_text(json.dumps(versions) + "\n")


if __name__ == "__main__":
    main()
