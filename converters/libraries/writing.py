"""Which variant a model is written in."""

from __future__ import annotations

from converters.errors import ConversionError, Issue, refusal
from converters.libraries import NAMES, find, load, unknown
from converters.libraries.variant import Dialect, Variant
from vit_config import ViTConfig


def check_written(spec: str, *others: str) -> None:
    """Refuses what no file is written in, before any is read.

    Args:
        spec: The dialect or variant.
        *others: What else the caller could have meant.

    Raises:
        ConversionError: If there is none of that name, or if it is only read.
    """
    name = spec.partition("@")[0]
    if name not in NAMES:
        raise unknown(name, *others)
    _, variants = find(spec)
    if not any(variant.export for variant in variants):
        written = [name for name in NAMES if any(v.export for v in load(name).variants)]
        raise refusal(
            f"{spec} can be read, but is not written",
            hint=f"Written are {', '.join(written)}.",
            kind="config",
        )


def target_variant(spec: str, config: ViTConfig, in_files: bool = False) -> Variant:
    """The variant that a model is written in: the first that can hold it.

    The one that the weights came from stands first, then those of the same layout
    (`"+perceptron"`), so that there and back gives the same names.

    Args:
        spec: The dialect or variant.
        config: The model.
        in_files: Leave out what only models in memory are named like.

    Raises:
        ConversionError: If none can hold the config, with every reason.
    """
    dialect, variants = find(spec)
    variants = tuple(v for v in variants if v.export) or variants
    if in_files:
        variants = tuple(v for v in variants if not _in_memory(v.name)) or variants
    came = (config.source.dialect if config.source else None) or ""
    variants = _numbered_as(came, dialect, variants)

    def distance(variant: Variant) -> tuple[bool, bool]:
        return variant.name != came, _layout(variant.name) != _layout(came)

    ranked = sorted(variants, key=distance)
    reasons = {variant.name: variant.problems(config) for variant in ranked}
    for variant in ranked:
        if not reasons[variant.name]:
            return variant
    name, lines = min(reasons.items(), key=lambda item: len(item[1]))
    issues = []
    for line in lines:
        field, colon, text = line.partition(": ")
        known = bool(colon) and all(
            f in ViTConfig.model_fields for f in field.split(", ")
        )
        issues.append(Issue("config", field if known else "", text if known else line))
    raise ConversionError(
        issues, dialect=name, hint=f"{name} cannot hold this model; nothing is folded."
    )


def _numbered_as(
    came: str, dialect: Dialect, variants: tuple[Variant, ...]
) -> tuple[Variant, ...]:
    """The source's own variant before those that stand for all its family."""
    own = dialect.named(came)
    if own is None or own in variants or own.family not in {v.name for v in variants}:
        return variants
    return (own, *variants)


def _layout(name: str) -> frozenset[str]:
    """The words after the first plus: `"monai@1.6+perceptron"` -> perceptron."""
    return frozenset(name.split("+")[1:])


def _in_memory(name: str) -> bool:
    """Whether no folder is loaded by these names.

    Gate and value apart (`SwiGLU`) stand in no config of a plain ViT that timm has: its
    folders say `SwiGLUPacked`.
    """
    return "memory" in _layout(name) or name == "timm@swiglu"
