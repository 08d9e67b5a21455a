"""The card beside a model: its front matter, its words, and lines that run."""

from __future__ import annotations

import ast
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from converters import ConversionError, convert, predict
from converters.artifacts.contents import FORMATS, Contents
from converters.artifacts.report import ExportReport, Figure
from converters.cards.place import beside, check_card, write_card
from converters.cards.text import card_of_export, client_call, serving_commands
from converters.checks.architecture import architecture_items
from converters.mapping.pipe import model_fingerprint
from converters.parity.page.markup import escaped
from tests.cases import CASES
from tests.export.common import LABELS, SCAN, needs, pictured, write_model
from tests.fill import image

ROOT = Path(__file__).resolve().parents[2]
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


def test_probabilities_of_a_tanh_are_called_so():
    config = CASES["tanh_head"].replace(problem_type="single_label", labels=LABELS)
    text = card_of_export(report(config))
    assert "softmax of the tanh outputs" in text.partition("## Preprocessing")[0]
    assert "single\\_label: softmax of the tanh outputs" in text
    assert "logit" not in text.replace("signature | output", "").partition("Verdict")[0]
    unknown = card_of_export(report(config.replace(problem_type=None)))
    assert "the head ends in tanh, and problem\\_type is not stated" in unknown


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


# ---- scans ------------------------------------------------------------------------

LIES = {
    "as the model takes it": (np.diag([1.0, 1.0, 2.0, 1.0]), ()),
    "LPS": (np.diag([-1.0, -1.0, 2.0, 1.0]), ()),
    "SLP": (np.array([[0, -1, 0, 3], [0, 0, -1, 7], [2, 0, 0, 5], [0, 0, 0, 1.0]]), ()),
    "coarser": (np.diag([-1.3, 1.0, 3.1, 1.0]), ("other spacing",)),
    "oblique": (
        np.array([[1.2, -0.4, 0, 3], [0.5, 0.96, 0, 7], [0, 0, 2, 5], [0, 0, 0, 1.0]]),
        ("other spacing",),
    ),
}
"""Affines of scans, and whether nibabel alone may not read them."""


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A model of volumes, its card's lines, a scan for each of `LIES`, a server."""
    needs("torch", "uvicorn", "starlette", "nibabel")
    import nibabel

    from tests.serving.common import TwinModel, serving

    folder = tmp_path_factory.mktemp("scans")
    data = {**SCAN, "spacing_mode": "bilinear"}
    config = CASES["vit_3d"].replace(data=data, problem_type="single_label")
    write_model(folder / "model.safetensors", config)
    rng = np.random.default_rng(1)
    for name, (affine, _) in LIES.items():
        voxels = rng.integers(-300, 500, (19, 13, 9)).astype(np.int16)
        scan = nibabel.Nifti1Image(voxels, affine)
        scan.header.set_slope_inter(0.7, -11.0)
        (folder / name).mkdir()
        nibabel.save(scan, folder / name / "scan.nii.gz")
        exported(folder / name / "served", config)
    model = TwinModel(config)
    model.name = "served"
    with serving(model) as url:
        yield folder, report(config), url


def exported(folder: Path, config) -> None:
    """What a SavedModel's folder says of itself."""
    (folder / "1" / "assets").mkdir(parents=True)
    (folder / "1" / "saved_model.pb").touch()
    facts = Contents(config, "saved_model", False, "f" * 64, "float32").facts_json()
    (folder / "1" / "assets" / "vit_duet.json").write_text(facts)


def lines_of(given: ExportReport, url: str) -> list[str]:
    """Every call in Python on a model's card."""
    card = card_of_export(given).replace("http://localhost:8501", url[:-17])
    found = re.findall(r"or[^\n]*\n\n```python\n(.*?)```", card, re.S)
    assert all(url in lines for lines in found)
    return found


def shell(given: ExportReport, url: str, folder: Path):
    """What the call prints that `export` prints, as JSON."""
    line = client_call(given).replace("http://localhost:8501", url[:-17])
    line = line.replace("python3", shlex.quote(sys.executable), 1)
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        ["bash", "-c", line], cwd=folder, capture_output=True, check=True, env=env
    )
    return json.loads(done.stdout)["predictions"][0]


def run(lines: str, capsys):
    """What they print."""
    exec(lines, {})
    return ast.literal_eval(capsys.readouterr().out)["predictions"][0]


def same(answer, folder: Path, scan: Path) -> None:
    (expected,) = predict(folder / "model.safetensors", scan).items
    assert np.abs(answer["logits"] - expected.outputs).max() < 1e-6
    assert np.abs(answer["probabilities"] - expected.probabilities).max() < 1e-6


