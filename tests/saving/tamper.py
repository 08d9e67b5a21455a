"""Files changed behind the loader's back."""

from __future__ import annotations

import io
import json
import shutil
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

Edit = Callable[[h5py.File], None]
WEIGHTS = "model.weights.h5"


def tampered_h5(source: str, target: str, edit: Edit) -> str:
    """Copies a `.weights.h5` and edits the copy."""
    shutil.copy(source, target)
    with h5py.File(target, "r+") as file:
        edit(file)
    return target


def tampered_keras(
    source: str,
    target: str,
    edit: Edit | None = None,
    config: Callable[[dict[str, Any]], None] | None = None,
) -> str:
    """Copies a `.keras` and edits the weights, or the config, in the copy."""
    with zipfile.ZipFile(source) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            data = old.read(name)
            if name == WEIGHTS and edit:
                buffer = io.BytesIO(data)
                with h5py.File(buffer, "r+") as file:
                    edit(file)
                data = buffer.getvalue()
            if name == "config.json" and config:
                fields = json.loads(data)
                config(fields["config"])
                data = json.dumps(fields).encode()
            new.writestr(name, data)
    return target


def find(file: h5py.File, shape: tuple[int, ...], count: int = 1) -> list[str]:
    """Paths of the first float datasets of that shape, the guard's own left out.

    Raises:
        LookupError: If there are fewer.
    """
    found: list[str] = []

    def visit(path: str, item: Any) -> None:
        data = isinstance(item, h5py.Dataset) and "weights_guard" not in path
        if data and item.shape == shape:
            found.append(path)

    file.visititems(visit)
    if len(found) < count:
        raise LookupError(f"{len(found)} datasets of shape {shape}")
    return found[:count]


def nudge(file: h5py.File) -> None:
    """The last bit of one number."""
    (path,) = find(file, (24, 72))
    value = file[path][()]
    value[5, 7] = np.nextafter(value[5, 7], np.float32(9))
    file[path][...] = value


def zero(file: h5py.File) -> None:
    """A bias that is all zero."""
    (path,) = find(file, (72,))
    file[path][...] = 0


def swap(file: h5py.File) -> None:
    """The same matrix of two blocks, exchanged."""
    first, second = find(file, (24, 72), 2)
    a, b = file[first][()], file[second][()]
    file[first][...], file[second][...] = b, a


def guard_group(file: h5py.File) -> str:
    """Path of the guard's group."""
    found: list[str] = []
    file.visit(lambda path: found.append(path) if "weights_guard" in path else None)
    return min(found, key=len)


def drop_digests(file: h5py.File) -> None:
    """As a file that another library wrote."""
    del file[guard_group(file)]


def spoil_digests(file: h5py.File) -> None:
    """Digests that are no JSON."""
    path = f"{guard_group(file)}/vars/digests"
    length = file[path].shape[0]
    file[path][...] = np.full(length, ord("{"), np.uint8)


EDITS: dict[str, Edit] = {
    "nudge": nudge,
    "zero": zero,
    "swap": swap,
    "drop_digests": drop_digests,
    "spoil_digests": spoil_digests,
}


def tampered_shard(source: str, target: str, edit: Edit) -> str:
    """Copies sharded weights and edits the first shard in which there is what for.

    Raises:
        LookupError: If there is none.
    """
    index = json.loads(Path(source).read_text("utf-8"))
    old, new = (path.removesuffix(".weights.json") for path in (source, target))
    Path(target).write_text(json.dumps(index).replace(f'"{old}_', f'"{new}_'), "utf-8")
    done = False
    for shard in sorted(Path().glob(f"{old}_*.weights.h5")):
        copied = shutil.copy(shard, shard.name.replace(old, new))
        with h5py.File(copied, "r+") as file:
            if not done:
                try:
                    edit(file)
                    done = True
                except LookupError:
                    continue
    if not done:
        raise LookupError(f"nothing to edit in {source}")
    return target
