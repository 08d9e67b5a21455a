"""Which tensors of a file are read: the prefix, what is left out, and the head."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from converters.conversion.report import StepEffect, listed
from converters.errors import ConversionError, Issue
from converters.libraries.dropping import step
from converters.libraries.heads import Head, library_head, named_head
from converters.libraries.recognise import Match
from converters.libraries.shapes import own_names
from converters.libraries.tensor_fields import seen
from converters.mapping.table import CANONICAL, Plan
from converters.sources.extras import Extras, training_only
from converters.sources.incomplete import IncompleteError
from converters.sources.request import Asked
from vit_config import ConfigError, ViTConfig

if TYPE_CHECKING:
    from converters.sources.dialect_reader import RawFile


@dataclass(frozen=True)
class Choice:
    """What the caller chose among the tensors of a file.

    Attributes:
        prefix: Whether the prefix is the caller's: everything else is left out then.
        drop: Tensors to leave out, each with the pattern that names it.
        head: The linear layer that is read as the head, unless it is where the library
            has it.
        lacking: Whether tensors may be missing.
    """

    prefix: bool = False
    drop: Mapping[str, str] = field(default_factory=dict)
    head: Head | None = None
    lacking: bool = False

    def steps(self, prefix: str) -> tuple[str, ...]:
        """The named steps that it takes."""
        dropped = dict.fromkeys(map(step, self.drop.values()))
        return (
            *([f"take_prefix:{prefix}"] if self.prefix else []),
            *dropped,
            *([self.head.step] if self.head is not None else []),
        )

    def effects(self) -> tuple[StepEffect, ...]:
        """What is to be said of these steps."""
        found = []
        for pattern in dict.fromkeys(self.drop.values()):
            names = [name for name, by in self.drop.items() if by == pattern]
            found.append(StepEffect(step(pattern), (f"left out: {listed(names)}",)))
        if self.head is not None and self.head.notes:
            found.append(StepEffect(self.head.step, self.head.notes))
        return tuple(found)


NOTHING = Choice()


def choice_of(
    raw: RawFile, match: Match, asked: Asked, left_out: Mapping[str, str]
) -> Choice:
    """What the caller chose among the tensors, or the library's names decide.

    Args:
        raw: The file.
        match: Whose names it has.
        asked: The caller's word.
        left_out: Tensors that the caller leaves out, each with the pattern.

    Raises:
        ConversionError: If there is no such head.
    """
    shapes = {
        name: info.shape for name, info in raw.tensors.items() if name not in left_out
    }
    if asked.head is not None:
        head = named_head(asked.head, match, shapes, raw.path)
    else:
        head = library_head(match, shapes)
    return Choice(asked.prefix is not None, left_out, head, asked.lacking)


def plan_of(match: Match, config: ViTConfig, head: Head | None) -> Plan:
    """From a file's names to the canonical ones, with the head where it is."""
    plan = match.variant.plan(config, match.prefix)
    if head is None or head.pooler:
        return plan
    ours = [s for s in CANONICAL.plan(config).steps if s.targets[0].startswith("head.")]
    layer = [
        replace(one, sources=(head.layer.name + one.targets[0].removeprefix("head"),))
        for one in ours
    ]
    others = [s for s in plan.steps if not s.targets[0].startswith("head.")]
    return replace(plan, steps=(*others, *layer))


def dropped(
    names: Collection[str],
    match: Match,
    config: ViTConfig,
    own: Collection[str],
    choice: Choice,
) -> dict[str, str]:
    """The tensors that a written rule or the caller leaves out, each with the reason.

    Args:
        names: All of the file.
        match: Whose they are.
        config: The model's config.
        own: Those of the model.
        choice: What the caller chose.
    """
    variant, prefix = match.variant, match.prefix
    dead = {prefix + name: why for name, why in variant.drops(config).items()}
    starts = {prefix + start: why for start, why in variant.beside.items()}
    parent = prefix[: prefix[:-1].rfind(prefix[-1:]) + 1]
    if prefix:
        starts |= {parent + start: why for start, why in variant.around.items()}
        dead |= {parent + name: why for name, why in variant.alone.items()}
    found = {}
    for name in names:
        if name in choice.drop:
            found[name] = step(choice.drop[name])
            continue
        if name in own:
            continue
        reason = (
            dead.get(name)
            or training_only(name)
            or next(
                (why for start, why in starts.items() if name.startswith(start)), ""
            )
        )
        if not reason and not name.startswith(prefix):
            reason = next(
                (why for s, why in variant.outside.items() if name.startswith(s)), ""
            )
        if not reason and choice.prefix and not name.startswith(prefix):
            reason = f"not behind the prefix {prefix!r} that was asked for"
        if reason:
            found[name] = reason
    return found


def has_extras(match: Match, raw: RawFile) -> bool:
    """Whether a file holds tensors that no model of the variant has."""
    shapes = {name: info.shape for name, info in raw.tensors.items()}
    return len(own_names(match.variant, shapes)) < len(shapes)


def with_extras(
    error: ConversionError, raw: RawFile, match: Match, choice: Choice
) -> ConversionError:
    """The refusal of a config, with the tensors that no model of the dialect has.

    So that whoever states what is missing is not refused once more, and that a head
    beside the model is shown where the config has one that the file lacks.
    """
    headed = "num_classes" in {issue.name for issue in error.issues}
    if not headed and not isinstance(error, IncompleteError):
        return error
    shapes = {name: info.shape for name, info in raw.tensors.items()}
    start = len(match.prefix)
    inside = {n[start:]: s for n, s in shapes.items() if n.startswith(match.prefix)}
    config = _stand_in(seen(match.variant, inside))
    if config is None or choice.head is not None or (headed and config.num_classes):
        return error
    own = {match.prefix + name for name in own_names(match.variant, inside)}
    left_out = dropped(raw.tensors, match, config, own, choice)
    extras = [n for n in shapes if n not in own and n not in left_out]
    if not extras:
        return error
    issues = (Issue("unexpected", name, str(shapes[name])) for name in extras)
    them = Extras.of(extras, own, shapes, match.prefix, config, pooled=True)
    hint = them.advice({"num_classes": 0} if headed else None)
    return ConversionError(
        [*error.issues, *issues],
        file=raw.path,
        dialect=match.variant.name,
        hint=hint if headed else f"{error.hint}\n{hint}",
    )


def _stand_in(says: Mapping[str, Any]) -> ViTConfig | None:
    """A config with the tensors of a file, and any value for what they do not say."""
    patch = says.get("patch_size", (16,) * says.get("spatial_dims", 2))
    act = "silu" if says.get("mlp_layer") == "swiglu" else "gelu"
    fields = {"num_heads": 1, "patch_size": patch, "img_size": patch, "act_layer": act}
    pool = {"global_pool": "avg" if says.get("num_classes") else "none"}
    try:
        return ViTConfig(**{**fields, **pool, **says})
    except ConfigError:
        return None
