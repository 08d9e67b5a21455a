"""Keras' HDF5 weights: read and written with h5py alone, no Keras."""

from __future__ import annotations

from pathlib import Path
from typing import Any, BinaryIO, Self

import h5py
import numpy as np

from converters.errors import ConversionError, Issue, printable, refusal
from converters.files.base import Raw, check_input, merge_configs
from converters.files.keras_layout import (
    GUARD,
    PIPELINE,
    PIPELINE_FIRST,
    PIPELINE_LAST,
    Group,
    layout,
)
from converters.mapping.pipe import Array, Source, TensorInfo, np_dtype, sha256
from converters.mapping.stream import Hasher, ahead
from converters.mapping.table import KERAS, Plan
from vit_config import ViTConfig
from vit_config.strict_json import JsonError, canonical, strict_object

Saved = dict[str, list[Any]]
"""[dtype, shape, SHA-256] by key: what `keras_vit.guard` compares after loading."""

SAMPLES = 16
MAX_OBJECTS = 100_000
MAX_RANK = 8
MAX_DIGESTS = 64 << 20

DROPPED = ("optimizer/",)
"""What Keras saves beside the weights, and what the other side has no place for."""


class WeightsH5Reader:
    """Reads the `.weights.h5` of a `keras_vit.ViT`.

    Places are worked out from the config, never guessed from the file; the layer name
    that Keras notes at each group must agree. Links, external and virtual data,
    filters and declared but unwritten data are refused.

    Args:
        path: The file.
        config: The model's config, which such a file does not hold.
        file: The opened HDF5 data, if it is not the whole of `path`.
        raw: What the model takes, if it is a `keras_vit.Pipeline` around the ViT.

    Attributes:
        raw: The same.
        own_config: The config beside the weights, in a `.keras`.
        digests: What `keras_vit.guard` noted of each weight, if it did.
        verify: Whether values are compared with these digests when they are read.

    Raises:
        ConversionError: If it is not such a file.
    """

    format = "weights.h5"
    dialect = "keras"
    own_config: ViTConfig | None = None

    def __init__(
        self,
        path: Path,
        config: ViTConfig | None = None,
        *,
        file: BinaryIO | None = None,
        raw: Raw | None = None,
    ) -> None:
        self.path = path
        self.raw = raw
        self._home = "" if raw is None else PIPELINE
        self.config = merge_configs(path, None, config)
        self._h5 = open_h5(path, file)
        try:
            self._open()
        except (OSError, RuntimeError, KeyError) as error:
            self._h5.close()
            text = printable(error, 200)
            raise refusal(f"damaged HDF5: {text}", file=path) from None
        except BaseException:
            self._h5.close()
            raise

    def _open(self) -> None:
        infos = scan(self._h5, self.path)
        groups = layout(self.config, self._home)
        guard = f"{self._home}{GUARD}/"
        places = {
            f"{group.vars}/{key}": path
            for group in groups
            for key, path in group.weights
        }
        dropped = [place for place in infos if place.startswith(DROPPED)]
        self.steps: tuple[str, ...] = ("drop_optimizer",) if dropped else ()
        rest = [place for place in infos if not place.startswith((*DROPPED, guard))]
        self._places = {places.get(place, place): place for place in rest}
        self.tensors = {name: infos[place] for name, place in self._places.items()}
        _refuse_quantised(self.tensors, self.path)
        _check_names(self._h5, groups, self.path)
        self.digests = _digests(self._h5, f"{guard}vars/digests", self.path)
        self.verify = True

    @property
    def all_digests(self) -> bool:
        """Whether the digest of every tensor is saved beside it."""
        return self.digests.keys() >= self.tensors.keys()

    def read(self, name: str) -> Array:
        """The values of one tensor; they must have the digest saved with them."""
        info = self.tensors[name]
        try:
            raw = self._h5[self._places[name]][()]
        except (OSError, RuntimeError, KeyError) as error:
            text = printable(error, 200)
            raise refusal(f"{name}: damaged HDF5: {text}", file=self.path) from None
        array = np.ascontiguousarray(raw).view(np_dtype(info.dtype)).reshape(info.shape)
        known = self._places[name] != name  # else it stands where no weight belongs
        saved = self.digests.get(name) if self.verify and known else None
        if saved is not None and saved != [info.dtype, list(info.shape), sha256(array)]:
            raise ConversionError(
                [
                    Issue(
                        "value", name, "not the values that the file's own digest names"
                    )
                ],
                file=self.path,
                dialect=self.dialect,
                causes=["the file was damaged, or changed by another program"],
            )
        return array

    def plan(self) -> Plan:
        """From the Keras twin's names to the canonical ones."""
        return KERAS.plan(self.config).inverse()

    def close(self) -> None:
        """Lets the file go."""
        self._h5.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def open_h5(path: Path, file: BinaryIO | None = None) -> Any:
    """Opens HDF5 data, a file of its own or a part of one.

    Raises:
        ConversionError: If it is no HDF5 data.
    """
    if file is None:
        check_input(path, "weights.h5")
    try:
        return h5py.File(file or path, "r")
    except OSError as error:
        text = printable(error, 200)
        raise refusal(f"not readable as HDF5: {text}", file=path) from None


