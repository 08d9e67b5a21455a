"""OpenVINO: the written model in OpenVINO alone, as an operand, and served."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import xml.etree.ElementTree as ElementTree
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import pytest

import converters
from converters import ConversionError
from converters.benchmark import plan
from converters.cards.text import card_of_export, usage
from converters.runtimes.openvino_model import OpenVinoModel, load_openvino
from converters.serving.model import ServedArtifact
from tests.export.common import (
    LABELS,
    SCAN,
    config,
    pictured,
    twin_outputs,
    write_model,
)
from tests.fill import image

for name in ("torch", "onnx", "onnxscript", "openvino"):
    if find_spec(name) is None:
        pytest.skip(f"{name} is not installed", allow_module_level=True)

MODEL = pictured(labels=LABELS)
NAMES = {"logits", "probabilities", "embedding"}

ALONE = """
import json, sys
sys.modules["openvino_telemetry"] = None
import numpy as np, openvino
folder, x = sys.argv[1], np.load(sys.argv[2])
core = openvino.Core()
model = core.read_model(folder + "/1/model.xml")
made = core.compile_model(model, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
(takes,) = model.inputs
found = {}
for count in (1, len(x)):
    answers = made({takes.any_name: x[:count]})
    found |= {f"{count}:{key.any_name}": value for key, value in answers.items()}
np.savez(sys.argv[3], **found)
shapes = {one.any_name: str(one.partial_shape) for one in (takes, *model.outputs)}
print(json.dumps(shapes))
ours = {"torch", "keras", "onnx", "vit_config", "torch_vit", "converters"}
assert not ours & {name.partition(".")[0] for name in sys.modules}
"""


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    folder = tmp_path_factory.mktemp("openvino")
    source = write_model(folder / "model.safetensors", MODEL)
    report = converters.export(source, folder / "vino", format="openvino")
    return source, report


def alone(target: Path, x: np.ndarray, folder: Path) -> tuple[dict, dict]:
    """What a process without any of ours finds."""
    np.save(folder / "x.npy", x)
    words = [str(target), str(folder / "x.npy"), str(folder / "out.npz")]
    done = subprocess.run(
        [sys.executable, "-I", "-c", ALONE, *words],
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
    )
    assert done.returncode == 0, done.stderr[-3000:]
    with np.load(folder / "out.npz") as found:
        return dict(found), json.loads(done.stdout)


def test_a_model_runs_in_openvino_alone(made, tmp_path):
    _, report = made
    x = image((5, 3, 48, 32))
    found, shapes = alone(report.target, x, tmp_path)
    assert shapes["images"] == "[?,3,48,32]"
    assert shapes["embedding"] == "[?,24]"
    for count in (1, 5):
        exact = twin_outputs(MODEL, x[:count], True)
        for name in ("logits", "embedding"):
            assert np.abs(found[f"{count}:{name}"] - exact[name]).max() < 1e-5
        odds = np.exp(exact["logits"])
        odds /= odds.sum(-1, keepdims=True)
        assert np.abs(found[f"{count}:probabilities"] - odds).max() < 1e-5
    assert {name.partition(":")[2] for name in found} == NAMES


def test_a_model_of_volumes_runs_in_openvino_alone(tmp_path):
    volumes = config("vit_3d", data=SCAN, problem_type="multi_label")
    source = write_model(tmp_path / "model.safetensors", volumes)
    target = tmp_path / "vino"
    report = converters.export(source, target, format="openvino", tokens=True)
    x = image((3, volumes.in_chans, *volumes.img_size))
    found, shapes = alone(target, x, tmp_path)
    assert shapes["volumes"].startswith("[?,1,")
    exact = twin_outputs(volumes, x, True)
    for name in ("logits", "embedding", "tokens"):
        assert np.abs(found[f"3:{name}"] - exact[name]).max() < 1e-5
    assert report.ok


def test_weights_are_in_float32(made):
    _, report = made
    tree = ElementTree.parse(report.target / "1" / "model.xml")
    large = [
        data.get("element_type")
        for layer in tree.iter("layer")
        if layer.get("type") == "Const"
        for data in layer.iter("data")
        if int(data.get("size", 0)) > 1000
    ]
    assert large and set(large) == {"f32"}


def test_what_it_is_lies_beside_it(made):
    source, report = made
    assets = report.target / "1" / "assets"
    assert (assets / "config.json").read_text("utf-8") == MODEL.to_json()
    assert (assets / "labels.txt").read_text("utf-8").splitlines() == list(LABELS)
    facts = json.loads((assets / "vit_duet.json").read_bytes())
    assert facts["fingerprint"] == converters.inspect(source).fingerprint
    text = (report.target / "1" / "model.xml").read_bytes()
    for where in (str(source.parent).encode(), b"site-packages", b"torch_served.py"):
        assert where not in text
    assert (report.target / "README.md").read_text("utf-8") == card_of_export(report)
    found = {}
    here = Path.cwd()
    os.chdir(source.parent)
    try:
        load_openvino()  # before the lines import it
        exec(usage(report), found)
    finally:
        os.chdir(here)
    assert found["outputs"]["logits"].shape == (1, 3)


def test_equal_calls_write_equal_bytes(made, tmp_path):
    source, report = made
    again = tmp_path / "vino"
    converters.export(source, again, format="openvino")
    for name in ("1/model.xml", "1/model.bin", "1/assets/vit_duet.json", "README.md"):
        assert (again / name).read_bytes() == (report.target / name).read_bytes(), name


def test_it_is_an_operand_and_is_served_and_measured(made, tmp_path):
    source, report = made
    assert converters.verify(source, report.target).verdict == "passed"
    other = write_model(tmp_path / "m.safetensors", MODEL.replace(norm_eps=1e-3))
    assert converters.verify(other, report.target).verdict == "failed"
    served = ServedArtifact(report.target)
    assert (served.name, served.version, served.kind) == ("vino", "1", "openvino")
    x = image((2, 3, 48, 32))
    given = served.call("serving_default", {"images": x})
    assert given.keys() == NAMES
    assert np.array_equal(
        given["logits"], OpenVinoModel(report.target).outputs(x)["logits"]
    )
    assert plan._format(report.target) == "openvino"


def test_openvino_is_imported_so_that_it_tells_nobody():
    code = "import sys\n"
    code += "from converters.runtimes.openvino_model import load_openvino\n"
    code += "load_openvino()\n"
    code += "from openvino.tools.ovc import telemetry_utils\n"
    code += "print(telemetry_utils.tm.__name__, 'openvino_telemetry' in sys.modules)\n"
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        timeout=120,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    assert done.stdout.split() == ["openvino.tools.ovc.telemetry_stub", "False"]


def test_a_damaged_model_is_refused(made, tmp_path):
    source, _ = made
    broken = tmp_path / "vino"
    (broken / "1").mkdir(parents=True)
    (broken / "1" / "model.xml").write_text("<net")
    with pytest.raises(ConversionError, match="cannot load it"):
        ServedArtifact(broken)
    (broken / "1" / "model.xml").unlink()
    with pytest.raises(ConversionError):
        converters.verify(source, broken)
