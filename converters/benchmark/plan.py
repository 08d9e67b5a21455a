"""Who takes part in a bench, and with whom each is compared."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.conversion.convert import convert
from converters.errors import refusal
from converters.runtimes.known import SUFFIXES, kind_of
from converters.workers.process import BACKENDS
from vit_config import ViTConfig

AGAINST = {
    # name: our dialect, distribution
    "timm": ("timm", "timm"),
    "transformers": ("huggingface", "transformers"),
    "monai": ("monai", "monai"),
    "keras-hub": ("keras_hub", "keras_hub"),
}
"""Whose own models can take part."""


@dataclass(frozen=True)
class Planned:
    """A contender to be started.

    Attributes:
        name: What to call it.
        fields: Its job, see `converters.benchmark.worker`.
        backend: Keras' backend, `"torch"` where there is none.
        named: Whether the caller asked for it by name: then it must run.
        baselines: Names of contenders to compare it with, the first that takes part.
    """

    name: str
    fields: dict[str, Any]
    backend: str = "torch"
    named: bool = True
    baselines: tuple[str, ...] = ()


def planned(
    canonical: Path,
    config: ViTConfig,
    folder: Path,
    *,
    against: str | None,
    backends: Sequence[str],
    artifacts: Sequence[Path],
    compile: bool,
    fresh: bool,
) -> list[Planned]:
    """All contenders; writes the files that they read.

    Args:
        canonical: The model's weights.
        config: Its config.
        folder: Where to write.
        against: A name of `AGAINST`.
        backends: Keras' backends; none named: see `converters.bench`.
        artifacts: Exported artifacts.
        compile: Whether torch models, and Keras models but on JAX, which always does,
            run compiled, too.
        fresh: Whether Keras models that were built anew run, too.

    Raises:
        ConversionError: If the library's names, or Keras', cannot hold the model.
    """
    said = config.to_dict()
    hub = against == "keras-hub"
    named = bool(backends)
    if not backends and (hub or against is None):
        backends = tuple(BACKENDS)
    kinds = ("eager", "compiled") if compile else ("eager",)
    found: list[Planned] = []
    if against is not None and not hub:
        source = _source(canonical, config, folder, against)
        for kind in kinds:
            fields = {"kind": "library", "source": source, "compile": kind != "eager"}
            found.append(Planned(f"{against} {kind}", {**fields, "config": said}))
    if hub:
        preset = folder / "preset"
        convert(canonical, preset, to_dialect="keras_hub", verify="none")
        fields = {"kind": "keras_hub", "model": str(preset), "config": said}
        for backend in backends:
            name = f"keras-hub {backend}"
            found.append(Planned(name, fields, backend, named))
            if compile and backend != "jax":
                own = {**fields, "compile": True}
                found.append(Planned(f"{name} compiled", own, backend, named, (name,)))
    else:
        for kind in kinds:
            fields = {"kind": "torch", "model": str(canonical), "config": said}
            own = {**fields, "compile": kind != "eager"}
            own_names = (f"{against} {kind}", f"torch {kinds[0]}")
            found.append(Planned(f"torch {kind}", own, baselines=own_names))
    if backends:
        file = folder / "model.keras"
        convert(canonical, file, with_preprocessing=False, verify="none")
        for backend in backends:
            fields = {"kind": "keras", "model": str(file), "config": said}
            name = f"keras {backend}"
            whose = f"{against} {backend}"
            found.append(Planned(name, fields, backend, named, (whose,)))
            if compile and backend != "jax":
                own = {**fields, "compile": True}
                both = (f"{whose} compiled", name)
                found.append(Planned(f"{name} compiled", own, backend, named, both))
            if fresh:
                own = {**fields, "fresh": True}
                found.append(Planned(f"{name}, built", own, backend, named, (name,)))
    for path in artifacts:
        fields = {"kind": "artifact", "model": str(path.resolve()), "config": said}
        fields["format"] = _format(path)
        found.append(Planned(path.name, fields))
    return found


def _source(
    canonical: Path, config: ViTConfig, folder: Path, against: str
) -> dict[str, Any]:
    """What `converters.parity.source_model.load_model` makes the library's model of."""
    dialect, package = AGAINST[against]
    path = folder / f"{dialect}.safetensors"
    report = convert(canonical, path, to_dialect=dialect, verify="none")
    return {
        "config": config.to_dict(),
        "model": str(path),
        "dialect": report.target_dialect or dialect,
        "prefix": None,
        "made": {},
        "package": package,
    }


def _format(path: Path) -> str:
    """Format of an exported artifact.

    Raises:
        ConversionError: If there is none, or its suffix is no format's.
    """
    if not path.exists():
        raise refusal("no such artifact", file=path)
    if path.is_dir():
        return kind_of(path) or "saved_model"
    if path.suffix not in SUFFIXES:
        known = ", ".join(SUFFIXES)
        raise refusal(
            f"no exported artifact: a folder of SavedModel or OpenVINO, {known}",
            file=path,
        )
    return SUFFIXES[path.suffix]
