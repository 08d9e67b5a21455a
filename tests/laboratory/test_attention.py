"""Inputs with the attention of both models: only asked for, only in the page."""

from __future__ import annotations

import json
import re
from base64 import b64decode
from importlib.util import find_spec
from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

from converters.cli.app import app
from converters.files import write
from converters.mapping.pipe import MemorySource
from converters.parity.attention import over_patches, what
from converters.parity.page import Picture
from converters.parity.verify import verify
from tests.fill import fill_weights, image
from tests.laboratory.common import FLAT, VOLUME, Weights, save
from vit_config import ViTConfig

needs_torch = pytest.mark.skipif(
    not find_spec("torch"), reason="torch is not installed"
)
needs_page = pytest.mark.skipif(
    not all(find_spec(name) for name in ("jinja2", "matplotlib", "PIL")),
    reason="the extra report is not installed",
)
SMALL = VOLUME.replace(reg_tokens=2)
"""A model without a class token, but with tokens that are no patches."""


def some_maps(config: ViTConfig) -> np.ndarray:
    shape = (2, config.num_heads, config.num_tokens, config.num_tokens)
    maps = np.random.default_rng(3).uniform(size=shape)
    return maps / maps.sum(-1, keepdims=True)


@pytest.mark.parametrize(
    "config", [FLAT, FLAT.replace(class_token=False, global_pool="avg"), SMALL, VOLUME]
)
def test_maps_are_seen_patch_by_patch(config: ViTConfig) -> None:
    maps = some_maps(config)
    prefix, grid = config.num_prefix_tokens, config.grid_size
    found = over_patches(maps, config)
    assert found.shape == (2, *grid)
    for place in np.ndindex(*grid):
        key = prefix + int(np.ravel_multi_index(place, grid))
        queries = [0] if config.class_token else range(prefix, config.num_tokens)
        for i in range(2):
            seen = [
                maps[i, head, query, key]
                for head in range(config.num_heads)
                for query in queries
            ]
            assert found[(i, *place)] == pytest.approx(sum(seen) / len(seen))
    assert ("class token" in what(config)) is config.class_token


def turned_queries(weights: Weights) -> None:
    """Another attention in the last block alone."""
    name = sorted(n for n in weights if n.endswith("attn.qkv.weight"))[-1]
    weights[name][:16] *= -1.5


def taps_of(config: ViTConfig, weights: Weights, x: np.ndarray) -> np.ndarray:
    """The last map that the explicit attention computes on its way."""
    import torch

    from torch_vit import ViT

    model = ViT(config, attn_impl="explicit").eval()
    model.load_state_dict({n: torch.from_numpy(w) for n, w in weights.items()})
    with torch.no_grad():
        _, taps = model.forward_taps(torch.from_numpy(x))
    return taps[f"blocks.{config.depth - 1}.attn.maps"].numpy()


@needs_torch
@pytest.mark.parametrize("config", [FLAT, SMALL])
def test_each_model_shows_its_own_last_map(tmp_path: Path, config: ViTConfig) -> None:
    weights = fill_weights(config)
    other = {name: values.copy() for name, values in weights.items()}
    turned_queries(other)
    for name, held in (("a", weights), ("b", other)):
        path = tmp_path / f"{name}.safetensors"
        write(path, "safetensors", MemorySource(held), config)
    x = image((6, config.in_chans, *config.img_size))
    np.save(tmp_path / "x.npy", x)
    pictures: list[Picture] = []
    report = verify(
        *(tmp_path / "a.safetensors", tmp_path / "b.safetensors"),
        inputs=[tmp_path / "x.npy"],
        pictures=pictures,
    )
    assert report.verdict == "failed"
    assert [p.title for p in pictures] == [f"own input {i}" for i in (1, 2, 3, 4)]
    assert {p.subject for p in pictures} == {"B, torch twin"}
    maps_a, maps_b = (
        over_patches(taps_of(config, held, x), config) for held in (weights, other)
    )
    assert np.abs(maps_a - maps_b).max() > 1e-3
    for i, shown in enumerate(pictures):
        np.testing.assert_array_equal(shown.input, x[i])
        np.testing.assert_allclose(shown.attention_a, maps_a[i], rtol=0, atol=1e-6)
        np.testing.assert_allclose(shown.attention_b, maps_b[i], rtol=0, atol=1e-6)


