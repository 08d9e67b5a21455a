"""`vit-duet attention`: a model whose attention is known, its picture, refusals."""

from __future__ import annotations

import json

import numpy as np
import pytest
from typer.testing import CliRunner

import converters
from converters import ConversionError
from converters.cli.app import app
from converters.inference.attention.picture import draw
from tests.converters.cases import write_canonical
from tests.fill import fill_weights
from tests.predict.common import PICTURES, TIMM, apart, saved, tiny
from vit_config import ViTConfig

pytest.importorskip("PIL.Image")
torch = pytest.importorskip("torch")

TARGET = 5
"""The patch that the made-up model looks at: row 1, column 2 of 2 x 3."""


def known(folder, *, class_token: bool):
    """A model of two blocks, and what each attends to, by hand.

    Blocks change nothing (`proj` and `fc2` are zero), so that tokens are what the
    position table says: (1, -1, 0, ...), of the target with the other sign. LayerNorm
    makes that +-s with s = sqrt(6). Queries are constant, keys the first number: scores
    are -+ strength, the same for every query.
    """
    c = tiny(
        img_size=(8, 12),
        class_token=class_token,
        reg_tokens=2 if class_token else 0,
        global_pool="avg",
        depth=2,
    )
    w = {name: np.zeros_like(value) for name, value in fill_weights(c).items()}
    for name, value in w.items():
        if "norm" in name and name.endswith("weight"):
            value[:] = 1
    prefix = c.num_prefix_tokens
    sign = np.ones(c.num_tokens)
    sign[prefix + TARGET] = -1
    pattern = np.zeros(c.embed_dim)
    pattern[:2] = 1, -1
    w["pos_embed"][0] = (sign[:, None] * pattern)[-w["pos_embed"].shape[1] :]
    if "reg_token" in w:  # the one kind without a position
        w["reg_token"][:] = pattern
    width = c.attn_head_dim
    # Heads of the first block: to the target, to the others. Of the second: to the
    # target alone, more and less.
    strengths = [(1.0, -0.5), (2.0, 0.25)]
    means = []
    for block, pair in enumerate(strengths):
        rows = []
        for head, strength in enumerate(pair):
            w[f"blocks.{block}.attn.qkv.bias"][head * width] = -strength * width**0.5
            key = c.attn_dim + head * width
            w[f"blocks.{block}.attn.qkv.weight"][key, 0] = 1
            odds = np.exp(-strength * np.sqrt(6 / (1 + c.norm_eps * 6)) * sign)
            rows.append(odds / odds.sum())
        means.append(np.mean(rows, axis=0))
    path = write_canonical(folder / "known.safetensors", c, w)
    return path, c, means


@pytest.mark.parametrize("class_token", [True, False])
def test_a_model_whose_attention_is_known(tmp_path, class_token):
    path, c, (first, second) = known(tmp_path, class_token=class_token)
    np.save(tmp_path / "x.npy", np.ones((3, 8, 12), np.float32))
    found = converters.attention(path, tmp_path / "x.npy")
    patches = slice(c.num_prefix_tokens, None)
    assert apart(found.attention, second[patches].reshape(2, 3)) < 1e-6
    assert found.attention.argmax() == TARGET
    # All queries attend alike: (I + 1 b')/2 (I + 1 a')/2 = I/4 + 1 a'/2 + 1 b'/4.
    whole = (first / 2 + second / 4)[patches]
    if not class_token:
        whole += 0.25 / c.num_patches
    assert apart(found.rollout, whole.reshape(2, 3)) < 1e-6
    assert found.query == (
        "the class token" if class_token else "all patches, on average"
    )


def test_maps_sum_to_what_patches_get(tmp_path):
    c = tiny(depth=3, class_token=False, global_pool="avg")
    x = np.random.default_rng(0).standard_normal((3, 12, 8)).astype(np.float32)
    np.save(tmp_path / "x.npy", x)
    found = converters.attention(saved(tmp_path, c), tmp_path / "x.npy")
    assert abs(found.attention.sum() - 1) < 1e-6  # there are no other tokens
    assert abs(found.rollout.sum() - 1) < 1e-6
    c = tiny(depth=3, class_token=True, reg_tokens=3)
    path = saved(tmp_path, c, "b.safetensors")
    found = converters.attention(path, tmp_path / "x.npy")
    assert 0.05 < found.attention.sum() < 0.99
    assert 0.05 < found.rollout.sum() < 0.99
    import torch_vit

    vit = torch_vit.ViT.from_pretrained(path).eval()
    with torch.no_grad():
        maps = vit.attention_maps(torch.from_numpy(x)[None])
    whole = np.eye(c.num_tokens)
    for one in maps:
        whole = (one[0].double().mean(0).numpy() + np.eye(c.num_tokens)) / 2 @ whole
    assert apart(found.rollout.ravel(), whole[0, 4:]) < 1e-6
    assert apart(found.attention.ravel(), maps[-1][0, :, 0, 4:].mean(0)) < 1e-6


def test_numbers_are_written_and_pictures_prepared_as_predict_does(tmp_path):
    picture = sorted(PICTURES.iterdir())[0]
    out = tmp_path / "maps.npz"
    words = ["attention", TIMM, picture, out, "--json"]
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 0, done.output
    said = json.loads(done.stdout)
    with np.load(out) as arrays:
        maps = dict(arrays)
    assert maps.keys() == {"attention", "rollout", "input"}
    assert said["grid"] == list(maps["attention"].shape)
    assert said["on_patches"]["rollout"] == maps["rollout"].sum()
    np.save(tmp_path / "x.npy", maps["input"])
    again = converters.attention(TIMM, tmp_path / "x.npy")
    assert np.array_equal(again.attention, maps["attention"])
    given = converters.predict(TIMM, [picture]).items[0].outputs
    prepared = converters.predict(TIMM, [tmp_path / "x.npy"]).items[0].outputs
    assert np.array_equal(given, prepared)
    done = CliRunner().invoke(app, list(map(str, words)))
    assert done.exit_code == 1 and "exists already" in done.stdout
    done = CliRunner().invoke(app, [*map(str, words), "--force"])
    assert done.exit_code == 0


