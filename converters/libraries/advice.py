"""What to do about a config that is not complete: what to state, and what is possible.

Nothing here is a value to paste. A line names every field that is missing, with a
placeholder that no field takes; below it stand the values that the tensors leave.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, get_args

from converters.libraries.given import BLOCK, PLAIN_BLOCK
from converters.libraries.timm import config_names as timm_names
from converters.wording import Blank, options, setting, written
from vit_config import ConfigError, ViTConfig
from vit_config.presets import preset_names

MAX_CHOICES = 8
_SIZES = ("img_size", "patch_size")
_EPSILONS = "1e-06 (timm), 1e-05 (torch, MONAI), 1e-12 (Hugging Face's ViT)"
_MEANINGS = {
    "pos_embed": "none, if the model adds no table at all, not even a computed one",
    "pool_include_prefix": "{true}, if class and register tokens are pooled with the "
    "patches; else {false}",
    "rope": "{null}, if queries and keys are not turned; rotary positions cannot be "
    "converted yet",
    BLOCK: f"{PLAIN_BLOCK}, if norms come before attention and MLP and every token "
    "attends to every other; no other can be converted",
}


@dataclass(frozen=True, slots=True)
class FileSays:
    """What is known of a file.

    Attributes:
        fields: Fields of the config.
        rows: Rows of the position table.
        flat: Values of a patch, where its projection is a matrix on flattened patches.
    """

    fields: Mapping[str, Any]
    rows: int | None = None
    flat: int | None = None

    @property
    def dims(self) -> int:
        """Axes of an image; of flattened patches that say nothing, a volume's."""
        dims: int = self.fields.get("spatial_dims") or (2 if self.flat is None else 3)
        return dims


def advice(
    missing: list[str],
    says: FileSays,
    places: Mapping[str, str],
    timm: bool = False,
) -> str:
    """How to say what a file does not, and what its tensors leave possible.

    Args:
        missing: What nobody said: fields of the config, and `"block"`.
        says: What the file says.
        places: Where the library's model or config has them, by field.
        timm: Whether timm's own names count as presets.
    """
    sets = setting(**{name: _placeholder(name, says.dims) for name in missing})
    lines = [f"State {'it' if len(missing) == 1 else 'them'}: {sets}"]
    for name in missing:
        words = "; ".join(_choices(name, says))
        place = f" (in {places[name]})" if name in places else ""
        lines.append(f"  {name}: {words}{place}")
    ways = [options(config=Blank("FILE"))]
    fits = _presets(missing, says, timm)
    if fits:
        ways.append(f"{options(preset=Blank('NAME'))}, of the model that was trained")
    lines.append(f"Or {', or '.join(ways)}{'. These fit:' if fits else '.'}")
    return "\n".join([*lines, *(f"  {line}" for line in fits)])


def _placeholder(name: str, dims: int) -> Any:
    if name in _SIZES:
        return [Blank("N")] * dims
    return Blank("N" if name == "num_heads" else "VALUE")


def _choices(name: str, says: FileSays) -> Iterator[str]:
    """What a field may be, in words."""
    if name == "num_heads":
        yield _heads(says.fields["embed_dim"])
    elif name == "img_size":
        yield from _image_sizes(says)
    elif name == "patch_size":
        yield from _patch_sizes(says)
    elif name == "norm_eps":
        yield f"the epsilon of its LayerNorms: {_EPSILONS}"
    elif name in _MEANINGS:
        words = {"null": None, "true": True, "false": False}
        yield _MEANINGS[name].format_map({n: written(v) for n, v in words.items()})
    else:
        yield listed([str(word) for word in _words(name, says.fields)], "or")
        prefixed = says.fields.get("class_token") or says.fields.get("reg_tokens")
        if name == "global_pool" and prefixed:
            more = setting(pool_include_prefix=True)
            yield f"avg and max are of the patches alone, with {more} of all tokens"


def _words(name: str, says: Mapping[str, Any]) -> Iterable[Any]:
    """The words that the schema allows for a field, as far as the file does."""
    words = get_args(ViTConfig.model_fields[name].annotation)
    if name == "act_layer" and says.get("mlp_layer") == "swiglu":
        return ("silu",)
    if name == "global_pool":
        out = {"map"} if says.get("global_pool") != "map" else set()
        if not says.get("class_token"):
            out |= {"token", "token_avg"}
        if says.get("num_classes") or says.get("fc_norm"):
            out.add("none")
        return [word for word in words if word not in out]
    return words


