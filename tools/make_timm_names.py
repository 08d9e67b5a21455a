"""Writes converters/libraries/timm/timm_names.json: what timm's names mean.

Run in the environment that `tools/make_goldens.py` names, from the root of the
repository:

    peers/bin/python tools/make_timm_names.py           writes the file
    peers/bin/python tools/make_timm_names.py --check   holds it to timm's own models,
                                                        and writes what these have

Every entry point of timm's registry is called with its model builder replaced by one
that only notes what it was given, so nothing is built and nothing is downloaded. Names
that timm builds from `VisionTransformer` or `VisionTransformerDistilled` are kept with
their arguments and the preprocessing of every tag; of all other names only the class
is kept, so that they can be refused by name.

`--check` makes each model on the meta device, for every name and tag, and compares all
names and shapes of its tensors with those of our config. For the tests that run
without timm, tests/vit_config/timm_shapes.json then gets a digest of timm's names and
shapes, and for some models, changed as people change them, the `config.json` that timm
saves and how timm itself reads it again.
"""

from __future__ import annotations

import argparse
import dataclasses
import functools
import hashlib
import importlib
import inspect
import json
import sys
import tempfile
import warnings
from collections import Counter
from importlib.metadata import version
from pathlib import Path
from typing import Any

import timm
import torch
from timm.models import _builder, _registry, deit, vision_transformer
from timm.models._pretrained import PretrainedCfg

ROOT = Path(__file__).resolve().parents[1]
WHERE = ROOT / "converters" / "libraries" / "timm" / "timm_names.json"
SHAPES = ROOT / "tests" / "vit_config" / "timm_shapes.json"
sys.path.insert(0, str(ROOT))

PLAIN = {
    vision_transformer.VisionTransformer: "VisionTransformer",
    deit.VisionTransformerDistilled: "VisionTransformerDistilled",
}
BUILDERS = set(inspect.signature(_builder.build_model_with_cfg).parameters)
KEPT = (
    # fields of a `PretrainedCfg` that say something about the model or its inputs
    "input_size",
    "fixed_input_size",
    "interpolation",
    "crop_pct",
    "crop_mode",
    "mean",
    "std",
    "num_classes",
    "license",
)


class Noted(Exception):
    """What an entry point gave to the builder."""

    def __init__(self, model_cls: Any, kwargs: dict[str, Any]) -> None:
        super().__init__()
        self.model_cls, self.kwargs = model_cls, kwargs


def ask(name: str) -> Noted | str:
    """What a name builds: the builder's arguments, or at least a class's name."""

    def note(model_cls: Any, variant: str, *args: Any, **kwargs: Any) -> Any:
        if variant != name and model_cls not in PLAIN:  # the backbone of a hybrid
            return _builder.build_model_with_cfg(model_cls, variant, *args, **kwargs)
        raise Noted(model_cls, kwargs)

    for module in builders():
        module.build_model_with_cfg = note
    try:
        with torch.device("meta"):
            found = timm.model_entrypoint(name)()
    except Noted as noted:
        return noted
    return type(found).__name__


def as_json(value: Any) -> Any:
    """A layer as the reader takes it: its name, with keywords where there are any."""
    if isinstance(value, functools.partial):
        name = value.func.__name__
        if name == "HybridEmbed":  # its backbone is a network of its own
            return name
        keywords = {k: as_json(v) for k, v in value.keywords.items()}
        if name == "GluMlp" and keywords == {"act_layer": "SiLU", "gate_last": False}:
            return "SwiGLUPacked"
        return {"layer": f"{value.func.__module__}.{name}", **keywords}
    if callable(value):
        return value.__name__
    return value


def resize_of(filter_fn: Any) -> str | None:
    """The rule by which timm resamples the positions of this model."""
    keywords = dict(getattr(filter_fn, "keywords", {}))
    keywords.pop("adapt_layer_scale", None)
    if not keywords:
        return None
    if keywords.pop("interpolation") != "bilinear" or keywords.pop("antialias"):
        raise SystemExit(f"another resampling: {filter_fn}")
    # Bilinear with aligned corners is what the schema calls zoom1.
    return "zoom1" if keywords.pop("align_corners", None) else "bilinear"


def tags_of(name: str) -> dict[str, dict[str, Any]]:
    """The preprocessing of every tag, the default one first."""
    known = _registry._model_default_cfgs[name]
    found = {}
    for tag in known.tags:
        cfg = dataclasses.asdict(known.cfgs[tag])
        entry = {
            field: list(value) if isinstance(value, tuple) else value
            for field, value in cfg.items()
            if field in KEPT and value is not None
        }
        found[tag] = entry
    return found


