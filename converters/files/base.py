"""What every reader offers, and how a file is recognised before it is opened."""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, Self

from converters.errors import printable, refusal
from converters.mapping.pipe import Array, TensorInfo
from converters.mapping.table import Plan
from vit_config import ViTConfig

FORMATS = {
    ".safetensors": "safetensors",
    ".keras": "keras",
    ".weights.h5": "weights.h5",
}
"""Format by suffix of the file's name."""

_SIGNATURES = (
    (
        b"version https://git-lfs",
        "a Git LFS pointer, not the file itself; git lfs pull",
    ),
    (b"PK\x03\x04", "a zip archive"),
    (b"PK\x05\x06", "an empty zip archive"),
    (b"\x89HDF\r\n\x1a\n", "an HDF5 file"),
    *((bytes([0x80, protocol]), "a Python pickle") for protocol in range(2, 6)),
    (b"\x1f\x8b", "a gzip archive, to be unpacked first"),
    (b"GGUF", "a GGUF file"),
)


@dataclass(frozen=True, slots=True)
class Raw:
    """A Keras model that takes images or volumes as they are: `keras_vit.Pipeline`.

    Attributes:
        white: What white is in float images, 1.0 or 255.0; None: only uint8 is taken.
    """

    white: float | None = None


class Reader(Protocol):
    """An open file of weights.

    Attributes:
        path: Where it is.
        format: A value of `FORMATS`.
        dialect: How the tensors are named.
        steps: One-way steps that reading implies, for example a dropped optimizer.
    """

    path: Path
    format: str
    dialect: str
    steps: tuple[str, ...]

    @property
    def config(self) -> ViTConfig:
        """Config of the model, from the file or from the caller."""

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Every tensor of the file, under its name in the dialect."""

    def read(self, name: str) -> Array:
        """The values of one tensor."""

    def plan(self) -> Plan:
        """From the file's names to the canonical ones."""

    def close(self) -> None:
        """Lets the file go."""

    def __enter__(self) -> Self:
        """The reader itself."""

    def __exit__(self, *error: object) -> None:
        """Closes."""


TORCH = (".pth", ".pt", ".bin", ".ckpt", ".pth.tar", ".pt2")
"""Suffixes of torch's files; under others they are known by what is in them."""

READ_ONLY = (*TORCH, ".npz", ".msgpack", ".index.json")
"""Suffixes of what other libraries save, which is read and not written."""


def format_of(path: Path, to_read: bool = False) -> str:
    """The format that the name of a file says.

    Args:
        path: The file.
        to_read: Whether it is a source: what is only read is listed, too, then.

    Raises:
        ConversionError: For a suffix this package does not know.
    """
    for suffix, name in FORMATS.items():
        if path.name.endswith(suffix) and path.name != suffix:
            return name
    known = (*FORMATS, *READ_ONLY) if to_read else FORMATS
    torchs = not to_read and path.name.endswith(TORCH)
    raise refusal(
        f'unknown suffix "{printable("".join(path.suffixes[-2:]))}"; known are '
        + ", ".join(known),
        file=path,
        hint="For torch write .safetensors; safetensors.torch.load_file reads it."
        if torchs
        else "",
    )


def check_input(path: Path, kind: str) -> None:
    """Refuses what is not a regular file, and says what it is instead.

    Raises:
        ConversionError: With what was found.
    """
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        raise refusal("no such file", file=path) from None
    except OSError as error:
        raise refusal(f"cannot be read: {error.strerror}", file=path) from None
    if not stat.S_ISREG(mode):
        raise refusal(f"{_kind(mode)}, not a file", file=path)
    try:
        with path.open("rb") as file:
            head = file.read(512)
            size = os.fstat(file.fileno()).st_size
    except OSError as error:
        raise refusal(f"cannot be read: {error.strerror}", file=path) from None
    if size == 0:
        raise refusal("the file is empty", file=path)
    found = what_is(head)
    wanted = {
        "keras": "a zip archive",
        "npz": "a zip archive",
        "weights.h5": "an HDF5 file",
    }.get(kind, "")
    if found != wanted:
        noun = {"keras": "a .keras archive", "weights.h5": "an HDF5 file"}.get(
            kind, kind
        )
        if found:
            raise refusal(f"{found}, no matter what its name says", file=path)
        raise refusal(f"not {noun}: does not begin like one", file=path)


def what_is(head: bytes) -> str:
    """Names the kind of a file that begins with these bytes, if it is a known one."""
    if head[6:9] == b"\0\0{":  # safetensors: the header's length may look like any
        return ""
    for signature, name in _SIGNATURES:
        if head.startswith(signature):
            return name
    if head[257:262] == b"ustar":
        return "a tar archive, to be unpacked first"
    text = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    if text.startswith((b"<!doctype html", b"<html", b"<?xml")):
        return "a web page (an error page of a download?)"
    return ""


def _kind(mode: int) -> str:
    if stat.S_ISDIR(mode):
        return "a folder"
    if stat.S_ISFIFO(mode):
        return "a pipe"
    if stat.S_ISSOCK(mode):
        return "a socket"
    return "a device"


def merge_configs(
    path: Path, own: ViTConfig | None, given: ViTConfig | None
) -> ViTConfig:
    """The config to read a file with: its own, or the caller's, never both at odds.

    Raises:
        ConversionError: If there is none, or if the two describe different models.
    """
    from converters.errors import ConversionError, Issue
    from converters.wording import Blank, options

    if own is None and given is None:
        raise refusal(
            "the file does not say which model it is",
            file=path,
            hint=f"Give its config: {options(config=Blank('FILE'))}.",
            kind="config",
        )
    if own is None or given is None:
        return own or given  # type: ignore[return-value]
    mine, yours = own.architecture(), given.architecture()
    if mine["problem_type"] is None:  # what outputs mean may be said later
        del mine["problem_type"]
    issues = [
        Issue("config", field, f"{mine[field]!r}", f"{yours[field]!r}")
        for field in mine
        if mine[field] != yours[field]
    ]
    if issues:
        raise ConversionError(
            issues,
            file=path,
            hint="Found: the config inside the file. Expected: the one given. "
            "Leave the latter out to use the file's own.",
        )
    return given
