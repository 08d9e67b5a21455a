"""Stands in for a checkpoint from elsewhere: trains a small one, as no hub is asked.

Both are written as another library would have saved them, so that the examples begin
as they would with a downloaded model.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np

import converters
from converters.demo.data2d import digits_task
from converters.demo.data3d import mri_task
from converters.demo.task import Split, Task
from converters.demo.train import train


def digits(folder: Path, epochs: int) -> None:
    """A Hugging Face folder: a 2D ViT that knows the digits 0 to 4."""
    task = digits_task()
    config = task.config.replace(
        num_classes=5, labels=tuple("01234"), pos_embed="learned"
    )
    task = replace(task, config=config, split=digits_split(range(5)))
    _save(task, folder, "huggingface", epochs)


def digits_split(classes: range) -> Split:
    """The images (B, 1, 8, 8) of some digits, which are counted from 0."""
    split = digits_task().split
    a = np.isin(split.train_y, classes)
    b = np.isin(split.test_y, classes)
    first = classes.start
    return Split(
        split.train_x[a],
        split.train_y[a] - first,
        split.test_x[b],
        split.test_y[b] - first,
    )


def brain(file: Path, epochs: int) -> None:
    """A MONAI checkpoint: a 3D ViT that tells the front of a head from its back."""
    task = mri_task()
    split = task.split
    config = task.config.replace(
        num_classes=2,
        labels=("back", "front"),
        class_token=True,
        global_pool="token",
        pos_embed="learned",
        pos_embed_tokens="patch",
        qkv_bias=False,
        norm_eps=1e-5,
    )
    halves = Split(split.train_x, split.train_y // 2, split.test_x, split.test_y // 2)
    _save(replace(task, config=config, split=halves), file, "monai", epochs)


def _save(task: Task, target: Path, dialect: str, epochs: int) -> None:
    if target.exists():
        print(f"{target}: pretrained before")
        return
    target.parent.mkdir(parents=True, exist_ok=True)
    model = train(replace(task, recipe=replace(task.recipe, epochs=epochs)))
    twin = target.parent / "twin.safetensors"
    model.save_pretrained(twin, force=True)
    converters.convert(twin, target, to_dialect=dialect)
    twin.unlink()
    print(f"{target}: pretrained in PyTorch, classes {', '.join(task.config.labels)}")
