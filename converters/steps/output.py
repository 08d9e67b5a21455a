"""Another output: no head, no pooling, or another head.

What a model returns is decided by `num_classes` and `global_pool`:

- `"logits"`: what the head gives;
- `"pooled"`: what `forward_head(pre_logits=True)` gives, the vector that the head sees.
  Only the head is dropped; `fc_norm`, `pre_logits` and the attention pooling stay;
- `"tokens"`: what `forward_features` gives, all tokens after the final norm. Everything
  that works on the pooled vector is dropped: head, `pre_logits`, `fc_norm` and the
  attention pooling.
"""

from __future__ import annotations

from typing import Any

from converters.errors import refusal
from converters.steps.fresh import drawn
from converters.steps.stage import Stage
from converters.wording import Blank, options
from vit_config import ViTConfig
from vit_config.weights import weight_table

HEADS = ("head.weight", "head.bias", "head_dist.weight", "head_dist.bias")
"""Canonical tensors that a new head replaces."""

_ORDER = ("tokens", "pooled", "logits")

_NO_HEAD: dict[str, Any] = {
    "num_classes": 0,
    "head_bias": True,
    "head_act": None,
    "labels": None,
    "problem_type": None,
}
_NO_POOL: dict[str, Any] = {
    **_NO_HEAD,
    "global_pool": "none",
    "pool_include_prefix": False,
    "distilled": False,
    "representation_size": None,
    "fc_norm": False,
    "fc_norm_eps": None,
}


def output_of(config: ViTConfig) -> str:
    """What a model returns: `"logits"`, `"pooled"` or `"tokens"`."""
    if config.num_classes:
        return "logits"
    return "tokens" if config.global_pool == "none" else "pooled"


def output(config: ViTConfig, wanted: str, num_classes: int | None) -> Stage | None:
    """Drops what stands behind the output that is wanted.

    Raises:
        ConversionError: If the model does not go so far, or classes are asked for too.
    """
    found = output_of(config)
    if num_classes is not None and (num_classes > 0) != (wanted == "logits"):
        needs = "needs a head" if wanted == "logits" else "has no head"
        classes, given = options(num_classes=num_classes), options(output=wanted)
        text = f"{classes} with {given}, which {needs}"
        raise refusal(text, kind="config")
    if wanted == found or (wanted == "logits" and num_classes):
        return None
    if _ORDER.index(wanted) > _ORDER.index(found):
        lacks = "has no head" if wanted == "logits" else "does not pool"
        new = options(num_classes=Blank("N"))
        hint = f"{new} draws a new one." if wanted == "logits" else ""
        raise refusal(
            f"{options(output=wanted)}: the model {lacks}, it returns {found}",
            hint=hint,
            kind="config",
        )
    changes = _NO_HEAD if wanted == "pooled" else _NO_POOL
    return Stage(f"output:{found}->{wanted}", config.replace(**changes))


def new_head(config: ViTConfig, num_classes: int, seed: int) -> Stage | None:
    """Draws a head for another number of classes; 0 drops it.

    What only meant the old head (labels) goes with it.

    Raises:
        ConfigError: If the model cannot have a head.
    """
    old = config.num_classes
    if num_classes == old:
        return None
    if not num_classes:
        return output(config, "pooled", None)
    after = config.replace(num_classes=num_classes, labels=None)
    names = tuple(weight.name for weight in weight_table(after) if weight.name in HEADS)
    return Stage(
        text=f"num_classes:{old}->{num_classes}:seed={seed}",
        config=after,
        makes=drawn(after, names, seed),
        drawn=names,
        notes=(f"drawn at random: {', '.join(names)}",),
    )
