"""A model in words, the same on every paper: report, card, page, record.

What no tensor shows (heads, epsilon, activation, pooling) is always said; what a plain
ViT has not is said where it is there.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import groupby
from typing import Any

from converters.errors import printable
from converters.mapping.pipe import model_fingerprint
from vit_config import Statement, ViTConfig

OTHER = "unlike a plain ViT"
NOTHING = "nothing"
NOT_IN_FILE = "stated by hand, not in the file: "

_ALWAYS = frozenset(
    {
        *("spatial_dims", "img_size", "patch_size", "in_chans", "embed_dim", "depth"),
        *("num_heads", "head_dim", "mlp_dim", "mlp_layer", "norm_layer", "norm_eps"),
        *("act_layer", "class_token", "pos_embed", "pos_embed_tokens", "global_pool"),
        *("num_classes", "head_act"),
    }
)
_NO_OUTPUT = frozenset(
    {
        *("schema_version", "weight_init", "pos_resize", "problem_type"),
        *("drop_rate", "pos_drop_rate", "proj_drop_rate", "attn_drop_rate"),
        "drop_path_rate",
    }
)
"""Fields that change nothing of what the model computes."""

_WORDS = {
    "patch_norm": "norm at the patch projection",
    "pre_norm": "norm before the first block",
    "dist_token": "distillation token",
    "reg_tokens": "register tokens",
    "rope": "rotary positions",
    "qk_norm": "norms on queries and keys",
    "init_values": "layer scale",
    "fc_norm": "norm on the pooled vector",
    "pool_include_prefix": "prefix tokens are pooled, too",
    "distilled": "two heads, averaged",
    "representation_size": "Linear and tanh before the head",
}
_ACTIVATIONS = {
    "gelu": "GELU (exact)",
    "gelu_tanh": "GELU (by tanh)",
    "quick_gelu": "quick GELU",
    "silu": "SiLU",
    "relu": "ReLU",
}
_POSITIONS = {"all": "all tokens", "cls": "class token and patches", "patch": "patches"}
_POOLING = {
    "token": "class token",
    "avg": "mean",
    "max": "maximum",
    "token_avg": "class token and mean",
    "map": "attention",
    "none": "none",
}


def architecture_items(config: ViTConfig) -> dict[str, str]:
    """What a model is, a text for each part of it; the labels and their order stay."""
    shape = _size((config.in_chans, *config.img_size))
    patches = _count(config.num_patches, "patch", "es")
    return {
        "input": f"{config.spatial_dims}D, {shape}",
        "patch": f"{_size(config.patch_size)} ({patches})",
        "blocks": f"{_count(config.depth, 'block')} of width {config.embed_dim}",
        "attention": f"{_count(config.num_heads, 'head')} of {config.attn_head_dim}",
        "MLP": _mlp(config),
        "activation": _ACTIVATIONS.get(config.act_layer, config.act_layer),
        "norms": f"LayerNorm, epsilon {config.norm_eps:g}",
        "tokens": f"{'' if config.class_token else 'no '}class token",
        "positions": _positions(config),
        "pooling": _POOLING[config.global_pool],
        "head": _head(config),
        OTHER: _extras(config) or NOTHING,
    }


def architecture_lines(items: Mapping[str, str]) -> list[str]:
    """The same in two or three lines; none of a model of which nothing is known."""
    if not items:
        return []
    first = ("input", "patch", "blocks", "attention", "MLP")
    second = ("activation", "norms", "tokens", "positions", "pooling", "head")
    lines = [", ".join(_labelled(items, first)), "; ".join(_labelled(items, second))]
    extras = items.get(OTHER, NOTHING)
    lines += [] if extras == NOTHING else [f"{OTHER}: {extras}"]
    return [line for line in lines if line]


_LABELS = {
    # what a text needs before it, to be understood without its row
    **{"patch": "patch ", "MLP": "MLP ", "positions": "positions "},
    **{"pooling": "pooling: ", "head": "head: "},
}


def _labelled(items: Mapping[str, str], names: Iterable[str]) -> list[str]:
    """The texts that there are; a record from elsewhere may lack some."""
    return [_LABELS.get(name, "") + items[name] for name in names if name in items]


def by_hand(statements: Iterable[Statement]) -> str:
    """Statements in words: `num_heads=3, norm_eps=1e-05 (--set)`; empty without any."""
    rows = [(f"--{one.origin}", one) for one in statements]
    parts = []
    for origin, group in groupby(sorted(rows, key=lambda row: row[0]), lambda r: r[0]):
        texts = ", ".join(printable(str(one), 120) for _, one in group)
        parts.append(f"{texts} ({printable(origin, 80)})")
    return ", ".join(parts)


def statements_of(config: ViTConfig | None) -> tuple[Statement, ...]:
    """What was stated by hand of a model."""
    if config is None or config.source is None:
        return ()
    return config.source.stated


Rows = list[tuple[str, str]]
"""Labels and texts, one line each."""


def model_rows(config: ViTConfig) -> Rows:
    """Rows for a text: the architecture, and what was stated by hand."""
    first, *more = architecture_lines(architecture_items(config))
    return [("model", first), *(("", line) for line in more), *hand_rows(config)]


def hand_rows(config: ViTConfig | None) -> Rows:
    """The row that says what was stated by hand, if anything was."""
    text = by_hand(statements_of(config))
    return [("by hand", f"{NOT_IN_FILE}{text}")] if text else []


def identity_rows(config: ViTConfig, fingerprint: str) -> Rows:
    """Rows with the hash of the weights, and that of the model."""
    model = model_fingerprint(fingerprint, config)
    return [("fingerprint", fingerprint), ("identity", f"{model} {_IDENTITY}")]


_IDENTITY = "(model fingerprint: weights and architecture)"


def identity_facts(config: ViTConfig, fingerprint: str) -> dict[str, Any]:
    """What identifies a model, and what was stated of it by hand, as JSON types."""
    return {
        "architecture_hash": config.architecture_hash(),
        "fingerprint": fingerprint,
        "model_fingerprint": model_fingerprint(fingerprint, config),
        "stated": [one.model_dump() for one in statements_of(config)],
    }


def _size(sizes: Iterable[int]) -> str:
    return " x ".join(map(str, sizes))


def _count(number: int, word: str, plural: str = "s") -> str:
    return f"{number} {word}{'' if number == 1 else plural}"


def _mlp(config: ViTConfig) -> str:
    return f"{config.mlp_dim}{'' if config.mlp_layer == 'mlp' else ', SwiGLU'}"


def _positions(config: ViTConfig) -> str:
    if not config.num_pos_tokens:
        return "none" if config.rope is None else "rotary"
    whose = config.architecture()["pos_embed_tokens"]
    return f"{config.pos_embed}, for {_POSITIONS[whose]}"


def _head(config: ViTConfig) -> str:
    if not config.num_classes:
        out = (
            "tokens"
            if config.global_pool == "none"
            else f"{config.head_in_dim} features"
        )
        return f"none, gives {out}"
    after = f", {config.head_act}" if config.head_act else ""
    return f"{_count(config.num_classes, 'class', 'es')}{after}"


def _extras(config: ViTConfig) -> str:
    """Fields that are not what the schema's defaults, a plain ViT, have."""
    fields = config.architecture()
    defaults: dict[str, Any] = {
        name: field.get_default() for name, field in ViTConfig.model_fields.items()
    }
    found = []
    for name, value in fields.items():
        if name in _ALWAYS or name in _NO_OUTPUT or value == defaults[name]:
            continue
        text = f"{name}={_short(value)}"
        found.append(f"{_WORDS[name]} ({text})" if name in _WORDS and value else text)
    return ", ".join(found)


def _short(value: Any) -> str:
    if isinstance(value, dict):
        return " ".join(f"{key} {_short(one)}" for key, one in value.items())
    if isinstance(value, bool) or value is None:
        return str(value).lower() if value is not None else "null"
    return f"{value:g}" if isinstance(value, float) else str(value)
