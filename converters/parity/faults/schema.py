"""Every field of the schema, flipped; the weights follow as far as they must."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from itertools import combinations
from typing import Any

from converters.parity.faults.base import Change, Condition, Fault, Model
from converters.parity.faults.refit import refit
from vit_config import ConfigError, ViTConfig

Changes = Callable[[ViTConfig], dict[str, Any]]
"""The fields to change in a config; none where the fault has no meaning."""

OUT_OF_SCOPE: dict[str, str] = {
    "schema_version": "another version is another schema: refused when it is read",
    "spatial_dims": "changes the shape of the input: refused as bad input",
    "img_size": "changes the shape of the input: refused as bad input",
    "in_chans": "changes the shape of the input: refused as bad input",
    "num_classes": "changes the shape of the output: refused as bad input",
    "rope": "neither twin computes it: refused when the model is built",
    "norm_layer": "has one value only",
}
"""Fields of the architecture that no fault flips, and why."""

EPSILONS = (1e-3, 1e-4, 1e-5, 1e-6, 1e-7, 1e-8, 1e-12)
ACTIVATIONS = ("gelu", "gelu_tanh", "quick_gelu", "silu", "relu")
POOLS = ("token", "avg", "map", "token_avg", "max")
RATES = (
    *("drop_rate", "pos_drop_rate", "proj_drop_rate"),
    *("attn_drop_rate", "drop_path_rate"),
)


def output_shape(config: ViTConfig) -> tuple[int, ...]:
    """Shape of what a call returns for one input."""
    if config.global_pool == "none":
        return (config.num_tokens, config.embed_dim)
    return (config.num_classes or config.head_in_dim,)


def flipped(config: ViTConfig, changes: dict[str, Any]) -> ViTConfig | None:
    """The changed config; None if it is none, the same, or of another output shape."""
    try:
        changed = config.replace(**changes)
    except ConfigError:
        return None
    if changed.architecture() == config.architecture():
        return None
    same = output_shape(changed) == output_shape(config)
    return changed if same else None


def _fault(
    name: str,
    does: str,
    changes: Changes,
    fields: tuple[str, ...],
    tensors: tuple[str, ...] = (),
) -> Fault:
    def applies(config: ViTConfig) -> bool:
        return flipped(config, changes(config)) is not None

    def change(model: Model) -> Model:
        return refit(model, **changes(model.config))

    return _made(name, does, applies, change, fields, tensors)


def _made(
    name: str,
    does: str,
    applies: Condition,
    change: Change,
    fields: tuple[str, ...],
    tensors: tuple[str, ...],
) -> Fault:
    return Fault(
        "file",
        "schema flag",
        f"schema/{name}",
        does,
        tensors,
        fields,
        applies,
        change,
    )


def _to(field: str, value: Any, *tensors: str, **more: Any) -> Fault:
    """The field set to one value, others with it where they must be."""
    also = "".join(f", {name}={other!r}" for name, other in more.items())
    return _fault(
        f"{field}={value!r}",
        f"says {field}={value!r}{also}",
        lambda config: {field: value, **more},
        (field, *more),
        tensors,
    )


def _toggled(field: str, *tensors: str) -> Fault:
    return _fault(
        f"not {field}",
        f"says the contrary of {field}",
        lambda config: {field: not getattr(config, field)},
        (field,),
        tensors,
    )


def _plus(field: str, step: int, *tensors: str) -> Fault:
    return _fault(
        f"{field}{step:+d}",
        f"says {field}{step:+d}",
        lambda config: {field: max((getattr(config, field) or 0) + step, 0)},
        (field,),
        tensors,
    )


# ---- single fields ----------------------------------------------------------------


def _swapped_patch(one: int, other: int) -> Changes:
    def changes(config: ViTConfig) -> dict[str, Any]:
        size = list(config.patch_size)
        if max(one, other) < len(size):
            size[one], size[other] = size[other], size[one]
        return {"patch_size": size}

    return changes


def _heads(more: bool) -> Changes:
    """The next number of heads that leaves all shapes of the attention as they are."""

    def changes(config: ViTConfig) -> dict[str, Any]:
        width, now = config.attn_dim, config.num_heads
        fitting = [n for n in range(1, width + 1) if width % n == 0]
        found = [n for n in fitting if n > now] if more else fitting[::-1]
        found = [n for n in found if n != now and (n > now) is more]
        heads = found[0]
        if config.head_dim is None:
            return {"num_heads": heads}
        return {"num_heads": heads, "head_dim": width // heads}

    return changes


def _narrower(config: ViTConfig) -> dict[str, Any]:
    return {"embed_dim": config.embed_dim - config.num_heads}


def _other_init_values(config: ViTConfig) -> dict[str, Any]:
    if config.init_values is None:
        return {}
    return {"init_values": 2 * config.init_values}


def _class_token(config: ViTConfig) -> dict[str, Any]:
    changes: dict[str, Any] = {"class_token": not config.class_token}
    if config.pos_embed_tokens == "cls":
        changes["pos_embed_tokens"] = "patch"
    return changes


def _layer_scale(config: ViTConfig) -> dict[str, Any]:
    return {"init_values": 0.1 if config.init_values is None else None}


def _mlp_layer(config: ViTConfig) -> dict[str, Any]:
    if config.mlp_layer == "swiglu":
        return {"mlp_layer": "mlp"}
    return {"mlp_layer": "swiglu", "act_layer": "silu"}


def _fc_norm(config: ViTConfig) -> dict[str, Any]:
    return {"fc_norm": not config.fc_norm, "fc_norm_eps": None}


def _rate(field: str) -> Changes:
    return lambda config: {field: 0.0 if getattr(config, field) else 0.2}


def _faults() -> Iterator[Fault]:
    for one, other in combinations(range(3), 2):
        yield _fault(
            f"patch_size axes {one} {other}",
            f"exchanges the patch sizes of axes {one} and {other}",
            _swapped_patch(one, other),
            ("patch_size",),
            ("patch_embed.proj.weight",),
        )
    yield _fault(
        "embed_dim narrower",
        "leaves the last column of every head out",
        _narrower,
        ("embed_dim",),
    )
    yield _plus("depth", -1)
    yield _plus("depth", +1)
    for more in (True, False):
        yield _fault(
            f"{'more' if more else 'fewer'} num_heads",
            "says another number of heads, all shapes of the attention as they are",
            _heads(more),
            ("num_heads", "head_dim"),
        )
    yield _fault(
        "head_dim-2",
        "leaves two columns of every head out",
        lambda config: {"head_dim": config.attn_head_dim - 2},
        ("head_dim",),
    )
    yield _plus("mlp_dim", -8)
    yield _toggled("patch_bias", "patch_embed.proj.bias")
    for kind in ("none", "post", "dual"):
        norms = ("patch_embed.norm.*", "patch_embed.norm_pre.*")
        yield _to("patch_norm", kind, *norms)
    yield _toggled("pre_norm", "norm_pre.*")
    yield _fault(
        "not class_token",
        "says the contrary of class_token",
        _class_token,
        ("class_token", "pos_embed_tokens"),
        ("cls_token",),
    )
    yield _toggled("dist_token", "dist_token")
    yield _plus("reg_tokens", -1, "reg_token")
    yield _plus("reg_tokens", +1, "reg_token")
    for kind in ("sincos", "none"):
        yield _to("pos_embed", kind, "pos_embed")
    yield _made(
        "pos_embed='sincos', same table",
        "calls the learned position table a computed one",
        lambda config: config.pos_embed == "learned",
        lambda model: model.with_config(pos_embed="sincos"),
        ("pos_embed",),
        (),
    )
    for kind in ("all", "cls", "patch"):
        yield _to("pos_embed_tokens", kind, "pos_embed")
    for kind in ("bicubic", "zoom1"):
        yield _to("pos_resize", kind)
    for epsilon in EPSILONS:
        yield _to("norm_eps", epsilon)
    for bias in (True, False, "qv"):
        yield _to("qkv_bias", bias, "blocks.*.attn.qkv.bias")
    yield _toggled("proj_bias", "blocks.*.attn.proj.bias")
    yield _toggled("mlp_bias", "blocks.*.mlp.fc?.bias")
    yield _toggled("qk_norm", "blocks.*.attn.?_norm.*")
    yield _fault(
        "init_values on or off",
        "drops the layer scales, or has some",
        _layer_scale,
        ("init_values",),
        ("blocks.*.ls?.gamma",),
    )
    yield _fault(
        "init_values twice",
        "says that layer scales began at twice the value",
        _other_init_values,
        ("init_values",),
    )
    for name in ACTIVATIONS:
        yield _to("act_layer", name)
    yield _fault(
        "other mlp_layer",
        "takes the gate of the MLP away, or gives it one",
        _mlp_layer,
        ("mlp_layer", "act_layer"),
        ("blocks.*.mlp.fc1.*",),
    )
    yield _toggled("final_norm", "norm.*")
    yield _fault(
        "not fc_norm",
        "says the contrary of fc_norm",
        _fc_norm,
        ("fc_norm", "fc_norm_eps"),
        ("fc_norm.*",),
    )
    for epsilon in (1e-3, 1e-6):
        yield _to("fc_norm_eps", epsilon)
    for pool in POOLS:
        yield _to("global_pool", pool, "attn_pool.*", pool_include_prefix=False)
    yield _toggled("pool_include_prefix")
    yield _toggled("distilled", "head_dist.*")
    for width in (None, 20):
        yield _to("representation_size", width, "pre_logits.*")
    yield _toggled("head_bias", "head.bias", "head_dist.bias")
    for act in (None, "tanh"):
        yield _to("head_act", act)
    for field in RATES:
        yield _fault(
            f"other {field}",
            f"says {field} of 0, or of 0.2 where it is 0",
            _rate(field),
            (field,),
        )
    for scheme in ("timm", "mae"):
        yield _to("weight_init", scheme)
    for problem in ("single_label", "multi_label", "regression"):
        yield _to("problem_type", problem)


SCHEMA: tuple[Fault, ...] = tuple(_faults())
"""All of them; which of them a config can have, `applies` says."""
