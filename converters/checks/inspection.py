"""What is in a file of weights."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from converters.checks.architecture import (
    Rows,
    identity_facts,
    identity_rows,
    model_rows,
)
from converters.checks.audit import audit, takes
from converters.checks.source import advice
from converters.checks.tensors import check_tensors, check_values
from converters.conversion.raw_input import WHOLE
from converters.conversion.report import StepEffect
from converters.errors import ConversionError, Issue, fold, named, printable
from converters.files import Raw, Reader, format_of
from converters.files.contents import OtherContents, others_of
from converters.mapping.pipe import Pipe, Source, TensorInfo, Watched, fingerprint
from converters.reports.html_table import html_table
from converters.sources.dialect_reader import RawFile
from converters.sources.door import located, open_raw, open_source, read_raw
from converters.sources.partial import Partial, partial
from converters.sources.request import Asked, ConfigLike
from converters.wording import Blank, options
from vit_config import ViTConfig

SHOWN = 6
"""Names that are listed of a file whose names are nobody's."""


_UNKNOWN = "config not known"


@dataclass(frozen=True, slots=True)
class Inspection:
    """What was found in a file.

    Attributes:
        source: The file.
        format: `"safetensors"`, `"torch"`, `"keras"` or `"weights.h5"`.
        dialect: How its tensors are named: `"canonical"`, `"keras"`, the variant of a
            dialect (`"monai@1.4"`), or `"unknown"` when they do not fit the config or
            the names are nobody's.
        config: The model's config, if the file and the caller say all of it.
        tensors: Type and shape of each tensor under its name in the file.
        issues: What does not fit the config; empty without one.
        fingerprint: SHA-256 over the canonical weights, or empty if there are issues
            or no config.
        dropped: Tensors that a written rule leaves out, each with the reason.
        fields: Without a config: the fields of it that names and shapes say.
        unknown: Without a config: why there is none, and what to do about it.
        remarks: What is odd about the file and can do no harm.
        raw: What a Keras model takes that has its preprocessing inside.
        others: What the file holds beside the weights.
        effects: What is to be said of the steps that were taken in reading it.
        advice: What to do about tensors that are not the model's.
    """

    source: Path
    format: str
    dialect: str
    config: ViTConfig | None
    tensors: Mapping[str, TensorInfo]
    issues: tuple[Issue, ...]
    fingerprint: str
    dropped: Mapping[str, str] = field(default_factory=dict)
    fields: Mapping[str, Any] = field(default_factory=dict)
    unknown: tuple[str, ...] = ()
    remarks: tuple[str, ...] = ()
    raw: Raw | None = None
    others: OtherContents = field(default_factory=OtherContents)
    effects: tuple[StepEffect, ...] = ()
    advice: str = ""

    @property
    def ok(self) -> bool:
        """Whether `convert` takes it: the config is known, and the weights fit it."""
        return self.config is not None and not self.issues

    @property
    def whole(self) -> bool:
        """Whether it is a model that Keras loads, and not weights alone."""
        return self.format in WHOLE

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
            "ok": self.ok,
            "source": self.source.name,
            "format": self.format,
            "dialect": self.dialect,
            "config": config.to_dict() if config else None,
            **self._identity(),
            "parameters": self.parameters,
            "dtypes": list(self.dtypes),
            "tensors": {
                name: {"dtype": info.dtype, "shape": list(info.shape)}
                for name, info in self.tensors.items()
            },
            "issues": [issue.to_dict() for issue in self.issues],
            "dropped": dict(self.dropped),
            "fields": dict(self.fields),
            "unknown": list(self.unknown),
            "remarks": list(self.remarks),
            "with_preprocessing": self.raw is not None,
            **self.others.to_dict(),
            "effects": [effect.to_dict() for effect in self.effects],
            "advice": self.advice,
        }

    def to_json(self) -> str:
        """All fields as one line of JSON."""
        return json.dumps(self.to_dict())

    def _identity(self) -> dict[str, Any]:
        if self.config is None:
            names = ("architecture_hash", "fingerprint", "model_fingerprint")
            return {**dict.fromkeys(names), "stated": []}
        found = identity_facts(self.config, self.fingerprint)
        if not self.fingerprint:
            found |= {"fingerprint": None, "model_fingerprint": None}
        return found

    def _rows(self) -> Rows:
        rows: Rows = [
            (
                "file",
                f"{printable(self.source.name)} ({self.format}, {self.dialect})",
            ),
            *(model_rows(self.config) if self.config else [("model", _UNKNOWN)]),
            (
                "weights",
                f"{len(self.tensors)} tensors, {self.parameters:,} parameters, "
                + ", ".join(self.dtypes),
            ),
        ]
        if self.config is not None and self.fingerprint:
            rows += identity_rows(self.config, self.fingerprint)
        else:
            rows.append(("fingerprint", "none: the weights were not checked"))
        if self.config is not None:
            rows += [("input", takes(self.config, self.raw))] if self.whole else []
            rows += audit(self.config)
        rows += self._others()
        rows += [("", note) for effect in self.effects for note in effect.notes]
        for reason in dict.fromkeys(self.dropped.values()):
            count = list(self.dropped.values()).count(reason)
            plural = "s" if count != 1 else ""
            rows.append(("dropped", f"{count} tensor{plural}: {reason}"))
        if self.fields:
            rows.append(("the file says", _unlike_plain(self.fields)))
        rows += [("remark", printable(line, 300)) for line in self.remarks]
        if self.config is None and not self.fields:
            rows.append(("names", self._names()))
        rows += [("not known", line) for line in self.unknown]
        rows += [("problem", line) for line in fold(self.issues)[:20]]
        return rows + [("", line) for line in self.advice.splitlines()]

    def _others(self) -> list[tuple[str, str]]:
        if self.config is None:
            return self.others.rows(self.fields.get("num_classes"))
        return self.others.rows(self.config.num_classes, self.config.labels)

    def _names(self) -> str:
        more = len(self.tensors) - SHOWN
        shown = ", ".join(printable(name) for name in list(self.tensors)[:SHOWN])
        return f"{shown} and {more} more" if more > 0 else shown

    def text(self, tensors: bool = False) -> str:
        """The model in some ten lines.

        Args:
            tensors: List all tensors, too: name in the file, type, shape.
        """
        lines = [f"{label:<13} {text}" for label, text in self._rows()]
        if not tensors:
            return "\n".join(lines)
        width = max((len(printable(name)) for name in self.tensors), default=0)
        for name, info in self.tensors.items():
            shape = " x ".join(map(str, info.shape)) or "scalar"
            lines.append(f"  {printable(name):<{width}}  {info.dtype:<8}  {shape}")
        return "\n".join(lines)

    def __str__(self) -> str:
        return self.text()

    def _repr_html_(self) -> str:
        return html_table(self._rows())


