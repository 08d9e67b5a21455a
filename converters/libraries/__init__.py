"""The dialects: one module a library, imported when it is asked for."""

from __future__ import annotations

import difflib
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING

from converters.errors import ConversionError, printable, refusal

if TYPE_CHECKING:
    from converters.libraries.variant import Dialect, Variant

_MODULES: dict[str, str] = {
    # name of the dialect: module that has it in its `DIALECTS`
    "monai": "monai",
    "timm": "timm",
    "facebook": "facebook",
    "huggingface": "huggingface",
    "torchvision": "torchvision",
    "openai_clip": "openai_clip",
    "lucidrains": "lucidrains",
    "videomae": "videomae",
    "jax": "jax",
    "keras_hub": "keras_hub",
}

NAMES: tuple[str, ...] = tuple(_MODULES)
"""Names of all dialects."""


@cache
def load(name: str) -> Dialect:
    """The dialect of that name.

    Raises:
        ConversionError: If there is none.
    """
    if name not in _MODULES:
        raise unknown(name)
    module = import_module(f"converters.libraries.{_MODULES[name]}.names")
    dialects: dict[str, Dialect] = {
        dialect.name: dialect for dialect in module.DIALECTS
    }
    return dialects[name]


def unknown(name: str, *others: str) -> ConversionError:
    """A refusal of a name that no dialect has, with the nearest one.

    Args:
        name: The name.
        *others: What else could have been meant.
    """
    known = (*NAMES, *others)
    near = difflib.get_close_matches(name, known, n=1)
    meant = f'; did you mean "{near[0]}"?' if near else ""
    return refusal(
        f'there is no dialect "{printable(name)}"{meant}',
        hint=f"Known are {', '.join(known)}.",
        kind="config",
    )


def find(spec: str) -> tuple[Dialect, tuple[Variant, ...]]:
    """What `"monai"` or `"monai@1.3"` mean: the dialect and its variants, best first.

    Raises:
        ConversionError: If there is no such dialect or variant.
    """
    dialect = load(spec.partition("@")[0])
    variants = dialect.matching(spec)
    if not variants:
        known = ", ".join(variant.name for variant in dialect.variants)
        raise refusal(
            f'{dialect.name} has no "{printable(spec)}"',
            hint=f"Known are {known}; a release between two of them also.",
            kind="config",
        )
    return dialect, variants
