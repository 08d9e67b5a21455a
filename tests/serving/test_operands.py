"""Exported artifacts as B: what passes, what is found, what is refused."""

from __future__ import annotations

import csv
import shutil
import zipfile
from types import SimpleNamespace

import numpy as np
import pytest
from safetensors import safe_open
from safetensors.numpy import load_file, save_file
from typer.testing import CliRunner

from converters import ConversionError, verify
from converters.artifacts.contents import Contents
from converters.cli.app import app
from converters.conversion.convert import read_checked
from converters.judging.criteria import Criteria
from converters.mapping.pipe import fingerprint
from converters.parity.exported import check
from converters.parity.exported.judge import FEW_LIMIT, judge_exported, own_criteria
from converters.parity.exported.operand import Exported
from converters.parity.findings import Findings
from converters.parity.recheck import asked_before
from converters.parity.record import ParityReport
from converters.parity.run import Answers, Run
from converters.runtimes.known import facts_in, kind_of
from converters.serving.model import CallError
from tests.cases import CASES
from tests.export.common import DATA, LABELS, SCAN, needs, pictured, write_model

needs("torch", "uvicorn", "starlette", "PIL")

from tests.serving.common import TwinModel, serving  # noqa: E402

MODEL = pictured(labels=LABELS)


def contents(path, **changes) -> Contents:
    """What the artifact of a file says; its true fingerprint, if not changed."""
    with read_checked(path) as found:
        stated = {"fingerprint": fingerprint(found.digests)} | changes
    return Contents(MODEL, "torch", True, dtype="float32", **stated)


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    """A model and its program, as `export` writes it."""
    from converters.artifacts.torch_file import write

    folder = tmp_path_factory.mktemp("operands")
    a = write_model(folder / "a.safetensors", MODEL)
    write(folder / "b.pt2", a, contents(a))
    return a, folder / "b.pt2"


def test_an_exported_model_passes_on_its_outputs(made):
    a, b = made
    done = CliRunner().invoke(app, ["verify", str(a), str(b), "--json", "-"])
    assert done.exit_code == 0, done.output
    found = ParityReport.from_json(done.output)
    assert found.sentence.startswith("B is the same model as A up to logits")
    assert "weights" not in found.sentence
    assert found.b.format == "torch.export"
    assert found.b.fingerprint == found.a.fingerprint
    outputs = {c.name: set() for c in found.checks if c.level == "logits"}
    for one in found.checks:
        if one.level == "logits":
            outputs[one.name].add(one.inputs)
    kinds = {"noise", "structured", "large", "low_variance", "zeros"}
    for name in ("logits", "pooled", "tokens"):
        assert outputs[name] == kinds | {"batch1", "batch3"}
    assert outputs["probabilities, as softmax of logits"] == {"noise"}
    (weights,) = (c for c in found.checks if c.level == "weights")
    assert (weights.status, weights.meaning) == ("reported", None)
    assert "no proof" in weights.message


@pytest.mark.slow
def test_other_weights_are_found_though_it_states_the_same_ones(made, tmp_path):
    """And what was asked for beyond outputs is listed, not passed."""
    from converters.artifacts.torch_file import write

    a, _ = made
    arrays = load_file(a)
    arrays["head.weight"] = np.ascontiguousarray(arrays["head.weight"][::-1])
    with safe_open(a, "np") as file:
        save_file(arrays, tmp_path / "c.safetensors", file.metadata())
    write(tmp_path / "b.pt2", tmp_path / "c.safetensors", contents(a))
    found = verify(a, tmp_path / "b.pt2", level="gradients")
    assert found.verdict == "failed"
    assert {check.name for check in found.failed} == {"logits"}
    assert all(check.ratio > 100 for check in found.failed)
    assert {"noise", "batch1", "batch3"} <= {check.inputs for check in found.failed}
    few = [check for check in found.failed if check.inputs == "batch1"]
    assert few[0].limit == FEW_LIMIT
    assert [check.level for check in found.not_checked] == ["layers", "gradients"]


