"""TensorFlow Serving's JSON of requests and answers: rows, columns and bytes.

https://www.tensorflow.org/tfx/serving/api_rest (as of TensorFlow Serving 2.19): a
request has `instances`, one row an input, or `inputs`, one column a tensor; bytes are
`{"b64": ...}`; a signature with one input takes its values unnamed, one with one output
gives them so. Outputs of strings whose name ends with `_bytes` travel as `b64`.
"""

from __future__ import annotations

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from converters.runtimes.base import Array
from converters.serving.model import STRING, Signature, Tensor

B64 = "b64"
DEFAULT = "serving_default"


class FormError(ValueError):
    """A request that is not in the form; the text says why."""


def parsed(body: bytes) -> dict[str, Any]:
    """The request.

    Raises:
        FormError: If it is no JSON object.
    """
    try:
        found = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise FormError(f"JSON Parse error: {error}") from None
    if not isinstance(found, dict):
        raise FormError("the request is to be a JSON object")
    return found


def signature_of(request: Mapping[str, Any], known: Mapping[str, Signature]) -> str:
    """Which signature is asked for.

    Raises:
        FormError: If there is none of that name.
    """
    name = request.get("signature_name", DEFAULT)
    if name not in known:
        raise FormError(
            f'Serving signature name: "{name}" not found in signature def; there are '
            f"{', '.join(known)}"
        )
    return str(name)


def inputs_of(
    request: Mapping[str, Any], signature: Signature
) -> tuple[dict[str, Array], bool]:
    """The tensors of a request, and whether it came in rows.

    Raises:
        FormError: If it has none, or others than the signature takes.
    """
    rows: Any = request.get("instances")
    columns: Any = request.get("inputs")
    if (rows is None) == (columns is None):
        raise FormError(
            "Missing 'inputs' or 'instances' key"
            if rows is None
            else "only one of 'inputs' and 'instances' is taken"
        )
    if rows is not None:
        if not isinstance(rows, list) or not rows:
            raise FormError("'instances' is to be a list that is not empty")
        columns = _columns(rows, signature)
    takes = signature.inputs
    if not _named(columns):
        columns = {_only(signature): columns}
    _check_names(columns, takes, "'inputs'")
    found = {name: _tensor(name, columns[name], one) for name, one in takes.items()}
    if len({len(array) for array in found.values() if array.ndim}) > 1:
        lengths = ", ".join(f"{name} {len(array)}" for name, array in found.items())
        raise FormError(f"inputs of unlike batches: {lengths}")
    return found, rows is not None


def answer_of(
    outputs: Mapping[str, Array], rows: bool, batch: int | None
) -> dict[str, Any]:
    """The answer, in the form of the request.

    Args:
        outputs: Every output.
        rows: Whether the request came in rows.
        batch: How many rows it had.

    Raises:
        FormError: If an output has not one row for each input.
    """
    values = {name: _values(name, array) for name, array in outputs.items()}
    if not rows:
        alone = len(values) == 1
        return {"outputs": next(iter(values.values())) if alone else values}
    for name, array in outputs.items():
        if not array.ndim or len(array) != batch:
            raise FormError(f"output {name} of shape {array.shape} has no rows")
    if len(values) == 1:
        return {"predictions": next(iter(values.values()))}
    names = list(values)
    return {
        "predictions": [
            dict(zip(names, row, strict=True))
            for row in zip(*values.values(), strict=True)
        ]
    }


def _columns(rows: list[Any], signature: Signature) -> dict[str, list[Any]]:
    if not any(_named(row) for row in rows):
        return {_only(signature): rows}
    for i, row in enumerate(rows):
        if not _named(row):
            raise FormError(f"'instances' {i} is no object, and others are")
        _check_names(row, signature.inputs, f"'instances' {i}")
    return {name: [row[name] for row in rows] for name in signature.inputs}


def _named(value: Any) -> bool:
    """Whether it holds tensors by name, and is no value itself."""
    return isinstance(value, dict) and set(value) != {B64}


def _only(signature: Signature) -> str:
    if len(signature.inputs) != 1:
        raise FormError(f"name the inputs: {', '.join(signature.inputs)}")
    return next(iter(signature.inputs))


def _check_names(
    given: Mapping[str, Any], takes: Mapping[str, Tensor], where: str
) -> None:
    if given.keys() != takes.keys():
        raise FormError(
            f"{where} names {', '.join(sorted(given)) or 'nothing'}; the signature "
            f"takes {', '.join(takes)}"
        )


def _tensor(name: str, values: Any, wanted: Tensor) -> Array:
    if wanted.dtype == STRING:
        found = _bytes(name, values)
    else:
        found = _numbers(name, values, wanted.dtype)
    shape = wanted.shape
    if shape is None:
        return found
    fits = found.ndim == len(shape) and all(
        n in (-1, m) for n, m in zip(shape, found.shape, strict=True)
    )
    if not fits:
        raise FormError(f"input {name}: shape {found.shape}, expected {shape}")
    return found


def _numbers(name: str, values: Any, dtype: str) -> Array:
    """Numbers of a type, none of which is changed but by rounding to it."""
    kinds = {"i": "iu", "u": "iu", "b": "b"}.get(np.dtype(dtype).kind, "iuf")
    try:
        found = np.array(values)
        if found.dtype.kind not in kinds:
            raise ValueError
        with np.errstate(over="raise"):
            made: Array = found.astype(dtype)
        if "f" not in kinds and not np.array_equal(made, found):
            raise ValueError
    except (ValueError, TypeError, OverflowError, FloatingPointError):
        raise FormError(
            f"input {name}: no array of {dtype}: numbers of its range, and rows of one "
            "shape, are"
        ) from None
    return made


def _bytes(name: str, values: Any) -> Array:
    """Strings and `b64`, nested or not."""

    def one(value: Any) -> Any:
        if isinstance(value, list):
            return [one(inner) for inner in value]
        if isinstance(value, str):
            return value.encode()
        if isinstance(value, dict) and set(value) == {B64}:
            try:
                return base64.b64decode(value[B64], validate=True)
            except (binascii.Error, TypeError, ValueError):
                raise FormError(f"input {name}: b64 cannot be decoded") from None
        raise FormError(f'input {name}: strings or {{"b64": ...}} are taken')

    return np.array(one(values), object)


def _values(name: str, array: Array) -> Any:
    if array.dtype != object:
        return array.tolist()
    encode = name.endswith("_bytes")

    def one(value: Any) -> Any:
        if isinstance(value, list):
            return [one(inner) for inner in value]
        if encode:
            return {B64: base64.b64encode(value).decode()}
        return value.decode("utf-8", "replace")

    return one(array.tolist())
