"""torchvision's `VisionTransformer` (0.29.1)."""

from __future__ import annotations

from typing import Any

from converters.libraries.known_modules import ANY, ATTENTION
from converters.libraries.walk import Walk
from converters.sources.live_reader import Found

_HOME = "torchvision.models.vision_transformer"
_ROOT = dict.fromkeys(
    (
        *("image_size", "patch_size", "hidden_dim", "mlp_dim", "attention_dropout"),
        *("dropout", "num_classes", "representation_size", "norm_layer", "seq_length"),
    ),
    ANY,
)
_TANH = ("torch.nn.modules.activation.Tanh",)


def read(walk: Walk, kind: str) -> Found:
    """What the modules of a torchvision model say."""
    root = walk.take("", (kind,), _ROOT)
    width = int(root.hidden_dim)
    patch = walk.patches("conv_proj")
    walk.take("encoder", (f"{_HOME}.Encoder",), {})
    pos_drop = walk.dropout("encoder.dropout")
    depth = walk.blocks("encoder.layers")
    eps = walk.norm("encoder.ln", width)
    drops: dict[str, float] = {}
    attn_drops: dict[str, float] = {}
    heads: dict[str, int] = {}
    acts: dict[str, str] = {}
    for i in range(depth):
        path = f"encoder.layers.encoder_layer_{i}"
        walk.take(path, (f"{_HOME}.EncoderBlock",), {"num_heads": ANY})
        eps |= walk.norm(f"{path}.ln_1", width) | walk.norm(f"{path}.ln_2", width)
        attention = walk.take(f"{path}.self_attention", ATTENTION)
        if attention is not None:
            heads[path] = int(attention.num_heads)
            attn_drops[path] = float(attention.dropout)
            walk.linear(f"{path}.self_attention.out_proj")
        drops |= walk.dropout(f"{path}.dropout")
        walk.take(f"{path}.mlp", (f"{_HOME}.MLPBlock",), {})
        for number in (0, 3):
            walk.linear(f"{path}.mlp.{number}")
        acts |= walk.activation(f"{path}.mlp.1")
        drops |= walk.dropout(f"{path}.mlp.2") | walk.dropout(f"{path}.mlp.4")
    if walk.take("heads", ("torch.nn.modules.container.Sequential",), {}) is not None:
        walk.linear("heads.head")
        if walk.has("heads.pre_logits"):
            walk.linear("heads.pre_logits")
            walk.take("heads.act", _TANH, {})
        order = list(root.heads._modules)
        if order not in (["head"], ["pre_logits", "act", "head"]):
            walk.issue("heads", ", ".join(order), "head, or pre_logits, act, head")
    fields: dict[str, Any] = {
        "img_size": (int(root.image_size),) * 2,
        "patch_size": patch,
        "num_heads": walk.agree(heads, 1),
        "norm_eps": walk.agree(eps, 1e-6),
        "act_layer": walk.agree(acts, "gelu"),
        "global_pool": "token",
        "pos_resize": "bicubic_align",
        "pos_drop_rate": walk.agree(pos_drop, 0.0),
        "proj_drop_rate": walk.agree(drops, 0.0),
        "attn_drop_rate": walk.agree(attn_drops, 0.0),
        "weight_init": "jax",
    }
    if patch and patch != (root.patch_size,) * 2:
        walk.issue("patch_size", repr(root.patch_size), f"{patch}, as conv_proj cuts")
    return Found("torchvision", "torchvision", fields)


ROOTS = {f"{_HOME}.VisionTransformer": read}