def test_what_a_served_model_and_a_were_both_told_is_tested_by_neither(tmp_path):
    """An artifact keeps what was stated of its source."""
    statement = {"field": "num_heads", "value": "3", "origin": "set"}
    config = MODEL.replace(source={"stated": [statement]})
    a = write_model(tmp_path / "a.safetensors", config)
    with serving(TwinModel(config, fingerprint=contents(a).fingerprint)) as url:
        found = verify(a, url, level="weights")
    assert found.a.model == found.b.model != ""
    assert "oth sides were told num_heads=3: nothing here tests" in found.sentence
    with serving(TwinModel(MODEL, fingerprint=contents(a).fingerprint)) as url:
        found = verify(a, url, level="weights")
    assert found.a.stated and not found.b.stated and "told" not in found.sentence


def test_weights_alone_cannot_be_checked(made):
    found = verify(*made, level="weights")
    assert found.verdict == "incomplete"
    assert [check.level for check in found.not_checked] == ["weights"]


@pytest.mark.parametrize("limits, verdict", [({}, "failed"), ("rounded", "incomplete")])
def test_another_fingerprint_fails_unless_rounding_is_accepted(
    made, tmp_path, limits, verdict
):
    from converters.runtimes.base import FACTS

    a, b = made
    other = tmp_path / "other.pt2"
    stated = contents(a, fingerprint="0" * 64).facts_json()
    with zipfile.ZipFile(b) as old, zipfile.ZipFile(other, "w") as new:
        for name in old.namelist():
            said = stated.encode() if name.endswith(FACTS) else old.read(name)
            new.writestr(name, said)
    criteria = {"weights": limits} if limits else None
    found = verify(a, other, level="weights", criteria=criteria)
    assert found.verdict == verdict
    assert "0" * 16 in found.checks[0].message


def test_what_an_artifact_decides_itself_is_refused(made):
    for options, name in (
        ({"backends": ("torch",)}, "backends="),
        ({"dtype": "bfloat16"}, "dtype="),
        ({"pictures": []}, "include_inputs="),
    ):
        with pytest.raises(ConversionError, match=name):
            verify(*made, **options)


def test_an_artifact_cannot_be_the_reference(made):
    a, b = made
    with pytest.raises(ConversionError, match="give this one as B"):
        verify(b, a)


def test_another_geometry_is_refused(made, tmp_path):
    _, b = made
    wider = write_model(tmp_path / "w.safetensors", MODEL.replace(img_size=(48, 48)))
    with pytest.raises(ConversionError) as error:
        verify(wider, b)
    for words in ("img_size", "(48, 32)", "(48, 48)"):
        assert words in str(error.value)


@pytest.mark.parametrize(
    "name, holds, words",
    [
        ("none.pt2", None, "B: none.pt2"),
        ("bad.pt2", b"PK", "no program of torch.export"),
        ("bad.onnx", b"\xff" * 20, "no ONNX model"),
    ],
)
def test_what_cannot_be_read_is_named(made, tmp_path, name, holds, words):
    if name.endswith("onnx"):
        pytest.importorskip("onnx")
    if holds is not None:
        (tmp_path / name).write_bytes(holds)
    with pytest.raises(ConversionError, match=words):
        verify(made[0], tmp_path / name)


