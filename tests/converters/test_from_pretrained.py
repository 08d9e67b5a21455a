"""`from_pretrained` of both twins reads what `convert` reads, by the same words."""

from __future__ import annotations

import inspect
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

import converters
from converters.sources.request import Asked
from tests.fill import fill_weights
from vit_config import ViTConfig

torch_vit = pytest.importorskip("torch_vit")

CONFIG = ViTConfig(
    img_size=(12, 18),
    patch_size=6,
    embed_dim=24,
    depth=2,
    num_heads=3,
    mlp_dim=36,
    num_classes=5,
)
WEIGHTS = fill_weights(CONFIG)
STATED: dict[str, Any] = {
    "num_heads": 3,
    "img_size": [12, 18],
    "norm_eps": 1e-6,
    "act_layer": "gelu",
    "global_pool": "token",
}


def file(path: Path, prefix: str = "", head: str = "head", **more: Any) -> Path:
    arrays = {prefix + n: v for n, v in WEIGHTS.items() if not n.startswith("head.")}
    heads = {f"{head}.{leaf}": WEIGHTS[f"head.{leaf}"] for leaf in ("weight", "bias")}
    save_file({**arrays, **heads, **more}, path)
    return path


def same(model: Any) -> bool:
    state = {name: values.numpy() for name, values in model.state_dict().items()}
    return state.keys() == WEIGHTS.keys() and all(
        np.array_equal(state[name], values) for name, values in WEIGHTS.items()
    )


CALLS: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "config": ({}, {"config": CONFIG}),
    "fields": ({}, {"config": CONFIG.to_dict(), "changes": {"problem_type": None}}),
    "changes": ({}, {"changes": STATED}),
    "dialect": ({}, {"dialect": "timm", "changes": STATED}),
    "prefix": (
        {"prefix": "a.", "head": "a.head", "b.extra": np.ones(3, np.float32)},
        {"prefix": "a.", "changes": STATED},
    ),
    "drop": (
        {"proj.weight": np.ones((3, 4), np.float32)},
        {"drop": "proj.*", "changes": STATED},
    ),
    "head": ({"prefix": "net.", "head": "fc"}, {"head": "fc", "changes": STATED}),
}


@pytest.mark.parametrize("name", CALLS)
def test_it_is_told_how_to_read_as_convert_is(name: str, tmp_path: Path) -> None:
    made, given = CALLS[name]
    path = file(tmp_path / "a.safetensors", **made)
    assert same(torch_vit.ViT.from_pretrained(path, **given))
    with pytest.raises(converters.ConversionError):
        torch_vit.ViT.from_pretrained(path)


def test_a_preset_says_what_the_file_does_not(tmp_path: Path) -> None:
    config = ViTConfig.preset("vit-b16-224").replace(depth=1, num_classes=0)
    small = {"embed_dim": 24, "num_heads": 3, "mlp_dim": 36, "img_size": (32, 32)}
    config = config.replace(**small)
    path = tmp_path / "a.safetensors"
    save_file(fill_weights(config), path)
    stated = {**small, "depth": 1, "num_classes": 0}
    model = torch_vit.ViT.from_pretrained(path, preset="vit-b16-224", changes=stated)
    assert model.config.architecture() == config.architecture()


def test_both_twins_take_the_same_arguments_in_the_same_order() -> None:
    keras_vit = pytest.importorskip("keras_vit")
    ours, theirs = (
        inspect.signature(twin.ViT.from_pretrained).parameters
        for twin in (torch_vit, keras_vit)
    )
    assert list(ours.items()) == [i for i in theirs.items() if i[0] != "dtype"]
    reading = set(inspect.signature(Asked.by).parameters) - {"lacking", "from_dialect"}
    assert reading | {"dialect"} <= set(ours)


def test_its_errors_name_its_own_arguments(tmp_path: Path) -> None:
    """What they propose can be passed as it stands."""
    path = file(tmp_path / "a.safetensors", "net.", "fc")
    with pytest.raises(converters.ConversionError) as error:
        torch_vit.ViT.from_pretrained(path, changes=STATED)
    text = str(error.value)
    way = text.partition("for the head: ")[2].splitlines()[0]
    assert "--" not in text
    assert same(
        torch_vit.ViT.from_pretrained(path, changes=STATED, **eval(f"dict({way})"))
    )
    save_file({"x.weight": np.ones((2, 2), np.float32)}, path)
    with pytest.raises(converters.ConversionError, match=r"dialects \(dialect=\)"):
        torch_vit.ViT.from_pretrained(path)
    with pytest.raises(converters.ConversionError, match=r"dialects \(from_dialect=\)"):
        converters.inspect(path, prefix="", from_dialect="timm")


@pytest.mark.parametrize("name", ["google/vit-base", "timm/vit.augreg@v1.0"])
def test_an_id_of_the_hub_is_answered_with_its_address(name: str) -> None:
    for call in (torch_vit.ViT.from_pretrained, converters.inspect):
        with pytest.raises(converters.ConversionError) as error:
            call(name)
        assert "no such file or folder" in str(error.value)
        assert f"hf://{name}" in str(error.value)


@pytest.mark.parametrize("name", ["vit-base", "a/b/c", "./a/b", "a/b.pth", "/a/b"])
def test_a_path_is_no_id_of_the_hub(name: str) -> None:
    with pytest.raises(converters.ConversionError) as error:
        torch_vit.ViT.from_pretrained(name)
    assert "hf://" not in str(error.value)


def test_a_folder_that_is_there_is_a_path(tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "models").mkdir()
    with pytest.raises(converters.ConversionError) as error:
        converters.inspect("models/vit")
    assert "hf://" not in str(error.value)


@pytest.mark.keras_backend("torch")
def test_the_keras_twin_reads_with_the_same_words(tmp_path: Path) -> None:
    import keras_vit

    path = file(tmp_path / "a.safetensors", "net.", "fc")
    given: dict[str, Any] = {"head": "fc", "changes": STATED}
    model = keras_vit.ViT.from_pretrained(path, **given)
    kernel = np.asarray(model.head.kernel)
    assert np.array_equal(kernel.T, WEIGHTS["head.weight"])
    with pytest.raises(converters.ConversionError, match='head="fc"'):
        keras_vit.ViT.from_pretrained(path, changes=STATED)