def _unlike_plain(fields: Mapping[str, Any]) -> str:
    """Fields that a file says, without those that are as in any plain ViT."""
    known = ViTConfig.model_fields
    texts = (
        f"{name}={value!r}"
        for name, value in fields.items()
        if name not in known or value != known[name].get_default()
    )
    return f"{', '.join(texts)}; whatever else it says is as in a plain ViT"


@named("inspection")
def inspect(
    source: str | os.PathLike[str],
    *,
    config: ConfigLike | None = None,
    preset: str | None = None,
    changes: Mapping[str, Any] | None = None,
    from_dialect: str | None = None,
    prefix: str | None = None,
    drop: str | Sequence[str] = (),
    head: str | None = None,
    base: str | os.PathLike[str] | None = None,
    progress: Callable[[int], None] | None = None,
) -> Inspection:
    """Looks into a file as `convert` would, and writes nothing.

    Imports no framework. Where the file and the caller do not say all of the config,
    what is known is shown.

    Args:
        source: Whatever `convert` reads.
        config: The model's config, where the source does not hold one.
        preset: Name of a preset, instead of a config.
        changes: Fields of the config that stand above config and preset.
        from_dialect: Whose names the source has; recognised if None.
        prefix: What stands before the model's names; found if None.
        drop: As in `convert`.
        head: As in `convert`.
        base: As in `convert`.
        progress: Called with the bytes of each tensor read.

    Raises:
        ConversionError: If the file is not what its name says, or if what is given is
            at odds with it.
        ConfigError: If its config describes no model.
    """
    asked = Asked.by(from_dialect, prefix, config, preset, changes, drop, head, base)
    path, asked = located(source, asked)
    tick = progress or (lambda count: None)
    raw, asked = open_raw(path, asked)
    if raw is None:
        said = asked.config is not None or asked.preset is not None
        if not said and not path.is_dir() and format_of(path) == "weights.h5":
            return _bare_h5(path)
        with open_source(path, asked) as reader:
            return _whole(reader, tick)
    try:
        tensors = dict(raw.tensors)
        try:
            reader = read_raw(raw, asked)
        except ConversionError as error:
            return _part(raw, asked, error, tensors)
        with reader:
            return _whole(reader, tick, tensors)
    finally:
        raw.close()


