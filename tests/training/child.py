"""Trainings that are interrupted here and resumed in another process.

`python -m tests.alone tests.training.child interrupted FOLDER DEPTH CASE...` trains
every case to its end, then again until it is interrupted; the last one by SIGKILL, so
this process does not return. `... resumed ...` goes on from what it left and compares.
"""

from __future__ import annotations

import os
import signal
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import keras
import numpy as np

import keras_vit
from tests.saving.common import config_2d, demand_other, demand_same, images
from tests.saving.steps_life import RATES, state
from tests.saving.worker import warnings_as_errors

EPOCHS, STEPS, BATCH = 3, 4, 4
STOP = (2, 1)
"""The epoch and the batch after which a training is interrupted."""
FROZEN = ("cls_token", "pos_embed", "patch_embed", "blocks_0/attn/qkv/kernel")


class Ordered(keras.utils.PyDataset):
    """Batches whose order is that of the epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.x = images(config_2d(), STEPS * BATCH)
        self.y = np.arange(len(self.x)) % 3
        self.epoch = 0

    def __len__(self) -> int:
        return STEPS

    def __getitem__(self, index: int) -> tuple[np.ndarray, np.ndarray]:
        order = np.random.default_rng(self.epoch).permutation(len(self.x))
        batch = order[index * BATCH : (index + 1) * BATCH]
        return self.x[batch], self.y[batch]


class Interrupted(Exception):
    """Instead of a power cut."""


class Stop(keras.callbacks.Callback):
    """Calls something after one batch of one epoch."""

    def __init__(self, action: Callable[[], None], when: tuple[int, int] = STOP):
        super().__init__()
        self.action, self.when, self.epoch = action, when, 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        self.epoch = epoch

    def on_train_batch_end(self, batch: int, logs: Any = None) -> None:
        if (self.epoch, batch) == self.when:
            self.action()


@dataclass(frozen=True)
class Case:
    """One way to train, and to go on."""

    name: str
    checkpoint: str
    dtype: str = "float32"
    frozen: tuple[str, ...] = ()


CASES = (
    Case("whole", "model.keras"),
    Case("plain_loader", "model.keras"),
    Case("weights_only", "model.weights.h5"),
    Case("frozen", "model.keras", frozen=FROZEN),
    Case("frozen_backup", "backup", "mixed_bfloat16", FROZEN),
    Case("scaled", "model.keras", "mixed_float16"),
    Case("scaled_backup", "backup", "mixed_float16"),
    Case("killed", "backup"),
)


def made(case: Case, depth: int) -> keras_vit.ViT:
    """The model before training, all kinds of dropout on, compiled."""
    model = keras_vit.ViT(config_2d(depth=depth, **RATES), dtype=case.dtype)
    model.freeze(case.frozen)
    schedule = keras.optimizers.schedules.CosineDecay(
        1e-4, EPOCHS * STEPS, warmup_target=1e-2, warmup_steps=3
    )
    optimizer = keras.optimizers.AdamW(schedule, weight_decay=0.05)
    if case.dtype == "mixed_float16":
        # Too large at first: steps are skipped, and the scale becomes smaller.
        optimizer = keras.optimizers.LossScaleOptimizer(
            optimizer, initial_scale=2.0**20, dynamic_growth_steps=3
        )
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer=optimizer, loss=loss, metrics=["accuracy"])
    return model


def saving(case: Case) -> list[keras.callbacks.Callback]:
    """Saves after every epoch."""
    path = f"{case.name}-{case.checkpoint}"
    if case.checkpoint == "backup":
        return [keras.callbacks.BackupAndRestore(path)]
    only = path.endswith(".h5")
    return [keras.callbacks.ModelCheckpoint(path, save_weights_only=only)]


def fit(
    model: keras.Model, callbacks: list[keras.callbacks.Callback], begin: int = 0
) -> None:
    """Trains to the last epoch."""
    data = Ordered()
    tell = keras.callbacks.LambdaCallback(
        on_epoch_begin=lambda epoch, logs: setattr(data, "epoch", epoch)
    )
    model.fit(
        data,
        epochs=EPOCHS,
        initial_epoch=begin,
        shuffle=False,  # or Keras draws another order of the batches
        verbose=0,
        callbacks=[tell, *callbacks],
    )


def interrupted(cases: list[Case], depth: int) -> None:
    """What would have come out, and how far each training came."""
    for case in cases:
        keras.utils.set_random_seed(5)
        model = made(case, depth)
        model.optimizer.build(model.trainable_variables)
        model.save_weights("begin.weights.h5")
        fit(model, [])
        np.savez(f"{case.name}.npz", **state(model))
        # Back to the start, which saves TensorFlow the tracing of another model.
        model.load_weights("begin.weights.h5")
        action = kill if case.name == "killed" else interrupt
        try:
            fit(model, [*saving(case), Stop(action)])
        except Interrupted:
            continue
        raise AssertionError(f"{case.name}: was not interrupted")


def interrupt() -> None:
    raise Interrupted


def kill() -> None:
    os.kill(os.getpid(), signal.SIGKILL)


def resumed(cases: list[Case], depth: int) -> None:
    """Every training goes on, in a process with another seed, to the same bits."""
    for case in cases:
        keras.utils.set_random_seed(77)
        path = f"{case.name}-{case.checkpoint}"
        if case.checkpoint == "backup":
            model = made(case, depth)
            begin = 0  # the callback knows better
        elif path.endswith(".h5"):
            model = made(case, depth)
            model.optimizer.build(model.trainable_variables)
            model.load_weights(path)
            begin = STOP[0]
        else:
            plain = case.name == "plain_loader"
            load = keras.models.load_model if plain else keras_vit.load_model
            model = load(path)
            begin = STOP[0]
        before = state(model)
        fit(model, saving(case) if case.checkpoint == "backup" else [], begin)
        after = state(model)
        with np.load(f"{case.name}.npz") as arrays:
            wanted = dict(arrays)
        if after.keys() != wanted.keys():
            raise AssertionError(f"{case.name}: {sorted(after.keys() ^ wanted.keys())}")
        for key, value in after.items():
            demand_same(value, wanted[key], f"{case.name}: {key}")
        demand_other(after["head|kernel"], before["head|kernel"], "the last epoch")
        if case.frozen:
            flags = {w.path.removeprefix("vit/"): w.trainable for w in model.weights}
            still = [key for key, flag in flags.items() if not flag]
            if not still or not all(key.startswith(FROZEN) for key in still):
                raise AssertionError(f"{case.name}: frozen are {still}")
        print("exact", case.name)


if __name__ == "__main__":
    phase, folder, blocks, *names = sys.argv[1:]
    os.chdir(Path(folder))
    with warnings.catch_warnings():
        warnings_as_errors()
        run = {"interrupted": interrupted, "resumed": resumed}[phase]
        run([case for case in CASES if case.name in names], int(blocks))
