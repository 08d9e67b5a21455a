"""The config of a file: what the file says, and the caller's word for the rest."""

from __future__ import annotations

import difflib
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from converters.errors import ConversionError, Issue, printable, refusal
from converters.libraries.doubts import doubts, unanswered
from converters.libraries.given import BLOCK, UNSEEN, Given
from converters.libraries.heads import Head
from converters.libraries.remainder import check_patches
from converters.libraries.shapes import canonical_shapes, flat_width
from converters.libraries.tensor_fields import seen
from converters.libraries.variant import Shapes, Variant
from converters.sources.incomplete import OF_HEAD, incomplete
from converters.sources.statements import BY_PRESENCE, with_statements
from vit_config import ViTConfig
from vit_config.changes import with_axes, with_changes
from vit_config.presets import preset_fields

MEANS = ("avg", "max", "map", "token_avg")
"""Poolings that may see the prefix tokens or not."""

_SOFT = frozenset({"weight_init", "pos_resize"})  # training and resizing only


def complete(
    variant: Variant,
    shapes: Shapes,
    given: Given,
    file: Any,
    head: Head | None = None,
) -> ViTConfig:
    """The config of a file: what the file says, and the caller's word for the rest.

    Args:
        variant: Whose names it has.
        shapes: Its tensors, without prefix.
        given: What the caller says.
        file: The file, for messages.
        head: The layer that is read as the head, if not the one in the library's place.

    Raises:
        ConversionError: If the two are at odds, or if something is still unknown.
        ConfigError: If the result describes no model.
    """
    try:
        says = seen(variant, shapes if head is None else head.beside(variant, shapes))
    except ConversionError as error:
        error.file = error.file or Path(file).name
        raise
    _check_blocks(variant, says, file)
    word = given
    if head is not None:
        says, given = head.stated(says, given, file)
    open_ = unanswered(doubts(variant, says, shapes), given)
    if any(doubt.family for doubt in open_):  # what else is said is of another model
        raise incomplete([], open_, [], variant, shapes, says, file)
    if given.config is not None:
        stated = with_changes(given.config.to_dict(), given.fields)
        check_patches(stated, variant, shapes, file)
        config = given.whole()
        if config is None:
            raise ValueError("a config that is none")
        known = config.model_dump()
        says = {**says, **variant.follows(known)}
        told = _told(says, known, given)
        odd = _conflicts(told, known, config)
        missing = [n for n in UNSEEN if n in given.unstated and n not in says]
        if odd or missing or open_:
            raise incomplete(missing, open_, odd, variant, shapes, says, file)
        config = _unturned(config, file)
        return with_statements(config, word, _decided(told, config, given))
    _check_fields(given.changes, file)
    known = preset_fields(given.preset) if given.preset else {}
    known = with_changes(known, given.fields)
    says = {**says, **variant.follows({**says, **known})}
    told = _told(says, known, given)
    odd = _conflicts(told, known, None)
    output = variant.output if head is None else {}  # of the library's own forward
    fields = with_axes({**output, **says, **known})
    if not odd:
        _flat_channels(fields, variant, shapes, file)
        _head_width(fields, variant, shapes)
    missing = _missing(fields, known, given)
    if odd or missing or open_:
        raise incomplete(missing, open_, odd, variant, shapes, says, file)
    check_patches(fields, variant, shapes, file)
    if "pos_embed_tokens" not in fields:
        fields["pos_embed_tokens"] = _pos_tokens(fields, variant, shapes)
    config = _unturned(ViTConfig(**fields), file)
    return with_statements(config, word, _decided(told, config, given))


def check_doubts(variant: Variant, shapes: Shapes, given: Given, file: Any) -> None:
    """Refuses what is also another model's, where a whole config leaves it open.

    Args:
        variant: Dialect of the tensor names.
        shapes: The tensors, without prefix.
        given: What the caller says; a whole config.
        file: The file, for messages.

    Raises:
        ConversionError: If something is open that the config does not state.
    """
    if given.config is None or not given.unstated:
        return
    says = seen(variant, shapes)
    open_ = unanswered(doubts(variant, says, shapes), given)
    missing = [name for name in UNSEEN if name in given.unstated and name not in says]
    if missing or open_:
        raise incomplete(missing, open_, [], variant, shapes, says, file)


def _check_blocks(variant: Variant, says: Mapping[str, Any], file: Any) -> None:
    """Refuses blocks that lack what every block has."""
    widths = {
        "embed_dim": "blocks.{i}.norm1.weight",
        "mlp_dim": "blocks.{i}.mlp.fc2.weight",
    }
    lacking = [
        next(row.sources[0] for row in variant.table.rows if name in row.targets)
        for field, name in widths.items()
        if field not in says
    ]
    if lacking:
        name = lacking[0].replace("{i}", "0")
        raise refusal(
            f'the names look like {variant.name}\'s, but there is no "{name}"',
            file=file,
        )


def _missing(
    fields: Mapping[str, Any], known: Mapping[str, Any], given: Given
) -> list[str]:
    """Fields that nobody said and that the outputs depend on."""
    missing = [name for name in UNSEEN if name not in fields]
    prefixed = any(fields.get(n) for n in ("class_token", "dist_token", "reg_tokens"))
    pooled = prefixed and fields.get("global_pool") in MEANS
    # Whoever states "avg" means the schema's word, the patches; a file's own pooling
    # leaves open what it sees.
    stated = "global_pool" in known or "pool_include_prefix" in fields
    if pooled and not stated:
        missing.append("pool_include_prefix")
    if given.preset:
        missing = [n for n in missing if ViTConfig.model_fields[n].is_required()]
    missing += [name for name in ("patch_size",) if name not in fields]
    sized = "img_size" in fields and "patch_size" in fields
    if sized and "in_chans" not in fields and "spatial_dims" not in fields:
        missing.append("spatial_dims")
    if fields["pos_embed"] == "none" and "pos_embed" not in known:
        missing.append("pos_embed")  # there may be none, or a computed one
    return missing


