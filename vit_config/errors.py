"""The one error type of the schema, and how its text is made."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Mapping

from pydantic import ValidationError

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


def unknown_field(name: str, fields: Iterable[str]) -> str:
    """Returns the line for a field name that the schema does not have."""
    if name in FOREIGN_NAMES:
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
    return f"{name}: not a field of this schema{hint}"


def problem_lines(
    error: ValidationError,
    fields: Iterable[str],
    sections: Mapping[str, Iterable[str]] | None = None,
) -> list[str]:
    """Returns one line per problem of a pydantic error, in our own words.

    Args:
        error: What pydantic found.
        fields: Names of all fields.
        sections: Names of the fields of a section, by its own name.
    """
    fields = list(fields)
    known = sections or {}
    lines: list[str] = []
    choices: dict[str, list[str]] = {}  # a union reports once per member: fold
    for item in error.errors(include_url=False):
        # A union's member stands in the location, in words: not for the reader.
        parts = [p for p in item["loc"] if isinstance(p, int) or p.isidentifier()]
        parts = [p for p in parts if p not in ("bool", "float", "int", "str")]
        where = ".".join(str(part) for part in parts)
        kind = item["type"]
        if kind == "vit_duet":  # our own cross-field check: already whole lines
            lines += item["ctx"]["problems"]
        elif kind == "extra_forbidden" and len(parts) == 1:
            lines.append(unknown_field(where, fields))
        elif (
            kind == "extra_forbidden"
            and (section := ".".join(map(str, parts[:-1]))) in known
        ):
            inner = unknown_field(str(parts[-1]), known[section])
            lines.append(f"{section}.{inner}".replace("this schema", section))
        elif kind == "missing":
            lines.append(f"{where}: required, but not given")
        else:
            line = f"{where}: found {item['input']!r}"
            choices.setdefault(line, []).append(item["msg"])
            lines.append(line)
    return [
        f"{line}; {' or: '.join(choices[line])}" if line in choices else line
        for line in dict.fromkeys(lines)
    ]