def _heads(width: int) -> str:
    """Divisors of the width, those first that make heads of a usual size."""
    divisors = [n for n in range(1, width + 1) if width % n == 0]
    usual = sorted(divisors, key=lambda n: abs(math.log(width / n / 64)))
    few = usual[:MAX_CHOICES]
    words = ", ".join(str(n) for n in few)
    more = " ..." if len(divisors) > len(few) else ""
    return f"a divisor of {width} (the width): {words}{more}"


def _image_sizes(says: FileSays) -> Iterator[str]:
    """Images whose patches the position table has rows for."""
    fields, rows = says.fields, says.rows
    if "spatial_dims" not in fields:
        yield "two axes of an image, three of a volume"
    if rows is None:
        yield "a multiple of patch_size on every axis"
        return
    cls = int(fields["class_token"])
    prefix = {0, cls, cls + fields["dist_token"] + fields["reg_tokens"]}
    counts = sorted((rows - n for n in prefix if rows > n), reverse=True)
    text = listed([str(n) for n in counts], "or")
    patch = fields.get("patch_size")
    if patch is None:
        yield f"{rows} rows of positions, so {text} patches"
        return
    sides = " x ".join(map(str, patch))
    yield f"{rows} rows of positions, so {text} patches of {sides} side by side"
    equal = []
    for count in counts:
        side = round(count ** (1 / len(patch)))
        if side ** len(patch) == count:
            equal.append("x".join(str(side * p) for p in patch))
    if equal:
        yield f"{listed(equal, 'or')} if there are as many on every axis"


def _patch_sizes(says: FileSays) -> Iterator[str]:
    """Patches of equal sides that have as many values as the projection takes."""
    flat = says.flat
    if flat is None:
        yield "the sides of a patch"
        return
    equal = []
    for channels in (1, 2, 3, 4):
        for dims in (2, 3) if "spatial_dims" not in says.fields else (says.dims,):
            side = round((flat / channels) ** (1 / dims))
            if channels * side**dims == flat and side > 1:
                words = f"{channels} channel{'s' if channels > 1 else ''}"
                equal.append(f"{'x'.join([str(side)] * dims)} of {words}")
    yield f"{flat} values with all channels"
    if equal:
        yield f"{listed(equal, 'or')}, if the sides are equal"


def _presets(missing: list[str], says: FileSays, timm: bool) -> list[str]:
    """Presets that have the file's tensors, with what each would state."""
    found: dict[str, list[str]] = {}
    fields, rows = says.fields, says.rows
    for name, config in _timm_fits(fields) if timm else _own_fits(fields):
        if rows in (None, config.num_pos_tokens):
            found.setdefault(_stated(config, missing), []).append(name)
    lines = []
    for stated, names in list(found.items())[:MAX_CHOICES]:
        more = [f"{len(names) - 3} more"] if names[3:] else []
        lines.append(f"{listed([*names[:3], *more])}: {stated}")
    return lines


def _stated(config: ViTConfig, missing: list[str]) -> str:
    fields = [name for name in missing if name != BLOCK]
    values = {name: getattr(config, name) for name in fields}
    return ", ".join(f"{name} {_printed(value)}" for name, value in values.items())


def _printed(value: Any) -> str:
    if isinstance(value, tuple):
        return "x".join(map(str, value))
    return value if isinstance(value, str) else written(value)


def _own_fits(says: Mapping[str, Any]) -> Iterator[tuple[str, ViTConfig]]:
    sizes = ("embed_dim", "depth", "mlp_dim", "patch_size", "spatial_dims", "in_chans")
    plain = ("class_token", "reg_tokens", "pre_norm", "mlp_layer")
    for name in preset_names():
        config = ViTConfig.preset(name)
        if all(getattr(config, s) == says[s] for s in (*sizes, *plain) if s in says):
            yield name, config


def _timm_fits(says: Mapping[str, Any]) -> Iterator[tuple[str, ViTConfig]]:
    """Names of timm that have the tensors of a file, but for its head."""
    fields = (
        *("embed_dim", "depth", "mlp_dim", "mlp_layer", "patch_size", "pre_norm"),
        *("class_token", "dist_token", "reg_tokens", "qkv_bias", "qk_norm"),
        *("final_norm", "fc_norm", "global_pool"),
    )
    for name in timm_names.names():
        try:
            config = ViTConfig.from_dialect("timm", {"architecture": name})
        except ConfigError:
            continue
        scaled = (config.init_values is None) == (says.get("init_values") is None)
        same = all(getattr(config, f) == says[f] for f in fields if f in says)
        if scaled and same:
            yield name, config


def listed(words: list[str], last: str = "and") -> str:
    """`["a", "b", "c"]` -> `"a, b and c"`."""
    if not words[1:]:
        return "".join(words)
    return f" {last} ".join([", ".join(words[:-1]), words[-1]])
