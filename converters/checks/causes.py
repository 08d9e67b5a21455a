"""One sentence that explains many problems at once: the likely common cause."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from converters.errors import Issue, printable
from converters.mapping.pipe import TensorInfo
from vit_config import ViTConfig
from vit_config.weights import weight_table

# Part of a canonical name, the field that decides whether it is there, and how the
# field reads when it is.
_FIELDS = (
    ("cls_token", "class_token", "true"),
    ("dist_token", "dist_token", "true"),
    ("reg_token", "reg_tokens", "the number of register tokens"),
    ("pos_embed", "pos_embed", '"learned" or "sincos"'),
    ("patch_embed.norm", "patch_norm", '"post" or "dual"'),
    ("patch_embed.proj.bias", "patch_bias", "true"),
    ("norm_pre.", "pre_norm", "true"),
    (".attn.qkv.bias", "qkv_bias", 'true or "qv"'),
    (".attn.q_norm", "qk_norm", "true"),
    (".attn.k_norm", "qk_norm", "true"),
    (".attn.proj.bias", "proj_bias", "true"),
    (".ls1.gamma", "init_values", "a number"),
    (".ls2.gamma", "init_values", "a number"),
    (".mlp.fc1.bias", "mlp_bias", "true"),
    (".mlp.fc2.bias", "mlp_bias", "true"),
    ("attn_pool.", "global_pool", '"map"'),
    ("fc_norm.", "fc_norm", "true"),
    ("pre_logits.", "representation_size", "its width"),
    ("head_dist.", "distilled", "true"),
    ("head.bias", "head_bias", "true"),
    ("head.weight", "num_classes", "the number of classes"),
    ("norm.", "final_norm", "true"),
)


def likely_causes(
    issues: Sequence[Issue], found: Mapping[str, TensorInfo], config: ViTConfig
) -> list[str]:
    """What may be behind the problems, the most telling first.

    Args:
        issues: The problems, under canonical names where there is one.
        found: Every tensor of the file, under canonical names where there is one.
        config: The config that the file was compared with.
    """
    if not issues:
        return []
    causes = [
        *_prefix(issues, config),
        *_dimensions(found, config),
        *_depth(found, config),
        *_width(found, config),
        *_classes(found, config),
        *_positions(found, config),
        *_flags(issues),
    ]
    return list(dict.fromkeys(causes))


def _prefix(issues: Sequence[Issue], config: ViTConfig) -> Iterator[str]:
    missing = [issue.name for issue in issues if issue.kind == "missing"]
    unexpected = {issue.name for issue in issues if issue.kind == "unexpected"}
    prefixes: Counter[str] = Counter()
    anchor = [name for name in missing if name.startswith("patch_embed.proj.")]
    for name in anchor[:1]:
        for other in unexpected:
            if other.endswith(f".{name}"):
                prefixes[other.removesuffix(name)] += 1
    for prefix in prefixes:
        hits = sum(prefix + name in unexpected for name in missing)
        if hits * 10 >= len(missing) * 9:
            yield (
                f'the names of the file begin with "{printable(prefix)}"; '
                "without that prefix they fit"
            )


def _shape(found: Mapping[str, TensorInfo], name: str) -> tuple[int, ...]:
    info = found.get(name)
    return info.shape if info else ()


def _dimensions(found: Mapping[str, TensorInfo], config: ViTConfig) -> Iterator[str]:
    rank = len(_shape(found, "patch_embed.proj.weight"))
    dims = {4: 2, 5: 3}.get(rank)
    if dims and dims != config.spatial_dims and config.patch_norm != "dual":
        yield (
            f"the file is a {dims}D model (patch kernel of {rank} axes), the config "
            f"says spatial_dims={config.spatial_dims}"
        )


def _depth(found: Mapping[str, TensorInfo], config: ViTConfig) -> Iterator[str]:
    indices = {
        int(parts[1])
        for parts in (name.split(".") for name in found)
        if len(parts) > 2 and parts[0] == "blocks" and parts[1].isdecimal()
    }
    if indices and len(indices) != config.depth:
        yield (
            f"the file has {len(indices)} blocks, the config says depth={config.depth}"
        )


def _width(found: Mapping[str, TensorInfo], config: ViTConfig) -> Iterator[str]:
    shape = _shape(found, "patch_embed.proj.weight")
    if shape and shape[0] != config.embed_dim:
        yield (
            f"the file is {shape[0]} wide, the config says embed_dim={config.embed_dim}"
        )
    conv = config.patch_norm != "dual" and len(shape) == config.spatial_dims + 2
    if conv and shape[1] != config.in_chans:
        yield (
            f"the file has {shape[1]} channels, the config says "
            f"in_chans={config.in_chans}"
        )
    if conv and shape[2:] != config.patch_size:
        yield (
            f"the patches of the file are {shape[2:]}, the config says "
            f"patch_size={config.patch_size}"
        )
    hidden = _shape(found, "blocks.0.mlp.fc1.weight")
    branches = 2 if config.mlp_layer == "swiglu" else 1
    if hidden and hidden[0] != branches * config.mlp_dim:
        yield (
            f"the MLP of the file is {hidden[0]} wide, the config has {branches} x "
            f"mlp_dim={config.mlp_dim} (mlp_layer={config.mlp_layer!r})"
        )


def _classes(found: Mapping[str, TensorInfo], config: ViTConfig) -> Iterator[str]:
    shape = _shape(found, "head.weight")
    if shape and config.num_classes and shape[0] != config.num_classes:
        yield (
            f"the head of the file has {shape[0]} classes, the config says "
            f"num_classes={config.num_classes}"
        )


def _positions(found: Mapping[str, TensorInfo], config: ViTConfig) -> Iterator[str]:
    shape = _shape(found, "pos_embed")
    wanted = config.num_pos_tokens
    if len(shape) == 3 and wanted and shape[1] != wanted:
        grid = "x".join(map(str, config.grid_size))
        yield (
            f"the position table of the file has {shape[1]} rows; img_size="
            f"{config.img_size} and pos_embed_tokens={config.pos_embed_tokens!r} make "
            f"{wanted} ({wanted - config.num_patches} + {grid})"
        )


def _flags(issues: Sequence[Issue]) -> Iterator[str]:
    fields: dict[str, list[str]] = {}
    for issue in issues:
        if issue.kind not in ("missing", "unexpected"):
            return
        for part, field, value in _FIELDS:
            dotted = f".{issue.name}" if part.startswith(".") else issue.name
            at_start = dotted.startswith(part)
            if at_start or (part.startswith(".") and part in dotted):
                fields.setdefault(field, []).append(issue.kind)
                if issue.kind == "missing":
                    text = f"the config asks for {field}, the file was made without it"
                else:
                    text = f"the file was made with {field} = {value}"
                fields[field].append(text)
                break
        else:
            return
    for texts in fields.values():
        yield texts[1]


def canonical_names(config: ViTConfig) -> dict[str, str]:
    """Canonical name by the Keras twin's path."""
    return {weight.path: weight.name for weight in weight_table(config)}
