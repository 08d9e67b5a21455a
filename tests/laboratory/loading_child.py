"""Loads every `.keras` beside OUT: python -m tests.laboratory.loading_child OUT."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import keras
import numpy as np

import keras_vit


def main(out: Path) -> None:
    shapes = {}
    for path in sorted(out.parent.glob("*.keras")):
        model = keras_vit.load_model(path)
        x = np.ones((1, *model.config.img_size, model.config.in_chans), "float32")
        y = keras.ops.convert_to_numpy(model(x))
        if not np.isfinite(y).all():
            raise ValueError(f"{path.name}: not finite")
        shapes[path.name] = y.shape
    if not shapes:
        raise ValueError("no files")
    out.write_text(json.dumps({"backend": keras.backend.backend(), "bases": shapes}))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
