"""Makes tests/preprocess/volume_goldens.npz: what MONAI makes of volumes.

    PYTHONPATH=. python tools/make_volume_goldens.py

needs torch, MONAI and nibabel. The volumes and files are computed by
`tests.preprocess.volume_cases`, so only results are kept, and the versions that made
them, one after the other in one array.
"""

from __future__ import annotations

import json
import tempfile
import warnings
from importlib.metadata import version
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import torch
from monai import transforms
from numpy.typing import NDArray

from tests.preprocess.volume_cases import (
    AFFINES,
    CASES,
    FILES,
    SIZE,
    FileCase,
    VolumeCase,
)

OUT = Path(__file__).resolve().parent.parent / "tests" / "preprocess"
OUT /= "volume_goldens.npz"


def intensity(data: dict[str, Any]) -> Any:
    """MONAI's transform of that name."""
    found = dict(data["intensity"])
    kind, low, high = (found.pop(name, None) for name in ("kind", "low", "high"))
    if kind == "zscore":
        return transforms.NormalizeIntensity(**found)
    bottom, top = data["input_range"]
    clip = found.pop("clip", True)
    if kind == "window":
        return transforms.ScaleIntensityRange(low, high, bottom, top, clip=clip)
    return transforms.ScaleIntensityRangePercentiles(
        low, high, bottom, top, clip=clip, **found
    )


def fit(data: dict[str, Any]) -> Any:
    """MONAI's transform that brings a volume to the model's size."""
    if data["fit"] == "pad_or_crop":
        return transforms.ResizeWithPadOrCrop(SIZE, value=data["pad_value"])
    return transforms.Resize(SIZE, mode=MODES[data["interpolation"]])


MODES = {"bilinear": "trilinear", "nearest": "nearest", "area": "area"}


def processed(case: VolumeCase) -> NDArray[np.float32]:
    """(*SIZE, C) as MONAI has it."""
    data = case.data
    steps = [intensity(data)] if "intensity" in data else []
    if "mean" in data:
        mean, std = data["mean"], data["std"]
        steps.append(transforms.NormalizeIntensity(mean, std, channel_wise=True))
    steps.insert(0 if data["fit_first"] else len(steps), fit(data))
    first = np.ascontiguousarray(np.moveaxis(case.values, -1, 0))
    made = transforms.Compose(steps)(torch.from_numpy(first))
    return np.moveaxis(np.asarray(made, np.float32), 0, -1)


def read(case: FileCase, folder: Path) -> NDArray[np.float32]:
    """(*spatial, C) of the file, read by MONAI."""
    path = folder / "scan.nii.gz"
    nibabel.save(nibabel.Nifti1Image(case.values, AFFINES[case.affine]), path)
    steps = [
        transforms.LoadImage(image_only=True, ensure_channel_first=True),
        transforms.Orientation(case.orientation, labels=LABELS),
    ]
    if case.spacing is not None:
        steps.append(transforms.Spacing(case.spacing, mode=case.mode))
    made = transforms.Compose(steps)(path)
    return np.moveaxis(np.asarray(made, np.float32), 0, -1)


LABELS = (("L", "R"), ("P", "A"), ("I", "S"))


def main() -> None:
    warnings.simplefilter("ignore")  # MONAI's, of volumes of one value
    about: dict[str, Any] = {"shapes": {}}
    values = []
    with tempfile.TemporaryDirectory() as folder:
        found = {name: processed(case) for name, case in CASES.items()}
        found |= {name: read(case, Path(folder)) for name, case in FILES.items()}
    for name, made in found.items():
        about["shapes"][name] = made.shape
        values.append(made.ravel())
    libraries = ("monai", "nibabel", "numpy")
    about["versions"] = {name: version(name) for name in libraries}
    about["versions"]["torch"] = torch.__version__
    np.savez_compressed(
        OUT, about=np.array(json.dumps(about)), floats=np.concatenate(values)
    )
    print(OUT.name, OUT.stat().st_size, "bytes", len(found), about["versions"])


if __name__ == "__main__":
    main()
