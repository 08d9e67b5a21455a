"""What a file's names and shapes say about its config."""

from __future__ import annotations

from typing import Any

from converters.errors import refusal
from converters.libraries.shapes import canonical_shapes, depth_of
from converters.libraries.variant import Shapes, Variant


def seen(variant: Variant, shapes: Shapes) -> dict[str, Any]:
    """Every field of the config that the names and shapes of a file say."""
    found = canonical_shapes(variant, shapes)
    depth = depth_of(variant, shapes)

    def has(name: str) -> bool:
        return name in found

    def dim(name: str, axis: int) -> int | None:
        dims = found.get(name, ())
        return dims[axis] if len(dims) > axis else None

    block = "blocks.0"
    if has(f"{block}.norm1.weight") and not has(f"{block}.norm1.bias"):
        raise refusal(
            "the norms have no bias: RMSNorm, as AIMv2 has it, not LayerNorm",
            hint="This library has no such norm yet.",
            kind="config",
        )
    mlp_dim = dim(f"{block}.mlp.fc2.weight", 1)
    rows = dim(f"{block}.mlp.fc1.weight", 0)
    patches = found.get("patch_embed.proj.weight", ())
    fields: dict[str, Any] = {
        "embed_dim": dim(f"{block}.norm1.weight", 0),
        "depth": depth,
        "mlp_dim": mlp_dim,
        "mlp_layer": (
            None if not rows or not mlp_dim else "swiglu" if rows > mlp_dim else "mlp"
        ),
        "patch_bias": has("patch_embed.proj.bias"),
        "patch_norm": (
            "dual"
            if has("patch_embed.norm_pre.weight")
            else "post"
            if has("patch_embed.norm.weight")
            else "none"
        ),
        "pre_norm": has("norm_pre.weight"),
        "class_token": has("cls_token"),
        "dist_token": has("dist_token"),
        "reg_tokens": dim("reg_token", 1) or 0,
        "pos_embed": "learned" if has("pos_embed") else "none",
        "qkv_bias": has(f"{block}.attn.qkv.bias"),
        "proj_bias": has(f"{block}.attn.proj.bias"),
        "mlp_bias": has(f"{block}.mlp.fc1.bias"),
        "qk_norm": has(f"{block}.attn.q_norm.weight"),
        "init_values": 1e-5 if has(f"{block}.ls1.gamma") else None,
        "final_norm": has("norm.weight"),
        "fc_norm": has("fc_norm.weight"),
        "num_classes": dim("head.weight", 0) or 0,
        "representation_size": dim("pre_logits.weight", 0),
    }
    if has("head.weight"):
        fields["head_bias"] = has("head.bias")
    if has("attn_pool.latent"):
        fields["global_pool"] = "map"
    if len(patches) > 3 and None not in patches:
        fields["spatial_dims"] = len(patches) - 2
        fields["in_chans"], fields["patch_size"] = patches[1], tuple(patches[2:])
    optional = {"init_values", "representation_size"}
    fields = {k: v for k, v in fields.items() if v is not None or k in optional}
    said = {**fields, **variant.says(shapes)}
    return {name: value for name, value in said.items() if value is not ...}