@pytest.mark.parametrize("lies", LIES)
def test_a_served_model_gives_a_scan_the_answer_that_predict_gives(
    scans, lies, monkeypatch, capsys
):
    folder, given, url = scans
    monkeypatch.chdir(folder / lies)
    ours, plain = lines_of(given, url)
    same(run(ours, capsys), folder, folder / lies / "scan.nii.gz")
    if LIES[lies][1]:
        with pytest.raises(SystemExit, match="mm; the model takes 1 x 1 x 2 mm"):
            run(plain, capsys)
    else:
        same(run(plain, capsys), folder, folder / lies / "scan.nii.gz")


def test_the_call_that_export_prints_sends_a_scan_as_predict_reads_it(scans):
    folder, given, url = scans
    for lies in ("SLP", "coarser"):
        answer = shell(given, url, folder / lies)
        same(answer, folder, folder / lies / "scan.nii.gz")


def test_no_two_of_these_scans_have_one_answer(scans):
    folder, _, _ = scans
    model = folder / "model.safetensors"
    found = predict(model, [folder / name / "scan.nii.gz" for name in LIES]).items
    logits = np.stack([one.outputs for one in found])
    apart = np.abs(logits[:, None] - logits[None]).max(-1)
    assert apart[~np.eye(len(LIES), dtype=bool)].min() > 1e-3


@pytest.mark.parametrize(
    "affine, unit, words",
    [
        (None, "mm", "does not say how the scan lies"),
        (np.diag([1.0, 1.0, 2.0, 1.0]), "meter", "not in mm"),
    ],
)
def test_the_lines_without_vit_duet_refuse_what_predict_refuses(
    scans, tmp_path, affine, unit, words, monkeypatch, capsys
):
    import nibabel

    folder, given, url = scans
    scan = nibabel.Nifti1Image(np.ones((5, 4, 3), np.int16), affine)
    scan.header.set_xyzt_units(unit)
    nibabel.save(scan, tmp_path / "scan.nii.gz")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(SystemExit, match=words):
        run(lines_of(given, url)[1], capsys)
    assert predict(folder / "model.safetensors", "scan.nii.gz").failures


def test_prepared_volumes_are_not_read_from_a_scan(tmp_path, capsys):
    needs("torch", "uvicorn", "starlette")
    from tests.serving.common import TwinModel, serving

    config = CASES["vit_3d"]  # states nothing of its inputs
    given = report(config, folder=tmp_path)
    x = image((1, 1, *config.img_size))[0, 0, ..., None].astype("<f4")
    (tmp_path / "prepared.raw").write_bytes(x.tobytes())
    model = TwinModel(config, prepare=lambda voxels: np.moveaxis(voxels, -1, 0))
    model.name = "served"
    expected = model.call("serving_default", {"volumes": x[None]})["logits"][0]
    with serving(model) as url:
        (lines,) = lines_of(given, url)
        exec(lines, {"x": x})
        printed = ast.literal_eval(capsys.readouterr().out)["predictions"][0]
        for answer in (shell(given, url, tmp_path), printed):
            assert np.abs(answer["logits"] - expected).max() < 1e-6


def test_the_lines_of_use_run_where_the_file_lies(tmp_path, monkeypatch):
    needs("torch")
    from converters.artifacts.torch_file import write

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


TOLD = {"field": "num_heads", "value": "3", "origin": "set"}


@pytest.mark.parametrize("kind", FORMATS)
def test_a_card_says_the_architecture_and_what_was_stated_by_hand(kind):
    config = MODEL.replace(source={"stated": [TOLD]})
    card = card_of_export(report(config, kind))
    for name, text in architecture_items(config).items():
        assert f"| {escaped(name)} | {escaped(text)} |" in card
    assert f"| {config.num_heads} heads of {config.attn_head_dim} |" in card
    assert "**Stated by hand, not in the file:** `num_heads=3 (--set)`" in card
    verdict = card.partition("## Verdict")[2].partition("\n## ")[0]
    assert "Not tested: what was stated by hand, `num_heads`." in verdict
    for text in ("f" * 64, model_fingerprint("f" * 64, config)):
        assert f"<code>{text}</code>" in card
    plain = card_of_export(report(MODEL, kind))
    assert "tated by hand" not in plain and "heads of" in plain


def test_a_statement_cannot_leave_its_line():
    evil = {**TOLD, "value": "`x`\n# Owned <script>"}
    card = card_of_export(report(MODEL.replace(source={"stated": [evil]})))
    assert "\n# Owned" not in card
    assert re.search(r"`num_heads='x'[^`\n]*# Owned <script> \(--set\)`", card)


def test_an_export_says_it_too():
    found = report(MODEL.replace(source={"stated": [TOLD]}))
    assert "stated by hand, not in the file: num_heads=3 (--set)" in str(found)
    assert f"{MODEL.num_heads} heads of {MODEL.attn_head_dim}" in str(found)
    said = found.to_dict()
    assert said["stated"] == [TOLD]
    assert said["model_fingerprint"] == model_fingerprint("f" * 64, MODEL)
    held = json.loads(Contents(found.config, "onnx", False, "f" * 64, "x").facts_json())
    assert held["model_fingerprint"] == said["model_fingerprint"]
    assert held["stated"] == [TOLD]
