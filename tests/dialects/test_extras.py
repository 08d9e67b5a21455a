"""Tensors that are not the model's: left out by name, and never without a word."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

import converters
from converters.libraries.dropping import patterns_for
from converters.sources.extras import training_only
from tests.dialects.common import monai_config, monai_file, same
from tests.dialects.test_heads import (
    UNSEEN,
    Arrays,
    bare,
    config,
    converted,
    parts,
    refused,
    typed,
)
from tests.fill import fill_weights

TOKEN = {**UNSEEN, "global_pool": "token"}
STATED = ("--set=global_pool=token",)


def matrix(rows: int, columns: int) -> np.ndarray:
    return np.full((rows, columns), 0.5, np.float32)


PROJECTOR = {"projector.0.weight": matrix(7, 24), "projector.2.weight": matrix(7, 7)}
DECODER = {
    "decoder.layers.0.weight": matrix(9, 24),
    "decoder.norm": np.ones(9, np.float32),
}


def write(path: Path, prefix: str = "", *more: Arrays) -> tuple[Path, Arrays]:
    whole = fill_weights(config())
    arrays = {prefix + name: values for name, values in whole.items()}
    save_file({**arrays, **{k: v for one in more for k, v in one.items()}}, path)
    return path, whole


@pytest.mark.parametrize("prefix", ["", "model.", "state_dict.net."])
@pytest.mark.parametrize("more", [(PROJECTOR,), (DECODER,), (PROJECTOR, DECODER)])
def test_the_line_that_the_error_proposes_leaves_them_out(
    prefix: str, more: tuple[Arrays, ...], tmp_path: Path
) -> None:
    path, whole = write(tmp_path / "a.safetensors", prefix, *more)
    code, text = typed(path, *STATED)
    assert code == 1 and all(name in text for one in more for name in one)
    (line,) = re.findall(r"leave them out: (.*)", text)
    assert ("--prefix" in line) == bool(prefix)
    code, said = typed(path, *STATED, *shlex.split(line), "--json")
    assert code == 0, said
    assert same(load_file(tmp_path / "typed.safetensors"), whole)
    report = json.loads(said)
    assert report["dropped"].keys() == {name for one in more for name in one}
    assert report["steps"] == report["config"]["source"]["steps"] != []


def test_a_pattern_is_a_named_step_reported_tensor_by_tensor(tmp_path: Path) -> None:
    path, whole = write(tmp_path / "a.safetensors", "", PROJECTOR, DECODER)
    drop = ["projector.*", "decoder.*"]
    found, report = converted(path, changes=TOKEN, drop=drop)
    assert same(found, whole)
    assert report.steps == ("drop:projector.*", "drop:decoder.*")
    assert report.dropped == {
        **dict.fromkeys(PROJECTOR, "drop:projector.*"),
        **dict.fromkeys(DECODER, "drop:decoder.*"),
    }
    assert all(name in str(report) for name in (*PROJECTOR, *DECODER))
    seen = converters.inspect(path, changes=TOKEN, drop=drop)
    assert not seen.issues and seen.dropped == report.dropped


def test_what_the_model_needs_is_not_left_out(tmp_path: Path) -> None:
    """And no other model is read out of what remains."""
    path, _ = write(tmp_path / "a.safetensors")
    for glob, name in {
        "cls_token": "cls_token",
        "head.*": "head.bias",
        "blocks.1.*": "blocks.1.norm1.weight",
        "*.bias": "patch_embed.proj.bias",
        "pos_*": "pos_embed",
    }.items():
        text = refused(path, changes=TOKEN, drop=glob)
        assert name in text and f'left out by drop="{glob}"' in text


def test_what_is_drawn_anew_may_be_left_out(tmp_path: Path) -> None:
    path, whole = write(tmp_path / "a.safetensors")
    given = {"changes": {**TOKEN, "num_classes": 5}, "drop": "head.*"}
    found, report = converted(path, **given, allow_missing="head.*")
    assert any(
        step.startswith("allow_missing") or "seed" in step for step in report.steps
    )
    del found["head.weight"], found["head.bias"]
    assert same(found, parts(config())[0]) and whole.keys() - found.keys()


def test_a_pattern_that_names_nothing_is_refused(tmp_path: Path) -> None:
    path, _ = write(tmp_path / "a.safetensors", "model.", PROJECTOR)
    text = refused(path, changes=TOKEN, drop=["projector.*", "Projector.*"])
    assert 'drop="Projector.*": no tensor has such a name' in text
    assert "model., projector." in text


PARTS = {
    "blocks.0.attn.table.weight": matrix(3, 3),
    "prompt": matrix(1, 24),
    "norm_in.weight": np.ones(24, np.float32),
    "rope.freqs": np.ones(4, np.float32),
    "adapter.down.weight": matrix(2, 24),
    "patch_embed.extra": matrix(1, 24),
    "head.extra.weight": matrix(2, 5),
}


@pytest.mark.parametrize("name", PARTS)
@pytest.mark.parametrize("prefix", ["", "model."])
def test_what_may_be_a_part_of_the_model_is_never_proposed_to_be_left_out(
    name: str, prefix: str, tmp_path: Path
) -> None:
    path, _ = write(tmp_path / "a.safetensors", prefix, {prefix + name: PARTS[name]})
    text = typed(path, *STATED)[1]
    assert prefix + name in text or "rotary positions" in text
    assert "leave them out" not in text and "for the head" not in text
    assert set(re.findall(r"--(?:drop|prefix) (\S+)", text)) <= {"GLOB"}


TRAINING = {
    "loss_fn.weight": np.ones(5, np.float32),
    "criterion.pos_weight": np.ones(5, np.float32),
    "train_acc.confmat": matrix(5, 5),
    "val_metrics.f1.tp": np.zeros(5, np.int64),
    "DiceLoss.kernel": matrix(2, 2),
    "n_averaged": np.asarray(7, np.int64),
    "total_ops": np.zeros(1, np.float64),
}


@pytest.mark.parametrize("prefix", ["", "model."])
def test_losses_metrics_and_counters_are_left_out_by_their_names(
    prefix: str, tmp_path: Path
) -> None:
    """Each is in the report; the head of the model is not touched."""
    inside = {f"{prefix}blocks.1.mlp.total_params": np.zeros(1, np.float64)}
    path, whole = write(tmp_path / "a.safetensors", prefix, TRAINING, inside)
    found, report = converted(path, changes=TOKEN)
    assert same(found, whole)
    assert report.dropped.keys() == {*TRAINING, *inside}
    assert "of a loss, by its name" in str(report)


@pytest.mark.parametrize(
    "name",
    [
        "classifier.weight",
        "glossy.weight",
        "accent.weight",
        "blocks.0.weight",
        "weight",
    ],
)
def test_other_names_are_no_losses_and_no_metrics(name: str) -> None:
    assert not training_only(name)


def test_a_prefix_that_nothing_stands_behind_is_answered_with_those_there_are(
    tmp_path: Path,
) -> None:
    path, whole = write(tmp_path / "a.safetensors", "net.vit.", PROJECTOR)
    for wrong in ("vit.", "net.vit", "model."):
        code, text = typed(path, *STATED, "--prefix", wrong)
        assert code == 1
        (line,) = re.findall(r"there with (.*)", text)
        assert line == "--prefix net.vit."
    assert typed(path, *STATED, *shlex.split(line))[0] == 0
    assert same(load_file(tmp_path / "typed.safetensors"), whole)
    path = tmp_path / "none.safetensors"
    save_file({"body.conv.weight": matrix(2, 2), "tail": matrix(2, 2)}, path)
    assert 'begin with "body.", "tail"' in refused(path, changes=TOKEN, prefix="model.")


def test_of_two_copies_each_is_shown_as_the_option_that_takes_it(
    tmp_path: Path,
) -> None:
    ema = {f"state_dict_ema.{n}": v + 1 for n, v in fill_weights(config()).items()}
    path, whole = write(tmp_path / "a.safetensors", "state_dict.", ema)
    _, text = typed(path, *STATED)
    (line,) = re.findall(r"Say which one: (.*)", text)
    ways = line.split(" or ")
    assert ways == ["--prefix state_dict.", "--prefix state_dict_ema."]
    for way, add in zip(ways, (0, 1), strict=True):
        assert typed(path, *STATED, *shlex.split(way))[0] == 0
        found = load_file(tmp_path / "typed.safetensors")
        assert same(found, {name: values + add for name, values in whole.items()})
    found, _ = converted(path, changes=TOKEN, drop="state_dict_ema.*")
    assert same(found, whole)


def test_a_pattern_never_reaches_what_is_kept() -> None:
    kept = ["head.weight", "a.b.c", "x"]
    names = ["head.0.weight", "head.0.bias", "a.d.e", "a[1].x", "y", "z.q"]
    found = patterns_for(names, kept)
    assert found == ["head.0.*", "a.d.*", "a[[]1].*", "y", "z.*"]


def test_monais_decoders_do_not_swallow_a_layer_of_ones_own(tmp_path: Path) -> None:
    """UNETR's last convolution is `out.conv`; a head called `out` is none of it."""
    more = {"out.conv.conv.weight": matrix(2, 3), "decoder5.x.weight": matrix(2, 3)}
    path = monai_file(tmp_path / "a.safetensors", monai_config(), prefix="vit.", **more)
    changes: dict[str, Any] = {"num_heads": 3, "img_size": [16, 12, 20]}
    _, report = converted(path, changes=changes)
    assert more.keys() <= report.dropped.keys()
    more = {"out.weight": matrix(2, 24)}
    path = monai_file(tmp_path / "b.safetensors", monai_config(), prefix="vit.", **more)
    assert 'head="out"' in refused(path, changes=changes)


