"""Linear layers of a file that are not where its library puts the head.

A fine-tuned model often ends in a layer of one's own: `Sequential(Dropout, Linear)` in
place of the head, or `self.classifier` beside `self.backbone`. Such a layer is taken
for the head where the names of the library decide it, or where the caller names it;
what it reads (class token, mean) is decided by neither its name nor its shape.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from converters.errors import ConversionError, printable, refusal
from converters.libraries.dropping import first_levels
from converters.libraries.given import Given
from converters.libraries.recognise import Match
from converters.libraries.variant import Shapes, Variant
from converters.wording import Blank, options, setting
from vit_config import ViTConfig

POOLS = {1: ("token", "avg"), 2: ("token_avg",)}
"""What a head may read, by its width as a multiple of the model's."""

WEIGHT, BIAS = ".weight", ".bias"


@dataclass(frozen=True)
class Linear:
    """A linear layer in a file.

    Attributes:
        name: Its name in the file, without a dot at the end.
        outputs: Rows of its weight.
        inputs: Columns.
        bias: Whether it has a bias.
    """

    name: str
    outputs: int
    inputs: int
    bias: bool

    @property
    def tensors(self) -> tuple[str, ...]:
        """Names of its tensors."""
        return (self.name + WEIGHT, *([self.name + BIAS] if self.bias else []))

    def __str__(self) -> str:
        return f'"{printable(self.name)}" ({self.outputs} x {self.inputs})'


