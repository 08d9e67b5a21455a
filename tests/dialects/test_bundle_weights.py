"""The file that a MONAI bundle's config loads is the one that is read."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import converters
from converters.libraries.monai.config_checkpoint import loaded_files
from tests.dialects.test_bundle import INFERENCE, bundle, inference, model, state

torch = pytest.importorskip("torch")


def loader(path: str, **more: Any) -> dict[str, Any]:
    target = {"_target_": "monai.handlers.CheckpointLoader", "load_path": path}
    return {"handlers": [{**target, "load_dict": {"model": "@network"}, **more}]}


@pytest.mark.parametrize(
    ("changes", "names"),
    [
        (loader("$@bundle_root + '/models/model.pt'"), ["model.pt"]),
        (loader("/data/best.pth"), ["best.pth"]),
        # MONAI's own template: init_bundle writes it
        (
            {
                "ckpt_path": "$@bundle_root + '/models/a.pt'",
                **loader("@ckpt_path", _disabled_="$not os.path.exists(@ckpt_path)"),
            },
            ["a.pt"],
        ),
        (
            {
                "name": "$'low.pt' if @low else 'high.pt'",
                **loader("$@models + '/' + @name"),
            },
            ["high.pt", "low.pt"],
        ),
        ({"unused": "b.pt", **loader("models/a.pt")}, ["a.pt"]),
        ({"used": "b.pt", **loader("a.pt", _disabled_=True)}, ["a.pt", "b.pt"]),
        ({"initialize": ["$@net.load_state_dict(load('m/c.ckpt'))"]}, ["c.ckpt"]),
        (loader("$@models + str(@fold) + '.pt'"), []),
        (loader("$@@## + @nowhere::0"), []),
        (
            {"save": {"_target_": "CheckpointSaver", "key_metric_filename": "m.pt"}},
            [],
        ),
        ({}, []),
    ],
)
def test_names_in_the_config(changes: dict[str, Any], names: list[str]) -> None:
    assert loaded_files(inference(**changes)) == names


def folder(tmp_path: Path, named: str | None, *names: str) -> Path:
    """A bundle with other weights in every file; the first is `model.pt`."""
    weights = state(model())
    changes = loader(f"$@bundle_root + '/models/{named}'") if named else {}
    path = bundle(tmp_path / "b", inference(**changes), weights)
    for i, name in enumerate(names):
        file = path / "models" / name
        other = {key: (value + i + 1).contiguous() for key, value in weights.items()}
        if name.endswith(".safetensors"):
            from safetensors.torch import save_file

            save_file(other, file)
        else:
            torch.save(other, file)
    return path


def fingerprint(path: Path) -> str | None:
    return converters.inspect(path, config=model()).fingerprint


@pytest.mark.parametrize(
    ("named", "names", "read"),
    [
        ("best.pt", ["best.pt", "model.safetensors"], "best.pt"),
        ("model.pt", ["best.pt", "model.safetensors"], "model.pt"),
        # without a word of the config: where MONAI itself looks
        (None, ["best.pt", "model.safetensors", "model.pth"], "model.pt"),
    ],
)
def test_the_file_that_the_config_loads_is_read(
    tmp_path: Path, named: str | None, names: list[str], read: str
) -> None:
    path = folder(tmp_path, named, *names)
    files = {name: fingerprint(path / "models" / name) for name in ["model.pt", *names]}
    assert len(set(files.values())) == len(files)
    assert converters.inspect(path).fingerprint == files[read]
    # Told the model by the caller, the file is the same.
    assert converters.inspect(path, config=model()).fingerprint == files[read]


def test_the_same_weights_in_another_format_are_read(tmp_path: Path) -> None:
    path = folder(tmp_path, "model.pt", "model.safetensors")
    (path / "models" / "model.pt").unlink()
    only = fingerprint(path / "models" / "model.safetensors")
    assert converters.inspect(path).fingerprint == only


@pytest.mark.parametrize(
    ("named", "names", "text"),
    [
        ("best.pt", ["last.pt"], "loads best.pt, which is not in models; there: last"),
        ("model.ts", ["x.pt"], "loads model.ts, which is not in models; there: model"),
        ("a.pt' + 'b.pt", ["a.pt"], "names several files of weights: a.pt, b.pt"),
    ],
)
def test_another_file_is_not_read_in_its_place(
    tmp_path: Path, named: str, names: list[str], text: str
) -> None:
    path = folder(tmp_path, named, *names)
    with pytest.raises(converters.ConversionError, match=text) as error:
        converters.convert(path, tmp_path / "x.safetensors")
    assert "Give the file that is meant itself" in str(error.value)
    assert not (tmp_path / "x.safetensors").exists()
    converters.convert(
        path / "models" / names[0], tmp_path / "x.safetensors", config=model()
    )


def test_two_usual_files_and_no_word_which(tmp_path: Path) -> None:
    path = folder(tmp_path, None, "model.safetensors", "model.pth")
    (path / "models" / "model.pt").unlink()
    with pytest.raises(converters.ConversionError, match="names neither"):
        converters.inspect(path)


def test_the_file_that_is_read_is_not_written_over(tmp_path: Path) -> None:
    path = folder(tmp_path, "best.safetensors", "best.safetensors")
    target = path / "models" / "best.safetensors"
    before = target.read_bytes()
    with pytest.raises(converters.ConversionError):
        converters.convert(path, target, force=True)
    assert target.read_bytes() == before


def test_what_training_starts_from_is_not_the_bundle_s(tmp_path: Path) -> None:
    train = {**INFERENCE, **loader("/elsewhere/pretrained.pt")}
    path = bundle(tmp_path / "b", train, state(model()), "train")
    assert converters.inspect(path).fingerprint
