"""Which model class a Hugging Face config.json is read as: the one its tensors show.

The class decides what a model returns. Where config.json names none, or a model without
a head beside weights that have one, the tensors say it: a head is there or not, and of
all classes of the model type one agrees with that. What they leave open is refused.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.errors import ConversionError, Issue, printable, refusal
from converters.libraries.huggingface.config import model_classes
from converters.libraries.huggingface.model_json import ModelJson
from converters.libraries.recognise import Match
from converters.libraries.tensor_fields import seen
from converters.libraries.variant import Shapes
from converters.sources.request import Asked
from converters.wording import options, setting
from vit_config import ConfigError, ViTConfig

_OUTPUT = ("num_classes", "global_pool", "distilled", "head_bias", "final_norm")


def config_of_class(
    json: ModelJson, match: Match, shapes: Shapes, asked: Asked, file: Any
) -> tuple[ViTConfig, tuple[str, ...]]:
    """The config, read as the class that the tensors show, and what to say of it.

    Args:
        json: The config.json.
        match: Dialect and variant of the tensors.
        shapes: Their names, without prefix, and shapes.
        asked: What the caller says; single fields stand above those of the config.json,
            and a variant that is named takes the place of a class that is not known.
        file: For messages.

    Raises:
        ConversionError: If the tensors do not decide.
        ConfigError: If it describes no model.
    """
    says = seen(match.variant, shapes)
    stated = json.stated
    if stated is not None:
        own = json.read()
        if asked.lacking or _fits(own, says, asked.changes):
            return own, ()
        if own.num_classes:  # more than the tensors have: nothing else is meant
            raise _other_head(own, says, file)
    configs = _by_class(json, says)
    fits = {n: c for n, c in configs.items() if _fits(c, says, asked.changes)}
    if not fits:
        headed = [c for c in configs.values() if c.num_classes]
        if headed and says["num_classes"]:
            raise _other_head(headed[0], says, file)
        return json.read(), ()  # and derive says what is at odds
    chosen = next(iter(fits))
    named = json.fields.get("architectures") or None
    known = named is None or stated or asked.dialect == match.variant.name
    alike = len({config.architecture_hash() for config in fits.values()}) == 1
    if known and alike:
        return fits[chosen], (_remark(named, chosen, fits[chosen]),)
    classes = " or ".join(repr([name]) for name in model_classes(json.fields))
    hint = f"State it in config.json: {classes}."
    if alike:
        variant = options(from_dialect=match.variant.name)
        hint = f"{variant} reads it as {chosen}, where it computes the same."
    text = f"architectures: found {printable(named)}; it decides the output"
    raise refusal(text, file=file, hint=hint, kind="config")


def _by_class(json: ModelJson, says: Mapping[str, Any]) -> dict[str, ViTConfig]:
    """The config as that of every class which can be it.

    Raises:
        ConfigError: If none can.
    """
    found: dict[str, ViTConfig] = {}
    errors = []
    for name in model_classes(json.fields):
        try:
            found[name] = json.read(name, says["num_classes"])
        except ConfigError as error:
            errors.append(error)
    if not found:
        raise min(errors, key=lambda error: len(error.problems))
    return found


def _fits(
    config: ViTConfig, says: Mapping[str, Any], changes: Mapping[str, Any]
) -> bool:
    known = {**config.model_dump(), **changes}
    return all(says[field] == known[field] for field in _OUTPUT if field in says)


def _other_head(
    config: ViTConfig, says: Mapping[str, Any], file: Any
) -> ConversionError:
    """A classifier in the config, of which the file has another or none."""
    there, wanted = says["num_classes"], config.num_classes
    if there == wanted:
        odd = [f for f in _OUTPUT if f in says and says[f] != getattr(config, f)]
        issues = [
            Issue("config", f, f"{says[f]!r}", f"{getattr(config, f)!r} as given")
            for f in odd
        ]
        return ConversionError(issues, file=file)
    fields: dict[str, Any] = {"num_classes": there}
    if config.labels is not None:
        fields["labels"] = None
    if not there:
        fields["global_pool"] = "none"
        if config.problem_type is not None:
            fields["problem_type"] = None
    issue = Issue(
        "config",
        "num_classes",
        f"{there} in the file" if there else "no head in the file",
        f"{wanted}, as config.json says",
    )
    meant = "a head of that width" if there else "all tokens of the model without one"
    return ConversionError(
        [issue], file=file, hint=f"{setting(**fields)} takes the file's word: {meant}."
    )


def _remark(named: Any, chosen: str, config: ViTConfig) -> str:
    what = "no model class" if named is None else printable(named)
    without = ""
    if config.num_classes:
        without = f"; {options(output='tokens')} leaves its head out"
    return f"config.json names {what}, the tensors are those of {chosen}{without}"
