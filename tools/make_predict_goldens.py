"""Makes tests/predict/golden: what timm says of pictures, from the file to the answer.

    PYTHONPATH=. python tools/make_predict_goldens.py

needs torch, timm and Pillow. It writes a folder that timm itself saved (a tiny ViT with
random weights, its own preprocessing and labels), pictures, and `answers.json`:

- `features` and `probabilities` of `timm.data.create_transform` for PIL images, which
  rounds to levels between its steps;
- the same `exact`, of the same transform for float tensors, which rounds nothing;
- the versions that made them.

The head is moved and scaled so that the pictures get different classes.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import PIL
import timm
import torch
from PIL import Image
from timm.data import create_transform, resolve_model_data_config
from timm.models import save_for_hf

OUT = Path(__file__).resolve().parent.parent / "tests" / "predict" / "golden"
LABELS = ["ant", "bee", "cat", "dog", "elk"]
SIZES = {
    **{"img_size": 32, "patch_size": 8, "embed_dim": 24},
    **{"depth": 2, "num_heads": 3, "num_classes": len(LABELS)},
}


def soft_picture(height: int, width: int, seed: int) -> np.ndarray:
    """(H, W, 3), of so little contrast that no filter overshoots the range."""
    y, x, c = np.ogrid[:height, :width, :3]
    waves = np.sin(y / (3 + seed) + c) + np.cos(x / (5 + 2 * seed) - c * y / 40)
    noise = np.random.default_rng(seed).standard_normal((height, width, 3))
    values = 128 + 10 * waves * (1 + 0.2 * c) + 2 * noise + 8 * (c - 1) * (seed - 1)
    return np.clip(values, 60, 200).astype(np.uint8)


def pictures() -> list[str]:
    folder = OUT / "pictures"
    folder.mkdir(parents=True)
    Image.fromarray(soft_picture(50, 71, 0)).save(folder / "wide.jpg", quality=92)
    Image.fromarray(soft_picture(64, 41, 1)).save(folder / "high.png")
    Image.fromarray(soft_picture(33, 90, 2)).save(
        folder / "long.webp", lossless=True, quality=80
    )
    Image.fromarray(soft_picture(40, 40, 3)[..., 0]).save(folder / "grey.png")
    return sorted(path.name for path in folder.iterdir())


def made_model() -> torch.nn.Module:
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", **SIZES)
    with torch.no_grad():
        for parameter in model.parameters():
            scale = 2.0 if parameter is model.patch_embed.proj.weight else 0.3
            noise = torch.randn_like(parameter) * scale
            parameter.copy_(noise + 1 if parameter.ndim == 1 else noise)
    model.pretrained_cfg.update(
        {
            "input_size": (3, 32, 32),
            "mean": (0.41, 0.46, 0.52),
            "std": (0.11, 0.13, 0.16),
            "interpolation": "bicubic",
            "crop_pct": 0.8,
            "crop_mode": "center",
            "label_names": LABELS,
            "num_classes": len(LABELS),
        }
    )
    return model.eval()


def spread(model: torch.nn.Module, x: torch.Tensor) -> None:
    """Moves and widens the logits, so that images (B, C, H, W) get other classes."""
    with torch.no_grad():
        head = model.head
        logits = model(x)
        scale = 2 / logits.std(0)
        head.bias.copy_((head.bias - logits.mean(0)) * scale)
        head.weight.copy_(head.weight * scale[:, None])


def asked(model: torch.nn.Module, x: torch.Tensor) -> dict[str, list[float]]:
    with torch.no_grad():
        tokens = model.forward_features(x[None])
        features = model.forward_head(tokens, pre_logits=True)[0]
        logits = model(x[None])[0]
    return {
        "features": features.tolist(),
        "probabilities": logits.double().softmax(-1).tolist(),
    }


def opened(name: str) -> Image.Image:
    with Image.open(OUT / "pictures" / name) as image:
        return image.convert("RGB")


def answers(model: torch.nn.Module, names: list[str]) -> dict[str, Any]:
    transform = create_transform(**resolve_model_data_config(model))
    found = {}
    for name in names:
        image = opened(name)
        levels = torch.from_numpy(
            np.asarray(image).transpose(2, 0, 1) / np.float32(255)
        )
        found[name] = asked(model, transform(image))
        found[name]["exact"] = asked(model, transform(levels))
    return found


def main() -> None:
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    model, names = made_model(), pictures()
    transform = create_transform(**resolve_model_data_config(model))
    spread(model, torch.stack([transform(opened(name)) for name in names]))
    save_for_hf(model, OUT / "timm", model_args=SIZES, safe_serialization=True)
    (OUT / "timm" / "model.safetensors").chmod(0o644)
    versions = {"timm": timm.__version__, "torch": torch.__version__}
    versions["pillow"] = PIL.__version__
    made = {"versions": versions, "answers": answers(model, names)}
    text = json.dumps(made, indent=1, sort_keys=True)
    (OUT / "answers.json").write_text(f"{text}\n", "utf-8")
    for name, answer in made["answers"].items():
        best = LABELS[int(np.argmax(answer["probabilities"]))]
        both = (answer["probabilities"], answer["exact"]["probabilities"])
        apart = np.abs(np.subtract(*both)).max()
        print(name, best, f"{max(both[0]):.3f}", f"rounding moves {apart:.1e}")


if __name__ == "__main__":
    main()