def test_formats_are_known_by_their_names_and_folders(tmp_path):
    for name, kind in (
        ("a.onnx", "onnx"),
        ("a.tflite", "litert"),
        ("a.pt2", "torch"),
        ("a.safetensors", ""),
        ("a.keras", ""),
        ("nowhere", ""),
    ):
        assert kind_of(tmp_path / name) == kind
    folder = tmp_path / "served"
    for version in ("2", "10", "x9"):
        (folder / version / "assets").mkdir(parents=True)
    assert kind_of(folder) == ""
    for version in ("2", "10", "x9"):
        (folder / version / "saved_model.pb").touch()
        facts = folder / version / "assets" / "vit_duet.json"
        facts.write_text(f'{{"is": "{version}"}}')
    assert kind_of(folder) == kind_of(folder / "2") == "saved_model"
    assert facts_in(folder, "saved_model") == {"is": "10"}
    assert facts_in(folder / "2", "saved_model") == {"is": "2"}
    shutil.rmtree(folder / "10" / "assets")
    assert facts_in(folder, "saved_model") == {}
    (tmp_path / "vino" / "3" / "assets").mkdir(parents=True)
    (tmp_path / "vino" / "3" / "model.xml").touch()
    (tmp_path / "vino" / "3" / "assets" / "vit_duet.json").write_text('{"is": "ir"}')
    assert kind_of(tmp_path / "vino") == "openvino"
    assert facts_in(tmp_path / "vino", "openvino") == {"is": "ir"}


@pytest.fixture(scope="module")
def over_http(made):
    """A verification of a served model, and what was judged in it."""
    judged = []

    def kept(found, plan, options, a, b, ran):
        reference, given = ran.reference.arrays, ran.subjects[b.label].arrays
        judged.extend([plan, options, a, b, dict(reference), dict(given)])
        judge_exported(found, plan, options, a, b, ran)

    a, _ = made
    model = TwinModel(MODEL, fingerprint=contents(a).fingerprint)
    with pytest.MonkeyPatch.context() as patch, serving(model) as url:
        patch.setattr(check, "judge_exported", kept)
        found = verify(a, url)
    return model, found, judged


@pytest.fixture
def asked(over_http):
    return over_http[2]


NAMES = {
    "outputs": "logits",
    "pooled": "embedding",
    "tokens": "tokens",
    "probabilities": "probabilities",
}


def test_a_served_model_passes_and_is_asked_in_every_batch(over_http):
    model, found, _ = over_http
    assert found.passed, found.sentence
    assert {1, 3} <= set(model.batches)
    assert (found.b.format, found.b.fingerprint) == ("rest", found.a.fingerprint)
    png = [check for check in found.checks if check.name.endswith("of PNG")]
    assert {check.inputs for check in png} == {"raw, larger", "raw, smaller"}
    assert {check.status for check in png} == {"passed"}
    twins = [c for c in found.checks if c.level == "logits" and c.inputs == "noise"]
    # Decimals give every bit back: what computes as the reference does is the same.
    assert {c.same_bits for c in twins if "probabilities" not in c.name} == {True}
    assert "127.0.0.1" not in found.to_json()


def wrong_order(found):
    found["logits"] = found["logits"][:, ::-1]


def mixed_up(found):
    found["embedding"] = np.roll(found["embedding"], 1, 0)


def rounded(found):
    found["tokens"] = found["tokens"].astype(np.float16).astype(np.float32)


def not_a_number(found):
    found["tokens"] = np.where(found["tokens"] == found["tokens"][0, 1, 2], np.nan, 1)
    found["tokens"] = found["tokens"].astype(np.float32)


def doubled(found):
    if "probabilities" in found:
        found["probabilities"] = found["probabilities"] * np.float32(1.001)


def short(found):
    found["embedding"] = found["embedding"][:, :-1]


