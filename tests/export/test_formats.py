"""Files of ONNX, LiteRT and torch in their own runtimes; and every kind of model."""

from __future__ import annotations

import json
import zipfile
from pathlib import Path

import numpy as np
import pytest

import converters
from converters.artifacts.contents import Contents
from converters.artifacts.parity import cases, judged
from converters.artifacts.place import SUFFIXES
from converters.artifacts.run import CHECKER, REFERENCE, WRITER
from converters.workers.archive import Arrays
from converters.workers.process import started, write_job
from tests.cases import CASES
from tests.export.common import (
    LABELS,
    SCAN,
    config,
    needs,
    pictured,
    run_plain,
    twin_outputs,
    write_model,
)
from tests.fill import image
from vit_config import ViTConfig

MODEL = pictured(labels=LABELS)


def exported(folder: Path, kind: str) -> tuple[Path, converters.ExportReport]:
    source = write_model(folder / "model.safetensors", MODEL)
    target = folder / f"model{SUFFIXES[kind]}"
    report = converters.export(source, target, format=kind)
    assert report.ok
    card = f"{target.name}.README.md"
    assert {path.name for path in folder.iterdir()} == {source.name, target.name, card}
    assert report.files == {target.name: target.stat().st_size}
    text = target.read_bytes()
    for where in (str(folder).encode(), b"site-packages", b"torch_served.py"):
        assert where not in text
    return target, report


def check(given: dict[str, np.ndarray], x: np.ndarray) -> None:
    exact = twin_outputs(MODEL, x, True)
    assert given.keys() == {"logits", "probabilities", "embedding"}
    for name in ("logits", "embedding"):
        assert np.abs(given[name] - exact[name]).max() < 1e-5
    odds = np.exp(exact["logits"])
    odds /= odds.sum(-1, keepdims=True)
    assert np.abs(given["probabilities"] - odds).max() < 1e-5


def test_an_onnx_file_runs_in_onnxruntime(tmp_path):
    needs("torch", "onnx", "onnxruntime", "onnxscript")
    import onnx
    import onnxruntime

    target, _ = exported(tmp_path, "onnx")
    session = onnxruntime.InferenceSession(str(target))
    (takes,) = session.get_inputs()
    assert (takes.name, takes.shape) == ("images", ["batch", 3, 48, 32])
    names = [one.name for one in session.get_outputs()]
    assert [one.shape for one in session.get_outputs()] == [
        ["batch", 3],
        ["batch", 3],
        ["batch", 24],
    ]
    for count in (1, 5):
        x = image((count, 3, 48, 32))
        check(dict(zip(names, session.run(names, {takes.name: x}), strict=True)), x)
    model = onnx.load(target)
    onnx.checker.check_model(model, full_check=True)
    inside = {one.key: one.value for one in model.metadata_props}
    assert inside["config.json"] == MODEL.to_json()
    assert json.loads(inside["labels"]) == list(LABELS)
    assert inside["preprocessing"].startswith("not inside; the model states")
    assert json.loads(inside["vit_duet.json"])["fingerprint"] == inside["fingerprint"]


@pytest.mark.slow
def test_a_torch_program_runs_with_torch_alone(tmp_path):
    needs("torch")
    target, report = exported(tmp_path, "torch")
    # The same operations; other batches, or threads, may sum in another order.
    assert all(0.8 < figure.ratio < 1.2 for figure in report.parity)
    x = image((5, 3, 48, 32))
    (tmp_path / "plain").mkdir()
    found = run_plain("torch", target, tmp_path / "plain", x=x)
    for count in (1, 5):
        names = ("logits", "probabilities", "embedding")
        check({name: found[f"{count}:{name}"] for name in names}, x[:count])
    assert str(found["config.json"]) == MODEL.to_json()
    assert str(found["labels.txt"]).splitlines() == list(LABELS)


@pytest.mark.slow
def test_a_litert_file_runs_in_its_interpreter(tmp_path):
    needs("tensorflow", "keras", "torch", "ai_edge_litert")
    from ai_edge_litert.interpreter import Interpreter

    target, _ = exported(tmp_path, "litert")
    interpreter = Interpreter(str(target))
    signatures = interpreter.get_signature_list()
    assert signatures["serving_default"]["inputs"] == ["images"]
    run = interpreter.get_signature_runner()
    for count in (1, 5):
        x = image((count, 3, 48, 32))
        check(dict(run(images=np.moveaxis(x, 1, -1))), x)
    with zipfile.ZipFile(target) as inside:
        assert inside.read("config.json").decode() == MODEL.to_json()
        assert inside.read("labels.txt").decode().splitlines() == list(LABELS)


