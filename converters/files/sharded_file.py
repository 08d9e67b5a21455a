"""Several files of weights under one `*.index.json`, all inside the index's folder.

The shards are `.safetensors`, `.bin` of torch, or `.msgpack` of Flax.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

from converters.errors import ConversionError, Issue, printable, refusal
from converters.files.base import merge_configs
from converters.files.contents import together
from converters.files.safetensors_file import SafetensorsReader
from converters.mapping.pipe import Array, TensorInfo
from converters.mapping.table import CANONICAL, Plan
from vit_config import ViTConfig
from vit_config.strict_json import JsonError, strict_object

if TYPE_CHECKING:
    from converters.files.msgpack_file import MsgpackFile
    from converters.files.torch_file import TorchFile

    Shard = SafetensorsReader | TorchFile | MsgpackFile

_MAX_INDEX = 32 << 20
_MAX_SHARDS = 1000
_KINDS = {
    "safetensors": (".safetensors",),
    "torch": (".bin", ".pt", ".pth"),
    "msgpack": (".msgpack",),
}


class ShardedFile:
    """Reads a sharded checkpoint, one shard's header at a time, values on demand.

    The index and the shards must agree: every name in the shard that the index says,
    in no other, and none that the index does not know.

    Args:
        path: The `*.index.json`.
        config: The config, for canonical names; None for what the headers say.

    Raises:
        ConversionError: If it is broken, leads out of its folder, or disagrees.
    """

    dialect = "canonical"
    steps: tuple[str, ...] = ()

    def __init__(self, path: Path, config: ViTConfig | None = None) -> None:
        self.path, self._given = path, config
        self._where = _weight_map(path)
        files = set(self._where.values())
        kinds = (
            kind
            for kind, suffixes in _KINDS.items()
            if all(name.endswith(suffixes) for name in files)
        )
        self.format = next(kinds, "safetensors")
        self._shards: dict[str, Shard] = {}
        try:
            for name in sorted(files):
                shard = shard_in(path, name, _KINDS[self.format])
                self._shards[name] = _open(shard, self.format)
            self._check()
            self.own_config = self._one("own_config")
            self.own_dialect: str = self._one("own_dialect") or ""
            self.others = together(self._shards.values())
        except BaseException:
            self.close()
            raise
        self.tensors: Mapping[str, TensorInfo] = {
            name: self._shards[shard].tensors[name]
            for name, shard in self._where.items()
        }
        self.remarks = _size_remarks(path, self.tensors)

    def _check(self) -> None:
        issues = [
            Issue("missing", name, expected=f"in {shard}, as the index says")
            for name, shard in self._where.items()
            if name not in self._shards[shard].tensors
        ]
        issues += [
            Issue("unexpected", name, f"in {shard}, which the index does not say")
            for shard, reader in self._shards.items()
            for name in reader.tensors
            if self._where.get(name) != shard
        ]
        if issues:
            raise ConversionError(issues, file=self.path)

    def _one(self, field: str) -> Any:
        """What the headers say, if they all say the same."""
        said = [getattr(shard, field, None) for shard in self._shards.values()]
        if any(value != said[0] for value in said):
            raise refusal("the shards' headers say different models", file=self.path)
        return said[0]

    @property
    def config(self) -> ViTConfig:
        """Config of the model, from the headers or from the caller."""
        return merge_configs(self.path, self.own_config, self._given)

    def plan(self) -> Plan:
        """From canonical names to canonical names."""
        return CANONICAL.plan(self.config)

    def read(self, name: str) -> Array:
        """The values of one tensor."""
        return self._shards[self._where[name]].read(name)

    def close(self) -> None:
        """Lets all shards go."""
        for shard in self._shards.values():
            shard.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _open(path: Path, kind: str) -> Shard:
    if kind == "torch":
        from converters.files.torch_file import TorchFile

        return TorchFile(path)
    if kind == "msgpack":
        from converters.files.msgpack_file import MsgpackFile

        return MsgpackFile(path)
    return SafetensorsReader(path)


def _size_remarks(path: Path, tensors: Mapping[str, TensorInfo]) -> tuple[str, ...]:
    """Whether the index counts other bytes than the shards have, which nobody reads."""
    metadata = _index(path).get("metadata")
    said = metadata.get("total_size") if isinstance(metadata, Mapping) else None
    there = sum(info.nbytes for info in tensors.values())
    if said in (None, there):
        return ()
    return (
        f"the index says total_size {printable(said)}, its shards hold {there}; every "
        "tensor that it lists is there",
    )


def _index(path: Path) -> dict[str, Any]:
    try:
        if path.stat().st_size > _MAX_INDEX:
            raise refusal("larger than any index is", file=path)
        return strict_object(path.read_bytes())
    except OSError as error:
        raise refusal(f"cannot be read: {error.strerror}", file=path) from None
    except JsonError as error:
        raise refusal(printable(error, 200), file=path) from None


def _weight_map(path: Path) -> dict[str, str]:
    found = _index(path).get("weight_map")
    texts = isinstance(found, dict) and all(isinstance(v, str) for v in found.values())
    if not found or not texts:
        raise refusal("it has no weight_map from names to files", file=path)
    if len(set(found.values())) > _MAX_SHARDS:
        raise refusal(f"more than {_MAX_SHARDS} shards", file=path)
    return dict(found)


def shards_of(index: Path) -> tuple[Path, ...]:
    """The files that an index says, whether they are there or not.

    Raises:
        ConversionError: If it is no index.
    """
    return tuple(index.parent / name for name in set(_weight_map(index).values()))


def shard_in(index: Path, name: str, suffixes: tuple[str, ...]) -> Path:
    """The file of that name, if it lies in the folder of the index itself.

    Args:
        index: The file that names it.
        name: Its name.
        suffixes: What its name may end in.

    Raises:
        ConversionError: If it is not there, or anywhere else.
    """
    problem = ""
    if not name.isprintable() or not name.endswith(suffixes):
        problem = f"not the name of a {' or '.join(suffixes)}"
    elif "/" in name or "\\" in name or ":" in name or name.startswith("."):
        problem = "leads out of the folder"
    else:
        path = index.parent / name
        if not path.exists():
            problem = "does not exist"
        elif not _confined(path, index):
            problem = "is a link out of the folder"
    if problem:
        raise refusal(f'shard "{printable(name)}" {problem}', file=index)
    return index.parent / name


def _confined(path: Path, index: Path) -> bool:
    """Whether a shard lies beside the index, or both lie in one store.

    The cache of a hub links every file of a snapshot into one folder of blobs.
    """
    shard, folder = path.resolve(), index.parent.resolve()
    if shard.parent == folder:
        return True
    home = index.resolve().parent
    return index.is_symlink() and shard.parent == home and home.name == "blobs"
