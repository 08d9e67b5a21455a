"""A MONAI classifier of scans on its whole way: Keras, files, artifacts, a server."""

from __future__ import annotations

import base64
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file

from tests.export.common import needs

needs("tensorflow", "keras", "torch", "nibabel", "SimpleITK", "uvicorn", "starlette")

import torch  # noqa: E402

import torch_vit  # noqa: E402
from converters import read_scan  # noqa: E402
from tests.converters.cases import write_canonical  # noqa: E402
from tests.predict.common import apart  # noqa: E402
from tests.serving.common import post, refused  # noqa: E402
from vit_config import ViTConfig  # noqa: E402

pytestmark = pytest.mark.slow

ROOT = Path(__file__).parents[2]
SIZE = (32, 24, 16)
DATA = {
    "axes": ("X", "Y", "Z"),
    "orientation": "RAS",
    "spacing_mm": (1.5, 1.5, 2.0),
    "spacing_mode": "bilinear",
    "intensity": {"kind": "window", "low": -175.0, "high": 250.0, "clip": True},
    "input_range": (0.0, 1.0),
    "fit": "pad_or_crop",
    "fit_first": False,
    "pad_value": 0.0,
}
CONFIG = ViTConfig(
    spatial_dims=3,
    img_size=SIZE,
    patch_size=8,
    in_chans=1,
    embed_dim=48,
    depth=2,
    num_heads=4,
    mlp_dim=96,
    num_classes=3,
    pos_embed_tokens="patch",
    norm_eps=1e-5,
    weight_init="monai",
)
"""MONAI's `ViT(classification=True, spatial_dims=3)`, as it is read from its file."""

STATED = {
    "data": DATA,
    "labels": ["no", "maybe", "yes"],
    "problem_type": "single_label",
    "img_size": SIZE,
    "num_heads": 4,
}


