"""Files in a library's names load in that library, all of them and nothing else."""

from __future__ import annotations

import hashlib
import json
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from converters.libraries.huggingface.names import HUGGINGFACE
from converters.libraries.lucidrains.names import LUCIDRAINS
from converters.libraries.torchvision.names import TORCHVISION
from converters.libraries.variant import Variant
from converters.mapping.pipe import MemorySource, Pipe
from tests.dialects.real_names import Listing, load, variant_of
from tests.dialects.test_huggingface_table import VARIANTS
from tests.dialects.test_other_tables import _lucidrains
from tests.fill import fill_weights

pytestmark = pytest.mark.peers

# Their files hold what our model has no place for: a decoder.
IMPORT_ONLY = ("ForPreTraining", "ForMaskedImage")
EXPORTED = [
    model for model in VARIANTS if not any(word in model for word in IMPORT_ONLY)
]


def export(listing: Listing, variant: Variant) -> dict[str, np.ndarray]:
    """What is written: the tensors, and those that the library only wants to see."""
    config = listing.config
    pipe = Pipe(MemorySource(fill_weights(config)), variant.plan(config).inverse())
    arrays = {name: pipe.read(name) for name in pipe.tensors}
    for name, fill in variant.fills(config).items():
        arrays[name] = np.full(fill.shape, fill.value, np.float32)
    return arrays


def whole(config: dict[str, Any], model_type: str) -> dict[str, Any]:
    """A tower's config as a section of the whole model's, where the class wants one."""
    if config["model_type"] == model_type:
        return config
    own = {k: v for k, v in config.items() if k in ("id2label", "num_labels")}
    return {"model_type": model_type, "vision_config": config, **own}


def same_values(state: dict[str, Any], listing: Listing) -> None:
    for name, (_, digest) in listing.tensors.items():
        if digest is not None:
            data = np.ascontiguousarray(state[name].numpy()).tobytes()
            assert hashlib.sha256(data).hexdigest().startswith(digest), name


@pytest.mark.parametrize("model", EXPORTED)
def test_transformers(model: str, tmp_path: Path) -> None:
    transformers = pytest.importorskip("transformers", minversion="5.0")
    safetensors = pytest.importorskip("safetensors.numpy")
    listing = Listing("huggingface", model, "memory")
    variant = variant_of(HUGGINGFACE, VARIANTS[model][0])
    arrays = export(listing, variant)
    safetensors.save_file(arrays, tmp_path / "model.safetensors", {"format": "pt"})
    cls = getattr(transformers, listing.entry["class"])
    config = whole(listing.entry["config"]["given"], cls.config_class.model_type)
    (tmp_path / "config.json").write_text(json.dumps(config))
    library, info = cls.from_pretrained(tmp_path, output_loading_info=True)
    # A pooler is left to the library: none of our tensors is one.
    missing = {n for n in info["missing_keys"] if not n.startswith("pooler.")}
    assert missing == set() and not info["unexpected_keys"]
    same_values(library.state_dict(), listing)


@pytest.mark.parametrize("model", load("torchvision")["models"])
def test_torchvision(model: str) -> None:
    torch = pytest.importorskip("torch")
    torchvision = pytest.importorskip("torchvision")
    listing = Listing("torchvision", model, "memory")
    arrays = export(listing, TORCHVISION.variants[0])
    library = torchvision.models.VisionTransformer(**listing.entry["arguments"])
    library.load_state_dict({n: torch.from_numpy(a) for n, a in arrays.items()})
    same_values(library.state_dict(), listing)


@pytest.mark.parametrize("model", load("lucidrains")["models"])
def test_lucidrains(model: str) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("vit_pytorch")
    listing = Listing("lucidrains", model, "memory")
    arrays = export(listing, variant_of(LUCIDRAINS, _lucidrains(model)))
    module, name = listing.entry["class"].split(".")
    arguments = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in listing.entry["arguments"].items()
    }
    library = getattr(import_module(f"vit_pytorch.{module}"), name)(**arguments)
    library.load_state_dict({n: torch.from_numpy(a) for n, a in arrays.items()})
    same_values(library.state_dict(), listing)
