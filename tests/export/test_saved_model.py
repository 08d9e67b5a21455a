"""A SavedModel, in a process that has neither our packages nor Keras."""

from __future__ import annotations

import json

import numpy as np
import pytest

from converters.judging.rms import compare_rms
from tests.export.common import (
    LABELS,
    encoded,
    needs,
    pictured,
    run_plain,
    saved_model,
    twin_outputs,
)
from tests.fill import image

needs("tensorflow", "keras", "torch", "PIL")

MODEL = pictured(labels=LABELS)  # what `saved_model` exports


@pytest.fixture(scope="module")
def exported(tmp_path_factory):
    """The folder, and what was printed about it.

    Of a model with its preprocessing inside, which a SavedModel has by itself.
    """
    _, target, printed = saved_model(tmp_path_factory)
    inside = sorted(path.name for path in target.parent.iterdir())
    assert inside == ["pipeline.keras", "served"]
    return target, json.loads(printed)


def pixels(height: int, width: int) -> np.ndarray:
    rows, columns = np.mgrid[:height, :width]
    channels = [rows * 5, columns * 3 + rows, 255 - columns * 4]
    return (np.stack(channels, -1) % 256).astype(np.uint8)


PICTURES = [
    (pixels(60, 41), "PNG", {}),
    (pixels(30, 90), "JPEG", {"quality": 90}),
    (pixels(48, 32), "JPEG", {"quality": 60, "subsampling": 2}),
]


@pytest.fixture(scope="module")
def answers(exported, tmp_path_factory):
    """What plain TensorFlow gives for three prepared inputs and three pictures."""
    x = image((3, MODEL.in_chans, *MODEL.img_size))
    files = [encoded(p, kind, **options) for p, kind, options in PICTURES]
    given = np.ascontiguousarray(np.moveaxis(x, 1, -1))
    folder = tmp_path_factory.mktemp("plain")
    found = run_plain("saved_model", exported[0], folder, x=given, files=files)
    return x, files, found


def test_plain_tensorflow_gives_the_outputs_of_the_twin(answers):
    x, _, found = answers
    single, exact = (twin_outputs(MODEL, x, float64) for float64 in (False, True))
    assert found["serving_default:input"].tolist() == ["images", "(None, 48, 32, 3)"]
    for name in ("logits", "embedding", "tokens"):
        given = found[f"serving_default:{name}"]
        ratio = compare_rms(given, single[name], exact[name]).ratio
        assert ratio < (2 if name == "tokens" else 8), (name, ratio)
    odds = np.exp(exact["logits"])
    odds /= odds.sum(-1, keepdims=True)
    assert np.abs(found["serving_default:probabilities"] - odds).max() < 1e-5
    best = [LABELS[i] for i in odds.argmax(-1)]
    assert found["serving_default:label"].tolist() == best


def test_pictures_of_any_size_are_decoded_and_prepared_inside(answers):
    """Held against Pillow's decoder and the torch twin's preprocessing."""
    import io

    import torch
    from PIL import Image

    import torch_vit

    _, files, found = answers
    assert found["serve_bytes:input"].tolist() == ["image_bytes", "(None,)"]
    prepare = torch_vit.Preprocess(MODEL)
    ready = []
    for encoded_file in files:
        seen = np.array(Image.open(io.BytesIO(encoded_file)))
        ready.append(prepare(torch.from_numpy(seen).movedim(-1, 0)[None]).numpy()[0])
    exact = twin_outputs(MODEL, np.stack(ready), True)
    for i, (_, kind, _) in enumerate(PICTURES):
        error = np.abs(found["serve_bytes:tokens"][i] - exact["tokens"][i]).max()
        # JPEG decoders may round a level the other way; PNG has nothing to round.
        assert error < (2e-5 if kind == "PNG" else 5e-2), (kind, error)
    other = np.abs(exact["tokens"][0] - exact["tokens"][1]).max()
    assert other > 0.5  # pictures that were mixed up would be far off


def test_the_folder_is_what_tensorflow_serving_loads(exported):
    target, _ = exported
    version = target / "1"
    assert (version / "saved_model.pb").is_file()
    assert (version / "variables" / "variables.index").is_file()
    assets = version / "assets"
    assert (assets / "labels.txt").read_text("utf-8").splitlines() == list(LABELS)
    assert (assets / "config.json").read_text("utf-8") == MODEL.to_json()
    card = (target / "README.md").read_text("utf-8")
    assert "## Verdict\n\nPassed." in card and "<code>serve\\_bytes</code>" in card
    holds = b"".join(p.read_bytes() for p in target.rglob("*") if p.is_file())
    for where in (str(target.parent).encode(), b"site-packages", b"/home/"):
        assert where not in holds


def test_the_report_says_what_was_measured(exported):
    target, report = exported
    assert report["ok"] and report["format"] == "saved_model"
    assert report["batches"] == [1, 3, 60]
    names = [one["name"] for one in report["signatures"]]
    assert names == ["serving_default", "serve_bytes"]
    figures = {(f["signature"], f["output"]): f for f in report["parity"]}
    assert len(figures) == 6
    for (signature, output), figure in figures.items():
        assert 0.1 < figure["ratio"] <= figure["limit"], (signature, output)
        if signature == "serving_default":
            assert (figure["limit"], figure["inputs"]) == (2, 64)
    assert {"keras", "tensorflow"} <= report["versions"].keys()
    sizes = {
        f"{target.name}/{p.relative_to(target).as_posix()}": p.stat().st_size
        for p in target.rglob("*")
        if p.is_file()
    }
    assert report["files"] == sizes
    assert str(target.parent) not in json.dumps(report)
