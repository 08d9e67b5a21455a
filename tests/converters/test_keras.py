"""Against Keras itself, which runs in a process of its own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import zipfile
from importlib.util import find_spec
from pathlib import Path

import h5py
import numpy as np
import pytest
from safetensors.numpy import load_file

from converters import ConversionError, convert, inspect
from converters.files import Raw
from converters.files.keras_file import KERAS_VERSION
from converters.mapping.table import KERAS
from tests.converters.cases import (
    CASES,
    files_in,
    pipeline_config,
    weights,
    write_canonical,
)

if find_spec("keras") is None:
    pytest.skip("keras: not installed", allow_module_level=True)

ROOT = Path(__file__).resolve().parents[2]
CONFIG = CASES["classes"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Everything Keras makes and sees, for all cases at once."""
    folder = tmp_path_factory.mktemp("keras")
    for name, config in CASES.items():
        path = write_canonical(folder / f"{name}.safetensors", config)
        convert(path, folder / f"{name}.keras")
        convert(path, folder / f"{name}.weights.h5")
    for dtype in ("bfloat16", "float16"):
        path = folder / f"{dtype}.safetensors"
        write_canonical(path, CONFIG, weights(CONFIG, dtype))
        convert(path, folder / f"{dtype}.keras")
    path = write_canonical(folder / "pipeline.safetensors", pipeline_config())
    convert(path, folder / "pipeline.keras", with_preprocessing=True)
    convert(path, folder / "floats.keras", with_preprocessing=True, white=1.0)
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "KERAS_BACKEND": os.environ.get("KERAS_BACKEND", "torch"),
        "TF_CPP_MIN_LOG_LEVEL": "3",
        "CUDA_VISIBLE_DEVICES": "",
    }
    child = ("tests.alone", "tests.converters.keras_child", str(folder))
    command = [sys.executable, "-m", *child]
    result = subprocess.run(
        command, env=env, cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert result.returncode == 0, result.stderr[-4000:]
    return folder


@pytest.fixture(scope="module")
def seen(folder):
    return json.loads((folder / "seen.json").read_text())


@pytest.mark.parametrize("case", CASES)
def test_plan_is_the_weights_of_a_live_keras_twin(case, seen):
    plan = KERAS.plan(CASES[case]).target_shapes
    live = {name: tuple(shape) for name, shape in seen[case]["weights"].items()}
    assert live == plan


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize(
    "way", ["load_model", "cleared", "load_weights", "assigned", "same_outputs"]
)
def test_converted_file_arrives_in_keras_bit_by_bit(way, case, seen):
    assert seen[case][way]


@pytest.mark.parametrize("case", CASES)
def test_weights_file_is_byte_for_byte_what_keras_saves(case, folder):
    """Groups, order, names, digests, samples: all of it."""
    saved = (folder / f"{case}.saved.weights.h5").read_bytes()
    assert (folder / f"{case}.weights.h5").read_bytes() == saved


@pytest.mark.parametrize("case", CASES)
def test_archive_holds_what_keras_saves(case, folder):
    with (
        zipfile.ZipFile(folder / f"{case}.keras") as ours,
        zipfile.ZipFile(folder / f"{case}.saved.keras") as theirs,
    ):
        assert ours.namelist() == theirs.namelist()
        for name in ("config.json", "model.weights.h5"):
            assert ours.read(name) == theirs.read(name)


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("suffix", [".saved.keras", ".saved.weights.h5"])
def test_file_that_keras_saved_converts_to_the_same_canonical_file(
    suffix, case, folder, tmp_path
):
    source = folder / f"{case}{suffix}"
    report = convert(source, tmp_path / "x.safetensors", config=CASES[case])
    assert report.ok
    made, wanted = tmp_path / "x.safetensors", folder / f"{case}.safetensors"
    if suffix == ".saved.keras":
        assert made.read_bytes() == wanted.read_bytes()
        return
    # Weights alone hold no config: the caller's is noted as stated by hand.
    again, source = inspect(made), inspect(wanted)
    assert again.fingerprint == source.fingerprint
    assert again.config.source.stated
    assert again.config.replace(source=source.config.source) == source.config


@pytest.mark.parametrize(("name", "white"), [("pipeline", None), ("floats", 1.0)])
def test_a_model_with_preprocessing_inside_is_what_keras_saves(
    name, white, folder, seen, tmp_path
):
    assert seen["special"][name] == ["Pipeline", True, white]
    with (
        zipfile.ZipFile(folder / f"{name}.keras") as ours,
        zipfile.ZipFile(folder / f"{name}.saved.keras") as theirs,
    ):
        assert ours.namelist() == theirs.namelist()
        for member in ("config.json", "model.weights.h5"):
            assert ours.read(member) == theirs.read(member)
    report = convert(folder / f"{name}.saved.keras", tmp_path / "x.safetensors")
    assert report.ok and report.raw is None
    original = folder / "pipeline.safetensors"
    assert (tmp_path / "x.safetensors").read_bytes() == original.read_bytes()


def test_preprocessing_stays_inside_until_told_otherwise(folder, tmp_path):
    source, again, bare = folder / "floats.keras", tmp_path / "a", tmp_path / "b.keras"
    report = convert(source, again, to_dialect="keras", verify="weights")
    assert report.raw == inspect(again).raw == Raw(1.0)
    assert report.to_dict()["with_preprocessing"]
    convert(again, tmp_path / "c.keras", verify="weights")
    assert (tmp_path / "c.keras").read_bytes() == source.read_bytes()
    convert(source, bare, with_preprocessing=False, verify="weights")
    assert inspect(bare).raw is None
    assert inspect(bare).config == pipeline_config()


def test_written_format_is_that_of_the_tested_keras():
    from importlib.metadata import version

    assert version("keras") == KERAS_VERSION


@pytest.mark.parametrize("dtype", ["bfloat16", "float16"])
def test_half_precision_becomes_the_policy_and_comes_back(
    dtype, folder, seen, tmp_path
):
    assert seen["special"][dtype] == [dtype, True]
    convert(folder / f"{dtype}.saved.keras", tmp_path / "x.safetensors")
    original = folder / f"{dtype}.safetensors"
    assert (tmp_path / "x.safetensors").read_bytes() == original.read_bytes()


def test_trained_model_leaves_its_optimizer_behind_and_says_so(folder, tmp_path):
    report = convert(folder / "trained.keras", tmp_path / "x.safetensors")
    assert report.steps == ("drop_optimizer",)
    saved = load_file(folder / "trained.safetensors")
    found = load_file(tmp_path / "x.safetensors")
    assert found.keys() == saved.keys()
    assert all(found[name].tobytes() == saved[name].tobytes() for name in saved)


def test_policy_and_dropout_of_the_fine_tuning_leave_the_weights(seen):
    wanted = [True, ["mixed_bfloat16"], True]
    assert seen["special"]["rates"] == [wanted, wanted]


def test_lora_is_merged_once(folder, tmp_path):
    convert(folder / "lora.keras", tmp_path / "x.safetensors")
    for path in (tmp_path / "x.safetensors", folder / "lora.safetensors"):
        kernel = load_file(path)["blocks.0.attn.qkv.weight"]
        assert np.array_equal(kernel.T, np.load(folder / "lora.npy"))
        assert not np.array_equal(kernel, weights(CONFIG)["blocks.0.attn.qkv.weight"])


@pytest.mark.parametrize("name", ["int8.keras", "int8.weights.h5"])
def test_quantised_files_are_refused(name, folder, tmp_path):
    with pytest.raises(ConversionError, match="quantised"):
        convert(folder / name, tmp_path / "x.safetensors", config=CONFIG)
    assert files_in(tmp_path) == []


def test_quantised_model_is_not_saved_as_plain_weights(folder, seen):
    assert "quantised model is saved by model.save()" in seen["special"]["int8"]
    assert not (folder / "int8.safetensors").exists()


def test_model_around_a_vit_is_refused(folder, tmp_path):
    with pytest.raises(ConversionError, match=r'its model is a "Sequential"'):
        convert(folder / "outer.keras", tmp_path / "x.safetensors")


def test_head_swap_is_recorded(seen):
    shape, (step,), drawn, kept = seen["special"]["head"]
    assert (shape, drawn, kept) == ([24, 3], True, True)
    assert step.startswith("num_classes:5->3:seed=")


def test_other_image_size_is_that_of_a_converted_file(folder, seen, tmp_path):
    convert(
        folder / "classes.safetensors", tmp_path / "x.safetensors", image_size=(16, 20)
    )
    converted = (tmp_path / "x.safetensors").read_bytes()
    assert (folder / "sized.safetensors").read_bytes() == converted


def test_saving_a_loaded_model_gives_the_same_files(folder, seen):
    for suffix in (".keras", ".safetensors", ".weights.h5"):
        again = (folder / f"again{suffix}").read_bytes()
        assert again == (folder / f"classes{suffix}").read_bytes()
    weights_file = folder / "again" / "model.safetensors"
    assert weights_file.read_bytes() == (folder / "classes.safetensors").read_bytes()
    assert (
        json.loads((folder / "again" / "config.json").read_text()) == CONFIG.to_dict()
    )
    assert "exists already" in seen["special"]["exists"]


def test_fingerprint_is_the_same_whoever_saved(folder):
    prints = {
        inspect(folder / f"classes{suffix}", config=CONFIG).fingerprint
        for suffix in (".safetensors", ".keras", ".saved.keras", ".saved.weights.h5")
    }
    assert len(prints) == 1 and "" not in prints


def test_a_place_that_keras_numbers_is_never_mapped_by_number(folder, tmp_path):
    """`layer_normalization` is `norm` in one config and `norm_pre` in another."""
    path = tmp_path / "x.weights.h5"
    path.write_bytes((folder / "map.weights.h5").read_bytes())
    with h5py.File(path) as h5:
        assert h5["layers/layer_normalization/vars"].attrs["name"] == "norm_pre"
    with pytest.raises(ConversionError, match="norm_pre"):
        other = CASES["map"].replace(pre_norm=False)
        convert(path, tmp_path / "y.safetensors", config=other)
