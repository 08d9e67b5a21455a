"""Steps that run the code of the page on silent random weights."""

from __future__ import annotations

import contextlib
import io
import re
from pathlib import Path

PAGE = Path(__file__).resolve().parents[2] / "docs" / "silent-weights.md"

CHECK_FINGERPRINT = """
import numpy as np

def make():
    layers = [keras.layers.Dense(4, name="a"), keras.layers.Dense(2, name="b")]
    model = keras.Sequential([keras.Input((3,), name="x"), *layers], name="m")
    return model

model = make()
model.save("same.keras")
loaded = keras.models.load_model("same.keras")
assert fingerprint(loaded) == fingerprint(model)
loaded.layers[0].bias.assign(np.ones(4))
assert fingerprint(loaded) != fingerprint(model)
print("fingerprints compared")
"""


def blocks() -> list[str]:
    """The page's Python code."""
    return re.findall(r"```python\n(.*?)```", PAGE.read_text("utf-8"), re.DOTALL)


def example() -> str:
    """What the page's first block prints."""
    code, _ = blocks()
    return _printed(code)


def told() -> str:
    """What a check of the page's second block prints."""
    _, code = blocks()
    return _printed(code + CHECK_FINGERPRINT)


def _printed(code: str) -> str:
    with contextlib.redirect_stdout(io.StringIO()) as printed:
        exec(compile(code, str(PAGE), "exec"), {"__name__": "page"})
    return printed.getvalue()
