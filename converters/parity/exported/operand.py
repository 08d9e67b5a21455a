"""What can be verified by its outputs alone: opened, and what it says of itself."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.errors import ConversionError, Issue, printable, refusal
from converters.parity.identity import identity_of
from converters.parity.operands import Opened
from converters.parity.record import Operand
from converters.runtimes.known import NAMES, facts_in, kind_of
from converters.serving.client import RestModel, is_url
from converters.workers.process import require
from converters.workers.raw import states
from vit_config import ConfigError, ViTConfig


@dataclass(frozen=True)
class Exported:
    """An operand that can only be asked.

    Attributes:
        operand: What the record says of it.
        kind: The artifact's format, or `"rest"`.
        format: The artifact's format, of a served model as it says itself; or `"rest"`.
        place: The file or folder; the served model.
        label: What to call it as a subject.
        config: Its config, if it states one.
        raw: What it takes as it is, and prepares itself: `"pictures"` as files,
            `"volumes"` as voxels, or nothing.
    """

    operand: Operand
    kind: str
    format: str
    place: Path | RestModel
    label: str
    config: ViTConfig | None
    raw: str


_RAW = {
    ("image_bytes",): "pictures",
    ("dtype", "shape", "volume_bytes"): "volumes",
}


def is_exported(source: Any) -> bool:
    """Whether something is an exported artifact or the URL of a served model."""
    if is_url(source):
        return True
    return isinstance(source, str | Path) and bool(kind_of(Path(source)))


def open_exported(source: str | Path) -> Exported:
    """Opens B, and reads what it says of itself.

    Raises:
        ConversionError: If it cannot be read or reached.
        MissingExtraError: If what reads it is not installed.
    """
    try:
        if isinstance(source, str) and is_url(source):
            served = RestModel(source)
            takes = served.signatures.get("serve_bytes", {}).get("inputs", {})
            return _exported(served, "rest", "B, REST", served.facts, takes)
        return _opened(Path(source))
    except ConversionError as error:
        raise ConversionError(
            error.issues,
            file=f"B: {printable(error.file)}" if error.file else "B",
            hint=error.hint,
        ) from None


def _opened(path: Path) -> Exported:
    kind = kind_of(path)
    if kind == "onnx":
        require({"onnx": "onnx"})
    try:
        facts = facts_in(path, kind)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise refusal(f"cannot be read: {reason}", file=path) from None
    takes = [
        takes["name"]
        for one in facts.get("signatures", [])
        if one["name"] == "serve_bytes"
        for takes in one["inputs"]
    ]
    return _exported(path, kind, f"B, {NAMES[kind]}", facts, takes)


def _exported(
    place: Path | RestModel,
    kind: str,
    label: str,
    facts: Mapping[str, Any],
    takes: Iterable[str],
) -> Exported:
    config = None
    raw = _RAW.get(tuple(sorted(takes)), "")
    if "config" in facts:
        try:
            config = ViTConfig.from_dict(facts["config"])
        except ConfigError as error:
            text = f"states a config that describes no model: {error}"
            raise refusal(text) from None
    operand = Operand(
        role="B",
        format="torch.export" if kind == "torch" else kind,
        dialect="",
        **identity_of(config, str(facts.get("fingerprint", ""))),
        tensors=0,
        parameters=0,
        dtype=str(facts.get("dtype", "")),
    )
    if raw == "volumes" and config is not None and not states(config):
        raw = ""  # the voxels are those of prepared volumes
    runs = str(facts.get("format", kind))
    return Exported(operand, kind, runs, place, label, config, raw)


def check_takes(a: ViTConfig, b: Exported) -> None:
    """Whether a served model that states no config takes what A takes.

    Raises:
        ConversionError: If its metadata says that it does not.
    """
    if b.config is not None or not isinstance(b.place, RestModel):
        return
    takes = b.place.input_shape[1:]
    first, last = (a.in_chans, *a.img_size), (*a.img_size, a.in_chans)
    if takes and not any(
        all(n in (-1, m) for n, m in zip(takes, shape, strict=False))
        and len(takes) == len(shape)
        for shape in (first, last)
    ):
        issue = Issue("config", "inputs", f"takes {takes}", f"{last}")
        raise ConversionError([issue], file="B, against A")


def prepared_by(a: Opened, b: Exported) -> ViTConfig | None:
    """Whose preprocessing B is held to, if it prepares pictures or volumes itself."""
    if b.raw != ("pictures" if a.config.spatial_dims == 2 else "volumes"):
        return None
    for config in (a.config, b.config):
        if config is not None and states(config):
            return config
    return None
