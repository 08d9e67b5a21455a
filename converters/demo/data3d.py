"""The 3D task: where in the brain is this crop from? A real MRI that nibabel ships.

`example4d.nii.gz` holds two scans of one head, 128 x 96 x 24 voxels of 2 x 2 x 2.2 mm,
the array axes pointing to left, front and up. Each half of the head falls into four
quadrants, back or front and lower or upper, and a crop of 16 x 24 x 8 voxels that lies
wholly in one of them has that quadrant as its class.

Trained on the left half (both scans), tested on the right half (first scan). So no
voxel is on both sides. A split by scan would be no split: the two correlate at 0.999.
Mirroring in training makes the left half look like the right one. One head remains one
head, test crops overlap each other, and the training was tuned while looking at the
test accuracy: the figure says that the model has learnt something, no more.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np

from converters.demo.task import Array, DemoError, Recipe, Split, Task
from converters.extras import optional
from vit_config import ViTConfig
from vit_config.data import DataConfig, SourceConfig

SHAPE = (128, 96, 24, 2)
CROP = (16, 24, 8)
MIDDLE = (64, 45, 12)
"""First voxel of the left half, of the front, of the upper part."""
QUADRANTS = ("back lower", "back upper", "front lower", "front upper")
TISSUE = 120
"""Intensity above which a voxel counts as tissue; half of a crop must be."""
TRAIN_STEPS, TEST_STEPS = (3, 2, 1), (4, 4, 2)

BAR, QUICK_BAR = 0.75, 0.35
EPOCHS, QUICK_EPOCHS = 6, 2


@dataclass(frozen=True, slots=True)
class Crops:
    """Crops with their quadrants and with their first voxel in the scan."""

    voxels: Array
    labels: Array
    corners: Array


def load_scans() -> Array:
    """Both scans, (X, Y, Z, 2) in float32.

    Raises:
        MissingExtraError: If nibabel is not installed.
        DemoError: If it does not have the file, or has another one.
    """
    nibabel = optional("nibabel", "demo")
    path = Path(str(nibabel.__file__)).parent / "tests" / "data" / "example4d.nii.gz"
    if not path.is_file():
        raise DemoError(
            f"nibabel {nibabel.__version__} is installed without its example scan "
            f"({path.name}); the one from the package index has it"
        )
    image = nibabel.load(path)
    if image.shape != SHAPE or nibabel.aff2axcodes(image.affine) != ("L", "A", "S"):
        raise DemoError(f"{path.name} of nibabel {nibabel.__version__} is another scan")
    voxels: Array = image.get_fdata(dtype=np.float32)
    return voxels


def crops(scan: Array, *, left: bool, steps: tuple[int, int, int]) -> Crops:
    """All crops of one half that lie in one quadrant and are at least half tissue.

    Args:
        scan: One scan, (X, Y, Z).
        left: Which half.
        steps: Distance of neighbouring crops along each axis, in voxels.
    """
    voxels, labels, corners = [], [], []
    sides = (range(MIDDLE[0], scan.shape[0]) if left else range(MIDDLE[0]),)
    depths = (range(MIDDLE[1]), range(MIDDLE[1], scan.shape[1]))
    heights = (range(MIDDLE[2]), range(MIDDLE[2], scan.shape[2]))
    for label, box in enumerate(product(sides, depths, heights)):
        starts = (
            range(axis.start, axis.stop - size + 1, step)
            for axis, size, step in zip(box, CROP, steps, strict=True)
        )
        for corner in product(*starts):
            place = tuple(slice(s, s + n) for s, n in zip(corner, CROP, strict=True))
            crop = scan[place]
            if np.mean(crop > TISSUE) >= 0.5:
                voxels.append(crop)
                labels.append(label)
                corners.append(corner)
    return Crops(np.stack(voxels), np.array(labels, np.int64), np.array(corners))


def mri_split() -> Split:
    """The crops, standardised with the training crops' mean and deviation."""
    return _load()[0]


def mri_task(quick: bool = False) -> Task:
    """The task, with a short training and a low bar if `quick`.

    Raises:
        MissingExtraError: If nibabel is not installed.
        DemoError: If it does not have the scan.
    """
    split, mean, std = _load()
    config = ViTConfig(
        spatial_dims=3,
        img_size=CROP,
        patch_size=(4, 6, 4),
        in_chans=1,
        embed_dim=48,
        depth=3,
        num_heads=4,
        mlp_dim=96,
        class_token=False,
        global_pool="avg",
        pos_embed="sincos",
        weight_init="mae",
        num_classes=len(QUADRANTS),
        problem_type="single_label",
        labels=QUADRANTS,
        data=DataConfig(
            mean=(mean,),
            std=(std,),
            axes=("X", "Y", "Z"),
            orientation="LAS",
            spacing_mm=(2.0, 2.0, 2.2),
        ),
        source=SourceConfig(
            library="vit-duet demo", pretraining_data="nibabel example4d.nii.gz"
        ),
    )
    count = len(split.test_y)
    return Task(
        name="mri",
        title="3D: MRI crops, 16 x 24 x 8; which quadrant of its half of the brain?",
        held_out=f"{count} crops of the right half, trained on the left half",
        config=config,
        split=split,
        recipe=Recipe(
            epochs=QUICK_EPOCHS if quick else EPOCHS,
            noise=0.6,
            gain=0.3,
            flip_axis=0,
        ),
        bar=QUICK_BAR if quick else BAR,
        chance=0.25,
    )


def _load() -> tuple[Split, float, float]:
    scans = load_scans()
    left = [
        crops(scans[..., i], left=True, steps=TRAIN_STEPS)
        for i in range(scans.shape[-1])
    ]
    right = crops(scans[..., 0], left=False, steps=TEST_STEPS)
    train_x = np.concatenate([half.voxels for half in left])[:, None]
    train_y = np.concatenate([half.labels for half in left])
    mean = round(float(train_x.mean(dtype=np.float64)), 2)
    std = round(float(train_x.std(dtype=np.float64)), 2)

    def scaled(values: Array) -> Array:
        standard: Array = (values - np.float32(mean)) / np.float32(std)
        return standard

    test_x = scaled(right.voxels[:, None])
    return Split(scaled(train_x), train_y, test_x, right.labels), mean, std
