"""The `.keras` archive: a zip of config, metadata and HDF5 weights; no Keras needed."""

from __future__ import annotations

import json
import stat
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

from converters.errors import ConversionError, printable, refusal
from converters.files.base import Raw, check_input, merge_configs
from converters.files.h5_file import (
    Saved,
    WeightsH5Reader,
    refuse_quantised,
    write_h5,
)
from converters.files.window import growing
from converters.files.zip_archive import Extent, member_start
from converters.mapping.pipe import Source
from converters.version import producer
from vit_config import ConfigError, ViTConfig
from vit_config.strict_json import JsonError, strict_object

REGISTERED = "vit_duet>ViT"
PIPELINE = "vit_duet>Pipeline"
KERAS_VERSION = "3.15.1"
"""The Keras release whose format is written; a constant, so that bytes are, too."""

MEMBERS = ("metadata.json", "config.json", "model.weights.h5")
MAX_JSON = 16 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)
_BLOCK = 1 << 20
_ZIP64 = zipfile.ZIP64_LIMIT - (1 << 28)  # weights from which on the sizes need 64 bits


def version_remarks(metadata: bytes | Path) -> tuple[str, ...]:
    """Whether a newer Keras than is known here wrote a file, by its metadata.json."""
    if isinstance(metadata, Path):
        with metadata.open("rb") as file:
            metadata = file.read(MAX_JSON)
    try:
        written = str(strict_object(metadata).get("keras_version", ""))
    except JsonError:
        return ()
    release, known = (
        tuple(int(part) for part in version.split(".")[:2] if part.isdecimal())
        for version in (written, KERAS_VERSION)
    )
    if release <= known:
        return ()
    return (
        f"Keras {printable(written)} wrote it; the newest known is {KERAS_VERSION}",
    )


class KerasReader(WeightsH5Reader):
    """Reads a `.keras` that holds one `keras_vit.ViT`, or a `Pipeline` around it.

    Only the three members that Keras writes, uncompressed as Keras stores them, are
    read: no traversal, no duplicates, no encryption, nothing to inflate. The weights
    are read where they lie. All is held to the archive's checksums; the weights, where
    digests of them all are saved, to these, which takes no second pass.

    Args:
        path: The file.
        config: Must agree with the file's own, if it is given.

    Raises:
        ConversionError: If it is not such a file.
    """

    format = "keras"

    def __init__(self, path: Path, config: ViTConfig | None = None) -> None:
        check_input(path, "keras")
        self._file = path.open("rb")
        try:
            members = read_members(self._file, path)
            metadata = _read(self._file, members["metadata.json"], path)
            self.remarks = version_remarks(metadata)
            text = _read(self._file, members["config.json"], path)
            own, raw = model_of(text, path)
            weights = _extent(self._file, members["model.weights.h5"], path)
            self.own_config = own
            merged = merge_configs(path, own, config)
            with _blamed(weights):
                super().__init__(path, merged, file=weights.window(), raw=raw)
                if not self.all_digests:
                    weights.check()
        except BaseException:
            self._file.close()
            raise

    def close(self) -> None:
        """Lets the file go."""
        super().close()
        self._file.close()


def read_members(file: BinaryIO, path: Path) -> dict[str, zipfile.ZipInfo]:
    """The members of the archive, by name; refuses what Keras never writes.

    Raises:
        ConversionError: With the first thing found.
    """
    try:
        infos = zipfile.ZipFile(file).infolist()
    except (zipfile.BadZipFile, OSError, ValueError, NotImplementedError) as error:
        text = printable(error, 200)
        raise refusal(f"not a whole zip archive: {text}", file=path) from None
    members: dict[str, zipfile.ZipInfo] = {}
    for info in infos:
        name = f'member "{printable(info.filename)}"'
        if info.filename == "assets/" and info.file_size == 0:
            continue
        if info.filename in members:
            raise refusal(f"{name} stands twice", file=path)
        if info.filename not in MEMBERS:
            raise refusal(f"{name}: not part of a saved ViT", file=path)
        if info.flag_bits & 1:
            raise refusal(f"{name} is encrypted", file=path)
        if stat.S_ISLNK(info.external_attr >> 16):
            raise refusal(f"{name} is a link", file=path)
        if info.compress_type != zipfile.ZIP_STORED:
            raise refusal(f"{name} is compressed, which Keras never does", file=path)
        if info.compress_size != info.file_size:
            raise refusal(f"{name} announces two sizes", file=path)
        members[info.filename] = info
    absent = [name for name in MEMBERS if name not in members]
    if absent:
        raise refusal(f"not a .keras file: {', '.join(absent)} missing", file=path)
    return members


def _extent(file: BinaryIO, info: zipfile.ZipInfo, path: Path) -> Extent:
    """Where a stored member's bytes are: behind its local header."""
    start = member_start(file, info)
    if start is None:
        raise refusal(f"member {info.filename} is not where it should be", file=path)
    if start + info.file_size > path.stat().st_size:
        raise refusal(f"cut short in member {info.filename}", file=path)
    what = f"member {info.filename}"
    return Extent(file, start, info.file_size, what=what, path=path, crc=info.CRC)


@contextmanager
def _blamed(weights: Extent) -> Iterator[None]:
    """Where the weights make no sense, says that they are damaged if they are."""
    try:
        yield
    except (ConversionError, ConfigError):
        weights.check()
        raise


