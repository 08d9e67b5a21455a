"""MONAI's `ViT` (1.4 to 1.6.1). The image size is in none of its modules."""

from __future__ import annotations

from typing import Any

from converters.libraries.known_modules import ANY, CONV, IDENTITY, LAYER_NORM, LINEAR
from converters.libraries.walk import Walk
from converters.sources.live_reader import Found

_BLOCKS = "monai.networks.blocks"
_PATCHES = (f"{_BLOCKS}.patchembedding.PatchEmbeddingBlock",)
_PATCHES_ATTRIBUTES = {
    **dict.fromkeys(("pos_embed_type", "n_patches", "patch_dim"), ANY),
    "proj_type": ANY,
}
_BLOCK = (f"{_BLOCKS}.transformerblock.TransformerBlock",)
_ATTENTION = (f"{_BLOCKS}.selfattention.SABlock",)
_ATTENTION_ATTRIBUTES = {
    **dict.fromkeys(("inner_dim", "dim_head", "num_heads", "hidden_input_size"), ANY),
    **dict.fromkeys(("scale", "save_attn", "att_mat", "sequence_length"), ANY),
    **dict.fromkeys(("causal_mask", "input_size", "use_flash_attention"), ANY),
    "dropout_rate": ANY,  # of the flash path, see below
    "attention_dtype": None,
    "causal": False,
    "include_fc": True,
    "use_combined_linear": True,
    "rel_positional_embedding": None,
}
_REARRANGE = ("einops.layers.torch.Rearrange",)
_TANH = ("torch.nn.modules.activation.Tanh",)
_SPLIT = "b h (qkv l d) -> qkv b l h d"
_JOIN = "b l h d -> b h (l d)"
_CUTS = {
    2: "b c (h p1) (w p2) -> b (h w) (p1 p2 c)",
    3: "b c (h p1) (w p2) (d p3) -> b (h w d) (p1 p2 p3 c)",
}


def read(walk: Walk, kind: str) -> Found:
    """What the modules of a MONAI ViT say."""
    root = walk.take("", (kind,), {"classification": ANY})
    stem = walk.take("patch_embedding", _PATCHES, _PATCHES_ATTRIBUTES)
    patch = _patch(walk)
    pos_drop = walk.dropout("patch_embedding.dropout")
    width = 1
    if walk.is_a("norm", LAYER_NORM):
        width = int(walk.modules["norm"].normalized_shape[0])
    eps = walk.norm("norm", width)
    heads: dict[str, int] = {}
    acts: dict[str, str] = {}
    drops: dict[str, float] = {}
    attn_drops: dict[str, float] = {}
    for i in range(walk.blocks("blocks")):
        path = f"blocks.{i}"
        walk.take(path, _BLOCK, {"with_cross_attention": False})
        eps |= walk.norm(f"{path}.norm1", width) | walk.norm(f"{path}.norm2", width)
        if walk.has(f"{path}.norm_cross_attn"):  # never called
            walk.norm(f"{path}.norm_cross_attn", width)
        if walk.has(f"{path}.cross_attn"):
            walk.identity(f"{path}.cross_attn")
        _attention(walk, f"{path}.attn", heads, drops, attn_drops)
        walk.take(f"{path}.mlp", (f"{_BLOCKS}.mlp.MLPBlock",), {})
        for name in ("linear1", "linear2"):
            walk.linear(f"{path}.mlp.{name}")
        acts |= walk.activation(f"{path}.mlp.fn")
        for name in ("drop1", "drop2"):
            drops |= walk.dropout(f"{path}.mlp.{name}")
    sincos = stem is not None and stem.pos_embed_type in ("sincos", "fourier")
    fields: dict[str, Any] = {
        "spatial_dims": len(patch),
        "patch_size": patch,
        "num_heads": walk.agree(heads, 1),
        "norm_eps": walk.agree(eps, 1e-5),
        "act_layer": walk.agree(acts, "gelu"),
        "pos_embed": "sincos" if sincos else "learned",
        "pos_embed_tokens": "patch",
        "pos_drop_rate": walk.agree(pos_drop, 0.0),
        "proj_drop_rate": walk.agree(drops, 0.0),
        "attn_drop_rate": walk.agree(attn_drops, 0.0),
        "weight_init": "monai",
        **_head(walk, root),
    }
    return Found("MONAI", "monai", {k: v for k, v in fields.items() if v != ()})


def _patch(walk: Walk) -> tuple[int, ...]:
    path = "patch_embedding.patch_embeddings"
    if walk.is_a(path, CONV):
        return walk.patches(path)
    if walk.take(path, (*CONV, "torch.nn.modules.container.Sequential"), {}) is None:
        return ()
    walk.linear(f"{path}.1")
    cut = walk.take(f"{path}.0", _REARRANGE, _REARRANGED)
    if cut is None:
        return ()
    lengths = dict(cut.axes_lengths)
    if cut.pattern != _CUTS.get(len(lengths)):
        walk.issue(f"{path}.0.pattern", cut.pattern, _CUTS[3])
        return ()
    return tuple(int(lengths[f"p{i + 1}"]) for i in range(len(lengths)))


_REARRANGED = dict.fromkeys(
    ("pattern", "axes_lengths", "_multirecipe", "_axes_lengths"), ANY
)


def _attention(
    walk: Walk,
    path: str,
    heads: dict[str, int],
    drops: dict[str, float],
    attn_drops: dict[str, float],
) -> None:
    module = walk.take(path, _ATTENTION, _ATTENTION_ATTRIBUTES)
    if module is None:
        return
    heads[path] = int(module.num_heads)
    walk.scale(f"{path}.scale", module.scale, module.dim_head)
    for name in ("qkv", "out_proj"):
        walk.linear(f"{path}.{name}")
    for name in ("to_q", "to_k", "to_v"):
        if walk.has(f"{path}.{name}"):
            walk.identity(f"{path}.{name}")
    for name, pattern in (("input_rearrange", _SPLIT), ("out_rearrange", _JOIN)):
        part = walk.take(f"{path}.{name}", _REARRANGE, _REARRANGED)
        if part is not None and part.pattern != pattern:
            walk.issue(f"{path}.{name}.pattern", part.pattern, pattern)
        lengths = {} if part is None else dict(part.axes_lengths)
        if lengths.get("l", module.num_heads) != module.num_heads:
            walk.issue(f"{path}.{name}", f"{lengths['l']} heads", f"{module.num_heads}")
    drops |= walk.dropout(f"{path}.drop_output")
    attn_drops |= walk.dropout(f"{path}.drop_weights")
    if module.use_flash_attention and module.dropout_rate:
        text = "0: the fused path drops at inference, too"
        walk.issue(f"{path}.dropout_rate", repr(module.dropout_rate), text)


def _head(walk: Walk, root: Any) -> dict[str, Any]:
    if not root.classification:
        if walk.has("classification_head"):
            walk.issue("classification", "False", "True: there is a head")
            return {}
        return {"global_pool": "none", "head_act": None}
    if walk.is_a("classification_head", (*LINEAR, *IDENTITY)):
        walk.linear("classification_head")
        return {"global_pool": "token", "head_act": None}
    kind = "torch.nn.modules.container.Sequential"
    if walk.take("classification_head", (kind, *LINEAR), {}) is not None:
        walk.linear("classification_head.0")
        walk.take("classification_head.1", _TANH, {})
    return {"global_pool": "token", "head_act": "tanh"}


ROOTS = {"monai.networks.nets.vit.ViT": read}
