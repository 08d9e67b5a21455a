"""The right values in the wrong places: blocks, heads, tokens, halves, units.

Some of these leave the function as it is (heads or hidden units in another order
everywhere): the models are equal in what they compute and differ as files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
from einops import rearrange

from converters.mapping.pipe import Array
from converters.parity.faults.base import Condition, Fault, Model, one_of
from vit_config import ViTConfig

Changed = dict[str, Array]
BLOCK = 1
"""The block in which a fault of one block is."""


def _fault(
    name: str,
    does: str,
    tensors: Sequence[str],
    change: Callable[[Model], Changed],
    applies: Condition | None = None,
) -> Fault:
    return Fault(
        "file",
        "order",
        f"order/{name}",
        does,
        tuple(tensors),
        (),
        applies or one_of(*tensors),
        lambda model: model.with_tensors(change(model)),
    )


# ---- blocks -----------------------------------------------------------------------


def _blocks(*order: int) -> Callable[[Model], Changed]:
    """Block i gets the weights of block order[i]."""

    def change(model: Model) -> Changed:
        changed = {}
        for name in model.tensors:
            for i, other in enumerate(order):
                if other != i and name.startswith(f"blocks.{i}."):
                    rest = name.removeprefix(f"blocks.{i}.")
                    changed[name] = model.tensors[f"blocks.{other}.{rest}"]
        return changed

    return change


def _norms(model: Model) -> Changed:
    one, other = f"blocks.{BLOCK}.norm1", f"blocks.{BLOCK}.norm2"
    return {
        f"{to}.{part}": model.tensors[f"{at}.{part}"]
        for at, to in ((one, other), (other, one))
        for part in ("weight", "bias")
    }


# ---- attention --------------------------------------------------------------------


def _qkv(model: Model, edit: Callable[[Array], Array]) -> Changed:
    """Edits (3, heads, width, ...) of one block's qkv."""
    config, changed = model.config, {}
    shape = (3, config.num_heads, config.attn_head_dim)
    for part in ("weight", "bias"):
        name = f"blocks.{BLOCK}.attn.qkv.{part}"
        if name in model.tensors:
            values = model.tensors[name]
            split = values.reshape(*shape, *values.shape[1:]).copy()
            changed[name] = edit(split).reshape(values.shape)
    return changed


def _exchanged(one: int, other: int) -> Callable[[Model], Changed]:
    order = [0, 1, 2]
    order[one], order[other] = order[other], order[one]
    return lambda model: _qkv(model, lambda values: values[order])


def _no_key_bias_to_move(one: int, other: int) -> Condition:
    """A zero key bias would make another config of it, not another order."""
    moved = 1 in (one, other)
    return lambda config: config.qkv_bias != "qv" or not moved


def _value_heads(model: Model) -> Changed:
    def edit(values: Array) -> Array:
        values[2] = values[2, ::-1].copy()
        return values

    return _qkv(model, edit)


def _heads(model: Model) -> Changed:
    return _qkv(model, lambda values: values[:, ::-1])


def _proj_heads(model: Model) -> Changed:
    name = f"blocks.{BLOCK}.attn.proj.weight"
    values, heads = model.tensors[name], model.config.num_heads
    split = rearrange(values, "d (h e) -> d h e", h=heads)
    return {name: rearrange(split[:, ::-1], "d h e -> d (h e)")}


def _heads_everywhere(model: Model) -> Changed:
    return _heads(model) | _proj_heads(model)


# ---- halves and units -------------------------------------------------------------


def _halves(*names: str) -> Callable[[Model], Changed]:
    """Exchanges the two halves of the first axis."""

    def change(model: Model) -> Changed:
        return {
            name: np.concatenate(np.split(model.tensors[name], 2)[::-1])
            for name in names
        }

    return change


def _units(model: Model) -> Changed:
    """The hidden units of one MLP in reverse order, on both sides."""
    stem = f"blocks.{BLOCK}.mlp"
    branches = 2 if model.config.mlp_layer == "swiglu" else 1
    changed = {f"{stem}.fc2.weight": model.tensors[f"{stem}.fc2.weight"][:, ::-1]}
    for part in ("weight", "bias"):
        values = model.tensors[f"{stem}.fc1.{part}"]
        split = values.reshape(branches, -1, *values.shape[1:])[:, ::-1]
        changed[f"{stem}.fc1.{part}"] = split.reshape(values.shape)
    return changed


# ---- tokens -----------------------------------------------------------------------


def _registers(model: Model) -> Changed:
    return {"reg_token": model.tensors["reg_token"][:, ::-1]}


