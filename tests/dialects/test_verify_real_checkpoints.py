"""The tool that verifies public checkpoints, on models of this machine alone."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import load_file, save_file

from converters import libraries as dialects
from converters.sources import hub as hub_module
from tests.dialects.test_library_folders import timm_config, timm_folder
from tests.dialects.test_real_files import case_of, library_file
from tests.fill import fill_weights
from tests.hub_server import Hub, Repo, serving
from tools import real_libraries, verify_real_checkpoints as tool
from tools.real_checkpoints import CHECKPOINTS

pytest.importorskip("huggingface_hub", reason="the extra `hub` is not installed")
pytest.importorskip("torch")


@pytest.fixture
def hub(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Hub]:
    folder, _ = timm_folder(tmp_path / "repo", timm_config())
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)
    with serving({"timm/vit": Repo(folder, {"main": "c" * 40})}) as running:
        monkeypatch.setenv("HF_ENDPOINT", running.endpoint)
        yield running


def entries(hub: Hub) -> list[dict[str, Any]]:
    url = f"{hub.endpoint}/timm/vit/resolve/main/model.safetensors"
    config = hub.repos["timm/vit"].folder / "config.json"
    told = {"from_dialect": "timm", "config": json.loads(config.read_text())}
    return [
        {"name": "of-hub", "family": "timm", "source": "hf://timm/vit"},
        {"name": "of-url", "family": "url", "source": url, "options": told},
        {"name": "silent", "family": "url", "source": url},
        {"name": "absent", "family": "timm", "source": "hf://timm/nothing"},
    ]


def run(folder: Path, listed: list[dict[str, Any]], *more: str) -> tuple[int, Any]:
    (folder / "list.json").write_text(json.dumps(listed))
    results = folder / "results.csv"
    code = tool.main(
        [
            *("--checkpoints", str(folder / "list.json")),
            *("--results", str(results)),
            *("--downloads", str(folder / "downloads")),
            *("--verify", "weights"),
            *more,
        ]
    )
    with results.open(newline="", encoding="utf-8") as file:
        return code, {row["name"]: row for row in csv.DictReader(file)}


def test_every_outcome_is_a_row(hub: Hub, tmp_path: Path) -> None:
    code, rows = run(tmp_path, entries(hub))
    assert code == 1
    assert {n: row["status"] for n, row in rows.items()} == {
        **{"of-hub": "ok", "of-url": "ok"},
        **{"silent": "failed", "absent": "failed"},
    }
    assert rows["of-hub"]["revision"] == "c" * 40
    weights = hub.repos["timm/vit"].folder / "model.safetensors"
    for name in ("of-hub", "of-url"):
        row = rows[name]
        assert row["sha256"] == tool.digests(weights)
        assert row["dialect"] == "timm"
        assert row["tensors"] == row["proved"] == str(len(load_file(weights)))
        assert row["library"].startswith("not compared") and not row["reason"]
        assert "torch " in row["versions"]
    assert "not in this file" in rows["silent"]["reason"]
    assert rows["silent"]["sha256"] == tool.digests(weights)
    assert "there is no such model" in rows["absent"]["reason"]
    assert not rows["absent"]["sha256"]


def test_goes_on_where_it_was(hub: Hub, tmp_path: Path) -> None:
    listed = entries(hub)
    run(tmp_path, listed)
    hub.requests.clear()
    # What was ok is left alone; what failed is tried again, and may succeed.
    listed[2]["options"] = listed[1]["options"]
    code, rows = run(tmp_path, listed, "--only", "of-*", "--only", "silent")
    assert code == 0
    assert rows["silent"]["status"] == "ok" and not rows["silent"]["reason"]
    assert rows["absent"]["status"] == "failed"  # not asked for, and kept
    assert hub.requests == []  # downloaded before
    before = rows["of-hub"]["seconds"]
    _, rows = run(tmp_path, listed, "--only", "of-hub", "--again")
    assert hub.requests and rows["of-hub"]["status"] == "ok"
    assert list(rows) == ["of-hub", "of-url", "silent", "absent"] and before


def test_name_that_states_another_hash(hub: Hub, tmp_path: Path) -> None:
    folder = hub.repos["timm/vit"].folder
    (folder / "vit-00000000.pth").write_bytes(b"not those bytes")
    url = f"{hub.endpoint}/timm/vit/resolve/main/vit-00000000.pth"
    listed = [{"name": "a", "family": "url", "source": url}]
    code, rows = run(tmp_path, listed)
    assert code == 1 and "the name says 00000000" in rows["a"]["reason"]
    assert not list((tmp_path / "downloads").iterdir())


def test_list_and_wrong_names(hub: Hub, tmp_path: Path, capsys: Any) -> None:
    assert tool.main(["--list", "--only", "jax"]) == 0
    found = capsys.readouterr().out.splitlines()
    assert len(found) == sum(one.family == "jax" for one in CHECKPOINTS) > 1
    assert tool.main(["--only", "nothing*"]) == 1


def test_the_list_is_sound() -> None:
    names = [one.name for one in CHECKPOINTS]
    assert len(set(names)) == len(names)
    for one in CHECKPOINTS:
        assert one.family in dialects.NAMES
        where = one.source.removeprefix(hub_module.SCHEME)
        assert hub_module._ID.fullmatch(where) or where.startswith("https://")
        assert {"from_dialect", "config", "changes", "preset"} >= set(one.options)
        assert one.library in {"", *real_libraries._LIBRARIES}


@pytest.mark.peers
@pytest.mark.parametrize("heads", [3, 6])
def test_torchvision_itself_is_compared_with(heads: int, tmp_path: Path) -> None:
    pytest.importorskip("torchvision")
    import torch

    library_file("torchvision_vit", tmp_path)
    arrays = load_file(tmp_path / "model.safetensors")
    path = tmp_path / "vit.pth"
    torch.save({n: torch.from_numpy(v) for n, v in arrays.items()}, path)
    arguments = case_of("torchvision_vit")["ask"]["config"]
    told = {"changes": {"num_heads": heads, "img_size": 24}}
    entry = {"name": "a", "family": "torchvision", "source": str(path)}
    listed = [
        {**entry, "options": told, "library": "torchvision", "arguments": arguments}
    ]
    code, rows = run(tmp_path, listed)
    assert code == (heads != 3)  # another number of heads is another model
    assert (float(rows["a"]["library_ratio"]) <= 2) == (heads == 3)
    assert (float(rows["a"]["library_difference"]) < 1e-12) == (heads == 3)


def test_outputs_that_say_nothing_are_no_comparison(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    torch = pytest.importorskip("torch")
    folder, config = timm_folder(tmp_path / "vit", timm_config())
    arrays = fill_weights(config)
    arrays["head.weight"] = np.zeros_like(arrays["head.weight"])
    save_file(arrays, folder / "model.safetensors")

    def same(*arguments: Any) -> tuple[Any, Any]:
        return torch.nn.Linear(1, 1), lambda x: x.new_zeros((len(x), 7))

    monkeypatch.setitem(real_libraries._LIBRARIES, "torch", same)
    entry = {"name": "a", "family": "timm", "source": str(folder), "library": "torch"}
    code, rows = run(tmp_path, [entry], "--inputs", "2")
    assert code == 1 and "all the same" in rows["a"]["reason"]