def usual(tags: list[dict[str, Any]]) -> dict[str, Any]:
    """The most frequent value of each field, which need not be repeated."""
    found = {}
    for field in KEPT:
        values = Counter(json.dumps(tag.get(field)) for tag in tags)
        found[field] = json.loads(values.most_common(1)[0][0])
    return found


@functools.cache
def builders() -> tuple[Any, ...]:
    """The modules that build models, by a name of their own for the builder."""
    names = sorted(path.stem for path in Path(timm.models.__path__[0]).glob("*.py"))
    modules = [
        importlib.import_module(f"timm.models.{n}") for n in names if n[0] != "_"
    ]
    return tuple(m for m in modules if hasattr(m, "build_model_with_cfg"))


def make() -> dict[str, Any]:
    models: dict[str, Any] = {}
    others: dict[str, list[str]] = {}
    for name in sorted(timm.list_models()):
        noted = ask(name)
        kind = noted if isinstance(noted, str) else None
        if isinstance(noted, Noted):
            if noted.model_cls in PLAIN:
                models[name] = model_entry(name, noted)
                continue
            kind = getattr(noted.model_cls, "__name__", "another model")
        others.setdefault(str(kind), []).append(name)
    tags = [tag for model in models.values() for tag in model["tags"].values()]
    base = usual(tags)
    for model in models.values():
        for tag in model["tags"].values():
            for field, value in base.items():
                if tag.get(field) == value:
                    del tag[field]
                elif field not in tag:
                    tag[field] = None
    renamed = {
        old: new
        for old, new in sorted(_registry._deprecated_models.items())
        if new and new.partition(".")[0] in models
    }
    unstated = {
        field.name: field.default for field in dataclasses.fields(PretrainedCfg)
    }
    return {
        "versions": {"timm": version("timm")},
        "unstated": {field: unstated[field] for field in KEPT},
        "usual": base,
        "renamed": renamed,
        "hub": hub_of(models),
        "models": models,
        "others": {kind: " ".join(names) for kind, names in sorted(others.items())},
    }


def hub_of(models: dict[str, Any]) -> dict[str, str | None]:
    """Where the weights of a tag are on the hub, if not under `timm/` and its name."""
    found = {}
    for name, model in models.items():
        for tag in filter(None, model["tags"]):
            full = f"{name}.{tag}"
            there = timm.models.get_pretrained_cfg(full).hf_hub_id or None
            if there != f"timm/{full}":
                found[full] = there
    return found


def model_entry(name: str, noted: Noted) -> dict[str, Any]:
    arguments = {
        field: as_json(value)
        for field, value in sorted(noted.kwargs.items())
        if field not in BUILDERS
    }
    if PLAIN[noted.model_cls] != "VisionTransformer":
        arguments["class"] = PLAIN[noted.model_cls]
    entry: dict[str, Any] = {"arguments": arguments}
    resize = resize_of(noted.kwargs.get("pretrained_filter_fn"))
    if resize:
        entry["pos_resize"] = resize
    return {**entry, "tags": tags_of(name)}


def as_text(table: dict[str, Any]) -> str:
    """JSON with a line for each model and tag, so that a change can be read."""
    lines = ["{"]
    for key in ("versions", "unstated", "usual"):
        lines.append(f" {json.dumps(key)}: {json.dumps(table[key])},")
    for key in ("renamed", "hub", "others"):
        lines.append(f' "{key}": {{')
        rows = [f"  {json.dumps(k)}: {json.dumps(v)}" for k, v in table[key].items()]
        lines += [",\n".join(rows), " },"]
    lines.append(' "models": {')
    models = []
    for name, model in table["models"].items():
        head = {field: value for field, value in model.items() if field != "tags"}
        tags = [
            f"   {json.dumps(k)}: {json.dumps(v)}" for k, v in model["tags"].items()
        ]
        body = json.dumps(head)[:-1]
        models.append(
            f'  {json.dumps(name)}: {body}, "tags": {{\n' + ",\n".join(tags) + "}}"
        )
    lines += [",\n".join(models), " }", "}"]
    return "\n".join(lines) + "\n"


# ---- check ------------------------------------------------------------------------


