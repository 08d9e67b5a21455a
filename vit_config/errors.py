"""The one error type of the schema, and how its text is made."""

from __future__ import annotations

import difflib
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pydantic import ValidationError
    from pydantic_core import ErrorDetails

SCHEMA = "this schema"

# Names that other libraries use for our fields. The plain constructor refuses them
# (their defaults differ, see `ViTConfig.from_dialect`) but says which field is meant.
FOREIGN_NAMES: dict[str, tuple[str, str]] = {
    # foreign name: (field, library)
    "image_size": ("img_size", "huggingface"),
    "num_frames": ("img_size", "huggingface"),
    "frames": ("img_size", "lucidrains"),
    "frame_patch_size": ("patch_size", "lucidrains"),
    "image_patch_size": ("patch_size", "lucidrains"),
    "tubelet_size": ("patch_size", "huggingface"),
    "in_channels": ("in_chans", "monai"),
    "num_channels": ("in_chans", "huggingface"),
    "channels": ("in_chans", "lucidrains"),
    "hidden_size": ("embed_dim", "huggingface"),
    "hidden_dim": ("embed_dim", "torchvision"),
    "dim": ("embed_dim", "lucidrains"),
    "num_layers": ("depth", "monai"),
    "num_hidden_layers": ("depth", "huggingface"),
    "num_attention_heads": ("num_heads", "huggingface"),
    "heads": ("num_heads", "lucidrains"),
    "dim_head": ("head_dim", "lucidrains"),
    "attn_head_dim": ("head_dim", "timm"),
    "intermediate_size": ("mlp_dim", "huggingface"),
    "mlp_ratio": ("mlp_dim", "timm"),
    "num_labels": ("num_classes", "huggingface"),
    "num_register_tokens": ("reg_tokens", "huggingface"),
    "no_embed_class": ("pos_embed_tokens", "timm"),
    "pos_embed_type": ("pos_embed", "monai"),
    "proj_type": ("patch_norm", "monai"),
    "post_activation": ("head_act", "monai"),
    "classification": ("num_classes", "monai"),
    "layer_norm_eps": ("norm_eps", "huggingface"),
    "layer_norm_epsilon": ("norm_eps", "keras_hub"),
    "hidden_act": ("act_layer", "huggingface"),
    "layerscale_value": ("init_values", "huggingface"),
    "use_swiglu_ffn": ("mlp_layer", "huggingface"),
    "use_mean_pooling": ("fc_norm", "huggingface"),
    "pool": ("global_pool", "lucidrains"),
    "pooling": ("global_pool", "keras_hub"),
    "pooler_output_size": ("representation_size", "huggingface"),
    "dropout_rate": ("drop_rate", "monai"),
    "dropout": ("drop_rate", "torchvision"),
    "attention_dropout": ("attn_drop_rate", "torchvision"),
    "hidden_dropout_prob": ("drop_rate", "huggingface"),
    "attention_probs_dropout_prob": ("attn_drop_rate", "huggingface"),
}


class ConfigError(ValueError):
    """A configuration that describes no model.

    The text lists every problem found, one a line, each with the field, the value
    found and what would be allowed.

    Attributes:
        problems: The lines, without indentation.
    """

    def __init__(self, problems: Iterable[str], what: str = "ViTConfig") -> None:
        self.problems = tuple(problems)
        count = len(self.problems)
        head = f"{what}: {count} problem{'s' if count != 1 else ''}"
        super().__init__("\n  ".join([head, *self.problems]))


def unknown_field(name: str, fields: Iterable[str], part: str = SCHEMA) -> str:
    """Returns the line for a field name that the schema, or a part of it, has not."""
    if name in FOREIGN_NAMES and part == SCHEMA:
        field, library = FOREIGN_NAMES[name]
        line = (
            f"{name}: not a field of this schema; the {library} name of {field!r}. "
            f"Use {field!r}"
        )
        return (
            f"{line}, or ViTConfig.from_dialect({library!r}, ...) which also "
            "applies that library's own defaults"
        )
    near = difflib.get_close_matches(name, list(fields), n=1)
    hint = f"; did you mean {near[0]!r}?" if near else ""
    return f"{name}: not a field of {part}{hint}"


def problem_lines(
    error: ValidationError, fields: Iterable[str], part: str = SCHEMA
) -> list[str]:
    """Returns one line per problem of a pydantic error, in our own words.

    Args:
        error: What pydantic found.
        fields: Names of all fields.
        part: What messages call what has them.
    """
    fields = list(fields)
    lines: list[str] = []
    choices: dict[str, list[str]] = {}  # a union reports once per member: fold
    for item in error.errors(include_url=False):
        where = place(item["loc"])
        kind, context = item["type"], item.get("ctx", {})
        inner = context.get("error")
        if kind == "vit_duet":  # our own cross-field check: already whole lines
            lines += context["problems"]
        elif isinstance(inner, ConfigError):  # of a part, which is a config itself
            lines += [f"{where}.{line}" for line in inner.problems]
        elif kind == "extra_forbidden":
            lines.append(unknown_field(where, fields, part))
        elif kind == "missing":
            lines.append(f"{where}: required, but not given")
        else:
            line = f"{where}: found {shown(item['input'])}"
            choices.setdefault(line, []).append(expected(item))
            lines.append(line)
    return [
        f"{line}; expected {' or '.join(dict.fromkeys(choices[line]))}"
        if line in choices
        else line
        for line in dict.fromkeys(lines)
    ]


def place(location: Iterable[int | str]) -> str:
    """Where in a config: `img_size.1`.

    A union's member stands in the location, in words: not for the reader.
    """
    parts = [p for p in location if isinstance(p, int) or p.isidentifier()]
    return ".".join(str(p) for p in parts if p not in ("bool", "float", "int", "str"))


def shown(value: object) -> str:
    """A value as Python writes it; the middle of a long one is left out."""
    try:
        text = repr(value)
    except Exception:  # of somebody else's class
        text = f"a {type(value).__name__}"
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 20]} ... {text[-15:]}"


def expected(item: ErrorDetails) -> str:
    """What would be right where pydantic found something else, in our own words."""
    words = EXPECTED.get(item["type"])
    if words is None:
        return "another kind of value"
    return words.format(**item.get("ctx", {}))


EXPECTED = {
    "bool_type": "true or false",
    "dict_type": "an object of fields",
    "finite_number": "a finite number",
    "float_type": "a number",
    "greater_than": "more than {gt:g}",
    "greater_than_equal": "{ge:g} or more",
    "int_from_float": "an integer",
    "int_type": "an integer",
    "less_than": "less than {lt:g}",
    "less_than_equal": "{le:g} or less",
    "list_type": "a list",
    "literal_error": "{expected}",
    "model_attributes_type": "an object of fields",
    "model_type": "an object of fields",
    "none_required": "null",
    "string_type": "a text",
    "string_unicode": "a text",
    "tuple_type": "a list",
}
"""By the type of an error of pydantic."""

SHOWN = 200
"""Characters of a value."""