@pytest.mark.parametrize(
    "spoilt, names",
    [
        (
            wrong_order,
            {"logits", "logits of PNG", "probabilities, as softmax of logits"},
        ),
        (mixed_up, {"pooled", "pooled of PNG"}),
        (rounded, {"tokens", "tokens of PNG"}),
        (not_a_number, {"tokens", "tokens of PNG"}),
        (doubled, {"probabilities, as softmax of logits"}),
        (short, {"pooled", "pooled of PNG"}),
    ],
)
def test_what_an_exported_model_gets_wrong_is_found(asked, spoilt, names):
    """The judge, on the answers of a model that passes, with one mistake in them."""
    plan, options, a, b, reference, given = asked
    spoiled = dict(given)
    for start in {key.rpartition(":")[0] for key in given}:
        found = {
            NAMES[k.removeprefix(f"{start}:")]: v
            for k, v in given.items()
            if k.startswith(start)
        }
        spoilt(found)
        spoiled |= {
            f"{start}:{key}": found[name]
            for key, name in NAMES.items()
            if name in found
        }
    ran = Run(reference=Answers(reference, {}, True))
    ran.subjects[b.label] = Answers(spoiled, {}, False)
    checks = Findings()
    judge_exported(checks, plan, options, a, b, ran)
    failed = {check.name for check in checks.checks if check.status == "failed"}
    assert failed == names


def test_other_preprocessing_inside_is_found(made):
    a, _ = made
    linear = MODEL.replace(data={**DATA, "interpolation": "bilinear"})
    model = TwinModel(MODEL)
    model._prepare = TwinModel(linear)._prepared
    model.facts = {}
    with serving(model) as url:
        found = verify(a, url)
    assert {check.name.partition(" of ")[2] for check in found.failed} == {"PNG"}
    assert "preprocessing inside" in found.sentence
    (weights,) = (c for c in found.checks if c.level == "weights")
    assert "states no fingerprint" in weights.message
    (config,) = (c for c in found.checks if c.level == "config")
    assert (config.name, config.status) == ("architecture", "reported")


@pytest.fixture
def scans(tmp_path):
    """A 3D model that states its preprocessing, and its file."""
    config = CASES["vit_3d"].replace(data=SCAN)
    return write_model(tmp_path / "scans.safetensors", config), config


def of_scans(path, config):
    return TwinModel(config, fingerprint=contents(path).fingerprint)


@pytest.mark.slow
def test_raw_voxels_go_through_what_takes_them(scans):
    path, config = scans
    with serving(of_scans(path, config), 2**26) as url:
        found = verify(path, url)
    assert found.passed, found.sentence
    raw = [check for check in found.checks if check.name.endswith("of raw voxels")]
    assert {check.inputs for check in raw} == {f"raw, volume{i}" for i in (1, 2, 3)}
    named = {check.name.partition(" of ")[0] for check in raw}
    assert named == {"logits", "pooled", "tokens"}
    # The twin's own layer and the same voxels: nothing is lost on the way.
    assert all(check.max_difference < 1e-5 for check in raw)


@pytest.mark.slow
def test_a_served_model_that_turns_scans_round_is_found(scans):
    path, config = scans
    model = of_scans(path, config)
    model._prepare = lambda voxels: model._prepared(voxels[::-1].copy())
    with serving(model, 2**26) as url:
        found = verify(path, url)
    assert {check.name.partition(" of ")[2] for check in found.failed} == {"raw voxels"}
    assert "preprocessing inside" in found.sentence


@pytest.mark.slow
def test_prepared_volumes_are_no_scans(scans):
    """A model that does not state its preprocessing takes volumes as they go in."""
    path, config = scans
    plain = config.replace(data=None)
    write_model(path, plain)
    with serving(of_scans(path, plain), 2**26) as url:
        found = verify(path, url)
    assert not [check for check in found.checks if "raw" in check.name]
    assert found.passed, found.sentence


@pytest.fixture
def cases(tmp_path):
    rng = np.random.default_rng(0)
    lines = ["path,label"]
    for i in range(20):
        np.save(tmp_path / f"{i}.npy", 30 * rng.normal(size=(3, 48, 32)).astype("f4"))
        lines.append(f"{i}.npy,{i % 3}")
    (tmp_path / "cases.csv").write_text("\n".join(lines))
    return tmp_path / "cases.csv"


def decided(found):
    (check,) = (check for check in found.checks if check.level == "cases")
    return check


