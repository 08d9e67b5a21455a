"""Faults that `verify` has to find, fixed before the code that finds them.

A `Fault` makes a faulty B of a model A: another file, a Keras file written by a table
with a wrong rule, or a Keras model that is wrong in memory although its file is right.
With it stands what is to be blamed. Each is done to those of four small models
(`BASES`) that can have it: 2D and 3D, classification and features.

How many there are, by family and model, in the order of `FAULTS`:

    kind     family                      2D c  2D f  3D c  3D f    all
    file     schema flag                   50    55    58    38    201
    file     element                       32    32    32    24    120
    file     row                           15    15    15    12     57
    file     tensor                        68    68    65    59    260
    file     order                         17    17    14    12     60
    file     geometry                      10     9    15    14     48
    file     preprocessing and labels      12     7    19    10     48
    mapping  rule dropped                  23    44    19    21    107
    mapping  rules swapped                 12    26     9    12     59
    mapping  rule untransposed             13    21    11    11     56
    runtime  epsilon                        9    12     9     9     39
    runtime  attention                      5     5     5     5     20
    runtime  activation                     3     3     3     1     10
    runtime  dropout                        2     2     2     2      8
    runtime  weights in memory             13    13    12     9     47
    runtime  input                          4     3     5     3     15
    runtime  tokens                         6     6     5     5     22
    runtime  wiring                         6     6     7     5     24
             all                          300   344   305   252   1201

No two faults of one model give the same file. Faults that change the shape of inputs or
outputs are none: such a B is refused as bad input (`OUT_OF_SCOPE`).
"""

from __future__ import annotations

from typing import Any

from converters.parity.faults.base import Fault, Kind, Model
from converters.parity.faults.bases import BASES, base_model
from converters.parity.faults.data import DATA
from converters.parity.faults.geometry import GEOMETRY
from converters.parity.faults.mapping import MAPPING
from converters.parity.faults.order import ORDER
from converters.parity.faults.patch import Patch
from converters.parity.faults.runtime import RUNTIME
from converters.parity.faults.schema import OUT_OF_SCOPE, SCHEMA
from converters.parity.faults.values import VALUES
from vit_config import ViTConfig

__all__ = [
    "BASES",
    "FAULTS",
    "OUT_OF_SCOPE",
    "Fault",
    "Kind",
    "Model",
    "base_model",
    "counts",
    "families",
    "faults_of",
    "inject",
]

_ALL = tuple(
    fault
    for fault in (*SCHEMA, *VALUES, *ORDER, *GEOMETRY, *DATA, *MAPPING, *RUNTIME)
    if any(fault.applies(config) for config in BASES.values())
)

FAULTS: dict[str, Fault] = {fault.name: fault for fault in _ALL}
"""Every fault by name, in the order of the table above."""

if len(FAULTS) != len(_ALL):
    raise RuntimeError("two faults of one name")


def faults_of(config: ViTConfig, kind: Kind | None = None) -> tuple[Fault, ...]:
    """The faults that a config can have.

    Args:
        config: The config.
        kind: Of one kind only.
    """
    return tuple(
        fault
        for fault in FAULTS.values()
        if kind in (None, fault.kind) and fault.applies(config)
    )


def families() -> tuple[str, ...]:
    """The families, in order."""
    return tuple(dict.fromkeys(fault.family for fault in FAULTS.values()))


def counts() -> dict[str, dict[str, int]]:
    """How many faults there are, by family and base."""
    table = {family: dict.fromkeys(BASES, 0) for family in families()}
    for base, config in BASES.items():
        for fault in faults_of(config):
            table[fault.family][base] += 1
    return table


def inject(model: Any, name: str) -> Patch:
    """Gives a loaded `keras_vit.ViT` a runtime fault.

    Args:
        model: The model.
        name: Of the fault.

    Returns:
        What takes the fault back, with `undo` or at the end of a `with`.

    Raises:
        ValueError: If there is no such runtime fault, or the model cannot have it.
    """
    fault = FAULTS.get(name)
    if fault is None or fault.inject is None:
        raise ValueError(f"no runtime fault {name!r}")
    if not fault.applies(model.config):
        raise ValueError(f"a model of this config cannot have the fault {name!r}")
    patch = Patch()
    fault.inject(patch, model)
    return patch
