"""Which fields of a config were stated by hand, and are in nothing of the source.

A wrong one passes every comparison of files, as both sides were told the same. So each
is kept in `source.stated`, and every paper lists them.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from typing import Any

from converters.libraries.given import BLOCK, PLAIN_BLOCK, Given
from converters.wording import field_value
from vit_config import SourceConfig, Statement, ViTConfig

BY_PRESENCE = frozenset(
    {
        *("patch_bias", "patch_norm", "pre_norm", "class_token", "dist_token"),
        *("reg_tokens", "pos_embed", "qkv_bias", "proj_bias", "mlp_bias", "qk_norm"),
        *("init_values", "final_norm", "fc_norm", "num_classes", "head_bias"),
        "representation_size",
    }
)
"""Fields that the presence of tensors decides."""

BY_SHAPE = frozenset(
    {
        *("spatial_dims", "in_chans", "patch_size", "embed_dim", "depth", "mlp_dim"),
        *("mlp_layer", "pos_embed_tokens"),
    }
)
"""Fields that the shapes of our own names decide."""

BY_TENSORS = BY_PRESENCE | BY_SHAPE

_NO_STATEMENT = frozenset(
    {
        *("schema_version", "norm_layer", "weight_init", "pos_resize"),
        *("drop_rate", "pos_drop_rate", "proj_drop_rate", "attn_drop_rate"),
        "drop_path_rate",
    }
)
"""Fields that change no output; they count only where somebody names them."""

_HISTORY = ("source", "source.steps", "source.stated")
"""What is noted here, and is nobody's to state."""

_LONGEST = 8
"""Values of a list that are written out."""


def with_statements(
    config: ViTConfig,
    given: Given,
    decided: Collection[str],
    own: ViTConfig | None = None,
) -> ViTConfig:
    """Notes in `source.stated` which fields nothing but the caller says.

    Args:
        config: The config of the source, with all that the caller says.
        given: What the caller says.
        decided: Fields that the tensors decide, and the caller says no otherwise.
        own: What the source itself says: the config in the file, or beside it.
    """
    if own is None and not given.origin:
        own = given.config
    values = {**dict(leaves(config.to_dict())), BLOCK: PLAIN_BLOCK}
    known = dict(leaves(own.to_dict())) if own is not None else {}
    stated = {one.field: one for one in _before(config, own)}
    for name, origin in _named(given, values):
        value = values[name]
        top = name.partition(".")[0]
        if top in decided and not (name == "pos_embed" and value == "none"):
            continue
        if top in given.own or (name in known and known[name] == value):
            continue
        if origin != "set" and (top in _NO_STATEMENT or not value):
            continue  # null and false: a whole config says nothing by them
        stated[name] = Statement(field=name, value=_text(value), origin=origin)
    if not stated:
        return config
    source = config.source or SourceConfig()
    fields = source.model_dump(mode="json")
    fields["stated"] = [one.model_dump() for one in stated.values()]
    return config.replace(source=fields)


def _before(config: ViTConfig, own: ViTConfig | None) -> Iterator[Statement]:
    """What was stated of the source before it was what it is now."""
    for one in (own, config):
        if one is not None and one.source is not None:
            yield from one.source.stated


def _named(given: Given, values: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """(field, how it was stated) of all that the caller says; the last counts."""
    whole = ""
    if given.config is not None:
        whole = given.origin
    elif given.preset is not None:
        whole = f"preset {given.preset}"
    if whole:
        own = (n for n in values if n != BLOCK and not n.startswith("source."))
        yield from ((name, whole) for name in own)
    for change in given.changes:
        for name in values:
            inside = name == change or name.startswith(f"{change}.")
            if inside and name not in _HISTORY:
                yield name, "set"


def leaves(fields: Mapping[str, Any], before: str = "") -> Iterator[tuple[str, Any]]:
    """The single fields of a config as JSON types; those of its sections with a dot."""
    for name, value in fields.items():
        if isinstance(value, Mapping):
            yield from leaves(value, f"{before}{name}.")
        else:
            yield f"{before}{name}", value


def _text(value: Any) -> str:
    """A value as it is typed; of a long list only how long it is."""
    if isinstance(value, list) and len(value) > _LONGEST:
        return f"[{len(value)} values]"
    return field_value(value)
