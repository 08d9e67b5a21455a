"""Values that are not those of the source: of one element, one row, one tensor."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import numpy as np

from converters.mapping.pipe import Array, cast
from converters.parity.faults.base import Change, Fault, Model, one_of
from converters.steps.fresh import draw

Edit = Callable[[Array], Array]

FRESH_SEED = 1
"""Of what a layer draws that was not loaded; rules that are left out have another."""

ELEMENTS = (
    *("cls_token", "reg_token", "pos_embed", "patch_embed.proj.weight"),
    *("blocks.0.norm1.bias", "blocks.1.attn.qkv.weight", "blocks.2.mlp.fc2.bias"),
    *("norm.weight", "head.weight"),
)
"""Weights of which one element is wrong."""

ROWS = (
    *("reg_token", "pos_embed", "patch_embed.proj.weight"),
    *("blocks.1.attn.qkv.weight", "blocks.0.mlp.fc1.weight", "head.weight"),
)
"""Weights of which one row, or one token, is wrong."""

TENSORS = (
    *("pos_embed", "patch_embed.proj.weight", "blocks.0.norm2.weight"),
    *("blocks.1.attn.qkv.weight", "blocks.1.attn.proj.weight"),
    *("blocks.2.mlp.fc2.weight", "blocks.2.mlp.fc1.bias", "norm.bias"),
    *("attn_pool.kv.weight", "head.weight"),
)
"""Weights all of whose values are wrong."""

BIASES = (
    *("blocks.1.norm1.bias", "blocks.0.attn.qkv.bias", "blocks.1.attn.proj.bias"),
    *("blocks.2.mlp.fc1.bias", "blocks.0.mlp.fc2.bias"),
)
"""Biases that are zero. What is left out of a whole model, is a fault of a rule."""


def _fault(family: str, what: str, does: str, name: str, edit: Edit) -> Fault:
    def change(model: Model) -> Model:
        return model.with_tensors({name: edit(model.tensors[name].copy())})

    return _made(family, f"{what}/{name}", f"{does} of {name}", name, change)


def _made(family: str, name: str, does: str, tensor: str, change: Change) -> Fault:
    return Fault("file", family, name, does, (tensor,), (), one_of(tensor), change)


# ---- elements ---------------------------------------------------------------------


def _element(edit: Callable[[Array], Array]) -> Edit:
    """Does it to the element two thirds through, as an array of one."""

    def run(values: Array) -> Array:
        flat = values.reshape(-1)
        at = slice(place := 2 * flat.size // 3, place + 1)
        flat[at] = edit(flat[at])
        return values

    return run


def _other_exponent(values: Array) -> Array:
    bits = values.view(np.uint32) ^ np.uint32(1 << 23)
    return bits.view(np.float32)


ELEMENT_EDITS: dict[str, tuple[str, Edit]] = {
    "one ulp": (
        "moves one element to the next float32",
        _element(lambda v: np.nextafter(v, np.float32(np.inf))),
    ),
    "element sign": ("turns the sign of one element", _element(np.negative)),
    "element +10 %": (
        "makes one element larger by a tenth",
        _element(lambda v: v * np.float32(1.1)),
    ),
    "element exponent": (
        "flips the last bit of one exponent",
        _element(_other_exponent),
    ),
}


# ---- rows -------------------------------------------------------------------------


def _row(edit: Callable[[Array, int], None]) -> Edit:
    """Does it to a row in the middle; tokens are the rows of (1, n, d)."""

    def run(values: Array) -> Array:
        rows = values[0] if values.shape[0] == 1 else values
        edit(rows, len(rows) // 2)
        return values

    return run


def _zero(rows: Array, i: int) -> None:
    rows[i] = 0


def _turn(rows: Array, i: int) -> None:
    rows[i] = -rows[i]


def _exchange(rows: Array, i: int) -> None:
    rows[[i, i - 1]] = rows[[i - 1, i]]


ROW_EDITS: dict[str, tuple[str, Edit]] = {
    "row zeroed": ("zeroes one row", _row(_zero)),
    "row sign": ("turns the sign of one row", _row(_turn)),
    "rows exchanged": ("exchanges two rows", _row(_exchange)),
}


# ---- tensors ----------------------------------------------------------------------


def _rounded(dtype: str) -> Edit:
    return lambda values: cast(cast(values, dtype), "float32")


TENSOR_EDITS: dict[str, tuple[str, Edit]] = {
    "bfloat16": ("rounds all values through bfloat16", _rounded("bfloat16")),
    "float16": ("rounds all values through float16", _rounded("float16")),
    "tensor sign": ("turns all signs", np.negative),
    "tensor x1.001": ("scales all values", lambda v: v * np.float32(1.001)),
    "rolled": (
        "moves all values on by one along the last axis",
        lambda values: np.roll(values, 1, axis=-1),
    ),
    "shuffled": (
        "has all values in reverse order",
        lambda values: values.reshape(-1)[::-1].reshape(values.shape),
    ),
}


def _redrawn(name: str) -> Change:
    """As after a reload in which this weight was not found."""

    def change(model: Model) -> Model:
        (weight,) = (w for w in model.weights() if w.name == name)
        return model.with_tensors({name: draw(model.config, weight, FRESH_SEED)})

    return change


def _without_key_bias(*blocks: int) -> Change:
    """The keys' third of the qkv bias zero."""

    def change(model: Model) -> Model:
        changed = {}
        for i in blocks or range(model.config.depth):
            name = f"blocks.{i}.attn.qkv.bias"
            q, k, v = np.split(model.tensors[name], 3)
            changed[name] = np.concatenate([q, np.zeros_like(k), v])
        return model.with_tensors(changed)

    return change


def _key_bias(name: str, does: str, change: Change, tensors: str) -> Fault:
    return Fault(
        "file",
        "tensor",
        name,
        does,
        (tensors,),
        (),
        lambda config: config.qkv_bias is True,
        change,
    )


def _faults() -> Iterator[Fault]:
    kinds = (
        ("element", ELEMENT_EDITS, ELEMENTS),
        ("row", ROW_EDITS, ROWS),
        ("tensor", TENSOR_EDITS, TENSORS),
    )
    for family, edits, names in kinds:
        for what, (does, edit) in edits.items():
            for name in names:
                yield _fault(family, what, does, name, edit)
    for name in TENSORS:
        if name.endswith("bias"):
            continue  # drawn anew, they are zero
        does = f"draws {name} anew"
        yield _made("tensor", f"redrawn/{name}", does, name, _redrawn(name))
    for name in BIASES:
        yield _fault("tensor", "bias zeroed", "zeroes all", name, np.zeros_like)
    for blocks, pattern in (((1,), "blocks.1."), ((), "blocks.*.")):
        yield _key_bias(
            f"key bias zeroed/{pattern}attn.qkv.bias",
            "zeroes the key's part of the bias, which shows only if keys are normed",
            _without_key_bias(*blocks),
            f"{pattern}attn.qkv.bias",
        )


VALUES: tuple[Fault, ...] = tuple(_faults())
"""All of them."""