# ---- the page and the record --------------------------------------------------------


def run(*words: object) -> tuple[int, str]:
    result = CliRunner().invoke(app, ["verify", *map(str, words)])
    assert result.exception is None or isinstance(result.exception, SystemExit)
    return result.exit_code, result.output


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("attention")
    save(path / "a.safetensors", VOLUME)
    save(path / "b.safetensors", VOLUME)
    np.save(path / "patient.npy", image((1, *VOLUME.img_size)))
    return path


def images(page: Path) -> list[np.ndarray]:
    from PIL import Image

    found = re.findall(r'<img src="data:image/png;base64,([^"]*)"', page.read_text())
    return [np.asarray(Image.open(BytesIO(b64decode(data)))) for data in found]


@needs_torch
@needs_page
def test_pictures_are_in_the_page_and_in_nothing_else(folder: Path) -> None:
    names = ("page.html", "record.json", "comment.md")
    page, record, comment = (folder / name for name in names)
    code, text = run(
        *(folder / "a.safetensors", folder / "b.safetensors", "--include-inputs"),
        *("--input", folder / "patient.npy", "--report", page),
        *("--json", record, "--markdown", comment),
    )
    assert code == 0, text
    shown = images(page)
    assert len(shown) == 12  # along three axes: input, A, B, difference
    volume = np.load(folder / "patient.npy")[0]
    for axis, given in enumerate(shown[::4]):
        middle = np.take(volume, volume.shape[axis] // 2, axis)
        assert np.corrcoef(given.ravel(), middle.ravel())[0, 1] > 0.999
    for found in (record, comment):
        assert "data:image" not in found.read_text()
        assert "patient" not in found.read_text()
    inside = re.search(r'id="record">(.*?)</script>', page.read_text(), re.S)
    assert inside is not None
    assert "data:image" not in inside[1]
    assert json.loads(inside[1])["checks"] == json.loads(record.read_text())["checks"]


@needs_torch
@needs_page
def test_seeded_inputs_are_shown_without_own_ones(folder: Path) -> None:
    page, bare = folder / "seeded.html", folder / "bare.html"
    models = (folder / "a.safetensors", folder / "b.safetensors")
    code, text = run(*models, "--include-inputs", "--report", page)
    assert code == 0, text
    assert len(images(page)) == 4 * 12
    assert "structured input 4" in page.read_text()
    code, text = run(*models, "--input", folder / "patient.npy", "--report", bare)
    assert code == 0, text
    assert images(bare) == [], "nobody asked for them"


@needs_torch
def test_no_pictures_of_another_grid_and_it_is_told(tmp_path: Path) -> None:
    save(tmp_path / "a.safetensors", FLAT)
    save(tmp_path / "b.safetensors", FLAT.replace(patch_size=(4, 8)))
    pictures: list[Picture] = []
    report = verify(
        *(tmp_path / "a.safetensors", tmp_path / "b.safetensors"), pictures=pictures
    )
    assert pictures == []
    told = [c.message for c in report.checks if c.name == "inputs with attention"]
    assert told == ["none shown: no B ran whose grid of patches is A's"]


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "--include-inputs is for --report"),
        (("--json", "-"), "--include-inputs is for --report"),
        (("--level", "weights", "--report", "x.html"), "runs no model"),
    ],
)
def test_pictures_that_cannot_be_shown_are_refused(
    folder: Path,
    monkeypatch: pytest.MonkeyPatch,
    words: tuple[str, ...],
    message: str,
) -> None:
    monkeypatch.chdir(folder)
    before = sorted(folder.iterdir())
    code, text = run("a.safetensors", "b.safetensors", "--include-inputs", *words)
    assert code == 1, text
    assert message in " ".join(text.split())
    assert sorted(folder.iterdir()) == before


def test_help_says_that_images_leave_the_machine() -> None:
    result = CliRunner().invoke(app, ["verify", "--help"], env={"COLUMNS": "200"})
    words = " ".join(re.sub(r"[│\s]+", " ", result.output).split())
    assert "Patients' images leave this machine with that page, and only so" in words
