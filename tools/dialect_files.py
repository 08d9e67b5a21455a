"""What `make_dialect_files` makes: a library's tiny model, saved, read again and run.

Weights are `tests.fill` by the name that the *library* gives them in its file. So no
map of names has a part in it, neither ours nor one written for a test: a case holds
names and shapes, how `convert` is called, and what the library computes in float64.
"""

from __future__ import annotations

import json
import sys
import tempfile
import warnings
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib import import_module
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from torch import Tensor, nn

from tests.fill import fill, image

Run = Callable[[nn.Module, Tensor], Tensor]


@dataclass(frozen=True)
class Case:
    """One model of one library, and one file of it.

    Attributes:
        name: Name of the case.
        library: Distribution, or name of the repository, in `sources`.
        build: Makes the model.
        run: Calls it with `(B, C, *spatial)`.
        size: `(C, *spatial)` of an input.
        ask: How `convert` is called: its options, but for `folder`, which says that a
            `config.json` lies beside the weights.
        prefix: What the library (or its training code) puts before the names.
        beside: Names and shapes of what else such files hold.
        dialect: The variant that the file must be taken for.
        batch: Inputs.
        every: Of tokens, each so many-th is kept.
        tolerance: Largest difference in float64, relative to the largest value.
        changes: What had to be changed to run the library today, in words.
    """

    name: str
    library: str
    build: Callable[[], nn.Module]
    run: Run
    size: tuple[int, ...]
    dialect: str
    ask: Mapping[str, Any] = field(default_factory=dict)
    prefix: str = ""
    beside: Mapping[str, tuple[int, ...]] = field(default_factory=dict)
    batch: int = 2
    every: int = 1
    tolerance: float = 1e-11
    changes: str = ""


def filled(shapes: Mapping[str, tuple[int, ...]]) -> dict[str, np.ndarray]:
    """Values for every name, as the tests make them again."""
    return {name: np.asarray(fill(name, shape)) for name, shape in shapes.items()}


@contextmanager
def source(folder: Path, package: str) -> Iterator[None]:
    """Imports come from a folder for a while; what was imported is forgotten after."""
    before = dict(sys.modules)
    for name in [n for n in sys.modules if n.partition(".")[0] == package]:
        del sys.modules[name]
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
        for name in set(sys.modules) - set(before):
            if name.partition(".")[0] == package:
                del sys.modules[name]
        sys.modules.update(before)


def imported(folder: Path, module: str) -> Any:
    """A module of a folder, which may have the name of an installed one."""
    with source(folder, module.partition(".")[0]), warnings.catch_warnings():
        warnings.simplefilter("ignore")  # their own
        return import_module(module)


def make(case: Case) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Runs one case: the arrays of its file, and its description."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = case.build().eval()
    shapes, model = _saved_and_read(model)
    x = torch.from_numpy(image((case.batch, *case.size)))
    with torch.no_grad():
        output = case.run(model.double(), x.double())[:, :: case.every]
    if output.dtype != torch.float64 or not output.isfinite().all():
        raise ValueError(f"{case.name}: {output.dtype}, or not finite")
    listed = {case.prefix + name: shape for name, shape in shapes.items()}
    config = getattr(model, "config", None) if case.ask.get("folder") else None
    description = {
        "library": case.library,
        "versions": {"torch": torch.__version__, **_versions(case.library)},
        "dialect": case.dialect,
        "ask": dict(case.ask),
        "prefix": case.prefix,
        "size": list(case.size),
        "batch": case.batch,
        "every": case.every,
        "tensors": {n: list(s) for n, s in listed.items()},
        "beside": {n: list(s) for n, s in case.beside.items()},
        "tolerance": case.tolerance,
        **({"changes": case.changes} if case.changes else {}),
        **({"config": _json(config)} if config is not None else {}),
    }
    return {"output": output.contiguous().numpy()}, description


def _json(config: Any) -> dict[str, Any]:
    return json.loads(config.to_json_string(use_diff=False))


def _versions(library: str) -> dict[str, str]:
    try:
        return {library: version(library)}
    except ModuleNotFoundError:
        return {}


def _saved_and_read(
    model: nn.Module,
) -> tuple[dict[str, tuple[int, ...]], nn.Module]:
    """Names and shapes in the library's own file, and the model read from it again."""
    if not hasattr(model, "save_pretrained"):
        state = model.state_dict()
        shapes = {name: tuple(t.shape) for name, t in state.items()}
        values = {n: torch.from_numpy(v) for n, v in filled(shapes).items()}
        model.load_state_dict(values, strict=True)
        return shapes, model
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder)
        file = Path(folder) / "model.safetensors"
        shapes = {name: array.shape for name, array in load_file(file).items()}
        save_file(filled(shapes), file, {"format": "pt"})
        found, info = type(model).from_pretrained(folder, output_loading_info=True)
    if any(info[key] for key in info):
        raise ValueError(f"{type(model).__name__}: {info}")
    return shapes, found.eval()
