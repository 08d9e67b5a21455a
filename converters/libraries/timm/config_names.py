"""timm's architecture names: what `timm.create_model(name)` and a hub folder build.

`timm_names.json` is made from timm itself by `tools/make_timm_names.py`, for every name
whose class is `VisionTransformer` or `VisionTransformerDistilled`. Two forms are read:

- the arguments of `timm.create_model`: `{"architecture": "vit_base_patch16_224.dino",
  "img_size": 448}`. What is not given comes from the tag, or from the name's first one;
- the `config.json` of a folder that timm saved: with `pretrained_cfg`, or in the older
  form in which all its fields stand at the top. As in timm, number of classes, channels
  and image size then come from there, and the tags of the table count for nothing.

The field `global_pool` beside a `pretrained_cfg` only informs: timm does not read it.
It is held to what timm builds, because older versions saved a changed pooling nowhere
else.
"""

from __future__ import annotations

import difflib
import functools
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any

from converters.libraries.config_fields import Refused, printed, text
from converters.libraries.huggingface.config_fields import label_names, without_labels
from vit_config.errors import ConfigError

WHAT = "timm config.json"

_LABELS = {"label_names", "labels", "label_descriptions"}
_TOP = {"architecture", "num_classes", "num_features", "global_pool", "model_args"}
_CFG_IGNORED = {
    # of a `PretrainedCfg`: where the weights lie, and words about them
    *("url", "file", "state_dict", "hf_hub_id", "hf_hub_filename", "source"),
    *("custom_load", "tag", "architecture"),
    *("description", "origin_url", "paper_name", "paper_ids", "notes"),
    # for fine-tuning, or for inputs of another size
    *("first_conv", "classifier", "pool_size", "test_pool_size"),
    *("test_input_size", "min_input_size", "test_crop_pct"),
}
_FACTORY = {
    # arguments of timm's factory, not of the class: the value that changes nothing
    "features_only": False,
    "use_naflex": False,
    "pruned": False,
    "scriptable": False,
    "exportable": False,
    "no_jit": False,
}
_FACTORY_IGNORED = {"out_indices", "feature_cls", "pretrained_strict", "cache_dir"}


@dataclass(frozen=True)
class Named:
    """What a name and what stands beside it mean.

    Attributes:
        arguments: What timm's class is made with.
        fields: Fields of `ViTConfig` that are no arguments of it.
        global_pool: What a saved config says of the pooling, to be compared.
        num_features: The same for the width.
    """

    arguments: dict[str, Any]
    fields: dict[str, Any]
    global_pool: Any = None
    num_features: Any = None
    problems: list[str] = field(default_factory=list)


@functools.cache
def table() -> dict[str, Any]:
    """`timm_names.json`."""
    path = files("converters.libraries.timm").joinpath("timm_names.json")
    found: dict[str, Any] = json.loads(path.read_text("utf-8"))
    return found


def names() -> tuple[str, ...]:
    """Every architecture name whose class is a plain ViT's."""
    return tuple(table()["models"])


def is_architecture(name: str) -> bool:
    """Whether timm has an architecture of that name, a plain ViT or another model."""
    return name in table()["models"] or any(
        name in others.split() for others in table()["others"].values()
    )


def tags(name: str) -> tuple[str, ...]:
    """The tags of an architecture, timm's default first."""
    return tuple(table()["models"][name]["tags"])


def preprocessing(name: str, tag: str) -> dict[str, Any]:
    """What timm's registry says of one tag: input size, mean, classes, licence ..."""
    return {**table()["usual"], **table()["models"][name]["tags"][tag]}


def hub_id(full: str) -> str | None:
    """Where timm has the weights of an architecture and a tag on the Hugging Face Hub.

    Args:
        full: Both, `"vit_base_patch16_224.dino"`.

    Returns:
        None if it names no tag, or one that has no weights there.
    """
    name, _, tag = full.partition(".")
    model = table()["models"].get(name)
    if model is None or not tag or tag not in model["tags"]:
        return None
    found: str | None = table()["hub"].get(full, f"timm/{full}")
    return found


def resolve(given: Mapping[str, Any]) -> Named:
    """Finds the arguments of the class and everything else a config says.

    Raises:
        ConfigError: With every problem found.
    """
    name, tag = _find(given["architecture"])
    stated = _stated(given)
    rest = {k: v for k, v in given.items() if k not in _TOP | _LABELS | set(stated)}
    rest.pop("pretrained_cfg", None)
    problems: list[str] = []
    saved = "pretrained_cfg" in given or bool(stated)
    model_args = given.get("model_args") or {}
    if not isinstance(model_args, Mapping):
        raise ConfigError([f"model_args: found {model_args!r}; an object"], WHAT)
    if saved:
        cfg = _saved_cfg(given, stated, model_args, problems)
        problems += [f"{key}: not a field of timm's config.json" for key in rest]
        arguments = dict(model_args)
        full = (cfg.get("tag") and f"{name}.{cfg['tag']}") or given["architecture"]
    else:
        full = f"{name}.{tag}" if tag else name  # as it was stated
        tag = tag or tags(name)[0]
        cfg = preprocessing(name, tag)
        asked = {k: given[k] for k in ("num_classes", "global_pool") if k in given}
        arguments = {
            k: v for k, v in {**rest, **asked}.items() if v is not None
        } | dict(model_args)
    arguments = _of_class(arguments, problems)
    entry = table()["models"][name]
    arguments = {**entry["arguments"], **arguments}
    _default_arguments(arguments, cfg)
    if problems:
        raise ConfigError(problems, WHAT)
    fields: dict[str, Any] = {
        "data": _data(cfg, arguments["in_chans"]),
        "labels": _labels(given, cfg, arguments["num_classes"]),
        "source": {"name": full, "licence": cfg.get("license")},
    }
    if "pos_resize" in entry:
        fields["pos_resize"] = entry["pos_resize"]
    width = given.get("num_features")
    if not saved:
        return Named(arguments, fields, num_features=width)
    return Named(arguments, fields, given.get("global_pool"), width)


