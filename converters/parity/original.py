"""The original library's own model of A, as one more subject of a verification.

What is here runs in the process that verifies: whether there is such a model, and what
another process needs to make it (`converters.parity.source`). Whatever stands in the
way is an `UnavailableError` with the reason: not checked, and never passed.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

from converters.libraries import NAMES
from converters.libraries.timm import config_names as timm_names
from converters.parity.record import Operand
from converters.sources.door import located
from converters.sources.folders import library_folder
from converters.sources.live import is_module, unwrapped
from converters.sources.request import Asked, library_fields
from converters.workers.device import UnavailableError
from converters.workers.process import started, write_job
from vit_config import ViTConfig

PROCESS = "converters.parity.source"
ANSWERS = "source.npz"

_PACKAGES = {
    # dialect: distribution and module that has the model
    "timm": "timm",
    "huggingface": "transformers",
    "torchvision": "torchvision",
    "monai": "monai",
}
_ASKED = ("sets", "head", "batch", "dtype", "device", "gradients")
_MEANING = frozenset({"data", "labels", "source", "problem_type"})
"""Fields of the config that say nothing of what the model computes."""


class Opened(Protocol):
    """What has to be known of an operand."""

    @property
    def operand(self) -> Operand:
        """What the record says of it."""

    @property
    def config(self) -> ViTConfig:
        """Its config."""

    @property
    def origin(self) -> Any:
        """The file, folder, hub id or live model that it came from."""

    @property
    def asked(self) -> Asked:
        """How the caller wants it to be read."""


def source_label(opened: Opened) -> str:
    """What to call the subject: `"A, timm 1.0.31"`."""
    role, dialect = opened.operand.role, _dialect(opened)
    package = _PACKAGES.get(dialect)
    if package is None:
        return f"{role}, original library"
    return f"{role}, {' '.join(filter(None, (package, _version(package))))}"


def source_job(opened: Opened, case: Mapping[str, Any]) -> dict[str, Any]:
    """The case for `converters.parity.source`: how the model is made, what is asked.

    Args:
        opened: The operand.
        case: What every model is asked, see `converters.workers.answers`.

    Raises:
        UnavailableError: If no library that is run here has the model, or it is not
            installed.
    """
    dialect = _dialect(opened)
    package = _package(dialect)
    asked = opened.asked
    job = {key: case[key] for key in _ASKED if key in case}
    job |= {"answers": ANSWERS, "config": opened.config.to_dict(), "package": package}
    if is_module(opened.origin):
        return job | {"dialect": opened.operand.dialect}
    path, _ = located(opened.origin, asked)
    return job | {
        "model": str(path.resolve()),
        "dialect": opened.operand.dialect,
        "prefix": asked.prefix,
        "drop": list(asked.drop),
        "head_layer": asked.head,
        "made": _made(path, asked, dialect),
    }


def run_source(
    opened: Opened, case: Mapping[str, Any], folder: Path, limit: float
) -> tuple[dict[str, Any], dict[str, Any]]:
    """Makes the model and runs it, and returns its case and what was said about it.

    A file's model is made in a fresh process. A live one is copied and runs in this
    one: made anew elsewhere, from what its modules say, it would be another model, and
    code is never pickled.

    Args:
        opened: The operand.
        case: What every model is asked; its files are in `folder`.
        folder: Where the answers go.
        limit: Seconds that it may take.

    Raises:
        UnavailableError: If the model cannot be had or made.
        ProcessError: If it fails.
    """
    job = source_job(opened, case)
    if is_module(opened.origin):
        from converters.parity.source import answer_live

        return job, answer_live(unwrapped(opened.origin), job, folder)
    path = write_job(folder / "source.json", [job])
    device = str(job.get("device", "cpu"))
    label = source_label(opened)
    with started(PROCESS, path, label, "torch", device) as worker:
        return job, worker.wait(limit)


def _dialect(opened: Opened) -> str:
    return str(opened.operand.dialect or "").partition("@")[0]


def _package(dialect: str) -> str:
    listed = ", ".join(_PACKAGES.values())
    if dialect not in NAMES:  # ours: "canonical", "keras"
        raise UnavailableError(
            "A has the names of this package: give the file or folder of the original "
            f"library ({listed}) as A"
        )
    package = _PACKAGES.get(dialect)
    if package is None:
        raise UnavailableError(
            f"models in the names of {dialect} are of no library that is run here: "
            f"{listed}"
        )
    for module in ("torch", package):
        if find_spec(module) is None:
            raise UnavailableError(f"{module} is not installed: pip install {module}")
    return package


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _made(path: Path, asked: Asked, dialect: str) -> dict[str, Any]:
    """What the library itself reads to make the model; nothing if our config says it.

    The less of it has gone through this package's own readers, the more is checked: a
    folder is read by the library, and its own arguments are passed on as they are.
    """
    pool = {"global_pool": True} if "global_pool" in asked.changes else {}
    if asked.config is None and asked.preset is None:
        own = path.is_dir() and library_folder(path, True) is not None
        return {"folder": True, **pool} if own else {}
    name = (asked.preset or "").partition(".")[0]
    if dialect == "timm" and name in timm_names.names():
        return {"architecture": asked.preset, **pool}
    fields = library_fields(asked.config)
    if fields is None or not set(asked.changes) <= _MEANING:
        return {}
    try:
        json.dumps(dict(fields))
    except TypeError:  # classes and functions, in Python
        return {}
    return {"fields": dict(fields)}
