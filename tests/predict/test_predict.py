"""`vit-duet predict`, against timm from the file to the probabilities."""

from __future__ import annotations

import json
import os
import shutil

import numpy as np
import pytest
from typer.testing import CliRunner

import converters
from converters import ConversionError
from converters.artifacts.meaning import probabilities
from converters.cli.app import app
from tests.predict.common import (
    ANSWERS,
    DATA,
    PICTURES,
    SINGLE,
    TIMM,
    apart,
    saved,
    tiny,
)

Image = pytest.importorskip("PIL.Image")
torch = pytest.importorskip("torch")


def call(*arguments):
    found = CliRunner().invoke(app, ["predict", *map(str, arguments)])
    assert found.exception is None or isinstance(found.exception, SystemExit)
    return found


def refused(*arguments) -> str:
    found = call(*arguments)
    assert found.exit_code == 1
    assert found.stdout == ""
    return found.stderr


def picture(path, *shape, seed=0):
    values = np.random.default_rng(seed).integers(0, 256, shape, np.uint8)
    Image.fromarray(values).save(path)
    return path


@pytest.fixture
def model(tmp_path):
    folder = tmp_path / "model"
    folder.mkdir()
    return saved(folder, tiny())


# ---- what goes well -----------------------------------------------------------------


def test_probabilities_are_timms():
    found = converters.predict(TIMM, PICTURES, changes=SINGLE)
    assert [os.path.basename(item.file) for item in found.items] == sorted(ANSWERS)  # noqa: PTH119
    for item, (name, answer) in zip(found.items, sorted(ANSWERS.items()), strict=True):
        exact = answer["exact"]["probabilities"]
        assert apart(item.probabilities, exact) < 2e-5, name
        # What timm's rounding to levels does to timm's own result.
        rounding = apart(answer["probabilities"], exact)
        assert apart(item.probabilities, answer["probabilities"]) < rounding + 2e-5
    assert found.ok
    assert found.library == f"torch {torch.__version__}"


def test_the_table_has_labels_and_probabilities():
    found = call(TIMM, PICTURES / "wide.jpg", "--set", "problem_type=single_label")
    assert found.exit_code == 0
    lines = found.stdout.splitlines()
    assert lines[0].split() == ["file", "class", "probability"]
    assert len(lines) == 6
    exact = ANSWERS["wide.jpg"]["exact"]["probabilities"]
    best = int(np.argmax(exact))
    name, label, number = lines[1].split()
    assert name == str(PICTURES / "wide.jpg")
    assert label == ["ant", "bee", "cat", "dog", "elk"][best]
    assert number == f"{exact[best]:.4f}"
    top = call(TIMM, PICTURES, "--set", "problem_type=single_label", "--top-k", 1)
    assert len(top.stdout.splitlines()) == 1 + len(ANSWERS)


def test_json_holds_all_of_it():
    found = call(TIMM, PICTURES, "--set", "problem_type=single_label", "--json")
    said = json.loads(found.stdout)
    assert said["ok"] is True
    assert said["probabilities"] == "softmax"
    assert len(said["fingerprint"]) == 64
    for row, answer in zip(said["predictions"], sorted(ANSWERS.items()), strict=True):
        exact = answer[1]["exact"]["probabilities"]
        assert [one["index"] for one in row["top"]] == list(np.argsort(exact)[::-1])
        assert apart(row["top"][0]["probability"], max(exact)) < 2e-5
        assert row["top"][0]["label"] in ("ant", "bee", "cat", "dog", "elk")
        assert len(row["outputs"]) == 5


@pytest.mark.parametrize("batch_size", [1, 3, 100])
def test_batches_change_nothing(batch_size):
    found = converters.predict(TIMM, PICTURES, batch_size=batch_size)
    whole = converters.predict(TIMM, PICTURES, batch_size=4)
    assert len(found.items) == 4
    for one, other in zip(found.items, whole.items, strict=True):
        assert one.file == other.file
        assert apart(one.outputs, other.outputs) < 1e-5


def test_without_a_problem_type_there_are_no_probabilities():
    found = call(TIMM, PICTURES / "wide.jpg")
    assert found.exit_code == 0
    assert "no probabilities: the model does not state its problem_type" in found.stdout
    assert "--set problem_type=single_label" in found.stdout
    assert found.stdout.splitlines()[0].split() == ["file", "class", "output"]
    said = json.loads(call(TIMM, PICTURES, "--json").stdout)
    assert said["probabilities"] is None
    assert "top" not in said["predictions"][0]


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        (
            {"head_act": "tanh", "problem_type": None},
            "the head ends in tanh, and problem_type is not stated; "
            'changes={"problem_type": "single_label"} makes the softmax',
        ),
        ({"problem_type": "regression"}, "problem_type is regression"),
        ({"num_classes": 1}, "the softmax of one class is always 1"),
        ({"num_classes": 0, "problem_type": None}, "the model has no head"),
        (
            {"num_classes": 0, "problem_type": None, "global_pool": "none"},
            "the model has no head",
        ),
    ],
)
def test_why_there_are_no_probabilities(tmp_path, changes, why):
    path = saved(tmp_path, tiny(**changes))
    name = picture(tmp_path / "a.png", 9, 10, 3)
    found = converters.predict(path, name)
    assert found.items[0].probabilities is None
    assert f"no probabilities: {why}" in str(found)
    assert json.loads(found.to_json())["predictions"][0]["file"] == str(name)


