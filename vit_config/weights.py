"""Which weights a configuration has: the one table both twins are held to.

A `Rule` names a tensor in the canonical (torch) layout and in the Keras twin, and one
einops pattern that is the operation between them, its inverse (sides swapped) and both
shapes. Rules are *expanded* over the config, never matched against names: there is no
regular expression and no order among them. The table is data; `converters` does the
arithmetic, `keras_vit` compares a fresh model's weights with it.

Axis symbols: `d` embed_dim, `s` q/k/v, `h` heads, `e` head_dim, `g` branches of the MLP
(gate and up for swiglu, else 1), `m` mlp_dim, `c` in_chans, `...` patch_size, `f`
flattened patch, `n` position rows, `r` register tokens, `t` k/v, `w` pooled width, `p`
representation_size, `u` width of the head's input, `k` num_classes, `o` width inside the
attention pooling (embed_dim again: a pattern may not use a symbol twice on one side).
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

from vit_config.config import ViTConfig

Role = Literal["kernel", "bias", "norm_scale", "norm_offset", "gamma", "token", "pos"]
Condition = Callable[[ViTConfig], bool]

SYMBOLS = frozenset("dshegmcfnrtwpuko") | {"..."}


def always(config: ViTConfig) -> bool:
    """The condition of a weight that every model has."""
    return True


def _set(field: str) -> Condition:
    return lambda config: bool(getattr(config, field))


def _is(field: str, value: object) -> Condition:
    return lambda config: bool(getattr(config, field) == value)


def _not(field: str, value: object) -> Condition:
    return lambda config: bool(getattr(config, field) != value)


def _all(*conditions: Condition) -> Condition:
    return lambda config: all(condition(config) for condition in conditions)


@dataclass(frozen=True, slots=True)
class Rule:
    """One row of the table; `{i}` stands for the block index.

    Attributes:
        torch: Canonical name.
        keras: Path in the Keras twin, below the model's own name.
        layout: einops pattern, canonical side -> Keras side.
        role: What the tensor is, which decides its initialisation.
        fan_in: Axes that one output of the layer sums over (kernels and biases).
        when: Whether a config has this tensor.
    """

    torch: str
    keras: str
    layout: str
    role: Role
    fan_in: str = ""
    when: Condition = always

    @property
    def torch_axes(self) -> str:
        """Left side of the pattern."""
        return self.layout.split("->")[0].strip()

    @property
    def keras_axes(self) -> str:
        """Right side of the pattern."""
        return self.layout.split("->")[1].strip()


@dataclass(frozen=True, slots=True)
class Weight:
    """One tensor of one model: a rule expanded for a config and a block.

    Attributes:
        name: Canonical name, a key of `torch_vit.ViT(config).state_dict()`.
        shape: Shape in the canonical layout.
        path: Path in the Keras twin, below the model's own name.
        keras_shape: Shape in the Keras layout.
        rule: The row it comes from.
        trainable: False for the frozen sine-cosine table.
    """

    name: str
    shape: tuple[int, ...]
    path: str
    keras_shape: tuple[int, ...]
    rule: Rule
    trainable: bool


Rules = tuple[Rule, ...]


def _norm(torch: str, keras: str, axes: str = "d", when: Condition = always) -> Rules:
    """A LayerNorm: the same vectors under two names."""
    layout = f"{axes} -> {axes}"
    return (
        Rule(f"{torch}.weight", f"{keras}/gamma", layout, "norm_scale", when=when),
        Rule(f"{torch}.bias", f"{keras}/beta", layout, "norm_offset", when=when),
    )


def _dense(
    torch: str,
    keras: str,
    out: str,
    inp: str,
    bias: Condition = always,
    when: Condition = always,
) -> Rules:
    """A linear layer: torch (out, in), Keras (in, out)."""
    kernel = f"{out} {inp} -> {inp} {out}"
    return (
        Rule(f"{torch}.weight", f"{keras}/kernel", kernel, "kernel", inp, when),
        Rule(
            f"{torch}.bias",
            f"{keras}/bias",
            f"{out} -> {out}",
            "bias",
            inp,
            _all(when, bias),
        ),
    )


def _conv(torch: str, keras: str, bias: Condition, when: Condition) -> Rules:
    """A patch convolution in 2D or 3D: torch (out, in, *patch), Keras (*patch, in, out)."""
    kernel = "d c ... -> ... c d"
    return (
        Rule(f"{torch}.weight", f"{keras}/kernel", kernel, "kernel", "c ...", when),
        Rule(
            f"{torch}.bias",
            f"{keras}/bias",
            "d -> d",
            "bias",
            "c ...",
            _all(when, bias),
        ),
    )


_MAP = _is("global_pool", "map")
_DUAL = _is("patch_norm", "dual")
_SCALE = _not("init_values", None)

# In the order of `torch_vit.ViT(config).state_dict()`.
# fmt: off
RULES: Rules = (
    Rule("cls_token", "cls_token", "1 1 d -> 1 1 d", "token", when=_set("class_token")),
    Rule("dist_token", "dist_token", "1 1 d -> 1 1 d", "token", when=_set("dist_token")),
    Rule("reg_token", "reg_token", "1 r d -> 1 r d", "token", when=_set("reg_tokens")),
    Rule("pos_embed", "pos_embed", "1 n d -> 1 n d", "pos", when=_not("pos_embed", "none")),
    *_norm("patch_embed.norm_pre", "patch_embed/norm_pre", "f", when=_DUAL),
    *_conv("patch_embed.proj", "patch_embed/proj", _set("patch_bias"), _not("patch_norm", "dual")),
    *_dense("patch_embed.proj", "patch_embed/proj", "d", "f", _set("patch_bias"), _DUAL),
    *_norm("patch_embed.norm", "patch_embed/norm", when=_not("patch_norm", "none")),
    *_norm("norm_pre", "norm_pre", when=_set("pre_norm")),
    *_norm("blocks.{i}.norm1", "blocks_{i}/norm1"),
    *_dense("blocks.{i}.attn.qkv", "blocks_{i}/attn/qkv", "(s h e)", "d", _set("qkv_bias")),
    *_norm("blocks.{i}.attn.q_norm", "blocks_{i}/attn/q_norm", "e", when=_set("qk_norm")),
    *_norm("blocks.{i}.attn.k_norm", "blocks_{i}/attn/k_norm", "e", when=_set("qk_norm")),
    *_dense("blocks.{i}.attn.proj", "blocks_{i}/attn/proj", "d", "(h e)", _set("proj_bias")),
    Rule("blocks.{i}.ls1.gamma", "blocks_{i}/ls1/gamma", "d -> d", "gamma", when=_SCALE),
    *_norm("blocks.{i}.norm2", "blocks_{i}/norm2"),
    *_dense("blocks.{i}.mlp.fc1", "blocks_{i}/mlp/fc1", "(g m)", "d", _set("mlp_bias")),
    *_dense("blocks.{i}.mlp.fc2", "blocks_{i}/mlp/fc2", "d", "m", _set("mlp_bias")),
    Rule("blocks.{i}.ls2.gamma", "blocks_{i}/ls2/gamma", "d -> d", "gamma", when=_SCALE),
    *_norm("norm", "norm", when=_set("final_norm")),
    Rule("attn_pool.latent", "attn_pool/latent", "1 1 d -> 1 1 d", "token", when=_MAP),
    *_dense("attn_pool.q", "attn_pool/q", "o", "d", when=_MAP),
    *_dense("attn_pool.kv", "attn_pool/kv", "(t o)", "d", when=_MAP),
    *_dense("attn_pool.proj", "attn_pool/proj", "d", "o", when=_MAP),
    *_norm("attn_pool.norm", "attn_pool/norm", when=_MAP),
    *_dense("attn_pool.mlp.fc1", "attn_pool/mlp/fc1", "m", "d", when=_MAP),
    *_dense("attn_pool.mlp.fc2", "attn_pool/mlp/fc2", "d", "m", when=_MAP),
    *_norm("fc_norm", "fc_norm", "w", when=_set("fc_norm")),
    *_dense("pre_logits", "pre_logits", "p", "w", when=_set("representation_size")),
    *_dense("head", "head", "k", "u", _set("head_bias"), _set("num_classes")),
    *_dense("head_dist", "head_dist", "k", "u", _set("head_bias"), _all(_set("num_classes"), _set("distilled"))),
)
# fmt: on


def axis_sizes(config: ViTConfig) -> dict[str, int | tuple[int, ...]]:
    """Length of every axis symbol; `...` stands for all patch axes."""
    return {
        "d": config.embed_dim,
        "o": config.embed_dim,
        "s": 3,
        "t": 2,
        "h": config.num_heads,
        "e": config.attn_head_dim,
        "g": 2 if config.mlp_layer == "swiglu" else 1,
        "m": config.mlp_dim,
        "c": config.in_chans,
        "...": config.patch_size,
        "f": config.in_chans * math.prod(config.patch_size),
        "n": config.num_pos_tokens,
        "r": config.reg_tokens,
        "w": config.pool_dim,
        "p": config.representation_size or 0,
        "u": config.head_in_dim,
        "k": config.num_classes,
    }


def shape_of(axes: str, sizes: dict[str, int | tuple[int, ...]]) -> tuple[int, ...]:
    """Shape of one side of a pattern, for example `"(s h e) d"`."""
    shape: list[int] = []
    for group in re.findall(r"\([^)]*\)|\S+", axes):
        if group == "1":
            shape.append(1)
        elif group == "...":
            shape += _lengths(group, sizes)
        else:
            symbols = group.strip("()").split()
            shape.append(math.prod(n for s in symbols for n in _lengths(s, sizes)))
    return tuple(shape)


def _lengths(symbol: str, sizes: dict[str, int | tuple[int, ...]]) -> tuple[int, ...]:
    length = sizes[symbol]
    return length if isinstance(length, tuple) else (length,)


def expand(rules: Rules, config: ViTConfig) -> Iterator[tuple[Rule, str, str]]:
    """Yields (rule, canonical name, Keras path) for the config, block by block."""
    blocks = [rule for rule in rules if "{i}" in rule.torch]
    first = rules.index(blocks[0])
    before, after = rules[:first], rules[first + len(blocks) :]
    for rule in before:
        if rule.when(config):
            yield rule, rule.torch, rule.keras
    for i in range(config.depth):
        for rule in blocks:
            if rule.when(config):
                yield rule, rule.torch.format(i=i), rule.keras.format(i=i)
    for rule in after:
        if rule.when(config):
            yield rule, rule.torch, rule.keras


@lru_cache(maxsize=64)
def weight_table(config: ViTConfig) -> tuple[Weight, ...]:
    """Every weight of the config, in the order of the torch twin's state dict."""
    sizes = axis_sizes(config)
    return tuple(
        Weight(
            name=name,
            shape=shape_of(rule.torch_axes, sizes),
            path=path,
            keras_shape=shape_of(rule.keras_axes, sizes),
            rule=rule,
            trainable=not (rule.role == "pos" and config.pos_embed == "sincos"),
        )
        for rule, name, path in expand(RULES, config)
    )


def count_parameters(config: ViTConfig) -> int:
    """Number of scalars in all weights."""
    return sum(math.prod(weight.shape) for weight in weight_table(config))
