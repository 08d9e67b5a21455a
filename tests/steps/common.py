"""Runs a step on a small model whose every weight is random."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import load_file

from converters import ConversionReport, convert
from converters.files.safetensors_file import write_safetensors
from converters.mapping.pipe import MemorySource, np_dtype
from tests.fill import fill_weights
from vit_config import ViTConfig

Arrays = dict[str, np.ndarray]


def weights(config: ViTConfig, dtype: str = "float32") -> Arrays:
    kind = np_dtype(dtype)
    return {name: array.astype(kind) for name, array in fill_weights(config).items()}


def write(path: Path, config: ViTConfig, arrays: Arrays | None = None) -> Path:
    arrays = weights(config) if arrays is None else arrays
    write_safetensors(path, MemorySource(arrays), config)
    return path


def run(
    folder: Path, config: ViTConfig, arrays: Arrays | None = None, **options: Any
) -> tuple[ConversionReport, Arrays]:
    """Converts a canonical file to another one; the report and the new tensors."""
    source = write(folder / "source.safetensors", config, arrays)
    target = folder / "target.safetensors"
    report = convert(source, target, force=True, **options)
    assert report.ok
    own = report.config.source.steps if report.config.source else ()
    assert own == report.steps == tuple(effect.step for effect in report.effects)
    return report, load_file(target)


def kept(before: Arrays, after: Arrays, *, but: set[str]) -> None:
    """All tensors are the same, bit by bit, but those named."""
    assert before.keys() - but == after.keys() - but
    for name in before.keys() - but:
        assert before[name].tobytes() == after[name].tobytes(), name


def torch_twin(config: ViTConfig, arrays: Arrays) -> Any:
    import torch

    import torch_vit

    model = torch_vit.ViT(config)
    state = {name: torch.from_numpy(array.copy()) for name, array in arrays.items()}
    model.load_state_dict(state, strict=True)
    return model.eval()


def call(model: Any, x: np.ndarray, method: str = "__call__", **options) -> np.ndarray:
    import torch

    with torch.no_grad():
        return getattr(model, method)(torch.from_numpy(x), **options).numpy()
