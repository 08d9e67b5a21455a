"""A weight in memory is not the one in the file."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from converters.parity.faults.base import Condition, Fault, one_of
from converters.parity.faults.patch import Patch
from converters.parity.faults.runtime.base import BLOCK, Call, runtime_fault
from converters.parity.faults.values import FRESH_SEED
from vit_config import ViTConfig


def _values(model: Any, name: str) -> tuple[Any, Any, Any]:
    """The Keras variable of a canonical weight, its values, and the weight."""
    from keras import ops

    from vit_config.weights import weight_table

    (weight,) = (w for w in weight_table(model.config) if w.name == name)
    (variable,) = (v for v in model.weights if model.relative_path(v) == weight.path)
    return variable, ops.convert_to_numpy(variable).copy(), weight


def _memory(
    what: str, does: str, name: str, edit: Call, applies: Condition | None = None
) -> Fault:
    """Edits (values in Keras' layout, config, weight) of one variable."""

    def inject(patch: Patch, model: Any) -> None:
        variable, values, weight = _values(model, name)
        patch.assign(variable, edit(values, model.config, weight))

    return runtime_fault(
        "weights in memory",
        f"{what}/{name}",
        f"{does} {name} after loading",
        (name,),
        (),
        inject,
        applies or one_of(name),
    )


def _redrawn(values: Any, config: ViTConfig, weight: Any) -> Any:
    """As after a reload that left this weight as the new model had drawn it."""
    from converters.mapping.pipe import apply
    from converters.mapping.table import KERAS
    from converters.steps.fresh import draw

    steps = KERAS.plan(config).steps
    (step,) = (step for step in steps if weight.path in step.targets)
    return apply(step, [draw(config, weight, FRESH_SEED)])[0]


def _transposed(values: Any, config: ViTConfig, weight: Any) -> Any:
    return values.T.copy()


def _zeroed(values: Any, config: ViTConfig, weight: Any) -> Any:
    return 0 * values


def _keyless(values: Any, config: ViTConfig, weight: Any) -> Any:
    values[config.attn_dim : 2 * config.attn_dim] = 0
    return values


def _square(name: str) -> Condition:
    def applies(config: ViTConfig) -> bool:
        from vit_config.weights import weight_table

        shapes = {w.name: w.keras_shape for w in weight_table(config)}
        shape = shapes.get(name, ())
        return len(shape) == 2 and shape[0] == shape[1]

    return applies


def faults() -> Iterator[Fault]:
    """Weights drawn anew, transposed and zeroed."""
    for name in (
        *("patch_embed.proj.weight", f"blocks.{BLOCK}.attn.qkv.weight"),
        *(f"blocks.{BLOCK}.mlp.fc2.weight", "norm.weight", "pos_embed"),
        *("head.weight", "attn_pool.latent"),
    ):
        yield _memory("redrawn", "draws anew", name, _redrawn)
    for name in (f"blocks.{BLOCK}.attn.proj.weight", "attn_pool.proj.weight"):
        yield _memory("transposed", "transposes", name, _transposed, _square(name))
    for name in (
        *("patch_embed.proj.bias", f"blocks.{BLOCK}.attn.proj.bias"),
        *(f"blocks.{BLOCK}.mlp.fc1.bias", "norm.bias", "head.bias"),
    ):
        yield _memory("zeroed", "zeroes", name, _zeroed)
    yield _memory(
        "key bias zeroed",
        "zeroes the key's part of",
        f"blocks.{BLOCK}.attn.qkv.bias",
        _keyless,
        lambda config: config.qkv_bias is True,
    )
