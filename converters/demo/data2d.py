"""The 2D task: which digit is it? Handwritten digits of scikit-learn, 8 x 8 pixels.

540 of the 1797 images are held out, drawn at random with each digit's share kept. No
image occurs twice in the set. The set does not say who wrote what, so the same hands
are on both sides: the accuracy is one for known writers.
"""

from __future__ import annotations

import numpy as np

from converters.demo.task import Recipe, Split, Task
from converters.extras import optional
from vit_config import ViTConfig
from vit_config.data import DataConfig, SourceConfig

TEST_IMAGES = 540
BAR, QUICK_BAR = 0.95, 0.50
EPOCHS, QUICK_EPOCHS = 26, 8


def digits_split() -> Split:
    """The images, standardised with the training images' mean and deviation."""
    return _load()[0]


def digits_task(quick: bool = False) -> Task:
    """The task, with a short training and a low bar if `quick`.

    Raises:
        MissingExtraError: If scikit-learn is not installed.
    """
    split, mean, std = _load()
    config = ViTConfig(
        spatial_dims=2,
        img_size=(8, 8),
        patch_size=(2, 2),
        in_chans=1,
        embed_dim=64,
        depth=3,
        num_heads=4,
        mlp_dim=128,
        pos_embed="sincos",
        weight_init="mae",
        num_classes=10,
        problem_type="single_label",
        labels=tuple("0123456789"),
        data=DataConfig(mean=(mean,), std=(std,), input_range=(0.0, 1.0)),
        source=SourceConfig(
            library="vit-duet demo", pretraining_data="scikit-learn load_digits"
        ),
    )
    return Task(
        name="digits",
        title="2D: handwritten digits, 8 x 8; which digit?",
        held_out=f"{TEST_IMAGES} images never seen in training",
        config=config,
        split=split,
        recipe=Recipe(epochs=QUICK_EPOCHS if quick else EPOCHS, noise=0.2),
        bar=QUICK_BAR if quick else BAR,
        chance=0.1,
    )


def _load() -> tuple[Split, float, float]:
    datasets = optional("sklearn.datasets", "demo")
    selection = optional("sklearn.model_selection", "demo")
    digits = datasets.load_digits()
    labels = digits.target.astype(np.int64)
    train, test = selection.train_test_split(
        np.arange(len(labels)), test_size=TEST_IMAGES, stratify=labels, random_state=0
    )
    images = (digits.images / 16).astype(np.float32)[:, None]
    # Of few digits, so that the config's JSON is short and the same everywhere.
    mean = round(float(images[train].mean(dtype=np.float64)), 4)
    std = round(float(images[train].std(dtype=np.float64)), 4)
    images = (images - np.float32(mean)) / np.float32(std)
    return Split(images[train], labels[train], images[test], labels[test]), mean, std
