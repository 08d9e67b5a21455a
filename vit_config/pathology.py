"""Pathology models that are made in code: timm's arguments, as their cards state them.

Their folders on the hub do not say the model: MLP and activation are Python classes
there, which JSON cannot hold, or the card passes the layer scale beside it. The
arguments are public; the weights are gated, and have the licence that is named here.
`tools/make_timm_names.py --check` builds each of them with timm.
"""

from __future__ import annotations

from typing import Any

_IMAGENET = {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}
_BIOPTIMUS = {
    "mean": [0.707223, 0.578729, 0.703617],
    "std": [0.211883, 0.230117, 0.177517],
}
_BICUBIC = {"interpolation": "bicubic", "crop_mode": "center"}
_FEATURES = {"img_size": 224, "num_classes": 0, "init_values": 1e-5}
_GATED = {"mlp_layer": "SwiGLUPacked", "act_layer": "SiLU"}

_VIRCHOW = {
    "architecture": "vit_huge_patch14_224",
    **_FEATURES,
    **_GATED,
    "mlp_ratio": 5.3375,
    "global_pool": "",
}
_OPTIMUS = {"architecture": "vit_giant_patch14_reg4_dinov2", **_FEATURES}

MODELS: dict[str, tuple[dict[str, Any], dict[str, Any], dict[str, Any]]] = {
    # preset: arguments of timm.create_model; preprocessing; name on the hub, licence
    "virchow": (
        _VIRCHOW,
        {**_IMAGENET, **_BICUBIC, "crop_pct": 1.0},
        {"name": "paige-ai/Virchow", "licence": "apache-2.0"},
    ),
    "virchow2": (
        {**_VIRCHOW, "reg_tokens": 4},
        {**_IMAGENET, **_BICUBIC, "crop_pct": 1.0},
        {"name": "paige-ai/Virchow2", "licence": "cc-by-nc-nd-4.0"},
    ),
    "uni": (
        {"architecture": "vit_large_patch16_224", **_FEATURES},
        _IMAGENET,
        {"name": "MahmoodLab/UNI", "licence": "cc-by-nc-nd-4.0"},
    ),
    "uni2-h": (
        {
            "architecture": "vit_giant_patch14_224",
            **_FEATURES,
            **_GATED,
            "embed_dim": 1536,
            "depth": 24,
            "num_heads": 24,
            "mlp_ratio": 2.66667 * 2,
            "reg_tokens": 8,
            "no_embed_class": True,
        },
        _IMAGENET,
        {"name": "MahmoodLab/UNI2-h", "licence": "cc-by-nc-nd-4.0"},
    ),
    "h-optimus-0": (
        _OPTIMUS,
        _BIOPTIMUS,
        {"name": "bioptimus/H-optimus-0", "licence": "apache-2.0"},
    ),
    "h-optimus-1": (_OPTIMUS, _BIOPTIMUS, {"name": "bioptimus/H-optimus-1"}),
    "prov-gigapath": (
        {
            "architecture": "vit_giant_patch14_dinov2",
            **_FEATURES,
            "patch_size": 16,
        },
        {**_IMAGENET, **_BICUBIC, "crop_pct": 0.875},
        {"name": "prov-gigapath/prov-gigapath"},
    ),
}


def fields_of(name: str) -> dict[str, Any]:
    """The fields of `ViTConfig` of one of these models."""
    from converters.libraries.timm.config import read_fields  # which imports the schema

    arguments, data, source = MODELS[name]
    fields = read_fields(arguments)
    data = {"input_range": [0.0, 1.0], **data}
    return {**fields, "data": data, "labels": None, "source": source}
