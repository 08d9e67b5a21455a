"""Folders that trainers leave: the weights in them are found, or named to be given."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import converters
from converters.errors import ConversionError
from tests.dialects.common import same
from tests.dialects.test_folder import folder as huggingface_folder
from tests.fill import fill_weights
from vit_config import ViTConfig

torch = pytest.importorskip("torch")

from tests.dialects.distributed import as_tensors, save_in_parts  # noqa: E402

CONFIG = ViTConfig(
    img_size=(16, 8),
    patch_size=(8, 4),
    embed_dim=24,
    depth=2,
    num_heads=3,
    mlp_dim=36,
    num_classes=5,
)
WEIGHTS = fill_weights(CONFIG)


def converted(source: Path, tmp_path: Path, **options: Any) -> dict[str, np.ndarray]:
    out = tmp_path / "out.safetensors"
    converters.convert(source, out, **{"config": CONFIG, **options})
    return load_file(out)


def refused(source: Path, tmp_path: Path, text: str = "") -> str:
    with pytest.raises(ConversionError, match=text) as caught:
        converted(source, tmp_path)
    assert not (tmp_path / "out.safetensors").exists()
    return str(caught.value)


def save_torch(path: Path, content: Any = None) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    torch.save(as_tensors(WEIGHTS) if content is None else content, path)
    return path


def deepspeed(path: Path, tag: str = "global_step10") -> Path:
    states = {
        "module": {f"module.{n}": t for n, t in as_tensors(WEIGHTS).items()},
        "buffer_names": [],
        "optimizer": None,
        "param_shapes": [{"cls_token": torch.Size([1, 1, 24])}],
        "dp_world_size": 2,
        "ds_config": {"train_batch_size": 4, "zero_optimization": {"stage": 2}},
    }
    save_torch(path / tag / "mp_rank_00_model_states.pt", states)
    shard = {"optimizer_state_dict": {"fp32": torch.zeros(3)}}
    for rank in range(2):
        name = f"zero_pp_rank_{rank}_mp_rank_00_optim_states.pt"
        save_torch(path / tag / name, shard)
    (path / "latest").write_text(f"{tag}\n")
    return path


@pytest.mark.parametrize("given", [".", "latest", "global_step10"])
def test_deepspeed_folder_has_the_whole_module(given: str, tmp_path: Path) -> None:
    source = deepspeed(tmp_path / "run")
    assert same(converted(source / given, tmp_path), WEIGHTS)


def test_latest_decides_which_step_is_read(tmp_path: Path) -> None:
    source = deepspeed(tmp_path / "run")
    twice = {name: 2 * tensor for name, tensor in as_tensors(WEIGHTS).items()}
    save_torch(source / "global_step9/mp_rank_00_model_states.pt", {"module": twice})
    assert same(converted(source, tmp_path), WEIGHTS)
    (tmp_path / "out.safetensors").unlink()
    (source / "latest").write_text("global_step11")
    refused(source, tmp_path, 'the folder "global_step11", which is not there')


def test_zero_3_says_how_its_parts_are_joined(tmp_path: Path) -> None:
    for rank in range(2):
        name = f"zero_pp_rank_{rank}_mp_rank_00_model_states.pt"
        save_torch(tmp_path / "run" / "global_step3" / name, {"module": {}})
    (tmp_path / "run" / "latest").write_text("global_step3")
    text = refused(tmp_path / "run", tmp_path, "ZeRO-3")
    assert f"python {tmp_path / 'run' / 'zero_to_fp32.py'} {tmp_path / 'run'}" in text


@pytest.mark.parametrize(
    ("name", "kind"),
    [("mp_rank_01_model_states.pt", "tensors"), ("layer_00-model_states.pt", "layers")],
)
def test_a_model_spread_over_ranks_is_refused(
    name: str, kind: str, tmp_path: Path
) -> None:
    source = deepspeed(tmp_path / "run")
    save_torch(source / "global_step10" / name)
    refused(source, tmp_path, f"with its {kind} spread over")


@pytest.mark.parametrize("name", ["model.safetensors", "pytorch_model.bin"])
def test_accelerate_folder_is_its_one_model(name: str, tmp_path: Path) -> None:
    source = tmp_path / "state"
    source.mkdir()
    if name.endswith(".bin"):
        save_torch(source / name)
    else:
        save_file(WEIGHTS, source / name)
    save_torch(source / "optimizer.bin", {"state": {}})
    (source / "random_states_0.pkl").write_bytes(b"\x80\x04")
    assert same(converted(source, tmp_path), WEIGHTS)
    (tmp_path / "out.safetensors").unlink()
    save_file(WEIGHTS, source / "model_1.safetensors")
    text = refused(source, tmp_path, "several models")
    assert str(source / name) in text and str(source / "model_1.safetensors") in text


def test_folder_without_config_asks_what_its_file_asks(tmp_path: Path) -> None:
    source = tmp_path / "state"
    source.mkdir()
    save_file(WEIGHTS, source / "model.safetensors")
    with pytest.raises(ConversionError) as of_folder:
        converted(source, tmp_path, config=None)
    with pytest.raises(ConversionError) as of_file:
        converted(source / "model.safetensors", tmp_path, config=None)
    assert str(of_folder.value) == str(of_file.value)


def test_fsdp_folder_of_accelerate_is_read(tmp_path: Path) -> None:
    source = tmp_path / "state"
    source.mkdir()
    weights = {("model", name): t for name, t in as_tensors(WEIGHTS).items()}
    save_in_parts(source / "pytorch_model_fsdp_0", weights, 2)
    moments = {("optimizer", "exp_avg"): torch.ones(4)}
    save_in_parts(source / "optimizer_0", moments, 2)
    assert same(converted(source, tmp_path), WEIGHTS)


@pytest.mark.parametrize("kind", ["deepspeed", "fsdp"])
def test_config_of_a_trainer_counts_beside_its_shards(
    kind: str, tmp_path: Path
) -> None:
    source, config = huggingface_folder(
        tmp_path / "checkpoint-5", "ViTForImageClassification"
    )
    expected = load_file(source / "model.safetensors")
    (source / "model.safetensors").unlink()
    if kind == "deepspeed":
        deepspeed(source, "global_step5")
        states = {"module": as_tensors(expected)}
        save_torch(source / "global_step5/mp_rank_00_model_states.pt", states)
    else:
        weights = {("model", n): t for n, t in as_tensors(expected).items()}
        save_in_parts(source / "pytorch_model_fsdp_0", weights, 2)
    report = converters.convert(source, tmp_path / "out.safetensors")
    assert report.config.architecture() == config.architecture()


def test_torch_shards_are_read_as_one_model(tmp_path: Path) -> None:
    source = tmp_path / "sharded"
    names = sorted(WEIGHTS)
    files = ["pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin"]
    where = {name: files[index % 2] for index, name in enumerate(names)}
    tensors = as_tensors(WEIGHTS)
    for file in files:
        part = {name: tensors[name] for name in names if where[name] == file}
        save_torch(source / file, part)
    index = source / "pytorch_model.bin.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    assert same(converted(source, tmp_path), WEIGHTS)
    (tmp_path / "out.safetensors").unlink()
    assert same(converted(index, tmp_path), WEIGHTS)
    (tmp_path / "out.safetensors").unlink()
    where[names[0]] = files[1]
    index.write_text(json.dumps({"metadata": {}, "weight_map": where}))
    refused(source, tmp_path, f"missing .*{names[0]}")
    (source / files[1]).unlink()
    refused(source, tmp_path, f'shard "{files[1]}" does not exist')


def test_folder_of_several_saves_lists_each_as_it_is_typed(tmp_path: Path) -> None:
    run = tmp_path / "run"
    run.mkdir()
    for step in (500, 1000):
        huggingface_folder(run / f"checkpoint-{step}", "ViTForImageClassification")
        save_torch(run / f"checkpoint-{step}" / "optimizer.pt")
    save_torch(run / "best.pth")
    (run / "events.log").write_text("")
    text = refused(run, tmp_path, "does not say which model")
    listed = [line.strip() for line in text.splitlines() if line.startswith("  /")]
    names = ["best.pth", "checkpoint-500", "checkpoint-1000"]
    assert listed == [str(run / name) for name in names]


@pytest.mark.parametrize(
    "name", ["net_key_metric=0.9.pt", "version_0/checkpoints/epoch=3-step=7.ckpt"]
)
def test_what_a_folder_lists_converts(name: str, tmp_path: Path) -> None:
    path = save_torch(tmp_path / "logs" / name)
    (tmp_path / "logs" / "hparams.yaml").write_text("{}")
    text = refused(tmp_path / "logs", tmp_path, "Give it:")
    assert same(converted(Path(text.splitlines()[-1].strip()), tmp_path), WEIGHTS)
    assert text.splitlines()[-1].strip() == str(path)


def test_folder_without_weights_says_what_is_read(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    refused(tmp_path / "empty", tmp_path, r"no file of weights[^$]*\.safetensors")
