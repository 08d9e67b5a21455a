"""The refusal of a file that does not say, or contradicts, which model it is."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from converters.errors import ConversionError, Issue
from converters.libraries import load
from converters.libraries.advice import FileSays, advice, listed
from converters.libraries.shapes import canonical_shapes, flat_width
from converters.libraries.variant import Doubt, Shapes, Variant
from converters.wording import setting

OF_HEAD = frozenset({"head_act", "global_pool", "distilled"})
_OUTPUT = OF_HEAD | {"num_classes", "head_bias"}
"""Fields of what stands behind the tokens."""


class IncompleteError(ConversionError):
    """A file that does not say which model it is."""


def incomplete(
    missing: list[str],
    open_: list[Doubt],
    odd: list[Issue],
    variant: Variant,
    shapes: Shapes,
    says: Mapping[str, Any],
    file: Any,
) -> ConversionError:
    """The refusal of a file that may be more than one model, or is another one.

    Args:
        missing: Fields that nobody states.
        open_: What its tensors leave open beside them.
        odd: Fields that are stated and that the tensors contradict.
        variant: Dialect of the tensor names.
        shapes: The tensors, without prefix.
        says: Fields that they state.
        file: The file, for messages.
    """
    agreed = _to_agree({issue.name: says[issue.name] for issue in odd}) if odd else ""
    if not missing and not open_:
        return ConversionError(odd, file=file, dialect=variant.name, hint=agreed)
    issues = [*odd, *(Issue("config", "", found=str(doubt)) for doubt in open_)]
    fields = [*missing, *dict.fromkeys(doubt.field for doubt in open_)]
    if missing:
        verb = "is" if len(fields) == 1 else "are"
        text = (
            f"the file does not say which model it is: {listed(fields)} {verb} not in "
            "this file"
        )
        issues.append(Issue("config", "", found=text))
    dialect = load(variant.name.partition("@")[0])
    rows = (*canonical_shapes(variant, shapes).get("pos_embed", ()), None, None)[1]
    file_says = FileSays(says, rows, flat_width(variant, shapes))
    hint = advice(fields, file_says, dialect.places, variant.architectures)
    hint = f"{agreed}\n{hint}" if odd else hint
    return IncompleteError(issues, file=file, hint=hint)


def _to_agree(said: Mapping[str, Any]) -> str:
    """What to do about a config that says other than the file.

    Args:
        said: The fields at odds, as the file has them.
    """
    former = "The file's names and shapes say the former"
    if set(said) <= _OUTPUT:
        return f"{former}; {setting(**said)} keeps the rest of the config."
    return f"{former}; give the config it has."