def run(*words: object, **more: str) -> str:
    """What a command prints; it has to succeed."""
    env = {**os.environ, "PYTHONPATH": str(ROOT), "KERAS_BACKEND": "tensorflow", **more}
    command = [sys.executable, "-m", "converters", *map(str, words)]
    done = subprocess.run(
        command, env=env, capture_output=True, text=True, timeout=300, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr[-3000:]
    return done.stdout


@pytest.fixture(scope="module")
def place(tmp_path_factory) -> Path:
    """A file of MONAI's, a Keras model with preprocessing inside, and scans."""
    import SimpleITK

    folder = tmp_path_factory.mktemp("scans")
    ours = write_canonical(folder / "ours.safetensors", CONFIG)
    run("convert", ours, folder / "m3d.safetensors", "--to", "monai@1.6")
    asked = [f"--set={key}={json.dumps(value)}" for key, value in STATED.items()]
    inside = [folder / "m3d.safetensors", folder / "m3d.keras", "--with-preprocessing"]
    said = run("convert", *inside, *asked)
    assert "volumes of any size" in said and "X, Y, Z in RAS, 1.5 x 1.5 x 2 mm" in said
    (folder / "in").mkdir()
    nibabel = pytest.importorskip("nibabel")
    rng = np.random.default_rng(0)
    shapes = {"a": ((40, 30, 20), (1, 1, 2)), "b": ((33, 25, 17), (-1.5, 1.2, 2.5))}
    for name, (shape, spacing) in shapes.items():
        values = rng.normal(50, 150, shape).astype(np.int16)
        image = nibabel.Nifti1Image(values, np.diag([*spacing, 1.0]))
        nibabel.save(image, folder / "in" / f"{name}.nii.gz")
    (folder / "in" / "series").mkdir()
    values = rng.integers(-300, 400, (12, 30, 28)).astype(np.int16)
    whole = SimpleITK.GetImageFromArray(values)
    whole.SetSpacing((1.2, 1.2, 2.5))
    # for MONAI, whose readers of DICOM want more packages
    SimpleITK.WriteImage(whole, str(folder / "series.nii.gz"))
    writer = SimpleITK.ImageFileWriter()
    writer.KeepOriginalImageUIDOn()
    for i in range(12):
        one = whole[:, :, i]
        corner = whole.TransformIndexToPhysicalPoint((0, 0, i))
        tags = {"0008|0060": "CT", "0020|000d": "1.2", "0020|000e": "1.2.3"}
        tags |= {"0020|0013": str(i + 1), "0020|0037": "1\\0\\0\\0\\1\\0"}
        tags["0020|0032"] = "\\".join(map(str, corner))
        for tag, value in tags.items():
            one.SetMetaData(tag, value)
        writer.SetFileName(str(folder / "in" / "series" / f"{i:03}.dcm"))
        writer.Execute(one)
    return folder


NAMES = ("a.nii.gz", "b.nii.gz", "series")


@pytest.fixture(scope="module")
def expected(place) -> dict[str, dict[str, np.ndarray]]:
    """What MONAI's transforms and the torch twin of the same weights make of each."""
    monai = pytest.importorskip("monai.transforms")
    made = [
        monai.LoadImage(image_only=True, ensure_channel_first=True),
        monai.Orientation(axcodes="RAS", labels=None),
        monai.Spacing(pixdim=(1.5, 1.5, 2.0), mode="bilinear"),
        monai.ScaleIntensityRange(-175, 250, 0, 1, clip=True),
        monai.ResizeWithPadOrCrop(SIZE),
    ]
    vit = torch_vit.ViT.from_pretrained(place / "ours.safetensors").eval()
    found = {}
    for name in NAMES:
        x = str(place / ("in" if name != "series" else "") / name)
        x += ".nii.gz" if name == "series" else ""
        for step in made:
            x = step(x)
        with torch.inference_mode():
            tokens = vit.forward_features(x.as_tensor()[None].float())
            logits = vit.forward_head(tokens)[0]
            pooled = vit.forward_head(tokens, pre_logits=True)[0]
        odds = torch.softmax(logits, 0)
        found[name] = {"probabilities": odds.numpy(), "embedding": pooled.numpy()}
    return found


def test_scans_are_predicted_embedded_and_looked_at(place, expected):
    said = json.loads(run("predict", place / "m3d.keras", place / "in", "--json"))
    assert said["ok"] and said["library"].startswith("keras ")
    for row, name in zip(said["predictions"], NAMES, strict=True):
        assert Path(row["file"]).name == name
        mine = {one["index"]: one["probability"] for one in row["top"]}
        odds = expected[name]["probabilities"]
        assert apart([mine[i] for i in range(3)], odds) < 2e-5
        assert row["top"][0]["label"] == STATED["labels"][int(odds.argmax())]
    run("embed", place / "m3d.keras", place / "in", place / "rows")
    lines = (place / "rows" / "index.jsonl").read_text().splitlines()
    for line in map(json.loads, lines):
        rows = load_file(place / "rows" / line["file"])["embedding"]
        pooled = expected[line["path"]]["embedding"]
        assert apart(rows[line["row"]], pooled) < 2e-5 * np.abs(pooled).max()
    assert len(lines) == 3
    for scan in NAMES:
        out = place / f"{scan}.npz"
        run("attention", place / "m3d.keras", place / "in" / scan, out)
        with np.load(out) as maps:
            assert maps["rollout"].shape == (4, 3, 2)
            assert maps["input"].shape == (1, *SIZE)


def test_a_server_gives_scans_the_answers_that_predict_gives(place, expected):
    out = place / "served"
    run("export", place / "m3d.keras", out, "--format", "saved_model")
    said = place / "said"
    env = {**os.environ, "PYTHONPATH": str(ROOT), "TF_CPP_MIN_LOG_LEVEL": "3"}
    command = [sys.executable, "-m", "converters", "serve", out, "--port", "0"]
    with said.open("wb") as told:
        process = subprocess.Popen(list(map(str, command)), stdout=told, env=env)
    try:
        from tests.serving.test_serve import until_served, url_of

        printed = until_served(process, said)
        url = url_of(printed)
        one = {"signature_name": "serve_bytes"}
        answers = {}
        for name in NAMES:
            scan = read_scan(place / "in" / name, out)
            (answers[name],) = post(url, {**one, "instances": [scan.instance()]})[
                "predictions"
            ]
        shutil.copy(place / "in" / "b.nii.gz", place / "scan.nii.gz")
        (line,) = (x for x in printed.splitlines() if x.startswith("try "))
        line = line.removeprefix("try ").replace("python3", sys.executable, 1)
        done = subprocess.run(
            ["bash", "-c", line], cwd=place, env=env, capture_output=True, check=True
        )
        assert json.loads(done.stdout)["predictions"] == [answers["b.nii.gz"]]
        for name, found in answers.items():
            for key, values in expected[name].items():
                apart_by = apart(found[key], values) / np.abs(values).max()
                assert apart_by < 2e-5, (name, key)
        good = np.ones((3, 4, 5, 1), np.int16)
        for wrong, words in (
            ({"dtype": "int64"}, "dtype: int64 is not read; uint8, int8"),
            ({"shape": [3, 4, 5, 2]}, "3 4 5 2 is not taken; (any, any, any, 1) is"),
            ({"shape": [0, 4, 5, 1]}, "0 4 5 1 is not taken"),
            ({"shape": [3, 4, 4, 1]}, "120 bytes of int16 3 4 4 1 would be 96"),
            (row(np.full((1, 1, 2, 1), np.nan, "<f4")), "2 NaN or infinite voxels"),
        ):
            body = {**one, "instances": [{**row(good), **wrong}]}
            code, told = refused(url, body)
            assert code == 400 and words in told, told
    finally:
        process.send_signal(signal.SIGINT)
        assert process.wait(30) == 130


def row(voxels: np.ndarray) -> dict[str, object]:
    raw = base64.b64encode(voxels.tobytes()).decode()
    shape = list(voxels.shape)
    return {"volume_bytes": {"b64": raw}, "dtype": voxels.dtype.name, "shape": shape}


@pytest.mark.parametrize("kind", ["onnx", "torch", "litert"])
def test_it_is_exported_to_every_other_format(place, kind):
    needs(*{"onnx": ("onnxruntime", "onnxscript")}.get(kind, ()))
    needs(*{"litert": ("ai_edge_litert",)}.get(kind, ()))
    target = place / f"m.{ {'litert': 'tflite', 'torch': 'pt2'}.get(kind, kind) }"
    words = ["export", place / "m3d.keras", target, "--format", kind, "--json"]
    report = json.loads(run(*words))
    assert report["ok"] and {f["output"] for f in report["parity"]} == {
        "logits",
        "embedding",
    }