# ---- every kind of model ----------------------------------------------------------

GIVEN = MODEL.data.model_dump()


def of_channels(count: int) -> dict[str, object]:
    return {**GIVEN, "mean": (0.5, 0.4, 0.3, 0.6)[:count], "std": (0.25,) * count}


MODELS: dict[str, ViTConfig] = {
    "squashed": pictured(data={**GIVEN, "crop_mode": "squash"}),
    "multi_label": pictured(labels=LABELS, problem_type="multi_label"),
    "grey_pictures": pictured(in_chans=1, data=of_channels(1)),
    "clear_pictures": pictured(in_chans=4, data=of_channels(4)),
    "scan_of_two": config("vit_3d", in_chans=2, data=SCAN),
    "scan": config("vit_3d", data=SCAN, problem_type="multi_label"),
    # a class token without a position: MONAI's classifiers
    "monai_3d": config("vit_3d", pos_embed_tokens="patch"),
    **{
        name: CASES[name]
        for name in (
            *("vit_3d", "features_3d", "pooled_3d", "tanh_3d", "map_3d"),
            *("dual_norm_3d", "registers_3d", "dual_norm", "map_prefix", "tokens"),
            *("pooled", "distilled", "one_class", "tanh_head", "token_avg", "max"),
            *("all_prefixes", "qv_bias", "qk_norm", "layer_scale", "swiglu"),
            *("gelu_tanh", "quick_gelu", "relu", "gray", "dropout", "wide"),
        )
    },
}
TRACED = ("onnx", "torch", "openvino")
"""Formats that all of these are written to; TensorFlow takes some seconds for each."""

FEWER = (
    *("squashed", "multi_label", "scan", "monai_3d", "features_3d", "map_3d"),
    *("dual_norm_3d", "grey_pictures", "clear_pictures", "scan_of_two"),
    *("distilled", "tanh_head", "qv_bias", "swiglu", "gelu_tanh", "token_avg", "wide"),
)
NEEDED = {
    "saved_model": ("tensorflow", "keras", "torch"),
    "onnx": ("torch", "onnx", "onnxruntime", "onnxscript"),
    "litert": ("tensorflow", "keras", "torch", "ai_edge_litert"),
    "torch": ("torch",),
    "openvino": ("torch", "onnx", "onnxscript", "openvino"),
}


@pytest.mark.slow
@pytest.mark.parametrize("kind", NEEDED)
def test_every_kind_of_model_keeps_its_outputs(tmp_path, kind):
    """As `converters.export` does it, all models in the same three processes."""
    needs(*NEEDED[kind])
    asked: dict[str, list] = {WRITER: [], CHECKER: [], REFERENCE: []}
    held = {}
    models = MODELS if kind in TRACED else {name: MODELS[name] for name in FEWER}
    for name, model in models.items():
        folder = tmp_path / name
        folder.mkdir()
        path = write_model(folder / "model.safetensors", model)
        held[name] = Contents(model, kind, True, "f" * 64, "float32")
        ours, theirs = cases(held[name], path, folder)
        made = folder / f"made{SUFFIXES.get(kind, '')}"
        more = {"folder": str(folder), "alone": True}
        asked[WRITER].append(
            {
                "format": kind,
                "model": str(path),
                "config": model.to_dict(),
                "tokens": True,
                "fingerprint": "f" * 64,
                "dtype": "float32",
                "target": str(made),
                **more,
            }
        )
        asked[CHECKER].append({**ours, "artifact": str(made), **more})
        asked[REFERENCE].append({**theirs, **more})
    said = {}
    backend = "tensorflow" if kind in ("saved_model", "litert") else "torch"
    for module, jobs in asked.items():
        job = write_job(tmp_path / f"{module}.json", jobs)
        with started(module, job, module, backend) as worker:
            said[module] = worker.wait(1800)["cases"]
        wrong = {
            name: one["error"]
            for name, one in zip(models, said[module], strict=True)
            if "error" in one
        }
        assert not wrong
    ratios = {}
    for name, ran in zip(models, said[CHECKER], strict=True):
        folder = tmp_path / name
        with (
            Arrays(folder / "artifact.npz") as given,
            Arrays(folder / "torch.npz") as exact,
        ):
            figures = judged(held[name], given, exact, ran)
        ratios[name] = {f"{f.signature} {f.output}": f.ratio for f in figures}
        assert figures
    print(json.dumps(ratios))
