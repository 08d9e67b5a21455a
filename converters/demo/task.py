"""What the demo trains, and on what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from numpy.typing import NDArray

from vit_config import ViTConfig

Array = NDArray[Any]


class DemoError(RuntimeError):
    """Something that the demo needs is not there; the text says what."""


@dataclass(frozen=True, slots=True)
class Split:
    """Inputs (B, C, *spatial) in float32 and labels (B,), for training and testing."""

    train_x: Array
    train_y: Array
    test_x: Array
    test_y: Array


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a model is trained: AdamW, one cycle of the learning rate, noisy inputs.

    Attributes:
        epochs: Passes over the training inputs.
        noise: Standard deviation of the noise added to each value.
        gain: Standard deviation of the factor around 1 on each input.
        flip_axis: Spatial axis along which every other input is mirrored, or None.
        batch: Inputs a step.
        rate: Highest learning rate.
        seed: Of weights, order and noise.
    """

    epochs: int
    noise: float
    gain: float = 0.0
    flip_axis: int | None = None
    batch: int = 64
    rate: float = 2e-3
    seed: int = 0


@dataclass(frozen=True, slots=True)
class Task:
    """One model to train and to compare.

    Attributes:
        name: What its files are called.
        title: One line for the reader: the input and the question.
        held_out: Of what the test inputs are.
        config: The model.
        split: Its data.
        recipe: Its training.
        bar: Test accuracy below which the demo fails.
        chance: Accuracy of guessing.
    """

    name: str
    title: str
    held_out: str
    config: ViTConfig
    split: Split
    recipe: Recipe
    bar: float
    chance: float
