"""What can be verified: anything that `convert` reads, opened once and hashed."""

from __future__ import annotations

from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from converters.checks.source import Checked, checked
from converters.conversion.verification import RUNNABLE
from converters.errors import ConversionError, printable
from converters.extras import twin
from converters.files import write
from converters.files.base import Raw, Reader
from converters.mapping.pipe import fingerprint
from converters.parity.identity import identity_of
from converters.parity.record import Operand
from converters.sources.door import open_source
from converters.sources.live import is_module, unwrapped
from converters.sources.request import Asked
from converters.twins.live import check_twin, framework_of, is_pipeline, is_twin
from vit_config import ViTConfig


@dataclass(frozen=True)
class Opened:
    """An operand whose tensors can be read.

    Attributes:
        operand: What the record says of it.
        found: Its canonical tensors, config and hashes.
        origin: The file, folder, hub id or live model that it came from.
        asked: How the caller wants it to be read.
        keras: The file if Keras itself loads it, else None.
        raw: What it takes, if it is a Keras model with its preprocessing inside.
        live: The object itself, if it is a live twin.
    """

    operand: Operand
    found: Checked
    origin: Any
    asked: Asked
    keras: Path | None
    raw: Raw | None = None
    live: Any = None

    @property
    def config(self) -> ViTConfig:
        """Its config."""
        return self.found.config

    def canonical(self, folder: Path) -> Path:
        """A file that the torch twin loads: canonical tensors with their config."""
        path = folder / f"{self.operand.role}.safetensors"
        if not path.exists():
            write(path, "safetensors", self.found.source, self.config)
        return path

    def for_keras(self, folder: Path) -> Path:
        """A file that Keras loads: its own, or one made of its tensors."""
        if self.keras is not None:
            return self.keras
        path = folder / f"{self.operand.role}.keras"
        if not path.exists():
            write(path, "keras", self.found.source, self.config)
        return path


def open_operand(
    role: Literal["A", "B"],
    source: Any,
    asked: Asked,
    folder: Path,
    stack: ExitStack,
    gradients: bool = False,
) -> Opened:
    """Opens and hashes one of the two models.

    Args:
        role: `"A"` or `"B"`.
        source: A file, folder or hub id, or a live model: of timm, transformers,
            torchvision or MONAI, or one of the twins.
        asked: What the caller says of A; of B only where it does not say it itself.
        folder: A folder for what has to be written.
        stack: What closes the file again.
        gradients: Whether gradients are compared, which a live twin shall have as its
            copy has.

    Raises:
        ConversionError: If it cannot be read, is incomplete, or not understood, or if a
            live twin is not what its config says; the message says which of the two it
            is.
        ConfigError: If its config describes no model.
    """
    source = unwrapped(source)
    live = is_module(source) or is_twin(source)
    path = source
    if is_twin(source):
        name = f"{role}: {type(source).__name__}"
        check_twin(source, name=name, gradients=gradients)
        path = _saved_twin(role, source, folder)
    try:
        reader = stack.enter_context(_open(path, asked, certain=role == "A"))
        found = checked(reader)
    except ConversionError as error:
        raise ConversionError(
            error.issues,
            file=f"{role}: {printable(error.file)}" if error.file else role,
            dialect=error.dialect,
            causes=error.causes,
            hint=error.hint,
        ) from None
    keras = None
    if reader.format in RUNNABLE and not is_module(path):
        keras = Path(path)
    return Opened(
        operand=Operand(
            role=role,
            format="module" if live else reader.format,
            dialect=reader.dialect,
            **identity_of(found.config, fingerprint(found.digests)),
            tensors=len(found.digests),
            parameters=found.parameters,
            dtype=found.dtype,
        ),
        found=found,
        origin=source,
        asked=asked,
        keras=keras,
        raw=None if keras is None else getattr(reader, "raw", None),
        live=source if is_twin(source) else None,
    )


def _open(path: Any, asked: Asked, certain: bool) -> Reader:
    """What the caller says is about A, and about B only if B does not say it itself."""
    if certain or asked == Asked():
        return open_source(path, asked)
    try:
        return open_source(path, Asked())
    except ConversionError:
        return open_source(path, asked)


def _saved_twin(role: str, model: Any, folder: Path) -> Path:
    """A twin's weights and config in a file, for the processes that run its copies."""
    kind = framework_of(model)
    twin(f"{kind}_vit")
    path = folder / f"live-{role}.{'safetensors' if kind == 'torch' else 'keras'}"
    if not is_pipeline(model):
        model.save_pretrained(path)
    elif kind == "torch":
        model.vit.save_pretrained(path)
    else:
        model.save(path, include_optimizer=False)
    return path
