"""The canonical file: safetensors with canonical names and the config in its header."""

from __future__ import annotations

import json
import math
import os
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from converters.errors import ConversionError, printable, refusal
from converters.files.base import check_input, merge_configs
from converters.mapping.pipe import Array, Source, TensorInfo, np_dtype
from converters.mapping.table import CANONICAL, Plan
from converters.version import producer
from vit_config import SCHEMA_VERSION, ViTConfig
from vit_config.strict_json import JsonError, canonical, strict_object

# Type codes and their bits.
CODES = {
    "BOOL": ("bool", 8),
    "U8": ("uint8", 8),
    "I8": ("int8", 8),
    "I16": ("int16", 16),
    "U16": ("uint16", 16),
    "F16": ("float16", 16),
    "BF16": ("bfloat16", 16),
    "I32": ("int32", 32),
    "U32": ("uint32", 32),
    "F32": ("float32", 32),
    "I64": ("int64", 64),
    "U64": ("uint64", 64),
    "F64": ("float64", 64),
    "C64": ("complex64", 64),
    "F8_E4M3": ("float8_e4m3", 8),
    "F8_E5M2": ("float8_e5m2", 8),
    "F8_E8M0": ("float8_e8m0", 8),
    "F6_E2M3": ("float6_e2m3", 6),
    "F6_E3M2": ("float6_e3m2", 6),
    "F4": ("float4", 4),
}
_CODE_OF = {name: code for code, (name, _) in CODES.items()}

MAX_HEADER = 100_000_000
MAX_TENSORS = 20_000
MAX_RANK = 8
MAX_NAME = 512
_LENGTH = 8  # bytes of the header's length
METADATA_KEY = "vit_duet"


