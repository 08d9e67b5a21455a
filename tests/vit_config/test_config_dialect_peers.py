"""The dialects against the libraries: recorded outputs always, live ones where present.

A golden file says how a library's model was built and which `ViTConfig` gave the same
outputs; the dialect must find that configuration by itself.
"""

from __future__ import annotations

import functools
import importlib
import inspect
import json
from pathlib import Path
from typing import Any

import pytest

from converters.libraries.config_fields import REQUIRED, Spec, plain
from converters.libraries.huggingface import config as huggingface
from converters.libraries.huggingface.config_models import MODELS
from converters.libraries.lucidrains import config as lucidrains
from converters.libraries.monai import config as monai
from converters.libraries.timm import config as timm
from converters.libraries.torchvision import config as torchvision
from converters.parity.selftest.recorded import FOLDER
from vit_config import ViTConfig

GOLDENS = sorted(FOLDER.glob("*.safetensors"))
TORCH_NORM = type("LayerNorm", (), {"__module__": "torch.nn"})

# Not what a model computes at its own size: how it starts, and how it is resized.
OTHERWISE = {"weight_init", "pos_resize"}
DIFFERENT: dict[str, dict[str, Any]] = {
    # Its table is the library's own and frozen; stored, it computes the same.
    "hf_videomae": {"pos_embed": "learned"},
    # Recorded with the pooler, which a bare model's tokens do not pass.
    "hf_vit_pooler": {"global_pool": "token", "representation_size": 20},
    # Fed another shape of as many patches, which that library lets pass.
    "hf_siglip": {"img_size": (64, 16)},
}


def header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        length = int.from_bytes(file.read(8), "little")
        metadata = json.loads(file.read(length))["__metadata__"]
    return dict(json.loads(metadata["golden"]))


def arguments(golden: dict[str, Any]) -> tuple[str, dict[str, Any]]:
    """The dialect, and the recorded arguments as that library takes them."""
    fields, builder = dict(golden["arguments"]), golden["builder"]
    match golden["library"]:
        case "transformers":
            kinds = [kind for kind, m in MODELS.items() if builder in m.outputs]
            fields |= {"model_type": kinds[0], "architectures": [builder]}
            return "huggingface", fields
        case "vit-pytorch":
            return "lucidrains", {**fields, "class": builder}
        case "timm":
            if "norm_eps" in fields:
                eps = fields.pop("norm_eps")
                fields["norm_layer"] = functools.partial(TORCH_NORM, eps=eps)
            if fields.get("mlp_layer") == "SwiGLUPacked":
                fields.setdefault("act_layer", "silu")
            return "timm", {**fields, "class": builder}
        case library:
            return library, fields


@pytest.mark.parametrize("path", GOLDENS, ids=[path.stem for path in GOLDENS])
def test_dialect_finds_the_recorded_config(path: Path) -> None:
    golden = header(path)
    dialect, fields = arguments(golden)
    found = ViTConfig.from_dialect(dialect, fields)
    found = found.replace(**DIFFERENT.get(path.stem, {}))
    wanted = ViTConfig.from_dict(golden["config"]).architecture()
    difference = {
        name: (value, wanted[name])
        for name, value in found.architecture().items()
        if value != wanted[name] and name not in OTHERWISE
    }
    assert difference == {}


def test_every_dialect_is_recorded() -> None:
    found = {arguments(header(path))[0] for path in GOLDENS}
    assert found == {"huggingface", "lucidrains", "monai", "timm", "torchvision"}


# ---- live -------------------------------------------------------------------------

peers = pytest.mark.peers
quiet = pytest.mark.filterwarnings("ignore")


def signature(builder: Any) -> dict[str, Any]:
    """Arguments and defaults of a constructor, classes by name, partials unwrapped."""
    found = {}
    for name, parameter in inspect.signature(builder).parameters.items():
        default = parameter.default
        found[name] = REQUIRED if default is inspect.Parameter.empty else plain(default)
    return found


def stated(spec: Spec) -> dict[str, Any]:
    return {
        **{name: take.default for name, take in spec.take.items()},
        **{name: same.allowed[0] for name, same in spec.same.items()},
    }


@peers
@quiet
def test_monai_signature() -> None:
    nets = pytest.importorskip("monai.networks.nets")
    live, ours = signature(nets.ViT), stated(monai.SPEC)
    del ours["pos_embed"], ours["_target_"]  # the old name; the bundle's
    assert {k: v for k, v in live.items() if k not in monai.SPEC.ignored} == ours


@peers
@quiet
def test_timm_signature() -> None:
    models = pytest.importorskip("timm.models.vision_transformer")
    live, ours = signature(models.VisionTransformer), stated(timm.SPEC)
    del ours["class"]
    assert {k: v for k, v in live.items() if k not in timm.SPEC.ignored} == ours
    norm = importlib.import_module("timm.layers").LayerNorm
    nn = importlib.import_module("torch.nn")
    for layer in (norm, nn.LayerNorm, functools.partial(nn.LayerNorm, eps=1e-3)):
        eps = ViTConfig.from_dialect("timm", {"norm_layer": layer}).norm_eps
        assert layer(8).eps == eps
    for layer in (nn.GELU, nn.SiLU, nn.ReLU, models.SwiGLUPacked.keywords["act_layer"]):
        ViTConfig.from_dialect("timm", {"act_layer": layer})


@peers
@quiet
def test_torchvision_signature() -> None:
    models = pytest.importorskip("torchvision.models.vision_transformer")
    live, ours = signature(models.VisionTransformer), stated(torchvision.SPEC)
    norm = live.pop("norm_layer")
    assert ours.pop("norm_layer") is None
    assert live == ours
    parse = torchvision.SPEC.take["norm_layer"].parse
    assert parse(norm) == parse(None) == norm(8).eps


@peers
@quiet
@pytest.mark.parametrize("name", lucidrains.SPECS)
def test_lucidrains_signature(name: str) -> None:
    pytest.importorskip("vit_pytorch")
    module, builder = name.split(".")
    live = signature(getattr(importlib.import_module(f"vit_pytorch.{module}"), builder))
    ours = stated(lucidrains.SPECS[name])
    del ours["class"]
    assert live == ours


@peers
@quiet
@pytest.mark.parametrize("name", MODELS)
def test_huggingface_config(name: str) -> None:
    transformers = pytest.importorskip("transformers")
    auto = importlib.import_module("transformers.models.auto.configuration_auto")
    builder = auto.CONFIG_MAPPING[name]
    spec = huggingface.spec_of(name)
    live = builder().to_dict()
    for field, take in spec.take.items():
        ours = take.default
        if name == "videomae" and field == "qv_bias":
            assert (live[field], ours) == (True, None)  # configs of 4 say qkv_bias
        elif field in live and field not in ("id2label", "model_type"):
            assert live[field] == ours, field
    written = {**live, "architectures": list(MODELS[name].outputs)[:1]}
    ViTConfig.from_dialect("huggingface", written)
    for architecture in MODELS[name].outputs:
        assert hasattr(transformers, architecture)
