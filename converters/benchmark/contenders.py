"""What can be run: each function imports its framework and returns what loads a model.

So imports and loading are timed apart. Every contender gets a NumPy array in its own
layout and gives one back, as a server would.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from converters.runtimes.base import channels_last, open_artifact
from converters.workers.device import UnavailableError
from vit_config import ViTConfig

Array = NDArray[Any]
Fields = dict[str, Any]


@dataclass(frozen=True)
class Contender:
    """A model that was loaded.

    Attributes:
        library: What computes, with its version.
        prepare: From inputs (B, C, *spatial) to what `call` takes.
        call: Gives outputs as a NumPy array.
    """

    library: str
    prepare: Callable[[Array], Any]
    call: Callable[[Any], Array]


Load = Callable[[], Contender]


def torch(fields: Fields, folder: Path) -> Load:
    """The torch twin."""
    import torch as _torch

    import torch_vit

    _torch.set_num_threads(fields["threads"])

    def load() -> Contender:
        model = torch_vit.ViT.from_pretrained(fields["model"])
        return _of_torch(model, model.eval(), f"torch {_torch.__version__}", fields)

    return load


def library(fields: Fields, folder: Path) -> Load:
    """The model of timm, transformers or MONAI, made by that library."""
    os.environ["HF_HUB_OFFLINE"] = "1"
    import torch as _torch

    from converters.parity.source_model import load_model

    _torch.set_num_threads(fields["threads"])
    package = fields["source"]["package"]
    import_module(package)

    def load() -> Contender:
        source = load_model(fields["source"], folder)
        name = f"{package} {version(package)}, torch {_torch.__version__}"
        return _of_torch(source.module, source.call, name, fields)

    return load


def _of_torch(module: Any, call: Any, name: str, fields: Fields) -> Contender:
    import torch as _torch

    module.requires_grad_(False)
    if fields.get("compile"):
        call = _torch.compile(call)

    def run(x: Array) -> Array:
        with _torch.inference_mode():
            found: Array = call(_torch.from_numpy(x)).numpy()
        return found

    return Contender(name, lambda x: x, run)


def keras(fields: Fields, folder: Path) -> Load:
    """The Keras twin, loaded from its file; or built anew and given its weights."""
    name = _keras_name(fields)
    import keras_vit

    def load() -> Contender:
        if fields.get("fresh"):
            model = keras_vit.ViT(ViTConfig.from_dict(fields["config"]))
            model.load_weights(fields["model"])
        else:
            model = keras_vit.load_model(fields["model"])
        _compiled(model, fields)
        return Contender(name, channels_last, model.predict_on_batch)

    return load


def keras_hub(fields: Fields, folder: Path) -> Load:
    """keras-hub's own model of a preset in a folder."""
    name = _keras_name(fields)
    hub: Any = import_module("keras_hub")

    classes = bool(fields["config"]["num_classes"])
    task = hub.models.ImageClassifier if classes else hub.models.Backbone

    def load() -> Contender:
        # Without preprocessing: the others get what is prepared, too.
        more = {"preprocessor": None} if classes else {}
        model = task.from_preset(fields["model"], **more)
        _compiled(model, fields)
        title = f"keras-hub {version('keras-hub')}, {name}"
        return Contender(title, channels_last, model.predict_on_batch)

    return load


def _compiled(model: Any, fields: Fields) -> None:
    """What `compile(jit_compile=True)` sets: XLA on TensorFlow, `torch.compile`."""
    if fields.get("compile"):
        model.jit_compile = True
        if not model.jit_compile:
            raise UnavailableError("Keras cannot compile this model")


def _keras_name(fields: Fields) -> str:
    import keras as _keras

    backend = _keras.backend.backend()
    if backend == "torch":
        import torch as _torch

        _torch.set_num_threads(fields["threads"])
    return f"keras {_keras.__version__} on {backend} {version(backend)}"


def artifact(fields: Fields, folder: Path) -> Load:
    """An exported artifact, by its own runtime."""
    config = fields["config"]

    def load() -> Contender:
        found = open_artifact(Path(fields["model"]), fields["format"])
        own = ViTConfig.from_dict(found.facts["config"]).architecture_hash()
        if own != ViTConfig.from_dict(config).architecture_hash():
            raise UnavailableError("the artifact is of another architecture")
        wanted = "logits" if config["num_classes"] else "embedding"
        wanted = wanted if config["global_pool"] != "none" else "tokens"

        def call(x: Array) -> Array:
            outputs = found.outputs(x)
            return next(outputs[n] for n in (wanted, *outputs) if n in outputs)

        title = ", ".join(f"{k} {v}" for k, v in found.versions.items())
        return Contender(title, lambda x: x, call)

    return load