@pytest.mark.slow
def test_cases_are_decided_by_what_is_exported_and_served(made, cases, tmp_path):
    pytest.importorskip("scipy")
    a, b = made
    rows = tmp_path / "rows.csv"
    words = ["verify", str(a), str(b), "--cases", str(cases), "--case-rows", str(rows)]
    done = CliRunner().invoke(app, words)
    assert done.exit_code == 0, done.output
    assert "0 of 20 decisions changed" in done.output
    with rows.open(newline="") as stream:
        lines = list(csv.DictReader(stream))
    assert {line["subject"] for line in lines} == {"B, torch.export"}
    assert all(line["decision_a"] == line["decision_b"] for line in lines)
    first_two = sum(line["decision_a"] not in ("2", "newt") for line in lines)
    assert 0 < first_two < len(lines) == 20

    def exchanged(found):
        found["logits"] = found["logits"][:, [1, 0, 2]]

    with serving(TwinModel(MODEL, exchanged)) as url:
        found = verify(a, url, cases=cases)
    check = decided(found)
    assert (check.status, check.subject, check.count) == ("failed", "B, REST", 20)
    assert check.message.startswith(f"{first_two} of 20 decisions changed")


@pytest.mark.slow
def test_cases_of_a_model_that_stops_answering_are_not_checked(made, cases):
    pytest.importorskip("scipy")
    a, _ = made
    model = TwinModel(MODEL, fingerprint=contents(a).fingerprint)
    call, most = model.call, []

    def limited(signature, inputs):
        if most and len(model.batches) >= most[0]:
            raise CallError("gone", fault=False)
        return call(signature, inputs)

    model.call = limited
    with serving(model) as url:
        verify(a, url)
        most.append(2 * len(model.batches))
        found = verify(a, url, cases=cases)
    check = decided(found)
    assert (check.status, check.subject) == ("not checked", "B, REST")
    assert "HTTP 500: gone" in check.message
    assert found.verdict == "incomplete"


@pytest.mark.parametrize(
    "runs, case, asked, limits",
    [
        ("litert", "wide", {}, (4, 8)),
        ("litert", "wide", {"rms_ratio": 1.5}, (1.5, 8)),
        ("litert", "wide", {"rms_ratio": 2.0}, (2, 8)),  # the usual one, by name
        ("saved_model", "wide", {}, (2, 4)),
        ("litert", "gray", {}, (2, 4)),
    ],
)
def test_runtimes_are_judged_as_they_round_unless_limits_are_asked_for(
    asked, runs, case, limits
):
    config = CASES[case]
    b = Exported(None, "rest", runs, None, "B, REST", None, "")
    found = own_criteria(Criteria(**asked), b, config)
    assert (found.rms_ratio, found.max_ratio) == limits


def test_what_is_at_no_url_is_said(made):
    a, _ = made
    model = TwinModel(MODEL.replace(img_size=(48, 48)), stated=False)
    with serving(model) as url:
        base = url.partition("/v1/")[0]
        for wrong, words in (
            (f"{base}/v1/models/other", "HTTP 404: Servable not found"),
            (f"{base}/predict", "is no model's URL"),
            (url, "(48, 48, 3)"),
        ):
            with pytest.raises(ConversionError) as error:
                verify(a, wrong)
            assert words in str(error.value)
    with pytest.raises(ConversionError, match="twin cannot be reached: "):
        verify(a, url)


def test_limits_that_nobody_asked_for_are_the_usual_ones_when_a_record_is_checked():
    limits = Criteria(max_kl=0.1, rms_ratio=3.0)
    setting = SimpleNamespace(
        level="logits",
        backends=(),
        device="cpu",
        dtype="float32",
        seed=0,
        against_source=False,
        criteria=limits.model_dump(),  # a record lists all of them
        criteria_hash="",
    )
    asked = asked_before(SimpleNamespace(setting=setting))["criteria"]
    assert asked == limits
    assert asked.model_fields_set == {"max_kl", "rms_ratio"}
