"""What stands for the functions of torch and NumPy that make tensors and arrays."""

from __future__ import annotations

import pickle
from collections.abc import Mapping
from typing import Any, Literal

import numpy as np

from converters.errors import printable
from converters.files.pickled_tensor import (
    NumpyType,
    PickledArray,
    PickledTensor,
    Storage,
    numbers,
)
from converters.files.unpickling import PLAIN, Make, Opaque, is_global, path_of


def _tensor(storage: Any, offset: Any, size: Any, stride: Any, *rest: Any) -> Any:
    """`torch._utils._rebuild_tensor`, `_rebuild_tensor_v2`."""
    if not isinstance(storage, Storage):
        raise pickle.UnpicklingError("a tensor without a storage")
    found = PickledTensor(
        storage.dtype,
        numbers(size),
        _strides(stride),
        int(offset),
        storage,
        storage.swapped,
    )
    if len(found.shape) != len(found.stride):
        raise pickle.UnpicklingError("a tensor of two ranks")
    if len(rest) > 2 and rest[2]:
        found.problem = "a conjugate or negative view"
    return found


def _typed_tensor(
    storage: Any, offset: Any, size: Any, stride: Any, grad: Any, hooks: Any, kind: Any
) -> Any:
    """`torch._utils._rebuild_tensor_v3`, for types without a storage of their own."""
    found = _tensor(storage, offset, size, stride)
    found.dtype = path_of(kind).removeprefix("torch.")
    return found


def _strides(values: Any) -> tuple[int, ...]:
    found = tuple(values)
    if not all(type(n) is int for n in found):
        raise pickle.UnpicklingError("strides that are no numbers")
    return found


def _parameter(data: Any = None, *rest: Any, **options: Any) -> Any:
    """A `torch.nn.Parameter` is the tensor in it."""
    return data if isinstance(data, PickledTensor) else PickledTensor(problem="empty")


def _subclass(make: Any, kind: Any, args: Any, state: Any = None) -> Any:
    """`torch._tensor._rebuild_from_type_v2`: tensors of a class, or with attributes."""
    made = make(*args)
    name = path_of(kind)
    if not isinstance(made, PickledTensor):
        return made
    if name not in ("torch.Tensor", "torch._tensor.Tensor", *_PARAMETERS):
        made.problem = made.problem or f"a {printable(name, 80)}, not a plain tensor"
    return made


def _cast(data: Any, kind: Any, *rest: Any) -> Any:
    """A tensor of another device, saved as one that NumPy or the CPU has."""
    if isinstance(data, PickledTensor) and path_of(kind) != f"torch.{data.dtype}":
        data.problem = f"saved as {data.dtype} to be cast to {path_of(kind)[6:]}"
    return data


def _no_tensor(problem: str) -> Make:
    return lambda *args, **options: PickledTensor(problem=problem)


def _meta(kind: Any, size: Any, *rest: Any) -> PickledTensor:
    name = path_of(kind).removeprefix("torch.")
    problem = "a tensor on meta, without values"
    return PickledTensor(name, numbers(size), problem=problem)


def _numpy_type(kind: Any, *rest: Any) -> NumpyType:
    return NumpyType(path_of(kind).rpartition(".")[2] if is_global(kind) else str(kind))


def _array(*args: Any) -> PickledArray:
    return PickledArray(problem="")


def _buffer(data: Any, kind: Any, shape: Any, order: Any) -> PickledArray:
    found = PickledArray()
    found.fill(shape, kind, order == "F", data)
    return found


def _scalar(kind: Any, data: Any = b"") -> Any:
    """A number of NumPy is a number."""
    data = data.encode("latin1") if isinstance(data, str) else data
    if not isinstance(kind, NumpyType) or not kind.name or kind.name == "bfloat16":
        return Opaque()
    order: Literal["<", ">"] = ">" if kind.swapped else "<"
    return np.frombuffer(data, np.dtype(kind.text).newbyteorder(order))[0].item()


_PARAMETERS = (
    "torch.nn.Parameter",
    "torch.nn.parameter.Parameter",
    "torch.nn.parameter.Buffer",
)
_SCRIPT_LISTS = ("int", "double", "bool", "tensor")
_NUMPY = ("numpy.core.multiarray", "numpy._core.multiarray")

MAKERS: Mapping[str, Make] = {
    **PLAIN,
    "torch._utils._rebuild_tensor": _tensor,
    "torch._utils._rebuild_tensor_v2": _tensor,
    "torch._utils._rebuild_tensor_v3": _typed_tensor,
    "torch._utils._rebuild_parameter": _parameter,
    "torch._utils._rebuild_parameter_with_state": _parameter,
    **dict.fromkeys(_PARAMETERS, _parameter),
    "torch._tensor._rebuild_from_type_v2": _subclass,
    "torch._utils._rebuild_device_tensor_from_numpy": _cast,
    "torch._utils._rebuild_device_tensor_from_cpu_tensor": _cast,
    "torch._utils._rebuild_xla_tensor": _cast,
    "torch._utils._rebuild_meta_tensor_no_storage": _meta,
    "torch._utils._rebuild_qtensor": _no_tensor(
        "a quantised tensor; dequantise it first"
    ),
    "torch._utils._rebuild_sparse_tensor": _no_tensor("a sparse tensor"),
    "torch._utils._rebuild_sparse_csr_tensor": _no_tensor("a sparse tensor"),
    "torch._utils._rebuild_nested_tensor": _no_tensor("a nested tensor"),
    "torch._utils._rebuild_wrapper_subclass": _no_tensor("a wrapped tensor"),
    "torch.jit._pickle.restore_type_tag": lambda value, *rest: value,
    **{f"torch.jit._pickle.build_{kind}list": list for kind in _SCRIPT_LISTS},
    "torch.Size": lambda items=(): tuple(items),
    "numpy.dtype": _numpy_type,
    **{f"{module}._reconstruct": _array for module in _NUMPY},
    **{f"{module}.scalar": _scalar for module in _NUMPY},
    "numpy.core.numeric._frombuffer": _buffer,
    "numpy._core.numeric._frombuffer": _buffer,
}
"""Globals that tensors and arrays are made with."""
