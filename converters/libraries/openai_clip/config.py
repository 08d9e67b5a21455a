"""open_clip's `open_clip_config.json`: the image tower of open_clip 3.3.0.

Read is what `save_for_hf` writes (`{"model_cfg": ..., "preprocess_cfg": ...}`), or the
`model_cfg` alone, which is also what open_clip's own list of models holds. The tower is
open_clip's `VisionTransformer`, or one of timm's by its name.

A tower's output is its projection, before it is normalised: a head without a bias. As
in open_clip, the size of the image comes from the tower and never from
`preprocess_cfg`, what the latter does not say is OpenAI's, and timm's towers have their
own activation whatever `quick_gelu` says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.libraries.config_fields import (
    Refused,
    Same,
    Spec,
    Take,
    count,
    flag,
    number,
    one_of,
    optional,
    rate,
    read,
    sizes,
    text,
)
from converters.libraries.timm import config as timm
from vit_config.errors import ConfigError

WHAT = "open_clip_config.json"
EPS = 1e-5

_MEAN = (0.48145466, 0.4578275, 0.40821073)
_STD = (0.26862954, 0.26130258, 0.27577711)
_TEXT = "of the text tower, or of the loss"
_OTHER = "the schema has no other tower of open_clip's"


def _section(value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise Refused("an object")
    return value


def _three(value: Any) -> tuple[float, ...]:
    values = value if isinstance(value, list | tuple) else [value] * 3
    if len(values) != 3:
        raise Refused("a number, or three")
    return tuple(number(item) for item in values)


def _same(*allowed: Any, why: str = _OTHER) -> Same:
    return Same(why, allowed)


_FILE = Spec(
    name=WHAT,
    take={
        "model_cfg": Take(_section),
        "preprocess_cfg": Take(optional(_section), None),
    },
)
_MODEL = Spec(
    name="open_clip model_cfg",
    take={
        "embed_dim": Take(count),
        "vision_cfg": Take(_section),
        "quick_gelu": Take(flag, False),
    },
    same={"multimodal_cfg": _same(None, why="CoCa's image tower is pooled otherwise")},
    ignored=dict.fromkeys(
        (
            *("text_cfg", "custom_text", "init_logit_scale", "init_logit_bias"),
            *(
                "nonscalar_logit_scale",
                "cast_dtype",
                "output_dict",
                "hf_tokenizer_name",
            ),
        ),
        _TEXT,
    ),
)
_LAYOUT = ("no_ln_pre", "final_ln_after_pool", "pool_type")
_POOLS = {"": "", "avg": "avg", "token": "token", "map": "map"}
_TOWER = Spec(
    name="open_clip vision_cfg",
    take={
        "layers": Take(count, 12),
        "width": Take(count, 768),
        "head_width": Take(count, 64),
        "mlp_ratio": Take(number, 4.0),
        "patch_size": Take(optional(sizes(2)), 16),
        "image_size": Take(sizes(2), 224),
        "ls_init_value": Take(optional(number), None),
        "no_ln_pre": Take(flag, False),
        "final_ln_after_pool": Take(flag, False),
        "pool_type": Take(one_of({"tok": "token", "avg": "avg"}), "tok"),
        "act_kwargs": Take(optional(_section), None),
        "norm_kwargs": Take(optional(_section), None),
        "timm_model_name": Take(optional(text), None),
        "timm_pool": Take(one_of(_POOLS, ": no other pooling"), "avg"),
        "timm_proj": Take(
            one_of(
                {"linear": "linear", "none": "none", "": "own", None: "own"},
                ": no other projection",
            ),
            "linear",
        ),
        "timm_proj_bias": Take(flag, False),
        "timm_drop": Take(rate, 0.0),
        "timm_drop_path": Take(optional(rate), None),
    },
    same={
        "attentional_pool": _same(False),
        "block_type": _same(None, "default"),
        **dict.fromkeys(
            (
                *("qk_norm", "scaled_cosine_attn", "scale_heads", "scale_attn_inner"),
                *("scale_attn", "scale_fc"),
            ),
            _same(False),
        ),
    },
    ignored={
        "patch_dropout": "training only",
        "pos_embed_type": "how the stored positions were made",
        "attn_pooler_queries": "of the attentional pooling",
        "attn_pooler_heads": "of the attentional pooling",
        "output_tokens": "what is returned beside the embedding",
        "timm_model_pretrained": "where the weights came from",
    },
)
_FILTERS = {name: name for name in ("bicubic", "bilinear")}
_PREPROCESS = Spec(
    name="open_clip preprocess_cfg",
    take={
        "mean": Take(optional(_three), None),
        "std": Take(optional(_three), None),
        "interpolation": Take(
            # "random" is bicubic outside the training
            optional(one_of({**_FILTERS, "random": "bicubic"})),
            None,
        ),
        "resize_mode": Take(
            optional(one_of({n: n for n in ("shortest", "longest", "squash")})), None
        ),
    },
    same={"mode": _same("RGB", why="images of three channels")},
    ignored={
        "size": "open_clip takes that of the tower",
        "fill_color": "what is around an image resized by its longest edge",
    },
)


def read_fields(given: Mapping[str, Any]) -> dict[str, Any]:
    """Translates an `open_clip_config.json`, or the `model_cfg` of one.

    Raises:
        ConfigError: With every problem found.
    """
    if "model_cfg" in given:
        whole = read(_FILE, given)
        model, preprocess = whole["model_cfg"], whole["preprocess_cfg"] or {}
    else:
        model, preprocess = given, None
    v = read(_MODEL, model)
    tower = read(_TOWER, v["vision_cfg"])
    if tower["timm_model_name"]:
        fields = _of_timm(tower, v["embed_dim"])
    else:
        fields = _own(tower, v)
    if preprocess is not None:
        fields["data"] = _data(read(_PREPROCESS, preprocess), fields["img_size"])
    return fields


def _own(tower: Mapping[str, Any], model: Mapping[str, Any]) -> dict[str, Any]:
    """open_clip's own `VisionTransformer`."""
    width, head = tower["width"], tower["head_width"]
    problems = []
    if tower["patch_size"] is None:
        problems.append("patch_size: found None; a number of pixels")
    heads = width // head
    if heads == 0 or width % heads:
        problems.append(f"head_width: found {head}; a divisor of width {width}")
    if tower["norm_kwargs"] not in (None, {}, {"eps": EPS}):
        problems.append(
            f"norm_kwargs: found {tower['norm_kwargs']!r}; only {{'eps': {EPS}}}"
        )
    clipa = tuple(tower[name] for name in _LAYOUT) == (True, True, "avg")
    if not clipa and (tower["no_ln_pre"] or tower["pool_type"] != "token"):
        found = ", ".join(f"{name} {tower[name]!r}" for name in _LAYOUT)
        problems.append(
            f"{found}: the layouts known are CLIP's (False, any, 'tok') and CLIPA's "
            "(True, True, 'avg')"
        )
    act = _activation(tower["act_kwargs"], model["quick_gelu"], problems)
    if problems:
        raise ConfigError(problems, WHAT)
    return {
        "img_size": tower["image_size"],
        "patch_size": tower["patch_size"],
        "in_chans": 3,
        "embed_dim": width,
        "depth": tower["layers"],
        "num_heads": heads,
        "mlp_dim": int(width * tower["mlp_ratio"]),
        "patch_bias": False,
        "pre_norm": not clipa,
        "final_norm": not clipa,
        "fc_norm": clipa,
        "class_token": True,
        "pos_embed": "learned",
        "pos_embed_tokens": "all",
        "pos_resize": "bicubic",
        "norm_eps": EPS,
        "init_values": tower["ls_init_value"],
        "act_layer": act,
        "global_pool": "avg" if clipa else "token",
        "num_classes": model["embed_dim"],
        "head_bias": False,
    }