def test_a_pooler_that_no_config_asks_for_is_left_out_with_the_reason(
    tmp_path: Path,
) -> None:
    arrays = bare(config(), "huggingface@vit-bare", "")
    arrays["pooler.dense.weight"] = matrix(24, 24)
    arrays["pooler.dense.bias"] = np.ones(24, np.float32)
    path = tmp_path / "a.safetensors"
    save_file(arrays, path)
    found, report = converted(path, changes={**UNSEEN, "global_pool": "none"})
    assert same(found, parts(config())[0])
    assert all("pooler" in report.dropped[name] for name in arrays if "pooler" in name)


def test_all_that_is_wrong_is_said_at_once(tmp_path: Path) -> None:
    """What is missing, what is contradicted and what is too much: one refusal."""
    path, whole = write(tmp_path / "a.safetensors", "", PROJECTOR)
    text = refused(path, changes={"depth": 7, "num_heads": 3})
    assert re.search(r"depth\s+found 2 in the file;\s+expected 7", text)
    assert all(f"unexpected  {name}" in text for name in PROJECTOR)
    (line,) = re.findall(r"State them: (.*)", text)
    for name in ("img_size", "norm_eps", "act_layer", "global_pool"):
        assert f'"{name}":' in line
    assert "num_heads" not in line
    (drop,) = re.findall(r"leave them out: drop=(.*)", text)
    found, _ = converted(path, changes=TOKEN, drop=json.loads(drop))
    assert same(found, whole)