class SafetensorsReader:
    """Reads a canonical `.safetensors`, one tensor at a time.

    The header is checked here, for all that the format asks and for what the
    `safetensors` library lets pass: a name that stands twice, white space before the
    header, names that are empty or hold control characters or `..`, absurd counts.
    Values are read, not mapped: a file cut short while it is mapped kills the process.

    Args:
        path: The file.
        config: Its config, if the header has none.

    Raises:
        ConversionError: If it is not such a file.
    """

    format = "safetensors"
    dialect = "canonical"
    steps: tuple[str, ...] = ()

    def __init__(self, path: Path, config: ViTConfig | None = None) -> None:
        self.path = path
        self._given = config
        check_input(path, "safetensors")
        self._file = path.open("rb")
        try:
            header, self._start = read_header(self._file, path)
            self.metadata = _metadata(header, path)
            self._offsets, self.tensors = _layout(
                header, os.fstat(self._file.fileno()).st_size - self._start, path
            )
            self.own_config = config_in(self.metadata, path)
            self.own_dialect = dialect_in(self.metadata)
        except BaseException:
            self._file.close()
            raise

    @property
    def config(self) -> ViTConfig:
        """Config of the model, from the header or from the caller."""
        return merge_configs(self.path, self.own_config, self._given)

    def read(self, name: str) -> Array:
        """The values of one tensor."""
        info = self.tensors[name]
        raw = np.empty(info.nbytes, np.uint8)
        self._file.seek(self._start + self._offsets[name])
        if self._file.readinto(raw.data) != info.nbytes:
            raise refusal("the file was cut short while it was read", file=self.path)
        return raw.view(np_dtype(info.dtype)).reshape(info.shape)

    def plan(self) -> Plan:
        """From canonical names to canonical names."""
        return CANONICAL.plan(self.config)

    def close(self) -> None:
        """Lets the file go."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def read_header(file: BinaryIO, path: Path) -> tuple[dict[str, Any], int]:
    """The header as it stands, and where the values begin.

    Raises:
        ConversionError: If this is not the beginning of a safetensors file.
    """
    size = os.fstat(file.fileno()).st_size
    length = int.from_bytes(file.read(_LENGTH), "little")
    if size < _LENGTH or length > MAX_HEADER:
        raise refusal("not safetensors: the header's length makes no sense", file=path)
    if length > size - _LENGTH:
        raise refusal(
            f"cut short: the header alone has {length} bytes, the file {size}",
            file=path,
        )
    text = file.read(length)
    if not text.startswith(b"{"):
        raise refusal("not safetensors: the header does not begin with {", file=path)
    try:
        return strict_object(text.rstrip(b" ")), _LENGTH + length
    except JsonError as error:
        raise refusal(f"the header is {printable(error, 200)}", file=path) from None


def _metadata(header: dict[str, Any], path: Path) -> dict[str, str]:
    metadata = header.pop("__metadata__", {})
    texts = isinstance(metadata, dict) and all(
        isinstance(value, str) for value in metadata.values()
    )
    if not texts:
        raise refusal("__metadata__ must map texts to texts", file=path)
    return dict(metadata)


def _layout(
    header: dict[str, Any], size: int, path: Path
) -> tuple[dict[str, int], dict[str, TensorInfo]]:
    if not header:
        raise refusal("there are no tensors in it", file=path)
    if len(header) > MAX_TENSORS:
        raise refusal(
            f"{len(header)} tensors; at most {MAX_TENSORS} are read", file=path
        )
    spans = []
    tensors = {}
    for name, entry in header.items():
        problem = name_problem(name)
        if problem:
            raise refusal(f'tensor "{printable(name)}": {problem}', file=path)
        try:
            begin, end, info = _entry(entry)
        except (KeyError, TypeError, ValueError) as error:
            raise refusal(f'tensor "{printable(name)}": {error}', file=path) from None
        spans.append((begin, end, name))
        tensors[name] = info
    position = 0
    for begin, end, name in sorted(spans):
        if begin != position:
            what = "overlaps the one before" if begin < position else "follows a hole"
            raise refusal(f'tensor "{printable(name)}" {what}', file=path)
        position = end
    if position > size:
        raise refusal(
            f"cut short: {position} bytes of values are announced, {size} are there; "
            "an incomplete download?",
            file=path,
        )
    if position < size:
        raise refusal(f"{size - position} bytes after the last tensor", file=path)
    return {name: begin for begin, _, name in spans}, tensors


def name_problem(name: str) -> str:
    """Why this cannot be the name of a tensor, or an empty text."""
    if not name:
        return "an empty name"
    if len(name) > MAX_NAME:
        return f"a name of {len(name)} characters"
    if not name.isprintable():
        return "control characters in the name"
    if ".." in name or name.startswith(("/", "\\")):
        return "a path, not a name"
    return ""


def _entry(entry: Any) -> tuple[int, int, TensorInfo]:
    if not isinstance(entry, dict):
        raise TypeError("not an object")
    if set(entry) != {"dtype", "shape", "data_offsets"}:
        raise ValueError(f"fields {printable(sorted(entry))}")
    code, shape, offsets = entry["dtype"], entry["shape"], entry["data_offsets"]
    if not isinstance(code, str) or code not in CODES:
        raise ValueError(f"unknown type {printable(code)}")
    for what, numbers in (("shape", shape), ("data_offsets", offsets)):
        if not isinstance(numbers, list) or not all(_natural(n) for n in numbers):
            raise ValueError(f"{what} is not a list of natural numbers")
    if len(shape) > MAX_RANK:
        raise ValueError(f"{len(shape)} axes; at most {MAX_RANK} are read")
    if len(offsets) != 2 or offsets[0] > offsets[1]:
        raise ValueError(f"data_offsets {printable(offsets)}")
    name, bits = CODES[code]
    if math.prod(shape) * bits != (offsets[1] - offsets[0]) * 8:
        raise ValueError(f"shape {tuple(shape)} of {code} is not {offsets} bytes")
    return offsets[0], offsets[1], TensorInfo(name, tuple(shape))


def _natural(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63


def config_in(metadata: dict[str, str], path: Path) -> ViTConfig | None:
    """The config that this library put into a header, or None.

    Raises:
        ConversionError: If it is there and cannot be read.
    """
    text = metadata.get(METADATA_KEY)
    if text is None:
        return None
    try:
        value = strict_object(text)
    except JsonError as error:
        raise refusal(f"metadata {METADATA_KEY!r}: {error}", file=path) from None
    version = value.get("schema_version")
    if not _natural(version) or version > SCHEMA_VERSION:  # type: ignore[operator]
        raise refusal(
            f"metadata {METADATA_KEY!r} has schema_version {printable(version)}; this "
            f"version reads up to {SCHEMA_VERSION}",
            file=path,
            hint="Written by a newer vit-duet? Please upgrade.",
        )
    config = value.get("config")
    if not isinstance(config, dict):
        raise refusal(f"metadata {METADATA_KEY!r} has no config", file=path)
    return ViTConfig.from_dict(config)


def dialect_in(metadata: dict[str, str]) -> str:
    """The dialect that the header of a file of this library states, if it does."""
    try:
        dialect = strict_object(metadata.get(METADATA_KEY, "{}")).get("dialect", "")
    except JsonError:
        return ""
    return dialect if isinstance(dialect, str) else ""


def write_safetensors(
    path: Path, source: Source, config: ViTConfig, dialect: str = ""
) -> None:
    """Writes tensors, sorted by name, the config in the header.

    Same tensors, config and version: the same bytes. One tensor is in memory at a
    time, and only contiguous ones are written.

    Args:
        path: A new file.
        source: Canonical tensors, or those of a dialect.
        config: Their config.
        dialect: Variant of the dialect whose names the tensors have.
    """
    about = {
        "schema_version": SCHEMA_VERSION,
        "config": config.to_dict(),
        "producer": producer(),
    }
    if dialect:
        about["dialect"] = dialect
    header: dict[str, Any] = {
        "__metadata__": {"format": "pt", METADATA_KEY: canonical(about)}
    }
    position = 0
    for name in sorted(source.tensors):
        info = source.tensors[name]
        end = position + info.nbytes
        header[name] = {
            "dtype": _CODE_OF[info.dtype],
            "shape": list(info.shape),
            "data_offsets": [position, end],
        }
        position = end
    text = json.dumps(header, separators=(",", ":"), ensure_ascii=False).encode()
    text += b" " * (-len(text) % _LENGTH)
    with path.open("wb") as file:
        file.write(len(text).to_bytes(_LENGTH, "little"))
        file.write(text)
        for name in sorted(source.tensors):
            array = np.ascontiguousarray(source.read(name))
            info = source.tensors[name]
            if (str(array.dtype), array.shape) != (info.dtype, info.shape):
                raise ConversionError([], file=path, hint=f"{name}: changed while read")
            file.write(array.reshape(-1).view(np.uint8).data)


def open_as_library(path: Path, source: Source) -> None:
    """Has the `safetensors` library read a header: a second opinion on our own file.

    Raises:
        ConversionError: If it sees other tensors than were written.
    """
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(path, framework="numpy") as file:
            found = {}
            for name in file.keys():  # noqa: SIM118  (no mapping)
                part = file.get_slice(name)
                code = CODES[part.get_dtype()][0]
                found[name] = TensorInfo(code, tuple(part.get_shape()))
    except SafetensorError as error:
        raise refusal(
            f"the safetensors library refuses it: {error}", file=path
        ) from None
    if found != dict(source.tensors):
        raise refusal("the safetensors library reads other tensors", file=path)
