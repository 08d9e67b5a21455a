"""The card beside a model: its front matter, its words, and lines that run."""

from __future__ import annotations

import ast
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from converters import ConversionError, convert
from converters.deploy.card.place import beside, check_card, write_card
from converters.deploy.card.text import card_of_export, client_call, serving_commands
from converters.deploy.export.contents import FORMATS, Contents
from converters.deploy.export.report import ExportReport, Figure
from tests.cases import CASES
from tests.export.common import LABELS, SCAN, needs, pictured, write_model
from tests.fill import image

MODEL = pictured(
    labels=LABELS,
    source={
        "name": "timm/vit_tiny.augreg",
        "licence": "Apache-2.0",
        "pretraining_data": "ImageNet-21k",
    },
)
TIMM = "vit_base_patch16_224"
NAMES = {
    "saved_model": "served",
    "onnx": "m.onnx",
    "litert": "m.tflite",
    "torch": "m.pt2",
    "openvino": "vino",
}


def report(config, kind="saved_model", folder=Path()) -> ExportReport:
    held = Contents(config, kind, False, "f" * 64, "float32")
    figure = Figure("serving_default", "logits", 64, 1.04, 1.1, 3e-7, 2.0)
    return ExportReport(
        source=Path("secret/in.safetensors"),
        target=folder / NAMES[kind],
        format=kind,
        source_format="safetensors",
        source_dialect="",
        config=config,
        fingerprint=held.fingerprint,
        dtype="float32",
        tensors=32,
        parameters=18267,
        signatures=held.signatures(),
        probabilities=held.probabilities,
        notes=held.notes(),
        parity=(figure,),
        batches=(1, 3, 60),
        versions={"tensorflow": "2.21.0"},
        files={},
        seconds=1.0,
    )


def front(card: str):
    """What the hub's own reader makes of it."""
    hub = pytest.importorskip("huggingface_hub", reason="the extra `hub` is missing")
    return hub.ModelCard(card)


@pytest.mark.parametrize("kind", FORMATS)
def test_the_hub_reads_the_front_matter(kind):
    found = front(card_of_export(report(MODEL, kind)))
    data = found.data.to_dict()
    assert data["license"] == "apache-2.0"
    assert data["base_model"] == "timm/vit_tiny.augreg"
    assert data["pipeline_tag"] == "image-classification"
    assert {"vit-duet", "2d", kind} <= set(data["tags"])
    assert "license" not in found.text and "1.04" in found.text


@pytest.mark.parametrize(
    "source, expected",
    [
        (None, {}),
        ({"licence": "my own: #1"}, {"license": "other", "license_name": "my own: #1"}),
        ({"name": "a file of ours"}, {}),
        ({"name": "hf://org/model"}, {"base_model": "org/model"}),
        *(
            ({"name": name}, {"base_model": base} if base else {})
            for name, base in (
                (f"{TIMM}.augreg2_in21k_ft_in1k", f"timm/{TIMM}.augreg2_in21k_ft_in1k"),
                (f"{TIMM}.of_our_own", None),  # a tag that timm does not have
                (TIMM, None),  # which of its weights nobody says
                ("vit_base_mci_224.apple_mclip", "apple/mobileclip_b_timm"),
                ("vit_huge_patch14_gap_224.in1k_ijepa", None),  # not on the hub
            )
        ),
    ],
)
def test_the_front_matter_says_no_more_than_the_source(source, expected):
    data = front(card_of_export(report(pictured(source=source)))).data.to_dict()
    data = {key: data.get(key) for key in ("license", "license_name", "base_model")}
    assert {key: value for key, value in data.items() if value} == expected


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kind", FORMATS)
def test_the_words_are_those_of_the_artifact(case, kind):
    config = CASES[case]
    given = report(config, kind)
    text = card_of_export(given)
    for signature in given.signatures:
        for tensor in (*signature.inputs, *signature.outputs):
            assert f"<code>{tensor.name}</code>" in text.replace("\\_", "_")
    for heading in ("Use", "Preprocessing and origin", "Verdict", "Serve", "Versions"):
        assert f"\n## {heading}\n" in text
    assert "UNKNOWN" in text  # these cases say of no source
    assert "f" * 64 in text and "| 1.04 | 2 |" in text
    assert "secret" not in text
    classes = bool(config.num_classes)
    assert ("\n## Labels\n" in text) == classes
    assert ("image-classification" in text) == (
        classes and config.problem_type == "single_label"
    )


def test_a_label_cannot_become_a_link_or_an_image():
    labels = ("[x](http://evil.example)", "![y](z)", "a\n# b <img src=q>")
    text = card_of_export(report(pictured(labels=labels)))
    for wrong in (r"(?<!\\)\]\(", "http://evil", r"!\[y", r"\n# b", "<img"):
        assert not re.search(wrong, text), wrong