@pytest.mark.parametrize("problem", ["single_label", "multi_label"])
def test_a_tanh_whose_meaning_is_stated_has_probabilities(tmp_path, problem):
    """MONAI's default classifier, as its `post_activation` makes it."""
    labels = ("no", "maybe", "yes")
    path = saved(tmp_path, tiny(head_act="tanh", problem_type=None, labels=labels))
    name = picture(tmp_path / "a.png", 9, 10, 3)
    stated = ["--set", f"problem_type={problem}"]
    said = json.loads(call(path, name, *stated, "--json").stdout)
    (found,) = said["predictions"]
    outputs = np.array(found["outputs"])
    assert np.abs(outputs).max() < 1
    odds = np.exp(outputs) / np.exp(outputs).sum()
    how = "softmax"
    if problem == "multi_label":
        odds, how = 1 / (1 + np.exp(-outputs)), "sigmoid"
    told = {one["index"]: one["probability"] for one in found["top"]}
    assert apart([told[i] for i in range(3)], odds) < 1e-6
    assert found["top"][0]["label"] == labels[int(odds.argmax())]
    assert (said["probabilities"], said["probabilities_of"]) == (how, "tanh outputs")
    assert said["notes"] == [f"probabilities are the {how} of the tanh outputs"]
    assert "logit" not in call(path, name, *stated).stdout


@pytest.mark.parametrize(
    ("dialect", "classes", "says"),
    [
        ("timm", 3, "the library's own inference script applies a softmax"),
        ("huggingface@vit", 3, "the library's own pipeline applies a softmax"),
        ("huggingface@vit", 1, "single_label or multi_label states it"),
        ("torchvision@0.13", 3, "single_label or multi_label states it"),
        (None, 3, "single_label or multi_label states it"),
    ],
)
def test_a_softmax_that_the_library_makes_is_spoken_of(
    tmp_path, dialect, classes, says
):
    source = {"dialect": dialect}
    config = tiny(problem_type=None, num_classes=classes, source=source)
    path = saved(tmp_path, config)
    name = picture(tmp_path / "a.png", 9, 10, 3)
    shown = CliRunner().invoke(app, ["inspect", str(path)]).output
    for text in (call(path, name).stdout, shown):
        words = " ".join(text.split())
        assert says in words, text
    assert "--set problem_type=single_label" in " ".join(shown.split())


def test_regression_stays_in_order(tmp_path):
    path = saved(tmp_path, tiny(problem_type="regression", labels=("x", "y", "z")))
    found = converters.predict(path, picture(tmp_path / "a.png", 9, 10, 3))
    rows = [line.split() for line in str(found).splitlines()[1:4]]
    assert [row[-2] for row in rows] == ["x", "y", "z"]
    assert apart([float(row[-1]) for row in rows], found.items[0].outputs) < 1e-5


def test_classes_without_labels_are_numbers_and_that_is_said(model, tmp_path):
    found = call(model, picture(tmp_path / "a.png", 9, 10, 3))
    assert "the model states no labels: classes by their index" in found.stdout
    assert {line.split()[-2] for line in found.stdout.splitlines()[1:4]} == set("012")


def test_several_labels_are_independent(tmp_path):
    path = saved(tmp_path, tiny(problem_type="multi_label"))
    found = converters.predict(path, picture(tmp_path / "a.png", 9, 10, 3))
    (item,) = found.items
    logits = torch.from_numpy(item.outputs).double()
    assert apart(item.probabilities, logits.sigmoid()) < 1e-12
    assert abs(item.probabilities.sum() - 1) > 1e-3


@pytest.mark.parametrize("how", ["softmax", "sigmoid"])
def test_probabilities_of_large_logits_are_finite(how):
    logits = np.array([[-1e4, 3.0, 2.0], [1e4, -3.0, 0.0]], np.float32)
    x = torch.from_numpy(logits).double()
    expected = x.softmax(-1) if how == "softmax" else x.sigmoid()
    with np.errstate(all="raise", under="ignore"):
        assert apart(probabilities(logits, how), expected) < 1e-12