@dataclass(frozen=True)
class Head:
    """A linear layer that is read as the model's head.

    Attributes:
        layer: The layer.
        pool: What it reads, a value of `global_pool`, where the class that has these
            names decides it; else an empty text.
        notes: What is taken for granted, a sentence each.
        chosen: Whether the caller names it.
        in_place: Whether it is inside the module that is the head in the library.
        pooler: Whether it is no classifier but the layer with a tanh before one, which
            Hugging Face calls the pooler.
    """

    layer: Linear
    pool: str = ""
    notes: tuple[str, ...] = ()
    chosen: bool = False
    in_place: bool = False
    pooler: bool = False

    @property
    def step(self) -> str:
        """Its text in `source.steps`."""
        assumed = ":assumed" if self.notes and not self.chosen else ""
        return f"head:{self.layer.name}{assumed}"

    def beside(self, variant: Variant, shapes: Shapes) -> dict[str, tuple[int, ...]]:
        """The shapes of a file with this one where the library has its head."""
        if not self.in_place:
            return dict(shapes)
        own = own_head(variant)
        shape = (self.layer.outputs, self.layer.inputs)
        found = {n: s for n, s in shapes.items() if not n.startswith(f"{own}.")}
        found[own + WEIGHT] = shape
        if self.layer.bias:
            found[own + BIAS] = shape[:1]
        return found

    def stated(
        self, says: Mapping[str, Any], given: Given, file: Path
    ) -> tuple[dict[str, Any], Given]:
        """What the file says, and what the caller does, once this is the head.

        A config that knows no head is one of the model that the head stands beside.

        Raises:
            ConversionError: If nobody says what the head reads.
        """
        if self.pooler:
            more = {"representation_size": self.layer.outputs, "global_pool": "token"}
            return dict(says), replace(given, changes={**more, **given.changes})
        says = {k: v for k, v in says.items() if (k, v) != ("global_pool", "none")}
        own = {"num_classes": self.layer.outputs, "head_bias": self.layer.bias}
        says |= own
        config = given.config
        if config is None:
            stands = given.preset is not None or "global_pool" in says
            pool = {} if stands or not self.pool else {"global_pool": self.pool}
            return says, replace(given, changes={**pool, **given.changes})
        if config.num_classes:
            return says, given
        changes = {**own, **given.changes}
        if "global_pool" not in changes and config.global_pool == "none":
            if not self.pool:
                raise self._unpooled(config, file)
            changes["global_pool"] = self.pool
        return says, replace(given, changes=changes)

    def _unpooled(self, config: ViTConfig, file: Path) -> ConversionError:
        fits = POOLS.get(self.layer.inputs // config.embed_dim, ())
        known = " or ".join(setting(global_pool=pool) for pool in fits)
        return refusal(
            f"the config does not say what {self.layer} reads: global_pool is 'none'",
            file=file,
            hint=f"State it: {known or setting(global_pool=Blank('POOL'))}",
            kind="config",
        )

    def check(self, config: ViTConfig, file: Path) -> None:
        """Whether it is as wide as what it is to read.

        Raises:
            ConversionError: If not.
        """
        if self.pooler or self.layer.inputs == config.head_in_dim:
            return
        width = config.embed_dim
        raise refusal(
            f"{self.layer} reads {self.layer.inputs} values; with global_pool="
            f"{config.global_pool!r} there are {config.head_in_dim}",
            file=file,
            hint=f"A head reads {width} values (token, avg, max, map) or {2 * width} "
            "(token_avg); one that reads more, or what comes before the last block, "
            "is not in the schema. "
            f"{options(drop=self.layer.name + '.*')} leaves it out.",
            kind="config",
        )


def own_head(variant: Variant) -> str:
    """What a variant calls the head, or an empty text."""
    for row in variant.table.rows:
        if row.targets == ("head.weight",) and row.sources[0].endswith(WEIGHT):
            return row.sources[0].removesuffix(WEIGHT)
    return ""


def linear_layers(shapes: Shapes) -> dict[str, Linear]:
    """Every module that is one linear layer and nothing else, by its name."""
    counts: dict[str, int] = {}
    for name in shapes:
        parts = name.split(".")
        for end in range(1, len(parts)):
            module = ".".join(parts[:end])
            counts[module] = counts.get(module, 0) + 1
    found = {}
    for name, shape in shapes.items():
        module = name.removesuffix(WEIGHT)
        if module == name or len(shape) != 2:
            continue
        bias = shapes.get(module + BIAS)
        if counts[module] == 1 + (bias == shape[:1]):
            found[module] = Linear(module, shape[0], shape[1], bias is not None)
    return found


def _only_layer(module: str, shapes: Shapes) -> Linear | None:
    """The linear layer that a module is, or the one that is all it holds."""
    inside = {n: s for n, s in shapes.items() if n.startswith(f"{module}.")}
    layers = list(linear_layers(inside).values())
    if len(layers) == 1 and len(inside) == len(layers[0].tensors):
        return layers[0]
    return None


def library_head(match: Match, shapes: Shapes) -> Head | None:
    """A layer in the place of the library's head, under another name.

    Args:
        match: Whose names the file has.
        shapes: Every tensor of the file.
    """
    variant, prefix = match.variant, match.prefix
    own = own_head(variant)
    if own and prefix + own + WEIGHT in shapes:
        return None
    places = {}
    top = own.partition(".")[0]
    rows = (n for row in variant.table.rows for n in row.sources)
    others = any(n.startswith(f"{top}.") and prefix + n in shapes for n in rows)
    if own and not others and not own.rpartition(".")[2].isdecimal():
        places[prefix + top] = ""  # a number: a layer of a Sequential of the library's
    for wrapper in variant.wrappers:
        start = prefix.removesuffix(wrapper.prefix)
        if start != prefix and (not start or start.endswith(".")):
            places[start + wrapper.head] = wrapper.pool
    for place, pool in places.items():
        layer = _only_layer(place, shapes)
        if layer is not None:
            notes = _assumptions(layer, match, shapes)
            notes += _over_pooler(layer, match, shapes)
            return Head(layer, pool, notes, in_place=place == prefix + top)
    return None


def _assumptions(layer: Linear, match: Match, shapes: Shapes) -> tuple[str, ...]:
    """What is taken for granted of a layer in a Sequential, or in the head's place."""
    own = match.prefix + own_head(match.variant)
    if not layer.name.rpartition(".")[2].isdecimal() and not layer.name.startswith(own):
        return ()
    return (
        f"assumed: {printable(layer.name)} is all of the head; an activation beside it "
        "would leave no tensor",
    )


def _over_pooler(layer: Linear, match: Match, shapes: Shapes) -> tuple[str, ...]:
    """That a pooler is taken for one that nobody calls, if there is one."""
    pooler = pooler_of(match, shapes)
    if pooler is None:
        return ()
    through = setting(representation_size=pooler.outputs)
    return (
        f"assumed: {printable(layer.name)} reads the class token, as in the library's "
        f"own class; if it reads the pooler, add {through}",
    )


def pooler_of(match: Match, shapes: Shapes) -> Linear | None:
    """The layer with a tanh that a file has where its variant names one."""
    for row in match.variant.table.rows:
        if row.targets == ("pre_logits.weight",):
            module = match.prefix + row.sources[0].removesuffix(WEIGHT)
            return _only_layer(module, shapes)
    return None


def named_head(name: str, match: Match, shapes: Shapes, file: Path) -> Head | None:
    """The layer that the caller names.

    Args:
        name: Its name in the file, whole or from the last wrapper on; or the name of a
            module of which it is the only layer.
        match: Whose names the file has.
        shapes: Every tensor of the file.
        file: The file, for messages.

    Returns:
        The head, or None where the layer is the head by the library's own names.

    Raises:
        ConversionError: If there is no such layer, or it is not a single one.
    """
    place = _place(name, shapes, file)
    layer = _only_layer(place, shapes)
    if layer is None:
        parts = ", ".join(map(str, _layers_under(place, shapes)))
        raise refusal(
            f"{options(head=name)}: it is no single linear layer, but "
            f"{len([n for n in shapes if n.startswith(f'{place}.')])} tensors"
            + (f" ({parts})" if parts else ""),
            file=file,
            hint="Only a linear head is in the schema. "
            f"{options(drop=f'{place}.*')} leaves it out.",
            kind="config",
        )
    pooler = pooler_of(match, shapes)
    if pooler is not None and pooler.name == layer.name:
        return Head(layer, "token", chosen=True, pooler=True)
    own = own_head(match.variant)
    if own and layer.name == match.prefix + own:
        return None
    known = library_head(match, shapes)
    if known is not None and known.layer.name == layer.name:
        return replace(known, chosen=True)
    return Head(layer, notes=_assumptions(layer, match, shapes), chosen=True)


def _layers_under(place: str, shapes: Shapes) -> list[Linear]:
    inside = {n: s for n, s in shapes.items() if n.startswith(f"{place}.")}
    return list(linear_layers(inside).values())


def _place(name: str, shapes: Shapes, file: Path) -> str:
    """The module that is meant: of that name, or the one whose name ends so."""
    modules = {n[:i] for n in shapes for i, c in enumerate(n) if c == "."}
    if name in modules:
        return name
    ends = sorted(module for module in modules if module.endswith(f".{name}"))
    if len(ends) == 1:
        return ends[0]
    some = ", ".join(f'"{printable(end)}"' for end in ends[:4])
    text = f"more than one is called so: {some}" if ends else "there is no such layer"
    tops = ", ".join(f"{printable(top)}" for top in first_levels(shapes)[:8])
    raise refusal(
        f"{options(head=name)}: {text}",
        file=file,
        hint="" if ends else f"Names begin with: {tops}",
        kind="config",
    )