def _activation(
    kwargs: Mapping[str, Any] | None, quick: bool, problems: list[str]
) -> str:
    """`nn.GELU`, with its arguments, or `QuickGELU`, which has none."""
    if not kwargs:
        return "quick_gelu" if quick else "gelu"
    if not quick and dict(kwargs) == {"approximate": "tanh"}:
        return "gelu_tanh"
    if not quick and dict(kwargs) == {"approximate": "none"}:
        return "gelu"
    allowed = "none" if quick else "{'approximate': 'tanh'}"
    problems.append(f"act_kwargs: found {dict(kwargs)!r}; {allowed}")
    return ""


def _of_timm(tower: Mapping[str, Any], width: int) -> dict[str, Any]:
    """A tower of timm's, with open_clip's projection behind it."""
    projection, pool = tower["timm_proj"], tower["timm_pool"]
    arguments: dict[str, Any] = {
        "architecture": tower["timm_model_name"],
        "num_classes": width if projection == "own" else 0,
        "drop_rate": tower["timm_drop"],
        "drop_path_rate": tower["timm_drop_path"] or 0.0,
    }
    if projection != "linear":
        # the tower is made with this pooling; otherwise it is made as usual, and the
        # pooling is exchanged afterwards, which leaves the norms where they are
        arguments["global_pool"] = pool
    fields = timm.read_fields(arguments)
    for name in ("data", "labels", "source", "problem_type"):
        fields.pop(name, None)
    if projection == "linear" and pool not in ("", fields["global_pool"]):
        if "map" in (pool, fields["global_pool"]):
            line = f"timm_pool: found {pool!r}; this model of timm pools otherwise"
            raise ConfigError([line], WHAT)
        fields["global_pool"] = pool
    size = tuple(tower["image_size"])
    if tuple(_pair(fields["img_size"])) != size:
        line = (
            f"image_size: found {size}, but {tower['timm_model_name']} is made for "
            f"{tuple(_pair(fields['img_size']))}"
        )
        raise ConfigError([line], WHAT)
    if projection == "linear":
        fields |= {"num_classes": width, "head_bias": tower["timm_proj_bias"]}
    elif projection == "none" and width != fields["embed_dim"]:
        line = f"embed_dim: found {width}, but without a projection the tower's width "
        raise ConfigError([f"{line}counts, {fields['embed_dim']}"], WHAT)
    return fields


def _pair(value: Any) -> tuple[int, ...]:
    return (value, value) if isinstance(value, int) else tuple(value)


def _data(v: Mapping[str, Any], size: Any) -> dict[str, Any]:
    """What images are given; an edge case that the schema lacks is left open."""
    modes = {"shortest": "center", "squash": "squash", "longest": None}
    mode = modes[v["resize_mode"] or "shortest"]
    height, width = _pair(size)
    if mode == "center" and height != width:
        mode = None  # open_clip resizes the shortest edge to its own side's length
    return {
        "mean": v["mean"] or _MEAN,
        "std": v["std"] or _STD,
        "input_range": (0.0, 1.0),
        "interpolation": v["interpolation"] or "bicubic",
        "crop_pct": 1.0 if mode else None,
        "crop_mode": mode,
    }
