"""A file in a foreign dialect as a reader like any other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Protocol, Self

import numpy as np

from converters.errors import Issue, printable, refusal
from converters.files.contents import others_of
from converters.libraries.dropping import check_not_needed
from converters.libraries.given import Given
from converters.libraries.infer import complete
from converters.libraries.recognise import Match
from converters.libraries.variant import Fill, Variant
from converters.mapping.pipe import (
    FLOATS,
    Array,
    Digests,
    Pipe,
    Source,
    TensorInfo,
    cast,
    np_dtype,
    sha256,
)
from converters.mapping.table import CANONICAL, Plan
from converters.sources.choice import NOTHING, Choice, dropped, plan_of
from converters.sources.extras import Extras
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
    like everywhere else. What the library computes and stores nowhere is made here, in
    the file's type, and served as one more tensor; `computed` says by which rule.
    `remarks` are what a report should say of the file and its config.

    Args:
        raw: The file.
        match: Dialect, variant and prefix.
        config: The model's config.
        choice: What the caller chose.
    """

    def __init__(
        self,
        raw: RawFile,
        match: Match,
        config: ViTConfig,
        choice: Choice = NOTHING,
    ) -> None:
        self.path, self.format = raw.path, raw.format
        self.match, self.config = match, config
        self.dialect = match.variant.name
        self.others = others_of(raw)
        self.head = choice.head
        self._shapes = {name: info.shape for name, info in raw.tensors.items()}
        own = plan_of(match, config, choice.head).source_shapes
        if not choice.lacking:
            check_not_needed(choice.drop, own, raw.path)
        self.dropped = dropped(raw.tensors, match, config, own, choice)
        self.tensors = {n: t for n, t in raw.tensors.items() if n not in self.dropped}
        self._made = {
            f"{name} (computed)": (name, entry)
            for name, entry in match.variant.computed(config).items()
        }
        self.computed = {name: entry.rule for name, entry in self._made.values()}
        self._add_computed()
        self.steps: tuple[str, ...] = choice.steps(match.prefix)
        self.effects = choice.effects()
        self.remarks: tuple[str, ...] = tuple(getattr(raw, "remarks", ()))
        self._raw = raw

    @classmethod
    def opened(
        cls,
        raw: RawFile,
        match: Match,
        given: Given,
        choice: Choice = NOTHING,
    ) -> Self:
        """A reader whose config comes from the file and from the caller.

        Raises:
            ConversionError: If the two are at odds, or do not say all.
        """
        from converters.checks.source import with_steps

        start = len(match.prefix)
        shapes = {
            name[start:]: info.shape
            for name, info in raw.tensors.items()
            if name.startswith(match.prefix)
        }
        config = complete(match.variant, shapes, given, raw.path, choice.head)
        if choice.head is not None:
            choice.head.check(config, raw.path)
        gaps = match.variant.gaps(config)
        if choice.head is not None:
            gaps = [name for name in gaps if not name.startswith("head.")]
        if gaps:
            raise refusal(
                f"files of {match.variant.name} have no place for "
                f"{', '.join(gaps[:3])}, which the config asks for",
                file=raw.path,
                kind="config",
            )
        open_questions = list(match.variant.unsure(config))
        if open_questions:
            raise refusal("; ".join(open_questions), file=raw.path, kind="config")
        config = named(config, match.variant, match.dialect.library)
        config = with_steps(config, choice.steps(match.prefix))
        return cls(raw, match, config, choice)

    def _add_computed(self) -> None:
        """One more tensor for each that is computed, of the type that most have."""
        if not self._made:
            return
        own = plan_of(self.match, self.config, self.head).source_shapes
        types = Counter(self.tensors[n].dtype for n in own if n in self.tensors)
        most = max(types, key=lambda kind: types[kind], default="float32")
        self._dtype = most if most in (*FLOATS, "float64") else "float32"
        shapes = CANONICAL.plan(self.config).target_shapes
        for name, (target, _) in self._made.items():
            if name in self.tensors:
                raise refusal(f'"{printable(name)}" is no name here', file=self.path)
            self.tensors[name] = TensorInfo(self._dtype, shapes[target])

    def read(self, name: str) -> Array:
        """The values of one tensor."""
        if name in self._made:
            return cast(self._made[name][1].make(), self._dtype)
        return self._raw.read(name)

    def plan(self) -> Plan:
        """From the file's names to the canonical ones."""
        plan = plan_of(self.match, self.config, self.head)
        names = {target: name for name, (target, _) in self._made.items()}
        extra = tuple(
            replace(step, sources=(names[step.targets[0]],))
            for step in CANONICAL.plan(self.config).steps
            if step.targets[0] in names
        )
        return replace(plan, steps=(*extra, *plan.steps))

    def advice(self, names: Iterable[str]) -> str:
        """What to do about tensors that are not the model's."""
        own = self.plan().source_shapes
        prefix = self.match.prefix
        return Extras.of(names, own, self._shapes, prefix, self.config).advice()

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


def written(path: Path, variant: Variant, config: ViTConfig) -> DialectReader:
    """A file, or a preset, that was written in a variant just now."""
    from converters.files.safetensors_file import SafetensorsReader
    from converters.files.sharded_file import ShardedFile
    from converters.libraries import load
    from converters.libraries.keras_hub.file import KerasHubFile

    dialect = load(variant.name.partition("@")[0])
    kind = ShardedFile if path.name.endswith(".json") else SafetensorsReader
    raw: RawFile = KerasHubFile(path) if path.is_dir() else kind(path)
    return DialectReader(raw, Match(dialect, variant, ""), config)


def fill_issues(
    reader: DialectReader, variant: Variant, config: ViTConfig
) -> list[Issue]:
    """Whether the tensors that an export adds are there, and no others were dropped."""
    fills = variant.fills(config)
    odd = sorted(set(fills) ^ set(reader.dropped))
    return [Issue("file", name, "not written as planned") for name in odd]


def computed_issues(
    variant: Variant, config: ViTConfig, source: Source, digests: Digests
) -> list[Issue]:
    """Tensors that the variant's library would compute otherwise than they are here."""
    issues = []
    for name, entry in variant.computed(config).items():
        dtype, _, digest = digests[name]
        made = cast(entry.make(), dtype)
        if sha256(made) == digest:
            continue
        apart = np.abs(made.astype(np.float64) - source.read(name).astype(np.float64))
        issues.append(
            Issue(
                "value",
                name,
                f"a table of its own, up to {apart.max():.2g} apart",
                f"bit by bit {entry.rule}: such files have no place for another",
            )
        )
    return issues


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