def scan(h5: Any, path: Path) -> dict[str, TensorInfo]:
    """Every dataset with type and shape; refuses what Keras never writes.

    Raises:
        ConversionError: For links, aliases, data outside of the file, filters.
    """
    infos: dict[str, TensorInfo] = {}
    seen: set[int] = set()
    stack = [("", h5)]
    while stack:
        prefix, group = stack.pop()
        for key in group:
            name = f"{prefix}{key}"
            where = f'"{printable(name)}"'
            link = group.get(key, getlink=True)
            if not isinstance(link, h5py.HardLink):
                raise refusal(f"{where} is a link, not data", file=path)
            item = group[key]
            address = h5py.h5o.get_info(item.id).addr
            if address in seen:
                raise refusal(f"{where} is another name for the same data", file=path)
            seen.add(address)
            if len(seen) > MAX_OBJECTS:
                raise refusal(f"more than {MAX_OBJECTS} objects", file=path)
            if isinstance(item, h5py.Group):
                stack.append((f"{name}/", item))
            elif isinstance(item, h5py.Dataset):
                infos[name] = _info(item, where, path)
            else:
                raise refusal(f"{where} is neither group nor data", file=path)
    return infos


def _info(item: Any, where: str, path: Path) -> TensorInfo:
    if item.is_virtual or item.external:
        raise refusal(f"{where} lies in another file", file=path)
    if item.id.get_create_plist().get_nfilters():
        raise refusal(f"{where} is compressed, which Keras never does", file=path)
    if item.shape is None or len(item.shape) > MAX_RANK:
        raise refusal(f"{where} has an absurd shape", file=path)
    dtype = item.dtype
    name = str(dtype)
    if dtype.kind == "V" and item.attrs.get("dtype") == "bfloat16":
        name = "bfloat16"
    elif dtype.kind not in "fiub" or dtype.byteorder == ">":
        raise refusal(f"{where} is of type {printable(dtype)}", file=path)
    info = TensorInfo(name, tuple(item.shape))
    if info.size and item.id.get_storage_size() != info.nbytes:
        raise refusal(
            f"{where} announces {info.nbytes} bytes and has "
            f"{item.id.get_storage_size()}",
            file=path,
        )
    return info


def _refuse_quantised(tensors: dict[str, TensorInfo], path: Path) -> None:
    kinds = {info.dtype for info in tensors.values()}
    small = sorted(kinds & {"int8", "uint8"})
    if small:
        raise refuse_quantised(path, small[0])


def refuse_quantised(path: Path, kind: str) -> ConversionError:
    """What to say of a quantised file."""
    return refusal(
        f"its weights are quantised ({kind}); rounded integers cannot be turned back "
        "into the weights they came from",
        file=path,
        hint="Convert the file that was saved before quantize() was called.",
    )


def _check_names(h5: Any, groups: tuple[Group, ...], path: Path) -> None:
    """Keras notes each layer's name beside its weights: a proof of the places."""
    issues = []
    for group in groups:
        if not group.weights or not group.layer or group.vars not in h5:
            continue
        found = h5[group.vars].attrs.get("name")
        if found != group.name:
            issues.append(
                Issue("config", group.place, f"layer {printable(found)!r}", group.layer)
            )
    if issues:
        raise ConversionError(
            issues,
            file=path,
            dialect="keras",
            causes=["the config is not the one that this file was saved with"],
        )


def _digests(h5: Any, place: str, path: Path) -> Saved:
    if place not in h5:
        return {}
    try:
        if h5[place].dtype != np.uint8 or h5[place].size > MAX_DIGESTS:
            raise JsonError("not text")
        value = strict_object(h5[place][()].tobytes())
        weights = value["weights"]
        if value["schema"] != 1 or not isinstance(weights, dict):
            raise JsonError(f"of schema {printable(value['schema'])}")
        return weights
    except (JsonError, KeyError) as error:
        raise refusal(f"the digests beside the weights: {error}", file=path) from None


def write_h5(
    file: Path | BinaryIO, source: Source, config: ViTConfig, raw: Raw | None = None
) -> Saved:
    """Writes the groups that `save_weights` of a `keras_vit.ViT` writes.

    Args:
        file: A new file, or one open for reading and writing.
        source: Tensors of the Keras twin, served one at a time.
        config: Their config.
        raw: What a `keras_vit.Pipeline` takes that is to be around the ViT.

    Returns:
        The digests that were written beside the weights.
    """
    home = "" if raw is None else PIPELINE
    samples: dict[str, Array] = {}
    groups = layout(config, home)
    names = [name for group in groups for _, name in group.weights]
    with (
        h5py.File(file, "w") as h5,
        ahead(source, names) as arrays,
        Hasher() as hasher,
    ):
        if raw is not None:
            _group(h5, *PIPELINE_FIRST)
        for group in groups:
            target = _group(h5, group.vars, group.name or "vit")
            for key, name in group.weights:
                array = np.ascontiguousarray(next(arrays)[1])
                hasher.add(name, array)
                put(target, key, array)
                samples[name] = _sample(array)
        digests = {
            key: [dtype, list(shape), sha]
            for key, (dtype, shape, sha) in hasher.digests().items()
        }
        text = canonical({"schema": 1, "weights": digests})
        guard = _group(h5, f"{home}{GUARD}/vars", "guard")
        guard["digests"] = np.frombuffer(text.encode(), np.uint8)
        guard["samples"] = np.stack([samples[key] for key in sorted(samples)])
        if raw is not None:
            _group(h5, *PIPELINE_LAST)
    return digests


def _group(h5: Any, place: str, name: str) -> Any:
    group = h5.create_group(place)
    group.attrs["name"] = name
    return group


def put(group: Any, key: str, array: Array) -> None:
    """Stores an array as Keras does, which notes the type that HDF5 lacks."""
    if str(array.dtype) == "bfloat16":
        item = group.create_dataset(key, data=array)
        item.attrs["dtype"] = "bfloat16"
    else:
        group[key] = array


def _sample(array: Array) -> Array:
    flat = array.reshape(-1)
    return flat[np.arange(SAMPLES) * flat.size // SAMPLES].astype(np.float64)
