"""timm's `VisionTransformer` and `VisionTransformerDistilled` (1.0.31)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from converters.libraries.known_modules import ANY, IDENTITY, LINEAR
from converters.libraries.walk import Walk
from converters.sources.live_reader import Found

_PLAIN = "timm.models.vision_transformer.VisionTransformer"
_DISTILLED = "timm.models.deit.VisionTransformerDistilled"

_ROOT = {
    **dict.fromkeys(
        # read below
        ("global_pool", "num_prefix_tokens", "num_reg_tokens", "has_class_token"),
        ANY,
    ),
    **dict.fromkeys(("no_embed_class", "pool_include_prefix"), ANY),
    # the weights say it
    **dict.fromkeys(
        ("num_classes", "in_chans", "num_features", "head_hidden_size"), ANY
    ),
    **dict.fromkeys(("embed_dim", "reg_token", "cls_token", "pos_embed"), ANY),
    "attn_pool": None,
    # other sizes, training, bookkeeping
    **dict.fromkeys(("dynamic_img_size", "grad_checkpointing", "feature_info"), ANY),
    **dict.fromkeys(("weight_init_mode", "fix_init", "distilled_training"), ANY),
    **dict.fromkeys(("pretrained_cfg", "pretrained_model_args", "default_cfg"), ANY),
    **dict.fromkeys(("_traits", "_model_args"), ANY),
}
_PATCH_EMBED = ("timm.layers.patch_embed.PatchEmbed",)
_PATCH_EMBED_ATTRIBUTES = {
    **dict.fromkeys(("patch_size", "img_size", "grid_size", "num_patches"), ANY),
    **dict.fromkeys(("flatten", "output_fmt", "strict_img_size"), ANY),
    "dynamic_img_pad": False,
}
_BLOCK = ("timm.models.vision_transformer.Block",)
_ATTENTION = (
    "timm.layers.attention.Attention",
    "timm.models.vision_transformer.Attention",
)
_ATTENTION_ATTRIBUTES = {
    **dict.fromkeys(("num_heads", "head_dim", "attn_dim", "scale", "fused_attn"), ANY),
    "gate": None,
}
_LAYER_SCALE = (
    "timm.layers.layer_scale.LayerScale",
    "timm.models.vision_transformer.LayerScale",
)
_DROP_PATH = ("timm.layers.drop.DropPath",)
_PATCH_DROP = ("timm.layers.patch_dropout.PatchDropout",)
_MLP = "timm.layers.mlp.Mlp"
_PACKED = "timm.layers.mlp.GluMlp"
_SPLIT = "timm.layers.mlp.SwiGLU"
_POOL = ("timm.layers.attention_pool.AttentionPoolLatent",)
_POOL_ATTRIBUTES = {
    **dict.fromkeys(("num_heads", "head_dim", "scale", "fused_attn"), ANY),
    **dict.fromkeys(("latent_dim", "out_features"), ANY),
    "feat_size": None,
    "pos_embed": None,
    "pool": "token",
    "latent_len": 1,
}
_POOLS = {
    "": "none",
    "token": "token",
    "avg": "avg",
    "max": "max",
    "map": "map",
}
_INTERPOLATIONS = ("nearest", "bilinear", "bicubic", "lanczos")


def read(walk: Walk, kind: str) -> Found:
    """What the modules of a timm model say."""
    root = walk.take("", (kind,), _ROOT)
    distilled = kind == _DISTILLED
    width = int(root.embed_dim)
    facts = _Facts(walk, width)
    stem = walk.take("patch_embed", _PATCH_EMBED, _PATCH_EMBED_ATTRIBUTES)
    patch = walk.patches("patch_embed.proj")
    patch_norm = facts.norm("patch_embed.norm")
    pos_drop = walk.dropout("pos_drop")
    if walk.is_a("patch_drop", _PATCH_DROP):
        known = {"prob": 0.0, "num_prefix_tokens": ANY, "ordered": ANY}
        walk.take("patch_drop", _PATCH_DROP, known)
    else:
        walk.identity("patch_drop")
    pre_norm = facts.norm("norm_pre")
    depth = walk.blocks("blocks")
    for i in range(depth):
        facts.block(f"blocks.{i}", width)
    final_norm = facts.norm("norm")
    after = walk.optional_norm("fc_norm", width)
    pool = _pool(walk, facts, root, distilled)
    head_drop = walk.dropout("head_drop")
    for name in ("head", "head_dist")[: 1 + distilled]:
        (walk.identity if walk.is_a(name, IDENTITY) else walk.linear)(name)
    has_head = walk.is_a("head", LINEAR)
    if has_head and pool == "none":
        walk.issue("global_pool", "''", "a pooling: the head is applied to every token")
    _tokens(walk, root, distilled)
    eps = walk.agree(facts.eps, next(iter(after.values()), 1e-6))
    image = () if stem is None else tuple(stem.img_size or ())
    if stem is not None and not image:
        walk.issue("patch_embed.img_size", "None", "a size")
    fields: dict[str, Any] = {
        "img_size": image,
        "patch_size": patch,
        "num_heads": walk.agree(facts.heads, 1),
        "norm_eps": eps,
        "act_layer": walk.agree(facts.acts, "gelu"),
        "mlp_layer": walk.agree(facts.mlps, "mlp"),
        "patch_norm": "post" if patch_norm else "none",
        "pre_norm": pre_norm,
        "final_norm": final_norm,
        "fc_norm": bool(after),
        "fc_norm_eps": next((e for e in after.values() if e != eps), None),
        # Where there is a table, its weights say so.
        **({"pos_embed": "none"} if root.pos_embed is None else {}),
        "pos_embed_tokens": "patch" if root.no_embed_class else "all",
        "pos_resize": "bicubic_aa",
        "global_pool": pool,
        "distilled": distilled,
        "pool_include_prefix": bool(root.pool_include_prefix)
        and pool not in ("token", "none"),
        "drop_rate": walk.agree(head_drop, 0.0),
        "pos_drop_rate": 0.0 if root.pos_embed is None else walk.agree(pos_drop, 0.0),
        "proj_drop_rate": walk.agree(facts.proj_drops, 0.0),
        "attn_drop_rate": walk.agree(facts.attn_drops, 0.0),
        "drop_path_rate": walk.growing(facts.drop_paths, depth),
        **_data(getattr(root, "pretrained_cfg", None), _channels(walk)),
    }
    return Found("timm", "timm", fields)


class _Facts:
    """What the blocks say, by path."""

    def __init__(self, walk: Walk, width: int) -> None:
        self.walk, self.width = walk, width
        self.eps: dict[str, float] = {}
        self.acts: dict[str, str] = {}
        self.mlps: dict[str, str] = {}
        self.heads: dict[str, int] = {}
        self.proj_drops: dict[str, float] = {}
        self.attn_drops: dict[str, float] = {}
        self.drop_paths: dict[str, float] = {}

    def norm(self, path: str, width: int | None = None) -> bool:
        """Whether there is a norm; its epsilon is one of many."""
        found = self.walk.optional_norm(path, width or self.width)
        self.eps |= found
        return bool(found)

    def block(self, path: str, width: int) -> None:
        """All of one block."""
        walk = self.walk
        walk.take(path, _BLOCK, {})
        for name in ("norm1", "norm2"):
            self.eps |= walk.norm(f"{path}.{name}", width)
        for name in ("ls1", "ls2"):
            if walk.is_a(f"{path}.{name}", IDENTITY):
                walk.identity(f"{path}.{name}")
            else:
                known = {"init_values": ANY, "inplace": ANY}
                walk.take(f"{path}.{name}", _LAYER_SCALE, known)
        for name in ("drop_path1", "drop_path2"):
            self.drop_paths[f"{path}.{name}"] = self._drop_path(f"{path}.{name}")
        self._attention(f"{path}.attn")
        self.mlp(f"{path}.mlp", self.proj_drops)

    def _drop_path(self, path: str) -> float:
        if self.walk.is_a(path, IDENTITY):
            self.walk.identity(path)
            return 0.0
        known = {"drop_prob": ANY, "scale_by_keep": True}
        module = self.walk.take(path, _DROP_PATH, known)
        return 0.0 if module is None else float(module.drop_prob)

    def _attention(self, path: str) -> None:
        walk = self.walk
        module = walk.take(path, _ATTENTION, _ATTENTION_ATTRIBUTES)
        if module is None:
            return
        self.heads[path] = int(module.num_heads)
        walk.scale(f"{path}.scale", module.scale, module.head_dim)
        for name in ("qkv", "proj"):
            walk.linear(f"{path}.{name}")
        for name in ("q_norm", "k_norm"):
            self.norm(f"{path}.{name}", int(module.head_dim))
        if walk.has(f"{path}.norm"):
            walk.identity(f"{path}.norm")
        self.attn_drops |= walk.dropout(f"{path}.attn_drop")
        self.proj_drops |= walk.dropout(f"{path}.proj_drop")

    def mlp(self, path: str, drops: dict[str, float]) -> None:
        """An MLP of any kind."""
        walk = self.walk
        packed = {"chunk_dim": -1, "gate_last": False}
        known = packed if walk.is_a(path, (_PACKED,)) else {}
        if walk.take(path, (_MLP, _PACKED, _SPLIT), known) is None:
            return
        self.mlps[path] = "mlp" if walk.is_a(path, (_MLP,)) else "swiglu"
        split = walk.is_a(path, (_SPLIT,))
        for name in ("fc1_g", "fc1_x", "fc2") if split else ("fc1", "fc2"):
            walk.linear(f"{path}.{name}")
        self.acts |= walk.activation(f"{path}.act")
        walk.identity(f"{path}.norm")
        for name in ("drop1", "drop2"):
            drops |= walk.dropout(f"{path}.{name}")


def _pool(walk: Walk, facts: _Facts, root: Any, distilled: bool) -> str:
    pool = _POOLS.get(root.global_pool)
    if pool is None:
        walk.issue("global_pool", repr(root.global_pool), "token, avg, max, map or ''")
        return "token"
    if distilled and pool != "token":
        walk.issue("global_pool", repr(root.global_pool), "token: two heads read it")
    if not walk.has("attn_pool"):
        if pool == "map":
            walk.issue("attn_pool", "None", "an attention pooling")
        return pool
    if pool != "map":
        walk.issue(
            "global_pool", repr(root.global_pool), "'map': there is an attn_pool"
        )
    module = walk.take("attn_pool", _POOL, _POOL_ATTRIBUTES)
    if module is not None:
        facts.heads["attn_pool"] = int(module.num_heads)
        walk.scale("attn_pool.scale", module.scale, module.head_dim)
        for name in ("q", "kv", "proj"):
            walk.linear(f"attn_pool.{name}")
        for name in ("q_norm", "k_norm"):
            walk.identity(f"attn_pool.{name}")
        facts.norm("attn_pool.norm")
        drops = walk.dropout("attn_pool.proj_drop")
        kinds, facts.mlps = facts.mlps, {}
        facts.mlp("attn_pool.mlp", drops)
        walk.agree({"attn_pool.mlp": "mlp", **facts.mlps})
        facts.mlps = kinds
        for path, rate in drops.items():
            if rate:
                walk.issue(path, f"{rate}", "0: nothing is dropped in the pooling")
    return "map"


def _tokens(walk: Walk, root: Any, distilled: bool) -> None:
    """What the code counts as prefix has to be there."""
    registers = 0 if root.reg_token is None else root.reg_token.shape[1]
    tokens = (root.cls_token is not None) + distilled + registers
    for name, value in (
        ("num_prefix_tokens", tokens),
        ("num_reg_tokens", registers),
        ("has_class_token", root.cls_token is not None),
    ):
        if getattr(root, name) != value:
            walk.issue(name, repr(getattr(root, name)), f"{value!r}, as the tokens are")


def _channels(walk: Walk) -> int:
    return int(getattr(walk.modules.get("patch_embed.proj"), "in_channels", 0))


def _data(cfg: Any, channels: int) -> Mapping[str, Any]:
    """Preprocessing of the pretrained weights, as far as it is stated.

    Mean and deviation of other channels than the model's say nothing of it.
    """
    if not isinstance(cfg, Mapping):
        return {}
    take: dict[str, Callable[[Any], Any]] = {
        "mean": lambda v: tuple(map(float, v)),
        "std": lambda v: tuple(map(float, v)),
        "interpolation": lambda v: v if v in _INTERPOLATIONS else None,
        "crop_pct": float,
        "crop_mode": lambda v: v if v in ("center", "squash", "border") else None,
    }
    data = {key: read(cfg[key]) for key, read in take.items() if cfg.get(key)}
    for key in ("mean", "std"):
        if len(data.get(key, ())) == 1:
            data[key] *= channels
        if len(data.get(key, ())) != channels:
            data.pop(key, None)
    return {"data": {**data, "input_range": (0.0, 1.0)}} if data else {}


ROOTS = {_PLAIN: read, _DISTILLED: read}
