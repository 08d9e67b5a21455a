"""Images and volumes as they are: does a Keras model prepare them as the config says?

Where a `.keras` has its preprocessing inside (`keras_vit.Pipeline`), both twins'
`Preprocess` get the same raw inputs, larger and smaller than the model's own and no two
axes alike. What they prepare may differ by `TOLERANCE` of its range; and the whole must
give the very bits that its model gives for what its preprocessing made.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from converters.mapping.pipe import Array
from converters.parity.record import Check
from converters.workers.inputs import structured
from converters.workers.raw_volumes import raw_volumes
from vit_config import ConfigError, ViTConfig
from vit_config.preprocess_volume import plan_of

TOLERANCE = 1e-5
"""Of the range of prepared values."""

SCALES = {"larger": (2.3, 1.4), "smaller": (0.7, 0.6)}
"""Raw images by name: their sides, in units of the model's."""

COUNT = 2
NAME = "preprocessing, in 1e-5 of its range"
PREPARED, WHOLE, APART = "prepared", "outputs", "apart"


def states(config: ViTConfig) -> bool:
    """Whether a config says all of its preprocessing."""
    try:
        plan_of(config)
    except ConfigError:
        return False
    return True


def write_raw(folder: Path, config: ViTConfig, seed: int = 0) -> dict[str, Any]:
    """Writes raw inputs (B, C, *spatial): uint8 of images, float32 of volumes.

    Args:
        folder: Where to.
        config: Whose preprocessing is asked for.
        seed: Of the random numbers.

    Returns:
        The key `"raw"` of a job.
    """
    made = _volumes(config, seed) if config.spatial_dims == 3 else _images(config, seed)
    files = {}
    for name, values in made.items():
        files[name] = f"raw-{name}.npy"
        np.save(folder / files[name], values)
    return {"sets": files, "config": config.to_dict()}


def _volumes(config: ViTConfig, seed: int) -> dict[str, Array]:
    return {
        f"volume{number}": np.moveaxis(values, -1, 0)[None]
        for number, values in enumerate(raw_volumes(config, seed), 1)
    }


def _images(config: ViTConfig, seed: int) -> dict[str, Array]:
    """Levels of a camera, about -2 to 2 deviations of structured noise."""
    found = {}
    for number, (name, scales) in enumerate(SCALES.items()):
        rng = np.random.default_rng([seed, 77, number])
        sides: list[int] = []
        for wanted, scale in zip(config.img_size, scales, strict=True):
            side = max(3, int(wanted * scale))
            while side in (*sides, wanted):
                side += 1
            sides.append(side)
        made = [structured(rng, (config.in_chans, *sides)) for _ in range(COUNT)]
        levels = np.rint(127.5 + 55.0 * np.stack(made))
        found[name] = np.clip(levels, 0, 255).astype(np.uint8)
    return found


def checks(
    subject: str, given: Mapping[str, Array], reference: Mapping[str, Array]
) -> Iterator[Check]:
    """What a subject prepared, beside what the torch twin did.

    Args:
        subject: What to call it.
        given: What it said.
        reference: What the torch twin said.
    """
    for key in reference:
        start, _, rest = key.partition(":")
        name, _, what = rest.partition(":")
        if start != "raw" or what != PREPARED or key not in given:
            continue
        apart = difference(given[key], reference[key])
        problem = _problem(given, f"raw:{name}:", apart)
        yield Check(
            level="logits",
            name=NAME,
            inputs=f"raw, {name}",
            subject=subject,
            meaning="twins",
            status="failed" if problem else "passed",
            message=problem,
            count=len(given[key]),
            ratio=apart / TOLERANCE,
            limit=1.0,
            max_difference=apart,
        )


def _problem(given: Mapping[str, Array], start: str, apart: float) -> str:
    if not apart <= TOLERANCE:
        return (
            f"prepared inputs differ by {apart:.2g} of their range, at most "
            f"{TOLERANCE:g}: preprocessing inside is not what the config's data says"
        )
    if given[f"{start}{WHOLE}"].tobytes() != given[f"{start}{APART}"].tobytes():
        return "gives other outputs than its model for what its preprocessing made"
    return ""


def difference(given: Array, reference: Array) -> float:
    """The largest difference, in units of the reference's range; infinite if NaN."""
    if given.shape != reference.shape:
        return float("inf")
    reach = float(reference.max() - reference.min()) or 1.0
    apart = np.abs(given.astype(np.float64) - reference).max() / reach
    return float(apart) if np.isfinite(apart) else float("inf")
