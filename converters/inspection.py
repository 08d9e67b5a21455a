"""What is in a file of weights."""

from __future__ import annotations

import html
import json
import os
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from converters.checks import check_tensors, check_values
from converters.conversion import ConfigLike, load_config
from converters.engine import Pipe, Source, TensorInfo, Watched, fingerprint
from converters.files import Reader, format_of, open_reader
from converters.report import ConversionError, Issue, fold, printable
from vit_config import ViTConfig

MAX_ROWS = 400


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found in a file.

    Attributes:
        source: The file.
        format: `"safetensors"`, `"keras"` or `"weights.h5"`.
        dialect: How its tensors are named: `"canonical"`, `"keras"`, or `"unknown"`
            when they do not fit the config or there is none.
        config: The model's config, if the file or the caller gave one.
        tensors: Type and shape of each tensor under its name in the file.
        issues: What does not fit the config; empty without one.
        fingerprint: SHA-256 over the canonical weights, or empty if there are issues
            or no config.
    """

    source: Path
    format: str
    dialect: str
    config: ViTConfig | None
    tensors: dict[str, TensorInfo]
    issues: tuple[Issue, ...]
    fingerprint: str

    @property
    def parameters(self) -> int:
        """Number of scalars in all tensors."""
        return sum(info.size for info in self.tensors.values())

    @property
    def dtypes(self) -> tuple[str, ...]:
        """Every type that occurs."""
        return tuple(sorted({info.dtype for info in self.tensors.values()}))

    def to_dict(self) -> dict[str, Any]:
        """All fields as JSON types; of the path only the file's name."""
        config = self.config
        return {
            "source": self.source.name,
            "format": self.format,
            "dialect": self.dialect,
            "config": config.to_dict() if config else None,
            "architecture_hash": config.architecture_hash() if config else None,
            "parameters": self.parameters,
            "dtypes": list(self.dtypes),
            "tensors": {
                name: {"dtype": info.dtype, "shape": list(info.shape)}
                for name, info in self.tensors.items()
            },
            "issues": [issue.to_dict() for issue in self.issues],
            "fingerprint": self.fingerprint or None,
        }

    def to_json(self) -> str:
        """All fields as one line of JSON."""
        return json.dumps(self.to_dict())

    def _rows(self) -> list[tuple[str, str]]:
        rows = [
            ("file", f"{printable(self.source.name)} ({self.format})"),
            ("dialect", self.dialect),
            ("model", describe(self.config) if self.config else "config not known"),
            (
                "weights",
                f"{len(self.tensors)} tensors, {self.parameters:,} parameters, "
                + ", ".join(self.dtypes),
            ),
            ("fingerprint", self.fingerprint or "none: the weights were not checked"),
        ]
        return rows + [("problem", line) for line in fold(self.issues)[:20]]

    def __str__(self) -> str:
        lines = [f"{label:<12} {text}" for label, text in self._rows()]
        width = max((len(printable(name)) for name in self.tensors), default=0)
        for name, info in list(self.tensors.items())[:MAX_ROWS]:
            shape = " x ".join(map(str, info.shape)) or "scalar"
            lines.append(f"  {printable(name):<{width}}  {info.dtype:<8}  {shape}")
        if len(self.tensors) > MAX_ROWS:
            lines.append(f"  ... and {len(self.tensors) - MAX_ROWS} more")
        return "\n".join(lines)

    def _repr_html_(self) -> str:
        rows = "".join(
            f"<tr><th style='text-align:left'>{html.escape(label)}</th>"
            f"<td style='text-align:left'>{html.escape(text)}</td></tr>"
            for label, text in self._rows()
        )
        return f"<table>{rows}</table>"


def inspect(
    source: str | os.PathLike[str],
    *,
    config: ConfigLike | None = None,
    progress: Callable[[int], None] | None = None,
) -> Inspection:
    """Looks into a file; imports no framework and writes nothing.

    Args:
        source: A `.safetensors`, `.keras` or `.weights.h5`, or a folder of
            `save_pretrained`.
        config: The model's config, where the file does not hold one.
        progress: Called with the bytes of each tensor read.

    Raises:
        ConversionError: If the file is not what its name says.
        ConfigError: If its config describes no model.
    """
    path = Path(source)
    given = load_config(config)
    if given is None and not path.is_dir() and format_of(path) == "weights.h5":
        return _bare_h5(path)
    with open_reader(path, given) as reader:
        try:
            known = reader.config
        except ConversionError as error:
            if any(issue.name for issue in error.issues):
                raise  # two configs at odds, not none at all
            return _inspection(reader, None, ())
        plan = reader.plan()
        issues = check_tensors(reader, plan)
        if issues:
            return _inspection(reader, known, tuple(issues))
        watched = Watched(reader, progress or (lambda count: None))
        source_: Source = Pipe(watched, plan)
        issues, digests = check_values(source_, known, source_.tensors)
        digest = "" if issues else fingerprint(digests)
        return _inspection(reader, known, tuple(issues), digest)


def _inspection(
    reader: Reader,
    config: ViTConfig | None,
    issues: tuple[Issue, ...],
    digest: str = "",
) -> Inspection:
    misfit = any(issue.kind != "value" for issue in issues)
    return Inspection(
        source=reader.path,
        format=reader.format,
        dialect="unknown" if misfit or config is None else reader.dialect,
        config=config,
        tensors=dict(reader.tensors),
        issues=issues,
        fingerprint=digest,
    )


def _bare_h5(path: Path) -> Inspection:
    """Without a config the places in the file have no names."""
    from converters.files.h5_file import open_h5, scan

    with open_h5(path) as h5:
        tensors = scan(h5, path)
    return Inspection(path, "weights.h5", "unknown", None, tensors, (), "")


def describe(config: ViTConfig) -> str:
    """A model in one line."""
    size = "x".join(map(str, config.img_size))
    patch = "x".join(map(str, config.patch_size))
    output = (
        f"{config.num_classes} classes"
        if config.num_classes
        else (
            "tokens"
            if config.global_pool == "none"
            else f"{config.head_in_dim} features"
        )
    )
    return (
        f"{config.spatial_dims}D ViT, {config.depth} blocks of {config.embed_dim}, "
        f"{config.num_heads} heads, {config.in_chans}x{size}, patch {patch}, {output}"
    )
