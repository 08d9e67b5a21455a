"""What a dialect is: how one library's files name and lay out the tensors of a ViT.

A `Variant` is one way of naming that really occurs (a release's, a model type's). It is
a `Table` from its names (left) to the canonical ones (right), and four short lists
beside it, all generated from the config: what such a file holds that no model reads
(`drops`), what a written file needs beside the weights (`fills`), what the library
computes and stores nowhere (`computed`), and why a model may not be written in it
(`holds`). A `Dialect` is the variants of one library.

Most tables are a renaming of modules, so they are written as one::

    Table("hf-vit", renamed({
        "cls_token": "embeddings.cls_token",
        "blocks.{i}.norm1": "encoder.layer.{i}.layernorm_before",
        "blocks.{i}.attn.qkv": tuple(f"encoder.layer.{{i}}.attn.{n}" for n in "qkv"),
        ...
    }))

Whatever folds, drops or computes is no row of a table, but a named step outside.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from converters.libraries.assumptions import Assumptions
from converters.mapping.table import CANONICAL, Plan, Row, Table
from vit_config import ViTConfig
from vit_config.weights import RULES

Names = str | tuple[str, ...] | None
Shapes = Mapping[str, tuple[int, ...]]


@dataclass(frozen=True, slots=True)
class Fill:
    """A tensor that an export adds because the library expects it and never reads it.

    Attributes:
        shape: Its shape.
        value: The value of all its elements.
    """

    shape: tuple[int, ...]
    value: float = 0.0


@dataclass(frozen=True, slots=True)
class Computed:
    """A canonical tensor that a library computes anew and stores in no file.

    Attributes:
        rule: By which rule, in words.
        make: Gives the very bits that the rule stands for, in float32.
    """

    rule: str
    make: Callable[[], NDArray[np.float32]]


@dataclass(frozen=True, slots=True)
class Doubt:
    """Something that the outputs depend on and the tensors of a file do not decide.

    Attributes:
        field: What answers it: `"rope"` or `"block"`.
        reason: Why it is open.
        family: The models that have such tensors, where no plain ViT is known to.
        plain_too: Whether plain ViTs have such tensors as well, so that the name of a
            preset answers it.
    """

    field: str
    reason: str
    family: str = ""
    plain_too: bool = False

    def __str__(self) -> str:
        if self.family:
            return f"this looks like {self.family}, not a plain ViT: {self.reason}"
        return f"{self.field} is open: {self.reason}"


def _no_drops(config: ViTConfig) -> Mapping[str, str]:
    return {}


def _no_fills(config: ViTConfig) -> Mapping[str, Fill]:
    return {}


def _nothing_computed(config: ViTConfig) -> Mapping[str, Computed]:
    return {}


def _any_model(config: ViTConfig) -> Iterable[str]:
    return ()


def _fitting(shapes: Shapes) -> bool:
    return True


def _nothing(known: Mapping[str, Any]) -> Mapping[str, Any]:
    return {}


def _no_variant(name: str) -> None:
    return None


@dataclass(frozen=True, slots=True)
class Wrapper:
    """A class of the library that has a model and a linear head beside it.

    Attributes:
        prefix: Where the model is in it, with the dot.
        head: Name of the linear layer.
        pool: What that reads, a value of `global_pool`.
    """

    prefix: str
    head: str
    pool: str


def _no_doubts(says: Mapping[str, Any], shapes: Shapes) -> Iterable[Doubt]:
    return ()


@dataclass(frozen=True)
class Variant:
    """One way of naming.

    Attributes:
        name: What it is called: the dialect's name, `@` and a release or model type,
            `"monai@1.4"`.
        table: From its names to the canonical ones.
        signature: Names whose presence together proves the variant, without prefix;
            none for a variant that is only written, as its names are another's.
        absent: Names that would prove another variant. Variants of all dialects must
            exclude each other, or a file is ambiguous.
        fits: Whether the shapes (names without prefix) are the variant's, where those
            of another have the same names.
        says: Fields of the config that follow from the names and shapes of a file
            (names without prefix), and those that this library's models all share: its
            epsilon, its activation. A field that differs between models and is not in
            the file must not stand here; `...` takes back what names and shapes say.
        follows: Fields that follow in this library from others, which only the caller
            knows: what its mean is taken over, once it is known that it is a mean.
        output: Fields of what the library's own `forward` returns, `global_pool`; they
            count where the caller says nothing else.
        assumes: What changes the outputs and leaves no tensor: what it is taken to be,
            and what proves it, by topic (`assumptions.TOPICS`).
        doubts: What a file leaves open because models that are no plain ViTs have the
            same tensors; from the fields that it says, and its names and shapes.
        unsure: What a config leaves open about a file that names and shapes do not
            tell either; one line each. Reading is refused then.
        drops: Tensors that a file may hold and no model reads, each with the reason.
        fills: Tensors that a written file must hold although no model reads them.
        computed: Canonical tensors that are in no file of this kind, because the
            library computes them. Reading makes them once; writing leaves them out,
            and refuses a model whose tensor is not the computed one, bit by bit.
        holds: Why a config cannot be written in this variant; one line a reason,
            beginning with the field. A canonical tensor that the table has no place
            for is a reason by itself and need not be told.
        beside: Beginnings of names that may stand beside those of the encoder
            (`"decoder_"`), each with the reason why they are left out.
        around: The same, one level above a prefixed encoder (`"decoder5."` beside
            `"vit."`).
        alone: Whole names one level above a prefixed encoder, likewise.
        outside: Beginnings of names anywhere but behind the prefix, likewise.
        wrappers: Classes that have this model and a linear head beside it.
        export: Whether files can be written in it.
        architectures: Whether timm's names of architectures are presets for its files.
        told: Whether files are read in it only where the caller names it: its names
            are another variant's, and what it `says` is not in the file.
        family: The variant that stands for this one and its like where no number is
            given, `"facebook@dinov2+chunked"`; an empty text: none does.
        numbered: The variant of the same family whose numbers the names of a file have
            (without prefix).
    """

    name: str
    table: Table
    signature: frozenset[str]
    absent: frozenset[str] = frozenset()
    fits: Callable[[Shapes], bool] = field(default=_fitting, repr=False)
    says: Callable[[Shapes], Mapping[str, Any]] = field(default=_nothing, repr=False)
    follows: Callable[[Mapping[str, Any]], Mapping[str, Any]] = field(
        default=_nothing, repr=False
    )
    output: Mapping[str, Any] = field(default_factory=dict, repr=False)
    assumes: Assumptions = field(default_factory=dict, repr=False)
    doubts: Callable[[Mapping[str, Any], Shapes], Iterable[Doubt]] = field(
        default=_no_doubts, repr=False
    )
    unsure: Callable[[ViTConfig], Iterable[str]] = field(default=_any_model, repr=False)
    drops: Callable[[ViTConfig], Mapping[str, str]] = field(
        default=_no_drops, repr=False
    )
    fills: Callable[[ViTConfig], Mapping[str, Fill]] = field(
        default=_no_fills, repr=False
    )
    computed: Callable[[ViTConfig], Mapping[str, Computed]] = field(
        default=_nothing_computed, repr=False
    )
    holds: Callable[[ViTConfig], Iterable[str]] = field(default=_any_model, repr=False)
    beside: Mapping[str, str] = field(default_factory=dict, repr=False)
    around: Mapping[str, str] = field(default_factory=dict, repr=False)
    alone: Mapping[str, str] = field(default_factory=dict, repr=False)
    outside: Mapping[str, str] = field(default_factory=dict, repr=False)
    wrappers: tuple[Wrapper, ...] = ()
    export: bool = True
    architectures: bool = False
    told: bool = False
    family: str = ""
    numbered: Callable[[Collection[str]], Variant] | None = field(
        default=None, repr=False
    )

    def plan(self, config: ViTConfig, prefix: str = "") -> Plan:
        """From the names in a file, which may stand behind a prefix, to canonical."""
        plan = self.table.plan(config)
        if not prefix:
            return plan
        steps = tuple(
            replace(
                step, sources=tuple(name and prefix + name for name in step.sources)
            )
            for step in plan.steps
        )
        return replace(plan, steps=steps)

    def gaps(self, config: ViTConfig) -> list[str]:
        """Canonical tensors of the config that this variant has no place for."""
        known = {*self.table.plan(config).target_shapes, *self.computed(config)}
        return [n for n in CANONICAL.plan(config).target_shapes if n not in known]

    def problems(self, config: ViTConfig) -> list[str]:
        """Why the config cannot be written in this variant; empty if it can."""
        lines = list(self.holds(config))
        if not self.export:
            lines.append(f"{self.name}: can be read, but is not written")
        if lines:
            return lines
        if gaps := self.gaps(config):
            more = f" and {len(gaps) - 3} more" if len(gaps) > 3 else ""
            lines.append(f"{self.name} has no tensor for {', '.join(gaps[:3])}{more}")
        return lines


@dataclass(frozen=True)
class Dialect:
    """All variants of one library.

    Attributes:
        name: What `--from` and `--to` call it.
        library: The library and model, in words.
        variants: The variants; the first is the one that `--to` writes by default.
        config: Dialect of `ViTConfig.from_dialect` that reads the library's own config,
            or an empty text.
        layout: What the layout is called that no variant's name says, `"conv"` of
            `"monai@1.6"`.
        generated: The variant of a name that is not listed, for families with numbers.
        places: Where the library's model or config has what its files do not say, by
            field of the config.
    """

    name: str
    library: str
    variants: tuple[Variant, ...]
    config: str = ""
    layout: str = ""
    generated: Callable[[str], Variant | None] = field(default=_no_variant, repr=False)

    def named(self, name: str) -> Variant | None:
        """The variant of that very name, listed or generated."""
        listed = (variant for variant in self.variants if variant.name == name)
        return next(listed, None) or self.generated(name)

    places: Mapping[str, str] = field(default_factory=dict, repr=False)

    def matching(self, spec: str) -> tuple[Variant, ...]:
        """The variants that `"monai"`, `"monai@1.3"` or `"hf-vit@4"` mean, best first.

        A release between two that changed something means the earlier one. A release
        alone means all its layouts, `"monai@1.6+conv"` the one without a word.
        """
        base, _, wanted = spec.partition("@")
        if base != self.name:
            return ()
        if "@" not in spec:
            return self.variants
        exact = self.named(spec)
        release, layout = _release(wanted)
        if exact is not None and (layout or not release):
            return (exact,)
        older = [
            (*_release(variant.name.partition("@")[2]), variant)
            for variant in self.variants
        ]
        older = [
            (number, how, variant)
            for number, how, variant in older
            if number and number <= release and layout in ("", how or self.layout)
        ]
        newest = max((number for number, _, _ in older), default=())
        return tuple(variant for number, _, variant in older if number == newest)


def _release(text: str) -> tuple[tuple[int, ...], str]:
    """`"1.4+perceptron"` -> (1, 4) and the layout; no release -> ()."""
    number, _, layout = text.partition("+")
    parts = number.split(".")
    return tuple(map(int, parts)) if all(p.isdecimal() for p in parts) else (), layout


def renamed(modules: Mapping[str, Names], extra: Iterable[Row] = ()) -> tuple[Row, ...]:
    """Rows from `vit_config.weights.RULES` by renaming modules.

    Args:
        modules: Canonical name of a tensor, or of a module above tensors (cut at a
            dot; the longest that fits counts), to the foreign name. Several foreign
            names are equal parts of the first axis (q, k, v). None, or no entry at
            all: the foreign library has no such tensor.
        extra: Rows that are no renaming; they take the place of rules with the same
            canonical name, where they are listed first.

    Raises:
        ValueError: If a canonical name in `modules` is nobody's, or the first axis of
            a tensor cannot be taken apart.
    """
    extra = tuple(extra)
    special = {name for row in extra for name in row.targets}
    used = set()
    rows: list[Row] = []
    for rule in RULES:
        if rule.torch in special:
            rows += [row for row in extra if rule.torch in row.targets]
            extra = tuple(row for row in extra if rule.torch not in row.targets)
            continue
        module = _longest(rule.torch, modules)
        used.add(module)
        names = modules.get(module)
        if names is None:
            continue
        leaf = rule.torch.removeprefix(module)
        axes = rule.torch_axes
        if isinstance(names, str):
            names, left = (names,), axes
        else:
            left = _opened(axes)
        sources = tuple(name and name + leaf for name in names)
        rows.append(Row(sources, (rule.torch,), f"{left} -> {axes}", rule.when))
    unknown = sorted(set(modules) - used - special)
    if unknown:
        raise ValueError(f"no canonical tensor is called {', '.join(unknown)}")
    return (*rows, *extra)


def _longest(name: str, modules: Mapping[str, Names]) -> str:
    fits = [m for m in modules if name == m or name.startswith(f"{m}.")]
    return max(fits, key=len, default="")


def _opened(axes: str) -> str:
    """Takes the first axis out of its group: `"(s h e) d"` -> `"s (h e) d"`."""
    match = re.match(r"\((\w) ([^)]+)\)(.*)", axes)
    if match is None:
        raise ValueError(f"the first axis of {axes!r} has no parts")
    first, rest, tail = match.groups()
    rest = f"({rest})" if " " in rest else rest
    return f"{first} {rest}{tail}"
