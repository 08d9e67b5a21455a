"""`python -m tests.alone tests.predict.keras_worker MODEL.keras OUT`: asks Keras."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path

import converters
from converters import ConversionError
from tests.predict.common import PICTURES, SINGLE, TIMM


def main() -> None:
    model, out = Path(sys.argv[1]), Path(sys.argv[2])
    backend = os.environ["KERAS_BACKEND"]
    found = converters.predict(model, PICTURES, changes=SINGLE)
    same = converters.predict(TIMM, PICTURES, changes=SINGLE, backend=backend)
    report = converters.embed(model, PICTURES, out / "rows", batch_size=3)
    inside = {}
    for name in "inside", "floats":
        path = model.with_name(f"{name}.keras")
        given = converters.predict(path, PICTURES)
        again = converters.embed(path, PICTURES, out / "rows", batch_size=3)
        inside[name] = {**given.to_dict(), "resumed": again.resumed}
        converters.embed(path, PICTURES, out / name, batch_size=3)
    seen = converters.attention(model, sorted(PICTURES.iterdir())[0])
    other = {"tensorflow": "jax"}.get(backend, "tensorflow")
    try:
        converters.predict(model, PICTURES, backend=other)
        said = ""
    except ConversionError as error:
        said = str(error)
    told = {
        "file": found.to_dict(),
        "folder": same.to_dict(),
        "rows": report.to_dict(),
        "inside": inside,
        "maps": [seen.attention.tolist(), seen.rollout.tolist()],
        "plain": converters.predict(model, PICTURES).to_dict(),
        "other": said,
        "torch": "torch" in sys.modules,
    }
    (out / "told.json").write_text(json.dumps(told), "utf-8")


if __name__ == "__main__":
    main()
