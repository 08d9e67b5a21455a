"""The options of the plugin."""

from __future__ import annotations

from typing import Any

import pytest

LEVELS = ("weights", "logits", "layers", "gradients", "training")
DTYPES = ("float32", "bfloat16", "float16")
DEVICES = ("cpu", "cuda")
BACKENDS = ("tensorflow", "jax", "torch")
"""As in `converters.parity`, which imports too much for the start of pytest."""

MARK = "parity_checkpoint"

OF_CHECKPOINT = (
    *("dialect", "prefix", "config", "preset", "set", "drop", "head", "base"),
    "input",
)
"""Options that say how the checkpoint is to be read, or what it is fed."""


def add_options(parser: pytest.Parser) -> None:
    """Adds them all."""
    group = parser.getgroup("parity", "parity of models (vit-duet)")

    def add(name: str, text: str, **more: Any) -> None:
        dest = f"parity_{name.replace('-', '_')}"
        group.addoption(f"--parity-{name}", dest=dest, help=text, **more)

    add(
        "checkpoint",
        "run the parity suite on this file, folder or hf://org/name",
        metavar="PATH",
    )
    add("dialect", "whose names the checkpoint has: monai, timm ...", metavar="DIALECT")
    add("prefix", "what stands before its model's names", metavar="PREFIX")
    add("config", "its model's config, a JSON file", metavar="FILE")
    add("preset", "what its file does not say: a preset", metavar="NAME")
    add("set", "one field of its config", metavar="FIELD=JSON", action="append")
    add("drop", "tensors to leave out", metavar="GLOB", action="append")
    add("head", "a linear layer beside the model: its head", metavar="NAME")
    add("base", "of a PEFT adapter: the model it was trained on", metavar="PATH")
    add("input", "own inputs: file or folder", metavar="PATH", action="append")
    add("level", "how far to look; each includes those before it", choices=LEVELS)
    add(
        "backend",
        "Keras backend, repeatable; without it all that are installed",
        choices=BACKENDS,
        action="append",
    )
    add("keras-python", "Python of another environment that has Keras", metavar="FILE")
    add("device", "where models run", choices=DEVICES, default="cpu")
    add("dtype", "type to compute in", choices=DTYPES, default="float32")
    add("criteria", "acceptance limits, a JSON file", metavar="FILE")


def misplaced(config: pytest.Config) -> str:
    """Names an option that says something of a checkpoint where there is none."""
    if config.getoption("parity_checkpoint") is not None:
        return ""
    for name in OF_CHECKPOINT:
        if config.getoption(f"parity_{name}"):
            return f"--parity-{name} is for --parity-checkpoint"
    return ""


def asked(config: pytest.Config) -> dict[str, Any]:
    """What the options say, as arguments of `converters.verify`, but for backends."""
    found = {
        "level": config.getoption("parity_level"),
        "device": config.getoption("parity_device"),
        "dtype": config.getoption("parity_dtype"),
        "criteria": placed(config, "criteria"),
        "keras_python": placed(config, "keras_python"),
    }
    return {name: value for name, value in found.items() if value is not None}


def placed(config: pytest.Config, name: str) -> str | None:
    """The path that an option gives, seen from where pytest was started."""
    given = config.getoption(f"parity_{name}")
    return None if given is None else at(config, given)


def at(config: pytest.Config, path: str) -> str:
    """A path, seen from where pytest was started; an address stays as it is."""
    return path if "://" in path else str(config.invocation_params.dir / path)
