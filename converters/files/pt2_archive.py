"""`torch.export`'s archives (`.pt2`): their weights, not their graph.

Three layouts: since torch 2.9 a file of bytes for each storage and a JSON that says
which tensor lies where in it; in 2.8 and before the state dict as `torch.save` writes
it, in the archive of torch's own or, up to 2.7, in a plain zip.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, BinaryIO

from converters.errors import printable, refusal
from converters.files.checkpoint import Checkpoint, checked_tensors
from converters.files.pickled_tensor import PickledTensor, Storage
from converters.files.zip_archive import ZipArchive
from vit_config.strict_json import JsonError, strict_object

_FORMAT, _VALUE = "archive_format", b"pt2"
_WEIGHTS, _CONFIG = "data/weights/", "_weights_config.json"
_PLAIN = ("serialized_state_dict.pt", "serialized_state_dict.json")
PT2_MARKS = (_FORMAT, *_PLAIN)
"""Names of entries that such an archive has."""

_MAX_JSON = 64 << 20
_TYPES = {
    # numbers of torch._export.serde.schema.ScalarType
    **{1: "uint8", 2: "int8", 3: "int16", 4: "int32", 5: "int64", 6: "float16"},
    **{7: "float32", 8: "float64", 9: "complex32", 10: "complex64"},
    **{11: "complex128", 12: "bool", 13: "bfloat16", 28: "uint16"},
    **{29: "float8_e4m3fn", 30: "float8_e5m2", 31: "float8_e4m3fnuz"},
    **{32: "float8_e5m2fnuz", 33: "float8_e8m0fnu", 34: "uint32", 35: "uint64"},
}
_STRIDED = 7
_COMPILED = "data/aotinductor/"

Inner = Callable[[BinaryIO], Checkpoint]
"""Reads a file that `torch.save` wrote, in a part of the archive."""


def is_pt2(archive: ZipArchive) -> bool:
    """Whether `torch.export.save`, or a compiler after it, wrote an archive."""
    return _plain(archive) is not None or _root(archive) is not None


def _plain(archive: ZipArchive) -> str | None:
    return next((name for name in _PLAIN if name in archive.members), None)


def _root(archive: ZipArchive) -> str | None:
    for name in archive.members:
        head, _, last = name.rpartition("/")
        if last != _FORMAT or "/" in head:
            continue
        if archive.read(name, 64).strip() == _VALUE:
            return name.removesuffix(_FORMAT)
    return None


def tensors_of_pt2(archive: ZipArchive, inner: Inner) -> Checkpoint:
    """The parameters and buffers of a program under their dotted names.

    Args:
        archive: The archive.
        inner: Reads a state dict in it.

    Raises:
        ConversionError: If there are none, or if they are damaged.
    """
    plain = _plain(archive)
    if plain is not None:
        return inner(archive.extent(plain).window())
    start = f"{_root(archive)}{_WEIGHTS}"
    found: dict[str, Checkpoint] = {}
    for name in archive.members:
        last = name.removeprefix(start)
        if not name.startswith(start) or "/" in last:
            continue
        if last.endswith(_CONFIG):
            fields = _json(archive, name)
            found[last.removesuffix(_CONFIG)] = _by_config(archive, start, fields)
        elif last.endswith(".pt"):
            found[last.removesuffix(".pt")] = inner(archive.extent(name).window())
    if not found:
        compiled = any(_COMPILED in name for name in archive.members)
        raise refusal(
            "a compiled program (AOTInductor): its weights are not in it by name"
            if compiled
            else "there are no weights in it",
            file=archive.path,
            hint="torch.export.save(program, path) keeps them.",
        )
    if len(found) == 1:
        return next(iter(found.values()))
    return Checkpoint(
        {
            f"{model}.{name}": tensor
            for model, part in found.items()
            for name, tensor in part.tensors.items()
        }
    )


def _json(archive: ZipArchive, name: str) -> Mapping[str, Any]:
    try:
        fields = strict_object(archive.read(name, _MAX_JSON)).get("config")
    except JsonError as error:
        text = f'entry "{printable(name)}": {printable(error, 120)}'
        raise refusal(text, file=archive.path) from None
    if not isinstance(fields, dict):
        text = f'entry "{printable(name)}" says nothing of weights'
        raise refusal(text, file=archive.path)
    return fields


def _by_config(
    archive: ZipArchive, start: str, fields: Mapping[str, Any]
) -> Checkpoint:
    tensors: dict[str, PickledTensor] = {}
    storages: dict[str, Storage] = {}
    order = f"{_root(archive)}byteorder"
    swapped = order in archive.members and archive.read(order, 64) == b"big"
    for name, entry in fields.items():
        try:
            file, meta = entry["path_name"], entry["tensor_meta"]
            if entry["use_pickle"]:
                tensors[name] = PickledTensor(problem="a tensor of a class of its own")
                continue
            kind = _TYPES.get(meta["dtype"], "unknown")
            shape, stride = _ints(meta["sizes"]), _ints(meta["strides"])
            (offset,) = _ints([meta["storage_offset"]])
            strided = meta["layout"] == _STRIDED
        except (KeyError, TypeError, ValueError, AttributeError):
            text = f'"{printable(name)}": its description makes no sense'
            raise refusal(text, file=archive.path) from None
        if file not in storages:
            extent = archive.extent(start + str(file))
            storages[file] = Storage(kind, extent.size, extent, swapped=swapped)
        problem = "" if strided else "a sparse tensor"
        if len(shape) != len(stride) or min(shape, default=0) < 0:
            problem = "a tensor of two ranks"
        tensors[name] = PickledTensor(
            kind, shape, stride, offset, storages[file], swapped, problem
        )
    return Checkpoint(checked_tensors(tensors, archive.path))


def _ints(values: Any) -> tuple[int, ...]:
    """`[{"as_int": 3}, ...]` -> `(3, ...)`."""
    found = tuple(value["as_int"] for value in values)
    if not all(type(n) is int for n in found):
        raise ValueError("no whole numbers")
    return found