def test_arrays_are_taken_as_they_are_and_need_no_preprocessing(tmp_path):
    path = saved(tmp_path, tiny(data=None))
    values = np.random.default_rng(0).standard_normal((3, 3, 12, 8), np.float32)
    np.save(tmp_path / "a.npy", values)
    found = converters.predict(path, tmp_path / "a.npy", batch_size=2)
    assert [item.item for item in found.items] == [0, 1, 2]
    assert found.items[1].name == f"{tmp_path / 'a.npy'}[1]"
    from torch_vit import ViT

    with torch.no_grad():
        expected = ViT.from_pretrained(path).eval()(torch.from_numpy(values))
    assert apart([item.outputs for item in found.items], expected) < 1e-6


def test_patterns_and_folders_in_folders(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("b/2.png", "b/a/1.png", "c.png", "a.bmp"):
        path = tmp_path / "in" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        picture(path, 9, 10, 3)
    (tmp_path / "in" / "notes.txt").touch()
    names = [item.file for item in converters.predict(model, "in").items]
    assert names == ["in/a.bmp", "in/b/2.png", "in/b/a/1.png", "in/c.png"]
    found = converters.predict(model, ["in/**/*.png", "in/a.bmp"])
    names = [item.file for item in found.items]
    assert names == ["in/b/2.png", "in/b/a/1.png", "in/c.png", "in/a.bmp"]


# ---- what is refused ----------------------------------------------------------------


def test_preprocessing_is_never_guessed(tmp_path):
    given = {k: v for k, v in DATA.items() if k not in ("mean", "crop_pct")}
    name = picture(tmp_path / "a.png", 9, 10, 3)
    part = saved(tmp_path, tiny(data=given))
    said = refused(part, name)
    assert "data.mean  not stated, and not guessed" in said
    assert "data.crop_pct" in said
    assert "data.std" not in said
    assert "--set 'data.mean=[...]', 3 numbers" in said
    none = saved(tmp_path, tiny(data=None), "none.safetensors")
    assert "the model does not state its preprocessing" in refused(none, name)
    whole = saved(tmp_path, tiny(), "whole.safetensors")
    set_ = ["--set", "data.mean=[0.4,0.5,0.6]", "--set", "data.crop_pct=1.0"]
    found = call(part, name, *set_)
    assert found.exit_code == 0
    assert found.stdout == call(whole, name).stdout


def test_good_and_unreadable_files_together(model, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    picture(folder / "a.png", 9, 10, 3)
    (folder / "b.jpg").write_bytes(b"")
    (folder / "c.png").write_bytes((folder / "a.png").read_bytes()[:60])
    shutil.copy(folder / "a.png", folder / "d.png")
    np.save(folder / "e.npy", np.full((3, 12, 8), np.nan, np.float32))
    found = call(model, folder)
    assert found.exit_code == 1
    assert found.stdout.count("a.png") == found.stdout.count("d.png") == 1
    assert "3 of 5 files could not be read:" in found.stdout
    assert f"{folder / 'b.jpg'}: an empty file, 0 bytes" in found.stdout
    assert f"{folder / 'e.npy'}: 288 NaN and 0 infinite numbers" in found.stdout
    said = json.loads(call(model, folder, "--json").stdout)
    assert said["ok"] is False
    assert [f["file"].rsplit("/", 1)[1] for f in said["failures"]] == [
        *("b.jpg", "c.png", "e.npy")
    ]
    assert len(said["predictions"]) == 2


def test_every_name_that_is_nothing(model, tmp_path):
    (tmp_path / "empty").mkdir()
    (tmp_path / "x.txt").touch()
    names = ["gone.png", "empty", "x.txt", "*.webp", "*.txt"]
    said = refused(model, *(tmp_path / name for name in names))
    for what in ("no such file", "an empty folder", "another kind of file"):
        assert what in said
    assert "matches no file" in said
    assert "matches 1 files, no input" in said
    assert said.startswith("prediction: 5 problems")


def test_a_picture_for_a_model_of_volumes(tmp_path):
    c = tiny(spatial_dims=3, img_size=(4, 4, 8), in_chans=1, data=None)
    found = call(saved(tmp_path, c), picture(tmp_path / "a.png", 9, 10, 3))
    assert found.exit_code == 1
    assert "a picture; the model takes inputs of 4 x 4 x 8" in found.stdout


@pytest.mark.parametrize(
    ("options", "says"),
    [
        (["--backend", "theano"], "known are tensorflow, jax, torch"),
        (["--device", "tpu"], "cpu or cuda"),
        (["--set", "depth=7"], "depth"),
    ],
)
def test_options_that_cannot_be(model, tmp_path, options, says):
    assert says in refused(model, picture(tmp_path / "a.png", 9, 10, 3), *options)


@pytest.mark.parametrize("name", ["top_k", "batch_size"])
@pytest.mark.parametrize("value", [0, True, 2.0])
def test_numbers_from_one_up(model, name, value):
    with pytest.raises(ConversionError, match=f"{name}: found {value}"):
        converters.predict(model, ".", **{name: value})
