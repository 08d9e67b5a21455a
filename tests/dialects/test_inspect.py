"""`inspect` opens what `convert` opens, and shows what is known where it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import save_file
from typer.testing import CliRunner

import converters
from converters.cli.app import app
from tests.dialects.common import MONAI, monai_file
from tests.dialects.real_names import Listing, load
from tests.dialects.test_library_folders import timm_config, timm_folder
from tests.fill import fill_weights
from vit_config import ConfigError, ViTConfig

MODELS = [
    (family, model, generation)
    for family in ("timm", "huggingface", "torchvision", "openai_clip", "lucidrains")
    for model, entry in load(family)["models"].items()
    for generation in entry["generations"]
    if not model.startswith("vit_3d.")  # see below
]


def real_file(path: Path, listing: Listing) -> Path:
    """A file with a real library's names; values are of no account here."""
    arrays = {
        name: np.full(shape, 0.5, np.float32)
        for name, (shape, _) in listing.tensors.items()
    }
    save_file(arrays, path)
    return path


def call(*arguments: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments])
    return result.exit_code, result.stdout + result.stderr


@pytest.mark.parametrize(("family", "model", "generation"), MODELS)
def test_what_a_file_says_is_shown_and_what_it_does_not_is_named(
    family: str, model: str, generation: str, tmp_path: Path
) -> None:
    """The same words as `convert`'s refusal, and the fields of the real config."""
    listing = Listing(family, model, generation)
    path = real_file(tmp_path / "x.safetensors", listing)
    found = converters.inspect(path)
    assert found.config is None and found.fingerprint == ""
    assert found.dialect.startswith(family)
    assert set(found.tensors) == set(listing.tensors)
    wanted = listing.config.architecture()
    for name in ("embed_dim", "depth", "mlp_dim", "class_token", "reg_tokens"):
        assert found.fields[name] == wanted[name], name
    *problems, advice = found.unknown
    problem = problems[-1]
    assert "num_heads" in problem and "img_size" in problem
    assert "changes={" in advice and "config=FILE" in advice
    with pytest.raises(converters.ConversionError) as caught:
        converters.convert(path, tmp_path / "out.safetensors")
    assert problem in str(caught.value) and advice in str(caught.value)
    assert not (tmp_path / "out.safetensors").exists()


def test_names_of_two_releases_are_not_guessed_between(tmp_path: Path) -> None:
    """vit-pytorch's volumes: other patches since 1.16.2, the same names and shapes."""
    listing = Listing("lucidrains", "vit_3d.ViT", "memory")
    path = real_file(tmp_path / "x.safetensors", listing)
    found = converters.inspect(path)
    problem, advice = found.unknown
    assert (
        "lucidrains@vit_3d; lucidrains@vit_3d-1.5" in problem
        and "from_dialect=" in advice
    )
    with pytest.raises(converters.ConversionError) as caught:
        converters.convert(path, tmp_path / "out.safetensors", config=listing.config)
    assert problem in str(caught.value)
    assert not (tmp_path / "out.safetensors").exists()


def test_told_the_rest_it_checks_the_weights(tmp_path: Path) -> None:
    config = MONAI["tanh"]
    path = monai_file(tmp_path / "x.safetensors", config, "1.4", prefix="net.")
    code, text = call("inspect", path)
    assert code == 1 and "config not known" in text and "--set num_heads=" in text
    told = ("--set", "num_heads=3", "--set", "img_size=[16,12,20]")
    code, text = call("inspect", path, *told, "--json")
    found = json.loads(text)
    assert code == 0 and found["dialect"] == "monai@1.4"
    assert found["config"]["num_heads"] == 3 and found["fingerprint"]
    assert len(found["dropped"]) > 0
    report = converters.convert(
        path,
        tmp_path / "y.safetensors",
        changes={"num_heads": 3, "img_size": [16, 12, 20]},
    )
    assert found["fingerprint"] == report.fingerprint


