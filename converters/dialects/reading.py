"""A file in a foreign dialect as a reader like any other."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from converters.dialects.base import Fill, Variant
from converters.dialects.derive import Given, complete
from converters.dialects.recognise import Match
from converters.engine import Array, Pipe, Source, TensorInfo, np_dtype
from converters.report import Issue, refusal
from converters.rules import Plan
from vit_config import SourceConfig, ViTConfig


class RawFile(Protocol):
    """A file of named tensors that does not say which model they are.

    Attributes:
        path: Where it is.
        format: Its format.
    """

    path: Path
    format: str

    @property
    def tensors(self) -> Mapping[str, TensorInfo]:
        """Every tensor of the file."""

    def read(self, name: str) -> Array:
        """The values of one tensor."""

    def close(self) -> None:
        """Lets the file go."""


class DialectReader:
    """The tensors of one model in a file, under the names of their dialect.

    What the dialect drops by a written rule is left out here, with the rule's reason in
    `dropped`; any other name that the model does not have stays, and is then refused
    like everywhere else.

    Args:
        raw: The file.
        match: Dialect, variant and prefix.
        config: The model's config.
        chosen: Whether the caller chose the prefix: everything else is left out then.
    """

    def __init__(
        self, raw: RawFile, match: Match, config: ViTConfig, chosen: bool = False
    ) -> None:
        self.path, self.format = raw.path, raw.format
        self.match, self.config = match, config
        self.dialect = match.variant.name
        self.dropped = dropped(raw.tensors, match, config, chosen)
        self.tensors = {n: t for n, t in raw.tensors.items() if n not in self.dropped}
        self.steps: tuple[str, ...] = (f"take_prefix:{match.prefix}",) if chosen else ()
        self._raw = raw

    @classmethod
    def opened(
        cls, raw: RawFile, match: Match, given: Given, chosen: bool = False
    ) -> Self:
        """A reader whose config comes from the file and from the caller.

        Raises:
            ConversionError: If the two are at odds, or do not say all.
        """
        from converters.transfer import with_steps

        start = len(match.prefix)
        shapes = {
            name[start:]: info.shape
            for name, info in raw.tensors.items()
            if name.startswith(match.prefix)
        }
        config = complete(match.variant, shapes, given, raw.path)
        gaps = match.variant.gaps(config)
        if gaps:
            raise refusal(
                f"files of {match.variant.name} do not hold {', '.join(gaps[:3])}, "
                "which the model needs; reading them is not supported yet",
                file=raw.path,
                kind="config",
            )
        config = named(config, match.variant, match.dialect.library)
        if chosen:
            config = with_steps(config, (f"take_prefix:{match.prefix}",))
        return cls(raw, match, config, chosen)

    def read(self, name: str) -> Array:
        """The values of one tensor."""
        return self._raw.read(name)

    def plan(self) -> Plan:
        """From the file's names to the canonical ones."""
        return self.match.variant.plan(self.config, self.match.prefix)

    def close(self) -> None:
        """Lets the file go."""
        self._raw.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def named(config: ViTConfig, variant: Variant, library: str) -> ViTConfig:
    """Notes the dialect in the config, if no other origin stands there."""
    source = config.source or SourceConfig()
    if source.dialect is not None:
        return config
    fields = {**source.model_dump(mode="json"), "dialect": variant.name}
    fields["library"] = source.library or library
    return config.replace(source=fields)


def dropped(
    names: Collection[str], match: Match, config: ViTConfig, chosen: bool = False
) -> dict[str, str]:
    """The tensors that a written rule leaves out, each with the reason."""
    variant, prefix = match.variant, match.prefix
    dead = {prefix + name: why for name, why in variant.drops(config).items()}
    starts = {prefix + start: why for start, why in variant.beside.items()}
    parent = prefix[: prefix[:-1].rfind(".") + 1]
    if prefix:
        starts |= {parent + start: why for start, why in variant.around.items()}
    own = variant.plan(config, prefix).source_shapes
    found = {}
    for name in names:
        if name in own:
            continue
        reason = dead.get(name) or next(
            (why for start, why in starts.items() if name.startswith(start)), ""
        )
        if not reason and chosen and not name.startswith(prefix):
            reason = f"not behind the prefix {prefix!r} that was asked for"
        if reason:
            found[name] = reason
    return found


def written(path: Path, variant: Variant, config: ViTConfig) -> DialectReader:
    """A file that was written in a variant just now."""
    from converters.dialects import load
    from converters.files.safetensors_file import SafetensorsReader

    dialect = load(variant.name.partition("@")[0])
    return DialectReader(SafetensorsReader(path), Match(dialect, variant, ""), config)


def fill_issues(
    reader: DialectReader, variant: Variant, config: ViTConfig
) -> list[Issue]:
    """Whether the tensors that an export adds are there, and no others were dropped."""
    fills = variant.fills(config)
    odd = sorted(set(fills) ^ set(reader.dropped))
    return [Issue("file", name, "not written as planned") for name in odd]


class Foreign:
    """Canonical tensors under the names of a variant, with what it needs beside them.

    Args:
        source: Canonical tensors.
        config: Their config.
        variant: The variant to write.
    """

    def __init__(self, source: Source, config: ViTConfig, variant: Variant) -> None:
        self._pipe = Pipe(source, variant.plan(config).inverse())
        self._fills: Mapping[str, Fill] = variant.fills(config)
        self._dtype = next(iter(source.tensors.values())).dtype
        self.tensors = dict(self._pipe.tensors) | {
            name: TensorInfo(self._dtype, fill.shape)
            for name, fill in self._fills.items()
        }

    def read(self, name: str) -> Array:
        """The values of one tensor."""
        fill = self._fills.get(name)
        if fill is None:
            return self._pipe.read(name)
        return np.full(fill.shape, fill.value, np_dtype(self._dtype))
