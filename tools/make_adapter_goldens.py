"""Records PEFT adapters of a small model, and what peft itself merges them to.

Run by hand, in an environment with torch, timm and peft:

    python tools/make_adapter_goldens.py

It writes `tests/adapters/goldens/`: the base, and a folder for every adapter with what
peft's `save_pretrained` wrote, and `merged.safetensors`, the weights that differ after
its `merge_and_unload`. Some have `unmerged.safetensors`, too: the `state_dict()` of the
wrapped model.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import peft
import timm
import torch
from safetensors.torch import save_file

HERE = Path(__file__).parents[1] / "tests" / "adapters" / "goldens"
MODEL = {
    "img_size": 8,
    "patch_size": 4,
    "embed_dim": 12,
    "depth": 2,
    "num_heads": 3,
    "mlp_ratio": 1.5,
    "num_classes": 5,
}
CASES: dict[str, dict[str, Any]] = {
    "plain": {"target_modules": ["qkv"], "r": 3, "lora_alpha": 5},
    "rslora": {
        "target_modules": ["qkv", "fc1"],
        "r": 3,
        "lora_alpha": 5,
        "use_rslora": True,
    },
    "patterns": {
        "target_modules": ["qkv", "attn.proj", "fc2"],
        "r": 3,
        "lora_alpha": 5,
        "rank_pattern": {"blocks.1.attn.qkv": 2, "fc2": 1},
        "alpha_pattern": {"attn.proj": 7, r"blocks\.0\..*fc2": 3},
    },
    "convolution": {
        "target_modules": ["patch_embed.proj", "qkv"],
        "r": 2,
        "lora_alpha": 3,
        "modules_to_save": ["head", "norm"],
    },
    "dora": {
        "target_modules": ["patch_embed.proj", "qkv", "fc1"],
        "r": 2,
        "lora_alpha": 3,
        "use_dora": True,
    },
    "lora_bias": {
        "target_modules": ["fc1", "qkv"],
        "r": 2,
        "lora_alpha": 3,
        "lora_bias": True,
    },
    "all_biases": {
        "target_modules": ["qkv"],
        "r": 2,
        "lora_alpha": 3,
        "bias": "all",
        "modules_to_save": ["head"],
    },
    "own_biases": {
        "target_modules": ["fc2"],
        "r": 2,
        "lora_alpha": 3,
        "bias": "lora_only",
    },
    "other_head": {
        "target_modules": ["qkv"],
        "r": 2,
        "lora_alpha": 3,
        "modules_to_save": ["head"],
    },
    "half": {"target_modules": ["qkv", "fc1"], "r": 2, "lora_alpha": 3},
}

UNMERGED = ("other_head", "dora", "all_biases", "lora_bias")


def base_model(name: str) -> torch.nn.Module:
    """The model that is trained: another head for `other_head`, half for `half`."""
    torch.manual_seed(0)
    model = timm.create_model("vit_tiny_patch16_224", **MODEL)
    shake(model.parameters())
    if name == "other_head":
        model.reset_classifier(3)
        shake(model.head.parameters())
    return model.bfloat16() if name == "half" else model


def shake(parameters: Any) -> None:
    """Random values everywhere, far from the usual start."""
    for parameter in parameters:
        parameter.data = torch.randn(parameter.shape, dtype=parameter.dtype) * 0.3


def main() -> None:
    """Makes all files anew."""
    shutil.rmtree(HERE, ignore_errors=True)
    HERE.mkdir(parents=True)
    save_file(base_model("plain").state_dict(), HERE / "base.safetensors")
    for index, (name, fields) in enumerate(CASES.items()):
        model = base_model(name)
        torch.manual_seed(index)
        wrapped = peft.get_peft_model(model, peft.LoraConfig(**fields))
        shake(p for p in wrapped.parameters() if p.requires_grad)
        wrapped.save_pretrained(HERE / name)
        (HERE / name / "README.md").unlink(missing_ok=True)
        if name in UNMERGED:
            save_file(wrapped.state_dict(), HERE / name / "unmerged.safetensors")
        base = base_model("half" if name == "half" else "plain").state_dict()
        merged = wrapped.merge_and_unload().state_dict()
        changed = {
            name: values.contiguous()
            for name, values in merged.items()
            if not torch.equal(values, base[name])
        }
        save_file(changed, HERE / name / "merged.safetensors")
    versions = {m.__name__: m.__version__ for m in (torch, timm, peft)}
    (HERE / "versions.json").write_text(json.dumps(versions, indent=1) + "\n")


if __name__ == "__main__":
    main()
