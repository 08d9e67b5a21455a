"""`from_pretrained` and `save_pretrained` of both twins.

A folder holds `model.safetensors`, which is complete in itself, and `config.json`, the
same config for those who look for one there.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from converters.checks.source import Checked
from converters.conversion.convert import read_checked
from converters.conversion.report import ConversionReport
from converters.conversion.write import write_checked
from converters.errors import ConversionError, named, refusal
from converters.extras import optional, twin
from converters.files import FOLDER_CONFIG, FOLDER_WEIGHTS, FORMATS, format_of
from converters.files.atomic import check_output, sync
from converters.mapping.pipe import Array, Digests, MemorySource, Pipe, Source, np_dtype
from converters.mapping.table import KERAS
from converters.sources.door import path_of
from converters.sources.live import is_module
from converters.sources.request import Asked
from converters.steps.asked import Size, Steps
from converters.twins.live import check_twin
from converters.wording import PRETRAINED, speaking
from vit_config import ConfigError, ViTConfig
from vit_config.weights import weight_table

if TYPE_CHECKING:
    import torch

PathLike = str | os.PathLike[str]

_SEEDS = 2**31 - 1


@named("loading")
def load_torch(
    cls: Any,
    source: PathLike,
    *,
    num_classes: int | None = None,
    image_size: Size | None = None,
    drop_rates: Mapping[str, float] | None = None,
    **reading: Any,
) -> Any:
    """Makes a torch twin with the weights of a file.

    Nothing is drawn at random but a new head: the model is made without memory and
    takes the arrays of the file as they are, in the file's type. The head's seed comes
    from torch's generator, and stands in `config.source.steps`.

    Args:
        cls: `torch_vit.ViT`, or a subclass.
        source: Anything that `convert` reads.
        num_classes: Another number of classes: the head is drawn anew.
        image_size: Another image size: the position table is resampled.
        drop_rates: Dropout rates to train with, by their names in the config.
        **reading: How the source is to be read, as `Asked.by` takes it.

    Raises:
        ConversionError: If anything does not fit, with every problem.
        ConfigError: If the model cannot have that many classes.
    """
    torch = optional("torch", "torch")
    seed = int(torch.randint(_SEEDS, ())) if num_classes else 0
    steps = Steps(num_classes=num_classes, image_size=image_size, seed=seed)
    asked = Asked.by(**reading)
    with speaking(PRETRAINED), read_checked(source, asked, steps) as found:
        return torch_model(cls, found, _with_rates(found.config, drop_rates))


def torch_model(cls: Any, found: Checked, config: ViTConfig | None = None) -> Any:
    """A torch twin with weights that were checked, in their type."""
    torch = optional("torch", "torch")
    dtype = getattr(torch, found.dtype)
    state = {name: _to_torch(found.source.read(name), dtype) for name in found.digests}
    model = cls(config or found.config, device="meta", dtype=dtype)
    model.load_state_dict(state, strict=True, assign=True)
    return model


@named("loading")
def load_keras(
    cls: Any,
    source: PathLike,
    *,
    num_classes: int | None = None,
    image_size: Size | None = None,
    drop_rates: Mapping[str, float] | None = None,
    dtype: Any = None,
    **reading: Any,
) -> Any:
    """Makes a Keras twin with the weights of a file.

    A `.keras` is loaded by Keras itself, with all that is in it (compile state, dtype
    policy), and checked; anything else is read, checked and assigned. The seed of a new
    head comes from Keras' generator.

    Args:
        cls: `keras_vit.ViT`, or a subclass.
        source: Anything that `convert` reads.
        num_classes: Another number of classes: the head is drawn anew.
        image_size: Another image size: the position table is resampled.
        drop_rates: Dropout rates to train with, by their names in the config.
        dtype: Dtype policy of the model; the source's own if None.
        **reading: How the source is to be read, as `Asked.by` takes it.

    Raises:
        ConversionError: If anything does not fit, with every problem.
        ConfigError: If the model cannot have that many classes.
    """
    asked = Asked.by(**reading)
    plain = num_classes is None and image_size is None and not drop_rates
    if plain and asked == Asked() and _is_keras(source):
        path = Path(source)
        model = twin("keras_vit").load_model(path, dtype=dtype)
        if not isinstance(model, cls):
            name = type(model).__name__
            raise refusal(f"its model is a {name}, not a {cls.__name__}", file=path)
        return model
    twin("keras_vit")
    import keras

    seed = int(keras.random.randint((), 0, _SEEDS)) if num_classes else 0
    steps = Steps(num_classes=num_classes, image_size=image_size, seed=seed)
    with speaking(PRETRAINED), read_checked(source, asked, steps) as found:
        config = _with_rates(found.config, drop_rates)
        return keras_model(cls, found, config, dtype)


def keras_model(
    cls: Any, found: Checked, config: ViTConfig | None = None, dtype: Any = None
) -> Any:
    """A Keras twin with weights that were checked, in their type or another policy."""
    from keras_vit.init import no_init

    with no_init():
        model = cls(config or found.config, dtype=dtype or found.dtype)
    weights = {model.relative_path(weight): weight for weight in model.weights}
    taken = Pipe(found.source, KERAS.plan(found.config))
    for weight in weight_table(found.config):
        weights[weight.path].assign(taken.read(weight.path))
    return model


def _with_rates(config: ViTConfig, rates: Mapping[str, float] | None) -> ViTConfig:
    known = [name for name in ViTConfig.model_fields if "drop" in name]
    if unknown := sorted(set(rates or ()) - set(known)):
        raise ConfigError(
            [f"drop_rates: no {name}; known are {', '.join(known)}" for name in unknown]
        )
    return config.replace(**rates) if rates else config


def _is_keras(source: Any) -> bool:
    if is_module(source):
        return False
    path = path_of(source)
    return path.is_file() and format_of(path) == "keras"


@named("saving", unwritten=True)
def save_torch(model: Any, path: PathLike, *, force: bool = False) -> None:
    """Saves a torch twin to a `.safetensors`, a `.keras`, a `.weights.h5` or a folder.

    Args:
        model: A `torch_vit.ViT`.
        path: Where to; the suffix decides the format, none means a folder.
        force: Replace what is there.

    Raises:
        ConversionError: If the path may not be written, a weight is not finite, or the
            model is no longer what its config says.
    """
    check_twin(model, saving=True)
    arrays = {name: _from_torch(tensor) for name, tensor in model.state_dict().items()}
    _save(MemorySource(arrays), model.config, Path(path), force)


@named("saving", unwritten=True)
def save_keras(model: Any, path: PathLike, *, force: bool = False) -> None:
    """Saves a Keras twin likewise: config and weights, no optimizer (`model.save`).

    LoRA is merged, as Keras does on saving; a quantised model is refused.

    Args:
        model: A `keras_vit.ViT`.
        path: Where to; the suffix decides the format, none means a folder.
        force: Replace what is there.

    Raises:
        ConversionError: If the path may not be written, a weight is not finite, or the
            model is no longer what its config says.
    """
    check_twin(model, saving=True)
    guard: Any = import_module("keras_vit.guard")
    arrays = {path: np.asarray(value) for path, value in guard.own_variables(model)}
    _save(MemorySource(arrays), model.config, Path(path), force, keras=True)


def _save(
    source: Source, config: ViTConfig, path: Path, force: bool, keras: bool = False
) -> ConversionReport:
    folder = not path.name.endswith(tuple(FORMATS)) and not path.suffix
    found = _checked_model(source, config, keras)
    if folder:
        return _save_folder(found, path, force)
    kind = format_of(path)
    return write_checked(found, path, source=Path("model"), kind=kind, force=force)


def _checked_model(source: Source, config: ViTConfig, keras: bool) -> Checked:
    """The same checks as for a file."""
    from converters.checks.tensors import check_tensors, check_values
    from converters.mapping.table import CANONICAL

    plan = KERAS.plan(config).inverse() if keras else CANONICAL.plan(config)
    issues = check_tensors(source, plan)
    digests: Digests = {}
    pipe = source
    if not issues:
        pipe = Pipe(source, plan)
        issues, digests = check_values(pipe, config, plan.target_shapes)
    if issues:
        dialect = "keras" if keras else "canonical"
        hint = ""
        if any("int8" in issue.found for issue in issues):
            hint = (
                "A quantised model cannot be saved as plain weights; use model.save()."
            )
        raise ConversionError(issues, file="model", dialect=dialect, hint=hint)
    return Checked(pipe, config, digests, ())


def _save_folder(found: Checked, path: Path, force: bool) -> ConversionReport:
    """Both files are made whole beside the folder, then moved into it."""
    weights, config = path / FOLDER_WEIGHTS, path / FOLDER_CONFIG
    if path.exists() and not path.is_dir():
        raise refusal("a file, not a folder", file=path)
    taken = [file.name for file in (weights, config) if os.path.lexists(file)]
    if taken and not force:
        raise refusal(f"{' and '.join(taken)} exist already", file=path, hint=_FORCE)
    if not path.parent.is_dir():
        raise refusal(f"no such folder: {path.parent}", file=path)
    with tempfile.TemporaryDirectory(prefix=".vit-duet-", dir=path.parent) as folder:
        made = Path(folder) / FOLDER_WEIGHTS
        report = write_checked(found, made, source=Path("model"), kind="safetensors")
        text = Path(folder) / FOLDER_CONFIG
        text.write_text(found.config.to_json() + "\n", encoding="utf-8")
        sync(text)
        path.mkdir(exist_ok=True)
        for file, target in ((made, weights), (text, config)):
            check_output(target, (), force)
            file.replace(target)
        sync(path)
    with suppress(OSError):
        sync(path.parent)
    return report


_FORCE = "Replace them with force=True."


def _to_torch(array: Array, dtype: torch.dtype) -> torch.Tensor:
    import torch

    if dtype == torch.bfloat16:  # torch does not know numpy's bfloat16
        return torch.from_numpy(array.view(np.int16)).view(dtype)
    return torch.from_numpy(array)


def _from_torch(tensor: torch.Tensor) -> Array:
    import torch

    tensor = tensor.detach().cpu().contiguous()
    if tensor.dtype == torch.bfloat16:
        return tensor.view(torch.int16).numpy().view(np_dtype("bfloat16"))
    array: Array = tensor.numpy()
    return array
