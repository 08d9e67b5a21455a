"""`tf_model.h5`: what transformers' TensorFlow models saved (Keras 2), up to release 4.

A group for each layer of the model, and below it every weight under its own full name:
`vit/vit/encoder/layer_._0/output/dense/kernel:0`. Of a model that was called before it
was built, the names begin with its own, `tf_vi_t_model`. Read with h5py alone.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import numpy as np

from converters.errors import printable, refusal
from converters.files.base import check_input
from converters.files.h5_file import open_h5, scan
from converters.mapping.pipe import Array, TensorInfo, np_dtype

_MODEL = "tf_"


class TfH5File:
    """The weights of such a file, without group, model name and `:0`.

    Args:
        path: The file.

    Raises:
        ConversionError: If it is no such file.
    """

    format = "tf_model.h5"

    def __init__(self, path: Path) -> None:
        self.path = path
        check_input(path, "weights.h5")
        self._h5 = open_h5(path)
        try:
            self._open()
        except BaseException:
            self._h5.close()
            raise

    def _open(self) -> None:
        attributes = self._h5.attrs
        if "layer_names" not in attributes or "keras_version" not in attributes:
            raise refusal(
                "no weights that Keras 2 saved: their layers are not listed",
                file=self.path,
                hint="A .weights.h5 of Keras 3 ends like that.",
            )
        listed = self._listed()
        self._places: dict[str, str] = {}
        self.tensors: dict[str, TensorInfo] = {}
        for place, info in scan(self._h5, self.path).items():
            name = _name(place)
            if place not in listed:
                text = f'"{printable(place)}" is listed by no layer'
                raise refusal(text, file=self.path)
            if name in self._places:
                raise refusal(f'"{printable(name)}" stands twice', file=self.path)
            self._places[name] = place
            self.tensors[name] = info
        absent = sorted(listed - set(self._places.values()))
        if absent:
            text = f'"{printable(absent[0])}" is listed, but not there'
            raise refusal(text, file=self.path)

    def _listed(self) -> set[str]:
        """Places that the file itself says its weights have."""
        found = set()
        for layer in [
            *_texts(self._h5.attrs["layer_names"]),
            "top_level_model_weights",
        ]:
            group = self._h5.get(layer)
            if group is not None:
                names = group.attrs.get("weight_names", ())
                found |= {f"{layer}/{name}" for name in _texts(names)}
        return found

    def read(self, name: str) -> Array:
        """The values of one tensor."""
        info = self.tensors[name]
        try:
            raw = self._h5[self._places[name]][()]
        except (OSError, RuntimeError, KeyError) as error:
            text = printable(error, 200)
            raise refusal(f"{name}: damaged HDF5: {text}", file=self.path) from None
        return np.ascontiguousarray(raw).view(np_dtype(info.dtype)).reshape(info.shape)

    def close(self) -> None:
        """Lets the file go."""
        self._h5.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def _texts(values: Any) -> list[str]:
    return [
        v.decode("utf-8", "replace") if isinstance(v, bytes) else str(v) for v in values
    ]


def _name(place: str) -> str:
    """`vit/tf_vi_t_model/vit/a/kernel:0` -> `vit/a/kernel`."""
    _, _, name = place.partition("/")
    first, slash, rest = name.partition("/")
    if slash and first.startswith(_MODEL):
        name = rest
    return name.removesuffix(":0")