def _whole(
    reader: Reader,
    tick: Callable[[int], None],
    tensors: Mapping[str, TensorInfo] | None = None,
) -> Inspection:
    """What a reader has, checked where there is a config."""
    tensors = dict(reader.tensors) if tensors is None else tensors
    try:
        known = reader.config
    except ConversionError as error:
        if any(issue.name for issue in error.issues):
            raise  # two configs at odds, not none at all
        why = Partial("unknown", {}, _lines(error))
        return _without_config(reader.path, reader.format, why, tensors)
    plan = reader.plan()
    issues = check_tensors(reader, plan)
    digest = ""
    if not issues:
        source: Source = Pipe(Watched(reader, tick), plan)
        issues, digests = check_values(source, known, source.tensors)
        digest = "" if issues else fingerprint(digests)
    misfit = any(issue.kind != "value" for issue in issues)
    return Inspection(
        source=reader.path,
        format=reader.format,
        dialect="unknown" if misfit else reader.dialect,
        config=known,
        tensors=tensors,
        issues=tuple(issues),
        fingerprint=digest,
        dropped=dict(getattr(reader, "dropped", {})),
        remarks=tuple(getattr(reader, "remarks", ())),
        raw=getattr(reader, "raw", None),
        others=others_of(reader),
        effects=getattr(reader, "effects", ()),
        advice=advice(issues, reader),
    )


def _part(
    raw: RawFile,
    asked: Asked,
    error: ConversionError,
    tensors: Mapping[str, TensorInfo],
) -> Inspection:
    """What is known of a file that nobody can read without being told more."""
    if any(issue.name for issue in error.issues):
        raise error  # what was given is at odds with the file
    known = partial(tensors, asked.dialect, asked.prefix)
    if known is None and asked.dialect is not None:
        raise error
    known = known or Partial("unknown", {})
    why = Partial(known.dialect, known.fields, _lines(error))
    found = _without_config(raw.path, raw.format, why, tensors)
    return replace(found, others=others_of(raw))


def _without_config(
    path: Path, kind: str, known: Partial, tensors: Mapping[str, TensorInfo]
) -> Inspection:
    return Inspection(
        source=path,
        format=kind,
        dialect=known.dialect,
        config=None,
        tensors=tensors,
        issues=(),
        fingerprint="",
        fields=known.fields,
        unknown=known.why,
    )


def _lines(error: ConversionError) -> tuple[str, ...]:
    """Problem and advice, a line each."""
    return (*(i.found for i in error.issues), *([error.hint] if error.hint else ()))


def _bare_h5(path: Path) -> Inspection:
    """Without a config the places in the file have no names."""
    from converters.files.h5_file import open_h5, scan

    with open_h5(path) as h5:
        tensors = scan(h5, path)
    config, preset = options(config=Blank("FILE")), options(preset=Blank("NAME"))
    hint = f"the model: such a file does not say it. Give {config} or {preset}"
    known = Partial("unknown", {}, (hint,))
    return _without_config(path, "weights.h5", known, tensors)
