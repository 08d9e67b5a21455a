"""Folders of torch.distributed.checkpoint: every value once, and nothing executed."""

from __future__ import annotations

import os
import pickle
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file

import converters
from converters.errors import ConversionError
from converters.sources.door import open_raw
from converters.sources.request import Asked
from tests.dialects.common import same
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


def keyed(
    prefix: tuple[str, ...], extra: dict[Any, Any] | None = None
) -> dict[Any, Any]:
    tensors = {(*prefix, name): t for name, t in as_tensors(WEIGHTS).items()}
    return {**tensors, **(extra or {})}


def converted(source: Path, tmp_path: Path, **options: Any) -> dict[str, np.ndarray]:
    out = tmp_path / "out.safetensors"
    converters.convert(source, out, config=CONFIG, **options)
    return load_file(out)


def refused(source: Path, tmp_path: Path, text: str) -> None:
    with pytest.raises(ConversionError, match=text):
        converted(source, tmp_path)
    assert not (tmp_path / "out.safetensors").exists()


AXES = {name: values.ndim - 1 for name, values in WEIGHTS.items()}


@pytest.mark.parametrize("axes", [{}, AXES], ids=["first axis", "last axis"])
@pytest.mark.parametrize("ranks", [1, 2, 5, 7])
def test_parts_of_every_rank_make_up_the_tensors(
    ranks: int, axes: dict[str, int], tmp_path: Path
) -> None:
    source = tmp_path / "dcp"
    save_in_parts(source, keyed(()), ranks, axes)
    assert same(converted(source, tmp_path), WEIGHTS)


@pytest.mark.parametrize("given", [".", ".metadata", "__0_0.distcp"])
@pytest.mark.parametrize("prefix", [("model",), ("app", "model"), ()])
def test_what_torch_saves_is_read_whole(
    prefix: tuple[str, ...], given: str, tmp_path: Path
) -> None:
    import torch.distributed.checkpoint as dcp

    state: dict[str, Any] = as_tensors(WEIGHTS)
    aside: dict[str, Any] = {"step": 7, "optimizer": {"lr": 1e-3, "m": torch.ones(3)}}
    for key in reversed(prefix):
        state = {key: state, **aside}
    source = tmp_path / "dcp"
    with pytest.warns(UserWarning):  # of one process only
        dcp.save(state, checkpoint_id=source, no_dist=True)
    assert same(converted(source / given, tmp_path), WEIGHTS)


@pytest.mark.parametrize(
    "keys",
    [
        ("optimizer", "state", "norm.weight", "exp_avg"),
        ("optim", "state.norm.weight.exp_avg"),
        ("app", "optim", "norm.weight", "exp_avg_sq"),
        ("optimizer_0", "norm.weight", "exp_avg"),
    ],
)
def test_states_of_an_optimizer_are_left_aside(keys: Any, tmp_path: Path) -> None:
    source = tmp_path / "dcp"
    extra = {keys: torch.ones(24), ("train_state", "step"): 3, ("rng",): b"12"}
    save_in_parts(source, keyed(("app", "model"), extra), 2)
    report = converters.convert(source, tmp_path / "out.safetensors", config=CONFIG)
    assert same(load_file(tmp_path / "out.safetensors"), WEIGHTS)
    top = keys[1] if keys[0] == "app" else keys[0]
    aside = {top: "1 tensor", "train_state": "1 object", "rng": "1 object"}
    assert report.others.aside == aside


def test_a_checkpoint_of_an_optimizer_alone_is_refused(tmp_path: Path) -> None:
    source = tmp_path / "dcp"
    save_in_parts(source, {("optimizer", "exp_avg"): torch.ones(4)}, 2)
    refused(source, tmp_path, "no weights of a model")


def test_bfloat16_keeps_its_bits(tmp_path: Path) -> None:
    tensors = {k: t.bfloat16() for k, t in keyed(("model",)).items()}
    source = tmp_path / "dcp"
    save_in_parts(source, tensors, 3)
    found = converted(source, tmp_path)
    wanted = tensors["model", "head.weight"].view(torch.int16).numpy()
    assert found["head.weight"].tobytes() == wanted.tobytes()


