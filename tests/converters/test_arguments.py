"""Arguments of the wrong type, and targets that are nobody's: said at once."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

import converters
from converters import ConversionError
from converters.cli.app import app
from tests.converters.cases import config, files_in, weights, write_canonical

GONE = Path("no such file.safetensors")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    path = tmp_path / "a.safetensors"
    write_canonical(path, config(), weights(config()))
    return path


@pytest.mark.parametrize(
    ("given", "text"),
    [
        *(({"source": s}, f"source: found {s!r}; a path") for s in (None, 3, [], "")),
        ({"source": {"a": 1}}, '"hf://org/name" or a live model would be right'),
        *(({"target": t}, f"target: found {t!r}; a path") for t in (None, b"x", "")),
        *(({"changes": c}, "changes: found") for c in (["a=1"], "a=1", {1: 2}, [])),
        *(({"config": c}, f"config: found {c!r}; a ViTConfig") for c in (3, [], "")),
        ({"config": {1: 2}}, "config: found {1: 2}; a dict of fields"),
        *(({k: 3}, f"{k}: found 3; a text") for k in ("preset", "prefix")),
        *(({k: ["timm"]}, f"{k}: found") for k in ("from_dialect", "to_dialect")),
        *(({k: "no"}, "found 'no'; True or False") for k in ("force", "fold")),
        *(({"allow_missing": a}, "allow_missing: found") for a in (None, 3, [3])),
        ({"seed": None}, "seed: found None; an integer"),
        ({"num_classes": "5"}, "num_classes: found '5'; an integer"),
        ({"depth": 2.0, "inflate": "mean"}, "depth: found 2.0; an integer"),
        ({"image_size": {"h": 48}}, "image_size="),
        ({"image_size": True}, "image_size=[True]; expected a size"),
        ({"image_size": (True, 24)}, "expected a size like 224 or 224x224"),
        ({"verify": False}, "verify False; known are"),
        ({"progress": True}, "progress: found True; a function"),
    ],
)
def test_the_argument_is_named_with_what_would_be_right(
    source: Path, given: dict[str, Any], text: str
) -> None:
    call: dict[str, Any] = {"source": source, "target": source.with_name("b.keras")}
    with pytest.raises(ConversionError) as error:
        converters.convert(**{"verify": "weights", **call, **given})
    assert text in str(error.value)
    assert files_in(source.parent) == ["a.safetensors"]


def test_other_entries_say_the_same(source: Path) -> None:
    with pytest.raises(ConversionError, match="source: found None; a path"):
        converters.inspect(None)  # type: ignore[arg-type]
    with pytest.raises(ConversionError, match="changes: found"):
        converters.inspect(source, changes=[])  # type: ignore[arg-type]
    torch_vit = pytest.importorskip("torch_vit")
    with pytest.raises(ConversionError, match="source: found None; a path"):
        torch_vit.ViT.from_pretrained(None)


def test_numpy_has_integers_too(source: Path) -> None:
    target = source.with_name("b.safetensors")
    size = np.array([24, 16])
    found = converters.convert(
        source, target, num_classes=np.int64(5), image_size=tuple(size)
    )
    assert (found.config.num_classes, found.config.img_size) == (5, (24, 16))
    assert any("num_classes:" in step and "int64" not in step for step in found.steps)


@pytest.mark.parametrize("target", ["x.safetensors", "folder"])
@pytest.mark.parametrize(
    ("to", "text", "known"),
    [
        ("tim", 'there is no dialect "tim"; did you mean "timm"?', "timm, facebook"),
        ("kers", 'did you mean "keras"?', "keras_hub, keras."),
        (
            "monia@1.3",
            'there is no dialect "monia"; did you mean "monai"?',
            "monai",
        ),
        ("monai@x", 'monai has no "monai@x"', "monai@1.6"),
        ("jax", "jax can be read, but is not written", "Written are monai, timm"),
    ],
)
def test_a_target_that_is_nobody_s_is_refused_before_anything_is_read(
    tmp_path: Path, target: str, to: str, text: str, known: str
) -> None:
    with pytest.raises(ConversionError) as error:
        converters.convert(GONE, tmp_path / target, to_dialect=to)
    assert text in str(error.value) and known in error.value.hint
    call = ["convert", str(GONE), str(tmp_path / target), "--to", to]
    result = CliRunner().invoke(app, call)
    assert result.exit_code == 1 and text in result.stderr
    assert files_in(tmp_path) == []