def _read(file: BinaryIO, info: zipfile.ZipInfo, path: Path) -> bytes:
    if info.file_size > MAX_JSON:
        raise refusal(f"{info.filename} has {info.file_size} bytes", file=path)
    return _extent(file, info, path).read()


def model_of(text: bytes, path: Path) -> tuple[ViTConfig, Raw | None]:
    """The model in a `config.json` of Keras, and what a pipeline around it takes.

    Raises:
        ConversionError: If that is another model, or a quantised one.
    """
    try:
        saved = strict_object(text)
    except JsonError as error:
        raise refusal(f"config.json: {printable(error, 200)}", file=path) from None
    name = saved.get("registered_name") or saved.get("class_name")
    fields, raw = saved.get("config"), None
    if name == PIPELINE and isinstance(fields, dict):
        raw, fields = _raw_of(fields, path), fields.get("vit")
    elif name != REGISTERED:
        raise refusal(
            f'its model is a "{printable(name)}"; only a plain {REGISTERED} is read, '
            f"or a {PIPELINE} around it",
            file=path,
            hint="Save the ViT inside it on its own: vit.save_pretrained(...).",
        )
    config = fields.get("config") if isinstance(fields, dict) else None
    if not isinstance(fields, dict) or not isinstance(config, dict):
        raise refusal("config.json holds no ViT config", file=path)
    if "Quantized" in json.dumps([fields.get("dtype"), fields.get("quantized")]):
        raise refuse_quantised(path, "by Keras")
    return ViTConfig.from_dict(config), raw


def _raw_of(fields: dict[str, Any], path: Path) -> Raw:
    white = fields.get("white")
    if white not in (None, 1.0, 255.0):
        text = f"config.json: white is {printable(white)}, and not 1 or 255"
        raise refusal(text, file=path)
    return Raw(white)


def keras_config(
    config: ViTConfig, dtype: str, raw: Raw | None = None
) -> dict[str, Any]:
    """What `keras.Model.save` puts into `config.json` for a fresh model.

    The policy is the type of the weights: `"bfloat16"` and not `"mixed_bfloat16"`,
    whose weights are float32. A model that computes in bfloat16 and keeps float32
    weights is a choice made when loading (`keras_vit.load_model(..., dtype=...)`).

    Args:
        config: Config of the `keras_vit.ViT`.
        dtype: Type of its weights.
        raw: What a `keras_vit.Pipeline` takes that is to be around it.
    """
    policy = {
        "module": "keras",
        "class_name": "DTypePolicy",
        "config": {"name": dtype},
        "registered_name": None,
    }
    vit = {
        "config": config.to_dict(),
        "name": "vit",
        "trainable": True,
        "frozen": [],
        "quantized": {},
        "dtype": policy,
    }
    if raw is not None:
        return {
            "module": "keras_vit.pipeline",
            "class_name": "Pipeline",
            "config": {
                "vit": vit,
                "white": raw.white,
                "name": "pipeline",
                "trainable": True,
            },
            "registered_name": PIPELINE,
            "compile_config": {},
        }
    return {
        "module": "keras_vit.vit",
        "class_name": "ViT",
        "config": vit,
        "registered_name": REGISTERED,
        "build_config": {"input_shape": [None, *config.img_size, config.in_chans]},
        "compile_config": {},
    }


def write_keras(
    path: Path, source: Source, config: ViTConfig, raw: Raw | None = None
) -> Saved:
    """Writes a `.keras` that `keras.models.load_model` loads in one line.

    Same tensors, config and version: the same bytes (fixed times, no date).

    Args:
        path: A new file.
        source: Tensors of the Keras twin, served one at a time.
        config: Their config.
        raw: What a `keras_vit.Pipeline` takes that is to be around the model.

    Returns:
        The digests that were written beside the weights.
    """
    dtype = next(iter(source.tensors.values())).dtype
    metadata = {"keras_version": KERAS_VERSION, "producer": producer()}
    texts = (json.dumps(metadata), json.dumps(keras_config(config, dtype, raw)))
    large = sum(info.nbytes for info in source.tensors.values()) > _ZIP64
    with path.open("w+b") as file, zipfile.ZipFile(file, "w") as archive:
        for name, text in zip(MEMBERS[:2], texts, strict=True):
            archive.writestr(_member(name), text)
        # The weights are written where they will lie; their header, when it is known.
        info = _member(MEMBERS[2])
        info.header_offset = file.tell()
        info.CRC = info.compress_size = 0
        file.write(info.FileHeader(large))
        start = file.tell()
        saved = write_h5(growing(file, start), source, config, raw)
        info.CRC, info.file_size = _checksum(file, start)
        info.compress_size = info.file_size
        file.seek(info.header_offset)
        file.write(info.FileHeader(large))
        archive.filelist.append(info)
        archive.NameToInfo[info.filename] = info
        archive.start_dir = start + info.file_size
        file.seek(archive.start_dir)
    return saved


def _checksum(file: BinaryIO, start: int) -> tuple[int, int]:
    """CRC and number of the bytes from there to the end."""
    file.seek(start)
    crc = size = 0
    while block := file.read(_BLOCK):
        crc = zlib.crc32(block, crc)
        size += len(block)
    return crc, size


def _member(name: str) -> zipfile.ZipInfo:
    info = zipfile.ZipInfo(name, _EPOCH)
    info.external_attr = 0o600 << 16
    info.create_system = 3  # the same bytes on every system
    return info