def check() -> int:
    """Names and shapes of every name and tag against timm's own model."""
    from vit_config import ConfigError, ViTConfig
    from vit_config.weights import weight_table

    table = json.loads(WHERE.read_text("utf-8"))
    counts: Counter[str] = Counter()
    reasons: Counter[str] = Counter()
    digests: dict[str, str] = {}
    for name, entry in table["models"].items():
        for tag in entry["tags"]:
            full = f"{name}.{tag}" if tag else name
            digests[full] = "refused"
            try:
                config = ViTConfig.from_dialect("timm", {"architecture": full})
            except ConfigError as error:
                counts["refused"] += 1
                reasons[error.problems[0].partition(";")[0]] += 1
                continue
            with torch.device("meta"):
                model = timm.create_model(full)
            theirs = {n: tuple(t.shape) for n, t in model.state_dict().items()}
            ours = {w.name: w.shape for w in weight_table(config)}
            counts["compared"] += 1
            digests[full] = digest(theirs)
            if ours != theirs:
                counts["DIFFERENT"] += 1
                print(full, sorted(set(ours.items()) ^ set(theirs.items()))[:4])
    print(dict(counts))
    for reason, count in reasons.most_common():
        print(f"  {count:3} {reason}")
    cards, wrong = pathology()
    saved = [save(name, changes) for name, changes in SAVED]
    record = {
        "versions": table["versions"],
        "shapes": digests,
        "pathology": cards,
        "saved": saved,
    }
    SHAPES.write_text(json.dumps(record, indent=0) + "\n", encoding="utf-8")
    return 1 if counts["DIFFERENT"] or wrong or not counts["compared"] else 0


def pathology() -> tuple[dict[str, Any], list[str]]:
    """What timm builds from the arguments of each card, and where a preset differs."""
    from vit_config import ViTConfig
    from vit_config.pathology import MODELS
    from vit_config.weights import weight_table

    classes = {"SwiGLUPacked": timm.layers.SwiGLUPacked, "SiLU": torch.nn.SiLU}
    cards, wrong = {}, []
    for name, (arguments, _, _) in MODELS.items():
        given = {key: classes.get(value, value) for key, value in arguments.items()}
        with torch.device("meta"):
            model = timm.create_model(given.pop("architecture"), **given)
        theirs = {n: tuple(t.shape) for n, t in model.state_dict().items()}
        config = ViTConfig.preset(name)
        if {w.name: w.shape for w in weight_table(config)} != theirs:
            wrong.append(name)
            print("DIFFERENT", name)
        cards[name] = {
            "shapes": digest(theirs),
            "pool": model.global_pool,
            "eps": model.blocks[0].norm1.eps,
            "act": type(model.blocks[0].mlp.act).__name__,
            "mlp": type(model.blocks[0].mlp).__name__,
            "heads": model.blocks[0].attn.num_heads,
            "prefix": model.num_prefix_tokens,
        }
    return cards, wrong


SAVED: list[tuple[str, dict[str, Any]]] = [
    ("vit_tiny_patch16_224", {}),
    ("vit_tiny_patch16_224", {"depth": 2, "num_classes": 7, "global_pool": "avg"}),
    ("vit_base_patch16_224.dino", {"depth": 1, "img_size": (64, 48)}),
    ("vit_base_patch16_clip_quickgelu_224", {"depth": 1, "in_chans": 1}),
    ("vit_small_patch14_reg4_dinov2", {"depth": 1, "dynamic_img_size": True}),
    ("vit_so400m_patch14_siglip_384", {"depth": 1}),
    ("flexivit_small.1200ep_in1k", {"depth": 1, "num_classes": 0}),
    ("deit_tiny_distilled_patch16_224", {"depth": 1}),
    ("vit_giant_patch14_reg4_dinov2", {"depth": 1, "embed_dim": 96, "num_heads": 2}),
]


def save(name: str, changes: dict[str, Any]) -> dict[str, Any]:
    """The `config.json` of a model, and what timm makes of it."""
    from timm.data import resolve_model_data_config
    from timm.models._hub import save_for_hf

    with tempfile.TemporaryDirectory() as folder, torch.device("meta"):
        model = timm.create_model(name, **changes)
        model.state_dict = lambda: {}  # no values on this device
        save_for_hf(model, folder, safe_serialization=True)
        config = json.loads((Path(folder) / "config.json").read_text("utf-8"))
        again = timm.create_model(f"local-dir:{folder}")
    data = resolve_model_data_config(again)
    shapes = {n: tuple(t.shape) for n, t in again.state_dict().items()}
    return {
        "config": config,
        "shapes": digest(shapes),
        "pool": again.global_pool,
        "img_size": list(again.patch_embed.img_size),
        "eps": again.blocks[0].norm1.eps,
        "act": type(again.blocks[0].mlp.act).__name__,
        "heads": again.blocks[0].attn.num_heads,
        "data": {k: data[k] for k in ("mean", "std", "interpolation", "crop_pct")},
        "crop_mode": data["crop_mode"],
    }


def digest(shapes: dict[str, tuple[int, ...]]) -> str:
    """Of all names and shapes, in the order of the names."""
    lines = [f"{name} {list(shape)}" for name, shape in sorted(shapes.items())]
    return hashlib.sha256("\n".join(lines).encode()).hexdigest()[:16]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true")
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.check:
        return check()
    WHERE.write_text(as_text(make()), encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