def _class_and_distillation(model: Model) -> Changed:
    return {
        "cls_token": model.tensors["dist_token"],
        "dist_token": model.tensors["cls_token"],
        **_prefix_exchanged(model),
    }


def _class_and_register(model: Model) -> Changed:
    registers = model.tensors["reg_token"].copy()
    token = registers[:, :1].copy()
    registers[:, :1] = model.tensors["cls_token"]
    return {"cls_token": token, "reg_token": registers}


def _prefix_rows(config: ViTConfig) -> int:
    return config.num_pos_tokens - config.num_patches if config.num_pos_tokens else 0


def _prefix_last(model: Model) -> Changed:
    rows = _prefix_rows(model.config)
    return {"pos_embed": np.roll(model.tensors["pos_embed"], -rows, axis=1)}


def _prefix_exchanged(model: Model) -> Changed:
    table = model.tensors["pos_embed"].copy()
    table[:, [0, 1]] = table[:, [1, 0]]
    return {"pos_embed": table}


def _classes(model: Model) -> Changed:
    """The order of the classes reversed in the head, with its bias."""
    names = [name for name in ("head.weight", "head.bias") if name in model.tensors]
    return {name: model.tensors[name][::-1] for name in names}


def _faults() -> Iterator[Fault]:
    for order in ((1, 0, 2), (0, 2, 1), (2, 1, 0), (1, 2, 0)):
        moved = [i for i, other in enumerate(order) if i != other]
        yield _fault(
            "blocks " + " ".join(map(str, order)),
            f"puts the blocks into the order {order}",
            [f"blocks.{i}.*" for i in moved],
            _blocks(*order),
        )
    yield _fault(
        "norm1 and norm2",
        "exchanges the two norms of a block",
        [f"blocks.{BLOCK}.norm?.*"],
        _norms,
    )
    qkv, proj = f"blocks.{BLOCK}.attn.qkv.*", f"blocks.{BLOCK}.attn.proj.weight"
    for one, other in ((0, 1), (1, 2), (0, 2)):
        names = f"{'qkv'[one]} and {'qkv'[other]}"
        yield _fault(
            names,
            f"exchanges {names} in a block",
            [qkv],
            _exchanged(one, other),
            _no_key_bias_to_move(one, other),
        )
    yield _fault("heads of v", "reverses the heads of v", [qkv], _value_heads)
    yield _fault("heads of qkv", "reverses the heads of q, k and v", [qkv], _heads)
    yield _fault("heads of proj", "reverses the heads of proj", [proj], _proj_heads)
    yield _fault(
        "heads everywhere",
        "reverses the heads on both sides, which no output shows",
        [qkv, proj],
        _heads_everywhere,
    )
    yield _fault(
        "hidden units",
        "reverses the hidden units of an MLP, which no output shows",
        [f"blocks.{BLOCK}.mlp.fc1.*", f"blocks.{BLOCK}.mlp.fc2.weight"],
        _units,
    )
    gated = [f"blocks.{BLOCK}.mlp.fc1.{part}" for part in ("weight", "bias")]
    yield _fault(
        "gate and up",
        "exchanges the two branches of a gated MLP",
        gated,
        _halves(*gated),
        lambda config: config.mlp_layer == "swiglu",
    )
    pooled = [f"attn_pool.kv.{part}" for part in ("weight", "bias")]
    yield _fault(
        "k and v of the pooling",
        "exchanges k and v of the attention pooling",
        pooled,
        _halves(*pooled),
    )
    yield _fault("registers", "reverses the registers", ["reg_token"], _registers)
    yield _fault(
        "class and distillation",
        "exchanges class and distillation token with their positions",
        ["cls_token", "dist_token", "pos_embed"],
        _class_and_distillation,
    )
    yield _fault(
        "class and register",
        "exchanges the class token and the first register",
        ["cls_token", "reg_token"],
        _class_and_register,
    )
    yield _fault(
        "prefix positions last",
        "has the positions of the prefix behind those of the patches",
        ["pos_embed"],
        _prefix_last,
        lambda config: _prefix_rows(config) > 0,
    )
    yield _fault(
        "prefix positions exchanged",
        "exchanges the positions of the first two tokens of the prefix",
        ["pos_embed"],
        _prefix_exchanged,
        lambda config: _prefix_rows(config) > 1,
    )
    yield _fault(
        "classes", "reverses the classes", ["head.weight", "head.bias"], _classes
    )


ORDER: tuple[Fault, ...] = tuple(_faults())
"""All of them."""