def test_options_are_those_of_convert(tmp_path: Path) -> None:
    config = MONAI["features"]
    one, two = (monai_file(tmp_path / f"{x}.safetensors", config) for x in "ab")
    from safetensors.numpy import load_file

    both = {f"a.{n}": v for n, v in load_file(one).items()}
    both |= {f"b.{n}": v for n, v in load_file(two).items()}
    save_file(both, tmp_path / "c.safetensors")
    code, text = call("inspect", tmp_path / "c.safetensors")
    assert code == 1 and "more than one model fits the names" in text
    (tmp_path / "config.json").write_text(config.to_json())
    options = (
        "--prefix",
        "a.",
        "--from",
        "monai",
        "--config",
        tmp_path / "config.json",
    )
    code, text = call("inspect", tmp_path / "c.safetensors", *options)
    assert code == 0 and "monai@1.6" in text and "not behind the prefix" in text


def test_what_is_given_and_does_not_fit_is_refused(tmp_path: Path) -> None:
    path = monai_file(tmp_path / "x.safetensors", MONAI["tanh"])
    code, text = call("inspect", path, "--set", "depth=7")
    assert code == 1 and "depth" in text and "Traceback" not in text
    code, text = call("inspect", path, "--from", "torchvision")
    assert code == 1 and "not torchvision's" in text
    code, text = call("inspect", path, "--from", "nobody")
    assert code == 1 and 'no dialect "nobody"' in text
    with pytest.raises(ConfigError, match="num_heads: 5 does not divide"):
        converters.inspect(path, changes={"num_heads": 5, "img_size": [16, 12, 20]})


def test_folders_and_torch_files(tmp_path: Path) -> None:
    source, config = timm_folder(tmp_path / "hub", timm_config(), "pytorch_model.bin")
    found = converters.inspect(source)
    assert (found.format, found.dialect) == ("torch", "timm")
    assert found.config is not None
    assert found.config.architecture() == config.architecture()
    assert found.fingerprint and not found.issues
    alone = converters.inspect(source / "pytorch_model.bin")
    assert alone.config is None and alone.fields["depth"] == config.depth


def test_other_families_are_named(tmp_path: Path) -> None:
    arrays = {"swinViT.layers1.0.weight": np.ones((2, 2), np.float32)}
    save_file(arrays, tmp_path / "x.safetensors")
    found = converters.inspect(tmp_path / "x.safetensors")
    assert found.dialect == "unknown"
    assert "this looks like Swin UNETR" in found.unknown[0]


def test_timm_names_stand_for_presets(tmp_path: Path) -> None:
    """The head is the file's: a fine-tuned one has other classes than the name."""
    small = {"architecture": "deit_tiny_patch16_224", "num_classes": 5}
    config = ViTConfig.from_dialect("timm", small)
    path = tmp_path / "x.safetensors"
    save_file(fill_weights(config), path)
    advice = converters.inspect(path).unknown[1]
    assert "preset=NAME" in advice and "deit_tiny_patch16_224" in advice
    found = converters.inspect(path, preset="deit_tiny_patch16_224.fb_in1k")
    assert found.config is not None and found.config.num_classes == 5
    assert found.config.num_heads == 3 and found.fingerprint
    with pytest.raises(converters.ConversionError, match="embed_dim"):
        converters.inspect(path, preset="deit_small_patch16_224")


def test_weights_h5_is_read_with_a_config(tmp_path: Path) -> None:
    config = MONAI["bare"]
    path = monai_file(tmp_path / "x.safetensors", config)
    converters.convert(path, tmp_path / "x.weights.h5", config=config)
    found = converters.inspect(tmp_path / "x.weights.h5")
    assert found.config is None and found.tensors
    assert "config=FILE or preset=NAME" in found.unknown[0]
    known = converters.inspect(tmp_path / "x.weights.h5", config=config)
    assert known.config is not None and known.fingerprint
    assert known.config.replace(source=None) == config
    with pytest.raises(converters.ConversionError, match="config=FILE"):
        converters.convert(tmp_path / "x.weights.h5", tmp_path / "y.safetensors")
