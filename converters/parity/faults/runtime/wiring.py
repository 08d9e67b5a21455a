"""The layers are right, and what goes from one to the next is not."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from converters.parity.faults.base import Fault, Inject, one_of
from converters.parity.faults.patch import Patch
from converters.parity.faults.runtime.base import BLOCK, Call, always, runtime_fault
from vit_config import ViTConfig


def _no_residual(layer: str) -> Inject:
    """What goes round a branch does not come back: only the branch is left."""

    def inject(patch: Patch, model: Any) -> None:
        block, first = model.blocks[BLOCK], layer == "drop_path1"
        around: dict[str, Any] = {}

        def call(
            was: Call, x: Any, training: Any = None, return_taps: Any = False
        ) -> Any:
            around["x"] = x
            return was(x, training=training, return_taps=return_taps)

        def norm2(was: Call, x: Any) -> Any:
            around["x"] = x
            return was(x)

        def drop_path(was: Call, y: Any, training: Any = False) -> Any:
            return was(y, training=training) - around["x"]

        if first:
            patch.wrap(block, "call", call)
        else:
            patch.wrap(block.norm2, "call", norm2)
        patch.wrap(getattr(block, layer), "call", drop_path)

    return inject


def _no_branch(layer: str) -> Inject:
    def inject(patch: Patch, model: Any) -> None:
        def drop_path(was: Call, y: Any, training: Any = False) -> Any:
            return 0 * y

        patch.wrap(getattr(model.blocks[BLOCK], layer), "call", drop_path)

    return inject


def _norm_left_out(patch: Patch, model: Any) -> None:
    patch.wrap(model.norm, "call", lambda was, x: 1 * x)


def _under(method: str, **fields: Any) -> Inject:
    """Runs one method of the model as if the config were another."""

    def inject(patch: Patch, model: Any) -> None:
        def run(was: Call, *args: Any, **kwargs: Any) -> Any:
            with Patch() as inner:
                inner.set(model, "config", model.config.replace(**fields))
                return was(*args, **kwargs)

        patch.wrap(model, method, run)

    return inject


def _turned_prefix(patch: Patch, model: Any) -> None:
    _under("_pool", pool_include_prefix=not model.config.pool_include_prefix)(
        patch, model
    )


def _pool_of_patches(config: ViTConfig) -> bool:
    return config.global_pool in ("avg", "max", "token_avg", "map")


def _one_head(patch: Patch, model: Any) -> None:
    patch.set(model, "head_dist", model.head)


def faults() -> Iterator[Fault]:
    """What is left out, or taken for another."""
    for i, part in ((1, "attn"), (2, "mlp")):
        layer = f"drop_path{i}"
        place = (f"blocks.{BLOCK}.{part}.*", f"blocks.{BLOCK}.ls{i}.gamma")
        yield runtime_fault(
            "wiring",
            f"no residual around {part}",
            f"leaves the way around {part} of block {BLOCK} out",
            place,
            (),
            _no_residual(layer),
            always,
        )
        yield runtime_fault(
            "wiring",
            f"no {part}",
            f"leaves {part} of block {BLOCK} out",
            place,
            ("drop_path_rate",),
            _no_branch(layer),
            always,
        )
    yield runtime_fault(
        "wiring",
        "no final norm",
        "leaves the final norm out",
        ("norm.*",),
        ("final_norm",),
        _norm_left_out,
        one_of("norm.weight"),
    )
    yield runtime_fault(
        "wiring",
        "pooled over other tokens",
        "pools over the prefix too, or not over it",
        (),
        ("pool_include_prefix", "global_pool"),
        _turned_prefix,
        lambda config: _pool_of_patches(config) and config.num_prefix_tokens > 0,
    )
    yield runtime_fault(
        "wiring",
        "mean for token",
        "pools by the mean of the patches",
        (),
        ("global_pool",),
        _under("_pool", global_pool="avg"),
        lambda config: config.global_pool == "token" and not config.distilled,
    )
    yield runtime_fault(
        "wiring",
        "no head_act",
        "leaves the activation of the head out",
        (),
        ("head_act",),
        _under("_classify", head_act=None),
        lambda config: config.head_act is not None,
    )
    yield runtime_fault(
        "wiring",
        "one head twice",
        "takes the head for the distillation's, too",
        ("head_dist.*",),
        ("distilled",),
        _one_head,
        one_of("head_dist.weight"),
    )
