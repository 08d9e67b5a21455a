"""The original libraries' outputs on a checkpoint, against those of the torch twin."""

from __future__ import annotations

import json
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from converters.judging.rms import RMS_LIMIT, compare_rms
from vit_config import ViTConfig

Run = Callable[[Any], Any]

# Of a whole model, the class and the output that are its image tower.
_TOWERS = {
    "CLIPModel": ("CLIPVisionModelWithProjection", "image_embeds"),
    "SiglipModel": ("SiglipVisionModel", "pooler_output"),
}
_VIDEO = ("VideoMAE", "Vivit")


class NotComparedError(Exception):
    """No library computes it here; the text says why."""


@dataclass(frozen=True)
class Compared:
    """Outputs of library and twin.

    Attributes:
        ratio: By the RMS rule, the library in float64 being the oracle.
        difference: Largest difference of the two in float64, over the largest value.
        versions: Of the library and torch.
    """

    ratio: float
    difference: float
    versions: str

    @property
    def ok(self) -> bool:
        """Whether the difference is float32's."""
        return self.ratio <= RMS_LIMIT


def compare(
    library: str,
    path: Path,
    arguments: Mapping[str, Any],
    converted: Path,
    inputs: int,
) -> Compared:
    """Runs both, in float32 and in float64, on seeded noise.

    Args:
        library: Who computes.
        path: The checkpoint, file or folder.
        arguments: Of the library's constructor, where the checkpoint is a file.
        converted: The file made of it.
        inputs: How many.

    Raises:
        NotComparedError: If the library is not there, or has no such output.
    """
    if not library:
        raise NotComparedError("no library for it here")
    try:
        import torch

        module = import_module(library)
    except ImportError as error:
        raise NotComparedError(f"{error.name} is not installed") from None
    import torch_vit

    twin = torch_vit.ViT.from_pretrained(converted).eval()
    config = twin.config
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # the libraries' own
        model, run = _LIBRARIES[library](module, path, arguments, config)
    model.eval()
    size = (inputs, config.in_chans, *config.img_size)
    x = torch.from_numpy(np.random.default_rng(0).standard_normal(size, np.float32))
    reference, given = _outputs(run, x), _outputs(twin, x)
    model.double(), twin.double()
    oracle, exact = _outputs(run, x.double()), _outputs(twin, x.double())
    if not np.isfinite(oracle).all() or np.ptp(oracle) == 0:
        raise ValueError(f"{library}'s outputs are all the same: nothing is compared")
    found = compare_rms(given, reference, oracle)
    return Compared(
        ratio=found.ratio,
        difference=float(np.abs(exact - oracle).max() / np.abs(oracle).max()),
        versions=f"{library} {version(library)}, torch {version('torch')}",
    )


def _outputs(run: Run, x: Any, batch: int = 8) -> Any:
    import torch

    with torch.inference_mode():
        parts = [run(x[i : i + batch]).numpy() for i in range(0, len(x), batch)]
    return np.concatenate(parts)


def _transformers(
    module: Any, path: Path, arguments: Mapping[str, Any], config: ViTConfig
) -> tuple[Any, Run]:
    (name,) = json.loads((path / "config.json").read_text("utf-8"))["architectures"]
    if "MAEForPreTraining" in name:
        raise NotComparedError(f"{name} masks patches at random")
    name, output = _TOWERS.get(name, (name, "logits"))
    if output == "logits" and not config.num_classes:
        output = "last_hidden_state"
    model = getattr(module, name).from_pretrained(path)
    video = name.startswith(_VIDEO)

    def run(x: Any) -> Any:
        return getattr(model(x.transpose(1, 2) if video else x), output)

    return model, run


def _timm(
    module: Any, path: Path, arguments: Mapping[str, Any], config: ViTConfig
) -> tuple[Any, Run]:
    model = module.create_model(f"local-dir:{path}", pretrained=True)
    return model, model.forward_features if config.global_pool == "none" else model


def _torchvision(
    module: Any, path: Path, arguments: Mapping[str, Any], config: ViTConfig
) -> tuple[Any, Run]:
    import torch

    model = module.models.VisionTransformer(**arguments)
    model.load_state_dict(torch.load(path, weights_only=True))
    return model, model


_LIBRARIES = {
    "transformers": _transformers,
    "timm": _timm,
    "torchvision": _torchvision,
}