def test_one_item_is_read_at_a_time(tmp_path: Path) -> None:
    source = tmp_path / "dcp"
    save_in_parts(source, keyed(()), 3)
    raw, _ = open_raw(source, Asked())
    assert raw is not None
    shutil.rmtree(source)  # nothing but the metadata was read
    with pytest.raises(ConversionError, match="cls_token"):
        raw.read("cls_token")


def test_a_missing_file_is_named_with_what_it_holds(tmp_path: Path) -> None:
    source = tmp_path / "dcp"
    save_in_parts(source, keyed(("model",)), 3)
    (source / "__1_0.distcp").unlink()
    refused(source, tmp_path, r"__1_0\.distcp is missing: \d+ tensors")


def test_a_file_cut_short_is_named(tmp_path: Path) -> None:
    source = tmp_path / "dcp"
    save_in_parts(source, keyed(("model",)), 3)
    path = source / "__2_0.distcp"
    path.write_bytes(path.read_bytes()[:-1])
    refused(source, tmp_path, r"__2_0\.distcp has \d+ bytes of \d+: cut short")


def test_one_flipped_bit_is_noticed(tmp_path: Path) -> None:
    source = tmp_path / "dcp"
    save_in_parts(source, keyed(()), 2)
    path = source / "__1_0.distcp"
    data = bytearray(path.read_bytes())
    place = data.find(WEIGHTS["head.weight"][3:].tobytes())
    assert place > 0
    data[place + 5] ^= 1
    path.write_bytes(bytes(data))
    refused(source, tmp_path, 'part of "head.weight": damaged')


def metadata(source: Path, change: Any) -> None:
    path = source / ".metadata"
    found = pickle.loads(path.read_bytes())
    change(found)
    path.write_bytes(pickle.dumps(found))


def _lose_a_chunk(found: Any) -> None:
    found.state_dict_metadata["norm.weight"].chunks.pop()


def _overlap(found: Any) -> None:
    chunks = found.state_dict_metadata["norm.weight"].chunks
    chunks[1] = chunks[0]


def _outside(found: Any) -> None:
    entry = found.state_dict_metadata["norm.weight"]
    entry.size = torch.Size([12, 2])


def _elsewhere(found: Any) -> None:
    for place in found.storage_data.values():
        place.relative_path = "../away.distcp"


def _swapped(found: Any) -> None:
    places = {i.fqn: p for i, p in found.storage_data.items() if i.offset[0] == 0}
    places["norm.weight"].offset = places["head.weight"].offset
    places["norm.weight"].length = places["head.weight"].length


def _compressed(found: Any) -> None:
    for place in found.storage_data.values():
        place.transform_descriptors = ["stream.zstd"]


@pytest.mark.parametrize(
    ("change", "text"),
    [
        (_lose_a_chunk, "norm.weight.*each value once"),
        (_overlap, "norm.weight.*each value once"),
        (_outside, "norm.weight.*each value once"),
        (_elsewhere, "leads out of the folder"),
        (_swapped, "norm.weight.*damaged"),
        (_compressed, "by an extension: .*zstd"),
    ],
)
def test_metadata_at_odds_with_itself_is_refused(
    change: Any, text: str, tmp_path: Path
) -> None:
    source = tmp_path / "dcp"
    save_in_parts(source, keyed(()), 2)
    metadata(source, change)
    refused(source, tmp_path, text)


class Evil:
    def __reduce__(self) -> Any:
        return os.mkdir, ("run",)


@pytest.mark.parametrize("place", ["planner_data", "storage_meta", "root"])
def test_metadata_is_read_and_never_run(
    place: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = tmp_path / "dcp"
    save_in_parts(source, keyed(()), 2)
    monkeypatch.chdir(tmp_path)
    if place == "root":
        (source / ".metadata").write_bytes(pickle.dumps(Evil()))
        refused(source, tmp_path, "not torch's metadata")
    else:
        metadata(source, lambda found: setattr(found, place, Evil()))
        assert same(converted(source, tmp_path), WEIGHTS)
    assert not (tmp_path / "run").exists()


def test_a_folder_without_metadata_says_what_is_missing(tmp_path: Path) -> None:
    source = tmp_path / "dcp"
    save_in_parts(source, keyed(()), 2)
    (source / ".metadata").rename(source / "__0.metadata")
    refused(source, tmp_path, "each rank has one of its own")
    (source / "__0.metadata").unlink()
    refused(source, tmp_path, ".metadata is missing")
