"""Every tap as one step of earlier taps, for both twins.

The twins have the same children under the same names, so that one table says how each
intermediate result follows from those before it, with the twin's own modules. A step
can then be computed alone, from inputs of which one is sure: where it differs there,
the mistake is in this step and in no earlier one.

Dropout and stochastic depth are off, attention is fused: the attention maps of the
explicit path are no steps here.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

from vit_config import ViTConfig
from vit_config.taps import Taps

INPUT = "input"
"""The source that is no tap: the model's input (B, C, *spatial)."""

_TOKENS = ("cls_token", "dist_token", "reg_token")


@dataclass(frozen=True, slots=True)
class Part:
    """One step.

    Attributes:
        name: The tap that it gives.
        sources: What goes in: earlier taps, or `INPUT`.
        compute: Called with a twin and its tensors of `sources`.
        weights: Beginnings of the canonical names of the weights that it uses.
        fields: Fields of the config that decide what it computes, shapes apart.
    """

    name: str
    sources: tuple[str, ...]
    compute: Callable[..., Any]
    weights: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()

    def uses(self, weight: str) -> bool:
        """Whether it uses the weight of that canonical name."""
        return any(
            weight == own or weight.startswith(f"{own}.") for own in self.weights
        )


def parts(config: ViTConfig) -> tuple[Part, ...]:
    """All steps of a config, in the order of its taps."""
    found = list(_stem(config))
    for i in range(config.depth):
        found += _block(config, f"blocks.{i}", found[-1].name)
    found += _end(config, found[-1].name)
    return tuple(found)


def norms(config: ViTConfig) -> tuple[Part, ...]:
    """The steps that are one LayerNorm."""
    names = ("norm_pre", "norm1", "norm2", "norm", "fc_norm")
    return tuple(p for p in parts(config) if p.name.rpartition(".")[2] in names)


def _stem(config: ViTConfig) -> Iterator[Part]:
    yield Part(
        "patch_embed",
        (INPUT,),
        _call("patch_embed"),
        ("patch_embed",),
        ("patch_norm", "patch_bias", "patch_size", "norm_eps"),
    )
    yield Part(
        "pos_embed",
        ("patch_embed",),
        lambda model, x: model._join(x),
        (*_TOKENS, "pos_embed"),
        ("class_token", "dist_token", "reg_tokens", "pos_embed", "pos_embed_tokens"),
    )
    if config.pre_norm:
        yield _norm("norm_pre", "pos_embed")


def _block(config: ViTConfig, block: str, start: str) -> Iterator[Part]:
    """The steps of one block, from the tap before it."""
    qkv, heads, proj = (f"{block}.attn.{name}" for name in ("qkv", "heads", "proj"))
    fc1, act, fc2 = (f"{block}.mlp.{name}" for name in ("fc1", "act", "fc2"))
    norms = [f"{block}.{name}" for name in ("norm1", "norm2")]
    sums = [f"{block}.{name}" for name in ("residual1", "residual2")]

    yield _norm(norms[0], start)
    yield Part(qkv, (norms[0],), _call(qkv), (qkv,), ("qkv_bias",))
    yield Part(
        heads,
        (qkv,),
        lambda model, x: _at(model, f"{block}.attn").attend(x, Taps(False)),
        (f"{block}.attn.q_norm", f"{block}.attn.k_norm"),
        ("num_heads", "head_dim", "qk_norm", *("norm_eps",) * config.qk_norm),
    )
    yield Part(proj, (heads,), _call(proj), (proj,), ("proj_bias",))
    yield from _residual(config, block, "1", proj, start)
    yield _norm(norms[1], sums[0])
    yield Part(fc1, (norms[1],), _call(fc1), (fc1,), ("mlp_bias",))
    yield Part(
        act,
        (fc1,),
        lambda model, x: _at(model, f"{block}.mlp").activate(x),
        fields=("act_layer", "mlp_layer"),
    )
    yield Part(fc2, (act,), _call(fc2), (fc2,), ("mlp_bias",))
    yield from _residual(config, block, "2", fc2, sums[0])


def _residual(
    config: ViTConfig, block: str, number: str, branch: str, start: str
) -> Iterator[Part]:
    """A branch joined with what it left, scaled if the config says so."""
    if config.init_values is not None:
        scale = f"{block}.ls{number}"
        yield Part(scale, (branch,), _call(scale), (scale,), ("init_values",))
        branch = scale
    yield Part(f"{block}.residual{number}", (start, branch), lambda model, x, y: x + y)


def _end(config: ViTConfig, last: str) -> Iterator[Part]:
    if config.final_norm:
        yield _norm("norm", last)
        last = "norm"
    if config.global_pool == "none":
        return
    yield Part(
        "pool",
        (last,),
        lambda model, x: model._pool(x),
        ("attn_pool",),
        ("global_pool", "pool_include_prefix", "distilled", *_in_pool(config)),
    )
    last = "pool"
    if config.fc_norm:
        eps = "norm_eps" if config.fc_norm_eps is None else "fc_norm_eps"
        yield _norm("fc_norm", last, eps)
        last = "fc_norm"
    if config.representation_size:
        yield Part(
            "pre_logits",
            (last,),
            lambda model, x: model._represent(x),
            ("pre_logits",),
            ("representation_size",),
        )
        last = "pre_logits"
    if config.num_classes:
        yield Part(
            "head",
            (last,),
            lambda model, x: model._classify(x),
            ("head", "head_dist"),
            ("head_act", "head_bias", "distilled"),
        )


def _in_pool(config: ViTConfig) -> tuple[str, ...]:
    """Fields that attention pooling reads."""
    return ("num_heads", "norm_eps", "act_layer") if config.global_pool == "map" else ()


def _norm(name: str, source: str, eps: str = "norm_eps") -> Part:
    return Part(name, (source,), _call(name), (name,), (eps,))


def _call(path: str) -> Callable[..., Any]:
    """Calls the child at a path."""
    return lambda model, x: _at(model, path)(x)


def _at(model: Any, path: str) -> Any:
    """The child at a path such as `blocks.0.attn.qkv`."""
    for name in path.split("."):
        model = model[int(name)] if name.isdigit() else getattr(model, name)
    return model
