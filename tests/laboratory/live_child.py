"""Live Keras twins in a process of their own.

Run as `python -m tests.laboratory.live_child FOLDER [verify]`, with KERAS_BACKEND.
FOLDER has `a.safetensors`, of the config `FLAT`. Prints one line of JSON: by name of a
change the places that are named as changed, and with `verify` what was found.
"""

from __future__ import annotations

import json
import random
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_vit
from converters import ConversionError, verify
from converters.parity.findings import Findings
from converters.parity.live_object import run_live
from converters.parity.operands import open_operand
from converters.parity.plan import Plan
from converters.parity.run import Run
from converters.sources.request import Asked
from converters.twins.live import check_twin
from tests.laboratory.common import FLAT


class Trained(keras_vit.ViT):
    """A subclass that adds a method and trains in its own way."""

    def train_step(self, *batch):
        return super().train_step(*batch)

    def describe(self):
        return "mine"


class Doubled(keras_vit.ViT):
    """A subclass that computes something else."""

    def call(self, x, training=None):
        return 2 * super().call(x, training)


def fitted() -> Any:
    model = keras_vit.ViT(FLAT.replace(pos_drop_rate=0.1), name="mine")
    model.compile(optimizer="sgd", loss="mse", metrics=["mae"])
    x, y = np.zeros((2, 16, 24, 3), "float32"), np.zeros((2, 7), "float32")
    model.fit(x, y, verbose=0)
    model.predict(x, verbose=0)
    model.evaluate(x, y, verbose=0)
    model.freeze(["blocks_0", "cls_token"])
    model.set_attn_impl("explicit")
    model.config = model.config.replace(labels=tuple("abcdefg"))
    return model


UNCHANGED: dict[str, Callable[[], Any]] = {
    "fitted": fitted,
    "mixed": lambda: keras_vit.ViT(FLAT, dtype="mixed_bfloat16"),
    "attention pooling": lambda: keras_vit.ViT(
        FLAT.replace(global_pool="map", class_token=False, reg_tokens=0)
    ),
    "subclass": lambda: Trained(FLAT),
}


def changed(change: Callable[[Any], None]) -> Callable[[], Any]:
    def make() -> Any:
        model = keras_vit.ViT(FLAT)
        model._tracker.unlock()  # as those do who replace a layer of a built model
        change(model)
        return model

    return make


def same_norm(model: Any) -> None:
    """As the one before, but for its weights; Keras goes on to save both."""
    model.norm = keras.layers.LayerNormalization(epsilon=FLAT.norm_eps, name="norm")
    model.norm.build((None, None, 48))


CHANGED: dict[str, Callable[[], Any]] = {
    "subclass": lambda: Doubled(FLAT),
    "epsilon": changed(lambda m: setattr(m.blocks[1].norm1, "epsilon", 0.5)),
    "heads": changed(lambda m: setattr(m.blocks[0].attn, "num_heads", 2)),
    "activation": changed(lambda m: setattr(m.blocks[2].mlp, "act", keras.ops.tanh)),
    "layout": changed(
        lambda m: setattr(m.patch_embed.proj, "data_format", "channels_first")
    ),
    "rate": changed(lambda m: setattr(m.head_drop, "rate", 0.5)),
    "policy": changed(lambda m: setattr(m.blocks[1], "dtype_policy", "bfloat16")),
    "call": changed(lambda m: setattr(m, "call", lambda x, training=None: x)),
    "method": changed(lambda m: setattr(m.blocks[1].mlp, "activate", keras.ops.tanh)),
    "norm": changed(lambda m: setattr(m, "norm", keras.layers.Identity())),
    "same norm": changed(same_norm),
    "one block less": changed(lambda m: m.blocks.pop()),
    "lora": changed(lambda m: m.head.enable_lora(2)),
}


def places(model: Any, **asked: Any) -> list[str]:
    """Where a model is found to be changed; the caller's random numbers are left."""
    state = random.getstate()
    try:
        check_twin(model, **asked)
    except ConversionError as error:
        return [issue.name for issue in error.issues]
    return [] if state == random.getstate() else ["numbers were drawn"]


def patched() -> list[str]:
    kind, call = keras_vit.block.Block, keras_vit.block.Block.call
    kind.call = lambda self, x, training=None, return_taps=False: x
    try:
        return places(keras_vit.ViT(FLAT))
    finally:
        kind.call = call


def saved(model: Any, path: Path) -> bool:
    try:
        model.save_pretrained(path)
    except ConversionError:
        return False
    return path.exists()


def beside_copy(folder: Path) -> list[str]:
    """The object's outputs beside its copy's: every status, and the state after."""
    from contextlib import ExitStack

    fields = {"level": "logits", "dtype": "float32", "device": "cpu", "seed": 0}
    plan = Plan(config=FLAT, own=False, folder=folder, **fields)
    model = keras_vit.ViT.from_pretrained(folder / "a.safetensors")
    model.freeze(["blocks_0"])
    kept = [(weight.path, weight.trainable) for weight in model.weights]
    with ExitStack() as stack:
        b = open_operand("B", model, Asked(), folder, stack)
        a = open_operand("A", folder / "a.safetensors", Asked(), folder, stack)
        found = Findings()
        run_live(found, Run(files=stack), plan, (a, b), lambda words: None)
    if kept != [(weight.path, weight.trainable) for weight in model.weights]:
        return ["other weights are trained"]
    return [check.status for check in found.checks]


def verified(folder: Path) -> dict[str, Any]:
    import torch_vit

    a = torch_vit.ViT.from_pretrained(folder / "a.safetensors").train()
    b = keras_vit.ViT.from_pretrained(folder / "a.safetensors")
    report = verify(a, b, level="gradients")
    return {
        "ran": [report.a.ran, report.b.ran],
        "gradients": sorted({row.subject for row in report.gradients}),
        "sentence": report.sentence,
        "subjects": sorted({check.subject for check in report.checks}),
        "training": a.training,
    }


def main(folder: Path, *more: str) -> None:
    found: dict[str, Any] = {
        "unchanged": {name: places(make()) for name, make in UNCHANGED.items()},
        "changed": {name: places(make()) for name, make in CHANGED.items()},
        "patched": patched(),
        "saved": {
            name: saved(CHANGED[name](), folder / f"{name}.keras")
            for name in ("lora", "epsilon", "same norm")
        },
        "beside": beside_copy(folder),
    }
    if "verify" in more:
        found["verified"] = verified(folder)
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