def test_commands_name_the_artifact_as_the_user_did():
    given = report(MODEL, folder=Path("out put"))
    docker, ours = serving_commands(given)
    assert "\"$PWD\"/'out put/served':/models/served:ro" in docker
    assert ours == "vit-duet serve 'out put/served'"
    assert "serve_bytes" in client_call(given)
    (only,) = serving_commands(report(MODEL, "onnx"))
    assert only == "vit-duet serve m.onnx"
    assert client_call(report(MODEL, "onnx")).endswith("/v1/models/m/metadata")


def test_the_calls_of_a_model_of_volumes_work_as_they_are_printed(tmp_path):
    needs("torch", "uvicorn", "starlette", "nibabel")
    import nibabel

    from tests.serving.common import TwinModel, serving

    config = CASES["vit_3d"].replace(data=SCAN, problem_type="single_label")
    given = report(config, folder=tmp_path)
    voxels = image((1, 1, *config.img_size))[0, 0] * 200
    (tmp_path / "volume.raw").write_bytes(voxels.astype("<f4").tobytes())
    scan = nibabel.Nifti1Image(voxels.astype(np.float32), np.eye(4))
    nibabel.save(scan, tmp_path / "scan.nii.gz")
    (lines,) = re.findall(r"or\n\n```python\n(.*?)```", card_of_export(given), re.S)
    model = TwinModel(config)
    model.name = "served"
    with serving(model) as url:
        answers = []
        calls = (["bash", "-c", client_call(given)], [sys.executable, "-c", lines])
        for command in calls:
            command[-1] = command[-1].replace("http://localhost:8501", url[:-17])
            assert url in command[-1]
            done = subprocess.run(
                command, cwd=tmp_path, capture_output=True, text=True, check=True
            )
            answers.append(ast.literal_eval(done.stdout)["predictions"][0])
    signature = {"volume_bytes": np.array([voxels.astype("<f4").tobytes()], object)}
    signature |= {"dtype": np.array([b"float32"]), "shape": [[*voxels.shape, 1]]}
    expected = model.call("serve_bytes", signature)
    for answer in answers:
        assert np.abs(answer["logits"] - expected["logits"][0]).max() < 1e-5
    turned = np.ascontiguousarray(voxels[::-1]).astype("<f4").tobytes()
    signature["volume_bytes"] = np.array([turned], object)
    other = model.call("serve_bytes", signature)
    assert np.abs(other["logits"] - expected["logits"]).max() > 1e-3


def test_the_lines_of_use_run_where_the_file_lies(tmp_path, monkeypatch):
    needs("torch")
    from converters.deploy.export.torch_file import write

    given = report(MODEL, "torch")
    source = write_model(tmp_path / "in.safetensors", MODEL)
    write(tmp_path / "m.pt2", source, Contents(MODEL, "torch", False, "f", "float32"))
    (lines,) = re.findall(r"## Use\n\n```python\n(.*?)```", card_of_export(given), re.S)
    monkeypatch.chdir(tmp_path)
    found = {}
    exec(lines, found)
    assert found["outputs"]["logits"].shape == (1, 3)
    assert np.isfinite(found["outputs"]["embedding"].detach().numpy()).all()


def test_only_our_own_cards_are_written_anew(tmp_path):
    card = beside(tmp_path / "m.onnx")
    assert card.name == "m.onnx.README.md"
    check_card(card)
    write_card(card, card_of_export(report(MODEL, "onnx")))
    check_card(card)
    card.write_text("mine")
    with pytest.raises(ConversionError, match="card=False"):
        check_card(card)
    assert card.read_text() == "mine"


def test_a_model_with_preprocessing_inside_gets_one_unless_told_not_to(tmp_path):
    needs("keras")
    source = write_model(tmp_path / "in.safetensors", MODEL)
    asked = {"with_preprocessing": True, "white": 1.0, "verify": "weights"}
    convert(source, tmp_path / "none.keras", card=False, **asked)
    convert(source, tmp_path / "plain.keras", verify="weights")
    assert not list(tmp_path.glob("*.md"))
    convert(source, tmp_path / "m.keras", **asked)
    text = (tmp_path / "m.keras.README.md").read_text("utf-8")
    assert "images as they are, (B, any, any, 3), uint8, or float with white 1" in text
    assert "read back from the written file, bit by bit" in text
    assert "ImageNet-21k" in text and "Kröte" in text
    (tmp_path / "o.keras.README.md").write_text("mine")
    with pytest.raises(ConversionError, match=r"o\.keras\.README\.md"):
        convert(source, tmp_path / "o.keras", **asked)
    assert not (tmp_path / "o.keras").exists()
