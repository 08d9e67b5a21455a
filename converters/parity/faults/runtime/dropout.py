"""The model computes as in training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from converters.parity.faults.base import Condition, Fault
from converters.parity.faults.patch import Patch
from converters.parity.faults.runtime.base import BLOCK, Call, runtime_fault
from converters.parity.faults.values import FRESH_SEED
from vit_config import ViTConfig

RATES_OF_BLOCKS = ("proj_drop_rate", "attn_drop_rate", "drop_path_rate")
RATES = ("drop_rate", "pos_drop_rate", *RATES_OF_BLOCKS)


def _seeded(patch: Patch, model: Any) -> None:
    """The same masks in every run."""
    from keras_vit.guard import seed_generators

    generators: list[Any] = seed_generators(model)  # type: ignore[no-untyped-call]
    for i, generator in enumerate(generators):
        patch.assign(generator.state, [FRESH_SEED, i])


def _training(patch: Patch, layer: Any) -> None:
    def call(was: Call, *args: Any, **kwargs: Any) -> Any:
        return was(*args, **{**kwargs, "training": True})

    patch.wrap(layer, "call", call)


def _dropout_on(patch: Patch, model: Any) -> None:
    _seeded(patch, model)
    for layer in (model.pos_drop, model.head_drop, *model.blocks):
        _training(patch, layer)


def _dropout_in_one_block(patch: Patch, model: Any) -> None:
    _seeded(patch, model)
    _training(patch, model.blocks[BLOCK])


def _any_rate(*fields: str) -> Condition:
    return lambda config: any(getattr(config, field) for field in fields)


def _last_rates(config: ViTConfig) -> float:
    path = config.drop_path_rates[BLOCK]
    return max(config.proj_drop_rate, config.attn_drop_rate, path)


def faults() -> Iterator[Fault]:
    """Dropout that stays on."""
    yield runtime_fault(
        "dropout",
        "dropout left on",
        "computes as in training",
        (),
        RATES,
        _dropout_on,
        _any_rate(*RATES),
    )
    yield runtime_fault(
        "dropout",
        "dropout left on in one block",
        f"computes block {BLOCK} as in training",
        (),
        RATES_OF_BLOCKS,
        _dropout_in_one_block,
        lambda config: _last_rates(config) > 0,
    )