def _unturned(config: ViTConfig, file: Any) -> ViTConfig:
    """The config, if its positions are what the twins can compute."""
    if config.rope is not None:
        raise refusal(
            "rope: rotary positions are in the schema, but cannot be converted yet",
            file=file,
            kind="config",
        )
    return config


def _decided(
    told: Mapping[str, Any], config: ViTConfig, given: Given
) -> frozenset[str]:
    """Fields that names and shapes decide, whatever the caller says."""
    known = config.model_dump()
    agreed = {n for n, v in told.items() if _agrees(n, v, known[n], config)}
    absent = BY_PRESENCE.difference(told) if given.lacking else frozenset()
    return (BY_PRESENCE | agreed | {"pos_embed_tokens"}) - absent


def _check_fields(changes: Mapping[str, Any], file: Any) -> None:
    """Refuses what is no field, before fields that it was meant for are asked for."""
    fields = [*ViTConfig.model_fields, BLOCK]
    for change in changes:
        name = change.partition(".")[0]
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            meant = f'; did you mean "{near[0]}"?' if near else ""
            text = f'a config has no field "{printable(name)}"{meant}'
            raise refusal(text, file=file, kind="config")


def _flat_channels(
    fields: dict[str, Any], variant: Variant, shapes: Shapes, file: Any
) -> None:
    """Channels and number of axes from a flattened patch, once its sides are known."""
    patch, size = fields.get("patch_size"), fields.get("img_size")
    width = flat_width(variant, shapes)
    if patch is None or size is None or "in_chans" in fields or width is None:
        return
    if "spatial_dims" not in fields:
        rows = canonical_shapes(variant, shapes).get("pos_embed", (None, None))[1]
        axes = _flat_axes(size, patch, width, rows, file)
        if axes is None:
            return  # asked for, with all else that is missing
        fields["spatial_dims"] = axes
    dims = fields["spatial_dims"]
    area = math.prod((patch,) * dims if isinstance(patch, int) else patch)
    if width % area == 0:
        fields["in_chans"] = width // area


def _flat_axes(
    size: Any, patch: Any, width: int, rows: int | None, file: Any
) -> int | None:
    """Axes of a flattened patch: those that sizes, width and position rows allow.

    None if two and three are possible.
    """
    stated = [len(s) for s in (size, patch) if not isinstance(s, int)]
    if stated:
        return stated[0]
    fits = [
        dims
        for dims in (2, 3)
        if width % patch**dims == 0 and rows in (None, (size // patch) ** dims)
    ]
    if not fits:
        table = "" if rows is None else f", with {rows} rows of positions"
        raise refusal(
            f"flattened patches of {width} values: two axes or three?",
            file=file,
            hint=f"img_size={size} and patch_size={patch} give neither{table}; state a "
            "size for each axis.",
            kind="config",
        )
    return fits[0] if len(fits) == 1 else None


def _head_width(fields: dict[str, Any], variant: Variant, shapes: Shapes) -> None:
    """Width of a head from all heads' together, once their number is known."""
    rows = canonical_shapes(variant, shapes).get("blocks.0.attn.qkv.weight", (None,))[0]
    heads = fields.get("num_heads")
    if not rows or not isinstance(heads, int) or fields.get("head_dim"):
        return
    if rows != 3 * fields.get("embed_dim", 0) and heads > 0 and rows % (3 * heads) == 0:
        fields["head_dim"] = rows // (3 * heads)


def _pos_tokens(fields: dict[str, Any], variant: Variant, shapes: Shapes) -> str:
    """Which tokens have a row, by the number of rows."""
    rows = canonical_shapes(variant, shapes).get("pos_embed", ())
    if fields.get("pos_embed") == "none" or len(rows) != 3:
        return "all"
    config = ViTConfig(**{**fields, "pos_embed_tokens": "patch"})
    extra = (rows[1] or 0) - config.num_patches
    if extra == config.num_prefix_tokens:
        return "all"
    return {0: "patch", 1: "cls" if config.class_token else "all"}.get(extra, "all")


def _told(
    says: Mapping[str, Any], known: Mapping[str, Any], given: Given
) -> Mapping[str, Any]:
    """What the file says, but for the absence of tensors that it may lack."""
    if not given.lacking:
        return says
    headless = not says.get("num_classes") and known.get("num_classes")
    fields = BY_PRESENCE | (OF_HEAD if headless else frozenset())
    return {
        name: value
        for name, value in says.items()
        if name not in fields or value not in (False, None, 0, "none")
    }


def _conflicts(
    says: Mapping[str, Any], known: Mapping[str, Any], config: ViTConfig | None
) -> list[Issue]:
    """Fields of which the tensors say other than the caller."""
    return [
        Issue("config", name, f"{value!r} in the file", f"{known[name]!r} as given")
        for name, value in says.items()
        if name in known and not _agrees(name, value, known[name], config)
    ]


def _agrees(name: str, file: Any, given: Any, config: ViTConfig | None) -> bool:
    if name in _SOFT:
        return True
    if name == "init_values":
        return (file is None) == (given is None)
    if name == "pos_embed" and file != "none":
        return bool(given != "none")
    if name == "qkv_bias":
        return bool(file) == bool(given)
    if name == "pos_embed_tokens" and config is not None:
        rows = config.replace(pos_embed_tokens=file).num_pos_tokens
        return rows == config.num_pos_tokens
    if isinstance(file, tuple):
        given = (given,) * len(file) if isinstance(given, int) else tuple(given)
    return bool(file == given)