def refused(*arguments) -> str:
    with pytest.raises(ConversionError) as caught:
        converters.attention(*arguments)
    return str(caught.value)


def test_refusals(tmp_path):
    model = saved(tmp_path, tiny())
    np.save(tmp_path / "two.npy", np.zeros((2, 3, 12, 8), np.float32))
    np.save(tmp_path / "one.npy", np.zeros((3, 12, 8), np.float32))
    picture = sorted(PICTURES.iterdir())[0]
    one, out = tmp_path / "one.npy", tmp_path / "out.npz"
    assert "2 inputs; at most 1" in refused(model, tmp_path / "two.npy", out)
    assert "ends with .jpg; expected .png or .npz" in refused(
        model, one, tmp_path / "a.jpg"
    )
    assert "no such file" in refused(model, tmp_path / "gone.png", out)
    assert "not a file" in refused(model, tmp_path, out)
    assert "this is the source itself" in refused(model, picture, picture)
    bare = saved(tmp_path, tiny(data=None), "bare.safetensors")
    assert "data.crop_pct" in refused(bare, picture, out)
    names = {p.name for p in tmp_path.iterdir()}
    assert names == {"two.npy", "one.npy", model.name, bare.name}


# ---- the picture --------------------------------------------------------------------


def drawn(path) -> np.ndarray:
    from PIL import Image

    return np.asarray(Image.open(path).convert("RGB")).astype(float)


def test_a_patch_is_drawn_where_it_is(tmp_path):
    """Brightening one patch changes the picture there, and in its map alone."""
    pytest.importorskip("matplotlib")
    c = tiny(img_size=(40, 60), patch_size=10)
    values = np.full((3, 40, 60), 0.5, np.float32)
    maps = np.full((4, 6), 0.5)
    maps[3, 5] = 1  # the largest in both
    draw(tmp_path / "a.png", values, {"one": maps, "two": maps}, c, "title")
    other = maps.copy()
    other[0, 4] = 0.1
    draw(tmp_path / "b.png", values, {"one": maps, "two": other}, c, "title")
    before, after = drawn(tmp_path / "a.png"), drawn(tmp_path / "b.png")
    rows, columns = np.nonzero(np.abs(after - before).max(-1) > 8)
    height, width = before.shape[:2]
    assert columns.min() > 2 * width / 3  # the last of three panels
    across = (columns.max() - columns.min() + 1) / (rows.max() - rows.min() + 1)
    assert 0.9 < across < 1.1
    # The panel is as wide as six patches; this one is the fifth, at its top.
    side = columns.max() - columns.min() + 1
    assert 1.0 < (width - columns.max()) / side < 1.5
    assert rows.max() < height / 2
    assert b"matplotlib" not in (tmp_path / "a.png").read_bytes()


def test_slices_of_a_volume_say_which_way_is_which(tmp_path, monkeypatch):
    pytest.importorskip("matplotlib")
    from matplotlib.figure import Figure

    seen = []
    monkeypatch.setattr(Figure, "savefig", lambda self, *_, **__: seen.append(self))
    data = {
        "axes": ("Z", "Y", "X"),
        "orientation": "SPL",
        "spacing_mm": (2.0, 1.0, 0.5),
        "fit": "pad_or_crop",
        "fit_first": False,
        "pad_value": 0.0,
    }
    c = ViTConfig(
        spatial_dims=3,
        img_size=(8, 12, 16),
        patch_size=4,
        in_chans=1,
        embed_dim=12,
        depth=1,
        num_heads=2,
        mlp_dim=8,
        num_classes=0,
        data=data,
    )
    values = np.random.default_rng(0).standard_normal((1, 8, 12, 16))
    maps = np.random.default_rng(1).random((2, 3, 4))
    draw(tmp_path / "a.png", values, {"map": maps}, c, "title")
    lines = np.array(seen[0].axes[:6]).reshape(3, 2)
    told = []
    for line in lines:
        for axis in line:
            vertical, horizontal = (
                {
                    round(at): label.get_text()
                    for at, label in zip(
                        get.get_ticklocs(), get.get_ticklabels(), strict=True
                    )
                }
                for get in (axis.yaxis, axis.xaxis)
            )
            bottom, top = axis.get_ylim()
            assert bottom > top  # index 0 is at the top
            told.append((axis.get_ylabel(), vertical, axis.get_xlabel(), horizontal))
    # Indices run to S, P and L: 0 is at I, A and R.
    z, y, x = {0: "I", 7: "S"}, {0: "A", 11: "P"}, {0: "R", 15: "L"}
    expected = [("Y", y, "X", x), ("Z", z, "X", x), ("Z", z, "Y", y)]
    assert told == [one for one in expected for _ in range(2)]
    assert [line[0].get_title() for line in lines] == [
        "input, Z = 4 of 8",
        "input, Y = 6 of 12",
        "input, X = 8 of 16",
    ]
    assert [line[0].get_aspect() for line in lines] == [2.0, 4.0, 2.0]
    for axis, line in enumerate(lines):
        image, over = line[1].get_images()
        assert np.array_equal(over.get_array(), maps.take((1, 1, 2)[axis], axis))
        exact = values[0].take((4, 6, 8)[axis], axis)
        order = np.argsort(exact, axis=None)
        assert (np.diff(image.get_array().ravel()[order].astype(int)) >= 0).all()