def _find(architecture: Any) -> tuple[str, str]:
    """Name and tag; the tag is empty where none is given."""
    try:
        full = text(architecture)
    except Refused as refused:
        line = f"architecture: found {architecture!r}; {refused}"
        raise ConfigError([line], WHAT) from None
    full = table()["renamed"].get(full, full)
    name, _, tag = full.partition(".")
    version = table()["versions"]["timm"]
    models = table()["models"]
    if name in models:
        if tag and tag not in models[name]["tags"]:
            known = ", ".join(filter(None, tags(name))) or "none"
            line = (
                f"architecture: timm {version} has no tag {tag!r} of {name!r}; {known}"
            )
            raise ConfigError([line], WHAT)
        return name, tag
    for kind, others in table()["others"].items():
        if name in others.split():
            line = f"architecture: {name!r} is timm's {kind}, which is not a plain ViT"
            raise ConfigError([line], WHAT)
    near = difflib.get_close_matches(name, models, n=3)
    hint = f"; did you mean {' or '.join(map(repr, near))}?" if near else ""
    line = f"architecture: timm {version} has none of the name {name!r}{hint}"
    raise ConfigError([line], WHAT)


def _stated(given: Mapping[str, Any]) -> dict[str, Any]:
    """Fields of a `PretrainedCfg` that stand at the top, as older versions wrote."""
    if "pretrained_cfg" in given:
        return {}
    known = (set(table()["unstated"]) | _CFG_IGNORED | {"label_offset"}) - _TOP
    return {key: value for key, value in given.items() if key in known}


def _saved_cfg(
    given: Mapping[str, Any],
    stated: dict[str, Any],
    model_args: Mapping[str, Any],
    problems: list[str],
) -> dict[str, Any]:
    """The `PretrainedCfg` of a saved config, as `timm.models._hub` completes it."""
    cfg = given.get("pretrained_cfg", stated)
    if not isinstance(cfg, Mapping):
        raise ConfigError([f"pretrained_cfg: found {cfg!r}; an object"], WHAT)
    known = set(table()["unstated"]) | _CFG_IGNORED | _LABELS
    for key, value in cfg.items():
        if key == "label_offset":
            if value:
                problems.append(
                    f"pretrained_cfg.label_offset: found {value!r}; only 0: classes "
                    "that are cut off on loading"
                )
        elif key not in known:
            problems.append(f"pretrained_cfg.{key}: not a field of timm's")
    found = {**table()["unstated"], **cfg}
    if given.get("num_classes") is not None:
        found["num_classes"] = given["num_classes"]
    size = found["input_size"]
    if not isinstance(size, list | tuple) or len(size) != 3:
        line = f"pretrained_cfg.input_size: found {size!r}; channels, height, width"
        raise ConfigError([*problems, line], WHAT)
    if model_args.get("dynamic_img_size"):
        found["fixed_input_size"] = False
    return found


def _of_class(arguments: dict[str, Any], problems: list[str]) -> dict[str, Any]:
    """Takes the arguments of timm's factory out."""
    for key, value in _FACTORY.items():
        if arguments.get(key) not in (None, value):
            problems.append(f"{key}: found {arguments[key]!r}; only {value!r}")
    taken = _FACTORY_IGNORED | set(_FACTORY)
    return {key: value for key, value in arguments.items() if key not in taken}


def _default_arguments(arguments: dict[str, Any], cfg: Mapping[str, Any]) -> None:
    """What timm's builder takes from a `PretrainedCfg` where no argument says it."""
    channels, *size = cfg["input_size"]
    if cfg["num_classes"] is not None and cfg["num_classes"] >= 0:
        arguments.setdefault("num_classes", cfg["num_classes"])
    arguments.setdefault("num_classes", 1000)
    arguments.setdefault("in_chans", channels)
    if cfg["fixed_input_size"]:
        arguments.setdefault("img_size", size)


def _data(cfg: Mapping[str, Any], channels: int) -> dict[str, Any]:
    """Mean and deviation of other channels than the model's say nothing of it."""
    found = {
        "input_range": [0.0, 1.0],
        "interpolation": cfg["interpolation"],
        "crop_pct": cfg["crop_pct"],
        "crop_mode": cfg["crop_mode"],
    }
    for key in ("mean", "std"):
        values = cfg[key]
        if isinstance(values, list | tuple):
            values = list(values) * (channels if len(values) == 1 else 1)
            found[key] = values if len(values) == channels else None
    return {k: float(v) if isinstance(v, int) else v for k, v in found.items()}


def _labels(
    given: Mapping[str, Any], cfg: Mapping[str, Any], count: Any
) -> list[str] | None:
    found = [s[k] for s in (given, cfg) for k in ("label_names", "labels") if s.get(k)]
    if not found:
        return None
    listed = found[0]
    if isinstance(listed, list | tuple):
        listed = dict(enumerate(listed))
    try:
        parsed = list(label_names(listed))
    except Refused as refused:
        line = f"label_names: found {printed(listed)}; {refused}"
        raise ConfigError([line], WHAT) from None
    if len(parsed) != count:
        text = f"{len(parsed)} names for num_classes={count}"
        line = f"label_names: {text}; {without_labels()}"
        raise ConfigError([line], WHAT)
    return parsed
