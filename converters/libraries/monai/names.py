"""MONAI's `ViT` in 2D and 3D, as every release from 0.6 to 1.6 saves it.

The arithmetic never changed, only names and tensors that no model reads:

- up to 0.8 `patch_embedding.cls_token`, unused;
- 1.4 and 1.5 `cross_attn` and `norm_cross_attn` in every block, unused; since 1.6 only
  the norm;
- the head is `classification_head.0` under a tanh, `classification_head` without;
- the patch projection is a convolution, or a matrix on flattened patches
  (`proj_type="perceptron"`, here `+perceptron`): one function in two layouts.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from converters.errors import refusal
from converters.libraries.assumptions import assumptions
from converters.libraries.variant import Dialect, Fill, Shapes, Variant, renamed
from converters.mapping.table import Row, Table
from vit_config import ViTConfig

CONV = "patch_embedding.patch_embeddings"
PERCEPTRON = f"{CONV}.1"
POSITIONS = "patch_embedding.position_embeddings"
OLD_CLASS = "patch_embedding.cls_token"
HEAD = "classification_head"
NORM_CROSS = "blocks.0.norm_cross_attn.weight"
CROSS = "blocks.0.cross_attn.out_proj.weight"
MASK = "mask_tokens"


def _tanh(config: ViTConfig) -> bool:
    return config.num_classes > 0 and config.head_act == "tanh"


def _bare(config: ViTConfig) -> bool:
    return config.num_classes > 0 and config.head_act is None


def _table(name: str, patches: str, norm: str = "norm") -> Table:
    modules = {
        "cls_token": "cls_token",
        "pos_embed": POSITIONS,
        "patch_embed.proj": patches,
        "blocks.{i}.norm1": "blocks.{i}.norm1",
        "blocks.{i}.attn.qkv": "blocks.{i}.attn.qkv",
        "blocks.{i}.attn.proj": "blocks.{i}.attn.out_proj",
        "blocks.{i}.norm2": "blocks.{i}.norm2",
        "blocks.{i}.mlp.fc1": "blocks.{i}.mlp.linear1",
        "blocks.{i}.mlp.fc2": "blocks.{i}.mlp.linear2",
        "norm": norm,
    }
    extra = [
        Row((f"{HEAD}{place}.{leaf}",), (f"head.{leaf}",), f"{axes} -> {axes}", when)
        for leaf, axes in (("weight", "k u"), ("bias", "k"))
        for place, when in ((".0", _tanh), ("", _bare))
    ]
    if patches == PERCEPTRON:
        kernel = (f"{PERCEPTRON}.weight",), ("patch_embed.proj.weight",)
        extra.append(Row(*kernel, "d (... c) -> d c ..."))
    return Table(name, renamed(modules, extra))


def _drops(config: ViTConfig) -> Mapping[str, str]:
    cross = "cross-attention that MONAI 1.4 and 1.5 make and ViT never calls"
    norm = "norm of a cross-attention that ViT never calls"
    mask = "mask of a causal attention that ViT never uses"
    found = {OLD_CLASS: "class token that MONAI up to 0.8 makes and never reads"}
    for i in range(config.depth):
        block = f"blocks.{i}"
        for leaf in ("weight", "bias"):
            found[f"{block}.norm_cross_attn.{leaf}"] = norm
            for part in ("out_proj", "to_q", "to_k", "to_v"):
                found[f"{block}.cross_attn.{part}.{leaf}"] = cross
        found[f"{block}.attn.causal_mask"] = mask
        found[f"{block}.cross_attn.causal_mask"] = mask
    return found


def _fill_class(config: ViTConfig) -> Mapping[str, Fill]:
    return {OLD_CLASS: Fill((1, 1, config.embed_dim))}


def _fill_norm(config: ViTConfig) -> dict[str, Fill]:
    return {
        f"blocks.{i}.norm_cross_attn.{leaf}": Fill((config.embed_dim,), value)
        for i in range(config.depth)
        for leaf, value in (("weight", 1.0), ("bias", 0.0))
    }


def _fill_cross(config: ViTConfig) -> Mapping[str, Fill]:
    found = _fill_norm(config)
    width = config.embed_dim
    for i in range(config.depth):
        block = f"blocks.{i}.cross_attn"
        for part in ("out_proj", "to_q", "to_k", "to_v"):
            found[f"{block}.{part}.weight"] = Fill((width, width))
            if part == "out_proj" or config.qkv_bias:
                found[f"{block}.{part}.bias"] = Fill((width,))
    return found


_ONLY: dict[str, tuple[Any, str]] = {
    # field: the one value that MONAI has, and how it reads
    "norm_eps": (1e-5, "every LayerNorm has 1e-05"),
    "act_layer": ("gelu", "only the exact GELU"),
    "mlp_layer": ("mlp", "no gated MLP"),
    "patch_norm": ("none", "no norm around the patch projection"),
    "patch_bias": (True, "the patch projection always has a bias"),
    "pre_norm": (False, "no norm before the blocks"),
    "dist_token": (False, "no distillation token"),
    "reg_tokens": (0, "no register tokens"),
    "proj_bias": (True, "the projection always has a bias"),
    "mlp_bias": (True, "the MLP always has biases"),
    "qk_norm": (False, "no norm on queries and keys"),
    "init_values": (None, "no layer scale"),
    "final_norm": (True, "the final norm is always there"),
    "fc_norm": (False, "no norm after the pooling"),
    "representation_size": (None, "no layer before the head"),
    "head_bias": (True, "the head always has a bias"),
}


def _holds(config: ViTConfig) -> Iterator[str]:
    for field, (value, text) in _ONLY.items():
        found = getattr(config, field)
        if found != value:
            yield f"{field}: {found!r}; in MONAI's ViT {text}"
    if config.attn_dim != config.embed_dim:
        yield f"head_dim: {config.head_dim}; MONAI's is embed_dim / num_heads"
    if config.qkv_bias == "qv":
        yield "qkv_bias: 'qv'; MONAI's is true or false"
    if config.pos_embed == "none":
        yield "pos_embed: 'none'; MONAI's ViT always adds a table"
    elif config.num_pos_tokens != config.num_patches:
        yield (
            f"pos_embed_tokens: {config.pos_embed_tokens!r}; MONAI's class token has "
            "no position"
        )
    if config.num_classes and config.global_pool != "token":
        yield f"global_pool: {config.global_pool!r}; MONAI's head reads the class token"
    if not config.num_classes and config.global_pool != "none":
        yield f"global_pool: {config.global_pool!r}; without a head MONAI gives tokens"


def _holds_before_1_0(config: ViTConfig) -> Iterator[str]:
    yield from _holds(config)
    if config.qkv_bias:
        yield "qkv_bias: true; MONAI has it since 1.0"


def _holds_before_0_9(config: ViTConfig) -> Iterator[str]:
    yield from _holds_before_1_0(config)
    if _bare(config):
        yield "head_act: None; MONAI up to 0.9.0 always has a tanh"


def _says(shapes: Shapes) -> Mapping[str, Any]:
    tanh, bare = f"{HEAD}.0.weight" in shapes, f"{HEAD}.weight" in shapes
    if bare and "cls_token" not in shapes:
        raise refusal(
            "a MONAI 0.6 classifier: its head reads the first patch, not a class token",
            hint="No model of this library does that. Train again with MONAI >= 0.7.",
            kind="config",
        )
    return {
        **{field: value for field, (value, _) in _ONLY.items()},
        "pos_embed_tokens": "patch",
        "weight_init": "monai",
        "head_act": "tanh" if tanh else None,
        "global_pool": "token" if tanh or bare else "none",
    }


_UNETR = "UNETR's decoder: only the encoder is taken"
_M3D = "of M3D-CLIP beside its image encoder"
_SEGVOL = "of SegVol beside its image encoder"
_AROUND = {
    **dict.fromkeys(
        ("language_encoder.", "mm_vision_proj.", "mm_language_proj.", "logit_scale"),
        _M3D,
    ),
    **dict.fromkeys(("mask_decoder.", "prompt_encoder.", "text_encoder."), _SEGVOL),
    **{f"encoder{n}.": _UNETR for n in (1, 2, 3, 4)},
    **{f"decoder{n}.": _UNETR for n in (2, 3, 4, 5)},
    "out.conv.": _UNETR,
}
_AUTOENCODER = "decoder of ViTAutoEnc: only the encoder is taken"
_BESIDE = {"conv3d_transpose.": _AUTOENCODER, "conv3d_transpose_1.": _AUTOENCODER}
_MASKED = "decoder of the masked autoencoder: only the encoder is taken"

_ASSUMES = assumptions(
    "MONAI 0.6 to 1.6",
    activation="gelu",
    epsilon="1e-05",
    pooling="class token with a head, else none",
)

# release: names only it has, names it lacks, what an export fills in, what it holds
_RELEASES: dict[str, tuple[set[str], set[str], Any, Any]] = {
    "1.6": ({NORM_CROSS}, {CROSS, OLD_CLASS, MASK}, _fill_norm, _holds),
    "1.4": ({NORM_CROSS, CROSS}, {OLD_CLASS, MASK}, _fill_cross, _holds),
    "1.0": (set(), {NORM_CROSS, CROSS, OLD_CLASS, MASK}, lambda config: {}, _holds),
    # Its names are those of 1.0, so that a file is never taken for one of 0.9.
    "0.9": (set(), set(), lambda config: {}, _holds_before_1_0),
    "0.7": ({OLD_CLASS}, {NORM_CROSS, CROSS, MASK}, _fill_class, _holds_before_0_9),
}


def _variant(release: str, patches: str) -> Variant:
    present, absent, fills, holds = _RELEASES[release]
    name = f"monai@{release}" + ("+perceptron" if patches == PERCEPTRON else "")
    anchor = {POSITIONS, "blocks.0.attn.out_proj.weight", f"{patches}.weight"}
    return Variant(
        name,
        _table(name, patches),
        frozenset(anchor | present if release != "0.9" else ()),
        frozenset(absent),
        says=_says,
        drops=_drops,
        fills=fills,
        holds=holds,
        beside=_BESIDE,
        around=_AROUND,
        assumes=_ASSUMES,
    )


def _masked(patches: str) -> Variant:
    name = "monai@mae" + ("+perceptron" if patches == PERCEPTRON else "")
    anchor = {POSITIONS, "blocks.0.attn.out_proj.weight", f"{patches}.weight", MASK}
    return Variant(
        name,
        _table(name, patches, norm="blocks.{L}"),
        frozenset(anchor),
        says=_says,
        drops=_drops,
        beside={MASK: "token for masked patches", "decoder_": _MASKED},
        export=False,
        assumes=_ASSUMES,
    )


MONAI = Dialect(
    "monai",
    "MONAI ViT",
    (
        *(_variant(r, patches) for r in _RELEASES for patches in (CONV, PERCEPTRON)),
        *(_masked(patches) for patches in (CONV, PERCEPTRON)),
    ),
    config="monai",
    layout="conv",
    places={
        "num_heads": "model.blocks[0].attn.num_heads",
        "img_size": "the argument img_size",
        "patch_size": "the argument patch_size",
    },
)

DIALECTS = (MONAI,)
