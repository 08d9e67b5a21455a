"""What a file's names and shapes say about its config, and what they cannot say."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from converters.dialects.advice import advice, listed
from converters.dialects.base import Shapes, Variant
from converters.report import ConversionError, Issue, printable, refusal
from converters.rules import BLOCK, CHUNK, DEPTH, ZERO, Row
from vit_config import ViTConfig
from vit_config.presets import preset_fields

Dims = tuple[int | None, ...]

UNSEEN = ("num_heads", "img_size", "norm_eps", "act_layer", "global_pool")
"""Fields that change what a model computes and that no name or shape tells."""

_SOFT = frozenset({"weight_init", "pos_resize"})  # training and resizing only
_MAX_DEPTH = 1000
_OF_TENSORS = frozenset(
    {
        *("patch_bias", "patch_norm", "pre_norm", "class_token", "dist_token"),
        *("reg_tokens", "pos_embed", "qkv_bias", "proj_bias", "mlp_bias", "qk_norm"),
        *("init_values", "final_norm", "fc_norm", "num_classes", "head_bias"),
        "representation_size",
    }
)
_OF_HEAD = frozenset({"head_act", "global_pool", "distilled"})
_GROUP = re.compile(r"\([^()]*\)|[^\s()]+")


@dataclass(frozen=True)
class Given:
    """What the caller says about the model.

    Attributes:
        config: A whole config.
        preset: Name of a preset.
        changes: Single fields; they stand above the other two.
        lacking: Whether the file may lack tensors: that it has none of a kind then says
            nothing against a config that asks for them.
    """

    config: ViTConfig | None = None
    preset: str | None = None
    changes: Mapping[str, Any] = field(default_factory=dict)
    lacking: bool = False

    def __bool__(self) -> bool:
        return bool(self.config or self.preset or self.changes)

    def whole(self) -> ViTConfig | None:
        """A config that needs nothing from the file, if there is one."""
        if self.config is not None:
            changes = dict(self.changes)
            return self.config.replace(**changes) if changes else self.config
        if self.preset is not None:
            return ViTConfig.preset(self.preset, **self.changes)
        return None


def canonical_shapes(variant: Variant, shapes: Shapes) -> dict[str, Dims]:
    """Canonical names and shapes, as far as they follow without a config."""
    rows = variant.table.rows
    depth = _depth(variant, shapes)
    marks = [{BLOCK: i, DEPTH: depth} for i in range(depth)]
    found: dict[str, Dims] = {}
    for row in rows:
        for mark in marks if BLOCK in row.targets[0] else [{DEPTH: depth}]:
            sources = [_filled(name, mark, shapes) for name in row.sources]
            parts = [shapes.get(name) for name in sources if name != ZERO]
            if any(part is None for part in parts):
                continue
            dims = _right_dims(row, [part for part in parts if part is not None])
            if dims is not None:
                found.setdefault(_filled(row.targets[0], mark, shapes), dims)
    return found


def _depth(variant: Variant, shapes: Shapes) -> int:
    rows = variant.table.rows
    anchor = next(r for r in rows if r.targets == ("blocks.{i}.norm1.weight",))
    count = 0
    while count < _MAX_DEPTH:
        if _filled(anchor.sources[0], {BLOCK: count}, shapes) not in shapes:
            break
        count += 1
    return count


def _filled(name: str, marks: Mapping[str, int], shapes: Shapes) -> str:
    for mark, number in marks.items():
        name = name.replace(mark, str(number))
    if CHUNK not in name:
        return name
    chunks = (name.replace(CHUNK, str(chunk)) for chunk in range(64))
    return next((chunk for chunk in chunks if chunk in shapes), name)


def _right_dims(row: Row, parts: list[tuple[int, ...]]) -> Dims | None:
    """Shape of the right side of a row, None for an axis that must stay open."""
    left, right = row.sides
    groups = _GROUP.findall(left)
    shape = parts[0]
    if len(row.sources) > 1:
        if any(part != shape for part in parts):
            return None
        shape = (len(row.sources), *shape)
    extra = len(shape) - len(groups)
    if extra < 0 or (extra and "..." not in groups):
        return None
    known: dict[str, Dims] = {"1": (1,)}
    position = 0
    for group in groups:
        width = extra + 1 if group == "..." else 1
        known[group] = shape[position : position + width]
        position += width
    dims: list[int | None] = []
    for group in _GROUP.findall(right):
        dims += known.get(group) or _product(group, known)
    return tuple(dims)


def _product(group: str, known: Mapping[str, Dims]) -> list[int | None]:
    """`(s h e)` from `s` and `(h e)`, which another layout keeps apart."""
    symbols = group.strip("()").split()
    first, rest = symbols[0], symbols[1:]
    tail = f"({' '.join(rest)})" if len(rest) > 1 else "".join(rest)
    parts = known.get(first), known.get(tail)
    if any(part is None or None in part for part in parts):
        return [None]
    numbers = [number for part in parts if part for number in part if number]
    return [math.prod(numbers)]


def seen(variant: Variant, shapes: Shapes) -> dict[str, Any]:
    """Every field of the config that the names and shapes of a file say."""
    found = canonical_shapes(variant, shapes)
    depth = _depth(variant, shapes)

    def has(name: str) -> bool:
        return name in found

    def dim(name: str, axis: int) -> int | None:
        dims = found.get(name, ())
        return dims[axis] if len(dims) > axis else None

    block = "blocks.0"
    if has(f"{block}.norm1.weight") and not has(f"{block}.norm1.bias"):
        raise refusal(
            "the norms have no bias: RMSNorm, as AIMv2 has it, not LayerNorm",
            hint="This library has no such norm yet.",
            kind="config",
        )
    mlp_dim = dim(f"{block}.mlp.fc2.weight", 1)
    rows = dim(f"{block}.mlp.fc1.weight", 0)
    patches = found.get("patch_embed.proj.weight", ())
    fields: dict[str, Any] = {
        "embed_dim": dim(f"{block}.norm1.weight", 0),
        "depth": depth,
        "mlp_dim": mlp_dim,
        "mlp_layer": (
            None if not rows or not mlp_dim else "swiglu" if rows > mlp_dim else "mlp"
        ),
        "patch_bias": has("patch_embed.proj.bias"),
        "patch_norm": (
            "dual"
            if has("patch_embed.norm_pre.weight")
            else "post"
            if has("patch_embed.norm.weight")
            else "none"
        ),
        "pre_norm": has("norm_pre.weight"),
        "class_token": has("cls_token"),
        "dist_token": has("dist_token"),
        "reg_tokens": dim("reg_token", 1) or 0,
        "pos_embed": "learned" if has("pos_embed") else "none",
        "qkv_bias": has(f"{block}.attn.qkv.bias"),
        "proj_bias": has(f"{block}.attn.proj.bias"),
        "mlp_bias": has(f"{block}.mlp.fc1.bias"),
        "qk_norm": has(f"{block}.attn.q_norm.weight"),
        "init_values": 1e-5 if has(f"{block}.ls1.gamma") else None,
        "final_norm": has("norm.weight"),
        "fc_norm": has("fc_norm.weight"),
        "num_classes": dim("head.weight", 0) or 0,
        "representation_size": dim("pre_logits.weight", 0),
    }
    if has("head.weight"):
        fields["head_bias"] = has("head.bias")
    if has("attn_pool.latent"):
        fields["global_pool"] = "map"
    if len(patches) > 3 and None not in patches:
        fields["spatial_dims"] = len(patches) - 2
        fields["in_chans"], fields["patch_size"] = patches[1], tuple(patches[2:])
    optional = {"init_values", "representation_size"}
    fields = {k: v for k, v in fields.items() if v is not None or k in optional}
    return {**fields, **variant.says(shapes)}


def complete(variant: Variant, shapes: Shapes, given: Given, file: Any) -> ViTConfig:
    """The config of a file: what the file says, and the caller's word for the rest.

    Raises:
        ConversionError: If the two are at odds, or if something is still unknown.
        ConfigError: If the result describes no model.
    """
    says = seen(variant, shapes)
    if given.config is not None:
        config = given.whole()
        if config is None:
            raise ValueError("a config that is none")
        known = config.model_dump()
        says = {**says, **variant.follows(known)}
        _compare(_told(says, known, given), known, variant, file, config)
        return config
    _check_fields(given.changes, file)
    known = preset_fields(given.preset) if given.preset else {}
    known = {**known, **given.changes}
    says = {**says, **variant.follows({**says, **known})}
    _compare(_told(says, known, given), known, variant, file, None)
    fields = {**says, **known}
    _flat_channels(fields, variant, shapes)
    _head_width(fields, variant, shapes)
    missing = [name for name in UNSEEN if name not in fields]
    missing += [name for name in ("patch_size",) if name not in fields]
    if fields["pos_embed"] == "none" and "pos_embed" not in known:
        missing.append("pos_embed")  # there may be none, or rotary ones
    if given.preset:
        missing = [n for n in missing if ViTConfig.model_fields[n].is_required()]
    if missing:
        verb = "is" if len(missing) == 1 else "are"
        raise refusal(
            f"the file does not say which model it is: {listed(missing)} {verb} not in "
            "this file",
            file=file,
            hint=advice(missing, says, variant.name == "timm"),
            kind="config",
        )
    if "pos_embed_tokens" not in fields:
        fields["pos_embed_tokens"] = _pos_tokens(fields, variant, shapes)
    return ViTConfig(**fields)


def _check_fields(changes: Mapping[str, Any], file: Any) -> None:
    """Refuses what is no field, before fields that it was meant for are asked for."""
    fields = list(ViTConfig.model_fields)
    for name in changes:
        if name not in fields:
            near = difflib.get_close_matches(name, fields, n=1)
            meant = f'; did you mean "{near[0]}"?' if near else ""
            text = f'a config has no field "{printable(name)}"{meant}'
            raise refusal(text, file=file, kind="config")


def _flat_channels(fields: dict[str, Any], variant: Variant, shapes: Shapes) -> None:
    """Channels and number of axes from a flattened patch, once its sides are known."""
    patch = fields.get("patch_size")
    if patch is None or "in_chans" in fields:
        return
    dims = fields.setdefault(
        "spatial_dims", 2 if isinstance(patch, int) else len(patch)
    )
    area = math.prod((patch,) * dims if isinstance(patch, int) else patch)
    for row in variant.table.rows:
        if row.targets == ("patch_embed.proj.weight",) and row.sources[0] in shapes:
            width = shapes[row.sources[0]][-1]
            if width % area == 0:
                fields["in_chans"] = width // area


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
    fields = _OF_TENSORS | (_OF_HEAD if headless else frozenset())
    return {
        name: value
        for name, value in says.items()
        if name not in fields or value not in (False, None, 0, "none")
    }


def _compare(
    says: Mapping[str, Any],
    known: Mapping[str, Any],
    variant: Variant,
    file: Any,
    config: ViTConfig | None,
) -> None:
    issues = [
        Issue("config", name, f"{value!r} in the file", f"{known[name]!r} as given")
        for name, value in says.items()
        if name in known and not _agrees(name, value, known[name], config)
    ]
    if issues:
        raise ConversionError(
            issues,
            file=file,
            dialect=variant.name,
            hint="The file's names and shapes say the former; give the config it has.",
        )


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
