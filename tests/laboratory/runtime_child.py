"""Does every runtime fault to every base: python -m tests.laboratory.runtime_child OUT.

OUT gets, by base and fault, the taps that differ, the weights that differ, and what is
not as before once the fault is taken back.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import keras
import numpy as np
from keras import ops

import keras_vit
from converters.mapping.pipe import MemorySource, Pipe
from converters.mapping.table import KERAS
from converters.parity.faults import BASES, base_model, faults_of, inject
from converters.workers.fill import image
from keras_vit.init import no_init


def main(out: Path) -> None:
    found = {name: of_base(name) for name in BASES}
    out.write_text(json.dumps({"backend": keras.backend.backend(), "bases": found}))


def of_base(name: str) -> dict[str, Any]:
    model = loaded(name)
    shape = (2, model.config.in_chans, *model.config.img_size)
    x = np.moveaxis(image(shape), 1, -1)
    before = state(model, x)
    found = {}
    for fault in faults_of(model.config, "runtime"):
        with inject(model, fault.name):
            during = state(model, x)
        found[fault.name] = {"differs": different(before, during)}
        if fault.family == "dropout":
            with inject(model, fault.name):
                again = state(model, x)
            found[fault.name]["varies"] = different(during, again)
        if model.config != BASES[name]:
            raise ValueError(f"{fault.name}: the config is another one now")
    return {"faults": found, "left": different(before, state(model, x))}


def loaded(name: str) -> Any:
    base = base_model(name)
    there = Pipe(MemorySource(base.tensors), KERAS.plan(base.config))
    with no_init():
        model = keras_vit.ViT(base.config)
    for variable in model.weights:
        variable.assign(there.read(model.relative_path(variable)))
    return model


def state(model: Any, x: Any) -> dict[str, Any]:
    """Everything that can be seen of a model, in order of computation."""
    found = {
        f"weight {model.relative_path(variable)}": ops.convert_to_numpy(variable).copy()
        for variable in model.weights
    }
    output, taps = model.forward_taps(x)
    for tap, value in taps.items():
        if not tap.endswith(".maps"):  # only under dropout, which needs them
            found[tap] = ops.convert_to_numpy(value)
    found["output"] = ops.convert_to_numpy(output)
    return found


def different(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    if one.keys() != other.keys():
        raise ValueError(f"{sorted(one.keys() ^ other.keys())}")
    return [name for name in one if one[name].tobytes() != other[name].tobytes()]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
