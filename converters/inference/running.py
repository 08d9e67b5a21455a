"""A model of any source, ready to be asked."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
from numpy.typing import NDArray

from converters.checks.source import Checked, checked
from converters.conversion.convert import origin_of
from converters.errors import refusal
from converters.extras import optional, twin
from converters.mapping.pipe import fingerprint, model_fingerprint
from converters.sources.door import open_source
from converters.sources.hub import is_hub
from converters.sources.live import is_module
from converters.sources.request import Asked
from vit_config import ViTConfig

if TYPE_CHECKING:
    from torch.nn import Module

Array = NDArray[Any]
Source = str | os.PathLike[str]


class Asks(Protocol):
    """What both twins' runners can be asked."""

    def outputs(self, x: Array) -> Array:
        """What the model gives for inputs (B, C, *spatial)."""

    def tokens(self, x: Array) -> Array:
        """All tokens after the last norm (B, N, D)."""

    def head(self, tokens: Array, pre_logits: bool = False) -> Array:
        """The head on tokens, or what comes before its last layer."""

    def attention(self, x: Array, block: int = -1) -> Array:
        """Attention of a block (B, H, N, N)."""


@dataclass(frozen=True)
class Running:
    """A model that runs.

    Attributes:
        name: Of the file, the folder or the class.
        config: Its config, with what the caller said of inputs and outputs.
        fingerprint: SHA-256 over the canonical weights.
        library: What computes, with its version.
        runner: The twin.
    """

    name: str
    config: ViTConfig
    fingerprint: str
    library: str
    runner: Asks

    @property
    def model_fingerprint(self) -> str:
        """SHA-256 over weights and architecture."""
        return model_fingerprint(self.fingerprint, self.config)

    def outputs(self, x: Array) -> Array:
        """Logits, pooled vectors or tokens of inputs (B, C, *spatial), in float32."""
        return np.asarray(self.runner.outputs(x), np.float32)

    def features(self, x: Array, tokens: bool) -> dict[str, Array]:
        """What comes before the head.

        Args:
            x: (B, C, *spatial).
            tokens: Whether all tokens are wanted.

        Returns:
            `embedding` (B, head_in_dim), unless the model pools nothing; `tokens`
            (B, N, embed_dim) if asked for. Both float32.
        """
        every = self.runner.tokens(x)
        found = {}
        if self.config.global_pool != "none":
            pooled = self.runner.head(every, pre_logits=True)
            found["embedding"] = np.asarray(pooled, np.float32)
        if tokens:
            found["tokens"] = np.asarray(every, np.float32)
        return found

    def attention(self, x: Array) -> Iterator[Array]:
        """Attention (H, N, N) of every block, one in memory at a time.

        Args:
            x: One input (C, *spatial).
        """
        for block in range(self.config.depth):
            yield self.runner.attention(x[None], block)[0]


def load(
    source: Source | Module,
    asked: Asked,
    *,
    backend: str | None = None,
    device: str = "cpu",
) -> Running:
    """Reads a model, checks it, and makes a twin of it.

    Args:
        source: Whatever `convert` reads.
        asked: How it is to be read.
        backend: Run the Keras twin on that backend. None: the torch twin, but Keras for
            a `.keras`.
        device: Of the torch twin: `"cpu"` or `"cuda"`. Keras chooses by itself.

    Raises:
        ConversionError: If anything does not fit, with every problem.
        ConfigError: If the config describes no model.
        MissingExtraError: If the framework is not installed.
    """
    keras_file = _is_keras(source)
    in_keras = keras_file or backend is not None
    if in_keras:
        _choose(backend)
        if device != "cpu":
            raise refusal(
                f"device {device!r} is for the torch twin; Keras chooses its own",
                kind="config",
            )
    with open_source(source, asked) as reader:
        found = checked(reader)
        if in_keras:
            library, runner = _keras(found, source if keras_file else None)
        else:
            library, runner = _torch(found, device)
    return Running(
        name=origin_of(source).name,
        config=found.config,
        fingerprint=fingerprint(found.digests),
        library=library,
        runner=runner,
    )


def _is_keras(source: Any) -> bool:
    if is_module(source) or is_hub(source):
        return False
    return Path(source).suffix.lower() == ".keras"


def _torch(found: Checked, device: str) -> tuple[str, Asks]:
    torch = optional("torch", "torch")
    vit = twin("torch_vit").ViT
    from converters.conversion.pretrained import torch_model
    from converters.workers.torch_runner import TorchRunner

    if device not in ("cpu", "cuda"):
        raise refusal(f"device {device!r}; cpu or cuda", kind="config")
    if device == "cuda" and not torch.cuda.is_available():
        raise refusal("device cuda: torch finds none", kind="config")
    model = torch_model(vit, found).to(device)
    return f"torch {torch.__version__}", TorchRunner(model)


def _choose(backend: str | None) -> None:
    """Sets Keras' backend, which one process can do once.

    Raises:
        ConversionError: If there is no such backend, or Keras runs on another.
        MissingExtraError: If it is not installed.
    """
    from converters.workers.process import BACKENDS, ProcessError, chosen_backend

    loaded = sys.modules.get("keras")
    if loaded is not None and (backend is None or backend in BACKENDS):
        running = loaded.backend.backend()
        if backend not in (None, running):
            raise refusal(
                f"Keras runs on {running} in this process; backend {backend!r} needs "
                f"one of its own, with KERAS_BACKEND={backend}",
                kind="config",
            )
        return
    try:
        os.environ["KERAS_BACKEND"] = chosen_backend(backend)
    except ProcessError as error:
        raise refusal(str(error), kind="config") from None


def _keras(found: Checked, path: Any) -> tuple[str, Asks]:
    keras_vit = twin("keras_vit")
    import keras

    from converters.conversion.pretrained import keras_model
    from converters.workers.keras_runner import KerasRunner

    if path is None:
        model = keras_model(keras_vit.ViT, found)
    else:
        model = keras_vit.load_model(path)
    backend = keras.backend.backend()
    library = f"keras {keras.__version__} on {backend} {_version(backend)}"
    return library, KerasRunner(model)


def _version(backend: str) -> str:
    from importlib.metadata import version

    return version(backend)
