"""What both models attend to in a few inputs, for a page whose owner asks for it.

The maps are those of the last block, mean over its heads: what the class token takes
from each patch, or without a class token what all patches take on average. They are
looked at, not judged: every step that they go into is judged by itself.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from vit_config import ViTConfig

if TYPE_CHECKING:
    from converters.parity.page.pictures import Picture

Array = NDArray[Any]

SHOWN = 4
"""Most inputs that are shown."""

KEY = "attention:"


def over_patches(maps: Array, config: ViTConfig) -> Array:
    """Attention over the grid of patches.

    Args:
        maps: (B, H, N, N), rows summing to one.
        config: Of the model.

    Returns:
        (B, *grid); less than one in all where there are tokens that are no patches.
    """
    patches = config.num_prefix_tokens
    seen = maps.mean(axis=1)[..., patches:]
    seen = seen[:, 0] if config.class_token else seen[:, patches:].mean(axis=1)
    found: Array = seen.reshape(-1, *config.grid_size)
    return found


def what(config: ViTConfig) -> str:
    """Which attention that is, in words."""
    query = "of the class token" if config.class_token else "of all patches on average"
    return f"attention {query}, last block, mean over heads"


def pictures_of(
    config: ViTConfig,
    case: Mapping[str, Any],
    folder: Path,
    reference: Mapping[str, Array],
    subjects: Mapping[str, Mapping[str, Array]],
) -> Iterator[Picture]:
    """The inputs with what the torch twin of A and every B attend to in them.

    Args:
        config: Of A.
        case: What the models were asked; its files are in `folder`.
        folder: Where the inputs lie.
        reference: Answers of the torch twin of A.
        subjects: Answers of the others by subject. One whose grid of patches is another
            is left out: there is no difference to show.
    """
    from converters.parity.page.pictures import Picture

    for kind, count in case.get("attention", {}).items():
        inputs = np.load(folder / case["sets"][kind], mmap_mode="r")
        key = f"{KEY}{kind}"
        for subject, answers in subjects.items():
            if not subject.startswith("B"):
                continue
            if key not in answers or answers[key].shape != reference[key].shape:
                continue
            for i in range(count):
                yield Picture(
                    input=np.array(inputs[i]),
                    attention_a=reference[key][i],
                    attention_b=answers[key][i],
                    subject=subject,
                    title=f"{kind} input {i + 1}",
                    what=what(config),
                )
